"""A pair's model: its ridge regression, and its share of the network that was learned."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from datasieve.pipeline import Pipeline

from freqai_lstm.model.features import columns_of
from freqai_lstm.model.interval import NEWEST, Calibration
from freqai_lstm.model.part import Part
from freqai_lstm.model.pooling import LearnedNetwork
from freqai_lstm.model.prediction import unscaled
from freqai_lstm.model.storage import TrainedLSTM


logger = logging.getLogger(__name__)


def assemble(
    part: Part,
    features: list[str],
    shared_names: list[str],
    learned: LearnedNetwork,
    label_pipeline: Pipeline,
) -> TrainedLSTM:
    """Join a pair's ridge regression with a network, by what the network does on its validation.

    :param features: names of the columns of the part's features.
    :param label_pipeline: which the part's labels went through.
    :param shared_names: the same columns as the network calls them (features.py).
    :return: the model; its report holds, beside the network's `epochs`, `best_epoch`, `loss` and
        `curves`, of this pair: `validation_loss`, `validation_r2`, `ridge_validation_loss`,
        `ridge_validation_r2` (None without validation), `shares` of the network, one a label,
        `ridge_shares` and `penalties` of the ridge regression (None: the prediction is flat) and
        `exact`.
    """
    columns = columns_of(learned.names, shared_names)
    network_features = [
        features[column] if column >= 0 else name
        for column, name in zip(columns, learned.names, strict=True)
    ]
    data, ridge, ends = part.data, part.ridge, part.data.validation_ends
    added = np.zeros((len(ends), data.labels.shape[1]), np.float32)
    shares = np.zeros(data.labels.shape[1], np.float32)
    alone = part.ridge_scores()
    if not part.exact:
        inputs = replace(part, columns=columns).inputs()
        members = [learned.network.predict(w, inputs, ends) for w in learned.weights]
        added = np.mean(members, axis=0)  # (validation windows, labels)
        shares = part.shares(added)
        added = shares * added
    scores = part.scores(added)
    lowest, highest = part.feature_range()
    zero = np.zeros((1, data.labels.shape[1]))
    errors = unscaled(part.errors(added), label_pipeline) - unscaled(zero, label_pipeline)
    report = learned.report | {
        "validation_loss": scores.get("val_loss"),
        "validation_r2": scores.get("val_r2"),
        "ridge_validation_loss": alone.get("val_loss"),
        "ridge_validation_r2": alone.get("val_r2"),
        "shares": [float(share) for share in shares],
        "ridge_shares": [float(share) for share in ridge.shares],
        "penalties": [float(p) if np.isfinite(p) else None for p in ridge.penalties],
        "exact": part.exact,
    }
    return TrainedLSTM(
        network=learned.network,
        weights=learned.weights,
        features=features,
        network_features=network_features,
        kernel=ridge.kernel,
        bias=ridge.bias,
        shares=shares,
        lowest=lowest,
        highest=highest,
        calibration=Calibration(errors[-NEWEST:], np.empty((0, data.labels.shape[1]))),
        report=report,
    )


def log_summary(model: TrainedLSTM, part: Part, labels: list[str], seconds: float) -> None:
    """Write the lines that end a pair's training in the log.

    :param labels: names of the labels.
    :param seconds: what the training took, with the preparation of its rows.
    """
    report, pair = model.report, part.pair
    windows = f"{len(part.data.train_ends)} windows in {seconds:.1f} s"
    if report["exact"]:
        logger.info(
            f"{pair}: trained on {windows}: the straight line explains all of it; no LSTM was "
            "trained."
        )
        return
    shares = zip(labels, report["shares"], report["ridge_shares"], strict=True)
    unknown = [label for label, network, ridge in shares if network == ridge == 0]
    if unknown:
        logger.warning(
            f"{pair}: nothing validates better than a constant for {', '.join(unknown)}; the "
            "constant is predicted."
        )
    if report["validation_loss"] is None:
        result = f"no validation; loss {report['loss']:.4f}"
    else:
        result = (
            f"best epoch {report['best_epoch']}, validation loss {report['validation_loss']:.4f}, "
            f"R² {report['validation_r2']:.3f} (ridge regression alone "
            f"{report['ridge_validation_r2']:.3f}) on {len(part.data.validation_ends)} validation "
            "windows"
        )
    logger.info(f"{pair}: trained {report['epochs']} epochs on {windows}; {result}.")
