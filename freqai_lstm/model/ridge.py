"""The ridge regression from a candle's features to its labels, which the network builds on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.windows import Floats, Rows, TrainingSet, without_shared_labels


PENALTIES = np.logspace(1, -9, 21)  # on the mean of squares; features have a spread near 1
# With `test_size` 0 the newest fifth of the training windows chooses the penalty.
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Ridge:
    """Hold a linear prediction: `features @ kernel + bias`.

    `kernel` of shape (features, labels), `bias` of shape (labels,). `penalty` is None for the flat
    prediction, the labels' medians.
    """

    kernel: Floats
    bias: Floats
    penalty: float | None = None

    def predict(self, features: Floats) -> Floats:
        """Predict rows of shape (rows, features); return (rows, labels)."""
        return features @ self.kernel + self.bias


def flat(data: TrainingSet) -> Ridge:
    """Return the prediction that knows nothing: each label's weighted median, from no feature."""
    ends, (features, labels) = data.train_ends, (data.features.shape[1], data.labels.shape[1])
    median = np.zeros(labels)
    if len(ends) and data.weights[ends].sum() > 0:
        median = np.quantile(
            data.labels[ends], 0.5, axis=0, weights=data.weights[ends], method="inverted_cdf"
        )
    return Ridge(np.zeros((features, labels), np.float32), median.astype(np.float32))


def fit_ridge(data: TrainingSet, loss: Callable[[Floats, Floats], Floats]) -> Ridge:
    """Fit the ridge regression with the penalty that has the least loss on held-out windows.

    Labels that are linear in the features are met exactly; where little can be known, the
    prediction is nearly or wholly flat. The intercept is penalised too: of labels that are mostly
    zero, a mean that a few large ones make is no good prediction.

    :param loss: loss of each window from (labels, predictions), see `CompiledNetwork.loss`.
    """
    start = flat(data)
    fitted, held_out = data.train_ends, data.validation_ends
    if len(held_out) == 0 and len(fitted):
        newest = np.arange(len(fitted)) >= len(fitted) * (1 - HELD_OUT_SHARE)
        fitted, held_out = without_shared_labels(fitted, data.candles, newest, data.horizon)
    if len(held_out) == 0 or len(fitted) == 0:
        return start
    candidates = [start, *_solve(data, fitted, start.bias, PENALTIES)]
    losses = [
        np.average(
            loss(data.labels[held_out], ridge.predict(data.features[held_out])),
            weights=data.weights[held_out],
        )
        for ridge in candidates
    ]
    best = candidates[int(np.argmin(losses))]  # of equals the first: the strongest penalty
    if len(data.validation_ends) or best.penalty is None:
        return best
    return _solve(data, data.train_ends, start.bias, np.array([best.penalty]))[0]


def _solve(
    data: TrainingSet, ends: Rows, median: Floats, penalties: NDArray[np.float64]
) -> list[Ridge]:
    """Solve the normal equations for every penalty; none where features are not finite."""
    features, labels = data.features.shape[1], data.labels.shape[1]
    total = data.weights[ends].sum()
    # Summed up in blocks of rows: no float64 copy of the whole matrix.
    gram, moments = np.zeros((features + 1, features + 1)), np.zeros((features + 1, labels))
    for block in np.array_split(ends, len(ends) // 2048 + 1):
        x = np.pad(data.features[block].astype(float), ((0, 0), (0, 1)), constant_values=1)
        weighted = (x * (data.weights[block, None] / total)).T  # (features + 1, rows)
        with np.errstate(invalid="ignore", over="ignore"):  # looked at below
            gram += weighted @ x
            moments += weighted @ (data.labels[block] - median)
    if not (np.isfinite(gram).all() and np.isfinite(moments).all()):
        return []  # the epochs diverge too, and training then says so
    values, vectors = np.linalg.eigh(gram)
    moments = vectors.T @ moments
    solved = []
    for penalty in penalties:
        kernel = vectors @ (moments / (values.clip(0) + penalty)[:, None])
        solved.append(
            Ridge(
                kernel[:-1].astype(np.float32),
                (median + kernel[-1]).astype(np.float32),
                float(penalty),
            )
        )
    return solved
