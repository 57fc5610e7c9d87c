"""RangeStrategy: trend entries; a forecast of the range decides the risk of each trade.

How far a price will move in the next candles can be foretold to some degree, in which direction
hardly at all. So the direction is left to a plain breakout, and the model predicts the range:

    log_range = ln ln(highest high / lowest low of the next `label_period_candles` candles)

The forecast decides three things:

* stop distance: STOP times the forecast, so that an ordinary move does not reach the stop;
* stake: RISK of the wallet divided by the stop distance, so that every stop costs the same;
* whether to enter at all: only where the forecast is large beside the costs of a trade (MIN_RANGE)
  and its 80 % interval is narrow (MAX_WIDTH).

RangeStrategyATR, below, is the same with the average true range in place of the forecast. It needs
no model: `"freqai": {"enabled": false}`. The numbers below were chosen on candles before September
2024 with an earlier release (benchmarks/range/choose.md), which showed no difference to the ATR.

Licence: GPLv3.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import talib.abstract as ta
from freqtrade.enums import TradingMode
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy, stoploss_from_open
from pandas import DataFrame, Series


logger = logging.getLogger(__name__)

LABEL = "&-log_range"
BREAKOUT = 96  # candles: enter beyond the highest, or lowest, close of so many
HOLD = 24  # candles, at most; the forecast says little about later ones
STOP = 0.9  # times the forecast range
RISK = 0.005  # of the wallet: what a stop costs
MIN_RANGE = 0.01  # of the price: ten times the fees of a trade in futures
MAX_WIDTH = 1.6  # of the interval, a difference of logarithms: its upper end is five lower ends

# Range of the next 12 candles / ATR(14) after breakouts of hourly candles before September 2024:
# geometric mean, and 80 % interval.
ATR_RANGE, ATR_LOWER, ATR_UPPER = 3.7, 2.2, 6.8


def log_range(candles: DataFrame, window: int) -> Series:
    """ln ln(highest / lowest price) of the last `window` candles; NaN where nothing moved."""
    highest, lowest = candles["high"].rolling(window).max(), candles["low"].rolling(window).min()
    ratio = highest / lowest
    return Series(np.log(np.log(ratio.where(ratio > 1))))


class RangeStrategy(IStrategy):
    """Breakouts, long and (futures only) short, whose risk follows the forecast range."""

    INTERFACE_VERSION = 3

    timeframe = "1h"
    process_only_new_candles = True
    startup_candle_count = 100
    use_exit_signal = True
    use_custom_stoploss = True
    stoploss = -0.25  # until custom_stoploss sets the real one, when the entry is filled

    plot_config = {  # noqa: RUF012
        "main_plot": {"enter_above": {}, "enter_below": {}},
        "subplots": {
            "Range": {
                "range_upper": {"color": "#9fb4cc", "fill_to": "range_lower"},
                "range_lower": {"color": "#9fb4cc"},
                "range": {"color": "#2f6fde"},
            },
            "Model": {"lstm_r2": {}, "lstm_coverage": {}},
            "Valid": {"do_predict": {}},
        },
    }

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        # freqtrade refuses `can_short = True` in spot markets.
        self.can_short = config.get("trading_mode", TradingMode.SPOT) == TradingMode.FUTURES

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Range of the whole period, range of its candles, volume: all free of units."""
        dataframe["%-log_range-period"] = log_range(dataframe, period)
        of_candles = (dataframe["high"] / dataframe["low"] - 1).rolling(period).mean()
        dataframe["%-candle_range-period"] = np.log(of_candles.where(of_candles > 0))
        usual = dataframe["volume"].rolling(period).mean()
        dataframe["%-relative_volume-period"] = dataframe["volume"] / usual
        return dataframe

    def feature_engineering_expand_basic(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Return and range of one candle."""
        dataframe["%-return"] = dataframe["close"].pct_change()
        dataframe["%-candle_range"] = np.log(dataframe["high"] / dataframe["low"])
        return dataframe

    def feature_engineering_standard(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """The newest range that is known, and its means over one and three days, as in HAR."""
        known = log_range(dataframe, self._horizon())
        dataframe["%-known_range"] = known
        dataframe["%-known_range_day"] = known.rolling(24).mean()
        dataframe["%-known_range_3_days"] = known.rolling(72).mean()
        return dataframe

    def set_freqai_targets(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """The logarithm of the range of the next `label_period_candles` candles."""
        dataframe[LABEL] = log_range(dataframe, self._horizon()).shift(-self._horizon())
        return dataframe

    def _horizon(self) -> int:
        horizon = self.config["freqai"]["feature_parameters"]["label_period_candles"]
        if horizon < 1:
            raise OperationalException(
                "RangeStrategy forecasts: freqai.feature_parameters.label_period_candles must be 1 "
                "or more, and is 12 with -c config.json -c config.range.json; "
                f"got {horizon}."
            )
        return int(horizon)

    def forecast(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add range, range_lower and range_upper, fractions of the price; NaN where unknown."""
        dataframe = self.freqai.start(dataframe, metadata, self)
        if f"{LABEL}_upper" not in dataframe:
            logger.warning("No entries: the model gives no interval (LSTMRegressor does).")
        for end in ("", "_lower", "_upper"):
            predicted = dataframe.get(f"{LABEL}{end}", Series(np.nan, dataframe.index))
            dataframe[f"range{end}"] = np.exp(predicted.where(dataframe["do_predict"] == 1))
        return dataframe

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add the forecast, the distance of the stop and the borders of the breakout."""
        dataframe = self.forecast(dataframe, metadata)
        earlier = dataframe["close"].shift().rolling(BREAKOUT)
        return dataframe.assign(
            stop_distance=STOP * dataframe["range"],
            enter_above=earlier.max(),
            enter_below=earlier.min(),
        )

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Enter breakouts where the range is large enough and well enough known."""
        width = np.log(dataframe["range_upper"] / dataframe["range_lower"])
        worth = (dataframe["range"] >= MIN_RANGE) & (width <= MAX_WIDTH) & (dataframe["volume"] > 0)
        up = dataframe["close"] > dataframe["enter_above"]
        down = dataframe["close"] < dataframe["enter_below"]
        return dataframe.assign(enter_long=(worth & up) * 1, enter_short=(worth & down) * 1)

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """No signal: `custom_exit` and the stop end a trade."""
        return dataframe

    def custom_exit(
        self, pair: str, trade: Trade, current_time: datetime, **kwargs: Any
    ) -> str | None:
        """Leave after HOLD candles."""
        candle = timedelta(seconds=timeframe_to_seconds(self.timeframe))
        return "held long enough" if current_time >= trade.open_date_utc + HOLD * candle else None

    def custom_stake_amount(
        self, pair: str, leverage: float, max_stake: float, **kwargs: Any
    ) -> float:
        """The stake that loses RISK of the wallet at the stop, in the stake currency."""
        wallet = self.wallets.get_total_stake_amount()
        return min(RISK * wallet / (self._stop_distance(pair) * leverage), max_stake)

    def custom_stoploss(
        self, pair: str, trade: Trade, current_profit: float, after_fill: bool, **kwargs: Any
    ) -> float | None:
        """The stop, set once, when the entry is filled."""
        if not after_fill:
            return None
        distance = -self._stop_distance(pair) * trade.leverage
        return stoploss_from_open(distance, current_profit, trade.is_short, trade.leverage)

    def _stop_distance(self, pair: str) -> float:
        # Of the newest candle that was predicted: an order can be filled when a later one is not.
        candles, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)
        return float(candles["stop_distance"].dropna().iloc[-1])


class RangeStrategyATR(RangeStrategy):
    """The same with ATR(14) times constants in place of the forecast and its interval."""

    def forecast(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add the three columns of RangeStrategy.forecast."""
        atr = ta.ATR(dataframe, timeperiod=14) / dataframe["close"]
        return dataframe.assign(
            range=ATR_RANGE * atr, range_lower=ATR_LOWER * atr, range_upper=ATR_UPPER * atr
        )
