"""The training of the shared network: what it learns, when it stops, what it says."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException
from pandas import DataFrame
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from freqai_lstm.model import training
from freqai_lstm.model.forward import Forward, weights_of
from freqai_lstm.model.network import EXTREMES
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.training import TrainingData, scalars_writer, train_network, validate
from freqai_lstm.model.windows import CandleInputs


WIDTH, ROWS = 6, 1400
SMALL = {"units": 8, "epochs": 8, "batch_size": 64, "learning_rate": 0.02, "dropout_rate": 0.0}


def data_of(labels: int = 2, validated: int = 300, seed: int = 1) -> TrainingData:
    """One pair whose labels follow the highest of five candles, and one that is noise."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, ROWS)))
    spread = rng.uniform(0.001, 0.02, (ROWS, 2))
    frame = DataFrame({"date": pd.date_range("2024-01-01", periods=ROWS, freq="h", tz="UTC")})
    frame = frame.assign(open=close, high=close * (1 + spread[:, 0]), close=close, volume=1.0)
    frame["low"] = close * (1 - spread[:, 1])
    inputs = CandleInputs.of(frame, 3600)
    highest = frame["high"].rolling(5).apply(np.argmax, raw=True).to_numpy()
    values = np.column_stack([highest / 2 - 1, rng.normal(size=ROWS)])[:, :labels]
    ends = np.arange(WIDTH, ROWS)
    columns = np.clip(inputs.columns - inputs.columns.mean(axis=0), -5, 5)
    features = np.zeros((ROWS, 0), np.float32)
    split = len(ends) - validated
    inputs = replace(inputs, columns=columns)
    return TrainingData(
        inputs, features, values.astype(np.float32), ends[:split], ends[split:], [0] * labels, True
    )


def parameters(**changed: Any) -> LSTMParameters:
    """Those of a small network."""
    return LSTMParameters(**{**SMALL, **changed})


def weights(model: Any) -> np.ndarray:
    """All weights in one vector."""
    return np.concatenate([np.ravel(values) for values in weights_of(model).values()])


Trained = tuple[TrainingData, Any, dict[str, Any]]


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A first training, which others are compared with: (data, model, report)."""
    data = data_of()
    return (data, *train_network(data, parameters(), WIDTH))


def test_a_window_is_learned_and_noise_is_not(trained: Trained) -> None:
    """The label that the window tells is learned, though the other one is noise."""
    data, model, report = trained
    told, noise = validate(Forward(weights_of(model)), data, WIDTH)
    assert told < 0.6
    assert noise < 1.5
    assert report["kept"][0] > 0.95
    assert report["windows"] == len(data.train_ends)
    assert report["validation_loss"] == min(c["validation_loss"] for c in report["curves"])
    assert report["curves"][report["best_epoch"] - 1]["loss"] == report["loss"]


def same_way(frame: DataFrame) -> pd.Series:
    """Whether two candles went the same way: no sum over the window tells it."""
    way = (frame["close"] - frame["open"]).apply(np.sign)
    return way.shift(1) * way.shift(4)


def since_the_move(frame: DataFrame) -> pd.Series:
    """Candles since the largest move: a head of the attention has to choose one candle."""
    moves = np.log(frame["close"]).diff().abs()
    return WIDTH - 1 - moves.rolling(WIDTH).apply(np.argmax, raw=True)


@pytest.mark.parametrize(("told", "most"), [(same_way, 0.5), (since_the_move, 0.1)])
def test_what_windows_tell_is_learned(told: Callable[[DataFrame], pd.Series], most: float) -> None:
    """Labels that ask for single candles of the window are learned."""
    rows = 6000
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    frame = DataFrame({"date": pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC")})
    frame = frame.assign(open=np.roll(close, 1), close=close, volume=rng.uniform(1, 2, rows))[1:]
    ends_of_bodies = frame[["open", "close"]]
    frame = frame.assign(high=ends_of_bodies.max(axis=1), low=ends_of_bodies.min(axis=1))
    inputs = CandleInputs.of(frame, 3600)
    inputs = replace(inputs, columns=np.zeros_like(inputs.columns))
    label = told(frame).to_numpy(np.float32)[:, None]
    ends, features = np.arange(WIDTH, rows - 1), np.zeros((rows - 1, 0), np.float32)
    data = TrainingData(inputs, features, label, ends[:-1000], ends[-1000:], [0], True)
    model, _ = train_network(data, parameters(), WIDTH)
    assert validate(Forward(weights_of(model)), data, WIDTH)[0] < most


def test_scores_do_not_decay() -> None:
    """A head keeps its extreme until a label asks for it, while other weights decay."""
    model, _ = train_network(data_of(), parameters(epochs=2, weight_decay=20.0), WIDTH)
    found = weights_of(model)
    for head, (channel, weight) in enumerate(EXTREMES):
        assert found["scores/0"][channel, head] * weight > 0.5
    assert np.abs(found["gate/0"]).max() < 0.1


def test_a_step_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last windows of an epoch are fewer, and TensorFlow traces no second function for them."""
    steps: list[Any] = []
    make = training._step

    def kept(*given: Any) -> Any:
        steps.append(make(*given))
        return steps[-1]

    monkeypatch.setattr(training, "_step", kept)
    data = data_of()
    assert len(data.train_ends) % (training.BATCHES_AT_ONCE * SMALL["batch_size"])
    train_network(data, parameters(epochs=2), WIDTH)
    assert [step.experimental_get_tracing_count() for step in steps] == [1]


def test_same_seed_same_weights(trained: Trained) -> None:
    """Two trainings with one seed are equal bit for bit; another seed is another network."""
    data, model, _ = trained
    same, other = (train_network(data, parameters(seed=s), WIDTH)[0] for s in (1, 2))
    np.testing.assert_array_equal(weights(same), weights(model))
    assert not np.array_equal(weights(other), weights(model))


def test_a_missing_label_costs_only_itself(trained: Trained) -> None:
    """One that is missing everywhere, and a third of the other one's values, leave that learned."""
    whole, model, _ = trained
    missing = data_of()
    missing.labels[:, 1] = np.nan
    missing.labels[::3, 0] = np.nan
    again, report = train_network(missing, parameters(), WIDTH)
    told = validate(Forward(weights_of(model)), whole, WIDTH)[0]
    (without,) = validate(Forward(weights_of(again)), missing, WIDTH)
    assert without < told + 0.15
    assert np.isfinite(report["loss"])
    assert np.isfinite(weights(again)).all()


def test_the_best_epoch_is_kept_and_training_stops_early() -> None:
    """Where validation gets no better, it ends after so many epochs, with the best weights."""
    data = data_of()
    data.labels[:] = np.random.default_rng(5).normal(size=data.labels.shape)
    model, report = train_network(data, parameters(epochs=30, early_stopping_patience=2), WIDTH)
    assert report["epochs"] == report["best_epoch"] + 2 < 30
    losses = validate(Forward(weights_of(model)), data, WIDTH)
    assert np.log(losses + training.LEARNED).mean() == pytest.approx(report["validation_loss"])


def test_without_validation_all_epochs_run() -> None:
    """The last epoch is kept then, and the report has no validation figures."""
    _, report = train_network(data_of(validated=0), parameters(epochs=3), WIDTH)
    assert (report["epochs"], report["best_epoch"]) == (3, 3)
    assert report["validation_loss"] is report["validation_r2"] is report["kept"] is None
    assert np.isfinite(report["loss"])


def test_it_starts_from_a_line() -> None:
    """What is linear in the columns is known before the first epoch."""
    data = data_of(labels=1)
    columns = data.inputs.columns
    data.labels[:, 0] = columns @ np.random.default_rng(3).normal(size=columns.shape[1])
    _, report = train_network(data, parameters(epochs=1, learning_rate=1e-6), WIDTH)
    assert report["validation_r2"] > 0.9


def test_what_the_training_made_worse_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label whose training misleads on the validation windows is that of the start again."""
    data = data_of()
    data.labels[:, 1] = data.labels[:, 0]
    data.labels[data.validation_ends, 1] *= -1
    ends = data.validation_ends[:50]
    windows, columns = data.inputs.windows(ends, WIDTH), data.inputs.columns[ends]
    kernel, bias = training._line(data)
    start = columns @ kernel + bias

    def predictions() -> tuple[np.ndarray, list[float]]:
        model, report = train_network(data, parameters(epochs=4), WIDTH)
        return Forward(weights_of(model))(windows, columns), report["kept"]

    found, kept = predictions()
    assert kept[1] == 0
    np.testing.assert_allclose(found[:, 1], start[:, 1], rtol=1e-4, atol=1e-4)
    assert kept[0] > 0.9
    data.labels[data.validation_ends, 1] = np.nan
    assert predictions()[1][1] == 1, "none of its values is there to judge it by"
    data.labels[:, 1] = data.labels[:, 0]
    least = np.full(2, 1e-9)
    monkeypatch.setattr(training, "factors", lambda *given: (np.array([0.5, 1.5]), least))
    mixed, kept = predictions()
    assert kept == pytest.approx([0.5, 1.0])
    monkeypatch.setattr(training, "factors", lambda *given: (np.ones(2), least))
    whole, _ = predictions()
    assert np.abs(whole - start).max() > 0.1
    np.testing.assert_allclose(mixed[:, 0], (start + whole)[:, 0] / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mixed[:, 1], whole[:, 1], rtol=1e-4, atol=1e-4)


def test_divergence_is_an_error() -> None:
    """A loss that is no number ends the training with what to lower."""
    data = data_of()
    data.inputs.levels[50] = np.nan
    with pytest.raises(OperationalException, match="learning_rate"):
        train_network(data, parameters(), WIDTH)


def test_going_on_from_weights(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    """The first epoch begins where the last training ended; other layers start fresh, said so."""
    data, model, first = trained
    slow = parameters(epochs=1, learning_rate=1e-6)
    _, on = train_network(data, slow, WIDTH, start_from=weights_of(model))
    assert on["loss"] < first["loss"] + 0.05 < first["curves"][0]["loss"]
    train_network(data, parameters(epochs=1, units=4), WIDTH, start_from=weights_of(model))
    assert "starting from fresh weights" in caplog.text


def test_progress_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training says now and then how far it is, and how long it still takes at most."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_LINES", 0.0)
    started = time.perf_counter()
    train_network(data_of(), parameters(epochs=2), WIDTH)
    took = time.perf_counter() - started
    pattern = r"Shared network: ([\d.]+) of 2 epochs, at most (\d+) s still"
    said = re.findall(pattern, caplog.text)
    assert [float(done) for done, _ in said][-1] == 2.0
    assert all(0 <= float(left) <= 2 * took + 1 for _, left in said)


def test_tensorboard(tmp_path: Path) -> None:
    """TensorBoard itself reads a scalar per name and epoch; switched off nothing is written."""
    with scalars_writer(tmp_path / "on", active=True) as write:
        _, report = train_network(data_of(), parameters(epochs=2), WIDTH, on_epoch=write)
    with scalars_writer(tmp_path / "off", active=False) as write:
        write({"loss": 1.0}, 1)
    assert not (tmp_path / "off").exists()
    events = EventAccumulator(str(tmp_path / "on" / "tensorboard"))
    events.Reload()
    assert {*events.Tags()["tensors"]} == {"loss", "validation_loss", "validation_r2"}
    assert [event.step for event in events.Tensors("loss")] == [1, 2]
    written = [tensor_util.make_ndarray(e.tensor_proto).item() for e in events.Tensors("loss")]
    assert written == pytest.approx([curve["loss"] for curve in report["curves"]])
