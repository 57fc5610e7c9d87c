"""A loopback exchange: candles of a freqtrade data folder, served as Binance's public REST would.

With it the unmodified `freqtrade` command runs where no exchange can be reached, and a test never
depends on one. Only what freqtrade asks for is there, without orders or accounts: dry-run trades
are freqtrade's own. ccxt is pointed at it from the configuration alone:

    with LoopbackExchange(datadir) as exchange:
        exchange.write_config(path)
        run_freqtrade(["backtesting", "-c", "config.json", "-c", str(path), ...])

or by hand, until Ctrl-C:

    freqai-lstm exchange --datadir user_data/data/binance --write-config endpoints.json

With `live="1m"` (`--live 1m`) the folder's candles are replayed as one-minute candles of which the
newest runs now, for `freqtrade trade --dry-run`; see `freqai_lstm/exchange/replay.py`. What
can be made to go wrong while it runs: `freqai_lstm/exchange/faults.py`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import ccxt
from aiohttp import web
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.exchange.api import BinanceApi
from freqai_lstm.exchange.candles import CandleStore
from freqai_lstm.exchange.faults import Faults
from freqai_lstm.exchange.replay import ReplayStore


class LoopbackExchange:
    """The server, in a thread with an event loop of its own; a context manager.

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
        if trading_mode not in ("spot", "futures"):
            raise ValueError(f"trading_mode is {trading_mode!r}; use 'spot' or 'futures'.")
        self.trading_mode = trading_mode
        step_ms = timeframe_to_seconds(live or "1m") * 1000
        self.faults = Faults(live=live is not None, step_ms=step_ms, clock=clock)
        self._store: CandleStore | ReplayStore = (
            ReplayStore(datadir, timeframe=live, ahead=ahead, faults=self.faults)
            if live
            else CandleStore(datadir)
        )
        self._api = BinanceApi(self._store, self.faults)
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._start_error: OSError | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`; the port is known once the server runs."""
        if self._thread is None:
            raise RuntimeError("The exchange is not running: use it in a with-block, or start().")
        return f"http://127.0.0.1:{self._port}"

    @property
    def pairs(self) -> list[str]:
        """The pairs of `trading_mode` that are served, in freqtrade's notation."""
        return [market.pair for market in self._store.markets(self.trading_mode)]

    @property
    def candles_left(self) -> int:
        """Live: candles still to come after the running one; 0 where the folder is served as is."""
        return self._store.candles_left if isinstance(self._store, ReplayStore) else 0

    @property
    def unknown_requests(self) -> list[str]:
        """What was asked for and is not there, as "GET /path?query"."""
        return self._api.unknown_requests

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
        if self._thread is not None:
            raise RuntimeError("The exchange runs already; stop() it before another start().")
        self._started.clear()
        self._thread = threading.Thread(target=self._serve, name="loopback-exchange", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._start_error is not None:
            error, self._start_error = self._start_error, None
            self._thread.join()
            self._thread = None
            raise error
        return self

    def stop(self) -> None:
        """Close the port and end the thread; harmless when it is not running."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> LoopbackExchange:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        asyncio.run(self._serve_until_stopped())

    async def _serve_until_stopped(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._api.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._port = runner.addresses[0][1]
        except OSError as error:
            self._start_error = error
            await runner.cleanup()
            return
        finally:
            self._started.set()
        await self._stop.wait()
        await runner.cleanup()
