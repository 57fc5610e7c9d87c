"""Is the bot at work? Candles predicted and missed, age of its models, what its log says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from freqai_lstm.evaluate.data import Predictions
from freqai_lstm.evaluate.setup import Setup
from freqai_lstm.log import LogSummary


DAY = pd.Timedelta(days=1)
HOUR = 3600


def health(setup: Setup, live: Predictions, log: Path | None) -> dict[str, Any]:
    """Figures of the bot's work.

    :param log: the bot's log file.
    :return: pairs: pair → newest (ISO date of the newest prediction), predicted and missed
        (candles of the last day before it without a valid one), trained (ISO date or null),
        age_hours (of the model at the newest prediction), held_out_r2 and regression_r2 (mean over
        the labels, of the training); log: trainings, failed_trainings, errors, pass_seconds (the
        median), or null.
    """
    path = setup.folder / "pair_dictionary.json"
    models = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = live.rows.drop_duplicates(["pair", "date"])
    pairs = {}
    for pair, of in rows.groupby("pair", sort=False):
        newest = of["date"].max()
        recent = of[of["date"] > newest - DAY]
        step = of["date"].diff().min()
        wanted = len(recent) if pd.isna(step) else round((newest - recent["date"].min()) / step) + 1
        predicted, model = int(recent["valid"].sum()), models.get(pair, {})
        trained = model.get("trained_timestamp") or None
        pairs[str(pair)] = {
            "newest": newest.isoformat(),
            "predicted": predicted,
            "missed": wanted - predicted,
            "trained": trained and datetime.fromtimestamp(trained, UTC).isoformat(),
            "age_hours": trained and (newest.timestamp() - trained) / HOUR,
            **_training(model),
        }
    return {"pairs": pairs, "log": _log(log) if log else None}


def _training(model: dict[str, Any]) -> dict[str, float | None]:
    path = Path(model.get("data_path", "")) / f"{model.get('model_filename')}_metadata.json"
    found: dict[str, float | None] = {"held_out_r2": None, "regression_r2": None}
    if path.is_file():
        report = json.loads(path.read_text(encoding="utf-8")).get("training_report") or {}
        for name, key in (("held_out_r2", "selected_r2"), ("regression_r2", "ridge_selected_r2")):
            values = [value for value in report.get(key, []) if value is not None]
            found[name] = float(np.mean(values)) if values else None
    return found


def _log(path: Path) -> dict[str, Any]:
    log = LogSummary.read(path.read_text(encoding="utf-8", errors="replace"))
    return {
        "trainings": len(log.trained),
        "failed_trainings": log.failed_trainings,
        "errors": len(log.errors),
        "pass_seconds": float(np.median([s for _, s in log.passes])) if log.passes else None,
    }


def complaints(found: dict[str, Any], freqai: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Reasons to stop and reasons to warn."""
    stop: list[str] = []
    warn: list[str] = []
    expires = float(freqai.get("expiration_hours", 0))
    due = float(freqai.get("live_retrain_hours", 0))
    for pair, of in found["pairs"].items():
        closed = max(of["predicted"] + of["missed"], 1)
        share = of["missed"] / closed
        if share > 0.05:
            text = f"{pair}: {of['missed']} of the last day's {closed} candles have no prediction"
            (stop if share > 0.5 else warn).append(text)
        age = of["age_hours"]
        if age is None:
            warn.append(f"{pair}: there is no model")
        elif expires and age > expires:
            stop.append(f"{pair}: its model is {age:.0f} hours old and expired after {expires:g}")
        elif due and age > 2 * due + 1:
            warn.append(f"{pair}: its model is {age:.0f} hours old, and {due:g} are wanted")
    log = found["log"]
    if log and log["failed_trainings"]:
        pairs = ", ".join(sorted(set(log["failed_trainings"])))
        warn.append(f"{len(log['failed_trainings'])} trainings failed: {pairs}")
    return stop, warn
