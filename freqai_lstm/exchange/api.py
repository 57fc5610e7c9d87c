"""What the loopback exchange answers: Binance's public REST, as far as freqtrade asks for it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pandas as pd
from aiohttp import web
from pandas import DataFrame

from freqai_lstm.exchange.candles import (
    FUNDING_MS,
    PRICES,
    BinanceError,
    CandleStore,
    Market,
    milliseconds,
)
from freqai_lstm.exchange.faults import Faults


Json = dict[str, Any] | list[Any]
_BOTH = "/{root:api/v3|fapi/v1}/"
_KLINE_LIMITS = {"spot": 1000, "futures": 1500}
_BOOK_DEPTH = 20
# Binance's mark of a perpetual: it is "delivered" in the year 2100.
_PERPETUAL_DELIVERY_MS = 4_133_404_800_000


class BinanceApi:
    """Binance's answers, made from a store of candles; `application()` is what aiohttp serves.

    `unknown_requests` lists what was asked for and is not there, as "GET /path?query".
    """

    def __init__(self, store: CandleStore, faults: Faults) -> None:
        self.unknown_requests: list[str] = []
        self._store = store
        self._faults = faults

    def application(self) -> web.Application:
        """The routes, with Binance's error answers for everything else."""
        app = web.Application(middlewares=[self._faults_and_errors])
        answers: dict[str, Callable[[web.Request], Json]] = {
            _BOTH + "ping": lambda request: {},
            _BOTH + "time": lambda request: {"serverTime": self._store.now_ms()},
            _BOTH + "exchangeInfo": self._exchange_info,
            _BOTH + "klines": self._klines,
            _BOTH + "depth": self._depth,
            _BOTH + "ticker/24hr": self._of_each_market(self._ticker_24hr),
            _BOTH + "ticker/bookTicker": self._of_each_market(self._ticker_book),
            "/fapi/v1/markPriceKlines": partial(self._klines, price="mark"),
            "/fapi/v1/fundingRate": self._funding_rate,
            "/fapi/v1/premiumIndex": self._of_each_market(self._premium_index),
            "/fapi/v1/fundingInfo": lambda request: [],
            # Coin-margined contracts: ccxt asks for their list, and there are none.
            "/dapi/v1/exchangeInfo": lambda request: {"symbols": []},
        }
        for path, answer in answers.items():
            app.router.add_get(path, _as_json(answer))
        app.router.add_route("*", "/{path:.*}", self._unknown)
        return app

    @web.middleware
    async def _faults_and_errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        symbol, mode = request.query.get("symbol"), _mode(request)
        pairs = [m.pair for m in self._store.markets(mode) if m.symbol == symbol]
        replaced = await self._faults.before_answer(request.path, next(iter(pairs), None))
        try:
            return replaced or await handler(request)
        except BinanceError as error:
            return web.json_response({"code": error.code, "msg": error.message}, status=400)

    async def _unknown(self, request: web.Request) -> web.Response:
        self.unknown_requests.append(f"{request.method} {request.path_qs}")
        message = f"Path {request.path}, Method {request.method} is invalid"
        return web.json_response({"code": -5000, "msg": message}, status=404)

    def _exchange_info(self, request: web.Request) -> Json:
        return {"symbols": [_symbol_info(m) for m in self._store.markets(_mode(request))]}

    def _klines(self, request: web.Request, *, price: str = "last") -> Json:
        market = self._market(request)
        candles = self._store.candles(market, _required(request, "interval"), price=price)
        page = _page(request, candles, 500, _KLINE_LIMITS[market.mode])
        values = page[[*PRICES, "volume"]].to_numpy().tolist()
        # ccxt reads the first six of Binance's twelve columns.
        opened = milliseconds(page["date"]).tolist()
        return [[date, *map(str, row)] for date, row in zip(opened, values, strict=True)]

    def _funding_rate(self, request: web.Request) -> Json:
        market = self._market(request)
        page = _page(request, self._store.funding(market), 100, 1000)
        paid = zip(milliseconds(page["date"]).tolist(), page["funding_rate"], strict=True)
        return [
            {"symbol": market.symbol, "fundingTime": date, "fundingRate": str(rate)}
            for date, rate in paid
        ]

    def _premium_index(self, market: Market) -> dict[str, Any]:
        mark = str(self._store.last_price(market, price="mark"))
        rates, now = self._store.funding(market)["funding_rate"], self._store.now_ms()
        return {
            "symbol": market.symbol,
            "markPrice": mark,
            "indexPrice": mark,
            "lastFundingRate": str(0.0 if rates.empty else rates.iloc[-1]),
            "nextFundingTime": (now // FUNDING_MS + 1) * FUNDING_MS,
            "time": now,
        }

    def _depth(self, request: web.Request) -> Json:
        market = self._market(request)
        best, now = self._ticker_book(market), self._store.now_ms()
        bid, ask, quantity = float(best["bidPrice"]), float(best["askPrice"]), best["bidQty"]
        ticks = [step * market.tick for step in range(min(_limit(request, 100), _BOOK_DEPTH))]
        return {
            "lastUpdateId": now,
            "T": now,
            "bids": [[market.price(bid - t), quantity] for t in ticks if bid - t > 0],
            "asks": [[market.price(ask + t), quantity] for t in ticks],
        }

    def _ticker_24hr(self, market: Market) -> dict[str, Any]:
        candles = self._store.candles(market, self._store.shortest_timeframe(market))
        day = candles[candles["date"] > candles["date"].iloc[-1] - pd.Timedelta(days=1)]
        first, last, volume = day["open"].iloc[0], day["close"].iloc[-1], day["volume"].sum()
        turnover = (day["close"] * day["volume"]).sum()
        answer = {
            "symbol": market.symbol,
            "weightedAvgPrice": market.price(turnover / volume if volume else last),
            "lastPrice": market.price(last),
            "openPrice": market.price(first),
            "highPrice": market.price(day["high"].max()),
            "lowPrice": market.price(day["low"].min()),
            "volume": f"{volume:.3f}",
            "quoteVolume": f"{turnover:.2f}",
            "closeTime": self._store.now_ms(),
        }
        return answer | (self._ticker_book(market) if market.mode == "spot" else {})

    def _ticker_book(self, market: Market) -> dict[str, Any]:
        last = self._store.last_price(market)
        # Deep enough at every level that no dry-run order of usual size runs out of book.
        quantity = f"{1e6 / last:.{market.amount_decimals}f}"
        return {
            "symbol": market.symbol,
            "bidPrice": market.price(max(last, market.tick)),
            "bidQty": quantity,
            "askPrice": market.price(last + market.tick),
            "askQty": quantity,
            "time": self._store.now_ms(),
        }

    def _market(self, request: web.Request) -> Market:
        return self._store.market(_mode(request), _required(request, "symbol"))

    def _of_each_market(
        self, answer: Callable[[Market], dict[str, Any]]
    ) -> Callable[[web.Request], Json]:
        """One object for `symbol`, a list for `symbols` or for neither, as Binance answers."""

        def answer_request(request: web.Request) -> Json:
            if request.query.get("symbol"):
                return answer(self._market(request))
            if not request.query.get("symbols"):
                return [answer(market) for market in self._store.markets(_mode(request))]
            try:
                names = json.loads(request.query["symbols"])  # ["BTCUSDT","ETHUSDT"]
            except json.JSONDecodeError as error:
                raise BinanceError(-1100, "Illegal characters found in 'symbols'.") from error
            return [answer(self._store.market(_mode(request), name)) for name in names]

        return answer_request


def _as_json(answer: Callable[[web.Request], Json]) -> Callable[[web.Request], Awaitable[Any]]:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(answer(request))

    return handle


def _mode(request: web.Request) -> str:
    return "spot" if request.path.startswith("/api/") else "futures"


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if not value:
        problem = "was not sent, was empty/null, or malformed."
        raise BinanceError(-1102, f"Mandatory parameter '{name}' {problem}")
    return value


def _integer(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value and not value.isdigit():
        raise BinanceError(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(value) if value else None


def _limit(request: web.Request, default: int) -> int:
    return max(1, _integer(request, "limit") or default)


def _page(request: web.Request, rows: DataFrame, default: int, maximum: int) -> DataFrame:
    """The rows Binance returns: the first from `startTime` on, else the last up to `endTime`."""
    start, end = _integer(request, "startTime"), _integer(request, "endTime")
    limit = min(_limit(request, default), maximum)
    if end is not None:
        rows = rows[milliseconds(rows["date"]) <= end]
    if start is None:
        return rows.tail(limit)
    return rows[milliseconds(rows["date"]) >= start].head(limit)


def _symbol_info(market: Market) -> dict[str, Any]:
    """A market's entry in `exchangeInfo`."""
    base, _, quote = market.pair.split(":")[0].partition("/")
    step = f"{10.0**-market.amount_decimals:.{market.amount_decimals}f}"
    tick, most = market.price(market.tick), "1000000000"
    info: dict[str, Any] = {
        "symbol": market.symbol,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": tick, "minPrice": tick, "maxPrice": most},
            {"filterType": "LOT_SIZE", "stepSize": step, "minQty": step, "maxQty": most},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": step, "minQty": step, "maxQty": "100000"},
            {"filterType": "NOTIONAL", "minNotional": "5.0"},
            {"filterType": "MIN_NOTIONAL", "notional": "5.0"},
        ],
    }
    if market.mode == "spot":
        return info | {"isSpotTradingAllowed": True, "permissions": ["SPOT"]}
    return info | {
        "contractType": "PERPETUAL",
        "deliveryDate": _PERPETUAL_DELIVERY_MS,
        "marginAsset": quote,
    }
