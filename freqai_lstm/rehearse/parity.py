"""Did the bot predict what a backtest predicts? Its saved history against the backtest path.

FreqAI keeps every live prediction in `historic_predictions.pkl`. The model that made it is the
newest whose file was complete when the candle closed. It is loaded from its sub-train folder as a
backtest loads it, with a FreqaiDataKitchen of `live=False`, features from `backtesting`'s own data
provider and candles downloaded afterwards, and predicts the same candle again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.configuration import setup_utils_configuration
from freqtrade.data.dataprovider import DataProvider
from freqtrade.enums import RunMode
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.resolvers import StrategyResolver
from freqtrade.resolvers.freqaimodel_resolver import FreqaiModelResolver


TOLERANCE = 1e-5


class ParityFailed(RuntimeError):
    """The comparison could not be made; the message says why."""


@dataclass(frozen=True)
class Parity:
    """How far live predictions and the backtest's lie apart.

    :param candles: one row per live prediction: pair, date, model, `difference`, the largest over
        all labels of |live - backtest| / standard deviation of the label in training, and `older`,
        whether an older model than the newest one was in force. The difference is inf where the
        backtest has no valid prediction.
    """

    candles: pd.DataFrame

    @property
    def worst(self) -> float:
        """The largest difference, in label standard deviations; NaN if nothing was compared."""
        return float(self.candles["difference"].max()) if len(self.candles) else float("nan")

    @property
    def holds(self) -> bool:
        """Whether there were candles, and none is further off than `TOLERANCE`."""
        return bool(len(self.candles) and (self.candles["difference"] <= TOLERANCE).all())


def check_parity(configs: Sequence[Path], userdir: Path, datadir: Path, models: Path) -> Parity:
    """Predict again, by way of the backtest, what the bot predicted.

    :param configs: the bot's configuration files, in their order.
    :param userdir: the bot's user folder, for the plugin files.
    :param datadir: candles of all pairs and timeframes, enough before the first prediction that
        averages have forgotten their beginning.
    :param models: FreqAI's folder of the identifier.
    :raises ParityFailed: a live prediction names a model that is not there.
    """
    history: dict[str, pd.DataFrame] = pd.read_pickle(models / "historic_predictions.pkl")
    rows = []
    before = logging.root.manager.disable
    # What freqtrade reports while it sets itself up would bury the result.
    logging.disable(logging.WARNING)
    try:
        for pair, predictions in history.items():
            dates = pd.to_datetime(predictions["date_pred"], utc=True)
            live = predictions.assign(date_pred=dates)[predictions["do_predict"] == 1]
            if not live.empty:
                path = BacktestPath(configs, userdir, datadir, pair, live["date_pred"])
                rows += [path.compare(row, models) for _, row in live.iterrows()]
    finally:
        logging.disable(before)
    return Parity(pd.DataFrame(rows, columns=["pair", "date", "model", "difference", "older"]))


class BacktestPath:
    """Predictions of one pair, made the way `freqtrade backtesting` makes them.

    :param dates: opening times of the candles to predict.
    """

    def __init__(
        self, configs: Sequence[Path], userdir: Path, datadir: Path, pair: str, dates: pd.Series
    ) -> None:
        first, last = (int(moment.timestamp()) for moment in (dates.min(), dates.max()))
        arguments: dict[str, Any] = {
            "config": [str(path) for path in configs],
            "user_data_dir": str(userdir),
            "datadir": str(datadir),
            "strategy": "ScoreStrategy",
            "freqaimodel": "LSTMRegressor",
            "timerange": f"{first}-{last + 86_400}",
        }
        self._config = setup_utils_configuration(arguments, RunMode.BACKTEST)
        self._strategy = StrategyResolver.load_strategy(self._config)
        self._strategy.dp = DataProvider(self._config, None)
        self._regressor: Any = FreqaiModelResolver.load_freqaimodel(self._config)
        self._regressor.live = False
        self._regressor.dd.set_pair_dict_info({"pair": pair})
        self._pair = pair
        self._step = timeframe_to_seconds(self._config["timeframe"])
        self._predicted: dict[str, pd.DataFrame] = {}
        kitchen = FreqaiDataKitchen(self._config, False, pair)
        frame = self._strategy.dp.get_pair_dataframe(pair, self._config["timeframe"])
        frame = kitchen.use_strategy_to_populate_indicators(
            self._strategy, prediction_dataframe=frame, pair=pair
        )
        frame = self._strategy.set_freqai_targets(frame, metadata={"pair": pair})
        self._frame = kitchen.remove_special_chars_from_feature_names(frame)

    def compare(self, live: pd.Series, models: Path) -> tuple[str, pd.Timestamp, str, float, bool]:
        """One row of `Parity.candles` for one live prediction: that of the model that fits best."""
        date: pd.Timestamp = live["date_pred"]
        found = []
        for model, older in self._candidates(models, date):
            if model not in self._predicted:
                self._predicted[model] = self.predict(model)
            difference = _difference(live, self._predicted[model], date)
            found.append((difference, older, model))
            if difference <= TOLERANCE:
                break
        difference, older, model = min(found)
        return self._pair, date, model, difference, older

    def _candidates(self, folder: Path, date: pd.Timestamp) -> list[tuple[str, bool]]:
        """The models that can have predicted the candle that opens at `date`, likely ones first.

        :return: (name, whether a newer one was complete when the candle closed).
        :raises ParityFailed: there is none.
        """
        close = date.timestamp() + self._step
        base = self._pair.split("/")[0]
        files = sorted(
            folder.glob(f"sub-train-{base}_*/*_model.*"), key=lambda file: -file.stat().st_mtime
        )
        done = [(file.stem.removesuffix("_model"), file.stat().st_mtime) for file in files]
        before = [name for name, moment in done if moment <= close]
        # A training that ended while the bot was at this candle may have been in time.
        meanwhile = [name for name, moment in done if close < moment <= close + self._step]
        if not before + meanwhile:
            raise ParityFailed(
                f"{self._pair}: no model in {folder} is old enough for the prediction of {date}. "
                "Keep all models (purge_old_models 0)."
            )
        # The one before is in force if kill -9 came between the model and pair_dictionary.json.
        newest = [(name, False) for name in (*before[:1], *meanwhile)]
        return newest + [(name, True) for name in before[1:2]]

    def predict(self, model: str) -> pd.DataFrame:
        """Predictions with one saved model, as the backtest window after its training has them.

        :param model: name of its files, as `cb_btc_1795336825`.
        :return: do_predict, the labels and their `_std`, by date.
        """
        kitchen = FreqaiDataKitchen(self._config, False, self._pair)
        stamp = int(model.rsplit("_", 1)[1])
        kitchen.set_paths(self._pair, stamp)
        kitchen.set_new_model_names(self._pair, stamp)
        self._regressor.dk = kitchen
        if not self._regressor.model_exists(kitchen):
            raise ParityFailed(f"{kitchen.data_path} holds no whole model any more.")
        self._regressor.model = self._regressor.dd.load_data(self._pair, kitchen)
        self._regressor.strategy_frame = self._frame  # as LSTMRegressor.start is given it
        # The bot can predict with it the very candle that its training ended with, or, when that
        # was still to come, one before: start a window's length earlier, so that none is cut off.
        earlier = 2 + self._config["freqai"]["conv_width"]
        start = pd.Timestamp((stamp // self._step - earlier) * self._step, unit="s", tz="UTC")
        window = self._frame[self._frame["date"] >= start].reset_index(drop=True)
        predictions, do_predict = self._regressor.predict(window, kitchen)
        answer = kitchen.get_predictions_to_append(predictions, do_predict, window)
        return answer.set_index(pd.DatetimeIndex(answer["date"]))


def _difference(live: pd.Series, again: pd.DataFrame, date: pd.Timestamp) -> float:
    if date not in again.index or again.loc[date, "do_predict"] != 1:
        return float("inf")
    labels = [column for column in live.index if f"{column}_std" in again]
    scale = again.loc[date, [f"{label}_std" for label in labels]].to_numpy(float)
    apart = live[labels].to_numpy(float) - again.loc[date, labels].to_numpy(float)
    return float((np.abs(apart) / scale).max())
