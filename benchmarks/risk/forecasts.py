"""The volatilities that the other books are sized by, scaled on 2022.

Each is known at the close of its candle and has RiskStrategy's columns: `volatility`, of a year,
and `volatility_upper`. On the candles of 2022, before the judged range, a factor makes the mean of
(realised ÷ expected variance) 1 over all pairs, so that every book aims at the same average risk.
The upper end is the 90 % quantile of realised ÷ expected volatility there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import talib.abstract as ta
from pandas import DataFrame, Series

from benchmarks.exam import Exam
from freqai_lstm.evaluate.har import har_forecast, variances
from freqai_lstm.plugins import RISK_FILE, load_plugin


RISK = load_plugin(RISK_FILE)
HORIZON, DAY = 24, 24  # candles
YEAR = 365 * DAY  # candles
SCALED_ON = (datetime(2022, 1, 1, tzinfo=UTC), datetime(2022, 12, 30, tzinfo=UTC))
REFIT = timedelta(days=30)


def by_date(candles: DataFrame) -> DataFrame:
    """Candles by date."""
    return candles.set_index("date")


def realised(candles: DataFrame) -> Series:
    """Volatility of the next HORIZON candles, of a year, by date."""
    ahead = RISK.log_volatility(candles, HORIZON).shift(-HORIZON)
    return Series(np.sqrt(YEAR) * np.exp(ahead))


def of_constant(candles: DataFrame) -> Series:
    """The same for every pair and candle."""
    return Series(1.0, candles.index)


def of_day(candles: DataFrame) -> Series:
    """Realised volatility of the last day."""
    return Series(np.sqrt(YEAR) * np.exp(RISK.log_volatility(candles, DAY)))


def of_atr(candles: DataFrame) -> Series:
    """ATR(14), a share of the price."""
    return Series(np.sqrt(YEAR) * ta.ATR(candles, timeperiod=14) / candles["close"])


def of_har(candles: DataFrame) -> Series:
    """HAR (Corsi 2009), fitted every 30 days on all candles before."""
    variance, label = variances(candles), np.log(realised(candles))
    found, last = [], candles.index[-1]
    start = candles.index[0] + 2 * REFIT
    while start <= last:
        dates = pd.DatetimeIndex(candles.loc[start : start + REFIT - timedelta(hours=1)].index)
        known = label.loc[: start - timedelta(hours=HORIZON + 1)].dropna()
        found.append(Series(np.exp(har_forecast(known, variance, dates, DAY)), dates))
        start += REFIT
    return pd.concat(found)


KINDS = {"constant": of_constant, "atr": of_atr, "har": of_har, "day": of_day}


def forecasts(exam: Exam, kind: str) -> dict[str, DataFrame]:
    """`volatility` and `volatility_upper` by date, for every pair of an exam.

    :param kind: one of KINDS.
    """
    candles = {pair: by_date(exam.candles(pair)) for pair in exam.pairs}
    raw = {pair: KINDS[kind](of) for pair, of in candles.items()}
    first, last = SCALED_ON
    ratios = pd.concat([(realised(of) / raw[pair]).loc[first:last] for pair, of in candles.items()])
    scale, upper = float(np.sqrt((ratios**2).mean())), float(ratios.quantile(0.9))
    return {
        pair: DataFrame({"volatility": scale * of, "volatility_upper": upper * of}).dropna()
        for pair, of in raw.items()
    }


def constant_share(exam: Exam) -> float:
    """The share of the wallet of every position with which 2022's trends have TARGET volatility."""
    first, last = SCALED_ON
    closes = DataFrame({pair: by_date(exam.candles(pair))["close"] for pair in exam.pairs})
    trend = (closes.rolling(RISK.FAST).mean() - closes.rolling(RISK.SLOW).mean()).transform(np.sign)
    together = (trend.shift() * closes.pct_change()).sum(axis=1).loc[first:last]
    return float(RISK.TARGET / (np.sqrt(YEAR) * together.std()))
