"""Predictions saved as FreqAI saves them, whose figures are known, and the command on them."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import typer

from freqai_lstm.evaluate.command import evaluate
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE, load_plugin


PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
STAMPS = [int(datetime(2024, 4, day, tzinfo=UTC).timestamp()) for day in (11, 21)]
QUICK = {"baselines": False}


def labels_of(module: ModuleType, candles: pd.DataFrame) -> pd.DataFrame:
    """The nine labels of the same candle."""
    return module.targets(candles, 0)


class User:
    """A user folder with the plugin files, and a configuration on top of config.example.json."""

    def __init__(self, folder: Path, datadir: Path) -> None:
        self.folder, self.datadir = folder, datadir
        for plugin in (MODEL_FILE, STRATEGY_FILE):
            target = self.userdir / plugin.parent.name
            target.mkdir(parents=True)
            shutil.copy(plugin, target)
        settings = {
            "exchange": {"pair_whitelist": list(PAIRS)},
            "freqai": {
                "identifier": "known",
                "train_period_days": 20,
                "backtest_period_days": 10,
                "feature_parameters": {"label_period_candles": 0, "include_timeframes": ["1h"]},
            },
        }
        (folder / "second.json").write_text(json.dumps(settings))

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    @property
    def predictions(self) -> Path:
        return self.userdir / "models" / "known" / "backtesting_predictions"

    @property
    def arguments(self) -> dict[str, Any]:
        """freqtrade's argument names."""
        configs = [str(EXAMPLE_CONFIG), str(self.folder / "second.json")]
        found = {"config": configs, "user_data_dir": str(self.userdir)}
        return found | {"datadir": str(self.datadir), "strategy": "ScoreStrategy"}

    def save(
        self,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
        make: Callable[[ModuleType, pd.DataFrame], pd.DataFrame] = labels_of,
    ) -> None:
        """Save the realised labels, changed by `change`, as predictions of two windows."""
        module = load_plugin(STRATEGY_FILE)
        self.predictions.mkdir(parents=True, exist_ok=True)
        for pair in PAIRS:
            coin = pair.split("/")[0]
            stored = pd.read_feather(self.datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
            labels = make(module, stored)
            moments = {
                f"{name}_{what}": value
                for name in labels
                for what, value in (("mean", labels[name].mean()), ("std", np.nanstd(labels[name])))
            }
            rows = labels.assign(**moments, do_predict=1, date=stored["date"])
            for stamp in STAMPS:
                first = int((rows["date"] < pd.Timestamp(stamp, unit="s", tz="UTC")).sum())
                window = change(rows).iloc[first : first + 240].reset_index(drop=True)
                window.to_feather(
                    self.predictions / f"cb_{coin.lower()}_{stamp}_prediction.feather"
                )

    def evaluate(self, **options: Any) -> int:
        """Run the command with QUICK unless told otherwise; returns its exit code."""
        configs = [EXAMPLE_CONFIG, self.folder / "second.json"]
        folders = {"userdir": self.userdir, "datadir": self.datadir, "output": self.folder / "out"}
        try:
            evaluate(config=configs, **{**QUICK, **folders, **options})
        except typer.Exit as ended:
            return ended.exit_code
        return 0

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "out" / "evaluation.json").read_text())
