"""The parts of freqai_lstm.model that the benchmarks measure, on random numbers.

Everything that a change of the model's own interface touches is in this module. What a training or
a prediction costs does not depend on the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.candles import COLUMNS, unit_free
from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.devices import load_tensorflow
from freqai_lstm.model.network import NetworkShape, build_network
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.part import Part
from freqai_lstm.model.pool import NetworkPool
from freqai_lstm.model.training import Training
from freqai_lstm.model.windows import Floats, Inputs, Rows, TrainingSet


LABELS = 9
Weights = dict[str, NDArray[np.float32]]  # by the path of the Keras variable, in Keras' order


def random_inputs(rows: int, features: int, seed: int = 1) -> Inputs:
    """Make `rows` candles with so many features."""
    rng = np.random.default_rng(seed)
    # Not drawn as float64 first: the peak of the memory job must not be that of its data.
    numbers = rng.standard_normal((rows, features), dtype=np.float32)
    return Inputs(numbers, rng.random((rows, len(COLUMNS)), dtype=np.float32))


def random_training_set(
    rows: int, features: int, width: int, validation: float = 0.0
) -> TrainingSet:
    """Make the rows of one training.

    :param validation: share of the windows, the last ones, to validate on.
    """
    rng = np.random.default_rng(2)
    ends = np.arange(width - 1, rows, dtype=np.int32)
    border = len(ends) - round(validation * len(ends))
    return TrainingSet(
        inputs=random_inputs(rows, features),
        labels=rng.standard_normal((rows, LABELS), dtype=np.float32),
        weights=np.ones(rows, dtype=np.float32),
        label_scales=np.ones(rows),
        candles=np.arange(rows),
        train_ends=ends[:border],
        validation_ends=ends[border:],
        horizon=1,
    )


def compiled_network(parameters: LSTMParameters, width: int, features: int) -> CompiledNetwork:
    """Build and compile LSTMRegressor's network."""
    return NetworkPool(parameters).network(width, features, LABELS)


def keras_model(parameters: LSTMParameters, width: int, features: int) -> Any:
    """Build LSTMRegressor's layers as a `keras.Model`, as plain Keras uses them."""
    _, keras = load_tensorflow()
    return build_network(keras, NetworkShape(width, features, LABELS, parameters))


def random_weights(parameters: LSTMParameters, width: int, features: int) -> Weights:
    """Make weights for every contender: a fresh network's, none of them zero any more."""
    rng = np.random.default_rng(3)
    return {
        variable.path: np.asarray(variable)
        + rng.normal(scale=0.05, size=variable.shape).astype(np.float32)
        for variable in keras_model(parameters, width, features).weights
    }


def train(network: Any, data: TrainingSet, after_epoch: Callable[[], Any] = lambda: None) -> Floats:
    """Run a whole training of one pair, with its ridge regression; return the network's weights.

    :param network: a `CompiledNetwork`, or what offers the same to `Training`.
    :param after_epoch: called after every epoch, but not after the ridge regression.
    """
    loss = NetworkPool(network.parameters).loss
    part = Part.fit("A/B", data, range(data.inputs.features.shape[1]), loss)
    weights, _ = Training(
        network, [part], on_epoch=lambda _, epoch: after_epoch() if epoch else None
    ).run()
    return weights[0]


def epoch_of(network: Any, data: TrainingSet) -> Callable[[], float]:
    """Make ready to train; what comes back trains one epoch, in batches of the parameters' size."""
    p, every_label = network.parameters, np.ones(data.labels.shape[1], np.float32)
    network.reset(p.seed)
    rows = tuple(network.joined([part]) for part in (*data.inputs, data.labels, data.weights))
    return lambda: network.train(rows, every_label, data.train_ends, p.batch_size)


def copied_windows(inputs: Inputs, ends: Rows, width: int, model: Any) -> list[NDArray]:
    """Copy out windows one by one, for the inputs of a `keras.Model`.

    :return: arrays of shape (windows, width, features) and, where the model has that input,
        (windows, width, channels).
    """
    tf, _ = load_tensorflow()
    features, candles = (
        np.array([rows[end - width + 1 : end + 1] for end in ends]) for rows in inputs
    )
    if len(model.inputs) == 1:
        return [features]
    return [features, unit_free(tf, candles).numpy()]
