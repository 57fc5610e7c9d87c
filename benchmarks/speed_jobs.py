"""The jobs inside one process: training, training again, predicting, memory, growth.

A job's `setup` makes one contender ready and returns what to note about it and a function that
measures one round. `benchmarks.speed_worker` runs each contender in a process of its own.
"""

from __future__ import annotations

import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed_contenders import (
    PLUGIN,
    Contender,
    Matrix,
    NativeTorch,
    contender,
    load_plugin,
    random_weights,
    timed,
    training_set,
)
from freqai_lstm.freqtrade_run import run_freqtrade


Figures = dict[str, float]
Prepared = tuple[dict[str, Any], Callable[[], Figures]]
MB = 2**20


def _parameters(plugin: Any, size: dict[str, Any], **more: Any) -> Any:
    layers, units = size["network"]
    return plugin.LSTMParameters(num_lstm_layers=layers, units=units, **more)


def _equal(made: Contender, weights: list[Matrix], shared: Path, width: int, features: int) -> None:
    """Give the contender the weights and note how far its predictions are from the first one's."""
    made.take(weights)
    matrix = np.random.default_rng(3).standard_normal((3 * width, features), dtype=np.float32)
    ends = np.arange(width - 1, len(matrix), dtype=np.int32)
    predicted = made.predict(matrix, ends)
    if not shared.exists():
        np.save(shared, predicted)
    made.facts["largest_difference"] = float(np.abs(predicted - np.load(shared)).max())


def _shared_weights(plugin: Any, p: Any, size: dict[str, Any], path: Path) -> list[Matrix]:
    """The same weights for all contenders of a job; whoever comes first makes them."""
    if not path.exists():
        made = random_weights(plugin, p, size["width"], size["features"])
        np.savez(path, *made)
    with np.load(path) as archive:
        return [archive[f"arr_{number}"] for number in range(len(archive.files))]


def throughput(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Windows per second of one epoch, for each batch size."""
    plugin = load_plugin()
    p, width, features = _parameters(plugin, size), size["width"], size["features"]
    made = contender(name, plugin, p, width, features)
    weights = _shared_weights(plugin, p, size, folder / "weights.npz")
    _equal(made, weights, folder / "predicted.npy", width, features)
    data = training_set(plugin, size["windows"] + width - 1, features, width)
    epochs = {batch: made.prepare(data, batch) for batch in size["batches"]}
    for epoch in epochs.values():
        epoch()

    def measure() -> Figures:
        return {f"batch {batch}": size["windows"] / timed(epoch) for batch, epoch in epochs.items()}

    return made.facts, measure


def again(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Seconds of a whole training beyond its epochs: the first one's, then the later ones'."""
    plugin = load_plugin()
    p = _parameters(plugin, size, epochs=size["epochs"], early_stopping_patience=size["epochs"])
    made = contender(name, plugin, p, size["width"], size["features"])
    data = training_set(plugin, size["rows"], size["features"], size["width"], validation=0.2)

    def beyond() -> float:
        from time import perf_counter

        marks = [perf_counter()]
        made.train(data, size["epochs"], lambda: marks.append(perf_counter()))
        total = perf_counter() - marks[0]
        # The first epoch may pay for graphs, so the later ones say what an epoch costs.
        return total - size["epochs"] * float(np.median(np.diff(marks)[1:]))

    made.facts["first_seconds"] = beyond()
    return made.facts, lambda: {"seconds": beyond()}


def live(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Milliseconds of predicting one window, from an array to an array."""
    return _predicting(name, size, folder, windows=1)


def window(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Milliseconds of predicting the candles of one backtest window."""
    return _predicting(name, size, folder, windows=size["windows"])


def _predicting(name: str, size: dict[str, Any], folder: Path, windows: int) -> Prepared:
    plugin, calls, facts = load_plugin(), {}, {}
    width, features = size["width"], size["features"]
    matrix = np.random.default_rng(4).standard_normal((windows + width - 1, features))
    matrix = matrix.astype(np.float32)
    ends = np.arange(width - 1, len(matrix), dtype=np.int32)
    for network in size["networks"]:
        title, one = "{}×{}".format(*network), {**size, "network": network}
        p = _parameters(plugin, one)
        made = contender(name, plugin, p, width, features)
        weights = _shared_weights(plugin, p, one, folder / f"weights-{title}.npz")
        _equal(made, weights, folder / f"predicted-{title}.npy", width, features)
        call = _forward(made, matrix, ends)
        for _ in range(3):
            call()
        if isinstance(made, NativeTorch):
            made.best_threads(lambda call=call: [call() for _ in range(5)], title)
        calls[title] = call
        facts |= {f"{title}: {fact}": value for fact, value in made.facts.items()}

    def measure() -> Figures:
        found = {}
        for title, call in calls.items():
            p50, p99 = np.percentile([1000 * timed(call) for _ in range(size["calls"])], [50, 99])
            found |= {f"{title} p50": float(p50), f"{title} p99": float(p99)}
        return found

    return facts, measure


def _forward(made: Contender, matrix: Matrix, ends: Any) -> Callable[[], Any]:
    """The shortest way from rows to a prediction: for PyTorch and one window, only `forward`."""
    if isinstance(made, NativeTorch) and len(ends) == 1:
        import torch

        model = made.trainer.model.eval()

        def forward() -> Any:
            with torch.no_grad():
                return model(torch.from_numpy(matrix)[None]).numpy()

        return forward
    return lambda: made.predict(matrix, ends)


def memory(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Peak of one training's memory over the 2-D float32 matrix, libraries and graphs not counted.

    Everything from the empty process on is counted, the matrix itself too.
    """
    plugin = load_plugin()
    p, width, features = _parameters(plugin, size, epochs=1), size["width"], size["features"]
    made = contender(name, plugin, p, width, features)
    small = training_set(plugin, width + 20, features, width, validation=0.2)
    made.train(small, 1, lambda: None)  # builds and compiles

    rows = size["rows"] // (size["keras_share"] if name == "keras" else 1)

    def all_of_it() -> None:
        data = training_set(plugin, rows, features, width, validation=0.2)
        if name != "keras":  # its copies are of all windows; for the others a few batches tell
            data.train_ends = data.train_ends[-size["windows"] :]
        made.train(data, 1, lambda: None)

    def measure() -> Figures:
        peak = peak_growth(all_of_it)
        return {"peak_mb": peak / MB, "ratio": peak / (4 * rows * features)}

    return {"rows": rows}, measure


def growth(point: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Seconds and memory of trainings with one dimension multiplied; `point` is like `rows×4`."""
    what, _, factor = point.partition("×")
    dimensions = {**size["base"]}
    dimensions[what] *= int(factor)
    plugin = load_plugin()
    p = _parameters(plugin, size, epochs=1)
    made = contender("ours", plugin, p, dimensions["conv_width"], dimensions["features"])
    rows, width = dimensions["rows"] + dimensions["conv_width"] - 1, dimensions["conv_width"]
    small = training_set(plugin, width + 20, dimensions["features"], width)
    made.train(small, 1, lambda: None)

    def all_pairs() -> None:
        for _ in range(dimensions["pairs"]):
            data = training_set(plugin, rows, dimensions["features"], width)
            made.train(data, 1, lambda: None)

    facts = {"peak_mb": peak_growth(all_pairs) / MB}
    return facts, lambda: {"seconds": timed(all_pairs)}


def start(name: str, size: dict[str, Any], folder: Path) -> Prepared:
    """Seconds of freqtrade's list commands, with the two plugin files present or without."""
    userdir = folder / f"user_data-{name}"
    for kind, source in (
        ("freqaimodels", PLUGIN),
        ("strategies", PLUGIN.parents[1] / "strategies/ScoreStrategy.py"),
    ):
        (userdir / kind).mkdir(parents=True, exist_ok=True)
        if name == "plugins":
            shutil.copy2(source, userdir / kind)

    def measure() -> Figures:
        return {
            command: run_freqtrade([command, "--userdir", str(userdir)], cwd=folder).seconds
            for command in ("list-freqaimodels", "list-strategies")
        }

    measure()  # compiles to bytecode
    return {}, measure


def peak_growth(call: Callable[[], Any]) -> int:
    """Bytes by which resident memory rose at most during the call; needs Linux.

    Linux keeps the highest value ever; writing 5 to clear_refs makes it start anew.
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}; the memory jobs need Linux.")


def peak_of_children() -> float:
    """MB that the largest finished child process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / MB
