"""The share of a prediction that is taken: all of what is sure, nothing of luck."""

import numpy as np
import pytest
from numpy.typing import NDArray

from freqai_lstm.model.shares import cautious_shares


def shares(actual: NDArray, predicted: NDArray, horizon: int = 0) -> list[float]:
    """Shares with equal weights."""
    return cautious_shares(actual, predicted, np.ones(len(actual)), horizon, errors=1).tolist()


def test_sure_unsure_and_wrong() -> None:
    """An exact prediction is taken whole, a blurred one in part, noise and the opposite not."""
    rng = np.random.default_rng(1)
    actual = rng.normal(size=(1000, 4))
    predicted = actual.copy()
    predicted[:, 1] = actual[:, 1] + rng.normal(size=1000)
    predicted[:, 2] = rng.normal(size=1000)
    predicted[:, 3] *= -1
    found = shares(actual, predicted)
    assert found[0] == pytest.approx(1)
    assert 0.4 < found[1] < 0.5
    assert found[2] < 0.05
    assert found[3] == 0


def test_never_more_than_all() -> None:
    """A prediction that is too small is not made larger."""
    actual = np.random.default_rng(1).normal(size=(500, 1))
    assert shares(actual, actual / 2) == [1]


def test_overlapping_labels_are_less_sure() -> None:
    """Labels that last for a day count as few: luck in one block of time is not believed."""
    rng = np.random.default_rng(3)
    actual = np.repeat(rng.normal(size=(30, 200)), 24, axis=0)
    predicted = np.repeat(rng.normal(size=(30, 200)), 24, axis=0)
    naive = np.clip((actual * predicted).sum(axis=0) / (predicted**2).sum(axis=0), 0, 1)
    assert np.mean(shares(actual, predicted, horizon=24)) < 0.5 * naive.mean()


def test_rows_of_weight_zero_do_not_count() -> None:
    """Whatever they hold."""
    rng = np.random.default_rng(1)
    actual = rng.normal(size=(400, 1))
    predicted = actual + rng.normal(size=(400, 1))
    weights = np.where(np.arange(400) < 200, 1.0, 0.0)
    before = cautious_shares(actual, predicted, weights, 0, errors=1)
    actual[200:] *= -5
    assert cautious_shares(actual, predicted, weights, 0, errors=1) == before


def test_nothing_predicted() -> None:
    """A prediction of zero has no share, and raises nothing."""
    assert shares(np.ones((10, 2)), np.zeros((10, 2))) == [0, 0]
