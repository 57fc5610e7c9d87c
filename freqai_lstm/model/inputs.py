"""What the model reads of a pair's candles: channels of a window, summaries, and the calendar.

The channels are for the network, candle by candle. The summaries are what a heterogeneous
autoregression knows (HAR, Corsi 2009): the same quantity over several lengths of time. The ridge
regression and the network's head read them beside the calendar.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray

from freqai_lstm.model.windows import Floats, Numbers, Rows, candle_numbers


COLUMNS = ["open", "high", "low", "close", "volume"]
LENGTHS = (1, 6, 24, 72, 168)  # candles that a summary looks back on
LEVELS = 5  # channels that keep the level of the pair: returns, range, volume
RELATIVE = 6  # channels that are relative to their window
LIMIT = 8.0  # relative channels are clipped to this, so that no single candle rules a window
LEAST_MOVE = 1e-6  # log price: a smaller move is rounding
LEAST_VOLUME = 0.01  # of a mean: the logarithm of no volume at all

DAY, WEEK = 86_400, 7 * 86_400
HARMONICS = 3
CROSSED = 2  # harmonics of the day that are multiplied by the week's


def memory(conv_width: int) -> int:
    """Return how many candles the inputs of one window look back on, those of the window too."""
    return LENGTHS[-1] + conv_width


def summary_names() -> list[str]:
    """Name the summaries among the columns of `CandleInputs`."""
    lengths = list(LENGTHS)
    names = [f"log_{what}_{length}" for what in ("return", "range") for length in lengths]
    names += [f"log_volume_{a}_{b}" for a, b in itertools.pairwise(lengths)]
    return names + [f"return_{length}" for length in lengths]


def column_names(timeframe_seconds: int) -> list[str]:
    """Name the columns of `CandleInputs`: summaries, then the calendar."""
    waves = [name for name, _ in _waves(timeframe_seconds)]
    return summary_names() + waves + [f"{a} {b}" for a, b in _products(waves)]


@dataclass(frozen=True)
class CandleInputs:
    """Hold what is read of the candles of a frame; make it with `CandleInputs.of`.

    `numbers` of shape (rows,) says which candle a row is, `valid` of the same shape where all
    prices are known. `levels` of shape (rows, 5) and `logs` of shape (rows, 5), logarithms of open,
    high, low, close, and volume, are what `windows` reads; `columns` of shape (rows, columns) are
    the summaries and the calendar (`column_names`).
    """

    numbers: NDArray[np.int64]
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
            levels=_finite(np.column_stack(levels)),
            logs=np.column_stack([np.nan_to_num(logs), volume]),
            columns=np.hstack(
                [_finite(np.column_stack(columns)), calendar(numbers, timeframe_seconds)]
            ),
        )

    def take(self, numbers: NDArray[np.int64]) -> CandleInputs:
        """Keep the rows of these candles.

        :raises ValueError: one of them is not among the frame's.
        """
        rows = np.searchsorted(self.numbers, numbers)
        if not np.array_equal(self.numbers.take(rows, mode="clip"), numbers):
            raise ValueError("Expected rows of the frame's candles, got others.")
        return CandleInputs(
            self.numbers[rows],
            self.valid[rows],
            self.levels[rows],
            self.logs[rows],
            self.columns[rows],
        )

    def windows(self, ends: Rows, conv_width: int, level_scale: Floats) -> Floats:
        """Return the channels of windows.

        Prices are relative to the window's last close, in units of the window's volatility (its
        mean absolute return, which heavy tails move less than a standard deviation does); volume is
        the logarithm of its ratio to the window's largest.

        :param ends: last row of each window, shape (windows,).
        :param level_scale: mean and deviation of the levels, shape (2, 5).
        :return: array of shape (windows, conv_width, 11): levels; open, high, low, close, body
            (close - open), volume.
        """
        rows = ends[:, None] + np.arange(1 - conv_width, 1)  # (windows, conv_width)
        logs = self.logs[rows]  # (windows, conv_width, 5)
        close, volume = logs[:, :, 3], logs[:, :, 4]
        unit = np.abs(np.diff(close, axis=1)).mean(axis=1) + LEAST_MOVE  # (windows,)
        relative = np.empty((*rows.shape, RELATIVE))
        relative[:, :, :4] = (logs[:, :, :4] - close[:, -1:, None]) / unit[:, None, None]
        relative[:, :, 4] = (close - logs[:, :, 0]) / unit[:, None]
        np.clip(relative[:, :, :5], -LIMIT, LIMIT, out=relative[:, :, :5])
        relative[:, :, 5] = _log_ratio(volume, volume.max(axis=1, keepdims=True))
        mean, deviation = level_scale
        levels = np.clip((self.levels[rows] - mean) / deviation, -LIMIT, LIMIT)
        return np.concatenate([levels, relative], axis=2).astype(np.float32)


def calendar(numbers: NDArray[np.int64], timeframe_seconds: int) -> Floats:
    """Return sine and cosine of each candle's place in the day and in the week, and products.

    A tree can split an hour given as a whole number; a linear model and a small network cannot bend
    it. With the products a linear model knows that a Saturday's hours differ from a Monday's. Days
    and weeks are those of UTC; waves that a timeframe cannot show are left out.

    :param numbers: array of shape (rows,), from `candle_numbers`.
    :return: array of shape (rows, columns): 36 for candles below 4 hours, none above a day.
    """
    waves = _waves(timeframe_seconds)
    columns = {}
    for name, (length, harmonic) in waves:
        # 1970 began on a Thursday; where the week begins does not matter to a sine.
        angle = 2 * np.pi * harmonic * (numbers * timeframe_seconds % length) / length
        columns[name] = np.sin(angle) if name.startswith("sin") else np.cos(angle)
    products = [columns[a] * columns[b] for a, b in _products(list(columns))]
    return np.column_stack([np.empty((len(numbers), 0)), *columns.values(), *products]).astype(
        np.float32
    )


def _waves(timeframe_seconds: int) -> list[tuple[str, tuple[int, int]]]:
    """Every (name, (cycle in seconds, harmonic)) of which a candle is less than half a wave."""
    return [
        (f"{wave}_{cycle}_{harmonic}", (length, harmonic))
        for cycle, length in (("day", DAY), ("week", WEEK))
        for harmonic in range(1, HARMONICS + 1)
        if 2 * timeframe_seconds * harmonic < length
        for wave in ("sin", "cos")
    ]


def _products(waves: list[str]) -> list[tuple[str, str]]:
    days = [name for name in waves if "_day_" in name and int(name[-1]) <= CROSSED]
    return [(day, week) for day in days for week in waves if "_week_" in week]


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


def _finite(values: Numbers) -> Floats:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
