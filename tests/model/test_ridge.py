"""The ridge regression: exact where labels are linear, flat where nothing can be known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from small import small_set

from freqai_lstm.model.ridge import FOLDS, fit_ridge
from freqai_lstm.model.windows import TrainingSet


def squares(labels: NDArray, predictions: NDArray) -> NDArray:
    """Squared error of each row, as the loss `mse` gives it."""
    return ((labels - predictions) ** 2).mean(axis=1)


def every_end(data: TrainingSet) -> NDArray[np.int32]:
    """The windows of training and validation together, in time order."""
    return np.sort(np.concatenate([data.train_ends, data.validation_ends]))


@pytest.mark.parametrize("validated", [60, 0])
def test_linear_labels_are_met_exactly(validated: int) -> None:
    """Kernel and intercept are those that the labels were made with, out of fold too."""
    data = small_set(validated=validated)
    kernel = np.array([[1, 0], [-2, 1], [0, 0], [0, 3]])
    data.labels[:] = data.inputs.features @ kernel + [0.5, 0]
    found = fit_ridge(data, squares)
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-4)
    np.testing.assert_allclose(found.bias, [0.5, 0], atol=1e-4)
    np.testing.assert_allclose(
        data.inputs.features @ found.kernel + found.bias, data.labels, atol=1e-3
    )
    ends = every_end(data)
    np.testing.assert_allclose(found.out_of_fold[ends], data.labels[ends], atol=1e-3)


def test_a_label_of_noise_takes_no_skill_from_another() -> None:
    """Beside noise, a linear label keeps the penalty and the kernel that it has alone."""
    data = small_set(rows=600)
    data.labels[:, 0] = data.inputs.features @ [1, -2, 0, 0]
    alone = fit_ridge(data, squares)
    data.labels[:, 1] = np.random.default_rng(2).normal(size=600)
    beside = fit_ridge(data, squares)
    assert beside.penalties[0] == alone.penalties[0]
    np.testing.assert_array_equal(beside.kernel[:, 0], alone.kernel[:, 0])
    assert beside.penalties[1] > beside.penalties[0]


def test_flat_where_nothing_is_to_be_known() -> None:
    """Labels of pure noise get hardly a slope; the level is near their median, not their mean."""
    data = small_set(rows=600)
    rng = np.random.default_rng(2)
    data.labels[:] = np.where(rng.random((600, 2)) < 0.05, rng.normal(5, 5, (600, 2)), 0)
    found = fit_ridge(data, squares)
    assert np.abs(found.kernel).max() < 0.05 * data.labels.std()
    assert (np.abs(found.bias) < 0.7 * data.labels.mean(axis=0)).all()


def test_labels_of_two_values_that_nothing_foretells() -> None:
    """Labels of -1 and 1, a few more of the one: the level is their mean, with hardly a slope."""
    data = small_set(rows=600)
    rng = np.random.default_rng(3)
    data.labels[:] = np.where(rng.random((600, 2)) < 0.55, 1, -1)
    found = fit_ridge(data, squares)
    np.testing.assert_allclose(found.flat, data.labels.mean(axis=0), atol=0.02)
    assert np.abs(found.out_of_fold - found.flat).max() < 0.1


def test_flat_prediction_is_weighted() -> None:
    """A row of nearly all the weight is the median, and the mean too."""
    data = small_set()
    heavy = data.train_ends[7]
    data.weights[heavy] = 1e6
    np.testing.assert_allclose(fit_ridge(data, squares).flat, data.labels[heavy], atol=1e-2)


def test_out_of_fold_equals_an_independent_calculation() -> None:
    """scikit-learn's Ridge on the other blocks of time gives the same out-of-fold predictions.

    Features beyond those of the other blocks count as the farthest of them.
    """
    from sklearn.linear_model import Ridge

    data = small_set(noise=1.0, horizon=5)
    found = fit_ridge(data, squares)
    ends = every_end(data)
    ones = np.ones((len(data.labels), 1))
    design = np.hstack([data.inputs.features, ones]).astype(float)
    for block in np.array_split(ends, FOLDS):
        others = ends[(ends + 5 < block[0]) | (ends > block[-1] + 5)]
        for label, penalty in enumerate(found.penalties):
            fitted = Ridge(alpha=penalty * len(others), fit_intercept=False).fit(
                design[others], data.labels[others, label] - found.flat[label]
            )
            seen = np.clip(design[block], design[others].min(axis=0), design[others].max(axis=0))
            expected = found.shares[label] * fitted.predict(seen) + found.flat[label]
            np.testing.assert_allclose(found.out_of_fold[block, label], expected, atol=1e-4)


def test_no_window_whose_label_reaches_into_a_block_predicts_it() -> None:
    """What happens to labels within the horizon of a block leaves its predictions alone."""
    data = small_set(noise=1.0, horizon=10)
    ends = every_end(data)
    block = np.array_split(ends, FOLDS)[2]
    before = fit_ridge(data, squares)
    near = np.concatenate([block, np.arange(block[0] - 10, block[0])])
    near = np.concatenate([near, np.arange(block[-1] + 1, block[-1] + 11)])
    data.labels[near] *= 1.001  # too little to choose other penalties
    after = fit_ridge(data, squares)
    np.testing.assert_array_equal(after.penalties, before.penalties)
    moved = after.flat - before.flat
    np.testing.assert_allclose(
        after.out_of_fold[block] - moved, before.out_of_fold[block], atol=2e-4
    )


def test_all_windows_are_refitted() -> None:
    """The newest block, which validation windows are in, is learned from too."""
    data = small_set(noise=1.0)
    before = fit_ridge(data, squares).kernel
    data.labels[data.validation_ends[-20:]] += 0.01
    assert (fit_ridge(data, squares).kernel != before).any()


def test_too_little_to_choose_by() -> None:
    """Where the horizon leaves no other windows to any block, the flat prediction serves."""
    data = small_set(rows=60, validated=0, horizon=100)
    found = fit_ridge(data, squares)
    assert np.isinf(found.penalties).all()
    assert (found.bias == found.flat).all()
    assert not found.kernel.any()


def test_features_that_are_not_finite() -> None:
    """Numbers too large to be squared leave the flat prediction, and raise nothing."""
    data = small_set()
    data.inputs.features[10] = np.inf
    found = fit_ridge(data, squares)
    assert not found.kernel.any()
