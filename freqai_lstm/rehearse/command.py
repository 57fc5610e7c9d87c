"""A rehearsal: the real `freqtrade trade --dry-run` for some minutes, on the loopback exchange.

    freqai-lstm rehearse --minutes 10 [--pairs 8] [--kill] [--from-backtest]

A generated market is replayed as one-minute candles, FreqAI trains anew every few minutes, the
thresholds are low, so that within minutes there are trainings, predictions and trades. With
`--kill` the bot is killed (kill -9) half way and started again. With `--from-backtest` a backtest
trains the models first, and the bot is to predict with them from its first candle on, training
none itself. SIGINT ends it. Then its history, log and trades are read, and its predictions are
compared with those of the backtest path.

The exit code is not 0 when a training failed, an ERROR or a traceback was logged, candles were
missed or the comparison did not hold. `summary.json` in the work folder holds all figures.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.rehearse.bot import Bot, BotFailed
from freqai_lstm.rehearse.parity import ParityFailed, check_parity
from freqai_lstm.rehearse.summary import BotRun, as_table, read_history, summarize


PROJECT = Path(__file__).resolve().parents[2]
PLUGINS = ("freqaimodels/LSTMRegressor.py", "strategies/ScoreStrategy.py")
NAMES = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "LTC")
Moment = Literal["between", "training", "saving"]
# Served before "now": 1440 training candles and, for the longest timeframe, 2 * 200 start-up
# candles of 5 minutes are what FreqAI asks for; the comparison wants some more.
PAST_CANDLES = 5 * 1440
# A folder holding this file was made by a rehearsal, so a rehearsal may empty it.
MARKER = ".made-by-rehearsal"


class RehearsalFailed(RuntimeError):
    """Something went wrong; the message says what."""


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Changes to config.example.json for candles of one minute and trainings of a second."""
    return {
        "timeframe": "1m",
        "max_open_trades": len(pairs),
        # Trades open and close within minutes; -1 closes what no signal has closed by then.
        "minimal_roi": {"0": 0.12, "3": -1},
        "unfilledtimeout": {"entry": 1, "exit": 1, "exit_timeout_count": 0, "unit": "minutes"},
        "exchange": {"pair_whitelist": list(pairs)},
        "freqai": {
            "identifier": "rehearsal",
            "conv_width": 12,
            "train_period_days": 1,
            "live_retrain_hours": 0.04,
            "expiration_hours": 1,
            # The comparison needs every model that ever predicted.
            "purge_old_models": 0,
            "activate_tensorboard": False,
            "feature_parameters": {
                "include_timeframes": ["1m", "5m"],
                "include_corr_pairlist": list(pairs[:2]),
            },
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


class Rehearsal:
    """One rehearsal, step by step; `run` does all of them.

    :param workdir: emptied first, if an earlier rehearsal made it.
    :param minutes: how long the bot runs, a restart included.
    :param pairs: how many pairs, 1 to 8.
    :param kill: None, or a name in `Moment`: when kill -9 comes, after half the time.
    :param from_backtest: train by a backtest under the same identifier, then only predict.
    :param overrides: merged into `settings`, block by block.
    :param plugins: the user folder that the plugin files are copied from.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        minutes: float,
        pairs: int = 2,
        kill: str | None = None,
        from_backtest: bool = False,
        overrides: dict[str, Any] | None = None,
        plugins: Path = PROJECT / "user_data",
    ) -> None:
        self._plugins = plugins
        self.workdir, self.minutes, self.kill = workdir, minutes, kill
        self.from_backtest = from_backtest
        self.pairs = [f"{name}/USDT:USDT" for name in NAMES[:pairs]]
        self.userdir = workdir / "user_data"
        self.runs: list[BotRun] = []
        changes = FROM_BACKTEST if from_backtest else {}
        self._settings = merged(merged(settings(self.pairs), changes), overrides or {})
        self.retrain_hours = float(self._settings["freqai"]["live_retrain_hours"])
        self._ahead = int(minutes) + 120
        self.configs = [PROJECT / "config.example.json", workdir / "rehearsal.json"]

    def run(self, console: Console) -> dict[str, Any]:
        """Rehearse, compare, and write `summary.json`; its content is returned.

        :raises RehearsalFailed: the folder is not ours, or a file is missing.
        :raises BotFailed: the bot ended by itself or would not end.
        """
        self.prepare()
        with LoopbackExchange(self.workdir / "market", live="1m", ahead=self._ahead) as exchange:
            self.configs.append(exchange.write_config(self.workdir / "endpoints.json"))
            console.print(f"{len(self.pairs)} pairs, {self.minutes:g} minutes at {exchange.url}")
            if self.from_backtest:
                self.download()
                self.backtest()
            self.trade()
            console.print("The bot has ended; comparing with the backtest path.")
            self.download()
        parity = check_parity(self.configs, self.userdir, self.workdir / "served")
        summary = summarize(
            self.runs,
            self.models,
            self.database,
            parity,
            pairs=self.pairs,
            retrain_hours=self.retrain_hours,
            from_backtest=self.from_backtest,
        )
        text = json.dumps(summary, indent=2, default=str) + "\n"
        (self.workdir / "summary.json").write_text(text, encoding="utf-8")
        return summary

    @property
    def models(self) -> Path:
        """FreqAI's folder: models and prediction history."""
        return self.userdir / "models" / "rehearsal"

    @property
    def database(self) -> Path:
        """The bot's trades."""
        return self.workdir / "trades.sqlite"

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
        self.workdir.mkdir(parents=True, exist_ok=True)
        (self.workdir / MARKER).touch()
        for plugin in PLUGINS:
            source, target = self._plugins / plugin, self.userdir / plugin
            if not source.is_file():
                raise RehearsalFailed(f"{source} is missing; a complete checkout is needed.")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
        parameters = self.userdir / "strategies" / "ScoreStrategy.json"
        parameters.write_text(json.dumps(PARAMETERS), encoding="utf-8")
        self.configs[1].write_text(json.dumps(self._settings, indent=4) + "\n", encoding="utf-8")
        # Hours, replayed as minutes: a market that moves enough in a minute to be traded.
        start = datetime(2024, 1, 1, tzinfo=UTC)
        end = start + timedelta(hours=PAST_CANDLES + self._ahead)
        market = self.workdir / "market"
        generate_market(market, self.pairs, start=start, end=end, timeframes=["1h"])

    def trade(self) -> None:
        """Let the bot run, kill it where that is wanted, and end it by SIGINT."""
        half = self.minutes * 60 / 2 if self.kill else 0.0
        if self.kill:
            with self._bot() as bot:
                run = self._begin(bot)
                bot.watch(half)
                self._wait_for_moment(bot)
                bot.kill()
                run.finish(saved=read_history(self.models))
        with self._bot() as bot:
            run = self._begin(bot)
            bot.watch(self.minutes * 60 - half)
            run.finish(stop_seconds=bot.interrupt())

    def download(self) -> None:
        """Download the served candles, as a user would before a backtest."""
        since = int(time.time()) - (PAST_CANDLES - 10) * 60
        args = ["download-data", *self._config_args(), "--userdir", str(self.userdir)]
        args += ["--datadir", str(self.workdir / "served"), "--timerange", f"{since}-"]
        run_freqtrade([*args, "--timeframes", "1m", "5m"], cwd=self.workdir)

    def backtest(self) -> None:
        """Train one model per pair by `freqtrade backtesting`, up to two hours before now."""
        now = int(time.time())
        args = ["backtesting", *self._config_args(), "--userdir", str(self.userdir)]
        args += ["--datadir", str(self.workdir / "served"), "--timerange", f"{now - 7200}-{now}"]
        args += ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy", "--cache", "none"]
        run_freqtrade(args, cwd=self.workdir)

    def _config_args(self) -> list[str]:
        return [part for path in self.configs for part in ("-c", str(path))]

    def _bot(self) -> Bot:
        args = ["trade", "--dry-run", *self._config_args(), "--userdir", str(self.userdir)]
        args += ["--datadir", str(self.workdir / "data"), "--db-url", f"sqlite:///{self.database}"]
        args += ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy"]
        return Bot(args, log=self.workdir / "bot.log", cwd=self.workdir)

    def _begin(self, bot: Bot) -> BotRun:
        run = BotRun(bot)
        self.runs.append(run)
        return run

    def _wait_for_moment(self, bot: Bot) -> None:
        patience = 2 * self.retrain_hours * 3600 + 60
        if self.kill == "training":
            done = len(bot.wait_for("Starting training", timeout=patience))
            bot.wait_for("Starting training", count=done + 1, timeout=patience)
        elif self.kill == "saving":
            deadline = time.monotonic() + patience
            while not any(self.models.glob("sub-train-*/~*")):
                if time.monotonic() > deadline or bot.returncode is not None:
                    raise BotFailed(f"No model was being saved within {patience:.0f} s.")


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put over it, block by block."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def rehearse(
    minutes: Annotated[float, typer.Option(help="how long the bot runs")] = 10,
    pairs: Annotated[int, typer.Option(min=1, max=len(NAMES), help="how many pairs")] = 2,
    kill: Annotated[bool, typer.Option("--kill", help="kill -9 half way, and start again")] = False,
    kill_at: Annotated[
        Moment | None, typer.Option(help="kill -9 at this moment after half the time")
    ] = None,
    from_backtest: Annotated[
        bool, typer.Option("--from-backtest", help="predict with models of a backtest")
    ] = False,
    workdir: Annotated[Path, typer.Option(help="is emptied first")] = Path("build/rehearsal"),
) -> None:
    """Run `freqtrade trade --dry-run` on a generated market, replayed as one-minute candles."""
    # `timeout` and `kill` must not leave a bot behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    console = Console()
    workdir = workdir.resolve()
    rehearsal = Rehearsal(
        workdir,
        minutes=minutes,
        pairs=pairs,
        kill=kill_at or ("between" if kill else None),
        from_backtest=from_backtest,
    )
    try:
        summary = rehearsal.run(console)
    except (RehearsalFailed, BotFailed, ParityFailed, FreqtradeFailed) as error:
        typer.secho(f"The rehearsal failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("\nInterrupted; the bot was killed.")
        raise typer.Exit(130) from None
    console.print(as_table(summary))
    for problem in summary["problems"]:
        console.print(f"Problem: {problem}", style="red", markup=False, soft_wrap=True)
    console.print(f"{workdir / 'summary.json'}, bot.log beside it", soft_wrap=True)
    raise typer.Exit(1 if summary["problems"] else 0)
