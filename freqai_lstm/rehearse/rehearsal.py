"""The steps of a rehearsal: prepare, train by a backtest, trade, kill, restart, stop, compare."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from freqtrade.misc import deep_merge_dicts
from rich.console import Console

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import log_records, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE
from freqai_lstm.rehearse.bot import Bot, BotFailed
from freqai_lstm.rehearse.fault import (
    LIMITS,
    STRATEGY,
    FaultName,
    alarms,
    break_features,
    change_regime,
)
from freqai_lstm.rehearse.narration import Narrator
from freqai_lstm.rehearse.parity import check_parity
from freqai_lstm.rehearse.summary import summarize
from freqai_lstm.watch.history import read_history


NAMES = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "LTC")
Moment = Literal["between", "training", "saving"]
# Served before "now": 1440 training candles and, for the longest timeframe, 2 * 200 start-up
# candles of 5 minutes are what FreqAI asks for; the comparison wants some more.
PAST_CANDLES = 5 * 1440
# A folder holding this file was made by a rehearsal, so a rehearsal may empty it.
MARKER = ".made-by-rehearsal"

# Changes to config.example.json for candles of one minute and trainings of a second.
SETTINGS: dict[str, Any] = {
    "timeframe": "1m",
    # Trades open and close within minutes; -1 closes what no signal has closed by then.
    "minimal_roi": {"0": 0.12, "3": -1},
    "unfilledtimeout": {"entry": 1, "exit": 1, "exit_timeout_count": 0, "unit": "minutes"},
    "freqai": {
        "identifier": "rehearsal",
        "conv_width": 12,
        "train_period_days": 1,
        "live_retrain_hours": 0.04,
        "expiration_hours": 1,
        # The comparison needs every model that ever predicted.
        "purge_old_models": 0,
        "activate_tensorboard": False,
        # One candle ahead: the score of the same candle needs no LSTM, ridge regression has it.
        "feature_parameters": {"include_timeframes": ["1m", "5m"], "label_period_candles": 1},
        "model_training_parameters": {"units": 16, "epochs": 8},
    },
    "internals": {"process_throttle_secs": 2},
}
# Models up to this old, as a backtest leaves them, serve without being trained anew.
FROM_BACKTEST = {
    "freqai": {
        "backtest_period_days": 1 / 12,
        "live_retrain_hours": 24,
        "expiration_hours": 24,
    }
}
PARAMETERS = {
    "strategy_name": "ScoreStrategy",
    "params": {
        "buy": {"threshold_buy": 0.05},
        "sell": {"threshold_sell": 0.0},
        "protection": {"cooldown": 1},
    },
    "ft_stratparam_v": 1,
}


class RehearsalFailed(RuntimeError):
    """Something went wrong; the message says what."""


class Rehearsal:
    """One rehearsal, step by step; `run` does all of them.

    `bots` holds the lives of the bot, `configs` its configuration files, in their order. `module`
    and `now` are the bots' command and clock.

    :param workdir: emptied first, if an earlier rehearsal made it.
    :param minutes: how long the bot runs, a restart included.
    :param pairs: how many pairs, 1 to 8.
    :param kill: None, or when kill -9 comes, after half the time.
    :param from_backtest: train by a backtest under the same identifier, then only predict.
    :param fault: what breaks after half the time, see `fault.py`; nothing is compared then.
    :param overrides: merged into `SETTINGS`, block by block.
    :param console: where it tells what happens.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        minutes: float,
        pairs: int = 2,
        kill: Moment | None = None,
        from_backtest: bool = False,
        fault: FaultName | None = None,
        overrides: dict[str, Any] | None = None,
        console: Console | None = None,
    ) -> None:
        self.workdir, self.minutes, self.kill = workdir, minutes, kill
        self.from_backtest, self.fault = from_backtest, fault
        self.strategy = STRATEGY if fault == "feature" else "ScoreStrategy"
        self.pairs = [f"{name}/USDT:USDT" for name in NAMES[:pairs]]
        self.bots: list[Bot] = []
        self.settings: dict[str, Any] = {
            "max_open_trades": pairs,
            "exchange": {"pair_whitelist": self.pairs},
            "freqai": {"feature_parameters": {"include_corr_pairlist": self.pairs[:2]}},
        }
        alarm = {"freqai": {"watch": LIMITS}} if fault else {}
        back = FROM_BACKTEST if from_backtest else {}
        for changes in (SETTINGS, back, alarm, overrides or {}):
            deep_merge_dicts(changes, self.settings)
        self.configs = [EXAMPLE_CONFIG, workdir / "rehearsal.json"]
        self.userdir = workdir / "user_data"
        self.models = self.userdir / "models" / self.settings["freqai"]["identifier"]
        self.database = workdir / "trades.sqlite"
        self._ahead = int(minutes) + 120
        self.module: Sequence[str] = ("freqtrade",)
        self.now: Callable[[], float] = time.time
        self.narrator = Narrator(console or Console(quiet=True), minutes)

    def run(self) -> dict[str, Any]:
        """Rehearse, compare, and write `summary.json`; its content is returned.

        :raises RehearsalFailed: the folder is not ours.
        :raises BotFailed: the bot ended by itself or would not end.
        """
        self.narrator.tell(f"Rehearsal of {self.minutes:g} minutes with {len(self.pairs)} pairs")
        self.prepare()
        with LoopbackExchange(self.workdir / "market", live="1m", ahead=self._ahead) as exchange:
            self.configs.append(exchange.write_config(self.workdir / "endpoints.json"))
            self.narrator.tell(f"The generated market is served at {exchange.url}")
            if self.from_backtest:
                self.narrator.tell("Downloading candles, then training by a backtest")
                self.download()
                self.backtest()
            since = (int(time.time() + self.minutes * 30) // 60 + 1) * 60
            if self.fault == "feature":
                break_features(self.userdir / "strategies", since)
            self.trade()
            if self.fault:
                records = [record for bot in self.bots for record in log_records(bot.output())]
                summary = {"fault": self.fault, "candles": alarms(records, self.pairs, since)}
                return self.write(summary)
            self.narrator.tell("Downloading candles, then predicting again as a backtest does")
            self.download()
        parity = check_parity(self.configs, self.userdir, self.workdir / "served", self.models)
        summary = summarize(
            self.bots,
            self.models,
            self.database,
            parity,
            pairs=self.pairs,
            retrain_hours=self.settings["freqai"]["live_retrain_hours"],
            from_backtest=self.from_backtest,
        )
        return self.write(summary)

    def write(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write `summary.json`; return the summary."""
        text = json.dumps(summary, indent=2, default=str) + "\n"
        (self.workdir / "summary.json").write_text(text, encoding="utf-8")
        return summary

    def prepare(self) -> None:
        """An empty work folder with market, plugin files, parameters and configuration in it.

        :raises RehearsalFailed: the folder holds something a rehearsal did not make.
        """
        if self.workdir.exists() and any(self.workdir.iterdir()):
            if not (self.workdir / MARKER).exists():
                raise RehearsalFailed(
                    f"{self.workdir} is not empty and not from an earlier rehearsal; it is left as "
                    "it is. Name another folder with --workdir."
                )
            shutil.rmtree(self.workdir)
        for plugin in (MODEL_FILE, STRATEGY_FILE):
            folder = self.userdir / plugin.parent.name
            folder.mkdir(parents=True)
            shutil.copy2(plugin, folder)
        (self.workdir / MARKER).touch()
        parameters = self.userdir / "strategies" / "ScoreStrategy.json"
        parameters.write_text(json.dumps(PARAMETERS), encoding="utf-8")
        self.configs[1].write_text(json.dumps(self.settings, indent=4) + "\n", encoding="utf-8")
        # Hours, replayed as minutes: a market that moves enough in a minute to be traded.
        start = datetime(2024, 1, 1, tzinfo=UTC)
        end = start + timedelta(hours=PAST_CANDLES + self._ahead)
        market = self.workdir / "market"
        generate_market(market, self.pairs, start=start, end=end, timeframes=["1h"])
        if self.fault == "regime":
            change_regime(market, self._ahead - int(self.minutes / 2) - 1)

    def trade(self) -> None:
        """Let the bot run, kill it where that is wanted, and end it by SIGINT."""
        seconds = self.minutes * 60
        if self.kill:
            seconds /= 2
            with self.bot() as bot:
                bot.watch(seconds)
                self._wait_for_moment(bot)
                bot.kill()
                bot.saved = read_history(self.models)
            self.narrator.tell("Killed by kill -9; starting it again", "bold")
        with self.bot() as bot:
            bot.watch(seconds)
            self.narrator.tell(f"Stopped by Ctrl-C in {bot.interrupt():.1f} s", "bold")

    def bot(self, env: Mapping[str, str] | None = None) -> Bot:
        """The next life of the bot, not started yet; `env` is added to its environment."""
        args = ["trade", "--dry-run", *self._config_args(), "--datadir", str(self.workdir / "data")]
        args += ["--db-url", f"sqlite:///{self.database}"]
        args += ["--freqaimodel", "LSTMRegressor", "-s", self.strategy]
        bot = Bot(
            args,
            log=self.workdir / f"bot-{len(self.bots) + 1}.log",
            cwd=self.workdir,
            env=env,
            module=self.module,
            now=self.now,
            observer=self.narrator.follow,
        )
        self.bots.append(bot)
        return bot

    def download(self) -> None:
        """Download the served candles, as a user would before a backtest."""
        since = int(time.time()) - (PAST_CANDLES - 10) * 60
        self._freqtrade("download-data", since, "", "--timeframes", "1m", "5m")

    def backtest(self) -> None:
        """Train one model per pair by `freqtrade backtesting`, up to two hours before now."""
        now = int(time.time())
        plugins = ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy", "--cache", "none"]
        self._freqtrade("backtesting", now - 7200, now, *plugins)

    def _freqtrade(self, command: str, since: int, until: int | str, *options: str) -> None:
        args = [command, *self._config_args(), "--datadir", str(self.workdir / "served")]
        run_freqtrade([*args, "--timerange", f"{since}-{until}", *options], cwd=self.workdir)

    def _config_args(self) -> list[str]:
        files = [part for path in self.configs for part in ("-c", str(path))]
        return [*files, "--userdir", str(self.userdir)]

    def _wait_for_moment(self, bot: Bot) -> None:
        patience = 2 * 3600 * self.settings["freqai"]["live_retrain_hours"] + 60
        if self.kill == "training":
            done = len(bot.wait_for("Starting training", timeout=patience))
            bot.wait_for("Starting training", count=done + 1, timeout=patience)
        elif self.kill == "saving":
            saving = self.models.glob
            if not bot.watch(patience, until=lambda: any(saving("sub-train-*/~*"))):
                raise BotFailed(f"No model was being saved within {patience:.0f} s.")
