"""What is particular to ScoreStrategy: entries beyond thresholds, on comparable candles."""

import numpy as np
import pandas as pd
import pytest
from test_metrics import series

from freqai_lstm.evaluate.scores import compare, entry_figures


def test_entries_are_counted_in_label_stds() -> None:
    """Precision and recall counted by hand: threshold 0.5, label standard deviation 2."""
    t = np.array([2.0, 2.0, -2.0, 0.0, 0.9, 2.0])
    t_hat = np.array([2.0, 0.5, 2.0, 2.0, 0.9, 2.0])
    rows = pd.DataFrame({"T": t, "model": t_hat, "scale": 2.0, "valid": True})
    found = compare(rows, ["model"], threshold=0.5)["model"]
    assert found["signals"] == 4
    assert found["precision"] == pytest.approx(2 / 4)
    assert found["recall"] == pytest.approx(2 / 4)
    assert found["sign_accuracy"] == pytest.approx(4 / 5)
    assert found["nonzero"] == pytest.approx(5 / 6)


def test_perfect_and_flipped_signals() -> None:
    """T̂ = T: all signs and entries right; T̂ = -T: none."""
    t = series()
    best, worst = entry_figures(t, t, 0.5), entry_figures(t, -t, 0.5)
    for name in ("sign_accuracy", "precision", "recall"):
        assert best[name] == 1, name
        assert worst[name] == 0, name
    assert best["signals"] == int((np.abs(t) > 0.5).sum())


def test_without_a_label_std_there_is_no_signal() -> None:
    """As in the strategy, nothing compares greater than a missing threshold."""
    rows = pd.DataFrame({"T": [1.0, 2.0], "model": [1.0, 2.0], "scale": np.nan, "valid": True})
    found = compare(rows, ["model"], 0.5)["model"]
    assert found["signals"] == 0
    assert found["r2"] == 1


def test_only_candles_that_all_can_be_measured_on_count() -> None:
    """Invalid predictions and missing scores are left out, for every predictor the same."""
    t = series()
    known = {"T": t, "model": t.copy(), "scale": 0.5, "valid": True, "persistence": np.roll(t, 1)}
    rows = pd.DataFrame(known)
    rows.loc[:99, "valid"] = False
    rows.loc[:99, "model"] = 1e9
    rows.loc[200:249, "T"] = np.nan
    rows.loc[300:309, "persistence"] = np.nan
    found = compare(rows, ["model", "persistence", "ridge"], 0.5)
    assert found["predicted"] == pytest.approx(1 - 100 / len(t))
    assert found["model"]["candles"] == found["persistence"]["candles"] == len(t) - 160
    assert found["model"]["r2"] == 1
    assert "ridge" not in found
