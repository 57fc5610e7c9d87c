"""How much of a prediction to take, by its errors on candles that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.windows import Floats


SHORTEST_BLOCK = 24  # windows


def cautious_shares(
    actual: NDArray[Any],
    predicted: NDArray[Any],
    weights: NDArray[Any],
    horizon: int,
    *,
    errors: float,
) -> Floats:
    """Return, label by label, the share of a prediction that serves best, less standard errors.

    The share is that of least squares, from 0 to 1. A label that can be foretold keeps nearly all
    of its prediction; one that luck alone seemed to foretell keeps little or nothing. Neighbouring
    windows have labels that overlap, so the error is that of whole blocks of time.

    :param actual: labels less what is predicted otherwise, of shape (windows, labels), by time.
    :param predicted: of the same shape, for windows that it was not fitted on.
    :param weights: array of shape (windows,).
    :param horizon: candles after which a label is known.
    :param errors: how many standard errors to take off.
    :return: array of shape (labels,).
    """
    products = weights[:, None] * predicted * actual  # (windows, labels)
    squares = weights[:, None] * predicted**2
    size = squares.sum(axis=0)
    known = size > 0
    shares = np.divide(products.sum(axis=0), size, out=np.zeros_like(size), where=known)
    count = max(2, len(actual) // max(SHORTEST_BLOCK, 2 * horizon))
    misfits = [block.sum(axis=0) for block in np.array_split(products - shares * squares, count)]
    spread = np.sqrt(count / (count - 1) * np.square(misfits).sum(axis=0))
    error = np.divide(spread, size, out=np.zeros_like(size), where=known)
    return np.clip(shares - errors * error, 0, 1).astype(np.float32)
