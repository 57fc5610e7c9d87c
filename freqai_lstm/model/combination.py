"""The mean of two ridge regressions: one of all features, and one of a few that need no tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from freqai_lstm.model.ridge import Loss, Ridge, fit_ridge
from freqai_lstm.model.windows import Inputs, TrainingSet


def fit_combined(data: TrainingSet, loss: Loss, few: Sequence[int]) -> Ridge:
    """Fit a regression of all features, and take its mean with one of a few where that is no worse.

    Many features fit the market of the training months closely, and when the market changes they
    mislead; the calendar and the candles' summaries know less and stay right. Half of each is the
    forecast that is hardest to beat without knowing which will be better (Bates and Granger 1969).
    A label takes it where the mean has no larger loss in blocked cross-validation.

    :param loss: loss of each row from (labels, predictions), both of shape (rows, 1).
    :param few: columns of the few features; without any the regression of all features is returned.
    """
    all_features = fit_ridge(data, loss)
    if all_features.exact or len(few) == 0:
        return all_features
    features = np.asarray(data.inputs.features)
    part = fit_ridge(replace(data, inputs=Inputs(features[:, few], data.inputs.candles)), loss)
    kernel = np.zeros_like(all_features.kernel)  # (features, labels)
    kernel[np.asarray(few)] = part.kernel
    ends = np.concatenate([data.train_ends, data.validation_ends])
    mean = (all_features.out_of_fold + part.out_of_fold) / 2
    losses = [
        [
            np.average(loss(actual[:, None], predicted[:, None]), weights=data.weights[ends])
            for actual, predicted in zip(data.labels[ends].T, out_of_fold[ends].T, strict=True)
        ]
        for out_of_fold in (mean, all_features.out_of_fold)
    ]
    halved = np.asarray(losses[0]) <= np.asarray(losses[1])  # (labels,)

    def combined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.where(halved, (one + other) / 2, one).astype(np.float32)

    return replace(
        all_features,
        kernel=combined(all_features.kernel, kernel),
        bias=combined(all_features.bias, part.bias),
        shares=combined(all_features.shares, part.shares),
        out_of_fold=combined(all_features.out_of_fold, part.out_of_fold),
    )
