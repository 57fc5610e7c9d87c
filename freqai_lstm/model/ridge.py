"""The ridge regression from a candle's features to its labels, which the network builds on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.shares import cautious_shares
from freqai_lstm.model.windows import Floats, Rows, TrainingSet


FOLDS = 5  # blocks of time; each is predicted from the others
# A regression that leaves less than this share of the flat predictions' loss is exact, but for
# rounding of 32 bit numbers.
EXACT = 1e-5
# A label's mean is its flat prediction where that leaves so much less than its median does.
MEAN_GAINS = 0.03
PENALTIES = np.logspace(1, -9, 21)  # on the mean of squares; features have a spread near 1

Loss = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Ridge:
    """Hold a linear prediction, `features @ kernel + bias`, and how it was chosen.

    `kernel` of shape (features, labels), `bias` of shape (labels,). `penalties` of shape (labels,),
    infinite where no penalty beat the flat prediction. `shares` of shape (labels,): how much of the
    way from the flat prediction to the regression is gone.
    `exact` says that the regression explains all of the labels.
    `out_of_fold` of shape (rows, labels): what a ridge regression predicts that has not seen the
    row's block of time; the network learns what that leaves over.
    """

    kernel: Floats
    bias: Floats
    penalties: NDArray[np.float64]
    shares: Floats
    out_of_fold: Floats
    flat: Floats  # (labels,), see _flat
    exact: bool


def fit_ridge(data: TrainingSet, loss: Loss) -> Ridge:
    """Fit a ridge regression on all windows, with a penalty for each label.

    A label's penalty is the one with the least loss in blocked cross-validation: every block of
    time is predicted from the others, without windows whose labels reach into it. No penalty of one
    label touches another. Labels that are linear in the features are met exactly; where nothing can
    be known, the prediction is flat, and where little can, it stays near (shares.py). The intercept
    is penalised too: of labels that are mostly zero, a mean that a few large ones make is no good
    prediction.

    :param loss: loss of each row from (labels, predictions), both of shape (rows, 1).
    """
    ends = np.sort(np.concatenate([data.train_ends, data.validation_ends]))
    splits = [(block, _others(data, ends, block)) for block in np.array_split(ends, FOLDS)]
    flat = _flat(data, ends, splits, loss)
    folds = [_Fold(block, others, _solve(data, others, flat)) for block, others in splits]
    blocks, losses = _cross_validate(data, folds, flat, loss, bounded=False)
    least = losses[0]  # infinite where labels are so large that their squares are
    known = bool(np.isfinite(least).all() and least.any())
    exact = known and bool((losses.min(axis=0) <= EXACT * least).all())
    if not exact:
        blocks, losses = _cross_validate(data, folds, flat, loss, bounded=True)
    best = losses.argmin(axis=0)  # (labels,); of equals the first: the strongest penalty
    labels = np.arange(len(best))
    slopes = np.zeros_like(data.labels)  # (rows, labels), the regression less the flat prediction
    slopes[ends] = np.concatenate(blocks, axis=1)[best, :, labels].T - flat
    shares = cautious_shares(
        data.labels[ends] - flat, slopes[ends], data.weights[ends], data.horizon, errors=0.5
    )
    kernels = shares * _solve(data, ends, flat)[best, :, labels].T  # (features + 1, labels)
    return Ridge(
        kernels[:-1].astype(np.float32),
        (kernels[-1] + flat).astype(np.float32),
        np.concatenate([[np.inf], PENALTIES])[best],
        shares,
        shares * slopes + flat,
        flat,
        exact,
    )


def _others(data: TrainingSet, ends: Rows, block: Rows) -> Rows:
    """Return the windows outside a block whose labels do not overlap with those inside."""
    candles = data.candles[ends]
    first, last = data.candles[block[0]], data.candles[block[-1]]
    return ends[(candles + data.horizon < first) | (candles > last + data.horizon)]


def _flat(data: TrainingSet, ends: Rows, splits: Sequence[tuple[Rows, Rows]], loss: Loss) -> Floats:
    """Return the constant to predict of each label, of shape (labels,).

    It is the median, which a few large labels do not move, but the mean where every block is
    predicted clearly better by the others' mean: the median of a label that is -1 or 1 is one of
    them, and a regression of anything would look good beside it.
    """

    def median(rows: Rows) -> Floats:
        return np.quantile(
            data.labels[rows], 0.5, axis=0, weights=data.weights[rows], method="inverted_cdf"
        ).astype(np.float32)

    def mean(rows: Rows) -> Floats:
        return np.average(data.labels[rows], axis=0, weights=data.weights[rows]).astype(np.float32)

    losses = np.zeros((2, data.labels.shape[1]))  # of the medians, of the means
    for block, others in splits:
        if data.weights[others].sum() > 0:
            for number, constant in enumerate((median, mean)):
                predicted = np.tile(constant(others), (len(block), 1))
                losses[number] += _loss_per_label(loss, data, block, predicted)
    better = losses[1] < (1 - MEAN_GAINS) * losses[0]
    return np.where(better, mean(ends), median(ends)).astype(np.float32)


class _Fold(NamedTuple):
    """Hold a block of time, the windows that share no label with it, and what they give."""

    block: Rows
    others: Rows
    solved: NDArray[np.float64]  # of the others, see _solve


def _cross_validate(
    data: TrainingSet, folds: Sequence[_Fold], flat: Floats, loss: Loss, *, bounded: bool
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Predict every block of time from the others, with every penalty.

    :param bounded: features beyond those of the other blocks count as the farthest of them, as in a
        prediction.
    :return: (predictions of each block, of shape (penalties + 1, rows, labels), the first of them
        flat; losses of shape (penalties + 1, labels)).
    """
    blocks, losses = [], np.zeros((len(PENALTIES) + 1, data.labels.shape[1]))
    for block, others, solved in folds:
        seen = _design(data, block)
        if bounded and len(others):
            known = data.inputs.features[others]
            seen[:, :-1] = np.clip(seen[:, :-1], known.min(axis=0), known.max(axis=0))
            del known  # as large as the features themselves
        with np.errstate(invalid="ignore"):  # features that are not finite, see _solve
            candidates = seen @ solved + flat
        losses += [_loss_per_label(loss, data, block, predicted) for predicted in candidates]
        blocks.append(candidates)
    return blocks, losses


def _design(data: TrainingSet, ends: Rows) -> NDArray[np.float64]:
    features = data.inputs.features[ends].astype(float)
    return np.pad(features, ((0, 0), (0, 1)), constant_values=1)  # (windows, features + 1)


def _solve(data: TrainingSet, ends: Rows, flat: Floats) -> NDArray[np.float64]:
    """Solve the normal equations for every penalty, of shape (penalties + 1, features + 1, labels).

    The first is the flat prediction. All are without windows, and where features are not finite:
    the epochs then diverge, and the training says so.
    """
    features, labels = data.inputs.features.shape[1], data.labels.shape[1]
    total = data.weights[ends].sum()
    solved = np.zeros((len(PENALTIES) + 1, features + 1, labels))
    if total == 0:
        return solved
    gram, moments = np.zeros((features + 1, features + 1)), np.zeros((features + 1, labels))
    # Summed up in blocks of rows: no float64 copy of the whole matrix.
    for part in np.array_split(ends, len(ends) // 2048 + 1):
        x = _design(data, part)
        weighted = (x * (data.weights[part, None] / total)).T  # (features + 1, rows)
        with np.errstate(invalid="ignore", over="ignore"):  # looked at below
            gram += weighted @ x
            moments += weighted @ (data.labels[part] - flat)
    if np.isfinite(gram).all() and np.isfinite(moments).all():
        values, vectors = np.linalg.eigh(gram)
        moments = vectors.T @ moments
        for number, penalty in enumerate(PENALTIES, start=1):
            solved[number] = vectors @ (moments / (values.clip(0) + penalty)[:, None])
    return solved


def _loss_per_label(loss: Loss, data: TrainingSet, ends: Rows, predicted: Floats) -> Floats:
    actual, weights = data.labels[ends], data.weights[ends, None]  # (windows, labels), (windows, 1)
    each = loss(actual.reshape(-1, 1), predicted.astype(np.float32).reshape(-1, 1))
    return (each.reshape(actual.shape) * weights).sum(axis=0)
