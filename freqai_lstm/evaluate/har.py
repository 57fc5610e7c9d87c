"""The heterogeneous autoregression of Corsi (2009), the usual baseline of a volatility forecast.

A least-squares line on the logarithm of the volatility of the last candle, day and week. Whether a
label is a log volatility is measured, not read from its name: on the training rows it must
correlate with the log volatility of just the candles it looks ahead to. (Corsi, "A simple
approximate long-memory model of realized volatility", Journal of Financial Econometrics 7(2).)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


FEWEST_CORRELATION = 0.8
# A candle without a range has no logarithm: a hundredth of a basis point stands for it.
SMALLEST_VARIANCE = 1e-12


def variances(candles: pd.DataFrame) -> pd.Series:
    """Parkinson's (1980) variance of each candle, ln(high / low)² / (4 ln 2)."""
    variance = np.log(candles["high"] / candles["low"]) ** 2 / (4 * np.log(2))
    return variance.clip(lower=SMALLEST_VARIANCE)


def is_log_volatility(label: pd.Series, variance: pd.Series, look_ahead: int | None) -> bool:
    """Whether a label is, but for a line, the log volatility of the candles it looks ahead to.

    :param label: by date, of training rows.
    :param variance: from `variances`, by date, of all candles.
    """
    if not look_ahead:
        return False
    ahead = np.log(variance.rolling(look_ahead).mean().shift(-look_ahead)) / 2
    return bool(label.corr(ahead.reindex(label.index)) > FEWEST_CORRELATION)


def har_forecast(
    label: pd.Series, variance: pd.Series, dates: pd.DatetimeIndex, candles_per_day: int
) -> NDArray[np.float64]:
    """Forecast a label by its line on past log volatilities.

    :param label: training rows, by date.
    :param variance: from `variances`.
    :param dates: candles to predict.
    :return: shape (dates,), NaN in the first week of the candles.
    """
    spans = [1, candles_per_day, 7 * candles_per_day]
    past = {span: np.log(variance.rolling(span).mean()) / 2 for span in dict.fromkeys(spans)}
    regressors = pd.DataFrame(past).assign(constant=1.0)
    known = regressors.reindex(label.index).dropna()
    line, *_ = np.linalg.lstsq(known.to_numpy(), label[known.index].to_numpy())
    return regressors.reindex(dates).to_numpy() @ line
