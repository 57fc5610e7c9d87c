"""A real dry-run through every fault of the exchange, and what it did: predict, trade, say so.

One run serves this file and test_rest.py. Faults that concern one pair come together, each on a
pair of its own; then, for over a minute, no answer is good; then the exchange's clock steps. What
one run cannot show is tested below it, on the candles that the exchange serves.
"""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, ROOT, load_plugin
from freqtrade.data.converter import ohlcv_to_dataframe
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from livebot import FIRST, SECOND, LiveBot, candles, full_disk
from pandas import DataFrame
from test_exchange_live import client

from tools.exchange import LoopbackExchange
from tools.exchange_faults import CANDLE_KINDS
from tools.freqtrade_run import log_records
from tools.market import generate_market
from tools.rehearsal import PAST_CANDLES, Rehearsal
from tools.rehearsal_bot import Bot
from tools.rehearsal_summary import read_history


BTC, ETH, SOL, BNB, XRP, ADA, DOGE = (
    f"{coin}/USDT:USDT" for coin in ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE")
)
# FreqAI looks at the first pair of its queue alone: there it notices that a pair has gone.
PAIRS = [BNB, BTC, ETH, SOL, XRP, DOGE, ADA]
FAULT_OF = {ETH: "missing", SOL: "flat", XRP: "zero", BNB: "delisted", DOGE: "stale"}
# SMA(100) is missing on 99 candles: the first training finds too few rows, a later one enough.
LITTLE_HISTORY = 222
OUTDATED = 3 * 60  # freqtrade: two candles and `outdated_offset`, from the candle's opening
SECONDS_OUT = 65

# Who says so and how, for each fault: pair and cause are in one line.
NAMED_BY = {
    "missing": r"FreqAI did not predict on \d+ candle\(s\) of ETH/USDT:USDT",
    "delisted": r"Pair BNB/USDT:USDT is not compatible with exchange Binance\. Removing it",
    "stale": r"Outdated history for pair DOGE/USDT:USDT\. Last tick is \d+ minutes old",
    "flat": r"SOL/USDT:USDT.* candles miss a feature",
    "zero": r"XRP/USDT:USDT.* candles miss a feature",
    "error": r"candle \(OHLCV\) data for \w+/USDT:USDT, 1m.*503 Service Unavailable",
    "hang": r"candle \(OHLCV\) data for DOGE/USDT:USDT.*RequestTimeout",
    "little history": r"ADA/USDT:USDT: \d+ training windows? .* at least \d+ are needed",
}
# What an ERROR may say here. The last one is freqtrade's, when Ctrl-C meets it writing a trade.
SIGINT_IN_COMMIT = r"Error during cleanup .* KeyboardInterrupt During handling"
EXPECTED_ERRORS = (
    r"503 Service Unavailable|RequestTimeout|"
    r"Training ADA/USDT:USDT raised exception OperationalException|" + SIGINT_IN_COMMIT
)


# ---------------------------------------------------------------------------------- the run


@dataclass
class FaultyRun:
    """One dry-run with its faults.

    `on`, `off`: when a kind of fault began and ended, in seconds since 1970; `frames`: what FreqUI
    shows of each pair in the end; `records`: the log, each record on one line with its time.
    """

    rehearsal: Rehearsal
    port: int
    password: str
    on: dict[str, float] = field(default_factory=dict)
    off: dict[str, float] = field(default_factory=dict)
    frames: dict[str, DataFrame] = field(default_factory=dict)
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
        frame = DataFrame(answer.get("data", []), columns=answer.get("columns", ["date"]))
        return frame.assign(date=pd.to_datetime(frame["date"], utc=True))

    def read_log(self, bot: Bot) -> None:
        """Take over what the bot has logged so far."""
        self.records = [
            (datetime.fromisoformat(record[:19]).timestamp(), " ".join(record.split()))
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


@cache
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
                "live_retrain_hours": 0.02,
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
    with (
        pytest.MonkeyPatch.context() as environment,
        LoopbackExchange(rehearsal.workdir / "market", live="1m", ahead=int(ahead)) as exchange,
    ):
        rehearsal.configs.append(exchange.write_config(rehearsal.workdir / "endpoints.json"))
        environment.setenv("FREQTRADE__API_SERVER__PASSWORD", run.password)
        with rehearsal._bot() as bot:
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

    bot.wait_for(r"(BNB|BTC|ETH|SOL|XRP|DOGE)/USDT:USDT: trained \d+ epochs", count=6, timeout=300)
    # The pairs' own faults begin in the first half of a minute, with the next candle.
    if time.time() % 60 > 35:
        bot.watch(62 - time.time() % 60)
    minute = time.time() // 60 * 60
    for pair, kind in FAULT_OF.items():
        start(kind, pair=pair, seconds=600 if kind == "stale" else None)
    bot.watch(minute + 80 - time.time())
    stop("zero")  # after one candle; the others last two
    bot.watch(minute + 125 - time.time())
    bot.wait_for(r"Outdated\s+history\s+for\s+pair\s+DOGE", timeout=120)
    bot.wait_for(r"BNB/USDT:USDT\s+not\s+in\s+current\s+whitelist", timeout=120)
    stop("missing", "flat", "delisted", "stale")

    start("hang", pair=DOGE)
    start("error")
    bot.watch(SECONDS_OUT)
    stop("error", "hang")
    deadline = time.monotonic() + 120
    while not _each_pair(run, lambda frame: frame["date"].max().timestamp() > run.off["hang"] - 90):
        assert time.monotonic() < deadline, "no candles two minutes after the exchange was back"
        bot.watch(1)

    start("clock", seconds=60)
    bot.watch(20)
    stop("clock")
    deadline = time.monotonic() + 240
    again = _predicted_after(run.off["clock"])
    while not (_each_pair(run, again, but=XRP) and _trained_again(run, bot)):
        if time.monotonic() > deadline:
            break  # the tests say which pair has not recovered
        bot.watch(2)
    run.frames = {pair: run.candles(pair) for pair in PAIRS}


def _each_pair(run: FaultyRun, holds: Callable[[DataFrame], bool], but: str = "") -> bool:
    frames = (run.candles(pair, limit=3) for pair in PAIRS if pair != but)
    return all(len(frame) > 0 and holds(frame) for frame in frames)


def _predicted_after(moment: float) -> Callable[[DataFrame], bool]:
    return lambda frame: bool(
        frame["date"].iloc[-1].timestamp() > moment and frame["do_predict"].iloc[-1] == 1
    )


def _trained_again(run: FaultyRun, bot: Bot) -> bool:
    run.read_log(bot)
    return all(run.said(rf"{pair}: trained \d+ epochs", run.off["delisted"]) for pair in PAIRS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FaultyRun:
    """The run that this file and test_rest.py look at."""
    return live_run(tmp_path_factory.getbasetemp() / "live-faults")


# --------------------------------------------------------------------------- what it showed


@pytest.mark.slow
def test_bot_never_crashed(run: FaultyRun) -> None:
    """It ran until SIGINT; no ERROR and no traceback but those that name one of two faults."""
    unexplained = [
        text
        for _, text in run.records
        if re.search(r" - (ERROR|CRITICAL) - |Traceback", text)
        and not re.search(EXPECTED_ERRORS, text)
    ]
    assert unexplained == []
    # freqtrade's own exit code after SIGINT.
    assert run.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair != XRP])
def test_pair_predicts_again(run: FaultyRun, pair: str) -> None:
    """After the last fault a new candle has do_predict 1, and a score the strategy can trade.

    The few candles that the new pair was trained on may all have score 0: no scale, no T̂.
    """
    newest = run.frames[pair].iloc[-1]
    assert newest["date"].timestamp() > run.off["clock"]
    assert newest["do_predict"] == 1
    assert math.isfinite(newest["T_hat"]) or pair == ADA


@pytest.mark.slow
def test_no_prediction_while_a_price_of_zero_bends_averages(run: FaultyRun) -> None:
    """For 100 candles after a price of 0 the score's longest average is wrong: no prediction."""
    assert (run.history[XRP].loc[run.on["zero"] :, "do_predict"] == 0).all()
    assert not (run.trades.loc[run.trades["opened"] > run.off["zero"], "pair"] == XRP).any()


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_pair_is_trained_again(run: FaultyRun, pair: str) -> None:
    """After its fault each pair is trained and saved again, one that was delisted meanwhile too."""
    assert run.said(rf"{pair}: trained \d+ epochs", run.off[FAULT_OF.get(pair, "error")])


@pytest.mark.slow
@pytest.mark.parametrize("pair", [SOL, XRP])
def test_impossible_candles_are_not_predicted(run: FaultyRun, pair: str) -> None:
    """A candle without trades, or at price 0, is seen by the bot and has do_predict 0."""
    kind = FAULT_OF[pair]
    first = math.ceil(run.on[kind] / 60) * 60
    last = math.ceil(run.off[kind] / 60) * 60 - 60
    rows = run.history[pair].loc[first:last]
    assert len(rows) >= 1
    assert (rows["do_predict"] == 0).all()
    # What the bot could see while nobody could know better: before the fault it did predict.
    assert run.history[pair].loc[first - 60, "do_predict"] == 1


@pytest.mark.slow
def test_every_candle_has_one_row(run: FaultyRun) -> None:
    """Gaps, an outage and a clock that steps back leave no candle twice, none out of order."""
    for pair, history in run.history.items():
        steps = np.diff(history.index.to_numpy())
        assert (steps == 60).all(), pair


@pytest.mark.slow
def test_no_signal_without_a_prediction(run: FaultyRun) -> None:
    """In what FreqUI shows, only candles with do_predict 1 enter or leave, and some do enter."""
    signals = ["enter_long", "enter_short", "exit_long", "exit_short"]
    for pair, frame in run.frames.items():
        silent = frame.loc[frame["do_predict"] != 1, [*signals, "T_hat"]]
        assert len(silent) > 0, pair
        assert (silent[signals].fillna(0) == 0).all(axis=None), pair
        assert silent["T_hat"].isna().all(), pair
    entered = [frame[signals[:2]].fillna(0).any(axis=None) for frame in run.frames.values()]
    assert sum(entered) >= 4


@pytest.mark.slow
def test_no_trade_on_a_made_up_prediction(run: FaultyRun) -> None:
    """Each trade was opened on a predicted candle that freqtrade did not call outdated."""
    assert len(run.trades) >= 4
    for pair, opened in run.trades[["pair", "opened"]].itertuples(index=False):
        history = run.history[pair]
        # FreqAI fills what it did not predict with zeros, the labels' deviation too.
        seen = history[history["&-t_ma_std"] > 0]
        # While the exchange's clock is ahead, a candle is there before its time.
        early = 60 if run.on["clock"] <= opened <= run.off["clock"] + 60 else 0
        seen = seen[seen.index + 60 <= opened + early]
        assert seen["do_predict"].iloc[-1] == 1, (pair, opened)
        assert opened - seen.index[-1] <= OUTDATED + 1, (pair, opened)


@pytest.mark.slow
def test_no_trade_while_it_could_not_be(run: FaultyRun) -> None:
    """No entry on the delisted pair, none while all answers were errors."""
    opened = run.trades["opened"]
    delisted = opened.between(run.on["delisted"], run.off["delisted"])
    assert not (delisted & (run.trades["pair"] == BNB)).any()
    # An order on its way when the exchange went away may still be noted a moment later.
    assert not opened.between(run.on["error"] + 2, run.off["error"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("fault", NAMED_BY)
def test_log_names_pair_and_cause(run: FaultyRun, fault: str) -> None:
    """One line of the log says which pair it is and what is the matter."""
    assert run.said(NAMED_BY[fault], run.on.get(fault, 0.0))


# ------------------------------------------------------- what one run cannot show: long after


@pytest.fixture(scope="module")
def strategy() -> ModuleType:
    """The module of ScoreStrategy.py."""
    return load_plugin(ROOT / "user_data/strategies/ScoreStrategy.py")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month and a half of one perpetual, to be replayed as minutes."""
    folder = tmp_path_factory.mktemp("market")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    generate_market(folder, [BTC], start=start, end=start + timedelta(hours=1100))
    return folder


@pytest.mark.parametrize("kind", CANDLE_KINDS)
def test_fault_of_candles_passes(
    kind: str,
    market: Path,
    strategy: ModuleType,
    lstm: ModuleType,
    freqai_config: Callable[..., dict],
    kitchen: Callable[..., Any],
) -> None:
    """Before it as without it; nothing during it; predictions again soon, and in the end the same.

    Candles come from the exchange by way of ccxt and of freqtrade, which fills gaps.
    """
    config = freqai_config() | {"timeframe": "1m"}
    freqai = lstm.LSTMRegressor(config=config)
    freqai.live = False
    with LoopbackExchange(market, live="1m", ahead=10) as exchange:
        clean = features_of(served(exchange), strategy)
        first = int(clean["date"].iloc[600].timestamp() * 1000)
        exchange.faults.inject(kind, pair=BTC, start_ms=first, end_ms=first + 3 * 60_000)
        faulty = features_of(served(exchange), strategy)
    dk = kitchen(config, clean)
    dk.pair = BTC
    freqai.model = freqai.train(clean.iloc[:500], BTC, dk)
    width = freqai.CONV_WIDTH
    std = np.array([dk.data["labels_std"][label] for label in dk.label_list])
    expected, could = freqai.predict(clean, dk)
    predicted, did = freqai.predict(faulty, dk)
    difference = np.abs((predicted - expected).to_numpy()) / std

    assert could[400:].all()
    assert did[400:600].all()
    assert difference[400:600].max() < 1e-5
    assert not did[600 : 603 + width - 1].any()
    recovered = 603 + int(np.argmax(did[603:]))
    # The price of 0 stays in SMA(100) for so long.
    assert recovered <= 603 + width + (100 if kind == "zero" else 3)
    assert did[recovered:].all()
    assert difference[600 + 300 :].max() < 1e-3


def served(exchange: LoopbackExchange) -> DataFrame:
    """The newest 990 candles as freqtrade's bot would hold them, without the running one."""
    rows = client(exchange).fetch_ohlcv(BTC, "1m", limit=1000)
    frame = ohlcv_to_dataframe(rows, "1m", BTC, fill_missing=True, drop_incomplete=True)
    return frame.tail(990).reset_index(drop=True)


def features_of(frame: DataFrame, strategy: ModuleType) -> DataFrame:
    """Candles with the strategy's own features of one timeframe and its labels."""
    parts = [
        strategy.score_features(frame),
        strategy.period_features(frame, 10),
        strategy.candle_features(frame),
        strategy.targets(frame, 0),
    ]
    return pd.concat([frame, *parts], axis=1)


# ------------------------------------------------------------------ the bot's own memory, disk

ROWS = (SECOND - 1706745600) // 3600  # of the candles in livebot, up to the second training


@pytest.fixture
def start(lstm: ModuleType, freqai_config: Callable[..., dict]) -> Callable[[], LiveBot]:
    """Start a bot; a second start in a test finds what the first one left on disk."""
    return lambda: LiveBot(lstm, freqai_config())


def test_pair_listed_a_moment_ago(start: Callable[[], LiveBot]) -> None:
    """A pair without a complete candle at the start joins with its first; no other suffers."""
    bot = start()
    new = "NEW/USDT:USDT"
    bot.dd.historic_data[new] = {"1h": DataFrame(columns=["date", "open", "close"])}
    fresh = {PAIR: candles(601), new: candles(1, "2024-02-26")}
    dk = FreqaiDataKitchen(bot.config, True, PAIR)
    dk.all_pairs = [new, PAIR]
    for rows in (601, 602):
        fresh[PAIR] = candles(rows)
        bot.strategy.dp.get_pair_dataframe = lambda pair, timeframe: fresh[pair]
        bot.dd.update_historic_data(bot.strategy, dk)
        assert len(bot.dd.historic_data[PAIR]["1h"]) == rows
        assert len(bot.dd.historic_data[new]["1h"]) == rows - 600
        fresh[new] = candles(2, "2024-02-26")


def test_disk_full_passes(start: Callable[[], LiveBot]) -> None:
    """The old model serves on while nothing can be saved; with space again a new one, for good."""
    bot = start()
    bot.train(FIRST)
    bot.new_candle(ROWS)
    with full_disk(2000), pytest.raises(OSError, match=r"File too large|errno"):
        bot.train(SECOND)
    old = bot.dd.model_dictionary[PAIR]
    assert bot.new_candle(ROWS + 1)["do_predict"].iloc[-1] == 1
    bot.train(SECOND)
    assert bot.dd.model_dictionary[PAIR] is not old
    assert bot.new_candle(ROWS + 2)["do_predict"].tolist()[-3:] == [1, 1, 1]
    bot.dd.save_historic_predictions_to_disk()
    again = start()
    served = again.new_candle(ROWS + 3)
    assert served["do_predict"].tolist()[-4:] == [1, 1, 1, 1]
    assert again.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND


def test_damaged_archive_passes(
    start: Callable[[], LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """A model cut off on disk is named and set aside; the pair is due, trains, and predicts."""
    bot = start()
    bot.train(FIRST)
    bot.new_candle(ROWS)
    bot.dd.save_historic_predictions_to_disk()
    (archive,) = bot.freqai.full_path.glob("sub-train-*/*_model.keras")
    archive.write_bytes(archive.read_bytes()[:1000])

    again = start()
    dk = FreqaiDataKitchen(again.config, True, PAIR)
    assert again.dd.load_data(PAIR, dk) is None
    assert str(archive) in caplog.text
    assert archive.with_name(f"{archive.name}.damaged").is_file()
    assert again.dd.get_pair_dict_info(PAIR) == ("", 0)
    again.train(SECOND)
    assert again.new_candle(ROWS + 1)["do_predict"].tolist()[-2:] == [1, 1]
