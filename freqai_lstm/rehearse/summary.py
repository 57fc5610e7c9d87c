"""What a rehearsal showed: its log, prediction history, models, trades and memory, in figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from freqai_lstm.log import LogSummary
from freqai_lstm.rehearse.bot import Bot
from freqai_lstm.rehearse.parity import TOLERANCE, Parity
from freqai_lstm.watch.history import History, read_history


STEP = 60  # seconds per candle
_NOTHING = pd.DataFrame({"date_pred": pd.DatetimeIndex([], tz="UTC"), "do_predict": []})


def summarize(
    bots: Sequence[Bot],
    models: Path,
    database: Path,
    parity: Parity,
    *,
    pairs: Sequence[str],
    retrain_hours: float,
    from_backtest: bool = False,
) -> dict[str, Any]:
    """All figures of a rehearsal, for `summary.json`.

    :param bots: the lives of the bot.
    :param models: FreqAI's folder of the identifier.
    :param pairs: the bot's whitelist; each must have been predicted.
    :param retrain_hours: `freqai.live_retrain_hours`.
    :param from_backtest: whether models of a backtest were to serve, without any training.
    :return: figures by name; `problems`, a list of sentences, is empty when all went well.
    """
    history = read_history(models)
    logs = [LogSummary.read(bot.output()) for bot in bots]
    lives = list(zip(bots, logs, strict=True))
    candles = [
        candles_of(pair, history.get(pair, _NOTHING), bot, log)
        for pair in pairs
        for bot, log in lives
    ]
    trained = [seconds for log in logs for _, seconds in log.trained]
    passes = [seconds for log in logs for _, seconds in log.passes]
    # From the candle's close to the end of the pass; the first pass of a life comes any time.
    delays = [moment % STEP for log in logs for moment, _ in log.passes[1:]]
    summary: dict[str, Any] = {
        "minutes": round(sum(bot.ended - bot.started for bot in bots) / 60, 1),
        "pairs": len(pairs),
        "candles_predicted": sum(row["predicted"] for row in candles),
        "candles_missed": sum(row["missed"] for row in candles),
        "candles_lost_by_kill": sum(row["lost"] for row in candles),
        "candles": candles,
        "first_prediction_seconds": [
            log.first_prediction and log.first_prediction - bot.started for bot, log in lives
        ],
        "trainings": len(trained),
        "trainings_failed": sum(len(log.failed_trainings) for log in logs),
        "trainings_too_early": _too_early(models, retrain_hours),
        "training_seconds_worst": max(trained, default=None),
        "trades": read_trades(database),
        "passes": len(passes),
        "pass_seconds_median": float(np.median(passes)) if passes else None,
        "pass_seconds_worst": max(passes, default=None),
        "seconds_after_close_worst": max(delays, default=None),
        "memory": [
            {"peak": max(bot.memory, default=None), "end": bot.memory[-1] if bot.memory else None}
            for bot in bots
        ],
        "stop_seconds": [bot.stop_seconds for bot in bots if bot.saved is None],
        "warnings": dict(Counter(message for log in logs for message in log.warnings)),
        "errors": [record for log in logs for record in log.errors],
        "parity": {
            "candles": len(parity.candles),
            "models": len(set(parity.candles["model"])),
            "older_model_in_force": int(parity.candles["older"].sum()),
            "worst_difference": parity.worst,
            "tolerance": TOLERANCE,
            "holds": parity.holds,
        },
        "history_kept": all(_kept(bot.saved, history) for bot in bots if bot.saved is not None),
    }
    # The first life of a bot has to train first, unless a backtest did.
    no_model = [message for log in logs[not from_backtest :] for message in log.no_model]
    summary["problems"] = _problems(summary, from_backtest=from_backtest, no_model=no_model)
    return summary


def candles_of(pair: str, frame: pd.DataFrame, bot: Bot, log: LogSummary) -> dict[str, Any]:
    """What became of the candles of one pair that closed during one life of the bot.

    :return: `predicted`; `missed` after the first predicted one; `before_first`, closed between
        the start and that one; `lost`, predicted but not yet on disk when kill -9 came.
    """
    kept = frame if bot.saved is None else bot.saved.get(pair, frame.iloc[:0])
    valid = kept.loc[kept["do_predict"] == 1, "date_pred"]
    opened = pd.to_datetime(valid, utc=True).to_numpy("datetime64[s]").astype(np.int64)
    opened = opened[(opened + STEP >= bot.started) & (opened + STEP <= bot.ended)]
    killed = bot.saved is not None
    row = {"pair": pair, "killed": killed, "predicted": len(opened), "missed": 0, "lost": 0}
    first_close = -(-bot.started // STEP) * STEP
    if len(opened) == 0 or not log.passes:
        return row | {"before_first": int((bot.ended - first_close) // STEP) + 1}
    first, last = int(opened[0]), int(log.passes[-1][0] // STEP - 1) * STEP
    if killed:
        row["lost"] = max(0, (last - int(opened[-1])) // STEP)
        last = int(opened[-1])
    # A bot may end within a pass, which predicted this pair and is not logged.
    row["missed"] = (max(last, int(opened[-1])) - first) // STEP + 1 - len(opened)
    return row | {"before_first": int((first + STEP - first_close) // STEP)}


def read_trades(database: Path) -> dict[str, int]:
    """Number of dry-run trades: all, closed, short."""
    if not database.exists():
        return {"all": 0, "closed": 0, "short": 0}
    trades = pd.read_sql_query("select is_open, is_short from trades", f"sqlite:///{database}")
    closed, short = (trades["is_open"] == 0).sum(), trades["is_short"].sum()
    return {"all": len(trades), "closed": int(closed), "short": int(short)}


def _problems(
    summary: dict[str, Any], *, from_backtest: bool, no_model: Sequence[str]
) -> list[str]:
    """What a good rehearsal does not show."""
    # A life that ends by kill -9 may leave nothing on disk; one that ends by SIGINT may not.
    never = [row["pair"] for row in summary["candles"] if not (row["predicted"] or row["killed"])]
    parity, trainings = summary["parity"], summary["trainings"]
    checks = {
        f"{summary['trainings_failed']} trainings failed": summary["trainings_failed"],
        "no training ended": not trainings and not from_backtest,
        f"never predicted: {', '.join(never)}": never,
        f"{summary['candles_missed']} candles were missed: see 'candles'": summary[
            "candles_missed"
        ],
        f"trained before their time: {summary['trainings_too_early']}": summary[
            "trainings_too_early"
        ],
        "predictions saved before the kill are gone or changed": not summary["history_kept"],
        "the bot trained although the backtest's models were not due": trainings and from_backtest,
        f"the saved model was not used: {', '.join(no_model[:1])}": no_model,
        f"live and backtest differ by {parity['worst_difference']:.1e} label standard deviations; "
        f"at most {TOLERANCE:.0e} is allowed": parity["candles"] and not parity["holds"],
    }
    logged = [f"logged: {record}" for record in summary["errors"]]
    return logged + [problem for problem, found in checks.items() if found]


def _too_early(models: Path, retrain_hours: float) -> list[str]:
    """Name trainings that came before they were due.

    A pair that was trained before there was a shared network is due again once there is one.
    """
    folders = sorted({file.parent for file in models.glob("sub-train-*/*_model.*")})
    trained = [
        (*folder.name.removeprefix("sub-train-").rpartition("_"), _has_network(folder))
        for folder in folders
    ]
    return [
        f"{base}: {int(after) - int(before)} s after the one before"
        for (base, _, before, network), (again, _, after, _) in pairwise(trained)
        if base == again and network and int(after) - int(before) < retrain_hours * 3600
    ]


def _has_network(folder: Path) -> bool:
    metadata = next(folder.glob("*_metadata.json"), None)
    if metadata is None:
        return True
    report = json.loads(metadata.read_text(encoding="utf-8")).get("training_report", {})
    return report.get("border") is not None


def _kept(saved: History, history: History) -> bool:
    for pair, before in saved.items():
        after = history.get(pair, before.iloc[:0]).head(len(before))
        # FreqAI fills what is missing with 0 when it loads the file.
        numbers = before.fillna(0).select_dtypes("number")
        if not np.array_equal(numbers.to_numpy(float), after[numbers.columns].to_numpy(float)):
            return False
    return True
