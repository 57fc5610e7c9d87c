"""The network's forward pass in NumPy: predictions without TensorFlow, equal to Keras' ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from freqai_lstm.model.network import SHARPNESS
from freqai_lstm.model.windows import BODY, VOLUME, Floats


EPSILON = 1e-3  # of Keras' LayerNormalization
AT_ONCE = 256  # windows: with more the arrays leave the processor's cache, and fill memory
# Several threads gain nothing on an idle machine, and beside busy processes they wait for each
# other at each of a window's steps: 428 ms in place of 46 for 720 windows on two busy cores.
_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")


class Forward:
    """Predict with the weights of a network; see `network.build_network` for the layers.

    :param weights: by "layer/number" in the order of `keras.layers.Layer.get_weights()`.
    """

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weights = {name: np.asarray(values, np.float32) for name, values in weights.items()}
        self.layers = sum(name.startswith("lstm_") for name in weights) // 3
        # sigmoid(x) = tanh(x / 2) / 2 + 1/2: with halved weights one tanh serves all four gates.
        self._lstms = []
        for number in range(1, self.layers + 1):
            kernel, recurrent, bias = (self.weights[f"lstm_{number}/{n}"] for n in range(3))
            units = len(recurrent)
            half = np.full(4 * units, 0.5, np.float32)
            half[2 * units : 3 * units] = 1  # the candidate is a tanh already
            self._lstms.append((kernel * half, recurrent * half, bias * half))

    @property
    def labels(self) -> int:
        """How many labels the network predicts."""
        return int(self.weights["line/1"].shape[0])

    @_one_thread
    def __call__(self, windows: Floats, columns: Floats) -> Floats:
        """Predict windows.

        :param windows: array of shape (windows, conv_width, channels).
        :param columns: array of shape (windows, columns).
        :return: array of shape (windows, labels).
        """
        parts = [
            self._predict(windows[start : start + AT_ONCE], columns[start : start + AT_ONCE])
            for start in range(0, len(windows), AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.labels), np.float32)

    def attention(self, windows: Floats) -> Floats:
        """Return how much each head looks at each candle, shape (windows, conv_width, heads)."""
        return self._read(windows)[1]

    def _read(self, windows: Floats) -> tuple[Floats, Floats]:
        """(candles with their states, attention), see `network.build_network`."""
        stack = windows
        for number, lstm in enumerate(self._lstms, start=1):
            below = stack if number == 1 else self._normalised(stack, f"norm_{number}")
            above = _lstm(below, *lstm)  # (windows, conv_width, units)
            stack = above if number == 1 else stack + above
        read = np.concatenate([windows, self._normalised(stack, "states")], axis=2)
        scores = np.float32(SHARPNESS) * self._dense(read, "scores")
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return read, scores / scores.sum(axis=1, keepdims=True)

    def _predict(self, windows: Floats, columns: Floats) -> Floats:
        read, attention = self._read(windows)
        picked = attention.transpose(0, 2, 1) @ read  # (windows, heads, channels + units)
        state = read[:, -1, windows.shape[2] :]  # (windows, units)
        found = np.concatenate([state, picked.reshape(len(windows), -1), columns], axis=1)
        head = np.maximum(self._dense(found, "head_1"), 0) * self._dense(found, "gate")
        head = np.maximum(self._dense(head, "head_2"), 0)
        found = head @ self.weights["bent/0"] + self._dense(columns, "line")
        bodies = windows[:, :, BODY : VOLUME + 1].transpose(0, 2, 1).reshape(len(windows), -1)
        products: Floats = np.tanh(self._dense(bodies, "left"))
        products = products * np.tanh(self._dense(bodies, "right"))
        return found + products @ self.weights["crossed/0"]

    def _dense(self, values: Floats, name: str) -> Floats:
        return values @ self.weights[f"{name}/0"] + self.weights[f"{name}/1"]

    def _normalised(self, values: Floats, name: str) -> Any:
        centred = values - values.mean(axis=2, keepdims=True)
        size = np.sqrt(np.square(centred).mean(axis=2, keepdims=True) + EPSILON)
        return centred / size * self.weights[f"{name}/0"] + self.weights[f"{name}/1"]


def _lstm(windows: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """Return the states of an LSTM, shape (windows, conv_width, units); gates as in Forward."""
    count, conv_width, _ = windows.shape
    units = len(recurrent)
    given = windows.transpose(1, 0, 2) @ kernel + bias  # (conv_width, windows, 4 × units)
    states = np.empty((conv_width, count, units), np.float32)
    state = cell = np.zeros((count, units), np.float32)
    for step in range(conv_width):
        gates = np.tanh(given[step] + state @ recurrent)  # (windows, 4 × units)
        opened = 0.5 * gates + np.float32(0.5)
        cell = opened[:, units : 2 * units] * cell
        cell += opened[:, :units] * gates[:, 2 * units : 3 * units]
        state = np.multiply(opened[:, 3 * units :], np.tanh(cell), out=states[step])
    return states.transpose(1, 0, 2)


def weights_of(model: Any) -> dict[str, Floats]:
    """Return the weights of a Keras model as `Forward` takes them."""
    return {
        f"{layer.name}/{number}": np.asarray(values, np.float32)
        for layer in model.layers
        for number, values in enumerate(layer.get_weights())
        if values.ndim and not np.issubdtype(values.dtype, np.integer)
    }
