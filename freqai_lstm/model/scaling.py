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
from datasieve.utils import remove_outliers
from sklearn.metrics import pairwise_distances_argmin_min, pairwise_distances_chunked
from sklearn.preprocessing import RobustScaler

from freqai_lstm.model.windows import Numbers


Passed = tuple[Any, Any, Any, Any]  # X, y, sample_weight, feature_list
# Of distances between rows: memory for some at a time, and to how many rows each row's are taken.
BLOCK_MB, MOST_ROWS = 256, 10_000


def bulk(values: Numbers) -> tuple[Numbers, Numbers]:
    """Return medians and widths of columns, shape (columns,) each; NaN counts as no value.

    The width is the range from the 5th to the 95th percentile of what is not the median, the median
    included; 1 for a constant. A feature that is zero on most candles has no range otherwise, or
    one that a handful of candles decides. Of a dense feature it is the usual range.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a constant has no deviations
        medians = np.nan_to_num(np.nanmedian(values, axis=0))
        deviations = values - medians
        low, high = np.nanpercentile(np.where(deviations == 0, np.nan, deviations), (5, 95), axis=0)
    widths = np.fmax(high, 0) - np.fmin(low, 0)
    return medians, np.where(widths > 0, widths, 1.0)


class SparseRobustScaler(RobustScaler):
    """Scale features by `bulk`.

    scikit-learn's RobustScaler leaves a feature that is mostly zero unscaled, or makes values above
    a hundred of it.
    """

    def fit(self, X: npt.ArrayLike, y: None = None) -> SparseRobustScaler:
        """Fit medians and ranges.

        :param X: array of shape (rows, features), finite.
        """
        values = np.asarray(X, dtype=float)
        super().fit(values)
        self.center_, self.scale_ = bulk(values)
        return self

    def transform(self, X: npt.ArrayLike) -> Numbers:
        """Scale rows, without scikit-learn's checks: each live prediction waits for this."""
        return (np.asarray(X, dtype=float) - self.center_) / self.scale_


class DissimilarityIndex(ds.DissimilarityIndex):
    """datasieve's dissimilarity index, with a block of distances in memory instead of all.

    Half a year of candles of five minutes has 52,000 rows: their distances take 21 GB at once. Of
    more than `MOST_ROWS` rows the mean distance is that to every second, third, … row.
    """

    def fit(
        self,
        X: Numbers,
        y: Any = None,
        sample_weight: Any = None,
        feature_list: Any = None,
        **_: Any,
    ) -> Passed:
        """Keep the rows and their mean distance; parameters as in datasieve."""
        others = X[:: -(-len(X) // MOST_ROWS)]
        blocks = pairwise_distances_chunked(X, others, working_memory=BLOCK_MB)
        total = sum(float(block.sum()) for block in blocks)
        self.avg_mean_dist = total / max(1, len(others) * (len(X) - 1))  # none to itself
        self.trained_data = X
        return X, y, sample_weight, feature_list

    def fit_transform(
        self,
        X: Numbers,
        y: Any = None,
        sample_weight: Any = None,
        feature_list: Any = None,
        **_: Any,
    ) -> Passed:
        """Fit; no training row is an outlier, since each is at no distance from itself."""
        self.di_values = np.zeros(len(X))
        return self.fit(X, y, sample_weight, feature_list)

    def transform(
        self,
        X: Numbers,
        y: Any = None,
        sample_weight: Any = None,
        feature_list: Any = None,
        outlier_check: bool = False,
        **_: Any,
    ) -> Passed:
        """Find rows that are far from every training row; parameters as in datasieve."""
        nearest = pairwise_distances_argmin_min(X, self.trained_data)[1]
        self.di_values = nearest / self.avg_mean_dist
        inliers = (self.di_values < self.di_threshold).astype(int)
        if outlier_check:
            y += inliers - 1
        else:
            X, y, sample_weight = remove_outliers(X, y, sample_weight, inliers)
        return X, y, sample_weight, feature_list


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
        steps.append(("di", DissimilarityIndex(di_threshold=settings["DI_threshold"])))
    if settings.get("use_DBSCAN_to_remove_outliers", False):
        steps.append(("dbscan", ds.DBSCAN(n_jobs=threads)))
    if settings.get("noise_standard_deviation", 0):
        steps.append(("noise", ds.Noise(sigma=settings["noise_standard_deviation"])))
    return Pipeline(steps, fitparams={})
