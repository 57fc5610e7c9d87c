"""What the loopback exchange answers: Binance's public REST, as far as freqtrade asks for it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from freqai_lstm.exchange.candles import BinanceError, CandleStore, Market, number
from freqai_lstm.exchange.faults import Faults, add_control, fault_middleware
from freqai_lstm.exchange.replay import ReplayStore


Json = dict[str, Any] | list[Any]
_KLINE_LIMITS = {"spot": 1000, "futures": 1500}
_BOOK_DEPTH = 20
_DAY_MS = 86_400_000


class BinanceApi:
    """Binance's answers, made from a candle store; `application()` is what aiohttp serves.

    `unknown_requests` lists what was asked for and is not there, as "GET /path?query".
    """

    def __init__(self, store: CandleStore | ReplayStore, faults: Faults) -> None:
        self.unknown_requests: list[str] = []
        self._store = store
        self._faults = faults

    def application(self) -> web.Application:
        """The routes, with Binance's error answers for everything else."""
        faults = fault_middleware(self._faults, self._pair_of)
        app = web.Application(middlewares=[self._binance_errors, faults])
        add_control(app, self._faults)
        for root, mode in (("/api/v3", "spot"), ("/fapi/v1", "futures")):
            for path, answer in (
                ("ping", self._ping),
                ("time", self._time),
                ("exchangeInfo", self._exchange_info),
                ("klines", self._klines),
                ("depth", self._depth),
                ("ticker/24hr", self._ticker_24hr),
                ("ticker/price", self._ticker_price),
                ("ticker/bookTicker", self._ticker_book),
            ):
                app.router.add_get(f"{root}/{path}", _for_mode(answer, mode))
        for path, answer in (
            ("v2/ticker/price", self._ticker_price),
            ("v1/markPriceKlines", self._mark_klines),
            ("v1/fundingRate", self._funding_rate),
            ("v1/premiumIndex", self._premium_index),
            ("v1/fundingInfo", _nothing),
        ):
            app.router.add_get(f"/fapi/{path}", _for_mode(answer, "futures"))
        # Coin-margined contracts: ccxt asks for their list, and there are none.
        app.router.add_get("/dapi/v1/exchangeInfo", _for_mode(_no_symbols, "inverse"))
        return app

    @web.middleware
    async def _binance_errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except BinanceError as error:
            return web.json_response({"code": error.code, "msg": error.message}, status=400)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            self.unknown_requests.append(f"{request.method} {request.path_qs}")
            message = f"Path {request.path}, Method {request.method} is invalid"
            return web.json_response({"code": -5000, "msg": message}, status=404)

    def _pair_of(self, request: web.Request) -> str | None:
        """The pair a request asks about; None if it asks about all, or about none that exists."""
        mode = "spot" if request.path.startswith("/api/") else "futures"
        try:
            return self._store.market(mode, request.query.get("symbol", "")).pair
        except BinanceError:
            return None

    def _ping(self, mode: str, query: Query) -> Json:
        return {}

    def _time(self, mode: str, query: Query) -> Json:
        return {"serverTime": self._store.now_ms()}

    def _exchange_info(self, mode: str, query: Query) -> Json:
        symbols = [market.exchange_info() for market in self._store.markets(mode)]
        return {"timezone": "UTC", "rateLimits": [], "exchangeFilters": [], "symbols": symbols}

    def _klines(self, mode: str, query: Query) -> Json:
        return self._candles(mode, query, price="last")

    def _mark_klines(self, mode: str, query: Query) -> Json:
        return self._candles(mode, query, price="mark")

    def _candles(self, mode: str, query: Query, *, price: str) -> Json:
        market = self._store.market(mode, query.text("symbol"))
        series = self._store.candles(market, query.text("interval"), price=price)
        limit = min(query.integer("limit", 500), _KLINE_LIMITS[mode])
        window = series.window(query.time("startTime"), query.time("endTime"), limit)
        return series.klines(window)

    def _funding_rate(self, mode: str, query: Query) -> Json:
        market = self._store.market(mode, query.text("symbol"))
        series = self._store.funding(market)
        limit = min(query.integer("limit", 100), 1000)
        window = series.window(query.time("startTime"), query.time("endTime"), limit)
        dates, rates = series.dates[window].tolist(), series.values[window, 0].tolist()
        return [
            {"symbol": market.symbol, "fundingTime": date, "fundingRate": number(rate)}
            for date, rate in zip(dates, rates, strict=True)
        ]

    def _premium_index(self, mode: str, query: Query) -> Json:
        return self._each_market(mode, query, self._premium_index_of)

    def _premium_index_of(self, market: Market) -> dict[str, Any]:
        mark = number(self._store.last_price(market, price="mark"))
        funding, now = self._store.funding(market), self._store.now_ms()
        eight_hours = _DAY_MS // 3
        return {
            "symbol": market.symbol,
            "markPrice": mark,
            "indexPrice": mark,
            "estimatedSettlePrice": mark,
            "lastFundingRate": number(funding.values[-1, 0] if len(funding.dates) else 0.0),
            "interestRate": "0.00010000",
            "nextFundingTime": (now // eight_hours + 1) * eight_hours,
            "time": now,
        }

    def _depth(self, mode: str, query: Query) -> Json:
        market = self._store.market(mode, query.text("symbol"))
        depth = min(query.integer("limit", 100), _BOOK_DEPTH)
        bid, ask = self._best_prices(market)
        quantity, now = self._book_quantity(market), self._store.now_ms()
        ticks = [step * market.tick for step in range(depth)]
        return {
            "lastUpdateId": now,
            "E": now,
            "T": now,
            "bids": [[market.price(bid - t), quantity] for t in ticks if bid - t > 0],
            "asks": [[market.price(ask + t), quantity] for t in ticks],
        }

    def _ticker_24hr(self, mode: str, query: Query) -> Json:
        return self._each_market(mode, query, self._ticker_24hr_of)

    def _ticker_24hr_of(self, market: Market) -> dict[str, Any]:
        series = self._store.shortest(market)
        end = int(series.dates[-1]) + series.step_ms
        day = series.values[series.dates >= end - _DAY_MS]
        opened, last, volume = day[0, 0], day[-1, 3], day[:, 4].sum()
        quote_volume = float((day[:, 3] * day[:, 4]).sum())
        bid, ask = self._best_prices(market)
        answer = {
            "symbol": market.symbol,
            "priceChange": market.price(last - opened),
            "priceChangePercent": f"{100 * (last / opened - 1):.3f}",
            "weightedAvgPrice": market.price(quote_volume / volume if volume else last),
            "lastPrice": market.price(last),
            "openPrice": market.price(opened),
            "highPrice": market.price(day[:, 1].max()),
            "lowPrice": market.price(day[:, 2].min()),
            "volume": f"{volume:.3f}",
            "quoteVolume": f"{quote_volume:.2f}",
            "openTime": end - _DAY_MS,
            "closeTime": end - 1,
        }
        if market.mode == "spot":
            quantity = self._book_quantity(market)
            answer |= {"bidPrice": market.price(bid), "bidQty": quantity}
            answer |= {"askPrice": market.price(ask), "askQty": quantity}
        return answer

    def _ticker_price(self, mode: str, query: Query) -> Json:
        return self._each_market(mode, query, self._ticker_price_of)

    def _ticker_price_of(self, market: Market) -> dict[str, Any]:
        answer = {
            "symbol": market.symbol,
            "price": market.price(self._store.last_price(market)),
        }
        return answer | ({"time": self._store.now_ms()} if market.mode == "futures" else {})

    def _ticker_book(self, mode: str, query: Query) -> Json:
        return self._each_market(mode, query, self._ticker_book_of)

    def _ticker_book_of(self, market: Market) -> dict[str, Any]:
        bid, ask = self._best_prices(market)
        quantity = self._book_quantity(market)
        answer: dict[str, Any] = {"symbol": market.symbol}
        answer |= {"bidPrice": market.price(bid), "bidQty": quantity}
        answer |= {"askPrice": market.price(ask), "askQty": quantity}
        return answer | ({"time": self._store.now_ms()} if market.mode == "futures" else {})

    def _each_market(
        self, mode: str, query: Query, answer: Callable[[Market], dict[str, Any]]
    ) -> Json:
        """One object for `symbol`, a list for `symbols` or for neither, as Binance answers."""
        if query.has("symbol"):
            return answer(self._store.market(mode, query.text("symbol")))
        if query.has("symbols"):
            return [answer(self._store.market(mode, name)) for name in query.names("symbols")]
        return [answer(market) for market in self._store.markets(mode)]

    def _best_prices(self, market: Market) -> tuple[float, float]:
        last = self._store.last_price(market)
        return max(last, market.tick), last + market.tick

    def _book_quantity(self, market: Market) -> str:
        # Deep enough at every level that no dry-run order of usual size runs out of book.
        return f"{1e6 / self._store.last_price(market):.{market.amount_decimals}f}"


class Query:
    """A request's parameters, refused the way Binance refuses them."""

    def __init__(self, request: web.Request) -> None:
        self._values = request.query

    def has(self, name: str) -> bool:
        """Whether the parameter was sent with a value."""
        return bool(self._values.get(name))

    def text(self, name: str) -> str:
        """A parameter that must be there."""
        if not self.has(name):
            problem = "was not sent, was empty/null, or malformed."
            raise BinanceError(-1102, f"Mandatory parameter '{name}' {problem}")
        return self._values[name]

    def integer(self, name: str, default: int) -> int:
        """A positive number, or `default` where it was not sent."""
        moment = self.time(name)
        return default if moment is None else max(1, moment)

    def time(self, name: str) -> int | None:
        """Milliseconds since 1970, UTC, or None where it was not sent."""
        if not self.has(name):
            return None
        text = self._values[name]
        if not text.isdigit():
            raise BinanceError(-1100, f"Illegal characters found in parameter '{name}'.")
        return int(text)

    def names(self, name: str) -> list[str]:
        """A JSON list of names, as `symbols=["BTCUSDT","ETHUSDT"]`."""
        try:
            names = json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise BinanceError(-1100, f"Illegal characters found in '{name}'.") from error
        if not isinstance(names, list):
            raise BinanceError(-1100, f"Illegal characters found in parameter '{name}'.")
        return [str(entry) for entry in names]


Answer = Callable[[str, Query], Json]


def _for_mode(answer: Answer, mode: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(answer(mode, Query(request)))

    return handle


def _nothing(mode: str, query: Query) -> Json:
    return []


def _no_symbols(mode: str, query: Query) -> Json:
    return {"timezone": "UTC", "rateLimits": [], "exchangeFilters": [], "symbols": []}
