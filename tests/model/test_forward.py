"""The forward pass in NumPy equals Keras, and predicting needs no TensorFlow."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from freqai_lstm.model import ridge
from freqai_lstm.model.devices import start_tensorflow
from freqai_lstm.model.forward import AT_ONCE, Forward, weights_of
from freqai_lstm.model.network import EXTREMES, MAX_UNROLLED, build_network
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.shared_network import SharedNetwork
from freqai_lstm.model.storage import network_path, read_network, write_network


COLUMNS, LABELS = 7, 3


def network(layers: int, units: int, conv_width: int, channels: int, on_gpu: bool = False) -> Any:
    """A Keras network whose weights are all drawn, those that begin at zero too."""
    parameters = LSTMParameters(num_lstm_layers=layers, units=units)
    _, keras = start_tensorflow(parameters)
    model = build_network(keras, parameters, (conv_width, channels, COLUMNS, LABELS), on_gpu=on_gpu)
    rng = np.random.default_rng(1)
    drawn = [w if w.ndim == 0 else w + rng.normal(0, 0.1, w.shape) for w in model.get_weights()]
    for layer in model.layers:
        count = len(layer.get_weights())
        if not layer.name.startswith("dropout"):
            layer.set_weights(drawn[:count])
        drawn = drawn[count:]
    return model


def inputs(rows: int, conv_width: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows and columns with heavy tails, as scaled channels have them."""
    rng = np.random.default_rng(2)
    windows = rng.standard_t(3, (rows, conv_width, channels)).clip(-8, 8)
    return windows.astype(np.float32), rng.normal(size=(rows, COLUMNS)).astype(np.float32)


def test_one_point_more_of_score_chooses_a_candle() -> None:
    """A head looks over a thousand times as much at a candle whose score is one point higher."""
    weights = weights_of(network(1, 4, 6, 11))
    weights["scores/0"][:], weights["scores/1"][:] = 0, 0
    weights["scores/0"][2] = 1  # of the candles' third channel
    windows = np.zeros((1, 6, 11), np.float32)
    windows[0, 1, 2] = 1
    (attention,) = Forward(weights).attention(windows)  # (candles, heads)
    assert (attention[1] > 1000 * np.delete(attention, 1, axis=0)).all()


@pytest.mark.parametrize(
    ("layers", "units", "conv_width", "channels"),
    [(1, 8, 6, 11), (1, 32, 24, 13), (2, 16, 12, 11), (3, 8, 30, 12), (1, 1, 2, 11)],
)
def test_numpy_equals_keras(layers: int, units: int, conv_width: int, channels: int) -> None:
    """Within 1e-5, for stacks, units and windows of several sizes, unrolled or not."""
    model = network(layers, units, conv_width, channels)
    assert model.get_layer("lstm_1").unroll == (conv_width * layers <= MAX_UNROLLED)
    given = inputs(200, conv_width, channels)
    expected = model.predict(given, verbose=0)
    assert expected.std() > 0.1
    found = Forward(weights_of(model))(*given)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.std())


def test_attention_sums_to_one() -> None:
    """Each head spreads one over the candles of a window."""
    forward, given = Forward(weights_of(network(2, 4, 6, 11))), inputs(9, 6, 11)
    attention = forward.attention(given[0])
    assert attention.shape == (9, 6, len(EXTREMES))
    np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)


def test_how_many_windows_are_asked_for_does_not_matter() -> None:
    """One window alone, none, and more than fit at once: the same predictions, but for rounding."""
    forward, given = Forward(weights_of(network(1, 4, 3, 11))), inputs(AT_ONCE + 5, 3, 11)
    whole = forward(*given)
    assert forward(given[0][:0], given[1][:0]).shape == (0, LABELS)
    for row in (0, AT_ONCE, AT_ONCE + 4):
        alone = forward(given[0][row : row + 1], given[1][row : row + 1])
        np.testing.assert_allclose(alone[0], whole[row], rtol=1e-6, atol=1e-6)


def test_archive_opens_in_keras_and_in_numpy(tmp_path: Path) -> None:
    """Keras alone opens what `write_network` wrote, and all three predict the same."""
    model = network(2, 8, 6, 11)
    shared = SharedNetwork((3600,), (Forward(weights_of(model)),), 6, [], False, {}, {})
    path = network_path(tmp_path, 3600)
    write_network(path, shared, model, {"pair": "BTC/USDT"})
    given = inputs(50, 6, 11)
    np.savez(tmp_path / "given.npz", *given)
    script = (
        "import sys, keras, numpy as np\n"
        "given = np.load(sys.argv[2])\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "np.save(sys.argv[3], model.predict([given['arr_0'], given['arr_1']], verbose=0))\n"
    )
    files = [path, tmp_path / "given.npz", tmp_path / "out.npy"]
    subprocess.run([sys.executable, "-c", script, *map(str, files)], check=True, cwd=tmp_path)
    read, record = read_network(path)
    assert record == {"pair": "BTC/USDT"}
    np.testing.assert_array_equal(read.forwards[0](*given), shared.forwards[0](*given))
    np.testing.assert_allclose(np.load(files[2]), read.forwards[0](*given), rtol=1e-5, atol=1e-5)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_one_thread_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the forward pass and the regression BLAS has one thread, and its own ones after it."""
    before, seen = blas_threads(), []

    def spied(call: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*given: Any) -> Any:
            seen.append(blas_threads())
            return call(*given)

        return spy

    monkeypatch.setattr(Forward, "_predict", spied(Forward._predict))
    monkeypatch.setattr(ridge, "_solve", spied(ridge._solve))
    Forward(weights_of(network(1, 4, 3, 11)))(*inputs(5, 3, 11))
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 1))
    ridge.fit_ridge(x, y, np.ones(100), np.arange(100), [0])
    assert len(seen) > 2
    assert {threads for one in seen for threads in one} <= {1}
    assert blas_threads() == before


def blas_threads() -> list[int]:
    """Threads of NumPy's BLAS; none where it is not one that threadpoolctl knows."""
    libraries = [one for one in threadpool_info() if one["user_api"] == "blas"]
    return [one["num_threads"] for one in libraries if "numpy" in one["filepath"]]
