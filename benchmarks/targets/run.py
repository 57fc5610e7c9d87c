"""Run the real `freqtrade backtesting` with one model, and collect its predictions."""

from __future__ import annotations

import json
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.targets.setup import HERE, ROOT, Exam
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import run_freqtrade
from freqai_lstm.plugins import STRATEGY_FILE


@dataclass(frozen=True)
class Cost:
    """What a backtest took: wall-clock seconds, and seconds of all its processors."""

    seconds: float
    cpu_seconds: float


def backtest(
    exam: Exam,
    config: dict[str, Any],
    model: str,
    places: tuple[Path, Path],
    work: Path,
    networks: Path | None = None,
) -> tuple[pd.DataFrame, Cost]:
    """Backtest with a FreqAI model.

    :param config: from `setup.base_config`, with the model's own settings merged in.
    :param model: the name of the model's class.
    :param places: folder of the package `freqai_lstm`, and of the model's file; freqtrade's own
        models are found anyway.
    :param work: a folder of this run's own; emptied first. What freqtrade writes stays in it,
        but for the models of pairs.
    :param networks: a folder of shared networks to begin with.
    :return: pair, date and what FreqAI returned (a column per label, its mean and std over the
        training rows, do_predict, any extra columns) per candle; and the cost.
    :raises FreqtradeFailed: the command or one of its trainings failed.
    """
    shutil.rmtree(work, ignore_errors=True)
    userdir = work / "user_data"
    userdir.mkdir(parents=True)
    models = userdir / "models" / config["freqai"]["identifier"]
    if networks is not None and networks.is_dir():
        shutil.copytree(networks, models / networks.name)
    strategies = STRATEGY_FILE.parent if exam.strategy == STRATEGY_FILE.stem else HERE
    with LoopbackExchange(exam.datadir) as exchange:
        endpoints = exchange.write_config(work / "endpoints.json")
        settings = work / "config.json"
        settings.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Before the first window lie fewer start-up candles than freqtrade wants, so it shifts the
        # start of trading. The predictions, which are measured here, cover the whole range.
        run = run_freqtrade(
            [
                *("backtesting", "-c", str(settings), "-c", str(endpoints)),
                *("--userdir", str(userdir), "--datadir", str(exam.datadir)),
                *("--strategy-path", str(strategies), "-s", exam.strategy),
                *("--freqaimodel-path", str(places[1]), "--freqaimodel", model),
                *("--timerange", exam.timerange, "--cache", "none"),
            ],
            # Python looks into the working directory first: another package must not lie there.
            cwd=work,
            env={"PYTHONPATH": f"{places[0]}:{ROOT}"},  # the strategy imports the labels
            output=work / "log.txt",
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return collect(models, exam), Cost(run.seconds, used)


def collect(models: Path, exam: Exam) -> pd.DataFrame:
    """Read the predictions that FreqAI saved below its model folder.

    :raises ValueError: a window of a pair that has candles has none.
    """
    frames = []
    for pair in exam.pairs:
        last = exam.frame(pair)["date"].iloc[-1]
        for window in exam.windows:
            if last < window.start:
                continue  # the pair has ended
            coin = pair.split("/")[0].lower()
            stamp = int(window.start.timestamp())
            file = models / "backtesting_predictions" / f"cb_{coin}_{stamp}_prediction.feather"
            if not file.is_file():
                raise ValueError(
                    f"FreqAI saved no predictions of {pair} from {window.start:%Y-%m-%d} on."
                )
            frames.append(pd.read_feather(file).assign(pair=pair))
    return pd.concat(frames, ignore_index=True)
