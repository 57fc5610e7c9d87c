"""Predictions for the candles of a frame, in the unit of the labels, with their intervals."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame

from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.interval import intervals
from freqai_lstm.model.labels import numeric_labels
from freqai_lstm.model.storage import HISTORY
from freqai_lstm.model.windows import COLUMNS as CANDLE_COLUMNS
from freqai_lstm.model.windows import (
    CandleInputs,
    Numbers,
    Rows,
    candle_numbers,
    memory,
    numeric,
    seconds_of,
    window_ends,
)


logger = logging.getLogger(__name__)

ENDS = ("_lower", "_upper")
STATISTICS = ("_mean", "_std")


def prediction_frame(
    labels: list[str], count: int, rows: Rows | None = None, found: Numbers | None = None
) -> DataFrame:
    """Return predictions, and 0 in an interval without end for candles that are not predicted.

    FreqAI writes 0 for missing predictions in a backtest; NaN would stay in every later value of
    an exponential average. The same stands here live and in a backtest.

    :param rows: of the `count` candles, those that are predicted.
    :param found: of these rows.
    :return: columns each label, `…_lower`, `…_upper`; `count` rows.
    """
    values = np.tile(np.repeat([0.0, -np.inf, np.inf], len(labels)), (count, 1))
    if rows is not None:
        values[rows] = found
    columns = [f"{label}{end}" for end in ("", *ENDS) for label in labels]
    return DataFrame(values, columns=columns)


def mark_unpredicted(frame: DataFrame) -> None:
    """Put what stands for "not predicted" where FreqAI has filled in zeros, or nothing at all.

    It fills candles before the first window, of a down time and of an expired model with zeros: an
    interval from 0 to 0 looks certain. A candle that is not in its history is NaN.

    :param frame: what the strategy gets; changed in place.
    """
    names = {str(name) for name in frame}
    labels = sorted(
        name for name in names if name.startswith("&") and {f"{name}{end}" for end in ENDS} <= names
    )
    lost = frame["do_predict"].isna().to_numpy()
    filled = (frame["do_predict"] != 1).to_numpy()[:, None]
    filled = filled & (np.nan_to_num(numeric(frame, labels)) == 0)  # (candles, labels)
    for end, value in zip(ENDS, (-np.inf, np.inf), strict=True):
        bounds = [f"{label}{end}" for label in labels]
        frame[bounds] = np.where(filled, value, numeric(frame, bounds))
    if lost.any():
        ends = [f"{label}{end}" for end in ("", *ENDS) for label in labels]
        beside = [f"{name}{statistic}" for name in ends for statistic in STATISTICS]
        frame.loc[lost, ["do_predict", *labels, *(name for name in beside if name in names)]] = 0


def predict_candles(
    model: PairModel,
    dk: FreqaiDataKitchen,
    frame: DataFrame,
    past: DataFrame | None,
    levels: Numbers,
    *,
    conv_width: int,
    timeframe_seconds: int,
) -> DataFrame:
    """Predict every candle of a frame whose window is complete.

    The kitchen gets `do_predict`, `DI_values` and FreqAI's `prediction_features`.

    :param frame: candles with features, in time order; in a backtest with labels, of which each
        row's interval uses those that are known by then.
    :param past: the pair's candles up to the frame's last one or further, for what a summary looks
        back on; None where there are none but the frame's.
    :param levels: of the intervals before the frame, see `interval.py`.
    :return: a row per candle, see `prediction_frame`; empty ones stand where there is no complete,
        valid window.
    """
    names, asked = dk.training_features_list, len(frame)
    actual = np.full((asked, len(dk.label_list)), np.nan)
    if not dk.live and {*dk.label_list} <= {*frame}:
        actual = numeric_labels(frame, dk.label_list)
    history = None if dk.live else dk.data_dictionary.get(HISTORY)
    if history is not None and asked:
        first = pd.to_datetime(frame["date"], utc=True).min()
        before = pd.to_datetime(history["date"], utc=True) < first
        needed = [*names, "date", *CANDLE_COLUMNS]
        frame = pd.concat([history.loc[before, needed], frame[needed]], ignore_index=True)
    offset = len(frame) - asked
    # What FreqAI's filter_features does for predictions, at a fraction of its time.
    values = numeric(frame, names)  # (rows, features)
    finite = np.isfinite(values)
    valid = np.all(finite, axis=1)
    if not valid.all():
        missing = names[int(finite.all(axis=0).argmin())]
        logger.info(
            f"{dk.pair}: {int((~valid).sum())} of {len(valid)} candles miss features (such as "
            f"{missing}; no trades, no price?); windows with them are not predicted."
        )
    features, inliers, _ = dk.feature_pipeline.transform(
        np.where(finite, values, 0.0), outlier_check=True
    )
    dk.data_dictionary["prediction_features"] = features.iloc[offset:].reset_index(drop=True)
    whole = frame if past is None else with_past(frame, past, memory(conv_width))
    numbers = candle_numbers(frame["date"], timeframe_seconds)
    inputs = CandleInputs.of(whole, timeframe_seconds).take(numbers)
    valid &= inputs.valid & (np.asarray(inliers) == 1)
    ends = window_ends(inputs.numbers, valid, conv_width)
    ends = ends[ends >= offset]
    columns = model.columns(inputs, ends, features.to_numpy()[ends])
    read = model.network_features(values, names, dk.pair)
    at = model.references(frame, ends)
    learned = model.predict(inputs, ends, columns, read, at)
    sound = np.isfinite(learned).all(axis=1)
    if not sound.all():
        logger.error(
            f"{dk.pair}: {int((~sound).sum())} predictions are not finite; these candles have "
            "do_predict 0."
        )
    ends, learned = ends[sound], learned[sound]
    rows = ends - offset
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
    at = {name: column[sound] for name, column in at.items()}
    truth = model.space.learned(actual[rows], at, limited=False)
    lower, upper = intervals(
        model.sizes,
        columns[0][sound][:, : len(model.column_scale[0])],
        inputs.numbers[ends],
        truth,
        learned,
        levels,
        model.space.horizons,
    )
    found = [model.space.labels(values, at) for values in (learned, lower, upper)]
    return prediction_frame(dk.label_list, asked, rows, np.hstack(found))


def with_past(frame: DataFrame, past: DataFrame, length: int) -> DataFrame:
    """Return the candles of a frame, and up to so many before them.

    :param past: candles in time order, those of the frame among them.
    """
    if len(frame) == 0:
        return frame
    first, last = seconds_of(past["date"]).searchsorted(seconds_of(frame["date"])[[0, -1]])
    return past.iloc[max(0, first - length) : last + 1]
