"""From FreqAI's frame of a pair to the rows of its regression: filtered, scaled, checked."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import psutil
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.model.labels import (
    WIDEST,
    LabelSpace,
    UnusableFeature,
    known_labels,
    numeric_labels,
    warn_of,
)
from freqai_lstm.model.windows import CandleInputs, Numbers, Rows, window_ends


logger = logging.getLogger(__name__)

# With fewer training windows a pair gets no model; with fewer than the second number, a warning.
FEWEST_WINDOWS, FEW_WINDOWS = 20, 100
MOST_OLDER = 4000  # windows that a network has seen, see `Dataset.thinned`
DBSCAN_BYTES = 12  # for each pair of rows, measured with datasieve 0.1.9 on 6,000 and 10,000 rows


@dataclass(frozen=True)
class Dataset:
    """Hold the windows of a pair's training, in time order; `rows` of the frame they end at.

    `features` of shape (windows, features), scaled, named by `names`; `labels` of shape
    (windows, labels), learned values without limits, NaN where there is none; `weights` of shape
    (windows,).
    """

    pair: str
    frame: pd.DataFrame
    inputs: CandleInputs
    rows: Rows
    features: Numbers
    names: list[str]
    labels: Numbers
    weights: Numbers
    space: LabelSpace
    candle_seconds: int

    def since(self, second: int) -> np.ndarray:
        """Return which windows end at the candle of a time or later, shape (windows,).

        :param second: seconds since 1970.
        """
        return self.inputs.numbers[self.rows] >= second // self.candle_seconds

    def thinned(self, second: int) -> Dataset:
        """Keep the windows that end at the candle of a time or later, and `MOST_OLDER` before it.

        Of more every second, third, … is kept: neighbours tell nearly the same, and a regression's
        seconds grow with their count.
        """
        kept = self.since(second)
        older = np.flatnonzero(~kept)
        kept[older[:: -(-len(older) // MOST_OLDER) or 1]] = True
        names = ("rows", "features", "labels", "weights")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def prepare(
    frame: pd.DataFrame,
    dk: FreqaiDataKitchen,
    freqai: Mapping[str, Any],
    *,
    timeframe_seconds: int,
    label_scale_feature: str,
    seed: int,
) -> Dataset:
    """Keep the rows that have all features, scale them, and measure the labels.

    A row needs no label: each label is learned on the rows that have it. The kitchen gets what
    FreqAI saves of a training, and its feature pipeline is fitted.

    :param frame: candles with features and labels, in time order.
    :param freqai: the `freqai` block of the configuration.
    :raises OperationalException: there is too little to learn from, or labels are no numbers.
    """
    pair, settings = dk.pair, freqai["feature_parameters"]
    values = numeric_labels(frame, dk.label_list)
    _refuse_columns(frame, dk)
    features, _ = dk.filter_features(frame, dk.training_features_list, [], training_filter=True)
    _refuse_few(
        len(features),
        f"{pair}: {len(features)} of {len(frame)} training candles have all features",
        frame,
        freqai,
    )
    if settings.get("use_DBSCAN_to_remove_outliers", False):
        check_memory(len(features), pair)
    weights = np.ones(len(features))
    if settings.get("weight_factor", 0) > 0:
        weights = dk.set_weights_higher_recent(len(features))
    # Outlier steps drop rows and hand back a fresh index: the row's number goes through as a label.
    found = np.flatnonzero(frame.index.isin(features.index))
    with _seeded_numpy(seed):
        scaled, carried, weights = dk.feature_pipeline.fit_transform(
            features, pd.DataFrame({"row": found}, index=features.index), weights
        )
    if len(scaled) == 0:
        raise OperationalException(
            f"{pair}: the outlier steps removed every training row. Loosen DI_threshold, "
            "svm_params or use_DBSCAN_to_remove_outliers in freqai.feature_parameters."
        )
    rows = carried["row"].to_numpy(dtype=np.int64)
    dk.data_dictionary["train_features"] = scaled
    inputs = CandleInputs.of(frame, timeframe_seconds)
    ends = window_ends(inputs.numbers[rows], inputs.valid[rows], freqai["conv_width"])
    weights = np.asarray(weights, dtype=float)[ends]
    kept = weights > 0
    ends, weights = ends[kept], weights[kept]
    line = (
        f"{pair}: {len(ends)} training windows of {freqai['conv_width']} consecutive candles in "
        f"{len(rows)} rows"
    )
    _refuse_few(len(ends), line, frame, freqai)
    if len(ends) < FEW_WINDOWS:
        logger.warning(f"{line}: so few teach little. {remedy(frame, freqai)}")
    told = settings.get("label_period_candles", 0)
    values, ahead = known_labels(values, dk.label_list, told, pair)
    if settings.get("buffer_train_data_candles", 0):
        ahead = [max(one, told) for one in ahead]  # FreqAI has cut the candles that would tell
    rows = rows[ends]
    space = LabelSpace.fit(
        frame.iloc[rows], values[rows], dk.label_list, ahead, label_scale_feature
    )
    learned = space.learned(values[rows], frame.iloc[rows], limited=False)
    warn_of(space, told, (np.abs(learned) > WIDEST).mean(axis=0), pair)
    return Dataset(
        pair,
        frame,
        inputs,
        rows,
        scaled.to_numpy(dtype=float)[ends],
        [str(name) for name in scaled.columns],
        learned,
        weights / weights.mean(),
        space,
        timeframe_seconds,
    )


def _refuse_columns(frame: pd.DataFrame, dk: FreqaiDataKitchen) -> None:
    """Refuse columns that no training can work with, by name."""
    values = frame[dk.training_features_list].to_numpy(dtype=float)
    never = ~np.isfinite(values).any(axis=0)
    if never.any():
        names = [name for name, none in zip(dk.training_features_list, never, strict=True) if none]
        raise OperationalException(
            f"{dk.pair}: {', '.join(names[:5])} is missing or infinite on all {len(frame)} "
            "training candles. Mend the feature (a division by zero, a longer period than there "
            "are start-up candles?), or take it out."
        )
    ends = {f"{label}{end}" for label in dk.label_list for end in ("_lower", "_upper")}
    taken = sorted(ends & set(dk.label_list))
    if taken:
        raise OperationalException(
            f"{dk.pair}: the label {taken[0]} has the name of another label's interval. Rename it: "
            "beside each label stand its interval's columns …_lower and …_upper."
        )


def _refuse_few(found: int, line: str, frame: pd.DataFrame, freqai: Mapping[str, Any]) -> None:
    if found < FEWEST_WINDOWS:
        raise OperationalException(
            f"{line}; at least {FEWEST_WINDOWS} are needed. {remedy(frame, freqai)}"
        )


def check_memory(rows: int, pair: str) -> None:
    """Refuse DBSCAN where its neighbours of each row do not fit into the memory.

    The operating system would end the process, without a word in the log.

    :raises UnusableFeature: says how much is needed and what to do.
    """
    needed, free = DBSCAN_BYTES * rows**2 / 1e9, psutil.virtual_memory().available / 1e9
    if needed > free:
        raise UnusableFeature(
            f"{pair}: freqai.feature_parameters.use_DBSCAN_to_remove_outliers keeps neighbours of "
            f"each row: {rows} training rows need about {needed:.1f} GB, and {free:.1f} GB are "
            "free. Lower train_period_days, or use DI_threshold or "
            "use_SVM_to_remove_outliers instead."
        )


def remedy(frame: pd.DataFrame, freqai: Mapping[str, Any]) -> str:
    """Say what to do about too few training candles: earlier candles, or other settings."""
    days = freqai.get("train_period_days", 0)
    if frame.empty:
        return "There are no candles: does the pair trade then, and were they downloaded?"
    first, last = frame["date"].iloc[0], frame["date"].iloc[-1]
    wanted = last - pd.Timedelta(days=days)
    if first > wanted + pd.Timedelta(days=1):
        return (
            f"Its candles begin at {first:%Y-%m-%d}; the {days} training days begin at "
            f"{wanted:%Y-%m-%d}. Download earlier ones, and the start-up candles of the longest "
            f"timeframe before them: freqtrade download-data --timerange {wanted:%Y%m%d}-"
            f"{first:%Y%m%d} --prepend."
        )
    return (
        "Raise freqai.train_period_days, lower freqai.conv_width, or look for missing candles, a "
        "feature that is often missing, a weight_factor near 0, and strict outlier settings."
    )


def check_columns(dk: FreqaiDataKitchen) -> None:
    """Refuse to predict from other features or labels than the model was trained on.

    :raises OperationalException: names the differences.
    """
    for what, listed in (("feature", "training_features_list"), ("label", "label_list")):
        then, now = dk.data.get(listed), getattr(dk, listed)
        if then is None or list(then) == list(now):
            continue
        new, missing = sorted(set(now) - set(then)), sorted(set(then) - set(now))
        how = f"new: {new[:5]}, missing: {missing[:5]}" if new or missing else "another order"
        raise OperationalException(
            f"{dk.pair}: the strategy's {what}s are not those the model was trained on ({how}). "
            f"Choose a new freqai.identifier to train anew, or restore the {what}s."
        )


@contextlib.contextmanager
def _seeded_numpy(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which FreqAI's noise and SVM steps draw from, for a while."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
