"""LSTMRegressor: a Keras LSTM for freqtrade's FreqAI.

    freqtrade backtesting --freqaimodel LSTMRegressor --strategy ... --timerange ...

This file tells FreqAI's story: how a pair is trained and predicted, and what of FreqAI needs
mending for that. The LSTM itself is in the package freqai-lstm (`freqai_lstm/model/`). The model
takes whatever `%` features and numeric `&` labels the strategy makes.
"""

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


RELEASE = "0.2"

try:
    from freqai_lstm.release import check_release
except ModuleNotFoundError as missing:
    raise ImportError(
        "LSTMRegressor needs the package freqai-lstm in freqtrade's environment: pip install "
        '"PATH_OF_ITS_REPOSITORY[tools]"'
    ) from missing
check_release("LSTMRegressor.py", RELEASE)

from freqai_lstm.model import checks, dataset, fingerprint, scaling  # noqa: E402
from freqai_lstm.model.assembly import assemble, log_summary  # noqa: E402
from freqai_lstm.model.candles import COLUMNS as CANDLE_COLUMNS  # noqa: E402
from freqai_lstm.model.drawer import KerasDataDrawer  # noqa: E402
from freqai_lstm.model.features import own_names  # noqa: E402
from freqai_lstm.model.interval import NEWEST, known_errors  # noqa: E402
from freqai_lstm.model.pairs import PairFrames  # noqa: E402
from freqai_lstm.model.parameters import check_freqai, read_parameters  # noqa: E402
from freqai_lstm.model.part import Part  # noqa: E402
from freqai_lstm.model.pool import NetworkPool  # noqa: E402
from freqai_lstm.model.pooling import LearnedNetwork, PooledNetworks  # noqa: E402
from freqai_lstm.model.prediction import label_scales, predict_candles  # noqa: E402
from freqai_lstm.model.preparation import Preparation  # noqa: E402
from freqai_lstm.model.storage import HISTORY, TrainedLSTM, model_path  # noqa: E402
from freqai_lstm.model.tensorboard import scalars_writer  # noqa: E402
from freqai_lstm.model.training import Training  # noqa: E402


logger = logging.getLogger(__name__)

# What no training of the command can work with: a backtest ends at the first one.
UNUSABLE = (scaling.UnusableFeature, dataset.TextLabels)


class LSTMRegressor(BaseRegressionModel):
    """An LSTM with attention for FreqAI; every numeric label of the strategy is one output.

    One network learns from all pairs; each pair adds it to a ridge regression of its own.

    In the configuration:

        "freqai": {
            "enabled": true,
            "keras": true,
            "model_save_type": "keras",
            "conv_width": 24,
            "data_split_parameters": {"test_size": 0.2},
            "model_training_parameters": {"pooled": true, "ensemble": 1, "units": 32}
        }

    All parameters, with defaults and what is allowed: `freqai_lstm/model/parameters.py`.
    """

    def __init__(self, config: Config, **kwargs: Any) -> None:
        freqai = config.get("freqai", {})
        check_freqai(freqai)
        self.parameters = read_parameters(freqai.get("model_training_parameters", {}))
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
        self.horizon = self.ft_params.get("label_period_candles", 0)
        self.pool, self.pooled = NetworkPool(self.parameters), PooledNetworks()
        self._frames: PairFrames | None = None  # with `pooled`
        # Of the pair that is predicted: its candles, live with features and labels.
        self.strategy_frame: DataFrame | None = None
        self._ranges: tuple[TimeRange, TimeRange] | None = None  # of the live training under way
        if self.parameters.device == "gpu":
            self.pool.start()  # without one, end here and not in every training
        self.dd: KerasDataDrawer = KerasDataDrawer.adopt(self.dd, self.pool)
        self._fingerprint: dict[str, Any] | None = None
        self._fingerprint_is_kept = False
        self._failed: list[str] = []  # trainings of this backtest
        self._unusable: OperationalException | None = None
        self._unsaved: pd.Timestamp | None = None  # newest candle that is only in memory

    def start(self, dataframe: DataFrame, metadata: dict, strategy: IStrategy) -> DataFrame:
        """Called by the strategy for each pair (live: each candle)."""
        pair, self.strategy_frame = metadata["pair"], dataframe
        self.live = strategy.dp.runmode in (RunMode.DRY_RUN, RunMode.LIVE)
        if self._fingerprint is None:
            self._before_first_pair(strategy)
        newest = dataframe["date"].iloc[-1] if len(dataframe) else None
        if self.live and self._unsaved is not None and newest != self._unsaved:
            self._save_predictions()  # the last pair of the whitelist had no new candle
        # Principal components mean something else on every pair.
        if self.parameters.pooled and not self.ft_params.get("principal_component_analysis", False):
            self._frames = self._frames or PairFrames(self.config, strategy)
        dataframe = super().start(dataframe, metadata, strategy)
        self.strategy_frame = None
        if self.live:
            self._unsaved = newest
            self._after_live_pass(pair, strategy.dp.current_whitelist())
            return dataframe
        self._frames = None  # every window has its network now
        if self._failed and self.pair_it == self.total_pairs:
            logger.error(
                f"{len(self._failed)} trainings failed, and their candles have do_predict 0: "
                f"{', '.join(self._failed)}."
            )
        return dataframe

    def _before_first_pair(self, strategy: IStrategy) -> None:
        """Refuse what fails alike for every pair: changed settings, missing candles."""
        self._fingerprint = fingerprint.fingerprint(self.config, self.parameters, strategy)
        allow = self.freqai_info.get(fingerprint.ALLOW_CHANGES, False)
        self._fingerprint_is_kept = fingerprint.check(
            Path(self.full_path), self._fingerprint, allow_changes=allow
        )
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

    # --- pipelines ---

    def define_data_pipeline(self, threads: int = -1) -> Pipeline:
        """Called by `train`; what is fitted here is saved with the model and used in `predict`."""
        return scaling.feature_pipeline(self.ft_params, threads)

    def define_label_pipeline(self, threads: int = -1) -> Pipeline:
        """Called by `train`, see `define_data_pipeline`."""
        return scaling.label_pipeline()

    # --- training ---

    def train(
        self, unfiltered_df: DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> TrainedLSTM:
        """Filter, split, scale and learn; called by FreqAI for each pair and training window.

        Replaces BaseRegressionModel.train, which forgets where in time a row was.

        :param unfiltered_df: candles with features and labels, in time order.
        """
        started = perf_counter()
        logger.info(f"-------------------- Starting training {pair} --------------------")
        try:
            part, features = self._preparation().part(unfiltered_df, dk)
        except UNUSABLE as error:
            self._unusable = error
            raise
        # FreqAI passes a backtest window alone to `predict`; its first windows begin in these rows.
        keep = [*dk.training_features_list, "date", *CANDLE_COLUMNS]
        last = unfiltered_df[keep].tail(self.CONV_WIDTH - 1).reset_index(drop=True)
        dk.data_dictionary[HISTORY] = last
        learned, shared = None, own_names(features, pair)
        if self._frames is not None and not part.exact:
            learned = self._pooled_network(self._frames, dk)
        if learned is None:
            names = [features[column] for column in part.columns]
            learned, shared = self._learn([part], names, pair, dk), features
        model = assemble(part, features, shared, learned, dk.label_pipeline)
        if not self.live:
            known = self._known_errors(unfiltered_df, dk)
            model.calibration = model.calibration.extended(*known)
        seconds = perf_counter() - started
        dk.data["features"], dk.data["network_features"] = features, model.network_features
        dk.data["members"] = len(model.weights)
        dk.data["training_report"] = model.report = model.report | {"seconds": seconds}
        log_summary(model, part, dk.label_list, seconds)
        if not self._fingerprint_is_kept and self._fingerprint is not None:
            fingerprint.write(Path(self.full_path), self._fingerprint)
            self._fingerprint_is_kept = True
        return model

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Not used: FreqAI calls `train`, and windows need what `fit` is not given (the dates)."""
        raise NotImplementedError("LSTMRegressor trains in train(), which keeps candle times.")

    def _learn(
        self, parts: list[Part], names: list[str], name: str, dk: FreqaiDataKitchen
    ) -> LearnedNetwork:
        """Train the network of these features; where the labels are exact it stays as it begins."""
        network = self.pool.network(self.CONV_WIDTH, len(names), len(dk.label_list))
        if all(part.exact for part in parts):
            with scalars_writer(Path(dk.data_path), active=self.activate_tensorboard) as on_epoch:
                on_epoch(parts[0].ridge_scores(), 0)
            return LearnedNetwork.untrained(network, names)
        previous: TrainedLSTM | None = self.get_init_model(dk.pair)
        start_from = previous.weights_for(network, names, dk.pair) if previous else None
        with scalars_writer(Path(dk.data_path), active=self.activate_tensorboard) as on_epoch:
            weights, report = Training(network, parts, name=name, on_epoch=on_epoch).run(start_from)
        return LearnedNetwork(network, weights, names, report)

    def _pooled_network(self, frames: PairFrames, dk: FreqaiDataKitchen) -> LearnedNetwork | None:
        """The network that all pairs share, trained when the first of them needs it.

        :return: None where no other pair can take part.
        """
        window, loaded = self._ranges or (self.training_timerange, None)
        stop, hours = int(window.stopts), self.freqai_info.get("live_retrain_hours", 0)
        known = (
            self.pooled.of_round(dk.pair, stop, hours) if loaded else self.pooled.of_window(stop)
        )
        if known is not None or len(frames.pairs()) < 2:
            return known
        drawer = self.dd if loaded else None
        parts, names = frames.parts(self._preparation(), window, drawer, loaded)
        if len(parts) < 2:
            return None
        learned = self._learn(parts, names, f"{len(parts)} pairs", dk)
        if loaded:
            self.pooled.begin_round(dk.pair, stop, learned)
        else:
            self.pooled.keep_window(stop, learned)
        return learned

    def _preparation(self) -> Preparation:
        def pipelines(threads: int) -> tuple[Pipeline, Pipeline]:
            return self.define_data_pipeline(threads), self.define_label_pipeline(threads)

        return Preparation(
            freqai=self.freqai_info,
            parameters=self.parameters,
            timeframe_seconds=self.base_tf_seconds,
            pipelines=pipelines,
            loss=self.pool.loss,
            fit_labels=not (self.live and self.freqai_info.get("fit_live_predictions_candles", 0)),
        )

    # --- prediction ---

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, npt.NDArray[np.int_]]:
        """Predict every candle of the frame whose window is complete.

        Called by FreqAI: in a backtest with the candles of one backtest window; live first with
        the whole strategy frame and then with the last `conv_width` candles.

        :return: (predictions, do_predict), a row per candle of `unfiltered_df`. Beside each label
            stand `…_lower` and `…_upper`, between which four of five lie, and of an ensemble
            `…_spread`, the standard deviation over its members. Candles without a complete, valid
            window have NaN and `do_predict` 0.
        """
        dk.find_features(unfiltered_df)
        checks.check_columns(dk)
        calibration = self.model.calibration
        if dk.live and self.strategy_frame is not None:
            calibration = calibration.extended(*self._known_errors(self.strategy_frame, dk))
        columns = predict_candles(
            self.model,
            dk,
            unfiltered_df,
            self.strategy_frame,
            calibration,
            conv_width=self.CONV_WIDTH,
            timeframe_seconds=self.base_tf_seconds,
            horizon=self.horizon,
        )
        return columns, dk.do_predict

    def _known_errors(
        self, frame: DataFrame, dk: FreqaiDataKitchen
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Errors of past predictions whose labels are known at the frame's end, see interval.py."""
        if self.live:
            past = self.dd.historic_predictions.get(dk.pair, DataFrame()).tail(2 * NEWEST)
            past = past.rename(columns={"date_pred": "date"})
        else:
            past = dk.full_df
        return known_errors(past, frame, dk.label_list, label_scales(frame, dk), self.horizon)

    # --- what of FreqAI needs mending ---

    def model_exists(self, dk: FreqaiDataKitchen) -> bool:
        """Whether this window's model is on disk and whole; a damaged one is set aside.

        Replaces IFreqaiModel.model_exists, which knows no Keras archives. What it reads stays in
        memory for the `load_data` that follows.
        """
        path = model_path(dk, self.dd.model_type)
        found = path.is_file() and self.dd.load_data(dk.pair, dk) is not None
        logger.info(f"{'Found' if found else 'Could not find'} model at {path}")
        return found

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
        """
        before = self.dd.get_pair_dict_info(pair)[1]
        self._ranges = new_trained_timerange, data_load_timerange
        try:
            super().extract_data_and_train_model(
                new_trained_timerange, pair, strategy, dk, data_load_timerange
            )
        except BaseException:
            self.dd.pair_dict[pair]["trained_timestamp"] = before
            raise

    def build_strategy_return_arrays(
        self, dataframe: DataFrame, dk: FreqaiDataKitchen, pair: str, trained_timestamp: int
    ) -> None:
        """Live: predict the newest candle and hand the strategy all predictions so far.

        FreqAI spends the first pass of a bot's life on filling the history and marks all of it
        `do_predict` 0, the newest candle included. A second round predicts that candle as every
        later one, so that a model from disk serves from the first candle on. What was predicted
        before a restart within the same candle stays.
        """
        first = pair not in self.dd.model_return_values
        saved = self.dd.historic_predictions.get(pair)
        self._complete_statistics(dk)
        self.strategy_frame = dataframe
        super().build_strategy_return_arrays(dataframe, dk, pair, trained_timestamp)
        if first and saved is not None and len(saved):
            newest = saved.iloc[-1]
            if newest["date_pred"] == dataframe["date"].iloc[-1] and newest["do_predict"] == 1:
                return
        if first:
            # FreqAI's placeholders are integers, and pandas puts no fraction in an integer column.
            history = self.dd.historic_predictions[pair]
            integers = history.select_dtypes("integer").columns
            self.dd.historic_predictions[pair] = history.astype(dict.fromkeys(integers, float))
            super().build_strategy_return_arrays(dataframe, dk, pair, trained_timestamp)

    def fit_live_predictions(self, dk: FreqaiDataKitchen, pair: str) -> None:
        """Label mean and std from recent predictions, for `fit_live_predictions_candles`.

        Only candles that were really predicted count; stock FreqAI includes placeholders.
        """
        recent = self.dd.historic_predictions[pair].tail(
            self.freqai_info.get("fit_live_predictions_candles", 100)
        )
        if "do_predict" in recent:
            recent = recent[recent["do_predict"] == 1]
        recent = recent[dk.label_list]
        dk.data["labels_mean"] = recent.mean().fillna(0).to_dict()
        dk.data["labels_std"] = recent.std(ddof=0).fillna(0).to_dict()
        self._complete_statistics(dk)

    def _complete_statistics(self, dk: FreqaiDataKitchen) -> None:
        """Live FreqAI asks for mean and std of every column that is predicted, intervals too."""
        for label in dk.label_list:
            for end in ("_lower", "_upper", "_spread"):
                for statistic in ("labels_mean", "labels_std"):
                    dk.data.setdefault(statistic, {}).setdefault(f"{label}{end}", 0.0)

    def _append_null_backtesting_predictions(
        self, dk: FreqaiDataKitchen, dataframe_backtest: DataFrame
    ) -> None:
        """End a backtest that cannot work; else do not let a failure's zeros be reused."""
        if self._unusable is not None:
            raise self._unusable
        super()._append_null_backtesting_predictions(dk, dataframe_backtest)
        dk.backtesting_results_path.unlink(missing_ok=True)
        self._failed.append(dk.data_path.name.removeprefix("sub-train-"))
        logger.error(
            f"{dk.pair}: the training for {dk.data_path.name} failed (see above). Its "
            f"{len(dataframe_backtest)} candles have do_predict 0 and cannot trade."
        )

    def _after_live_pass(self, pair: str, whitelist: list[str]) -> None:
        """What FreqAI leaves undone between two candles."""
        if pair not in self.train_queue and pair in whitelist:
            # FreqAI drops a pair that has left the whitelist, and forgets it for good.
            logger.info(f"{pair} is in the whitelist again: it will be trained when it is due.")
            self.train_queue.append(pair)
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
