"""What a trial is worth: one number, larger is better, out of sample.

It is the mean over pairs and chosen labels of a figure of the evaluation; by default of the
strategy's score T where it has one, else of all labels. A candle without a prediction counts as
predicted with the mean of the training labels, else a strict `DI_threshold` would win by leaving
hard candles out. Or it is the Sharpe ratio of the backtest's trades. A figure that is not defined,
such as a correlation with a constant or the Sharpe ratio without a trade, counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.data.btanalysis import load_backtest_data, load_backtest_stats

from freqai_lstm.evaluate.data import newest, read_predictions
from freqai_lstm.evaluate.intervals import compare_skills, drawn_skills
from freqai_lstm.evaluate.metrics import measure
from freqai_lstm.evaluate.report import headline_targets
from freqai_lstm.evaluate.setup import Setup
from freqai_lstm.evaluate.sharpe import drawn_sharpes


class Metric(StrEnum):
    """R², Pearson's or Spearman's correlation (IC), or the Sharpe ratio of the trades."""

    R2 = "r2"
    CORRELATION = "correlation"
    RANK_CORRELATION = "rank_correlation"
    SHARPE = "sharpe"


def read_forecasts(setup: Setup, labels: Sequence[str] = ()) -> pd.DataFrame:
    """Read what FreqAI saved within the setup's timerange.

    :param labels: those that count; none: T, or all.
    :return: a row per pair, target and candle: pair, target, date, realised, forecast, predicted
        (False where the forecast is the mean of the training labels).
    :raises EvaluationFailed: the predictions cannot be read, or are of other labels.
    """
    found = read_predictions(setup)
    rows = newest(found.rows[found.rows["target"].isin(labels or headline_targets(found))])
    forecast = rows["model"].where(rows["valid"], rows["flat"].fillna(0.0))
    rows = rows.assign(forecast=forecast, predicted=rows["valid"])
    columns = ["pair", "target", "date", "realised", "forecast", "predicted"]
    return rows.loc[rows["realised"].notna(), columns]


def read_profits(results: Path, start: int, stop: int) -> pd.DataFrame:
    """Read the daily results of a backtest's trades, by the day they closed on.

    :param results: freqtrade's folder of backtest results; its newest one counts.
    :param start: first second of the backtest, and `stop` the first one after it.
    :return: date; profit, as a share of the starting balance.
    """
    (statistics,) = load_backtest_stats(results)["strategy"].values()
    trades = load_backtest_data(results)
    first, last = (pd.to_datetime(second, unit="s", utc=True) for second in (start, stop))
    days = pd.date_range(first.floor("D"), last, freq="D", inclusive="left")
    profits = trades.groupby(trades["close_date"].dt.floor("D"))["profit_abs"].sum()
    # What is open at the end is closed on the last candle.
    found = profits.reindex(days, fill_value=0.0) / statistics["starting_balance"]
    return pd.DataFrame({"date": days, "profit": found.to_numpy()})


def score(rows: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """Compute the score of some candles, or of the days of a backtest.

    :param rows: from `read_forecasts`, or from `read_profits` for the Sharpe ratio.
    :return: score; parts, the figures it is the mean of; predicted, the share of candles with a
        prediction. The latter is empty, or None, for the Sharpe ratio.
    """
    if metric is Metric.SHARPE:
        value = float(drawn_sharpes(rows.set_index("date")[["profit"]])[0, 0])
        return {"score": value, "parts": {}, "predicted": None}
    parts = {}
    for (pair, target), part in rows.groupby(["pair", "target"]):
        figures = measure(part["realised"].to_numpy(), part["forecast"].to_numpy())
        parts[f"{pair} {target}"] = float(np.nan_to_num(figures[metric]))
    value = float(np.mean(list(parts.values())))
    return {"score": value, "parts": parts, "predicted": float(rows["predicted"].mean())}


def difference(best: pd.DataFrame, defaults: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """Compare two runs over the same candles, with doubt from weeks drawn with replacement.

    :param best: from `read_forecasts` or `read_profits`, as `defaults`.
    :return: value (best minus defaults), low and high (95 %; NaN below eight days), word.
    """
    if metric is Metric.SHARPE:
        both = [rows.set_index("date")["profit"] for rows in (best, defaults)]
        return compare_skills(drawn_sharpes(pd.concat(both, axis=1)), saturated=np.inf)
    keys = ["pair", "target", "date"]
    rows = best.merge(defaults[[*keys, "forecast"]], on=keys, suffixes=("_best", "_defaults"))
    names = ["forecast_best", "forecast_defaults"]
    draws = [drawn_skills(part, names, metric) for _, part in rows.groupby("target")]
    return compare_skills(np.mean(draws, axis=0))
