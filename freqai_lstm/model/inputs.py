"""The network's inputs, made the same way in training, backtest and live."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.model.calendar import calendar, calendar_names
from freqai_lstm.model.candles import COLUMNS, candle_rows, summaries, summary_names
from freqai_lstm.model.windows import Floats, Inputs, candle_numbers


class InputMaker:
    """Make `Inputs` from scaled features, for the candles of one frame.

    The columns of `Inputs.features` are the features, the calendar, and the candles' summaries. The
    last are for the ridge regression alone: they need the whole window before a candle, which a
    live prediction has for the newest candle only.

    :param frame: candles with their dates, as FreqAI hands them over.
    :param candle_channel: whether the model reads candles; else they are zero and not looked at.
    :param with_calendar: whether the calendar is among the network's features.
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
        self.summary_names: list[str] = []
        self.candles = candle_numbers(frame["date"], timeframe_seconds)  # (frame rows,)
        self._rows: Floats = np.zeros((len(frame), len(COLUMNS)), np.float32)
        if candle_channel:
            self._rows = candle_rows(frame)
            self._summaries = summaries(frame, conv_width)
            self.summary_names = summary_names(conv_width)

    def names(self, features: list[str]) -> list[str]:
        """Name the columns of `Inputs.features`, of which the first are the given ones."""
        added = calendar_names(self.timeframe_seconds) if self.with_calendar else []
        return [*features, *added, *self.summary_names]

    def __call__(
        self, features: NDArray, candles: NDArray[np.int64]
    ) -> tuple[Inputs, NDArray[np.bool_]]:
        """Add candles and calendar to the features of some of the frame's candles.

        :param features: array of shape (rows, features), scaled.
        :param candles: array of shape (rows,): which candle each row is.
        :return: (inputs, valid): valid of shape (rows,), False where a price is missing or zero.
        """
        found = np.searchsorted(self.candles, candles)
        rows = self._rows[found]  # (rows, 5)
        parts = [np.asarray(features, dtype=np.float32)]
        if self.with_calendar:
            parts.append(calendar(candles, self.timeframe_seconds))
        parts.append(self._summaries[found])
        valid = np.asarray(np.isfinite(rows).all(axis=1))
        rows = np.where(valid[:, None], rows, np.float32(0))
        return Inputs(np.hstack(parts), rows), valid
