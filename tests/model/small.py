"""Small networks and training sets, for tests of the model without FreqAI."""

from typing import Any

import numpy as np
from conftest import pool_of
from pandas import DataFrame

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.model.windows import Inputs, TrainingSet, split_windows


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
