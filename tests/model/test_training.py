"""Training: it learns, stops in time, repeats itself, and says what it did."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from freqtrade.exceptions import OperationalException
from pandas import DataFrame, Series
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


PAIR = "BTC/USDT:USDT"
ROOT = Path(__file__).resolve().parents[2]
KEY = "freqai.model_training_parameters"
WIDTH = 6

Make = Callable[..., Any]


# --- the training loop, on matrices ---


@pytest.fixture(scope="module")
def network(lstm: ModuleType) -> Make:
    """Give the network of some parameters, each built once: building takes seconds."""
    pools: dict[Any, Any] = {}

    def get(**given: Any) -> Any:
        parameters = lstm.LSTMParameters.from_config(
            {
                "units": 8,
                "num_lstm_layers": 1,
                "epochs": 3,
                "batch_size": 32,
                # Four features and some hundred steps: too little to learn under strong dropout.
                "dropout_rate": 0.1,
                "input_dropout_rate": 0.0,
                **given,
            }
        )
        pool = pools.setdefault(parameters, lstm.NetworkPool(parameters))
        return pool.fresh(WIDTH, 4, 2)

    return get


@pytest.fixture
def matrices(lstm: ModuleType) -> Make:
    """Make a TrainingSet whose labels the last three rows decide, `noise` times blurred."""

    def make(
        rows: int = 300, validated: int = 60, noise: float = 0.0, seed: int = 1, sign: int = 1
    ) -> Any:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, 4)).astype(np.float32)
        past = DataFrame(x).rolling(3, min_periods=1).mean().to_numpy()
        labels = sign * np.stack([past[:, 0] - past[:, 1], past[:, 2]], axis=1)
        labels = labels / labels.std(axis=0) + noise * rng.normal(size=labels.shape)
        train, validation = lstm.split_windows(
            np.arange(rows), np.arange(rows) >= rows - validated, WIDTH, 0
        )
        return lstm.TrainingSet(
            x, labels.astype(np.float32), np.ones(rows, dtype=np.float32), train, validation
        )

    return make


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Whether two lists of weights are equal bit for bit."""
    return all((a == b).all() for a, b in zip(first, second, strict=True))


def test_it_learns(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """On learnable labels the loss falls far and the validation R² is honest and high."""
    net, data = network(epochs=40, learning_rate=0.02, units=16), matrices(rows=600)
    weights, report = lstm.train_network(net, data)
    losses = [epoch["loss"] for epoch in report["curves"]]
    assert losses[-1] < 0.2 * losses[0]
    assert report["validation_r2"] > 0.8
    actual = data.labels[data.validation_ends]
    predicted = net.predict(net.pack(weights), data.features, data.validation_ends)
    residual = ((actual - predicted) ** 2).sum()
    total = ((actual - actual.mean(axis=0)) ** 2).sum()
    assert report["validation_r2"] == pytest.approx(1 - residual / total, abs=1e-6)


def test_same_seed_same_weights(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """A training repeats itself bit for bit, also after another training in between."""
    net, data = network(), matrices()
    first, report = lstm.train_network(net, data)
    lstm.train_network(net, matrices(seed=2))
    again, report_again = lstm.train_network(net, data)
    assert same(first, again)
    assert report == report_again


def test_other_seed_other_weights(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """Another seed gives another model, and trains as well."""
    first, _ = lstm.train_network(network(), matrices())
    other, _ = lstm.train_network(network(seed=2), matrices())
    assert not same(first, other)


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
def test_optimizers_and_losses(
    lstm: ModuleType, network: Make, matrices: Make, optimizer: str, loss: str
) -> None:
    """Every optimizer and every loss that the parameters allow really trains."""
    net = network(optimizer=optimizer, loss=loss, units=4, learning_rate=0.01)
    assert net.parameters.optimizer == optimizer
    _, report = lstm.train_network(net, matrices(rows=200))
    assert type(net.model.optimizer).__name__.lower() == optimizer
    assert report["curves"][-1]["loss"] < report["curves"][0]["loss"]


def test_best_weights_come_back(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """Early stopping ends an overfitting training and returns the weights of its best epoch."""
    net = network(
        epochs=60, early_stopping_patience=3, learning_rate=0.02, dropout_rate=0, loss="mse"
    )
    data = matrices(noise=1.0)
    weights, report = lstm.train_network(net, data)
    curve = [epoch["val_loss"] for epoch in report["curves"]]
    assert report["epochs"] == len(curve) < 60
    assert min(curve) < report["line_validation_loss"]
    assert report["best_epoch"] == int(np.argmin(curve)) + 1
    assert report["epochs"] == report["best_epoch"] + 3
    assert report["validation_loss"] == min(curve)
    ends = data.validation_ends
    returned = net.loss(
        data.labels[ends], net.predict(net.pack(weights), data.features, ends)
    ).mean()
    assert returned == pytest.approx(min(curve), rel=1e-6)
    assert returned < curve[-1]


def test_best_weights_without_stopping(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """When the epochs run out before the patience, the best weights come back all the same."""
    net = network(
        epochs=12, early_stopping_patience=12, learning_rate=0.1, dropout_rate=0, loss="mse"
    )
    data = matrices(noise=1.0)
    weights, report = lstm.train_network(net, data)
    assert report["epochs"] == 12 > report["best_epoch"]
    ends = data.validation_ends
    returned = net.loss(
        data.labels[ends], net.predict(net.pack(weights), data.features, ends)
    ).mean()
    assert returned == pytest.approx(report["validation_loss"], rel=1e-6)


# --------------------------------------------------------------------- the straight line


def squares(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Mean squared error per window."""
    return ((labels - predictions) ** 2).mean(axis=1)


def test_line_meets_linear_labels_exactly(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """Where the current candle says it all, the line alone is kept: best epoch 0, R² 1."""
    data = matrices()
    data.labels[:] = data.features @ np.array([[1, 0], [-2, 1], [0, 0], [0, 3]]) + [0.5, 0]
    _, report = lstm.train_network(network(epochs=8, early_stopping_patience=2), data)
    assert report["best_epoch"] == 0
    assert report["epochs"] == 2
    assert report["validation_r2"] == report["line_validation_r2"] == pytest.approx(1, abs=1e-6)


def test_line_is_flat_where_nothing_is_to_be_known(lstm: ModuleType, matrices: Make) -> None:
    """Labels of pure noise get hardly a slope; the level is near their median, not their mean."""
    data = matrices(rows=600)
    rng = np.random.default_rng(2)
    data.labels[:] = np.where(rng.random((600, 2)) < 0.05, rng.normal(5, 5, (600, 2)), 0)
    kernel, bias = lstm.solve_line(data, squares)
    assert np.abs(kernel).max() < 0.02 * data.labels.std()
    assert (np.abs(bias) < 0.5 * data.labels.mean(axis=0)).all()


def test_line_heeds_the_weights(lstm: ModuleType, matrices: Make) -> None:
    """Rows of weight 0 change nothing, whatever their labels; without validation rows neither."""
    data = matrices()
    for validation in (data.validation_ends, data.validation_ends[:0]):
        data.validation_ends = validation
        data.weights[:] = 1
        data.weights[data.train_ends[:100]] = 0
        kernel, _ = lstm.solve_line(data, squares)
        assert kernel.any()
        data.labels[data.train_ends[:100]] *= -1
        again = lstm.solve_line(data, squares)
        assert np.allclose(kernel, again[0], atol=1e-6)
    data.weights[:] = 0
    assert not lstm.solve_line(data, squares)[0].any()


def test_line_is_not_trained(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """The epochs leave the line as it was solved, also when they go on from other weights."""
    net, data = network(epochs=2), matrices(noise=1.0)
    kernel, bias = lstm.solve_line(data, net.loss)
    weights, _ = lstm.train_network(net, data)
    lstm.train_network(net, data, start_from=[np.ones_like(w) for w in weights])
    for trained in (weights, net.model.get_weights()):
        net.model.set_weights(trained)
        line = net.model.get_layer("straight_line").get_weights()
        assert (line[0] == kernel).all()
        assert (line[1] == bias).all()


def test_learning_rate_steps_down(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """ReduceLROnPlateau lowers the rate by its factor, down to the floor, afresh each training."""
    net = network(
        epochs=12,
        learning_rate=0.05,
        lr_patience=1,
        lr_factor=0.1,
        min_learning_rate=0.001,
        early_stopping_patience=12,
    )
    data = matrices(rows=150, noise=5.0)
    _, report = lstm.train_network(net, data)
    rates = [epoch["learning_rate"] for epoch in report["curves"]]
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.001)
    assert sorted(rates, reverse=True) == rates
    _, again = lstm.train_network(net, data)
    assert again["curves"] == report["curves"]


def test_without_validation(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """Without validation windows every epoch runs, and the last weights are kept."""
    net, data = network(early_stopping_patience=1, learning_rate=0.5), matrices(validated=0)
    _, report = lstm.train_network(net, data)
    assert report["epochs"] == report["best_epoch"] == 3
    assert report["validation_loss"] is report["validation_r2"] is None
    assert report["loss"] == report["curves"][-1]["loss"]


def test_weights_of_rows(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """Where two halves contradict each other, the model follows the one with the weight."""
    net = network(epochs=20, learning_rate=0.02, units=16)
    data, opposite = matrices(rows=300, validated=0), matrices(rows=300, validated=0, sign=-1)
    data.labels[150:] = opposite.labels[150:]
    fits = []
    for heavy in (np.arange(300) < 150, np.arange(300) >= 150):
        data.weights = np.where(heavy, 1.99, 0.01).astype(np.float32)
        weights, _ = lstm.train_network(net, data)
        predicted = net.predict(net.pack(weights), data.features, data.train_ends)
        fits.append(np.corrcoef(predicted[:, 1], opposite.labels[data.train_ends, 1])[0, 1])
    assert fits[0] < -0.6
    assert fits[1] > 0.6


def test_validation_loss_is_weighted(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """A validation row without weight does not count in the validation loss."""
    net, data = network(), matrices()
    _, clean = lstm.train_network(net, data)
    data.labels[data.validation_ends[-1]] = 1e6
    data.weights[data.validation_ends[-1]] = 0
    _, report = lstm.train_network(net, data)
    assert report["validation_loss"] == pytest.approx(clean["validation_loss"], rel=0.2)


def test_start_from(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """A training that continues begins where the last one ended, a fresh one does not."""
    net, data = network(epochs=15, learning_rate=0.02, units=16), matrices()
    weights, fresh = lstm.train_network(net, data)
    _, continued = lstm.train_network(net, data, start_from=weights)
    assert continued["curves"][0]["loss"] < 0.5 * fresh["curves"][0]["loss"]
    again, _ = lstm.train_network(net, data)
    assert same(weights, again)


def test_divergence(lstm: ModuleType, network: Make, matrices: Make) -> None:
    """A loss that is no number any more stops the training with an error, not with a model."""
    data = matrices()
    data.labels[10:40] = np.inf
    with pytest.raises(OperationalException) as caught:
        lstm.train_network(network(loss="mse"), data)
    assert str(caught.value) == (
        "The val_loss became nan in epoch 1: the training diverged. Lower "
        f"{KEY}.learning_rate (now {lstm.LSTMParameters().learning_rate:g}), or look for extreme "
        "values in features and labels."
    )
    _, report = lstm.train_network(network(loss="mse"), matrices())
    assert np.isfinite(report["loss"])


def test_r_squared(lstm: ModuleType) -> None:
    """R² is 1 for a perfect prediction, 0 for the mean, and not a number for constant labels."""
    actual = np.array([[1.0, 10], [2, 20], [6, 90]])
    assert lstm.r_squared(actual, actual) == 1
    assert lstm.r_squared(actual, np.tile(actual.mean(axis=0), (3, 1))) == pytest.approx(0)
    assert np.isnan(lstm.r_squared(np.ones((3, 1)), np.ones((3, 1))))


# --- train(), as FreqAI calls it ---


@pytest.fixture(scope="module")
def pools() -> dict[Any, Any]:
    """Networks of trainings with equal parameters, shared: building takes seconds."""
    return {}


@pytest.fixture
def trained(
    lstm: ModuleType, freqai_config: Make, learnable: Make, kitchen: Make, pools: dict[Any, Any]
) -> Callable[..., SimpleNamespace]:
    """Train on `frame`; returns model, dk, freqai (the LSTMRegressor), and the frame."""

    def train(
        frame: DataFrame | None = None,
        freqai: Any = None,
        live: bool = False,
        stamp: int = 1709251200,
        **config: Any,
    ) -> SimpleNamespace:
        frame = learnable(260) if frame is None else frame
        freqai = freqai or lstm.LSTMRegressor(config=freqai_config(**config))
        freqai.pool = freqai.dd.pool = pools.setdefault(freqai.parameters, freqai.pool)
        freqai.live = live
        freqai.tb_logger = None
        freqai.dd.set_pair_dict_info({"pair": PAIR})
        dk = kitchen(freqai.config, frame, live=live, stamp=stamp)
        model = freqai.train(frame, PAIR, dk)
        return SimpleNamespace(model=model, dk=dk, freqai=freqai, frame=frame)

    return train


def lines(caplog: pytest.LogCaptureFixture, lstm: ModuleType) -> list[str]:
    """What the plugin logged."""
    return [record.getMessage() for record in caplog.records if record.name == lstm.__name__]


def test_one_line_per_training(
    lstm: ModuleType, trained: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says how many epochs ran, the best loss, R² on validation rows, and seconds."""
    caplog.set_level("INFO")
    run = trained()
    report = run.model.report
    (line,) = [line for line in lines(caplog, lstm) if "windows in" in line]
    start, seconds, end = (
        line.partition(" windows in ")[0],
        *line.split(" windows in ")[1].split(" s; ", 1),
    )
    assert start == f"{PAIR}: trained 3 epochs on 203"
    assert float(seconds) > 0
    assert end == (
        f"best validation loss {report['validation_loss']:.4f} in epoch {report['best_epoch']}, "
        f"R² {report['validation_r2']:.3f} (straight line alone "
        f"{report['line_validation_r2']:.3f}) on 52 validation windows."
    )


def test_test_size_zero(lstm: ModuleType, trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """With test_size 0 a line says that there is no validation, and all epochs run."""
    caplog.set_level("INFO")
    run = trained(
        split={"test_size": 0}, training={"early_stopping_patience": 1, "learning_rate": 0.5}
    )
    said = lines(caplog, lstm)
    assert (
        f"{PAIR}: test_size is 0, no validation rows: early stopping is off and all 3 epochs run."
    ) in said
    (line,) = [line for line in said if "windows in" in line]
    assert line.startswith(f"{PAIR}: trained 3 epochs on 255 windows in ")
    assert line.endswith(f" s; no validation; loss {run.model.report['loss']:.4f}.")
    assert run.model.report["epochs"] == 3


def test_validation_too_short_for_a_window(
    lstm: ModuleType, trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Validation rows that make no window are warned about, with what to raise."""
    frame = learnable(260)
    frame.loc[160:258:2, "%-x0"] = np.nan
    trained(frame)
    assert (
        f"{PAIR}: no complete validation window of 6 candles: early stopping is off and all 3 "
        "epochs run. Raise data_split_parameters.test_size."
    ) in lines(caplog, lstm)


def test_horizon_is_purged(trained: Make) -> None:
    """`label_period_candles` fewer windows train; the validation windows stay."""
    run = trained(features={"label_period_candles": 7})
    parts = run.freqai._scale(
        run.dk.make_train_test_datasets(
            *run.dk.filter_features(
                run.frame, run.dk.training_features_list, run.dk.label_list, training_filter=True
            )
        ),
        run.frame["date"],
        run.dk,
    )[0]
    assert parts.train_ends.tolist() == list(range(5, 208 - 7))
    assert parts.validation_ends.tolist() == list(range(208, 260))


def test_no_window_bridges_dropped_rows(
    trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows with NaN, rows without a label and missing candles each cost their windows."""
    caplog.set_level("INFO")
    frame = learnable(260)
    frame.loc[50, "%-x1"] = np.nan
    frame.loc[100, "&-a"] = np.nan
    frame = frame.drop(index=150).reset_index(drop=True)
    trained(frame, split={"test_size": 0})
    # Each of the three holes ends a run of candles; the next run's first 5 rows make no window.
    assert "on 237 windows in" in caplog.text  # 257 rows left in 4 runs, less 4 × 5


def test_too_few_rows(trained: Make, learnable: Make) -> None:
    """With too few rows or windows the error says what was found and what to do."""
    frame = learnable(300)
    frame.loc[99:, "%-x1"] = np.nan
    with pytest.raises(OperationalException) as caught:
        trained(frame)
    assert str(caught.value) == (
        f"{PAIR}: 99 of 300 training candles have all features and labels; at least 100 are "
        "needed. Download more candles before the training period, or look for a feature or label "
        "that is always missing."
    )
    with pytest.raises(OperationalException) as caught:
        trained(learnable(120))
    assert str(caught.value) == (
        f"{PAIR}: 91 training windows of 6 consecutive candles found in 120 rows; at least 100 are "
        "needed. Raise freqai.train_period_days, lower freqai.conv_width, or look for missing "
        "candles and strict outlier settings."
    )


def test_infinite_labels(
    lstm: ModuleType, trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Candles with infinite labels are left out, with a line; the strategy's frame stays as is."""
    caplog.set_level("INFO")
    frame = learnable(260)
    frame.loc[[30, 31], "&-a"] = np.inf
    frame.loc[31, "&-b"] = -np.inf
    before = frame.copy()
    run = trained(frame, split={"test_size": 0})
    assert frame.equals(before)
    assert f"{PAIR}: 2 candles have infinite labels; they are left out of the training." in lines(
        caplog, lstm
    )
    assert np.isfinite(run.model.report["loss"])
    assert np.isfinite(list(run.dk.data["labels_std"].values())).all()
    assert "on 248 windows in" in caplog.text  # 258 rows left in 2 runs, less 2 × 5


def test_infinite_features(trained: Make, learnable: Make) -> None:
    """Candles with infinite features are left out like those with NaN."""
    frame = learnable(260)
    frame.loc[30, "%-x0"] = np.inf
    assert np.isfinite(trained(frame).model.report["loss"])


def test_text_labels(trained: Make, learnable: Make) -> None:
    """Labels that are words are refused: this is a regression."""
    frame = learnable(100)
    frame["&-word"] = "up"
    with pytest.raises(OperationalException) as caught:
        trained(frame)
    assert str(caught.value) == (
        f"{PAIR}: LSTMRegressor is a regression model and needs numeric labels. Got text or "
        "objects in &-word."
    )


def test_weight_factor(trained: Make) -> None:
    """FreqAI's weight_factor reaches the training: recent rows pull harder."""
    plain, weighted = trained(), trained(features={"weight_factor": 0.2})
    assert not same(plain.model.weights, weighted.model.weights)
    assert plain.model.report["curves"] != weighted.model.report["curves"]


def test_weight_factor_that_leaves_nothing(trained: Make) -> None:
    """So small that every weight is 0 to the computer: an error, not a training on nothing."""
    with pytest.raises(OperationalException) as caught:
        trained(features={"weight_factor": 1e-9})
    assert str(caught.value) == (
        f"{PAIR}: freqai.feature_parameters.weight_factor = 1e-09 leaves every training candle "
        "with weight 0. Use a larger one (0.1 to 1), or 0 for equal weights."
    )


def test_fit_is_not_the_way_in(trained: Make) -> None:
    """FreqAI calls `train`; whoever calls `fit` is told."""
    run = trained()
    with pytest.raises(NotImplementedError, match=r"trains in train\(\)"):
        run.freqai.fit(run.dk.data_dictionary, run.dk)


def test_dates_of_dtype_object(trained: Make, learnable: Make) -> None:
    """Live, dates can arrive as objects of mixed resolution: training and saving still work."""
    plain, mixed = learnable(260), learnable(260)
    units = np.where(np.arange(260) < 130, "ms", "ns")
    stamps = [date.as_unit(str(unit)) for date, unit in zip(mixed["date"], units, strict=True)]
    mixed["date"] = Series(stamps, dtype=object)
    assert mixed["date"].dtype == object
    run = trained(mixed, live=True)
    assert same(run.model.weights, trained(plain, live=True).model.weights)
    run.freqai.dd.save_data(run.model, PAIR, run.dk)
    assert run.freqai.model_exists(run.dk)


def test_random_state_is_left_alone(trained: Make, pools: dict[Any, Any]) -> None:
    """Building, training and outlier steps leave Python's and NumPy's own randomness as it was."""
    features = {"use_SVM_to_remove_outliers": True, "noise_standard_deviation": 0.05}
    pools.clear()
    before = random.getstate(), np.random.get_state()
    trained(features=features)
    after = random.getstate(), np.random.get_state()
    assert before[0] == after[0]
    assert (before[1][1] == after[1][1]).all()
    assert before[1][2:] == after[1][2:]


def test_random_state_does_not_matter(trained: Make) -> None:
    """Noise and SVM repeat themselves whatever was drawn before."""
    features = {"use_SVM_to_remove_outliers": True, "noise_standard_deviation": 0.05}
    first = trained(features=features)
    np.random.seed(99)
    random.seed(99)
    assert same(first.model.weights, trained(features=features).model.weights)


FRESH = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
sys.path.insert(0, sys.argv[1])
import conftest
lstm = conftest.load_plugin(conftest.ROOT / "user_data/freqaimodels/LSTMRegressor.py")
out = Path(sys.argv[2])
config = conftest.freqai_config.__wrapped__(out)()
frame = conftest.learnable.__wrapped__()(260)
freqai = lstm.LSTMRegressor(config=config)
freqai.live = False
dk = conftest.kitchen.__wrapped__()(config, frame)
model = freqai.train(frame, conftest.PAIR, dk)
np.savez(out / "weights.npz", *model.weights)
"""


def test_fresh_process_same_weights(trained: Make, tmp_path: Path) -> None:
    """A fresh process with another hash seed trains the same weights, bit for bit."""
    subprocess.run(
        [sys.executable, "-c", FRESH, str(Path(__file__).parent), str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    stored = np.load(tmp_path / "weights.npz")
    assert same([stored[name] for name in stored.files], trained().model.weights)


def test_continual_learning(
    lstm: ModuleType, trained: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The second training starts from the pair's saved model, with a line."""
    caplog.set_level("INFO")
    first = trained(continual_learning=True, training={"epochs": 10, "learning_rate": 0.02})
    first.freqai.dd.save_data(first.model, PAIR, first.dk)
    assert not any("continual" in line for line in lines(caplog, lstm))
    second = trained(freqai=first.freqai, stamp=1709856000)
    assert f"{PAIR}: continual learning, starting from the last model." in lines(caplog, lstm)
    begun = [run.model.report["curves"][0]["loss"] for run in (first, second)]
    assert begun[1] < 0.7 * begun[0]


def test_continual_learning_with_other_features(
    lstm: ModuleType, trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """When the features changed the training starts fresh and says so."""
    first = trained(continual_learning=True)
    first.freqai.dd.save_data(first.model, PAIR, first.dk)
    changed = learnable(260).rename(columns={"%-x3": "%-y"})
    second = trained(changed, freqai=first.freqai, stamp=1709856000)
    assert (
        f"{PAIR}: continual learning cannot start from the last model, its features or layers "
        "differ (4 features then, 4 now): starting fresh."
    ) in lines(caplog, lstm)
    assert same(second.model.weights, first.model.weights)  # as a first training would be


def test_without_continual_learning(trained: Make) -> None:
    """By default every training starts fresh, though there is a model of the pair."""
    first = trained()
    first.freqai.dd.save_data(first.model, PAIR, first.dk)
    assert same(first.model.weights, trained(freqai=first.freqai).model.weights)


def test_tensorboard_on(trained: Make) -> None:
    """Switched on, TensorBoard itself reads a scalar per epoch from the sub-train's folder."""
    run = trained(activate_tensorboard=True)
    (folder,) = {path.parent for path in Path(run.dk.data_path).rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    assert {"loss", "val_loss", "learning_rate"} <= set(events.Tags()["tensors"])
    for name in ("loss", "val_loss", "learning_rate"):
        written = events.Tensors(name)
        values = [
            float(np.frombuffer(e.tensor_proto.tensor_content, np.float32)[0])
            if e.tensor_proto.tensor_content
            else e.tensor_proto.float_val[0]
            for e in written
        ]
        assert [event.step for event in written] == [0, 1, 2]
        assert values == pytest.approx([epoch[name] for epoch in run.model.report["curves"]])


def test_tensorboard_off(trained: Make) -> None:
    """Switched off, a training writes nothing at all."""
    run = trained(activate_tensorboard=False)
    assert not Path(run.dk.data_path).exists()


def test_outlier_step_removes_all_validation_rows(
    trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """When every validation row is an outlier the training goes on without validation, warned."""
    frame = learnable(260)
    frame.loc[208:, ["%-x0", "%-x1", "%-x2", "%-x3"]] *= 1000
    report = trained(
        frame, features={"DI_threshold": 0.9}, data_kitchen_thread_count=1
    ).model.report
    assert report["validation_loss"] is None
    assert report["epochs"] == 3
    assert "no complete validation window" in caplog.text


def test_outlier_step_removes_all_training_rows(trained: Make) -> None:
    """When every training row is an outlier the error names the pair and the cause."""
    with pytest.raises(OperationalException, match=rf"{PAIR}.*outlier"):
        trained(
            features={
                "use_SVM_to_remove_outliers": True,
                "svm_params": {"shuffle": False, "nu": 1.0},
            }
        )


def test_all_labels_missing(trained: Make, learnable: Make) -> None:
    """A live training without a single labelled candle stops with an error that names the pair."""
    frame = learnable(100)
    frame["&-a"] = np.nan
    with pytest.raises(OperationalException, match=PAIR):
        trained(frame, live=True)
