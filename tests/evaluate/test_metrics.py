"""Figures of predictions that are known: perfect, flipped, flat, late, too bold."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from freqai_lstm.evaluate.metrics import calibration, measure, r_squared


def series(candles: int = 2_000, seed: int = 1) -> np.ndarray:
    """A series like T: zero on most candles, heavy tails elsewhere, some memory."""
    rng = np.random.default_rng(seed)
    moved = np.repeat(rng.random(candles // 4) < 0.15, 4)
    shared = np.repeat(rng.normal(size=candles // 4), 4)
    return np.where(moved, rng.standard_t(4, candles) + shared, 0)


@pytest.fixture
def t() -> np.ndarray:
    """Realised values."""
    return series()


def test_perfect_predictions(t: np.ndarray) -> None:
    """Every figure is at its best, the error zero and the calibration slope one."""
    found = measure(t, t)
    for name in ("r2", "correlation", "rank_correlation", "slope"):
        assert found[name] == pytest.approx(1), name
    assert found["rmse"] == 0
    assert found["candles"] == len(t)


def test_sign_flipped_predictions(t: np.ndarray) -> None:
    """Correlations and slope are -1, R² is 1 - 4·Σy²/Σ(y-mean)²."""
    found = measure(t, -t)
    for name in ("correlation", "rank_correlation", "slope"):
        assert found[name] == pytest.approx(-1), name
    assert found["r2"] == pytest.approx(1 - 4 * np.sum(t**2) / np.sum((t - t.mean()) ** 2))


@pytest.mark.parametrize("constant", [0.0, 0.3, -5.0])
def test_constant_predictions(t: np.ndarray, constant: float) -> None:
    """R² is not above zero, correlations and slope are undefined and nothing fails."""
    found = measure(t, np.full(len(t), constant))
    assert found["r2"] <= 0
    assert all(np.isnan(found[name]) for name in ("correlation", "rank_correlation", "slope"))


def test_figures_equal_an_independent_calculation(t: np.ndarray) -> None:
    """Late and too bold predictions: as by hand, by scipy and by pandas."""
    late = 2 * t[:-1]
    found = measure(t[1:], late)
    assert found["correlation"] == pytest.approx(pearsonr(t[1:], late)[0])
    ranks = pd.Series(late).corr(pd.Series(t[1:]), method="spearman")
    assert found["rank_correlation"] == pytest.approx(ranks)
    assert found["slope"] == pytest.approx(np.polyfit(late, t[1:], 1)[0])
    assert found["rmse"] == pytest.approx(np.sqrt(((t[1:] - late) ** 2).mean()))
    residual = ((t[1:] - late) ** 2).sum() / ((t[1:] - t[1:].mean()) ** 2).sum()
    assert found["r2"] == pytest.approx(1 - residual)


def test_nothing_to_measure() -> None:
    """No candles, and labels that do not vary, give no figures."""
    empty = np.empty(0)
    assert all(np.isnan(v) for k, v in measure(empty, empty).items() if k != "candles")
    assert np.isnan(r_squared(np.ones((5, 2)), np.zeros((5, 2))))


def test_calibration_bins_lie_on_the_line_of_perfect_predictions(t: np.ndarray) -> None:
    """Every bin's mean is its mean prediction, no candle is lost, and both tails have bins."""
    bins = calibration(t, t)
    np.testing.assert_allclose(bins["realised"], bins["predicted"])
    assert bins["candles"].sum() == len(t)
    assert bins["predicted"].is_monotonic_increasing
    assert len(bins) > 5
