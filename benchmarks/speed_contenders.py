"""Who is compared: LSTMRegressor, the same network as plain Keras is used, and as native PyTorch.

All three are made by `contender` and take the same weights, so that a difference in speed is not
one in what is computed.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


Matrix = npt.NDArray[np.float32]
Ends = npt.NDArray[np.int32]

NAMES = {
    "ours": "LSTMRegressor",
    "torch": "native PyTorch",
    "keras": "plain Keras",
    "transformer": "PyTorchTransformerRegressor",
    "lightgbm": "LightGBMRegressorMultiTarget",
}
PLUGIN = Path(__file__).resolve().parents[1] / "user_data/freqaimodels/LSTMRegressor.py"
LABELS = 9


class Contender(Protocol):
    """One network of one shape, behind the handful of calls that the jobs time."""

    facts: dict[str, Any]

    def take(self, weights: list[Matrix]) -> None:
        """Take over weights in the order of `keras.Model.get_weights()`."""

    def prepare(self, data: Any, batch_size: int) -> Callable[[], None]:
        """Make ready to train; what comes back trains one epoch."""

    def train(self, data: Any, epochs: int, each: Callable[[], None]) -> None:
        """A whole training from fresh weights, validated, `each` called after every epoch."""

    def predict(self, matrix: Matrix, ends: Ends) -> Matrix:
        """Predict the windows that end at these rows: ndarray of shape (windows, labels)."""


def load_plugin() -> ModuleType:
    """The module of LSTMRegressor.py."""
    return load_module(PLUGIN)


def load_module(path: Path) -> ModuleType:
    """A plugin file, loaded as freqtrade loads it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def training_set(
    plugin: ModuleType, rows: int, features: int, width: int, validation: float = 0.0
) -> Any:
    """A `TrainingSet` of random numbers; what it costs does not depend on their values.

    :param validation: share of the windows, the last ones, to validate on.
    """
    rng = np.random.default_rng(1)
    ends = np.arange(width - 1, rows, dtype=np.int32)
    border = len(ends) - round(validation * len(ends))
    return plugin.TrainingSet(
        # Not drawn as float64 first: the peak of the memory job must not be that of its data.
        features=rng.standard_normal((rows, features), dtype=np.float32),
        labels=rng.standard_normal((rows, LABELS), dtype=np.float32),
        weights=np.ones(rows, dtype=np.float32),
        train_ends=ends[:border],
        validation_ends=ends[border:],
    )


def random_weights(plugin: ModuleType, parameters: Any, width: int, features: int) -> list[Matrix]:
    """Weights for every contender: a fresh network's, none of them zero any more."""
    network = plugin.NetworkPool(parameters).fresh(width, features, LABELS)
    rng = np.random.default_rng(2)
    return [
        values + rng.normal(scale=0.05, size=values.shape).astype(np.float32)
        for values in network.model.get_weights()
    ]


def contender(
    name: str, plugin: ModuleType, parameters: Any, width: int, features: int
) -> Contender:
    """Make `ours`, `keras` or `torch`."""
    makers = {"ours": Ours, "keras": PlainKeras, "torch": NativeTorch}
    return makers[name](plugin, parameters, width, features)


class Ours:
    """LSTMRegressor's own training and prediction."""

    def __init__(self, plugin: ModuleType, parameters: Any, width: int, features: int) -> None:
        self.plugin, self.parameters, self.shape = plugin, parameters, (width, features, LABELS)
        self.pool = plugin.NetworkPool(parameters)
        self.facts: dict[str, Any] = {}
        self.trained: Any = None

    def take(self, weights: list[Matrix]) -> None:
        self.trained = self.plugin.TrainedLSTM(self.pool.fresh(*self.shape), weights, [])

    def prepare(self, data: Any, batch_size: int) -> Callable[[], None]:
        network = self.pool.fresh(*self.shape)
        network.reset(self.trained and self.trained.weights)
        constant = network.tf.constant
        tensors = self.plugin.TrainingTensors(
            constant(data.features), constant(data.labels), constant(data.weights)
        )
        return lambda: network.train_epoch(tensors, data.train_ends, batch_size)

    def train(self, data: Any, epochs: int, each: Callable[[], None]) -> None:
        network = self.pool.fresh(*self.shape)  # its parameters say how many epochs
        self.plugin.train_network(network, data, summary=lambda scalars, epoch: each())

    def predict(self, matrix: Matrix, ends: Ends) -> Matrix:
        return self.trained.predict(matrix, ends)


class PlainKeras:
    """The same layers as a Keras tutorial would use them: copied windows, `fit`, `predict`."""

    def __init__(self, plugin: ModuleType, parameters: Any, width: int, features: int) -> None:
        _, self.keras = plugin.load_tensorflow()
        self.plugin, self.parameters = plugin, parameters
        self.shape = plugin.NetworkShape(width, features, LABELS, parameters)
        self.facts: dict[str, Any] = {}
        self.model = self._build()

    def _build(self) -> Any:
        p = self.parameters
        model = self.plugin.build_network(self.keras, self.shape)
        model.compile(
            self.keras.optimizers.AdamW(p.learning_rate, p.weight_decay, clipnorm=p.clip_norm),
            loss=p.loss,
        )
        return model

    def take(self, weights: list[Matrix]) -> None:
        self.model.set_weights(weights)

    def prepare(self, data: Any, batch_size: int) -> Callable[[], None]:
        x, y = self.copies(data.features, data.train_ends), data.labels[data.train_ends]
        return lambda: self.model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)

    def train(self, data: Any, epochs: int, each: Callable[[], None]) -> None:
        model = self._build()
        held_out = data.validation_ends
        model.fit(
            self.copies(data.features, data.train_ends),
            data.labels[data.train_ends],
            batch_size=self.parameters.batch_size,
            epochs=epochs,
            validation_data=(self.copies(data.features, held_out), data.labels[held_out]),
            callbacks=[self.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: each())],
            verbose=0,
        )

    def predict(self, matrix: Matrix, ends: Ends) -> Matrix:
        return self.model.predict(self.copies(matrix, ends), verbose=0)

    def copies(self, matrix: Matrix, ends: Ends) -> npt.NDArray:
        """Windows copied out one by one, ndarray of shape (windows, conv_width, features)."""
        width = self.shape.conv_width
        return np.array([matrix[end - width + 1 : end + 1] for end in ends])


class NativeTorch:
    """The same layers in PyTorch, with one thread or all, whichever turns out faster."""

    def __init__(self, plugin: ModuleType, parameters: Any, width: int, features: int) -> None:
        from benchmarks import speed_torch

        self.plugin = plugin
        self.shape = (width, features, LABELS, parameters)
        self.make = speed_torch.TorchTrainer
        self.trainer = self.make(*self.shape)
        self.facts: dict[str, Any] = {}

    def take(self, weights: list[Matrix]) -> None:
        self.trainer.model.load_keras_weights(weights)

    def prepare(self, data: Any, batch_size: int) -> Callable[[], None]:
        def epoch() -> None:
            self.trainer.train_epoch(data, data.train_ends, batch_size)

        def with_best_threads() -> None:
            self._set_threads(threads)
            epoch()

        threads = self.best_threads(epoch, f"batch {batch_size}")
        return with_best_threads

    def train(self, data: Any, epochs: int, each: Callable[[], None]) -> None:
        self.trainer = self.make(*self.shape)
        self.trainer.model.set_line(*solve_line(self.plugin, self.trainer, data))
        self.trainer.train(data, epochs, each)

    def predict(self, matrix: Matrix, ends: Ends) -> Matrix:
        return self.trainer.predict(matrix, ends)

    def best_threads(self, call: Callable[[], Any], of_what: str) -> int:
        """Try one thread and all of them, stay with the faster, and note it in `facts`."""
        seconds = {}
        for threads in {1, os.cpu_count() or 1}:
            self._set_threads(threads)
            call()
            seconds[threads] = min(timed(call) for _ in range(3))
        best = min(seconds, key=seconds.__getitem__)
        self._set_threads(best)
        self.facts[f"threads, {of_what}"] = best
        return best

    @staticmethod
    def _set_threads(threads: int) -> None:
        import torch

        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def solve_line(plugin: ModuleType, trainer: Any, data: Any) -> tuple[npt.NDArray, npt.NDArray]:
    """LSTMRegressor's straight line for a PyTorch trainer; it costs both the same."""
    import torch

    def loss(labels: npt.NDArray, predictions: npt.NDArray) -> npt.NDArray:
        pair = torch.from_numpy(predictions), torch.from_numpy(labels)
        return trainer.loss(*pair, reduction="none").mean(dim=1).numpy()

    return plugin.solve_line(data, loss)


def timed(call: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
