"""The interval around a prediction, from the newest errors that are known.

Split conformal intervals (Lei et al. 2018, arXiv:1604.04173) hold where new candles are like those
that were calibrated on, and markets change. The errors therefore roll on with every candle, and the
level follows how often recent intervals have missed (Gibbs and Candès 2021, arXiv:2106.00170).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


COVERAGE = 0.8  # share of labels between lower and upper
NEWEST = 1000  # errors that count
STEP = 0.004  # of the level, for each interval that missed
FEWEST = 20  # errors; with fewer an interval has no bounds

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Hold the newest known errors, and whether recent intervals missed, oldest first.

    `errors` of shape (errors, labels): label less prediction, in units of the label's scale.
    `missed` of shape (intervals, labels): 1 where the label lay outside, of real predictions alone.
    """

    errors: Numbers
    missed: Numbers

    def extended(self, errors: Numbers, missed: Numbers) -> Calibration:
        """Add newer errors and drop the oldest.

        :param missed: not finite where there was no interval; such rows do not count.
        """
        return Calibration(
            np.concatenate([self.errors, errors])[-NEWEST:],
            np.concatenate([self.missed, missed[np.isfinite(missed).all(axis=1)]])[-NEWEST:],
        )

    def offsets(self) -> tuple[Numbers, Numbers]:
        """Return what to add to a prediction for lower and upper, each of shape (labels,)."""
        return _offsets(np.sort(self.errors, axis=0), self.missed)

    def intervals(
        self,
        candles: NDArray[np.int64],
        predicted: Numbers,
        actual: Numbers,
        scales: Numbers,
        horizon: int,
    ) -> tuple[Numbers, Numbers]:
        """Return lower and upper of predictions in time order, shape (rows, labels) each.

        A row's interval knows the labels of earlier rows that are known at its candle.

        :param candles: array of shape (rows,), from `candle_numbers`.
        :param predicted: array of shape (rows, labels).
        :param actual: labels of the same shape, not finite where there are none.
        :param scales: of the labels now, shape (rows,).
        :param horizon: candles after which a label is known; a row never knows its own.
        """
        lower, upper = np.full_like(predicted, np.nan), np.full_like(predicted, np.nan)
        known_at = candles + max(horizon, 1)
        errors = (actual - predicted) / scales[:, None]
        usable = np.asarray(np.isfinite(errors).all(axis=1))
        now, joined = self, 0
        low, high = now.offsets()
        for row, candle in enumerate(candles):
            newly = joined + int(np.searchsorted(known_at[joined:], candle, side="right"))
            if newly > joined:
                rows = np.arange(joined, newly)[usable[joined:newly]]
                missed = _missed(actual[rows], lower[rows], upper[rows])
                now, joined = now.extended(errors[rows], missed), newly
                low, high = now.offsets()
            lower[row] = predicted[row] + low * scales[row]
            upper[row] = predicted[row] + high * scales[row]
        return lower, upper


def _offsets(ordered: Numbers, missed: Numbers) -> tuple[Numbers, Numbers]:
    """:param ordered: errors of shape (errors, labels), each column sorted."""
    count, labels = ordered.shape
    if count < FEWEST:
        # Missing bounds would become FreqAI's 0, and an interval of width 0 looks certain.
        return np.full(labels, -np.inf), np.full(labels, np.inf)
    level = 1 - COVERAGE + STEP * (1 - COVERAGE - missed).sum(axis=0)  # (labels,), outside
    tail = np.clip(level, 0, 1) / 2 * (count - 1)
    columns = np.arange(labels)
    below, above = np.floor(tail).astype(int), np.ceil(count - 1 - tail).astype(int)
    return ordered[below, columns], ordered[above, columns]


def known_errors(
    past: pd.DataFrame, frame: pd.DataFrame, labels: list[str], scales: Numbers, horizon: int
) -> tuple[Numbers, Numbers]:
    """Compare past predictions with the labels that are known at the end of a frame.

    :param past: predictions as FreqAI keeps them: `date`, each label, `…_lower`, `…_upper` and
        `do_predict`; may be empty.
    :param frame: candles with `date` and labels, in time order.
    :param scales: of the labels, shape (frame rows,).
    :param horizon: candles after which a label is known.
    :return: (errors, missed) as in `Calibration`.
    """
    empty = np.empty((0, len(labels)))
    ends = [f"{label}{end}" for label in labels for end in ("_lower", "_upper")]
    if not {"do_predict", *ends} <= {*past}:  # none yet, or FreqAI's for a failed training
        return empty, empty
    known = frame.iloc[: len(frame) - max(horizon, 1)]
    # NumPy instead of a merge: live, every candle of every pair waits for this.
    then, now = _seconds(past["date"]), _seconds(known["date"])
    _, rows, same = np.intersect1d(then, now, return_indices=True)
    kept = past["do_predict"].to_numpy()[rows] == 1
    rows, same = rows[kept][-NEWEST:], same[kept][-NEWEST:]

    def values(end: str) -> Numbers:
        return past[[f"{label}{end}" for label in labels]].to_numpy(dtype=float)[rows]

    truth = known[labels].to_numpy(dtype=float)[same]
    errors = (truth - values("")) / scales[same, None]
    missed = _missed(truth, values("_lower"), values("_upper"))
    usable = np.isfinite(errors).all(axis=1)
    return errors[usable], missed[usable]


def _missed(actual: Numbers, lower: Numbers, upper: Numbers) -> Numbers:
    """1 where the label lies outside, 0 inside, not finite where there was no interval."""
    missed = ((actual < lower) | (actual > upper)).astype(float)
    return np.where(np.isfinite(lower) & np.isfinite(upper), missed, np.nan)


def _seconds(dates: pd.Series) -> NDArray[np.int64]:
    return pd.to_datetime(dates, utc=True).to_numpy(dtype="datetime64[s]").astype(np.int64)
