"""A loopback exchange: candles of a freqtrade data folder, served as Binance's public REST would.

With it the unmodified `freqtrade` command runs where no exchange can be reached, and a test never
depends on one. Only what freqtrade asks for is there, without orders or accounts: dry-run trades
are freqtrade's own. ccxt is pointed at it from the configuration alone:

    with LoopbackExchange(datadir) as exchange:
        exchange.write_config(path)
        run_freqtrade(["backtesting", "-c", "config.json", "-c", str(path), ...])

With `live="1m"` the folder's candles are replayed as one-minute candles of which the newest runs
now, for `freqtrade trade --dry-run` (see `replay.py`). What can be made to go wrong while it runs
is in `faults.py`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import ccxt
from aiohttp import web
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.exchange.api import BinanceApi
from freqai_lstm.exchange.candles import CandleStore
from freqai_lstm.exchange.faults import Faults
from freqai_lstm.exchange.replay import ReplayStore
from freqai_lstm.market import Mode


class LoopbackExchange:
    """The server, in a thread with an event loop of its own; a context manager.

    `faults` is what goes wrong, `unknown_requests` what was asked for and is not there, as
    "GET /path?query".

    :param datadir: a freqtrade data folder; spot pairs come from it, perpetuals from its
        `futures` folder. Files are read once, when first asked for.
    :param trading_mode: "futures" or "spot": what `config()` sets up; both are always served.
    :param port: on 127.0.0.1; 0 takes a free one.
    :param live: replay the folder: its shortest candles are served as candles of this timeframe,
        and the newest one runs now. None serves the folder as it is.
    :param ahead: live, how many candles of the folder are kept for the time to come.
    :param clock: seconds since 1970; what "now" is.
    :raises ValueError: `trading_mode` is neither, or the folder holds no candles.
    """

    def __init__(
        self,
        datadir: Path,
        *,
        trading_mode: str = "futures",
        port: int = 0,
        live: str | None = None,
        ahead: int = 1440,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if trading_mode not in get_args(Mode):
            raise ValueError(f"trading_mode is {trading_mode!r}; use 'spot' or 'futures'.")
        self.trading_mode = trading_mode
        step_ms = timeframe_to_seconds(live or "1m") * 1000
        self.faults = Faults(live=live is not None, step_ms=step_ms, clock=clock)
        self._store = CandleStore(datadir)
        if live:
            self._store = ReplayStore(datadir, timeframe=live, ahead=ahead, faults=self.faults)
        self._api = BinanceApi(self._store, self.faults)
        self.unknown_requests = self._api.unknown_requests
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`; the port is known once the server runs."""
        if self._loop is None:
            raise RuntimeError("The exchange is not running: use it in a with-block, or start().")
        return f"http://127.0.0.1:{self._port}"

    @property
    def pairs(self) -> list[str]:
        """The pairs of `trading_mode` that are served, in freqtrade's notation."""
        return [market.pair for market in self._store.markets(self.trading_mode)]

    def config(self) -> dict[str, Any]:
        """The part of a freqtrade configuration that sends every request here."""
        api = {
            # All of ccxt's addresses, not only those known to be used: nothing may leave.
            name: self.url + urlsplit(address).path
            for name, address in ccxt.binance().urls["api"].items()
        }
        ccxt_config: dict[str, Any] = {"urls": {"api": api}, "enableRateLimit": False}
        if self.trading_mode == "spot":
            ccxt_config["options"] = {"fetchMarkets": {"types": ["spot"]}}
        return {
            "trading_mode": self.trading_mode,
            "margin_mode": "isolated" if self.trading_mode == "futures" else "",
            "exchange": {
                "name": "binance",
                "key": "",
                "secret": "",
                "enable_ws": False,
                # Else freqtrade would fetch short timeframes from Binance's public archive.
                "only_from_ccxt": True,
                "ccxt_config": ccxt_config,
            },
        }

    def write_config(self, path: Path) -> Path:
        """Write `config()` as JSON, for freqtrade's second `-c`; returns the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.config(), indent=4) + "\n", encoding="utf-8")
        return path

    def start(self) -> LoopbackExchange:
        """Serve until `stop()`.

        :raises OSError: the port cannot be had.
        """
        if self._loop is not None:
            raise RuntimeError("The exchange runs already; stop() it before another start().")
        self._loop = asyncio.new_event_loop()
        self._runner = web.AppRunner(self._api.application(), access_log=None, shutdown_timeout=1.0)
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        try:
            self._run(self._listen(self._runner))
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close the port and end the thread; harmless when it is not running."""
        if self._loop is None or self._runner is None:
            return
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop = None

    def __enter__(self) -> LoopbackExchange:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self, runner: web.AppRunner) -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._port = runner.addresses[0][1]
