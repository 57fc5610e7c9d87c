"""One trial: a walk-forward run of the real `freqtrade backtesting`, window by window.

Each window of FreqAI (`backtest_period_days`) is a backtest of its own with the trial's identifier,
which gives the trainings and predictions that one long backtest would. What a window gave is on
disk, so a trial that was stopped goes on after its last finished window.

The score of some windows: per pair Pearson's correlation of T̂ with T over all their candles, then
the mean over the pairs. A candle without a prediction counts as T̂ = 0, no signal, which is how the
strategy takes it, so leaving hard candles out does not pay. Where every candle is predicted it is
`correlation_mean_of_pairs` of the evaluation. A correlation with a constant is not defined and
counts as 0.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.exceptions import OperationalException

from freqai_lstm.evaluate.data import missing_windows, prediction_files, read_windows
from freqai_lstm.evaluate.report import rows_of
from freqai_lstm.evaluate.scores import correlation, share
from freqai_lstm.evaluate.setup import (
    Setup,
    load_candles,
    load_config,
    load_setup,
    models_folder,
)
from freqai_lstm.freqtrade_run import FreqtradeFailed, run_freqtrade
from freqai_lstm.tune.space import Parameter, TuneFailed, Value, fragment


DAY = 86_400
Span = tuple[int, int]  # first second and first second after it


@dataclass(frozen=True)
class Scores:
    """How good the predictions were: score (mean of pairs), per pair, share of candles with one."""

    score: float
    pairs: dict[str, float]
    predicted: float


@dataclass(frozen=True)
class WalkForward:
    """What all trials share.

    :param arguments: freqtrade's argument names → values, without a timerange.
    :param work: folder for the trials' configurations and for logs of those that failed.
    :param scratch: an empty folder for what FreqAI's classes write.
    :param endpoints: configuration of a loopback exchange.
    :param keep_models: keep everything FreqAI saves; else only predictions, until `remove`.
    """

    arguments: Mapping[str, Any]
    work: Path
    scratch: Path
    endpoints: Path | None = None
    keep_models: bool = False

    def run(
        self, values: Mapping[str, Value], identifier: str, windows: Sequence[Span]
    ) -> Iterator[Scores]:
        """Train and predict one window after the other; after each, the scores of all so far.

        :raises FreqtradeFailed: a backtest or a training in it failed; its output is in the log.
        :raises EvaluationFailed: the predictions cannot be read.
        """
        settings = fragment(values, identifier)
        if not self.keep_models:
            settings["freqai"] |= {"save_backtest_models": False, "activate_tensorboard": False}
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.work / f"{identifier}.json"
        path.write_text(json.dumps(settings, indent=4) + "\n", encoding="utf-8")
        configs = [*self.arguments["config"], str(path)]
        found: dict[str, list[pd.DataFrame]] = {}
        for start, stop in windows:
            span = {"config": configs, "timerange": f"{start}-{stop}"}
            setup = load_setup(load_config({**self.arguments, **span}))
            _remove_damaged(setup)
            if missing_windows(setup, self.scratch):
                self._backtest(setup, configs, identifier)
            for pair, read in read_windows(setup).items():
                if read:
                    found.setdefault(pair, []).append(rows_of(read))
            yield scores({pair: pd.concat(frames) for pair, frames in found.items()})

    def remove(self, identifier: str, *, always: bool = False) -> None:
        """Remove what FreqAI saved under an identifier, unless models are kept."""
        if always or not self.keep_models:
            folder = models_folder(
                {
                    "user_data_dir": self.arguments["user_data_dir"],
                    "freqai": {"identifier": identifier},
                }
            )
            shutil.rmtree(folder, ignore_errors=True)
            (self.work / f"{identifier}.json").unlink(missing_ok=True)

    def _backtest(self, setup: Setup, configs: Sequence[str], identifier: str) -> None:
        args = ["backtesting", *(part for path in configs for part in ("-c", path))]
        if self.endpoints is not None:
            args += ["-c", str(self.endpoints)]
        args += ["--userdir", str(self.arguments["user_data_dir"])]
        args += ["--datadir", str(setup.config["datadir"])]
        args += ["--timerange", setup.config["timerange"], "--cache", "none", "--export", "none"]
        for name in ("strategy", "strategy_path", "freqaimodel", "freqaimodel_path"):
            if self.arguments.get(name):
                args += [f"--{name.replace('_', '-')}", str(self.arguments[name])]
        try:
            run_freqtrade(args)
        except FreqtradeFailed as error:
            log = self.work / f"{identifier}.log"
            log.write_text(error.run.output, encoding="utf-8")
            raise


def scores(rows: Mapping[str, pd.DataFrame]) -> Scores:
    """The figures of the module's docstring.

    :param rows: pair → candles with T, model (T̂) and valid, as of `evaluate_data.read_windows`.
    """
    pairs, valid = {}, []
    for pair, frame in rows.items():
        known = frame[frame["T"].notna()]
        usable = known["valid"].to_numpy(dtype=bool)
        t_hat = np.where(usable, known["model"].to_numpy("float64"), 0.0)
        found = correlation(known["T"].to_numpy("float64"), t_hat)
        pairs[pair] = float(np.nan_to_num(found))
        valid.append(usable)
    mean = float(np.mean(list(pairs.values()))) if pairs else 0.0
    return Scores(mean, pairs, share(np.concatenate(valid)) if valid else 0.0)


def split_windows(
    timerange: str, window_days: float, holdout_days: float | None
) -> tuple[list[Span], list[Span]]:
    """FreqAI's windows of a timerange: those to search on, and the held-out ones after them.

    :param holdout_days: at least so many days are held out, in whole windows; None: a quarter.
    :raises TuneFailed: the timerange is open, or one of the two would be empty.
    """
    try:
        parsed = TimeRange.parse_timerange(timerange)
    except OperationalException as error:
        raise TuneFailed(f"freqtrade refuses --timerange {timerange}: {error}") from error
    first, last, step = parsed.startts, parsed.stopts, int(window_days * DAY)
    if not 0 < first < last:
        raise TuneFailed(
            f"Expected --timerange with a start and a later end, got {timerange!r}. Write for "
            "example 20240101-20240701."
        )
    windows = [(start, min(start + step, last)) for start in range(first, last, step)]
    held = (last - first) / 4 if holdout_days is None else holdout_days * DAY
    searched = [window for window in windows if window[1] <= last - held]
    if not searched or held < 0:
        raise TuneFailed(
            f"Expected at least one window of {window_days:g} days (backtest_period_days) to "
            f"search on before the last {held / DAY:g} days, got {len(windows)} windows in "
            f"{timerange}. Give a longer --timerange or fewer --holdout-days."
        )
    return searched, windows[len(searched) :]


def check_candles(setup: Setup, space: Sequence[Parameter], start: int) -> None:
    """See to it that the longest training has its days before the first window.

    :raises TuneFailed: a pair's candles begin later.
    """
    searched = [p for p in space if p.name == "train_period_days"]
    days = setup.config["freqai"]["train_period_days"]
    for parameter in searched:
        days = max(*map(float, parameter.choices or (parameter.low, parameter.high)))
    needed = start - int(days * DAY)
    for pair in setup.pairs:
        first = int(load_candles(setup, pair)["date"].min().timestamp())
        if first > needed:
            raise TuneFailed(
                f"Expected candles of {pair} from {_day(needed)}, the longest training "
                f"({days:g} days) before the first window, got candles from {_day(first)}. "
                "Download more, start --timerange later, or narrow train_period_days (--ranges)."
            )


def _day(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d}"


def _remove_damaged(setup: Setup) -> None:
    """Delete predictions that a killed run left half written: FreqAI would stumble over them."""
    for pair in setup.pairs:
        for path in prediction_files(setup.folder, pair).values():
            try:
                pd.read_feather(path)
            except (OSError, ValueError):
                path.unlink()
