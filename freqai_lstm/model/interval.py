"""The interval around a prediction: errors divided by a predicted size, and a level that follows.

Split conformal intervals (Lei et al. 2018, arXiv:1604.04173) hold where new candles are like those
that were calibrated on, and markets change: quiet and wild hours have other errors, so errors are
divided by their predicted size before they are compared (locally weighted, ibid., section 5.2); and
the level of each label follows how often its intervals have missed (Gibbs and Candès 2021,
arXiv:2106.00170).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.ridge import fit_ridge
from freqai_lstm.model.windows import Numbers


COVERAGE = 0.8  # of labels between lower and upper
STEP = 0.006  # of the level, for each interval that missed
NEWEST = 1000  # known intervals that a level remembers
LOWEST, HIGHEST = 0.01, 0.6  # level: fraction of labels outside
FEWEST = 20  # errors; with fewer an interval has no bounds
SMALLEST = 0.02  # of a typical error: what is added before the logarithm
# Of the logarithm of predicted sizes: with a smaller deviation errors count as alike in size, and
# further from the mean a size counts as this far, in `ErrorSizes.weights`.
UNEVEN, FARTHEST = 0.25, 1.1


@dataclass(frozen=True)
class ErrorSizes:
    """Predict the size of errors and hold what errors are in these units.

    `kernel` of shape (columns, labels), `bias`, `least` and `most` of shape (labels,) give the
    logarithm of the size; `errors` of shape (errors, labels), each column sorted, NaN at its end.
    """

    kernel: Numbers
    bias: Numbers
    least: Numbers
    most: Numbers
    errors: Numbers

    @classmethod
    def fit(
        cls,
        columns: Numbers,
        errors: Numbers,
        weights: Numbers,
        numbers: NDArray[np.int64],
        horizons: list[int],
    ) -> ErrorSizes:
        """Learn the size of errors.

        :param columns: of shape (rows, columns), see `windows.CandleInputs`.
        :param errors: labels less predictions of models that have not seen the row, shape
            (rows, labels), NaN where there is none.
        """
        absolute = np.abs(errors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a label without any error
            typical = np.nan_to_num(np.nanmedian(absolute, axis=0))
            spread = np.nan_to_num(np.nanmean(absolute, axis=0))
        typical = np.where(typical > 0, typical, np.where(spread > 0, spread, 1.0))
        logs = np.log(absolute + SMALLEST * typical)
        ridge = fit_ridge(columns, logs, weights, numbers, horizons)
        least = np.log(typical) - 3
        most = np.max(np.where(np.isfinite(logs), logs, least), axis=0)
        sizes = np.exp(np.clip(ridge.held_out, least, most))
        return cls(ridge.kernel, ridge.bias, least, most, np.sort(errors / sizes, axis=0))

    def sizes(self, columns: Numbers) -> Numbers:
        """Return the size of the errors at rows, shape (rows, labels)."""
        return np.exp(np.clip(columns @ self.kernel + self.bias, self.least, self.most))

    def weights(self, columns: Numbers) -> Numbers:
        """Weigh rows by the inverse of their predicted size of error, shape (rows, labels).

        Returns of wild hours have errors several times as large as those of quiet ones, and would
        rule what a regression learns of both. Least squares with the inverse of squared sizes are
        best where quiet and wild hours follow one line (Aitken 1936), equal weights where wild ones
        have their own, which count most in the error: this is between the two. Logarithms of
        volatility or volume have errors of nearly one size: of such a label all rows weigh 1. The
        mean weight is 1.
        """
        logs = np.log(self.sizes(columns))
        logs -= logs.mean(axis=0)
        found = np.exp(-np.clip(logs, -FARTHEST, FARTHEST))
        return np.where(logs.std(axis=0) > UNEVEN, found / found.mean(axis=0), 1.0)

    def bounds(self, levels: Numbers) -> tuple[Numbers, Numbers]:
        """Return the errors, in sizes, below and above which half of a level lies each.

        :param levels: fraction of labels outside, shape (labels,).
        """
        last, labels = np.maximum(self._counts - 1, 0), np.arange(len(levels))
        tail = levels / 2 * last
        low = self.errors[np.floor(tail).astype(int), labels]
        high = self.errors[np.ceil(last - tail).astype(int), labels]
        enough = self._counts >= FEWEST
        return np.where(enough, low, -np.inf), np.where(enough, high, np.inf)

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return np.isfinite(self.errors).sum(axis=0)  # (labels,)


def next_levels(levels: Numbers, missed: Numbers) -> Numbers:
    """Move each label's level by one known interval.

    :param missed: 1 where the label lay outside, 0 inside, NaN where there was no interval; of
        shape (labels,).
    """
    moved = np.clip(levels + STEP * (1 - COVERAGE - missed), LOWEST, HIGHEST)
    return np.where(np.isfinite(missed), moved, levels)


def levels_after(missed: Numbers) -> Numbers:
    """Return the levels after known intervals, oldest first, shape (labels,)."""
    steps = np.nan_to_num(STEP * (1 - COVERAGE - missed[-NEWEST:]))  # (intervals, labels)
    path = np.cumsum(np.vstack([np.full(steps.shape[1], 1 - COVERAGE), steps]), axis=0)
    levels = path[-1].copy()
    # Only where a level meets an end must it be followed step by step: live, every candle of every
    # pair waits for this.
    for label in np.flatnonzero((path.min(axis=0) < LOWEST) | (path.max(axis=0) > HIGHEST)):
        level = 1 - COVERAGE
        for step in steps[:, label].tolist():
            level += step  # twice as fast as min(max(…))
            if level < LOWEST:
                level = LOWEST
            elif level > HIGHEST:
                level = HIGHEST
        levels[label] = level
    return levels


def intervals(
    sizes: ErrorSizes,
    columns: Numbers,
    numbers: NDArray[np.int64],
    actual: Numbers,
    predicted: Numbers,
    levels: Numbers,
    horizons: list[int],
) -> tuple[Numbers, Numbers]:
    """Return lower and upper of predictions in time order, shape (rows, labels) each.

    A row's level knows the labels of earlier rows that are known at its candle.

    :param actual: labels in the unit of the predictions, NaN where there are none.
    :param levels: at the first row, shape (labels,).
    """
    size = sizes.sizes(columns)
    lower, upper = np.full_like(predicted, np.nan), np.full_like(predicted, np.nan)
    waits, labels = np.maximum(horizons, 1), np.arange(len(horizons))
    joined = np.zeros(len(waits), dtype=int)  # labels that the level knows, by label
    levels = levels.copy()
    low, high = sizes.bounds(levels)
    for row, candle in enumerate(numbers):
        before = joined.copy()
        while (known := (joined < row) & (numbers[joined] + waits <= candle)).any():
            missed = missed_of(actual[joined, labels], lower[joined, labels], upper[joined, labels])
            levels = next_levels(levels, np.where(known, missed, np.nan))
            joined += known
        if (joined != before).any():
            low, high = sizes.bounds(levels)
        lower[row] = predicted[row] + low * size[row]
        upper[row] = predicted[row] + high * size[row]
    return lower, upper


def missed_of(actual: Numbers, lower: Numbers, upper: Numbers) -> Numbers:
    """1 where the label lies outside, 0 inside, NaN where label or interval is missing."""
    missed = ((actual < lower) | (actual > upper)).astype(float)
    return np.where(np.isfinite(actual) & np.isfinite(lower) & np.isfinite(upper), missed, np.nan)
