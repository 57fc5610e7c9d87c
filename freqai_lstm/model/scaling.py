"""Scales of features and labels, fitted on training rows and saved in FreqAI's pipelines."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import datasieve.transforms as ds
import numpy as np
import numpy.typing as npt
import pandas as pd
from datasieve.pipeline import Pipeline
from datasieve.transforms import SKLearnWrapper
from freqtrade.exceptions import OperationalException
from sklearn.preprocessing import RobustScaler, StandardScaler

from freqai_lstm.model.parameters import KEY, LABEL_SCALE, nearest


class SparseRobustScaler(RobustScaler):
    """Scale a feature by the range from the 5th to the 95th percentile of what is not its median.

    A feature that is zero on most candles has no range at all, or one that a handful of candles
    decides: scikit-learn's RobustScaler then leaves it unscaled, or makes values above a hundred
    of it. The range is therefore taken of the values apart from the median, and includes the
    median. Of a dense feature it is the usual range.
    """

    def fit(self, X: npt.ArrayLike, y: None = None) -> SparseRobustScaler:
        """Fit medians and ranges.

        :param X: array of shape (rows, features), finite.
        """
        values = np.asarray(X, dtype=float)
        super().fit(values)
        self.center_ = np.median(values, axis=0)  # (features,)
        deviations = values - self.center_  # (rows, features)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a constant has no deviations
            low, high = np.nanpercentile(
                np.where(deviations == 0, np.nan, deviations), (5, 95), axis=0
            )
        ranges = np.fmax(high, 0) - np.fmin(low, 0)
        self.scale_ = np.where(ranges > 0, ranges, 1.0)
        return self


def feature_pipeline(settings: Mapping[str, Any], threads: int = -1) -> Pipeline:
    """Make the feature pipeline: scales first, then FreqAI's options in FreqAI's order.

    :param settings: `freqai.feature_parameters`.
    :param threads: for the steps that can use several; -1 for all.
    """
    steps: list[tuple[str, Any]] = [
        ("const", ds.VarianceThreshold(threshold=0)),
        ("scaler", SKLearnWrapper(SparseRobustScaler())),
    ]
    if settings.get("principal_component_analysis", False):
        steps.append(("pca", ds.PCA(n_components=0.999)))
        steps.append(("post-pca-scaler", SKLearnWrapper(SparseRobustScaler())))
    if settings.get("use_SVM_to_remove_outliers", False):
        svm = settings.get("svm_params", {"shuffle": False, "nu": 0.01})
        steps.append(("svm", ds.SVMOutlierExtractor(**svm)))
    if settings.get("DI_threshold", 0):
        steps.append(
            ("di", ds.DissimilarityIndex(di_threshold=settings["DI_threshold"], n_jobs=threads))
        )
    if settings.get("use_DBSCAN_to_remove_outliers", False):
        steps.append(("dbscan", ds.DBSCAN(n_jobs=threads)))
    if settings.get("noise_standard_deviation", 0):
        steps.append(("noise", ds.Noise(sigma=settings["noise_standard_deviation"])))
    return Pipeline(steps, fitparams={})


def label_pipeline() -> Pipeline:
    """Make the label pipeline: each label divided by its standard deviation, zero stays zero.

    Labels may be zero on most candles, and then have no range between percentiles.
    """
    return Pipeline([("scaler", SKLearnWrapper(StandardScaler(with_mean=False)))], fitparams={})


@dataclass(frozen=True)
class LabelScale:
    """Say how large labels that lie ahead will roughly be, by a feature that is known now.

    A score divided by volatility is a hundred times larger in a calm market than in a wild one, and
    squared errors then follow a few calm candles alone. So labels are divided by their scale of now
    before they are learned, and predictions are multiplied by it (volatility scaling; Lim, Zohren
    and Roberts 2019, arXiv:1904.04912). The scale is |feature|, kept within the 1st and the 80th
    percentile of the training rows, since a feature far outside what was seen must not multiply a
    prediction. Labels of the same candle (`label_period_candles` 0) are left as they are: they are
    a function of the features, and dividing would only bend it.

    `lowest` and `highest` are in the unit of the feature.
    """

    feature: str
    lowest: float
    highest: float

    @classmethod
    def fit(cls, name: str, features: pd.DataFrame, horizon: int) -> LabelScale | None:
        """Take the range from the training rows.

        :param name: `label_scale_feature`.
        :param features: training rows as the strategy gave them, shape (rows, features).
        :param horizon: `feature_parameters.label_period_candles`.
        :return: None where labels are learned as they are.
        :raises UnusableFeature: there is no such feature, or it is zero too often to divide by.
        """
        if not name or horizon == 0:
            return None
        if name not in features:
            if name == LABEL_SCALE:  # the default: a strategy need not have it
                return None
            raise UnusableFeature(
                f"{KEY}.label_scale_feature must name a feature of the strategy. Got '{name}'."
                f"{nearest(name, map(str, features))} Set it to '' to learn labels as they are."
            )
        lowest, highest = np.quantile(np.abs(features[name].to_numpy(dtype=float)), (0.01, 0.8))
        if not highest > 0:
            raise UnusableFeature(
                f"{KEY}.label_scale_feature: '{name}' must not be zero on most candles, since "
                "labels are divided by its size. Got zero on at least 80 % of the training "
                "candles. Mend the feature, or set the parameter to ''."
            )
        return cls(name, float(max(lowest, highest / 1000)), float(highest))

    def of(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the scales that go with values of the feature, of the same shape."""
        return np.clip(np.abs(np.asarray(values, dtype=float)), self.lowest, self.highest)


class UnusableFeature(OperationalException):
    """A setting that no training of the command can work with."""
