"""A user folder with the saved predictions of a walk-forward run, for `search` and `hyperopt`.

FreqAI cuts a timerange into windows from its first day on, and finds a saved prediction by the
day its training ended. A shorter timerange therefore finds the predictions of a longer one only
where both begin and end on borders of the same windows; `Periods` keeps to these.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from freqtrade.configuration import Configuration
from freqtrade.enums import RunMode
from freqtrade.exceptions import FreqtradeException
from freqtrade.misc import deep_merge_dicts
from freqtrade.optimize.hyperopt.hyperopt_optimizer import HyperOptimizer

from benchmarks.places import CANDLES, PAIRS, STARTUP_DAYS, run_options
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, FreqtradeRun, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE


LOSS = "SharpeHyperOptLossDaily"
TRAIN_DAYS, WINDOW_DAYS = 90, 30


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
        return f"{self.start:%Y%m%d}-{self.end:%Y%m%d}"

    @property
    def search(self) -> str:
        return f"{self.start:%Y%m%d}-{self.split:%Y%m%d}"

    @property
    def held_out(self) -> str:
        return f"{self.split:%Y%m%d}-{self.end:%Y%m%d}"


YEAR_2024 = Periods(
    datetime(2024, 3, 10, tzinfo=UTC),
    datetime(2024, 8, 7, tzinfo=UTC),
    datetime(2024, 12, 3, tzinfo=UTC),
)


@dataclass
class SavedRun:
    """A user folder with plugins, models and predictions, and the settings that made them."""

    folder: Path
    datadir: Path
    periods: Periods
    configs: list[Path]

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    @property
    def parameters(self) -> Path:
        """What hyperopt exports, and freqtrade applies wherever it lies beside the strategy."""
        return self.userdir / "strategies" / "ScoreStrategy.json"

    def backtest(self, days: str) -> FreqtradeRun:
        """Run `freqtrade backtesting`, with the exported parameters where they are.

        :param days: the `--timerange`.
        :raises FreqtradeFailed: the command failed.
        """
        return self._run("backtesting", days, "--cache", "none")

    def hyperopt(
        self,
        days: str,
        epochs: int,
        *extra: str,
        strategy: str = "ScoreStrategy",
        configs: Sequence[Path] = (),
    ) -> FreqtradeRun:
        """Run `freqtrade hyperopt` for weights and thresholds, with two workers.

        :param configs: further configuration files.
        :raises FreqtradeFailed: the command failed.
        """
        options = ["--spaces", "buy", "sell", "--hyperopt-loss", LOSS, "-e", str(epochs), "-j", "2"]
        return self._run("hyperopt", days, *options, *extra, strategy=strategy, configs=configs)

    def _run(
        self,
        command: str,
        days: str,
        *extra: str,
        strategy: str = "ScoreStrategy",
        configs: Sequence[Path] = (),
    ) -> FreqtradeRun:
        options = run_options(
            [*self.configs, *configs],
            self.userdir,
            self.datadir,
            days,
            strategy=strategy,
            strategy_path=None,
            model_path=None,
        )
        return run_freqtrade([command, *options, *extra], cwd=self.folder)

    def saved_epochs(self, strategy: str = "ScoreStrategy") -> list[dict[str, Any]]:
        """Read the epochs of the newest hyperopt with this strategy."""
        results = self.userdir / "hyperopt_results"
        newest = max(results.glob(f"strategy_{strategy}_*.fthypt"))
        with newest.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def evaluator(
        self, days: str, *, strategy: str = "ScoreStrategy", configs: Sequence[Path] = ()
    ) -> HyperOptimizer:
        """Make freqtrade's own evaluator of hyperopt epochs (spaces buy and sell), ready to use.

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
    datadir: Path = CANDLES,
    periods: Periods = YEAR_2024,
    settings: dict[str, Any] | None = None,
) -> Iterator[SavedRun]:
    """Make the user folder, and the predictions that are not there yet; serve the candles.

    :param folder: new, or a benchmark's own; models and predictions of an earlier run are kept.
    :param settings: laid over the configuration.
    :raises BenchmarkFailed: there are no candles.
    :raises FreqtradeFailed: a training failed, or models were made with other code or settings:
        remove the folder then.
    """
    if not datadir.is_dir():
        raise BenchmarkFailed(
            f"Expected candles of 2024 in {datadir}, which does not exist: download them with "
            "freqtrade download-data and put the folder there."
        )
    # Exported parameters of an earlier search would be applied to everything that follows.
    shutil.rmtree(folder / "user_data" / "strategies", ignore_errors=True)
    for plugin in (MODEL_FILE, STRATEGY_FILE):
        target = folder / "user_data" / plugin.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(plugin, target)
    freqai = {
        "identifier": "saved-run",
        "train_period_days": TRAIN_DAYS,
        "backtest_period_days": WINDOW_DAYS,
    }
    second = folder / "settings.json"
    second.write_text(json.dumps(deep_merge_dicts(settings or {}, {"freqai": freqai})))
    with LoopbackExchange(datadir.resolve()) as exchange:
        endpoints = exchange.write_config(folder / "endpoints.json")
        configs = [EXAMPLE_CONFIG, endpoints, second]
        saved = SavedRun(folder, datadir.resolve(), periods, configs)
        print(f"Predictions for {periods.whole}: made where they are missing …")
        run = saved.backtest(periods.whole)
        print(f"… {run.output.count('Starting training')} trainings, {run.seconds:.0f} s.")
        yield saved


def generated_candles(datadir: Path, periods: Periods, train_days: int = TRAIN_DAYS) -> Path:
    """Write a generated market that is long enough; it says nothing about profit."""
    first = periods.start - timedelta(days=train_days + STARTUP_DAYS)
    generate_market(datadir, PAIRS, start=first, end=periods.end)
    return datadir


@contextmanager
def failures_in_words() -> Iterator[None]:
    """End a command line with one message and exit code 1, and keep freqtrade's log to errors."""
    logging.disable(logging.WARNING)
    try:
        yield
    except (BenchmarkFailed, FreqtradeFailed, FreqtradeException) as error:
        typer.secho(f"The benchmark failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
