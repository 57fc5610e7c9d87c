"""The ridge regression: exact where labels are linear, flat where nothing can be known."""

import numpy as np
import pytest
from small import WIDTH, small_set

from freqai_lstm.model import ridge
from freqai_lstm.model.ridge import fit_ridge, flat
from freqai_lstm.model.windows import TrainingSet


ROWS = 200 + WIDTH - 1  # of 200 windows


def squares(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Mean squared error per window."""
    return ((labels - predictions) ** 2).mean(axis=1)


def linear(data: TrainingSet) -> np.ndarray:
    """Make the labels linear in the current candle's features; returns the kernel."""
    kernel = np.array([[1, 0], [-2, 1], [0, 0], [0, 3]])
    data.labels[:] = data.features @ kernel + [0.5, 0]
    return kernel


@pytest.mark.parametrize("validated", [60, 0])
def test_linear_labels_are_met_exactly(validated: int) -> None:
    """Kernel and intercept are those that the labels were made with."""
    data = small_set(validated=validated)
    kernel = linear(data)
    found = fit_ridge(data, squares)
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-4)
    np.testing.assert_allclose(found.bias, [0.5, 0], atol=1e-4)
    np.testing.assert_allclose(found.predict(data.features), data.labels, atol=1e-3)


def test_flat_where_nothing_is_to_be_known() -> None:
    """Labels of pure noise get hardly a slope; the level is near their median, not their mean."""
    data = small_set(rows=600)
    rng = np.random.default_rng(2)
    data.labels[:] = np.where(rng.random((600, 2)) < 0.05, rng.normal(5, 5, (600, 2)), 0)
    found = fit_ridge(data, squares)
    assert np.abs(found.kernel).max() < 0.02 * data.labels.std()
    assert (np.abs(found.bias) < 0.5 * data.labels.mean(axis=0)).all()


@pytest.mark.parametrize("validated", [60, 0])
def test_rows_of_weight_zero_change_nothing(validated: int) -> None:
    """Whatever their labels, with and without validation rows."""
    data = small_set(validated=validated)
    data.weights[data.train_ends[:100]] = 0
    before = fit_ridge(data, squares)
    assert before.kernel.any()
    data.labels[data.train_ends[:100]] *= -1
    after = fit_ridge(data, squares)
    np.testing.assert_allclose(after.kernel, before.kernel, atol=1e-6)
    data.weights[:] = 0
    assert not flat(data).bias.any()


def test_flat_is_the_weighted_median() -> None:
    """Half of the weight lies on each side of it, label by label."""
    data = small_set(validated=0)
    assert flat(data).bias.tolist() == pytest.approx(
        np.quantile(data.labels[data.train_ends], 0.5, axis=0, method="inverted_cdf").tolist()
    )
    heavy = data.train_ends[7]
    data.weights[heavy] = 1000
    assert (flat(data).bias == data.labels[heavy]).all()
    assert not flat(data).kernel.any()


def test_penalty_is_chosen_by_the_validation_loss() -> None:
    """No other penalty of the list, nor the medians, do better on the validation windows."""
    data = small_set(rows=150, noise=2.0)
    found = fit_ridge(data, squares)
    ends = data.validation_ends

    def loss(candidate: ridge.Ridge) -> float:
        return squares(data.labels[ends], candidate.predict(data.features[ends])).mean()

    every = ridge._solve(data, data.train_ends, flat(data).bias, ridge.PENALTIES)
    assert len(every) == len(ridge.PENALTIES)
    assert loss(found) == pytest.approx(min(loss(one) for one in [*every, flat(data)]))
    assert any(found.penalty == one.penalty for one in every)


def test_without_validation_the_newest_fifth_chooses_and_all_windows_fit() -> None:
    """With `test_size` 0 the penalty is chosen on held-out windows, then refitted on all."""
    data = small_set(rows=ROWS, validated=0, noise=2.0)
    assert len(data.train_ends) == 200
    found = fit_ridge(data, squares)
    fitted, held_out = np.split(data.train_ends, [160])
    candidates = ridge._solve(data, fitted, flat(data).bias, ridge.PENALTIES)
    losses = [
        squares(data.labels[held_out], one.predict(data.features[held_out])).mean()
        for one in candidates
    ]
    chosen = candidates[int(np.argmin(losses))]
    assert found.penalty == chosen.penalty
    assert (found.kernel != chosen.kernel).all(), "the newest fifth is learned from too"
    penalty = np.array([chosen.penalty], dtype=float)
    refitted = ridge._solve(data, data.train_ends, flat(data).bias, penalty)[0]
    np.testing.assert_allclose(found.kernel, refitted.kernel, rtol=1e-5)
    np.testing.assert_allclose(found.bias, refitted.bias, rtol=1e-5)


@pytest.mark.parametrize("horizon", [0, 30])
def test_the_newest_fifth_is_purged_by_the_horizon(
    horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows whose label reaches into the newest fifth do not fit the candidates."""
    fitted = []

    def solve(data: TrainingSet, ends: np.ndarray, *more: object) -> list[ridge.Ridge]:
        fitted.append(ends)
        return solve_really(data, ends, *more)

    solve_really = ridge._solve
    monkeypatch.setattr(ridge, "_solve", solve)
    data = small_set(rows=ROWS, validated=0, horizon=horizon)
    fit_ridge(data, squares)
    candidates, refit = fitted
    assert candidates.tolist() == data.train_ends[: 160 - horizon].tolist()
    assert refit.tolist() == data.train_ends.tolist()


def test_too_little_to_choose_by() -> None:
    """Where the horizon leaves nothing to fit or nothing to choose by, the medians serve."""
    data = small_set(rows=60, validated=0, horizon=100)
    found = fit_ridge(data, squares)
    assert found.penalty is None
    assert (found.bias == flat(data).bias).all()


def test_features_that_are_not_finite() -> None:
    """Numbers too large to be squared leave the medians, and raise nothing."""
    data = small_set()
    data.features[10] = np.inf
    found = fit_ridge(data, squares)
    assert found.penalty is None
    assert not found.kernel.any()
