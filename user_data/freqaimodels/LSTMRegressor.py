"""LSTMRegressor: a Keras LSTM for freqtrade's FreqAI.

    freqtrade backtesting --freqaimodel LSTMRegressor --strategy ... --timerange ...

This file tells FreqAI's story: how a pair is trained and predicted, and what of FreqAI needs
mending for that. The LSTM itself is in the package freqai-lstm (`freqai_lstm/model/`). The model
takes whatever `%` features and numeric `&` labels the strategy makes.
"""

import logging
from dataclasses import asdict
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
from freqai_lstm.model.calendar import calendar_names  # noqa: E402
from freqai_lstm.model.candles import COLUMNS as CANDLE_COLUMNS  # noqa: E402
from freqai_lstm.model.drawer import KerasDataDrawer  # noqa: E402
from freqai_lstm.model.inputs import InputMaker  # noqa: E402
from freqai_lstm.model.parameters import check_freqai, read_parameters  # noqa: E402
from freqai_lstm.model.pool import NetworkPool  # noqa: E402
from freqai_lstm.model.storage import HISTORY, TrainedLSTM, model_path  # noqa: E402
from freqai_lstm.model.tensorboard import scalars_writer  # noqa: E402
from freqai_lstm.model.training import Training  # noqa: E402
from freqai_lstm.model.windows import TrainingSet, window_ends  # noqa: E402


logger = logging.getLogger(__name__)

# What no training of the command can work with: a backtest ends at the first one.
UNUSABLE = (scaling.UnusableFeature, dataset.TextLabels)


class LSTMRegressor(BaseRegressionModel):
    """Stacked residual LSTMs for FreqAI; every numeric label of the strategy is one output.

    In the configuration:

        "freqai": {
            "enabled": true,
            "keras": true,
            "model_save_type": "keras",
            "conv_width": 24,
            "data_split_parameters": {"test_size": 0.2},
            "model_training_parameters": {"num_lstm_layers": 2, "units": 32, "epochs": 60}
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
        self.pool = NetworkPool(self.parameters)
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
        pair = metadata["pair"]
        self.live = strategy.dp.runmode in (RunMode.DRY_RUN, RunMode.LIVE)
        if self._fingerprint is None:
            self._before_first_pair(strategy)
        newest = dataframe["date"].iloc[-1] if len(dataframe) else None
        if self.live and self._unsaved is not None and newest != self._unsaved:
            self._save_predictions()  # the last pair of the whitelist had no new candle
        dataframe = super().start(dataframe, metadata, strategy)
        if self.live:
            self._unsaved = newest
            self._after_live_pass(pair, strategy.dp.current_whitelist())
        elif self._failed and self.pair_it == self.total_pairs:
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
            data, names = self._training_set(unfiltered_df, pair, dk)
        except UNUSABLE as error:
            self._unusable = error
            raise
        # FreqAI passes a backtest window alone to `predict`; its first windows begin in these rows.
        keep = [*dk.training_features_list, "date", *CANDLE_COLUMNS]
        last = unfiltered_df[keep].tail(self.CONV_WIDTH - 1).reset_index(drop=True)
        dk.data_dictionary[HISTORY] = last
        network = self.pool.network(self.CONV_WIDTH, len(names), len(dk.label_list))
        start_from = self._weights_to_continue(network.weights().shape, names, dk)
        with scalars_writer(Path(dk.data_path), active=self.activate_tensorboard) as on_epoch:
            training = Training(network, data, name=pair, on_epoch=on_epoch)
            weights, report = training.run(start_from)
        seconds = perf_counter() - started
        dk.data["network_features"] = names
        dk.data["training_report"] = report | {"seconds": seconds}
        training.log_summary(dk.label_list, report, seconds)
        if not self._fingerprint_is_kept and self._fingerprint is not None:
            fingerprint.write(Path(self.full_path), self._fingerprint)
            self._fingerprint_is_kept = True
        return TrainedLSTM(network, weights, names, report)

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Not used: FreqAI calls `train`, and windows need what `fit` is not given (the dates)."""
        raise NotImplementedError("LSTMRegressor trains in train(), which keeps candle times.")

    def _training_set(
        self, frame: DataFrame, pair: str, dk: FreqaiDataKitchen
    ) -> tuple[TrainingSet, list[str]]:
        """The rows that have all features and labels, scaled, with their windows."""
        frame, infinite = dataset.numeric_labels(frame, dk.label_list)
        if infinite:
            logger.warning(f"{pair}: {infinite} candles have infinite labels and are left out.")
        features, labels = dk.filter_features(
            frame, dk.training_features_list, dk.label_list, training_filter=True
        )
        checks.check_rows(len(features), frame, pair, self.freqai_info)
        parts = dk.make_train_test_datasets(features, labels)
        if not self.freqai_info.get("fit_live_predictions_candles", 0) or not self.live:
            dk.fit_labels()
        dk.feature_pipeline = self.define_data_pipeline(threads=dk.thread_count)
        dk.label_pipeline = self.define_label_pipeline(threads=dk.thread_count)
        name = self.parameters.label_scale_feature
        scale = scaling.LabelScale.fit(name, parts["train_features"], self.horizon)
        dk.data["label_scale"] = asdict(scale) if scale else None
        # Only rows, not their index, survive the pipeline: each carries its candle with it.
        inputs = InputMaker(
            frame,
            self.base_tf_seconds,
            candle_channel=self.parameters.candle_channel,
            with_calendar=self.parameters.calendar,
        )
        candles = pd.Series(inputs.candles, index=frame.index)
        blocks: list[dataset.Block] = []
        for part in ("train", "test"):
            keys = [f"{part}_{kind}" for kind in ("features", "labels", "weights")]
            x, y, weights = (parts[key] for key in keys)
            if len(x) == 0:
                continue
            block = dataset.transform(
                x,
                y,
                weights,
                candles,
                scale,
                (dk.feature_pipeline, dk.label_pipeline),
                fit=part == "train",
                seed=self.parameters.seed,
            )
            parts.update(zip(keys, (block.features, block.labels, block.weights), strict=True))
            blocks.append(block)
        if not blocks or len(blocks[0].features) == 0:
            raise OperationalException(
                f"{pair}: the outlier steps removed every training row. Loosen DI_threshold, "
                "svm_params or use_DBSCAN_to_remove_outliers in freqai.feature_parameters."
            )
        validation = blocks[1] if len(blocks) > 1 else None
        data = dataset.training_set(blocks[0], validation, inputs, self.CONV_WIDTH, self.horizon)
        checks.check_windows(data, frame, pair, self.freqai_info)
        return data, inputs.names([str(name) for name in blocks[0].features.columns])

    def _weights_to_continue(
        self, shape: tuple[int, ...], names: list[str], dk: FreqaiDataKitchen
    ) -> npt.NDArray[np.float32] | None:
        """The pair's last weights with `continual_learning`, or None for fresh ones."""
        previous: TrainedLSTM | None = self.get_init_model(dk.pair)
        if previous is None:
            return None
        if previous.features == names and previous.weights.shape == shape:
            logger.info(f"{dk.pair}: continual learning, starting from the last model.")
            return previous.weights
        logger.warning(
            f"{dk.pair}: continual learning cannot start from the last model, its features or "
            f"layers differ ({len(previous.features)} features then, {len(names)} now): "
            "starting from fresh weights."
        )
        return None

    # --- prediction ---

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, npt.NDArray[np.int_]]:
        """Predict every candle of the frame whose window is complete.

        Called by FreqAI: in a backtest with the candles of one backtest window; live first with
        the whole strategy frame and then with the last `conv_width` candles.

        :return: (predictions, do_predict), a row per candle of `unfiltered_df`. Candles without a
            complete, valid window have prediction NaN and `do_predict` 0.
        """
        dk.find_features(unfiltered_df)
        checks.check_columns(dk)
        names = dk.training_features_list
        frame = unfiltered_df[[*names, "date", *CANDLE_COLUMNS]]
        asked = len(frame)
        history = None if dk.live else dk.data_dictionary.get(HISTORY)
        if history is not None:
            first = pd.to_datetime(frame["date"], utc=True).min()
            before = pd.to_datetime(history["date"], utc=True) < first
            frame = pd.concat([history.loc[before, frame.columns], frame], ignore_index=True)
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
            frame,
            self.base_tf_seconds,
            candle_channel=self.model.network.reads_candles,
            with_calendar={*calendar_names(self.base_tf_seconds)} <= {*self.model.features},
        )
        inputs, priced = maker(features.to_numpy(), maker.candles)
        valid &= priced & (np.asarray(inliers) == 1)
        ends = window_ends(maker.candles, valid, self.CONV_WIDTH)
        ends = ends[ends >= offset]
        predicted = self.model.predict(inputs, ends)
        sound = np.isfinite(predicted).all(axis=1)
        if not sound.all():
            logger.error(
                f"{dk.pair}: {int((~sound).sum())} predictions are not finite; these candles "
                "have do_predict 0."
            )
        rows = ends[sound] - offset
        if len(rows) == 0 and not dk.live:
            logger.warning(
                f"{dk.pair}: none of {asked} candles could be predicted. Look for missing features "
                "and candles, and for strict outlier settings (DI_threshold, SVM, DBSCAN)."
            )
        labels = np.full((asked, len(dk.label_list)), np.nan)
        if len(rows):
            scaled = DataFrame(predicted[sound].astype(np.float64), columns=dk.label_list)
            labels[rows] = dk.label_pipeline.inverse_transform(scaled)[0].to_numpy()
        if dk.data.get("label_scale"):
            scale = scaling.LabelScale(**dk.data["label_scale"])
            labels *= scale.of(values[offset:, names.index(scale.feature)])[:, None]
        dk.do_predict = np.zeros(asked, dtype=np.int_)
        dk.do_predict[rows] = 1
        dk.DI_values = (
            np.asarray(dk.feature_pipeline["di"].di_values)[-asked:]
            if "di" in dk.feature_pipeline
            else np.zeros(asked)
        )
        return DataFrame(labels, columns=dk.label_list), dk.do_predict

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
