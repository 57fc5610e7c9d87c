"""The skill benchmark: one horizon and seed runs, and figures of several seeds are summed up."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.exam import Exam
from benchmarks.places import PAIRS
from benchmarks.reports import environment
from benchmarks.saved_run import Periods, generated_candles
from benchmarks.skill.__main__ import as_markdown, run_one, summarize


@pytest.mark.slow
def test_one_horizon_and_seed_end_in_the_report(tmp_path: Path) -> None:
    """The smallest run goes through backtest, evaluation and tables, and is not done twice."""
    start, end = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 31, tzinfo=UTC)
    datadir = generated_candles(tmp_path / "data", Periods(start, end, end), train_days=20)
    exam = Exam("small", start, end, train_days=20, datadir=datadir)

    def run(seed: int) -> dict:
        return run_one(
            *(0, seed, tmp_path / "work", exam),
            model_training_parameters={"units": 3, "num_lstm_layers": 1, "epochs": 1},
            baselines=False,
        )

    first = run(1)
    assert run(1) == first
    figures = summarize({0: {1: first}})
    assert set(figures["0"]["pairs"]) == set(PAIRS)
    assert figures["0"]["training_seconds_longest"] > 0
    text = as_markdown({"environment": environment(), "horizons": figures})
    assert "## label_period_candles 0, seeds 1" in text
    assert "| BTC | **LSTMRegressor** |" in text
    assert "| BTC | persistence |" in text


def test_seeds_are_averaged_and_their_spread_is_told() -> None:
    """Two seeds: means of both, the spread of R², baselines of the first one alone."""

    def report(r2: float, **baselines: dict) -> dict:
        model = {"r2": r2, "correlation": r2, "sign_accuracy": r2}
        return {
            "targets": {"T": {"pairs": {"A/B": {}}}},
            "score": {"pairs": {"All pairs": {}, "A/B": {"model": model, **baselines}}},
            "windows": [{"training": {"seconds": 10 * r2}}],
        }

    ridge = {"r2": 0.0, "correlation": 0.0, "sign_accuracy": None}
    found = summarize({1: {1: report(0.25, ridge=ridge), 2: report(0.75)}})["1"]
    assert found["pairs"] == {
        "A/B": {
            "model": {"r2": 0.5, "correlation": 0.5, "sign_accuracy": 0.5},
            "r2_spread_of_seeds": 0.5,
            "by_seed": {k: [0.25, 0.75] for k in ("r2", "correlation", "sign_accuracy")},
            "ridge": ridge,
        }
    }
    assert (found["training_seconds_mean"], found["training_seconds_longest"]) == (5.0, 7.5)
