"""Predictions for the candles of a frame, in the unit of the labels, with their intervals."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from datasieve.pipeline import Pipeline
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from numpy.typing import NDArray
from pandas import DataFrame

from freqai_lstm.model.calendar import calendar_names
from freqai_lstm.model.candles import COLUMNS as CANDLE_COLUMNS
from freqai_lstm.model.inputs import InputMaker
from freqai_lstm.model.interval import Calibration
from freqai_lstm.model.scaling import LabelScale
from freqai_lstm.model.storage import HISTORY, TrainedLSTM
from freqai_lstm.model.summaries import memory
from freqai_lstm.model.windows import candle_numbers, window_ends


logger = logging.getLogger(__name__)


def predict_candles(
    model: TrainedLSTM,
    dk: FreqaiDataKitchen,
    frame: DataFrame,
    past: DataFrame | None,
    calibration: Calibration,
    *,
    conv_width: int,
    timeframe_seconds: int,
    horizon: int,
) -> DataFrame:
    """Predict every candle of a frame whose window is complete.

    The kitchen gets `do_predict`, `DI_values` and FreqAI's `prediction_features`.

    :param frame: candles with features, in time order; in a backtest with labels, of which each
        row's interval uses those that are known by then.
    :param past: the pair's candles up to the frame's last one or further, for what a summary looks
        back on; None where there are none but the frame's.
    :param calibration: errors that are known before the frame.
    :param horizon: candles after which a label is known.
    :return: a row per candle: each label, `…_lower`, `…_upper` and, of an ensemble, `…_spread`;
        NaN where there is no complete, valid window.
    """
    names, asked = dk.training_features_list, len(frame)
    actual = np.full((asked, len(dk.label_list)), np.nan)
    if not dk.live and {*dk.label_list} <= {*frame}:
        actual = frame[dk.label_list].to_numpy(dtype=float)
    history = None if dk.live else dk.data_dictionary.get(HISTORY)
    if history is not None:
        first = pd.to_datetime(frame["date"], utc=True).min()
        before = pd.to_datetime(history["date"], utc=True) < first
        needed = [*names, "date", *CANDLE_COLUMNS]
        frame = pd.concat([history.loc[before, needed], frame[needed]], ignore_index=True)
    offset = len(frame) - asked
    # What FreqAI's filter_features does for predictions, at a fraction of its time.
    values = frame[names].to_numpy(np.float64)  # (rows, features)
    finite = np.isfinite(values)
    valid = finite.all(axis=1)
    if not valid.all():
        missing = names[int(finite.all(axis=0).argmin())]
        logger.info(
            f"{dk.pair}: {int((~valid).sum())} of {len(valid)} candles miss features (such as "
            f"{missing}; no trades, no price?); windows with them are not predicted."
        )
    features, inliers, _ = dk.feature_pipeline.transform(
        DataFrame(np.where(finite, values, 0.0), columns=names), outlier_check=True
    )
    dk.data_dictionary["prediction_features"] = features.tail(asked).reset_index(drop=True)
    maker = InputMaker(
        frame if past is None else with_past(frame, past, memory(conv_width)),
        timeframe_seconds,
        conv_width,
        candle_channel=model.network.reads_candles,
        with_calendar={*calendar_names(timeframe_seconds)} <= {*model.features},
    )
    candles = candle_numbers(frame["date"], timeframe_seconds)
    inputs, priced = maker(features.to_numpy(), candles)
    valid &= priced & (np.asarray(inliers) == 1)
    ends = window_ends(candles, valid, conv_width)
    ends = ends[ends >= offset]
    predicted = model.predict(inputs, ends)
    sound = np.isfinite(predicted.mean).all(axis=1)
    if not sound.all():
        logger.error(
            f"{dk.pair}: {int((~sound).sum())} predictions are not finite; these candles have "
            "do_predict 0."
        )
    rows = ends[sound] - offset
    if len(rows) == 0 and not dk.live:
        logger.warning(
            f"{dk.pair}: none of {asked} candles could be predicted. Look for missing features "
            "and candles, and for strict outlier settings (DI_threshold, SVM, DBSCAN)."
        )
    dk.do_predict = np.zeros(asked, dtype=np.int_)
    dk.do_predict[rows] = 1
    dk.DI_values = (
        np.asarray(dk.feature_pipeline["di"].di_values)[-asked:]
        if "di" in dk.feature_pipeline
        else np.zeros(asked)
    )
    scales = label_scales(frame, dk)[offset:][rows]
    mean = unscaled(predicted.mean[sound], dk.label_pipeline) * scales[:, None]
    lower, upper = calibration.intervals(
        candles[offset:][rows], mean, actual[rows], scales, horizon
    )
    found = {"": mean, "_lower": lower, "_upper": upper}
    if len(model.weights) > 1:
        higher = unscaled((predicted.mean + predicted.spread)[sound], dk.label_pipeline)
        found["_spread"] = higher * scales[:, None] - mean
    every = np.full((asked, len(found) * len(dk.label_list)), np.nan)
    every[rows] = np.hstack(list(found.values()))
    return DataFrame(every, columns=[f"{label}{end}" for end in found for label in dk.label_list])


def with_past(frame: DataFrame, past: DataFrame, length: int) -> DataFrame:
    """Return the candles of a frame, and up to so many before them.

    :param past: candles in time order, those of the frame among them.
    """
    dates = past["date"]
    first, last = pd.to_datetime(frame["date"].iloc[[0, -1]], utc=True)
    return past.iloc[max(0, dates.searchsorted(first) - length) : dates.searchsorted(last) + 1]


def unscaled(values: NDArray[Any], pipeline: Pipeline) -> NDArray[np.float64]:
    """Undo the label pipeline, for values of shape (rows, labels)."""
    if len(values) == 0:
        return values.astype(float)
    frame = DataFrame(values.astype(float), columns=pipeline.features_in)
    return pipeline.inverse_transform(frame)[0].to_numpy()


def label_scales(frame: DataFrame, dk: FreqaiDataKitchen) -> NDArray[np.float64]:
    """Return the scale of the labels at each candle, shape (rows,); see `LabelScale`."""
    if not dk.data.get("label_scale"):
        return np.ones(len(frame))
    scale = LabelScale(**dk.data["label_scale"])
    return scale.of(frame[scale.feature])
