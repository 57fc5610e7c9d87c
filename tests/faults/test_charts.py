"""Kinds of faults of charts: what a strategy's plot configuration draws in freqtrade's own plot.

A new report is one more case of a test here.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.plot.plotting import generate_candlestick_graph
from freqtrade.resolvers import StrategyResolver
from pandas import DataFrame

from freqai_lstm.plugins import RISK_FILE, STRATEGY_FILE


def drawn(strategy: str) -> tuple[dict[str, Any], Any]:
    """The plot configuration of a shipped strategy, and the figure that freqtrade draws by it."""
    config = {
        "strategy": strategy,
        "strategy_path": str(RISK_FILE.parent),
        "user_data_dir": RISK_FILE.parents[1],
        "freqai": {"enabled": True, "feature_parameters": {"label_period_candles": 6}},
        "timeframe": "1h",
        "stake_currency": "USDT",
        "stake_amount": 1,
        "runmode": "plot",
    }
    plot = StrategyResolver.load_strategy(config).plot_config
    names = {name for part in (plot["main_plot"], *plot["subplots"].values()) for name in part}
    rows = np.random.default_rng(1).normal(100, 1, (50, 4 + len(names)))
    frame = DataFrame(rows, columns=["open", "high", "low", "close", *sorted(names)])
    dates = pd.date_range("2024-01-01", periods=50, freq="h", tz="UTC")
    return plot, generate_candlestick_graph(
        "A/B", frame.assign(date=dates, volume=1.0), None, plot_config=plot
    )


@pytest.mark.parametrize("strategy", [RISK_FILE.stem, STRATEGY_FILE.stem])
def test_limits_are_a_filled_band(strategy: str) -> None:
    """What has an upper and a lower end is drawn as an area between them, in every panel."""
    plot, figure = drawn(strategy)
    bands = [trace.name for trace in figure.data if getattr(trace, "fill", None) == "tonexty"]
    for panel in (plot["main_plot"], *plot["subplots"].values()):
        for upper in (name for name in panel if name.endswith("_upper")):
            lower = f"{upper.removesuffix('_upper')}_lower"
            assert f"{upper}<>{lower}" in bands
            assert lower in panel
    assert bands
