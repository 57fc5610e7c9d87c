"""A user's folder for the end-to-end tests: plugin files, generated candles, an exchange."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeRun, load_newest_backtest, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE


PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
TIMERANGE = "20240512-20240601"  # two windows of ten days
SMALL = {"units": 8, "epochs": 3}


@dataclass
class Workshop:
    """A user's folder with the two plugin files, candles, and an exchange that serves them."""

    folder: Path
    exchange: LoopbackExchange
    datadir: Path

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    def models(self, identifier: str) -> Path:
        return self.userdir / "models" / identifier

    def run(
        self,
        *extra: str,
        command: str = "backtesting",
        check: bool = True,
        root: dict[str, Any] | None = None,
        **freqai: Any,
    ) -> FreqtradeRun:
        """Run freqtrade with config.example.json and a small second file; keywords go to freqai."""
        settings: dict[str, Any] = {
            "exchange": {"pair_whitelist": list(PAIRS)},
            "max_open_trades": 2,
            **(root or {}),
            "freqai": {
                "train_period_days": 40,
                "backtest_period_days": 10,
                "conv_width": 12,
                "model_training_parameters": SMALL,
                **freqai,
                "feature_parameters": {
                    "include_corr_pairlist": ["BTC/USDT:USDT"],
                    "label_period_candles": 0,
                    **freqai.get("feature_parameters", {}),
                },
            },
        }
        second = self.folder / "second.json"
        second.write_text(json.dumps(settings))
        endpoints = self.exchange.write_config(self.folder / "endpoints.json")
        args = [command, "-c", EXAMPLE_CONFIG, "-c", endpoints, "-c", second]
        args += ["--userdir", self.userdir, "--datadir", self.datadir]
        args += ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy", *extra]
        if "--timerange" not in extra:
            args += ["--timerange", TIMERANGE]
        if command == "backtesting":
            args += ["--cache", "none"]
        return run_freqtrade([str(arg) for arg in args], cwd=self.folder, timeout=900, check=check)

    def trades(self) -> pd.DataFrame:
        """What identifies the trades of the newest backtest."""
        _, trades = load_newest_backtest(self.userdir, "ScoreStrategy")
        return trades[["pair", "open_date", "close_date", "is_short", "open_rate", "profit_abs"]]

    def predictions(self, identifier: str, coin: str) -> pd.DataFrame:
        folder = self.models(identifier) / "backtesting_predictions"
        files = sorted(folder.glob(f"cb_{coin.lower()}_*_prediction.feather"))
        assert files, f"no predictions of {coin} in {folder}"
        return pd.concat(map(pd.read_feather, files), ignore_index=True)


@contextmanager
def open_workshop(folder: Path, start: datetime = START) -> Iterator[Workshop]:
    """Set one up in an empty folder, with a market of two pairs and a running exchange."""
    for plugin in (MODEL_FILE, STRATEGY_FILE):
        target = folder / "user_data" / plugin.parent.name
        target.mkdir(parents=True)
        shutil.copy(plugin, target)
    generate_market(folder / "data", PAIRS, start=start, end=END)
    with LoopbackExchange(folder / "data") as exchange:
        yield Workshop(folder, exchange, folder / "data")
