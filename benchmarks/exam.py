"""A range of days in one market, and a walk-forward backtest of it with the shipped plugins."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.places import CANDLES, PAIRS, ROOT, run_options
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import load_newest_backtest, run_freqtrade
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, SHIPPED


SPOT_PAIRS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


@dataclass(frozen=True)
class Exam:
    """A market and a range of days to backtest: from `start` to `end`, UTC, the end excluded."""

    market: str  # futures or spot
    start: datetime
    end: datetime
    pairs: tuple[str, ...] = PAIRS
    datadir: Path = CANDLES

    @property
    def timerange(self) -> str:
        """For freqtrade's `--timerange`."""
        return f"{self.start:%Y%m%d}-{self.end:%Y%m%d}"


def run_exam(
    exam: Exam,
    folder: Path,
    settings: dict[str, Any],
    *options: str,
    strategy: str = "ScoreStrategy",
    model: str = "LSTMRegressor",
    model_path: Path = MODEL_FILE.parent,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run `freqtrade backtesting`; predictions of an earlier run in the folder are used again.

    :param folder: of the benchmark's own.
    :param settings: laid over the example configuration.
    :param options: further ones of the command.
    :return: freqtrade's statistics; the trades, a row each.
    :raises FreqtradeFailed: the command or a training failed.
    """
    userdir = folder / "user_data"
    shutil.rmtree(userdir / "backtest_results", ignore_errors=True)
    userdir.mkdir(parents=True, exist_ok=True)
    second = folder / "settings.json"
    own = {"exchange": {"pair_whitelist": list(exam.pairs)}}
    second.write_text(json.dumps(own | settings, indent=2), encoding="utf-8")
    configs = [EXAMPLE_CONFIG]
    if exam.market == "spot":
        configs.append(SHIPPED / "config.spot.json")
    with LoopbackExchange(exam.datadir, trading_mode=exam.market) as exchange:
        configs += [exchange.write_config(folder / "endpoints.json"), second]
        named = run_options(
            configs,
            userdir,
            exam.datadir,
            exam.timerange,
            strategy=strategy,
            model=model,
            model_path=model_path,
        )
        run_freqtrade(["backtesting", *named, "--cache", "none", *options], cwd=ROOT)
    return load_newest_backtest(userdir, strategy)
