"""The live loopback exchange: a folder's candles, replayed so that time is now.

The folder's shortest candles are served as candles of another, usually shorter, timeframe: with
hourly files and "1m", one hour of history passes each minute. Candle k of the folder is candle
k + offset of the clock; the offset is chosen so that `ahead` candles are still to come. Every
longer timeframe is made from these candles, so all of them agree with each other, and so do order
book and tickers, which follow the price inside the running candle.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from freqtrade.exchange import timeframe_to_seconds
from pandas import DataFrame

from freqai_lstm.exchange.candles import (
    FUNDING_MS,
    PRICES,
    TIMEFRAMES,
    BinanceError,
    CandleStore,
    Market,
    milliseconds,
)
from freqai_lstm.exchange.faults import CANDLE_KINDS, Fault, Faults
from freqai_lstm.market import resample_candles


class ReplayStore(CandleStore):
    """A data folder whose newest candle is the one that runs now.

    :param datadir: a freqtrade data folder with one shortest timeframe for all pairs.
    :param timeframe: what the folder's shortest candles are served as.
    :param ahead: candles of the folder that are still to come; afterwards the market stands still.
    :param faults: its clock is the exchange's clock.
    :raises ValueError: the folder holds no candles, or pairs of different shortest timeframes.
    """

    def __init__(self, datadir: Path, *, timeframe: str, ahead: int, faults: Faults) -> None:
        super().__init__(datadir)
        self._faults = faults
        self._timeframe = timeframe
        self._step_ms = timeframe_to_seconds(timeframe) * 1000
        markets = super().markets("spot") + super().markets("futures")
        shortest = set(map(super().shortest_timeframe, markets))
        if len(shortest) != 1:
            raise ValueError(
                f"The pairs in {datadir} have different shortest candles ({sorted(shortest)}); "
                "for a replay they need the same."
            )
        self._stored = shortest.pop()
        self._stored_ms = timeframe_to_seconds(self._stored) * 1000
        stored = super().candles
        ends = [milliseconds(stored(market, self._stored)["date"])[-1] for market in markets]
        newest = int(max(ends)) // self._stored_ms
        # The newest closed candle is followed by the running one, and that by what is ahead.
        self._offset = self.now_ms() // self._step_ms - 1 - (newest - ahead)

    def now_ms(self) -> int:
        return self._faults.now_ms()

    def markets(self, mode: str) -> list[Market]:
        return [m for m in super().markets(mode) if not self._faults.delisted(m.pair)]

    def shortest_timeframe(self, market: Market) -> str:
        return self._timeframe

    def candles(self, market: Market, timeframe: str, *, price: str = "last") -> DataFrame:
        # Up to the running candle, which changes with every call.
        if timeframe not in TIMEFRAMES or timeframe_to_seconds(timeframe) * 1000 % self._step_ms:
            raise BinanceError(-1120, "Invalid interval.")
        candles = self._until_now(market, price, CANDLE_KINDS)
        return resample_candles(candles, timeframe, running=True)

    def last_price(self, market: Market, *, price: str = "last") -> float:
        # A book at price 0 could not even be written; only candles show such prices.
        return float(self._until_now(market, price, ("flat",))["close"].iloc[-1])

    def funding(self, market: Market) -> DataFrame:
        # The folder's rates, in their order, at the last 8-hour marks of the clock.
        rates = super().funding(market)["funding_rate"].to_numpy()
        marks = self.now_ms() // FUNDING_MS - np.arange(len(rates))[::-1]
        dates = pd.to_datetime(marks * FUNDING_MS, unit="ms", utc=True)
        return DataFrame({"date": dates, "funding_rate": rates[marks % max(1, len(rates))]})

    def _until_now(self, market: Market, price: str, kinds: Collection[str]) -> DataFrame:
        """Candles with faults of these kinds; the last row is the running candle so far."""
        try:
            candles = super().candles(market, self._stored, price=price)
        except BinanceError:
            # Mark candles are hourly in a data folder; for shorter ones the last price will do.
            candles = super().candles(market, self._stored)
        opened = milliseconds(candles["date"]) // self._stored_ms + self._offset
        opened *= self._step_ms
        candles = candles.assign(date=pd.to_datetime(opened, unit="ms", utc=True))
        now = self.now_ms() - self._faults.data_age_ms(market.pair)
        candles = candles[opened <= now].copy()
        if candles.empty:
            raise BinanceError(-1121, "Invalid symbol.")  # not listed yet at that time
        share = (now - opened[len(candles) - 1]) / self._step_ms
        if share < 1:
            candles.iloc[-1, 1:] = _so_far(candles.iloc[-1, 1:], share, market.price_decimals)
        for fault in self._faults.candle_faults(market.pair):
            if fault.kind in kinds:
                candles = _with_fault(candles, fault)
        return candles


def _with_fault(candles: DataFrame, fault: Fault) -> DataFrame:
    opened = milliseconds(candles["date"])
    hit = (opened >= fault.start_ms) & (opened < (fault.end_ms or np.inf))
    if fault.kind == "missing":
        return candles[~hit]
    if fault.kind == "zero":
        candles.loc[hit, PRICES] = 0.0
    elif hit.any():
        candles.loc[hit, PRICES] = candles["close"].iloc[max(0, int(hit.argmax()) - 1)]
        candles.loc[hit, "volume"] = 0.0
    return candles


def _so_far(candle: pd.Series, share: float, decimals: int) -> list[float]:
    """Open, high, low, close and volume of a candle after `share` (0..1) of its time.

    The price goes from the open by way of the nearer extreme to the other one and to the close.
    """
    open_, high, low, close, volume = candle
    extremes = [low, high] if close >= open_ else [high, low]
    times, prices = np.array([0, 1 / 3, 2 / 3, 1]), np.array([open_, *extremes, close])
    now = round(float(np.interp(share, times, prices)), decimals)
    seen = [*prices[times <= share], now]
    return [open_, max(seen), min(seen), now, round(volume * share, 3)]
