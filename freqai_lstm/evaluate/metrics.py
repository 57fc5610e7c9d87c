"""Figures of predictions beside what came about: plain arrays in, numbers out.

A row is a candle. A figure that is not defined (a correlation with a constant, say) is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata


Values = NDArray[np.float64]
NAN = float("nan")
COVERAGE = 0.8  # share of labels that an interval is meant to hold
# Bins of the calibration as quantiles of the prediction: narrow at both ends, where signals are.
QUANTILES = (0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 1)


def r_squared(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """1 - residual / total sum of squares, the latter about each column's mean.

    :param actual: shape (rows,) or (rows, labels); several labels count in the scale they have.
    :return: NaN where `actual` does not vary.
    """
    if len(actual) == 0 or not np.ptp(actual, axis=0).any():
        return NAN
    # scikit-learn's r2_score (variance_weighted) checks its arguments for longer than this takes.
    total = np.sum((actual - actual.mean(axis=0)) ** 2)
    return float(1 - np.sum((actual - predicted) ** 2) / total)


def correlation(actual: Values, predicted: Values) -> float:
    """Pearson's; NaN where either side does not vary."""
    if len(actual) < 2 or not np.ptp(actual) or not np.ptp(predicted):
        return NAN
    return float(np.corrcoef(actual, predicted)[0, 1])


def share(hits: NDArray[np.bool_]) -> float:
    """Share of True; NaN of nothing."""
    return float(hits.mean()) if len(hits) else NAN


def measure(actual: Values, predicted: Values) -> dict[str, float]:
    """All figures of one predictor on one set of candles.

    :param actual: realised label, shape (candles,), every value a number.
    :param predicted: the same shape and unit.
    :return: candles; r2; correlation; rank_correlation (Spearman's, a trader's IC); slope and
        intercept of actual on predicted (1 and 0 are calibrated, with a slope below 1 the
        predictions are too bold); bias, the mean of predicted - actual; bias, rmse and intercept
        in the unit of the label.
    """
    linear = correlation(actual, predicted)
    defined = np.isfinite(linear)
    slope = linear * float(np.std(actual) / np.std(predicted)) if defined else NAN
    return {
        "candles": len(actual),
        "r2": r_squared(actual, predicted),
        "correlation": linear,
        "rank_correlation": correlation(rankdata(actual), rankdata(predicted)),
        "slope": slope,
        "intercept": float(np.mean(actual) - slope * np.mean(predicted)) if defined else NAN,
        "bias": float(np.mean(predicted - actual)) if len(actual) else NAN,
        "rmse": float(np.sqrt(np.mean((actual - predicted) ** 2))) if len(actual) else NAN,
    }


def measure_interval(
    actual: Values, lower: Values, upper: Values, scale: Values
) -> dict[str, float]:
    """Figures of intervals that 80 % of the labels are meant to lie in.

    :param actual: realised label, shape (candles,); a candle without a finite bound is left out.
    :param scale: standard deviation of the training labels, the unit of what follows.
    :return: coverage, the share of labels inside; width, its mean; interval_score (Gneiting and
        Raftery 2007), width plus 10 times what a label lies outside, its mean: less is better.
    """
    known = np.isfinite(actual) & np.isfinite(lower) & np.isfinite(upper) & (scale > 0)
    actual, lower, upper = (of[known] / scale[known] for of in (actual, lower, upper))
    outside = np.maximum(lower - actual, 0) + np.maximum(actual - upper, 0)
    score = upper - lower + 2 / (1 - COVERAGE) * outside
    return {
        "coverage": share(outside == 0),
        "width": float(np.mean(upper - lower)) if len(actual) else NAN,
        "interval_score": float(np.mean(score)) if len(actual) else NAN,
    }


def calibration(actual: Values, predicted: Values) -> pd.DataFrame:
    """Mean realised value of candles with similar predictions, by quantiles of the prediction.

    :return: per bin predicted and realised (means), error (standard error of realised), rmse (of
        the predictions) and candles, in order of predicted.
    """
    values = pd.DataFrame({"predicted": predicted, "realised": actual})
    edges = np.unique(np.quantile(predicted, QUANTILES)) if len(values) else np.array([0.0])
    bins = np.clip(np.searchsorted(edges, predicted, side="right"), 1, max(len(edges) - 1, 1))
    groups = values.groupby(bins)
    found = groups.mean()
    found["error"] = groups["realised"].std(ddof=0) / np.sqrt(groups.size())
    squares = (values["realised"] - values["predicted"]) ** 2
    found["rmse"] = np.sqrt(squares.groupby(bins).mean())
    return found.assign(candles=groups.size()).reset_index(drop=True)
