"""The benchmark of RiskStrategy: volatilities are fair, figures what they say, a small one runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.exam import Exam
from benchmarks.reports import environment
from benchmarks.risk import forecasts as made
from benchmarks.risk.__main__ import ROWS, as_markdown, verdict
from benchmarks.risk.backtests import CONTENDERS, EXAM, FEE, OURS, STAKE, Book, backtest
from benchmarks.risk.figures import draws, measure, utility_gain
from freqai_lstm.freqtrade_run import FreqtradeFailed
from freqai_lstm.market import generate_market


DAYS = 70
START = datetime(2024, 5, 1, tzinfo=UTC)
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
NO_NETWORK: dict[str, Any] = {"freqai": {"model_training_parameters": {"history_days": 0}}}


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    """Generated candles of two pairs, before 2023 and in it."""
    datadir = tmp_path_factory.mktemp("market")
    first, stop = datetime(2022, 9, 1, tzinfo=UTC), datetime(2023, 2, 15, tzinfo=UTC)
    generate_market(datadir, PAIRS, start=first, end=stop)
    start = datetime(2023, 1, 10, tzinfo=UTC)
    return Exam("small", start, stop, 36, 60, PAIRS, datadir)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where books lie: one that a test has run is there for the next."""
    return tmp_path_factory.mktemp("build")


def book(scale: float = 1.0, error: float = 0.3) -> Book:
    """Normal returns, three positions a day whose risk is missed by `error`, a trade a day."""
    rng = np.random.default_rng(1)
    hours = pd.date_range(START, periods=24 * DAYS, freq="h")
    days = pd.date_range(START, periods=DAYS, freq="D")
    hourly = pd.Series(scale * rng.normal(0, 0.2 / np.sqrt(made.YEAR), len(hours)), hours)
    returns = scale * rng.normal(0.001, 0.01, DAYS)
    at = pd.Series(pd.date_range(START, periods=3 * DAYS, freq="8h"))
    ratio = np.exp(rng.normal(0, error, len(at)))
    return Book(
        hourly,
        pd.DataFrame({"returns": returns, "turnover": 0.1 * scale}, days),
        pd.DataFrame({"date": at, "ratio": ratio}),
        pd.DataFrame({"date": pd.Series(days), "r": scale * rng.normal(0, 1, DAYS)}),
    )


def test_figures_are_those_of_the_book() -> None:
    """On the range itself every figure equals pandas' own."""
    one = book()
    found = {name: values[0] for name, values in draws(one).items()}
    returns, log = one.daily["returns"], np.log(one.positions["ratio"])
    month = one.hourly.resample("MS")
    volatility = np.sqrt(made.YEAR * month.apply(lambda of: (of**2).mean()))
    worst = returns.sort_values().iloc[:4].sum() - returns.sort_values().iloc[3] / 2
    ratio = one.positions["ratio"]
    expected = {
        "position_error": log.std(ddof=0),
        "position_ratio": np.sqrt((ratio**2).mean()),
        "month_error": np.sqrt((np.log(volatility / 0.2) ** 2).mean()),
        "spread_r": one.stops["r"].std(ddof=0),
        "shortfall": -100 * worst / 3.5,  # the worst 5 % of 70 days
        "turnover": 36.5,
        "profit": 36_500 * returns.mean(),
        "sharpe": returns.mean() / returns.std(ddof=0) * np.sqrt(365),
        "constant_ratio": 800 * (ratio - ratio**2 / 2).mean(),
    }
    assert found.keys() == {*expected, "week_error"}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["week_error"] > found["month_error"]  # fewer candles, the same volatility


@pytest.mark.parametrize("aversion", [1, 10])
def test_the_utility_is_what_an_investor_would_pay(aversion: float) -> None:
    """With that much taken from each day of ours the mean utilities are equal."""
    returns = pd.DataFrame({OURS: book().daily["returns"], "har": book(2.0).daily["returns"]})
    gain = utility_gain(returns, "har", aversion)[0, 0] / 365 / 1e4
    a = aversion / (2 * (1 + aversion))

    def utility(of: pd.Series) -> float:
        return float(((1 + of) - a * (1 + of) ** 2).mean())

    assert utility(returns[OURS] - gain) == pytest.approx(utility(returns["har"]), abs=1e-12)


def test_differences_have_intervals_over_the_same_weeks_and_words() -> None:
    """A book with twice the error is worse beyond chance; equal books do not differ."""
    found = measure({OURS: book(), "har": book(error=0.6), "day": book()})
    one = found["differences"]["har"]["position_error"]
    assert one["low"] < one["value"] == pytest.approx(-0.3, abs=0.05)
    assert one["high"] < 0
    same = found["differences"]["day"]
    assert np.isnan(same.pop("month_error")["low"])  # three months are too few to draw from
    assert all(abs(value[end]) < 1e-9 for value in same.values() for end in ("low", "high"))
    told = verdict(found["differences"]["har"])
    assert "Better: position: error of ln(realised ÷ expected)" in told
    assert "Sharpe ratio (one of" in told.partition("No difference:")[2]
    assert verdict({"sharpe": {"value": -1, "low": -2, "high": -0.5, "word": "worse"}}) == (
        "Worse: Sharpe ratio."
    )


@pytest.mark.parametrize("kind", made.KINDS)
def test_volatilities_know_nothing_of_later_candles(kind: str, exam: Exam) -> None:
    """A volatility is the same, and has the same scale, where the candles end there."""
    whole = made.forecasts(exam, kind)
    cut = pd.Timestamp(2023, 1, 20, tz="UTC")
    candles = {pair: made.by_date(exam.candles(pair)).loc[:cut] for pair in PAIRS}
    for pair in PAIRS:
        raw = made.KINDS[kind](candles[pair]).dropna()
        scaled = whole[pair]["volatility"].loc[:cut] / raw
        assert scaled.dropna().min() == pytest.approx(scaled.max())
        assert len(scaled.dropna()) == len(raw)


@pytest.mark.parametrize("kind", made.KINDS)
def test_volatilities_are_on_target_before_the_judged_range(kind: str, exam: Exam) -> None:
    """On 2022 the mean of realised ÷ expected variance is 1, and 10 % lie above the upper end."""
    squares, above = [], []
    first, last = made.SCALED_ON
    for pair, of in made.forecasts(exam, kind).items():
        realised = made.realised(made.by_date(exam.candles(pair))).loc[first:last]
        ratio = (realised / of["volatility"]).dropna()
        squares.append(ratio**2)
        above.append(realised.reindex(ratio.index) > of["volatility_upper"].reindex(ratio.index))
    assert pd.concat(squares).mean() == pytest.approx(1.0)
    assert pd.concat(above).mean() == pytest.approx(0.1, abs=0.005)


def test_the_judged_range_is_later_than_the_scale() -> None:
    """Labels of the last scaled candle are known before the first judged one."""
    assert made.SCALED_ON[1] + pd.Timedelta(hours=made.HORIZON) < EXAM.start
    assert len(EXAM.pairs) == 10


@pytest.mark.slow
def test_a_small_benchmark_runs_through_freqtrade(exam: Exam, build: Path) -> None:
    """Every kind of book trades; its costs are FEE; the report has every row."""
    books = {name: backtest(exam, name, 1, NO_NETWORK, build) for name in (OURS, STAKE, "day")}
    for one in books.values():
        assert len(one.stops) > 3
        assert 0.3 < one.positions["ratio"].median() < 2
        assert one.hourly.std() * np.sqrt(made.YEAR) < 0.6
        assert 0 > one.drawdown > -0.5
    assert FEE == 0.001
    of = {"2023": measure(books)}
    text = as_markdown({"environment": environment(), "seed": 1, "timerange": "", "periods": of})
    assert all(words in text for _, words, _, _ in ROWS)
    assert all(CONTENDERS[name][0] in text for name in books)


@pytest.mark.slow
def test_a_book_runs_once(exam: Exam, build: Path) -> None:
    """It is read where its result exists; not of other settings, nor after a failure."""
    results = build / "risk" / exam.name / STAKE / "user_data/backtest_results"

    def run(more: dict[str, Any]) -> tuple[Book, list[int]]:
        one = backtest(exam, STAKE, 1, NO_NETWORK | more, build)
        return one, [file.stat().st_mtime_ns for file in sorted(results.glob("*.zip"))]

    first, written = run({})
    again, untouched = run({})
    assert untouched == written
    pd.testing.assert_series_equal(again.hourly, first.hourly)
    pd.testing.assert_frame_equal(again.positions, first.positions)
    assert run({"tradable_balance_ratio": 0.5})[1] != written
    for _ in range(2):
        with pytest.raises(FreqtradeFailed):
            run({"stake_currency": "NONE"})
