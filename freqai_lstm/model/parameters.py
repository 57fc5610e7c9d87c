"""What a user may set for the model, checked before anything is trained."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from freqtrade.config_schema.config_schema import CONF_SCHEMA
from freqtrade.exceptions import OperationalException
from pydantic import BaseModel, ConfigDict, Field, ValidationError


logger = logging.getLogger(__name__)

KEY = "freqai.model_training_parameters"
# The feature that says how large labels are, where a strategy has one.
LABEL_SCALE = "%-label_scale"


class LSTMParameters(BaseModel):
    """Hold `freqai.model_training_parameters`, with the defaults.

    `read_parameters` makes one from a user's configuration.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    history_days: int = Field(1095, ge=0)
    history_pairs: Literal["all"] | list[str] = Field(default_factory=list)
    network_days: int = Field(90, ge=1)
    num_lstm_layers: int = Field(1, ge=1, le=16)
    units: int = Field(32, ge=1, le=4096)
    dropout_rate: float = Field(0.2, ge=0, lt=1)
    epochs: int = Field(6, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3.5e-3, gt=0, le=1)
    weight_decay: float = Field(0.3, ge=0, le=100)
    clip_norm: float = Field(1.0, gt=0, le=1e6)
    early_stopping_patience: int = Field(4, ge=1)
    seed: int = Field(1, ge=0, le=2**31 - 1)
    label_scale_feature: str = LABEL_SCALE
    device: Literal["auto", "cpu", "gpu"] = "auto"
    gpu_memory_limit_mb: int = Field(0, ge=0)


# Parameters of earlier releases, and what became of them.
_ALWAYS = "the model always does this now"
REMOVED = {
    "pooled": "one shared network learns from the history of all pairs",
    "ensemble": "predictions are the mean of two networks already",
    "input_dropout_rate": "dropout_rate is the only one",
    "optimizer": "it is AdamW",
    "loss": "wild labels are limited, and each label's error counts by its logarithm",
    "lr_patience": "the learning rate falls along a cosine",
    "lr_factor": "the learning rate falls along a cosine",
    "min_learning_rate": "the learning rate falls along a cosine, to 0",
    "candle_channel": _ALWAYS,
    "calendar": _ALWAYS,
}
MOVED = {
    "label_size_feature": " any more: it is called 'label_scale_feature' now.",
    "conv_width": ": write it one level up, as freqai.conv_width.",
    "timesteps": ": write it one level up, as freqai.conv_width.",
    "keras": ": write it one level up, as freqai.keras.",
}
OTHER_MODELS = {
    "LightGBM, XGBoost or CatBoost": {
        *("n_estimators", "num_leaves", "max_depth", "boosting_type", "objective", "subsample"),
        *("colsample_bytree", "reg_alpha", "reg_lambda", "min_child_weight", "min_child_samples"),
        *("gamma", "eta", "iterations", "verbosity", "n_jobs", "thread_count", "task_type"),
    },
    "FreqAI's PyTorch models": {"trainer_kwargs", "model_kwargs", "n_epochs", "n_steps"},
}


def read_parameters(given: Mapping[str, Any]) -> LSTMParameters:
    """Check `freqai.model_training_parameters` and fill in the defaults.

    A parameter that an earlier release had is named in the log and not used.

    :raises OperationalException: names every wrong key, what was got and what is allowed.
    """
    for name in sorted(given.keys() & REMOVED):
        logger.warning(f"{KEY}.{name} is not used any more: {REMOVED[name]}. Remove it.")
    try:
        return LSTMParameters(**{k: v for k, v in given.items() if k not in REMOVED})
    except ValidationError as invalid:
        wrong = dict.fromkeys(str(error["loc"][0]) for error in invalid.errors())
        lines = [_explain(name, given[name]) for name in wrong]
        raise OperationalException("\n".join(lines)) from invalid


def _explain(name: str, value: Any) -> str:
    if name in LSTMParameters.model_fields:
        return f"{KEY}.{name} must be {_allowed(name)}. Got {value!r} ({type(value).__name__})."
    wrong = f"{KEY} has no parameter '{name}'"
    if name in MOVED:
        return f"{wrong}{MOVED[name]}"
    known = ", ".join(LSTMParameters.model_fields)
    for owner, names in OTHER_MODELS.items():
        if name in names:
            return f"{wrong}: it belongs to {owner}. Remove it. LSTMRegressor has: {known}."
    return f"{wrong}.{nearest(name, LSTMParameters.model_fields)} Allowed: {known}."


def _allowed(name: str) -> str:
    """What a parameter may be, in words, from its type and range."""
    schema = LSTMParameters.model_json_schema()["properties"][name]
    if name == "history_pairs":
        return "a list of pairs, or 'all' for those that lie on disk"
    if "enum" in schema:
        return "one of " + ", ".join(map(repr, schema["enum"]))
    if schema["type"] == "string":
        return "the name of a feature of the strategy, or '' for none"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    low = {"minimum": "from", "exclusiveMinimum": "above"}
    high = {"maximum": "to", "exclusiveMaximum": "and below"}
    ends = [f"{word} {schema[key]:.12g}" for key, word in (low | high).items() if key in schema]
    return f"{kind} {' '.join(ends)}{'' if high.keys() & schema.keys() else ' or more'}"


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return " Did you mean '…'?" for the known name that is nearest, '' where none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""


# Keys that FreqAI or this model reads and that freqtrade's schema does not list.
_MORE_KEYS = {
    "freqai": {
        "identifier",
        "model_save_type",
        "multitarget_parallel_training",
        "extra_returns_per_train",
        "allow_changed_fingerprint",
        "override_exchange_checks",
        "live_trained_timestamp",
        "watch",
    },
    "freqai.feature_parameters": {
        "use_DBSCAN_to_remove_outliers",
        "noise_standard_deviation",
        "reverse_train_test_order",
        "drop_ohlc_from_features",
    },
    "freqai.data_split_parameters": {"train_size", "stratify"},
}


def check_freqai(freqai: Mapping[str, Any]) -> None:
    """Refuse `freqai` settings under which this model cannot work, before anything is trained.

    :param freqai: the `freqai` block of the configuration.
    :raises OperationalException: names the key, what was got and what to write instead.
    """
    _check_keys(freqai)
    width = freqai.get("conv_width", 1)
    if not isinstance(width, int) or isinstance(width, bool) or width < 2:
        raise OperationalException(
            "freqai.conv_width must be a whole number from 2 up: the number of candles (timesteps) "
            f"in one LSTM window, 24 for example. Got {width!r}"
            + (", which freqtrade fills in when the key is missing." if width == 1 else ".")
        )
    saved_as = freqai.get("model_save_type", "joblib")
    if saved_as not in ("keras", "joblib"):
        raise OperationalException(
            "freqai.model_save_type must be 'keras' or 'joblib' for LSTMRegressor. "
            f"Got {saved_as!r}."
        )
    if saved_as == "keras" and not freqai.get("keras", False):
        raise OperationalException(
            "freqai.keras must be true where freqai.model_save_type is 'keras'. "
            f"Got {freqai.get('keras')!r}."
        )
    split, features = freqai.get("data_split_parameters", {}), freqai.get("feature_parameters", {})
    if features.get("reverse_train_test_order", False) and split.get("test_size", 0.1) == 0:
        raise OperationalException(
            "freqai.feature_parameters.reverse_train_test_order needs validation rows to train on. "
            "Got data_split_parameters.test_size 0: change one of the two."
        )
    for block, key in (
        ("data_split_parameters", "shuffle"),
        ("data_split_parameters", "shuffle_after_split"),
        ("feature_parameters", "shuffle_after_split"),
    ):
        if freqai.get(block, {}).get(key, False):
            raise OperationalException(
                f"freqai.{block}.{key} must be false for LSTMRegressor. Got true. Shuffled rows "
                "are no consecutive candles, so no window can be built from them, and validation "
                "on shuffled rows would look into the future. (The windows of an epoch are "
                "shuffled anyway.)"
            )


def _check_keys(freqai: Mapping[str, Any]) -> None:
    """Name keys that nothing reads in a warning, with the known one that is nearest."""
    schema = CONF_SCHEMA["definitions"]["freqai"]["properties"]
    for block in ("freqai", "freqai.feature_parameters", "freqai.data_split_parameters"):
        name = block.partition(".")[2]
        known = {*(schema[name]["properties"] if name else schema), *_MORE_KEYS[block]}
        for key in freqai.get(name, {}) if name else freqai:
            if key in known:
                continue
            if key in LSTMParameters.model_fields:
                meant = f" A parameter of the model belongs into {KEY}."
            else:
                meant = nearest(key, known, cutoff=0.75)
            # A strategy may have keys of its own there, by whatever name.
            logger.warning(f"{block}.{key} is read by neither FreqAI nor LSTMRegressor.{meant}")
