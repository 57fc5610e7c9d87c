"""Where the time of the jobs in `speed.md` goes, operation by operation.

    python -m benchmarks.speed_profile

Runs LSTMRegressor's side of three jobs under TensorFlow's profiler and prints, for each kind of
operation, its share of the busy time and how often it ran. `speed-profile.md` explains the gaps
with it.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.speed_contenders import load_plugin, training_set


FEATURES, WIDTH, ROWS = 120, 24, 1559
# The thread that waits for an operation to end is not busy with it.
WAITING = ("KernelAndDeviceFunc::Run", "FunctionRun", "TFE_Py_ExecuteCancelable")


def job(layers: int, units: int, batch: int, kind: str) -> Callable[[], object]:
    """One epoch ("training"), 200 predictions of one window ("live"), or one of 720 ("window")."""
    plugin = load_plugin()
    parameters = plugin.LSTMParameters.from_config(
        {"num_lstm_layers": layers, "units": units, "batch_size": batch}
    )
    network = plugin.NetworkPool(parameters).fresh(WIDTH, FEATURES, 9)
    data = training_set(plugin, ROWS, FEATURES, WIDTH)
    network.reset()
    constant = network.tf.constant
    tensors = plugin.TrainingTensors(*map(constant, (data.features, data.labels, data.weights)))
    packed = network.pack(network.model.get_weights())
    if kind == "training":
        return lambda: network.train_epoch(tensors, data.train_ends, batch)
    rows, ends = data.features[: WIDTH + 719], data.train_ends[:720]
    if kind == "window":
        return lambda: network.predict(packed, rows, ends)
    one, last = data.features[:WIDTH], np.array([WIDTH - 1], np.int32)
    return lambda: [network.predict(packed, one, last) for _ in range(200)]


def profile(run: Callable[[], object]) -> tuple[float, Counter[str], Counter[str]]:
    """Wall seconds without the profiler; busy seconds and number of runs of each operation."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()
    started = perf_counter()
    run()
    wall = perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    seconds: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for plane in space.planes:
        if "CPU" in plane.name:
            for line in plane.lines:
                for name, own in _own_time(plane, line):
                    seconds[name] += own
                    times[name] += 1
    for name in WAITING:
        del seconds[name]
    return wall, seconds, times


def _own_time(plane: object, line: object) -> Iterator[tuple[str, float]]:
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
        for name, own in seconds.most_common(8):
            table.add_row(name, f"{own / total:.1%}", f"{times[name]:,}")
        console.print(table)


if __name__ == "__main__":
    main()
