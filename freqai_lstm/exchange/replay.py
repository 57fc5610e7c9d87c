"""The live memory of the loopback exchange: a folder's candles, replayed so that time is now.

The folder's shortest candles are served as candles of another, usually shorter, timeframe: with
hourly files and "1m", one hour of history passes each minute. Candle k of the folder is candle
k + offset of the clock; the offset is chosen so that `ahead` candles are still to come. Every
longer timeframe is made from these candles, so all of them agree with each other, and so do order
book and tickers, which follow the price inside the running candle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.exchange.candles import TIMEFRAMES, BinanceError, CandleStore, Market, Series
from freqai_lstm.exchange.faults import Fault, Faults


_FUNDING_MS = 8 * 3_600_000
_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME = range(5)


class ReplayStore:
    """A `CandleStore` whose newest candle is the one that runs now.

    :param datadir: a freqtrade data folder with one shortest timeframe for all pairs.
    :param timeframe: what the folder's shortest candles are served as.
    :param ahead: candles of the folder that are still to come; afterwards the market stands still.
    :param faults: its clock is the exchange's clock.
    :raises ValueError: the folder holds no candles, or pairs of different shortest timeframes.
    """

    def __init__(
        self, datadir: Path, *, timeframe: str = "1m", ahead: int = 1440, faults: Faults
    ) -> None:
        self._source = CandleStore(datadir)
        self._faults = faults
        self.step_ms = timeframe_to_seconds(timeframe) * 1000
        markets = [m for mode in ("spot", "futures") for m in self._source.markets(mode)]
        shortest = {market.pair: self._source.shortest(market) for market in markets}
        steps = {series.step_ms for series in shortest.values()}
        if len(steps) != 1:
            raise ValueError(
                f"The pairs in {datadir} have different shortest candles ({sorted(steps)} ms); "
                "for a replay they need the same."
            )
        self._source_step_ms = steps.pop()
        newest = max(int(series.dates[-1]) for series in shortest.values()) // self._source_step_ms
        # The newest closed candle is followed by the running one, and that by what is ahead.
        self._offset = self.now_ms() // self.step_ms - 1 - (newest - ahead)
        self._last_number = newest + self._offset
        self._rows: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._markets = {
            mode: {m.symbol: self._moved(m) for m in self._source.markets(mode)}
            for mode in ("spot", "futures")
        }

    @property
    def candles_left(self) -> int:
        """How many candles are still to come after the running one; 0: the market stands still."""
        return max(0, self._last_number - self.now_ms() // self.step_ms)

    def now_ms(self) -> int:
        """The exchange's clock, in ms since 1970."""
        return self._faults.now_ms()

    def markets(self, mode: str) -> list[Market]:
        """The markets of "spot" or "futures" that are listed, by pair."""
        return [m for m in self._markets[mode].values() if not self._faults.delisted(m.pair)]

    def market(self, mode: str, symbol: str) -> Market:
        """The market that Binance calls `symbol`.

        :raises BinanceError: -1121, as Binance answers, also for a delisted one.
        """
        market = self._markets[mode].get(symbol)
        if market is None or self._faults.delisted(market.pair):
            raise BinanceError(-1121, "Invalid symbol.")
        return market

    def candles(self, market: Market, timeframe: str, *, price: str = "last") -> Series:
        """Candles up to the running one, which changes with every call.

        :raises BinanceError: -1120, the timeframe is unknown or shorter than what is replayed.
        """
        length_ms = timeframe_to_seconds(timeframe) * 1000 if timeframe in TIMEFRAMES else 0
        if length_ms == 0 or length_ms % self.step_ms:
            raise BinanceError(-1120, "Invalid interval.")
        numbers, values = self._until_now(market, price)
        for fault in self._faults.candle_faults(market.pair):
            numbers, values = self._with(fault, numbers, values)
        return self._joined(numbers, values, length_ms)

    def shortest(self, market: Market) -> Series:
        """Candles of the replayed timeframe."""
        minutes = self.step_ms // 60_000
        return self.candles(market, next(tf for tf in TIMEFRAMES if _minutes(tf) == minutes))

    def last_price(self, market: Market, *, price: str = "last") -> float:
        """The price now: of the newest candle that has one."""
        numbers, values = self._until_now(market, price)
        for fault in self._faults.candle_faults(market.pair):
            # A book at price 0 could not even be written; only candles show such prices.
            if fault.kind == "flat":
                numbers, values = self._with(fault, numbers, values)
        return float(values[-1, _CLOSE])

    def funding(self, market: Market) -> Series:
        """The folder's funding rates, in their order, at the last 8-hour marks of the clock."""
        rates = self._source.funding(market).values
        marks = self.now_ms() // _FUNDING_MS - np.arange(len(rates))[::-1]
        return Series(marks * _FUNDING_MS, rates[marks % max(1, len(rates))], _FUNDING_MS)

    def _moved(self, market: Market) -> Market:
        number = market.onboard_ms // self._source_step_ms + self._offset
        return replace(market, onboard_ms=number * self.step_ms)

    def _source_rows(self, market: Market, price: str) -> tuple[np.ndarray, np.ndarray]:
        key = (market.pair, price)
        if key not in self._rows:
            series = self._source.shortest(market)
            if price == "mark":
                try:
                    name = next(
                        tf for tf in TIMEFRAMES if _minutes(tf) * 60_000 == self._source_step_ms
                    )
                    series = self._source.candles(market, name, price="mark")
                except BinanceError:
                    # Mark candles are hourly in a data folder; for shorter ones the last price
                    # is near enough.
                    pass
            self._rows[key] = (series.dates // self._source_step_ms + self._offset, series.values)
        return self._rows[key]

    def _until_now(self, market: Market, price: str) -> tuple[np.ndarray, np.ndarray]:
        """Candle numbers (n,) and values (n, 5), the last row being the running candle so far."""
        numbers, values = self._source_rows(market, price)
        moment = self.now_ms() - self._faults.data_age_ms(market.pair)
        running = moment // self.step_ms
        end = int(np.searchsorted(numbers, running, side="right"))
        if end == 0:
            raise BinanceError(-1121, "Invalid symbol.")  # not listed yet at that time
        numbers, values = numbers[:end], values[:end].copy()
        if numbers[-1] == running:
            share = (moment - running * self.step_ms) / self.step_ms
            values[-1] = _so_far(values[-1], share, market.price_decimals)
        return numbers, values

    def _with(
        self, fault: Fault, numbers: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        first = int(np.searchsorted(numbers, -(-fault.start_ms // self.step_ms)))
        last = len(numbers)
        if fault.end_ms is not None:
            last = int(np.searchsorted(numbers, -(-fault.end_ms // self.step_ms)))
        if first >= last:
            return numbers, values
        if fault.kind == "missing":
            there = np.ones(len(numbers), dtype=bool)
            there[first:last] = False
            return numbers[there], values[there]
        values = values.copy()
        if fault.kind == "zero":
            values[first:last, :_VOLUME] = 0.0
        else:
            values[first:last, :_VOLUME] = values[max(0, first - 1), _CLOSE]
            values[first:last, _VOLUME] = 0.0
        return numbers, values

    def _joined(self, numbers: np.ndarray, values: np.ndarray, length_ms: int) -> Series:
        per_candle = length_ms // self.step_ms
        longer = numbers // per_candle
        # The history's first candle may lack its beginning; Binance's never does.
        begin = int(np.searchsorted(numbers, -(-numbers[0] // per_candle) * per_candle))
        longer, values = longer[begin:], values[begin:]
        if len(longer) == 0:
            return Series(np.empty(0, dtype=np.int64), np.empty((0, 5)), length_ms)
        starts = np.flatnonzero(np.diff(longer, prepend=longer[0] - 1))
        ends = np.append(starts[1:], len(longer)) - 1
        columns = [
            values[starts, _OPEN],
            np.maximum.reduceat(values[:, _HIGH], starts),
            np.minimum.reduceat(values[:, _LOW], starts),
            values[ends, _CLOSE],
            np.add.reduceat(values[:, _VOLUME], starts),
        ]
        return Series(longer[starts] * length_ms, np.column_stack(columns), length_ms)


def _so_far(candle: np.ndarray, share: float, decimals: int) -> np.ndarray:
    """A candle after `share` (0..1) of its time; shape (5,); prices have `decimals`.

    The price goes from the open by way of the nearer extreme to the other one and to the close.
    """
    open_, high, low, close, volume = candle
    extremes = [low, high] if close >= open_ else [high, low]
    times, prices = np.array([0, 1 / 3, 2 / 3, 1]), np.array([open_, *extremes, close])
    now = round(float(np.interp(share, times, prices)), decimals)
    seen = np.append(prices[times <= share], now)
    return np.array([open_, seen.max(), seen.min(), now, round(volume * share, 3)])


def _minutes(timeframe: str) -> int:
    return timeframe_to_seconds(timeframe) // 60
