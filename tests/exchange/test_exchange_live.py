"""The loopback exchange in live mode, on a clock of the test's own, asked by ccxt."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pandas as pd
import pytest
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.market import generate_market


PAIRS = ["BTC/USDT:USDT", "ETH/USDT:USDT"]
BTC, ETH = PAIRS
HOURS, AHEAD = 2400, 300
START = datetime(2024, 1, 1, tzinfo=UTC)
# Served time: a minute is an hour of the folder. 20 s into a minute, 3 minutes into five.
NOW = datetime(2026, 3, 5, 12, 33, 20, tzinfo=UTC).timestamp()
MINUTE = 60_000


class Clock:
    """Seconds since 1970, moved by the test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred days of two perpetuals, hourly."""
    folder = tmp_path_factory.mktemp("live")
    end = START + timedelta(hours=HOURS)
    generate_market(folder, PAIRS, start=START, end=end, timeframes=["1h"])
    return folder


@pytest.fixture
def clock() -> Clock:
    """The exchange's clock."""
    return Clock()


@pytest.fixture
def exchange(datadir: Path, clock: Clock) -> Iterator[LoopbackExchange]:
    """Hours, served as minutes."""
    with LoopbackExchange(datadir, live="1m", ahead=AHEAD, clock=clock) as running:
        yield running


def client(exchange: LoopbackExchange, **options: Any) -> ccxt.binance:
    """ccxt's client with the configuration that freqtrade would hand to it."""
    config = exchange.config()["exchange"]["ccxt_config"] | options
    return ccxt.binance(config | {"options": {"defaultType": "swap"}})


def candles(exchange: LoopbackExchange, timeframe: str = "1m", pair: str = BTC) -> np.ndarray:
    """The newest 1000 candles, shape (n, 6)."""
    return np.array(client(exchange).fetch_ohlcv(pair, timeframe, limit=1000))


def folder_candles(datadir: Path, pair: str = BTC) -> np.ndarray:
    """Open, high, low, close, volume of the folder's hourly candles."""
    frame = load_pair_history(
        pair, "1h", datadir, drop_incomplete=False, candle_type=CandleType.FUTURES
    )
    return frame[["open", "high", "low", "close", "volume"]].to_numpy()


# ------------------------------------------------------------------------------ the replay


def test_newest_candle_runs_now(exchange: LoopbackExchange, datadir: Path) -> None:
    """The running minute is the last candle, and the closed ones are the folder's hours."""
    served, stored = candles(exchange), folder_candles(datadir)
    assert served[-1, 0] == NOW * 1000 // MINUTE * MINUTE
    assert (np.diff(served[:, 0]) == MINUTE).all()
    end = HOURS - AHEAD
    assert np.allclose(served[:-1, 1:], stored[end - 999 : end])
    running = stored[end]
    assert served[-1, 1] == running[0]
    assert running[2] <= served[-1, 3] <= served[-1, 4] <= served[-1, 2] <= running[1]
    assert served[-1, 5] == pytest.approx(running[4] / 3, rel=1e-3)


def test_running_candle_becomes_the_closed_one(
    exchange: LoopbackExchange, clock: Clock, datadir: Path
) -> None:
    """Within a minute high, low and volume only grow; after it the candle is the folder's."""
    seen = []
    for second in (0, 10, 25, 45, 59.9):
        clock.now = NOW - 20 + second
        seen.append(candles(exchange)[-1])
    grown = np.array(seen)
    assert (np.diff(grown[:, 2]) >= 0).all()
    assert (np.diff(grown[:, 3]) <= 0).all()
    assert (np.diff(grown[:, 5]) >= 0).all()
    clock.now = NOW + 40
    assert np.allclose(candles(exchange)[-2, 1:], folder_candles(datadir)[HOURS - AHEAD])


def test_what_was_served_does_not_change(exchange: LoopbackExchange, clock: Clock) -> None:
    """Ten minutes later the same closed candles are served, and ten new ones."""
    before = candles(exchange)[:-1]
    clock.now += 600
    after = candles(exchange)[:-1]
    assert np.array_equal(before[10:], after[: len(before) - 10])


@pytest.mark.parametrize(("timeframe", "minutes"), [("5m", 5), ("15m", 15), ("1h", 60)])
def test_longer_timeframes_are_the_same_candles(
    exchange: LoopbackExchange, timeframe: str, minutes: int
) -> None:
    """Every longer candle, the running one too, is made of the minutes that are served."""
    short = pd.DataFrame(candles(exchange), columns=["date", "o", "h", "l", "c", "v"])
    groups = short.groupby(short["date"] // (minutes * MINUTE) * minutes * MINUTE)
    made = groups.agg({"o": "first", "h": "max", "l": "min", "c": "last", "v": "sum"})
    longer = candles(exchange, timeframe)
    assert longer[-1, 0] == NOW * 1000 // (minutes * MINUTE) * minutes * MINUTE
    count = len(made) - 1  # the first group may lack its beginning
    assert np.allclose(longer[-count:, 1:], made.to_numpy()[-count:])


def test_paging_as_freqtrade_downloads(exchange: LoopbackExchange) -> None:
    """Pages by `since` join without gap or overlap up to the running candle."""
    api, since, pages = client(exchange), int(NOW * 1000) - 1500 * MINUTE, []
    while page := api.fetch_ohlcv(BTC, "1m", since=since, limit=499):
        pages += [row[0] for row in page]
        since = page[-1][0] + MINUTE
    assert len(pages) == 1500
    assert set(np.diff(pages)) == {MINUTE}


def test_shorter_timeframe_is_refused(exchange: LoopbackExchange, datadir: Path) -> None:
    """Five-minute candles cannot be taken apart into minutes."""
    with (
        LoopbackExchange(datadir, live="5m") as slow,
        pytest.raises(ccxt.BadRequest, match="Invalid interval"),
    ):
        client(slow).fetch_ohlcv(BTC, "1m")


def test_prices_follow_the_running_candle(exchange: LoopbackExchange, clock: Clock) -> None:
    """Ticker and order book stand at the running candle's price and move with it."""
    api, seen = client(exchange), set()
    for second in (0, 15, 30):
        clock.now = NOW + second
        last = candles(exchange)[-1, 4]
        assert api.fetch_ticker(BTC)["last"] == last
        book = api.fetch_order_book(BTC, 5)
        assert book["bids"][0][0] == last < book["asks"][0][0]
        seen.add(last)
    assert len(seen) == 3


def test_funding_and_mark_are_current(exchange: LoopbackExchange) -> None:
    """Funding was last paid within eight hours; mark candles reach up to now, near the price."""
    api = client(exchange)
    history = api.fetch_funding_rate_history(BTC, limit=5)
    assert 0 <= NOW * 1000 - history[-1]["timestamp"] < 8 * 60 * MINUTE
    current = api.fetch_funding_rate(BTC)
    assert current["fundingTimestamp"] > NOW * 1000
    mark = np.array(api.fetch_ohlcv(BTC, "1h", limit=5, params={"price": "mark"}))
    assert mark[-1, 0] == NOW * 1000 // (60 * MINUTE) * 60 * MINUTE
    assert mark[-1, 4] == pytest.approx(candles(exchange)[-1, 4], rel=1e-2)


def test_market_stands_still_after_its_end(exchange: LoopbackExchange, clock: Clock) -> None:
    """When the folder is used up, no new candle comes."""
    clock.now = NOW + 60 * (AHEAD + 50)
    last = candles(exchange)[-1, 0]
    clock.now += 600
    assert candles(exchange)[-1, 0] == last


# ------------------------------------------------------------------------------ the faults


def test_errors_on_one_address_only(exchange: LoopbackExchange) -> None:
    """HTTP 503 where it was asked for; everything else answers, and so does that afterwards."""
    api = client(exchange)
    exchange.faults.inject("error", path="klines", status=503)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        api.fetch_ohlcv(BTC, "1m")
    assert api.fetch_ticker(BTC)["last"] > 0
    exchange.faults.clear("error")
    assert api.fetch_ohlcv(BTC, "1m")


def test_fault_of_one_pair(exchange: LoopbackExchange) -> None:
    """A fault of one pair leaves the other alone."""
    exchange.faults.inject("error", pair=ETH)
    api = client(exchange)
    assert api.fetch_ohlcv(BTC, "1m")
    with pytest.raises(ccxt.ExchangeNotAvailable):
        api.fetch_ohlcv(ETH, "1m")


def test_hanging_answer_times_out(exchange: LoopbackExchange) -> None:
    """The client gives up on an answer that never comes; stopping the exchange does not hang."""
    api = client(exchange, timeout=300)
    api.load_markets()
    exchange.faults.inject("hang", path="klines")
    with pytest.raises(ccxt.RequestTimeout):
        api.fetch_ohlcv(BTC, "1m")


def test_slow_answer_comes(exchange: LoopbackExchange) -> None:
    """A slow answer is late for an impatient client and right for a patient one."""
    patient, impatient = client(exchange), client(exchange, timeout=200)
    patient.load_markets()
    impatient.load_markets()
    exchange.faults.inject("slow", path="klines", seconds=1)
    with pytest.raises(ccxt.RequestTimeout):
        impatient.fetch_ohlcv(BTC, "1m")
    assert patient.fetch_ohlcv(BTC, "1m")


def test_stale_answers(exchange: LoopbackExchange) -> None:
    """Stale: candles, ticker and book are those of two minutes ago, the exchange's time is not."""
    before = candles(exchange)
    exchange.faults.inject("stale", seconds=120)
    stale = candles(exchange)
    assert stale[-1, 0] == before[-3, 0]
    assert client(exchange).fetch_ticker(BTC)["last"] == stale[-1, 4]
    assert client(exchange).fetch_time() == NOW * 1000
    exchange.faults.clear()
    assert np.array_equal(candles(exchange), before)


def test_missing_candles_stay_missing(exchange: LoopbackExchange, clock: Clock) -> None:
    """The gap lasts from injection to clearing, and is still there afterwards."""
    running = candles(exchange)[-1, 0]
    exchange.faults.inject("missing", pair=BTC)
    clock.now += 180
    assert candles(exchange)[-1, 0] == running
    exchange.faults.clear("missing")
    clock.now += 180
    dates = candles(exchange)[-4:, 0]
    assert ((dates - running) / MINUTE).tolist() == [0, 4, 5, 6]
    assert set(np.diff(candles(exchange, pair=ETH)[:, 0])) == {MINUTE}


def test_flat_pair(exchange: LoopbackExchange, clock: Clock, datadir: Path) -> None:
    """No trades: volume 0 and one price; later the market goes on, and the past stays flat."""
    clock.now = NOW + 39.999  # the end of the running candle, whose close is the last trade
    exchange.faults.inject("flat", pair=BTC)
    clock.now += 240
    flat = candles(exchange)[-4:]
    last_trade = folder_candles(datadir)[HOURS - AHEAD, 3]
    assert (flat[:, 1:5] == last_trade).all()
    assert (flat[:, 5] == 0).all()
    assert client(exchange).fetch_ticker(BTC)["last"] == last_trade
    assert candles(exchange, "5m")[-1, 5] >= 0
    exchange.faults.clear()
    clock.now += 120
    later = candles(exchange)
    assert later[-1, 5] > 0
    assert (later[-3, 1:5] == last_trade).all()


def test_zero_prices(exchange: LoopbackExchange, clock: Clock) -> None:
    """Candles of price 0 are served; the book still has prices."""
    exchange.faults.inject("zero", pair=BTC)
    clock.now += 120
    assert (candles(exchange)[-2:, 1:5] == 0).all()
    assert (candles(exchange)[-3, 1:5] > 0).all()
    assert client(exchange).fetch_order_book(BTC, 5)["bids"][0][0] > 0


def test_faults_at_given_times(exchange: LoopbackExchange) -> None:
    """A gap can be put into the past, bounded by opening times."""
    first = int(NOW * 1000) // MINUTE * MINUTE - 10 * MINUTE
    exchange.faults.inject("missing", start_ms=first, end_ms=first + 3 * MINUTE)
    dates = candles(exchange)[:, 0]
    assert not {first, first + MINUTE, first + 2 * MINUTE} & set(dates)
    assert {first - MINUTE, first + 3 * MINUTE} <= set(dates)
    assert exchange.faults.active == ()


def test_delisted_pair(exchange: LoopbackExchange) -> None:
    """The pair is in no list, its candles are an error, and it can come back."""
    exchange.faults.inject("delisted", pair=ETH)
    api = client(exchange)
    assert {market["symbol"] for market in api.fetch_markets()} == {BTC}
    assert set(api.fetch_tickers()) == {BTC}
    with pytest.raises(ccxt.BadSymbol, match="-1121"):
        api.fapiPublicGetKlines({"symbol": "ETHUSDT", "interval": "1m"})
    assert exchange.pairs == [BTC]
    exchange.faults.clear("delisted")
    assert exchange.pairs == PAIRS
    assert api.fapiPublicGetKlines({"symbol": "ETHUSDT", "interval": "1m"})


def test_clock_step(exchange: LoopbackExchange) -> None:
    """The exchange's time and its newest candle jump, forward and back."""
    before = candles(exchange)[-1, 0]
    exchange.faults.inject("clock", seconds=180)
    assert client(exchange).fetch_time() == (NOW + 180) * 1000
    assert candles(exchange)[-1, 0] == before + 3 * MINUTE
    exchange.faults.inject("clock", seconds=-180)
    assert candles(exchange)[-1, 0] == before - 3 * MINUTE


def test_wrong_faults_are_refused(exchange: LoopbackExchange, datadir: Path) -> None:
    """An unknown kind is named; candles of a folder that is not replayed cannot be changed."""
    with pytest.raises(ValueError, match="no fault 'sloth'; use one of slow, error"):
        exchange.faults.inject("sloth")
    with pytest.raises(TypeError, match="minutes"):
        exchange.faults.inject("slow", minutes=3)
    still = LoopbackExchange(datadir)
    with pytest.raises(ValueError, match="needs a live exchange"):
        still.faults.inject("flat")
    with still:
        still.faults.inject("error")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            client(still).fetch_time()


def test_pairs_need_the_same_candles(tmp_path: Path) -> None:
    """A folder with hourly and four-hourly pairs cannot be replayed on one clock."""
    for pair, timeframe in ((BTC, "1h"), (ETH, "4h")):
        end = START + timedelta(days=10)
        folder = tmp_path if timeframe == "1h" else tmp_path / "other"
        generate_market(folder, [pair], start=START, end=end, timeframes=[timeframe])
    source = tmp_path / "other/futures/ETH_USDT_USDT-4h-futures.feather"
    source.rename(tmp_path / "futures" / source.name)
    with pytest.raises(ValueError, match="different shortest candles"):
        LoopbackExchange(tmp_path, live="1m")


def test_live_exchange_on_the_real_clock(datadir: Path) -> None:
    """Without a clock of its own the newest candle is the minute that runs."""
    with LoopbackExchange(datadir, live="1m") as exchange:
        before = datetime.now(UTC).timestamp() // 60 * MINUTE
        newest = candles(exchange)[-1, 0]
        assert before <= newest <= datetime.now(UTC).timestamp() // 60 * MINUTE
        with socket.socket() as probe:
            port = int(exchange.url.rsplit(":", 1)[1])
            assert probe.connect_ex(("127.0.0.1", port)) == 0
