"""Small networks, training sets and trainings, for tests of the model without FreqAI."""

from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import pool_of
from datasieve.pipeline import Pipeline
from datasieve.transforms import SKLearnWrapper
from pandas import DataFrame
from sklearn.preprocessing import FunctionTransformer

from freqai_lstm.model.assembly import assemble
from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.model.part import Part
from freqai_lstm.model.pooling import LearnedNetwork
from freqai_lstm.model.storage import TrainedLSTM
from freqai_lstm.model.training import Training
from freqai_lstm.model.windows import Floats, Inputs, TrainingSet, split_windows


WIDTH, FEATURES, LABELS = 4, 4, 2


def small_network(**given: Any) -> CompiledNetwork:
    """The network of some parameters for windows of (WIDTH, FEATURES) and LABELS labels."""
    small: dict[str, Any] = {"units": 8, "num_lstm_layers": 1, "epochs": 3, "batch_size": 32}
    # Four features and some hundred steps: too little to learn under strong dropout.
    small |= {"dropout_rate": 0.1, "input_dropout_rate": 0.0}
    return pool_of(read_parameters(small | given)).network(WIDTH, FEATURES, LABELS)


def candle_matrix(rows: int, seed: int = 1) -> np.ndarray:
    """Log prices of a seeded random walk and volumes, as `candle_rows` gives them: (rows, 5)."""
    rng = np.random.default_rng(seed)
    close = np.cumsum(rng.normal(0, 0.01, rows))
    spread = rng.uniform(0, 0.01, (rows, 3)) * [0, 1, -1]
    prices = np.column_stack([close[:, None] + spread, close])
    return np.column_stack([prices, rng.uniform(1, 2, rows)]).astype(np.float32)


def small_set(
    rows: int = 300,
    validated: int = 60,
    noise: float = 0.0,
    seed: int = 1,
    sign: int = 1,
    horizon: int = 0,
) -> TrainingSet:
    """Make a training set whose labels the last three rows decide, blurred by `noise`.

    :param validated: how many of the newest rows are validation rows.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    past = DataFrame(x).rolling(3, min_periods=1).mean().to_numpy()
    labels = sign * np.stack([past[:, 0] - past[:, 1], past[:, 2]], axis=1)
    labels = labels / labels.std(axis=0) + noise * rng.normal(size=labels.shape)
    candles, newest = np.arange(rows), np.arange(rows) >= rows - validated
    every = np.ones(rows, dtype=bool)
    train_ends, validation_ends = split_windows(candles, every, newest, WIDTH, horizon)
    return TrainingSet(
        inputs=Inputs(x, candle_matrix(rows, seed)),
        labels=labels.astype(np.float32),
        weights=np.ones(rows, dtype=np.float32),
        label_scales=np.ones(rows),
        candles=candles,
        train_ends=train_ends,
        validation_ends=validation_ends,
        horizon=horizon,
    )


def loss_of(network: CompiledNetwork) -> Callable[[Floats, Floats], Floats]:
    """The loss of each row that the network's parameters name."""
    return pool_of(network.parameters).loss


def part_of(network: CompiledNetwork, data: TrainingSet, pair: str = "A/B") -> Part:
    """A training set with its ridge regression, as one pair brings it to a training."""
    return Part.fit(pair, data, range(data.inputs.features.shape[1]), loss_of(network))


def train_small(
    network: CompiledNetwork,
    data: TrainingSet,
    start_from: Floats | None = None,
    on_epoch: Callable[[dict[str, float], int], None] = lambda scalars, epoch: None,
) -> TrainedLSTM:
    """Train on one pair and join network and ridge regression, as the plugin does."""
    part = part_of(network, data)
    names = [f"%-x{column}" for column in range(len(part.columns))]
    if part.exact:
        learned = LearnedNetwork.untrained(network, names)
    else:
        training = Training(network, [part], name="A/B", on_epoch=on_epoch)
        weights, report = training.run(start_from)
        learned = LearnedNetwork(network, weights, names, report)
    return assemble(part, names, names, learned, as_they_are(data))


def as_they_are(data: TrainingSet) -> Pipeline:
    """A label pipeline that changes nothing."""
    pipeline = Pipeline([("same", SKLearnWrapper(FunctionTransformer()))], fitparams={})
    pipeline.fit_transform(DataFrame(data.labels))
    return pipeline
