"""LSTMRegressor: a Keras LSTM for freqtrade's FreqAI.

    freqtrade backtesting --freqaimodel LSTMRegressor --strategy ... --timerange ...

This file tells FreqAI's story: how a pair is trained and predicted, and what of FreqAI needs
mending for that. The LSTM itself is in the package freqai-lstm (`freqai_lstm/model/`). The model
takes whatever `%` features and numeric `&` labels the strategy makes.
"""

import json
import logging
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from datasieve.pipeline import Pipeline
from freqtrade.configuration import TimeRange
from freqtrade.constants import Config
from freqtrade.enums import RunMode
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.base_models.BaseRegressionModel import BaseRegressionModel
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.utils import record_params
from freqtrade.strategy.interface import IStrategy
from pandas import DataFrame


RELEASE = "0.3"

try:
    from freqai_lstm.release import check_release
except ModuleNotFoundError as missing:
    raise ImportError(
        "LSTMRegressor needs the package freqai-lstm in freqtrade's environment: pip install "
        '"PATH_OF_ITS_REPOSITORY[tools]"'
    ) from missing
check_release("LSTMRegressor.py", RELEASE)

from freqai_lstm.model import dataset, labels, scaling  # noqa: E402
from freqai_lstm.model.alarm import STATES, Limits, longest_stands, standing_names  # noqa: E402
from freqai_lstm.model.devices import (  # noqa: E402
    NoTensorFlow,
    let_others_go_first,
    missing_libraries,
    start_tensorflow,
)
from freqai_lstm.model.drawer import KerasDataDrawer  # noqa: E402
from freqai_lstm.model.hybrid import PairModel, log_summary  # noqa: E402
from freqai_lstm.model.interval import levels_after  # noqa: E402
from freqai_lstm.model.networks import SharedNetworks  # noqa: E402
from freqai_lstm.model.parameters import check_freqai, read_parameters  # noqa: E402
from freqai_lstm.model.prediction import (  # noqa: E402
    mark_unpredicted,
    predict_candles,
    prediction_frame,
)
from freqai_lstm.model.quality import (  # noqa: E402
    ALARM,
    COLUMNS,
    FAILED,
    Known,
    Watch,
    chart_areas,
    mark_unknown,
)
from freqai_lstm.model.record import (  # noqa: E402
    ALLOW_CHANGES,
    SAMPLE_CANDLES,
    ChangedSettings,
    changes,
    record,
    refuse,
    settings_of,
)
from freqai_lstm.model.shared_network import SharedNetwork  # noqa: E402
from freqai_lstm.model.storage import HISTORY, model_path  # noqa: E402
from freqai_lstm.model.windows import COLUMNS as CANDLE_COLUMNS  # noqa: E402
from freqai_lstm.model.windows import HOUR, MINUTE, seconds_of  # noqa: E402


logger = logging.getLogger(__name__)

# What no training of the command can work with: a backtest ends at the first one.
UNUSABLE = (labels.UnusableFeature, labels.TextLabels, ChangedSettings, NoTensorFlow)


class LSTMRegressor(BaseRegressionModel):
    """An LSTM with attention for FreqAI; every numeric label of the strategy is one output.

    One network learns from years of candles of all pairs (`history.py`); each pair adds a ridge
    regression of what it leaves over on the training window (`hybrid.py`).

    In the configuration:

        "freqai": {
            "enabled": true,
            "keras": true,
            "model_save_type": "keras",
            "conv_width": 24,
            "model_training_parameters": {"history_days": 1095, "network_days": 90}
        }

    All parameters, with defaults and what is allowed: `freqai_lstm/model/parameters.py`.
    """

    def __init__(self, config: Config, **kwargs: Any) -> None:
        freqai = config.get("freqai", {})
        check_freqai(freqai)
        self.parameters = read_parameters(freqai.get("model_training_parameters", {}))
        limits = Limits.read(freqai["watch"]) if "watch" in freqai else None
        # FreqAI switches DI_threshold off for Keras models, in the user's own configuration. Ours
        # supports it: hide the value from that check, then put it back and record it.
        feature_parameters = freqai.get("feature_parameters", {})
        di_threshold = feature_parameters.pop("DI_threshold", None)
        try:
            super().__init__(config=config, **kwargs)
        finally:
            if di_threshold is not None:
                feature_parameters["DI_threshold"] = di_threshold
        record_params(config, self.full_path)
        self.settings = settings_of(config, self.parameters)
        self.networks = SharedNetworks(
            config, self.parameters, self.base_tf_seconds, Path(self.full_path), self.settings
        )
        self.watch = Watch(limits, self.base_tf_seconds)
        self.strategy: IStrategy | None = None
        # Of the pair that is predicted: its candles, live with features and labels.
        self.strategy_frame: DataFrame | None = None
        if self.parameters.device == "gpu" and not missing_libraries():
            start_tensorflow(self.parameters)  # without one, end here and not in every training
        self.dd: KerasDataDrawer = KerasDataDrawer.adopt(self.dd)
        self._compared: set[Path] = set()  # saved models that fit what the strategy makes now
        self._refused: dict[str, float] = {}  # when it was last said that a pair's does not
        self._said_missing = 0.0  # when it was last said that TensorFlow is not installed
        self._tried: dict[str, float] = {}  # when a pair's training failed
        self._waiting: set[str] = set()  # pairs that predict without the network for now
        self._failed: list[str] = []  # trainings of this backtest
        self._failures: dict[str, int] = {}  # a bot's, by pair, since one succeeded
        self._features: list[str] = []  # of the pair that is backtested, once they are made
        self._coins: dict[str, str] = {}  # the pair of each base coin
        self._unusable: OperationalException | None = None
        self._unsaved: pd.Timestamp | None = None  # newest candle that is only in memory

    def start(self, dataframe: DataFrame, metadata: dict, strategy: IStrategy) -> DataFrame:
        """Called by the strategy for each pair (live: each candle)."""
        pair, self.strategy_frame, self._features = metadata["pair"], dataframe, []
        self.live = strategy.dp.runmode in (RunMode.DRY_RUN, RunMode.LIVE)
        if self.strategy is None:
            self.data_provider = strategy.dp
            self._before_first_pair(strategy)
        self.strategy = strategy
        self._refuse_twin(pair)
        newest = dataframe["date"].iloc[-1] if len(dataframe) else None
        if self.live and self._unsaved is not None and newest != self._unsaved:
            self._save_predictions()  # the last pair of the whitelist had no new candle
        if not self.live and not self.config.get("freqai_backtest_live_models", False):
            self._compare_saved(dataframe, pair, strategy)
        dataframe = super().start(dataframe, metadata, strategy)
        mark_unpredicted(dataframe)
        mark_unknown(dataframe)
        # In one piece: pandas warns of frames that grew by a hundred columns one by one.
        dataframe = dataframe.copy()
        self.strategy_frame = None
        if self.live:
            dataframe.loc[dataframe.index[-1:], FAILED] = float(self._failures.get(pair, 0))
            self._unsaved = newest
            self._after_live_pass(pair, self._whitelist())
            return dataframe
        if self._failed and self.pair_it == self.total_pairs:
            logger.error(
                f"{len(self._failed)} trainings failed, and their candles have do_predict 0: "
                f"{', '.join(self._failed)}."
            )
        return dataframe

    def _before_first_pair(self, strategy: IStrategy) -> None:
        """Refuse what fails alike for every pair: pairs that share files, missing candles."""
        for pair in self._whitelist():
            self._refuse_twin(pair)
        if self.live or self.config.get("freqai_backtest_live_models", False):
            return
        for pair in self.corr_pairlist:
            for timeframe in self.ft_params["include_timeframes"]:
                if strategy.dp.get_pair_dataframe(pair, timeframe).empty:
                    raise OperationalException(
                        f"freqai.feature_parameters.include_corr_pairlist: {pair} has no candles "
                        f"at {timeframe}. Download them (freqtrade download-data -p {pair} -t "
                        f"{timeframe}), or take the pair out."
                    )

    def _refuse_twin(self, pair: str) -> None:
        """Refuse a pair whose base coin another one has; a dynamic pairlist may bring it later."""
        other = self._coins.setdefault(pair.split("/")[0], pair)
        if other != pair:
            raise OperationalException(
                f"{other} and {pair} have one base coin, and FreqAI keeps the models of both in "
                "the same files. Take one of them out of the whitelist."
            )

    def _whitelist(self) -> list[str]:
        """The pairs of the configuration, or of the pairlists where there are any."""
        pairs = self.config.get("exchange", {}).get("pair_whitelist", [])
        provider = self.data_provider
        if provider is not None and getattr(provider, "_pairlists", None):
            return provider.current_whitelist()
        return list(pairs)

    # --- pipelines ---

    def define_data_pipeline(self, threads: int = -1) -> Pipeline:
        """Called by `train`; what is fitted here is saved with the model and used in `predict`."""
        return scaling.feature_pipeline(self.ft_params, threads)

    # --- training ---

    def train(
        self, unfiltered_df: DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> PairModel:
        """Scale the pair's rows, and learn what the shared network leaves over.

        Called by FreqAI for each pair and training window; replaces BaseRegressionModel.train,
        which forgets where in time a row was, and drops every row that misses one label.

        :param unfiltered_df: candles with features and labels, in time order.
        """
        started = perf_counter()
        self._features = list(dk.training_features_list)
        dk.data["extra_returns_per_train"] = {}  # those of the window before are no part of a model
        logger.info(f"-------------------- Starting training {pair} --------------------")
        border = self._border(unfiltered_df)
        dk.feature_pipeline = self.define_data_pipeline(dk.thread_count)
        try:
            data = dataset.prepare(
                self._with_older(unfiltered_df, border, pair),
                dk,
                self.freqai_info,
                timeframe_seconds=self.base_tf_seconds,
                label_scale_feature=self.parameters.label_scale_feature,
                seed=self.parameters.seed,
            )
            start = int(unfiltered_df["date"].iloc[0].timestamp())
            borders = self.networks.borders(border, self._whitelist()) if border else [start]
            data = data.thinned(min(start, *borders))
            model = PairModel.fit(data, lambda: self._network(border, pair, dk))
        except UNUSABLE as error:
            self._unusable = error
            raise
        # FreqAI passes a backtest window alone to `predict`; its first windows begin in these rows.
        keep = [*dk.training_features_list, "date", *CANDLE_COLUMNS]
        last = unfiltered_df[keep].tail(self.CONV_WIDTH - 1).reset_index(drop=True)
        dk.data_dictionary[HISTORY] = last
        if not self.live:
            known = Known.of(dk.full_df, unfiltered_df, dk.label_list, data.space.horizons)
            model.levels = levels_after(known.missed)
        self._fit_labels(unfiltered_df, dk)
        seconds = perf_counter() - started
        dk.data["training_report"] = model.report = model.report | {"seconds": seconds}
        columns = [*dk.training_features_list, *dk.label_list]
        dk.data["record"] = record(self.settings, unfiltered_df, columns)
        dk.data["longest_stands"] = longest_stands(unfiltered_df[dk.training_features_list])
        log_summary(model, pair, seconds)
        return model

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Not used: FreqAI calls `train`, and windows need what `fit` is not given (the dates)."""
        raise NotImplementedError("LSTMRegressor trains in train(), which keeps candle times.")

    def _border(self, window: DataFrame) -> int | None:
        """Where the history ends of the network that serves a training window; None without one."""
        if self.strategy is None:
            return None
        start, stop = (int(window["date"].iloc[row].timestamp()) for row in (0, -1))
        return self.networks.border(start, stop, self._whitelist())

    def _with_older(self, window: DataFrame, border: int | None, pair: str) -> DataFrame:
        """A training window, and candles in front of it, see `History.with_older`."""
        if self.strategy is None or border is None or not self._served(border):
            return window
        if self.ft_params.get("use_DBSCAN_to_remove_outliers", False):
            return window  # its memory grows with the square of the candles
        return self.networks.history.with_older(
            self.strategy, border, window, pair, keep=not self.live
        )

    def _served(self, border: int) -> bool:
        """Whether the network is there or can be trained at once.

        A new bot predicts within seconds: while a pair has no model, or the network is not there
        yet, its regression serves, and the pair stays due.
        """
        return (
            not self.live
            or self.networks.ready(border, self._whitelist())
            or bool(missing_libraries())
            or not self._some_without_model()
        )

    def _network(
        self, border: int | None, pair: str, dk: FreqaiDataKitchen
    ) -> SharedNetwork | None:
        """The shared network of a border, None where there is none or it comes later."""
        if self.strategy is None or border is None:
            return None
        if not self._served(border):
            logger.info(
                f"{pair}: predicts with its regression until the shared network is trained."
            )
            self._waiting.add(pair)
            return None
        features = dk.training_features_list
        return self.networks.get(border, self.strategy, self._whitelist(), features, pair)

    # --- prediction ---

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, npt.NDArray[np.int_]]:
        """Predict every candle of the frame whose window is complete.

        Called by FreqAI: in a backtest with the candles of one backtest window; live first with
        the whole strategy frame and then with the last `conv_width` candles.

        :return: (predictions, do_predict), a row per candle of `unfiltered_df`. Beside each label
            stand `…_lower` and `…_upper`, between which four of five lie. A candle without a
            complete, valid window has 0, an interval without end, and `do_predict` 0.
        """
        if len(unfiltered_df) == 0:
            dk.do_predict, dk.DI_values = np.zeros(0, dtype=np.int_), np.zeros(0)
            dk.data["extra_returns_per_train"] = dict.fromkeys(COLUMNS, np.nan)
            return prediction_frame(dk.label_list, 0), dk.do_predict
        dk.find_features(unfiltered_df)
        self._features = list(dk.training_features_list)
        dataset.check_columns(dk)
        known, levels = Known(), self.model.levels
        past = self.dd.historic_predictions.get(dk.pair) if dk.live else None
        if past is not None and self.strategy_frame is not None:
            past, horizons = past.tail(len(self.strategy_frame)), self.model.space.horizons
            known = Known.of(past, self.strategy_frame, dk.label_list, horizons)
            levels = levels_after(known.missed)
        columns = predict_candles(
            self.model,
            dk,
            unfiltered_df,
            self.strategy_frame,
            levels,
            conv_width=self.CONV_WIDTH,
            timeframe_seconds=self.base_tf_seconds,
        )
        self._judge(columns, dk, unfiltered_df, known)
        return columns, dk.do_predict

    def _judge(
        self, columns: DataFrame, dk: FreqaiDataKitchen, frame: DataFrame, known: Known
    ) -> None:
        """Add the columns of `quality.py`, and silence candles on which the alarm stands."""
        horizons = self.model.space.horizons
        at = seconds_of(frame["date"])[-1 if dk.live else 0 :]
        if not dk.live:
            dk.data["extra_returns_per_train"] = {}  # of the frame that was predicted before
            # FreqAI numbers the rows of the frame it is given anew, in place.
            past = dk.get_predictions_to_append(columns, dk.do_predict, frame.copy())
            known = self.watch.remember(dk.pair, Known.of(past, frame, dk.label_list, horizons))
        standing: list[list[str]] = [[]] * len(at)
        if self.watch.limits is not None:
            whole = frame if self.strategy_frame is None or not dk.live else self.strategy_frame
            standing = standing_names(whole, dk.data.get("longest_stands", {}), len(at))
        pairs = max(len(self._whitelist()), 1)
        states = self.watch.states(known, at, max([1, *horizons]), standing, pairs)
        found = self.watch.columns(
            self.model, known, at, dk.data.get("record", {}).get("dates", [])
        )
        found[ALARM] = np.array([STATES.index(state) for state in states], dtype=float)
        found[FAILED] = np.full(len(at), float(self._failures.get(dk.pair, 0)))
        dk.data["extra_returns_per_train"] = self.freqai_info.get("extra_returns_per_train", {}) | {
            name: float(values[-1]) if dk.live else values for name, values in found.items()
        }
        said = dk.do_predict[-len(at) :]
        said[(found[ALARM] == STATES.index("stop")) & (said == 1)] = 0
        for line, loud in self.watch.changes(dk.pair, at, states, standing):
            logger.warning(line)
            if loud and dk.live and self.data_provider is not None:
                self.data_provider.send_msg(line, always_send=True)

    def plot_annotations(self, dataframe: DataFrame) -> list[dict[str, Any]]:
        """What a strategy's own `plot_annotations` returns for FreqUI, see `quality.py`."""
        return chart_areas(dataframe)

    # --- what was saved must fit what the strategy makes now ---

    def _compare_saved(self, frame: DataFrame, pair: str, strategy: IStrategy) -> None:
        """Refuse saved models and predictions of a backtest that were made with something else.

        Settings are compared for every window; rows of the oldest and of the newest.
        """
        dk = FreqaiDataKitchen(self.config, False, pair)
        saved = []
        for window in dk.training_timeranges:
            dk.set_paths(pair, int(window.stopts))
            dk.set_new_model_names(pair, int(window.stopts))
            path = Path(dk.data_path) / f"{dk.model_filename}_metadata.json"
            used = (model_path(dk), self._cached_predictions(dk))
            if path.is_file() and any(file.is_file() for file in used):
                saved.append((path, json.loads(path.read_text(encoding="utf-8"))))
            elif used[1].is_file():
                saved.append((used[1], {}))
        allow = self.freqai_info.get(ALLOW_CHANGES, False)
        for number, (path, metadata) in enumerate(saved):
            then = metadata.get("record")
            if then is None:
                found = ["it is of another model, or of an earlier release"]
            elif number in (0, len(saved) - 1):
                found = changes(
                    then, self.settings, self._sample_frame(frame, then, pair, strategy)
                )
            else:
                found = changes(then | {"dates": []}, self.settings, frame)
            refuse(f"{path.parent.name}/{path.name}", found, allow_changes=allow)

    def _sample_frame(
        self, frame: DataFrame, then: dict[str, Any], pair: str, strategy: IStrategy
    ) -> DataFrame:
        """Make features and labels anew for the candles of a record."""
        last = pd.Timestamp(max(then["dates"], default=0), unit="s", tz="UTC")
        some = frame[frame["date"] <= last].tail(SAMPLE_CANDLES).reset_index(drop=True)
        if some.empty:
            return some
        dk = FreqaiDataKitchen(self.config, False, pair)
        some = dk.use_strategy_to_populate_indicators(
            strategy, prediction_dataframe=some, pair=pair
        )
        some = strategy.set_freqai_targets(some, metadata={"pair": pair})
        return dk.remove_special_chars_from_feature_names(some)

    @staticmethod
    def _cached_predictions(dk: FreqaiDataKitchen) -> Path:
        folder = Path(dk.full_path) / dk.backtest_predictions_folder
        return folder / f"{dk.model_filename}_prediction.feather"

    def _fits_live(self, dataframe: DataFrame, pair: str) -> bool:
        """Whether a bot's saved model fits; it is compared once, and said once an hour."""
        saved = self.dd.models[pair]
        if saved.path in self._compared or self.freqai_info.get(ALLOW_CHANGES, False):
            return True
        then = saved.metadata.get("record", {"settings": {}, "dates": [], "values": {}})
        found = changes(then, self.settings, dataframe)
        if not found:
            self._compared.add(saved.path)
            self._refused.pop(pair, None)
            return True
        if time() - self._refused.get(pair, 0) >= HOUR:
            self._refused[pair] = time()
            line = (
                f"{pair}: its saved model was made with something else "
                f"({'; '.join(found[:3])}). It is not used, and not replaced: choose a new "
                "freqai.identifier, or take the change back."
            )
            logger.error(line)
            if self.data_provider is not None:
                self.data_provider.send_msg(line, always_send=True)
        return False

    # --- what of FreqAI needs mending ---

    def model_exists(self, dk: FreqaiDataKitchen) -> bool:
        """Whether this window's model is on disk and whole; a damaged one is set aside.

        Replaces IFreqaiModel.model_exists, which knows no such archives. What it reads stays in
        memory for the `load_data` that follows.
        """
        path = model_path(dk)
        found = path.is_file() and self.dd.load_data(dk.pair, dk) is not None
        logger.info(f"{'Found' if found else 'Could not find'} model at {path}")
        return found

    def check_if_feature_list_matches_strategy(self, dk: FreqaiDataKitchen) -> None:
        """Compare the strategy's features with those of predictions on disk.

        Where a window before had none on disk, FreqAI has made the features already, and makes
        features of these for the comparison.
        """
        dk.training_features_list = self._features or dk.training_features_list
        super().check_if_feature_list_matches_strategy(dk)

    def extract_data_and_train_model(
        self,
        new_trained_timerange: TimeRange,
        pair: str,
        strategy: IStrategy,
        dk: FreqaiDataKitchen,
        data_load_timerange: TimeRange,
    ) -> None:
        """Train and save in the scanning thread; a pair whose model was not saved stays due.

        FreqAI notes the time of training before it saves. Were it kept after a full disk, say, the
        old model would pass for a fresh one, would not expire, and would not be retrained in time.
        FreqAI would try a pair that stays due again within a second, with a traceback each time.
        """
        if pair in self._refused:  # it stays due, and FreqAI asks again within a second
            if {*self.train_queue} <= {*self._refused}:
                self._stop_event.wait(MINUTE)
            return
        rest = self._tried.pop(pair, 0.0) + MINUTE - time()
        if rest > 0 and self._stop_event.wait(rest):
            return  # the bot ends
        let_others_go_first()
        before = self.dd.get_pair_dict_info(pair)[1]
        try:
            super().extract_data_and_train_model(
                new_trained_timerange, pair, strategy, dk, data_load_timerange
            )
        except BaseException as error:
            self.dd.pair_dict[pair]["trained_timestamp"] = before
            if not isinstance(error, NoTensorFlow):  # which waits for a network and has not failed
                self._failures[pair] = self._failures.get(pair, 0) + 1
                self._tried[pair] = time()
                raise
            self._wait_for_network(error)
            return
        self._failures.pop(pair, None)
        self._compared.add(self.dd.models[pair].path)
        if pair in self._waiting:
            self._waiting.discard(pair)
            again = int(self.freqai_info.get("live_retrain_hours", 0) * HOUR) + 1
            self.dd.pair_dict[pair]["trained_timestamp"] -= again

    def _wait_for_network(self, missing: NoTensorFlow) -> None:
        """Live: saved models go on; look every minute whether a network has been copied here."""
        if time() - self._said_missing >= HOUR:
            self._said_missing = time()
            logger.error(f"{missing} Saved models predict until freqai.expiration_hours.")
        self._stop_event.wait(MINUTE)

    def build_strategy_return_arrays(
        self, dataframe: DataFrame, dk: FreqaiDataKitchen, pair: str, trained_timestamp: int
    ) -> None:
        """Live: predict the newest candle and hand the strategy all predictions so far.

        FreqAI spends the first pass of a bot's life on filling the history and marks all of it
        `do_predict` 0, the newest candle included. A second round predicts that candle as every
        later one, so that a model from disk serves from the first candle on. What was predicted
        before a restart within the same candle stays.
        """
        if not self._fits_live(dataframe, pair):
            self.dd.return_null_values_to_strategy(dataframe, dk)
            return
        first = pair not in self.dd.model_return_values
        saved = self.dd.historic_predictions.get(pair)
        if saved is not None and f"{dk.label_list[0]}_lower" not in saved:
            logger.warning(
                f"{pair}: the prediction history is of another model; it begins anew. The old one "
                "is in historic_predictions.backup.pkl until the next save."
            )
            saved = None
            del self.dd.historic_predictions[pair]
        self._complete_statistics(dk)
        self.strategy_frame = dataframe
        if saved is not None:
            for name in {*COLUMNS} - {*saved}:  # a history of an earlier release
                saved[name] = np.nan
        # What an expired model says of itself.
        dk.data["extra_returns_per_train"] = self.freqai_info.get(
            "extra_returns_per_train", {}
        ) | dict.fromkeys(COLUMNS, np.nan)
        super().build_strategy_return_arrays(dataframe, dk, pair, trained_timestamp)
        if first and saved is not None and len(saved):
            newest = saved.iloc[-1]
            if newest["date_pred"] == dataframe["date"].iloc[-1] and newest["do_predict"] == 1:
                return
        if first:
            # FreqAI's placeholders are integers, and pandas puts no fraction in an integer column.
            history = self.dd.historic_predictions[pair]
            integers = history.select_dtypes("integer").columns
            history = history.astype(dict.fromkeys(integers, float))
            if saved is None:  # no model had served on these candles
                history[list(COLUMNS)] = np.nan
            self.dd.historic_predictions[pair] = history
            super().build_strategy_return_arrays(dataframe, dk, pair, trained_timestamp)

    def fit_live_predictions(self, dk: FreqaiDataKitchen, pair: str) -> None:
        """Label mean and std from recent predictions, for `fit_live_predictions_candles`.

        Only candles that were really predicted count, and until there are as many the training's
        statistics serve: of two predictions a standard deviation says nothing.
        """
        candles = self.freqai_info.get("fit_live_predictions_candles", 100)
        recent = self.dd.historic_predictions[pair].tail(candles)
        if "do_predict" in recent:
            recent = recent[recent["do_predict"] == 1]
        if len(recent) >= candles:
            dk.data["labels_mean"] = recent[dk.label_list].mean().to_dict()
            dk.data["labels_std"] = recent[dk.label_list].std(ddof=0).to_dict()
        self._complete_statistics(dk)

    def _fit_labels(self, window: DataFrame, dk: FreqaiDataKitchen) -> None:
        """Mean and std of the window's labels; FreqAI's own wants every label on every row."""
        known = window[dk.label_list].replace([np.inf, -np.inf], np.nan)
        dk.data["labels_mean"] = known.mean().fillna(0).to_dict()
        dk.data["labels_std"] = known.std(ddof=0).fillna(0).to_dict()

    def _complete_statistics(self, dk: FreqaiDataKitchen) -> None:
        """Live FreqAI asks for mean and std of every column that is predicted, intervals too."""
        for label in dk.label_list:
            for end in ("_lower", "_upper"):
                for statistic in ("labels_mean", "labels_std"):
                    dk.data.setdefault(statistic, {}).setdefault(f"{label}{end}", 0.0)

    def _append_null_backtesting_predictions(
        self, dk: FreqaiDataKitchen, dataframe_backtest: DataFrame
    ) -> None:
        """End a backtest that cannot work; else fill a failed window, and keep no such file."""
        if self._unusable is not None:
            raise self._unusable
        count = len(dataframe_backtest)
        do_predict, dk.DI_values = np.zeros(count, dtype=np.int_), np.zeros(count)
        for statistic in ("labels_mean", "labels_std"):
            dk.data[statistic] = dict.fromkeys(dk.label_list, 0.0)
        dk.data["extra_returns_per_train"] = dict.fromkeys(COLUMNS, np.nan) | {FAILED: 1.0}
        columns = prediction_frame(dk.label_list, count)
        dk.append_predictions(dk.get_predictions_to_append(columns, do_predict, dataframe_backtest))
        self._failed.append(dk.data_path.name.removeprefix("sub-train-"))
        logger.error(
            f"{dk.pair}: the training for {dk.data_path.name} failed (see above). Its "
            f"{count} candles have do_predict 0 and cannot trade."
        )

    def _some_without_model(self) -> bool:
        """Live: whether a pair of the whitelist has no model yet."""
        return any(not self.dd.get_pair_dict_info(pair)[0] for pair in self._whitelist())

    def _after_live_pass(self, pair: str, whitelist: list[str]) -> None:
        """What FreqAI leaves undone between two candles."""
        if pair not in self.train_queue and pair in whitelist:
            # FreqAI drops a pair that has left the whitelist, and forgets it for good.
            logger.info(f"{pair} is in the whitelist again: it will be trained when it is due.")
            self.train_queue.append(pair)
        if (
            pair in self.train_queue
            and pair not in self._tried
            and not self.dd.get_pair_dict_info(pair)[1]
            and self.dd.get_pair_dict_info(self.train_queue[0])[1]
        ):
            # FreqAI looks at the first pair of its queue alone, until that one is due.
            self.train_queue.remove(pair)
            self.train_queue.appendleft(pair)
        if self.dd.pair_dict[pair]["trained_timestamp"] > time():
            logger.warning(
                f"{pair}: by this machine's clock its model was trained in the future, so the clock"
                " has been set back. The model's age counts from now on: it is retrained and "
                "expires accordingly."
            )
            self.dd.pair_dict[pair]["trained_timestamp"] = int(time())
        if whitelist and pair == whitelist[-1]:
            self._save_predictions()

    def _save_predictions(self) -> None:
        self.dd.save_new_predictions(self.base_tf_seconds)
        self._unsaved = None
