"""The loopback exchange's memory: markets and candles of a freqtrade data folder.

What Binance calls a symbol (`BTCUSDT`) is one spot pair and one perpetual; which one is meant
follows from the address that was asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import CandleType, TradingMode
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.market import MARK_TIMEFRAME, resample_candles


# Binance's marks of a perpetual: it is "delivered" in the year 2100.
_PERPETUAL_DELIVERY_MS = 4_133_404_800_000
TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
_CANDLE_COLUMNS = ["open", "high", "low", "close", "volume"]


class BinanceError(Exception):
    """An error answer, HTTP 400, with Binance's number and words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Market:
    """One pair as the exchange knows it; price and amount steps follow from its candles."""

    pair: str
    mode: str
    tick: float
    price_decimals: int
    amount_decimals: int
    onboard_ms: int

    @property
    def base(self) -> str:
        """Base currency."""
        return self.pair.split("/")[0]

    @property
    def quote(self) -> str:
        """Quote currency."""
        return self.pair.split("/")[1].split(":")[0]

    @property
    def symbol(self) -> str:
        """Binance's name of it."""
        return self.base + self.quote

    def price(self, value: float) -> str:
        """A price in the exchange's notation."""
        return f"{value:.{self.price_decimals}f}"

    def exchange_info(self) -> dict[str, Any]:
        """Its entry in `exchangeInfo`."""
        step = f"{10.0**-self.amount_decimals:.{self.amount_decimals}f}"
        tick = self.price(self.tick)
        filters: list[dict[str, Any]] = [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000000"},
            {"filterType": "LOT_SIZE", "stepSize": step, "minQty": step, "maxQty": "1000000000"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": step, "minQty": step, "maxQty": "100000"},
        ]
        filters[0]["tickSize"] = tick
        info: dict[str, Any] = {
            "symbol": self.symbol,
            "status": "TRADING",
            "baseAsset": self.base,
            "quoteAsset": self.quote,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "filters": filters,
        }
        if self.mode == "spot":
            filters.append({"filterType": "NOTIONAL", "minNotional": "5.0"})
            orders = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"]
            return info | {
                "orderTypes": orders,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "permissions": ["SPOT"],
            }
        filters.append({"filterType": "MIN_NOTIONAL", "notional": "5"})
        return info | {
            "pair": self.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": _PERPETUAL_DELIVERY_MS,
            "onboardDate": self.onboard_ms,
            "marginAsset": self.pair.split(":")[1],
            "pricePrecision": self.price_decimals,
            "quantityPrecision": self.amount_decimals,
            "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        }


@dataclass(frozen=True)
class Series:
    """Rows in time order: `dates` in ms, shape (n,); `values`, shape (n, columns); `step_ms`."""

    dates: np.ndarray
    values: np.ndarray
    step_ms: int

    def window(self, start: int | None, end: int | None, limit: int) -> slice:
        """The rows Binance returns: the first `limit` from `start`, else the last up to `end`."""
        first = 0 if start is None else int(np.searchsorted(self.dates, start, side="left"))
        last = len(self.dates)
        if end is not None:
            last = int(np.searchsorted(self.dates, end, side="right"))
        if start is None:
            return slice(max(first, last - limit), last)
        return slice(first, max(first, min(last, first + limit)))

    def klines(self, window: slice) -> list[list[Any]]:
        """Candle rows in Binance's twelve columns."""
        rows = []
        values = self.values[window].tolist()
        for date, (open_, high, low, close, volume) in zip(
            self.dates[window].tolist(), values, strict=True
        ):
            prices = [number(open_), number(high), number(low), number(close), number(volume)]
            turnover = f"{close * volume:.2f}"
            ending = [date + self.step_ms - 1, turnover, 0, number(volume / 2), turnover, "0"]
            rows.append([date, *prices, *ending])
        return rows


class CandleStore:
    """Reads a freqtrade data folder (feather) on demand and keeps what it read.

    :raises ValueError: the folder holds no candles.
    """

    def __init__(self, datadir: Path) -> None:
        self._handler = get_datahandler(datadir, "feather")
        self._timeframes: dict[tuple[str, CandleType], list[str]] = {}
        for mode in (TradingMode.SPOT, TradingMode.FUTURES):
            for pair, timeframe, kind in self._handler.ohlcv_get_available_data(datadir, mode):
                self._timeframes.setdefault((pair, kind), []).append(timeframe)
        self._series: dict[tuple[str, CandleType, str], Series] = {}
        self._markets: dict[str, dict[str, Market]] = {"spot": {}, "futures": {}}
        for pair, kind in sorted(self._timeframes):
            if kind in (CandleType.SPOT, CandleType.FUTURES):
                market = self._describe(pair, kind)
                self._markets[market.mode][market.symbol] = market
        if not any(self._markets.values()):
            raise ValueError(
                f"{datadir} holds no candles: expected freqtrade's feather files, as BTC_USDT-1h."
                "feather or futures/BTC_USDT_USDT-1h-futures.feather. Download or generate some."
            )

    def now_ms(self) -> int:
        """The exchange's clock, in ms since 1970."""
        return int(time.time() * 1000)

    def markets(self, mode: str) -> list[Market]:
        """The markets of "spot" or "futures", by pair."""
        return list(self._markets[mode].values())

    def market(self, mode: str, symbol: str) -> Market:
        """The market that Binance calls `symbol`.

        :raises BinanceError: -1121, as Binance answers.
        """
        if symbol not in self._markets[mode]:
            raise BinanceError(-1121, "Invalid symbol.")
        return self._markets[mode][symbol]

    def candles(self, market: Market, timeframe: str, *, price: str = "last") -> Series:
        """Candles of the traded ("last") or "mark" price; resampled where there is no file.

        :raises BinanceError: -1120, the timeframe is unknown or shorter than all files.
        """
        if timeframe not in TIMEFRAMES:
            raise BinanceError(-1120, "Invalid interval.")
        kind = _kind(market)
        if price == "mark" and (market.pair, CandleType.MARK) in self._timeframes:
            kind = CandleType.MARK
        key = (market.pair, kind, timeframe)
        if key not in self._series:
            self._series[key] = self._read_candles(market.pair, kind, timeframe)
        return self._series[key]

    def shortest(self, market: Market) -> Series:
        """Candles of the market's shortest timeframe."""
        timeframes = self._timeframes[market.pair, _kind(market)]
        return self.candles(market, min(timeframes, key=timeframe_to_seconds))

    def last_price(self, market: Market, *, price: str = "last") -> float:
        """The newest close."""
        if price == "last":
            return float(self.shortest(market).values[-1, 3])
        return float(self.candles(market, MARK_TIMEFRAME, price=price).values[-1, 3])

    def funding(self, market: Market) -> Series:
        """Funding rates, one column; empty where the folder has none."""
        kind = CandleType.FUNDING_RATE
        key = (market.pair, kind, MARK_TIMEFRAME)
        if key not in self._series:
            frame = self._load(market.pair, MARK_TIMEFRAME, kind)
            self._series[key] = _series(frame, ["funding_rate"], 8 * 3_600_000)
        return self._series[key]

    def _read_candles(self, pair: str, kind: CandleType, timeframe: str) -> Series:
        seconds = timeframe_to_seconds(timeframe)
        usable = [
            have
            for have in self._timeframes[pair, kind]
            if seconds % timeframe_to_seconds(have) == 0
        ]
        if not usable:
            raise BinanceError(-1120, "Invalid interval.")
        source = max(usable, key=timeframe_to_seconds)
        frame = resample_candles(self._load(pair, source, kind), timeframe)
        return _series(frame, _CANDLE_COLUMNS, seconds * 1000)

    def _load(self, pair: str, timeframe: str, kind: CandleType) -> pd.DataFrame:
        # As they are: a gap in the folder stays a gap, the way an exchange would answer.
        return self._handler.ohlcv_load(
            pair, timeframe, kind, fill_missing=False, drop_incomplete=False, warn_no_data=False
        )

    def _describe(self, pair: str, kind: CandleType) -> Market:
        mode = "spot" if kind == CandleType.SPOT else "futures"
        shortest = min(self._timeframes[pair, kind], key=timeframe_to_seconds)
        frame = self._load(pair, shortest, kind)
        if frame.empty:
            raise ValueError(f"The {shortest} candles of {pair} are empty; download them again.")
        prices = frame[["open", "high", "low", "close"]].to_numpy()
        decimals = next((d for d in range(8) if np.allclose(prices, prices.round(d), 0, 1e-9)), 8)
        # An amount step worth a few units of the quote currency, finer in spot, as on Binance.
        magnitude = int(np.ceil(np.log10(prices[-1, 3])))
        amount_decimals = magnitude if mode == "spot" else magnitude - 2
        return Market(
            pair=pair,
            mode=mode,
            tick=10.0**-decimals,
            price_decimals=decimals,
            amount_decimals=max(0, min(8, amount_decimals)),
            onboard_ms=int(frame["date"].iloc[0].timestamp() * 1000),
        )


def number(value: float) -> str:
    """A number as text, exact, without an exponent."""
    text = repr(float(value))
    return np.format_float_positional(value, trim="-") if "e" in text else text


def _kind(market: Market) -> CandleType:
    return CandleType.SPOT if market.mode == "spot" else CandleType.FUTURES


def _series(frame: pd.DataFrame, columns: list[str], step_ms: int) -> Series:
    dates = pd.DatetimeIndex(frame["date"]).as_unit("ms").asi8
    return Series(dates, frame[columns].to_numpy(dtype=float), step_ms)
