"""What is learned of a label: its horizon, its reference, its scale, and its robust range."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.parameters import KEY, LABEL_SCALE, nearest
from freqai_lstm.model.scaling import bulk
from freqai_lstm.model.windows import Numbers, Rows


logger = logging.getLogger(__name__)

Columns = pd.DataFrame | Mapping[str, Numbers]  # by name

# Labels are filled in at the end where equal neighbours are rare, and so many there unlikely.
RARELY, UNLIKELY = 0.05, 0.001
WIDEST = 5.0  # ranges of the bulk: labels beyond count as these while learning
FOLLOWS = 0.05  # of a label's spread is left by the close, in a label that follows it


class TextLabels(OperationalException):
    """The strategy's labels are no numbers, in every training of the command."""


class UnusableFeature(OperationalException):
    """A setting that no training of the command can work with."""


def numeric_labels(frame: pd.DataFrame, names: Sequence[str]) -> Numbers:
    """Return the labels of a frame, shape (rows, labels), NaN where one is missing or infinite.

    :raises TextLabels: a label is text.
    """
    words = [name for name in names if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if words:
        raise TextLabels(
            "LSTMRegressor is a regression model and needs numeric labels. Got text or objects "
            f"in {', '.join(words)}: let set_freqai_targets give numbers."
        )
    values = np.column_stack([frame[name].to_numpy(dtype=float) for name in names])
    return np.where(np.isfinite(values), values, np.nan)


def known_labels(
    values: Numbers, names: Sequence[str], told: int, pair: str
) -> tuple[Numbers, list[int]]:
    """Return labels where they are really known, and after how many candles each label is.

    Labels that lie ahead are missing at the frame's end. A strategy may have filled them in: one
    value stands there over and over, which elsewhere hardly ever repeats, and never for as long.
    They are left out, with a warning. Where the value does repeat (pivots, on and off), nothing can
    be read off.

    :param values: labels of a frame that ends with the newest candle, shape (rows, labels).
    :param told: `label_period_candles`, for labels off which nothing can be read.
    :return: (labels, horizons): a horizon of 0 for a label that is never known.
    """
    values, horizons = values.copy(), []
    for name, column in zip(names, values.T, strict=True):
        run, certain = _filled(column)
        if certain:
            logger.warning(
                f"{pair}: {name} is filled in with one value on the newest {run} candles, on which "
                "it is not known yet. They are left out; let set_freqai_targets leave missing "
                "labels missing."
            )
            column[-run:] = np.nan
        known = np.flatnonzero(np.isfinite(column))
        missing = int(len(column) - 1 - known[-1]) if len(known) else 0
        horizons.append(max(told, 0) if run and not certain else missing)
    return values, horizons


def _filled(label: Numbers) -> tuple[int, bool]:
    """(how often the last value stands at the end, if more than once; whether it is filled in)."""
    if len(label) == 0 or not np.isfinite(label[-1]):
        return 0, False
    known = np.isfinite(label)
    other = np.flatnonzero(known & (label != label[-1]))
    run = int(len(label) - 1 - other[-1]) if len(other) else len(label)
    if run < 2:
        return 0, False
    repeats = np.diff(label[: len(label) - run][known[: len(label) - run]]) == 0
    if not len(repeats):
        return run, False
    moves = np.flatnonzero(np.concatenate([[True], ~repeats, [True]]))
    often, longest = float(repeats.mean()), int(np.diff(moves).max())
    return run, run > longest and often < RARELY and often ** (run - 1) < UNLIKELY


@dataclass(frozen=True)
class LabelSpace:
    """Turn labels into what is learned, and predictions back; make it with `LabelSpace.fit`.

    A label that follows the close (a later price) is learned as its relative difference to the
    close of its candle: a price leaves every range that was learned. A label that lies ahead is
    divided by |`scale_feature`| where the strategy has that feature: a score divided by volatility
    is a hundred times larger in a calm market than in a wild one, and squared errors then follow a
    few calm candles alone (volatility scaling; Lim, Zohren and Roberts 2019, arXiv:1904.04912).
    What comes out is centred, divided by the range of its bulk, and limited to `WIDEST` such
    ranges, so that one wild value does not rule the others.

    All lists hold a value per label. `scale_lowest` and `scale_highest` bound the feature, since
    one far outside what was seen must not multiply a prediction.
    """

    names: list[str]
    horizons: list[int]
    follows_close: list[bool]
    centres: list[float]
    ranges: list[float]
    scale_feature: str = ""
    scale_lowest: float = 0.0
    scale_highest: float = 0.0

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        values: Numbers,
        names: Sequence[str],
        ahead: Sequence[int],
        feature: str,
    ) -> LabelSpace:
        """Measure labels.

        :param frame: candles with features.
        :param values: the labels of its rows, from `numeric_labels`.
        :param ahead: horizon of each label.
        :param feature: `label_scale_feature`, '' for none.
        :raises UnusableFeature: there is no such feature, or it is zero too often to divide by.
        """
        close = frame["close"].to_numpy(dtype=float)
        follows = [_follows(column, close) for column in values.T]
        lowest, highest = _scale_range(frame, feature, any(ahead))
        zeros, ones = [0.0] * len(names), [1.0] * len(names)
        scale = (feature if highest else "", lowest, highest)
        space = cls(list(names), list(ahead), follows, zeros, ones, *scale)
        learned = space.learned(values, frame, limited=False)
        medians, ranges = bulk(learned)
        deviations = np.clip(learned - medians, -WIDEST * ranges, WIDEST * ranges)
        known = [column[np.isfinite(column)] for column in deviations.T]
        means = [float(column.mean()) if len(column) else 0.0 for column in known]
        return replace(space, centres=(medians + means).tolist(), ranges=ranges.tolist())

    def learned(self, values: Numbers, frame: Columns, *, limited: bool = True) -> Numbers:
        """Return what is learned of labels, shape (rows, labels)."""
        reference, scales = self._reference(frame)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = ((values - reference) / scales - self.centres) / self.ranges
        return np.clip(found, -WIDEST, WIDEST) if limited else found

    def labels(self, learned: Numbers, frame: Columns) -> Numbers:
        """Return the labels that go with learned values; the opposite of `learned`."""
        reference, scales = self._reference(frame)
        return (np.asarray(learned) * self.ranges + self.centres) * scales + reference

    def zeros(self) -> Numbers:
        """Return what is learned of labels that are zero, of a price: equal to the close."""
        return -np.asarray(self.centres) / np.asarray(self.ranges)  # (labels,)

    def _reference(self, frame: Columns) -> tuple[Numbers, Numbers]:
        """(what is taken off, what is divided by), each of shape (rows, labels)."""
        close = np.asarray(frame["close"], dtype=float)[:, None]
        follows = np.asarray(self.follows_close)
        reference, scales = np.where(follows, close, 0.0), np.where(follows, close, 1.0)
        if self.scale_feature:
            size = np.abs(np.asarray(frame[self.scale_feature], dtype=float))
            size = np.clip(np.nan_to_num(size), self.scale_lowest, self.scale_highest)
            ahead = (np.asarray(self.horizons) > 0) & ~follows
            scales = np.where(ahead, size[:, None], scales)
        return reference, scales


def references(frame: pd.DataFrame, rows: Rows, *spaces: LabelSpace) -> dict[str, Numbers]:
    """Return what `learned` and `labels` of label spaces need of some rows of a frame."""
    names = {"close", *(space.scale_feature for space in spaces if space.scale_feature)}
    return {name: frame[name].to_numpy(dtype=float)[rows] for name in sorted(names)}


def _follows(values: Numbers, close: Numbers) -> bool:
    """Whether a label is a price: it moves with the close, at the close's own height."""
    known = np.isfinite(values) & np.isfinite(close) & (close > 0)
    if known.sum() < 100:
        return False
    ratio, spread = values[known] / close[known], values[known].std()
    if not spread > 0 or not 0.5 < np.median(ratio) < 2:
        return False
    return bool(
        np.median(np.abs(values[known] - close[known])) < FOLLOWS * np.median(close[known])
        and np.corrcoef(values[known], close[known])[0, 1] > 0.9
    )


def _scale_range(frame: pd.DataFrame, name: str, lies_ahead: bool) -> tuple[float, float]:
    """Range of |feature| that labels may be divided by; zeros where they are learned as is."""
    if name not in frame and name not in ("", LABEL_SCALE):  # the default need not be there
        raise UnusableFeature(
            f"{KEY}.label_scale_feature must name a feature of the strategy. Got '{name}'."
            f"{nearest(name, map(str, frame))} Set it to '' to learn labels as they are."
        )
    if name not in frame or not lies_ahead:
        return 0.0, 0.0
    values = np.abs(frame[name].to_numpy(dtype=float))
    lowest, highest = np.nanquantile(values, (0.01, 0.8))
    if not highest > 0:
        raise UnusableFeature(
            f"{KEY}.label_scale_feature: '{name}' must not be zero on most candles, since "
            "labels are divided by its size. Got zero on at least 80 % of the training "
            "candles. Mend the feature, or set the parameter to ''."
        )
    return float(max(lowest, highest / 1000)), float(highest)


def warn_of(space: LabelSpace, told: int, limited: Numbers, pair: str) -> None:
    """Say once per training what of the labels a user should know.

    :param told: `feature_parameters.label_period_candles`.
    :param limited: fraction of values beyond the widest range, one per label.
    """
    for name, ahead, follows, beyond in zip(
        space.names, space.horizons, space.follows_close, limited, strict=True
    ):
        if ahead > max(told, 0):
            logger.warning(
                f"{pair}: {name} is known after {ahead} candles, and "
                f"freqai.feature_parameters.label_period_candles says {told}. {ahead} is used for "
                "this label; correct the setting, which other models rely on."
            )
        if follows:
            logger.warning(
                f"{pair}: {name} follows the price; its relative difference to the close is "
                "learned. A return is the better label: its predictions mean the same at any price."
            )
        if beyond > 0:
            logger.warning(
                f"{pair}: {beyond:.2%} of the values of {name} lie beyond {WIDEST:g} times the "
                "range of its 5th to 95th percentile; they are learned as that limit."
            )
