"""The figures of `watch` by their definitions, from FreqAI's files and the strategy's formulas."""

from typing import Any

import pandas as pd
import pytest

from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


def assert_figures(
    report: dict[str, Any],
    span: str,
    pair: str,
    history: pd.DataFrame,
    candles: pd.DataFrame,
    ahead: int,
) -> int:
    """Compare a pair's figures of ScoreStrategy's labels; returns how many labels are known.

    :param history: rows of `historic_predictions.pkl` in the span.
    :param candles: stored candles, the last one closed.
    :param ahead: `label_period_candles`.
    """
    rows = history[history["do_predict"] == 1].set_index("date_pred")
    truth = load_plugin(STRATEGY_FILE).targets(candles, ahead).set_axis(candles["date"])
    known = 0
    for label in truth:
        y = truth[label].reindex(rows.index)
        there = y.notna() & truth[label].shift(max(ahead, 1)).reindex(rows.index).notna()
        of, y = rows[there], y[there]
        p, low, high = (of[f"{label}{end}"] for end in ("", "_lower", "_upper"))
        unit = of[f"{label}_std"]
        below, above = (low - y).clip(lower=0), (y - high).clip(lower=0)
        total = ((y - y.mean()) ** 2).sum()
        expected = {
            "r2": 1 - ((y - p) ** 2).sum() / total if total else None,
            "rank_correlation": y.rank().corr(p.rank()) if total and p.max() > p.min() else None,
            "bias": (p - y).mean() / unit.mean(),
            "coverage": ((y >= low) & (y <= high)).mean(),
            "width": ((high - low) / unit).mean(),
            "interval_score": ((high - low + 10 * (below + above)) / unit).mean(),
        }
        found = report["spans"][span][label][pair]
        assert found["candles"] == len(of)
        for figure, value in expected.items():
            shown = found[figure]["value"]
            same = shown is None if value is None else shown == pytest.approx(value, rel=1e-6)
            assert same, (label, figure, shown, value)
        known = len(of)
    return known
