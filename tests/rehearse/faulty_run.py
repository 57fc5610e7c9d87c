"""One real dry-run through every fault of the exchange, for the tests that look at it.

Faults that concern one pair come together, each on a pair of its own; then, for over a minute, no
answer is good; then the exchange's clock steps.
"""

import base64
import json
import re
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import log_records
from freqai_lstm.market import generate_market
from freqai_lstm.rehearse.bot import Bot
from freqai_lstm.rehearse.rehearsal import PAST_CANDLES, Rehearsal
from freqai_lstm.watch.history import read_history


BTC, ETH, SOL, BNB, XRP, ADA, DOGE = (
    f"{coin}/USDT:USDT" for coin in ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE")
)
# FreqAI looks at the first pair of its queue alone: there it notices that a pair has gone.
PAIRS = [BNB, BTC, ETH, SOL, XRP, DOGE, ADA]
FAULT_OF = {ETH: "missing", SOL: "flat", XRP: "zero", BNB: "delisted", DOGE: "stale"}
# SMA(100) is missing on 99 candles: the first training finds few windows, a later one enough.
LITTLE_HISTORY = 180
OUTDATED = 3 * 60  # freqtrade: two candles and `outdated_offset`, from the candle's opening
SECONDS_OUT = 65

# Who says so and how, for each fault: pair and cause are in one line.
NAMED_BY = {
    "missing": r"FreqAI did not predict on \d+ candle\(s\) of ETH/USDT:USDT",
    "delisted": r"Pair BNB/USDT:USDT is not compatible with exchange Binance\. Removing it",
    "stale": r"Outdated history for pair DOGE/USDT:USDT\. Last tick is \d+ minutes old",
    "flat": r"SOL/USDT:USDT.* candles miss features",
    "zero": r"XRP/USDT:USDT.* candles miss features",
    "error": r"candle \(OHLCV\) data for \w+/USDT:USDT, 1m.*503 Service Unavailable",
    "hang": r"candle \(OHLCV\) data for DOGE/USDT:USDT.*RequestTimeout",
    "little history": r"ADA/USDT:USDT: \d+ (of \d+ )?training (windows?|candles?)\b",
}
# What an ERROR may say here. The exchange has no order book of a pair that it dropped, which
# an open trade asks for; the last one is freqtrade's, when Ctrl-C meets it writing a trade.
SIGINT_IN_COMMIT = r"Error during cleanup .* KeyboardInterrupt During handling"
EXPECTED_ERRORS = (
    r"503 Service Unavailable|RequestTimeout|BadSymbol|"
    r"Training ADA/USDT:USDT raised exception OperationalException|" + SIGINT_IN_COMMIT
)


@dataclass
class FaultyRun:
    """One dry-run with its faults.

    `on`, `off`: when a kind of fault began and ended, in seconds since 1970; `frames`: what FreqUI
    shows of each pair in the end; `areas`: what it shades; `records`: the log, each record on one
    line with its time.
    """

    rehearsal: Rehearsal
    port: int
    password: str
    on: dict[str, float] = field(default_factory=dict)
    off: dict[str, float] = field(default_factory=dict)
    frames: dict[str, DataFrame] = field(default_factory=dict)
    areas: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    records: list[tuple[float, str]] = field(default_factory=list)
    returncode: int | None = None
    stop_seconds: float = 0.0

    def rest(self, path: str, *, method: str = "GET") -> Any:
        """What the bot's REST server answers to one who has name and password."""
        basic = base64.b64encode(f"rehearsal:{self.password}".encode()).decode()
        with self._ask(path, f"Basic {basic}", method) as answer:
            return json.load(answer)

    def http_status(self, path: str, authorization: str) -> int:
        """The HTTP status of an answer; 401 is what strangers get."""
        try:
            with self._ask(path, authorization, "GET") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def _ask(self, path: str, authorization: str, method: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        headers = {"Authorization": authorization}
        request = urllib.request.Request(url, headers=headers, method=method)
        return urllib.request.urlopen(request, timeout=60)

    def candles(self, pair: str, limit: int = 60) -> DataFrame:
        """The pair's candles as FreqUI gets them; empty while there are none."""
        query = f"pair={pair.replace(':', '%3A')}&timeframe=1m&limit={limit}"
        answer = self.rest(f"pair_candles?{query}")
        self.areas[pair] = answer.get("annotations", [])
        frame = DataFrame(answer.get("data", []), columns=answer.get("columns", ["date"]))
        return frame.assign(date=pd.to_datetime(frame["date"], utc=True))

    def read_log(self, bot: Bot) -> None:
        """Take over what the bot has logged so far."""
        self.records = [
            (datetime.fromisoformat(record[:23]).timestamp(), " ".join(record.split()))
            for record in log_records(bot.output())
        ]

    @cached_property
    def history(self) -> dict[str, DataFrame]:
        """FreqAI's predictions, indexed by the candle's opening in seconds since 1970."""
        saved = read_history(self.rehearsal.models)
        return {pair: frame.set_index(seconds(frame["date_pred"])) for pair, frame in saved.items()}

    @cached_property
    def trades(self) -> DataFrame:
        """The bot's trades, `opened` in seconds since 1970."""
        url = f"sqlite:///{self.rehearsal.database}"
        trades = pd.read_sql_query("select pair, open_date from trades", url)
        return trades.assign(opened=seconds(trades["open_date"]))

    def said(self, pattern: str, since: float = 0.0) -> list[str]:
        """The log's records from `since` on that match."""
        return [text for when, text in self.records if when >= since and re.search(pattern, text)]


def seconds(dates: pd.Series) -> np.ndarray:
    """Datetimes as seconds since 1970, with fractions."""
    stamps = pd.to_datetime(dates, utc=True, format="ISO8601").dt.as_unit("ms")
    return stamps.astype("int64").to_numpy() / 1000


def live_run(workdir: Path) -> FaultyRun:
    """Do the run, once for all tests of a session."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rehearsal = Rehearsal(
        workdir,
        minutes=10,
        pairs=len(PAIRS),
        overrides={
            "minimal_roi": {"1": -1},
            "exchange": {
                "pair_whitelist": PAIRS,
                "markets_refresh_interval": 1,
                "outdated_offset": 1,
            },
            "api_server": {
                "enabled": True,
                "listen_ip_address": "127.0.0.1",
                "listen_port": port,
                "username": "rehearsal",
                "password": "",
                "jwt_secret_key": secrets.token_hex(32),
            },
            "freqai": {
                "conv_width": 2,
                "live_retrain_hours": 0.015,
                "feature_parameters": {
                    "include_timeframes": ["1m"],
                    "include_corr_pairlist": [BTC],
                    "indicator_periods_candles": [10],
                },
                "model_training_parameters": {"units": 8, "num_lstm_layers": 1, "epochs": 4},
            },
        },
    )
    rehearsal.prepare()
    run = FaultyRun(rehearsal, port, secrets.token_urlsafe(16))
    ahead = rehearsal.minutes + 120
    end = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=PAST_CANDLES + ahead)
    listed = end - timedelta(hours=ahead + LITTLE_HISTORY)
    generate_market(rehearsal.workdir / "market", [ADA], start=listed, end=end, timeframes=["1h"])
    market = rehearsal.workdir / "market"
    with LoopbackExchange(market, live="1m", ahead=int(ahead)) as exchange:
        rehearsal.configs.append(exchange.write_config(rehearsal.workdir / "endpoints.json"))
        with rehearsal.bot({"FREQTRADE__API_SERVER__PASSWORD": run.password}) as bot:
            _let_faults_come_and_go(run, bot, exchange)
            for path in ("plot_config", "status", "ping"):
                run.answers[path] = run.rest(path)
            token = run.rest("token/login", method="POST")["access_token"]
            run.answers["status by token"] = run.http_status("status", f"Bearer {token}")
            run.answers["status without password"] = run.http_status("status", "Bearer none")
            run.stop_seconds = bot.interrupt()
            run.returncode = bot.returncode
            run.read_log(bot)
    return run


def _let_faults_come_and_go(run: FaultyRun, bot: Bot, exchange: LoopbackExchange) -> None:
    def start(kind: str, **how: Any) -> None:
        run.on.setdefault(kind, time.time())
        exchange.faults.inject(kind, **how)

    def stop(*kinds: str) -> None:
        for kind in kinds:
            exchange.faults.clear(kind)
            run.off[kind] = time.time()

    six = "BNB|BTC|ETH|SOL|XRP|DOGE"
    bot.wait_for(rf"({six})/USDT:USDT: .*\btrained\b.* windows", count=6, timeout=300)
    # The pairs' own faults begin in the first half of a minute, with the next candle.
    if time.time() % 60 > 35:
        bot.watch(62 - time.time() % 60)
    minute = time.time() // 60 * 60
    for pair, kind in FAULT_OF.items():
        start(kind, pair=pair, seconds=600)  # how old stale candles are
    bot.watch(minute + 80 - time.time())
    stop("zero")  # after one candle; the others last two
    bot.watch(minute + 125 - time.time())
    bot.wait_for(r"Outdated\s+history\s+for\s+pair\s+DOGE", timeout=120)
    bot.wait_for(r"Pair\s+BNB/USDT:USDT\s+is\s+not\s+compatible", timeout=240)
    stop("missing", "flat", "delisted", "stale")

    start("hang", pair=DOGE)
    start("error")
    bot.watch(SECONDS_OUT)
    bot.wait_for(r"503\s+Service\s+Unavailable", timeout=120)
    stop("error", "hang")

    # Until the bot has asked for the first candles since: it asks with each new minute.
    start("clock", seconds=60)
    bot.watch(75 - time.time() % 60)
    stop("clock")
    deadline = time.monotonic() + 240
    again = _closed_and_predicted_after(run.off["clock"])
    while not (_each_pair(run, again, but=XRP) and _trained_again(run, bot)):
        if time.monotonic() > deadline:
            break  # the tests say which pair has not recovered
        bot.watch(2)
    run.frames = {pair: run.candles(pair) for pair in PAIRS}


def _each_pair(run: FaultyRun, holds: Callable[[DataFrame], bool], but: str = "") -> bool:
    frames = (run.candles(pair, limit=3) for pair in PAIRS if pair != but)
    return all(len(frame) > 0 and holds(frame) for frame in frames)


def _closed_and_predicted_after(moment: float) -> Callable[[DataFrame], bool]:
    return lambda frame: bool(
        frame["date"].iloc[-1].timestamp() + 60 > moment and frame["do_predict"].iloc[-1] == 1
    )


def _trained_again(run: FaultyRun, bot: Bot) -> bool:
    run.read_log(bot)
    return all(run.said(rf"{pair}: .*\btrained\b.* windows", run.off["delisted"]) for pair in PAIRS)
