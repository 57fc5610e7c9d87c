"""The whole job: a walk-forward backtest by the freqtrade command, once per contender.

Out-of-sample skill stands beside time and memory, since a faster model that predicts worse is no
faster. A contender that takes too long may run fewer windows and pairs; the rest of its time is
then its mean training, times the trainings that are missing.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import rapidjson
from sklearn.metrics import r2_score

from benchmarks.speed_contenders import load_module
from benchmarks.speed_jobs import Figures, Prepared, peak_of_children
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeRun, run_freqtrade
from freqai_lstm.market import generate_market


ROOT = Path(__file__).resolve().parents[1]
CANDLES = ROOT.parent / "shared" / "candles"
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "BNB/USDT:USDT")
START = datetime(2024, 6, 7, tzinfo=UTC)  # six windows of 30 days end with the shared candles
WINDOW_DAYS = 30
STARTUP_DAYS = 40
MODELS = {
    "ours": "LSTMRegressor",
    "torch": "TorchLSTM",
    "keras": "PlainKerasLSTM",
    "transformer": "PyTorchTransformerRegressor",
    "lightgbm": "LightGBMRegressorMultiTarget",
}
# What FreqAI says after a training, and what LSTMRegressor says.
SECONDS = re.compile(r"Done training \S+ \(([\d.]+) secs\)|trained \d+ epochs .*? in ([\d.]+) s")


def backtest(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """One contender's whole run; what it found stays in `folder` and is not done again."""
    size = size | size.get("only", {}).get(name, {})
    found = folder / f"{name}.json"

    def measure() -> Figures:
        if not found.exists():
            figures = _run(name, size, folder)
            found.write_text(json.dumps(figures, indent=2), encoding="utf-8")
        return json.loads(found.read_text(encoding="utf-8"))

    return {"market": "shared candles" if _real(size) else "generated market"}, measure


def _real(size: dict[str, Any]) -> bool:
    return CANDLES.is_dir() and not size.get("generated", False)


def _run(name: str, size: dict[str, Any], folder: Path) -> Figures:
    userdir = folder / f"user_data-{name}"
    shutil.rmtree(userdir, ignore_errors=True)
    (userdir / "models").mkdir(parents=True)
    end = START + timedelta(days=WINDOW_DAYS * size["windows"])
    datadir = CANDLES
    if not _real(size):
        datadir = folder / "candles"
        first = START - timedelta(days=size["train_days"] + STARTUP_DAYS)
        generate_market(datadir, PAIRS, start=first, end=end)
    settings = folder / f"{name}-settings.json"
    settings.write_text(json.dumps(_settings(name, size, folder)), encoding="utf-8")
    with LoopbackExchange(datadir) as exchange:
        endpoints = exchange.write_config(folder / f"{name}-endpoints.json")
        args = ["backtesting", "-c", settings, "-c", endpoints]
        args += ["--userdir", userdir, "--datadir", datadir, "--cache", "none"]
        args += ["--strategy-path", ROOT / "user_data/strategies", "-s", "ScoreStrategy"]
        own = "user_data/freqaimodels" if name == "ours" else "benchmarks/speed_models"
        args += ["--freqaimodel-path", ROOT / own, "--freqaimodel", MODELS[name]]
        args += ["--timerange", f"{START:%Y%m%d}-{end:%Y%m%d}"]
        run = run_freqtrade([str(arg) for arg in args], cwd=ROOT, check=False)
    (folder / f"{name}-freqtrade.log").write_text(run.output, encoding="utf-8")
    if run.failed_trainings or run.returncode:
        raise RuntimeError(f"{name}: the backtest failed.\n{run.problems()}")
    models = userdir / "models" / "speed"
    if name == "ours":
        _note_epochs(models, folder / "epochs.json")
    return _figures(run, size, models, datadir)


def _settings(name: str, size: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The example's configuration, with the model's own parameters in place of LSTMRegressor's."""
    config = rapidjson.loads(
        (ROOT / "config.example.json").read_text(encoding="utf-8"),
        parse_mode=rapidjson.PM_COMMENTS | rapidjson.PM_TRAILING_COMMAS,
    )
    config["exchange"]["pair_whitelist"] = size["pairs"]
    freqai = config["freqai"]
    freqai |= {
        "identifier": "speed",
        "train_period_days": size["train_days"],
        "backtest_period_days": WINDOW_DAYS,
        "activate_tensorboard": False,
    }
    freqai["feature_parameters"]["label_period_candles"] = size["horizon"]
    # An empty block stands for a model's defaults.
    freqai["model_training_parameters"] = size.get("parameters", {}).get(name, {})
    if name == "torch":
        freqai["model_training_parameters"] = size.get("parameters", {}).get("ours", {})
        freqai["epochs_of"] = str(folder / "epochs.json")
    if name not in ("ours", "torch"):
        freqai |= {"keras": False, "model_save_type": "joblib"}
    # Only LSTMRegressor saves its models: FreqAI cannot save the others' in every form.
    freqai["save_backtest_models"] = name == "ours"
    return config


def _note_epochs(models: Path, path: Path) -> None:
    epochs = {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))["training_report"]["epochs"]
        for file in models.glob("sub-train-*/*_metadata.json")
    }
    path.write_text(json.dumps(epochs), encoding="utf-8")


def _figures(run: FreqtradeRun, size: dict[str, Any], models: Path, datadir: Path) -> Figures:
    trainings = [float(a or b) for a, b in SECONDS.findall(run.output)]
    expected = len(size["pairs"]) * size["windows"]
    if len(trainings) != expected:
        raise RuntimeError(f"Expected {expected} trainings in the log, got {len(trainings)}.")
    return {
        "seconds": run.seconds,
        "peak_mb": peak_of_children(),
        "trainings": len(trainings),
        "training_seconds": statistics.mean(trainings),
        "r2": skill(models, datadir, size),
        "r2_first_window": skill(models, datadir, {**size, "windows": 1, "pairs": PAIRS[:1]}),
    }


def skill(models: Path, datadir: Path, size: dict[str, Any]) -> float:
    """R² of the predicted score against the one that came, mean of the pairs.

    Only candles the model calls valid (`do_predict` 1) count, as they alone can trade.
    """
    strategy = load_module(ROOT / "user_data/strategies/ScoreStrategy.py")
    found = []
    for pair in size["pairs"]:
        coin = pair.split("/")[0]
        candles = pd.read_feather(datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
        came = strategy.weigh(strategy.targets(candles, size["horizon"]), strategy.ARTICLE_WEIGHTS)
        came.index = pd.DatetimeIndex(candles["date"])
        files = sorted((models / "backtesting_predictions").glob(f"cb_{coin.lower()}_*.feather"))
        predicted = pd.concat(map(pd.read_feather, files[: size["windows"]]), ignore_index=True)
        predicted = predicted[predicted["do_predict"] == 1]
        score = strategy.weigh(predicted, strategy.ARTICLE_WEIGHTS).to_numpy()
        actual = came.reindex(pd.DatetimeIndex(predicted["date"])).to_numpy()
        known = pd.notna(actual)
        found.append(r2_score(actual[known], score[known]))
    return float(statistics.mean(found))
