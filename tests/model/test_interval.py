"""Intervals: from errors that are known by then, four of five, wider after they have missed."""

import numpy as np
import pandas as pd
import pytest

from freqai_lstm.model.interval import FEWEST, NEWEST, Calibration, known_errors


NONE = np.empty((0, 1))


def normal(rows: int, deviation: float = 1.0) -> np.ndarray:
    """Seeded errors of shape (rows, 1)."""
    return np.random.default_rng(1).normal(0, deviation, (rows, 1))


@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_each_row_knows_what_is_known_at_its_candle(horizon: int) -> None:
    """As if the calibration were made anew for each row, from labels that are known there.

    A label that is not known yet changes nothing, however large; a missing one is left out.
    """
    begun, rows = Calibration(normal(40), NONE), 12
    candles, predicted = np.arange(rows), np.zeros((rows, 1))
    scales, actual = np.linspace(1, 2, rows), normal(rows, 3)
    actual[4] = np.nan
    lower, upper = begun.intervals(candles, predicted, actual, scales, horizon)
    for row in range(rows):
        known = np.arange(max(0, row - max(horizon, 1) + 1))
        known = known[np.isfinite(actual[known, 0])]
        missed = (actual[known] < lower[known]) | (actual[known] > upper[known])
        then = begun.extended(actual[known] / scales[known, None], missed.astype(float))
        for found, offset in zip((lower, upper), then.offsets(), strict=True):
            assert found[row] == pytest.approx(offset * scales[row])
    actual[6:] = 1e6
    changed, _ = begun.intervals(candles, predicted, actual, scales, horizon)
    same = 6 + max(horizon, 1)
    assert (changed[:same] == lower[:same]).all()


def test_too_few_errors_are_no_interval() -> None:
    """It is unbounded then, and bounded with one error more."""
    lower, upper = Calibration(normal(FEWEST - 1), NONE).offsets()
    assert (lower[0], upper[0]) == (-np.inf, np.inf)
    assert np.isfinite(Calibration(normal(FEWEST), NONE).offsets()).all()


def test_intervals_widen_where_they_miss() -> None:
    """When errors double, coverage comes back within some hundred candles; old errors are dropped.

    Intervals of the errors at the beginning would cover less than half.
    """
    begun, rows = Calibration(normal(NEWEST), NONE), 3000
    actual = normal(rows, 2.5)
    lower, upper = begun.intervals(
        np.arange(rows), np.zeros((rows, 1)), actual, np.ones(rows), horizon=1
    )
    covered = (lower <= actual) & (actual <= upper)
    low, high = begun.offsets()
    assert ((low <= actual) & (actual <= high)).mean() < 0.5
    assert covered[300:].mean() == pytest.approx(0.8, abs=0.03)


def test_known_errors() -> None:
    """Real predictions alone count, where the frame knows the label by its end."""
    dates = pd.date_range("2024-01-01", periods=8, freq="h", tz="UTC")
    past = pd.DataFrame({"date": dates[:6], "&-a": 1.0, "&-a_lower": 0.0, "&-a_upper": 2.0})
    past["do_predict"] = [1, 0, 1, 1, 1, 1]
    frame = pd.DataFrame({"date": dates[2:], "&-a": [1.5, 9.0, np.nan, 5.0, 6.0, 7.0]})
    errors, missed = known_errors(past, frame, ["&-a"], np.full(6, 2.0), horizon=3)
    assert errors.tolist() == [[0.25], [4.0]]
    assert missed.tolist() == [[0.0], [1.0]]


def test_known_errors_after_a_failed_training() -> None:
    """FreqAI then fills in labels without intervals: there are no errors, and no failure."""
    dates = pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC")
    failed = pd.DataFrame({"date": dates, "&-a": 0.0, "do_predict": 0})
    frame = pd.DataFrame({"date": dates, "&-a": 1.0})
    for past in (failed, pd.DataFrame()):
        errors, missed = known_errors(past, frame, ["&-a"], np.ones(3), horizon=0)
        assert errors.shape == missed.shape == (0, 1)
