"""What live trading costs: memory over 100 retrainings, and the latency of a prediction.

    python -m benchmarks.live [--trainings 100] [--calls 500] [--pairs 50]

One process, as in the bot: LSTMRegressor with FreqAI's live data kitchen, trainings in a second
thread, models saved as FreqAI saves them. Features and labels are random numbers in the shape of
the example configuration: neither memory nor time depends on their values. Writes `live.json` and
`live.md` beside this file.
"""

import argparse
import gc
import importlib.util
import json
import logging
import platform
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen


HERE = Path(__file__).resolve().parent
PLUGIN = HERE.parent / "user_data/freqaimodels/LSTMRegressor.py"
FEATURES, LABELS, TRAIN_DAYS, WIDTH = 135, 9, 90, 24
MB = 2**20


def make_model(folder: Path, pairs: list[str], epochs: int) -> Any:
    """LSTMRegressor, loaded as freqtrade loads it."""
    spec = importlib.util.spec_from_file_location("LSTMRegressor", PLUGIN)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = {
        "user_data_dir": folder,
        "timeframe": "1h",
        "exchange": {"name": "binance", "pair_whitelist": pairs},
        "freqai": {
            "identifier": "live",
            "keras": True,
            "model_save_type": "keras",
            "conv_width": WIDTH,
            "train_period_days": TRAIN_DAYS,
            "purge_old_models": 2,
            "activate_tensorboard": False,
            "feature_parameters": {
                "include_timeframes": ["1h"],
                "label_period_candles": 0,
                "indicator_periods_candles": [10],
                "shuffle_after_split": False,
            },
            "data_split_parameters": {"test_size": 0.2, "shuffle": False},
            "model_training_parameters": {"epochs": epochs},
        },
    }
    model = module.LSTMRegressor(config=config)
    model.live = True
    return model


def make_frame(rows: int, seed: int) -> pd.DataFrame:
    """Candles with the columns of the example configuration, filled with random numbers."""
    rng = np.random.default_rng(seed)
    columns = {f"%-{i}": rng.normal(size=rows) for i in range(FEATURES)}
    columns |= {f"&-{i}": rng.normal(size=rows) for i in range(LABELS)}
    dates = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC")
    return pd.DataFrame({"date": dates, **columns})


def train_once(model: Any, pair: str, frame: pd.DataFrame, stamp: int) -> None:
    """What FreqAI's scanning thread does with one pair."""
    dk = FreqaiDataKitchen(model.config, True, pair)
    dk.set_paths(pair, stamp)
    dk.find_features(frame)
    dk.find_labels(frame)
    model.dd.get_pair_dict_info(pair)
    trained = model.train(frame, pair, dk)
    dk.set_new_model_names(pair, stamp)
    model.dd.save_data(trained, pair, dk)
    model.dd.purge_old_models()


def predict_once(model: Any, pair: str, frame: pd.DataFrame) -> float:
    """What FreqAI does for a pair's newest candle; returns seconds."""
    started = time.perf_counter()
    dk = FreqaiDataKitchen(model.config, True, pair)
    model.model = model.dd.load_data(pair, dk)
    _, do_predict = model.predict(frame.iloc[-WIDTH:], dk)
    assert do_predict[-1] == 1
    return time.perf_counter() - started


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, in the order they are printed."""
    pairs = [f"C{i}/USDT:USDT" for i in range(options.pairs)]
    frame = make_frame(TRAIN_DAYS * 24, 1)
    result: dict[str, Any] = {}

    model = make_model(folder / "memory", pairs, epochs=2)
    resident = []
    for number in range(options.trainings):
        train_once(model, pairs[number % 4], frame, 1700000000 + number)
        gc.collect()
        resident.append(round(psutil.Process().memory_info().rss / MB, 1))
        print(f"training {number + 1}: {resident[-1]} MB", flush=True)
    result["memory_mb"] = resident
    result["growth_after_10_mb"] = round(max(resident[10:]) - resident[9], 1)

    model = make_model(folder / "latency", pairs, epochs=60)
    for number, pair in enumerate(pairs):
        model.dd.pair_dict.setdefault(pair, model.dd.empty_pair_dict.copy())
        if number == 0:
            train_once(model, pair, frame, 1700000000)
        else:  # the same model under other names: predicting costs the same
            for kept in (model.dd.model_dictionary, model.dd.meta_data_dictionary):
                kept[pair] = kept[pairs[0]]
            model.dd.pair_dict[pair].update(model.dd.pair_dict[pairs[0]])
    for _ in range(20):
        predict_once(model, pairs[0], frame)
    idle = [predict_once(model, pairs[0], frame) for _ in range(options.calls)]
    result["idle"] = quantiles(idle)
    windows = np.array([WIDTH - 1], dtype=np.int32)
    matrix = frame.filter(like="%").to_numpy(np.float32)[-WIDTH:]
    network = []
    for _ in range(options.calls):
        started = time.perf_counter()
        model.dd.model_dictionary[pairs[0]].predict(matrix, windows)
        network.append(time.perf_counter() - started)
    result["network_alone_idle"] = quantiles(network)
    started = time.perf_counter()
    for pair in pairs:
        predict_once(model, pair, frame)
    result["pass_of_all_pairs_s"] = round(time.perf_counter() - started, 2)

    stop = threading.Event()

    def keep_training() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            train_once(model, pairs[1], frame, 1700000000 + number)

    thread = threading.Thread(target=keep_training)
    thread.start()
    time.sleep(2)
    training = [predict_once(model, pairs[0], frame) for _ in range(options.calls)]
    stop.set()
    thread.join()
    result["while_training"] = quantiles(training)
    return result


def as_markdown(result: dict[str, Any]) -> str:
    """The table of `live.md`."""
    memory = result["memory_mb"]
    curve = ", ".join(f"{n}: {memory[n - 1]:.0f}" for n in range(10, len(memory) + 1, 10))
    rows = [
        ("prediction of the newest candle, idle, p50", f"{result['idle']['p50_ms']} ms", "≤ 5 ms"),
        ("the same, p99", f"{result['idle']['p99_ms']} ms", ""),
        ("of that the network alone, p50", f"{result['network_alone_idle']['p50_ms']} ms", ""),
        ("while a training runs, p50", f"{result['while_training']['p50_ms']} ms", ""),
        ("while a training runs, p99", f"{result['while_training']['p99_ms']} ms", "≤ 100 ms"),
        (
            f"one pass over {result['pairs']} pairs, idle",
            f"{result['pass_of_all_pairs_s']} s",
            "within the candle",
        ),
        (
            f"resident memory, rise from training 10 to its peak until {len(memory)}",
            f"{result['growth_after_10_mb']} MB",
            "≤ 20 MB",
        ),
    ]
    table = "\n".join(f"| {what} | {figure} | {aim} |" for what, figure, aim in rows)
    return (
        "# Live: latency and memory\n\n"
        f"`{result['command']}` on {result['machine']}; "
        + ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        + f".\n{FEATURES} features, {LABELS} labels, windows of {WIDTH}, {TRAIN_DAYS} training days"
        " at 1h, the default network.\n\n"
        "| what | measured | aim |\n| --- | --- | --- |\n"
        f"{table}\n\nResident memory in MB after each tenth training: {curve}.\n"
    )


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live")
    parser.add_argument("--trainings", type=int, default=100)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=50)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    result |= {
        "pairs": options.pairs,
        "command": "python -m benchmarks.live",
        "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, no GPU",
        "versions": {n: version(n) for n in ("freqtrade", "tensorflow", "keras")},
    }
    (HERE / "live.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (HERE / "live.md").write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


if __name__ == "__main__":
    main()
