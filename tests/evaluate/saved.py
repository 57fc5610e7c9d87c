"""Predictions saved as FreqAI saves them, whose figures are known, and the command on them."""

import json
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer

from freqai_lstm.evaluate.command import evaluate
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE, load_plugin


PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
STAMPS = [int(datetime(2024, 4, day, tzinfo=UTC).timestamp()) for day in (11, 21)]
FEE = 0.0005
QUICK: dict[str, Any] = {"baselines": False}


def labels_of(module: ModuleType, candles: pd.DataFrame) -> pd.DataFrame:
    """The nine labels of the same candle."""
    return module.targets(candles, 0)


def noisy(size: float, seed: int, rows: pd.DataFrame) -> pd.DataFrame:
    """The labels plus noise of so many standard deviations, with interval."""
    rows, labels = rows.copy(), [name for name in rows if f"{name}_std" in rows]
    rng = np.random.default_rng(seed)
    for name in labels:
        noise = size * rows[f"{name}_std"]
        rows[name] += noise * rng.normal(size=len(rows))
        rows[f"{name}_lower"] = rows[name] - 1.28 * noise
        rows[f"{name}_upper"] = rows[name] + 1.28 * noise
    return rows


def market(factory: pytest.TempPathFactory) -> Path:
    """A data folder with a generated market of two pairs, the same for all tests."""
    datadir = factory.getbasetemp() / "market-of-two"
    if not datadir.exists():
        generate_market(datadir, PAIRS, start=START, end=END)
    return datadir


class User:
    """A user folder with the plugin files, and a configuration on top of config.example.json."""

    def __init__(self, folder: Path, datadir: Path) -> None:
        self.folder, self.datadir = folder, datadir
        for plugin in (MODEL_FILE, STRATEGY_FILE):
            target = self.userdir / plugin.parent.name
            target.mkdir(parents=True)
            shutil.copy(plugin, target)
        self.configure()

    def configure(self, **features: Any) -> None:
        """Write the second configuration, with changed `feature_parameters`."""
        wanted = {"label_period_candles": 0, "include_timeframes": ["1h"], **features}
        settings = {
            "exchange": {"pair_whitelist": list(PAIRS)},
            "freqai": {
                "identifier": "known",
                "train_period_days": 20,
                "backtest_period_days": 10,
                "feature_parameters": wanted,
            },
        }
        (self.folder / "second.json").write_text(json.dumps(settings))

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    def predictions(self, identifier: str = "known") -> Path:
        return self.userdir / "models" / identifier / "backtesting_predictions"

    def candles(self, pair: str) -> pd.DataFrame:
        coin = pair.split("/")[0]
        return pd.read_feather(self.datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")

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
        identifier: str = "known",
    ) -> None:
        """Save the realised labels, changed by `change`, as predictions of two windows."""
        module, folder = load_plugin(STRATEGY_FILE), self.predictions(identifier)
        folder.mkdir(parents=True, exist_ok=True)
        for pair in PAIRS:
            coin, stored = pair.split("/")[0], self.candles(pair)
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
                window.to_feather(folder / f"cb_{coin.lower()}_{stamp}_prediction.feather")

    def trade(
        self, pair: str, opened: str, hours: int, *, short: bool = False, funding: float = 0.0
    ) -> dict[str, Any]:
        """A trade of 1,000 USDT at the candles' opens, as freqtrade writes it.

        :param opened: when its first order was filled, perhaps within a candle.
        """
        opens = self.candles(pair).set_index("date")["open"]
        first = pd.Timestamp(opened, tz="UTC")
        last = first + pd.Timedelta(hours=hours)
        begin, end = (float(opens[:when].iloc[-1]) for when in (first, last))
        amount = 1_000 / begin
        sides = [("sell", "buy"), ("buy", "sell")][not short]
        orders = [
            {
                "amount": amount,
                "safe_price": price,
                "ft_order_side": side,
                "order_filled_timestamp": int(when.timestamp() * 1_000),
                "ft_is_entry": when == first,
            }
            for when, side, price in zip((first, last), sides, (begin, end), strict=True)
        ]
        gain = amount * (end - begin) * (-1 if short else 1)
        profit = gain - FEE * amount * (begin + end) + funding
        return {
            "pair": pair,
            "open_date": str(first),
            "close_date": str(last),
            "fee_open": FEE,
            "fee_close": FEE,
            "is_short": short,
            "enter_tag": "",
            "stake_amount": 1_000,
            "profit_abs": profit,
            "profit_ratio": profit / 1_000,
            "funding_fees": funding,
            "orders": orders,
        }

    def save_result(
        self, trades: list[dict[str, Any]], name: str = "2024-05-01_00-00-00", **changed: Any
    ) -> Path:
        """Save a backtest result of April 11 to 30 as freqtrade does.

        :param changed: statistics that differ.
        """
        statistics = {
            "trades": trades,
            "strategy_name": "ScoreStrategy",
            "freqai_identifier": "known",
            "timeframe": "1h",
            "starting_balance": 10_000,
            "pairlist": list(PAIRS),
            "backtest_start_ts": STAMPS[0] * 1_000,
            "backtest_end_ts": int(datetime(2024, 4, 30, 23, tzinfo=UTC).timestamp()) * 1_000,
            **changed,
        }
        folder = self.userdir / "backtest_results"
        folder.mkdir(exist_ok=True)
        file, strategy = folder / f"backtest-result-{name}.zip", statistics["strategy_name"]
        made = datetime.strptime(name, "%Y-%m-%d_%H-%M-%S").replace(tzinfo=UTC).timestamp()
        about = {strategy: {"run_id": name, "backtest_start_time": int(made)}}
        file.with_suffix(".meta.json").write_text(json.dumps(about))
        with zipfile.ZipFile(file, "w") as archive:
            text = json.dumps({"strategy": {strategy: statistics}, "metadata": {}})
            archive.writestr(f"{file.stem}.json", text)
        return file

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
