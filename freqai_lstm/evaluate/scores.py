"""What is particular to ScoreStrategy: T weighed from the labels, its sign, its entries.

Used only where the strategy's file has the names of FORMULAS. T is then one target more, measured
like any label; ridge and LightGBM learn T itself, which is stronger than nine labels weighed
afterwards, so the comparison leans to the baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.strategy import IStrategy
from numpy.typing import NDArray

from freqai_lstm.evaluate.metrics import Values, measure, share


TARGET = "T"
# What is used of the strategy's file, so that labels, weights and units are its own.
FORMULAS = ("LABELS", "weigh", "label_std")


@dataclass(frozen=True)
class Score:
    """The strategy's formulas and current weights; the threshold in label standard deviations."""

    formulas: SimpleNamespace
    weights: dict[str, float]
    threshold: float

    def weigh(self, labels: pd.DataFrame) -> pd.Series:
        """T of realised labels, T̂ of predicted ones."""
        return self.formulas.weigh(labels[list(self.formulas.LABELS)], self.weights)

    def scale(self, predicted: pd.DataFrame) -> NDArray[np.float64]:
        """The label standard deviation of each candle, in the unit of T."""
        return self.formulas.label_std(predicted)


def find_score(strategy: IStrategy) -> Score | None:
    """The score of a strategy, or None where its file has none."""
    # freqtrade's resolver does not put the module into sys.modules; its functions know it.
    for cls in type(strategy).__mro__:
        for member in vars(cls).values():
            names = getattr(member, "__globals__", {})
            if all(name in names for name in FORMULAS) and hasattr(strategy, "threshold_buy"):
                formulas = SimpleNamespace(**{name: names[name] for name in FORMULAS})
                threshold = float(strategy.threshold_buy.value)
                return Score(formulas, dict(strategy.weights), threshold)  # type: ignore[attr-defined]
    return None


def signals(values: Values, threshold: float) -> NDArray[np.int_]:
    """+1 above the threshold, -1 below its negative, else 0: the strategy's entries."""
    return (values > threshold).astype(int) - (values < -threshold).astype(int)


def entry_figures(t: Values, t_hat: Values, threshold: float) -> dict[str, Any]:
    """What T̂ is worth as a signal.

    :param t: realised score in label standard deviations, shape (candles,); NaN gives no signal.
    :param t_hat: predicted score, same shape and unit.
    :param threshold: `threshold_buy` of the strategy, in label standard deviations.
    :return: sign_accuracy where T ≠ 0, and nonzero, the share of these candles; signals, how many
        candles T̂ would enter on; precision, the share of them where T lies beyond the threshold on
        the same side; recall, the share of candles with T beyond it that T̂ would enter on.
    """
    entered, due = signals(t_hat, threshold), signals(t, threshold)
    right, moved = entered == due, t != 0
    return {
        "sign_accuracy": share(np.sign(t[moved]) == np.sign(t_hat[moved])),
        "nonzero": share(moved),
        "signals": int((entered != 0).sum()),
        "precision": share(right[entered != 0]),
        "recall": share(right[due != 0]),
    }


def compare(rows: pd.DataFrame, predictors: Sequence[str], threshold: float) -> dict[str, Any]:
    """Figures of each predictor of T over the same candles.

    :param rows: columns T, scale, valid and one per predictor. Only candles count that the model
        predicted (valid), that have a realised T, and for which every predictor has a value.
    :return: predictor → figures; and "predicted", the share of all candles with a prediction.
    """
    names = [name for name in predictors if name in rows]
    known = rows[rows["valid"] & rows[["T", *names]].notna().all(axis=1)]
    values = known[["T", *names]].astype("float64")
    scaled = values.div(known["scale"].astype("float64"), axis=0)
    figures = {
        name: measure(values["T"].to_numpy(), values[name].to_numpy())
        | entry_figures(scaled["T"].to_numpy(), scaled[name].to_numpy(), threshold)
        for name in names
    }
    return {"predicted": share(rows["valid"].to_numpy(dtype=bool)), **figures}


def score_figures(rows: pd.DataFrame, predictors: Sequence[str], score: Score) -> dict[str, Any]:
    """The score's own section: `compare` for each pair; for all, in label standard deviations."""
    rows = rows.rename(columns={"realised": TARGET})
    names = [TARGET, *predictors]
    pooled = rows.assign(**rows[names].div(rows["scale"], axis=0), scale=1.0)
    groups = {"All pairs": pooled, **dict(list(rows.groupby("pair")))}
    return {
        "threshold_buy": score.threshold,
        "weights": score.weights,
        "pairs": {of: compare(frame, predictors, score.threshold) for of, frame in groups.items()},
    }
