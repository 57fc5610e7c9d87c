"""LSTMRegressor: a Keras LSTM for freqtrade's FreqAI, in one self-contained file.

Copy this file to `user_data/freqaimodels/` and name it on the command line:

    freqtrade backtesting --freqaimodel LSTMRegressor --strategy ... --timerange ...

It reads, from top to bottom: parameters -> windows -> label size -> TensorFlow and devices ->
network -> training -> storage -> fingerprint -> the FreqAI class (pipelines, training, prediction).
The model takes whatever `%` features and numeric `&` labels the strategy makes. Of the strategy it
knows one name, and only if it is there: the feature that says how large labels are.

Two decisions shape the code:

- One compiled network serves every training and every prediction of its shape. Building a Keras
  graph takes seconds and its memory is never quite given back, so a training resets the weights
  of the network instead of building a new one, and what a training returns is only the weights.
- Windows are never copied out. Rows stay in one 2-D matrix; a window is the number of its last
  row, and TensorFlow gathers `conv_width` rows for one batch at a time.
"""

import ast
import contextlib
import difflib
import hashlib
import json
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import perf_counter, time
from typing import Any

import cloudpickle
import datasieve.transforms as ds
import freqtrade
import numpy as np
import numpy.typing as npt
import pandas as pd
import rapidjson
from datasieve.pipeline import Pipeline
from datasieve.transforms import SKLearnWrapper
from freqtrade.configuration import TimeRange
from freqtrade.constants import Config
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.base_models.BaseRegressionModel import BaseRegressionModel
from freqtrade.freqai.data_drawer import (
    FEATURE_PIPELINE,
    LABEL_PIPELINE,
    METADATA,
    METADATA_NUMBER_MODE,
    TRAINDF,
    FreqaiDataDrawer,
)
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.utils import record_params
from freqtrade.strategy.interface import IStrategy
from pandas import DataFrame
from sklearn.preprocessing import RobustScaler, StandardScaler


logger = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------------------
# Parameters
# ---------------------------------------------------------------------------------------------

KEY = "freqai.model_training_parameters"


def _whole(low: int, high: int | None = None) -> dict[str, Any]:
    """Metadata of a parameter that is a whole number in [low, high]."""
    text = f"a whole number from {low} to {high}" if high else f"a whole number from {low} up"
    return {
        "allowed": text,
        "accepts": lambda v: (
            isinstance(v, int) and not isinstance(v, bool) and low <= v and (not high or v <= high)
        ),
    }


def _number(low: float, high: float, *, low_open: bool = False, high_open: bool = False) -> dict:
    """Metadata of a parameter that is a number between low and high (open ends excluded)."""
    return {
        "allowed": f"a number {'above' if low_open else 'from'} {low:g} "
        f"{'and below' if high_open else 'to'} {high:g}",
        "accepts": lambda v: (
            isinstance(v, int | float)
            and not isinstance(v, bool)
            and (low < v if low_open else low <= v)
            and (v < high if high_open else v <= high)
        ),
    }


def _one_of(*choices: str) -> dict[str, Any]:
    """Metadata of a parameter that is one of a few names."""
    return {
        "allowed": "one of " + ", ".join(repr(choice) for choice in choices),
        "accepts": lambda v: isinstance(v, str) and v in choices,
    }


def _name() -> dict[str, Any]:
    """Metadata of a parameter that names a feature, or none."""
    return {
        "allowed": "the name of a feature of the strategy, or '' for none",
        "accepts": lambda v: isinstance(v, str),
    }


# The feature that says how large labels are, where a strategy has one.
LABEL_SIZE = "%-label_size"


@dataclass(frozen=True)
class LSTMParameters:
    """What `freqai.model_training_parameters` may hold, with the defaults.

    `from_config` is the only way user input comes in; it refuses unknown names, wrong types and
    impossible values with freqtrade's OperationalException.
    """

    num_lstm_layers: int = field(default=2, metadata=_whole(1, 16))
    units: int = field(default=32, metadata=_whole(1, 4096))
    dropout_rate: float = field(default=0.3, metadata=_number(0, 1, high_open=True))
    input_dropout_rate: float = field(default=0.4, metadata=_number(0, 1, high_open=True))
    epochs: int = field(default=60, metadata=_whole(1))
    batch_size: int = field(default=128, metadata=_whole(1))
    learning_rate: float = field(default=1e-3, metadata=_number(0, 1, low_open=True))
    optimizer: str = field(
        default="adamw", metadata=_one_of("adamw", "adam", "nadam", "rmsprop", "sgd")
    )
    weight_decay: float = field(default=1.0, metadata=_number(0, 100))
    clip_norm: float = field(default=1.0, metadata=_number(0, 1e6, low_open=True))
    loss: str = field(default="mse", metadata=_one_of("mse", "mae", "huber", "log_cosh"))
    early_stopping_patience: int = field(default=10, metadata=_whole(1))
    lr_patience: int = field(default=4, metadata=_whole(1))
    lr_factor: float = field(default=0.5, metadata=_number(0, 1, low_open=True, high_open=True))
    min_learning_rate: float = field(default=1e-5, metadata=_number(0, 1))
    seed: int = field(default=1, metadata=_whole(0, 2**31 - 1))
    label_size_feature: str = field(default=LABEL_SIZE, metadata=_name())
    device: str = field(default="auto", metadata=_one_of("auto", "cpu", "gpu"))
    gpu_memory_limit_mb: int = field(default=0, metadata=_whole(0))

    @classmethod
    def from_config(cls, given: dict[str, Any]) -> "LSTMParameters":
        """Check `freqai.model_training_parameters` and fill in the defaults.

        :raises OperationalException: names the key, what was got, what is allowed.
        """
        known = {f.name: f for f in fields(cls)}
        elsewhere = {"conv_width": "conv_width", "timesteps": "conv_width", "keras": "keras"}
        for name, value in given.items():
            if name in elsewhere:
                raise OperationalException(
                    f"{KEY} has no parameter '{name}': write it one level up, as "
                    f"freqai.{elsewhere[name]}."
                )
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise OperationalException(
                    f"{KEY} has no parameter '{name}'.{hint} Allowed: {', '.join(known)}."
                )
            if not known[name].metadata["accepts"](value):
                raise OperationalException(
                    f"{KEY}.{name} must be {known[name].metadata['allowed']}. "
                    f"Got {value!r} ({type(value).__name__})."
                )
        return cls(**given)


def check_freqai_config(freqai: dict[str, Any]) -> None:
    """Refuse `freqai` settings under which an LSTM cannot work, before anything is trained.

    :param freqai: the `freqai` block of the configuration.
    :raises OperationalException: names the key, what was got and what to write instead.
    """
    width = freqai.get("conv_width", 1)
    if not isinstance(width, int) or isinstance(width, bool) or width < 2:
        default = ", which is what freqtrade fills in when the key is missing"
        raise OperationalException(
            "freqai.conv_width must be a whole number from 2 up: the number of candles (timesteps) "
            f"in one LSTM window, 24 for example. Got {width!r}"
            f"{default if repr(width) == '1' else ''}."
        )
    saved_as = freqai.get("model_save_type", "joblib")
    if saved_as not in ("keras", "joblib"):
        raise OperationalException(
            "freqai.model_save_type must be 'keras' or 'joblib' for LSTMRegressor. "
            f"Got {saved_as!r}."
        )
    split, features = freqai.get("data_split_parameters", {}), freqai.get("feature_parameters", {})
    if features.get("reverse_train_test_order", False) and split.get("test_size", 0.1) == 0:
        raise OperationalException(
            "freqai.feature_parameters.reverse_train_test_order needs validation rows to train on. "
            "Got data_split_parameters.test_size 0: set one of the two back."
        )
    for key, shuffled in (
        ("data_split_parameters.shuffle", split.get("shuffle", False)),
        ("data_split_parameters.shuffle_after_split", split.get("shuffle_after_split", False)),
        ("feature_parameters.shuffle_after_split", features.get("shuffle_after_split", False)),
    ):
        if shuffled:
            raise OperationalException(
                f"freqai.{key} must be false for LSTMRegressor. Got {shuffled!r}. Shuffled rows "
                "are no longer consecutive candles, so no window could be built from them, and "
                "validation on shuffled rows would look into the future. (The order of windows "
                "within an epoch is shuffled anyway.)"
            )


# ---------------------------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------------------------


def candle_numbers(dates: pd.Series, timeframe_seconds: int) -> npt.NDArray[np.int64]:
    """Number each candle by its time, so that consecutive candles differ by exactly one.

    :param dates: opening times; datetimes, or objects that pandas can read as such (in live
        trainings FreqAI's `date` column can arrive with dtype object).
    :returns: ndarray of shape (rows,): candles since 1970.
    """
    stamps = pd.to_datetime(dates, utc=True).to_numpy(dtype="datetime64[s]").astype(np.int64)
    return stamps // timeframe_seconds


def window_ends(
    candles: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_], conv_width: int
) -> npt.NDArray[np.int32]:
    """Find the rows at which a complete window ends.

    The window of row r is rows r-conv_width+1 … r: it ends AT its candle. It is complete when
    these rows are consecutive candles and every one of them is valid, so no window bridges a gap
    (dropped rows, removed outliers, missing candles).

    :param candles: ndarray of shape (rows,), numbers from `candle_numbers`, in time order.
    :param valid: ndarray of shape (rows,), False where a row holds a NaN or is an outlier.
    :returns: ndarray of shape (windows,), row numbers in ascending order.
    """
    if len(candles) < conv_width:
        return np.empty(0, dtype=np.int32)
    spans = candles[conv_width - 1 :] - candles[: len(candles) - conv_width + 1]
    valid_before = np.concatenate([[0], np.cumsum(valid)])
    valid_rows = valid_before[conv_width:] - valid_before[:-conv_width]
    steps = np.concatenate([[0], np.cumsum(np.diff(candles) == 1)])
    single_steps = steps[conv_width - 1 :] - steps[: len(steps) - conv_width + 1]
    complete = (spans == conv_width - 1) & (single_steps == conv_width - 1)
    complete &= valid_rows == conv_width
    return (np.flatnonzero(complete) + conv_width - 1).astype(np.int32)


@dataclass
class TrainingSet:
    """The rows of one training as matrices, and the windows to learn from and to validate on.

    `features` of shape (rows, features) and `labels` of shape (rows, labels) are float32, in time
    order, training and validation rows together, so that the first validation windows reach back
    into training rows. `train_ends` and `validation_ends` are row numbers from `window_ends`.
    `sizes` is what labels were divided by (`LabelSize`): R² is reported with it multiplied back.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]  # (rows,)
    train_ends: npt.NDArray[np.int32]
    validation_ends: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.float64] | None = None  # (rows,)


def split_windows(
    candles: npt.NDArray[np.int64],
    is_validation: npt.NDArray[np.bool_],
    conv_width: int,
    horizon: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Split complete windows into training and validation, purged of shared labels.

    The label of candle t is known only at t + horizon. Windows of the earlier part whose label
    reaches into the later part are left out of the earlier part; their rows still serve as history.

    :param is_validation: ndarray of shape (rows,), True for validation rows (one block of time).
    :param horizon: `feature_parameters.label_period_candles`.
    :returns: (train_ends, validation_ends).
    """
    ends = window_ends(candles, np.ones(len(candles), dtype=bool), conv_width)
    if not is_validation.any() or is_validation.all():
        return ends[~is_validation[ends]], ends[is_validation[ends]]
    later = is_validation if is_validation[-1] else ~is_validation
    boundary = candles[later].min()
    keep = later[ends] | (candles[ends] + horizon < boundary)
    ends = ends[keep]
    return ends[~is_validation[ends]], ends[is_validation[ends]]


# ---------------------------------------------------------------------------------------------
# Label size
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelSize:
    """How large labels that lie ahead will roughly be, by a feature that says so beforehand.

    A score divided by volatility is a hundred times larger in a calm market than in a wild one, and
    squares then listen to a few calm candles alone. So labels are divided by their size of now
    before they are learned, and predictions multiplied by it (volatility scaling; Lim, Zohren and
    Roberts 2019, arXiv:1904.04912). The size is |feature|, kept within the 1st and the 80th
    percentile of the training rows: a feature far outside what was seen must not blow up a
    prediction. Labels of the same candle (`label_period_candles` 0) are left alone: they are a
    function of the features, and dividing would only bend it.

    `lowest` and `highest` are in the unit of the feature.
    """

    feature: str
    lowest: float
    highest: float

    @classmethod
    def fit(cls, feature: str, values: pd.Series) -> "LabelSize":
        """Take the range from the training rows.

        :param values: the feature as the strategy gave it, of shape (rows,).
        :raises OperationalException: it is zero too often to divide by.
        """
        lowest, highest = np.quantile(np.abs(values.to_numpy(dtype=float)), (0.01, 0.8))
        if not highest > 0:
            raise OperationalException(
                f"{KEY}.label_size_feature: '{feature}' must not be zero on most candles, since "
                "labels are divided by its size. Got zero on at least 80 % of the training "
                "candles. Mend the feature, or set the parameter to ''."
            )
        return cls(feature, float(max(lowest, highest / 1000)), float(highest))

    def of(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The sizes that go with values of the feature, of the same shape."""
        return np.clip(np.abs(np.asarray(values, dtype=float)), self.lowest, self.highest)


# ---------------------------------------------------------------------------------------------
# TensorFlow and devices
# ---------------------------------------------------------------------------------------------

# Lines TensorFlow's C++ parts write to stderr while loading, before any log level applies.
START_UP_NOISE = (
    "I0000",
    " I tensorflow/",
    "To enable the following instructions",
    "All log messages before absl",
    "Unable to register cu",  # TensorFlow 2.18
    "failed call to cuInit",  # a machine without a GPU; configure_devices says so in plain words
)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what C++ code writes to stderr, then pass on all of it that is not known noise."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if line.strip() and not any(noise in line for noise in START_UP_NOISE):
                    print(line, file=sys.stderr)


def load_tensorflow() -> tuple[Any, Any]:
    """Import TensorFlow and Keras on first use; freqtrade lists models without paying for it.

    :returns: (tensorflow, keras)
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with _quiet_stderr():
            import tensorflow as tf

            # The C++ runtime logs again when the first operation starts it.
            tf.config.list_physical_devices()
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise OperationalException(
            "LSTMRegressor needs Keras on TensorFlow. Got the Keras backend "
            f"'{keras.backend.backend()}': unset KERAS_BACKEND or set it to 'tensorflow'."
        )
    return tf, keras


# The oldest and the newest release that was tried, by their first two numbers: docs/versions.md.
TESTED_VERSIONS = {
    "python": ((3, 11), (3, 13)),
    "freqtrade": ((2025, 6), (2026, 9)),
    "tensorflow": ((2, 18), (2, 21)),
    "keras": ((3, 5), (3, 15)),
}


def untested_versions(found: Mapping[str, str]) -> list[str]:
    """Say which versions lie outside the range that was tried.

    :param found: versions such as {"keras": "3.15.1"}, for names in `TESTED_VERSIONS`.
    :returns: one line for the log per version, none when all are within their ranges.
    """
    lines = []
    for name, version in found.items():
        oldest, newest = TESTED_VERSIONS[name]
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if not oldest <= numbers <= newest:
            span = " to ".join(f"{major}.{minor}" for major, minor in (oldest, newest))
            age = "older" if numbers < oldest else "newer"
            lines.append(
                f"{name} {version} is {age} than what LSTMRegressor was tested with ({span}). It "
                "may work. If it does not, install one of the versions in docs/versions.md."
            )
    return lines


def configure_devices(tf: Any, device: str = "auto", memory_limit_mb: int = 0) -> str:
    """Choose the device to train on, and let TensorFlow take GPU memory only as it needs it.

    Safe to call twice and after TensorFlow's runtime has started: devices that can no longer be
    changed stay as they are, and the returned line says so.

    :param device: 'auto' (a GPU where there is one), 'cpu' or 'gpu'.
    :param memory_limit_mb: upper limit of GPU memory in MB, 0 for none.
    :returns: one line for the log: what was chosen and why.
    :raises OperationalException: when `device` is 'gpu' and TensorFlow sees none.
    """
    system = platform.system()
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise OperationalException(
            f"{KEY}.device is 'gpu', but TensorFlow sees no GPU. {_gpu_hint(system)} "
            "Or write 'auto' to use the CPU."
        )
    try:
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return "Training on the CPU, as configured."
        if not gpus:
            return f"Training on the CPU: TensorFlow sees no GPU. {_gpu_hint(system)}"
        for gpu in gpus:
            if memory_limit_mb:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_limit_mb)
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError) as reason:
        return f"TensorFlow is running already and keeps its devices as they are ({reason})."
    memory = f"at most {memory_limit_mb} MB each" if memory_limit_mb else "memory grows as needed"
    line = f"Training on {len(gpus)} GPU(s) ({memory})."
    if system == "Darwin":
        line += (
            " Apple's metal plugin is usually slower than the CPU for LSTMs: "
            f'compare with {KEY}.device = "cpu".'
        )
    return line


def _gpu_hint(system: str) -> str:
    return {
        "Windows": "On Windows, TensorFlow uses GPUs only inside WSL2.",
        "Darwin": "On Apple silicon, tensorflow-metal would add one, usually slower for LSTMs.",
    }.get(system, "For an NVIDIA GPU: pip install 'tensorflow[and-cuda]'.")


# ---------------------------------------------------------------------------------------------
# Network
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkShape:
    """Everything that decides which network has to be built."""

    conv_width: int
    features: int
    labels: int
    parameters: LSTMParameters


LINE = "straight_line"


def build_network(keras: Any, shape: NetworkShape) -> Any:
    """Build the Keras model: stacked residual LSTMs, then a dense head.

    Whole features are dropped from the windows the LSTMs see, so that none is relied on alone. Each
    LSTM after the first sees the layer-normalised output of the stack below and adds to it (a
    pre-norm residual connection), so that depth never hides what the lower layers found. The head
    sees the last state with the current candle's features. The output is the sum of what the head
    and those features, some of them dropped, make of it, and of a straight line from all of them:
    `solve_line` finds its weights, the epochs leave it alone and learn what it leaves over.

    Only layers that Keras ships, with fixed names: the archive opens with
    `keras.saving.load_model` alone, and equal shapes have equal configurations. Every initializer
    and dropout layer has its own seed, so that no global random state is touched.

    :returns: `keras.Model` from (windows, conv_width, features) to (windows, labels).
    """
    p = shape.parameters
    layers = keras.layers

    def seed(offset: int) -> int:
        return p.seed * 1000 + offset

    def lstm(number: int, *, sequences: bool) -> Any:
        return layers.LSTM(
            p.units,
            return_sequences=sequences,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed(10 * number)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seed(10 * number + 1)),
            seed=seed(10 * number + 2),
            name=f"lstm_{number}",
        )

    window = keras.Input((shape.conv_width, shape.features), name="window")
    seen = layers.SpatialDropout1D(p.input_dropout_rate, seed=seed(800), name="dropout_features")
    seen = seen(window)  # (windows, conv_width, features), some features zero in all timesteps
    stack = lstm(1, sequences=p.num_lstm_layers > 1)(seen)  # (windows, [conv_width,] units)
    for number in range(2, p.num_lstm_layers + 1):
        last = number == p.num_lstm_layers
        below = layers.LayerNormalization(name=f"norm_{number}")(stack)
        below = layers.Dropout(p.dropout_rate, seed=seed(number), name=f"dropout_{number}")(below)
        above = lstm(number, sequences=not last)(below)
        if last:
            stack = layers.Cropping1D((shape.conv_width - 1, 0), name="last_state")(stack)
            stack = layers.Flatten(name="last_state_flat")(stack)  # (windows, units)
        stack = layers.Add(name=f"residual_{number}")([stack, above])
    state = layers.LayerNormalization(name="norm_state")(stack)  # (windows, units)

    def last_candle(windows: Any, name: str) -> Any:
        candle = layers.Cropping1D((shape.conv_width - 1, 0), name=f"{name}_candle")(windows)
        return layers.Flatten(name=name)(candle)  # (windows, features)

    current = last_candle(seen, "seen")  # (windows, features)
    head = layers.Concatenate(name="state_and_seen")([state, current])
    glorot = keras.initializers.GlorotUniform(seed=seed(500))
    head = layers.Dense(p.units, "relu", kernel_initializer=glorot, name="head")(head)
    head = layers.Dropout(p.dropout_rate, seed=seed(900), name="dropout_head")(head)
    head = layers.Concatenate(name="head_and_seen")([head, current])
    # From zero, since features with heavy tails times random weights would be a loud start, which
    # the early epochs then spend on unlearning.
    learned = layers.Dense(shape.labels, kernel_initializer="zeros", use_bias=False, name="learned")
    learned = learned(head)
    line = layers.Dense(shape.labels, kernel_initializer="zeros", name=LINE)
    line = line(last_candle(window, "current"))
    prediction = layers.Add(name="prediction")([line, learned])  # (windows, labels)
    return keras.Model(window, prediction, name="LSTMRegressor")


MAX_GATHERED = 2**23  # numbers in the windows of one prediction: 32 MB
MAX_UNROLLED = 128  # LSTM steps (candles × layers); tracing a training takes 40 ms for each


class Network:
    """One compiled Keras network: trains on, and predicts, windows of one shape.

    It is used by one training at a time (`lock`), while any number of threads predict with it:
    predictions never read the variables that a training changes, they bring their own weights.
    """

    def __init__(self, model: Any, parameters: LSTMParameters) -> None:
        self.tf, self.keras = load_tensorflow()
        self.model = model
        self.parameters = parameters
        self.lock = threading.RLock()
        self.conv_width, self.features = model.input_shape[1:]
        self.labels = model.output_shape[-1]
        self._variables = list(model.variables)  # weights, and the state of the dropout seeds
        self._first_values = [np.asarray(v) for v in self._variables]
        self._predict = self._prediction_function()
        self._compiled: tuple[Callable, list[npt.NDArray]] | None = None

    def windows(self, matrix: Any, ends: Any) -> Any:
        """Gather windows from the 2-D matrix.

        :param matrix: tensor of shape (rows, features)
        :param ends: tensor of shape (batch,), the last row of each window
        :returns: tensor of shape (batch, conv_width, features)
        """
        offsets = self.tf.range(1 - self.conv_width, 1)
        return self.tf.gather(matrix, ends[:, None] + offsets)

    def pack(self, weights: Sequence[npt.NDArray]) -> Any:
        """Put weights into one tensor: TensorFlow takes one argument much faster than twenty.

        :param weights: in the order of `keras.Model.get_weights()`.
        :returns: tensor of shape (numbers in all weights,)
        """
        return self.tf.constant(np.concatenate([np.ravel(w) for w in weights]).astype(np.float32))

    def predict(
        self,
        packed: Any,
        matrix: npt.NDArray[np.float32],
        ends: npt.NDArray[np.int32],
        batch: int = 2048,
    ) -> npt.NDArray[np.float32]:
        """Predict the windows that end at `ends`, with the given weights.

        :param packed: what `pack` made of the weights.
        :param matrix: ndarray of shape (rows, features)
        :param batch: windows gathered at once, fewer where they are large; bounds the memory.
        :returns: ndarray of shape (len(ends), labels)
        """
        rows = self.tf.constant(matrix)
        batch = min(batch, max(1, MAX_GATHERED // (self.conv_width * self.features)))
        parts = [
            self._predict(packed, rows, self.tf.constant(ends[start : start + batch])).numpy()
            for start in range(0, len(ends), batch)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.labels), dtype=np.float32)

    def _prediction_function(self) -> Callable:
        tf, model = self.tf, self.model
        unused = [tf.constant(np.asarray(v)) for v in model.non_trainable_variables]
        shapes = [tuple(v.shape) for v in model.trainable_variables]
        sizes = [int(np.prod(shape)) for shape in shapes]

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec((sum(sizes),), tf.float32),
                tf.TensorSpec((None, self.features), tf.float32),
                tf.TensorSpec((None,), tf.int32),
            ],
        )
        def predict(packed: Any, matrix: Any, ends: Any) -> Any:
            weights = [
                tf.reshape(part, shape)
                for part, shape in zip(tf.split(packed, sizes), shapes, strict=True)
            ]
            windows = self.windows(matrix, ends)
            return model.stateless_call(weights, unused, windows, training=False)[0]

        with self._unrolled():
            return predict.get_concrete_function()

    @contextlib.contextmanager
    def _unrolled(self) -> Iterator[None]:
        """Write the LSTMs' steps out, one after the other, in what is traced meanwhile.

        A loop in TensorFlow costs more than the steps of one window, and a tenth of a training. But
        tracing takes the longer the more steps there are, and cuDNN on a GPU has its own loop.
        """
        lstms = [layer for layer in self.model.layers if isinstance(layer, self.keras.layers.LSTM)]
        gpu = self.tf.config.list_logical_devices("GPU")
        unroll = not gpu and self.conv_width * len(lstms) <= MAX_UNROLLED
        before = [layer.unroll for layer in lstms]
        for layer in lstms:
            layer.unroll = unroll
        try:
            yield
        finally:
            for layer, looped in zip(lstms, before, strict=True):
                layer.unroll = looped

    # --- what a training needs ---

    def reset(self, weights: Sequence[npt.NDArray] | None = None) -> None:
        """Put every variable, the optimizer's too, back to its first value.

        :param weights: start from these instead of the fresh ones (continual learning).
        """
        _, optimizer_values = self._training_function()
        for variable, value in zip(self._variables, self._first_values, strict=True):
            variable.assign(value)
        for variable, value in zip(self.model.optimizer.variables, optimizer_values, strict=True):
            variable.assign(value)
        if weights is not None:
            self.model.set_weights(weights)

    def train_epoch(
        self, data: "TrainingTensors", ends: npt.NDArray[np.int32], batch_size: int
    ) -> float:
        """Train on each window once, in the given order; returns the mean loss.

        The whole epoch is one call into TensorFlow: no Python between batches, and the bot's own
        thread keeps the interpreter to itself meanwhile.
        """
        epoch, _ = self._training_function()
        total = epoch(
            data.features,
            data.labels,
            data.weights,
            self.tf.constant(ends),
            self.tf.constant(batch_size),
        )
        return float(total) / len(ends)

    def set_line(self, kernel: npt.NDArray, bias: npt.NDArray) -> None:
        """Put in the straight line: kernel of shape (features, labels), bias of shape (labels,)."""
        self.model.get_layer(LINE).set_weights([kernel, bias])

    def loss(self, labels: npt.NDArray, predictions: npt.NDArray) -> npt.NDArray:
        """Loss per window, ndarray of shape (windows,), the same that training minimises."""
        return np.asarray(self._loss()(labels, predictions))

    def _loss(self) -> Callable:
        return self.keras.losses.get(self.parameters.loss)

    # No functools.cached_property: in Python 3.11 it holds a lock, and hyperopt pickles this class.
    def _training_function(self) -> tuple[Callable, list[npt.NDArray]]:
        """One epoch as a TensorFlow function, and the first values of the optimizer's variables."""
        if self._compiled is None:
            self._compiled = self._compile_training()
        return self._compiled

    def _compile_training(self) -> tuple[Callable, list[npt.NDArray]]:
        tf, p, model = self.tf, self.parameters, self.model
        decay = {"weight_decay": p.weight_decay} if p.optimizer == "adamw" else {}
        optimizer = self.keras.optimizers.get(
            {
                "class_name": p.optimizer,
                "config": {"learning_rate": p.learning_rate, "clipnorm": p.clip_norm, **decay},
            }
        )
        model.compile(optimizer=optimizer)
        line = [id(v) for v in model.get_layer(LINE).weights]  # solve_line's, not the optimizer's
        learned = [v for v in model.trainable_variables if id(v) not in line]
        optimizer.build(learned)
        first_values = [np.asarray(v) for v in optimizer.variables]
        loss = self._loss()

        def step(start: Any, total: Any, data: tuple) -> tuple[Any, Any]:
            features, labels, weights, ends, batch_size = data
            batch = ends[start : start + batch_size]
            with tf.GradientTape() as tape:
                predicted = model(self.windows(features, batch), training=True)
                losses = loss(tf.gather(labels, batch), predicted) * tf.gather(weights, batch)
                mean = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(mean, learned), learned)
            return start + batch_size, total + tf.reduce_sum(losses)

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec((None, self.features), tf.float32),
                tf.TensorSpec((None, self.labels), tf.float32),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((), tf.int32),
            ],
        )
        def epoch(*data: Any) -> Any:
            count = tf.shape(data[3])[0]
            _, total = tf.while_loop(
                lambda start, _: start < count,
                lambda start, total: step(start, total, data),
                (tf.constant(0), tf.constant(0.0)),
                parallel_iterations=1,
            )
            return total

        with self._unrolled():
            return epoch.get_concrete_function(), first_values

    def save(self, path: Path, weights: Sequence[npt.NDArray]) -> None:
        """Write a `.keras` archive that `keras.saving.load_model` opens by itself."""
        with self.lock:
            self.model.set_weights(weights)
            self.model.save(path)


class NetworkPool:
    """TensorFlow's side of this process: the chosen device and the compiled networks by shape.

    No network is built twice. Only the most recent ones are kept: with PCA the number of features
    may change at every training.
    """

    def __init__(self, parameters: LSTMParameters, size: int = 8) -> None:
        self.parameters = parameters
        self.size = size
        self._lock = threading.RLock()
        self._networks: OrderedDict[Any, Network] = OrderedDict()
        self._keras: Any = None

    def start(self) -> Any:
        """Import TensorFlow and choose the device, once, with one line in the log.

        :returns: the `keras` module
        """
        with self._lock:
            if self._keras is None:
                tf, keras = load_tensorflow()
                p = self.parameters
                found = {"python": platform.python_version(), "freqtrade": freqtrade.__version__}
                found |= {"tensorflow": tf.__version__, "keras": keras.__version__}
                for line in untested_versions(found):
                    logger.warning(line)
                logger.info(configure_devices(tf, p.device, p.gpu_memory_limit_mb))
                self._keras = keras
            return self._keras

    def fresh(self, conv_width: int, features: int, labels: int) -> Network:
        """The network for windows of this shape, built on first use."""
        keras, shape = self.start(), NetworkShape(conv_width, features, labels, self.parameters)
        with self._lock:
            if shape not in self._networks:
                self._keep(shape, Network(build_network(keras, shape), self.parameters))
            self._networks.move_to_end(shape)
            return self._networks[shape]

    def loaded(self, model: Any) -> Network:
        """The network that equals a loaded `keras.Model`.

        An archive of another architecture (other parameters, an older version of this file) still
        predicts, with its own network.
        """
        architecture = _architecture(model)
        with self._lock:
            conv_width, features = model.input_shape[1:]
            network = self.fresh(conv_width, features, model.output_shape[-1])
            if _architecture(network.model) == architecture:
                return network
            if architecture not in self._networks:
                self._keep(architecture, Network(model, self.parameters))
            self._networks.move_to_end(architecture)
            return self._networks[architecture]

    def _keep(self, key: Any, network: Network) -> None:
        self._networks[key] = network
        if len(self._networks) > self.size:
            self._networks.popitem(last=False)


def _architecture(model: Any) -> str:
    return json.dumps(model.get_config(), sort_keys=True, default=str)


# ---------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------


@dataclass
class TrainingTensors:
    """A training set as TensorFlow tensors, copied to the device once per training."""

    features: Any  # (rows, features)
    labels: Any  # (rows, labels)
    weights: Any  # (rows,)


class TrainedLSTM:
    """What a training leaves behind: weights, and the network that knows what to do with them.

    FreqAI keeps one per pair (`dd.model_dictionary`) and hands it back as `self.model`.

    Attributes:
        network: the shared, compiled network of this shape.
        weights: list of ndarrays, in the order of `keras.Model.get_weights()`.
        features: names of the input columns, as they leave the feature pipeline.
        report: epochs, losses and validation R² of the training, as saved in the metadata.
    """

    def __init__(
        self,
        network: Network,
        weights: list[npt.NDArray],
        features: list[str],
        report: dict[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.weights = weights
        self.features = features
        self.report = report or {}
        self.tb_logger: Any = None  # FreqAI's get_init_model() sets it
        self._packed: Any = None  # made once and not at every candle

    def predict(
        self, matrix: npt.NDArray[np.float32], ends: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """Predict windows of `matrix` (rows, features); returns (len(ends), labels)."""
        if self._packed is None:
            self._packed = self.network.pack(self.weights)
        return self.network.predict(self._packed, matrix, ends)

    def save(self, path: Path) -> None:
        """Write the `.keras` archive."""
        self.network.save(path, self.weights)


def solve_line(
    data: TrainingSet, loss: Callable[[npt.NDArray, npt.NDArray], npt.NDArray]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The straight line from a candle's features to its labels, by ridge regression.

    Its penalty is the one with the least loss on the validation windows. Labels that are linear in
    the features are met exactly; where little can be known, the line is nearly or wholly flat, at
    the labels' median. The penalty is on the line's height too: in labels that are mostly zero, the
    mean of a few large ones is no level that predictions should start from.

    :param loss: loss per window of (labels, predictions).
    :returns: kernel of shape (features, labels) and bias of shape (labels,).
    """
    ends, judges = data.train_ends, data.validation_ends
    if len(judges) == 0:  # test_size 0: the latest fifth of the windows chooses the penalty
        ends, judges = np.split(ends, [len(ends) - len(ends) // 5])
    votes, total = data.weights[judges], data.weights[ends].sum()
    features, labels = data.features.shape[1], data.labels.shape[1]
    flat = np.zeros((features, labels), np.float32)
    if len(judges) == 0 or votes.sum() == 0 or total == 0:
        return flat, np.zeros(labels, np.float32)
    level = np.quantile(
        data.labels[ends], 0.5, axis=0, weights=data.weights[ends], method="inverted_cdf"
    ).astype(np.float32)  # the median
    lines = [(flat, level)]
    # Normal equations, summed up in blocks of rows: no float64 copy of the whole matrix.
    gram, along = np.zeros((features + 1, features + 1)), np.zeros((features + 1, labels))
    for block in np.array_split(ends, len(ends) // 2048 + 1):
        x = np.pad(data.features[block].astype(float), ((0, 0), (0, 1)), constant_values=1)
        weighted = (x * (data.weights[block, None] / total)).T
        with np.errstate(invalid="ignore", over="ignore"):  # looked at below
            gram += weighted @ x
            along += weighted @ (data.labels[block] - level)
    if not (np.isfinite(gram).all() and np.isfinite(along).all()):
        return lines[0]  # the epochs diverge too, and training then says so
    size, axes = np.linalg.eigh(gram)
    along = axes.T @ along
    for penalty in np.logspace(1, -9, 21):
        line = (axes @ (along / (size.clip(0) + penalty)[:, None])).astype(np.float32)
        lines.append((line[:-1], level + line[-1]))
    losses = [
        np.average(loss(data.labels[judges], data.features[judges] @ kernel + bias), weights=votes)
        for kernel, bias in lines
    ]
    return lines[int(np.argmin(losses))]  # of equals the first: the strongest penalty


def train_network(
    network: Network,
    data: TrainingSet,
    *,
    start_from: Sequence[npt.NDArray] | None = None,
    summary: Callable[[dict[str, float], int], None] = lambda scalars, epoch: None,
) -> tuple[list[npt.NDArray], dict[str, Any]]:
    """Train with early stopping on the validation loss and a learning rate that steps down.

    The straight line is solved before the first epoch. Where it says it all (labels that are linear
    in the features), no epoch does better and the start is what is kept: `best_epoch` is 0.

    Keras' own callbacks decide: ReduceLROnPlateau, and EarlyStopping with the best weights
    restored. Without validation windows all epochs run and the training loss steers the rate.

    :param start_from: weights to continue from (continual learning); None for fresh ones. The
        straight line is solved anew all the same, since the scalers are fitted anew.
    :param summary: called once per epoch with {name: value} and the epoch, for TensorBoard.
    :returns: (weights, report); the report holds `epochs`, `best_epoch`, `loss`,
        `validation_loss`, `validation_r2`, the same of the straight line alone (`line_…`; all
        None without validation), `curves`.
    :raises OperationalException: when the loss is no finite number any more.
    """
    p, tf, callbacks = network.parameters, network.tf, network.keras.callbacks
    validated = len(data.validation_ends) > 0
    monitor = "val_loss" if validated else "loss"
    steering = [
        callbacks.ReduceLROnPlateau(
            monitor, p.lr_factor, p.lr_patience, mode="min", min_lr=p.min_learning_rate
        )
    ]
    if validated:
        steering.append(
            callbacks.EarlyStopping(
                monitor, 0, p.early_stopping_patience, mode="min", restore_best_weights=True
            )
        )
    with network.lock:
        network.reset(start_from)
        network.set_line(*solve_line(data, network.loss))
        model = network.model
        model.stop_training = False
        tensors = TrainingTensors(*map(tf.constant, (data.features, data.labels, data.weights)))
        actual = data.labels[data.validation_ends]
        sizes = 1.0 if data.sizes is None else data.sizes[data.validation_ends, None]
        order = np.random.default_rng(p.seed)
        for callback in steering:
            callback.set_model(model)
            callback.on_train_begin()

        def validate() -> dict[str, float]:
            packed = network.pack(model.get_weights())
            predicted = network.predict(packed, tensors.features, data.validation_ends)
            weights = data.weights[data.validation_ends]
            loss = float(np.average(network.loss(actual, predicted), weights=weights))
            return {"val_loss": loss, "val_r2": r_squared(actual * sizes, predicted * sizes)}

        before = validate() if validated else {}
        if validated:
            steering[-1].on_epoch_end(0, before)  # so that the start can be what is kept
        curves: list[dict[str, float]] = []
        for epoch in range(p.epochs):
            shuffled = order.permutation(data.train_ends)
            logs = {"loss": network.train_epoch(tensors, shuffled, p.batch_size)}
            if validated:
                logs |= validate()
            if not np.isfinite(logs[monitor]):
                raise OperationalException(
                    f"The {monitor} became {logs[monitor]} in epoch {epoch + 1}: the training "
                    f"diverged. Lower {KEY}.learning_rate (now {p.learning_rate:g}), or look for "
                    "extreme values in features and labels."
                )
            for callback in steering:
                callback.on_epoch_end(epoch, logs)  # ReduceLROnPlateau adds learning_rate
            curves.append({name: float(value) for name, value in logs.items()})
            summary(curves[-1], epoch)
            if model.stop_training:
                break
        for callback in steering:
            callback.on_train_end()
        weights = model.get_weights()
    best = min(range(len(curves)), key=lambda i: curves[i][monitor]) if validated else -1
    started_best = validated and not curves[best][monitor] < before[monitor]
    kept = before if started_best else curves[best]
    report = {
        "epochs": len(curves),
        "best_epoch": 0 if started_best else best % len(curves) + 1,
        "loss": curves[best]["loss"],
        "validation_loss": kept.get("val_loss"),
        "validation_r2": kept.get("val_r2"),
        "line_validation_loss": before.get("val_loss"),
        "line_validation_r2": before.get("val_r2"),
        "curves": curves,
    }
    return weights, report


def r_squared(actual: npt.NDArray, predicted: npt.NDArray) -> float:
    """Coefficient of determination over all labels together, in the scale they are given in.

    :param actual: ndarray of shape (windows, labels)
    :returns: 1 - residual / total sum of squares about each label's mean; nan when that is 0.
    """
    total = float(np.square(actual - actual.mean(axis=0)).sum())
    return 1 - float(np.square(actual - predicted).sum()) / total if total else float("nan")


@contextlib.contextmanager
def _seeded_numpy(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which FreqAI's noise and SVM steps draw from, for a while."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


# ---------------------------------------------------------------------------------------------
# Storage
# ---------------------------------------------------------------------------------------------

HISTORY = "history"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; put it in place of `path` only once it is complete."""
    temporary = path.with_name(f"~{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class KerasDataDrawer(FreqaiDataDrawer):
    """FreqAI's data drawer with what it lacks for Keras: writing and finding `.keras` archives.

    Files of a sub-train folder are each written beside their place and then moved into it, the
    model last: a model file that is there has all that belongs to it.
    """

    pool: NetworkPool
    swap_lock: threading.RLock
    _checked: tuple[FreqaiDataKitchen, Path, TrainedLSTM] | None
    _history_saved: float  # perf_counter() at the end of the last save
    _history_seconds: float  # what it took

    @classmethod
    def adopt(cls, drawer: FreqaiDataDrawer, pool: NetworkPool) -> "KerasDataDrawer":
        """Take over the state of the drawer that FreqAI has just made and read from disk."""
        adopted = cls.__new__(cls)
        adopted.__dict__.update(drawer.__dict__)
        adopted.pool = pool
        adopted.swap_lock = threading.RLock()
        adopted._checked = None
        adopted._history_saved, adopted._history_seconds = 0.0, 0.0
        return adopted

    def model_path(self, dk: FreqaiDataKitchen) -> Path:
        suffix = "keras" if self.model_type == "keras" else "joblib"
        return Path(dk.data_path) / f"{dk.model_filename}_model.{suffix}"

    def save_data(self, model: TrainedLSTM, coin: str, dk: FreqaiDataKitchen) -> None:
        """Save a model with its metadata, pipelines and history, then use it for predictions.

        Replaces FreqaiDataDrawer.save_data; file names and contents are FreqAI's, plus
        `…_history.feather`, the candles a backtest needs before its first prediction.
        """
        folder, name = Path(dk.data_path), dk.model_filename
        folder.mkdir(parents=True, exist_ok=True)
        dk.data["data_path"] = str(dk.data_path)
        dk.data["model_filename"] = name
        dk.data["training_features_list"] = dk.training_features_list
        dk.data["label_list"] = dk.label_list
        with contextlib.ExitStack() as complete:

            def place(path: Path) -> Path:
                return complete.enter_context(replacing(path))

            # All files are written before the first one moves to its place; the model moves last,
            # because what is entered first is left last.
            model_file = place(self.model_path(dk))
            with place(folder / f"{name}_{METADATA}.json").open("w") as file:
                rapidjson.dump(
                    dk.data, file, default=self.np_encoder, number_mode=METADATA_NUMBER_MODE
                )
            for kind, pipeline in (
                (FEATURE_PIPELINE, dk.feature_pipeline),
                (LABEL_PIPELINE, dk.label_pipeline),
            ):
                with place(folder / f"{name}_{kind}.pkl").open("wb") as binary:
                    cloudpickle.dump(pipeline, binary)
            for kind, frame in (
                (TRAINDF, dk.data_dictionary["train_features"]),
                ("trained_dates_df", dk.data_dictionary["train_dates"]),
            ):
                frame.to_pickle(place(folder / f"{name}_{kind}.pkl"))
            dk.data_dictionary[HISTORY].to_feather(place(folder / f"{name}_{HISTORY}.feather"))
            if self.model_type == "keras":
                model.save(model_file)
            else:
                with model.network.lock, model_file.open("wb") as binary:
                    keras_model = model.network.model
                    keras_model.set_weights(model.weights)
                    # Without the optimizer, which belongs to the trainings of all pairs.
                    keras_model.compiled = False
                    try:
                        cloudpickle.dump(keras_model, binary)
                    finally:
                        keras_model.compiled = True
        # The predicting thread must never meet the new model with the old pipelines.
        with self.swap_lock:
            self.model_dictionary[coin] = model
            self.meta_data_dictionary.setdefault(coin, {}).update(
                {
                    METADATA: dk.data,
                    FEATURE_PIPELINE: dk.feature_pipeline,
                    LABEL_PIPELINE: dk.label_pipeline,
                }
            )
            self.pair_dict[coin]["model_filename"] = name
            self.pair_dict[coin]["data_path"] = str(dk.data_path)
        self.save_drawer_to_disk()

    def load_data(self, coin: str, dk: FreqaiDataKitchen) -> TrainedLSTM | None:
        """Give the kitchen the pipelines and metadata of the pair's model, and return the model.

        Live, the model in memory serves; in a backtest each window loads its own from disk.
        Replaces FreqaiDataDrawer.load_data.

        :returns: None when there is none, or (live) when what is on disk is damaged.
        """
        if dk.live:
            with self.swap_lock:
                if not self.pair_dict[coin]["model_filename"]:
                    return None
                dk.model_filename = self.pair_dict[coin]["model_filename"]
                dk.data_path = Path(self.pair_dict[coin]["data_path"])
                if coin in self.model_dictionary and coin in self.meta_data_dictionary:
                    kept = self.meta_data_dictionary[coin]
                    self._hand_over(
                        dk, kept[METADATA], kept[FEATURE_PIPELINE], kept[LABEL_PIPELINE]
                    )
                    return self.model_dictionary[coin]
        checked, self._checked = self._checked, None
        fits = checked and checked[0] is dk and checked[1] == self.model_path(dk)
        model = checked[2] if checked and fits else self.read_model(dk)
        if model is None:
            # FreqAI then reports "no model ready" and trains this pair next.
            self.pair_dict[coin]["model_filename"] = ""
            self.pair_dict[coin]["trained_timestamp"] = 0
            return None
        with self.swap_lock:
            self.model_dictionary[coin] = model
            self.meta_data_dictionary.setdefault(coin, {}).update(
                {
                    METADATA: dk.data,
                    FEATURE_PIPELINE: dk.feature_pipeline,
                    LABEL_PIPELINE: dk.label_pipeline,
                }
            )
        return model

    def check_model(self, dk: FreqaiDataKitchen) -> bool:
        """Whether the model of `dk.data_path` can be read; a following `load_data` reuses it."""
        model = self.read_model(dk)
        self._checked = (dk, self.model_path(dk), model) if model else None
        return model is not None

    def read_model(self, dk: FreqaiDataKitchen) -> TrainedLSTM | None:
        """Read the model of `dk.data_path` with all that belongs to it.

        A damaged file is named in the log and the model set aside, so that it is trained anew.
        """
        path, folder = self.model_path(dk), Path(dk.data_path)
        try:
            with (folder / f"{dk.model_filename}_{METADATA}.json").open() as file:
                data = rapidjson.load(file, number_mode=METADATA_NUMBER_MODE)
            pipelines = []
            for kind in (FEATURE_PIPELINE, LABEL_PIPELINE):
                with (folder / f"{dk.model_filename}_{kind}.pkl").open("rb") as file:
                    pipelines.append(cloudpickle.load(file))
            history = pd.read_feather(folder / f"{dk.model_filename}_{HISTORY}.feather")
            model = self._read_keras_model(path)
            network = self.pool.loaded(model)
            names = list(data["network_features"])
            trained = TrainedLSTM(network, model.get_weights(), names, data["training_report"])
        except Exception as damage:
            # Bytes that are not what they should be can raise nearly anything while unpickling.
            aside = path.with_name(f"{path.name}.damaged")
            if path.is_file():
                os.replace(path, aside)
            logger.error(
                f"The saved model {path} cannot be read ({type(damage).__name__}: {damage}). "
                f"It is set aside as {aside.name} and will be trained anew."
            )
            return None
        self._hand_over(dk, data, *pipelines)
        dk.data_dictionary[HISTORY] = history
        return trained

    def _read_keras_model(self, path: Path) -> Any:
        keras = self.pool.start()
        if self.model_type == "keras":
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"checksum of {damaged} is wrong")
            return keras.saving.load_model(path, compile=False)
        with path.open("rb") as file:
            return cloudpickle.load(file)

    @staticmethod
    def _hand_over(
        dk: FreqaiDataKitchen, data: dict, feature_pipeline: Pipeline, label_pipeline: Pipeline
    ) -> None:
        dk.data = data
        dk.feature_pipeline, dk.label_pipeline = feature_pipeline, label_pipeline
        dk.training_features_list = data["training_features_list"]
        dk.label_list = data["label_list"]

    # FreqAI opens the files it goes on from after a restart for writing in place: killed meanwhile,
    # it leaves half a file, and the next start fails on it. These replace them whole.

    def save_drawer_to_disk(self) -> None:
        """Save `pair_dictionary.json`, which says where each pair's model lies."""
        self._save_json(self.pair_dict, self.pair_dictionary_path)

    def save_global_metadata_to_disk(self, metadata: dict[str, Any]) -> None:
        """Save `global_metadata.json`, which says when live predictions began."""
        self._save_json(metadata, self.global_metadata_path)

    def _save_json(self, content: dict, path: Path) -> None:
        with self.save_lock, replacing(path) as temporary, temporary.open("w") as file:
            rapidjson.dump(content, file, default=self.np_encoder, number_mode=rapidjson.NM_NATIVE)

    def save_historic_predictions_to_disk(self) -> None:
        """Save `historic_predictions.pkl` and its backup.

        FreqAI calls this in the training thread outside of any `try`: an error here would end all
        retraining while the bot trades on. It is logged, and the next save tries again.
        """
        started = perf_counter()
        try:
            with self.save_lock:
                # The other thread may add a pair meanwhile.
                history = dict(self.historic_predictions)
                for path in (self.historic_predictions_path, self.historic_predictions_bkp_path):
                    with replacing(path) as temporary, temporary.open("wb") as file:
                        cloudpickle.dump(history, file)
        except OSError as error:
            logger.error(
                f"The prediction history could not be saved ({error}). The last saved one is kept; "
                "until a later save succeeds, a restart loses the predictions since then."
            )
        self._history_saved = perf_counter()
        self._history_seconds = self._history_saved - started

    def save_new_predictions(self, candle_seconds: int) -> None:
        """Save the prediction history, unless that would take over 1 % of the bot's time.

        Called once per candle, with its length.

        FreqAI saves it after trainings and at the end only: hours of predictions would be lost by
        a kill -9.
        """
        rested = max(candle_seconds, perf_counter() - self._history_saved)
        if self.historic_predictions and rested >= 100 * self._history_seconds:
            self.save_historic_predictions_to_disk()

    def update_historic_data(self, strategy: IStrategy, dk: FreqaiDataKitchen) -> None:
        """Append new candles; a pair that had none at the start of the bot joins with its first.

        FreqAI looks at the last candle it has, and would fail for every pair if one has none.
        """
        with self.history_lock:
            for pair in dk.all_pairs:
                for timeframe, frame in self.historic_data[pair].items():
                    if frame.empty:
                        self.historic_data[pair][timeframe] = strategy.dp.get_pair_dataframe(
                            pair, timeframe
                        )
        super().update_historic_data(strategy, dk)

    def load_all_pair_histories(self, timerange: TimeRange, dk: FreqaiDataKitchen) -> None:
        """Load candles from disk, with dates that new candles from the exchange can join.

        freqtrade's files and its exchange give UTC as different time zone objects. pandas then
        joins their dates as plain objects, on which every `.dt` and merge fails: no training would
        succeed from the first new candle on.
        """
        super().load_all_pair_histories(timerange, dk)
        for frames in self.historic_data.values():
            for frame in frames.values():
                frame["date"] = pd.to_datetime(frame["date"], utc=True)


# ---------------------------------------------------------------------------------------------
# Fingerprint
# ---------------------------------------------------------------------------------------------

FINGERPRINT = "fingerprint.json"
ALLOW_CHANGES = "allow_changed_fingerprint"

# What of the `freqai` block changes features, labels, windows or weights, with the values that
# freqtrade assumes when a key is missing.
TRAINING_SETTINGS = {
    "conv_width": 1,
    "train_period_days": 0,
    "continual_learning": False,
    "data_split_parameters": {},
    "feature_parameters": {},
}
# Settings in those blocks that change nothing a model learns.
NEUTRAL_SETTINGS = ("plot_feature_importances", "shuffle", "shuffle_after_split")
NEUTRAL_PARAMETERS = ("device", "gpu_memory_limit_mb")

STRATEGY_METHODS = (
    "feature_engineering_expand_all",
    "feature_engineering_expand_basic",
    "feature_engineering_standard",
    "set_freqai_targets",
)
# What of this file decides which predictions come out: windows, network, training, scaling.
MODEL_CODE = (
    "candle_numbers",
    "window_ends",
    "split_windows",
    "LabelSize",
    "build_network",
    "Network",
    "solve_line",
    "train_network",
    "define_data_pipeline",
    "define_label_pipeline",
    "_with_missing_labels",
    "_label_size",
    "_scale",
    "_weights_to_continue",
    "predict",
)


def training_settings(config: Config, parameters: LSTMParameters) -> dict[str, Any]:
    """Every setting a training depends on, as a flat dict from dotted key to value."""
    freqai = config["freqai"]
    settings: dict[str, Any] = {
        "timeframe": config.get("timeframe"),
        "trading_mode": str(config.get("trading_mode", "spot")),
        "exchange.name": config.get("exchange", {}).get("name"),
    }
    for key, default in TRAINING_SETTINGS.items():
        value = freqai.get(key, default)
        for name, part in value.items() if isinstance(value, dict) else [("", value)]:
            if name not in NEUTRAL_SETTINGS:
                settings[f"freqai.{key}.{name}" if name else f"freqai.{key}"] = part
    for parameter in fields(parameters):
        if parameter.name not in NEUTRAL_PARAMETERS:
            settings[f"{KEY}.{parameter.name}"] = getattr(parameters, parameter.name)
    return json.loads(json.dumps(settings, default=str))


def training_code(strategy: Any, model: Any) -> dict[str, str]:
    """Digest of the code behind features, labels, windows, network and training, by name.

    Formatting, comments and docstrings do not count. Of the strategy's file that part counts which
    the four FreqAI methods use; its signals, thresholds and risk settings may change at will.
    """
    digests = {}
    owner = type(strategy)
    for name in STRATEGY_METHODS:
        top, members = _definitions(getattr(owner, name), owner)
        digests[f"{owner.__name__}.{name}"] = _digest(_used_by(members.get(name), top, members))
    owner = type(model)
    top, members = _definitions(LSTMRegressor.predict, LSTMRegressor)
    for name in MODEL_CODE:
        method = getattr(owner, name, None)
        if method is not None and method.__code__.co_filename != __file__:
            members = members | _definitions(method, owner)[1]
        digests[f"{owner.__name__}: {name}"] = _digest([members.get(name, top.get(name))])
    return digests


def _definitions(method: Callable, owner: type) -> tuple[dict[str, ast.stmt], dict[str, ast.stmt]]:
    """What the file of `method` defines at its top level, and in the class `owner` or its bases."""
    tree = ast.parse(Path(method.__code__.co_filename).read_text(encoding="utf-8"))
    bases = {base.__name__ for base in owner.mro()}
    top: dict[str, ast.stmt] = {}
    members: dict[str, ast.stmt] = {}
    for node in tree.body:
        top.update(dict.fromkeys(_names_bound_by(node), node))
        if isinstance(node, ast.ClassDef) and node.name in bases:
            for member in node.body:
                members.update(dict.fromkeys(_names_bound_by(member), member))
    return top, members


def _names_bound_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [part.id for t in targets if t for part in ast.walk(t) if isinstance(part, ast.Name)]


def _used_by(
    root: ast.stmt | None, top: dict[str, ast.stmt], members: dict[str, ast.stmt]
) -> list[ast.stmt]:
    """A definition and all it uses: names of the file, and attributes of `self` in its class."""
    wanted, used = [root], {}
    while wanted:
        node = wanted.pop()
        if node is None or id(node) in used:
            continue
        used[id(node)] = node
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                wanted.append(top.get(part.id))
            elif (
                isinstance(part, ast.Attribute)
                and isinstance(part.value, ast.Name)
                and part.value.id in ("self", "cls")
            ):
                wanted.append(members.get(part.attr))
    return sorted(used.values(), key=lambda node: node.lineno)


def _digest(nodes: Sequence[ast.stmt | None]) -> str:
    text = "\n".join(ast.unparse(_without_docstrings(node)) for node in nodes if node is not None)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part) is not None:
            part.body = part.body[1:] or [ast.Pass()]
    return node


def check_fingerprint(
    folder: Path, settings: dict[str, Any], code: dict[str, str], *, allow_changes: bool = False
) -> None:
    """Compare what a training depends on now with what the models in `folder` were trained with.

    FreqAI finds models and predictions by `identifier` alone and would reuse them whatever else
    changed. The first run writes `fingerprint.json`, later ones compare.

    :param allow_changes: go on after a mismatch, with a warning (`freqai.allow_changed_…`).
    :raises OperationalException: names every setting and method that changed.
    """
    path = folder / FINGERPRINT
    now = {"settings": settings, "code": code}
    if not path.is_file():
        if any(folder.glob("sub-train-*")):
            logger.warning(
                f"{folder} holds models but no {FINGERPRINT}: whether they fit the present "
                "settings cannot be checked. From now on changes will be noticed."
            )
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(now, indent=2), encoding="utf-8")
        return
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
        old_settings, old_code = dict(then["settings"]), dict(then["code"])
    except (ValueError, KeyError, TypeError) as damage:
        raise OperationalException(
            f"{path} cannot be read ({type(damage).__name__}: {damage}), so it is unknown what "
            "the models beside it were trained with. Choose a new freqai.identifier, or delete "
            "this file to accept the models as they are."
        ) from damage
    changes = [
        f"{key}: {old_settings.get(key, 'not set')!r} -> {settings.get(key, 'not set')!r}"
        for key in sorted(old_settings.keys() | settings.keys())
        if old_settings.get(key) != settings.get(key)
    ]
    changes += [
        f"the code of {name}, or what it uses"
        for name in sorted(old_code.keys() | code.keys())
        if old_code.get(name) != code.get(name)
    ]
    if not changes:
        return
    listed = "".join(f"\n  - {change}" for change in changes)
    if allow_changes:
        logger.warning(
            f"The models in {folder} were trained with something else, and "
            f"freqai.{ALLOW_CHANGES} is true: they are used all the same. Changed:{listed}"
        )
        return
    raise OperationalException(
        f"The models and predictions in {folder} were made with something else. Changed:{listed}\n"
        "Choose a new freqai.identifier to train anew, or take the change back. "
        f"(freqai.{ALLOW_CHANGES}: true uses the old models all the same.)"
    )


# ---------------------------------------------------------------------------------------------
# The FreqAI class
# ---------------------------------------------------------------------------------------------

# Training windows without which a pair gets no model at all: one that saw less knows nothing.
MIN_WINDOWS = 100


class LSTMRegressor(BaseRegressionModel):
    """Stacked residual LSTMs for FreqAI; every numeric label of the strategy is one output.

    In the configuration:

        "freqai": {
            "enabled": true,
            "keras": true,
            "model_save_type": "keras",
            "conv_width": 24,
            "data_split_parameters": {"test_size": 0.2},
            "model_training_parameters": {
                "num_lstm_layers": 2,
                "units": 32,
                "epochs": 60,
                "batch_size": 128,
                "learning_rate": 0.001,
                "dropout_rate": 0.3
            }
        }

    All parameters, with defaults and what is allowed: `LSTMParameters`.
    """

    def __init__(self, config: Config, **kwargs: Any) -> None:
        freqai = config.get("freqai", {})
        check_freqai_config(freqai)
        self.parameters = LSTMParameters.from_config(freqai.get("model_training_parameters", {}))
        # Stock FreqAI switches DI_threshold off for Keras models, in the user's own configuration.
        # Ours supports it: hide the value from that check, then put it back and record it.
        feature_parameters = freqai.get("feature_parameters", {})
        di_threshold = feature_parameters.pop("DI_threshold", None)
        try:
            super().__init__(config=config, **kwargs)
        finally:
            if di_threshold is not None:
                feature_parameters["DI_threshold"] = di_threshold
        record_params(config, self.full_path)
        self.pool = NetworkPool(self.parameters)
        self.dd: KerasDataDrawer = KerasDataDrawer.adopt(self.dd, self.pool)
        self._fingerprint_checked = False

    def start(self, dataframe: DataFrame, metadata: dict, strategy: IStrategy) -> DataFrame:
        """Called by the strategy for each pair (live: each candle); checks the fingerprint once."""
        if not self._fingerprint_checked:
            check_fingerprint(
                Path(self.full_path),
                training_settings(self.config, self.parameters),
                training_code(strategy, self),
                allow_changes=self.freqai_info.get(ALLOW_CHANGES, False),
            )
            self._fingerprint_checked = True
        dataframe = super().start(dataframe, metadata, strategy)
        if self.live:
            self._after_live_pass(metadata["pair"], strategy.dp.current_whitelist())
        return dataframe

    def _after_live_pass(self, pair: str, whitelist: list[str]) -> None:
        """What FreqAI leaves undone between two candles."""
        if pair not in self.train_queue and pair in whitelist:
            # FreqAI drops a pair that has left the whitelist, and forgets it for good.
            logger.info(f"{pair} is in the whitelist again: it will be trained when it is due.")
            self.train_queue.append(pair)
        if self.dd.pair_dict[pair]["trained_timestamp"] > time():
            logger.warning(
                f"{pair}: by this machine's clock its model was trained in the future, so the clock"
                " has been set back. The model's age counts from now on: it is retrained and "
                "expires accordingly."
            )
            self.dd.pair_dict[pair]["trained_timestamp"] = int(time())
        if whitelist and pair == whitelist[-1]:
            self.dd.save_new_predictions(self.base_tf_seconds)

    # --- pipelines ---

    def define_data_pipeline(self, threads: int = -1) -> Pipeline:
        """The feature pipeline: RobustScaler, then what the user switched on, in FreqAI's order.

        The scale is the range from the 5th to the 95th percentile: between the quartiles, features
        that are mostly zero have no range at all, and would stay unscaled.

        Called by `train`; what is fitted here is saved with the model and applied in `predict`.
        """
        wanted = self.freqai_info["feature_parameters"]
        steps: list[tuple[str, Any]] = [
            ("const", ds.VarianceThreshold(threshold=0)),
            ("scaler", SKLearnWrapper(RobustScaler(quantile_range=(5, 95)))),
        ]
        if wanted.get("principal_component_analysis", False):
            steps.append(("pca", ds.PCA(n_components=0.999)))
            steps.append(("post-pca-scaler", SKLearnWrapper(RobustScaler(quantile_range=(5, 95)))))
        if wanted.get("use_SVM_to_remove_outliers", False):
            svm = wanted.get("svm_params", {"shuffle": False, "nu": 0.01})
            steps.append(("svm", ds.SVMOutlierExtractor(**svm)))
        if wanted.get("DI_threshold", 0):
            threshold = wanted["DI_threshold"]
            steps.append(("di", ds.DissimilarityIndex(di_threshold=threshold, n_jobs=threads)))
        if wanted.get("use_DBSCAN_to_remove_outliers", False):
            steps.append(("dbscan", ds.DBSCAN(n_jobs=threads)))
        if wanted.get("noise_standard_deviation", 0):
            steps.append(("noise", ds.Noise(sigma=wanted["noise_standard_deviation"])))
        return Pipeline(steps, fitparams={})

    def define_label_pipeline(self, threads: int = -1) -> Pipeline:
        """Scale each label by its standard deviation and leave zero where it is.

        A robust scale would not do: labels may be zero on most candles (quartiles 0 and 0).
        """
        return Pipeline([("scaler", SKLearnWrapper(StandardScaler(with_mean=False)))], fitparams={})

    # --- training ---

    def train(
        self, unfiltered_df: DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> TrainedLSTM:
        """Filter, split, scale and learn; called by FreqAI for each pair and training window.

        Replaces BaseRegressionModel.train, which forgets where in time a row was.

        :param unfiltered_df: candles with features and labels, in time order.
        """
        started = perf_counter()
        logger.info(f"-------------------- Starting training {pair} --------------------")
        frame = self._with_missing_labels(unfiltered_df, pair, dk)
        features, labels = dk.filter_features(
            frame, dk.training_features_list, dk.label_list, training_filter=True
        )
        if len(features) < MIN_WINDOWS:
            raise OperationalException(
                f"{pair}: {len(features)} of {len(frame)} training candles have all features and "
                f"labels; at least {MIN_WINDOWS} are needed. Download more candles before the "
                "training period, or look for a feature or label that is always missing."
            )
        parts = dk.make_train_test_datasets(features, labels)
        if not self.freqai_info.get("fit_live_predictions_candles", 0) or not self.live:
            dk.fit_labels()
        # Only rows, not their index, survive the pipeline: let each carry its candle with it.
        dates = frame["date"]
        data, names = self._scale(parts, dates, dk)
        # FreqAI passes a backtest window alone to `predict`; its first windows begin in these rows.
        keep = [*dk.training_features_list, "date"]
        dk.data_dictionary[HISTORY] = frame[keep].tail(self.CONV_WIDTH - 1).reset_index(drop=True)
        model = self._fit(data, names, dk)
        report = model.report
        dk.data["network_features"] = names
        dk.data["training_report"] = report | {"seconds": perf_counter() - started}
        logger.info(self._summary_line(pair, report, data, perf_counter() - started))
        return model

    def _with_missing_labels(self, frame: DataFrame, pair: str, dk: FreqaiDataKitchen) -> DataFrame:
        """Labels must be numbers; infinite ones become missing (FreqAI does so for features)."""
        labels = frame[dk.label_list]
        words = [c for c in labels if not pd.api.types.is_numeric_dtype(labels[c].dtype)]
        if words:
            raise OperationalException(
                f"{pair}: LSTMRegressor is a regression model and needs numeric labels. "
                f"Got text or objects in {', '.join(words)}."
            )
        infinite = np.isinf(labels.to_numpy(dtype=float))
        if infinite.any():
            logger.warning(
                f"{pair}: {int(infinite.any(axis=1).sum())} candles have infinite labels; "
                "they are left out of the training."
            )
            frame = frame.copy()
            frame[dk.label_list] = labels.mask(infinite)
        return frame

    def _label_size(self, features: DataFrame, dk: FreqaiDataKitchen) -> LabelSize | None:
        """The size by which labels are divided; None where they are learned as they are.

        :param features: the training rows, as the strategy gave them.
        """
        name = self.parameters.label_size_feature
        if not name or self.ft_params.get("label_period_candles", 0) == 0:
            return None
        if name in features:
            return LabelSize.fit(name, features[name])
        if name == LABEL_SIZE:  # the default: a strategy need not have it
            return None
        near = difflib.get_close_matches(name, map(str, features), n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise OperationalException(
            f"{dk.pair}: {KEY}.label_size_feature names no feature of the strategy. "
            f"Got '{name}'.{hint} Set it to '' to learn labels as they are."
        )

    def _scale(
        self, parts: dict[str, Any], dates: pd.Series, dk: FreqaiDataKitchen
    ) -> tuple[TrainingSet, list[str]]:
        """Fit the pipelines on the training rows, apply them to both parts, and find the windows.

        Outlier steps drop rows and hand back a fresh index. The number of its candle and the size
        of its labels therefore ride along as two more label columns, which no step looks at.
        """
        candles = pd.Series(candle_numbers(dates, self.base_tf_seconds), index=dates.index)
        dk.feature_pipeline = self.define_data_pipeline(threads=dk.thread_count)
        dk.label_pipeline = self.define_label_pipeline(threads=dk.thread_count)
        blocks: list[tuple[DataFrame, DataFrame, npt.NDArray, npt.NDArray, bool, npt.NDArray]] = []
        for part, fits in (("train", True), ("test", False)):
            x, y, w = (parts[f"{part}_{kind}"] for kind in ("features", "labels", "weights"))
            if len(x) == 0:
                if fits:
                    raise OperationalException(
                        f"{dk.pair}: no training rows are left. Check "
                        "freqai.data_split_parameters and the candles of the training period."
                    )
                continue
            if fits:
                size = self._label_size(x, dk)
                dk.data["label_size"] = asdict(size) if size else None
            sizes = size.of(x[size.feature]) if size else np.ones(len(x))
            y = y.div(sizes, axis=0).assign(candle=candles.loc[y.index], size=sizes)
            with _seeded_numpy(self.parameters.seed):
                step = dk.feature_pipeline.fit_transform if fits else dk.feature_pipeline.transform
                x, y, w = step(x, y, np.asarray(w))
            if len(x) == 0 and fits:
                raise OperationalException(
                    f"{dk.pair}: the outlier steps removed every training row. Loosen "
                    "DI_threshold, svm_params or use_DBSCAN_to_remove_outliers in "
                    "freqai.feature_parameters."
                )
            if len(x) == 0:
                continue
            position, sizes = y.pop("candle").to_numpy(dtype=np.int64), y.pop("size").to_numpy()
            scale = dk.label_pipeline.fit_transform if fits else dk.label_pipeline.transform
            y, _, _ = scale(y)
            parts[f"{part}_features"], parts[f"{part}_labels"], parts[f"{part}_weights"] = x, y, w
            blocks.append((x, y, np.asarray(w, dtype=np.float32), position, not fits, sizes))
        blocks.sort(key=lambda block: block[3][0])
        candle = np.concatenate([block[3] for block in blocks])
        validation = np.concatenate([np.full(len(block[3]), block[4]) for block in blocks])
        train_ends, validation_ends = split_windows(
            candle, validation, self.CONV_WIDTH, self.ft_params.get("label_period_candles", 0)
        )
        weights = np.concatenate([block[2] for block in blocks])
        if len(train_ends) and not weights[train_ends].mean() > 0:
            raise OperationalException(
                f"{dk.pair}: freqai.feature_parameters.weight_factor = "
                f"{self.ft_params.get('weight_factor')} leaves every training candle with weight 0."
                " Use a larger one (0.1 to 1), or 0 for equal weights."
            )
        data = TrainingSet(
            features=np.concatenate([block[0].to_numpy(np.float32) for block in blocks]),
            labels=np.concatenate([block[1].to_numpy(np.float32) for block in blocks]),
            weights=weights / weights[train_ends].mean() if len(train_ends) else weights,
            train_ends=train_ends,
            validation_ends=validation_ends,
            sizes=np.concatenate([block[5] for block in blocks]),
        )
        return data, [str(name) for name in blocks[0][0].columns]

    def _fit(self, data: TrainingSet, names: list[str], dk: FreqaiDataKitchen) -> TrainedLSTM:
        """Check that there is enough to learn from, choose the first weights, and train."""
        width, p = self.CONV_WIDTH, self.parameters
        if len(data.train_ends) < MIN_WINDOWS:
            raise OperationalException(
                f"{dk.pair}: {len(data.train_ends)} training windows of {width} consecutive "
                f"candles found in {len(data.features)} rows; at least {MIN_WINDOWS} are needed. "
                "Raise freqai.train_period_days, lower freqai.conv_width, or look for missing "
                "candles and strict outlier settings."
            )
        if self.freqai_info.get("data_split_parameters", {}).get("test_size", 0.1) == 0:
            logger.info(
                f"{dk.pair}: test_size is 0, no validation rows: early stopping is off and all "
                f"{p.epochs} epochs run."
            )
        elif len(data.validation_ends) == 0:
            logger.warning(
                f"{dk.pair}: no complete validation window of {width} candles: early stopping is "
                f"off and all {p.epochs} epochs run. Raise data_split_parameters.test_size."
            )
        network = self.pool.fresh(width, data.features.shape[1], data.labels.shape[1])
        start_from = self._weights_to_continue(network, names, dk)
        with self._tensorboard(dk) as summary:
            weights, report = train_network(network, data, start_from=start_from, summary=summary)
        return TrainedLSTM(network, weights, names, report)

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Not used: FreqAI calls `train`, and windows need what `fit` is not given (the dates)."""
        raise NotImplementedError("LSTMRegressor trains in train(), which keeps candle times.")

    def _weights_to_continue(
        self, network: Network, names: list[str], dk: FreqaiDataKitchen
    ) -> list[npt.NDArray] | None:
        """The pair's last weights with `continual_learning`, or None to start fresh."""
        previous: TrainedLSTM | None = self.get_init_model(dk.pair)
        if previous is None:
            return None
        shapes = [w.shape for w in previous.weights]
        if previous.features == names and shapes == [v.shape for v in network.model.weights]:
            logger.info(f"{dk.pair}: continual learning, starting from the last model.")
            return previous.weights
        logger.warning(
            f"{dk.pair}: continual learning cannot start from the last model, its features or "
            f"layers differ ({len(previous.features)} features then, {len(names)} now): "
            "starting fresh."
        )
        return None

    @contextlib.contextmanager
    def _tensorboard(
        self, dk: FreqaiDataKitchen
    ) -> Iterator[Callable[[dict[str, float], int], None]]:
        """Write one scalar per metric and epoch to `<sub-train>/tensorboard`, where switched on."""
        if not self.activate_tensorboard:
            yield lambda scalars, epoch: None
            return
        tf, _ = load_tensorflow()
        writer = tf.summary.create_file_writer(str(Path(dk.data_path) / "tensorboard"))

        def write(scalars: dict[str, float], epoch: int) -> None:
            with writer.as_default():
                for name, value in scalars.items():
                    tf.summary.scalar(name, value, step=epoch)

        try:
            yield write
        finally:
            writer.close()

    @staticmethod
    def _summary_line(pair: str, report: dict, data: TrainingSet, seconds: float) -> str:
        line = (
            f"{pair}: trained {report['epochs']} epochs on {len(data.train_ends)} windows in "
            f"{seconds:.1f} s"
        )
        if report["validation_loss"] is None:
            return f"{line}; no validation; loss {report['loss']:.4f}."
        return (
            f"{line}; best validation loss {report['validation_loss']:.4f} in epoch "
            f"{report['best_epoch']}, R² {report['validation_r2']:.3f} (straight line alone "
            f"{report['line_validation_r2']:.3f}) on {len(data.validation_ends)} validation "
            "windows."
        )

    # --- prediction ---

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, npt.NDArray[np.int_]]:
        """Predict every candle of the frame whose window is complete.

        Called by FreqAI: in a backtest with the candles of one backtest window; live first with
        the whole strategy frame and then with the last `conv_width` candles.

        :returns: (predictions, do_predict), a row per candle of `unfiltered_df`. Candles without a
            complete, valid window have prediction NaN and `do_predict` 0.
        """
        dk.find_features(unfiltered_df)
        self._check_columns(dk)
        columns = [*dk.training_features_list, "date"]
        frame = unfiltered_df[columns]
        asked = len(frame)
        history = None if dk.live else dk.data_dictionary.get(HISTORY)
        if history is not None:
            before = (
                pd.to_datetime(history["date"], utc=True)
                < pd.to_datetime(frame["date"], utc=True).min()
            )
            frame = pd.concat([history.loc[before, columns], frame], ignore_index=True)
        # What FreqAI's filter_features does for predictions, at a fraction of its time.
        values = frame.iloc[:, :-1].to_numpy(np.float64)  # all but the date
        finite = np.isfinite(values)
        valid = finite.all(axis=1)
        if not valid.all():
            logger.info(
                f"{dk.pair}: {int((~valid).sum())} of {len(valid)} candles miss features (such as "
                f"{dk.training_features_list[int(finite.all(axis=0).argmin())]}; no trades, no "
                "price?); windows with them are not predicted."
            )
        features = DataFrame(np.where(finite, values, 0.0), columns=dk.training_features_list)
        features, inliers, _ = dk.feature_pipeline.transform(features, outlier_check=True)
        dk.data_dictionary["prediction_features"] = features.tail(asked).reset_index(drop=True)
        valid &= np.asarray(inliers) == 1
        candles = candle_numbers(frame["date"], self.base_tf_seconds)
        ends = window_ends(candles, valid, self.CONV_WIDTH)
        offset = len(frame) - asked
        ends = ends[ends >= offset]
        predicted = self.model.predict(features.to_numpy(np.float32), ends)
        sound = np.isfinite(predicted).all(axis=1)
        if not sound.all():
            logger.error(
                f"{dk.pair}: {int((~sound).sum())} predictions are not finite; these candles "
                "have do_predict 0."
            )
        ends, predicted = ends[sound], predicted[sound]
        labels = np.full((asked, len(dk.label_list)), np.nan)
        if len(ends):
            scaled = DataFrame(predicted.astype(np.float64), columns=dk.label_list)
            labels[ends - offset] = dk.label_pipeline.inverse_transform(scaled)[0].to_numpy()
        if dk.data.get("label_size"):
            size = LabelSize(**dk.data["label_size"])
            now = values[offset:, dk.training_features_list.index(size.feature)]
            labels *= size.of(now)[:, None]
        dk.do_predict = np.zeros(asked, dtype=np.int_)
        dk.do_predict[ends - offset] = 1
        dk.DI_values = (
            np.asarray(dk.feature_pipeline["di"].di_values)[-asked:]
            if "di" in dk.feature_pipeline
            else np.zeros(asked)
        )
        return DataFrame(labels, columns=dk.label_list), dk.do_predict

    @staticmethod
    def _check_columns(dk: FreqaiDataKitchen) -> None:
        """The strategy must furnish the features and labels that the model was trained on."""
        for what, now in (("feature", dk.training_features_list), ("label", dk.label_list)):
            then = dk.data.get("training_features_list" if what == "feature" else "label_list")
            if then is None or list(then) == list(now):
                continue
            new, missing = sorted(set(now) - set(then)), sorted(set(then) - set(now))
            how = f"new: {new[:5]}, missing: {missing[:5]}" if new or missing else "another order"
            raise OperationalException(
                f"{dk.pair}: the strategy's {what}s are not those the model was trained on ({how})."
                f" Choose a new freqai.identifier to train from scratch, or restore the {what}s."
            )

    # --- storage, and FreqAI's ways that need mending ---

    def model_exists(self, dk: FreqaiDataKitchen) -> bool:
        """Whether this window's model is on disk and whole; a damaged one is set aside.

        Replaces IFreqaiModel.model_exists, which knows no Keras archives.
        """
        path = self.dd.model_path(dk)
        if not path.is_file():
            logger.info(f"Could not find model at {path}")
            return False
        if not self.dd.check_model(dk):
            return False
        logger.info(f"Found model at {path}")
        return True

    def extract_data_and_train_model(
        self,
        new_trained_timerange: TimeRange,
        pair: str,
        strategy: IStrategy,
        dk: FreqaiDataKitchen,
        data_load_timerange: TimeRange,
    ) -> None:
        """Train and save in the scanning thread; a pair whose model was not saved stays due.

        FreqAI notes the time of training before it saves. Were it kept after a full disk, say, the
        old model would pass for a fresh one, would not expire, and would not be retrained in time.
        """
        before = self.dd.get_pair_dict_info(pair)[1]
        try:
            super().extract_data_and_train_model(
                new_trained_timerange, pair, strategy, dk, data_load_timerange
            )
        except BaseException:
            self.dd.pair_dict[pair]["trained_timestamp"] = before
            raise

    def build_strategy_return_arrays(
        self, dataframe: DataFrame, dk: FreqaiDataKitchen, pair: str, trained_timestamp: int
    ) -> None:
        """Live: predict the newest candle and hand the strategy all predictions so far.

        FreqAI spends the first pass of a bot's life on filling the history and marks all of it
        `do_predict` 0, the newest candle included. A second round predicts that candle as every
        later one, so that a model from disk serves from the first candle on. What was predicted
        before a restart within the same candle stays.
        """
        first = pair not in self.dd.model_return_values
        saved = self.dd.historic_predictions.get(pair)
        super().build_strategy_return_arrays(dataframe, dk, pair, trained_timestamp)
        if first and saved is not None and len(saved):
            newest = saved.iloc[-1]
            if newest["date_pred"] == dataframe["date"].iloc[-1] and newest["do_predict"] == 1:
                return
        if first:
            # FreqAI's placeholders are integers, and pandas puts no fraction in an integer column.
            history = self.dd.historic_predictions[pair]
            integers = history.select_dtypes("integer").columns
            self.dd.historic_predictions[pair] = history.astype(dict.fromkeys(integers, float))
            super().build_strategy_return_arrays(dataframe, dk, pair, trained_timestamp)

    def fit_live_predictions(self, dk: FreqaiDataKitchen, pair: str) -> None:
        """Label mean and std from recent predictions, for `fit_live_predictions_candles`.

        Only candles that were really predicted count; stock FreqAI includes placeholders.
        """
        recent = self.dd.historic_predictions[pair].tail(
            self.freqai_info.get("fit_live_predictions_candles", 100)
        )
        recent = recent.loc[recent["do_predict"] == 1, dk.label_list]
        mean, std = recent.mean(), recent.std(ddof=0)
        dk.data["labels_mean"] = {label: float(mean.fillna(0)[label]) for label in dk.label_list}
        dk.data["labels_std"] = {label: float(std.fillna(0)[label]) for label in dk.label_list}

    def _append_null_backtesting_predictions(
        self, dk: FreqaiDataKitchen, dataframe_backtest: DataFrame
    ) -> None:
        """Say loudly that a training failed, and do not let its zeros be reused by the next run."""
        super()._append_null_backtesting_predictions(dk, dataframe_backtest)
        dk.backtesting_results_path.unlink(missing_ok=True)
        logger.error(
            f"{dk.pair}: the training for {dk.data_path.name} failed (see above). Its "
            f"{len(dataframe_backtest)} candles have do_predict 0 and cannot trade."
        )
