"""The network that all pairs share: what it reads of a pair, and what it predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from freqai_lstm.model.forward import Forward
from freqai_lstm.model.labels import Columns, LabelSpace
from freqai_lstm.model.scaling import bulk
from freqai_lstm.model.windows import SUMMARIES, CandleInputs, Floats, Numbers, Rows, numeric


# More features would slow every step of the LSTM; the head then reads the newest candle's alone.
MOST_WINDOW_FEATURES = 32
# Of still more, the history of a dozen pairs would take over a gigabyte.
MOST_FEATURES = 512
FEATURE_LIMIT = 5.0  # scaled features are clipped to this


def own_names(features: Sequence[str], pair: str) -> list[str]:
    """Take a pair's own name out of the names that FreqAI gives its features.

    FreqAI writes `%-rsi-period_10_BTC/USDTUSDT_1h`: the same feature has another name on every
    pair. Features of correlated pairs keep theirs.
    """
    return [name.replace(f"_{pair.replace(':', '')}_", "__") for name in features]


@dataclass(frozen=True)
class PairScales:
    """Say how a pair's inputs and labels are scaled for the network, each a (mean, deviation).

    `levels` of shape (2, 5), `columns` of shape (2, columns), `features` of shape (2, features).
    """

    levels: Floats
    columns: Floats
    features: Floats
    labels: LabelSpace

    @classmethod
    def fit(
        cls, inputs: CandleInputs, features: Numbers | Floats, rows: Rows, labels: LabelSpace
    ) -> PairScales:
        """Measure a pair on some rows of its candles.

        :param features: of these rows, shape (rows, features), finite.
        """
        columns = _mean_deviation(inputs.columns[rows])
        columns[:, SUMMARIES:] = np.array([[0.0], [1.0]])  # the calendar as it is, on every pair
        values = np.asarray(features, dtype=float)
        centre, width = bulk(values) if values.shape[1] else np.zeros((2, 0))
        scaled = np.stack([centre, width / 3.3]).astype(np.float32)
        return cls(_mean_deviation(inputs.levels[rows]), columns, scaled, labels)

    def read(self, inputs: CandleInputs, features: Numbers | Floats) -> tuple[CandleInputs, Floats]:
        """Return inputs and features of all rows, scaled as the network reads them."""
        levels = (inputs.levels - self.levels[0]) / self.levels[1]
        columns = np.clip((inputs.columns - self.columns[0]) / self.columns[1], -5, 5)
        with np.errstate(over="ignore"):  # a wild value is limited in the next line
            scaled = (np.nan_to_num(features) - self.features[0]) / self.features[1]
        limited = np.clip(scaled, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.float32)
        return replace(inputs, levels=levels, columns=columns), limited


@dataclass(frozen=True)
class SharedNetwork:
    """Hold a trained network, and the one before it; it does not change any more.

    Predictions are the mean of both, see `with_earlier`. `borders` are the times, in seconds since
    1970, before which all ends that each learned from. `forwards` are their forward passes, the
    newest first, as in `borders`. `features` names what they read, without the pair's own name;
    `in_windows` says whether they read them at each candle or at the newest alone. `scales` holds
    those of the pairs that the newest learned from, `teachers`.
    """

    borders: tuple[int, ...]
    forwards: tuple[Forward, ...]
    conv_width: int
    features: list[str]
    in_windows: bool
    scales: Mapping[str, PairScales]
    report: Mapping[str, Any]

    @property
    def border(self) -> int:
        """The border of the newest."""
        return self.borders[0]

    @property
    def teachers(self) -> list[str]:
        """The pairs that it learned from."""
        return sorted(self.scales)

    def with_earlier(self, earlier: SharedNetwork) -> SharedNetwork:
        """Return the network whose predictions are the mean of its own and of an earlier one's.

        Errors of two trainings differ, so that their mean has less of them. The earlier one reads
        and predicts on this one's scales.

        :raises ValueError: the earlier one reads other inputs, or predicts other labels.
        """
        other = [
            name
            for name in ("conv_width", "features", "in_windows", "labels")
            if getattr(self, name) != getattr(earlier, name)
        ]
        if other:
            raise ValueError(f"the one before it differs in {', '.join(other)}")
        return replace(
            self,
            borders=(*self.borders, *earlier.borders),
            forwards=(*self.forwards, *earlier.forwards),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it predicts, in their order."""
        return tuple(next(iter(self.scales.values())).labels.names)

    def features_of(self, frame: pd.DataFrame, pair: str) -> Numbers:
        """Return what the network reads of a pair's features, shape (rows, features)."""
        return feature_values(frame, pair, self.features)

    def predict(
        self, inputs: CandleInputs, features: Numbers, scales: PairScales, ends: Rows, at: Columns
    ) -> Numbers:
        """Predict the labels at windows, in the labels' own unit, shape (windows, labels).

        :param features: of the rows of `inputs`, from `features_of`.
        :param ends: last row of each window.
        :param at: of these rows, from `labels.references`.
        """
        read = scales.read(inputs, features)
        found = []
        for some in np.array_split(ends, len(ends) // 2048 + 1):
            given = assemble(*read, some, self.conv_width, self.in_windows)
            found.append(np.mean([forward(*given) for forward in self.forwards], axis=0))
        return scales.labels.labels(np.concatenate(found), at)

    def predict_unseen(
        self,
        inputs: CandleInputs,
        features: Numbers,
        scales: PairScales,
        ends: Rows,
        at: Mapping[str, Numbers],
        candle_seconds: int,
    ) -> Numbers:
        """Predict each window by those networks that have not learned from it.

        Other parameters are those of `predict`.

        :param ends: of windows that the oldest network has not learned from.
        """
        found = np.empty((len(ends), len(scales.labels.names)))
        candles = inputs.numbers[ends]
        firsts = [border // candle_seconds for border in self.borders]  # not learned from
        for place, first in enumerate(firsts):
            some = candles >= first
            if place:
                some &= candles < firsts[place - 1]
            unseen = replace(self, borders=self.borders[place:], forwards=self.forwards[place:])
            here = {name: values[some] for name, values in at.items()}
            found[some] = unseen.predict(inputs, features, scales, ends[some], here)
        return found


def assemble(
    inputs: CandleInputs, features: Floats, ends: Rows, conv_width: int, in_windows: bool
) -> tuple[Floats, Floats]:
    """Return the network's two inputs: windows and columns of the newest candle.

    :param inputs: of all rows, as `features`, from `PairScales.read`.
    :return: arrays of shape (windows, conv_width, channels) and (windows, columns + features).
    """
    windows = inputs.windows(ends, conv_width)
    if in_windows and features.shape[1]:
        rows = ends[:, None] + np.arange(1 - conv_width, 1)
        windows = np.concatenate([windows, features[rows]], axis=2)
    return windows, np.concatenate([inputs.columns[ends], features[ends]], axis=1)


def feature_values(frame: pd.DataFrame, pair: str, wanted: Sequence[str]) -> Numbers:
    """Return the features of these names (without the pair's), shape (rows, features).

    :raises KeyError: the frame has none of that name.
    """
    names = [str(name) for name in frame.columns.tolist() if "%" in str(name)]
    return select_features(numeric(frame, names), names, pair, wanted)


def select_features(
    features: Numbers, names: Sequence[str], pair: str, wanted: Sequence[str]
) -> Numbers:
    """Return the features of these names (without the pair's), shape (rows, features).

    :param features: of shape (rows, features), by `names`, as FreqAI names them.
    :raises KeyError: there is none of that name.
    """
    places = {name: place for place, name in enumerate(own_names(names, pair))}
    return features[:, [places[name] for name in wanted]]


def _mean_deviation(values: Floats) -> Floats:
    deviation = values.std(axis=0)
    return np.stack([values.mean(axis=0), np.where(deviation > 1e-3, deviation, 1)]).astype(
        np.float32
    )
