"""Are predictions still worth something? A sequential test with few false alarms.

Two claims are tested while labels become known: that the model is closer to the label than the mean
of its training labels is, and that at most a quarter of the labels lie outside of intervals meant
for four of five. Each is an expectation of a bounded number that is at most 0 while the claim
holds. Evidence against it grows as the fortune of one who bets against it (Waudby-Smith and Ramdas
2024, arXiv:2010.09686), begun anew whenever it is lost: an e-detector (Shin, Ramdas and Rinaldo
2024, arXiv:2203.03532). While both claims hold, the mean number of bets until the evidence
reaches c is at least c, whatever else the market does. So a threshold is a number of days.

Labels that look several candles ahead overlap, and are no news to each other. So there is one bet
per longest horizon.

A source of data that has died repeats its last value: a feature stands still. A regime or an hour
of the day stands still too, for as long as it usually does. So a feature is measured by itself: how
long it stood at most between two moves of the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray

from freqai_lstm.model.windows import DAY, Numbers, numeric


TOLERATED = 0.25  # fraction of labels outside of intervals that are meant for 80 %
STAKES = (0.2, 0.4, 0.8)  # of the fortune, at each bet; the evidence is the mean over them
LEAST = 6  # equal candles that are suspicious of a feature which never stood still
TIMES = 2  # the longest stand of the training, of one that did
State = Literal["good", "warn", "stop"]
STATES: tuple[State, ...] = ("good", "warn", "stop")


@dataclass(frozen=True)
class Limits:
    """Hold days between false alarms, at least, of a market and model that do not change."""

    warn: float = 30
    stop: float = 365

    @classmethod
    def read(cls, block: object) -> Limits:
        """Read `watch` of the configuration's `freqai` block.

        :raises OperationalException: it is not what is allowed.
        """
        if not isinstance(block, dict) or set(block) - {"warn", "stop"}:
            raise OperationalException(
                'freqai.watch: expected {"warn": DAYS, "stop": DAYS}, the least mean number of '
                f"days between false alarms; got {block!r}."
            )
        limits = cls(**block)
        for name, days in (("warn", limits.warn), ("stop", limits.stop)):
            if isinstance(days, bool) or not isinstance(days, int | float) or not days > 0:
                raise OperationalException(
                    f"freqai.watch.{name}: expected a number of days above 0, got {days!r}."
                )
        if limits.warn > limits.stop:
            raise OperationalException(
                f"freqai.watch: expected warn to be at most stop, got {limits.warn} and "
                f"{limits.stop}. More days are stronger evidence."
            )
        return limits

    def bets(self, candle_seconds: int, horizon: int, tests: int = 1) -> tuple[float, float]:
        """Return the evidence of warn and stop, for `tests` tests that run side by side."""
        daily = DAY / (candle_seconds * max(horizon, 1))
        return self.warn * daily * tests, self.stop * daily * tests


def against_skill(actual: Numbers, predicted: Numbers, flat: Numbers, scale: Numbers) -> Numbers:
    """Bets on the claim that the prediction is closer to the label than the flat mean is.

    :param scale: deviation of the training labels; below it no error counts as large.
    :return: -1 to 1, above 0 where the flat mean was closer; NaN where a value is missing.
    """
    ours, theirs = (actual - predicted) ** 2, (actual - flat) ** 2
    size = ours + theirs + scale**2
    return (ours - theirs) / np.where(size > 0, size, np.nan)


def against_intervals(missed: Numbers) -> Numbers:
    """Bets on the claim that at most `TOLERATED` of the labels lie outside of their intervals.

    :param missed: 1 outside, 0 inside, NaN where label or interval is missing.
    """
    return (missed - TOLERATED) / (1 - TOLERATED)


def evidence(skill: Numbers, intervals: Numbers, most: float = np.inf) -> Numbers:
    """Return the evidence after each bet, oldest first.

    :param skill, intervals: bets in -1 to 1, shape (bets,); NaN is no bet.
    :param most: no fortune grows beyond it, so that a recovery is seen.
    :return: shape (bets,), 1 where nothing speaks against the claims.
    """
    # Plain numbers: live, every candle of every pair waits for this, and small arrays are slow.
    fortunes = [[1.0] * len(STAKES), [1.0] * len(STAKES)]
    found = []
    for bets in zip(skill.tolist(), intervals.tolist(), strict=True):
        for number, bet in enumerate(bets):
            if bet == bet:
                fortunes[number] = [
                    min(max(fortune, 1.0) * (1 + stake * bet), most)
                    for fortune, stake in zip(fortunes[number], STAKES, strict=True)
                ]
        found.append(max(1.0, sum(map(sum, fortunes)) / (2 * len(STAKES))))
    return np.array(found)


def states(found: Numbers, warn: float, stop: float) -> list[State]:
    """Return the state after each bet: stop stays until the evidence is below warn again."""
    state: State = "good"
    every = []
    for value in found:
        if value >= stop:
            state = "stop"
        elif value < warn:
            state = "good"
        elif state == "good":
            state = "warn"
        every.append(state)
    return every


def announcement(pair: str, seconds: int, state: State, before: State, still: Sequence[str]) -> str:
    """Say that the state of a pair's alarm has changed, and why.

    :param seconds: when the candle opened; still: features that stand still there.
    """
    why = {
        "stop": "the model is worse than the mean of its labels, or its intervals miss: "
        "do_predict is 0 until that is over",
        "warn": "the model may be worse than the mean of its labels, or its intervals miss",
        "good": "the model's predictions are as they should be again",
    }[state]
    if still:
        more = f" and {len(still) - 3} more" if len(still) > 3 else ""
        stopped = f"; {why}" if state == "stop" else ""
        why = f"{', '.join(still[:3])}{more}: no new values, look at their source{stopped}"
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{pair}: alarm {before} -> {state} at {when:%Y-%m-%d %H:%M}: {why}."


def runs(values: Numbers) -> NDArray[np.int32]:
    """Return for how many rows each value has been the same, 1 where it has just moved.

    :param values: shape (rows, features); a missing value is the same as no other.
    :return: the same shape.
    """
    # Compared in 32 bits: the mean of equal values differs in its last digits.
    by_feature = values.T.astype(np.float32)
    first = np.zeros(by_feature.shape, dtype=np.int32)
    rows = np.arange(1, len(values) + 1, dtype=np.int32)
    np.multiply(rows[:-1], by_feature[:, 1:] != by_feature[:, :-1], out=first[:, 1:])
    np.maximum.accumulate(first, axis=1, out=first)
    return (rows - first).T


def longest_stands(features: pd.DataFrame) -> dict[str, int]:
    """Return by feature the longest run that ended within the rows; none where nothing moved.

    The run at the end does not count: it may be that of a feature which has just died.

    :param features: of a training.
    """
    lengths = runs(features.to_numpy(dtype=float))
    ended = np.where(lengths[1:] == 1, lengths[:-1], 0).max(axis=0, initial=0)
    return {str(name): int(length) for name, length in zip(features, ended, strict=True) if length}


def standing_names(frame: pd.DataFrame, longest: Mapping[str, int], count: int) -> list[list[str]]:
    """Return for the newest rows the features that stand still for longer than usual.

    :param frame: features in time order.
    :param longest: see `longest_stands`; features that are not in it are not looked at.
    :param count: how many rows.
    """
    names = [*longest]
    most = np.maximum(TIMES * np.array([*longest.values()]), LEAST)
    needed = frame.tail(count + int(most.max(initial=0)))
    found: list[list[str]] = [[] for _ in range(count)]
    for row, column in np.argwhere(runs(numeric(needed, names))[-count:] > most):
        found[row].append(names[column])
    return found
