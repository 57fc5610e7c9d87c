"""The predictions of each contender and seed, made once and kept in the build folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame

from benchmarks.targets.baselines import BASELINES, predict_baseline
from benchmarks.targets.contenders import Contender
from benchmarks.targets.run import backtest
from benchmarks.targets.setup import BUILD, Exam
from freqai_lstm.model.storage import NETWORKS


@dataclass(frozen=True)
class Result:
    """What one contender predicted with one seed, and what that cost.

    `predictions` has a row per pair and candle: pair, date, a column per label, do_predict and
    whatever else FreqAI returned. `config` is the configuration of each backtest it took.
    """

    contender: str
    seed: int
    predictions: DataFrame
    seconds: float
    cpu_seconds: float
    config: dict[str, Any] = field(default_factory=dict)


class Results:
    """The folder of one exam's results: a feather file and a JSON file per contender and seed."""

    def __init__(self, exam: Exam, build: Path = BUILD) -> None:
        self.exam = exam
        self.build = build
        self.folder = build / "results" / exam.name

    def get(self, contender: Contender, seed: int) -> Result | None:
        """A result made before with the same settings, or None."""
        data, table = self._files(contender, seed)
        if not (data.is_file() and table.is_file()):
            return None
        saved = json.loads(data.read_text(encoding="utf-8"))
        if saved["config"] != _plain(contender.configs(self.exam, seed)):
            return None
        return Result(predictions=pd.read_feather(table), **saved)

    def seeds(self, contender: Contender) -> list[int]:
        """The seeds that a contender was run with, in order."""
        files = self.folder.glob(f"{contender.name}-s[0-9]*.json")
        return sorted(int(file.stem.rpartition("-s")[2]) for file in files)

    def make(self, contender: Contender, seed: int) -> Result:
        """Run a contender with a seed and keep the result.

        :raises FreqtradeFailed: a backtest or one of its trainings failed.
        """
        started = time.monotonic(), time.process_time()
        configs = contender.configs(self.exam, seed)
        if contender.model in BASELINES:
            days = contender.train_days or self.exam.train_days
            predictions = predict_baseline(contender.model, replace(self.exam, train_days=days))
            seconds, cpu_seconds = time.monotonic() - started[0], time.process_time() - started[1]
        else:
            predictions, seconds, cpu_seconds = self._backtests(contender, seed, configs)
        result = {
            "contender": contender.name,
            "seed": seed,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "config": _plain(configs),
        }
        data, table = self._files(contender, seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        predictions.to_feather(table)
        data.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return Result(predictions=predictions, **result)

    def _backtests(
        self, contender: Contender, seed: int, configs: dict[str, dict[str, Any]]
    ) -> tuple[DataFrame, float, float]:
        runs, seconds, cpu_seconds = self.build / "runs" / self.exam.name, 0.0, 0.0
        parts = []
        for part in self.exam.parts(contender.every):
            predictions = DataFrame()
            for group, config in configs.items():
                found, cost = backtest(
                    part,
                    config,
                    contender.model,
                    contender.places(),
                    runs / f"{contender.name}-s{seed}-{group}-{part.timerange}",
                    self._networks(contender, seed),
                )
                seconds, cpu_seconds = seconds + cost.seconds, cpu_seconds + cost.cpu_seconds
                if predictions.empty:
                    predictions = found
                    continue
                both = predictions.merge(found, on=["pair", "date"], suffixes=("", "_new"))
                both["do_predict"] = both[["do_predict", "do_predict_new"]].min(axis=1)
                predictions = both.drop(columns="do_predict_new")
            parts.append(predictions)
        return pd.concat(parts, ignore_index=True), seconds, cpu_seconds

    def _networks(self, contender: Contender, seed: int) -> Path | None:
        """Where a backtest of the whole range left the shared networks of another contender."""
        if not contender.networks_of:
            return None
        name = f"{contender.networks_of}-s{seed}"
        work = self.build / "runs" / self.exam.name / f"{name}-all-{self.exam.timerange}"
        return work / "user_data" / "models" / name / NETWORKS

    def _files(self, contender: Contender, seed: int) -> tuple[Path, Path]:
        stem = self.folder / f"{contender.name}-s{seed}"
        return stem.with_suffix(".json"), stem.with_suffix(".feather")


def _plain(config: Any) -> Any:
    """As it comes back from JSON, so that settings can be compared."""
    return json.loads(json.dumps(config))
