"""Markets and candles of the loopback exchange, read from a freqtrade data folder.

What Binance calls a symbol (`BTCUSDT`) is one spot pair and one perpetual; which one is meant
follows from the address that was asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import CandleType, TradingMode
from freqtrade.exchange import timeframe_to_seconds
from pandas import DataFrame

from freqai_lstm.market import MARK_TIMEFRAME, resample_candles


TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
PRICES = ["open", "high", "low", "close"]
FUNDING_MS = 8 * 3_600_000


class BinanceError(Exception):
    """An error answer, HTTP 400, with Binance's number and words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Market:
    """One pair as the exchange knows it; the decimals follow from its candles."""

    pair: str
    mode: str  # "spot" or "futures"
    price_decimals: int
    amount_decimals: int

    @property
    def symbol(self) -> str:
        """Binance's name of it."""
        return self.pair.split(":")[0].replace("/", "")

    @property
    def tick(self) -> float:
        """The smallest step of a price."""
        return 10.0**-self.price_decimals

    def price(self, value: float) -> str:
        """A price in the exchange's notation."""
        return f"{value:.{self.price_decimals}f}"


class CandleStore:
    """A data folder (feather) as it is; files are read once, when first asked for.

    :raises ValueError: the folder holds no candles.
    """

    def __init__(self, datadir: Path) -> None:
        self._handler = get_datahandler(datadir, "feather")
        self._timeframes: dict[tuple[str, CandleType], list[str]] = {}
        for mode in (TradingMode.SPOT, TradingMode.FUTURES):
            for pair, timeframe, kind in self._handler.ohlcv_get_available_data(datadir, mode):
                self._timeframes.setdefault((pair, kind), []).append(timeframe)
        self._frames: dict[tuple[str, CandleType, str], DataFrame] = {}
        self._markets = [
            self._describe(pair, kind)
            for pair, kind in sorted(self._timeframes)
            if kind in (CandleType.SPOT, CandleType.FUTURES)
        ]
        if not self._markets:
            raise ValueError(
                f"{datadir} holds no candles: expected freqtrade's feather files, as BTC_USDT-1h."
                "feather or futures/BTC_USDT_USDT-1h-futures.feather. Download or generate some."
            )

    def now_ms(self) -> int:
        """The exchange's clock, in ms since 1970."""
        return int(time.time() * 1000)

    def markets(self, mode: str) -> list[Market]:
        """The listed markets of "spot" or "futures", by pair."""
        return [market for market in self._markets if market.mode == mode]

    def market(self, mode: str, symbol: str) -> Market:
        """The market that Binance calls `symbol`.

        :raises BinanceError: -1121, as Binance answers.
        """
        for market in self.markets(mode):
            if market.symbol == symbol:
                return market
        raise BinanceError(-1121, "Invalid symbol.")

    def shortest_timeframe(self, market: Market) -> str:
        """The timeframe that all others of this market are multiples of."""
        return min(self._timeframes[market.pair, CandleType(market.mode)], key=timeframe_to_seconds)

    def candles(self, market: Market, timeframe: str, *, price: str = "last") -> DataFrame:
        """Candles of the traded ("last") or "mark" price; resampled where there is no file.

        :return: freqtrade's columns date, open, high, low, close, volume.
        :raises BinanceError: -1120, the timeframe is unknown or shorter than the shortest.
        """
        kind = CandleType(market.mode)
        if price == "mark" and (market.pair, CandleType.MARK) in self._timeframes:
            kind = CandleType.MARK
        key = (market.pair, kind, timeframe)
        if key not in self._frames:
            sources = [
                source
                for source in self._timeframes[market.pair, kind]
                if timeframe in TIMEFRAMES
                and timeframe_to_seconds(timeframe) % timeframe_to_seconds(source) == 0
            ]
            if not sources:
                raise BinanceError(-1120, "Invalid interval.")
            source = max(sources, key=timeframe_to_seconds)
            self._frames[key] = resample_candles(self._load(market.pair, source, kind), timeframe)
        return self._frames[key]

    def last_price(self, market: Market, *, price: str = "last") -> float:
        """The newest close."""
        timeframe = self.shortest_timeframe(market) if price == "last" else MARK_TIMEFRAME
        return float(self.candles(market, timeframe, price=price)["close"].iloc[-1])

    def funding(self, market: Market) -> DataFrame:
        """Columns `date` and `funding_rate`; no rows where the folder has none."""
        rates = self._load(market.pair, MARK_TIMEFRAME, CandleType.FUNDING_RATE)
        column = "funding_rate" if "funding_rate" in rates else "open"  # of older freqtrade
        return rates[["date", column]].set_axis(["date", "funding_rate"], axis=1)

    def _load(self, pair: str, timeframe: str, kind: CandleType) -> DataFrame:
        # As they are: a gap in the folder stays a gap, the way an exchange would answer.
        return self._handler.ohlcv_load(
            pair, timeframe, kind, fill_missing=False, drop_incomplete=False, warn_no_data=False
        )

    def _describe(self, pair: str, kind: CandleType) -> Market:
        shortest = min(self._timeframes[pair, kind], key=timeframe_to_seconds)
        candles = self._load(pair, shortest, kind)
        if candles.empty:
            raise ValueError(f"The {shortest} candles of {pair} are empty; download them again.")
        prices = candles[PRICES].to_numpy()
        decimals = next((d for d in range(8) if np.allclose(prices, prices.round(d), 0, 1e-9)), 8)
        # An amount step worth a few units of the quote currency, finer in spot, as on Binance.
        magnitude = int(np.ceil(np.log10(prices[-1, 3])))
        amount_decimals = magnitude if kind == CandleType.SPOT else magnitude - 2
        return Market(pair, kind.value, decimals, max(0, min(8, amount_decimals)))


def milliseconds(dates: pd.Series) -> np.ndarray:
    """Datetimes as ms since 1970, shape (n,)."""
    return pd.DatetimeIndex(dates).as_unit("ms").asi8
