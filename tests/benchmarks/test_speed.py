"""The speed benchmarks: contenders compute the same, every job runs, the report says what it is."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.model_under_test import random_inputs, random_training_set, random_weights
from benchmarks.speed.__main__ import merge, run_job
from benchmarks.speed.contenders import CONTENDERS, Ours
from benchmarks.speed.jobs import JOBS, POINTS, available
from benchmarks.speed.profile import job as profiled_job
from benchmarks.speed.profile import profile
from benchmarks.speed.report import ratio, targets, whole_seconds
from freqai_lstm.model.parameters import LSTMParameters


HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is installed for benchmarks alone")
WITH_TORCH = ["keras", pytest.param("torch", marks=needs_torch)]
WIDTH, FEATURES = 4, 5


@pytest.mark.parametrize("other", WITH_TORCH)
@pytest.mark.parametrize("candle_channel", [True, False])
def test_contenders_predict_the_same_with_the_same_weights(
    other: str, candle_channel: bool
) -> None:
    """With three layers every kind of weight is taken over, and predictions agree to rounding."""
    p = LSTMParameters(num_lstm_layers=3, units=6, candle_channel=candle_channel)
    weights = random_weights(p, WIDTH, FEATURES)
    inputs, ends = random_inputs(30, FEATURES), np.arange(WIDTH - 1, 30, dtype=np.int32)
    predicted = []
    for name in ("ours", other):
        made = CONTENDERS[name](p, WIDTH, FEATURES)
        made.take(weights)
        predicted.append(made.predict(inputs, ends))
    assert predicted[0].shape == (27, 9)
    np.testing.assert_allclose(predicted[0], predicted[1], atol=1e-5)


@pytest.mark.parametrize("name", ["ours", *WITH_TORCH])
def test_contenders_learn(name: str) -> None:
    """Every contender's training step lowers the loss on numbers it has seen."""
    p = LSTMParameters(
        units=8,
        learning_rate=0.01,
        batch_size=8,
        dropout_rate=0,
        input_dropout_rate=0,
        weight_decay=0,
    )
    data = random_training_set(40, FEATURES, WIDTH)
    made = CONTENDERS[name](p, WIDTH, FEATURES)
    epoch = made.prepare(data)
    for _ in range(30):
        epoch()
    if isinstance(made, Ours):
        made.weights = made.network.weights()
    actual = data.labels[data.train_ends]
    error = np.abs(made.predict(data.inputs, data.train_ends) - actual).mean()
    assert error < 0.8 * np.abs(actual).mean()


@pytest.mark.parametrize("name", ["ours", *WITH_TORCH])
def test_a_whole_training_tells_of_each_epoch(name: str) -> None:
    """The time of an epoch is taken between these calls, so each contender makes the same ones."""
    p = LSTMParameters(units=4, epochs=3, early_stopping_patience=3)
    epochs: list[int] = []
    made = CONTENDERS[name](p, WIDTH, FEATURES)
    made.train(random_training_set(60, FEATURES, WIDTH, validation=0.2), lambda: epochs.append(1))
    assert len(epochs) == 3


def test_the_profile_tells_operations_apart() -> None:
    """The profiler's events become seconds and counts by operation, matrix products among them."""
    seconds_of_call, seconds, times = profile(profiled_job(1, 4, 128, "live"))
    assert seconds_of_call > 0
    assert set(seconds) <= set(times)
    assert any("MatMul" in operation for operation in seconds)


@pytest.mark.parametrize("name", ["throughput", "again", "live", "window", "memory", "growth"])
def test_every_job_measures_each_contender(name: str, tmp_path: Path) -> None:
    """At a tiny size each job yields finite figures above zero for all who can run here."""
    job = JOBS[name]
    for who in available(job.contenders)[:3]:
        facts, measure = job.setup(who, job.size | job.tiny, tmp_path)
        figures = measure()
        assert figures
        assert all(math.isfinite(value) for value in figures.values())
        # A tiny training's seconds beyond its epochs, and its memory, may round to nothing.
        assert name in ("again", "memory") or all(value > 0 for value in figures.values())
        differences = [v for key, v in facts.items() if "largest_difference" in key]
        assert all(difference < 1e-5 for difference in differences)


def test_growth_multiplies_the_named_dimension(tmp_path: Path) -> None:
    """A point of growth that names no known dimension is refused, so none measures the base."""
    job = JOBS["growth"]
    with pytest.raises(KeyError):
        job.setup("row×2", job.size | job.tiny, tmp_path)
    assert all(point.split("×")[0] in job.size["base"] for point in POINTS)


@pytest.mark.slow
def test_workers_take_turns_and_the_report_is_written(tmp_path: Path) -> None:
    """A job in real worker processes ends up in the JSON file and in the tables."""
    job = JOBS["live"]
    found = run_job("live", job.size | job.tiny, 2, tmp_path)
    assert [len(rounds) for rounds in found["rounds_of"].values()] == [2] * (2 + HAS_TORCH)
    text = merge(tmp_path, "live", found)
    assert json.loads((tmp_path / "speed.json").read_text()) == {"live": found}
    assert (tmp_path / "speed.md").read_text() == text
    assert "| LSTMRegressor |" in text
    assert ("Not run, since PyTorch" in text) is not HAS_TORCH


@pytest.mark.slow
def test_backtest_runs_through_freqtrade(tmp_path: Path) -> None:
    """The whole job runs with our model and with plain Keras, and the second asking is free."""
    job = JOBS["backtest"]
    for who in ("ours", "keras"):
        _, measure = job.setup(who, job.size | job.tiny, tmp_path)
        figures = measure()
        assert figures["trainings"] == 1
        assert figures["peak_mb"] > 100
        assert figures["seconds"] > figures["training_seconds"]
        assert figures["r2"] == figures["r2_first_window"] < 1
        assert measure() == figures


def made_up(**rounds_of: list[dict[str, float]]) -> dict[str, Any]:
    """A job's record with these rounds."""
    return {"size": {"pairs": ["A", "B"], "windows": 3}, "rounds_of": rounds_of}


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that is slow in one round slows both contenders, and their ratio stays."""
    found = made_up(ours=[{"s": 1}, {"s": 10}, {"s": 2}], torch=[{"s": 2}, {"s": 20}, {"s": 2}])
    assert ratio(found, "s", "ours", "torch") == 0.5
    assert math.isnan(ratio(found, "s", "ours", "keras"))


def test_missing_trainings_are_scaled_up() -> None:
    """Two of six trainings in 30 seconds, 10 seconds each, make 70 seconds for all."""
    run = {"seconds": 30.0, "trainings": 2.0, "training_seconds": 10.0}
    assert whole_seconds(made_up(keras=[run]), "keras") == 70


def test_targets_say_met_or_not() -> None:
    """A target is met or missed by its own comparison, and unmeasured without the contender."""
    found = made_up(ours=[{"batch 8": 30.0}], torch=[{"batch 8": 20.0}])
    found["size"]["batches"] = [8]
    ((_, _, value, met),) = targets({"throughput": found})
    assert (value, met) == (1.5, True)
    found["rounds_of"]["torch"][0]["batch 8"] = 40.0
    assert [met for *_, met in targets({"throughput": found})] == [False]
    del found["rounds_of"]["torch"]
    ((_, _, value, met),) = targets({"throughput": found})
    assert math.isnan(value)
    assert not met
