"""From FreqAI's training and test frames to the matrices and windows of one training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from datasieve.pipeline import Pipeline
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray

from freqai_lstm.model.inputs import InputMaker
from freqai_lstm.model.scaling import LabelScale
from freqai_lstm.model.windows import TrainingSet, split_windows


@dataclass
class Block:
    """Hold the training or the validation rows after the pipelines, with the candle of each."""

    features: pd.DataFrame  # (rows, features)
    labels: pd.DataFrame  # (rows, labels)
    weights: NDArray[Any]  # (rows,)
    candles: NDArray[np.int64]  # (rows,)
    label_scales: NDArray[np.float64]  # (rows,)


def transform(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    weights: NDArray[Any],
    candles: pd.Series,
    scale: LabelScale | None,
    pipelines: tuple[Pipeline, Pipeline],
    *,
    fit: bool,
    seed: int,
) -> Block:
    """Apply the feature and the label pipeline to rows, after fitting them if `fit`.

    Outlier steps drop rows and hand back a fresh index. The number of its candle and the scale of
    its labels therefore go through as two more label columns, which no step looks at.

    :param candles: the number of each candle, by the index of `features`.
    """
    scales = scale.of(features[scale.feature]) if scale else np.ones(len(features))
    carried = labels.div(scales, axis=0).assign(candle=candles.loc[labels.index], scale=scales)
    feature_pipeline, label_pipeline = pipelines
    with _seeded_numpy(seed):
        step = feature_pipeline.fit_transform if fit else feature_pipeline.transform
        x, y, w = step(features, carried, np.asarray(weights))
    numbers, scales = y.pop("candle").to_numpy(dtype=np.int64), y.pop("scale").to_numpy()
    if len(x):
        y, _, _ = (label_pipeline.fit_transform if fit else label_pipeline.transform)(y)
    return Block(x, y, np.asarray(w, dtype=np.float32), numbers, scales)


def training_set(
    train: Block, validation: Block | None, inputs: InputMaker, conv_width: int, horizon: int
) -> TrainingSet:
    """Join both blocks in time order and find their windows.

    Windows whose candle has weight 0 are left out.

    :param inputs: makes the network's inputs from features and candle numbers.
    :param horizon: `feature_parameters.label_period_candles`.
    :raises OperationalException: every training candle has weight 0.
    """
    blocks = [train, validation] if validation is not None and len(validation.candles) else [train]
    blocks.sort(key=lambda block: int(block.candles[0]))

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([np.asarray(getattr(block, name)) for block in blocks])

    candles, weights = joined("candles"), joined("weights")
    rows, valid = inputs(joined("features"), candles)
    is_validation = np.concatenate(
        [np.full(len(block.candles), block is validation) for block in blocks]
    )
    train_ends, validation_ends = split_windows(candles, valid, is_validation, conv_width, horizon)
    if len(train_ends) and not (weights[train_ends] > 0).any():
        raise OperationalException(
            "freqai.feature_parameters.weight_factor leaves every training candle with weight 0. "
            "Use a larger one (0.1 to 1), or 0 for equal weights."
        )
    train_ends = train_ends[weights[train_ends] > 0]
    mean = weights[train_ends].mean() if len(train_ends) else 1.0
    return TrainingSet(
        inputs=rows,
        labels=joined("labels").astype(np.float32),
        weights=(weights / mean).astype(np.float32),
        label_scales=joined("label_scales"),
        candles=candles,
        train_ends=train_ends,
        validation_ends=validation_ends[weights[validation_ends] > 0],
        horizon=horizon,
    )


def numeric_labels(frame: pd.DataFrame, labels: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Make infinite labels missing, as FreqAI does with features.

    :return: (the frame, how many candles had infinite labels).
    :raises TextLabels: a label is text.
    """
    columns = frame[list(labels)]
    words = [c for c in labels if not pd.api.types.is_numeric_dtype(columns[c].dtype)]
    if words:
        raise TextLabels(
            "LSTMRegressor is a regression model and needs numeric labels. Got text or objects "
            f"in {', '.join(words)}: let set_freqai_targets give numbers."
        )
    infinite = np.isinf(columns.to_numpy(dtype=float))
    if not infinite.any():
        return frame, 0
    frame = frame.copy()
    frame[list(labels)] = columns.mask(infinite)
    return frame, int(infinite.any(axis=1).sum())


class TextLabels(OperationalException):
    """The strategy's labels are no numbers, in every training of the command."""


@contextlib.contextmanager
def _seeded_numpy(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which FreqAI's noise and SVM steps draw from, for a while."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
