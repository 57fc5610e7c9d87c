"""Summaries of a candle's past for the ridge regression: moves, their direction, and volume.

They are what a heterogeneous autoregression knows (HAR, Corsi 2009): the same quantity over several
lengths of time. The network's windows are free of just these units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from freqai_lstm.model.candles import FLAT, LEAST_VOLUME, LIMIT, candle_values
from freqai_lstm.model.windows import Floats


MEMORY = 3  # windows; seven were no better
# A ridge regression penalises large columns less, and these hold in every market.
SIZE = 2.0


class Lengths(NamedTuple):
    """Hold the lengths of time that are summed up, in candles, shortest first."""

    within: list[int]  # the newest candle, the newest quarter of the window, the window
    memory: int

    @classmethod
    def of(cls, conv_width: int) -> Lengths:
        """Return the lengths for windows of so many candles."""
        whole = max(1, conv_width - 1)  # returns within a window
        return cls(sorted({1, max(1, whole // 4), whole}), MEMORY * conv_width)


def memory(conv_width: int) -> int:
    """Return how many candles a summary looks back on, those of the window among them."""
    return Lengths.of(conv_width).memory


def summary_names(conv_width: int) -> list[str]:
    """Name the columns of `summaries`."""
    within, longest = Lengths.of(conv_width)
    every = [*within, longest]
    shares = [f"log_volume_{short}_{long}" for short, long in _volumes(within, longest)]
    return [
        *(f"log_return_{length}" for length in every),
        *(f"log_range_{length}" for length in every),
        *shares,
        *(f"return_{length}" for length in within),
    ]


def summaries(frame: pd.DataFrame, conv_width: int) -> Floats:
    """Return how much prices moved, which way, and how much was traded, over several lengths.

    :param frame: candles as the strategy has them. A mean is over as many candles as there are
        before a row, up to the length; live and in a backtest the strategy's frame holds them all.
    :return: array of shape (rows, columns), columns as in `summary_names`: logarithms of the mean
        absolute return and of the mean range (high - low), of volume relative to the window's and
        of the window's relative to the memory's, all near zero for hourly candles; and returns
        in units of the window's mean absolute return times √length. All are multiplied by `SIZE`;
        0 where nothing is known.
    """
    within, longest = Lengths.of(conv_width)
    values = candle_values(frame)
    # In 64 bits: the small returns of a calm market are differences of large logarithms.
    logs = np.log(np.where(values[:, :4] > 0, values[:, :4], np.nan))
    close = logs[:, 3]
    moves = np.abs(np.diff(close, prepend=np.nan))
    measured = np.column_stack([moves, logs[:, 1] - logs[:, 2], values[:, 4]])  # (rows, 3)
    means = {length: _means(measured, length) for length in (*within, longest)}
    columns = [np.log(mean[:, 0] + FLAT) + 6 for mean in means.values()]
    columns += [np.log(mean[:, 1] + FLAT) + 5 for mean in means.values()]
    for short, long in _volumes(within, longest):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = means[short][:, 2] / means[long][:, 2]
        columns.append(np.log(share + LEAST_VOLUME))
    unit = means[within[-1]][:, 0] + FLAT
    for length in within:
        moved = np.full(len(close), np.nan)
        moved[length:] = close[length:] - close[:-length]
        columns.append(np.clip(moved / (unit * np.sqrt(length)), -LIMIT, LIMIT) / 3)
    found = np.column_stack(columns)
    return np.where(np.isfinite(found), SIZE * found, 0.0).astype(np.float32)


def _volumes(within: list[int], longest: int) -> list[tuple[int, int]]:
    """Which length's volume is a share of which."""
    whole = within[-1]
    return [*((length, whole) for length in within[:-1]), (whole, longest)]


def _means(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the mean of the finite values among each row and the `length - 1` rows before it.

    :param values: array of shape (rows, columns).
    :return: of the same shape; nan where there is no finite value.
    """
    known = np.isfinite(values)
    padding = ((length - 1, 0), (0, 0))
    sums, counts = (
        sliding_window_view(np.pad(part, padding), length, axis=0).sum(axis=2)
        for part in (np.where(known, values, 0.0), known)
    )
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
