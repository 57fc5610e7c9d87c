"""A user's folder for the tests of tuning: plugin files, one generated pair, the smallest model."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE


PAIR = "BTC/USDT:USDT"
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 10, tzinfo=UTC)


STRATEGY = """
from freqtrade.strategy import IStrategy


class TwoLabels(IStrategy):
    timeframe = "1h"
    minimal_roi = {"0": 1}
    stoploss = -0.5
    startup_candle_count = 20

    def feature_engineering_expand_all(self, dataframe, period, metadata, **kwargs):
        dataframe["%-mean-period"] = dataframe["close"].pct_change(period)
        return dataframe

    def feature_engineering_standard(self, dataframe, metadata, **kwargs):
        dataframe["%-range"] = dataframe["high"] / dataframe["low"] - 1
        dataframe["%-change"] = dataframe["close"].pct_change()
        return dataframe

    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        dataframe["&-range"] = (dataframe["high"] / dataframe["low"] - 1).shift(-1)
        dataframe["&-change"] = dataframe["close"].pct_change().shift(-1)
        return dataframe

    def populate_indicators(self, dataframe, metadata):
        return self.freqai.start(dataframe, metadata, self)

    def populate_entry_trend(self, dataframe, metadata):
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
"""


class TuneUser:
    """Folder, candles and configurations of a search of seconds per trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for plugin in (MODEL_FILE, STRATEGY_FILE):
            target = self.userdir / plugin.parent.name / plugin.name
            target.parent.mkdir(parents=True)
            shutil.copy(plugin, target)
        generate_market(self.datadir, (PAIR,), start=START, end=END)
        small = {"num_lstm_layers": 1, "units": 4, "epochs": 2, "learning_rate": 0.002}
        self.write(
            "second.json",
            {
                "exchange": {"pair_whitelist": [PAIR]},
                "max_open_trades": 1,
                "freqai": {
                    "identifier": "tiny",
                    "train_period_days": 10,
                    "backtest_period_days": 3,
                    "conv_width": 4,
                    "model_training_parameters": small,
                    "feature_parameters": {
                        "include_timeframes": ["1h"],
                        "include_corr_pairlist": [],
                        "indicator_periods_candles": [10],
                        "label_period_candles": 0,
                    },
                },
            },
        )
        self.write("ranges.json", {"units": {"low": 4, "high": 8}})

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    @property
    def datadir(self) -> Path:
        return self.folder / "data"

    @property
    def output(self) -> Path:
        return self.folder / "tuning"

    def write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path

    def write_strategy(self) -> None:
        """Add a strategy without a score: two labels, three features."""
        (self.userdir / "strategies" / "TwoLabels.py").write_text(STRATEGY)

    def arguments(self) -> list[str]:
        """Options for two windows of three days, the second held out, and two parameters."""
        options: list[Any] = ["-c", EXAMPLE_CONFIG, "-c", self.folder / "second.json"]
        options += ["--userdir", self.userdir, "--datadir", self.datadir, "--loopback"]
        options += ["--timerange", "20240404-20240410", "--holdout-days", "3"]
        options += ["--space", "learning_rate", "--ranges", self.folder / "ranges.json"]
        options += ["--output", self.output]
        return [str(option) for option in options]
