"""The Keras network: stacked residual LSTMs over windows, beside a ridge regression."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from freqai_lstm.model.candles import CHANNELS
from freqai_lstm.model.parameters import LSTMParameters


RIDGE = "ridge"  # name of the layer whose weights ridge.py solves
RESIDUAL = "learned_residual"  # name of the layer that adds what the epochs learn
MAX_UNROLLED = 128  # LSTM steps of all stacks; tracing a training takes 40 ms for each


@dataclass(frozen=True)
class NetworkShape:
    """Hold everything that decides which network has to be built."""

    conv_width: int
    features: int
    labels: int
    parameters: LSTMParameters


def build_network(keras: Any, shape: NetworkShape, *, on_gpu: bool = False) -> Any:
    """Build the Keras model.

    One stack of LSTMs reads the windows of features, another those of the candles themselves (see
    candles.py), which mean the same on every pair. Whole features are dropped from the windows, so
    that none is relied on alone. A head sees the last state of both stacks with the current
    candle's features. The output is the sum of what the head and those features, some of them
    dropped, make of it, and of a linear layer over all current features: ridge.py solves its
    weights, the epochs leave it alone and learn the residual.

    Only layers that Keras ships, with fixed names: the archive opens with
    `keras.saving.load_model` alone, and equal shapes have equal configurations. Every initializer
    and dropout layer has its own seed, so that no global random state is touched.

    :param on_gpu: cuDNN has its own loop over candles; on a CPU the steps are written out one after
        the other (`unroll`), which saves a tenth of a training and half of one prediction.
    :return: `keras.Model` from (windows, conv_width, features) and, with `candle_channel`,
        (windows, conv_width, 6) to (windows, labels).
    """
    p = shape.parameters
    layers = keras.layers
    steps = shape.conv_width * p.num_lstm_layers * (1 + p.candle_channel)
    unroll = not on_gpu and steps <= MAX_UNROLLED

    def glorot(seed: int) -> Any:
        return keras.initializers.GlorotUniform(seed=p.seed * 1000 + seed)

    def last_candle(windows: Any, name: str) -> Any:
        candle = layers.Cropping1D((shape.conv_width - 1, 0), name=f"{name}_candle")(windows)
        return layers.Flatten(name=name)(candle)  # (windows, features)

    def state(windows: Any, name: str, seed: int) -> Any:
        """Last state of stacked LSTMs, of shape (windows, units).

        Each LSTM after the first sees the layer-normalised output of the stack below and adds to it
        (a pre-norm residual connection), so that depth never hides what the lower layers found.
        """
        stack = windows
        for number in range(1, p.num_lstm_layers + 1):
            first, last = number == 1, number == p.num_lstm_layers
            own = p.seed * 1000 + seed + 10 * number
            below = stack
            if not first:
                below = layers.LayerNormalization(name=f"{name}_norm_{number}")(stack)
                dropout = layers.Dropout(p.dropout_rate, seed=own, name=f"{name}_dropout_{number}")
                below = dropout(below)
            above = layers.LSTM(
                p.units,
                return_sequences=not last,
                unroll=unroll,
                kernel_initializer=glorot(seed + 10 * number),
                recurrent_initializer=keras.initializers.Orthogonal(seed=own + 1),
                seed=own + 2,
                name=f"{name}_lstm_{number}",
            )(below)  # (windows, [conv_width,] units)
            if first:
                stack = above
                continue
            if last:
                stack = last_candle(stack, f"{name}_last")
            stack = layers.Add(name=f"{name}_residual_{number}")([stack, above])
        return layers.LayerNormalization(name=f"{name}_state")(stack)

    features = keras.Input((shape.conv_width, shape.features), name="features")
    inputs = [features]
    seen = layers.SpatialDropout1D(
        p.input_dropout_rate, seed=p.seed * 1000 + 800, name="dropout_features"
    )(features)  # (windows, conv_width, features), some features zero in all candles
    states = [state(seen, "features", 0)]
    if p.candle_channel:
        candles = keras.Input((shape.conv_width, CHANNELS), name="candles")
        inputs.append(candles)
        states.append(state(candles, "candles", 200))
    current = last_candle(seen, "seen")  # (windows, features)
    head = layers.Concatenate(name="states_and_seen")([*states, current])
    head = layers.Dense(p.units, "relu", kernel_initializer=glorot(500), name="head")(head)
    head = layers.Dropout(p.dropout_rate, seed=p.seed * 1000 + 900, name="dropout_head")(head)
    head = layers.Concatenate(name="head_and_seen")([head, current])
    # From zero: random weights times features with heavy tails give large first errors, which the
    # early epochs would then have to unlearn.
    residual = layers.Dense(shape.labels, kernel_initializer="zeros", use_bias=False, name=RESIDUAL)
    ridge = layers.Dense(shape.labels, kernel_initializer="zeros", name=RIDGE)
    outputs = [ridge(last_candle(features, "current")), residual(head)]
    prediction = layers.Add(name="prediction")(outputs)  # (windows, labels)
    return keras.Model(inputs, prediction, name="LSTMRegressor")


def same_architecture(one: Any, other: Any) -> bool:
    """Tell whether two Keras models take the same weights; how their loops run does not count."""
    return _layers(one) == _layers(other)


def _layers(model: Any) -> str:
    layers = model.get_config()["layers"]
    for layer in layers:
        layer.pop("build_config", None)  # tuples in a built model, lists in a loaded one
        layer["config"].pop("unroll", None)
    return json.dumps(layers, sort_keys=True, default=str)
