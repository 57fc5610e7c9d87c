"""What configuration, candles, models and predictions show of the page's symptoms."""

from __future__ import annotations

import importlib.metadata
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from freqtrade.exchange import timeframe_to_seconds
from packaging.requirements import Requirement

from freqai_lstm.doctor.symptoms import Finding, symptom
from freqai_lstm.evaluate.setup import models_folder
from freqai_lstm.init import lacks
from freqai_lstm.plugins import MODEL_FILE
from freqai_lstm.release import check_release
from freqai_lstm.watch.history import read_history


DAY, HOUR = 86_400, 3600
RECENT = 100  # predictions of a pair that are looked at
STUCK = 3  # candles that a pair is behind the others
NEVER, EQUAL, TRADES = "`do_predict` is 0 everywhere", "All predictions equal", "No trades"
STOPS, TOGETHER = "The command stops: refused", "What does not go together"


def examine(config: dict[str, Any]) -> list[Finding]:
    """All checks of a configuration as freqtrade reads it."""
    checks = (settings, plugin_file, versions, candles, models, predictions)
    return [finding for check in checks for finding in check(config)]


def settings(config: dict[str, Any]) -> Iterator[Finding]:
    """Keys that the model refuses, and those that keep a bot from trading or from resting."""
    freqai = config["freqai"]
    for line in lacks(freqai):
        row = symptom(STOPS, "misspelt" if "has no" in line else "a setting of the `freqai` block")
        yield Finding(row, line)
    retrain = float(freqai.get("live_retrain_hours", 0))
    if not retrain:
        row = symptom("It trains all the time, or again", "`live_retrain_hours` is 0")
        yield Finding(row, 'write "live_retrain_hours": 24 into the freqai block')
    expires = float(freqai.get("expiration_hours", 0))
    if 0 < expires <= retrain:
        row = symptom(EQUAL, "models expire before")
        yield Finding(
            row,
            f"expiration_hours {expires:g} and live_retrain_hours {retrain:g}: write "
            f'"expiration_hours": {3 * retrain:g}',
        )
    if config.get("max_open_trades") == 0:
        yield Finding(symptom(TRADES, "freqtrade may open none"), '"max_open_trades": 0')
    if config.get("initial_state", "stopped") != "running":
        row = symptom(TRADES, "freqtrade may open none")
        yield Finding(row, f'"initial_state": "{config.get("initial_state", "stopped")}"')


def plugin_file(config: dict[str, Any]) -> Iterator[Finding]:
    """The plugin file in the user folder, and whether it is of this release."""
    if config.get("freqaimodel", MODEL_FILE.stem) != MODEL_FILE.stem:
        return
    folder = config.get("freqaimodel_path") or Path(config["user_data_dir"]) / "freqaimodels"
    path = Path(folder) / MODEL_FILE.name
    if not path.is_file():
        yield Finding(symptom(TOGETHER, "a plugin file is missing"), f"{path} is not there")
        return
    release = re.search(r'^RELEASE = "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    try:
        check_release(path.name, release[1] if release else "without a release")
    except ImportError as error:
        yield Finding(symptom(TOGETHER, "plugin file and package"), str(error))


def versions(config: dict[str, Any]) -> Iterator[Finding]:
    """Packages outside of the range that this one asks for."""
    row = symptom(TOGETHER, "versions of other packages")
    for text in importlib.metadata.requires("freqai-lstm") or []:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(row, f"{text} is asked for, and not installed")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield Finding(row, f"{text} is asked for, {found} is installed")


def candles(config: dict[str, Any]) -> Iterator[Finding]:
    """Pairs without candles, with too few or with holes; candles of the future."""
    freqai = config["freqai"]
    wanted = freqai["feature_parameters"]
    others = freqai.get("model_training_parameters", {}).get("history_pairs", [])
    trained = [*config["exchange"]["pair_whitelist"], *wanted.get("include_corr_pairlist", [])]
    pairs = dict.fromkeys([*trained, *(others if isinstance(others, list) else [])])
    training = float(freqai["train_period_days"])
    history = training + freqai.get("model_training_parameters", {}).get("history_days", 1095)
    short: dict[str, str] = {}
    for pair in pairs:
        for timeframe in dict.fromkeys([config["timeframe"], *wanted["include_timeframes"]]):
            found = load_pair_history(
                pair,
                timeframe,
                config["datadir"],
                fill_up_missing=False,
                drop_incomplete=False,
                data_format=config.get("dataformat_ohlcv", "feather"),
                candle_type=config.get("candle_type_def", CandleType.SPOT),
            )
            get = f"freqtrade download-data --pairs {pair} --timeframes {timeframe}"
            if found.empty:
                row = symptom(NEVER, "there are no candles")
                yield Finding(row, f"{pair} at {timeframe} in {config['datadir']}: {get}")
                continue
            step, dates = timeframe_to_seconds(timeframe), found["date"]
            if dates.iloc[-1].timestamp() > time.time():
                row = symptom(TOGETHER, "the clock is off")
                yield Finding(row, f"{pair}: a candle of {dates.iloc[-1]:%Y-%m-%d %H:%M}")
            span = (dates.iloc[-1] - dates.iloc[0]).total_seconds() / DAY
            if span < training:
                text = f"{pair} at {timeframe}: {span:.0f} of {training:g} days: {get}"
                row = symptom(NEVER, "too few training candles")
                yield Finding(row, f"{text} --days {training + 30:.0f}")
            elif span < history:
                short[f"{pair} {timeframe}"] = f"{span:.0f}"
            recent = dates[dates > dates.iloc[-1] - pd.Timedelta(days=training)]
            holes = round((recent.iloc[-1] - recent.iloc[0]).total_seconds() / step) + 1
            if missing := holes - len(recent):
                row = symptom(NEVER, "gaps in the candles")
                text = f"{pair} at {timeframe} lacks {missing} of {holes} candles: {get} --erase"
                yield Finding(row, text, wrong=missing > holes / 100)
    if short:
        row = symptom("There is no LSTM", "fewer days than")
        least = min(short, key=lambda name: float(short[name]))
        text = f"{least} has {short[least]} of {history:g} days, {len(short)} others too: "
        text += f"freqtrade download-data --prepend --days {history:.0f}"
        yield Finding(row, text, wrong=False)


def models(config: dict[str, Any]) -> Iterator[Finding]:
    """Damaged files, models of the future, models that have expired."""
    folder, hours = models_folder(config), float(config["freqai"].get("expiration_hours", 0))
    for path in sorted(folder.rglob("*.damaged")):
        row = symptom("It trains all the time, or again", "the model could not be saved")
        yield Finding(row, str(path), wrong=False)
    file = folder / "pair_dictionary.json"
    pairs = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for pair, of in pairs.items():
        age = (time.time() - of["trained_timestamp"]) / HOUR
        if age < 0:
            row = symptom(TOGETHER, "the clock is off")
            yield Finding(row, f"{pair}: its model was trained in {-age:.1f} hours")
        elif hours and of["trained_timestamp"] and age > hours:
            row = symptom(EQUAL, "the model has expired")
            text = f"{pair}: {age:.0f} hours old; expiration_hours is {hours:g}"
            yield Finding(row, text)


def predictions(config: dict[str, Any]) -> Iterator[Finding]:
    """Pairs of a bot that are not predicted, always alike, or behind the others."""
    history = read_history(models_folder(config))
    newest = {
        pair: pd.to_datetime(frame["date_pred"], utc=True).max()
        for pair, frame in history.items()
        if len(frame)
    }
    step = pd.Timedelta(seconds=timeframe_to_seconds(config["timeframe"]))
    for pair, last in newest.items():
        recent = history[pair].tail(RECENT)
        valid = recent[recent["do_predict"] == 1]
        labels = [str(name) for name in recent if f"{name}_lower" in recent]
        flat = [name for name in labels if np.ptp(valid[name]) == 0] if len(valid) > 1 else []
        if max(newest.values()) - last > STUCK * step:
            twice = history[pair]["date_pred"].duplicated().any()
            cause = "its history has a candle twice" if twice else "the exchange gives no new"
            row = symptom("A pair is stuck", cause)
            yield Finding(row, f"{pair}: newest prediction {last:%Y-%m-%d %H:%M}")
        if valid.empty:
            yield Finding(symptom(NEVER, "no candle of a pair"), pair)
        elif labels and len(flat) == len(labels) and len(valid) >= RECENT / 2:
            row = symptom(TRADES, "nothing can be known of the label")
            yield Finding(row, f"{pair}: all of {', '.join(flat)} are constant")
