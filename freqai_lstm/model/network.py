"""The Keras network: stacked residual LSTMs with attention over windows of candles and features."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from freqai_lstm.model.candles import CHANNELS
from freqai_lstm.model.parameters import LSTMParameters


MIXTURES = 8  # of the features, which the LSTMs read beside the candles
HEADS = 4  # of the attention
MAX_UNROLLED = 64  # LSTM steps of the stack; tracing a training takes 40 ms for each


@dataclass(frozen=True)
class NetworkShape:
    """Hold everything that decides which network has to be built."""

    conv_width: int
    features: int
    labels: int
    parameters: LSTMParameters


def build_network(keras: Any, shape: NetworkShape, *, on_gpu: bool = False) -> Any:
    """Build the Keras model that learns what the ridge regression leaves over.

    A stack of LSTMs reads windows: the candles themselves (see candles.py), which mean the same on
    every pair, and a few mixtures of the features. Whole features are dropped from a window, so
    that none is relied on alone. The head sees the stack's last state, what attention picks out of
    all its states and their candles, linear sums over the window (which find a single lag at once,
    where an LSTM would have to learn to count), and the newest candle's features.

    Only layers that Keras ships, with fixed names: the archive opens with
    `keras.saving.load_model` alone, and equal shapes have equal configurations. Every initializer
    and dropout layer has its own seed, so that no global random state is touched.

    :param on_gpu: cuDNN has its own loop over candles; on a CPU the steps are written out one after
        the other (`unroll`), which saves a tenth of a training and half of one prediction.
    :return: `keras.Model` from (windows, conv_width, features) and, with `candle_channel`,
        (windows, conv_width, 13) to (windows, labels).
    """
    p = shape.parameters
    layers = keras.layers
    unroll = not on_gpu and shape.conv_width * p.num_lstm_layers <= MAX_UNROLLED

    def glorot(number: int) -> Any:
        return keras.initializers.GlorotUniform(seed=p.seed * 1000 + number)

    def last_candle(windows: Any, name: str) -> Any:
        candle = layers.Cropping1D((shape.conv_width - 1, 0), name=f"{name}_candle")(windows)
        return layers.Flatten(name=name)(candle)  # (windows, columns)

    features = keras.Input((shape.conv_width, shape.features), name="features")
    inputs = [features]
    seen = layers.SpatialDropout1D(
        p.input_dropout_rate, seed=p.seed * 1000 + 800, name="dropout_features"
    )(features)  # (windows, conv_width, features), some features zero in all candles
    stack = seen
    if p.candle_channel:
        candles = keras.Input((shape.conv_width, CHANNELS), name="candles")
        inputs.append(candles)
        mixtures = layers.Dense(MIXTURES, kernel_initializer=glorot(400), name="mixtures")(seen)
        stack = layers.Concatenate(name="candles_and_mixtures")([candles, mixtures])
    columns = stack  # (windows, conv_width, columns)
    window = layers.Flatten(name="window")(columns)  # (windows, conv_width × columns)
    lags = layers.Dense(p.units, kernel_initializer=glorot(310), name="lags")(window)
    for number in range(1, p.num_lstm_layers + 1):
        own = p.seed * 1000 + 10 * number
        below = stack
        if number > 1:
            # A pre-norm residual connection: depth never hides what the lower layers found.
            below = layers.LayerNormalization(name=f"norm_{number}")(stack)
            below = layers.Dropout(p.dropout_rate, seed=own, name=f"dropout_{number}")(below)
        above = layers.LSTM(
            p.units,
            return_sequences=True,
            unroll=unroll,
            kernel_initializer=glorot(10 * number),
            recurrent_initializer=keras.initializers.Orthogonal(seed=own + 1),
            seed=own + 2,
            name=f"lstm_{number}",
        )(below)  # (windows, conv_width, units)
        stack = layers.Add(name=f"residual_{number}")([stack, above]) if number > 1 else above
    states = layers.LayerNormalization(name="states")(stack)
    scores = layers.Dense(HEADS, kernel_initializer=glorot(300), name="scores")(states)
    attention = layers.Softmax(axis=1, name="attention")(scores)  # (windows, conv_width, heads)
    # Beside what the stack makes of a candle the candle itself: it is what most labels ask for.
    read = layers.Concatenate(name="read")([columns, states])
    picked = layers.Dot(axes=(1, 1), name="picked")([attention, read])
    # (windows, heads, columns + units)
    current = last_candle(seen, "current")  # (windows, features)
    state = last_candle(states, "state")
    found = [state, layers.Flatten(name="picked_flat")(picked), lags, current]
    head = layers.Concatenate(name="found")(found)
    head = layers.Dense(p.units, "relu", kernel_initializer=glorot(500), name="head")(head)
    head = layers.Dropout(p.dropout_rate, seed=p.seed * 1000 + 900, name="dropout_head")(head)
    head = layers.Concatenate(name="head_lags_current")([head, lags, current])
    # From zero: random weights times features with heavy tails give large first errors, which the
    # early epochs would then have to unlearn.
    output = layers.Dense(shape.labels, kernel_initializer="zeros", use_bias=False, name="residual")
    return keras.Model(inputs, output(head), name="LSTMRegressor")


def same_architecture(one: Any, other: Any) -> bool:
    """Tell whether two Keras models take the same weights; how their loops run does not count."""
    return _layers(one) == _layers(other)


def _layers(model: Any) -> str:
    layers = model.get_config()["layers"]
    for layer in layers:
        layer.pop("build_config", None)  # tuples in a built model, lists in a loaded one
        layer["config"].pop("unroll", None)
    return json.dumps(layers, sort_keys=True, default=str)
