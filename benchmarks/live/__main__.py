"""What live trading costs: memory over 100 retrainings, and the latency of a prediction.

    python -m benchmarks.live [--trainings 100] [--calls 500] [--pairs 50]

One process, as in the bot: LSTMRegressor with FreqAI's live data kitchen, trainings in a second
thread, models saved as FreqAI saves them. Features and labels are random numbers in the shape of
the example configuration: neither memory nor time depends on their values. Writes `live.json` and
`live.md` beside this file.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import psutil
import typer
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from benchmarks.model_under_test import LABELS, random_inputs
from benchmarks.reports import environment, environment_line, markdown_table, write
from benchmarks.speed.contenders import timed
from benchmarks.speed.memory import MB
from freqai_lstm.plugins import MODEL_FILE, load_plugin


HERE = Path(__file__).resolve().parent
FEATURES, TRAIN_DAYS, WIDTH = 135, 90, 24
STRATEGY_CANDLES = 999  # of the frame that freqtrade hands a strategy
STAMP = 1_700_000_000


class Bot:
    """LSTMRegressor in a bot, and what FreqAI does with it.

    :param parameters: `freqai.model_training_parameters`.
    """

    def __init__(self, folder: Path, pairs: list[str], parameters: dict[str, Any]) -> None:
        self.frame = make_frame(TRAIN_DAYS * 24)
        self.strategy_frame = self.frame.tail(STRATEGY_CANDLES)
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
                "model_training_parameters": parameters,
            },
        }
        self.model = load_plugin(MODEL_FILE).LSTMRegressor(config=config)
        self.model.live = True
        for pair in pairs:
            self.model.dd.get_pair_dict_info(pair)

    def train(self, pair: str, stamp: int) -> tuple[Any, FreqaiDataKitchen]:
        """Train and save one pair, as FreqAI's scanning thread does."""
        dk = FreqaiDataKitchen(self.model.config, True, pair)
        dk.set_paths(pair, stamp)
        dk.find_features(self.frame)
        dk.find_labels(self.frame)
        trained = self.model.train(self.frame, pair, dk)
        dk.set_new_model_names(pair, stamp)
        self.model.dd.save_data(trained, pair, dk)
        self.model.dd.purge_old_models()
        return trained, dk

    def train_all(self, pairs: list[str]) -> Any:
        """Train the first pair and save its model for the others too: predicting costs the same."""
        trained, dk = self.train(pairs[0], STAMP)
        trained.shares[:] = 1  # nothing is learned from random labels, and the network would rest
        for pair in pairs[1:]:
            dk.set_paths(pair, STAMP)
            dk.set_new_model_names(pair, STAMP)
            self.model.dd.save_data(trained, pair, dk)
        return trained

    def predict(self, pair: str) -> float:
        """Predict a pair's newest candle, as FreqAI does; return the seconds it took."""
        started = time.perf_counter()
        dk = FreqaiDataKitchen(self.model.config, True, pair)
        self.model.model = self.model.dd.load_data(pair, dk)
        self.model.strategy_frame = self.strategy_frame
        _, do_predict = self.model.predict(self.strategy_frame.iloc[-WIDTH:], dk)
        seconds = time.perf_counter() - started
        if do_predict[-1] != 1:
            raise RuntimeError(f"Expected a valid prediction of {pair}, got {do_predict[-1]}.")
        return seconds


def make_frame(rows: int) -> pd.DataFrame:
    """Make candles with the columns of the example configuration, filled with random numbers."""
    rng = np.random.default_rng(1)
    columns = {f"%-{i}": rng.normal(size=rows) for i in range(FEATURES)}
    columns |= {f"&-{i}": rng.normal(size=rows) for i in range(LABELS)}
    prices = {"open": (1, 2), "high": (2, 3), "low": (0.5, 1), "close": (1, 2)}
    columns |= {name: rng.uniform(*between, rows) for name, between in prices.items()}
    dates = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC")
    return pd.DataFrame({"date": dates, "volume": 1.0, **columns})


def memory(folder: Path, trainings: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Resident memory after each of so many trainings of four pairs, in MB."""
    pairs = [f"C{i}/USDT:USDT" for i in range(4)]
    bot, resident = Bot(folder, pairs, parameters), []
    for number in range(trainings):
        bot.train(pairs[number % len(pairs)], STAMP + number)
        gc.collect()
        resident.append(round(psutil.Process().memory_info().rss / MB, 1))
        print(f"training {number + 1}: {resident[-1]} MB", flush=True)
    growth = max(resident[9:]) - resident[9]
    return {"memory_mb": resident, "growth_after_10_mb": round(growth, 1)}


def latency(folder: Path, calls: int, count: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of predictions, and seconds of one pass over `count` pairs."""
    pairs = [f"C{i}/USDT:USDT" for i in range(count)]
    bot = Bot(folder, pairs, parameters)
    trained = bot.train_all(pairs)
    for _ in range(20):
        bot.predict(pairs[0])
    inputs, last = random_inputs(WIDTH, len(trained.features)), np.array([WIDTH - 1], np.int32)
    result: dict[str, Any] = {
        "idle": quantiles([bot.predict(pairs[0]) for _ in range(calls)]),
        "network_alone_idle": quantiles(
            [timed(lambda: trained.predict(inputs, last)) for _ in range(calls)]
        ),
        "pass_of_all_pairs_s": round(sum(bot.predict(pair) for pair in pairs), 2),
    }
    stop = threading.Event()

    def keep_training() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            bot.train(pairs[1], STAMP + number)

    thread = threading.Thread(target=keep_training)
    thread.start()
    time.sleep(2)
    result["while_training"] = quantiles([bot.predict(pairs[0]) for _ in range(calls)])
    stop.set()
    thread.join()
    return result


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def as_markdown(figures: dict[str, Any]) -> str:
    """The text of `live.md`."""
    resident, pairs = figures["memory_mb"], figures["pairs"]
    curve = ", ".join(f"{n}: {resident[n - 1]:.0f}" for n in range(10, len(resident) + 1, 10))
    idle, training = figures["idle"], figures["while_training"]
    rows = [
        ("prediction of the newest candle, idle, p50", f"{idle['p50_ms']} ms", "≤ 2 ms"),
        ("the same, p99", f"{idle['p99_ms']} ms", ""),
        ("of that the network alone, p50", f"{figures['network_alone_idle']['p50_ms']} ms", ""),
        ("while a training runs, p50", f"{training['p50_ms']} ms", ""),
        ("while a training runs, p99", f"{training['p99_ms']} ms", "≤ 100 ms"),
        (
            f"one pass over {pairs} pairs, idle",
            f"{figures['pass_of_all_pairs_s']} s",
            "≤ 0.1 s",
        ),
        (
            f"resident memory, rise from training 10 to its peak until {len(resident)}",
            f"{figures['growth_after_10_mb']} MB",
            "≤ 20 MB",
        ),
    ]
    table = markdown_table([dict(zip(("what", "measured", "aim"), r, strict=True)) for r in rows])
    return f"""# Live: latency and memory

`python -m benchmarks.live`

{environment_line(figures["environment"])} No GPU. {FEATURES} features, {LABELS} labels, windows \
of {WIDTH}, {TRAIN_DAYS} training days at 1h, the default network.

{table}

Resident memory in MB after each tenth training: {curve}.
"""


def measure(
    trainings: int, calls: int, pairs: int, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Everything that is reported.

    :param parameters: added to `freqai.model_training_parameters`.
    """
    more = parameters or {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "environment": environment(),
            "pairs": pairs,
            **memory(folder / "memory", trainings, {"epochs": 2} | more),
            **latency(folder / "latency", calls, pairs, more),
        }


def main(
    trainings: Annotated[int, typer.Option(min=10)] = 100,
    calls: Annotated[int, typer.Option(help="predictions that are timed")] = 500,
    pairs: Annotated[int, typer.Option(min=2, help="in one pass")] = 50,
) -> None:
    """Measure memory and latency, and write the report."""
    logging.disable(logging.WARNING)
    figures = measure(trainings, calls, pairs)
    text = as_markdown(figures)
    write(HERE, "live", figures, text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
