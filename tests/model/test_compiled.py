"""The compiled network: it predicts and trains what Keras would, on gathered windows."""

import threading

import numpy as np
import pytest
from small import (
    FEATURES,
    LABELS,
    WIDTH,
    candle_matrix,
    loss_of,
    small_network,
    small_set,
    train_small,
)

from freqai_lstm.model import compiled
from freqai_lstm.model.candles import unit_free
from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.devices import load_tensorflow
from freqai_lstm.model.windows import Inputs, TrainingSet


def random_rows(rows: int = 30, seed: int = 1) -> Inputs:
    """Features of shape (rows, FEATURES), always the same, and candles that `seed` decides."""
    features = np.random.default_rng(1).normal(size=(rows, FEATURES)).astype(np.float32)
    return Inputs(features, candle_matrix(rows, seed))


def random_weights(network: CompiledNetwork) -> np.ndarray:
    """Weights of which none is zero, as the last layers' first ones are."""
    numbers = len(network.weights())
    return np.random.default_rng(2).normal(size=numbers).astype(np.float32)


def written_out(inputs: Inputs, ends: np.ndarray) -> list[np.ndarray]:
    """The windows that end at `ends`: (windows, WIDTH, FEATURES) and (windows, WIDTH, 10)."""
    features, candles = (
        np.stack([matrix[end - WIDTH + 1 : end + 1] for end in ends]) for matrix in inputs
    )
    tf, _ = load_tensorflow()
    return [features, unit_free(tf, candles).numpy()]


def epoch(
    network: CompiledNetwork,
    data: TrainingSet,
    ends: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    label_weights: tuple[float, float] = (1.0, 1.0),
) -> float:
    """Train on the windows that end at `ends`, all by default; return the sum of their losses."""
    weights = data.weights if weights is None else weights
    rows = tuple(map(network.tf.constant, (*data.inputs, data.labels, weights)))
    ends = data.train_ends if ends is None else ends
    return network.train(rows, np.asarray(label_weights, np.float32), ends, 32)


@pytest.mark.parametrize("layers", [1, 2])
def test_predict_equals_keras(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled prediction gives what the Keras model gives for the same windows.

    The window of row t is the rows up to and with t, in their order, in any batch size.
    """
    network, inputs = small_network(num_lstm_layers=layers), random_rows()
    ends = np.array([5, 29, 11, 12], dtype=np.int32)
    weights = random_weights(network)
    network.set_weights(weights)
    expected = network.model.predict(written_out(inputs, ends), verbose=0)
    assert expected.std() > 0.1
    for most in (2048, 3, 1):
        monkeypatch.setattr(compiled, "MOST_WINDOWS", most)
        predicted = network.predict(weights, inputs, ends)
        np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-5)


def test_candles_change_predictions() -> None:
    """The same features with other candles are predicted otherwise, also after a training."""
    network, data = small_network(), small_set()
    ends = np.arange(WIDTH, 30, dtype=np.int32)
    network.reset(1)
    epoch(network, data)
    for weights in (random_weights(network), network.weights()):
        first, again, other = (
            network.predict(weights, random_rows(seed=seed), ends) for seed in (1, 1, 2)
        )
        assert (first == again).all()
        assert (first != other).all()


def test_without_candle_channel() -> None:
    """One input, of features: it predicts what Keras does, trains, and looks at no candle."""
    network, data = small_network(candle_channel=False, learning_rate=0.01), small_set()
    inputs, ends = random_rows(), np.array([5, 29, 11], dtype=np.int32)
    assert len(network.model.inputs) == 1
    weights = random_weights(network)
    network.set_weights(weights)
    expected = network.model.predict(written_out(inputs, ends)[0], verbose=0)
    predicted = network.predict(weights, inputs, ends)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-5)
    unpriced = inputs._replace(candles=np.full_like(inputs.candles, np.nan))
    assert (network.predict(weights, unpriced, ends) == predicted).all()
    network.reset(1)
    losses = [epoch(network, data) for _ in range(3)]
    assert losses[-1] < losses[0]


def test_large_windows_are_predicted_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of one batch are bounded, and one window is always possible."""
    network, inputs = small_network(), random_rows()
    ends = np.arange(WIDTH, 30, dtype=np.int32)
    weights = random_weights(network)
    expected = network.predict(weights, inputs, ends)
    monkeypatch.setattr(compiled, "MAX_GATHERED", 5)
    np.testing.assert_allclose(
        network.predict(weights, inputs, ends), expected, rtol=1e-5, atol=1e-4
    )


def test_predict_nothing() -> None:
    """Without a complete window there is no row to predict, and the shape says so."""
    network, none = small_network(), np.empty(0, dtype=np.int32)
    assert network.predict(network.weights(), random_rows(), none).shape == (0, LABELS)


def test_predictions_bring_their_own_weights() -> None:
    """What a training does to the Keras model changes no prediction with given weights."""
    network, inputs = small_network(), random_rows()
    ends = np.arange(WIDTH, 30, dtype=np.int32)
    weights = random_weights(network)
    before = network.predict(weights, inputs, ends)
    network.set_weights(np.zeros_like(weights))
    assert (network.predict(weights, inputs, ends) == before).all()
    assert (network.predict(network.weights(), inputs, ends) == 0).all()


def test_weights_travel_as_one_vector() -> None:
    """In the order of `get_weights`, there and back."""
    network = small_network()
    weights = random_weights(network)
    network.set_weights(weights)
    assert (network.weights() == weights).all()
    parts = network.model.get_weights()
    assert (np.concatenate([part.ravel() for part in parts]) == weights).all()


def test_reset() -> None:
    """Every variable is what it was at first, the optimizer's and the dropout seeds' too."""
    network, data = small_network(), small_set()
    network.reset(1)
    _, optimizer, _ = network._training_function()
    variables = [*network.model.variables, *optimizer.variables]
    first = [np.asarray(variable) for variable in variables]
    network.learning_rate = 0.5
    epoch(network, data)
    assert any((np.asarray(v) != f).any() for v, f in zip(variables, first, strict=True))
    network.reset(1)
    assert all((np.asarray(v) == f).all() for v, f in zip(variables, first, strict=True))
    weights = random_weights(network)
    network.reset(1, weights)
    assert (network.weights() == weights).all()
    assert network.learning_rate == pytest.approx(network.parameters.learning_rate)


def test_reset_to_another_seed() -> None:
    """A further member of an ensemble starts, and draws its dropout, as a network of its seed."""
    network, other = small_network(), small_network(seed=2)
    network.reset(2)
    other.reset(2)  # tests share their networks
    for variable, expected in zip(network.model.variables, other.model.variables, strict=True):
        if "optimizer" not in variable.path:
            assert (np.asarray(variable) == np.asarray(expected)).all(), variable.path
    network.reset(1)
    assert (network.weights() != other.weights()).any()


def test_train_returns_the_sum_of_weighted_losses() -> None:
    """Every window counts once, also those of the last, smaller batch."""
    network, data = small_network(dropout_rate=0.0, learning_rate=1e-12), small_set()
    network.reset(1)
    weights = np.random.default_rng(1).random(len(data.weights)).astype(np.float32)
    ends = data.train_ends[:75]  # batches of 32
    total = epoch(network, data, ends, weights)
    predicted = network.predict(network.weights(), data.inputs, ends)
    expected = (loss_of(network)(data.labels[ends], predicted) * weights[ends]).sum()
    assert total == pytest.approx(expected, rel=1e-5)


def test_a_label_of_no_weight_changes_nothing() -> None:
    """Its loss counts nothing, whatever its values are, and nothing learns to predict it."""
    network, data = small_network(dropout_rate=0.0), small_set()
    learned = []
    for unit in (1.0, 100.0):
        data.labels[:, 1] *= unit
        network.reset(1)
        total = epoch(network, data, label_weights=(1.0, 0.0))
        learned.append((total, network.weights()))
    assert learned[0][0] == learned[1][0]
    assert (learned[0][1] == learned[1][1]).all()
    kernel = network.model.get_layer("residual").get_weights()[0]
    assert kernel[:, 0].any()
    assert not kernel[:, 1].any()


def test_gradients_are_clipped_by_their_global_norm() -> None:
    """All variables are shortened by one factor, so that the direction stays.

    Clipped one by one, each of them would be as long as `clip_norm`.
    """
    plain = {"optimizer": "sgd", "learning_rate": 1.0, "dropout_rate": 0.0}
    steps = []
    for clip_norm in (1e6, 0.01):
        network, data = small_network(clip_norm=clip_norm, **plain), small_set()
        start = random_weights(network) / 10  # from zero, most gradients would be zero
        network.reset(1, start)
        epoch(network, data, data.train_ends[:32])
        steps.append(network.weights() - start)
    free, clipped = steps
    assert np.linalg.norm(free) > 0.1
    assert np.linalg.norm(clipped) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(clipped, free * 0.01 / np.linalg.norm(free), atol=1e-6)


def test_decay_pulls_kernels_alone() -> None:
    """With zero gradients weight decay shrinks what multiplies inputs, not biases and gains."""
    network, data = (
        small_network(weight_decay=10.0, learning_rate=0.01),
        small_set(),
    )
    ones = np.ones_like(network.weights())
    network.reset(1, ones)
    # Windows of weight 0 have no gradient.
    epoch(network, data, data.train_ends[:32], np.zeros_like(data.weights))
    for variable in network.model.trainable_variables:
        values = np.asarray(variable)
        if values.ndim < 2:
            assert (values == 1).all(), variable.path
        else:
            np.testing.assert_allclose(values, 0.9, rtol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize(
    ("optimizer", "loss"),
    [
        ("adamw", "mse"),
        ("adam", "mae"),
        ("nadam", "huber"),
        ("rmsprop", "log_cosh"),
        ("sgd", "mse"),
    ],
)
def test_optimizers_and_losses(optimizer: str, loss: str) -> None:
    """Every optimizer and every loss that the parameters allow really trains."""
    network = small_network(optimizer=optimizer, loss=loss, units=4, learning_rate=0.01)
    data = small_set(rows=200)
    network.reset(1)
    assert type(network._training_function()[1]).__name__.lower() == optimizer
    losses = [epoch(network, data) for _ in range(3)]
    assert losses[-1] < losses[0]


def test_prediction_does_not_wait_for_a_training() -> None:
    """A thread predicts while another one trains on the same network, and waits for no lock."""
    network, data = small_network(units=2, epochs=2), small_set(noise=1.0)
    inputs, ends, weights = random_rows(), np.arange(WIDTH, 30, dtype=np.int32), network.weights()
    training, predicted = threading.Event(), threading.Event()
    waited: list[bool] = []

    def within_an_epoch(scalars: dict[str, float], epoch: int) -> None:
        training.set()
        if epoch == 1:
            waited.append(predicted.wait(timeout=60))

    thread = threading.Thread(target=train_small, args=(network, data, None, within_an_epoch))
    thread.start()
    training.wait()
    first = network.predict(weights, inputs, ends)
    predicted.set()
    thread.join()
    assert waited == [True]
    assert (network.predict(weights, inputs, ends) == first).all()


def test_predicting_compiles_no_training() -> None:
    """Predicting never builds the training function, which takes longest."""
    network = small_network(units=2, seed=7)
    network.predict(network.weights(), random_rows(), np.array([9], dtype=np.int32))
    assert network._training is None
