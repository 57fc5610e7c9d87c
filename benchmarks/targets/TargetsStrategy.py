"""TargetsStrategy: the features of freqtrade's FreqAI example strategy, the labels of the exam.

The features are those a user of FreqAI starts with (freqtrade/templates/FreqaiExampleStrategy.py),
not made for any model of this project: indicators for every period of `indicator_periods_candles`,
change, volume and price as they are, hour and weekday as whole numbers. Which labels are predicted
is said by the configuration's key `targets`, a list of names of `benchmarks.targets.labels`; all
of them where it is missing. With the key `our_inputs` the features also have what LSTMRegressor
reads of the candles. The strategy opens no trade: the exam reads predictions.
"""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import talib.abstract as ta
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.strategy import IStrategy
from pandas import DataFrame
from technical import qtpylib

from benchmarks.targets.labels import LABELS, add_labels


def our_inputs(candles: DataFrame, timeframe: str, width: int) -> DataFrame:
    """What LSTMRegressor reads of candles: its columns, and its channels of a window's candles.

    The channels are the shifted candles in the form that its network has them in. A model that
    knows no windows gets them as further features.
    """
    from freqai_lstm.model.windows import CandleInputs  # earlier releases have none

    inputs = CandleInputs.of(candles, timeframe_to_seconds(timeframe))
    ends = np.arange(width - 1, len(candles))
    channels = inputs.windows(ends, width).reshape(len(ends), -1)
    missing = np.full((width - 1, channels.shape[1]), np.nan, np.float32)
    values = np.hstack([inputs.columns, np.vstack([missing, channels])])
    names = [f"%-ours_{number}" for number in range(values.shape[1])]
    return DataFrame(values, columns=names, index=candles.index)


class TargetsStrategy(IStrategy):
    """Give FreqAI the example strategy's features and the labels named by `targets`."""

    minimal_roi: ClassVar = {"0": 1.0}
    stoploss = -0.99
    process_only_new_candles = True
    startup_candle_count = 40
    can_short = True

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Indicators of one period, for every timeframe, pair and lag that FreqAI is told of."""
        for name in ("rsi", "mfi", "adx", "sma", "ema", "roc"):
            dataframe[f"%-{name}-period"] = getattr(ta, name.upper())(dataframe, timeperiod=period)
        price = qtpylib.typical_price(dataframe)
        bands = qtpylib.bollinger_bands(price, window=period, stds=2.2)
        dataframe["%-bb_width-period"] = (bands["upper"] - bands["lower"]) / bands["mid"]
        dataframe["%-close-bb_lower-period"] = dataframe["close"] / bands["lower"]
        dataframe["%-relative_volume-period"] = (
            dataframe["volume"] / dataframe["volume"].rolling(period).mean()
        )
        return dataframe

    def feature_engineering_expand_basic(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Change, volume and price, for every timeframe, pair and lag."""
        dataframe["%-pct-change"] = dataframe["close"].pct_change()
        dataframe["%-raw_volume"] = dataframe["volume"]
        dataframe["%-raw_price"] = dataframe["close"]
        return dataframe

    def feature_engineering_standard(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Weekday (0 to 6) and hour (0 to 23) as whole numbers; our inputs where asked for."""
        dataframe["%-day_of_week"] = dataframe["date"].dt.dayofweek
        dataframe["%-hour_of_day"] = dataframe["date"].dt.hour
        if self.config.get("our_inputs", False):
            made = our_inputs(dataframe, self.timeframe, self.config["freqai"]["conv_width"])
            dataframe = pd.concat([dataframe, made], axis=1)
        return dataframe

    def set_freqai_targets(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """The labels that the configuration's `targets` names."""
        return add_labels(dataframe, self.config.get("targets", list(LABELS)))

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """FreqAI's own columns."""
        return self.freqai.start(dataframe, metadata, self)

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """No entry."""
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """No exit."""
        return dataframe
