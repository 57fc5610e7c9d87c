"""A strategy with two labels, the return and the range of the next candles, and few features."""

import numpy as np
import talib.abstract as ta
from freqtrade.strategy import IStrategy


class TwoLabels(IStrategy):
    """Goes long where the return is predicted above 0.2 %."""

    timeframe = "1h"
    stoploss = -0.1
    minimal_roi = {"0": 0.05}  # noqa: RUF012
    startup_candle_count = 60

    def feature_engineering_expand_all(self, dataframe, period, metadata, **kwargs):
        """RSI and normalised ATR."""
        dataframe["%-rsi-period"] = ta.RSI(dataframe, timeperiod=period)
        dataframe["%-natr-period"] = ta.NATR(dataframe, timeperiod=period)
        return dataframe

    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        """Both look `label_period_candles` ahead."""
        n = self.freqai_info["feature_parameters"]["label_period_candles"]
        close = dataframe["close"]
        high, low = dataframe["high"].rolling(n).max(), dataframe["low"].rolling(n).min()
        dataframe["&-return"] = close.shift(-n) / close - 1
        dataframe["&-range"] = np.log(high / low).shift(-n)
        return dataframe

    def populate_indicators(self, dataframe, metadata):
        """FreqAI's predictions."""
        return self.freqai.start(dataframe, metadata, self)

    def populate_entry_trend(self, dataframe, metadata):
        """Long on a predicted rise."""
        good = (dataframe["do_predict"] == 1) & (dataframe["&-return"] > 0.002)
        dataframe.loc[good, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        """Out on a predicted fall."""
        bad = (dataframe["do_predict"] == 1) & (dataframe["&-return"] < 0)
        dataframe.loc[bad, "exit_long"] = 1
        return dataframe
