"""One trial: a walk-forward run of the real `freqtrade backtesting`, window by window.

Each window of FreqAI (`backtest_period_days`) is a backtest of its own with the trial's identifier,
which gives the trainings and predictions that one long backtest would.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.exceptions import OperationalException

from freqai_lstm.evaluate.setup import Setup, load_candles, load_config, load_setup, models_folder
from freqai_lstm.freqtrade_run import FreqtradeFailed, run_freqtrade
from freqai_lstm.tune.score import Metric, read_forecasts, read_profits
from freqai_lstm.tune.space import Space, TuneFailed, Value, fragment


DAY = 86_400
Window = tuple[int, int]  # first second and first second after it


@dataclass(frozen=True)
class WalkForward:
    """What all trials share.

    :param arguments: freqtrade's argument names → values, without a timerange.
    :param metric: what a score is, and `labels` what it is the mean of; none: T, or all.
    :param folder: for the trials' configurations and the logs of those that failed.
    :param exchange: configuration files of a loopback exchange, if there is one.
    """

    arguments: Mapping[str, Any]
    metric: Metric
    folder: Path
    exchange: Sequence[str] = ()
    labels: Sequence[str] = ()

    def run(
        self, values: Mapping[str, Value], identifier: str, windows: Sequence[Window]
    ) -> Iterator[pd.DataFrame]:
        """Train and predict one window after the other; after each, yield what is scored so far.

        FreqAI uses predictions again that it finds below the identifier, so a run that was stopped
        goes on after its last finished window.

        :return: as of `read_forecasts`, or of `read_profits` for the Sharpe ratio.
        :raises FreqtradeFailed: a backtest or a training in it failed; its output is in the log.
        :raises EvaluationFailed: the predictions cannot be read.
        """
        settings = fragment(values, identifier)
        settings["freqai"] |= {"save_backtest_models": False, "activate_tensorboard": False}
        path = self.folder / f"{identifier}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=4) + "\n", encoding="utf-8")
        arguments = {**self.arguments, "config": [*self.arguments["config"], str(path)]}
        results, profits = self.folder / f"{identifier}.results", list[pd.DataFrame]()
        for start, stop in windows:
            try:
                self._backtest(arguments, f"{start}-{stop}", results)
            except KeyboardInterrupt:
                # FreqAI would stumble over a prediction that is half written.
                predictions = self._models(identifier) / "backtesting_predictions"
                for half in predictions.glob(f"*_{start}_prediction.feather"):
                    half.unlink()
                raise
            except FreqtradeFailed as error:
                path.with_suffix(".log").write_text(error.run.output, encoding="utf-8")
                raise
            if self.metric is Metric.SHARPE:
                profits.append(read_profits(results, start, stop))
                yield pd.concat(profits, ignore_index=True)
            else:
                found = load_config({**arguments, "timerange": f"{windows[0][0]}-{stop}"})
                yield read_forecasts(load_setup(found), self.labels)

    def remove(self, identifier: str) -> None:
        """Remove what FreqAI saved under an identifier."""
        shutil.rmtree(self._models(identifier), ignore_errors=True)
        shutil.rmtree(self.folder / f"{identifier}.results", ignore_errors=True)
        (self.folder / f"{identifier}.json").unlink(missing_ok=True)

    def _models(self, identifier: str) -> Path:
        user = self.arguments["user_data_dir"]
        return models_folder({"user_data_dir": user, "freqai": {"identifier": identifier}})

    def _backtest(self, arguments: Mapping[str, Any], timerange: str, results: Path) -> None:
        command = ["backtesting", "--timerange", timerange, "--cache", "none"]
        if self.metric is Metric.SHARPE:
            results.mkdir(parents=True, exist_ok=True)  # else freqtrade takes it for a file's name
            command += ["--backtest-directory", str(results)]
        else:
            command += ["--export", "none"]
        for path in (*arguments["config"], *self.exchange):
            command += ["--config", path]
        for name, value in arguments.items():
            if name != "config":
                command += [f"--{name.replace('_', '-')}", str(value)]
        run_freqtrade(command)


def split_windows(
    timerange: str, window_days: float, holdout_days: float | None
) -> tuple[list[Window], list[Window]]:
    """Cut a timerange into FreqAI's windows: those to search on, and the held-out ones after them.

    :param holdout_days: at least so many days are held out, in whole windows; None: a quarter.
    :raises TuneFailed: the timerange is open, or leaves no window to search on.
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
    if not searched:
        raise TuneFailed(
            f"Expected at least one window of {window_days:g} days (backtest_period_days) to "
            f"search on before the last {held / DAY:g} days, got {len(windows)} windows in "
            f"{timerange}. Give a longer --timerange or fewer --holdout-days."
        )
    return searched, windows[len(searched) :]


def check_candles(setup: Setup, space: Space, start: int) -> None:
    """Check that the longest training has its days before the first window.

    :param start: of the first window, in seconds.
    :raises TuneFailed: a pair's candles begin later.
    """
    days, tried = setup.config["freqai"]["train_period_days"], space.get("train_period_days")
    if tried is not None:
        days = max(tried.choices or [tried.high])
    needed = datetime.fromtimestamp(start - days * DAY, UTC)
    for pair in setup.pairs:
        first = load_candles(setup, pair)["date"].min()
        if first > needed:
            raise TuneFailed(
                f"Expected candles of {pair} from {needed:%Y-%m-%d}, the longest training "
                f"({days:g} days) before the first window, got candles from {first:%Y-%m-%d}. "
                "Download more, start --timerange later, or narrow train_period_days (--ranges)."
            )


def check_labels(setup: Setup, labels: Sequence[str]) -> None:
    """Check that the strategy makes the labels that are to be scored.

    :raises TuneFailed: it makes others; they are named.
    """
    pair = setup.pairs[0]
    frame = setup.label_frame(load_candles(setup, pair), pair)
    known = [str(name) for name in setup.labels(frame, pair)]
    if unknown := [label for label in labels if label not in known]:
        raise TuneFailed(
            f"Expected --label one of {', '.join(known)}, which {setup.config['strategy']} makes, "
            f"got {', '.join(unknown)}."
        )
