"""The benchmark of RangeStrategy: figures are what they say, a small one runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.exam import Exam
from benchmarks.range.__main__ import ROWS, app, as_markdown, verdict
from benchmarks.range.backtests import (
    ATR,
    EXAMS,
    FORECAST,
    SPLIT,
    STRATEGY,
    Backtest,
    backtest,
)
from benchmarks.range.figures import draws, measure
from benchmarks.reports import environment
from freqai_lstm.market import generate_market


DAYS = 70
EXAM = Exam("small", datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC))


def found(scale: float = 1.0) -> Backtest:
    """Three trades a day with normal results."""
    rng = np.random.default_rng(1)
    entered = pd.Series(pd.date_range(EXAM.start, periods=3 * DAYS, freq="8h"))
    results = rng.normal(0.1, 1.0, len(entered))
    trades = pd.DataFrame(
        {
            "entered": entered,
            "closed": entered + pd.Timedelta(hours=6),
            "percent": scale * results / 2,
            "r": scale * results,
            "distance": 3.0,
            "stopped": results < -1,
            "error": rng.normal(0.2, 0.5, len(entered)),
            "inside": True,
        }
    )
    trades.loc[0, ["error", "inside"]] = np.nan, False  # its next candles are not there
    return Backtest(trades, 5.0)


def test_figures_are_those_of_the_trades() -> None:
    """On the range itself every figure equals pandas' own, and a missing range counts for none."""
    trades, made = found().trades, draws(EXAM, found())
    daily = trades.groupby(trades["closed"].dt.date)["percent"].sum()
    expected = {
        "profit": trades["percent"].sum(),
        "sharpe": daily.mean() / daily.std(ddof=0) * np.sqrt(365),
        "spread_percent": trades["percent"].std(ddof=0),
        "mean_r": trades["r"].mean(),
        "spread_r": trades["r"].std(ddof=0),
        "distance": 3.0,
        "stopped": trades["stopped"].mean(),
        "bias": trades["error"].mean(),
        "spread_error": trades["error"].std(ddof=0),
        "inside": 1.0,
    }
    assert {name: values[0] for name, values in made.items()} == pytest.approx(expected)


def test_the_difference_has_an_interval_over_the_same_weeks() -> None:
    """Twice the results are twice the spread in every draw; equal backtests do not differ."""
    made = measure(EXAM, [found(2.0), found(2.0)], found())
    one = made["difference"]["spread_r"]
    assert one["value"] == pytest.approx(made["atr"]["spread_r"]["value"])
    assert 0 < one["low"] < one["value"] < one["high"]
    assert len(made["by_seed"]) == 2
    same = measure(EXAM, [found()], found())["difference"]
    assert all(abs(value[end]) < 1e-9 for value in same.values() for end in value)


def test_the_verdict_names_what_is_beyond_chance_and_its_side() -> None:
    """An interval that holds zero is no difference, whatever its value."""
    sure, doubtful = (
        {"value": 0.2, "low": 0.1, "high": 0.3},
        {"value": 9.0, "low": -1.0, "high": 19.0},
    )
    less = {"value": -0.2, "low": -0.3, "high": -0.1}
    told = verdict({"spread_r": less, "stopped": sure, "sharpe": doubtful})
    assert "Lower with the forecast: spread of results, R." in told
    assert "Higher with the forecast: share stopped." in told
    assert "Sharpe" not in told


def test_ranges_do_not_overlap() -> None:
    """Numbers were chosen on candles before September 2024, and judged on later ones."""
    assert all(exam.stop <= SPLIT for exam in EXAMS["choose"])
    assert all(exam.start >= SPLIT for exam in EXAMS["judge"])


def test_an_unknown_range_is_answered_with_the_known_ones() -> None:
    """A wrong name ends with exit code 2."""
    answer = CliRunner().invoke(app, ["jugde"], env={"COLUMNS": "200"})
    assert answer.exit_code == 2
    assert "choose, judge" in answer.output


@pytest.mark.slow
def test_a_small_benchmark_runs_through_freqtrade(tmp_path: Path) -> None:
    """Both strategies trade in spot; a stop costs one R and fees, which is RISK of the balance."""
    first, start = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 12, tzinfo=UTC)
    end = datetime(2024, 6, 1, tzinfo=UTC)
    generate_market(tmp_path / "data", ["BTC/USDT"], start=first, end=end, trading_mode="spot")
    exam = Exam("small", start, end, 31, 30, ("BTC/USDT",), tmp_path / "data", "spot")
    freqai: dict[str, Any] = {
        "feature_parameters": {"include_timeframes": ["1h"]},
        "model_training_parameters": {"units": 4, "num_lstm_layers": 1, "epochs": 1},
    }
    made = [backtest(exam, name, 1, {"freqai": freqai}, build=tmp_path) for name in (FORECAST, ATR)]
    for one in made:
        stopped = one.trades[one.trades["stopped"]]
        assert len(one.trades) > len(stopped) > 0
        assert stopped["r"].between(-1.1, -0.9).all()
        assert stopped["percent"].between(-110 * STRATEGY.RISK, 0).all()
        assert one.trades["error"].abs().max() < 3
    market = {"timerange": exam.timerange, "pairs": exam.pairs, **measure(exam, made[:1], made[1])}
    text = as_markdown(
        {
            "environment": environment(),
            "range": "judge",
            "seeds": [1],
            "numbers": {"STOP": STRATEGY.STOP},
            "markets": {"spot": market},
        }
    )
    assert all(words in text for _, words, _ in ROWS)
