"""What is measured: each job is a function of a size and a folder, called in a fresh process."""

from __future__ import annotations

import json
import logging
import re
import resource
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from freqtrade.configuration import setup_utils_configuration
from freqtrade.data.dataprovider import DataProvider
from freqtrade.enums import RunMode
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.resolvers import StrategyResolver
from freqtrade.resolvers.freqaimodel_resolver import FreqaiModelResolver

from benchmarks.exam import Exam, run_exam, settings_of
from freqai_lstm.model.devices import let_others_go_first
from freqai_lstm.model.storage import network_path
from freqai_lstm.model.windows import CandleInputs, numeric
from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE


Figures = dict[str, float]
LIGHTGBM, OURS = "LightGBMRegressorMultiTarget", "LSTMRegressor"
MB = 1024  # kilobytes, as Linux counts
STRATEGY_CANDLES = 999  # of the frame that freqtrade hands a strategy
# Those of ../shared/candles that have hourly ones.
TWELVE = tuple(
    f"{coin}/USDT:USDT"
    for coin in "BTC ETH BCH XRP LTC ADA DOGE SOL BNB TRX FIL PEOPLE".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Size:
    """How much is measured; the tests have a small one.

    :param teachers: pairs of the whitelist when the shared network is trained alone.
    :param border: where its history ends, three years of it.
    :param parameters: `freqai.model_training_parameters`.
    :param calls: how many predictions are timed.
    :param trainings: how often a pair is trained anew while memory is watched.
    """

    exam: Exam = Exam(  # noqa: RUF009
        "speed",
        datetime(2024, 6, 7, tzinfo=UTC),
        datetime(2024, 12, 4, tzinfo=UTC),  # six windows
        train_days=120,
    )
    teachers: tuple[str, ...] = TWELVE
    border: datetime = datetime(2024, 12, 31, tzinfo=UTC)
    parameters: dict[str, Any] = field(default_factory=dict)
    calls: int = 500
    trainings: int = 100

    def settings(self, model: str = OURS) -> dict[str, Any]:
        """T one candle ahead, with LSTMRegressor's parameters or the other model's defaults."""
        freqai: dict[str, Any] = {"feature_parameters": {"label_period_candles": 1}}
        if model == OURS:
            freqai["model_training_parameters"] = self.parameters
        return {"freqai": freqai}


def fresh(job: Callable[..., Figures], *arguments: Any) -> Figures:
    """Call a job in a process of its own: its peak of memory is then its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(job, *arguments).result()


def backtest(size: Size, folder: Path, model: str) -> Figures:
    """A walk-forward backtest by freqtrade's command, from nothing."""
    shutil.rmtree(folder / model, ignore_errors=True)
    run, _ = run_exam(size.exam, folder / model, size.settings(model), model=model)
    told = r"Done training \S+ \(([\d.]+) secs\)|on \d+ windows in ([\d.]+) s[:;]"
    seconds = [float(a or b) for a, b in re.findall(told, run.output)]
    return {
        "seconds": run.seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MB,
        "trainings": len(seconds),
        "seconds_per_training": statistics.mean(seconds),
        "networks": len(list((folder / model).rglob("network_*.keras"))),
    }


def start(size: Size, folder: Path) -> Figures:
    """The backtest again, when only its models exist.

    :raises RuntimeError: something was trained.
    """
    predictions = folder / OURS / f"user_data/models/{size.exam.name}/backtesting_predictions"
    shutil.rmtree(predictions)
    began = time.time()
    run, _ = run_exam(size.exam, folder / OURS, size.settings())
    if "Starting training" in run.output:
        raise RuntimeError("Expected models of the backtest, but some were trained anew.")
    first = min(file.stat().st_mtime for file in predictions.glob("*.feather"))
    return {
        "seconds_to_first_prediction": first - began,
        "seconds": run.seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MB,
    }


def network(size: Size, folder: Path) -> Figures:
    """The shared network of all pairs, trained on three years of candles."""
    alone = folder / "network"
    shutil.rmtree(alone, ignore_errors=True)
    whitelist = {"exchange": {"pair_whitelist": list(size.teachers)}}
    bot, strategy = _regressor(size, alone, size.settings() | whitelist)
    border, pair = int(size.border.timestamp()), size.teachers[0]
    frame = bot.networks.history.frame(strategy, border, pair)
    features = [str(name) for name in frame if "%" in str(name)]
    before, began = psutil.Process().memory_info().rss / 2**20, time.perf_counter()
    trained = bot.networks.alone(border, strategy, list(size.teachers), features, pair)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "of_that_training": trained.report["seconds"],
        "epochs": trained.report["epochs"],
        "windows": trained.report["windows"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB,
        "mb_before": before,
    }


def live(size: Size, folder: Path) -> Figures:
    """The newest candle through FreqAI, and memory while a pair is trained again and again.

    The model is the newest of the backtest of this folder.
    """
    bot, strategy = _regressor(size, folder / OURS, size.settings())
    pair, began = size.exam.pairs[0], int(size.exam.start.timestamp())
    kitchen = FreqaiDataKitchen(bot.config, True, pair)
    candles = size.exam.candles(pair)
    frame = candles[candles["date"] < size.exam.stop].tail(24 * size.exam.train_days + 1000)
    frame = kitchen.use_strategy_to_populate_indicators(
        strategy, prediction_dataframe=frame.reset_index(drop=True), pair=pair
    )
    kitchen.find_features(frame)
    model = max((folder / OURS).rglob(f"sub-train-{pair.split('/')[0]}_*/*_model.npz"))
    bot.live, bot.strategy = True, strategy
    bot.strategy_frame = frame.tail(STRATEGY_CANDLES)
    bot.dd.set_pair_dict_info({"pair": pair})
    bot.dd.pair_dict[pair] |= {
        "model_filename": model.name.removesuffix("_model.npz"),
        "data_path": str(model.parent),
    }

    def predict(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        dk = FreqaiDataKitchen(bot.config, True, pair)
        bot.model = bot.dd.load_data(pair, dk)
        found: tuple[pd.DataFrame, np.ndarray] = bot.predict(rows, dk)
        return found

    # The history of a bot, from which coverage and level of the intervals come.
    history, do_predict = predict(bot.strategy_frame)
    for label in bot.model.space.names:
        history[f"{label}_mean"], history[f"{label}_std"] = 0.0, 1.0
    dates = bot.strategy_frame["date"].to_numpy()
    bot.dd.historic_predictions[pair] = history.assign(do_predict=do_predict, date_pred=dates)
    newest = bot.strategy_frame.tail(bot.CONV_WIDTH)

    def quantiles(call: Callable[[], Any]) -> tuple[float, float]:
        seconds = []
        for _ in range(size.calls):
            started = time.perf_counter()
            call()
            seconds.append(1000 * (time.perf_counter() - started))
        return float(np.percentile(seconds, 50)), float(np.percentile(seconds, 99))

    quantiles(lambda: predict(newest))
    if predict(newest)[1][-1] != 1:
        raise RuntimeError(f"Expected a valid prediction of {pair}'s newest candle.")
    figures: Figures = {}
    figures["newest_p50_ms"], figures["newest_p99_ms"] = quantiles(lambda: predict(newest))
    if bot.model.network is not None:
        inputs, last = CandleInputs.of(newest, bot.base_tf_seconds), np.array([len(newest) - 1])
        at, names = bot.model.references(newest, last), kitchen.training_features_list
        values = numeric(newest, names)
        figures["network_p50_ms"], _ = quantiles(
            lambda: bot.model.network.predict(
                inputs,
                bot.model.network_features(values, names, pair),
                bot.model.scales,
                last,
                at,
            )
        )

    def train(number: int) -> None:
        dk = FreqaiDataKitchen(bot.config, True, pair)
        dk.set_paths(pair, began + number)
        dk.find_features(frame)
        dk.find_labels(frame)
        trained = bot.train(frame.tail(24 * size.exam.train_days).reset_index(drop=True), pair, dk)
        dk.set_new_model_names(pair, began + number)
        bot.dd.save_data(trained, pair, dk)
        bot.dd.purge_old_models()

    resident, process = [], psutil.Process()
    for number in range(size.trainings):
        train(number)
        resident.append(process.memory_info().rss / 2**20)
    # Of single readings the system's own housekeeping moves tens of MB.
    early, late = resident[len(resident) // 10 :][:10], resident[-10:]
    figures["trainings_growth_mb"] = statistics.median(late) - statistics.median(early)
    figures["resident_mb"] = resident[-1]

    features = [str(name) for name in frame if "%" in str(name)]
    names = list(size.exam.pairs)
    border = int((size.exam.stop - timedelta(days=size.exam.train_days)).timestamp()) + 3600
    network_path(bot.networks.folder, border).unlink(missing_ok=True)  # of an earlier run

    def train_network() -> None:
        let_others_go_first()
        bot.networks.alone(border, strategy, names, features, pair)

    training = threading.Thread(target=train_network)
    training.start()
    time.sleep(1)
    beside: list[float] = []
    while training.is_alive() and len(beside) < size.calls:
        started = time.perf_counter()
        predict(newest)
        beside.append(1000 * (time.perf_counter() - started))
    training.join()
    figures["newest_while_training_p50_ms"] = float(np.percentile(beside, 50))
    figures["newest_while_training_p99_ms"] = float(np.percentile(beside, 99))
    return figures


def _regressor(size: Size, folder: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    """LSTMRegressor and its strategy, as freqtrade makes them for a backtest in a folder."""

    (folder / "user_data").mkdir(parents=True, exist_ok=True)
    file = folder / "settings.json"
    file.write_text(json.dumps(settings_of(size.exam, settings)), encoding="utf-8")
    logging.disable(logging.WARNING)
    config = setup_utils_configuration(
        {
            "config": [str(file)],
            "user_data_dir": str(folder / "user_data"),
            "datadir": str(size.exam.datadir),
            "strategy": STRATEGY_FILE.stem,
            "strategy_path": str(STRATEGY_FILE.parent),
            "freqaimodel": MODEL_FILE.stem,
            "freqaimodel_path": str(MODEL_FILE.parent),
            "timerange": size.exam.timerange,
        },
        RunMode.BACKTEST,
    )
    strategy: Any = StrategyResolver.load_strategy(config)
    strategy.dp = DataProvider(config, None)
    model: Any = FreqaiModelResolver.load_freqaimodel(config)
    model.live = False
    return model, strategy
