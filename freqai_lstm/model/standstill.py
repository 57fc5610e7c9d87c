"""Features that stand still: a source of data that has died repeats its last value.

A regime or an hour of the day stands still too, for as long as it usually does. So a feature is
measured by itself: how long it stood at most between two moves of the training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.model.windows import Numbers, numeric


LEAST = 6  # equal candles that are suspicious of a feature which never stood still
TIMES = 2  # the longest stand of the training, of one that did


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
