"""Scales: of features that are mostly zero, of labels, of labels that lie ahead."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException
from pandas import DataFrame
from sklearn.preprocessing import RobustScaler

from freqai_lstm.model.parameters import LABEL_SCALE
from freqai_lstm.model.scaling import (
    LabelScale,
    SparseRobustScaler,
    feature_pipeline,
    label_pipeline,
)


def usual_scaler() -> RobustScaler:
    """FreqAI's kind of scaler with the percentiles of ours."""
    return RobustScaler(quantile_range=(5, 95))


# --- features ---


@pytest.mark.parametrize("zeros", [0.5, 0.88, 0.9, 0.97, 0.995])
def test_mostly_zero_feature(zeros: float) -> None:
    """Whatever the share of zeros, the rest gets a spread near 1 and no value is far out."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4000, 20)) * np.abs(rng.normal(size=(4000, 20)))
    values[rng.random(values.shape) < zeros] = 0
    scaled = SparseRobustScaler().fit_transform(values)
    assert np.abs(scaled).max() < 20
    assert np.abs(scaled).max(axis=0).min() > 0.5, "none is left unscaled or flat"
    assert (scaled[values == 0] == 0).all()


def test_usual_scaler_fails_on_mostly_zero_features() -> None:
    """What the own scaler is for: a quantile that is nearly zero makes huge values."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4000, 20)) * np.abs(rng.normal(size=(4000, 20)))
    values[rng.random(values.shape) < 0.9] = 0
    assert np.abs(usual_scaler().fit_transform(values)).max() > 100


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


# --- labels ---


def test_label_zero_stays_zero() -> None:
    """Labels are divided by their deviation; a label that is mostly zero keeps its zeros."""
    labels = DataFrame({"&-a": [0.0] * 95 + [5, 7, -9, 3, 1]})
    pipeline = label_pipeline()
    scaled, _, _ = pipeline.fit_transform(labels.copy())
    np.testing.assert_allclose(scaled["&-a"], labels["&-a"] / labels["&-a"].std(ddof=0))
    np.testing.assert_allclose(pipeline.inverse_transform(scaled)[0], labels)


def test_scale_is_kept_within_what_was_seen() -> None:
    """From the 1st to the 80th percentile of the training rows, whatever the sign."""
    features = DataFrame({LABEL_SCALE: np.tile([-1.0, 1.0], 50) * np.arange(100)})
    scale = LabelScale.fit(LABEL_SCALE, features, 1)
    assert scale is not None
    assert (scale.lowest, scale.highest) == pytest.approx((0.99, 79.2))
    assert scale.of([-1e9, -5, 0, 3, np.inf]).tolist() == pytest.approx([79.2, 5, 0.99, 3, 79.2])
    half = LabelScale.fit(LABEL_SCALE, DataFrame({LABEL_SCALE: np.arange(100) // 50}), 1)
    assert half is not None
    assert half.lowest == pytest.approx(0.001), "a thousandth of the highest, not zero"


@pytest.mark.parametrize(("name", "horizon"), [(LABEL_SCALE, 0), ("", 1), (LABEL_SCALE, 1)])
def test_labels_learned_as_they_are(name: str, horizon: int) -> None:
    """Labels of the same candle, an empty name, or a strategy without the default feature."""
    features = DataFrame({"%-x": np.ones(5)})
    if horizon == 0:
        features[LABEL_SCALE] = 1.0
    assert LabelScale.fit(name, features, horizon) is None


def test_scale_that_is_mostly_zero() -> None:
    """It is refused by its name: labels cannot be divided by it."""
    zeros = DataFrame({LABEL_SCALE: np.arange(100) % 10 == 0}).astype(float)
    with pytest.raises(OperationalException) as caught:
        LabelScale.fit(LABEL_SCALE, zeros, 1)
    for part in ("model_training_parameters.label_scale_feature", f"'{LABEL_SCALE}'", "zero", "''"):
        assert part in str(caught.value)


def test_scale_feature_that_is_missing() -> None:
    """A name given in the configuration must be a feature; near ones are offered."""
    features = pd.DataFrame({LABEL_SCALE: [1.0], "%-other": [1.0]})
    with pytest.raises(OperationalException) as caught:
        LabelScale.fit("%-lable_scale", features, 1)
    for part in ("label_scale_feature", "'%-lable_scale'", f"Did you mean '{LABEL_SCALE}'", "''"):
        assert part in str(caught.value)
