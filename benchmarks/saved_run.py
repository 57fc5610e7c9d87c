"""What the benchmarks start from: a user folder with the saved predictions of a walk-forward run.

FreqAI cuts a timerange into windows from its first day on, and finds a saved prediction by the
day its training ended. A shorter timerange therefore finds the predictions of a longer one only
where both begin and end on borders of the same windows; `Periods` keeps to these.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

from freqtrade.configuration import Configuration
from freqtrade.enums import RunMode
from freqtrade.optimize.hyperopt.hyperopt_optimizer import HyperOptimizer

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeRun, run_freqtrade
from freqai_lstm.market import generate_market


PROJECT = Path(__file__).resolve().parent.parent
CANDLES = PROJECT.parent / "shared" / "candles"
PLUGINS = ("freqaimodels/LSTMRegressor.py", "strategies/ScoreStrategy.py")
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "BNB/USDT:USDT")
LOSS = "SharpeHyperOptLossDaily"
TRAIN_DAYS, WINDOW_DAYS = 90, 30
# A folder holding this file was made by a benchmark, so a benchmark may empty it.
MARKER = ".made-by-benchmarks"


class BenchmarkFailed(RuntimeError):
    """A benchmark cannot go on; the message says what was expected, what was got, what to do."""


@dataclass(frozen=True)
class Periods:
    """Days that cut the run in two: search from `start` to `split`, held out up to `end`."""

    start: datetime
    split: datetime
    end: datetime

    def __post_init__(self) -> None:
        if (self.split - self.start) % timedelta(days=WINDOW_DAYS):
            raise ValueError(
                f"{self.search} must be whole windows of {WINDOW_DAYS} days, else FreqAI finds no "
                "saved predictions and trains anew."
            )

    @property
    def whole(self) -> str:
        return timerange(self.start, self.end)

    @property
    def search(self) -> str:
        return timerange(self.start, self.split)

    @property
    def held_out(self) -> str:
        return timerange(self.split, self.end)


def timerange(start: datetime, end: datetime) -> str:
    """Two days as freqtrade's `--timerange`."""
    return f"{start:%Y%m%d}-{end:%Y%m%d}"


YEAR_2024 = Periods(
    datetime(2024, 3, 10, tzinfo=UTC),
    datetime(2024, 8, 7, tzinfo=UTC),
    datetime(2024, 12, 3, tzinfo=UTC),
)
# Nothing is held out of a generated market: what a search finds there means nothing.
GENERATED = Periods(
    datetime(2024, 3, 10, tzinfo=UTC),
    datetime(2024, 6, 8, tzinfo=UTC),
    datetime(2024, 6, 8, tzinfo=UTC),
)
STARTUP_DAYS = 40  # before the training days: 200 candles of the longest timeframe, 4h


@dataclass
class SavedRun:
    """A user folder with plugins, models and predictions, and the settings that made them."""

    folder: Path
    datadir: Path
    periods: Periods
    configs: list[Path]
    market: str  # what the candles are, in words

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    @property
    def parameters(self) -> Path:
        """What hyperopt exports, and freqtrade applies wherever it lies beside the strategy."""
        return self.userdir / "strategies" / "ScoreStrategy.json"

    def run(
        self,
        command: str,
        days: str,
        *extra: str,
        strategy: str = "ScoreStrategy",
        configs: Sequence[Path] = (),
        echo: bool = False,
    ) -> FreqtradeRun:
        """Run the freqtrade command on the saved predictions.

        :param days: the `--timerange`.
        :param configs: further configuration files.
        :raises FreqtradeFailed: the command failed.
        """
        args = [command]
        args += [part for path in (*self.configs, *configs) for part in ("-c", str(path))]
        args += ["--userdir", str(self.userdir), "--datadir", str(self.datadir)]
        args += ["-s", strategy, "--freqaimodel", "LSTMRegressor", "--timerange", days, *extra]
        if command == "backtesting":
            args += ["--cache", "none"]
        return run_freqtrade(args, cwd=self.folder, echo=echo)

    def epochs(
        self,
        days: str,
        *,
        strategy: str = "ScoreStrategy",
        configs: Sequence[Path] = (),
    ) -> HyperOptimizer:
        """freqtrade's own evaluator of hyperopt epochs (spaces buy and sell), ready to use.

        It is what each worker of `freqtrade hyperopt` runs: `generate_optimizer(params)` is one
        epoch. Weights and thresholds are all it takes.
        """
        config = Configuration(
            {
                "config": [str(path) for path in (*self.configs, *configs)],
                "user_data_dir": str(self.userdir),
                "datadir": str(self.datadir),
                "strategy": strategy,
                "freqaimodel": "LSTMRegressor",
                "timerange": days,
                "spaces": ["buy", "sell"],
                "hyperopt_loss": LOSS,
                "hyperopt_random_state": 1,
                "hyperopt_min_trades": 1,  # the default of the command
                "epochs": 1,
            },
            RunMode.HYPEROPT,
        ).get_config()
        optimizer = HyperOptimizer(config, self.folder / f"{strategy}-{days}.pkl")
        optimizer.prepare_hyperopt()
        return optimizer


@contextmanager
def open_saved_run(
    folder: Path,
    *,
    datadir: Path | None = None,
    predictions: Path | None = None,
    allow_changes: bool = False,
    say: Callable[[str], None] = print,
) -> Iterator[SavedRun]:
    """Make the user folder, and the predictions that are not there yet; serve the candles.

    :param folder: new, or a benchmark's own; models and predictions of an earlier run are kept.
    :param datadir: candles of 2024; None generates a market, which says nothing about profit.
    :param predictions: a `user_data/models/IDENTIFIER` folder to copy instead of training.
    :param allow_changes: use them though code or settings have changed since (freqtrade warns).
    :raises BenchmarkFailed: the folder is not a benchmark's.
    :raises FreqtradeFailed: a training failed, or models were made with other code or settings.
    """
    _prepare(folder)
    # FreqAI knows nothing of the candles that models were made from: other ones, another name.
    candles = str(datadir.resolve()) if datadir else "generated"
    identifier = predictions.name if predictions else f"year-{crc32(candles.encode()):08x}"
    if predictions:
        target = folder / "user_data" / "models" / identifier
        shutil.copytree(predictions, target, dirs_exist_ok=True)
    periods, market = YEAR_2024, "Binance USDT perpetuals, 1h"
    if datadir is None:
        periods, market = GENERATED, "a generated market (freqai_lstm/market.py), 1h"
        datadir = folder / "data"
        first = periods.start - timedelta(days=TRAIN_DAYS + STARTUP_DAYS)
        generate_market(datadir, PAIRS, start=first, end=periods.end)
    freqai: dict[str, Any] = {
        "identifier": identifier,
        "train_period_days": TRAIN_DAYS,
        "backtest_period_days": WINDOW_DAYS,
    }
    if allow_changes:
        freqai["allow_changed_fingerprint"] = True
    settings = {"freqai": freqai}
    second = folder / "settings.json"
    second.write_text(json.dumps(settings, indent=4) + "\n", encoding="utf-8")
    with LoopbackExchange(datadir.resolve()) as exchange:
        endpoints = exchange.write_config(folder / "endpoints.json")
        configs = [PROJECT / "config.example.json", endpoints, second]
        saved = SavedRun(folder, datadir.resolve(), periods, configs, market)
        say(f"Predictions for {periods.whole}: made where they are missing …")
        run = saved.run("backtesting", periods.whole)
        say(f"… {run.output.count('Starting training')} trainings, {run.seconds:.0f} s.")
        yield saved


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise BenchmarkFailed(
            f"Expected a new folder or one that a benchmark made, got {folder}. Name another one "
            "with --workdir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    # Exported parameters of an earlier search would be applied to everything that follows.
    shutil.rmtree(folder / "user_data" / "strategies", ignore_errors=True)
    for plugin in PLUGINS:
        target = folder / "user_data" / plugin
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / "user_data" / plugin, target)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks share."""
    parser.add_argument("--workdir", type=Path, default=PROJECT / "build" / "benchmarks")
    parser.add_argument(
        "--datadir",
        type=Path,
        default=CANDLES if CANDLES.is_dir() else None,
        help="candles; by default ../shared/candles or, where that is absent, a generated market",
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        help="a user_data/models/IDENTIFIER folder of the same settings, to train nothing",
    )
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="use these predictions though code or settings have changed since",
    )
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks")


def quiet() -> None:
    """freqtrade as a library logs every file it reads; errors stay."""
    logging.disable(logging.WARNING)
