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


# --- model_training_parameters ---


def test_defaults() -> None:
    """Without any parameter the defaults serve, and each default is itself allowed."""
    parameters = read_parameters({})
    assert parameters == LSTMParameters()
    assert read_parameters(parameters.model_dump()) == parameters


def test_only_what_is_given_changes() -> None:
    """Given parameters replace their defaults and leave the others as they were."""
    given_parameters = {"units": 7, "history_pairs": ["SOL/USDT"], "dropout_rate": 0}
    kept = read_parameters(given_parameters).model_dump()
    assert kept == LSTMParameters().model_dump() | given_parameters


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [("learning_rte", "learning_rate"), ("epoch", "epochs"), ("lstm_layers", "num_lstm_layers")],
)
def test_unknown_name(unknown: str, nearest: str) -> None:
    """An unknown parameter is refused with the nearest name and the list of all."""
    message = refused_parameters({unknown: 1})
    assert KEY in message
    assert f"'{unknown}'" in message
    assert f"Did you mean '{nearest}'?" in message
    assert ", ".join(NAMES) in message


def test_unknown_name_like_no_other() -> None:
    """A name that resembles none is refused without a guess."""
    message = refused_parameters({"xyz": 1})
    assert "'xyz'" in message
    assert "Did you mean" not in message
    assert ", ".join(NAMES) in message


def test_every_wrong_parameter_is_named() -> None:
    """Several wrong parameters are named at once, a line each."""
    lines = refused_parameters({"units": 0, "epochs": "5", "xyz": 1}).splitlines()
    assert len(lines) == 3
    for name in ("units", "epochs", "xyz"):
        assert sum(name in line.split(" Allowed:")[0] for line in lines) == 1


@pytest.mark.parametrize(
    ("name", "key"), [("conv_width", "conv_width"), ("timesteps", "conv_width"), ("keras", "keras")]
)
def test_misplaced_name(name: str, key: str) -> None:
    """Settings of the `freqai` block written one level too deep are sent to their place."""
    message = refused_parameters({name: 24})
    assert f"'{name}'" in message
    assert f"freqai.{key}" in message


def test_renamed_parameter_names_the_new_one() -> None:
    """An old name is not only unknown: the message says what it is called now."""
    message = refused_parameters({"label_size_feature": "%-atr"})
    assert "'label_size_feature'" in message
    assert "'label_scale_feature'" in message


@pytest.mark.parametrize("name", REMOVED)
def test_removed_parameter_is_warned_of(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A parameter of an earlier release costs one line that says what became of it."""
    parameters = read_parameters({name: "whatever it was", "units": 7})
    assert parameters == LSTMParameters(units=7)
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    for part in (f"{KEY}.{name} is not used any more", REMOVED[name], "Remove it"):
        assert part in line


@pytest.mark.parametrize("pairs", ["all", [], ["BTC/USDT:USDT", "ETH/USDT:USDT"]])
def test_history_pairs(pairs: Any) -> None:
    """Names, or all that lie on disk."""
    assert read_parameters({"history_pairs": pairs}).history_pairs == pairs


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("n_estimators", "LightGBM"),
        ("num_leaves", "LightGBM"),
        ("max_depth", "XGBoost"),
        ("iterations", "CatBoost"),
        ("trainer_kwargs", "PyTorch"),
        ("model_kwargs", "PyTorch"),
    ],
)
def test_parameters_of_other_models_are_recognised(name: str, owner: str) -> None:
    """What a configuration for another model brings along is called that, with no wild guess."""
    message = refused_parameters({name: 800})
    assert f"'{name}'" in message
    assert owner in message
    assert "Did you mean" not in message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("units", "64", "1 to 4096"),
        ("units", True, "1 to 4096"),
        ("units", 64.0, "a whole number"),
        ("units", 0, "1 to 4096"),
        ("units", 4097, "1 to 4096"),
        ("units", [64], "1 to 4096"),
        ("units", None, "1 to 4096"),
        ("num_lstm_layers", 0, "1 to 16"),
        ("epochs", 0, "a whole number from 1"),
        ("batch_size", -1, "a whole number from 1"),
        ("early_stopping_patience", 0, "a whole number from 1"),
        ("seed", -1, "0 to 2147483647"),
        ("gpu_memory_limit_mb", -1, "a whole number from 0"),
        ("dropout_rate", 1, "0 and below 1"),
        ("dropout_rate", -0.1, "0 and below 1"),
        ("dropout_rate", False, "a number from 0"),
        ("learning_rate", 0, "above 0 to 1"),
        ("learning_rate", "0.1", "above 0 to 1"),
        ("learning_rate", float("nan"), "above 0 to 1"),
        ("clip_norm", float("inf"), "above 0 to 1000000"),
        ("history_days", -1, "a whole number from 0"),
        ("network_days", 0, "a whole number from 1"),
        ("history_pairs", "some", "a list of pairs, or 'all'"),
        ("history_pairs", [1], "a list of pairs, or 'all'"),
        ("weight_decay", 101, "0 to 100"),
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
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.lists(st.sampled_from(["BTC/USDT", "ETH/USDT"]), max_size=2),
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
    # A whole number is taken for a number; true is no 1, and nothing else changes.
    assert {name: kept[name] for name in wanted} == wanted
    switches = {name for name, value in LSTMParameters() if isinstance(value, bool)}
    assert {name for name in kept if isinstance(kept[name], bool)} == switches
    assert read_parameters(json.loads(json.dumps(kept))) == parameters


# --- the freqai block ---


@pytest.mark.parametrize("config", [{}, {"model_save_type": "joblib", "keras": False}])
def test_good_block(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A good block passes without a word, saved as an archive of Keras or of joblib."""
    check_freqai(make_config(Path(), **config)["freqai"])
    assert caplog.records == []


def test_conv_width_missing() -> None:
    """Without conv_width the message says that the 1 is freqtrade's own."""
    freqai = make_config(Path())["freqai"]
    del freqai["conv_width"]
    with pytest.raises(OperationalException) as caught:
        check_freqai(freqai)
    assert str(caught.value) == refused(conv_width=1)
    assert "freqai.conv_width must be a whole number from 2" in str(caught.value)
    assert "Got 1, which freqtrade fills in" in str(caught.value)


@pytest.mark.parametrize("width", [0, -3, 24.0, "24", None, True])
def test_conv_width_impossible(width: Any) -> None:
    """conv_width must be a whole number above 1; `true` is not taken for the number 1."""
    message = refused(conv_width=width)
    assert "freqai.conv_width" in message
    assert f"Got {width!r}" in message


def test_model_save_type() -> None:
    """Only the archives that the model knows to write and find again are allowed."""
    message = refused(model_save_type="pytorch")
    for part in ("freqai.model_save_type", "'keras'", "'joblib'", "'pytorch'"):
        assert part in message


@pytest.mark.parametrize("keras", [{"keras": False}, {"keras": None}])
def test_keras_archives_need_keras(keras: dict[str, Any]) -> None:
    """`keras: false` beside `model_save_type: "keras"` is refused by both names."""
    message = refused(**keras)
    assert "freqai.keras must be true" in message
    assert "freqai.model_save_type" in message
    freqai = make_config(Path())["freqai"]
    del freqai["keras"]
    with pytest.raises(OperationalException, match=r"freqai\.keras must be true"):
        check_freqai(freqai)


@pytest.mark.parametrize(
    ("key", "block", "name"),
    [
        ("data_split_parameters.shuffle", "split", "shuffle"),
        ("data_split_parameters.shuffle_after_split", "split", "shuffle_after_split"),
        ("feature_parameters.shuffle_after_split", "features", "shuffle_after_split"),
    ],
)
def test_shuffling(key: str, block: str, name: str) -> None:
    """All three spellings of shuffled rows are refused, with the reason."""
    message = refused(**{block: {name: True}})
    assert f"freqai.{key} must be false" in message
    assert "consecutive candles" in message


def test_reversed_without_validation() -> None:
    """FreqAI would train on the validation rows, of which there are none."""
    message = refused(split={"test_size": 0}, features={"reverse_train_test_order": True})
    assert "freqai.feature_parameters.reverse_train_test_order" in message
    assert "data_split_parameters.test_size 0" in message


@pytest.mark.parametrize(
    ("config", "block", "key", "nearest"),
    [
        ({"conv_widht": 24}, "freqai", "conv_widht", "conv_width"),
        ({"train_period": 24}, "freqai", "train_period", "train_period_days"),
        (
            {"allow_changed_fingerprints": True},
            "freqai",
            "allow_changed_fingerprints",
            "allow_changed_fingerprint",
        ),
        (
            {"features": {"label_period_candle": 1}},
            "freqai.feature_parameters",
            "label_period_candle",
            "label_period_candles",
        ),
        (
            {"split": {"testsize": 0.2}},
            "freqai.data_split_parameters",
            "testsize",
            "test_size",
        ),
    ],
)
def test_misspelt_key(
    config: dict[str, Any],
    block: str,
    key: str,
    nearest: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key that resembles a known one is warned of with that name; it may be a strategy's."""
    check_freqai(make_config(Path(), **config)["freqai"])
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert f"{block}.{key} is read by neither" in line
    assert f"Did you mean '{nearest}'?" in line


def test_parameter_one_level_too_high() -> None:
    """A parameter of the model in the `freqai` block is sent to its place."""
    message = refused(units=64)
    assert "'units'" in message
    assert KEY in message


def test_unknown_far_key_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A key that resembles none is only pointed out: it may be a strategy's own."""
    check_freqai(make_config(Path(), zzz=1, features={"my_own_setting": 2})["freqai"])
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warned) == 2
    assert "freqai.zzz" in warned[0]
    assert "freqai.feature_parameters.my_own_setting" in warned[1]


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


def test_good_configuration(lstm: ModuleType, freqai_config: Callable[..., dict[str, Any]]) -> None:
    """A good configuration is taken over, and only what is missing comes from the defaults."""
    model = lstm.LSTMRegressor(config=freqai_config(training={"seed": 5}))
    assert (model.parameters.seed, model.parameters.units) == (5, 8)
    assert model.parameters.network_days == LSTMParameters().network_days
    assert model.CONV_WIDTH == 6
