"""Backtest ScoreStrategy on the shared candles, and read what was predicted and traded."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.misc import deep_merge_dicts

from benchmarks.places import ROOT, run_options
from benchmarks.range.backtests import Exam
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import load_newest_backtest, run_freqtrade
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, SHIPPED


@dataclass(frozen=True)
class Backtest:
    """What a backtest left behind.

    `statistics` are freqtrade's; `trades` has a row per trade; `predictions` by pair what FreqAI
    saved for every candle: date, the labels, `do_predict`.
    """

    statistics: dict[str, Any]
    trades: pd.DataFrame
    predictions: dict[str, pd.DataFrame]


def backtest(
    exam: Exam,
    folder: Path,
    freqai: dict[str, Any],
    *,
    model: str = "LSTMRegressor",
    model_path: Path = MODEL_FILE.parent,
) -> Backtest:
    """Run `freqtrade backtesting`; predictions of an earlier run in the folder are used again.

    :param folder: of the benchmark's own.
    :param freqai: laid over the `freqai` block of the example configuration.
    :raises FreqtradeFailed: the command or a training failed.
    """
    userdir = folder / "user_data"
    shutil.rmtree(userdir / "backtest_results", ignore_errors=True)
    userdir.mkdir(parents=True, exist_ok=True)
    identifier = f"{exam.market}-{model}"
    plain = {
        "identifier": identifier,
        "activate_tensorboard": False,
        "feature_parameters": {"include_corr_pairlist": list(exam.pairs[:2])},
    }
    settings = {
        "exchange": {"pair_whitelist": list(exam.pairs)},
        "freqai": deep_merge_dicts(freqai, plain),
    }
    second = folder / "settings.json"
    second.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    configs = [EXAMPLE_CONFIG]
    if exam.market == "spot":
        configs.append(SHIPPED / "config.spot.json")
    with LoopbackExchange(exam.datadir, trading_mode=exam.market) as exchange:
        configs += [exchange.write_config(folder / "endpoints.json"), second]
        options = run_options(
            configs, userdir, exam.datadir, exam.timerange, model=model, model_path=model_path
        )
        run_freqtrade(["backtesting", *options, "--cache", "none"], cwd=ROOT)
    statistics, trades = load_newest_backtest(userdir, "ScoreStrategy")
    saved = userdir / "models" / identifier / "backtesting_predictions"
    predictions = {
        pair: pd.concat(
            map(pd.read_feather, sorted(saved.glob(f"cb_{pair.split('/')[0].lower()}_*.feather"))),
            ignore_index=True,
        )
        for pair in exam.pairs
    }
    return Backtest(statistics, trades, predictions)
