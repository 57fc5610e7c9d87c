"""The loopback exchange, asked by ccxt's own Binance client, which is what freqtrade uses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ccxt
import pytest
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.market import generate_market


START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
START_MS, HOUR_MS = int(START.timestamp() * 1000), 3_600_000
BTC, BTC_SPOT = "BTC/USDT:USDT", "BTC/USDT"


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs, three months, as spot and as perpetuals."""
    folder = tmp_path_factory.mktemp("exchange")
    for mode in ("spot", "futures"):
        generate_market(folder, ["BTC/USDT", "ETH/USDT"], start=START, end=END, trading_mode=mode)
    return folder


@pytest.fixture(scope="module")
def futures(datadir: Path) -> Iterator[LoopbackExchange]:
    """The exchange, set up for futures."""
    with LoopbackExchange(datadir) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def spot(datadir: Path) -> Iterator[LoopbackExchange]:
    """The exchange, set up for spot."""
    with LoopbackExchange(datadir, trading_mode="spot") as exchange:
        yield exchange


def client(exchange: LoopbackExchange) -> ccxt.binance:
    """ccxt's client with the configuration that freqtrade would hand to it."""
    options = exchange.config()["exchange"]["ccxt_config"]
    default = "swap" if exchange.trading_mode == "futures" else "spot"
    options["options"] = options.get("options", {}) | {"defaultType": default}
    return ccxt.binance(options)


def stored(datadir: Path, timeframe: str = "1h", kind: CandleType = CandleType.FUTURES) -> list:
    """BTC's candles in ccxt's form, as they are in the folder."""
    pair = BTC_SPOT if kind == CandleType.SPOT else BTC
    candles = load_pair_history(
        pair, timeframe, datadir, fill_up_missing=False, drop_incomplete=False, candle_type=kind
    )
    candles["date"] = candles["date"].dt.as_unit("ms").astype("int64")
    return [[int(date), *values] for date, *values in candles.to_numpy().tolist()]


def test_markets(futures: LoopbackExchange, spot: LoopbackExchange) -> None:
    """The pairs in the folder are the markets, with Binance's usual fees and limits."""
    markets = {market["symbol"]: market for market in client(futures).fetch_markets()}
    assert set(markets) == {BTC, "ETH/USDT:USDT", BTC_SPOT, "ETH/USDT"}
    perpetual, pair = markets[BTC], markets[BTC_SPOT]
    assert perpetual["swap"]
    assert perpetual["linear"]
    assert perpetual["active"]
    assert (perpetual["taker"], pair["taker"]) == (0.0005, 0.001)
    assert perpetual["precision"]["price"] == 0.1
    assert perpetual["precision"]["amount"] == 0.001
    assert perpetual["limits"]["cost"]["min"] == 5
    assert {market["symbol"] for market in client(spot).fetch_markets()} == {BTC_SPOT, "ETH/USDT"}
    assert futures.pairs == [BTC, "ETH/USDT:USDT"]


def test_candles_equal_the_folder(
    futures: LoopbackExchange, spot: LoopbackExchange, datadir: Path
) -> None:
    """What is served is exactly what is stored, futures and spot, 1h and 4h."""
    for exchange, pair, kind in (
        (futures, BTC, CandleType.FUTURES),
        (spot, BTC_SPOT, CandleType.SPOT),
    ):
        for timeframe in ("1h", "4h"):
            served = client(exchange).fetch_ohlcv(pair, timeframe, since=START_MS, limit=100)
            assert served == stored(datadir, timeframe, kind)[:100]


def test_paging_reaches_every_candle_once(futures: LoopbackExchange, datadir: Path) -> None:
    """Pages by `since` and `limit`, as freqtrade downloads, join to the whole history."""
    api, since, pages = client(futures), START_MS, []
    while page := api.fetch_ohlcv(BTC, "1h", since=since, limit=499):
        assert len(page) <= 499
        pages += page
        since = page[-1][0] + HOUR_MS
    assert pages == stored(datadir)


def test_windows_of_klines(futures: LoopbackExchange, datadir: Path) -> None:
    """Without a start the newest candles come; an end is included; the far past starts at 0."""
    api, candles = client(futures), stored(datadir)
    assert api.fetch_ohlcv(BTC, "1h", limit=3) == candles[-3:]
    assert api.fetch_ohlcv(BTC, "1h", limit=3, params={"until": candles[9][0]}) == candles[7:10]
    between = api.fetch_ohlcv(BTC, "1h", since=candles[5][0], params={"until": candles[8][0]})
    assert between == candles[5:9]
    assert api.fetch_ohlcv(BTC, "1h", since=0, limit=2) == candles[:2]
    assert api.fetch_ohlcv(BTC, "1h", since=candles[-1][0] + 1) == []


def test_timeframe_without_a_file_is_joined(futures: LoopbackExchange, datadir: Path) -> None:
    """A longer timeframe than the stored ones is made from them; a shorter one is refused."""
    days = client(futures).fetch_ohlcv(BTC, "1d", since=START_MS, limit=2)
    hours = stored(datadir)
    assert [day[0] for day in days] == [START_MS, START_MS + 24 * HOUR_MS]
    assert days[1][1] == hours[24][1]
    assert days[1][4] == hours[47][4]
    assert days[1][2] == max(row[2] for row in hours[24:48])
    with pytest.raises(ccxt.BadRequest, match="Invalid interval"):
        client(futures).fetch_ohlcv(BTC, "1m")


def test_ticker_and_order_book_agree(futures: LoopbackExchange, datadir: Path) -> None:
    """Last price, best bid and best ask belong to the newest candle, one tick apart."""
    api, last = client(futures), stored(datadir)[-1][4]
    ticker, book = api.fetch_ticker(BTC), api.fetch_order_book(BTC, 5)
    assert ticker["last"] == last
    assert ticker["low"] <= last <= ticker["high"]
    assert ticker["quoteVolume"] == pytest.approx(ticker["baseVolume"] * ticker["vwap"], rel=1e-4)
    assert book["bids"][0][0] == last
    assert book["asks"][0][0] == pytest.approx(last + 0.1)
    assert [price for price, _ in book["bids"]] == sorted(
        (price for price, _ in book["bids"]), reverse=True
    )
    assert len(book["asks"]) == 5
    assert api.fetch_bids_asks([BTC])[BTC]["bid"] == last
    assert set(api.fetch_tickers()) == {BTC, "ETH/USDT:USDT"}


def test_spot_ticker_has_bid_and_ask(spot: LoopbackExchange) -> None:
    """In spot the 24-hour ticker carries the best prices, also for a list of symbols."""
    ticker = client(spot).fetch_tickers([BTC_SPOT])[BTC_SPOT]
    assert ticker["bid"] < ticker["ask"]
    assert ticker["bid"] == ticker["last"]
    assert set(client(spot).fetch_bids_asks(["ETH/USDT"])) == {"ETH/USDT"}


def test_funding_and_mark(futures: LoopbackExchange, datadir: Path) -> None:
    """Funding history, current funding and mark candles come from the folder's files."""
    api = client(futures)
    history = api.fetch_funding_rate_history(BTC, since=START_MS, limit=4)
    rates = stored(datadir, kind=CandleType.FUNDING_RATE)
    assert [(row["timestamp"], row["fundingRate"]) for row in history] == [
        (row[0], row[1]) for row in rates[:4]
    ]
    assert api.fetch_funding_rate(BTC)["fundingRate"] == rates[-1][1]
    assert api.fetch_funding_rates([BTC])[BTC]["markPrice"] > 0
    marks = stored(datadir, kind=CandleType.MARK)
    served = api.fetch_ohlcv(BTC, "1h", since=START_MS, limit=5, params={"price": "mark"})
    assert served == marks[:5]


def test_errors_have_binance_shape(futures: LoopbackExchange) -> None:
    """ccxt recognises a wrong symbol, a missing and a malformed parameter as on Binance."""
    api = client(futures)
    with pytest.raises(ccxt.BadSymbol, match="-1121"):
        api.fapiPublicGetKlines({"symbol": "NOPEUSDT", "interval": "1h"})
    with pytest.raises(ccxt.BadRequest, match="Mandatory parameter 'symbol'"):
        api.fapiPublicGetDepth()
    with pytest.raises(ccxt.BadRequest, match="-1100"):
        api.fapiPublicGetKlines({"symbol": "BTCUSDT", "interval": "1h", "startTime": "soon"})


def test_unknown_request_is_answered_and_recorded(datadir: Path) -> None:
    """An address that is not there answers 404 in JSON and is kept for the tests to see."""
    with LoopbackExchange(datadir) as exchange:
        with pytest.raises(ccxt.ExchangeError, match="is invalid"):
            client(exchange).publicGetTrades({"symbol": "BTCUSDT"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(exchange.url + "/anything")
        assert caught.value.code == 404
        assert json.load(caught.value)["code"] == -5000
        recorded = ["GET /api/v3/trades?symbol=BTCUSDT", "GET /anything"]
        assert exchange.unknown_requests == recorded


def test_every_address_of_ccxt_stays_here(futures: LoopbackExchange) -> None:
    """The configuration leaves none of ccxt's API addresses on the internet."""
    api = futures.config()["exchange"]["ccxt_config"]["urls"]["api"]
    assert set(api) == set(ccxt.binance().urls["api"])
    assert all(address.startswith("http://127.0.0.1:") for address in api.values())


def test_written_config_is_the_config(spot: LoopbackExchange, tmp_path: Path) -> None:
    """`write_config` stores the same fragment, and makes the folder for it."""
    path = spot.write_config(tmp_path / "made" / "endpoints.json")
    assert json.loads(path.read_text()) == spot.config()
    assert spot.config()["trading_mode"] == "spot"
    assert spot.config()["margin_mode"] == ""


def test_stopping_frees_the_port(datadir: Path) -> None:
    """After the with-block nothing listens; a port that is taken is an error at the start."""
    with LoopbackExchange(datadir) as exchange:
        port = int(exchange.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="address already in use"):
            LoopbackExchange(datadir, port=port).start()
        with pytest.raises(RuntimeError, match="runs already"):
            exchange.start()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with pytest.raises(RuntimeError, match="not running"):
        _ = exchange.url
    with LoopbackExchange(datadir, port=port) as again:
        assert again.url.endswith(f":{port}")


def test_folder_without_candles_is_refused(tmp_path: Path) -> None:
    """The message names the folder and what was expected in it."""
    with pytest.raises(ValueError, match=r"holds no candles: expected .*BTC_USDT-1h"):
        LoopbackExchange(tmp_path)
    with pytest.raises(ValueError, match="use 'spot' or 'futures'"):
        LoopbackExchange(tmp_path, trading_mode="margin")


def test_command_line_serves_until_interrupted(datadir: Path, tmp_path: Path) -> None:
    """`freqai-lstm exchange` writes the configuration, serves, and ends on Ctrl-C."""
    config = tmp_path / "endpoints.json"
    command = [sys.executable, "-m", "freqai_lstm", "exchange", "--datadir", str(datadir)]
    with subprocess.Popen(
        [*command, "--port", "0", "--write-config", str(config)],
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, children inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            assert "Serving BTC/USDT:USDT" in process.stdout.readline()
            assert str(config) in process.stdout.readline()
            api = json.loads(config.read_text())["exchange"]["ccxt_config"]["urls"]["api"]
            with urllib.request.urlopen(api["fapiPublic"] + "/ping") as answer:
                assert json.load(answer) == {}
            process.send_signal(signal.SIGINT)
            assert "Stopped" in process.stdout.readline()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
