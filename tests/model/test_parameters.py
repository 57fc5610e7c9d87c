"""What the configuration may say to LSTMRegressor, and how it refuses the rest."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from freqtrade.exceptions import OperationalException
from hypothesis import given, settings
from hypothesis import strategies as st


KEY = "freqai.model_training_parameters"
CONV_WIDTH = (
    "freqai.conv_width must be a whole number from 2 up: the number of candles (timesteps) in one "
    "LSTM window, 24 for example. Got "
)

Config = Callable[..., dict[str, Any]]


def refusal(lstm: ModuleType, config: dict[str, Any]) -> str:
    """The message with which the model refuses a configuration; nothing may be left on disk."""
    with pytest.raises(OperationalException) as caught:
        lstm.LSTMRegressor(config=config)
    assert not (Path(config["user_data_dir"]) / "models").exists()
    return str(caught.value)


def test_defaults(lstm: ModuleType) -> None:
    """Without any parameter the defaults serve, and each default is itself allowed."""
    parameters = lstm.LSTMParameters.from_config({})
    assert parameters == lstm.LSTMParameters()
    assert lstm.LSTMParameters.from_config(asdict(parameters)) == parameters


def test_only_what_is_given_changes(lstm: ModuleType) -> None:
    """Given parameters replace their defaults and leave the others as they were."""
    given_parameters = {"units": 7, "optimizer": "sgd", "dropout_rate": 0}
    parameters = lstm.LSTMParameters.from_config(given_parameters)
    assert asdict(parameters) == asdict(lstm.LSTMParameters()) | given_parameters


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [("learning_rte", "learning_rate"), ("epoch", "epochs"), ("lstm_layers", "num_lstm_layers")],
)
def test_unknown_name(lstm: ModuleType, freqai_config: Config, unknown: str, nearest: str) -> None:
    """An unknown parameter is refused with the nearest name and the list of all."""
    names = ", ".join(field.name for field in fields(lstm.LSTMParameters))
    assert refusal(lstm, freqai_config(training={unknown: 1})) == (
        f"{KEY} has no parameter '{unknown}'. Did you mean '{nearest}'? Allowed: {names}."
    )


def test_unknown_name_like_no_other(lstm: ModuleType, freqai_config: Config) -> None:
    """A name that resembles none is refused without a guess."""
    names = ", ".join(field.name for field in fields(lstm.LSTMParameters))
    assert refusal(lstm, freqai_config(training={"xyz": 1})) == (
        f"{KEY} has no parameter 'xyz'. Allowed: {names}."
    )


@pytest.mark.parametrize(
    ("name", "key"), [("conv_width", "conv_width"), ("timesteps", "conv_width"), ("keras", "keras")]
)
def test_misplaced_name(lstm: ModuleType, freqai_config: Config, name: str, key: str) -> None:
    """Settings of the `freqai` block written one level too deep are sent to their place."""
    assert refusal(lstm, freqai_config(training={name: 24})) == (
        f"{KEY} has no parameter '{name}': write it one level up, as freqai.{key}."
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("units", "64", "a whole number from 1 to 4096. Got '64' (str)"),
        ("units", True, "a whole number from 1 to 4096. Got True (bool)"),
        ("units", 64.0, "a whole number from 1 to 4096. Got 64.0 (float)"),
        ("units", 0, "a whole number from 1 to 4096. Got 0 (int)"),
        ("units", 4097, "a whole number from 1 to 4096. Got 4097 (int)"),
        ("units", [64], "a whole number from 1 to 4096. Got [64] (list)"),
        ("units", None, "a whole number from 1 to 4096. Got None (NoneType)"),
        ("num_lstm_layers", 0, "a whole number from 1 to 16. Got 0 (int)"),
        ("epochs", 0, "a whole number from 1 up. Got 0 (int)"),
        ("batch_size", -1, "a whole number from 1 up. Got -1 (int)"),
        ("early_stopping_patience", 0, "a whole number from 1 up. Got 0 (int)"),
        ("seed", -1, "a whole number from 0 to 2147483647. Got -1 (int)"),
        ("gpu_memory_limit_mb", -1, "a whole number from 0 up. Got -1 (int)"),
        ("dropout_rate", 1, "a number from 0 and below 1. Got 1 (int)"),
        ("dropout_rate", -0.1, "a number from 0 and below 1. Got -0.1 (float)"),
        ("dropout_rate", False, "a number from 0 and below 1. Got False (bool)"),
        ("learning_rate", 0, "a number above 0 to 1. Got 0 (int)"),
        ("learning_rate", "0.1", "a number above 0 to 1. Got '0.1' (str)"),
        ("learning_rate", float("nan"), "a number above 0 to 1. Got nan (float)"),
        ("clip_norm", float("inf"), "a number above 0 to 1e+06. Got inf (float)"),
        ("lr_factor", 1.0, "a number above 0 and below 1. Got 1.0 (float)"),
        ("min_learning_rate", -1e-9, "a number from 0 to 1. Got -1e-09 (float)"),
        ("weight_decay", 101, "a number from 0 to 100. Got 101 (int)"),
        ("loss", "rmse", "one of 'mse', 'mae', 'huber', 'log_cosh'. Got 'rmse' (str)"),
        ("loss", 1, "one of 'mse', 'mae', 'huber', 'log_cosh'. Got 1 (int)"),
        ("device", "tpu", "one of 'auto', 'cpu', 'gpu'. Got 'tpu' (str)"),
        (
            "optimizer",
            ["adam"],
            "one of 'adamw', 'adam', 'nadam', 'rmsprop', 'sgd'. Got ['adam'] (list)",
        ),
    ],
)
def test_impossible_value(
    lstm: ModuleType, freqai_config: Config, name: str, value: Any, said: str
) -> None:
    """A wrong type or an impossible value is refused with what is allowed and what was got."""
    message = refusal(lstm, freqai_config(training={name: value}))
    assert message == f"{KEY}.{name} must be {said}."


json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 64),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from(["adam", "sgd", "mse", "huber", "cpu", "gpu", "auto", ""]),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(data=st.data())
def test_what_is_accepted_round_trips(lstm: ModuleType, data: st.DataObject) -> None:
    """Whatever JSON can hold is either kept exactly as given, or refused by its name."""
    names = st.sampled_from([field.name for field in fields(lstm.LSTMParameters)])
    wanted = data.draw(st.dictionaries(names, json_values, max_size=3))
    refused = ""
    try:
        parameters = lstm.LSTMParameters.from_config(wanted)
    except OperationalException as reason:
        refused = str(reason)
    if refused:
        assert any(refused.startswith(f"{KEY}.{name} must be ") for name in wanted)
        return
    kept = asdict(parameters)
    assert {name: (type(kept[name]), kept[name]) for name in wanted} == {
        name: (type(value), value) for name, value in wanted.items()
    }
    assert lstm.LSTMParameters.from_config(json.loads(json.dumps(kept))) == parameters


def test_conv_width_missing(lstm: ModuleType, freqai_config: Config) -> None:
    """Without conv_width the message says that the 1 is freqtrade's own."""
    config = freqai_config()
    del config["freqai"]["conv_width"]
    expected = f"{CONV_WIDTH}1, which is what freqtrade fills in when the key is missing."
    assert refusal(lstm, config) == expected
    assert refusal(lstm, freqai_config(conv_width=1)) == expected


@pytest.mark.parametrize("width", [0, -3, 24.0, "24", None])
def test_conv_width_impossible(lstm: ModuleType, freqai_config: Config, width: Any) -> None:
    """conv_width must be a whole number above 1."""
    assert refusal(lstm, freqai_config(conv_width=width)) == f"{CONV_WIDTH}{width!r}."


def test_conv_width_is_no_truth_value(lstm: ModuleType, freqai_config: Config) -> None:
    """`true` is not taken for the number 1."""
    assert refusal(lstm, freqai_config(conv_width=True)).startswith(f"{CONV_WIDTH}True")


def test_model_save_type(lstm: ModuleType, freqai_config: Config) -> None:
    """Only the archives that the model knows to write and find again are allowed."""
    assert refusal(lstm, freqai_config(model_save_type="pytorch")) == (
        "freqai.model_save_type must be 'keras' or 'joblib' for LSTMRegressor. Got 'pytorch'."
    )


@pytest.mark.parametrize(
    ("key", "block", "name"),
    [
        ("data_split_parameters.shuffle", "split", "shuffle"),
        ("data_split_parameters.shuffle_after_split", "split", "shuffle_after_split"),
        ("feature_parameters.shuffle_after_split", "features", "shuffle_after_split"),
    ],
)
def test_shuffling(
    lstm: ModuleType, freqai_config: Config, key: str, block: str, name: str
) -> None:
    """All three spellings of shuffled rows are refused, with the reason."""
    assert refusal(lstm, freqai_config(**{block: {name: True}})) == (
        f"freqai.{key} must be false for LSTMRegressor. Got True. Shuffled rows are no longer "
        "consecutive candles, so no window could be built from them, and validation on shuffled "
        "rows would look into the future. (The order of windows within an epoch is shuffled "
        "anyway.)"
    )


def test_reversed_without_validation(lstm: ModuleType, freqai_config: Config) -> None:
    """FreqAI would train on the validation rows, of which there are none."""
    config = freqai_config(split={"test_size": 0}, features={"reverse_train_test_order": True})
    assert refusal(lstm, config) == (
        "freqai.feature_parameters.reverse_train_test_order needs validation rows to train on. Got "
        "data_split_parameters.test_size 0: set one of the two back."
    )


def test_good_configuration(lstm: ModuleType, freqai_config: Config) -> None:
    """A good configuration is taken over, and only what is missing comes from the defaults."""
    model = lstm.LSTMRegressor(config=freqai_config(training={"seed": 5}))
    assert (model.parameters.seed, model.parameters.units) == (5, 8)
    assert model.parameters.optimizer == lstm.LSTMParameters().optimizer
    assert model.CONV_WIDTH == 6
