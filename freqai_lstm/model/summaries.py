"""Summaries of a candle's past for the ridge regression: moves, their direction, and volume.

They are what a heterogeneous autoregression knows (HAR, Corsi 2009): the same quantity over several
lengths of time. The network's windows are free of just these units.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from freqai_lstm.model.candles import FLAT, LEAST_VOLUME, LIMIT, candle_values
from freqai_lstm.model.windows import Floats


MEMORY = 3  # windows; seven were no better
# A ridge regression penalises large columns less, and these hold in every market.
SIZE = 2.0


def memory(conv_width: int) -> int:
    """Return how many candles a summary looks back on, those of the window among them."""
    return MEMORY * conv_width


def summary_names(conv_width: int) -> list[str]:
    """Name the columns of `summaries`."""
    within, longest = _within(conv_width), memory(conv_width)
    return [
        *(f"log_{what}_{length}" for what in ("return", "range") for length in (*within, longest)),
        *(f"log_volume_{short}_{long}" for short, long in _volumes(within, longest)),
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
    within, longest = _within(conv_width), memory(conv_width)
    values = candle_values(frame)
    # In 64 bits: the small returns of a calm market are differences of large logarithms.
    logs = np.log(np.where(values[:, :4] > 0, values[:, :4], np.nan))
    close = logs[:, 3]
    moves = np.abs(np.diff(close, prepend=np.nan))
    measured = pd.DataFrame(np.column_stack([moves, logs[:, 1] - logs[:, 2], values[:, 4]]))
    means = {  # by length, each of shape (rows, 3): of return, range and volume
        length: measured.rolling(length, min_periods=1).mean().to_numpy()
        for length in (*within, longest)
    }
    unit = means[within[-1]][:, 0] + FLAT
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is 0 in the end
        columns = [np.log(mean[:, 0] + FLAT) + 6 for mean in means.values()]
        columns += [np.log(mean[:, 1] + FLAT) + 5 for mean in means.values()]
        for short, long in _volumes(within, longest):
            columns.append(np.log(means[short][:, 2] / means[long][:, 2] + LEAST_VOLUME))
        for length in within:
            moved = np.full(len(close), np.nan)
            moved[length:] = close[length:] - close[:-length]
            columns.append(np.clip(moved / (unit * np.sqrt(length)), -LIMIT, LIMIT) / 3)
    found = np.column_stack(columns)
    return np.where(np.isfinite(found), SIZE * found, 0.0).astype(np.float32)


def _within(conv_width: int) -> list[int]:
    """The lengths within a window: its newest candle, its newest quarter, the window."""
    whole = max(1, conv_width - 1)  # returns within a window
    return sorted({1, max(1, whole // 4), whole})


def _volumes(within: list[int], longest: int) -> list[tuple[int, int]]:
    """Which length's volume is a share of which."""
    *shorter, whole = within
    return [*((length, whole) for length in shorter), (whole, longest)]
