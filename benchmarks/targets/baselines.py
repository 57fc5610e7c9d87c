"""Forecasts that need the candles alone: flat, persistence, HAR, and a ridge of our own columns.

They see the same candles as the models and walk through the same windows, but nothing of them needs
FreqAI, so they are computed here. Each returns one row per pair and candle to predict: pair, date,
a column per label it can predict, and do_predict 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from freqtrade.exchange import timeframe_to_seconds
from numpy.typing import NDArray
from pandas import DataFrame, Series

from benchmarks.targets.labels import MAX_HORIZON
from benchmarks.targets.setup import Exam, Window
from freqai_lstm.model.labels import LabelSpace
from freqai_lstm.model.parameters import LABEL_SCALE
from freqai_lstm.model.ridge import fit_ridge
from freqai_lstm.model.windows import CandleInputs


HAR_CANDLES = (1, 24, 168)  # an hour, a day, a week
HAR_LABELS = ("&-log_volatility", "&-log_volatility_24", "&-log_range")
LIMIT = 5.0  # standardised columns of the ridge are clipped to this


def flat(exam: Exam, frame: DataFrame, window: Window) -> DataFrame:
    """Predict each label's mean over the training rows.

    :param frame: from `Exam.frame`, all that is known at the end of the range.
    :return: a column per label for the candles of the window.
    """
    means = _training(frame, window)[[label.column for label in exam.labels]].mean()
    return DataFrame(means.to_dict(), index=_between(frame, window).index)


def persistence(exam: Exam, frame: DataFrame, window: Window) -> DataFrame:
    """Predict the newest value of the label that is known: that of `horizon` candles ago.

    Labels of horizon 0 are left out. Their value of now is known, so this would be no forecast.
    """
    shifted = {
        label.column: frame[label.column].shift(label.horizon)
        for label in exam.labels
        if label.horizon
    }
    return DataFrame(shifted).loc[_between(frame, window).index]


def har(exam: Exam, frame: DataFrame, window: Window) -> DataFrame:
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
    for column in {label.column for label in exam.labels} & set(HAR_LABELS):
        target = _training(frame, window)[column]
        x, y = regressors[target.index], target.to_numpy()
        known = np.isfinite(x).all(axis=1) & np.isfinite(y)
        coefficients, *_ = np.linalg.lstsq(x[known], y[known])
        predicted[column] = Series(regressors[rows.index] @ coefficients, index=rows.index)
    return DataFrame(predicted)


def own_ridge(exam: Exam, frame: DataFrame, window: Window) -> DataFrame:
    """Predict by a ridge regression on all columns that our model makes of candles, and calendar.

    Of `score` on the strategy's features too. Labels are limited and scaled, and penalties chosen,
    by the functions of our model; nothing else of it is in here.
    """
    inputs = CandleInputs.of(frame, timeframe_to_seconds(exam.timeframes[0]))
    features = [name for name in frame if str(name).startswith("%")]
    values = np.hstack([inputs.columns.astype(float), frame[features].to_numpy(dtype=float)])
    train, rows = _training(frame, window), _between(frame, window)
    known = values[train.index]
    mean, deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    columns = (values - mean) / np.where(deviation > 0, deviation, 1)
    columns = np.clip(np.nan_to_num(columns), -LIMIT, LIMIT)
    names, horizons = zip(*((label.column, label.horizon) for label in exam.labels), strict=True)
    labels = train[[*names]].to_numpy()
    scale = LABEL_SCALE if LABEL_SCALE in frame else ""
    space = LabelSpace.fit(train, labels, names, horizons, scale)
    ridge = fit_ridge(
        columns[train.index],
        space.learned(labels, train),
        np.ones(len(train)),
        inputs.numbers[train.index],
        [*horizons],
    )
    learned = columns[rows.index] @ ridge.kernel + ridge.bias
    return DataFrame(space.labels(learned, rows), columns=[*names], index=rows.index)


BASELINES: dict[str, Callable[[Exam, DataFrame, Window], DataFrame]] = {
    "flat": flat,
    "persistence": persistence,
    "har": har,
    "own ridge": own_ridge,
}


def predict_baseline(name: str, exam: Exam) -> DataFrame:
    """Walk through the windows of every pair with one of `BASELINES`."""
    found = []
    for pair in exam.pairs:
        frame = exam.frame(pair)
        for window in exam.windows:
            if len(_between(frame, window)) == 0:
                continue  # the pair has ended
            predicted = BASELINES[name](exam, frame, window)
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
