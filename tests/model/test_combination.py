"""Tests of the mean of two ridge regressions."""

from dataclasses import replace

import numpy as np
from small import small_set

from freqai_lstm.model.combination import fit_combined
from freqai_lstm.model.ridge import fit_ridge
from freqai_lstm.model.windows import Inputs, TrainingSet


def squares(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared error of each row."""
    return np.square(labels - predictions).mean(axis=1)


def two_labels() -> TrainingSet:
    """The first label follows feature 0 with noise, the second feature 3; 20 more are noise."""
    data = small_set(noise=1.0)
    rng = np.random.default_rng(3)
    features = np.hstack([data.inputs.features, rng.normal(size=(len(data.labels), 20))])
    features = features.astype(np.float32)
    noise = rng.normal(size=len(features))
    labels = np.stack([features[:, 0] + noise, features[:, 3] + 0.1 * noise], axis=1)
    inputs = Inputs(features, data.inputs.candles)
    return replace(data, inputs=inputs, labels=labels.astype(np.float32))


def test_each_label_takes_the_mean_only_where_it_is_no_worse() -> None:
    """A label that the few features tell gets the mean of both fits, another that of all alone."""
    data, few = two_labels(), [0, 1]
    both, whole = fit_combined(data, squares, few), fit_ridge(data, squares)
    inputs = Inputs(data.inputs.features[:, few], data.inputs.candles)
    part = fit_ridge(replace(data, inputs=inputs), squares)
    np.testing.assert_allclose(both.kernel[:, 1], whole.kernel[:, 1])
    np.testing.assert_allclose(both.out_of_fold[:, 1], whole.out_of_fold[:, 1])
    expected = whole.kernel[:, 0] / 2
    expected[few] += part.kernel[:, 0] / 2
    np.testing.assert_allclose(both.kernel[:, 0], expected, atol=1e-7)
    mean = (whole.out_of_fold[:, 0] + part.out_of_fold[:, 0]) / 2
    np.testing.assert_allclose(both.out_of_fold[:, 0], mean, atol=1e-6)


def test_without_few_features_or_where_exact_nothing_is_combined() -> None:
    """The regression of all features is returned as it is."""
    data = two_labels()
    np.testing.assert_array_equal(
        fit_combined(data, squares, []).kernel, fit_ridge(data, squares).kernel
    )
    exact = replace(data, labels=data.inputs.features[:, :2].copy())
    found = fit_combined(exact, squares, [0])
    assert found.exact
    np.testing.assert_array_equal(found.kernel, fit_ridge(exact, squares).kernel)
