"""Forecasts that need the candles alone: flat, persistence, and HAR for volatility and range.

They see the same candles as the models and walk through the same windows, but nothing of them needs
FreqAI, so they are computed here. Each returns one row per pair and candle to predict: pair, date,
a column per label it can predict, and do_predict 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from benchmarks.targets.labels import LABELS, MAX_HORIZON, add_labels
from benchmarks.targets.setup import Exam, Window


HAR_CANDLES = (1, 24, 168)  # an hour, a day, a week
HAR_LABELS = ("log_volatility", "log_range")


def flat(frame: DataFrame, window: Window) -> DataFrame:
    """Predict each label's mean over the training rows.

    :param frame: candles with labels, all that is known at the end of the range.
    :return: a column per label for the candles of the window.
    """
    columns = [label.column for label in LABELS.values()]
    means = _training(frame, window)[columns].mean()
    return DataFrame(means.to_dict(), index=_between(frame, window).index)


def persistence(frame: DataFrame, window: Window) -> DataFrame:
    """Predict the newest value of the label that is known: that of `horizon` candles ago.

    Labels of horizon 0 are left out. Their value of now is known, so this would be no forecast.
    """
    shifted = {
        label.column: frame[label.column].shift(label.horizon)
        for label in LABELS.values()
        if label.horizon
    }
    return DataFrame(shifted).loc[_between(frame, window).index]


def har(frame: DataFrame, window: Window) -> DataFrame:
    """Predict log volatility and log range by the heterogeneous autoregression of Corsi (2009).

    A least-squares line on the log of the volatility of the last 1, 24 and 168 candles, fitted on
    the training rows. A candle's variance is Parkinson's (1980), ln(H/L)² / (4 ln 2). (Corsi, "A
    simple approximate long-memory model of realized volatility", Journal of Financial
    Econometrics 7(2); the logarithmic form is usual.)
    """
    variance = np.log(frame["high"] / frame["low"]) ** 2 / (4 * np.log(2))
    means = [variance.rolling(candles).mean() for candles in HAR_CANDLES]
    regressors = np.column_stack([np.ones(len(frame)), *(_half_log(mean) for mean in means)])
    rows = _between(frame, window)
    predicted = {}
    for name in HAR_LABELS:
        column = LABELS[name].column
        target = _training(frame, window)[column]
        x, y = regressors[target.index], target.to_numpy()
        known = np.isfinite(x).all(axis=1) & np.isfinite(y)
        coefficients, *_ = np.linalg.lstsq(x[known], y[known])
        predicted[column] = Series(regressors[rows.index] @ coefficients, index=rows.index)
    return DataFrame(predicted)


BASELINES: dict[str, Callable[[DataFrame, Window], DataFrame]] = {
    "flat": flat,
    "persistence": persistence,
    "har": har,
}


def predict_baseline(name: str, exam: Exam) -> DataFrame:
    """Walk through the windows of every pair with one of `BASELINES`."""
    found = []
    for pair in exam.pairs:
        frame = add_labels(exam.candles(pair))
        for window in exam.windows:
            predicted = BASELINES[name](frame, window)
            dates = frame.loc[predicted.index, "date"]
            found.append(predicted.assign(pair=pair, date=dates, do_predict=1))
    return pd.concat(found, ignore_index=True)


def _between(frame: DataFrame, window: Window) -> DataFrame:
    return frame[(frame["date"] >= window.start) & (frame["date"] < window.stop)]


def _training(frame: DataFrame, window: Window) -> DataFrame:
    """Training rows whose labels were known when the window began."""
    rows = frame[(frame["date"] >= window.train_start) & (frame["date"] < window.start)]
    return rows.iloc[:-MAX_HORIZON]


def _half_log(values: Series) -> NDArray[np.float64]:
    return np.log(values.where(values > 0).to_numpy()) / 2
