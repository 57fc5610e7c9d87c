"""The Keras network: stacked residual LSTMs over a window, beside a ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freqai_lstm.model.parameters import LSTMParameters


RIDGE = "ridge"  # name of the layer whose weights ridge.py solves
MAX_UNROLLED = 128  # LSTM steps (candles × layers); tracing a training takes 40 ms for each


@dataclass(frozen=True)
class NetworkShape:
    """Hold everything that decides which network has to be built."""

    conv_width: int
    features: int
    labels: int
    parameters: LSTMParameters


def build_network(keras: Any, shape: NetworkShape, *, on_gpu: bool = False) -> Any:
    """Build the Keras model.

    Whole features are dropped from the windows the LSTMs see, so that none is relied on alone. Each
    LSTM after the first sees the layer-normalised output of the stack below and adds to it (a
    pre-norm residual connection), so that depth never hides what the lower layers found. The head
    sees the last state with the current candle's features. The output is the sum of what the head
    and those features, some of them dropped, make of it, and of a linear layer over all of them:
    ridge.py solves its weights, the epochs leave it alone and learn the residual.

    Only layers that Keras ships, with fixed names: the archive opens with
    `keras.saving.load_model` alone, and equal shapes have equal configurations. Every initializer
    and dropout layer has its own seed, so that no global random state is touched.

    :param on_gpu: cuDNN has its own loop over candles; on a CPU the steps are written out one after
        the other (`unroll`), which saves a tenth of a training and half of one prediction.
    :return: `keras.Model` from (windows, conv_width, features) to (windows, labels).
    """
    p = shape.parameters
    layers = keras.layers
    unroll = not on_gpu and shape.conv_width * p.num_lstm_layers <= MAX_UNROLLED

    def seed(offset: int) -> int:
        return p.seed * 1000 + offset

    def lstm(number: int, *, sequences: bool) -> Any:
        return layers.LSTM(
            p.units,
            return_sequences=sequences,
            unroll=unroll,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed(10 * number)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seed(10 * number + 1)),
            seed=seed(10 * number + 2),
            name=f"lstm_{number}",
        )

    window = keras.Input((shape.conv_width, shape.features), name="window")
    seen = layers.SpatialDropout1D(p.input_dropout_rate, seed=seed(800), name="dropout_features")
    seen = seen(window)  # (windows, conv_width, features), some features zero in all candles
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
    # From zero: random weights times features with heavy tails give large first errors, which the
    # early epochs would then have to unlearn.
    residual = layers.Dense(
        shape.labels, kernel_initializer="zeros", use_bias=False, name="learned_residual"
    )(head)
    ridge = layers.Dense(shape.labels, kernel_initializer="zeros", name=RIDGE)
    ridge = ridge(last_candle(window, "current"))
    prediction = layers.Add(name="prediction")([ridge, residual])  # (windows, labels)
    return keras.Model(window, prediction, name="LSTMRegressor")


def same_architecture(one: Any, other: Any) -> bool:
    """Tell whether two Keras models take the same weights; how their loops run does not count."""
    return _layers(one) == _layers(other)


def _layers(model: Any) -> list[Any]:
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"].pop("unroll", None)
    return [config["layers"], model.input_shape, model.output_shape]
