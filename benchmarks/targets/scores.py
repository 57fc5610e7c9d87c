"""The figures of the exam: every contender on the same candles, differences by weeks.

R² is 1 − Σ(y − ŷ)² / Σ(y − ȳ)² over the scored candles of one pair, ȳ their mean; the figure of a
label is the mean over pairs and then over seeds. Intervals come from resampling whole calendar
weeks, the same weeks for all pairs and contenders: candles close in time share their future, and
pairs move together (a block bootstrap; Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from benchmarks.targets.contenders import CONTENDERS, Contender
from benchmarks.targets.labels import LABELS, Label, add_labels
from benchmarks.targets.results import Result
from benchmarks.targets.setup import Exam


RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # percentiles
MOST_CONSTANTS = 12  # windows of an exam, at most
FIGURES = ("r2", "correlation", "rank_correlation")


def measure(exam: Exam, results: Sequence[Result]) -> dict[str, Any]:
    """All figures of the results, ready for JSON.

    :param results: predictions per contender and seed.
    :return: label → `rows` (scored candles of all pairs) and contender → `by_seed` (the figures of
        each seed: mean of pairs, and `pairs`), `mean` and `spread` (standard deviation) of them
        over the seeds, and for all but the best contender of others `against` (its name, the
        difference in R² and its interval); and per contender its seconds.
    """
    truth = true_labels(exam)
    found: dict[str, Any] = {"labels": {}, "contenders": {}}
    for label in (LABELS[name] for name in exam.labels):
        able = [result for result in results if label.column in result.predictions]
        if able:
            rows = common_rows(exam, label, truth, able)
            found["labels"][label.name] = _of_label(rows, able)
            for result in able:
                made = found["labels"][label.name]["contenders"][result.contender]
                made["by_seed"][str(result.seed)]["coverage"] = _coverage(label, truth, result)
    for name in dict.fromkeys(result.contender for result in results):
        runs = [result for result in results if result.contender == name]
        found["contenders"][name] = {
            "title": CONTENDERS[name].title if name in CONTENDERS else name,
            "seeds": [run.seed for run in runs],
            "seconds": float(np.mean([run.seconds for run in runs])),
            "cpu_seconds": float(np.mean([run.cpu_seconds for run in runs])),
        }
    return found


def true_labels(exam: Exam) -> DataFrame:
    """Pair, date and realised labels of the candles to predict; NaN where not known in range."""
    frames = [add_labels(exam.candles(pair)).assign(pair=pair) for pair in exam.pairs]
    rows = pd.concat(frames, ignore_index=True)
    return rows[rows["date"] >= exam.start]


def common_rows(exam: Exam, label: Label, truth: DataFrame, results: Sequence[Result]) -> DataFrame:
    """Pair, date, y and one column per result (its position): candles that all of them predict."""
    rows = truth[["pair", "date", label.column]].rename(columns={label.column: "y"})
    for position, result in enumerate(results):
        predicted = result.predictions
        good = (predicted["do_predict"] == 1) & ~_blind(exam, result, predicted["date"])
        column = predicted.loc[good, ["pair", "date", label.column]]
        rows = rows.merge(column.rename(columns={label.column: position}), on=["pair", "date"])
    return rows.dropna().reset_index(drop=True)


def _coverage(label: Label, truth: DataFrame, result: Result) -> float | None:
    """Share of labels within the model's 80 % interval, mean of the pairs; None without one."""
    lower, upper = f"{label.column}_lower", f"{label.column}_upper"
    if lower not in result.predictions:
        return None
    columns = ["pair", "date", lower, upper]
    predicted = result.predictions.loc[result.predictions["do_predict"] == 1, columns]
    rows = truth[["pair", "date", label.column]].merge(predicted, on=["pair", "date"]).dropna()
    within = (rows[label.column] >= rows[lower]) & (rows[label.column] <= rows[upper])
    return float(within.groupby(rows["pair"]).mean().mean())


def _blind(exam: Exam, result: Result, dates: pd.Series) -> pd.Series:
    contender = CONTENDERS.get(result.contender, Contender(result.contender, result.contender))
    blind = pd.Series(False, index=dates.index)
    for window in exam.windows:
        first_seen = window.start + pd.Timedelta(hours=contender.blind)
        blind |= (dates >= window.start) & (dates < first_seen)
    return blind


def _of_label(rows: DataFrame, results: Sequence[Result]) -> dict[str, Any]:
    names = list(dict.fromkeys(result.contender for result in results))
    contenders: dict[str, dict[str, Any]] = {name: {"by_seed": {}} for name in names}
    for position, result in enumerate(results):
        pairs = {
            pair: figures(of_pair["y"].to_numpy(), of_pair[position].to_numpy())
            for pair, of_pair in rows.groupby("pair", sort=False)
        }
        seed = {key: _mean([one[key] for one in pairs.values()]) for key in FIGURES}
        contenders[result.contender]["by_seed"][str(result.seed)] = {**seed, "pairs": pairs}
    for made in contenders.values():
        for key in FIGURES:
            values = [seed[key] for seed in made["by_seed"].values()]
            made.setdefault("mean", {})[key] = _mean(values)
            whole = len(values) > 1 and None not in values
            made.setdefault("spread", {})[key] = float(np.std(values, ddof=1)) if whole else None
    _add_differences(rows, results, contenders)
    return {"rows": len(rows), "contenders": contenders}


def figures(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float | None]:
    """R², Pearson's and Spearman's correlation; None for a correlation with constants."""
    total = float(np.sum((y - y.mean()) ** 2))
    # One constant per window is a flat forecast, and its steps from window to window are no skill.
    moves = np.count_nonzero(np.diff(predicted)) > MOST_CONSTANTS
    pair = pd.Series(y), pd.Series(predicted)
    return {
        "r2": 1 - float(np.sum((y - predicted) ** 2)) / total if total else None,
        "correlation": float(pair[0].corr(pair[1])) if moves and total else None,
        "rank_correlation": (
            float(pair[0].corr(pair[1], method="spearman")) if moves and total else None
        ),
    }


def _add_differences(
    rows: DataFrame, results: Sequence[Result], contenders: Mapping[str, dict[str, Any]]
) -> None:
    """Compare R² with the best contender that is not this project's, and say how sure that is."""
    others = [n for n in contenders if not (n in CONTENDERS and CONTENDERS[n].ours)]
    if not others:
        return
    best = max(others, key=lambda name: contenders[name]["mean"]["r2"])
    resampled = {
        name: resampled_r2(rows, [i for i, r in enumerate(results) if r.contender == name])
        for name in contenders
    }
    for name, made in contenders.items():
        if name == best:
            continue
        low, high = np.percentile(resampled[name] - resampled[best], INTERVAL)
        made["against"] = {
            "best": best,
            "difference": made["mean"]["r2"] - contenders[best]["mean"]["r2"],
            "interval": [float(low), float(high)],
        }


def resampled_r2(rows: DataFrame, positions: Sequence[int]) -> NDArray[np.float64]:
    """R² (mean of pairs and seeds) of every resample of weeks; shape (RESAMPLES,)."""
    weeks = (rows["date"] - pd.Timestamp("2024-01-01", tz="UTC")).dt.days // 7
    count = weeks.nunique()
    # The same generator for all, so that all are scored on the same resamples.
    draws = np.random.default_rng(1).multinomial(count, [1 / count] * count, size=RESAMPLES)
    found = []
    for _, of_pair in rows.assign(week=weeks).groupby("pair", sort=False):
        y = of_pair["y"]
        errors = pd.concat([(y - of_pair[i]) ** 2 for i in positions], axis=1).mean(axis=1)
        sums = (
            DataFrame({"week": of_pair["week"], "n": 1.0, "y": y, "yy": y**2, "e": errors})
            .groupby("week")
            .sum()
            .reindex(sorted(weeks.unique()), fill_value=0.0)
        )
        n, total, squares, error = (draws @ sums.to_numpy()).T
        found.append(1 - error / (squares - total**2 / n))
    return np.mean(found, axis=0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None
