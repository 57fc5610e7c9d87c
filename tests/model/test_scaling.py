"""Scales of features, those that are mostly zero too, and the steps of the pipeline."""

from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from sklearn.preprocessing import RobustScaler

from freqai_lstm.model.scaling import SparseRobustScaler, feature_pipeline


def usual_scaler() -> RobustScaler:
    """FreqAI's kind of scaler with the percentiles of ours."""
    return RobustScaler(quantile_range=(5, 95))


@pytest.mark.parametrize("zeros", [0.5, 0.88, 0.9, 0.97, 0.995])
def test_mostly_zero_feature(zeros: float) -> None:
    """Whatever the share of zeros, the rest gets a spread near 1 and no value is far out.

    scikit-learn's scaler divides by a quantile that is nearly zero where a tenth is not.
    """
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4000, 20)) * np.abs(rng.normal(size=(4000, 20)))
    values[rng.random(values.shape) < zeros] = 0
    scaled = SparseRobustScaler().fit_transform(values)
    assert np.abs(scaled).max() < 20
    assert np.abs(scaled).max(axis=0).min() > 0.5, "none is left unscaled or flat"
    assert (scaled[values == 0] == 0).all()
    assert (np.abs(usual_scaler().fit_transform(values)).max() > 100) == (zeros == 0.9)


@pytest.mark.parametrize("share", [0.001, 0.03, 0.4])
def test_on_off_feature(share: float) -> None:
    """A feature that is 0 or 5 becomes 0 or 1."""
    values = (np.arange(2000) < share * 2000)[:, None] * 5.0
    scaled = SparseRobustScaler().fit_transform(values)
    assert (scaled == values / 5).all()


def test_dense_feature_as_usual() -> None:
    """Where no value repeats it is scikit-learn's RobustScaler from the 5th to the 95th."""
    values = np.random.default_rng(1).lognormal(size=(1000, 3))
    expected = usual_scaler().fit_transform(values)
    np.testing.assert_allclose(SparseRobustScaler().fit_transform(values), expected, rtol=1e-12)


def test_constant_feature(recwarn: pytest.WarningsRecorder) -> None:
    """A constant becomes 0 without a warning, and what differs later is not divided by zero."""
    scaler = SparseRobustScaler().fit(np.full((50, 1), 3.0))
    assert scaler.transform([[3.0], [4.0]]).tolist() == [[0.0], [1.0]]
    assert not recwarn.list


def test_scaled_features_come_back() -> None:
    """The inverse gives the features again."""
    values = np.random.default_rng(1).normal(size=(100, 3)) * [1, 100, 0]
    scaler = SparseRobustScaler().fit(values)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(values)), values)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, ["const", "scaler"]),
        ({"principal_component_analysis": True}, ["const", "scaler", "pca", "post-pca-scaler"]),
        ({"use_SVM_to_remove_outliers": True}, ["const", "scaler", "svm"]),
        ({"DI_threshold": 1}, ["const", "scaler", "di"]),
        ({"use_DBSCAN_to_remove_outliers": True}, ["const", "scaler", "dbscan"]),
        ({"noise_standard_deviation": 0.1}, ["const", "scaler", "noise"]),
    ],
)
def test_steps_of_the_feature_pipeline(settings: dict[str, Any], steps: list[str]) -> None:
    """Each of FreqAI's options is a step after the scaler, and only where it is switched on."""
    assert [name for name, _ in feature_pipeline(settings).steps] == steps


def test_pipelines_share_no_steps() -> None:
    """Two pipelines are fitted apart."""
    first, second = feature_pipeline({}), feature_pipeline({})
    assert first.steps is not second.steps
    frame = DataFrame({"a": [1.0, 2, 3, 9]})
    first.fit_transform(frame.copy())
    second.fit_transform(frame * 10)
    np.testing.assert_allclose(
        first.transform(frame.copy())[0], second.transform(frame * 10)[0], rtol=1e-12
    )
