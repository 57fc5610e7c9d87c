"""The figures of the exam: every contender on the same candles, differences by weeks.

R² is 1 − Σ(y − ŷ)² / Σ(y − ȳ)² over the scored candles of one pair, ȳ their mean; the figure of a
label is the mean over pairs and then over seeds. Two statements on a difference: an interval from
resampling whole calendar weeks, the same weeks for all pairs and contenders, since candles close in
time share their future and pairs move together (a block bootstrap; Künsch 1989); and the statistic
of Diebold and Mariano (1995), whose variance (Newey and West 1987) knows the label's horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.stats import rankdata

from benchmarks.targets import score
from benchmarks.targets.contenders import CONTENDERS, REFERENCE, Contender
from benchmarks.targets.labels import Label, log_returns
from benchmarks.targets.results import Result
from benchmarks.targets.setup import Exam
from freqai_lstm.model.interval import COVERAGE


RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # percentiles
MOST_CONSTANTS = 12  # windows of an exam, at most
TERCILES = 3
LAGS = 4  # horizons, of the Diebold-Mariano variance; and a day at least
FEWEST_WEEKS = 8  # with fewer there is no interval
FEWEST_ACROSS = 4  # pairs, for a rank among them
FEWEST_IN_WEEK = 24  # candles of all pairs; a week with fewer is not the worst one


def measure(exam: Exam, results: Sequence[Result]) -> dict[str, Any]:
    """All figures of the results, ready for JSON.

    A contender that took some of the windows is scored on those alone; the others on the candles
    that all contenders with all windows predict.

    :param results: predictions per contender and seed.
    :return: `labels`: name → `title`, `horizon`, and `contenders`: name → `rows` (scored candles of
        all pairs), `r2`, `spread` (standard deviation over seeds), `by_seed`, `pairs`,
        `correlation`, `across` (see `_across`), `intervals` where it gives some, and `behind` (how
        much less R² than `REFERENCE` it has on the same rows: `difference`, `interval`, `dm`); and
        `contenders`: name → `title`, `seeds`, `every` and its cost.
    """
    truth = true_labels(exam)
    found: dict[str, Any] = {"labels": {}, "contenders": {}}
    for label in exam.labels:
        able = [result for result in results if label.column in result.predictions]
        if able:
            found["labels"][label.name] = {
                "title": label.title,
                "horizon": label.horizon,
                "contenders": _of_label(exam, label, truth, able),
            }
    for name in dict.fromkeys(result.contender for result in results):
        runs = [result for result in results if result.contender == name]
        found["contenders"][name] = {
            "title": _contender(name).title,
            "seeds": [run.seed for run in runs],
            "every": _contender(name).every,
            "seconds": float(np.mean([run.seconds for run in runs])),
            "cpu_seconds": float(np.mean([run.cpu_seconds for run in runs])),
        }
    return found


def true_labels(exam: Exam) -> DataFrame:
    """Realised labels of the candles to predict, NaN where not known in range.

    :return: pair, date, a column per label; `unit`, what errors of a label are measured in; and
        `tercile` of the pair's mean |return| over the last 24 candles: 0 (quiet) to 2.
    """
    frames = []
    for pair in exam.pairs:
        frame = exam.frame(pair)
        moves = log_returns(frame).abs().rolling(24).mean()
        unit = score.scale(frame) if exam.strategy == "ScoreStrategy" else 1.0
        rows = frame.assign(pair=pair, unit=unit)[frame["date"] >= exam.start]
        tercile = pd.qcut(moves[rows.index].rank(method="first"), TERCILES, labels=False)
        frames.append(rows.assign(tercile=tercile))
    columns = ["pair", "date", "unit", "tercile", *(label.column for label in exam.labels)]
    return pd.concat(frames, ignore_index=True)[columns]


def common_rows(exam: Exam, label: Label, truth: DataFrame, results: Sequence[Result]) -> DataFrame:
    """Pair, date, tercile, y and one column per result (its position): candles all predict.

    Where a result gives intervals, their ends are the columns (position, "_lower" or "_upper").
    """
    rows = truth[["pair", "date", "unit", "tercile", label.column]]
    rows = rows.rename(columns={label.column: "y"}).dropna()
    for position, result in enumerate(results):
        predicted = result.predictions
        good = (predicted["do_predict"] == 1) & ~_blind(exam, result, predicted["date"])
        named = {label.column: position} | {
            f"{label.column}{end}": (position, end)
            for end in ("_lower", "_upper")
            if f"{label.column}{end}" in predicted
        }
        column = predicted.loc[good & predicted[label.column].notna(), ["pair", "date", *named]]
        rows = rows.merge(column.rename(columns=named), on=["pair", "date"])
    values = [name for name in rows if name not in ("pair", "date", "unit", "tercile")]
    scaled = rows[values].div(rows["unit"], axis=0)
    return pd.concat([rows[["pair", "date", "tercile"]], scaled], axis=1)


def _contender(name: str) -> Contender:
    return CONTENDERS.get(name, Contender(name, name, ""))


def _blind(exam: Exam, result: Result, dates: pd.Series) -> pd.Series:
    blind = pd.Series(False, index=dates.index)
    for window in exam.windows:
        first_seen = window.start + pd.Timedelta(hours=_contender(result.contender).blind)
        blind |= (dates >= window.start) & (dates < first_seen)
    return blind


def _of_label(
    exam: Exam, label: Label, truth: DataFrame, results: Sequence[Result]
) -> dict[str, dict[str, Any]]:
    whole = [one for one in results if _contender(one.contender).every == 1]
    shared = common_rows(exam, label, truth, whole) if whole else DataFrame()
    found = {}
    for name in dict.fromkeys(one.contender for one in results):
        some, rows = whole, shared
        if _contender(name).every > 1:
            some = [*whole, *(one for one in results if one.contender == name)]
            rows = common_rows(exam, label, truth, some)
        mine, ours = (
            [position for position, one in enumerate(some) if one.contender == wanted]
            for wanted in (name, REFERENCE)
        )
        found[name] = _of_contender(rows, {some[position].seed: position for position in mine})
        if ours and name != REFERENCE:
            found[name]["behind"] = _behind(rows, ours, mine, label.horizon)
    return found


def _behind(
    rows: DataFrame, ours: Sequence[int], theirs: Sequence[int], horizon: int
) -> dict[str, Any]:
    """R² of ours less theirs, and how sure that is."""
    our, their = (_of_contender(rows, dict(enumerate(some)))["r2"] for some in (ours, theirs))
    interval = None
    if _weeks(rows).nunique() >= FEWEST_WEEKS:
        drawn = resampled_r2(rows, ours) - resampled_r2(rows, theirs)
        interval = [float(end) for end in np.nanpercentile(drawn, INTERVAL)]
    return {
        "difference": our - their,
        "interval": interval,
        "dm": diebold_mariano(rows, ours, theirs, horizon),
    }


def _of_contender(rows: DataFrame, by_seed: dict[int, int]) -> dict[str, Any]:
    """Figures of the positions of one contender's seeds."""
    pairs = {
        pair: [figures(one["y"].to_numpy(), one[i].to_numpy()) for i in by_seed.values()]
        for pair, one in rows.groupby("pair", sort=False)
    }
    seeds = {
        str(seed): _mean([of_pair[number]["r2"] for of_pair in pairs.values()])
        for number, seed in enumerate(by_seed)
    }
    known = [value for value in seeds.values() if value is not None]
    found: dict[str, Any] = {
        "rows": len(rows),
        "r2": _mean(list(seeds.values())),
        "spread": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "by_seed": seeds,
        "pairs": {name: _mean([one["r2"] for one in of_pair]) for name, of_pair in pairs.items()},
        "correlation": _mean([one["correlation"] for of_pair in pairs.values() for one in of_pair]),
    }
    found["across"] = _across(rows, list(by_seed.values()))
    given = [_intervals(rows, i) for i in by_seed.values() if (i, "_lower") in rows]
    if given:
        found["intervals"] = {key: _mean([one[key] for one in given]) for key in given[0]}
    return found


def _across(rows: DataFrame, positions: Sequence[int]) -> dict[str, Any] | None:
    """Rank correlation of prediction and label over the pairs of a candle: mean, and its interval.

    Of candles that all pairs have, the mean over candles and seeds; weeks are resampled.

    :return: None for fewer than four pairs.
    """
    table = rows.pivot_table(index="date", columns="pair", values=["y", *positions]).dropna()
    if rows["pair"].nunique() < FEWEST_ACROSS or table.empty:
        return None
    ranks = {name: rankdata(table[name], axis=1) for name in ("y", *positions)}
    ranks = {name: one - one.mean(axis=1, keepdims=True) for name, one in ranks.items()}
    size = {name: np.sqrt(np.square(one).sum(axis=1)) for name, one in ranks.items()}
    each = []
    for position in positions:
        both = size["y"] * size[position]
        moved = (ranks["y"] * ranks[position]).sum(axis=1)
        each.append(np.divide(moved, both, out=np.zeros_like(both), where=both > 0))
    of_candle = DataFrame({"rank": np.mean(each, axis=0), "week": _weeks(table.reset_index())})
    weeks = of_candle.groupby("week")["rank"].agg(["sum", "size"]).to_numpy()
    count = len(weeks)
    draws = np.random.default_rng(1).multinomial(count, [1 / count] * count, size=RESAMPLES)
    drawn = (draws @ weeks[:, 0]) / (draws @ weeks[:, 1])
    interval = [float(end) for end in np.percentile(drawn, INTERVAL)]
    return {"rank_correlation": float(np.mean(each)), "interval": interval}


def _intervals(rows: DataFrame, position: int) -> dict[str, float]:
    """Coverage, and the interval score (Gneiting and Raftery 2007) in deviations of the label.

    The score is the width, and for each label outside 2 / (1 − coverage) times its distance; less
    is better. Means are over pairs; the worst week is of all pairs together.
    """
    ends = np.column_stack([rows[(position, end)] for end in ("_lower", "_upper")])
    rows, ends = rows[np.isfinite(ends).all(axis=1)], ends[np.isfinite(ends).all(axis=1)]
    y, (lower, upper) = rows["y"].to_numpy(), ends.T
    outside = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
    spread = rows.groupby("pair")["y"].transform("std")
    made = rows[["pair", "tercile"]].assign(
        within=outside == 0,
        score=(upper - lower + 2 / (1 - COVERAGE) * outside) / spread,
        week=_weeks(rows),
    )
    weeks = made.groupby("week")["within"].agg(["mean", "size"])
    by_pair = made.groupby("pair")[["within", "score"]].mean().mean()
    terciles = made.groupby(["tercile", "pair"])["within"].mean().groupby("tercile").mean()
    return {
        "coverage": float(by_pair["within"]),
        "worst_week": float(weeks.loc[weeks["size"] >= FEWEST_IN_WEEK, "mean"].min()),
        **{f"tercile_{number}": float(value) for number, value in terciles.items()},
        "score": float(by_pair["score"]),
    }


def figures(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float | None]:
    """R² and Pearson's correlation; None for one with constants."""
    total = float(np.sum((y - y.mean()) ** 2))
    # One constant per window is a flat forecast, and its steps from window to window are no skill.
    moves = np.count_nonzero(np.diff(predicted)) > MOST_CONSTANTS
    return {
        "r2": 1 - float(np.sum((y - predicted) ** 2)) / total if total else None,
        "correlation": float(np.corrcoef(y, predicted)[0, 1]) if moves and total else None,
    }


def resampled_r2(rows: DataFrame, positions: Sequence[int]) -> NDArray[np.float64]:
    """R² (mean of pairs and seeds) of every resample of weeks; shape (RESAMPLES,)."""
    weeks = _weeks(rows)
    count = weeks.nunique()
    # The same generator for all, so that all are scored on the same resamples.
    draws = np.random.default_rng(1).multinomial(count, [1 / count] * count, size=RESAMPLES)
    found = []
    for _, of_pair in rows.assign(week=weeks).groupby("pair", sort=False):
        y = of_pair["y"]
        sums = (
            DataFrame(
                {
                    "week": of_pair["week"],
                    "n": 1.0,
                    "y": y,
                    "yy": y**2,
                    "e": _squares(of_pair, positions),
                }
            )
            .groupby("week")
            .sum()
            .reindex(sorted(weeks.unique()), fill_value=0.0)
        )
        n, total, squares, error = (draws @ sums.to_numpy()).T
        around = squares - total**2 / np.maximum(n, 1)
        # NaN where a draw has no week of a pair, or a single candle of it.
        ratio = np.divide(error, around, out=np.full_like(n, np.nan), where=around > 1e-9 * squares)
        found.append(1 - ratio)
    return np.nanmean(found, axis=0)


def diebold_mariano(
    rows: DataFrame, ours: Sequence[int], theirs: Sequence[int], horizon: int
) -> float | None:
    """How sure it is that squared errors of `ours` are less: a normal deviate, above 0 where so.

    Errors are in deviations of the pair's label; a candle's is the mean over pairs and seeds. The
    weights of Bartlett reach over `LAGS` horizons.
    """
    variance = rows.groupby("pair")["y"].transform("var")
    gained = (_squares(rows, theirs) - _squares(rows, ours)) / variance
    series = gained.groupby(rows["date"]).mean().sort_index().to_numpy()
    lags, centred = max(LAGS * horizon, 24), series - series.mean()
    long_run = centred @ centred / len(series)
    for lag in range(1, min(lags, len(series) - 1) + 1):
        long_run += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag]) / len(series)
    return float(series.mean() / np.sqrt(long_run / len(series))) if long_run > 0 else None


def _squares(rows: DataFrame, positions: Sequence[int]) -> pd.Series:
    """Squared errors, mean over positions."""
    return pd.concat([(rows["y"] - rows[i]) ** 2 for i in positions], axis=1).mean(axis=1)


def _weeks(rows: DataFrame) -> pd.Series:
    return (rows["date"] - pd.Timestamp("2024-01-01", tz="UTC")).dt.days // 7


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None
