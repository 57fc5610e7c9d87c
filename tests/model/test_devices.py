"""Choosing the device, with the lists that TensorFlow would give on other machines."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from freqtrade.exceptions import OperationalException


PLUGIN = Path(__file__).resolve().parents[2] / "user_data/freqaimodels/LSTMRegressor.py"
NVIDIA = "For an NVIDIA GPU: pip install 'tensorflow[and-cuda]'."


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


def test_no_gpu(lstm: ModuleType) -> None:
    """Without a GPU the CPU trains, and the line says how to get one."""
    machine = Machine([])
    assert lstm.configure_devices(machine) == (
        f"Training on the CPU: TensorFlow sees no GPU. {NVIDIA}"
    )
    assert machine.calls == []


def test_memory_grows(lstm: ModuleType) -> None:
    """Every GPU takes memory only as it is needed."""
    machine = Machine(["gpu0", "gpu1"])
    line = lstm.configure_devices(machine)
    assert line == "Training on 2 GPU(s) (memory grows as needed)."
    assert machine.calls == [("growth", "gpu0", True), ("growth", "gpu1", True)]


def test_memory_limit(lstm: ModuleType) -> None:
    """A limit is set instead of growth, which TensorFlow would not take together."""
    machine = Machine(["gpu0"])
    assert lstm.configure_devices(machine, "gpu", 2048) == (
        "Training on 1 GPU(s) (at most 2048 MB each)."
    )
    assert machine.calls == [("limit", "gpu0", [2048])]


def test_apple(lstm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS the line warns that the metal plugin is usually slower for LSTMs."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert lstm.configure_devices(Machine(["gpu0"])) == (
        "Training on 1 GPU(s) (memory grows as needed). Apple's metal plugin is usually slower "
        'than the CPU for LSTMs: compare with freqai.model_training_parameters.device = "cpu".'
    )
    assert lstm.configure_devices(Machine([])) == (
        "Training on the CPU: TensorFlow sees no GPU. On Apple silicon, tensorflow-metal would "
        "add one, usually slower for LSTMs."
    )


def test_windows(lstm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the line says where TensorFlow would find the GPU."""
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert lstm.configure_devices(Machine([])) == (
        "Training on the CPU: TensorFlow sees no GPU. On Windows, TensorFlow uses GPUs only "
        "inside WSL2."
    )


def test_cpu_forced(lstm: ModuleType) -> None:
    """With device cpu the GPUs are hidden from TensorFlow."""
    machine = Machine(["gpu0"])
    assert lstm.configure_devices(machine, "cpu") == "Training on the CPU, as configured."
    assert machine.calls == [("visible", [], "GPU")]


GPU_MISSING = (
    "freqai.model_training_parameters.device is 'gpu', but TensorFlow sees no GPU. "
    f"{NVIDIA} Or write 'auto' to use the CPU."
)


def test_gpu_missing(lstm: ModuleType) -> None:
    """Device gpu without one is an error that says what to do."""
    with pytest.raises(OperationalException) as caught:
        lstm.configure_devices(Machine([]), "gpu")
    assert str(caught.value) == GPU_MISSING


def test_gpu_missing_is_said_at_every_training(
    lstm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first failed training the second does not quietly run on the CPU."""
    tf, keras = lstm.load_tensorflow()
    machine = Machine([])
    machine.__version__ = tf.__version__
    monkeypatch.setattr(lstm, "load_tensorflow", lambda: (machine, keras))
    pool = lstm.NetworkPool(lstm.LSTMParameters(device="gpu"))
    for _ in range(2):
        with pytest.raises(OperationalException, match="TensorFlow sees no GPU"):
            pool.start()


@pytest.mark.parametrize(("device", "limit"), [("auto", 0), ("auto", 512), ("cpu", 0)])
def test_runtime_started_already(lstm: ModuleType, device: str, limit: int) -> None:
    """When TensorFlow runs already, its devices stay and the line says why."""
    machine = Machine(["gpu0"], started="cannot be modified after being initialized")
    assert lstm.configure_devices(machine, device, limit) == (
        "TensorFlow is running already and keeps its devices as they are "
        "(cannot be modified after being initialized)."
    )


def test_real_tensorflow_twice(lstm: ModuleType) -> None:
    """The real TensorFlow, running, can be configured again and again."""
    tf, _ = lstm.load_tensorflow()
    tf.constant(1) + 1
    first = lstm.configure_devices(tf)
    assert lstm.configure_devices(tf) == first
    for line in (first, lstm.configure_devices(tf, "cpu")):
        assert line.startswith(("Training on", "TensorFlow is running already"))


def test_one_line_per_process(lstm: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    """The chosen device is logged once, however many networks are asked for."""
    pool = lstm.NetworkPool(lstm.LSTMParameters())
    with caplog.at_level("INFO"):
        assert pool.start() is pool.start()
    assert len([r for r in caplog.records if r.name == lstm.__name__]) == 1


START = """
import sys
sys.path.insert(0, sys.argv[2])
from conftest import load_plugin
lstm = load_plugin(__import__("pathlib").Path(sys.argv[1]))
pool = lstm.NetworkPool(lstm.LSTMParameters(units=2, num_lstm_layers=1))
pool.fresh(3, 2, 1)
print("done")
"""


def test_start_up_noise(tmp_path: Path) -> None:
    """A fresh process that builds a network leaves nothing of TensorFlow's on stderr."""
    ran = subprocess.run(
        [sys.executable, "-c", START, str(PLUGIN), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert ran.stdout == "done\n"
    assert ran.stderr == ""


def test_other_lines_on_stderr_pass(lstm: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """Only known noise is held back; anything else that is written meanwhile comes out."""
    with lstm._quiet_stderr():
        os.write(2, b"I0000 00:00 start-up noise\na real problem\n")
    assert capfd.readouterr().err == "a real problem\n"
