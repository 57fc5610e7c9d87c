"""The evaluation as one dictionary (what the JSON holds), and as tables in the terminal.

Keys of the JSON; figures are those of `evaluate_scores.measure`, null where not defined:

* identifier, strategy, freqaimodel, timerange, timeframe, horizon (candles ahead), threshold_buy
  (label scales), weights: what was evaluated; generated: when.
* predictors: names under which figures stand: "model" and the baselines.
* verdict: colour (green, amber, red), headline, detail, measure (r2 or correlation), model,
  best_baseline and its value, per pair the same.
* all: figures over all pairs and windows, every pair's scores divided by its label scale, per
  predictor; there also r2_mean_of_pairs, r2_worst_pair and the same of correlation. predicted: the
  share of candles with a prediction.
* pairs: pair → the same per pair, in 1 / quote currency.
* windows: one entry per pair and training: pair, start, end (ISO dates), predicted, figures per
  predictor, and training: epochs, best_epoch, seconds, validation_r2 and label_r2 (R² of the nine
  scaled labels on validation rows and on the predicted candles), overfitting (their difference),
  curves (one entry per epoch).
* training: trainings and, over all of them, the means of these and seconds_longest.
* calibration: bins of T̂ in label scales, see `evaluate_scores.calibration`.
* importance: groups of features, see `evaluate_importance`; importance_note.
* notes: what the reader should know, in sentences.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from freqai_lstm.evaluate.data import Window
from freqai_lstm.evaluate.scores import NAN, calibration, compare, in_label_scales
from freqai_lstm.evaluate.setup import Setup


PREDICTORS = ["model", "persistence", "ridge", "lightgbm"]
TITLES = {"persistence": "Persistence", "ridge": "Ridge", "lightgbm": "LightGBM"}
# Differences below this are not worth a colour.
MARGIN = 0.02
# Below this a correlation is none.
FAINT = 0.05
# From this R² on, the answer itself is among a linear model's features.
GIVEN_AWAY = 0.95
# Below this a win over the baselines is a small one.
MODEST = 0.3


def build_report(
    setup: Setup,
    windows: dict[str, list[Window]],
    importance: list[dict[str, Any]],
    importance_note: str,
    notes: list[str],
) -> dict[str, Any]:
    """Everything the evaluation found; keys as in the module's docstring."""
    threshold = setup.threshold
    per_pair = {pair: rows_of(found) for pair, found in windows.items() if found}
    predictors = [name for name in PREDICTORS if name in next(iter(per_pair.values()))]
    pairs = {pair: compare(rows, predictors, threshold) for pair, rows in per_pair.items()}
    scaled = in_label_scales(pd.concat(per_pair.values(), ignore_index=True), predictors)
    everything = compare(scaled, predictors, threshold)
    for name in predictors:
        for figure in ("r2", "correlation"):
            values = [found[name][figure] for found in pairs.values()]
            everything[name] |= {
                f"{figure}_mean_of_pairs": float(np.mean(values)),
                f"{figure}_worst_pair": float(np.min(values)),
            }
    known = scaled[scaled["valid"] & scaled[["T", "model"]].notna().all(axis=1)]
    t, t_hat, scale = (known[name].to_numpy("float64") for name in ("T", "model", "scale"))
    bins = calibration(t, t_hat, scale)
    trained = [
        _window(window, predictors, threshold) for found in windows.values() for window in found
    ]
    return {
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "identifier": str(setup.config["freqai"]["identifier"]),
        "strategy": setup.config["strategy"],
        "freqaimodel": setup.config["freqaimodel"],
        "timerange": f"{scaled['date'].min():%Y-%m-%d} to {scaled['date'].max():%Y-%m-%d}",
        "timeframe": setup.config["timeframe"],
        "horizon": setup.horizon,
        "threshold_buy": threshold,
        "weights": dict(setup.strategy.weights),
        "predictors": predictors,
        "verdict": verdict(everything, pairs, predictors, setup.horizon),
        "all": everything,
        "pairs": pairs,
        "windows": trained,
        "training": _trainings([window["training"] for window in trained]),
        "calibration": bins.to_dict("records"),
        "importance": importance,
        "importance_note": importance_note,
        "notes": notes,
    }


def rows_of(windows: list[Window]) -> pd.DataFrame:
    """The candles of one pair; of a candle predicted twice, the newest training's."""
    rows = pd.concat([window.rows for window in windows], ignore_index=True)
    return rows.drop_duplicates("date", keep="last").sort_values("date", ignore_index=True)


def verdict(
    everything: dict[str, Any], pairs: dict[str, Any], predictors: list[str], horizon: int
) -> dict[str, Any]:
    """Did it learn anything? Green: better than every baseline on every pair.

    Amber: better over all but not on every pair, or as good within 0.02, or behind nothing but a
    ridge regression that copies T from the features (horizon 0 only). Red: none of these, or no
    skill at all. The measure is R² for the score of the same candle, which can be known to the last
    digit, and the correlation for a later one, where no model comes near it.
    """
    measure, named = ("r2", "R²") if horizon == 0 else ("correlation", "Correlation")
    baselines = [name for name in predictors if name != "model"]

    def against(figures: dict[str, Any]) -> tuple[float, str, float]:
        # A constant baseline has no correlation: that is no skill.
        values = {name: _or(figures[name][measure], 0.0) for name in baselines}
        best = max(values, key=lambda name: values[name])
        return _or(figures["model"][measure], 0.0), best, values[best]

    model, best, value = against(everything)
    each = {pair: against(figures) for pair, figures in pairs.items()}
    behind = [pair for pair, (own, _, other) in each.items() if own <= other]
    figures = (
        f"{named} {model:.2f} on candles it was not trained on; {TITLES[best]}, the best baseline, "
        f"has {value:.2f}."
    )
    if model <= FAINT:
        colour, headline = "red", "No. The predictions say next to nothing about the score."
    elif model > value and not behind:
        colour, much = "green", "Yes" if model > MODEST else "A little"
        headline = f"{much}. It learned, and beats {_all_of(baselines)} on every pair."
    elif model > value:
        colour = "amber"
        headline = f"Partly. It learned, but does not beat every baseline on {', '.join(behind)}."
    elif model > value - MARGIN:
        colour, headline = "amber", f"It learned, but no more than {TITLES[best]} knows as well."
    elif _copied(everything, pairs, baselines, horizon):
        colour = "amber"
        headline = "It learned, but a ridge regression copies the score from the features."
    else:
        colour, headline = "red", f"It learned something, but {TITLES[best]} does better."
    if set(baselines) == {"persistence"}:
        figures += " Only persistence was compared; ridge and LightGBM were left out."
    return {
        "colour": colour,
        "headline": headline,
        "detail": figures,
        "measure": measure,
        "model": model,
        "best_baseline": best,
        "best_baseline_value": value,
        "pairs": {
            pair: {"model": own, "best_baseline": name, "best_baseline_value": other}
            for pair, (own, name, other) in each.items()
        },
    }


def _copied(
    everything: dict[str, Any], pairs: dict[str, Any], baselines: list[str], horizon: int
) -> bool:
    """Whether the features give T away to a linear model, and the model beats all the others."""
    if horizon or "ridge" not in baselines or everything["ridge"]["r2"] < GIVEN_AWAY:
        return False
    return all(
        figures["model"]["r2"] > _or(figures[name]["r2"], 0.0)
        for figures in (everything, *pairs.values())
        for name in baselines
        if name != "ridge"
    )


def _all_of(baselines: list[str]) -> str:
    names = [TITLES[name] for name in baselines]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _window(window: Window, predictors: list[str], threshold: float) -> dict[str, Any]:
    report = window.report
    validation = report.get("validation_r2")
    training = {
        **{key: report.get(key) for key in ("epochs", "best_epoch", "seconds")},
        "validation_r2": validation,
        "label_r2": window.label_r2,
        "overfitting": NAN if validation is None else validation - window.label_r2,
        "curves": report.get("curves", []),
    }
    span = {
        name: datetime.fromtimestamp(second, UTC).isoformat()
        for name, second in (("start", window.start), ("end", window.end))
    }
    figures = compare(window.rows, predictors, threshold)
    return {"pair": window.pair, **span, **figures, "training": training}


def _trainings(trainings: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(key: str) -> float:
        values = [_or(training[key], NAN) for training in trainings if training[key] is not None]
        values = [value for value in values if math.isfinite(value)]
        return float(np.mean(values)) if values else NAN

    seconds = [training["seconds"] for training in trainings if training["seconds"] is not None]
    keys = ("epochs", "seconds", "validation_r2", "label_r2", "overfitting")
    return {
        "trainings": len(trainings),
        **{key: mean(key) for key in keys},
        "seconds_longest": max(seconds, default=NAN),
    }


def without_nan(value: Any) -> Any:
    """The same with null for what is not a finite number, as JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


COLUMNS = (
    ("R²", "r2", "{:.3f}"),
    ("Corr.", "correlation", "{:.3f}"),
    ("Sign", "sign_accuracy", "{:.1%}"),
    ("Prec.", "precision", "{:.1%}"),
    ("Recall", "recall", "{:.1%}"),
    ("Slope", "slope", "{:.2f}"),
    ("RMSE", "rmse_scaled", "{:.3f}"),
)


def shown(value: float | None, form: str) -> str:
    """The figure as text, or a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = form.format(value)
    return text.removeprefix("-") if not text.strip("-0.%") else text


def print_report(report: dict[str, Any], console: Console) -> None:
    """The verdict, the figures per pair and predictor, and the trainings."""
    found = report["verdict"]
    style = {"green": "green", "amber": "yellow", "red": "red"}[found["colour"]]
    table = Table("Out of sample", box=box.SIMPLE_HEAD, pad_edge=False)
    for title, _, _ in COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for pair, figures in (*report["pairs"].items(), ("All pairs", report["all"])):
        for name in report["predictors"]:
            cells = [shown(figures[name][key], form) for _, key, form in COLUMNS]
            own = name == "model"
            first = pair.split(":")[0] if own else f"  {TITLES[name]}"
            last = name == report["predictors"][-1]
            table.add_row(first, *cells, style="bold" if own else "dim", end_section=last)
    console.print(table)
    trained = report["training"]
    console.print(
        f"{trained['trainings']} trainings, {shown(trained['seconds'], '{:.1f}')} s each "
        f"(longest {shown(trained['seconds_longest'], '{:.1f}')} s); R² of the nine labels: "
        f"{shown(trained['validation_r2'], '{:.2f}')} in validation, "
        f"{shown(trained['label_r2'], '{:.2f}')} out of sample. "
        f"{report['all']['predicted']:.1%} of the candles have a prediction. "
        "Precision, recall: entries. RMSE in label scales.",
        highlight=False,
    )
    for note in report["notes"]:
        console.print(f"Note: {note}", markup=False, highlight=False)
    console.print(
        Panel(f"{found['headline']}\n{found['detail']}", title="Did it learn?", border_style=style)
    )
