"""The Keras network: stacked residual LSTMs with attention over windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.windows import BODY, HIGH, LOW, MOVE, RANGE, VOLUME


# A head of the attention for each of a window's extremes, where it begins: (channel, weight). From
# a random start the seed decided which of them were found at all.
EXTREMES = ((MOVE, 1.0), (RANGE, 1.0), (VOLUME, 1.0), (HIGH, 1.0), (LOW, -1.0))
# Scores are multiplied by it, so that few steps of the optimizer can make a head choose one candle.
SHARPNESS = 8.0
HEAD = (48, 32)  # units of the two dense layers above
PRODUCTS = 8  # of two linear maps of the window's bodies and volumes
MAX_UNROLLED = 64  # LSTM steps of the stack; tracing a training takes 40 ms for each


def build_network(
    keras: Any,
    parameters: LSTMParameters,
    shape: tuple[int, int, int, int],
    *,
    on_gpu: bool = False,
) -> Any:
    """Build the Keras model that learns from the history of all pairs.

    A stack of LSTMs reads windows. The head sees the stack's last state, what attention picks out
    of its states and their candles (at first those of the window's extremes), and columns that are
    known at the last candle (summaries, calendar, features). Its first layer multiplies two linear
    maps (a gated linear unit, Dauphin 2017), so that what one column means may depend on another.
    The output begins as a linear function of the columns, which `training.py` fills in. Products of
    two linear maps of all bodies and volumes are added, since some labels depend on two candles
    together, and no sum over the window tells these.

    Only layers that Keras ships, with fixed names: the archive opens with
    `keras.saving.load_model` alone. Every initializer and dropout layer has its own seed, so that
    no global random state is touched. `forward.py` calculates the same in NumPy.

    :param shape: (conv_width, channels, columns, labels).
    :param on_gpu: cuDNN has its own loop over candles; on a CPU the steps are written out one after
        the other (`unroll`).
    :return: `keras.Model` from (windows, conv_width, channels) and (windows, columns) to
        (windows, labels).
    """
    p, layers = parameters, keras.layers
    conv_width, channels, columns, labels = shape
    unroll = not on_gpu and conv_width * p.num_lstm_layers <= MAX_UNROLLED

    def glorot(number: int) -> Any:
        return keras.initializers.GlorotUniform(seed=p.seed * 1000 + number)

    windows = keras.Input((conv_width, channels), name="windows")
    known = keras.Input((columns,), name="columns")
    stack = windows
    for number in range(1, p.num_lstm_layers + 1):
        own = p.seed * 1000 + 10 * number
        below = stack
        if number > 1:
            # A pre-norm residual connection: depth never hides what the lower layers found.
            below = layers.LayerNormalization(name=f"norm_{number}")(stack)
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
    # Beside what the stack makes of a candle the candle itself: it is what many labels ask for.
    read = layers.Concatenate(name="read")([windows, states])
    scores = layers.Dense(len(EXTREMES), kernel_initializer="zeros", name="scores")(read)
    scores = layers.Rescaling(SHARPNESS, name="sharpened")(scores)
    attention = layers.Softmax(axis=1, name="attention")(scores)  # (windows, conv_width, heads)
    picked = layers.Dot(axes=(1, 1), name="picked")([attention, read])
    # (windows, heads, channels + units)
    last = layers.Cropping1D((conv_width - 1, 0), name="last_candle")(states)
    found = layers.Concatenate(name="found")(
        [layers.Flatten(name="state")(last), layers.Flatten(name="picked_flat")(picked), known]
    )
    found = layers.Dropout(p.dropout_rate, seed=p.seed * 1000 + 900, name="dropout")(found)
    gate = layers.Dense(HEAD[0], kernel_initializer=glorot(501), name="gate")(found)
    head = layers.Dense(HEAD[0], "relu", kernel_initializer=glorot(500), name="head_1")(found)
    head = layers.Multiply(name="gated")([head, gate])
    head = layers.Dense(HEAD[1], "relu", kernel_initializer=glorot(502), name="head_2")(head)
    # From zero: random weights times features with heavy tails give large first errors, which the
    # early epochs would then have to unlearn.
    bent = layers.Dense(labels, kernel_initializer="zeros", use_bias=False, name="bent")(head)
    line = layers.Dense(labels, kernel_initializer="zeros", name="line")(known)
    bodies = layers.Permute((2, 1), name="by_channel")(windows)  # (windows, channels, conv_width)
    bodies = layers.Cropping1D((BODY, channels - VOLUME - 1), name="bodies")(bodies)
    bodies = layers.Flatten(name="bodies_flat")(bodies)  # (windows, 2 × conv_width)
    left = layers.Dense(PRODUCTS, "tanh", kernel_initializer=glorot(601), name="left")(bodies)
    right = layers.Dense(PRODUCTS, "tanh", kernel_initializer=glorot(602), name="right")(bodies)
    products = layers.Multiply(name="products")([left, right])
    crossed = layers.Dense(labels, kernel_initializer="zeros", use_bias=False, name="crossed")
    output = layers.Add(name="output")([bent, line, crossed(products)])
    model = keras.Model([windows, known], output, name="LSTMRegressor")
    first = np.zeros((channels + p.units, len(EXTREMES)), np.float32)
    for head, (channel, weight) in enumerate(EXTREMES):
        first[channel, head] = weight
    model.get_layer("scores").set_weights([first, np.zeros(len(EXTREMES))])
    return model
