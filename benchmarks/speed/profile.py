"""Where the time of the jobs in `speed.md` goes, operation by operation.

    python -m benchmarks.speed.profile

Runs LSTMRegressor's side of three jobs under TensorFlow's profiler and prints, for each kind of
operation, its share of the busy time and how often it ran. `profile.md` explains the gaps with it.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.model_under_test import (
    compiled_network,
    epoch_of,
    random_inputs,
    random_training_set,
)
from benchmarks.speed.contenders import timed
from freqai_lstm.model.parameters import LSTMParameters


FEATURES, WIDTH, ROWS = 120, 24, 1559
# The thread that waits for an operation to end is not busy with it.
WAITING = ("KernelAndDeviceFunc::Run", "FunctionRun", "TFE_Py_ExecuteCancelable")


def job(layers: int, units: int, batch: int, kind: str) -> Callable[[], object]:
    """One epoch ("training"), 200 predictions of one window ("live"), or one of 720 ("window")."""
    parameters = LSTMParameters(num_lstm_layers=layers, units=units, batch_size=batch)
    network = compiled_network(parameters, WIDTH, FEATURES)
    if kind == "training":
        return epoch_of(network, random_training_set(ROWS, FEATURES, WIDTH))
    weights, windows = network.weights(), 720 if kind == "window" else 1
    inputs = random_inputs(WIDTH - 1 + windows, FEATURES)
    ends = np.arange(WIDTH - 1, WIDTH - 1 + windows, dtype=np.int32)
    if kind == "window":
        return lambda: network.predict(weights, inputs, ends)
    return lambda: [network.predict(weights, inputs, ends) for _ in range(200)]


def profile(run: Callable[[], object]) -> tuple[float, dict[str, float], Counter[str]]:
    """Wall seconds without the profiler; busy seconds and number of runs of each operation."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()
    wall = timed(run)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    seconds: dict[str, float] = defaultdict(float)
    times: Counter[str] = Counter()
    for plane in space.planes:
        if "CPU" in plane.name:
            for line in plane.lines:
                for name, own in _own_time(plane, line):
                    seconds[name] += own
                    times[name] += 1
    for name in WAITING:
        seconds.pop(name, None)
    return wall, seconds, times


def _own_time(plane: Any, line: Any) -> Iterator[tuple[str, float]]:
    """Each event of a thread with its seconds less those of the events inside it."""
    events = sorted(line.events, key=lambda e: (e.offset_ps, -e.duration_ps))
    open_events: list[list] = []  # name, end, own time
    for event in events:
        while open_events and open_events[-1][1] <= event.offset_ps:
            name, _, own = open_events.pop()
            yield name, own / 1e12
        if open_events:
            open_events[-1][2] -= event.duration_ps
        name = plane.event_metadata[event.metadata_id].name
        name = name if "::" in name else name.rsplit(":", 1)[-1]  # layer/step:operation
        open_events.append([name, event.offset_ps + event.duration_ps, event.duration_ps])
    for name, _, own in open_events:
        yield name, own / 1e12


def main() -> None:
    """Command line: see the module's docstring."""
    console = Console()
    for layers, units, batch, kind in (
        (4, 100, 32, "training"),
        (4, 100, 128, "training"),
        (2, 32, 128, "live"),
        (4, 100, 128, "window"),
    ):
        wall, seconds, times = profile(job(layers, units, batch, kind))
        title = f"{kind}, {layers} × LSTM({units}), batch {batch}: {wall * 1000:.0f} ms"
        table = Table("operation", "share of busy time", "times", title=title)
        total = sum(seconds.values())
        for name, own in sorted(seconds.items(), key=lambda item: -item[1])[:8]:
            table.add_row(name, f"{own / total:.1%}", f"{times[name]:,}")
        console.print(table)


if __name__ == "__main__":
    main()
