"""Sharpe ratios, their intervals and the deflated ratio, against independent calculations."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from freqai_lstm.evaluate.sharpe import (
    deflated_sharpe,
    drawn_sharpes,
    expected_maximum,
    probability_above,
    sharpe,
    tried_sets,
)


def returns(days: int = 140, mean: float = 0.001, seed: int = 1) -> pd.Series:
    """Daily returns with a spread of 1 %."""
    dates = pd.date_range("2024-01-01", periods=days, tz="UTC")
    return pd.Series(np.random.default_rng(seed).normal(mean, 0.01, days), dates)


def test_the_example_of_the_paper() -> None:
    """100 tries whose annual ratios vary by 1/2, 1,250 days, annual ratio 2.5: 0.1132 and 0.90."""
    luck = expected_maximum(np.sqrt(0.5 / 250), 100)
    assert luck == pytest.approx(0.1132, abs=1e-4)
    found = probability_above(2.5 / np.sqrt(250), luck, 1250, skewness=-3, kurt=10)
    assert found == pytest.approx(0.9004, abs=5e-4)


def test_expected_maximum_is_that_of_normal_numbers() -> None:
    """The mean of the largest of 50 normal numbers, drawn 20,000 times."""
    drawn = np.random.default_rng(1).normal(size=(20_000, 50)).max(axis=1).mean()
    assert expected_maximum(1.0, 50) == pytest.approx(drawn, rel=0.02)


def test_ratio_and_interval_equal_a_resampling_of_weeks() -> None:
    """Row 0 is mean ÷ deviation × √365; the spread that of weeks drawn one by one with pandas."""
    of = returns()
    drawn = drawn_sharpes(pd.DataFrame({"a": of, "cash": 0.0}))
    assert drawn[0, 0] == pytest.approx(of.mean() / of.std(ddof=0) * np.sqrt(365))
    assert (drawn[:, 1] == 0).all()
    rng, weeks = np.random.default_rng(5), np.split(of.to_numpy(), 20)
    explicit = []
    for _ in range(500):
        days = np.concatenate([weeks[week] for week in rng.integers(0, 20, 20)])
        explicit.append(days.mean() / days.std() * np.sqrt(365))
    assert np.std(drawn[1:, 0]) == pytest.approx(np.std(explicit), rel=0.15)


def test_more_tries_lower_the_probability() -> None:
    """One try: the probability of a ratio above zero; with ten and a thousand it falls."""
    of = returns().to_numpy()
    tries = np.random.default_rng(2).normal(0, 0.05, 1_000).tolist()
    found = [deflated_sharpe(of, tries[:n]) for n in (0, 10, 1_000)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.5
    assert np.isnan(deflated_sharpe(np.zeros(20), tries))


def test_only_epochs_of_the_same_days_and_identifier_are_tries(tmp_path: Path) -> None:
    """Searches of another range, identifier or strategy are not counted; idle sets are."""
    day = 86_400_000

    def write(strategy: str, name: str, identifier: str, first: int, profits: list[float]) -> None:
        results = {
            "freqai_identifier": identifier,
            "backtest_start_ts": first * day,
            "backtest_end_ts": (first + 10) * day,
            "backtest_days": 10,
            "starting_balance": 1_000,
            "daily_profit": [[f"day {n}", profit] for n, profit in enumerate(profits)],
        }
        folder = tmp_path / "hyperopt_results"
        folder.mkdir(exist_ok=True)
        with (folder / f"strategy_{strategy}_{name}.fthypt").open("a") as file:
            file.write(json.dumps({"loss": 1.0, "results_metrics": results}) + "\n")

    write("Mine", "a", "one", 0, [10, -10, 10])
    write("Mine", "a", "one", 5, [])
    write("Mine", "b", "one", 20, [10])  # held out from the backtest below
    write("Mine", "c", "two", 0, [10])
    write("Other", "d", "one", 0, [10])
    start, end = (pd.Timestamp(at * day, unit="ms", tz="UTC") for at in (0, 12))
    found = tried_sets({"user_data_dir": tmp_path}, "Mine", "one", start, end)
    assert found == pytest.approx([sharpe(np.array([10, -10, 10] + 7 * [0]) / 1_000), 0])


@pytest.mark.parametrize(("first", "counts"), [("1970-01-01", True), ("1970-01-20", False)])
def test_trials_of_tune_count_on_their_days(tmp_path: Path, first: str, counts: bool) -> None:
    """A configuration with a `best.json` names the annual Sharpe ratio of every trial."""
    tuned = {"study": "x", "start": "1970-01-01", "end": "1970-01-20", "sharpes": [1.0, -0.5]}
    start = pd.Timestamp(first, tz="UTC")
    config = {"user_data_dir": tmp_path, "tuned": tuned}
    found = tried_sets(config, "Mine", "one", start, start + pd.Timedelta(days=30))
    assert found == pytest.approx([1 / np.sqrt(365), -0.5 / np.sqrt(365)] if counts else [])
