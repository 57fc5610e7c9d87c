"""The network: its shape, its layers, its first weights, and where it comes from."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import keras
import numpy as np
import pytest
from small import FEATURES, LABELS, WIDTH, candle_matrix, small_network

from freqai_lstm.model.candles import CHANNELS
from freqai_lstm.model.network import (
    HEADS,
    MIXTURES,
    NetworkShape,
    build_network,
    same_architecture,
)
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.pool import MOST_NETWORKS, NetworkPool
from freqai_lstm.model.windows import Inputs


WHAT_IS_IMPORTED = """
import json, sys
from pathlib import Path
from freqai_lstm.plugins import MODEL_FILE, load_plugin
module = load_plugin(MODEL_FILE)
listed = [name for name in ("tensorflow", "keras") if name in sys.modules]
config = json.loads(sys.argv[1])
config["user_data_dir"] = Path(config["user_data_dir"])
module.LSTMRegressor(config=config)
made = [name for name in ("tensorflow", "keras") if name in sys.modules]
print(listed, made)
"""


def build(on_gpu: bool = False, **parameters: Any) -> Any:
    """A Keras model, not compiled."""
    chosen = LSTMParameters(**{"units": 4, **parameters})
    return build_network(keras, NetworkShape(WIDTH, FEATURES, LABELS, chosen), on_gpu=on_gpu)


def lstms(model: Any) -> list[Any]:
    """Its LSTM layers."""
    return [layer for layer in model.layers if type(layer).__name__ == "LSTM"]


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_shape(layers: int) -> None:
    """From windows of features and of candles to labels, through `num_lstm_layers` LSTMs."""
    model = build(num_lstm_layers=layers)
    assert model.input_shape == [(None, WIDTH, FEATURES), (None, WIDTH, CHANNELS)]
    assert model.output_shape == (None, LABELS)
    assert {layer.name for layer in lstms(model)} == {f"lstm_{n}" for n in range(1, layers + 1)}
    mixtures = CHANNELS + MIXTURES
    assert model.get_layer("lstm_1").input.shape == (None, WIDTH, mixtures)


def test_without_candle_channel() -> None:
    """Windows of features are the only input, and the LSTMs read all of them."""
    model = build(num_lstm_layers=2, candle_channel=False)
    assert [tuple(one.shape) for one in model.inputs] == [(None, WIDTH, FEATURES)]
    assert model.output_shape == (None, LABELS)
    assert model.get_layer("lstm_1").input.shape == (None, WIDTH, FEATURES)


def test_residual_connections() -> None:
    """Every LSTM after the first adds to what is below it, normalised and with dropout before."""
    model = build(num_lstm_layers=3)
    for number in (2, 3):
        add = model.get_layer(f"residual_{number}")
        assert model.get_layer(f"lstm_{number}").output in add.input
        assert type(add).__name__ == "Add"
        before = model.get_layer(f"lstm_{number}").input
        dropout = model.get_layer(f"dropout_{number}")
        assert before is dropout.output
        assert dropout.input is model.get_layer(f"norm_{number}").output
    assert sum(type(layer).__name__ == "Add" for layer in model.layers) == 2


def test_attention_picks_candles_and_their_states() -> None:
    """Each head's shares of the candles sum to one, and what it picks is the mean by them.

    The head of the network sees the last state, what was picked, linear sums over the whole
    window, and the newest features.
    """
    model = build()
    names = ("states", "attention", "picked", "found", "features", "candles_and_mixtures")
    parts = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    rng = np.random.default_rng(1)
    windows = [rng.normal(size=(5, *one.shape[1:])) for one in model.inputs]
    states, attention, picked, found, features, stack = map(np.asarray, parts(windows))
    assert attention.shape == (5, WIDTH, HEADS)
    np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
    read = np.concatenate([stack, states], axis=2)
    np.testing.assert_allclose(picked, np.einsum("wch,wcu->whu", attention, read), atol=1e-6)
    kernel, bias = model.get_layer("lags").get_weights()
    lags = stack.reshape(5, -1) @ kernel + bias
    seen = [states[:, -1], picked.reshape(5, -1), lags, features[:, -1]]
    np.testing.assert_allclose(found, np.hstack(seen), atol=1e-6)


def test_output_is_linear() -> None:
    """The output is a linear layer without bias, from zero: predictions know no bounds."""
    layer = build().layers[-1]
    assert layer.activation.__name__ == "linear"
    (kernel,) = layer.get_weights()
    assert not kernel.any()


@pytest.mark.parametrize(
    ("on_gpu", "layers", "unrolled"), [(False, 2, True), (True, 2, False), (False, 4, True)]
)
def test_steps_are_written_out_on_a_cpu(on_gpu: bool, layers: int, unrolled: bool) -> None:
    """cuDNN has its own loop; on a CPU the steps are unrolled."""
    model = build(on_gpu, num_lstm_layers=layers)
    assert {layer.unroll for layer in lstms(model)} == {unrolled}


def test_many_steps_keep_their_loop() -> None:
    """Above 64 steps of the stack tracing would take too long."""
    parameters = LSTMParameters(units=2, num_lstm_layers=2)
    for width, unrolled in ((32, True), (33, False)):
        model = build_network(keras, NetworkShape(width, 1, 1, parameters))
        assert {layer.unroll for layer in lstms(model)} == {unrolled}


def test_seed_decides_first_weights() -> None:
    """The same seed builds the same network, another seed another one."""
    first, same, other = (
        np.concatenate([w.ravel() for w in build(seed=seed).get_weights()]) for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert (first != other).any()


def test_layers_start_differently() -> None:
    """Layers of the same size do not begin with the same weights."""
    layers = lstms(build(num_lstm_layers=3))
    for one, other in combinations(layers, 2):
        (kernel, recurrent, _), (others_kernel, others_recurrent, _) = (
            layer.get_weights() for layer in (one, other)
        )
        assert (recurrent != others_recurrent).any()
        if kernel.shape == others_kernel.shape:
            assert (kernel != others_kernel).any()


def test_same_architecture() -> None:
    """Equal parameters build equal networks; how their loops run does not count, sizes do."""
    assert same_architecture(build(), build())
    assert same_architecture(build(), build(on_gpu=True))
    assert not same_architecture(build(), build(units=5))
    assert not same_architecture(build(), build(num_lstm_layers=3))
    assert not same_architecture(build(), build(candle_channel=False))


# --- the pool ---


def test_pool_builds_each_shape_once() -> None:
    """The same shape is the same network; the pool keeps only its most recent ones."""
    pool = NetworkPool(LSTMParameters(units=1, num_lstm_layers=1))
    first, second = pool.network(2, 1, 1), pool.network(2, 2, 1)
    assert pool.network(2, 1, 1) is first
    for features in range(3, MOST_NETWORKS + 1):
        pool.network(2, features, 1)
    assert pool.network(2, 1, 1) is first, "used last but one, so the oldest is another"
    pool.network(2, MOST_NETWORKS + 1, 1)
    assert pool.network(2, 1, 1) is first
    assert pool.network(2, 2, 1) is not second


def test_pool_knows_a_loaded_model(tmp_path: Path) -> None:
    """A loaded model of the same architecture shares the network; another one gets its own."""
    pool = NetworkPool(LSTMParameters(units=3, num_lstm_layers=1))
    network = pool.network(WIDTH, FEATURES, LABELS)
    network.model.save(tmp_path / "same.keras")
    foreign = small_network()
    foreign.model.save(tmp_path / "other.keras")

    assert pool.network_of(keras.saving.load_model(tmp_path / "same.keras")) is network
    loaded = keras.saving.load_model(tmp_path / "other.keras")
    other = pool.network_of(loaded)
    assert other is not network
    features = np.random.default_rng(1).normal(size=(30, FEATURES)).astype(np.float32)
    inputs, ends = Inputs(features, candle_matrix(30)), np.arange(WIDTH, 30, dtype=np.int32)
    weights = foreign.weights() + 0.1
    assert (other.predict(weights, inputs, ends) == foreign.predict(weights, inputs, ends)).all()


def test_tensorflow_waits(freqai_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Neither listing the models nor making one imports TensorFlow or Keras."""
    ran = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED, json.dumps(freqai_config(), default=str)],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "[] []\n"


def test_plugin_class_can_be_sent_to_hyperopt_workers(lstm: ModuleType) -> None:
    """hyperopt pickles the class with all the code it uses; nothing in it holds a lock."""
    assert cloudpickle.loads(cloudpickle.dumps(lstm.LSTMRegressor)).__name__ == "LSTMRegressor"
