"""A user's folder for the tests of tuning: plugin files, one generated pair, the smallest model."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conftest import ROOT

from freqai_lstm.market import generate_market


PAIR = "BTC/USDT:USDT"
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 10, tzinfo=UTC)


class TuneUser:
    """Folder, candles and configurations of a search of seconds per trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for plugin in ("freqaimodels/LSTMRegressor.py", "strategies/ScoreStrategy.py"):
            target = self.userdir / plugin
            target.parent.mkdir(parents=True)
            shutil.copy(ROOT / "user_data" / plugin, target)
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

    def arguments(self) -> list[str]:
        """Options for two windows of three days, the second held out, and two parameters."""
        options: list[Any] = ["-c", ROOT / "config.example.json", "-c", self.folder / "second.json"]
        options += ["--userdir", self.userdir, "--datadir", self.datadir, "--loopback"]
        options += ["--timerange", "20240404-20240410", "--holdout-days", "3"]
        options += ["--space", "learning_rate", "--ranges", self.folder / "ranges.json"]
        options += ["--output", self.output]
        return [str(option) for option in options]
