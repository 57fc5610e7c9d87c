"""Ridge regressions: exact where labels are linear, flat where nothing can be known, honest."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge as Reference

from freqai_lstm.model.ridge import (
    FOLDS,
    MOST_COLUMNS,
    PENALTIES,
    Ridge,
    cautious_factors,
    factors,
    fit_exact,
    fit_ridge,
)


ROWS, WIDTH = 600, 4


def columns_of(rows: int = ROWS, width: int = WIDTH, seed: int = 1) -> NDArray:
    """Seeded columns of deviation 1."""
    return np.random.default_rng(seed).normal(size=(rows, width))


def fit(
    columns: NDArray, labels: NDArray, horizons: list[int], weights: NDArray | None = None
) -> Ridge:
    """Fit on consecutive candles."""
    weights = np.ones(len(columns)) if weights is None else weights
    return fit_ridge(columns, labels, weights, np.arange(len(columns)), horizons)


def noise(rows: int = ROWS, labels: int = 1, seed: int = 2) -> NDArray:
    """Labels that nothing tells."""
    return np.random.default_rng(seed).normal(size=(rows, labels))


def test_linear_labels_are_met() -> None:
    """Kernel and intercept are those that the labels were made with, out of fold too."""
    columns, kernel = columns_of(), np.array([[1, 0], [-2, 1], [0, 0], [0, 3.0]])
    labels = columns @ kernel + [0.5, 0]
    found = fit(columns, labels, [0, 0])
    np.testing.assert_allclose(found.kernel, kernel, atol=5e-3)
    np.testing.assert_allclose(found.bias, [0.5, 0], atol=5e-3)
    np.testing.assert_allclose(found.held_out, labels, atol=0.03)
    assert (found.penalties == PENALTIES[-1]).all()


def test_noise_gets_hardly_a_slope_and_takes_none_from_its_neighbour() -> None:
    """A label of noise has a strong penalty; beside it a linear one keeps what it has alone."""
    columns = columns_of()
    labels = np.hstack([columns @ np.array([[1], [-2], [0], [0.0]]), noise()])
    beside, alone = fit(columns, labels, [0, 0]), fit(columns, labels[:, :1], [0])
    assert np.abs(beside.kernel[:, 1]).max() < 0.05
    np.testing.assert_allclose(beside.kernel[:, 0], alone.kernel[:, 0], rtol=1e-9)
    assert beside.penalties[1] > beside.penalties[0] == alone.penalties[0]


def test_held_out_equals_an_independent_calculation() -> None:
    """scikit-learn's Ridge on the other blocks of time, purged by the horizon, gives the same."""
    columns, horizon = columns_of(300), 5
    labels = columns[:, :1] + noise(300)
    found = fit(columns, labels, [horizon])
    rows = np.arange(300)
    for block in np.array_split(rows, FOLDS):
        others = rows[(rows + horizon < block[0]) | (rows > block[-1] + horizon)]
        fitted = Reference(alpha=found.penalties[0] * len(others))
        fitted.fit(columns[others], labels[others, 0])
        np.testing.assert_allclose(
            found.held_out[block, 0], fitted.predict(columns[block]), atol=1e-8
        )


@pytest.mark.parametrize("horizon", [0, 10])
def test_labels_that_reach_into_a_block_do_not_predict_it(horizon: int) -> None:
    """What happens to labels within the horizon of a block leaves its predictions alone."""
    columns = columns_of()
    labels = columns[:, :1] + noise()
    before = fit(columns, labels, [horizon])
    block = np.array_split(np.arange(ROWS), FOLDS)[2]
    near = np.arange(block[0] - horizon, block[-1] + 1 + horizon)
    labels[near] += 1e-6 * noise(len(near))  # too little to choose another penalty
    after = fit(columns, labels, [horizon])
    np.testing.assert_allclose(after.held_out[block], before.held_out[block], rtol=0, atol=1e-12)
    assert (after.held_out != before.held_out).any()


def test_a_gap_in_time_is_measured_in_candles() -> None:
    """Rows are purged by their candle, not by their place among the rows."""
    columns, numbers = columns_of(100), np.arange(100) * 50
    labels = columns[:, :1] + noise(100)
    apart = fit_ridge(columns, labels, np.ones(100), numbers, [20])
    free = fit_ridge(columns, labels, np.ones(100), numbers, [0])
    np.testing.assert_array_equal(apart.held_out, free.held_out)


def test_labels_of_other_weights_are_fitted_as_if_alone() -> None:
    """Each has the solution of its own weights; the factor of least squares has them too."""
    columns = columns_of()
    labels = columns[:, :1] * [1, 2, -1] + noise(labels=3)
    weights = np.ones((ROWS, 3))
    weights[:, 1] = np.random.default_rng(4).uniform(0.1, 2, ROWS)
    found = fit(columns, labels, [0, 0, 0], weights)
    said = factors(labels, found.held_out, weights, [0, 0, 0])
    for label in range(3):
        one = slice(label, label + 1)
        alone = fit(columns, labels[:, one], [0], weights[:, label])
        np.testing.assert_allclose(found.kernel[:, one], alone.kernel, atol=1e-12)
        np.testing.assert_allclose(found.held_out[:, one], alone.held_out, atol=1e-12)
        told = factors(labels[:, one], alone.held_out, weights[:, label], [0])
        np.testing.assert_allclose([value[label] for value in said], np.ravel(told))
    even = fit(columns, labels, [0, 0, 0])
    assert not np.allclose(found.kernel[:, 1], even.kernel[:, 1])


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_a_missing_label_costs_only_itself(share: float) -> None:
    """The rows that have it teach it; another label is fitted as if nothing were missing."""
    columns = columns_of()
    labels = np.hstack([columns[:, :1], columns[:, 1:2]]) + 0.1 * noise(labels=2)
    missing = labels.copy()
    missing[np.random.default_rng(3).random(ROWS) < share, 0] = np.nan
    whole, found = fit(columns, labels, [0, 0]), fit(columns, missing, [0, 0])
    np.testing.assert_allclose(found.kernel[:, 1], whole.kernel[:, 1], atol=1e-9)
    np.testing.assert_allclose(found.kernel[:, 0], whole.kernel[:, 0], atol=0.02)
    assert np.isfinite(found.held_out).all(), "rows without a label are predicted too"
    never = fit(columns, np.full((ROWS, 1), np.nan), [0])
    assert not never.kernel.any()
    assert np.isnan(never.held_out).all()


def test_weights() -> None:
    """Rows of weight 0 teach nothing; without any weight there is an error."""
    columns, labels = columns_of(), np.zeros((ROWS, 1))
    labels[::2] = columns[::2, :1]
    weights = (np.arange(ROWS) % 2 == 0).astype(float)
    found = fit(columns, labels, [0], weights)
    assert found.kernel[0, 0] == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="weight above 0"):
        fit(columns, labels, [0], np.zeros(ROWS))


def test_thousands_of_columns_are_quick() -> None:
    """More than a thousand columns are compressed; what carries the label survives."""
    rng = np.random.default_rng(4)
    factors = rng.normal(size=(1000, 20))
    columns = factors @ rng.normal(size=(20, 3 * MOST_COLUMNS)) / 5
    columns += 0.1 * rng.normal(size=columns.shape)
    labels = factors[:, :2] + 0.1 * noise(1000, 2)
    started = time.perf_counter()
    found = fit(columns, labels, [3, 0])
    assert time.perf_counter() - started < 60
    assert found.kernel.shape == (3 * MOST_COLUMNS, 2)
    left = labels - columns @ found.kernel - found.bias
    assert np.square(left).mean() < 0.05
    assert not fit_exact(columns, labels)[2].any()


def test_exact_labels_are_found() -> None:
    """Labels that are linear in the columns, also where some are missing, and no others."""
    columns = columns_of() * [1, 100, 0.01, 1]
    labels = np.column_stack(
        [columns @ [3.0, 0.5, 20, 0], columns[:, 0] ** 2, columns[:, 3] + 0.05 * noise()[:, 0]]
    )
    labels[::9, 0] = np.nan
    kernel, bias, exact = fit_exact(columns, labels)
    assert exact.tolist() == [True, False, False]
    np.testing.assert_allclose(
        (columns @ kernel + bias)[:, 0], columns @ [3, 0.5, 20, 0], atol=1e-4
    )
    assert not fit_exact(columns[:5], labels[:5])[2].any(), "as many rows as columns"


@pytest.mark.parametrize(("size", "least", "most"), [(0, 0, 0.15), (0.2, 0.2, 1), (3, 0.95, 1)])
def test_cautious_factors(size: float, least: float, most: float) -> None:
    """Much of a prediction that is good, little of one that luck alone made, none of no rows."""
    predicted = noise(3000)
    actual = size * predicted + noise(3000, seed=3)
    predicted *= max(size, 0.2)
    (found,) = cautious_factors(actual, predicted, np.ones(3000), [0])
    assert least <= found <= most
    assert cautious_factors(actual * np.nan, predicted, np.ones(3000), [0]).tolist() == [0]
    assert cautious_factors(actual, -predicted, np.ones(3000), [0]).tolist() == [0] or size == 0


def test_overlapping_labels_make_shares_more_cautious() -> None:
    """A slow label and a slow prediction agree by luck; blocks as long as the horizon know that."""
    rng = np.random.default_rng(6)
    slow = [np.convolve(rng.normal(size=2000 + 99), np.ones(100) / 10, "valid") for _ in range(40)]
    pairs = [(a[:, None], b[:, None]) for a, b in zip(slow[::2], slow[1::2], strict=True)]
    told = [cautious_factors(a, b, np.ones(2000), [100])[0] for a, b in pairs]
    naive = [cautious_factors(a, b, np.ones(2000), [0])[0] for a, b in pairs]
    assert np.mean(told) < np.mean(naive) < 0.3


def test_nothing_can_be_held_out_of_a_horizon_as_long_as_the_rows() -> None:
    """Every label reaches into every block: no regression has shown anything, the mean stands."""
    columns = np.random.default_rng(3).normal(size=(300, 2))
    ridge = fit_ridge(columns, columns[:, :1] + 1, np.ones(300), np.arange(300), [300])
    assert ridge.penalties.tolist() == [np.inf]
    np.testing.assert_allclose(ridge.kernel, 0)
    np.testing.assert_allclose(ridge.held_out, ridge.bias[0])
