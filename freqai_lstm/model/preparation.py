"""From FreqAI's frame of a pair to its part of a training: filtered, split, scaled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from datasieve.pipeline import Pipeline
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.model import checks, dataset, scaling
from freqai_lstm.model.inputs import InputMaker
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.part import Part
from freqai_lstm.model.ridge import Loss


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """Prepare pairs for a training, all in the same way.

    `freqai` is that block of the configuration; `pipelines` makes a feature and a label pipeline
    for so many threads; `fit_labels` says whether the strategy gets mean and standard deviation of
    the training labels.
    """

    freqai: Mapping[str, Any]
    parameters: LSTMParameters
    timeframe_seconds: int
    pipelines: Callable[[int], tuple[Pipeline, Pipeline]]
    loss: Loss
    fit_labels: bool

    def part(self, frame: pd.DataFrame, dk: FreqaiDataKitchen) -> tuple[Part, list[str]]:
        """Keep the rows that have all features and labels, scale them and solve the regression.

        The kitchen gets the pipelines, and what FreqAI saves of a training.

        :param frame: candles with features and labels, in time order.
        :return: (part, names of its features).
        :raises OperationalException: there is too little to learn from, or labels are no numbers.
        """
        parameters, pair = self.parameters, dk.pair
        horizon = self.freqai["feature_parameters"].get("label_period_candles", 0)
        width = self.freqai["conv_width"]
        frame, infinite = dataset.numeric_labels(frame, dk.label_list)
        if infinite:
            logger.warning(f"{pair}: {infinite} candles have infinite labels and are left out.")
        features, labels = dk.filter_features(
            frame, dk.training_features_list, dk.label_list, training_filter=True
        )
        checks.check_rows(len(features), frame, pair, self.freqai)
        parts = dk.make_train_test_datasets(features, labels)
        if self.fit_labels:
            dk.fit_labels()
        dk.feature_pipeline, dk.label_pipeline = self.pipelines(dk.thread_count)
        name = parameters.label_scale_feature
        scale = scaling.LabelScale.fit(name, parts["train_features"], horizon)
        dk.data["label_scale"] = asdict(scale) if scale else None
        # Only rows, not their index, survive the pipeline: each carries its candle with it.
        inputs = InputMaker(
            frame,
            self.timeframe_seconds,
            width,
            candle_channel=parameters.candle_channel,
            with_calendar=parameters.calendar,
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
                seed=parameters.seed,
            )
            parts.update(zip(keys, (block.features, block.labels, block.weights), strict=True))
            blocks.append(block)
        if not blocks or len(blocks[0].features) == 0:
            raise OperationalException(
                f"{pair}: the outlier steps removed every training row. Loosen DI_threshold, "
                "svm_params or use_DBSCAN_to_remove_outliers in freqai.feature_parameters."
            )
        validation = blocks[1] if len(blocks) > 1 else None
        data = dataset.training_set(blocks[0], validation, inputs, width, horizon)
        checks.check_windows(data, frame, pair, self.freqai)
        names = inputs.names([str(name) for name in blocks[0].features.columns])
        network_features = range(len(names) - len(inputs.ridge_only))
        few = range(len(blocks[0].features.columns), len(names))
        fitted = Part.fit(pair, data, network_features, self.loss, few=few)
        return fitted, names
