"""The network's inputs, made the same way in training, backtest and live."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.model.calendar import calendar, calendar_names, product_names, products
from freqai_lstm.model.candles import COLUMNS, candle_rows
from freqai_lstm.model.summaries import summaries, summary_names
from freqai_lstm.model.windows import Floats, Inputs, candle_numbers


class InputMaker:
    """Make `Inputs` from scaled features, for the candles of one frame.

    The columns of `Inputs.features` are the features, the calendar, and what is for the ridge
    regression alone: products of the calendar's waves, and the candles' summaries. A network bends
    the calendar by itself, and summaries need a past of their own before each candle.

    :param frame: candles with their dates, with as much of the past as there is.
    :param candle_channel: whether the model reads candles; else they are zero and not looked at.
    :param with_calendar: whether the calendar is among the features.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        timeframe_seconds: int,
        conv_width: int,
        *,
        candle_channel: bool,
        with_calendar: bool,
    ) -> None:
        self.timeframe_seconds, self.with_calendar = timeframe_seconds, with_calendar
        self._summaries: Floats = np.empty((len(frame), 0), np.float32)
        self.ridge_only = product_names(timeframe_seconds) if with_calendar else []
        self.candles = candle_numbers(frame["date"], timeframe_seconds)  # (frame rows,)
        self._rows: Floats = np.zeros((len(frame), len(COLUMNS)), np.float32)
        if candle_channel:
            self._rows = candle_rows(frame)
            self._summaries = summaries(frame, conv_width)
            self.ridge_only = [*self.ridge_only, *summary_names(conv_width)]

    def names(self, features: list[str]) -> list[str]:
        """Name the columns of `Inputs.features`, of which the first are the given ones."""
        added = calendar_names(self.timeframe_seconds) if self.with_calendar else []
        return [*features, *added, *self.ridge_only]

    def __call__(
        self, features: NDArray, candles: NDArray[np.int64]
    ) -> tuple[Inputs, NDArray[np.bool_]]:
        """Add candles and calendar to the features of some of the frame's candles.

        :param features: array of shape (rows, features), scaled.
        :param candles: array of shape (rows,): which candle each row is.
        :return: (inputs, valid): valid of shape (rows,), False where a price is missing or zero.
        :raises ValueError: the frame does not hold one of them.
        """
        found = np.searchsorted(self.candles, candles)
        if not np.array_equal(self.candles.take(found, mode="clip"), candles):
            raise ValueError("Expected rows of the frame's candles, got others.")
        rows = self._rows[found]  # (rows, 5)
        parts = [np.asarray(features, dtype=np.float32)]
        if self.with_calendar:
            waves = calendar(candles, self.timeframe_seconds)
            parts += [waves, products(waves, self.timeframe_seconds)]
        parts.append(self._summaries[found])
        valid = np.asarray(np.isfinite(rows).all(axis=1))
        rows = np.where(valid[:, None], rows, np.float32(0))
        return Inputs(np.hstack(parts), rows), valid
