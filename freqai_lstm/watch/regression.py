"""What the model's own regression predicts on a bot's candles: the model without its network.

A bot's history does not hold it, and models of past candles are purged. So it is learned anew for
each week of the newest month, from the candles before that week, as the model learns with
`history_days` 0.
"""

from __future__ import annotations

import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.evaluate.data import Predictions, stacked
from freqai_lstm.evaluate.features import Features
from freqai_lstm.model.dataset import prepare
from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.model.prediction import predict_candles
from freqai_lstm.model.scaling import feature_pipeline


COLUMN = "regression"  # of the rows of `Predictions`
WEEK, MONTH = pd.Timedelta(days=7), pd.Timedelta(days=30)


def add_regression(features: Features, live: Predictions) -> list[str]:
    """Put the regression's predictions beside the bot's, NaN where there are none.

    :return: notes on weeks for which the candles before do not suffice.
    """
    notes: list[str] = []
    found: list[pd.DataFrame] = []
    for pair in live.candles:
        dates = live.rows.loc[live.rows["pair"] == pair, "date"]
        first, end = max(dates.min(), dates.max() - MONTH), dates.max() + pd.Timedelta(seconds=1)
        for start in pd.date_range(first, end, freq=WEEK):
            try:
                week = predict_without_network(features, pair, start, min(start + WEEK, end))
            except OperationalException as error:
                notes.append(f"No regression alone from {start:%Y-%m-%d} on: {error}")
            else:
                found.append(stacked({COLUMN: week}).assign(pair=pair))
    keys = ["pair", "target", "date"]
    rows = pd.concat(found) if found else pd.DataFrame(columns=[*keys, COLUMN])
    rows = rows.astype({"date": live.rows["date"].dtype, COLUMN: float})
    live.rows = live.rows.merge(rows[[*keys, COLUMN]], on=keys, how="left")
    return notes


def predict_without_network(
    features: Features, pair: str, start: pd.Timestamp, end: pd.Timestamp
) -> pd.DataFrame:
    """Predict the candles from start to end with a regression of the candles before.

    :return: by date, the candles with a valid prediction; a column per label, and T.
    :raises OperationalException: there is too little to learn from.
    """
    setup, config = features.setup, features.config
    freqai, step = config["freqai"], timeframe_to_seconds(config["timeframe"])
    parameters = read_parameters(freqai.get("model_training_parameters", {}))
    kitchen = FreqaiDataKitchen(config, False, pair)
    whole = features.of(pair)
    known = whole[whole["date"] < start]
    # Labels that end after these candles are missing, as they are for a model.
    labels = setup.labels(known, pair).filter(regex="^&")
    begin = start - pd.Timedelta(days=freqai["train_period_days"])
    frame = _as_freqai(kitchen, known.join(labels)[known["date"] >= begin])
    kitchen.find_features(frame)
    kitchen.find_labels(frame)
    kitchen.feature_pipeline = feature_pipeline(freqai["feature_parameters"])
    data = prepare(
        frame,
        kitchen,
        freqai,
        timeframe_seconds=step,
        label_scale_feature=parameters.label_scale_feature,
        seed=parameters.seed,
    )
    model, width = PairModel.fit(data, lambda: None), freqai["conv_width"]
    before = start - pd.Timedelta(seconds=(width - 1) * step)
    candles = _as_freqai(kitchen, whole[(whole["date"] >= before) & (whole["date"] < end)])
    predicted = predict_candles(
        model,
        kitchen,
        candles,
        whole,
        model.levels,
        conv_width=width,
        timeframe_seconds=step,
    )[kitchen.label_list]
    if setup.score is not None:
        predicted = predicted.assign(T=setup.score.weigh(predicted))
    wanted = (kitchen.do_predict == 1) & (candles["date"] >= start).to_numpy()
    return predicted.set_index(pd.DatetimeIndex(candles["date"]))[wanted]


def _as_freqai(kitchen: FreqaiDataKitchen, frame: pd.DataFrame) -> pd.DataFrame:
    return kitchen.remove_special_chars_from_feature_names(frame.reset_index(drop=True))
