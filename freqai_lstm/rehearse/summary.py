"""What a rehearsal showed: its log, prediction history, models, trades and memory, in figures."""

from __future__ import annotations

import pickle
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from freqai_lstm.rehearse.bot import Bot, LogSummary
from freqai_lstm.rehearse.parity import TOLERANCE, Parity


History = dict[str, pd.DataFrame]
STEP = 60  # seconds per candle
_CURVE_POINTS = 120
_NOTHING = pd.DataFrame({"date_pred": pd.DatetimeIndex([], tz="UTC"), "do_predict": []})


@dataclass
class BotRun:
    """One life of the bot. `saved` is the history on disk at the moment of its kill -9."""

    bot: Bot
    started: float = field(default_factory=time.time)
    ended: float = 0.0
    stop_seconds: float | None = None
    saved: History | None = None

    def finish(self, *, stop_seconds: float | None = None, saved: History | None = None) -> None:
        """It has ended: by SIGINT, after `stop_seconds`, or killed, leaving `saved`."""
        self.ended, self.stop_seconds, self.saved = time.time(), stop_seconds, saved

    @property
    def killed(self) -> bool:
        """Whether kill -9 ended it."""
        return self.saved is not None


def read_history(models: Path) -> History:
    """FreqAI's saved predictions by pair; its backup where the file was cut off while written."""
    for name in ("historic_predictions.pkl", "historic_predictions.backup.pkl"):
        path = models / name
        if path.exists():
            try:
                history: History = pd.read_pickle(path)
            except (EOFError, pickle.UnpicklingError):
                continue
            return history
    return {}


def summarize(
    runs: list[BotRun],
    models: Path,
    database: Path,
    parity: Parity,
    *,
    pairs: Sequence[str],
    retrain_hours: float,
    from_backtest: bool = False,
) -> dict[str, Any]:
    """All figures of a rehearsal, for `summary.json`.

    :param models: FreqAI's folder of the identifier.
    :param pairs: the bot's whitelist; each must have been predicted.
    :param retrain_hours: `freqai.live_retrain_hours`.
    :param from_backtest: whether models of a backtest were to serve, without any training.
    :return: figures by name; `problems`, a list of sentences, is empty when all went well.
    """
    history = read_history(models)
    logs = [LogSummary.read(run.bot.output()) for run in runs]
    candles = [
        candles_of(pair, history.get(pair, _NOTHING), run, log)
        for pair in pairs
        for run, log in zip(runs, logs, strict=True)
    ]
    passes = [passed for log in logs for passed in log.passes]
    summary: dict[str, Any] = {
        "minutes": round(sum(run.ended - run.started for run in runs) / 60, 1),
        "pairs": len(pairs),
        "candles_predicted": sum(row["predicted"] for row in candles),
        "candles_missed": sum(row["missed"] for row in candles),
        "candles_lost_by_kill": sum(row["lost"] for row in candles),
        "candles": candles,
        "trainings": sum(len(log.trained) for log in logs),
        "trainings_failed": sum(len(log.failed_trainings) for log in logs),
        "trainings_too_early": _too_early(models, retrain_hours),
        "training_seconds_worst": max((s for log in logs for _, s in log.trained), default=None),
        "trades": read_trades(database),
        "passes": len(passes),
        "pass_seconds_median": _median([seconds for _, seconds in passes]),
        "pass_seconds_worst": max((seconds for _, seconds in passes), default=None),
        # From the candle's close to the end of the pass; the first pass of a life comes any time.
        "seconds_after_close_worst": max(
            (moment % STEP for log in logs for moment, _ in log.passes[1:]), default=None
        ),
        "memory": [memory_curve(run) for run in runs],
        "stop_seconds": [run.stop_seconds for run in runs if not run.killed],
        "warnings": dict(Counter(_text(record) for log in logs for record in log.warnings)),
        "errors": [record for log in logs for record in log.errors],
        "late": [record for log in logs for record in log.late],
        "parity": {
            "candles": len(parity.candles),
            "models": int(parity.candles["model"].nunique()) if len(parity.candles) else 0,
            "older_model_in_force": int(parity.candles["older"].sum())
            if len(parity.candles)
            else 0,
            "worst_difference": parity.worst,
            "tolerance": TOLERANCE,
            "holds": parity.holds,
        },
        "history_kept": all(_kept(run.saved, history) for run in runs if run.saved is not None),
    }
    summary["problems"] = problems(summary, logs, from_backtest=from_backtest)
    return summary


def candles_of(pair: str, frame: pd.DataFrame, run: BotRun, log: LogSummary) -> dict[str, Any]:
    """What became of the candles of one pair that closed during one life of the bot.

    :return: `predicted`; `missed` after the first predicted one; `before_first`, closed between
        the start and that one; `lost`, predicted but not yet on disk when kill -9 came.
    """
    kept = frame if run.saved is None else run.saved.get(pair, frame.iloc[:0])
    valid = kept.loc[kept["do_predict"] == 1, "date_pred"]
    opened = pd.to_datetime(valid, utc=True).to_numpy("datetime64[s]").astype(np.int64)
    opened = opened[(opened + STEP >= run.started) & (opened + STEP <= run.ended)]
    row = {"pair": pair, "killed": run.killed, "predicted": len(opened), "missed": 0, "lost": 0}
    first_close = -(-run.started // STEP) * STEP
    if len(opened) == 0 or not log.passes:
        return row | {"before_first": int((run.ended - first_close) // STEP) + 1}
    first, last = int(opened[0]), int(log.passes[-1][0] // STEP - 1) * STEP
    if run.killed:
        row["lost"] = max(0, (last - int(opened[-1])) // STEP)
        last = int(opened[-1])
    row["missed"] = (last - first) // STEP + 1 - len(opened)
    return row | {"before_first": int((first + STEP - first_close) // STEP)}


def memory_curve(run: BotRun) -> dict[str, Any]:
    """Resident memory in MB over the minutes since the start."""
    samples = np.array(run.bot.memory)
    if len(samples) == 0:
        return {"peak": None, "end": None, "curve": []}
    pick = np.unique(np.linspace(0, len(samples) - 1, _CURVE_POINTS).astype(int))
    curve = [[round((t - run.started) / 60, 2), round(mb, 1)] for t, mb in samples[pick]]
    return {"peak": round(samples[:, 1].max(), 1), "end": curve[-1][1], "curve": curve}


def read_trades(database: Path) -> dict[str, int]:
    """Number of dry-run trades: all, closed, short."""
    if not database.exists():
        return {"all": 0, "closed": 0, "short": 0}
    query = "select count(*), coalesce(sum(is_open = 0), 0), coalesce(sum(is_short), 0) from trades"
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute(query).fetchone()
    return dict(zip(("all", "closed", "short"), map(int, row), strict=True))


def problems(
    summary: dict[str, Any], logs: list[LogSummary], *, from_backtest: bool = False
) -> list[str]:
    """What a good rehearsal does not show."""
    found = [f"logged: {record}" for record in summary["errors"]]
    if summary["trainings_failed"]:
        found.append(f"{summary['trainings_failed']} trainings failed")
    if not summary["trainings"] and not from_backtest:
        found.append("no training ended")
    # A life that ends by kill -9 may leave nothing on disk; one that ends by SIGINT may not.
    never = [row["pair"] for row in summary["candles"] if not (row["predicted"] or row["killed"])]
    if never:
        found.append(f"never predicted: {', '.join(never)}")
    if summary["candles_missed"]:
        found.append(f"{summary['candles_missed']} candles were missed: see 'candles'")
    if summary["trainings_too_early"]:
        found.append(f"trained before their time: {summary['trainings_too_early']}")
    if not summary["history_kept"]:
        found.append("predictions saved before the kill are gone or changed")
    if summary["trainings"] and from_backtest:
        found.append("the bot trained although the backtest's models were not due")
    # The first life of a bot has to train first, unless a backtest did.
    later = logs if from_backtest else logs[1:]
    again = [record for log in later for record in log.warnings if "No model ready" in record]
    if again:
        found.append(f"the saved model was not used: {again[0]}")
    parity = summary["parity"]
    if parity["candles"] and not parity["holds"]:
        found.append(
            f"live and backtest differ by {parity['worst_difference']:.1e} label scales; "
            f"at most {TOLERANCE:.0e} is allowed"
        )
    return found


def as_table(summary: dict[str, Any]) -> Table:
    """The summary for a terminal."""
    table = Table("What", "Figure", title="Rehearsal (generated market)")
    trades, parity, peaks = summary["trades"], summary["parity"], summary["memory"]
    for what, figure in (
        ("minutes, pairs", f"{summary['minutes']}, {summary['pairs']}"),
        ("candles predicted", summary["candles_predicted"]),
        ("candles missed", summary["candles_missed"]),
        ("predictions not yet saved at kill -9", summary["candles_lost_by_kill"]),
        ("trainings, failed", f"{summary['trainings']}, {summary['trainings_failed']}"),
        ("longest training", _seconds(summary["training_seconds_worst"])),
        ("trades, closed, short", f"{trades['all']}, {trades['closed']}, {trades['short']}"),
        ("pass over all pairs, median", _seconds(summary["pass_seconds_median"])),
        ("pass over all pairs, worst", _seconds(summary["pass_seconds_worst"])),
        ("latest end of a pass after a close", _seconds(summary["seconds_after_close_worst"])),
        ("memory, peak and end", "; ".join(f"{m['peak']} and {m['end']} MB" for m in peaks)),
        ("seconds to stop", ", ".join(f"{s:.1f}" for s in summary["stop_seconds"])),
        ("warnings", sum(summary["warnings"].values())),
        ("live against backtest, candles", f"{parity['candles']} of {parity['models']} models"),
        ("live against backtest, worst", f"{parity['worst_difference']:.1e} label scales"),
    ):
        table.add_row(what, str(figure))
    return table


def _too_early(models: Path, retrain_hours: float) -> list[str]:
    early = []
    stamps: dict[str, list[int]] = {}
    for file in models.glob("sub-train-*/*_model.*"):
        base, _, stamp = file.parent.name.removeprefix("sub-train-").rpartition("_")
        stamps.setdefault(base, []).append(int(stamp))
    for base, times in stamps.items():
        for before, after in pairwise(sorted(times)):
            if after - before < retrain_hours * 3600:
                early.append(f"{base}: {after - before} s after the one before")
    return early


def _kept(saved: History, history: History) -> bool:
    for pair, before in saved.items():
        after = history.get(pair, before.iloc[:0]).head(len(before))
        # FreqAI fills what is missing with 0 when it loads the file.
        numbers = before.fillna(0).select_dtypes("number")
        if not np.array_equal(numbers.to_numpy(float), after[numbers.columns].to_numpy(float)):
            return False
    return True


def _text(record: str) -> str:
    return record.splitlines()[0].split(" - ", 2)[-1]


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
