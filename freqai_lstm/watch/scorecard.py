"""Figures of the last day, week, month and of all, beside what the backtest promised.

The promise of a figure is where the same figure lay in nine of ten stretches of the same length
of the backtest. Figures are those of `evaluate`, from the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from freqai_lstm.evaluate.data import Predictions, newest
from freqai_lstm.evaluate.metrics import NAN, Values, measure, measure_interval, r_squared
from freqai_lstm.evaluate.report import comparable
from freqai_lstm.evaluate.scores import TARGET
from freqai_lstm.model.alarm import Limits, against_intervals, against_skill, evidence, states
from freqai_lstm.model.interval import missed_of
from freqai_lstm.model.quality import MOST
from freqai_lstm.watch.regression import COLUMN as REGRESSION


SPANS = {"day": 1, "week": 7, "month": 30}  # days; and all
SPAN_WORDS = {name: f"the last {name}" for name in SPANS} | {"all": "all predictions"}
COLUMNS = ("realised", "model", "flat", "persistence", "scale", "lower", "upper", REGRESSION)
OTHERS = ("flat", "persistence", REGRESSION)  # R² beside the model's
NEARLY_ALL = 0.9  # of the candles; of fewer an R² says nothing beside the model's
# Figures of a card: whether more of it is better; None where neither is.
FIGURES: dict[str, bool | None] = {
    "r2": True,
    "rank_correlation": True,
    "bias": None,
    "coverage": True,
    "width": None,
    "interval_score": False,
}
# The judged ones: further on their bad side than the band is wide, they give a warning. Of many
# labels some leave the band by chance each week.
JUDGED = ("r2", "interval_score")
BAND = (0.05, 0.95)
FEWEST, MOST_STRETCHES = 8, 120  # stretches of the backtest, side by side and overlapping
FEWEST_LABELS = 24  # known ones of a pair; with fewer a span is not judged


def card(values: Values) -> dict[str, float]:
    """All figures of one pair and label.

    :param values: shape (candles, COLUMNS); of lower, upper, persistence and the regression values
        may be missing.
    :return: candles, FIGURES (bias, width and interval_score in standard deviations of the
        training labels), and R² of OTHERS.
    """
    of = dict(zip(COLUMNS, values.T, strict=True))
    actual, scale = of["realised"], of["scale"]
    found = measure(actual, of["model"]) | measure_interval(actual, of["lower"], of["upper"], scale)
    unit = float(scale.mean()) if len(scale) else NAN
    found["bias"] = found["bias"] / unit if unit > 0 else NAN
    others = {f"{name}_r2": _of_nearly_all(actual, of[name]) for name in OTHERS}
    return {name: found[name] for name in ("candles", *FIGURES)} | others


def _of_nearly_all(actual: Values, predicted: Values) -> float:
    there = np.isfinite(predicted)
    enough = there.sum() >= NEARLY_ALL * len(actual)
    return r_squared(actual[there], predicted[there]) if enough else NAN


def scorecard(live: Predictions, promised: Predictions | None) -> dict[str, Any]:
    """Cards by span, label and pair, with the band that the backtest promised.

    :return: span → label → pair or "mean" → figure → value, low, high, word (inside, below,
        above, or None without a promise), bad (on the bad side). A span that is
        longer than all that was predicted has no entry.
    """
    first, last = live.rows["date"].min(), live.rows["date"].max()
    spans = {
        name: pd.Timedelta(days=days)
        for name, days in SPANS.items()
        if last - first >= pd.Timedelta(days=days)
    }
    # A little more than the first to the last candle, so that both are inside.
    spans["all"] = last - first + pd.Timedelta(seconds=1)
    report: dict[str, Any] = {name: {} for name in spans}
    for target in live.targets:
        known, _ = comparable(live.rows, target)
        then = (
            comparable(promised.rows, target)[0]
            if promised and target in promised.targets
            else None
        )
        for name, length in spans.items():
            recent = known[known["date"] > last - length]
            bands = promise(then, length) if then is not None else {}
            report[name][target] = {
                pair: _beside(of, bands.get(pair, {}))
                for pair, of in cards(
                    {str(pair): _values(rows) for pair, rows in recent.groupby("pair", sort=False)}
                ).items()
            }
    return report


def cards(of_pairs: Mapping[str, Values]) -> dict[str, dict[str, float]]:
    """A card per pair, and their mean.

    :param of_pairs: pair → values as in `card`; pairs without candles are left out.
    """
    found = {pair: card(values) for pair, values in of_pairs.items() if len(values)}
    if not found:
        return {}
    mean = {name: _mean([of[name] for of in found.values()]) for name in next(iter(found.values()))}
    mean["candles"] = sum(of["candles"] for of in found.values())
    return {"mean": mean, **found}


def promise(rows: pd.DataFrame, length: pd.Timedelta) -> dict[str, dict[str, tuple[float, float]]]:
    """Where each figure lay in nine of ten stretches of so long: pair or "mean" → figure → band.

    :param rows: comparable rows of a backtest and one label.
    :return: empty where the backtest is not eight times as long.
    """
    first, last = rows["date"].min(), rows["date"].max()
    if rows.empty or last - first < FEWEST * length:
        return {}
    count = min(int((last - first) / (length / 2)) - 1, MOST_STRETCHES)  # overlapping by half
    starts = [start.floor("s") for start in pd.date_range(first, last - length, periods=count)]
    of_pairs = {str(pair): of.sort_values("date") for pair, of in rows.groupby("pair")}
    dates = {pair: pd.DatetimeIndex(of["date"]) for pair, of in of_pairs.items()}
    values = {pair: _values(of) for pair, of in of_pairs.items()}
    stretches: dict[str, list[dict[str, float]]] = {}
    for start in starts:
        places = {
            pair: slice(*(index.searchsorted(at) for at in (start, start + length)))
            for pair, index in dates.items()
        }
        for pair, found in cards({pair: values[pair][at] for pair, at in places.items()}).items():
            stretches.setdefault(pair, []).append(found)
    return {
        pair: {figure: _band([of[figure] for of in found]) for figure in FIGURES}
        for pair, found in stretches.items()
    }


def _values(rows: pd.DataFrame) -> Values:
    return rows.reindex(columns=list(COLUMNS)).to_numpy("float64")


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else NAN


def _band(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if np.isfinite(value)]
    low, high = np.quantile(known, BAND) if known else (NAN, NAN)
    return float(low), float(high)


def _beside(found: dict[str, float], bands: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    beside: dict[str, Any] = {
        name: found[name] for name in ("candles", *(f"{other}_r2" for other in OTHERS))
    }
    for figure, better in FIGURES.items():
        value, (low, high) = found[figure], bands.get(figure, (NAN, NAN))
        word = None
        if np.isfinite([value, low, high]).all():
            word = "below" if value < low else "above" if value > high else "inside"
        bad = better is not None and word == ("below" if better else "above")
        beside[figure] = {"value": value, "low": low, "high": high, "word": word, "bad": bad}
    return beside


def broken_promises(report: dict[str, Any], pairs: int) -> list[str]:
    """Sentences on judged figures far on their bad side, of the longest span with a promise."""
    for span in ("month", "week", "all", "day"):
        means = {target: of["mean"] for target, of in report.get(span, {}).items() if of}
        promised = {target: of for target, of in means.items() if of["r2"]["word"]}
        if promised and min(of["candles"] for of in promised.values()) >= FEWEST_LABELS * pairs:
            return [
                f"{target}: {figure.replace('_', ' ')} of {SPAN_WORDS[span]} is "
                f"{of[figure]['value']:.3f}; nine of ten stretches of the backtest had "
                f"{of[figure]['low']:.3f} to {of[figure]['high']:.3f}"
                for target, of in promised.items()
                for figure in JUDGED
                if _far(of[figure])
            ]
    return []


def _far(figure: Mapping[str, Any]) -> bool:
    """Whether it is further on its bad side than the band is wide."""
    low, high = figure["low"], figure["high"]
    away = max(low - figure["value"], figure["value"] - high)
    return bool(figure["bad"] and away > high - low)


def alarm(live: Predictions, limits: Limits, candle_seconds: int) -> dict[str, Any]:
    """The sequential test over all pairs and labels at once, see `model/alarm.py`.

    :return: dates (of the bets), evidence, warn, stop (its limits), state, horizon (candles).
    """
    labels = [target for target in live.targets if target != TARGET]
    settled = {target: live.look_ahead[target] for target in labels}
    horizon = max([1, *(ahead for ahead in settled.values() if ahead is not None)])
    rows = newest(live.rows[live.rows["valid"] & live.rows["target"].isin(labels)])
    rows = rows.dropna(subset=["realised"])
    numbers = rows["date"].dt.as_unit("s").astype("int64") // candle_seconds
    rows = rows[numbers % horizon == 0]
    values = rows[["realised", "model", "flat", "scale", "lower", "upper"]].to_numpy("float64").T
    actual, model, flat, scale, lower, upper = values
    bets = pd.DataFrame(
        {
            "date": rows["date"],
            "skill": against_skill(actual, model, flat, scale),
            "intervals": against_intervals(missed_of(actual, lower, upper)),
        }
    )
    bets = bets.groupby("date").mean().sort_index()
    warn, stop = limits.bets(candle_seconds, horizon)
    found = evidence(bets["skill"].to_numpy(), bets["intervals"].to_numpy(), MOST * stop)
    return {
        "dates": [date.isoformat() for date in bets.index],
        "evidence": found.tolist(),
        "warn": warn,
        "stop": stop,
        "state": states(found, warn, stop)[-1] if len(found) else "good",
        "horizon": horizon,
    }
