"""Choosing the device, with the lists that TensorFlow would give on other machines."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.devices import SMALL_UNITS, configure_devices, start_tensorflow
from freqai_lstm.model.parameters import LSTMParameters


DEVICE = "freqai.model_training_parameters.device"
TWICE = """
import logging
logging.basicConfig(level="INFO")
from freqai_lstm.model.devices import start_tensorflow
from freqai_lstm.model.parameters import LSTMParameters
for _ in range(2):
    start_tensorflow(LSTMParameters())
"""


class Machine:
    """Stands in for `tensorflow` on a machine with the given GPUs; records what was set."""

    def __init__(self, gpus: list[str], started: str | None = None) -> None:
        self.gpus, self.started = gpus, started
        self.calls: list[tuple[Any, ...]] = []
        self.config = SimpleNamespace(
            list_physical_devices=lambda kind: self.gpus if kind == "GPU" else ["cpu"],
            set_visible_devices=self.record("visible"),
            set_logical_device_configuration=self.record("limit"),
            LogicalDeviceConfiguration=lambda memory_limit: memory_limit,
            experimental=SimpleNamespace(set_memory_growth=self.record("growth")),
        )

    def record(self, name: str) -> Any:
        """A setter that raises, as TensorFlow's do, once the runtime has started."""

        def call(*arguments: Any) -> None:
            if self.started:
                raise RuntimeError(self.started)
            self.calls.append((name, *arguments))

        return call


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own system must not decide; tests of other systems set theirs."""
    monkeypatch.setattr("platform.system", lambda: "Linux")


def test_no_gpu() -> None:
    """Without a GPU the CPU trains, and the line says how to get one."""
    machine = Machine([])
    line = configure_devices(machine)
    assert line.startswith("Training on the CPU")
    assert "NVIDIA" in line
    assert "pip install 'freqai-lstm[gpu]'" in line
    assert machine.calls == []


@pytest.mark.parametrize(
    ("gpus", "said"), [(["gpu0"], "one GPU"), (["gpu0", "gpu1"], "the first of 2 GPUs")]
)
def test_one_gpu_trains(gpus: list[str], said: str) -> None:
    """One training uses one GPU, and the line says which; all take memory as it is needed."""
    machine = Machine(gpus)
    line = configure_devices(machine)
    assert f"Training on {said}" in line
    assert "memory grows" in line
    assert machine.calls == [("growth", gpu, True) for gpu in gpus]


def test_memory_limit() -> None:
    """A limit is set instead of growth, which TensorFlow would not take together."""
    machine = Machine(["gpu0"])
    assert "at most 2048 MB" in configure_devices(machine, "gpu", 2048)
    assert machine.calls == [("limit", "gpu0", [2048])]


def test_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS the line says that the CPU trains; tensorflow-metal breaks TensorFlow."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert "On a Mac the network is trained on the CPU" in configure_devices(Machine([]))


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the line says where TensorFlow would find the GPU."""
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert "WSL2" in configure_devices(Machine([]))


def test_cpu_forced() -> None:
    """With device cpu the GPUs are hidden from TensorFlow."""
    machine = Machine(["gpu0"])
    assert "CPU, as configured" in configure_devices(machine, "cpu")
    assert machine.calls == [("visible", [], "GPU")]


def test_gpu_missing() -> None:
    """Device gpu without one is an error that says what to do."""
    with pytest.raises(OperationalException) as caught:
        configure_devices(Machine([]), "gpu")
    for part in (f"{DEVICE} is 'gpu'", "no GPU", "freqai-lstm[gpu]", "'auto'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("device", "limit"), [("auto", 0), ("auto", 512), ("cpu", 0)])
def test_runtime_started_already(device: str, limit: int) -> None:
    """When TensorFlow runs already, its devices stay and the line says why."""
    machine = Machine(["gpu0"], started="cannot be modified after being initialized")
    line = configure_devices(machine, device, limit)
    assert line.startswith("TensorFlow is running already")
    assert "cannot be modified after being initialized" in line


def test_real_tensorflow_twice() -> None:
    """The real TensorFlow, running, can be configured again and again."""
    tf, _ = start_tensorflow(LSTMParameters())
    tf.constant(1) + 1
    first = configure_devices(tf)
    assert configure_devices(tf) == first
    for line in (first, configure_devices(tf, "cpu")):
        assert line.startswith(("Training on", "TensorFlow is running already"))


def test_one_line_per_process() -> None:
    """The chosen device is logged once, however many networks are trained."""
    ran = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=True)
    assert ran.stderr.count("Training on ") == 1


def test_other_keras_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras on another backend is refused with what to set."""
    _, keras = start_tensorflow(LSTMParameters())
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(OperationalException) as caught:
        start_tensorflow(LSTMParameters())
    for part in ("'jax'", "KERAS_BACKEND", "'tensorflow'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("units", "before", "after"),
    [(SMALL_UNITS, None, "1"), (SMALL_UNITS + 1, None, None), (SMALL_UNITS, "4", "4")],
)
def test_small_networks_have_one_thread_an_operation(
    units: int, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of an operation are limited for small LSTMs, and only where nobody chose them."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", before or "")
    if before is None:
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    start_tensorflow(LSTMParameters(units=units))
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == after
