"""RiskStrategy: a book of positions in trends, sized so that its expected volatility is a target.

How much a price will move in the next candles can be forecast to some degree, in which direction
hardly at all. So the direction comes from two moving averages, which promise nothing, and the model
forecasts the volatility:

    log_volatility = ln sqrt(mean of the squared returns of the next `label_period_candles` candles)

The forecast decides three things:

* stake: every position has the same expected risk, so its value is inversely proportional to the
  volatility that is forecast. The common risk is such that the book of all open positions, with the
  correlations of the last CORRELATION candles, has an expected volatility of TARGET a year. A
  position that is further than BUFFER above that size is reduced at once; one below it is increased
  a horizon after its last order.
* stop: STOP times the upper end of the forecast's 80 % interval, over the horizon, from the price
  of entry. It ends what the forecast did not expect. Where an increase changes the average price of
  entry for the better, freqtrade moves the stop with it.
* leverage (futures): the largest whole number, MAX_LEVERAGE at most, with which a position is
  liquidated no nearer than two stop distances. It frees margin; the position's value is as above.

Everything is computed from closed candles, by the same functions in a backtest and in a bot. In a
backtest the newest candle of another pair can be one candle older than in a bot. Where a forecast
is missing or older than its horizon, nothing is entered and nothing is adjusted. The numbers below
are round ones that were not searched for. What the forecast is worth: benchmarks/risk/judge.md.

Licence: GPLv3.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.enums import TradingMode
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy, stoploss_from_open
from pandas import DataFrame, Series


logger = logging.getLogger(__name__)

LABEL = "&-log_volatility"
FAST, SLOW = 96, 480  # candles: the trend is up where the average of FAST is above that of SLOW
CORRELATION = 480  # candles; a bot has 499 of Binance's futures
TARGET = 0.20  # of the wallet: expected volatility of the book, a year
PAIR_CAP, BOOK_CAP = 0.5, 2.0  # times the wallet: value of one position and of all, at most
BUFFER = 0.25  # of the wanted size
STOP = 2.0  # standard deviations over the horizon, at the upper end of the forecast
MAX_LEVERAGE = 4
NORMAL_80 = 2 * 1.2816  # width of an 80 % interval, in standard deviations


def log_volatility(candles: DataFrame, window: int) -> Series:
    """ln of the root mean square of the last `window` log returns; NaN where nothing moved."""
    squares = np.log(candles["close"]).diff() ** 2
    mean = squares.rolling(window).mean()
    return Series(np.log(mean.where(mean > 0)) / 2)


def with_volatility(predicted: DataFrame, candles_a_year: float) -> DataFrame:
    """Add `volatility` and both ends of its interval to what FreqAI returned, of a year.

    The label is forecast as a normal variable, so the expectation of its square's exponential is
    exp(2 mean + 2 variance); the interval tells the variance.
    """
    missing, valid = Series(np.nan, predicted.index), predicted["do_predict"] == 1
    mean, lower, upper = (
        predicted.get(f"{LABEL}{end}", missing).where(valid) for end in ("", "_lower", "_upper")
    )
    year, variance = np.sqrt(candles_a_year), ((upper - lower) / NORMAL_80) ** 2
    return predicted.assign(
        volatility=year * np.exp(mean + variance),
        volatility_lower=year * np.exp(lower),
        volatility_upper=year * np.exp(upper),
    )


class RiskStrategy(IStrategy):
    """Trends, long and (futures only) short, in a book whose expected volatility is TARGET."""

    INTERFACE_VERSION = 3

    timeframe = "1h"
    process_only_new_candles = True
    startup_candle_count = CORRELATION
    use_exit_signal = True
    use_custom_stoploss = True
    position_adjustment_enable = True
    stoploss = -0.25  # until custom_stoploss sets the real one, when the entry is filled

    plot_config = {  # noqa: RUF012
        "main_plot": {"trend_fast": {}, "trend_slow": {}},
        "subplots": {
            "Volatility": {
                "volatility_upper": {"color": "#9fb4cc", "fill_to": "volatility_lower"},
                "volatility_lower": {"color": "#9fb4cc"},
                "volatility": {"color": "#2f6fde"},
            },
            "Model": {"lstm_r2": {}, "lstm_coverage": {}},
            "Valid": {"do_predict": {}},
        },
    }

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        # freqtrade refuses `can_short = True` in spot markets.
        self.can_short = config.get("trading_mode", TradingMode.SPOT) == TradingMode.FUTURES
        self._now, self._at = pd.Timestamp(0, tz="UTC"), dict[str, int]()

    def plot_annotations(self, dataframe: DataFrame, **kwargs: Any) -> list[Any]:
        """Mark trainings, failed ones and the alarm, where the model tells them."""
        marks = getattr(self.freqai, "plot_annotations", None)
        return marks(dataframe) if marks else []

    def bot_start(self, **kwargs: Any) -> None:
        """Refuse a configuration with which the stakes or the horizon would be others."""
        self._horizon()
        if (stake := self.config["stake_amount"]) != "unlimited":
            raise OperationalException(
                "RiskStrategy sets every stake: stake_amount must be 'unlimited', and is with "
                f"-c config.json -c config.risk.json; got {stake!r}."
            )

    def _horizon(self) -> int:
        horizon = self.config["freqai"]["feature_parameters"]["label_period_candles"]
        if horizon < 1:
            raise OperationalException(
                "RiskStrategy forecasts: freqai.feature_parameters.label_period_candles must be 1 "
                "or more, and is 24 with -c config.json -c config.risk.json; "
                f"got {horizon}."
            )
        return int(horizon)

    # What the model learns from, and what it learns.

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Volatility and volume of a period, free of units."""
        dataframe["%-log_volatility-period"] = log_volatility(dataframe, period)
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
        """Volatility of the last week, as in HAR."""
        dataframe["%-log_volatility_week"] = log_volatility(dataframe, 168)
        return dataframe

    def set_freqai_targets(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """The log volatility of the next `label_period_candles` candles."""
        horizon = self._horizon()
        dataframe[LABEL] = log_volatility(dataframe, horizon).shift(-horizon)
        return dataframe

    # What is known at the close of a candle.

    def forecast(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add `volatility`, the expected one of a year, and its interval; NaN where unknown."""
        dataframe = self.freqai.start(dataframe, metadata, self)
        if f"{LABEL}_upper" not in dataframe:
            logger.warning("No entries: the model gives no interval (LSTMRegressor does).")
        return with_volatility(dataframe, self._candles_a_year())

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add the forecast, the newest one that is not older than its horizon, and the trend."""
        dataframe = self.forecast(dataframe, metadata)
        horizon, close = self._horizon(), dataframe["close"]
        move = np.sqrt(horizon / self._candles_a_year())
        return dataframe.assign(
            newest_volatility=dataframe["volatility"].ffill(limit=horizon),
            stop_distance=STOP * move * dataframe["volatility_upper"].ffill(limit=horizon),
            trend_fast=close.rolling(FAST).mean(),
            trend_slow=close.rolling(SLOW).mean(),
        )

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Enter a trend that the price follows; after a stop that is not at once."""
        known = dataframe["volatility"].notna() & (dataframe["volume"] > 0)
        close, fast, slow = (dataframe[name] for name in ("close", "trend_fast", "trend_slow"))
        up, down = (close > fast) & (fast > slow), (close < fast) & (fast < slow)
        return dataframe.assign(enter_long=(known & up) * 1, enter_short=(known & down) * 1)

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Leave when the trend has turned."""
        up = dataframe["trend_fast"] > dataframe["trend_slow"]
        down = dataframe["trend_fast"] < dataframe["trend_slow"]
        return dataframe.assign(exit_long=down * 1, exit_short=up * 1)

    # What a position is worth, in the stake currency.

    def share(self, pair: str, book: dict[str, int]) -> float:
        """The value of the position in `pair` as a share of the wallet; NaN where unknown.

        :param book: 1 (long) or -1 (short) by pair, `pair` among them.
        """
        self._look_at_market(pair, book)
        at, signs = [self._at[name] for name in book], np.fromiter(book.values(), float)
        variance = signs @ self._correlation[np.ix_(at, at)] @ signs  # where each position's is 1
        # Hedges fail when they are needed: no book counts as safer than one of its positions.
        risk = TARGET / np.sqrt(np.maximum(variance, 1.0))
        values = np.minimum(risk / self._volatility[at], PAIR_CAP)
        return float(values[list(book).index(pair)] * np.minimum(1.0, BOOK_CAP / values.sum()))

    def _value(self, pair: str, is_short: bool) -> float:
        book = {trade.pair: -1 if trade.is_short else 1 for trade in _open_trades()}
        book[pair] = -1 if is_short else 1
        return self.share(pair, book) * self.wallets.get_total_stake_amount()

    def _look_at_market(self, pair: str, book: dict[str, int]) -> None:
        """Volatilities at each new candle, correlations once a day, and both for a new pair."""
        now = self._newest(pair, "date")
        if now == self._now and book.keys() <= self._at.keys():
            return
        names = sorted({*self.dp.current_whitelist(), *book})
        frames = [self._candles(name).iloc[-CORRELATION:] for name in names]
        newest = [np.nan if of.empty else of["newest_volatility"].iloc[-1] for of in frames]
        if now.floor("D") != self._now.floor("D") or names != list(self._at):
            closes = [Series(of["close"].to_numpy(), of["date"]) for of in frames if len(of)]
            known = [name for name, of in zip(names, frames, strict=True) if len(of)]
            returns = pd.concat(closes, axis=1, keys=known).transform(np.log).diff()
            together = returns.corr(min_periods=CORRELATION // 2).reindex(names, columns=names)
            self._correlation = together.to_numpy()
        self._now, self._volatility = now, np.array(newest)
        self._at = {name: at for at, name in enumerate(names)}

    def custom_stake_amount(
        self, pair: str, leverage: float, max_stake: float, side: str, **kwargs: Any
    ) -> float:
        """The stake of a new position; 0, which is no trade, where its risk is unknown."""
        value = self._value(pair, side == "short")
        if not np.isfinite(value):
            logger.warning(f"No entry of {pair}: no forecast or no correlation of an open pair.")
            return 0.0
        return min(value / leverage, max_stake)

    def adjust_trade_position(
        self, trade: Trade, current_time: datetime, max_stake: float, **kwargs: Any
    ) -> float | None:
        """What to add to the stake, or with a minus to take from it."""
        if self._newest(trade.pair, "exit_short" if trade.is_short else "exit_long"):
            return None  # it is about to be closed
        # At the close, as in a backtest: a bot asks every few seconds.
        held = trade.amount * self._newest(trade.pair, "close")
        wanted = self._value(trade.pair, trade.is_short)
        if not abs(wanted / held - 1) > BUFFER:  # nor where it is unknown
            return None
        if wanted < held:
            return trade.stake_amount * (wanted / held - 1)
        waited = current_time - trade.date_last_filled_utc
        if waited < self._horizon() * timedelta(seconds=timeframe_to_seconds(self.timeframe)):
            return None
        return min((wanted - held) / trade.leverage, max_stake)

    def leverage(self, pair: str, max_leverage: float, **kwargs: Any) -> float:
        """The largest with which liquidation lies two stop distances away."""
        distance = self._newest(pair, "stop_distance")
        if not np.isfinite(distance):
            return 1.0
        return float(np.clip(np.floor(0.5 / distance), 1, min(MAX_LEVERAGE, max_leverage)))

    def custom_stoploss(
        self, pair: str, trade: Trade, current_profit: float, after_fill: bool, **kwargs: Any
    ) -> float | None:
        """The stop, set once, when the first order is filled."""
        if not after_fill or trade.nr_of_successful_entries + trade.nr_of_successful_exits > 1:
            return None
        distance = -self._newest(pair, "stop_distance") * trade.leverage
        return stoploss_from_open(distance, current_profit, trade.is_short, trade.leverage)

    def _candles(self, pair: str) -> DataFrame:
        return self.dp.get_analyzed_dataframe(pair, self.timeframe)[0]

    def _newest(self, pair: str, column: str) -> Any:
        return self._candles(pair)[column].iloc[-1]

    def _candles_a_year(self) -> float:
        return timedelta(days=365).total_seconds() / timeframe_to_seconds(self.timeframe)


def _open_trades() -> list[Trade]:
    return Trade.get_trades_proxy(is_open=True)
