"""Ridge regressions of several labels at once, each with a penalty chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from freqai_lstm.model.windows import Numbers


FOLDS = 5  # blocks of time; each is predicted from the others
# On the mean of squares of columns whose deviation is about 1; infinite: the mean alone.
PENALTIES = np.array([np.inf, 10, 3, 1, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5])
EXACT_PENALTY = 1e-9
# A regression that leaves less than this of the squares of held out labels explains all of them.
EXACT = 1e-5
# The eigenvalues of more columns would take minutes; these many directions of them are kept.
MOST_COLUMNS, DIRECTIONS = 1024, 256
SHORTEST_BLOCK = 24  # rows, of `cautious_factors`
# Matrices so small take longer to share out over threads than that saves: beside other busy
# processes, as bots and workers are, many times longer.
_one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


@dataclass(frozen=True)
class Ridge:
    """Hold linear predictions, `columns @ kernel + bias`, and what they give out of fold.

    `kernel` of shape (columns, labels), `bias` and `penalties` of shape (labels,). `held_out` of
    shape (rows, labels): predictions by a regression that has not seen the row's block of time.
    """

    kernel: Numbers
    bias: Numbers
    penalties: Numbers
    held_out: Numbers


@_one_thread
def fit_ridge(
    columns: Numbers,
    labels: Numbers,
    weights: Numbers,
    numbers: NDArray[np.int64],
    horizons: list[int],
) -> Ridge:
    """Fit a ridge regression, with a penalty for each label.

    A label's penalty is the one with the least squared error in blocked cross-validation: every
    block of time is predicted from the others, without rows whose labels reach into it. The
    intercept is not penalised.

    Labels that have the same weights, are known on the same rows and after as many candles share
    their solution, which is most of the time.

    :param columns: array of shape (rows, columns), in time order.
    :param labels: array of shape (rows, labels), NaN where one is missing: it costs only itself.
    :param weights: array of shape (rows,), or (rows, labels) where labels differ in them.
    :param numbers: which candle each row is, shape (rows,).
    :param horizons: candles after which each label is known.
    """
    weights = by_label(weights, labels)
    columns, turn = _compressed(columns)
    kernel, bias = np.zeros((columns.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    held_out, penalties = np.full(labels.shape, np.nan), np.full(labels.shape[1], np.inf)
    blocks = [block for block in np.array_split(np.arange(len(columns)), FOLDS) if len(block)]
    for same in _alike(labels, weights, horizons):
        rows, horizon = np.flatnonzero(np.isfinite(labels[:, same[0]])), horizons[same[0]]
        if not len(rows):
            continue
        actual, at = labels[rows][:, same], numbers[rows]
        weight = weights[rows, same[0]]
        given = _side_by_side(columns[rows], actual)
        inside = [(rows >= block[0]) & (rows <= block[-1]) for block in blocks]
        moments = [_moments(given[own], weight[own]) for own in inside]
        predicted = np.zeros((len(PENALTIES), len(columns), len(same)))
        for place, (block, own) in enumerate(zip(blocks, inside, strict=True)):
            first, last = numbers[block[0]], numbers[block[-1]]
            near = (at + horizon >= first) & (at <= last + horizon)
            if near.all():  # every label reaches into the block: nothing can be held out
                mean = np.average(actual, axis=0, weights=weight)
                predicted[:, block] = mean  # a tie, in which the strongest penalty is chosen
                continue
            others = np.sum(moments[:place] + moments[place + 1 :], axis=0)
            beside = near & ~own
            slopes, intercepts = _solve(
                others - _moments(given[beside], weight[beside]), columns.shape[1]
            )
            predicted[:, block] = columns[block] @ slopes + intercepts[:, None]
        squares = np.square(actual - predicted[:, rows])  # (penalties, rows, labels)
        # Of equals the first: the strongest penalty.
        best = (weight[:, None] * squares).sum(axis=1).argmin(axis=0)
        slopes, intercepts = _solve(np.sum(moments, axis=0), columns.shape[1])
        label = np.arange(len(same))
        kernel[:, same], bias[same] = slopes[best, :, label].T, intercepts[best, label]
        held_out[:, same], penalties[same] = predicted[best, :, label].T, PENALTIES[best]
    return Ridge(turn @ kernel if turn is not None else kernel, bias, penalties, held_out)


@_one_thread
def fit_exact(columns: Numbers, labels: Numbers) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """Find labels that are linear in the columns, those of the same candle above all.

    :return: (kernel, bias, exact): exact of shape (labels,) says which labels the regression on
        the first four fifths of the rows explains whole on the last fifth.
    """
    count, width = columns.shape
    kernel, bias = np.zeros((width, labels.shape[1])), np.zeros(labels.shape[1])
    exact = np.zeros(labels.shape[1], dtype=bool)
    if width > MOST_COLUMNS or count < 1.5 * width:
        return kernel, bias, exact
    for same in _alike(labels, np.ones(labels.shape), [0] * labels.shape[1]):
        rows = np.flatnonzero(np.isfinite(labels[:, same[0]]))
        if len(rows) < 1.5 * width:
            continue
        actual, border = labels[rows][:, same], len(rows) * 4 // 5
        slopes, intercepts = _solve_exact(columns[rows[:border]], actual[:border])
        left = actual[border:] - columns[rows[border:]] @ slopes - intercepts
        spread = np.square(actual[border:] - actual[border:].mean(axis=0)).sum(axis=0)
        found = (np.square(left).sum(axis=0) <= EXACT * spread) & (spread > 0)
        if found.any():
            slopes, intercepts = _solve_exact(columns[rows], actual)
            kernel[:, same], bias[same], exact[same] = slopes, intercepts, found
    return kernel, bias, exact


def cautious_factors(
    actual: Numbers, predicted: Numbers, weights: Numbers, horizons: list[int]
) -> Numbers:
    """Return, label by label, the factor with which a prediction serves best, made cautious.

    The factor f is that of least squares, from 0 to 1, times 1 - (e / f)² or 0, where e is its
    standard error (the positive part of James and Stein 1961). A label that can be foretold keeps
    nearly all of its prediction; one that luck alone seemed to foretell keeps little or nothing.

    Parameters are those of `factors`.

    :return: array of shape (labels,).
    """
    found, error = factors(actual, predicted, weights, horizons)
    ratio = np.divide(error, found, out=np.ones_like(found), where=found > 0)
    return np.clip(found * (1 - ratio**2), 0, 1)


def factors(
    actual: Numbers, predicted: Numbers, weights: Numbers, horizons: list[int]
) -> tuple[Numbers, Numbers]:
    """Return, label by label, a prediction's factor of least squares and its standard error.

    Neighbouring rows have labels that overlap, so the error is that of whole blocks of time.

    :param actual: labels less what is predicted otherwise, shape (rows, labels), by time; NaN where
        there are none.
    :param predicted: of the same shape, by a model that has not seen these rows.
    :param weights: array of shape (rows,), or (rows, labels) where labels differ in them.
    :param horizons: candles after which each label is known.
    :return: arrays of shape (labels,); 0 where nothing is predicted.
    """
    weights = by_label(weights, actual)
    found, errors = np.zeros(actual.shape[1]), np.zeros(actual.shape[1])
    for label, horizon in enumerate(horizons):
        known = np.isfinite(actual[:, label]) & np.isfinite(predicted[:, label])
        one, other = actual[known, label], predicted[known, label]
        weight = weights[known, label]
        size = float((weight * other**2).sum())
        if not size > 0:
            continue
        factor = float((weight * one * other).sum()) / size
        misfits = weight * other * (one - factor * other)
        count = max(2, len(misfits) // max(SHORTEST_BLOCK, 2 * horizon))
        sums = np.array([block.sum() for block in np.array_split(misfits, count)])
        error = np.sqrt(count / (count - 1) * np.square(sums).sum()) / size
        found[label], errors[label] = factor, error
    return found, errors


def by_label(weights: Numbers, labels: Numbers) -> Numbers:
    """Return weights of shape (rows, labels), of which (rows,) or these are given."""
    return np.broadcast_to(weights.reshape(len(labels), -1), labels.shape)


def _alike(labels: Numbers, weights: Numbers, horizons: list[int]) -> list[list[int]]:
    """Group labels that one solution serves, see `fit_ridge`."""
    groups: dict[tuple[bytes, bytes, int], list[int]] = {}
    for label, horizon in enumerate(horizons):
        known = np.isfinite(labels[:, label]).tobytes()
        groups.setdefault((known, weights[:, label].tobytes(), horizon), []).append(label)
    return list(groups.values())


def _side_by_side(columns: Numbers, labels: Numbers) -> Numbers:
    """1, the columns and the labels of each row, as `_solve` wants their moments."""
    return np.hstack([np.ones((len(columns), 1)), columns, labels])


def _moments(values: Numbers, weights: Numbers) -> Numbers:
    """Weighted sums over rows of the products of each two columns, shape (columns, columns).

    Those of all blocks but one are a sum: no row is multiplied anew for each block left out.
    """
    return (values * weights[:, None]).T @ values


def _solve(
    moments: Numbers, width: int, penalties: NDArray | list[float] = PENALTIES
) -> tuple[Numbers, Numbers]:
    """Solve the normal equations for every penalty.

    :param moments: of `_side_by_side`, with `width` columns.
    :return: slopes of shape (penalties, columns, labels), intercepts of shape (penalties, labels).
    """
    total = moments[0, 0]
    if not total > 0:
        raise ValueError("Expected rows with a weight above 0, got none.")
    means = moments[0] / total
    spread = moments / total - np.outer(means, means)
    values, vectors = np.linalg.eigh(spread[1 : width + 1, 1 : width + 1])
    turned = vectors.T @ spread[1 : width + 1, width + 1 :]  # (columns, labels)
    least = values.clip(0) + np.reshape(penalties, (-1, 1))  # (penalties, columns)
    slopes = vectors @ (turned / least[:, :, None])
    return slopes, means[width + 1 :] - means[1 : width + 1] @ slopes


def _solve_exact(columns: Numbers, labels: Numbers) -> tuple[Numbers, Numbers]:
    given = _side_by_side(columns, labels)
    moments = _moments(given, np.ones(len(given)))
    slopes, intercepts = _solve(moments, columns.shape[1], [EXACT_PENALTY])
    return slopes[0], intercepts[0]


def _compressed(columns: Numbers) -> tuple[Numbers, Numbers | None]:
    """Keep the main directions of very many columns: (columns, how to turn kernels back)."""
    if columns.shape[1] <= MOST_COLUMNS:
        return columns, None
    _, _, turn = randomized_svd(columns, DIRECTIONS, n_iter=2, random_state=0)
    return columns @ turn.T, turn.T
