"""Windows of consecutive candles, and what the model reads: channels, summaries, the calendar.

The channels are for the network, candle by candle. The summaries are what a heterogeneous
autoregression knows (HAR, Corsi 2009): the same quantity over several lengths of time. The ridge
regression and the network's head read them beside the calendar.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray


Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86_400, 7 * 86_400  # seconds
COLUMNS = ["open", "high", "low", "close", "volume"]
LENGTHS = (1, 6, 24, 72, 168)  # candles that a summary looks back on
SUMMARIES = 4 * len(LENGTHS) - 1  # the first columns of `CandleInputs`
# Of the channels of `CandleInputs.windows`.
MOVE, RANGE, HIGH, LOW, BODY, VOLUME = 0, 1, 6, 7, 9, 10
LIMIT = 8.0  # relative channels are clipped to this, so that no single candle rules a window
LEAST_MOVE = 1e-6  # log price: a smaller move is rounding
LEAST_VOLUME = 0.01  # of a mean: the logarithm of no volume at all
HARMONICS = 3
CROSSED = 2  # harmonics of the day that are multiplied by the week's


def seconds_of(dates: pd.Series) -> Rows:
    """Return opening times as seconds since 1970, shape (rows,).

    :param dates: datetimes, or objects that pandas can read as such (in live trainings FreqAI's
        `date` column can arrive with dtype object).
    """
    if not isinstance(dates.dtype, pd.DatetimeTZDtype):
        dates = pd.to_datetime(dates, utc=True)
    return dates.to_numpy(dtype="datetime64[s]").astype(np.int64)


def numeric(frame: pd.DataFrame, names: Sequence[str]) -> Numbers:
    """Return columns of a frame as numbers, shape (rows, columns).

    By place, a quarter of the time that pandas takes to look the names up: live, every candle of
    every pair waits for this.

    :raises KeyError: the frame has none of that name.
    """
    places = {name: place for place, name in enumerate(frame.columns.tolist())}
    return frame.take([places[name] for name in names], axis=1).to_numpy(dtype=float)


def candle_numbers(dates: pd.Series, timeframe_seconds: int) -> Rows:
    """Number each candle by its time, so that consecutive candles differ by exactly one."""
    return seconds_of(dates) // timeframe_seconds


def window_ends(candles: Rows, valid: NDArray[np.bool_], conv_width: int) -> Rows:
    """Find the rows at which a complete window ends.

    The window of row r is rows r-conv_width+1 … r: it ends at its own candle. It is complete when
    these rows are consecutive candles and each of them is valid, so no window bridges a gap
    (dropped rows, removed outliers, missing candles).

    :param candles: array of shape (rows,), numbers from `candle_numbers`, in time order.
    :param valid: array of shape (rows,), False where a row holds a NaN or is an outlier.
    :return: array of shape (windows,), row numbers in ascending order.
    """
    # Rows since the last break; a row that is not valid breaks, and is no start of a window.
    rows = np.arange(len(candles))
    starts = np.maximum.accumulate(np.where(np.diff(candles, prepend=-1) == 1, 0, rows))
    after_invalid = np.maximum.accumulate(np.where(valid, 0, rows + 1))
    return np.flatnonzero(rows - np.maximum(starts, after_invalid) + 1 >= conv_width)


def memory(conv_width: int) -> int:
    """Return how many candles the inputs of one window look back on, those of the window too."""
    return LENGTHS[-1] + conv_width


@dataclass(frozen=True)
class CandleInputs:
    """Hold what is read of the candles of a frame; make it with `CandleInputs.of`.

    `numbers` of shape (rows,) says which candle a row is, `valid` of the same shape where all
    prices are known. `levels` of shape (rows, 5) and `logs` of shape (rows, 5), logarithms of open,
    high, low, close, and volume, are what `windows` reads; `columns` of shape (rows, columns) are
    the summaries (moves, ranges and returns over `LENGTHS`, ratios of volume) and the calendar.
    """

    numbers: Rows
    valid: NDArray[np.bool_]
    levels: Floats
    logs: Numbers
    columns: Floats

    @classmethod
    def of(cls, frame: pd.DataFrame, timeframe_seconds: int) -> CandleInputs:
        """Read the candles of a frame.

        :param frame: candles with their dates, with as much of the past as there is: a mean is over
            as many candles as there are before a row, up to its length.
        :raises OperationalException: a column is missing.
        """
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise OperationalException(
                f"LSTMRegressor needs the columns {', '.join(COLUMNS)} of the strategy's frame. "
                f"Missing: {', '.join(missing)}. Keep them."
            )
        # Column by column: faster for the few rows of a live prediction than frame[COLUMNS].
        values = np.column_stack([frame[column].to_numpy(dtype=float) for column in COLUMNS])
        numbers = candle_numbers(frame["date"], timeframe_seconds)
        known = np.isfinite(values[:, :4]) & (values[:, :4] > 0)  # (rows, 4)
        logs = np.log(np.where(known, values[:, :4], np.nan))
        volume = np.nan_to_num(values[:, 4]).clip(0)
        close, spans = logs[:, 3], logs[:, 1] - logs[:, 2]
        returns = np.diff(close, prepend=np.nan)
        moves = np.column_stack([np.abs(returns), spans, volume])  # (rows, 3)
        means = _means(moves)
        unit = means[24][:, 0] + LEAST_MOVE
        columns = [
            np.log(means[length][:, what] + LEAST_MOVE) for what in (0, 1) for length in LENGTHS
        ]
        columns += [
            _log_ratio(means[a][:, 2], means[b][:, 2]) for a, b in itertools.pairwise(LENGTHS)
        ]
        for length in LENGTHS:
            moved = np.full(len(close), np.nan)
            moved[length:] = close[length:] - close[:-length]
            columns.append(np.clip(moved / (unit * np.sqrt(length)), -LIMIT, LIMIT))
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.where(spans > 0, (close - logs[:, 2]) / spans, 0.5) - 0.5
        levels = [
            np.log(moves[:, 0] + 1e-4),
            np.log(spans + 1e-4),
            _log_ratio(volume, means[LENGTHS[-1]][:, 2]),
            np.clip(returns / unit, -LIMIT, LIMIT),
            place,
        ]
        return cls(
            numbers=numbers,
            valid=known.all(axis=1),
            levels=_finite(levels),
            logs=np.column_stack([np.nan_to_num(logs), volume]),
            columns=np.hstack([_finite(columns), calendar(numbers, timeframe_seconds)]),
        )

    def take(self, numbers: Rows) -> CandleInputs:
        """Keep the rows of these candles.

        :raises ValueError: one of them is not among the frame's.
        """
        rows = np.searchsorted(self.numbers, numbers)
        if not np.array_equal(self.numbers.take(rows, mode="clip"), numbers):
            raise ValueError("Expected rows of the frame's candles, got others.")
        return CandleInputs(**{name: values[rows] for name, values in vars(self).items()})

    def windows(self, ends: Rows, conv_width: int) -> Floats:
        """Return the channels of windows.

        Prices are relative to the window's last close, in units of the window's volatility (its
        mean absolute return, which heavy tails move less than a standard deviation does); volume is
        the logarithm of its ratio to the window's largest.

        :param ends: last row of each window, shape (windows,).
        :return: array of shape (windows, conv_width, 11): levels; open, high, low, close, body
            (close - open), volume.
        """
        rows = ends[:, None] + np.arange(1 - conv_width, 1)  # (windows, conv_width)
        logs = self.logs[rows]  # (windows, conv_width, 5)
        close, volume = logs[:, :, 3], logs[:, :, 4]
        unit = np.abs(np.diff(close, axis=1)).mean(axis=1) + LEAST_MOVE  # (windows,)
        relative = np.empty((*rows.shape, 6))
        relative[:, :, :4] = (logs[:, :, :4] - close[:, -1:, None]) / unit[:, None, None]
        relative[:, :, 4] = (close - logs[:, :, 0]) / unit[:, None]
        np.clip(relative[:, :, :5], -LIMIT, LIMIT, out=relative[:, :, :5])
        relative[:, :, 5] = _log_ratio(volume, volume.max(axis=1, keepdims=True))
        levels = np.clip(self.levels[rows], -LIMIT, LIMIT)
        return np.concatenate([levels, relative], axis=2).astype(np.float32)


def calendar(numbers: Rows, timeframe_seconds: int) -> Floats:
    """Return sine and cosine of each candle's place in the day and in the week, and products.

    A tree can split an hour given as a whole number; a linear model and a small network cannot bend
    it. With the products a linear model knows that a Saturday's hours differ from a Monday's. Days
    and weeks are those of UTC; waves that a timeframe cannot show are left out.

    :param numbers: array of shape (rows,), from `candle_numbers`.
    :return: array of shape (rows, columns): 36 for candles below 4 hours, none above a day.
    """
    waves: dict[int, list[Numbers]] = {DAY: [], WEEK: []}
    for length, found in waves.items():
        for harmonic in range(1, HARMONICS + 1):
            if 2 * timeframe_seconds * harmonic < length:  # a candle is less than half a wave
                # 1970 began on a Thursday; where the week begins does not matter to a sine.
                angle = 2 * np.pi * harmonic * (numbers * timeframe_seconds % length) / length
                found += [np.sin(angle), np.cos(angle)]
    products = [day * week for day in waves[DAY][: 2 * CROSSED] for week in waves[WEEK]]
    return np.column_stack(
        [np.empty((len(numbers), 0)), *waves[DAY], *waves[WEEK], *products]
    ).astype(np.float32)


def _means(values: Numbers) -> dict[int, Numbers]:
    """Mean of each column over the last candles, by `LENGTHS`; NaN counts as no candle."""
    known = np.isfinite(values)
    sums = np.cumsum(np.pad(np.where(known, values, 0.0), ((1, 0), (0, 0))), axis=0)
    counts = np.cumsum(np.pad(known, ((1, 0), (0, 0))), axis=0)
    stops = np.arange(1, len(values) + 1)
    means = {}
    for length in LENGTHS:
        starts = np.maximum(stops - length, 0)
        count = counts[stops] - counts[starts]
        means[length] = np.maximum(sums[stops] - sums[starts], 0) / np.maximum(count, 1)
    return means


def _log_ratio(value: Numbers, reference: Numbers) -> Numbers:
    ratio = np.divide(value, reference, out=np.zeros_like(value), where=reference > 0)
    return np.log(ratio + LEAST_VOLUME)


def _finite(columns: list[Numbers]) -> Floats:
    found = np.nan_to_num(np.column_stack(columns), nan=0.0, posinf=0.0, neginf=0.0)
    return found.astype(np.float32)
