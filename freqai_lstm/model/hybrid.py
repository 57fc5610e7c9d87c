"""What a pair predicts with: a ridge regression of its own, and the shared network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.model.dataset import Dataset
from freqai_lstm.model.interval import COVERAGE, ErrorSizes
from freqai_lstm.model.labels import WIDEST, Columns, LabelSpace, references
from freqai_lstm.model.ridge import Ridge, by_label, cautious_factors, factors, fit_exact, fit_ridge
from freqai_lstm.model.shared_network import PairScales, SharedNetwork, select_features
from freqai_lstm.model.windows import SUMMARIES, CandleInputs, Numbers, Rows


logger = logging.getLogger(__name__)

# Heights of groups of columns: a ridge regression penalises lower ones more. Much of what a
# calendar fits is noise, and a strategy's features tell less than the candles' own summaries.
CALENDAR_HEIGHT, FEATURE_HEIGHT = 1.0, 0.2
FEATURE_LIMIT = 5.0  # scaled features beyond count as this: one wild value must not rule a label
FEWEST_UNSEEN = 100  # windows that the network has not seen; with fewer it cannot be judged
SIZED = 2500  # rows, or up to twice as many, that tell how large errors are
EARLIER_WEIGHT = 0.5  # of windows that the newest network has seen, and the one before it has not


@dataclass
class PairModel:
    """Hold a pair's regression with all that turns it, and the network, into predictions.

    FreqAI keeps one per pair and hands it back as `self.model`. Arrays of shape (columns, …) have a
    row for each of `CandleInputs.columns`, then one for each of `features`.
    """

    space: LabelSpace
    features: list[str]
    column_scale: Numbers  # (2, own columns): mean and deviation
    lowest: Numbers  # (columns,), seen in training; beyond counts as these
    highest: Numbers
    kernel: Numbers  # (columns, labels)
    bias: Numbers  # (labels,)
    exact_kernel: Numbers  # of labels that are linear in the features
    exact_bias: Numbers
    exact: NDArray[np.bool_]  # (labels,)
    network_factors: Numbers  # (labels,), that the network's prediction is multiplied by
    levels: Numbers  # (labels,), of the interval after the training, see interval.py
    sizes: ErrorSizes
    network: SharedNetwork | None = None
    scales: PairScales | None = None  # of this pair, for the network
    report: dict[str, Any] = field(default_factory=dict)
    tb_logger: Any = None  # FreqAI's get_init_model sets it

    @classmethod
    def fit(cls, data: Dataset, shared: Callable[[], SharedNetwork | None]) -> PairModel:
        """Learn what the network leaves over, on windows that it has never seen.

        Label by label two predictions are mixed: that of a regression without the network, which
        learns from older windows too, and that of the network with a regression of what it leaves
        over. The mixture has the least squared error on windows held out. As much of it is kept as
        those windows show, see `ridge.cautious_factors`. The same rule holds for the mean: that of
        returns in 150 days is mostly luck. A label that is linear in the features stays exact.

        :param shared: gives the network; it is not asked where all labels are exact.
        """
        own = data.inputs.columns[data.rows].astype(float)
        scale = _column_scale(own)
        columns = np.hstack([(own - scale[0]) / scale[1], _limited(data.features)])
        raw = np.hstack([(own - scale[0]) / scale[1], data.features * FEATURE_HEIGHT])
        exact_kernel, exact_bias, exact = fit_exact(raw, data.labels)
        labels, ahead = np.clip(data.labels, -WIDEST, WIDEST), data.space.horizons
        numbers = data.inputs.numbers[data.rows]
        weights = _weights(columns, own.shape[1], labels, data.weights, numbers, ahead)
        alone = fit_ridge(columns, labels, weights, numbers, ahead)
        kernel, bias, held_out = alone.kernel, alone.bias, alone.held_out.copy()
        penalties, network_factors = alone.penalties.copy(), np.zeros(labels.shape[1])
        scales, network = None, None if exact.all() else shared()
        if network is not None:
            scales = network.scales.get(data.pair) or _own_scales(data, network)
            unseen = data.since(network.borders[-1])
            if unseen.sum() < FEWEST_UNSEEN:
                logger.warning(
                    f"{data.pair}: the shared network has not seen {unseen.sum()} of its "
                    f"windows, and at least {FEWEST_UNSEEN} are needed to judge it: the regression "
                    "alone predicts."
                )
                network, scales = None, None
        if network is not None and scales is not None:
            earlier = unseen & ~data.since(network.border)
            weights = weights * np.where(earlier, EARLIER_WEIGHT, 1.0)[:, None]
            rows = np.flatnonzero(unseen)
            learned, ridge, network_factors = cls._with_network(
                data, network, scales, rows, columns[rows], labels[rows], weights[rows]
            )
            # The fraction of the network's and its regression's difference to the regression alone
            # that has the least squared error, label by label.
            apart = network_factors * learned + ridge.held_out - held_out[rows]
            found, _ = factors(labels[rows] - held_out[rows], apart, weights[rows], ahead)
            fraction = np.clip(found, 0, 1)
            kernel = kernel + fraction * (ridge.kernel - kernel)
            bias = bias + fraction * (ridge.bias - bias)
            held_out[~unseen] = np.where(fraction > 0, np.nan, held_out[~unseen])
            held_out[rows] += fraction * apart
            network_factors = fraction * network_factors
            penalties = np.where(fraction > 0.5, ridge.penalties, penalties)
        flat = _cautious_means(labels, data.weights, data.space)
        cautious = cautious_factors(labels - flat, held_out - flat, weights, ahead)
        kernel, network_factors = kernel * cautious, network_factors * cautious
        bias = flat + (bias - flat) * cautious
        held_out = flat + (held_out - flat) * cautious
        exact_out = raw @ exact_kernel + exact_bias
        held_out = np.where(exact, exact_out, held_out)
        errors = data.labels - held_out
        sizes = ErrorSizes.fit(columns[:, : own.shape[1]], errors, data.weights, numbers, ahead)
        model = cls(
            space=data.space,
            features=data.names,
            column_scale=scale,
            lowest=columns.min(axis=0),
            highest=columns.max(axis=0),
            kernel=kernel,
            bias=bias,
            exact_kernel=exact_kernel,
            exact_bias=exact_bias,
            exact=exact,
            network_factors=np.where(exact, 0.0, network_factors),
            levels=np.full(labels.shape[1], 1 - COVERAGE),
            sizes=sizes,
            network=network if np.where(exact, 0.0, network_factors).any() else None,
            scales=scales,
        )
        model.report = model._report(data, labels, held_out, alone.held_out, penalties, cautious)
        return model

    @staticmethod
    def _with_network(
        data: Dataset,
        network: SharedNetwork,
        scales: PairScales,
        rows: Rows,
        columns: Numbers,
        labels: Numbers,
        weights: Numbers,
    ) -> tuple[Numbers, Ridge, Numbers]:
        """(the network's prediction, the regression of what it leaves over, its factors).

        :param rows: of the windows that the network has not seen. What follows is of these rows.
        """
        frame, ahead, ends = data.frame, data.space.horizons, data.rows[rows]
        features = network.features_of(frame, data.pair)
        at = references(frame, ends, data.space, scales.labels)
        seconds = data.candle_seconds
        told = network.predict_unseen(data.inputs, features, scales, ends, at, seconds)
        learned = data.space.learned(told, at)
        centred = learned - learned.mean(axis=0)
        kept = cautious_factors(labels - _means(labels, weights), centred, weights, ahead)
        numbers = data.inputs.numbers[ends]
        ridge = fit_ridge(columns, labels - kept * learned, weights, numbers, ahead)
        return learned, ridge, kept

    def columns(
        self, inputs: CandleInputs, rows: Rows, features: Numbers
    ) -> tuple[Numbers, Numbers]:
        """Return (columns within what was seen, the same without limits), shape (rows, columns).

        :param features: of these rows, as they leave the feature pipeline.
        """
        own = (inputs.columns[rows] - self.column_scale[0]) / self.column_scale[1]
        bounded = np.clip(np.hstack([own, _limited(features)]), self.lowest, self.highest)
        return bounded, np.hstack([own, np.asarray(features, float) * FEATURE_HEIGHT])

    def network_features(self, features: Numbers, names: list[str], pair: str) -> Numbers:
        """Return those of a pair's features that the network reads, none where it has no part.

        :param features: of shape (rows, features), as the strategy gives them.
        """
        if self.network is None:
            return features[:, :0]
        return select_features(features, names, pair, self.network.features)

    def references(self, frame: pd.DataFrame, rows: Rows) -> dict[str, Numbers]:
        """Return what labels are relative to at rows of a frame, by name of its column."""
        others = [] if self.scales is None else [self.scales.labels]
        return references(frame, rows, self.space, *others)

    def predict(
        self,
        inputs: CandleInputs,
        ends: Rows,
        columns: tuple[Numbers, Numbers],
        features: Numbers,
        at: Columns,
    ) -> Numbers:
        """Predict windows, in learned values, shape (windows, labels).

        :param ends: last row of each window, of the rows of `inputs`.
        :param columns: of these rows, from `columns`.
        :param features: of all rows, from `network_features`.
        :param at: of the windows' last rows, from `references`.
        """
        bounded, unbounded = columns
        # A linear model goes on for ever beyond what it has seen, a new price record for example;
        # one that is exact holds everywhere.
        found = bounded @ self.kernel + self.bias  # (windows, labels)
        if self.exact.any():
            found = np.where(self.exact, unbounded @ self.exact_kernel + self.exact_bias, found)
        if self.network is not None and self.scales is not None and len(ends):
            predicted = self.network.predict(inputs, features, self.scales, ends, at)
            found = found + self.network_factors * self.space.learned(predicted, at)
        return found

    def _report(
        self,
        data: Dataset,
        labels: Numbers,
        held_out: Numbers,
        alone: Numbers,
        penalties: Numbers,
        cautious: Numbers,
    ) -> dict[str, Any]:
        network = self.network.report if self.network is not None else {}
        flat = _means(labels, data.weights)
        spread = _errors(labels, np.broadcast_to(flat, labels.shape), data.weights)
        rows = np.isfinite(held_out)

        def r2(predicted: Numbers) -> list[float | None]:
            some = np.where(rows, labels, np.nan)
            with np.errstate(invalid="ignore", divide="ignore"):
                found = 1 - _errors(some, predicted, data.weights) / spread
            return [float(value) if np.isfinite(value) else None for value in found]

        return {
            "windows": len(data.rows),
            "epochs": network.get("epochs", 0),
            "best_epoch": network.get("best_epoch", 0),
            "border": self.network.border if self.network is not None else None,
            "teachers": self.network.teachers if self.network is not None else [],
            "labels": list(self.space.names),
            "horizons": list(self.space.horizons),
            "selected_r2": r2(held_out),
            "ridge_selected_r2": r2(alone),
            "network_factors": [float(factor) for factor in self.network_factors],
            "factors": [1.0 if e else float(c) for e, c in zip(self.exact, cautious, strict=True)],
            "penalties": [float(p) if np.isfinite(p) else None for p in penalties],
            "exact": [bool(one) for one in self.exact],
        }


def _column_scale(own: Numbers) -> Numbers:
    deviation = own.std(axis=0)
    scale = np.stack([own.mean(axis=0), np.where(deviation > 1e-3, deviation, 1.0)])
    scale[:, SUMMARIES:] = np.array([[0.0], [1 / CALENDAR_HEIGHT]])
    return scale


def _limited(features: Numbers) -> Numbers:
    return np.clip(np.asarray(features, float), -FEATURE_LIMIT, FEATURE_LIMIT) * FEATURE_HEIGHT


def _own_scales(data: Dataset, network: SharedNetwork) -> PairScales:
    """Measure a pair that the network did not learn from on its own training windows."""
    values = network.features_of(data.frame, data.pair)[data.rows]
    rows = np.isfinite(values).all(axis=1)
    return PairScales.fit(data.inputs, values[rows], data.rows[rows], data.space)


def _weights(
    columns: Numbers,
    own: int,
    labels: Numbers,
    weights: Numbers,
    numbers: NDArray[np.int64],
    horizons: list[int],
) -> Numbers:
    """Weigh rows by how large a regression's errors are there, shape (rows, labels).

    :param own: how many of the columns, the first ones, tell the size, see `ErrorSizes.weights`.
    """
    some = slice(None, None, max(1, len(columns) // SIZED))
    given = weights[some], numbers[some], horizons
    errors = labels[some] - fit_ridge(columns[some], labels[some], *given).held_out
    sizes = ErrorSizes.fit(columns[some, :own], errors, *given)
    return weights[:, None] * sizes.weights(columns[:, :own])


def _means(labels: Numbers, weights: Numbers) -> Numbers:
    weights = by_label(weights, labels)
    known = np.isfinite(labels)
    total = np.where(known, weights, 0).sum(axis=0)
    sums = np.where(known, labels * weights, 0).sum(axis=0)
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


def _cautious_means(labels: Numbers, weights: Numbers, space: LabelSpace) -> Numbers:
    """Means as far as they are more than luck: between a label's zero and its mean."""
    zeros = space.zeros()
    apart = _means(labels, weights) - zeros
    constant = np.broadcast_to(apart, labels.shape)
    return zeros + apart * cautious_factors(labels - zeros, constant, weights, space.horizons)


def _errors(labels: Numbers, predicted: Numbers, weights: Numbers) -> Numbers:
    """Mean squared error of each label where it is known, shape (labels,)."""
    squares = np.square(labels - predicted)
    known = np.isfinite(squares)
    total = np.where(known, weights[:, None], 0).sum(axis=0)
    sums = np.where(known, squares * weights[:, None], 0).sum(axis=0)
    return np.divide(sums, total, out=np.full_like(sums, np.inf), where=total > 0)


def log_summary(model: PairModel, pair: str, seconds: float) -> None:
    """Write the lines that end a pair's training in the log."""
    report = model.report
    windows = f"{report['windows']} windows in {seconds:.1f} s"
    if model.exact.all():
        logger.info(f"{pair}: trained on {windows}: a straight line explains all of it.")
        return
    unknown = [
        label
        for label, factor in zip(report["labels"], report["factors"], strict=True)
        if factor == 0
    ]
    if unknown:
        logger.warning(
            f"{pair}: nothing predicts {', '.join(unknown)} better than a constant; the constant "
            "is predicted."
        )

    def mean(name: str) -> str:
        known = [value for value in report[name] if value is not None]
        return f"{np.mean(known):.3f}" if known else "–"  # of constants there is none

    with_network = sum(factor > 0 for factor in report["network_factors"])
    logger.info(
        f"{pair}: trained on {windows}; R² {mean('selected_r2')} (regression alone "
        f"{mean('ridge_selected_r2')}), held out to select penalties; the network serves "
        f"{with_network} of {len(report['labels'])} labels."
    )
