"""T one candle ahead: the nine terms of ScoreStrategy's score, as labels of the exam `score`.

A term is as large as the market is calm: of two pairs, or of two months, it is not comparable as it
is. It is scored divided by `label_scale`, the size of T that is known at the candle.
"""

from __future__ import annotations

import pandas as pd
from pandas import DataFrame, Series

from benchmarks.targets.labels import Label
from freqai_lstm.model.parameters import LABEL_SCALE
from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


STRATEGY = load_plugin(STRATEGY_FILE)
AHEAD = 1  # candles


def _label(term: str) -> Label:
    def formula(candles: DataFrame) -> Series:
        return STRATEGY.targets(candles, AHEAD)[f"&-t_{term}"]

    formula.__doc__ = f"T, {term}, next candle.\n\nThe term `{term}` of ScoreStrategy; horizon 1."
    return Label(f"t_{term}", AHEAD, formula)


TERMS = tuple(_label(term) for term in STRATEGY.TERMS)


def features(candles: DataFrame) -> DataFrame:
    """ScoreStrategy's features of the pair itself at its own timeframe, and `label_scale`."""
    return pd.concat([STRATEGY.score_features(candles), STRATEGY.candle_features(candles)], axis=1)


def scale(frame: DataFrame) -> Series:
    """What the terms are divided by, of a frame that `features` was joined to; NaN for 0."""
    size = frame[LABEL_SCALE].abs()
    return size.where(size > 0)
