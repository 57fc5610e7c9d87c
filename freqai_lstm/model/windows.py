"""Windows of consecutive candles, and their split into training and validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray


Floats = NDArray[np.float32]
Rows = NDArray[np.int32]


def candle_numbers(dates: pd.Series, timeframe_seconds: int) -> NDArray[np.int64]:
    """Number each candle by its time, so that consecutive candles differ by exactly one.

    :param dates: opening times; datetimes, or objects that pandas can read as such (in live
        trainings FreqAI's `date` column can arrive with dtype object).
    :return: array of shape (rows,): candles since 1970.
    """
    stamps = pd.to_datetime(dates, utc=True).to_numpy(dtype="datetime64[s]").astype(np.int64)
    return stamps // timeframe_seconds


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
        return np.empty(0, dtype=np.int32)
    follows = np.concatenate([[False], np.diff(candles) == 1])
    # Rows since the last break; a row that is not valid breaks, and is no start of a window.
    rows = np.arange(len(candles))
    starts = np.maximum.accumulate(np.where(follows, 0, rows))
    after_invalid = np.maximum.accumulate(np.where(valid, 0, rows + 1))
    return np.flatnonzero(rows - np.maximum(starts, after_invalid) + 1 >= conv_width).astype(
        np.int32
    )


class Inputs(NamedTuple):
    """Hold what a network sees of each row; windows are gathered from it. Arrays or tensors."""

    features: Any  # (rows, features), scaled, with the calendar
    candles: Any  # (rows, 5), see candles.py


@dataclass
class TrainingSet:
    """Hold the rows of one training as matrices, and the windows to learn from.

    Training and validation rows are in one matrix, in time order, so that the first validation
    windows reach back into training rows.
    """

    inputs: Inputs
    labels: Floats  # (rows, labels), scaled
    weights: Floats  # (rows,), mean 1 over the training windows
    label_scales: NDArray[np.float64]  # (rows,), what labels were divided by before scaling
    candles: NDArray[np.int64]  # (rows,), from candle_numbers
    train_ends: Rows  # (training windows,), from window_ends
    validation_ends: Rows  # (validation windows,)
    horizon: int  # candles after which a label is known


def split_windows(
    candles: NDArray[np.int64],
    valid: NDArray[np.bool_],
    is_validation: NDArray[np.bool_],
    conv_width: int,
    horizon: int,
) -> tuple[Rows, Rows]:
    """Split complete windows into training and validation, without labels that both share.

    The label of candle t is known at t + horizon. Windows of the earlier part whose label reaches
    into the later part are left out of the earlier part; their rows still serve as history.

    :param valid: array of shape (rows,), see `window_ends`.
    :param is_validation: array of shape (rows,), True for validation rows (one block of time,
        usually the newest; the oldest with `reverse_train_test_order`).
    :param horizon: `feature_parameters.label_period_candles`.
    :return: (training ends, validation ends).
    """
    ends = window_ends(candles, valid, conv_width)
    if is_validation.any() and not is_validation.all():
        later = is_validation == is_validation[-1]
        boundary = candles[later].min()
        ends = ends[later[ends] | (candles[ends] + horizon < boundary)]
    return ends[~is_validation[ends]], ends[is_validation[ends]]
