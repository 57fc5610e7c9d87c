"""Columns that say how good the serving model is, the alarm that can silence it, and their chart.

Everything here comes from labels that are known at the candle, so a backtest shows what a bot would
have shown. In a backtest the last labels of a window become known in the next one, whose frame does
not have them: these few are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.model.alarm import (
    STATES,
    Limits,
    State,
    against_intervals,
    against_skill,
    announcement,
    evidence,
    states,
)
from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.interval import NEWEST, missed_of
from freqai_lstm.model.windows import HOUR, Numbers, numeric, seconds_of


# FreqUI draws them; live FreqAI keeps them in its history. R² on windows held out, of the training;
# fraction of the last labels inside of their intervals; hours since the newest candle that the
# network, and the pair's model, learned from; the alarm's place in `STATES`; trainings that failed
# since one succeeded.
R2, COVERAGE, AGE = "lstm_r2", "lstm_coverage", "lstm_network_hours"
MODEL_AGE, ALARM, FAILED = "lstm_model_hours", "lstm_alarm", "lstm_failed"
COLUMNS = (R2, COVERAGE, AGE, MODEL_AGE, ALARM, FAILED)
# For each candle the features that stand still, see `alarm.standing_names`.
Standing = list[list[str]]
REMEMBERED = 200  # labels that the coverage is of
# A restart computes the alarm's state again from so much evidence at most, in limits of stop.
MOST = 4
COLORS = {  # of a chart's areas, by label
    "model": "rgba(127, 127, 127, 0.25)",
    "network": "rgba(47, 111, 222, 0.45)",
    "training failed": "rgba(148, 103, 189, 0.20)",
    "alarm: warn": "rgba(255, 165, 0, 0.20)",
    "alarm: stop": "rgba(214, 39, 40, 0.20)",
}


@dataclass
class Known:
    """Hold predictions whose labels are known, oldest first.

    `seconds` of shape (rows,) is when a candle opened; `missed` and `skill` of shape (rows,
    labels), see `interval.missed_of` and `alarm.against_skill`, NaN where a label is not known.
    """

    seconds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    missed: Numbers = field(default_factory=lambda: np.zeros((0, 0)))
    skill: Numbers = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def of(
        cls, past: pd.DataFrame, frame: pd.DataFrame, labels: list[str], horizons: list[int]
    ) -> Known:
        """Compare predictions with the labels that are known at the end of a frame.

        :param past: predictions as FreqAI keeps them, with `date`, live `date_pred`; may be empty.
        :param frame: candles with `date` and labels, in time order.
        """
        ends = ("", "_lower", "_upper", "_mean", "_std")
        columns = [f"{label}{end}" for end in ends for label in labels]
        names = {*past.columns.tolist()}
        if not {"do_predict", *columns} <= names or not {*labels} <= {*frame.columns.tolist()}:
            return cls(missed=np.zeros((0, len(labels))), skill=np.zeros((0, len(labels))))
        dates = seconds_of(past["date_pred" if "date_pred" in names else "date"])
        _, rows, same = np.intersect1d(dates, seconds_of(frame["date"]), return_indices=True)
        values = numeric(past, columns)[rows]
        model, lower, upper, mean, std = np.split(values, len(ends), axis=1)
        # A candle that the alarm silenced was predicted all the same.
        made = past["do_predict"].to_numpy()[rows] == 1
        made |= ((std > 0) & np.isfinite(lower) & np.isfinite(upper) & (upper > lower)).any(axis=1)
        actual = numeric(frame, labels)[same]
        known = made[:, None] & (same[:, None] + np.maximum(horizons, 1) < len(frame))
        actual = np.where(known & np.isfinite(actual), actual, np.nan)
        kept = np.isfinite(actual).any(axis=1)
        return cls(
            dates[rows][kept],
            missed_of(actual, lower, upper)[kept],
            against_skill(actual, model, mean, std)[kept],
        )

    def then(self, later: Known) -> Known:
        """Return these and later ones, the newest that are remembered."""
        if not len(self.seconds) or self.missed.shape[1] != later.missed.shape[1]:
            return later if len(later.seconds) else self
        new = later.seconds > self.seconds[-1]
        joined = (
            np.concatenate([getattr(self, name), getattr(later, name)[new]])[-NEWEST:]
            for name in ("seconds", "missed", "skill")
        )
        return Known(*joined)

    def coverage(self, at: NDArray[np.int64], wait: int) -> Numbers:
        """Return the coverage of the last known labels at candles.

        :param at: when the candles opened, in order.
        :param wait: seconds after which a label is known.
        :return: shape (candles,); NaN where none is known.
        """
        inside = 1 - self.missed
        total = np.concatenate([[0.0], np.cumsum(np.nansum(inside, axis=1))])
        count = np.concatenate([[0], np.cumsum(np.isfinite(inside).sum(axis=1))])
        ends = np.searchsorted(self.seconds, at - wait, side="right")
        starts = np.maximum(ends - REMEMBERED, 0)
        size = count[ends] - count[starts]
        return np.where(size > 0, (total[ends] - total[starts]) / np.maximum(size, 1), np.nan)

    def alarm(
        self, at: NDArray[np.int64], candle_seconds: int, horizon: int, limits: Limits, tests: int
    ) -> list[State]:
        """Return the alarm's state at candles.

        :param horizon: candles that the farthest label looks ahead.
        :param tests: tests that run side by side: the pairs of the bot.
        """
        bets = (self.seconds // candle_seconds) % horizon == 0
        known = self.seconds[bets] + horizon * candle_seconds
        warn, stop = limits.bets(candle_seconds, horizon, tests)
        found = evidence(
            _row_means(self.skill[bets]),
            _row_means(against_intervals(self.missed[bets])),
            MOST * stop,
        )
        reached: list[State] = ["good", *states(found, warn, stop)]
        return [reached[place] for place in np.searchsorted(known, at, side="right")]


def _row_means(values: Numbers) -> Numbers:
    count = np.isfinite(values).sum(axis=1)
    return np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)


@dataclass
class Watch:
    """Judge the predictions of each pair while their labels become known.

    :param limits: of the alarm; None where it is off.
    """

    limits: Limits | None
    candle_seconds: int
    _known: dict[str, Known] = field(default_factory=dict)
    _states: dict[str, State] = field(default_factory=dict)

    def remember(self, pair: str, known: Known) -> Known:
        """Return all of a pair that is known in a backtest, after one window more of it."""
        self._known[pair] = self._known.get(pair, Known()).then(known)
        return self._known[pair]

    def columns(
        self, model: PairModel, known: Known, at: NDArray[np.int64], learned: Sequence[int]
    ) -> dict[str, Numbers]:
        """Return the columns but ALARM and FAILED, each of shape (candles,), NaN if not known.

        :param at: when the candles opened, in order.
        :param learned: when candles opened that the model learned from; may be empty.
        """
        held_out = [value for value in model.report.get("selected_r2", []) if value is not None]
        wait = max([1, *model.space.horizons]) * self.candle_seconds
        border = model.network.border if model.network is not None else np.nan
        opened = at + self.candle_seconds
        newest = max(learned, default=np.nan) + self.candle_seconds
        unknown = np.full(len(at), np.nan)
        return {
            R2: np.full(len(at), float(np.mean(held_out)) if held_out else np.nan),
            COVERAGE: known.coverage(at, wait) if len(known.seconds) else unknown,
            AGE: (opened - border) / HOUR,
            MODEL_AGE: (opened - newest) / HOUR,
        }

    def states(
        self, known: Known, at: NDArray[np.int64], horizon: int, standing: Standing, tests: int
    ) -> list[State]:
        """Return the alarm's state at candles; a feature that stands still is a warning.

        :param horizon: candles that the farthest label looks ahead.
        :param tests: how many pairs are watched side by side.
        """
        if self.limits is None:
            return ["good"] * len(at)
        found: list[State] = ["good"] * len(at)
        if len(known.seconds):
            found = known.alarm(at, self.candle_seconds, horizon, self.limits, tests)
        return [
            "warn" if state == "good" and names else state
            for state, names in zip(found, standing, strict=True)
        ]

    def changes(
        self, pair: str, at: NDArray[np.int64], states: list[State], standing: Standing
    ) -> Iterator[tuple[str, bool]]:
        """Yield a line for each change of a pair's state, and whether a bot's user is told."""
        for when, state, names in zip(at, states, standing, strict=True):
            before = self._states.get(pair, "good")
            if state != before:
                self._states[pair] = state
                line = announcement(pair, int(when), state, before, names)
                yield line, bool(names) or "stop" in (state, before)


def mark_unknown(frame: pd.DataFrame) -> None:
    """Put NaN where FreqAI has filled in zeros for what is not known; in place.

    :param frame: what the strategy gets. None of these is exactly 0 where it is known, but for the
        coverage of a window's first few labels.
    """
    for name in (R2, COVERAGE, AGE, MODEL_AGE):
        if name in frame:
            frame[name] = frame[name].where(frame[name] != 0)


def chart_areas(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return areas as freqtrade's `plot_annotations` wants them, in the order of their start.

    An area of one candle is where a network, or a pair's model, begins to serve. Longer ones are
    where a training has failed and none has succeeded since, and where the alarm stands. All is
    read off the columns, so a bot and a backtest are marked alike.

    :param frame: what the strategy gets, in time order; without the columns of the model there is
        nothing to mark.
    """
    if len(frame) < 2 or not {AGE, MODEL_AGE, ALARM, FAILED} <= {*frame}:
        return []
    seconds = seconds_of(frame["date"])
    opens = pd.to_datetime(np.append(seconds, 2 * seconds[-1] - seconds[-2]), unit="s", utc=True)
    network, model = _begins(frame[AGE], seconds), _begins(frame[MODEL_AGE], seconds)
    alarm = frame[ALARM].to_numpy(dtype=float)
    marked = {
        "model": model & ~network,
        "network": network,
        "training failed": frame[FAILED].to_numpy(dtype=float) > 0,
        **{f"alarm: {state}": alarm == STATES.index(state) for state in ("warn", "stop")},
    }
    found = [area for label, candles in marked.items() for area in _areas(opens, candles, label)]
    return sorted(found, key=lambda area: area["start"])


def _begins(hours: pd.Series, seconds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where another one serves than on the last candle with any; where the first one is new."""
    age = hours.to_numpy(dtype=float)
    known = np.flatnonzero(age > 0)
    learned = np.round(seconds[known] / HOUR - age[known], 3)
    begins = np.zeros(len(age), dtype=bool)
    if len(known):
        begins[known[1:]] = np.diff(learned) != 0
        begins[known[0]] = known[0] > 0 or age[0] * HOUR <= np.diff(seconds[:2])[0]
    return begins


def _areas(opens: pd.DatetimeIndex, marked: NDArray[np.bool_], label: str) -> list[dict[str, Any]]:
    """One area for each run of marked candles, to the open of the candle after it.

    :param opens: of the candles, and of the one after the last.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [
        {
            "type": "area",
            "start": opens[start].to_pydatetime(),
            "end": opens[end].to_pydatetime(),
            "label": label,
            "color": COLORS[label],
        }
        for start, end in edges.reshape(-1, 2)
    ]
