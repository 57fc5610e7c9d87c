"""Do features still look as they did when the models learned from them?

The newest week (an eighth of the training days, where that is less) beside the training days before
it. What is usual is measured too: the same figures for each earlier stretch of that length. A
market moves from week to week, so only what is far beyond every one of them counts as drift.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.evaluate.data import Predictions
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.metrics import NAN
from freqai_lstm.model.alarm import longest_stands, standing_names


RECENT = pd.Timedelta(days=7)
BINS = 10
FEWEST = 24  # candles of the newest week
STRETCHES = 8  # of the training at least, so that it is known what is usual
# Share of values outside the training's range that is far, where no earlier stretch had half of it.
# The index is shown and not judged: a market whose volatility changes has a large one.
FAR = 0.5
LISTED = 5  # features of a pair, the worst ones


def drift(features: Features, live: Predictions) -> dict[str, list[dict[str, Any]]]:
    """The features that moved most, by pair.

    :return: pair → feature, psi and beyond (share of values outside the training's range) of the
        newest stretch, psi_usual and beyond_usual (the worst earlier one), far (whether most
        values are outside, unlike before, or it stands still at the end), in order of far and psi.
    """
    days = pd.Timedelta(days=features.config["freqai"]["train_period_days"])
    found = {}
    for pair in live.candles:
        frame = features.of(pair)
        dates = pd.to_datetime(frame["date"], utc=True)
        of_pair = live.rows[live.rows["pair"] == pair]["date"]
        last = min(of_pair.max(), dates.iloc[-1])
        start = max(of_pair.min(), last - min(RECENT, days / STRETCHES))
        recent = frame[(dates >= start) & (dates <= last)]
        trained = frame[(dates >= start - days) & (dates < start)]
        columns = [name for name in frame if str(name).startswith("%")]
        if len(recent) >= FEWEST and len(trained) >= STRETCHES * len(recent) * 0.9:
            rows = [{"feature": name, **moved(trained[name], recent[name])} for name in columns]
            found[pair] = sorted(rows, key=lambda row: (not row["far"], -row["psi"]))
    return found


def moved(trained: pd.Series, recent: pd.Series) -> dict[str, Any]:
    """How far a feature's newest values are from those of the training, beside what is usual.

    :return: psi, beyond, psi_usual, beyond_usual, far; see `drift`.
    """
    then, now = (values.to_numpy("float64") for values in (trained, recent))
    weeks = [then[at : at + len(now)] for at in range(0, len(then) - len(now) + 1, len(now))]
    rests = [np.delete(then, slice(at * len(now), (at + 1) * len(now))) for at in range(len(weeks))]
    pairs = list(zip(rests, weeks, strict=True))
    found: dict[str, Any] = {
        "psi": stability_index(then, now),
        "beyond": beyond(then, now),
        "psi_usual": max(stability_index(rest, week) for rest, week in pairs),
        "beyond_usual": max(beyond(rest, week) for rest, week in pairs),
    }
    longest = longest_stands(trained.to_frame("it"))
    still = standing_names(recent.to_frame("it"), longest, 1)[0]
    found["far"] = bool(still or found["beyond"] > max(FAR, 2 * found["beyond_usual"]))
    return found


def stability_index(then: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Population stability index: sum of (q - p) · ln(q / p) over bins of equal share.

    Missing values are a bin of their own. Half a value is added to each bin, so that an empty one
    has a logarithm.

    :param then: values that the model learned from, shape (rows,).
    :param now: newer values.
    :return: 0 for the same distribution; above 0.25 is commonly called a large shift.
    """
    known = then[np.isfinite(then)]
    if not len(known) or not len(now):
        return NAN
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for values in (then, now):
        bins = np.where(
            np.isfinite(values), np.searchsorted(edges, values, side="left"), len(edges) + 1
        )
        counts = np.bincount(bins, minlength=len(edges) + 2) + 0.5
        shares.append(counts / counts.sum())
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def beyond(then: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Share of newer values below the least or above the greatest of the training, or missing."""
    known = then[np.isfinite(then)]
    if not len(known) or not len(now):
        return NAN
    return float(1 - ((now >= known.min()) & (now <= known.max())).mean())
