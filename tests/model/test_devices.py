"""Choosing the device, with the lists that TensorFlow would give on other machines."""

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.devices import SMALL_UNITS, configure_devices, start_tensorflow
from freqai_lstm.model.parameters import LSTMParameters


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


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("Linux", "pip install 'freqai-lstm[gpu]'"),
        ("Windows", "WSL2"),
        ("Darwin", "On a Mac the network is trained on the CPU"),
    ],
)
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, system: str, said: str) -> None:
    """Without a GPU the CPU trains, and the line says how to get one on this system."""
    monkeypatch.setattr("platform.system", lambda: system)
    machine = Machine([])
    line = configure_devices(machine)
    assert line.startswith("Training on the CPU")
    assert said in line
    assert machine.calls == []
    with pytest.raises(OperationalException) as caught:
        configure_devices(machine, "gpu")
    for part in ("model_training_parameters.device is 'gpu'", "no GPU", said, "'auto'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("gpus", "options", "said", "calls"),
    [
        (["a"], ("auto", 0), "one GPU (memory grows", [("growth", "a", True)]),
        (["a", "b"], ("gpu", 0), "the first of 2", [("growth", g, True) for g in "ab"]),
        (["a"], ("gpu", 2048), "at most 2048 MB", [("limit", "a", [2048])]),
        (["a"], ("cpu", 0), "CPU, as configured", [("visible", [], "GPU")]),
    ],
)
def test_gpus(gpus: list[str], options: tuple[str, int], said: str, calls: list[tuple]) -> None:
    """One training uses one GPU with memory as needed, or up to a limit; `cpu` hides them."""
    machine = Machine(gpus)
    assert said in configure_devices(machine, *options)
    assert machine.calls == calls


def test_runtime_started_already() -> None:
    """When TensorFlow runs already, its devices stay and the line says why."""
    line = configure_devices(Machine(["gpu0"], started="cannot be modified"), "cpu")
    assert line.startswith("TensorFlow is running already")
    assert "cannot be modified" in line


def test_real_tensorflow_twice() -> None:
    """The real TensorFlow, running, can be configured again and again."""
    tf, _ = start_tensorflow(LSTMParameters())
    tf.constant(1) + 1
    for line in (configure_devices(tf), configure_devices(tf), configure_devices(tf, "cpu")):
        assert line.startswith(("Training on", "TensorFlow is running already"))


def test_missing_gpu_is_refused_at_the_start(
    regressor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `gpu` is configured and none is there, the model is not made, let alone trained."""
    tf, _ = start_tensorflow(LSTMParameters())
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    with pytest.raises(OperationalException, match=r"device is 'gpu', but TensorFlow sees no GPU"):
        regressor(training={"device": "gpu"})


TWICE = """
import logging
logging.basicConfig(level="INFO")
from freqai_lstm.model.devices import start_tensorflow
from freqai_lstm.model.parameters import LSTMParameters
for _ in range(2):
    start_tensorflow(LSTMParameters())
"""


def test_one_line_per_process() -> None:
    """The chosen device is logged once, however many networks are trained."""
    ran = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=True)
    assert ran.stderr.count("Training on ") == 1


def test_other_keras_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras on another backend is refused with what to set."""
    _, keras = start_tensorflow(LSTMParameters())
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(OperationalException, match=r"'jax'.*KERAS_BACKEND.*'tensorflow'"):
        start_tensorflow(LSTMParameters())


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
