"""The evaluation as one dictionary: what `evaluation.json` holds, and the page and tables show.

* identifier, strategy, freqaimodel, timerange, timeframe: what was evaluated; generated: when.
* headline: targets (that the verdict is on), model (R² with its interval), tone, title, detail,
  doubt (what the intervals are made of).
* targets: target → look_ahead (candles until it is settled, null where it never is); predictors
  ("model" and baselines); pairs: pair → predictor → `metrics.measure`; mean: predictor → skill →
  value, low, high over the pairs; differences: baseline → skill → value, low, high, word;
  verdict: tone, title, detail; calibration: bins in standard deviations of the training labels.
* score: for ScoreStrategy threshold_buy, weights, and pair → predictor → `scores.compare`; or null.
* windows: pair, start, end (ISO dates), predicted (share of candles with a prediction), skill:
  target → predictor → figures; training: what the model noted of it, with unseen_r2, the R² of
  the labels in standard deviations on the predicted candles.
* importance: group of features, drop, features; notes: what the reader should know.

Figures that are not defined are null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.evaluate.data import Predictions, newest
from freqai_lstm.evaluate.intervals import (
    BETTER,
    EXACT,
    SKILLS,
    UNDECIDED,
    WORSE,
    blocks_of,
    compare_skills,
    drawn_skills,
    interval,
)
from freqai_lstm.evaluate.metrics import calibration, measure
from freqai_lstm.evaluate.scores import TARGET, score_figures
from freqai_lstm.evaluate.setup import Setup


TITLES = {
    "model": "the model",
    "flat": "the flat mean",
    "persistence": "persistence",
    "ridge": "ridge",
    "lightgbm": "LightGBM",
}


def build_report(
    setup: Setup, found: Predictions, importance: pd.DataFrame, notes: Sequence[str]
) -> dict[str, Any]:
    """Everything the evaluation found; keys as in the module's docstring."""
    known = {target: comparable(found.rows, target) for target in found.targets}
    draws = {
        target: {skill: drawn_skills(rows, names, skill) for skill in SKILLS}
        for target, (rows, names) in known.items()
    }
    chosen = headline_targets(found)
    shared = [name for name in TITLES if all(name in known[target][1] for target in chosen)]
    r2 = {t: pd.DataFrame(draws[t]["r2"], columns=known[t][1])[shared] for t in chosen}
    overall = np.mean([frame.to_numpy() for frame in r2.values()], axis=0)
    same_candle = all(found.look_ahead[target] == 0 for target in chosen)
    config, first = setup.config, known[chosen[0]][0]
    blocks, kind = blocks_of(first["date"])
    return {
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "identifier": str(config["freqai"]["identifier"]),
        "strategy": config["strategy"],
        "freqaimodel": config["freqaimodel"],
        "timerange": f"{first['date'].min():%Y-%m-%d} to {first['date'].max():%Y-%m-%d}",
        "timeframe": config["timeframe"],
        "headline": {
            "targets": chosen,
            "model": interval(overall[:, 0]),
            **verdict(overall, shared, same_candle),
            "doubt": f"95 % intervals from {len(np.unique(blocks))} {kind}, drawn in blocks",
        },
        "targets": {
            target: _target(rows, names, draws[target], found.look_ahead[target])
            for target, (rows, names) in known.items()
        },
        "score": setup.score and score_figures(*known[TARGET], setup.score),
        "windows": _windows(found),
        "importance": importance.to_dict("records"),
        "notes": list(notes),
    }


def headline_targets(found: Predictions) -> list[str]:
    """What the verdict is on: the strategy's score where it has one, else all its labels."""
    return [TARGET] if TARGET in found.targets else found.targets


def comparable(rows: pd.DataFrame, target: str) -> tuple[pd.DataFrame, list[str]]:
    """Candles on which every predictor of a target can be measured, and the predictors' names."""
    rows = newest(rows[(rows["target"] == target) & rows["valid"]])
    names = [name for name in TITLES if name in rows and rows[name].notna().any()]
    return rows.dropna(subset=["realised", *names]), names


def verdict(draws: NDArray[np.float64], names: Sequence[str], same_candle: bool) -> dict[str, str]:
    """Better, worse or undecided against each baseline, in words, with a tone for the colour.

    :param draws: R² on the range and its draws, shape (1 + draws, predictors), the model first.
    :param same_candle: the label is settled on the candle itself, so nothing is foretold.
    """
    by_word: dict[str, list[str]] = {}
    for column, name in enumerate(names[1:], start=1):
        word = compare_skills(draws[:, [0, column]])["word"]
        by_word.setdefault(word, []).append(TITLES[name])
    best = 1 + int(np.argmax(draws[0, 1:]))
    other, skill = TITLES[names[best]], shown(draws[0, best])
    detail = f"R² {shown(draws[0, 0])} on candles it was not trained on; "
    detail += f"{other}, the best baseline, has {skill}."
    if same_candle:
        title = f"Reproduction, no forecast: R² {shown(draws[0, 0])}"
        detail = (
            "The label is settled on the candle whose features the model sees. A high R² shows "
            f"that data, windows and scaling fit together; it foretells nothing. {detail}"
        )
        return {"tone": "neutral", "title": title, "detail": detail}
    if EXACT in by_word:
        title = f"Nothing to decide between it and {_listed(by_word[EXACT])}: all are exact"
        return {"tone": "neutral", "title": title, "detail": detail}
    parts = [f"{word} than {_listed(by_word[word])}" for word in (WORSE, BETTER) if word in by_word]
    if UNDECIDED in by_word:
        parts.append(f"{UNDECIDED} from {_listed(by_word[UNDECIDED])}")
    tone = "bad" if WORSE in by_word else "neutral" if UNDECIDED in by_word else "good"
    title = "; ".join(parts)
    return {"tone": tone, "title": title[0].upper() + title[1:], "detail": detail}


def _target(
    rows: pd.DataFrame, names: list[str], draws: Mapping[str, Any], look_ahead: int | None
) -> dict[str, Any]:
    scaled = rows[["realised", "model"]].div(rows["scale"].where(rows["scale"] > 0), axis=0)
    columns = list(enumerate(names))
    return {
        "look_ahead": look_ahead,
        "predictors": names,
        "pairs": {pair: _figures(of_pair, names) for pair, of_pair in rows.groupby("pair")},
        "mean": {
            name: {skill: interval(draws[skill][:, column]) for skill in SKILLS}
            for column, name in columns
        },
        "differences": {
            name: {skill: compare_skills(draws[skill][:, [0, column]]) for skill in SKILLS}
            for column, name in columns[1:]
        },
        "verdict": verdict(draws["r2"], names, look_ahead == 0),
        "calibration": calibration(*scaled.dropna().to_numpy("float64").T).to_dict("records"),
    }


def _figures(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    values = {name: rows[name].to_numpy("float64") for name in ("realised", *names)}
    return {name: measure(values["realised"], values[name]) for name in names}


def _windows(found: Predictions) -> list[dict[str, Any]]:
    reports = []
    for window in found.windows:
        rows = found.rows[
            (found.rows["pair"] == window.pair) & (found.rows["start"] == window.start)
        ]
        labels = rows[rows["valid"] & (rows["target"] != TARGET)].dropna(subset="realised")
        centre = labels.groupby("target")["realised"].transform("mean")
        residual = ((labels["realised"] - labels["model"]) / labels["scale"]) ** 2
        total = ((labels["realised"] - centre) / labels["scale"]) ** 2
        unseen_r2 = 1 - residual.sum() / total.sum() if total.sum() > 0 else math.nan
        reports.append(
            {
                "pair": window.pair,
                "start": datetime.fromtimestamp(window.start, UTC).isoformat(),
                "end": datetime.fromtimestamp(window.end, UTC).isoformat(),
                "predicted": float(rows["valid"].mean()),
                "skill": {name: _figures(*comparable(rows, name)) for name in found.targets},
                "training": window.report | {"unseen_r2": float(unseen_r2)},
            }
        )
    return reports


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shown(value: float | None, form: str = "{:.3f}") -> str:
    """The figure as text, or a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = form.format(value)
    return text.removeprefix("-") if not text.strip("-0.%") else text
