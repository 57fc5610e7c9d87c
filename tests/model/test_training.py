"""The training loop: it learns, stops in time, repeats itself, and says what it did."""

from typing import Any

import numpy as np
import pytest
from freqtrade.exceptions import OperationalException
from small import loss_of, part_of, small_network, small_set, train_small

from freqai_lstm.model import training
from freqai_lstm.model.assembly import log_summary
from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.parameters import KEY, LSTMParameters
from freqai_lstm.model.part import r_squared
from freqai_lstm.model.ridge import fit_ridge
from freqai_lstm.model.storage import TrainedLSTM
from freqai_lstm.model.training import Plateau
from freqai_lstm.model.windows import TrainingSet


# Learns well within some ten epochs; several tests share it, since building takes seconds.
QUICK = {"epochs": 30, "learning_rate": 0.02, "units": 16}


def train(
    network: CompiledNetwork, data: TrainingSet, start_from: Any = None
) -> tuple[TrainedLSTM, dict[str, Any]]:
    """Train under the name A/B; return the model and its report."""
    model = train_small(network, data, start_from)
    return model, model.report


def predictions(model: TrainedLSTM, data: TrainingSet) -> np.ndarray:
    """Predict the validation windows, with the ridge regression that has not seen them."""
    ends, ridge = data.validation_ends, fit_ridge(data, loss_of(model.network))
    predicted = model.predict(data.inputs, ends).mean
    linear = data.inputs.features[ends] @ ridge.kernel + ridge.bias
    return predicted - linear + ridge.out_of_fold[ends]


def validation_loss(model: TrainedLSTM, data: TrainingSet) -> float:
    """The mean loss of a model on the validation windows."""
    labels = data.labels[data.validation_ends]
    return loss_of(model.network)(labels, predictions(model, data)).mean()


def same(first: TrainedLSTM, other: TrainedLSTM) -> bool:
    """Whether networks and ridge regressions of two models are equal bit for bit."""
    names = ("weights", "kernel", "bias", "shares")
    return all((getattr(first, name) == getattr(other, name)).all() for name in names)


def linear_set() -> TrainingSet:
    """A training set whose labels the current candle decides, linearly."""
    data = small_set()
    data.labels[:] = data.inputs.features @ np.array([[1, 0], [-2, 1], [0, 0], [0, 3]]) + [0.5, 0]
    return data


def test_it_learns() -> None:
    """On learnable labels the loss falls far and the validation R² is honest and high."""
    network, data = small_network(**QUICK), small_set(rows=600)
    model, report = train(network, data)
    losses = [epoch["loss"] for epoch in report["curves"][1:]]
    assert losses[-1] < 0.2 * losses[0]
    assert report["validation_r2"] > 0.8
    assert min(report["shares"]) > 0.5
    actual = data.labels[data.validation_ends]
    predicted = predictions(model, data)
    residual = ((actual - predicted) ** 2).sum()
    total = ((actual - actual.mean(axis=0)) ** 2).sum()
    assert report["validation_r2"] == pytest.approx(1 - residual / total, abs=1e-5)


def test_same_seed_same_weights() -> None:
    """A training repeats itself bit for bit, also after another training in between."""
    network, data = small_network(), small_set()
    first, report = train(network, data)
    train(network, small_set(seed=2))
    again, report_again = train(network, data)
    assert same(first, again)
    assert report == report_again


def test_other_seed_other_weights() -> None:
    """Another seed gives another model, and trains as well."""
    first, _ = train(small_network(), small_set())
    other, _ = train(small_network(seed=2), small_set())
    assert not same(first, other)


def test_best_weights_come_back() -> None:
    """Early stopping ends an overfitting training and returns the weights of its best epoch."""
    network, data = small_network(**QUICK, early_stopping_patience=3), small_set(noise=1.0)
    model, report = train(network, data)
    curve = [epoch["val_loss"] for epoch in report["curves"]]
    assert report["epochs"] == len(curve) - 1 < 30
    assert min(curve) < report["ridge_validation_loss"]
    assert report["best_epoch"] == int(np.argmin(curve)) > 0
    assert report["epochs"] == report["best_epoch"] + 3
    assert report["validation_loss"] == min(curve)
    assert validation_loss(model, data) == pytest.approx(min(curve), rel=1e-4)
    assert min(curve) < curve[-1]


def test_best_weights_without_stopping() -> None:
    """When the epochs run out before the patience, the best weights come back all the same."""
    network = small_network(**QUICK | {"epochs": 12}, early_stopping_patience=12)
    data = small_set(noise=1.0)
    model, report = train(network, data)
    assert report["epochs"] == 12 > report["best_epoch"] > 0
    assert validation_loss(model, data) == pytest.approx(report["validation_loss"], rel=1e-4)


def test_exact_ridge_regression() -> None:
    """Where the current candle says it all no LSTM is trained: no epoch, best epoch 0, R² 1."""
    network, data = small_network(), linear_set()
    model, report = train(network, data)
    assert report["exact"] is True
    assert report["shares"] == [0, 0]
    assert (report["best_epoch"], report["epochs"]) == (0, 0)
    assert report["curves"] == []
    assert report["validation_r2"] == report["ridge_validation_r2"] == pytest.approx(1, abs=1e-6)
    predicted = model.predict(data.inputs, data.validation_ends).mean
    np.testing.assert_allclose(predicted, data.labels[data.validation_ends], atol=1e-3)


def test_ridge_regression_that_is_not_exact_is_trained_on() -> None:
    """A little that only the past knows is reason enough for epochs."""
    data = linear_set()
    data.labels[:] += 0.05 * small_set(seed=3).labels
    _, report = train(small_network(), data)
    assert report["exact"] is False
    assert report["epochs"] > 0


def test_ridge_regression_is_not_trained() -> None:
    """The epochs leave it as it was solved, also when they go on from other weights."""
    network, data = small_network(), small_set(noise=1.0)
    ridge = fit_ridge(data, loss_of(network))
    assert ridge.kernel.any()
    model, _ = train(network, data)
    for start_from in (None, model.weights * 0.9):
        model, _ = train(network, data, start_from)
        assert (model.kernel == ridge.kernel).all()
        assert (model.bias == ridge.bias).all()


def test_learning_rate_steps_down() -> None:
    """A plateau lowers the rate by its factor, down to the floor, afresh in each training."""
    network = small_network(
        epochs=12,
        learning_rate=0.05,
        lr_patience=1,
        lr_factor=0.1,
        min_learning_rate=0.001,
        early_stopping_patience=12,
    )
    data = small_set(rows=150, noise=5.0)
    _, report = train(network, data)
    rates = [epoch["learning_rate"] for epoch in report["curves"][1:]]
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.001)
    assert sorted(rates, reverse=True) == rates
    _, again = train(network, data)
    assert again["curves"] == report["curves"]


def test_plateau() -> None:
    """So many values in a row that are no better, by more than rounding, are a plateau."""
    plateau = Plateau(2, 0.1)
    values = [3.0, 2.0, 1.95, 1.7, 1.65, 1.75, 1.0]
    assert [plateau.reached(value) for value in values] == [False] * 5 + [True, False]
    assert Plateau(1).reached(float("nan"))


def test_without_validation() -> None:
    """Without validation windows every epoch runs, and the weights' running mean is kept."""
    network = small_network(early_stopping_patience=1, learning_rate=0.5)
    data, epochs = small_set(validated=0), []
    model = train_small(network, data, on_epoch=lambda *_: epochs.append(network.weights()))
    report = model.report
    assert report["epochs"] == report["best_epoch"] == 3
    assert report["shares"] == [1, 1]
    assert report["validation_loss"] is report["validation_r2"] is None
    assert report["ridge_validation_loss"] is None
    assert report["loss"] == report["curves"][-1]["loss"]
    mean = epochs[1]
    for weights in epochs[2:]:
        mean = training.KEPT_OF_MEAN * mean + (1 - training.KEPT_OF_MEAN) * weights
    assert model.weights[0] == pytest.approx(mean, abs=1e-6)
    assert model.weights[0] != pytest.approx(epochs[-1], abs=1e-2)


def test_curves_count_from_the_ridge_regression() -> None:
    """Epoch 0 is the ridge regression alone, in the report and for TensorBoard alike."""
    network, data = small_network(), small_set(noise=1.0)
    seen: list[tuple[int, dict[str, float]]] = []

    def note(scalars: dict[str, float], epoch: int) -> None:
        seen.append((epoch, dict(scalars)))

    report = train_small(network, data, on_epoch=note).report
    assert [epoch["epoch"] for epoch in report["curves"]] == [0, 1, 2, 3]
    assert seen == [
        (epoch["epoch"], {name: value for name, value in epoch.items() if name != "epoch"})
        for epoch in report["curves"]
    ]
    loss, ends = loss_of(network), data.validation_ends
    expected = loss(data.labels[ends], fit_ridge(data, loss).out_of_fold[ends]).mean()
    assert report["curves"][0]["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert report["ridge_validation_loss"] == report["curves"][0]["val_loss"]
    assert "loss" not in report["curves"][0]
    seen.clear()
    train_small(network, small_set(validated=0), on_epoch=note)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert seen[0] == (0, {}), "nothing is known of the ridge regression alone"


def test_weights_of_rows() -> None:
    """Where two halves contradict each other, the model follows the one with the weight."""
    network = small_network(**QUICK)
    data, opposite = small_set(validated=0), small_set(validated=0, sign=-1)
    data.labels[150:] = opposite.labels[150:]
    fits = []
    for heavy in (np.arange(300) < 150, np.arange(300) >= 150):
        data.weights = np.where(heavy, 1.99, 0.01).astype(np.float32)
        model, _ = train(network, data)
        predicted = model.predict(data.inputs, data.train_ends).mean
        fits.append(np.corrcoef(predicted[:, 1], opposite.labels[data.train_ends, 1])[0, 1])
    assert fits[0] < -0.6
    assert fits[1] > 0.6


def test_validation_loss_is_weighted() -> None:
    """Where half of the validation windows are spoiled, little weight makes them count little."""
    network, data = small_network(), small_set(noise=1.0)
    _, clean = train(network, data)
    data.labels[data.validation_ends[-1]] = 1e3
    data.weights[data.validation_ends[-1]] = 1e-9
    _, report = train(network, data)
    assert report["validation_loss"] == pytest.approx(clean["validation_loss"], rel=0.2)


def test_start_from() -> None:
    """A training that continues begins where the last one ended, a fresh one does not."""
    network, data = small_network(**QUICK), small_set()
    first, fresh = train(network, data)
    more, continued = train(network, data, first.weights)
    # What was validated is what is returned: the last model's ridge regression has no part in it.
    assert validation_loss(more, data) == pytest.approx(continued["validation_loss"], rel=1e-3)
    assert continued["curves"][1]["loss"] < 0.6 * fresh["curves"][1]["loss"]
    assert continued["curves"][0]["val_loss"] < 0.5 * fresh["curves"][0]["val_loss"]
    assert continued["ridge_validation_loss"] == pytest.approx(fresh["ridge_validation_loss"])
    again, _ = train(network, data)
    assert same(first, again)


def test_bad_weights_to_continue_from_do_no_harm() -> None:
    """Continued from bad weights, each label takes no share of them that validates worse."""
    network, data = small_network(learning_rate=1e-6), small_set(noise=1.0)
    bad = np.full_like(network.weights(), 3.0)
    _, report = train(network, data, bad[None])
    assert report["validation_loss"] <= report["ridge_validation_loss"]


def test_a_label_of_noise_does_not_end_the_training_of_another() -> None:
    """The learnable label is learned nearly as if it were alone; noise gets next to nothing."""
    network, data = small_network(**QUICK), small_set(rows=600)
    data.labels[:, 1] = np.random.default_rng(2).normal(size=600)
    model, report = train(network, data)
    assert report["shares"][0] > 0.7
    assert report["best_epoch"] > 5
    predicted = predictions(model, data)
    actual = data.labels[data.validation_ends]
    assert r_squared(actual[:, :1], predicted[:, :1]) > 0.7
    assert r_squared(actual[:, 1:], predicted[:, 1:]) > -0.05
    data.labels[:, 1] = data.labels[:, 0]
    twice, _ = train(network, data)
    alone = r_squared(actual[:, :1], predictions(twice, data)[:, :1])
    assert r_squared(actual[:, :1], predicted[:, :1]) > alone - 0.05


def test_nothing_better_than_a_constant_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A label that neither ridge regression nor network improves on is named in a warning."""
    network, data = small_network(epochs=1, learning_rate=1e-6), small_set()
    model, report = train(network, data)
    report |= {"shares": [0.5, 0.0], "ridge_shares": [0.0, 0.0]}
    log_summary(model, part_of(network, data), ["&-a", "&-b"], 1.0)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    for part in ("A/B", "&-b", "constant"):
        assert part in warning
    assert "&-a" not in warning


def test_flat_label_predicts_a_constant() -> None:
    """Where no block of time can be predicted from the others, the flat prediction is made."""
    network = small_network(epochs=1, learning_rate=1e-9)
    data = small_set(noise=1.0)
    data.horizon = 10_000
    model, report = train(network, data)
    assert report["penalties"] == [None, None]
    assert report["ridge_shares"] == [0, 0]
    predicted = model.predict(data.inputs, data.validation_ends).mean
    flat = fit_ridge(data, loss_of(network)).flat
    np.testing.assert_allclose(predicted, np.tile(flat, (len(predicted), 1)), atol=1e-4)


def test_divergence() -> None:
    """A loss that is no number any more stops the training with an error, not with a model."""
    data = small_set()
    data.labels[10:40] = np.inf
    with pytest.raises(OperationalException) as caught:
        train(small_network(), data)
    for part in ("A/B", "epoch 1", f"{KEY}.learning_rate", f"{LSTMParameters().learning_rate:g}"):
        assert part in str(caught.value)
    _, report = train(small_network(), small_set())
    assert np.isfinite(report["loss"])


def test_divergence_without_validation() -> None:
    """The training loss tells it too."""
    data = small_set(validated=0)
    data.labels[10:40] = np.inf
    with pytest.raises(OperationalException, match="diverged"):
        train(small_network(), data)


def test_long_training_says_where_it_stands(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line every so many seconds: epoch, best so far, at most so long still."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO")
    _, report = train(small_network(), small_set(noise=1.0))
    lines = [r.getMessage() for r in caplog.records if r.name == training.__name__]
    assert len(lines) == report["epochs"] == 3
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"A/B: {number}.0 of at most 3 epochs")
        assert line.endswith(" s still.")
    loss = report["curves"][0]["val_loss"]
    assert f"best validation loss {loss:.4f} in epoch 0" in lines[0]
    caplog.clear()
    train(small_network(), small_set(validated=0))
    assert len(caplog.records) == 3
    assert "validation" not in caplog.text


def test_line_within_a_long_epoch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch is trained in parts, so that lines are on time; the result is the same."""
    network, data = small_network(), small_set(noise=1.0)
    whole = train(network, data)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(training, "WINDOWS_AT_ONCE", 70)  # two batches of 32
    caplog.set_level("INFO")
    parts = train(network, data)
    assert same(parts[0], whole[0])
    lines = [r.getMessage() for r in caplog.records if r.name == training.__name__]
    # 237 training windows in four parts.
    assert [line.split(" of ")[0] for line in lines[:4]] == [
        f"A/B: {share:.1f}" for share in (64 / 237, 128 / 237, 192 / 237, 1)
    ]


def test_short_training_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Below 15 s the training itself says nothing."""
    caplog.set_level("INFO")
    train(small_network(), small_set(noise=1.0))
    assert training.SECONDS_BETWEEN_LINES == 15
    assert not [r for r in caplog.records if r.name == training.__name__]


def test_validation_r2_is_in_label_units() -> None:
    """Labels that were divided by their scale are compared as they were before."""
    network, data = small_network(), small_set(noise=1.0)
    data.label_scales = 10 ** np.random.default_rng(3).uniform(-1, 2, len(data.labels))
    model, report = train(network, data)
    ends = data.validation_ends
    scales = data.label_scales[ends, None]
    predicted = predictions(model, data)
    assert report["validation_r2"] == pytest.approx(
        r_squared(data.labels[ends] * scales, predicted * scales), abs=1e-4
    )
    assert report["validation_r2"] != pytest.approx(
        r_squared(data.labels[ends], predicted), abs=2e-4
    )


def test_r_squared() -> None:
    """R² is 1 for a perfect prediction, 0 for the mean, and not a number for constant labels."""
    actual = np.array([[1.0, 10], [2, 20], [6, 90]])
    assert r_squared(actual, actual) == 1
    assert r_squared(actual, np.tile(actual.mean(axis=0), (3, 1))) == pytest.approx(0)
    assert np.isnan(r_squared(np.ones((3, 1)), np.ones((3, 1))))


def test_features_beyond_those_of_training_count_as_the_farthest_seen() -> None:
    """A new record changes no more than the old one did, in regression and network alike."""
    data = small_set(noise=0.5)
    model = train_small(small_network(), data)
    ends = data.train_ends[-1:]
    features = data.inputs.features
    seen = features[np.concatenate([data.train_ends, data.validation_ends])]
    record, beyond = features.copy(), features.copy()
    record[ends, 0], beyond[ends, 0] = seen[:, 0].max(), 100.0
    at_record = model.predict(data.inputs._replace(features=record), ends).mean
    far = model.predict(data.inputs._replace(features=beyond), ends).mean
    np.testing.assert_array_equal(far, at_record)
    assert (at_record != model.predict(data.inputs, ends).mean).any()
