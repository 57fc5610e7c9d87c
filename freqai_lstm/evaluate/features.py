"""Features of each pair, computed once, cut into windows as FreqAI's backtest cuts them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.evaluate.data import Window
from freqai_lstm.evaluate.setup import Setup, load_candles


class Features:
    """Made by the strategy through FreqAI, one pair in memory at a time.

    :param scratch: an empty folder for what FreqAI's classes write.
    """

    def __init__(self, setup: Setup, scratch: Path) -> None:
        self.setup = setup
        self.config = setup.scratch(scratch)
        self._pair = ""
        self._frame = pd.DataFrame()

    def training(self, window: Window) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Features and labels, by date, of the candles the window's model was trained on.

        No feature is missing, but labels are where the strategy gives none.
        """
        kitchen = FreqaiDataKitchen(self.config, False, window.pair)
        begin = window.start - self.config["freqai"]["train_period_days"] * 86_400
        frame = self.of(window.pair)
        frame = frame[frame["date"] < pd.Timestamp(window.start, unit="s", tz="UTC")]
        # Labels that end after the training data are missing here, as they were for the model.
        labels = self.setup.labels(frame, window.pair)
        span = kitchen.buffer_timerange(TimeRange("date", "date", begin, window.start))
        frame = kitchen.slice_dataframe(span, frame.join(labels))
        frame = kitchen.remove_special_chars_from_feature_names(frame.copy())
        kitchen.find_features(frame)
        x, _ = kitchen.filter_features(frame, kitchen.training_features_list, [])
        y = frame.loc[x.index, list(labels)]
        dates = pd.DatetimeIndex(kitchen.train_dates)
        return x.set_index(dates), y.set_index(dates)

    def predicted(self, window: Window) -> pd.DataFrame:
        """Candles of the window's predictions, with date and features."""
        kitchen = FreqaiDataKitchen(self.config, False, window.pair)
        span = TimeRange("date", "date", window.start, window.end)
        frame = kitchen.slice_dataframe(span, self.of(window.pair)).reset_index(drop=True)
        return kitchen.remove_special_chars_from_feature_names(frame)

    def of(self, pair: str) -> pd.DataFrame:
        """Date, candles and features of all stored candles of a pair."""
        if pair != self._pair:
            wanted = self.config["freqai"]["feature_parameters"]
            for other in {pair, *wanted.get("include_corr_pairlist", [])}:
                for timeframe in wanted["include_timeframes"]:
                    load_candles(self.setup, other, timeframe)  # says what is missing
            setup = self.setup
            candles = setup.strategy.dp.get_pair_dataframe(pair, setup.config["timeframe"])
            self._frame = setup.features(candles, pair, self.config)
            self._pair = pair
        return self._frame
