"""The benchmark of the horizon: its figures are those of the trades, its report has them."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from benchmarks.exam import Exam
from benchmarks.horizon.__main__ import EXAMS, ROWS, draws, rows
from benchmarks.horizon.backtests import Backtest
from freqai_lstm.evaluate.intervals import interval


EXAM = Exam("futures", datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC))


def found() -> Backtest:
    """Three trades a day with normal results, each of a tenth of the balance."""
    results = np.random.default_rng(1).normal(0.001, 0.01, 210)
    closed = pd.Series(pd.date_range(EXAM.start, periods=210, freq="8h"))
    trades = pd.DataFrame(
        {"close_date": closed, "profit_ratio": results, "profit_abs": 100 * results}
    )
    return Backtest({"starting_balance": 1000, "max_drawdown_account": 0.05}, trades, {})


def test_figures_are_those_of_the_trades() -> None:
    """On the range itself every figure equals pandas' own; on its draws it varies."""
    trades, made = found().trades, draws(EXAM, found())
    daily = trades.groupby(trades["close_date"].dt.date)["profit_abs"].sum() / 10
    expected = {
        "profit": daily.sum(),
        "sharpe": daily.mean() / daily.std(ddof=0) * np.sqrt(365),
        "mean": 100 * trades["profit_ratio"].mean(),
        "won": (trades["profit_ratio"] > 0).mean(),
    }
    assert {name: values[0] for name, values in made.items()} == pytest.approx(expected)
    assert all(values[1:].std() > 0 for values in made.values())


def test_the_table_has_every_figure_and_its_interval() -> None:
    """A column per horizon and per difference; drawdown and trades have no interval."""
    figures = {name: interval(values) for name, values in draws(EXAM, found()).items()}
    of_horizon = {**figures, "drawdown": 5.0, "trades": 210}
    table = rows({"by_horizon": {0: of_horizon, 1: of_horizon}, "differences": {1: figures}})
    assert [row[""] for row in table] == [words for _, words, _ in ROWS]
    assert list(table[0]) == ["", "0 ahead", "1 ahead", "1 less 0"]
    assert f"{figures['profit']['low']:+.2f}" in table[0]["0 ahead"]
    assert table[-1]["1 less 0"] == ""


def test_exams_are_whole_windows_or_end_with_the_candles() -> None:
    """Futures are eight windows of 30 days."""
    assert [(exam.end - exam.start).days for exam in EXAMS] == [240, 140]
