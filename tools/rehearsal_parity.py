"""Did the bot predict what a backtest predicts? Its saved history against the backtest path.

FreqAI keeps every live prediction in `historic_predictions.pkl`, with the label means and standard
deviations of the model that made it: these name the model. Each model is then loaded from its
sub-train folder as a backtest loads it, with a FreqaiDataKitchen of `live=False` and features from
`backtesting`'s own data provider, computed on candles downloaded afterwards, and predicts the same
candles again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.configuration import Configuration, setup_utils_configuration
from freqtrade.data.dataprovider import DataProvider
from freqtrade.enums import RunMode
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
        all labels of |live - backtest| / standard deviation of the label in training, and
        `first_of_model`. The difference is inf where the backtest has no valid prediction.
    """

    candles: pd.DataFrame

    @property
    def worst(self) -> float:
        """The largest difference, in label scales; NaN if nothing was compared."""
        return float(self.candles["difference"].max()) if len(self.candles) else float("nan")

    @property
    def holds(self) -> bool:
        """Whether there were candles, and none is further off than `TOLERANCE`."""
        return bool(len(self.candles) and (self.candles["difference"] <= TOLERANCE).all())


def check_parity(configs: Sequence[Path], userdir: Path, datadir: Path) -> Parity:
    """Predict again, by way of the backtest, what the bot predicted.

    :param configs: the bot's configuration files, in their order.
    :param userdir: the bot's user folder; models and plugin files come from it.
    :param datadir: candles of all pairs and timeframes, enough before the first prediction that
        averages have forgotten their beginning.
    :raises ParityFailed: a live prediction names a model that is not there.
    """
    before = logging.root.manager.disable
    # What freqtrade reports while it sets itself up would bury the result.
    logging.disable(logging.WARNING)
    try:
        return _check_parity(configs, userdir, datadir)
    finally:
        logging.disable(before)


def _check_parity(configs: Sequence[Path], userdir: Path, datadir: Path) -> Parity:
    folder = _models_folder(configs, userdir)
    history: dict[str, pd.DataFrame] = pd.read_pickle(folder / "historic_predictions.pkl")
    rows = []
    for pair, predictions in history.items():
        predicted = predictions[predictions["do_predict"] == 1]
        if predicted.empty:
            continue
        dates = pd.to_datetime(predicted["date_pred"], utc=True)
        span = (int(dates.min().timestamp()), int(dates.max().timestamp()))
        path = BacktestPath(configs, userdir, datadir, pair, span)
        for model, group in predicted.groupby(_model_of(predicted, folder, pair)):
            again = path.predict(str(model), dates[group.index].min())
            rows.append(_compare(pair, str(model), group, again))
    columns = ["pair", "date", "model", "difference", "first_of_model"]
    return Parity(pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns))


class BacktestPath:
    """Predictions of one pair, made the way `freqtrade backtesting` makes them.

    :param span: first and last candle, in seconds since 1970.
    """

    def __init__(
        self,
        configs: Sequence[Path],
        userdir: Path,
        datadir: Path,
        pair: str,
        span: tuple[int, int],
    ) -> None:
        arguments: dict[str, Any] = {
            "config": [str(path) for path in configs],
            "user_data_dir": str(userdir),
            "datadir": str(datadir),
            "strategy": "ScoreStrategy",
            "freqaimodel": "LSTMRegressor",
            "timerange": f"{span[0]}-{span[1] + 86_400}",
        }
        self._config = setup_utils_configuration(arguments, RunMode.BACKTEST)
        self._strategy = StrategyResolver.load_strategy(self._config)
        self._strategy.dp = DataProvider(self._config, None)
        self._regressor: Any = FreqaiModelResolver.load_freqaimodel(self._config)
        self._regressor.live = False
        self._pair = pair
        self._regressor.dd.set_pair_dict_info({"pair": pair})
        kitchen = self._kitchen()
        frame = self._strategy.dp.get_pair_dataframe(pair, self._config["timeframe"])
        frame = kitchen.use_strategy_to_populate_indicators(
            self._strategy, prediction_dataframe=frame, pair=pair
        )
        frame = self._strategy.set_freqai_targets(frame, metadata={"pair": pair})
        self._frame = kitchen.remove_special_chars_from_feature_names(frame)

    def predict(self, model: str, start: pd.Timestamp) -> pd.DataFrame:
        """Predictions with one saved model, as the backtest window from `start` on has them.

        :param model: name of its files, as `cb_btc_1795336825`.
        :return: date, do_predict, the labels and their `_std`, one row per candle.
        """
        kitchen = self._kitchen()
        stamp = int(model.rsplit("_", 1)[1])
        kitchen.set_paths(self._pair, stamp)
        kitchen.set_new_model_names(self._pair, stamp)
        self._regressor.dk = kitchen
        if not self._regressor.model_exists(kitchen):
            raise ParityFailed(f"{kitchen.data_path} holds no whole model any more.")
        self._regressor.model = self._regressor.dd.load_data(self._pair, kitchen)
        window = self._frame[self._frame["date"] >= start].reset_index(drop=True)
        predictions, do_predict = self._regressor.predict(window, kitchen)
        return kitchen.get_predictions_to_append(predictions, do_predict, window)

    def _kitchen(self) -> FreqaiDataKitchen:
        return FreqaiDataKitchen(self._config, False, self._pair)


def _models_folder(configs: Sequence[Path], userdir: Path) -> Path:
    merged = Configuration.from_files([str(path) for path in configs])
    return userdir / "models" / merged["freqai"]["identifier"]


def _model_of(predicted: pd.DataFrame, folder: Path, pair: str) -> pd.Series:
    """The name of the model that made each prediction, found by its label statistics."""
    base = pair.split("/")[0]
    labels = [column for column in predicted if f"{column}_std" in predicted]
    statistics = predicted[[f"{label}_{kind}" for label in labels for kind in ("mean", "std")]]
    names = pd.Series(pd.NA, index=predicted.index, dtype="object")
    for file in sorted(folder.glob(f"sub-train-{base}_*/*_metadata.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        own = [data[f"labels_{kind}"][label] for label in labels for kind in ("mean", "std")]
        same = np.isclose(statistics.to_numpy(float), own, rtol=1e-12, atol=0).all(axis=1)
        names[same] = file.name.removesuffix("_metadata.json")
    if names.isna().any():
        dates = predicted.loc[names.isna(), "date_pred"].astype(str).tolist()
        raise ParityFailed(
            f"{pair}: no saved model has the label statistics of the live predictions for {dates}. "
            "Keep all models (purge_old_models 0) and fit_live_predictions_candles 0."
        )
    return names


def _compare(pair: str, model: str, live: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    labels = [column for column in live if f"{column}_std" in live]
    dates = pd.DatetimeIndex(pd.to_datetime(live["date_pred"], utc=True))
    again = again.set_index(pd.DatetimeIndex(again["date"])).reindex(dates)
    scale = live[[f"{label}_std" for label in labels]].to_numpy(float)
    apart = np.abs(live[labels].to_numpy(float) - again[labels].to_numpy(float)) / scale
    difference = np.where(again["do_predict"].to_numpy() == 1, apart.max(axis=1), np.inf)
    return pd.DataFrame(
        {
            "pair": pair,
            "date": dates,
            "model": model,
            "difference": difference,
            "first_of_model": dates == dates.min(),
        }
    )
