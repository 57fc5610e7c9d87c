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
from freqtrade.configuration.load_config import load_from_files
from sklearn.metrics import r2_score

from benchmarks.places import CANDLES, PAIRS, ROOT, STARTUP_DAYS, run_options
from benchmarks.speed.measure import Facts, Figures, Prepared
from benchmarks.speed.memory import peak_of_children
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, STRATEGY_FILE, load_plugin


START = datetime(2024, 6, 7, tzinfo=UTC)  # six windows of 30 days end with the shared candles
WINDOW_DAYS = 30
MODELS = {
    "ours": "LSTMRegressor",
    "torch": "TorchLSTM",
    "keras": "PlainKerasLSTM",
    "transformer": "PyTorchTransformerRegressor",
    "lightgbm": "LightGBMRegressorMultiTarget",
}
# What FreqAI says after a training, and what LSTMRegressor says; the line of the network that all
# pairs share ends otherwise, and its seconds are in those of the pair that needed it first.
SECONDS = re.compile(r"Done training \S+ \(([\d.]+) secs\)|on \d+ windows in ([\d.]+) s[:;]")


def backtest(name: str, size: Facts, folder: Path) -> Prepared:
    """One contender's whole run; what it found stays in `folder` and is not done again."""
    size = size | size["only"].get(name, {})
    found = folder / f"{name}.json"

    def measure() -> Figures:
        if not found.exists():
            found.write_text(json.dumps(_run(name, size, folder), indent=2), encoding="utf-8")
        return json.loads(found.read_text(encoding="utf-8"))

    return {"market": "shared candles" if _real(size) else "generated market"}, measure


def _real(size: Facts) -> bool:
    return CANDLES.is_dir() and not size.get("generated", False)


def _run(name: str, size: Facts, folder: Path) -> Figures:
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
    own = MODEL_FILE.parent if name == "ours" else Path(__file__).with_name("models")
    log = folder / f"{name}-freqtrade.log"
    log.unlink(missing_ok=True)
    with LoopbackExchange(datadir) as exchange:
        configs = [settings, exchange.write_config(folder / f"{name}-endpoints.json")]
        days = f"{START:%Y%m%d}-{end:%Y%m%d}"
        options = run_options(configs, userdir, datadir, days, model=MODELS[name], model_path=own)
        # ERROR lines that are no failure are possible: FreqAI's models have their own.
        args = ["backtesting", *options, "--cache", "none"]
        run = run_freqtrade(args, cwd=ROOT, output=log, check=False)
    if run.failed_trainings or run.returncode:
        raise FreqtradeFailed(run)
    trainings = [float(a or b) for a, b in SECONDS.findall(run.output)]
    expected = len(size["pairs"]) * size["windows"]
    if len(trainings) != expected:
        raise RuntimeError(f"Expected {expected} trainings in {log}, got {len(trainings)}.")
    models = userdir / "models" / "speed"
    if name == "ours":
        _note_epochs(models, folder / "epochs.json")
    return {
        "seconds": run.seconds,
        "peak_mb": peak_of_children(),
        "trainings": len(trainings),
        "training_seconds": statistics.mean(trainings),
        "r2": _skill(models, datadir, size["pairs"], size["windows"], size["horizon"]),
        "r2_first_window": _skill(models, datadir, PAIRS[:1], 1, size["horizon"]),
    }


def _settings(name: str, size: Facts, folder: Path) -> dict[str, Any]:
    """The example's configuration, with the model's own parameters in place of LSTMRegressor's."""
    config = load_from_files([str(EXAMPLE_CONFIG)])
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
    parameters_of = "ours" if name == "torch" else name
    freqai["model_training_parameters"] = size.get("parameters", {}).get(parameters_of, {})
    if name == "torch":
        freqai["epochs_of"] = str(folder / "epochs.json")
    if parameters_of != "ours":
        freqai |= {"keras": False, "model_save_type": "joblib"}
    # Only LSTMRegressor saves its models: FreqAI cannot save the others' in every form.
    freqai["save_backtest_models"] = name == "ours"
    return {key: value for key, value in config.items() if key != "config_files"}


def _note_epochs(models: Path, path: Path) -> None:
    epochs = {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))["training_report"]["epochs"]
        for file in models.glob("sub-train-*/*_metadata.json")
    }
    path.write_text(json.dumps(epochs), encoding="utf-8")


def _skill(models: Path, datadir: Path, pairs: Any, windows: int, horizon: int) -> float:
    """R² of the predicted score against the one that came, mean of the pairs.

    Only candles the model calls valid (`do_predict` 1) count, as they alone can trade.
    """
    strategy = load_plugin(STRATEGY_FILE)
    found = []
    for pair in pairs:
        coin = pair.split("/")[0]
        candles = pd.read_feather(datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
        came = strategy.weigh(strategy.targets(candles, horizon), strategy.ARTICLE_WEIGHTS)
        came.index = pd.DatetimeIndex(candles["date"])
        files = sorted((models / "backtesting_predictions").glob(f"cb_{coin.lower()}_*.feather"))
        predicted = pd.concat(map(pd.read_feather, files[:windows]), ignore_index=True)
        predicted = predicted[predicted["do_predict"] == 1]
        score = strategy.weigh(predicted, strategy.ARTICLE_WEIGHTS).to_numpy()
        actual = came.reindex(pd.DatetimeIndex(predicted["date"])).to_numpy()
        known = pd.notna(actual)
        found.append(r2_score(actual[known], score[known]))
    return float(statistics.mean(found))
