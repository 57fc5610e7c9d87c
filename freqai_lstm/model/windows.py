"""Windows of consecutive candles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


def seconds_of(dates: pd.Series) -> NDArray[np.int64]:
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


def candle_numbers(dates: pd.Series, timeframe_seconds: int) -> NDArray[np.int64]:
    """Number each candle by its time, so that consecutive candles differ by exactly one."""
    return seconds_of(dates) // timeframe_seconds


def window_ends(candles: NDArray[np.int64], valid: NDArray[np.bool_], conv_width: int) -> Rows:
    """Find the rows at which a complete window ends.

    The window of row r is rows r-conv_width+1 … r: it ends at its own candle. It is complete when
    these rows are consecutive candles and each of them is valid, so no window bridges a gap
    (dropped rows, removed outliers, missing candles).

    :param candles: array of shape (rows,), numbers from `candle_numbers`, in time order.
    :param valid: array of shape (rows,), False where a row holds a NaN or is an outlier.
    :return: array of shape (windows,), row numbers in ascending order.
    """
    if len(candles) == 0:
        return np.empty(0, dtype=np.int64)
    follows = np.concatenate([[False], np.diff(candles) == 1])
    # Rows since the last break; a row that is not valid breaks, and is no start of a window.
    rows = np.arange(len(candles))
    starts = np.maximum.accumulate(np.where(follows, 0, rows))
    after_invalid = np.maximum.accumulate(np.where(valid, 0, rows + 1))
    return np.flatnonzero(rows - np.maximum(starts, after_invalid) + 1 >= conv_width)
