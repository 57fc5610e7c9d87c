"""What can go wrong at the loopback exchange, switched on and off while it runs.

`exchange.faults.inject("error", path="klines")`, and `exchange.faults.clear()`.

Faults of answers end when they are cleared. Faults of candles become history: what an exchange
once published about the past it does not take back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web


ANSWER_KINDS = {
    "slow": "each answer comes `seconds` late",
    "error": "each answer is HTTP `status`",
    "hang": "no answer at all, until the client gives up",
    "delisted": "the pair is in no list, and asking for it is an error",
}
LIVE_KINDS = {
    "stale": "prices and candles are those of `seconds` ago",
    "clock": "the exchange's clock is `seconds` ahead (or behind, below 0)",
}
CANDLE_KINDS = {
    "missing": "the candles are not there",
    "flat": "no trade: volume 0, all four prices those of the last trade",
    "zero": "all four prices are 0",
}
KINDS = ANSWER_KINDS | LIVE_KINDS | CANDLE_KINDS
_SECONDS = {"slow": 5.0, "stale": 120.0, "hang": 3600.0}


@dataclass(frozen=True)
class Fault:
    """One fault. One with an `end_ms` is over: it is the past of some candles.

    :param kind: a name in `KINDS`.
    :param pair: in freqtrade's notation; None for all.
    :param path: only addresses that contain this ("klines", "/fapi/v1/time"); "" for all.
    :param seconds: what it means depends on the kind; 5 for slow, 120 for stale by default.
    :param status: HTTP status of an error.
    :param start_ms: faults of candles: first opening time, by default the next candle's.
    :param end_ms: faults of candles: opening times before this; by default up to `clear`.
    """

    kind: str
    pair: str | None = None
    path: str = ""
    seconds: float = 0.0
    status: int = 503
    start_ms: int = 0
    end_ms: int | None = None

    def concerns(self, pair: str | None) -> bool:
        """Whether the fault touches `pair`; a request without a pair only meets general ones."""
        return self.pair is None or self.pair == pair


class Faults:
    """The faults of one exchange; safe to use from any thread.

    :param live: whether the exchange replays candles; else only faults of answers make sense.
    :param step_ms: length of the served candles.
    :param clock: seconds since 1970.
    """

    def __init__(self, *, live: bool, step_ms: int, clock: Callable[[], float]) -> None:
        self._live, self._step_ms, self._clock = live, step_ms, clock
        self._lock = threading.Lock()
        self._all: tuple[Fault, ...] = ()

    def inject(self, kind: str, **how: Any) -> Fault:
        """Switch a fault on; an active one of the same kind, pair and path is replaced.

        :param how: the other fields of `Fault`.
        :raises ValueError: an unknown kind, or one that only a live exchange can have.
        :raises TypeError: there is no such field.
        """
        if kind not in KINDS:
            raise ValueError(f"There is no fault {kind!r}; use one of {', '.join(KINDS)}.")
        if kind not in ANSWER_KINDS and not self._live:
            raise ValueError(f"The fault {kind!r} needs a live exchange: LoopbackExchange(live=…).")
        defaults = {"seconds": _SECONDS.get(kind, 0.0), "start_ms": self._next_candle_ms()}
        fault = Fault(kind, **(defaults | how))
        with self._lock:
            same = (kind, fault.pair, fault.path)
            replaced = [f for f in self.active if (f.kind, f.pair, f.path) == same]
            self._all = (*(f for f in self._all if f not in replaced), fault)
        return fault

    def clear(self, kind: str | None = None, *, pair: str | None = None) -> None:
        """Switch off all faults, or those of one kind or pair. Candles keep what happened."""
        end = self._next_candle_ms()
        with self._lock:
            ended = [f for f in self.active if kind in (None, f.kind) and pair in (None, f.pair)]
            past = [replace(f, end_ms=end) for f in ended if f.kind in CANDLE_KINDS]
            self._all = (*(f for f in self._all if f not in ended), *past)

    @property
    def active(self) -> tuple[Fault, ...]:
        """The faults that are switched on."""
        return tuple(fault for fault in self._all if fault.end_ms is None)

    def now_ms(self) -> int:
        """The exchange's clock."""
        step = sum(fault.seconds for fault in self.active if fault.kind == "clock")
        return int((self._clock() + step) * 1000)

    def data_age_ms(self, pair: str) -> int:
        """How old prices and candles of the pair are when they are served."""
        ages = [f.seconds for f in self.active if f.kind == "stale" and f.concerns(pair)]
        return int(max(ages, default=0.0) * 1000)

    def delisted(self, pair: str) -> bool:
        """Whether the exchange no longer knows the pair."""
        return any(f.kind == "delisted" and f.concerns(pair) for f in self.active)

    def candle_faults(self, pair: str) -> list[Fault]:
        """Past and present faults of the pair's candles."""
        return [f for f in self._all if f.kind in CANDLE_KINDS and f.concerns(pair)]

    async def before_answer(self, path: str, pair: str | None) -> web.Response | None:
        """Delay, hold back or replace the answer to a request; None: answer as usual."""
        for fault in self.active:
            if fault.path not in path or not fault.concerns(pair):
                continue
            if fault.kind in ("slow", "hang"):
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "error":
                # What a gateway before the exchange says: no JSON, no number of Binance's.
                return web.Response(text="<html>Service unavailable</html>", status=fault.status)
        return None

    def _next_candle_ms(self) -> int:
        return (self.now_ms() // self._step_ms + 1) * self._step_ms
