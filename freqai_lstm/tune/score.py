"""What a trial's predictions are worth: one number, larger is better, out of sample.

It is the mean over the pairs of a figure of the evaluation, of the strategy's score T where it has
one, else over all its labels too. A candle without a prediction counts as predicted with the mean
of the training labels, else a strict `DI_threshold` would win by leaving hard candles out. A figure
that is not defined, such as a correlation with a constant, counts as 0.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from freqai_lstm.evaluate.data import newest, read_predictions
from freqai_lstm.evaluate.intervals import compare_skills, drawn_skills
from freqai_lstm.evaluate.metrics import measure
from freqai_lstm.evaluate.report import headline_targets
from freqai_lstm.evaluate.setup import Setup


class Metric(StrEnum):
    """The figure: R², Pearson's or Spearman's correlation."""

    R2 = "r2"
    CORRELATION = "correlation"
    RANK_CORRELATION = "rank_correlation"


def read_forecasts(setup: Setup) -> pd.DataFrame:
    """Read what FreqAI saved within the setup's timerange.

    :return: a row per pair, target and candle: pair, target, date, realised, forecast, predicted
        (False where the forecast is the mean of the training labels).
    :raises EvaluationFailed: the predictions cannot be read, or are of other labels.
    """
    found = read_predictions(setup)
    rows = newest(found.rows[found.rows["target"].isin(headline_targets(found))])
    forecast = rows["model"].where(rows["valid"], rows["flat"].fillna(0.0))
    rows = rows.assign(forecast=forecast, predicted=rows["valid"])
    columns = ["pair", "target", "date", "realised", "forecast", "predicted"]
    return rows.loc[rows["realised"].notna(), columns]


def score(rows: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """Compute the score of some candles.

    :param rows: from `read_forecasts`.
    :return: score; parts, the figures it is the mean of; predicted, the share of candles with a
        prediction.
    """
    parts = {}
    for (pair, target), part in rows.groupby(["pair", "target"]):
        figures = measure(part["realised"].to_numpy(), part["forecast"].to_numpy())
        parts[f"{pair} {target}"] = float(np.nan_to_num(figures[metric]))
    value = float(np.mean(list(parts.values())))
    return {"score": value, "parts": parts, "predicted": float(rows["predicted"].mean())}


def difference(best: pd.DataFrame, defaults: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """Compare two forecasts of the same candles, with doubt from weeks drawn with replacement.

    :param best: from `read_forecasts`, as `defaults`.
    :return: value (best minus defaults), low and high (95 %; NaN below eight days), word.
    """
    keys = ["pair", "target", "date"]
    rows = best.merge(defaults[[*keys, "forecast"]], on=keys, suffixes=("_best", "_defaults"))
    names = ["forecast_best", "forecast_defaults"]
    draws = [drawn_skills(part, names, metric) for _, part in rows.groupby("target")]
    return compare_skills(np.mean(draws, axis=0))
