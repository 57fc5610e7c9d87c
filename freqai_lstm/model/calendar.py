"""Time of day and of the week as cycles, which are known for every candle without doubt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.windows import Floats


DAY, WEEK = 86_400, 7 * 86_400
# (length of the cycle in seconds, how many harmonics)
CYCLES = {"day": (DAY, 3), "week": (WEEK, 3)}
# A ridge regression penalises small columns more, and much of what a calendar fits is noise.
AMPLITUDE = 0.5
CROSSED = ("day_1", "day_2")  # multiplied by the week's; with the third nothing is gained


def calendar_names(timeframe_seconds: int) -> list[str]:
    """Name the columns of `calendar`; cycles that a timeframe cannot show are left out."""
    return [
        f"{wave}_{cycle}_{number}"
        for cycle, _, number in _cycles(timeframe_seconds)
        for wave in ("sin", "cos")
    ]


def calendar(candles: NDArray[np.int64], timeframe_seconds: int) -> Floats:
    """Return sine and cosine of each candle's place in the day and in the week.

    A tree can split an hour given as a whole number; a linear model and a small network cannot bend
    it. Sine and cosine join the cycle's end to its beginning.

    :param candles: array of shape (rows,), from `candle_numbers`; days and weeks are those of UTC.
    :return: array of shape (rows, columns), columns as in `calendar_names`: twelve for candles
        below 4 hours, ten for those of 4, the week's six for those of a day, none for longer ones.
    """
    stamps = candles * timeframe_seconds
    columns = [np.empty((len(stamps), 0))]
    for _, length, number in _cycles(timeframe_seconds):
        # 1970 began on a Thursday; where the week begins does not matter to a sine.
        angle = 2 * np.pi * number * (stamps % length) / length
        columns.append(AMPLITUDE * np.column_stack([np.sin(angle), np.cos(angle)]))
    return np.hstack(columns).astype(np.float32)


def product_names(timeframe_seconds: int) -> list[str]:
    """Name the columns of `products`."""
    names = calendar_names(timeframe_seconds)
    return [f"{names[day]} {names[week]}" for day, week in _products(names)]


def products(columns: Floats, timeframe_seconds: int) -> Floats:
    """Multiply the waves of the day by those of the week.

    With them a linear model knows that a Saturday's hours differ from a Monday's.

    :param columns: from `calendar`, of shape (rows, columns).
    :return: array of shape (rows, columns), columns as in `product_names`: 24 for candles of up
        to 4 hours, none for those of a day and longer.
    """
    pairs = np.array(_products(calendar_names(timeframe_seconds)), dtype=np.intp).reshape(-1, 2)
    return columns[:, pairs[:, 0]] * columns[:, pairs[:, 1]] / AMPLITUDE


def _products(names: list[str]) -> list[tuple[int, int]]:
    """Which columns of the calendar are multiplied."""
    days = [n for n, name in enumerate(names) if name[4:] in CROSSED]
    weeks = [n for n, name in enumerate(names) if name[4:].startswith("week")]
    return [(day, week) for day in days for week in weeks]


def _cycles(timeframe_seconds: int) -> list[tuple[str, int, int]]:
    """Every (cycle, seconds, harmonic) of which a candle is less than half a wave."""
    return [
        (name, length, number)
        for name, (length, harmonics) in CYCLES.items()
        for number in range(1, harmonics + 1)
        if 2 * timeframe_seconds * number < length
    ]
