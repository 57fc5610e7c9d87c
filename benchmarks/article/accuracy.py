"""What "63 % accuracy" can mean: shares of right answers under several readings, with intervals.

All are measured on candles that the model was not trained on, over all pairs together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.article.trained import TRAIN_DAYS
from benchmarks.exam import Exam, Outcome
from freqai_lstm.evaluate.intervals import block_counts, drawn_mean, drawn_sums, interval
from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


STRATEGY = load_plugin(STRATEGY_FILE)
THRESHOLD = 0.5  # ScoreStrategy's threshold_buy
READINGS = {
    "classes": "T up, down or 0; the forecast is 0 below threshold_buy",
    "sign": "T up, down or 0; the forecast is the sign of T̂, never 0",
    "nonzero": "sign of T, only where T is not 0",
    "entries": "sign of T, only where the strategy would enter",
    "close": "close of the next candle up or down",
}
PREDICTORS = ("model", "majority", "persistence")


def measure(exam: Exam, found: Outcome, horizon: int) -> dict[str, Any]:
    """Compute the share of right answers of each reading, and of the winning trades.

    :return: `readings`: reading → predictor → value, low, high (95 % interval), and `candles`, how
        many count; `trades`: number, won, average win and loss in percent of the stake, breakeven
        (the share of winners at which these two cancel out) and profit in percent of the balance.
    """
    rows = pd.concat([_answers(exam, found, pair, horizon) for pair in exam.pairs])
    index, counts = block_counts(rows["date"])
    readings: dict[str, Any] = {}
    for reading in READINGS:
        right = rows[[f"{reading} {name}" for name in PREDICTORS]].to_numpy(float)
        readings[reading] = {
            name: interval(drawn_mean(right[:, column], index, counts))
            for column, name in enumerate(PREDICTORS)
        }
        readings[reading]["candles"] = int(np.isfinite(right[:, 0]).sum())
    return {"readings": readings, "trades": _trades(exam, found)}


def _answers(exam: Exam, found: Outcome, pair: str, horizon: int) -> pd.DataFrame:
    """A row per predicted candle: is the answer right (1), wrong (0), or not asked (NaN)?"""
    candles = exam.candles(pair)
    dates = pd.DatetimeIndex(candles["date"])
    t = pd.Series(STRATEGY.score(candles).to_numpy(), dates)
    close = pd.Series(candles["close"].to_numpy(), dates)
    saved = found.predictions[pair]
    weights = STRATEGY.ARTICLE_WEIGHTS
    t_hat = STRATEGY.predicted_score(saved, weights, STRATEGY.label_std(saved))
    table = pd.DataFrame(
        {
            "t": np.sign(t.shift(-horizon)),
            "close": np.sign(close.shift(-1) - close),
            # The newest T known: of the candle itself, unless that is what is asked for.
            "last": np.sign(t.shift(0 if horizon else 1)),
            "last nonzero": pd.Series(np.sign(t.where(t != 0))).ffill().shift(0 if horizon else 1),
            "last close": np.sign(close.diff()),
        }
    )
    trained = table[exam.start - pd.Timedelta(days=TRAIN_DAYS) : exam.start]
    usual = {name: trained[name].mode()[0] for name in ("t", "close")}
    usual_nonzero = trained["t"].where(trained["t"] != 0).mode()[0]
    table = table.reindex(pd.DatetimeIndex(pd.to_datetime(saved["date"], utc=True)))
    forecast = pd.Series(t_hat, table.index)
    valid = forecast.notna() & table.notna().all(axis=1)
    moved, beyond = valid & (table["t"] != 0), valid & (forecast.abs() > THRESHOLD)
    up = pd.Series(np.sign(forecast))
    classes = up.where(forecast.abs() > THRESHOLD, 0.0)
    asked = {
        "classes": (valid, "t", classes, usual["t"], table["last"]),
        "sign": (valid, "t", up, usual["t"], table["last"]),
        "nonzero": (moved, "t", up, usual_nonzero, table["last nonzero"]),
        "entries": (beyond, "t", up, usual["t"], table["last"]),
        "close": (valid, "close", up, usual["close"], table["last close"]),
    }
    answers = {
        f"{reading} {name}": (table[question] == answer).astype(float).where(counts)
        for reading, (counts, question, *given) in asked.items()
        for name, answer in zip(PREDICTORS, given, strict=True)
    }
    return pd.DataFrame({"date": table.index, **{k: v.to_numpy() for k, v in answers.items()}})


def _trades(exam: Exam, found: Outcome) -> dict[str, Any]:
    trades = found.trades
    results = 100 * trades["profit_ratio"].to_numpy()
    win, loss = results[results > 0], results[results <= 0]
    days = pd.Series(pd.date_range(exam.start, exam.stop, freq="D", inclusive="left"))
    index, counts = block_counts(days)
    day = (trades["open_date"] - days[0]).dt.days.to_numpy()
    ones: NDArray[np.float64] = np.column_stack([np.ones(len(results)), results > 0])
    number, won = drawn_sums(ones, index[day], counts).T
    with np.errstate(invalid="ignore"):
        share = interval(won / number)
    return {
        "number": len(trades),
        "won": share,
        "win": float(win.mean()),
        "loss": float(loss.mean()),
        "breakeven": float(-loss.mean() / (win.mean() - loss.mean())),
        "profit": 100 * found.statistics["profit_total"],
    }
