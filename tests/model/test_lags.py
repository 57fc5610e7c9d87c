"""What only earlier candles of the window tell is learned, from prices and from features."""

from typing import Any

import numpy as np
import pytest
from conftest import pool_of
from small import candle_matrix, train_small

from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.model.part import r_squared
from freqai_lstm.model.windows import Inputs, TrainingSet, split_windows


WIDTH, LAG = 12, 5
TEST = 300  # the newest windows, which no training has seen


def lagged_set(rows: int, what: str) -> TrainingSet:
    """Rows whose label was decided LAG candles ago; nothing of the current candle tells.

    :param what: "return", in units of its window's mean absolute return, or "feature".
    """
    rng = np.random.default_rng(3)
    features = rng.normal(size=(rows, 3)).astype(np.float32)
    candles = candle_matrix(rows, seed=4)
    returns = np.diff(candles[:, 3], prepend=0.0)
    size = np.convolve(np.abs(returns), np.ones(WIDTH - 1) / (WIDTH - 1))[:rows]
    label = np.roll(features[:, 0], LAG) if what == "feature" else np.roll(returns, LAG) / size
    label = label[:, None]
    numbers, later = np.arange(rows), np.arange(rows) >= rows - TEST - 300
    every = np.ones(rows, dtype=bool)
    train_ends, validation_ends = split_windows(numbers, every, later, WIDTH, 0)
    return TrainingSet(
        inputs=Inputs(features, candles),
        labels=(label / label[WIDTH:].std()).astype(np.float32),
        weights=np.ones(rows, dtype=np.float32),
        label_scales=np.ones(rows),
        candles=numbers,
        train_ends=train_ends,
        validation_ends=validation_ends[:-TEST],
        horizon=0,
    )


@pytest.mark.parametrize(
    ("what", "given", "least"),
    [
        ("return", {"epochs": 40}, 0.9),
        ("feature", {"epochs": 30, "input_dropout_rate": 0.0}, 0.9),
        # Features that are dropped at random are hard to tell apart by their past alone.
        ("feature", {"epochs": 30}, 0.6),
    ],
)
def test_what_lies_five_candles_back(what: str, given: dict[str, Any], least: float) -> None:
    """The network finds it on candles that no training has seen; a straight line cannot."""
    data = lagged_set(3000, what)
    model = train_small(pool_of(read_parameters(given)).network(WIDTH, 3, 1), data)
    ends = np.arange(3000 - TEST, 3000, dtype=np.int32)
    assert r_squared(data.labels[ends], model.predict(data.inputs, ends).mean) > least
    assert abs(model.report["ridge_validation_r2"]) < 0.05
