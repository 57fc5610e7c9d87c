"""Who is compared: LSTMRegressor, the same network as plain Keras is used, and as native PyTorch.

All three take the same weights, so that a difference in speed is not one in what is computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from benchmarks import model_under_test as under_test
from benchmarks.model_under_test import Weights
from freqai_lstm.model.devices import load_tensorflow
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.windows import Floats, Inputs, Rows, TrainingSet


NAMES = {
    "ours": "LSTMRegressor",
    "torch": "native PyTorch",
    "keras": "plain Keras",
    "transformer": "PyTorchTransformerRegressor",
    "lightgbm": "LightGBMRegressorMultiTarget",
}


class Contender(Protocol):
    """One network of one shape, behind the handful of calls that the jobs time.

    `facts` is what to note about it in the report.
    """

    facts: dict[str, Any]

    def take(self, weights: Weights) -> None:
        """Take over weights."""

    def prepare(self, data: TrainingSet) -> Callable[[], Any]:
        """Make ready to train; what comes back trains one epoch."""

    def train(self, data: TrainingSet, after_epoch: Callable[[], Any]) -> None:
        """Run a whole training from fresh weights, validated."""

    def predict(self, inputs: Inputs, ends: Rows) -> Floats:
        """Predict the windows that end at these rows: array of shape (windows, labels)."""


class Ours:
    """LSTMRegressor's own training and prediction."""

    def __init__(self, parameters: LSTMParameters, width: int, features: int) -> None:
        self.network = under_test.compiled_network(parameters, width, features)
        self.weights = self.network.weights()
        self.facts: dict[str, Any] = {}

    def take(self, weights: Weights) -> None:
        self.weights = np.concatenate([np.ravel(values) for values in weights.values()])

    def prepare(self, data: TrainingSet) -> Callable[[], Any]:
        return under_test.epoch_of(self.network, data)

    def train(self, data: TrainingSet, after_epoch: Callable[[], Any]) -> None:
        self.weights = under_test.train(self.network, data, after_epoch)

    def predict(self, inputs: Inputs, ends: Rows) -> Floats:
        return self.network.predict(self.weights, inputs, ends)


class PlainKeras:
    """The same layers as a Keras tutorial would use them: copied windows, `fit`, `predict`."""

    def __init__(self, parameters: LSTMParameters, width: int, features: int) -> None:
        self.parameters, self.shape = parameters, (width, features)
        self.facts: dict[str, Any] = {}
        self.model = self._build()

    def _build(self) -> Any:
        p, (_, keras) = self.parameters, load_tensorflow()
        model = under_test.keras_model(p, *self.shape)
        optimizer = keras.optimizers.AdamW(
            p.learning_rate, p.weight_decay, global_clipnorm=p.clip_norm
        )
        model.compile(optimizer, loss=p.loss)
        return model

    def take(self, weights: Weights) -> None:
        self.model.set_weights(list(weights.values()))

    def prepare(self, data: TrainingSet) -> Callable[[], Any]:
        x, y = self._windows(data.inputs, data.train_ends), data.labels[data.train_ends]
        batch_size = self.parameters.batch_size
        return lambda: self.model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)

    def train(self, data: TrainingSet, after_epoch: Callable[[], Any]) -> None:
        _, keras = load_tensorflow()
        held_out = data.validation_ends
        self.model = self._build()
        self.model.fit(
            self._windows(data.inputs, data.train_ends),
            data.labels[data.train_ends],
            batch_size=self.parameters.batch_size,
            epochs=self.parameters.epochs,
            validation_data=(self._windows(data.inputs, held_out), data.labels[held_out]),
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: after_epoch())],
            verbose=0,
        )

    def predict(self, inputs: Inputs, ends: Rows) -> Floats:
        return self.model.predict(self._windows(inputs, ends), verbose=0)

    def _windows(self, inputs: Inputs, ends: Rows) -> list[Any]:
        return under_test.copied_windows(inputs, ends, self.shape[0], self.model)


class NativeTorch:
    """The same layers in PyTorch, with one thread or all, whichever turns out faster."""

    def __init__(self, parameters: LSTMParameters, width: int, features: int) -> None:
        from benchmarks.speed.torch_network import TorchNetwork  # PyTorch need not be installed

        self.network = TorchNetwork(parameters, width, features, under_test.LABELS)
        self.facts: dict[str, Any] = {}

    def take(self, weights: Weights) -> None:
        self.network.model.load_keras_weights(weights)

    def prepare(self, data: TrainingSet) -> Callable[[], Any]:
        epoch = under_test.epoch_of(self.network, data)
        threads = self.best_threads(epoch)

        def with_best_threads() -> None:
            self._set_threads(threads)
            epoch()

        return with_best_threads

    def train(self, data: TrainingSet, after_epoch: Callable[[], Any]) -> None:
        under_test.train(self.network, data, after_epoch)

    def predict(self, inputs: Inputs, ends: Rows) -> Floats:
        return self.network.predict(self.network.weights(), inputs, ends)

    def best_threads(self, call: Callable[[], Any]) -> int:
        """Try one thread and all of them, stay with the faster, and note it in `facts`."""
        seconds = {}
        for threads in {1, os.cpu_count() or 1}:
            self._set_threads(threads)
            call()
            seconds[threads] = min(timed(call) for _ in range(3))
        best = min(seconds, key=seconds.__getitem__)
        self._set_threads(best)
        self.facts["threads"] = best
        return best

    @staticmethod
    def _set_threads(threads: int) -> None:
        import torch

        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


CONTENDERS: dict[str, Callable[[LSTMParameters, int, int], Contender]] = {
    "ours": Ours,
    "keras": PlainKeras,
    "torch": NativeTorch,
}


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    started = perf_counter()
    call()
    return perf_counter() - started
