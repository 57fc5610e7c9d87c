"""Scales of features, fitted on training rows and saved in FreqAI's pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import datasieve.transforms as ds
import numpy as np
import numpy.typing as npt
from datasieve.pipeline import Pipeline
from datasieve.transforms import SKLearnWrapper
from sklearn.preprocessing import RobustScaler


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
