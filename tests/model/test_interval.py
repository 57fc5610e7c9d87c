"""Intervals: errors in units of a predicted size, and a level that follows what has missed."""

import numpy as np
import pytest

from freqai_lstm.model.interval import (
    COVERAGE,
    FARTHEST,
    FEWEST,
    HIGHEST,
    LOWEST,
    NEWEST,
    STEP,
    ErrorSizes,
    intervals,
    levels_after,
    missed_of,
    next_levels,
)


FITTED, ROWS = 4000, 6000


def fitted(columns: np.ndarray, errors: np.ndarray, horizon: int = 0) -> ErrorSizes:
    """The sizes of one label's errors."""
    rows = len(errors)
    return ErrorSizes.fit(columns, errors, np.ones(rows), np.arange(rows), [horizon])


def quiet_and_wild(rows: int = ROWS, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A column that tells how large errors are, tenfold in wild hours, and errors."""
    rng = np.random.default_rng(seed)
    state = np.sin(np.arange(rows) / 40) + 0.3 * rng.normal(size=rows)
    columns = np.column_stack([state, rng.normal(size=rows)])
    return columns, (rng.standard_t(5, rows) * np.exp(1.15 * state))[:, None]


def test_coverage_in_quiet_and_in_wild_hours() -> None:
    """Four of five in each tercile of volatility, which intervals of one width miss by far."""
    columns, errors = quiet_and_wild()
    sizes = fitted(columns[:FITTED], errors[:FITTED])
    new = slice(FITTED, None)
    actual, predicted = errors[new], np.zeros((ROWS - FITTED, 1))
    numbers, levels = np.arange(FITTED, ROWS), np.array([1 - COVERAGE])
    lower, upper = intervals(sizes, columns[new], numbers, actual, predicted, levels, [0])
    covered = (missed_of(actual, lower, upper) == 0)[:, 0]
    third = np.argsort(np.argsort(columns[new, 0])) * 3 // len(covered)
    assert covered.mean() == pytest.approx(COVERAGE, abs=0.02)
    low, high = np.quantile(errors[:FITTED], (0.1, 0.9))
    flat = ((low <= actual) & (actual <= high))[:, 0]
    for part in range(3):
        assert covered[third == part].mean() == pytest.approx(COVERAGE, abs=0.05)
    assert flat[third == 0].mean() > 0.95
    assert flat[third == 2].mean() < 0.65


@pytest.mark.parametrize("horizon", [1, 12])
def test_levels_follow_a_market_that_changes(horizon: int) -> None:
    """When errors double, coverage comes back; without a moving level it would stay low."""
    columns, errors = quiet_and_wild()
    sizes = fitted(columns[:FITTED], errors[:FITTED])
    actual, predicted = 2 * errors[FITTED:], np.zeros((ROWS - FITTED, 1))
    numbers, levels = np.arange(FITTED, ROWS), np.array([1 - COVERAGE])
    lower, upper = intervals(sizes, columns[FITTED:], numbers, actual, predicted, levels, [horizon])
    missed = missed_of(actual, lower, upper)[:, 0]
    assert missed[500:].mean() == pytest.approx(1 - COVERAGE, abs=0.04)
    low, high = sizes.bounds(levels)
    size = sizes.sizes(columns[FITTED:])
    assert missed_of(actual, low * size, high * size)[500:].mean() > 0.3


@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_a_row_knows_what_is_known_at_its_candle(horizon: int) -> None:
    """A label that is not known yet changes no interval before its time, however large."""
    columns, errors = quiet_and_wild(400)
    sizes = fitted(columns, errors)
    predicted, numbers = np.zeros((60, 1)), np.arange(60)
    numbers[30:] += 5  # a gap in the candles
    levels = np.array([0.2])
    arguments = (sizes, columns[:60], numbers)

    def lower(actual: np.ndarray) -> np.ndarray:
        return intervals(*arguments, actual, predicted, levels, [horizon])[0][:, 0]

    plain, wild = np.zeros((60, 1)), np.zeros((60, 1))
    wild[20] = 1e6
    first = int(np.flatnonzero(lower(wild) != lower(plain))[0])
    assert first == 20 + max(horizon, 1)
    wild = np.zeros((60, 1))
    wild[29] = 1e6
    first = int(np.flatnonzero(lower(wild) != lower(plain))[0])
    assert first == 30, "five candles passed in the gap"


def test_unknown_labels_do_not_move_levels() -> None:
    """A miss lowers a level, a hit raises it, no interval leaves it; bounds hold."""
    levels = np.array([0.2, 0.2, 0.2])
    moved = next_levels(levels, np.array([1, 0, np.nan]))
    assert moved.tolist() == pytest.approx([0.2 - STEP * COVERAGE, 0.2 + STEP * 0.2, 0.2])
    assert levels_after(np.ones((NEWEST, 1))).tolist() == [LOWEST]
    assert levels_after(np.zeros((5 * NEWEST, 1)))[0] <= HIGHEST
    assert levels_after(np.full((9, 2), np.nan)).tolist() == pytest.approx([0.2, 0.2])
    assert levels_after(np.empty((0, 2))).tolist() == pytest.approx([0.2, 0.2])


def test_too_few_errors_are_no_interval() -> None:
    """It has no end then; a missing error counts for none."""
    columns, errors = quiet_and_wild(FEWEST)
    assert np.isfinite(fitted(columns, errors).bounds(np.array([0.2]))).all()
    errors[3] = np.nan
    low, high = fitted(columns, errors).bounds(np.array([0.2]))
    assert (low[0], high[0]) == (-np.inf, np.inf)


@pytest.mark.parametrize("errors", [np.zeros((100, 1)), np.full((100, 1), np.nan)])
def test_errors_that_tell_nothing(errors: np.ndarray) -> None:
    """Exact labels and labels without any error raise nothing, and sizes are finite."""
    columns = quiet_and_wild(100)[0]
    sizes = fitted(columns, errors)
    assert np.isfinite(sizes.sizes(columns)).all()
    low, high = sizes.bounds(np.array([0.2]))
    assert low <= high


def test_rows_weigh_less_where_errors_are_large() -> None:
    """By the inverse of their size, within bounds; where all are of one size rows weigh alike."""
    columns, errors = quiet_and_wild()
    weights = fitted(columns, errors).weights(columns)
    assert weights.mean() == pytest.approx(1)
    middle = np.abs(columns[:, 0] - columns[:, 0].mean()) < 0.8
    slope = np.polyfit(columns[middle, 0], np.log(weights[middle, 0]), 1)[0]
    assert slope == pytest.approx(-1.15, abs=0.1)
    assert weights.max() <= np.exp(2 * FARTHEST) * weights.min()
    even = np.random.default_rng(3).normal(size=errors.shape)
    np.testing.assert_array_equal(fitted(columns, even).weights(columns), 1.0)
    np.testing.assert_array_equal(fitted(columns, errors * np.nan).weights(columns), 1.0)


def test_sizes_stay_within_what_was_seen() -> None:
    """Far beyond the columns of the training an interval is no wider than its widest error."""
    columns, errors = quiet_and_wild()
    sizes = fitted(columns, errors)
    far = sizes.sizes(np.array([[50.0, 0], [-50.0, 0]]))[:, 0]
    assert far[0] <= 1.1 * np.abs(errors).max()
    assert far[1] >= 0.04 * np.median(np.abs(errors))


@pytest.mark.filterwarnings("error")
def test_a_label_that_was_never_known_has_an_interval_without_end() -> None:
    """It must not be NaN: a comparison with NaN is false, as if the label lay inside."""
    columns, errors = quiet_and_wild(400)
    sizes = fitted(columns, np.full_like(errors, np.nan))
    zeros = np.zeros((60, 1))
    lower, upper = intervals(
        sizes, columns[:60], np.arange(60), zeros, zeros, np.array([1 - COVERAGE]), [0]
    )
    assert np.isneginf(lower).all()
    assert np.isposinf(upper).all()
