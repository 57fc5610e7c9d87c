"""The network's forward pass in NumPy: predictions without TensorFlow, equal to Keras' ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from freqai_lstm.model.windows import Floats


EPSILON = 1e-3  # of Keras' LayerNormalization
AT_ONCE = 1024  # windows: more would only fill memory
# Several threads gain nothing on an idle machine, and beside busy processes they wait for each
# other at each of a window's steps: 428 ms in place of 46 for 720 windows on two busy cores.
_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")


class Forward:
    """Predict with the weights of a network; see `network.build_network` for the layers.

    :param weights: by "layer/number" in the order of `keras.layers.Layer.get_weights()`; the
        first axis of each is the network's members, whose mean is predicted.
    """

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weights = {name: np.asarray(values, np.float32) for name, values in weights.items()}
        self.layers = sum(name.startswith("lstm_") for name in weights) // 3
        # sigmoid(x) = tanh(x / 2) / 2 + 1/2: with halved weights one tanh serves all four gates.
        self._lstms = []
        for number in range(1, self.layers + 1):
            kernel, recurrent, bias = (self.weights[f"lstm_{number}/{n}"] for n in range(3))
            units = recurrent.shape[1]
            half = np.full(4 * units, 0.5, np.float32)
            half[2 * units : 3 * units] = 1  # the candidate is a tanh already
            self._lstms.append((kernel * half, recurrent * half, bias * half))

    @property
    def labels(self) -> int:
        """How many labels the network predicts."""
        return int(self.weights["line/1"].shape[1])

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
        return np.concatenate(self._read(windows)[1], axis=2)

    def _read(self, windows: Floats) -> tuple[Floats, Floats]:
        """(candles with their states, attention), see `network.build_network`."""
        stack = windows[None]
        for number, lstm in enumerate(self._lstms, start=1):
            below = stack if number == 1 else self._normalised(stack, f"norm_{number}")
            above = _lstm(below, *lstm)  # (members, windows, conv_width, units)
            stack = above if number == 1 else stack + above
        states = self._normalised(stack, "states")
        seen = np.broadcast_to(windows, (len(states), *windows.shape))
        read = np.concatenate([seen, states], axis=3)
        kernel, bias = self.weights["scores/0"][:, None], self.weights["scores/1"][:, None, None]
        scores = read @ kernel + bias  # (members, windows, conv_width, heads)
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        return read, scores / scores.sum(axis=2, keepdims=True)

    def _predict(self, windows: Floats, columns: Floats) -> Floats:
        read, attention = self._read(windows)
        picked = attention.swapaxes(2, 3) @ read  # (members, windows, heads, channels + units)
        state = read[:, :, -1, windows.shape[2] :]  # (members, windows, units)
        picked = picked.reshape(*state.shape[:2], -1)
        known = np.broadcast_to(columns, (len(state), *columns.shape))
        found = np.concatenate([state, picked, known], axis=2)
        head = np.maximum(self._dense(found, "head_1"), 0) * self._dense(found, "gate")
        head = np.maximum(self._dense(head, "head_2"), 0)
        return (head @ self.weights["bent/0"] + self._dense(columns, "line")).mean(axis=0)

    def _dense(self, values: Floats, name: str) -> Floats:
        return values @ self.weights[f"{name}/0"] + self.weights[f"{name}/1"][:, None]

    def _normalised(self, values: Floats, name: str) -> Any:
        centred = values - values.mean(axis=3, keepdims=True)
        size = np.sqrt(np.square(centred).mean(axis=3, keepdims=True) + EPSILON)
        gain, bias = (self.weights[f"{name}/{n}"][:, None, None] for n in range(2))
        return centred / size * gain + bias


def _lstm(windows: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """Return an LSTM's states, (members, windows, conv_width, units); gates as in Forward."""
    units = recurrent.shape[1]
    # (conv_width, members, windows, 4 × units)
    given = windows.transpose(2, 0, 1, 3) @ kernel + bias[:, None]
    states = np.empty((*given.shape[:3], units), np.float32)
    state = cell = np.zeros(states.shape[1:], np.float32)
    for step in range(len(given)):
        gates = np.tanh(given[step] + state @ recurrent)  # (members, windows, 4 × units)
        opened = 0.5 * gates + np.float32(0.5)
        cell = opened[..., units : 2 * units] * cell
        cell += opened[..., :units] * gates[..., 2 * units : 3 * units]
        state = np.multiply(opened[..., 3 * units :], np.tanh(cell), out=states[step])
    return states.transpose(1, 2, 0, 3)


def weights_of(model: Any) -> dict[str, Floats]:
    """Return the weights of a Keras model as `Forward` takes them."""
    found: dict[str, list[Floats]] = {}
    for layer in model.layers:
        name = layer.name.partition(".")[0]
        for number, values in enumerate(layer.get_weights()):
            if values.ndim and not np.issubdtype(values.dtype, np.integer):
                found.setdefault(f"{name}/{number}", []).append(values)
    return {name: np.stack(values).astype(np.float32) for name, values in found.items()}
