"""The jobs inside one process: training, training again, predicting, memory, growth.

Each function makes one contender ready and returns what to note about it and a function that
measures one round. `benchmarks.speed.worker` runs each contender in a process of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.model_under_test import (
    Weights,
    random_inputs,
    random_training_set,
    random_weights,
)
from benchmarks.speed.contenders import CONTENDERS, Contender, NativeTorch, timed
from benchmarks.speed.memory import MB, peak_growth
from freqai_lstm.freqtrade_run import run_freqtrade
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.windows import Inputs, Rows
from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE


Facts = dict[str, Any]
Figures = dict[str, float]
Prepared = tuple[Facts, Callable[[], Figures]]


def throughput(name: str, size: Facts, folder: Path) -> Prepared:
    """Windows per second of one epoch, for each batch size."""
    width, features = size["width"], size["features"]
    data = random_training_set(size["windows"] + width - 1, features, width)
    epochs: dict[str, Callable[[], Any]] = {}
    facts: Facts = {}
    for batch in size["batches"]:
        p = _parameters(size, batch_size=batch)
        made = CONTENDERS[name](p, width, features)
        _equalise(made, p, folder, width, features)
        title = f"batch {batch}"
        epochs[title] = made.prepare(data)
        epochs[title]()
        facts |= {f"{title}: {fact}": value for fact, value in made.facts.items()}

    def measure() -> Figures:
        return {title: size["windows"] / timed(epoch) for title, epoch in epochs.items()}

    return facts, measure


def again(name: str, size: Facts, folder: Path) -> Prepared:
    """Seconds of a whole training beyond its epochs: the first one's, then the later ones'."""
    width, features, epochs = size["width"], size["features"], size["epochs"]
    p = _parameters(size, epochs=epochs, early_stopping_patience=epochs)
    made = CONTENDERS[name](p, width, features)
    data = random_training_set(size["rows"], features, width, validation=0.2)

    def beyond() -> float:
        marks = [perf_counter()]
        made.train(data, lambda: marks.append(perf_counter()))
        total = perf_counter() - marks[0]
        # The first epoch may pay for graphs, so the later ones say what an epoch costs.
        return total - epochs * float(np.median(np.diff(marks)[1:]))

    made.facts["first_seconds"] = beyond()
    return made.facts, lambda: {"seconds": beyond()}


def live(name: str, size: Facts, folder: Path) -> Prepared:
    """Milliseconds of predicting one window, from an array to an array."""
    return _predicting(name, size, folder, windows=1)


def window(name: str, size: Facts, folder: Path) -> Prepared:
    """Milliseconds of predicting the candles of one backtest window."""
    return _predicting(name, size, folder, windows=size["windows"])


def memory(name: str, size: Facts, folder: Path) -> Prepared:
    """Peak of one training's memory over the 2-D float32 matrix, libraries and graphs not counted.

    Everything from the empty process on is counted, the matrix itself too.
    """
    width, features = size["width"], size["features"]
    made = CONTENDERS[name](_parameters(size, epochs=1), width, features)
    small = random_training_set(width + 40, features, width, validation=0.2)
    made.train(small, lambda: None)  # builds and compiles
    rows = size["rows"] // (size["keras_share"] if name == "keras" else 1)

    def all_of_it() -> None:
        data = random_training_set(rows, features, width, validation=0.2)
        if name != "keras":  # its copies are of all windows; for the others a few batches tell
            data.train_ends = data.train_ends[-size["windows"] :]
        made.train(data, lambda: None)

    def measure() -> Figures:
        peak = peak_growth(all_of_it)
        return {"peak_mb": peak, "ratio": peak * MB / (4 * rows * features)}

    return {"rows": rows}, measure


def growth(point: str, size: Facts, folder: Path) -> Prepared:
    """Seconds and memory of trainings with one dimension multiplied; `point` is like `rows×4`."""
    what, _, factor = point.partition("×")
    base = {**size["base"]}
    base[what] *= int(factor)
    width, features = base["conv_width"], base["features"]
    made = CONTENDERS["ours"](_parameters(size, epochs=1), width, features)
    made.train(random_training_set(width + 40, features, width), lambda: None)

    def all_pairs() -> None:
        for _ in range(base["pairs"]):
            data = random_training_set(base["rows"] + width - 1, features, width)
            made.train(data, lambda: None)

    return {"peak_mb": peak_growth(all_pairs)}, lambda: {"seconds": timed(all_pairs)}


def start(name: str, size: Facts, folder: Path) -> Prepared:
    """Seconds of freqtrade's list commands, with the two plugin files present or without."""
    userdir = folder / f"user_data-{name}"
    for source in (MODEL_FILE, STRATEGY_FILE):
        target = userdir / source.parent.name
        target.mkdir(parents=True, exist_ok=True)
        if name == "plugins":
            shutil.copy2(source, target)

    def measure() -> Figures:
        return {
            command: run_freqtrade([command, "--userdir", str(userdir)], cwd=folder).seconds
            for command in ("list-freqaimodels", "list-strategies")
        }

    measure()  # compiles to bytecode
    return {}, measure


def _parameters(size: Facts, **more: Any) -> LSTMParameters:
    layers, units = size["network"]
    return LSTMParameters(num_lstm_layers=layers, units=units, **more)


def _equalise(
    made: Contender, p: LSTMParameters, folder: Path, width: int, features: int, title: str = ""
) -> None:
    """Give the contender the weights that all have, and note how its predictions differ.

    Whoever comes first makes the weights, and the predictions that the others' are compared with.
    """
    weights_file, predicted_file = folder / f"weights{title}.npz", folder / f"predicted{title}.npy"
    if not weights_file.exists():
        # Savez takes names as keywords; mypy takes them for its own.
        np.savez(weights_file, **random_weights(p, width, features))  # type: ignore[arg-type]
    with np.load(weights_file) as archive:
        weights: Weights = {path: archive[path] for path in archive.files}
    made.take(weights)
    inputs = random_inputs(3 * width, features, seed=4)
    predicted = made.predict(inputs, np.arange(width - 1, 3 * width, dtype=np.int32))
    if not predicted_file.exists():
        np.save(predicted_file, predicted)
    made.facts["largest_difference"] = float(np.abs(predicted - np.load(predicted_file)).max())


def _predicting(name: str, size: Facts, folder: Path, windows: int) -> Prepared:
    width, features = size["width"], size["features"]
    inputs = random_inputs(windows + width - 1, features, seed=5)
    ends = np.arange(width - 1, windows + width - 1, dtype=np.int32)
    calls: dict[str, Callable[[], Any]] = {}
    facts: Facts = {}
    for layers, units in size["networks"]:
        title = f"{layers}×{units}"
        p = _parameters({"network": [layers, units]})
        made = CONTENDERS[name](p, width, features)
        _equalise(made, p, folder, width, features, f"-{title}")
        call = calls[title] = _forward(made, inputs, ends)
        for _ in range(3):
            call()
        if isinstance(made, NativeTorch):
            made.best_threads(lambda call=call: [call() for _ in range(5)])  # type: ignore[misc]
        facts |= {f"{title}: {fact}": value for fact, value in made.facts.items()}

    def measure() -> Figures:
        found: Figures = {}
        for title, call in calls.items():
            p50, p99 = np.percentile([1000 * timed(call) for _ in range(size["calls"])], [50, 99])
            found |= {f"{title} p50": float(p50), f"{title} p99": float(p99)}
        return found

    return facts, measure


def _forward(made: Contender, inputs: Inputs, ends: Rows) -> Callable[[], Any]:
    """The shortest way from rows to a prediction: for PyTorch and one window, only `forward`."""
    if not isinstance(made, NativeTorch) or len(ends) > 1:
        return lambda: made.predict(inputs, ends)
    import torch

    network, last = made.network, torch.from_numpy(ends.astype(np.int64))
    model = network.model.eval()

    def forward() -> Any:
        with torch.no_grad():
            rows = Inputs(*map(torch.from_numpy, inputs))
            return model(*network.windows(rows, last)).numpy()

    return forward
