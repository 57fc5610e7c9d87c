"""What the alarm of `freqai.watch` would have done with the predictions of an exam.

The evidence is that of `freqai_lstm/model/alarm.py`, on the saved predictions of LSTMRegressor.
How seldom it is wrong in a market that stays as it was: the year's own weeks, put together anew at
random, are such a market.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reports import environment, environment_line, markdown_table
from benchmarks.targets.results import Result
from benchmarks.targets.setup import Exam
from freqai_lstm.model.alarm import Limits
from freqai_lstm.model.quality import Known


LIMITS = Limits()
HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
RESAMPLED = 100  # years of weeks put together anew
# The plain rule: long in every pair with this move per candle forecast, at most a whole stake.
VOLATILITY, MOVE, FEE = "&-log_volatility", 0.005, 0.0005
SHORT = Limits(1, 7)


def measure_alarm(exam: Exam, result: Result) -> dict[str, Any]:
    """Return, by group of labels: pairs that warned and stopped, candles silenced, R², faults."""
    ahead = [label for label in exam.labels if label.horizon > 0]
    groups = {label.title: [label] for label in ahead} | {"all that lie ahead": ahead}
    found = {}
    for name, labels in groups.items():
        columns, horizons = [o.column for o in labels], [o.horizon for o in labels]
        pairs: list[dict[str, Any]] = []
        resampled, broken = np.zeros(2), []
        for number, pair in enumerate(exam.pairs):
            frame = exam.frame(pair)[["date", *columns]]
            past = result.predictions[result.predictions["pair"] == pair]
            known = Known.of(past, frame, columns, horizons)
            at = past["date"].to_numpy("datetime64[s]").astype(np.int64)
            states = np.array(known.alarm(at, HOUR, max(horizons), LIMITS, len(exam.pairs)))
            merged = past.merge(frame, on="date", suffixes=("", "_true"))
            pairs.append(
                {
                    "pair": pair,
                    "warned": bool((states != "good").any()),
                    "stopped": bool((states == "stop").any()),
                    "silenced": float((states == "stop").mean()),
                    "r2_silenced": _r2(merged[states == "stop"], columns),
                    "r2_others": _r2(merged[states != "stop"], columns),
                }
            )
            broken.append(_days_until_stop(past, frame, columns, horizons, len(exam.pairs)))
            resampled += _resampled(known, max(horizons), len(exam.pairs), number)
        warnings, stops = (resampled / RESAMPLED).tolist()  # of all pairs, so of a bot
        found[name] = {"pairs": pairs, "warnings_a_year": warnings, "stops_a_year": stops}
        found[name]["days_until_stop"] = broken
    money = [
        {
            "model": model,
            "limits": [limits.warn, limits.stop],
            **measure_money(exam, result, limits, stuck),
        }
        for model, stuck in (("as it was", False), ("stuck from the middle on", True))
        for limits in (LIMITS, SHORT)
    ]
    return {
        "range": exam.timerange,
        "environment": environment(),
        "groups": found,
        "money": money,
    }


def _stuck(past: pd.DataFrame) -> pd.DataFrame:
    """The same, but from the middle of the range on the model repeats one prediction."""
    half, names = len(past) // 2, [name for name in past if str(name).startswith("&")]
    later = np.arange(len(past)) >= half
    return past.assign(
        **{str(name): np.where(later, past[name].iloc[half], past[name]) for name in names}
    )


def measure_money(exam: Exam, result: Result, limits: Limits, stuck: bool) -> dict[str, Any]:
    """What a plain rule earns with and without the alarm, in stakes, mean over the pairs.

    :return: alone, with_alarm, difference and its interval, from weeks drawn anew; falls, the
        largest one from a peak without and with; silenced, the share of candles on which the alarm
        kept it out.
    """
    (label,) = (one for one in exam.labels if one.column == VOLATILITY)
    candles, silenced = [], []
    for pair in exam.pairs:
        frame = exam.frame(pair)[["date", "close", VOLATILITY]]
        past = result.predictions[result.predictions["pair"] == pair]
        past = _stuck(past) if stuck else past
        known = Known.of(past, frame, [VOLATILITY], [label.horizon])
        at = past["date"].to_numpy("datetime64[s]").astype(np.int64)
        states = np.array(known.alarm(at, HOUR, label.horizon, limits, len(exam.pairs)))
        close = past.merge(frame[["date", "close"]], on="date", how="left")["close"].to_numpy()
        ahead = np.append(close[1:] / close[:-1] - 1, 0.0)
        stake = np.minimum(MOVE / np.exp(past[VOLATILITY].to_numpy()), 1)
        stake *= past["do_predict"].to_numpy() == 1
        kept = stake * (states != "stop")
        earned = [of * ahead - FEE * np.abs(np.diff(of, prepend=0)) for of in (stake, kept)]
        candles.append(pd.DataFrame(np.array(earned).T, at, columns=["alone", "with_alarm"]))
        silenced.append(float((states == "stop").mean()))
    mean = pd.concat(candles).groupby(level=0).sum() / len(candles)
    sums = mean.cumsum()
    gained = (mean["with_alarm"] - mean["alone"]).groupby(mean.index // WEEK).sum().to_numpy()
    drawn = np.random.default_rng(1).choice(gained, (2000, len(gained))).sum(axis=1)
    return {
        **{str(name): float(mean[name].sum()) for name in mean},
        "difference": float(gained.sum()),
        "interval": np.quantile(drawn, [0.025, 0.975]).tolist(),
        "falls": (sums.cummax() - sums).max().tolist(),
        "silenced": float(np.mean(silenced)),
    }


def _days_until_stop(
    past: pd.DataFrame, frame: pd.DataFrame, columns: list[str], horizons: list[int], tests: int
) -> float | None:
    """Days from the middle of the range, where the model gets stuck, to the stop."""
    half = len(past) // 2
    known = Known.of(_stuck(past), frame, columns, horizons)
    at = past["date"].to_numpy("datetime64[s]").astype(np.int64)
    states = np.array(known.alarm(at, HOUR, max(horizons), LIMITS, tests))
    stopped = np.flatnonzero(states[half:] == "stop")
    return float(at[half + stopped[0]] - at[half]) / DAY if len(stopped) else None


def _resampled(known: Known, horizon: int, tests: int, seed: int) -> np.ndarray:
    """How often (warn, stop) begins in years made of the year's own weeks, in all of them."""
    weeks = np.unique(known.seconds // WEEK)
    begins, random = np.zeros(2), np.random.default_rng(seed)
    rows = {week: np.flatnonzero(known.seconds // WEEK == week) for week in weeks}
    for _ in range(RESAMPLED):
        chosen = random.choice(weeks, len(weeks))
        order = np.concatenate([rows[week] for week in chosen])
        moved = [
            known.seconds[rows[week]] + (place - int(week)) * WEEK
            for place, week in enumerate(chosen)
        ]
        seconds = np.concatenate(moved)
        year = Known(seconds, known.missed[order], known.skill[order])
        states = np.array(year.alarm(seconds, HOUR, horizon, LIMITS, tests))
        worse = states != "good", states == "stop"
        begins += [float((one[1:] & ~one[:-1]).sum()) for one in worse]
    return begins


def _found(days: list[float | None]) -> str:
    known = [one for one in days if one is not None]
    return f"{len(known)}, {np.median(known):.0f}" if known else "0"


def _r2(rows: pd.DataFrame, columns: list[str]) -> float | None:
    """Mean over labels of 1 - squared errors / those of the training mean; None without rows."""
    values = []
    for column in columns:
        actual = rows[f"{column}_true"]
        ours = float(((actual - rows[column]) ** 2).sum())
        flat = float(((actual - rows[f"{column}_mean"]) ** 2).sum())
        if flat > 0:
            values.append(1 - ours / flat)
    return float(np.mean(values)) if values else None


def as_markdown(figures: dict[str, Any]) -> str:
    """The page of `measure_alarm`'s figures."""
    rows = []
    for name, group in figures["groups"].items():
        pairs = group["pairs"]
        silenced = [p["r2_silenced"] for p in pairs if p["r2_silenced"] is not None]
        others = [p["r2_others"] for p in pairs if p["r2_others"] is not None]
        rows.append(
            {
                "labels": name,
                f"of {len(pairs)} pairs, warned / stopped": (
                    f"{sum(p['warned'] for p in pairs)} / {sum(p['stopped'] for p in pairs)}"
                ),
                "candles silenced": f"{np.mean([p['silenced'] for p in pairs]):.1%}",
                "R² on them": f"{np.mean(silenced):.3f}" if silenced else "–",
                "R² on the others": f"{np.mean(others):.3f}" if others else "–",
                "stuck model: pairs stopped, median days": _found(group["days_until_stop"]),
                "warnings / stops of a bot in a year of weeks put together anew": (
                    f"{group['warnings_a_year']:.1f} / {group['stops_a_year']:.2f}"
                ),
            }
        )
    text = [
        "# What the alarm would have done",
        "`python -m benchmarks.targets alarm judge`, after `run judge --only lstm --seeds 1`",
        f"{environment_line(figures['environment'])} Predictions of LSTMRegressor, seed 1, "
        f"{figures['range']}, ten pairs at 1h; `freqai.watch` with its defaults, warn "
        f"{LIMITS.warn:g} and stop {LIMITS.stop:g} days. A bot has one alarm for all its labels, "
        "the last row; the others are bots that learn this label alone. R² is against the mean "
        "of the training labels. A stuck model repeats one prediction from the middle of the range "
        "on. The last column is of years in which nothing changes: for a label "
        "that can be forecast every alarm there is a false one, for one that cannot none is.",
        markdown_table(rows),
        "## What it costs or saves",
        f"A plain rule: long in each of the ten perpetuals with {MOVE:.1%} / forecast volatility "
        "of the next 12 candles as stake, at most 1, changed at each close for "
        f"{FEE:.2%} of the change; nothing where the alarm stands at stop. Sums of the range, in "
        "stakes, mean over the pairs; 95 % intervals from weeks drawn anew. The bot learns this "
        "label alone.",
        markdown_table([_money_row(row) for row in figures["money"]]),
    ]
    return "\n\n".join(text) + "\n"


def _money_row(row: dict[str, Any]) -> dict[str, str]:
    low, high = row["interval"]
    return {
        "model": row["model"],
        "warn / stop, days": " / ".join(f"{days:g}" for days in row["limits"]),
        "candles silenced": f"{row['silenced']:.1%}",
        "without the alarm": f"{row['alone']:+.3f}",
        "with it": f"{row['with_alarm']:+.3f}",
        "largest fall, without / with": " / ".join(f"{fall:.3f}" for fall in row["falls"]),
        "difference": f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]",
    }
