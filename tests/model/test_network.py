"""The network: its shape, its archive, and that nothing is imported before it is needed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest
from freqtrade.exceptions import OperationalException


PLUGIN = Path(__file__).resolve().parents[2] / "user_data/freqaimodels/LSTMRegressor.py"
WIDTH, FEATURES, LABELS = 5, 3, 2

OPEN_ARCHIVE = """
import sys
import numpy as np
import keras
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""

WHAT_IS_IMPORTED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import load_plugin
module = load_plugin(Path(sys.argv[2]))
listed = [name for name in ("tensorflow", "keras") if name in sys.modules]
config = json.loads(sys.argv[3])
config["user_data_dir"] = Path(config["user_data_dir"])
module.LSTMRegressor(config=config)
made = [name for name in ("tensorflow", "keras") if name in sys.modules]
print(listed, made)
"""


def make_network(lstm: ModuleType, **parameters: Any) -> Any:
    """A small network of the module's constants."""
    given = {"units": 4, **parameters}
    pool = lstm.NetworkPool(lstm.LSTMParameters.from_config(given))
    return pool.fresh(WIDTH, FEATURES, LABELS)


def random_rows(rows: int = 30) -> np.ndarray:
    """A feature matrix of shape (rows, FEATURES)."""
    return np.random.default_rng(1).normal(size=(rows, FEATURES)).astype(np.float32)


def rolled(matrix: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The windows that end at `ends`, each written out: (windows, WIDTH, FEATURES)."""
    return np.stack([matrix[end - WIDTH + 1 : end + 1] for end in ends])


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_shape(lstm: ModuleType, layers: int) -> None:
    """From (windows, conv_width, features) to (windows, labels), with as many LSTMs as asked."""
    model = make_network(lstm, num_lstm_layers=layers).model
    assert model.input_shape == (None, WIDTH, FEATURES)
    assert model.output_shape == (None, LABELS)
    assert sum(type(layer).__name__ == "LSTM" for layer in model.layers) == layers


def test_residual_connections(lstm: ModuleType) -> None:
    """Every LSTM after the first adds to what is below it, normalised and with dropout before.

    One more sum is the output's: the straight line and what is learned beside it.
    """
    kinds = [type(layer).__name__ for layer in make_network(lstm, num_lstm_layers=3).model.layers]
    assert kinds.count("Add") == 2 + 1
    assert kinds.count("LayerNormalization") >= 2
    assert kinds.count("Dropout") >= 2


def test_output_is_linear(lstm: ModuleType) -> None:
    """The output is a sum of two linear layers, from zero: predictions know no bounds."""
    model = make_network(lstm).model
    assert type(model.layers[-1]).__name__ == "Add"
    for name in ("learned", "straight_line"):
        layer = model.get_layer(name)
        assert layer.activation.__name__ == "linear"
        assert not any(weight.any() for weight in layer.get_weights())


def random_weights(network: Any) -> list[np.ndarray]:
    """Weights of which none is zero, as the last layers' first ones are."""
    rng = np.random.default_rng(2)
    return [rng.normal(size=w.shape).astype(np.float32) for w in network.model.get_weights()]


@pytest.mark.parametrize("most", [128, 9], ids=["unrolled", "looped"])
def test_predict_equals_keras(lstm: ModuleType, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The compiled prediction gives what the Keras model gives for the same windows.

    Its LSTM steps are unrolled up to a number of them; the model itself keeps its loops.
    """
    monkeypatch.setattr(lstm, "MAX_UNROLLED", most)
    network, matrix = make_network(lstm), random_rows()
    assert ("While" in str(network._predict.graph.as_graph_def())) is (most == 9)
    epoch = str(network._training_function()[0].graph.as_graph_def())
    assert (epoch.count('op: "While"') > 1) is (most == 9), "one loop is that over the batches"
    assert not any(layer.unroll for layer in network.model.layers if layer.name.startswith("lstm"))
    ends = np.array([4, 29, 11, 12], dtype=np.int32)
    weights = random_weights(network)
    network.model.set_weights(weights)
    expected = network.model.predict(rolled(matrix, ends), verbose=0)
    assert expected.std() > 0.1
    for batch in (2048, 3):
        predicted = network.predict(network.pack(weights), matrix, ends, batch=batch)
        np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-5)


def test_predict_nothing(lstm: ModuleType) -> None:
    """Without a complete window there is no row to predict, and the shape says so."""
    network = make_network(lstm)
    none = np.empty(0, dtype=np.int32)
    assert network.predict(
        network.pack(network.model.get_weights()), random_rows(), none
    ).shape == (0, LABELS)


def test_predict_uses_the_weights_it_is_given(lstm: ModuleType) -> None:
    """Predictions are made with the given weights, not with those inside the network."""
    network, matrix = make_network(lstm), random_rows()
    ends = np.arange(4, 30, dtype=np.int32)
    weights = random_weights(network)
    before = network.predict(network.pack(weights), matrix, ends)
    assert before.std() > 0.1
    network.model.set_weights([np.zeros_like(weight) for weight in weights])
    assert (network.predict(network.pack(weights), matrix, ends) == before).all()
    assert (network.predict(network.pack(network.model.get_weights()), matrix, ends) == 0).all()


def test_seed_decides_first_weights(lstm: ModuleType) -> None:
    """The same seed builds the same network, another seed another one."""
    first, same, other = (
        np.concatenate([w.ravel() for w in make_network(lstm, seed=seed).model.get_weights()])
        for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert (first != other).any()


def test_layers_start_differently(lstm: ModuleType) -> None:
    """Layers of the same size do not begin with the same weights."""
    model = make_network(lstm, num_lstm_layers=3).model
    second, third = (model.get_layer(f"lstm_{number}").get_weights() for number in (2, 3))
    assert (second[0] != third[0]).any()
    assert (second[1] != third[1]).any()


def test_pool_builds_each_shape_once(lstm: ModuleType) -> None:
    """The same shape is the same network; the pool keeps only its most recent ones."""
    pool = lstm.NetworkPool(lstm.LSTMParameters(units=2, num_lstm_layers=1), size=2)
    first, second = pool.fresh(3, 1, 1), pool.fresh(3, 2, 1)
    assert pool.fresh(3, 1, 1) is first
    pool.fresh(3, 3, 1)
    assert pool.fresh(3, 1, 1) is first
    assert pool.fresh(3, 2, 1) is not second


def test_pool_knows_a_loaded_model(lstm: ModuleType, tmp_path: Path) -> None:
    """A loaded model of the same architecture shares the network; another one gets its own."""
    pool = lstm.NetworkPool(lstm.LSTMParameters(units=4))
    network, keras = pool.fresh(WIDTH, FEATURES, LABELS), pool.start()
    network.save(tmp_path / "same.keras", network.model.get_weights())
    foreign = make_network(lstm, units=3)
    foreign.save(tmp_path / "other.keras", foreign.model.get_weights())

    assert pool.loaded(keras.saving.load_model(tmp_path / "same.keras")) is network
    other = pool.loaded(keras.saving.load_model(tmp_path / "other.keras"))
    assert other is not network
    assert pool.loaded(keras.saving.load_model(tmp_path / "other.keras")) is other
    matrix, ends = random_rows(), np.arange(4, 30, dtype=np.int32)
    weights = foreign.model.get_weights()
    assert (
        other.predict(other.pack(weights), matrix, ends)
        == foreign.predict(foreign.pack(weights), matrix, ends)
    ).all()


@pytest.mark.parametrize("trained", [False, True])
def test_archive_opens_without_the_plugin(lstm: ModuleType, tmp_path: Path, trained: bool) -> None:
    """`keras.saving.load_model` alone opens the archive in a fresh process, and predicts the same.

    The archive of a trained network also holds its optimizer.
    """
    network, matrix = make_network(lstm), random_rows()
    if trained:
        network.reset()
    ends = np.arange(4, 30, dtype=np.int32)
    weights = network.model.get_weights()
    network.save(tmp_path / "model.keras", weights)
    np.save(tmp_path / "windows.npy", rolled(matrix, ends))
    names = [str(tmp_path / name) for name in ("model.keras", "windows.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", OPEN_ARCHIVE, *names], check=True, cwd=tmp_path)
    np.testing.assert_allclose(
        np.load(names[-1]), network.predict(network.pack(weights), matrix, ends), atol=1e-6
    )


def test_tensorflow_waits(freqai_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Neither listing the models nor making one imports TensorFlow or Keras."""
    arguments = [str(Path(__file__).parent), str(PLUGIN), json.dumps(freqai_config(), default=str)]
    ran = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED, *arguments],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "[] []\n"


def test_other_keras_backend(lstm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras on another backend is refused with what to set."""
    _, keras = lstm.load_tensorflow()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(OperationalException) as caught:
        lstm.load_tensorflow()
    assert str(caught.value) == (
        "LSTMRegressor needs Keras on TensorFlow. Got the Keras backend 'jax': unset "
        "KERAS_BACKEND or set it to 'tensorflow'."
    )


def test_plugin_class_can_be_sent_to_hyperopt_workers(lstm: ModuleType) -> None:
    """hyperopt pickles the class with all the code it uses; nothing in it holds a lock."""
    assert cloudpickle.loads(cloudpickle.dumps(lstm.LSTMRegressor)).__name__ == "LSTMRegressor"
