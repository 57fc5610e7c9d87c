"""FreqAI's data drawer, with what it lacks for Keras and for a bot that may be killed."""

from __future__ import annotations

import logging
from pathlib import Path
from time import perf_counter, time
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import rapidjson
from freqtrade.configuration import TimeRange
from freqtrade.freqai.data_drawer import FreqaiDataDrawer
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.strategy.interface import IStrategy
from pandas import DataFrame

from freqai_lstm.model.history import candles_on_disk
from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.prediction import STATISTICS, prediction_frame
from freqai_lstm.model.quality import COLUMNS
from freqai_lstm.model.storage import (
    Damaged,
    SavedModel,
    model_path,
    read_model,
    replacing,
    set_aside,
    write_model,
)
from freqai_lstm.model.windows import HOUR


logger = logging.getLogger(__name__)


class KerasDataDrawer(FreqaiDataDrawer):
    """Save and load Keras models, and write every file beside its place first.

    FreqAI opens the files it goes on from after a restart for writing in place: killed meanwhile,
    it leaves half a file, and the next start fails on it.
    """

    models: dict[str, SavedModel]  # by pair; swapped whole, so that no thread meets half a model
    _history_seconds: float  # what the last save of the prediction history took
    _history_saved: float  # perf_counter() at its end
    _said_unsaved: float | None  # when it was last said that it cannot be saved

    @classmethod
    def adopt(cls, drawer: FreqaiDataDrawer) -> KerasDataDrawer:
        """Take over the state of the drawer that FreqAI has just made and read from disk."""
        adopted = cls.__new__(cls)
        adopted.__dict__.update(drawer.__dict__)
        adopted.models = {}
        adopted._history_seconds = adopted._history_saved = 0.0
        adopted._said_unsaved = None
        return adopted

    def save_data(self, model: PairModel, coin: str, dk: FreqaiDataKitchen) -> None:
        """Save a model, then use it for predictions; replaces FreqaiDataDrawer.save_data."""
        dk.data["data_path"] = str(dk.data_path)
        dk.data["model_filename"] = dk.model_filename
        dk.data["training_features_list"] = dk.training_features_list
        dk.data["label_list"] = dk.label_list
        saved = write_model(model_path(dk), model, dk, self.np_encoder)
        self._use(coin, saved)
        self._note(coin, model_filename=dk.model_filename, data_path=str(dk.data_path))
        self.save_drawer_to_disk()

    def load_data(self, coin: str, dk: FreqaiDataKitchen) -> PairModel | None:
        """Give the kitchen what belongs to the pair's model, and return the model.

        Live it is the pair's newest model, in a backtest that of the window; the one in memory
        serves where it is the same. Replaces FreqaiDataDrawer.load_data.

        :return: None when there is none, or when it is damaged: FreqAI then trains the pair.
        """
        known = self.pair_dict[coin]  # read once: the training thread puts another in its place
        if dk.live:
            if not known["model_filename"]:
                return None
            dk.model_filename, dk.data_path = known["model_filename"], Path(known["data_path"])
        path, saved = model_path(dk), self.models.get(coin)
        if saved is None or saved.path != path:
            try:
                saved = read_model(path)
            except (Damaged, FileNotFoundError) as damage:
                if dk.live and self.pair_dict[coin]["model_filename"] != known["model_filename"]:
                    return self.load_data(coin, dk)  # a newer model is there, this one was purged
                set_aside(path, damage)
                self._note(coin, model_filename="", trained_timestamp=0)
                return None
            self._use(coin, saved)
        return saved.hand_over(dk)

    def _use(self, coin: str, saved: SavedModel) -> None:
        self.models[coin] = saved
        self.model_dictionary[coin] = saved.model  # where FreqAI's get_init_model looks

    def _note(self, coin: str, **changes: Any) -> None:
        """Note something of a pair's model; what another thread has read of it stays as it is."""
        with self.pair_dict_lock:
            self.pair_dict[coin] = {**self.pair_dict[coin], **changes}  # type: ignore[typeddict-item]

    def return_null_values_to_strategy(self, dataframe: DataFrame, dk: FreqaiDataKitchen) -> None:
        """Give a frame without a model every column that a prediction will have."""
        super().return_null_values_to_strategy(dataframe, dk)
        nothing = prediction_frame(dk.label_list, len(dataframe)).set_index(dataframe.index)
        beside = [f"{column}{statistic}" for column in nothing for statistic in STATISTICS]
        added = nothing.assign(**dict.fromkeys(beside, 0.0), **dict.fromkeys(COLUMNS, np.nan))
        others = dataframe.drop(columns=added.columns, errors="ignore")
        dk.return_dataframe = pd.concat([others, added], axis=1)

    def purge_old_models(self) -> None:
        """Remove old models; one that cannot be removed is no reason to train again."""
        try:
            super().purge_old_models()
        except OSError as error:
            logger.error(f"An old model could not be removed ({error}). It is tried again later.")

    def save_drawer_to_disk(self) -> None:
        """Save `pair_dictionary.json`, which says where each pair's model lies."""
        pairs = dict(self.pair_dict)  # the other thread may add a pair
        self._save_json(
            {pair: dict(known) for pair, known in pairs.items()}, self.pair_dictionary_path
        )

    def save_global_metadata_to_disk(self, metadata: dict[str, Any]) -> None:
        """Save `global_metadata.json`, which says when live predictions began."""
        self._save_json(metadata, self.global_metadata_path)

    def _save_json(self, content: dict[str, Any], path: Path) -> None:
        with self.save_lock, replacing(path) as temporary, temporary.open("w") as file:
            rapidjson.dump(content, file, default=self.np_encoder, number_mode=rapidjson.NM_NATIVE)

    def save_historic_predictions_to_disk(self) -> None:
        """Save `historic_predictions.pkl` and its backup.

        FreqAI calls this in the training thread outside of any `try`: an error here would end all
        retraining while the bot trades on. It is logged, once an hour, and the next save tries
        again.
        """
        started = perf_counter()
        try:
            with self.save_lock:
                history = dict(self.historic_predictions)  # the other thread may add a pair
                for path in (self.historic_predictions_path, self.historic_predictions_bkp_path):
                    with replacing(path) as temporary, temporary.open("wb") as file:
                        cloudpickle.dump(history, file)
        except OSError as error:
            if self._said_unsaved is None or time() - self._said_unsaved >= HOUR:
                self._said_unsaved = time()
                logger.error(
                    f"The prediction history could not be saved ({error}). The last saved one is "
                    "kept; until a later save succeeds, a restart loses the predictions since then."
                )
        else:
            if self._said_unsaved is not None:
                logger.info("The prediction history is saved again.")
            self._said_unsaved = None
        self._history_saved = perf_counter()
        self._history_seconds = self._history_saved - started

    def save_new_predictions(self, candle_seconds: int) -> None:
        """Save the prediction history, unless that would take over 1 % of the bot's time.

        FreqAI saves it after trainings and at the end only: a kill -9 would lose hours of it.

        :param candle_seconds: length of a candle; this is called once per candle.
        """
        rested = max(candle_seconds, perf_counter() - self._history_saved)
        if self.historic_predictions and rested >= 100 * self._history_seconds:
            self.save_historic_predictions_to_disk()

    def update_historic_data(self, strategy: IStrategy, dk: FreqaiDataKitchen) -> None:
        """Append new candles; a pair that FreqAI did not know at the start joins with its first.

        FreqAI knows the pairs of the configuration, and a dynamic pairlist brings others. It looks
        at the last candle it has, and would fail for every pair if one has none. It never looks
        at one again: what an exchange corrects in the newest candle is taken over here.
        """
        if dk.pair not in dk.all_pairs:
            dk.all_pairs.append(dk.pair)
        with self.history_lock:
            for pair in dk.all_pairs:
                known = self.historic_data.setdefault(pair, {})
                for timeframe in self.freqai_info["feature_parameters"]["include_timeframes"]:
                    new = strategy.dp.get_pair_dataframe(pair, timeframe)
                    if timeframe not in known:
                        known[timeframe] = self._joined(new, pair, timeframe, dk)
                    elif known[timeframe].empty:
                        known[timeframe] = new
                    else:
                        _correct_newest(known[timeframe], new)
        super().update_historic_data(strategy, dk)

    def _joined(
        self, new: DataFrame, pair: str, timeframe: str, dk: FreqaiDataKitchen
    ) -> DataFrame:
        """Candles of a pair that joins: those on disk, where the exchange's follow on them."""
        _, _, span = dk.check_if_new_training_required(0)
        old = candles_on_disk(self.config, pair, timeframe, span)
        apart = old.empty or (len(new) and old["date"].iloc[-1] < new["date"].iloc[0])
        return new if apart else old

    def load_all_pair_histories(self, timerange: TimeRange, dk: FreqaiDataKitchen) -> None:
        """Load candles from disk, with dates that new candles from the exchange can join.

        freqtrade's files and its exchange give UTC as different time zone objects. pandas then
        joins their dates as plain objects, on which every `.dt` and merge fails: no training would
        succeed from the first new candle on.
        """
        super().load_all_pair_histories(timerange, dk)
        for frames in self.historic_data.values():
            for frame in frames.values():
                frame["date"] = pd.to_datetime(frame["date"], utc=True)


def _correct_newest(known: DataFrame, now: DataFrame) -> None:
    """Take over, in place, what an exchange has corrected in the newest candle before the next."""
    newest = known["date"].iloc[-1]
    if now.empty or now["date"].iloc[-1] == newest:
        return
    same = now[now["date"] == newest]
    if len(same):
        columns = known.columns.intersection(now.columns).drop("date")
        known.loc[known.index[-1], columns] = same[columns].iloc[0]
