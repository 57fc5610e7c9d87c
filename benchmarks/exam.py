"""A range of days to backtest, and a walk-forward backtest of it: what all benchmarks share."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from freqtrade.configuration.load_config import load_from_files
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from freqtrade.exceptions import FreqtradeException
from freqtrade.misc import deep_merge_dicts

from benchmarks.places import CANDLES, PAIRS, ROOT, run_options
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import (
    FreqtradeFailed,
    FreqtradeRun,
    load_newest_backtest,
    run_freqtrade,
)
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, SHIPPED


class BenchmarkFailed(RuntimeError):
    """A benchmark cannot go on; the message says what was expected, what was got, what to do."""


@contextmanager
def failures_in_words() -> Iterator[None]:
    """End a command line with one message and exit code 1, and keep freqtrade's log to errors."""
    logging.disable(logging.WARNING)
    try:
        yield
    except (BenchmarkFailed, FreqtradeFailed, FreqtradeException) as error:
        typer.secho(f"The benchmark failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


@dataclass(frozen=True)
class Exam:
    """A range of candles to predict, UTC, and how the training walks through it.

    :param stop: end of the range (exclusive).
    :param window_days: `backtest_period_days`.
    :param train_days: `train_period_days`.
    :param market: futures or spot.
    """

    name: str
    start: datetime
    stop: datetime
    window_days: int = 30
    train_days: int = 150
    pairs: tuple[str, ...] = PAIRS
    datadir: Path = CANDLES
    market: str = "futures"

    @property
    def timerange(self) -> str:
        """For freqtrade's `--timerange`."""
        return f"{self.start:%Y%m%d}-{self.stop:%Y%m%d}"

    def candles(self, pair: str, timeframe: str = "1h") -> pd.DataFrame:
        """Candles of a pair, all that the folder has."""
        kind = CandleType(self.market)
        return load_pair_history(
            pair, timeframe, self.datadir, data_format="feather", candle_type=kind
        )


@dataclass(frozen=True)
class Outcome:
    """What a backtest left behind.

    `statistics` are freqtrade's; `trades` has a row per trade; `predictions` by pair what FreqAI
    saved for every candle: date, the labels, `do_predict`.
    """

    statistics: dict[str, Any]
    trades: pd.DataFrame
    predictions: dict[str, pd.DataFrame]


def settings_of(
    exam: Exam, settings: dict[str, Any], model: str = "LSTMRegressor"
) -> dict[str, Any]:
    """The example configuration for an exam.

    :param settings: laid over it; another model's parameters replace LSTMRegressor's.
    """
    spot = [SHIPPED / "config.spot.json"] if exam.market == "spot" else []
    config = load_from_files([str(file) for file in (EXAMPLE_CONFIG, *spot)])
    del config["config_files"]
    freqai = {
        "identifier": exam.name,
        "train_period_days": exam.train_days,
        "backtest_period_days": exam.window_days,
        "activate_tensorboard": False,
        "feature_parameters": {"include_corr_pairlist": list(exam.pairs[:2])},
    }
    if model != "LSTMRegressor":
        # FreqAI cannot save every model in every form.
        freqai |= {"keras": False, "model_save_type": "joblib", "save_backtest_models": False}
        config["freqai"]["model_training_parameters"] = {}
    own = {"exchange": {"pair_whitelist": list(exam.pairs)}, "freqai": freqai}
    return deep_merge_dicts(settings, deep_merge_dicts(own, config))


def run_exam(
    exam: Exam,
    folder: Path,
    settings: dict[str, Any],
    *options: str,
    strategy: str = "ScoreStrategy",
    model: str = "LSTMRegressor",
    model_path: Path = MODEL_FILE.parent,
) -> tuple[FreqtradeRun, Outcome]:
    """Run `freqtrade backtesting`; predictions of an earlier run in the folder are used again.

    :param folder: of the benchmark's own.
    :param settings: laid over the example configuration, see `settings_of`.
    :param options: further ones of the command.
    :return: the command that ran, and what it left behind.
    :raises FreqtradeFailed: the command or a training failed.
    """
    userdir = folder / "user_data"
    shutil.rmtree(userdir / "backtest_results", ignore_errors=True)
    userdir.mkdir(parents=True, exist_ok=True)
    config = settings_of(exam, settings, model)
    file = folder / "settings.json"
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")
    with LoopbackExchange(exam.datadir, trading_mode=exam.market) as exchange:
        named = run_options(
            [file, exchange.write_config(folder / "endpoints.json")],
            userdir,
            exam.datadir,
            exam.timerange,
            strategy=strategy,
            model=model,
            model_path=model_path,
        )
        run = run_freqtrade(["backtesting", *named, "--cache", "none", *options], cwd=ROOT)
    return run, read_outcome(exam, folder, config["freqai"]["identifier"], strategy)


def read_outcome(exam: Exam, folder: Path, identifier: str, strategy: str) -> Outcome:
    """Read what the last backtest in a folder left behind.

    :param folder: that `run_exam` was given.
    :param identifier: FreqAI's.
    """
    userdir = folder / "user_data"
    saved = userdir / "models" / identifier / "backtesting_predictions"
    files = {
        pair: sorted(saved.glob(f"cb_{pair.split('/')[0].lower()}_*.feather"))
        for pair in exam.pairs
    }
    predictions = {
        pair: pd.concat(map(pd.read_feather, found), ignore_index=True)
        for pair, found in files.items()
        if found
    }
    return Outcome(*load_newest_backtest(userdir, strategy), predictions)
