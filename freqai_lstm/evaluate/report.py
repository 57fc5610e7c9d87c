"""The evaluation as one dictionary: what the JSON file holds, and the page and tables show.

* identifier, strategy, freqaimodel, timerange, timeframe: what was evaluated; generated: when;
  against: identifiers of other runs; models: a row for each model, as in models.py.
* headline: targets (that the verdict is on), model (R² with its interval), tone, title, detail,
  doubt (what the intervals are made of); by_target: titles where there are several; against:
  identifier → the verdict beside that run.
* targets: target → look_ahead (candles until it is settled, null where it never is); predictors
  ("model", baselines, the other run); pairs: pair → predictor → `metrics.measure`, intervals
  (skill → value, low, high) and, but for the model, differences (the model minus it: skill →
  value, low, high, word); mean: predictor → skill → value, low, high over the pairs; differences:
  baseline → skill → value, low, high, word; verdict: tone, title, detail; calibration: bins in
  standard deviations of the training labels; stability, doubt, returns, decay, thresholds: as in
  signal.py; regimes: as in regimes.py.
* trades: as in trades.py, or null; without_trades: why.
* score: for ScoreStrategy threshold_buy, weights, and pair → predictor → `scores.compare`; or null.
* windows: pair, start, end (ISO dates), predicted (share of candles with a prediction), skill:
  target → predictor → figures; training: what the model noted of it, with unseen_r2, the R² of
  the labels in standard deviations on the predicted candles.
* explanation: as in explanation.py, or null; added by the command.
* notes: what the reader should know.

Differences are the model's figure minus the other's. Figures that are not defined are null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.evaluate.data import RUN, Predictions, newest
from freqai_lstm.evaluate.intervals import (
    EXACT,
    SKILLS,
    blocks_of,
    compare_skills,
    drawn_skills,
    interval,
)
from freqai_lstm.evaluate.metrics import calibration, measure
from freqai_lstm.evaluate.models import OWN, by_model
from freqai_lstm.evaluate.regimes import by_regime
from freqai_lstm.evaluate.scores import TARGET, score_figures
from freqai_lstm.evaluate.setup import Setup
from freqai_lstm.evaluate.signal import (
    along_threshold,
    decay,
    later_returns,
    own_doubt,
    stability,
)
from freqai_lstm.evaluate.words import TITLES, in_words, listed, shown, titled


# The verdict of each target is repeated in the box up to so many.
MOST_LISTED = 6


def build_report(
    setup: Setup,
    found: Predictions,
    notes: Sequence[str],
    trades: dict[str, Any] | str,
    runs: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Everything the evaluation found; keys as in the module's docstring.

    :param trades: from `trades.money`, or why there are none.
    :param runs: column of another run's predictions → name of its model.
    """
    known = {target: comparable(found.rows, target) for target in found.targets}
    draws = {
        target: {skill: drawn_skills(rows, names, skill) for skill in SKILLS}
        for target, (rows, names) in known.items()
    }
    chosen = headline_targets(found)
    shared = [name for name in known[chosen[0]][1] if all(name in known[t][1] for t in chosen)]
    baselines = [name for name in shared if name not in runs]
    r2 = {t: pd.DataFrame(draws[t]["r2"], columns=known[t][1])[shared] for t in chosen}
    overall = pd.concat(r2.values()).groupby(level=0).mean()
    same_candle = all(found.look_ahead[target] == 0 for target in chosen)
    targets = {
        target: _target(rows, names, draws[target], found, target)
        for target, (rows, names) in known.items()
    }
    config, first = setup.config, known[chosen[0]][0]
    blocks, kind = blocks_of(first["date"])
    report = {
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "identifier": str(config["freqai"]["identifier"]),
        "strategy": config["strategy"],
        "freqaimodel": config["freqaimodel"],
        "timerange": f"{first['date'].min():%Y-%m-%d} to {first['date'].max():%Y-%m-%d}",
        "timeframe": config["timeframe"],
        "against": [column.removeprefix(RUN) for column in runs],
        "headline": {
            "targets": chosen,
            "model": interval(overall["model"].to_numpy()),
            "by_target": {
                target: targets[target]["verdict"]["title"]
                for target in chosen
                if 1 < len(chosen) <= MOST_LISTED
            },
            **verdict(overall[baselines].to_numpy(), baselines, same_candle),
            "doubt": f"95 % intervals from {len(np.unique(blocks))} {kind}, drawn in blocks",
            "against": {
                column.removeprefix(RUN): verdict(
                    overall[["model", column]].to_numpy(), ["model", column], same_candle
                )
                for column, name in runs.items()
                if name != OWN  # a further seed of this model
            },
        },
        "targets": targets,
        "trades": None if isinstance(trades, str) else trades,
        "without_trades": trades if isinstance(trades, str) else None,
        "score": setup.score and score_figures(*known[TARGET], setup.score),
        "windows": _windows(found),
        "notes": list(notes),
    }
    return report | {"models": by_model(report, runs) if runs else []}


def headline_targets(found: Predictions) -> list[str]:
    """What the verdict is on: the strategy's score where it has one, else all its labels."""
    return [TARGET] if TARGET in found.targets else found.targets


def comparable(rows: pd.DataFrame, target: str) -> tuple[pd.DataFrame, list[str]]:
    """Candles on which every predictor of a target can be measured, and the predictors' names."""
    rows = newest(rows[(rows["target"] == target) & rows["valid"]])
    others = [str(name) for name in rows if str(name).startswith(RUN)]
    names = [name for name in (*TITLES, *others) if name in rows and rows[name].notna().any()]
    return rows.dropna(subset=["realised", *names]), names


def verdict(draws: NDArray[np.float64], names: Sequence[str], same_candle: bool) -> dict[str, str]:
    """Better, worse or undecided against each baseline, in words, with a tone for the colour.

    :param draws: R² on the range and its draws, shape (1 + draws, predictors), the model first.
    :param same_candle: the label is settled on the candle itself, so nothing is foretold.
    """
    words = {
        titled(name): compare_skills(draws[:, [0, column]])["word"]
        for column, name in enumerate(names)
        if column
    }
    best = 1 + int(np.argmax(draws[0, 1:]))
    other, skill = titled(names[best]), shown(draws[0, best])
    detail = f"R² {shown(draws[0, 0])} on candles it was not trained on; "
    detail += f"{other}{', the best baseline,' if len(names) > 2 else ''} has {skill}."
    if same_candle:
        title = f"Reproduction, no forecast: R² {shown(draws[0, 0])}"
        detail = (
            "The label is settled on the candle whose features the model sees. A high R² shows "
            f"that data, windows and scaling fit together; it foretells nothing. {detail}"
        )
        return {"tone": "neutral", "title": title, "detail": detail}
    exact = [name for name, word in words.items() if word == EXACT]
    if exact:
        title = f"Nothing to decide between it and {listed(exact)}: all are exact"
        return {"tone": "neutral", "title": title, "detail": detail}
    tone, title = in_words(words)
    return {"tone": tone, "title": title, "detail": detail}


def _target(
    rows: pd.DataFrame,
    names: list[str],
    draws: Mapping[str, Any],
    found: Predictions,
    target: str,
) -> dict[str, Any]:
    scaled = rows[["realised", "model"]].div(rows["scale"].where(rows["scale"] > 0), axis=0)
    look_ahead = found.look_ahead[target]
    return {
        "look_ahead": look_ahead,
        "predictors": names,
        "pairs": {pair: _pair(of_pair, names) for pair, of_pair in rows.groupby("pair")},
        "mean": {
            name: {skill: interval(draws[skill][:, column]) for skill in SKILLS}
            for column, name in enumerate(names)
        },
        "differences": _differences(draws, names),
        "verdict": verdict(draws["r2"], names, look_ahead == 0),
        "calibration": calibration(*scaled.dropna().to_numpy("float64").T).to_dict("records"),
        "stability": stability(rows),
        "doubt": own_doubt(rows),
        "regimes": by_regime(rows, found.candles),
        "returns": later_returns(rows, found.candles),
        "decay": decay(rows),
        "thresholds": along_threshold(rows),
    }


def _pair(rows: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    draws = {skill: drawn_skills(rows, names, skill) for skill in SKILLS}
    figures, differences = _figures(rows, names), _differences(draws, names)
    for column, name in enumerate(names):
        figures[name]["intervals"] = {skill: interval(draws[skill][:, column]) for skill in SKILLS}
        if column:
            figures[name]["differences"] = differences[name]
    return figures


def _differences(draws: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {
        name: {skill: compare_skills(draws[skill][:, [0, column]]) for skill in SKILLS}
        for column, name in enumerate(names)
        if column
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
