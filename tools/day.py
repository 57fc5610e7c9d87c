"""Let a bot live through a day in which things happen to it, and judge what it logs about them.

    python -m tools.day                         1,440 candles, about an hour
    python -m tools.day 48 build/two-hours      so many candles, in another folder
    python -m tools.day 48 build/two-hours 1    with a second between the starts of the bot's passes

The real `freqtrade trade --dry-run` on the loopback exchange, with candles of one minute. Its clock
is set forward to the next candle as soon as it has been through its pairs and trains none (see
`clock.py`). Over the day its settings are changed and changed back, it is killed, its disk is full
for a while, a pair joins, and one leaves.

Each of these says which ERRORs it announces. Any other ERROR or traceback is a problem, and so is a
candle without a prediction at another time. The exit code is 1 then.

`user_data/models` is a small file system in memory, which can be full. To mount it the command
starts again in a mount namespace of its own, without root in a user namespace. Linux only.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade_client.ft_rest_client import FtRestClient
from rich.console import Console

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.log import LogSummary
from freqai_lstm.rehearse.bot import Bot, BotFailed
from freqai_lstm.rehearse.narration import Narrator
from freqai_lstm.rehearse.rehearsal import NAMES, Rehearsal, RehearsalFailed
from freqai_lstm.rehearse.summary import STEP, read_trades
from freqai_lstm.watch.history import read_history
from tools.clock import Clock


ROOT = Path(__file__).resolve().parents[1]
CANDLES = 1440
DISK = "64m"  # for models and predictions
OWN_NAMESPACE = "FREQAI_LSTM_DAY"
PATIENCE = 60.0  # seconds for a pass over the pairs, before the clock goes on without it
RELOADED = "Changing state from RELOAD_CONFIG to: RUNNING"
IN_DATABASE = "Error during cleanup .* KeyboardInterrupt During handling"
GRACE = 3 * STEP  # after something is over


@dataclass
class Event:
    """Something that happens from one share of the day to another.

    :param announced: what an ERROR may say meanwhile, a regular expression.
    :param predicts: whether each candle is predicted meanwhile.
    """

    name: str
    start: float
    end: float
    begin: Callable[[Bot], None]
    finish: Callable[[Bot], None]
    announced: str = "(?!)"
    predicts: bool = True
    began: float = 0.0
    ended: float = 0.0

    def covers(self, moment: float) -> bool:
        """Whether a time, in seconds since 1970, is within it or shortly after it.

        A candle may have closed just before it began, and not been seen yet.
        """
        return self.began - STEP <= moment <= self.ended + GRACE


def enter_namespace() -> None:
    """Start this command again where it may mount, unless that has been done."""
    if OWN_NAMESPACE in os.environ:
        return
    unshare = shutil.which("unshare")
    if unshare is None or find_spec("time_machine") is None:
        raise SystemExit("A day needs Linux with unshare (package util-linux), and time-machine.")
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = [unshare, "--mount", *as_root, sys.executable, "-m", "tools.day", *sys.argv[1:]]
    os.execve(unshare, command, os.environ | {OWN_NAMESPACE: "1"})


def _time(text: str | None) -> float:
    """Seconds since 1970 of a REST server's date, 0 where there is none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


class Day:
    """One day of a bot with two pairs, and a third that joins; `run` does all of it.

    :param candles: how many candles of a minute it has.
    :param throttle: `process_throttle_secs`; 0 is soonest at the day's end, and takes a core whole.
    """

    def __init__(
        self, workdir: Path, *, candles: int = CANDLES, throttle: int = 0, console: Console
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._password = secrets.token_urlsafe(16)
        self._client = FtRestClient(f"http://127.0.0.1:{port}", "rehearsal", self._password)
        self._pairlist, self._filler = workdir / "pairs.json", workdir / "user_data/models/filler"
        api = {"enabled": True, "listen_ip_address": "127.0.0.1", "listen_port": port}
        api |= {"username": "rehearsal", "password": "", "jwt_secret_key": secrets.token_hex(32)}
        remote = {"method": "RemotePairList", "pairlist_url": f"file:///{self._pairlist}"}
        self.rehearsal = Rehearsal(
            workdir,
            minutes=candles,
            pairs=3,
            overrides={
                "exchange": {"pair_whitelist": [f"{name}/USDT:USDT" for name in NAMES[:2]]},
                "pairlists": [remote | {"number_assets": 8, "refresh_period": 60}],
                "api_server": api,
                "internals": {"process_throttle_secs": throttle},  # the clock waits for it already
                # Few features, so that a pass over the pairs takes a second.
                "freqai": {
                    "live_retrain_hours": 1,
                    "expiration_hours": 4,
                    "purge_old_models": 2,
                    "feature_parameters": {
                        "include_timeframes": ["1m"],
                        "include_corr_pairlist": ["BTC/USDT:USDT"],
                        "indicator_periods_candles": [10],
                    },
                },
            },
        )
        self.rehearsal.narrator = Narrator(console, candles, every=60)
        self.late = 0  # passes that PATIENCE was not enough for
        disk = r"No space left on device"
        self.events = [
            Event(
                "settings",
                *(1 / 8, 1 / 6),
                lambda bot: self._reload(bot, {"indicator_periods_candles": [30]}),
                lambda bot: self._reload(bot, {}),
                announced="its saved model was made with something else",
                predicts=False,
            ),
            Event(
                "kill -9", 1 / 3, 1 / 3, lambda bot: bot.kill(), lambda bot: None, predicts=False
            ),
            Event("full disk", 1 / 2, 5 / 9, self._fill, self._empty, announced=disk),
            Event("a pair joins", 2 / 3, 3 / 4, lambda bot: self._list(0, 1, 2), lambda bot: None),
            Event("a pair leaves", 5 / 6, 5 / 6, lambda bot: self._list(0, 2), lambda bot: None),
            # Where it comes while freqtrade reads or writes a trade, freqtrade says so itself.
            Event("Ctrl-C", 1, 1, lambda bot: None, self._interrupt, announced=IN_DATABASE),
        ]

    def run(self) -> dict[str, Any]:
        """Let the day pass; return what is written to `summary.json`.

        :raises RehearsalFailed: the folder is not ours, or nothing can be mounted.
        :raises BotFailed: the bot ended by itself or would not end.
        """
        rehearsal = self.rehearsal
        rehearsal.prepare()
        self._list(0, 1)
        self._mount()
        clock = Clock(rehearsal.workdir / "clock")
        rehearsal.module, rehearsal.now = clock.module, clock.now
        market = rehearsal.workdir / "market"
        ahead = int(rehearsal.minutes) + 120
        with LoopbackExchange(market, live="1m", ahead=ahead, clock=clock.now) as exchange:
            rehearsal.configs.append(exchange.write_config(rehearsal.workdir / "endpoints.json"))
            return rehearsal.write(self._trade(clock))

    def _trade(self, clock: Clock) -> dict[str, Any]:
        began = clock.now()
        steps = [(event.start, event, event.begin) for event in self.events]
        steps += [(event.end, event, event.finish) for event in self.events]
        steps.sort(key=lambda step: step[0])
        tell = self.rehearsal.narrator.tell
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        env = {"FREQTRADE__API_SERVER__PASSWORD": self._password, "PYTHONPATH": paths}
        while steps:
            with self.rehearsal.bot(env) as bot:
                while steps and bot.returncode is None:
                    share, event, act = steps.pop(0)
                    self._pass_time(bot, clock, began + share * self.rehearsal.minutes * STEP)
                    tell(f"{event.name}: {'begins' if act is event.begin else 'is over'}", "bold")
                    if act is event.begin:
                        event.began = clock.now()
                    act(bot)
                    event.ended = clock.now()
        return self._summary(began, clock.now())

    def _pass_time(self, bot: Bot, clock: Clock, until: float) -> None:
        """Let candle after candle close, each as soon as the bot has nothing to do."""
        bot.wait_for("to: RUNNING", timeout=300)
        while (left := until - (now := clock.now())) > 0:
            if not bot.watch(PATIENCE, until=partial(self._idle, bot, clock, now)):
                self.late += 1
            # A second after the close, as freqtrade waits for the exchange to publish the candle.
            clock.set_forward(min(left, STEP + 1 - clock.now() % STEP))

    def _idle(self, bot: Bot, clock: Clock, since: float) -> bool:
        """Whether the bot has been through its last pair since then, and trains none.

        Between two trainings it trains none either: each pair must have a model.
        """
        since = max(since, clock.now() // STEP * STEP)  # a candle may have closed while it trained
        if not since < self._processed():
            return False
        pairs = self._listed()
        coins, models = {pair.split("/")[0] for pair in pairs}, self.rehearsal.models
        if not all(any(models.glob(f"sub-train-{coin}_*")) for coin in coins):
            return False
        last = pairs[-1]
        analyzed = _time((self._client.pair_candles(last, "1m", 1) or {}).get("last_analyzed"))
        # The pass may go on, and an earlier one may have ended just now.
        if not since < analyzed < self._processed():
            return False
        text = bot.output()
        ended = max(map(text.rfind, ("trained on ", "raised exception", "to: RUNNING")))
        return ended > text.rfind("Starting training")

    def _processed(self) -> float:
        return _time((self._client.health() or {}).get("last_process"))

    # --- what happens ---

    def _listed(self) -> list[str]:
        pairs: list[str] = json.loads(self._pairlist.read_text(encoding="utf-8"))["pairs"]
        return pairs

    def _list(self, *numbers: int) -> None:
        pairs = [self.rehearsal.pairs[number] for number in numbers]
        self._pairlist.write_text(json.dumps({"pairs": pairs, "refresh_period": 60}))

    def _reload(self, bot: Bot, features: dict[str, Any]) -> None:
        settings = json.loads(json.dumps(self.rehearsal.settings))
        settings["freqai"]["feature_parameters"] |= features
        self.rehearsal.configs[1].write_text(json.dumps(settings, indent=4), encoding="utf-8")
        done = bot.output().count(RELOADED)
        self._client.reload_config()
        bot.wait_for(RELOADED, count=done + 1, timeout=300)

    def _interrupt(self, bot: Bot) -> None:
        self.rehearsal.narrator.tell(f"Stopped by Ctrl-C in {bot.interrupt():.1f} s")

    def _mount(self) -> None:
        models = self._filler.parent
        models.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={DISK}", "models", str(models)]
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RehearsalFailed(f"A small file system could not be mounted: {done.stderr}")

    def _fill(self, bot: Bot) -> None:
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(2**16))
            except OSError as full:
                self.rehearsal.narrator.tell(str(full))

    def _empty(self, bot: Bot) -> None:
        self._filler.unlink()

    # --- what it came to ---

    def _summary(self, began: float, ended: float) -> dict[str, Any]:
        rehearsal = self.rehearsal
        logs = [LogSummary.read(bot.output()) for bot in rehearsal.bots]
        errors = [record for log in logs for record in log.errors]
        announced = Counter(self._announced(record) for record in errors)
        problems = [f"logged: {record}" for record in errors if not self._announced(record)]
        predicted = {}
        history, silent = read_history(rehearsal.models), [e for e in self.events if not e.predicts]
        listed = self._listed()
        for pair in rehearsal.pairs:
            frame = history.get(pair, pd.DataFrame({"do_predict": [], "date_pred": []}))
            valid = frame.loc[frame["do_predict"] == 1, "date_pred"]
            dates = pd.to_datetime(valid, utc=True).to_numpy("datetime64[s]").astype(int)
            closes = {int(date) + STEP for date in dates}
            predicted[pair] = len(closes)
            end = int(ended // STEP) * STEP if pair in listed else max(closes, default=0)
            lost = [
                datetime.fromtimestamp(close, UTC).strftime("%H:%M")
                for close in range(min(closes, default=end), end, STEP)
                if close not in closes and not any(event.covers(close) for event in silent)
            ]
            if lost or not closes:
                problems.append(f"{pair}: {len(closes)} candles predicted, and not {lost}")
        return {
            "candles": int((ended - began) // STEP),
            "predicted": predicted,
            "trainings": sum(len(log.trained) for log in logs),
            "trades": read_trades(rehearsal.database),
            "passes_late": self.late,
            "announced": {name: count for name, count in announced.items() if name},
            "memory": [(max(bot.memory), bot.memory[-1]) for bot in rehearsal.bots],
            "warnings": dict(
                Counter(re.sub(r"\S+/\S+|[\d.]+", "#", w) for log in logs for w in log.warnings)
            ),
            "problems": problems,
        }

    def _announced(self, record: str) -> str:
        when, text = datetime.fromisoformat(record[:19]).timestamp(), " ".join(record.split())
        found = [e.name for e in self.events if e.covers(when) and re.search(e.announced, text)]
        return found[0] if found else ""


def main() -> None:
    """Run the day, print what it came to, and exit with 1 where there are problems."""
    candles = int(sys.argv[1]) if len(sys.argv) > 1 else CANDLES
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "build/day").resolve()
    throttle = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    enter_namespace()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        console = Console(log_path=False, markup=False)
        summary = Day(folder, candles=candles, throttle=throttle, console=console).run()
    except (RehearsalFailed, BotFailed) as error:
        raise SystemExit(f"The day failed: {error}") from error
    print(json.dumps(summary, indent=2))
    raise SystemExit(1 if summary["problems"] else 0)


if __name__ == "__main__":
    main()
