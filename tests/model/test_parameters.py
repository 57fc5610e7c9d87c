"""What the configuration may say to LSTMRegressor, and how it refuses the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import make_config
from freqtrade.exceptions import OperationalException
from hypothesis import given, settings
from hypothesis import strategies as st

from freqai_lstm.model.parameters import (
    KEY,
    REMOVED,
    LSTMParameters,
    check_freqai,
    read_parameters,
)


NAMES = list(LSTMParameters.model_fields)


def refused_parameters(given: dict[str, Any]) -> str:
    """The message with which parameters are refused."""
    with pytest.raises(OperationalException) as caught:
        read_parameters(given)
    return str(caught.value)


def refused(**config: Any) -> str:
    """The message with which the `freqai` block of `make_config` is refused."""
    with pytest.raises(OperationalException) as caught:
        check_freqai(make_config(Path(), **config)["freqai"])
    return str(caught.value)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings in the log."""
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


# --- model_training_parameters ---


def test_given_parameters_replace_defaults() -> None:
    """Each default is itself allowed, and what is not given stays as it was."""
    assert read_parameters(read_parameters({}).model_dump()) == LSTMParameters()
    changed = {"units": 7, "history_pairs": ["SOL/USDT"], "dropout_rate": 0}
    assert read_parameters(changed).model_dump() == LSTMParameters().model_dump() | changed


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("learning_rte", ["Did you mean 'learning_rate'?", ", ".join(NAMES)]),
        ("lstm_layers", ["Did you mean 'num_lstm_layers'?"]),
        ("xyz", [f"{KEY} has no parameter 'xyz'. Allowed"]),
        ("conv_width", ["one level up, as freqai.conv_width"]),
        ("timesteps", ["one level up, as freqai.conv_width"]),
        ("keras", ["one level up, as freqai.keras"]),
        ("label_size_feature", ["it is called 'label_scale_feature' now"]),
        ("n_estimators", ["LightGBM, XGBoost or CatBoost"]),
        ("trainer_kwargs", ["PyTorch"]),
    ],
)
def test_unknown_name(name: str, parts: list[str]) -> None:
    """It is refused with the nearest name, or with where it belongs."""
    message = refused_parameters({name: 1})
    for part in (KEY, f"'{name}'", *parts):
        assert part in message


@pytest.mark.parametrize("name", REMOVED)
def test_removed_parameter_is_warned_of(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A parameter of an earlier release costs one line that says what became of it."""
    parameters = read_parameters({name: "whatever it was", "units": 7})
    assert parameters == LSTMParameters(units=7)
    (line,) = warnings(caplog)
    for part in (f"{KEY}.{name} is not used any more", REMOVED[name], "Remove it"):
        assert part in line


def test_every_wrong_parameter_is_named() -> None:
    """Several wrong parameters are named at once, a line each."""
    lines = refused_parameters({"units": 0, "epochs": "5", "xyz": 1}).splitlines()
    assert len(lines) == 3
    for name in ("units", "epochs", "xyz"):
        assert sum(name in line.split(" Allowed:")[0] for line in lines) == 1


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("units", "64", "1 to 4096"),
        ("units", True, "1 to 4096"),
        ("units", 64.0, "a whole number"),
        ("units", None, "1 to 4096"),
        ("num_lstm_layers", 0, "1 to 16"),
        ("network_days", 0, "a whole number from 1"),
        ("history_days", -1, "a whole number from 0"),
        ("history_pairs", "some", "a list of pairs, or 'all'"),
        ("history_pairs", [1], "a list of pairs, or 'all'"),
        ("dropout_rate", 1, "0 and below 1"),
        ("dropout_rate", False, "a number from 0"),
        ("learning_rate", 0, "above 0 to 1"),
        ("learning_rate", float("nan"), "above 0 to 1"),
        ("clip_norm", float("inf"), "above 0 to 1000000"),
        ("label_scale_feature", 1, "name of a feature"),
        ("device", "tpu", "'auto', 'cpu', 'gpu'"),
    ],
)
def test_impossible_value(name: str, value: Any, allowed: str) -> None:
    """A wrong type or an impossible value is refused with what is allowed and what was got."""
    message = refused_parameters({name: value})
    assert message.startswith(f"{KEY}.{name} must be ")
    assert allowed in message
    assert f"{value!r} ({type(value).__name__})" in message


json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 64),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from(["all", "cpu", "gpu", "auto", ""]),
    st.lists(st.sampled_from(["BTC/USDT", 1]), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(wanted=st.dictionaries(st.sampled_from(NAMES), json_values, max_size=3))
def test_what_is_accepted_round_trips(wanted: dict[str, Any]) -> None:
    """Whatever JSON can hold is either kept exactly as given, or refused by its name."""
    refused = ""
    try:
        parameters = read_parameters(wanted)
    except OperationalException as reason:
        refused = str(reason)
    if refused:
        assert any(refused.startswith(f"{KEY}.{name} must be ") for name in wanted)
        return
    kept = parameters.model_dump()
    assert {name: kept[name] for name in wanted} == wanted
    assert not any(isinstance(value, bool) for value in kept.values()), "true is no 1"
    assert read_parameters(json.loads(json.dumps(kept))) == parameters


# --- the freqai block ---


@pytest.mark.parametrize("config", [{}, {"model_save_type": "joblib", "keras": False}])
def test_good_block(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A good block passes without a word."""
    check_freqai(make_config(Path(), **config)["freqai"])
    assert caplog.records == []


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"conv_width": 1}, ["freqai.conv_width", "from 2", "Got 1, which freqtrade fills in"]),
        ({"conv_width": 24.0}, ["freqai.conv_width", "Got 24.0"]),
        ({"conv_width": True}, ["freqai.conv_width", "Got True"]),
        ({"model_save_type": "pytorch"}, ["freqai.model_save_type", "'keras'", "'pytorch'"]),
        ({"keras": False}, ["freqai.keras must be true", "freqai.model_save_type"]),
        ({"split": {"shuffle": True}}, ["data_split_parameters.shuffle must be false"]),
        ({"split": {"shuffle_after_split": True}}, ["data_split_parameters.shuffle_after_split"]),
        ({"features": {"shuffle_after_split": True}}, ["feature_parameters.shuffle_after_split"]),
    ],
)
def test_settings_that_cannot_work(config: dict[str, Any], parts: list[str]) -> None:
    """Each is refused by its name, with what to write instead."""
    message = refused(**config)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("config", "key", "nearest"),
    [
        ({"conv_widht": 24}, "freqai.conv_widht", "conv_width"),
        (
            {"features": {"label_period_candle": 1}},
            "freqai.feature_parameters.label_period_candle",
            "label_period_candles",
        ),
        ({"split": {"testsize": 0.2}}, "freqai.data_split_parameters.testsize", "test_size"),
        ({"zzz": 1}, "freqai.zzz", ""),
    ],
)
def test_unknown_key_is_a_warning(
    config: dict[str, Any], key: str, nearest: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a strategy's own; the known one that it resembles is named."""
    check_freqai(make_config(Path(), **config)["freqai"])
    (line,) = warnings(caplog)
    assert f"{key} is read by neither" in line
    assert (f"Did you mean '{nearest}'?" in line) == bool(nearest)


# --- the plugin ---


@pytest.mark.parametrize(
    "config", [{"training": {"unit": 8}}, {"conv_width": 1}, {"model_save_type": "x"}]
)
def test_refused_before_anything_is_written(
    lstm: ModuleType, freqai_config: Callable[..., dict[str, Any]], config: dict[str, Any]
) -> None:
    """The model refuses a configuration before it makes its folder."""
    made = freqai_config(**config)
    with pytest.raises(OperationalException):
        lstm.LSTMRegressor(config=made)
    assert not (Path(made["user_data_dir"]) / "models").exists()
