"""The targets exam: labels are what their formulas say, scores are fair, a small exam runs."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.targets import results as results_module
from benchmarks.targets.__main__ import app
from benchmarks.targets.baselines import BASELINES, predict_baseline
from benchmarks.targets.chart import draw
from benchmarks.targets.contenders import CONTENDERS, Contender
from benchmarks.targets.dump import dump_inputs
from benchmarks.targets.labels import LABELS, MAX_HORIZON, add_labels, log_returns
from benchmarks.targets.report import write_report
from benchmarks.targets.results import Result, Results
from benchmarks.targets.scores import figures, measure
from benchmarks.targets.setup import EXAMS, Exam, base_config, merged
from freqai_lstm.market import generate_market


PAIR = "BTC/USDT:USDT"
COLUMNS = [label.column for label in LABELS.values()]


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    """Two windows of ten days on a generated market of one pair."""
    datadir = tmp_path_factory.mktemp("market")
    start, stop = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    generate_market(datadir, [PAIR], start=start, end=stop)
    first = datetime(2024, 5, 12, tzinfo=UTC)
    return Exam("small", first, stop, 10, 40, (PAIR,), datadir)


@pytest.fixture(scope="module")
def candles(exam: Exam) -> pd.DataFrame:
    """The candles of the small exam."""
    return exam.candles(PAIR)


def test_labels_equal_their_formulas_written_as_loops(candles: pd.DataFrame) -> None:
    """At one candle, every label is the number its docstring's formula gives."""
    made = add_labels(candles)
    t = 500
    o = candles
    close, high, low, volume = (o[name].to_numpy() for name in ("close", "high", "low", "volume"))
    r = np.diff(np.log(close), prepend=np.nan)
    path = close[t : t + 25]
    fall = max(1 - path[j] / path[i] for i in range(25) for j in range(i, 25))
    barrier = 1.5 * np.std(r[t - 47 : t + 1], ddof=1) * np.sqrt(24)
    steps = np.log(path[1:] / path[0])
    hit = next((np.sign(step) for step in steps if abs(step) >= barrier), 0.0)
    last = range(t, t - 20, -1)
    busiest = max(last, key=lambda s: (volume[s], s))
    expected = {
        "mean_return": np.mean(close[t + 1 : t + 25]) / close[t] - 1,
        "log_volatility": np.log(np.sqrt(np.mean(r[t + 1 : t + 13] ** 2))),
        "log_range": np.log(np.log(high[t + 1 : t + 13].max() / low[t + 1 : t + 13].min())),
        "log_volume": np.log(volume[t + 1 : t + 7].mean() / volume[t - 23 : t + 1].mean()),
        "drawdown": fall,
        "triple_barrier": hit,
        "ma_distance": close[t + 12] / close[t - 7 : t + 13].mean() - 1,
        "since_high": t - max(last, key=lambda s: (high[s], s)),
        "sign_product": np.sign(r[t - 2]) * np.sign(r[t - 5]),
        "busiest_return": r[busiest] / np.sqrt(np.mean(r[t - 19 : t + 1] ** 2)),
    }
    assert set(expected) == set(LABELS)
    for name, value in expected.items():
        assert made.loc[t, LABELS[name].column] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("name", LABELS)
def test_labels_know_nothing_beyond_their_horizon(name: str, candles: pd.DataFrame) -> None:
    """Without later candles a label is the same, or missing in the last `horizon` rows only."""
    label, cut = LABELS[name], 700
    whole, short = label.formula(candles), label.formula(candles.iloc[:cut])
    known = cut - label.horizon
    pd.testing.assert_series_equal(short.iloc[:known], whole.iloc[:known])
    assert short.iloc[known:].isna().all()
    assert not whole.iloc[100:known].isna().any()
    assert label.horizon <= MAX_HORIZON


@pytest.mark.parametrize("name", [n for n, label in LABELS.items() if not label.horizon])
def test_labels_of_the_window_need_the_last_24_candles_only(
    name: str, candles: pd.DataFrame
) -> None:
    """A window of 24 candles, and no earlier one, tells the labels with horizon 0."""
    label = LABELS[name]
    whole, window = label.formula(candles), label.formula(candles.iloc[300:324])
    assert window.iloc[-1] == pytest.approx(whole.iloc[323])


def test_a_market_that_stands_still_has_missing_labels_and_no_infinite_ones() -> None:
    """Where a logarithm or a ratio has no value the label is NaN: FreqAI keeps infinities."""
    dates = pd.date_range("2024-01-01", periods=200, freq="h", tz="UTC")
    still = pd.DataFrame({"date": dates, **dict.fromkeys(("open", "high", "low", "close"), 5.0)})
    made = add_labels(still.assign(volume=0.0))[COLUMNS]
    assert not np.isinf(made.to_numpy()).any()
    assert made[LABELS["log_volatility"].column].isna().all()
    assert (made[LABELS["drawdown"].column].dropna() == 0).all()
    assert np.isnan(log_returns(still).iloc[0])


def test_an_unknown_label_is_named(candles: pd.DataFrame) -> None:
    """The error names the label that was asked for and those there are."""
    with pytest.raises(ValueError, match=r"no_such.*since_high"):
        add_labels(candles, ["no_such", "since_high"])


def test_ranges_are_apart_and_end_where_they_must() -> None:
    """No label of `choose` looks into `judge`, and `choose` ends before September 2024."""
    choose, judge = EXAMS["choose"], EXAMS["judge"]
    assert choose.stop <= datetime(2024, 9, 1, tzinfo=UTC)
    assert (judge.start - choose.stop).total_seconds() >= MAX_HORIZON * 3600
    for one in (choose, judge):
        assert one.windows[0].start == one.start
        assert one.windows[-1].stop == one.stop
        assert base_config(one)["freqai"]["feature_parameters"]["label_period_candles"] == 24


def test_merged_leaves_both_sides_alone() -> None:
    """Nested settings are laid over each other in a copy."""
    base: dict[str, Any] = {"a": {"b": 1, "c": 2}}
    assert merged(base, {"a": {"c": 3}}) == {"a": {"b": 1, "c": 3}}
    assert base == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_use_nothing_of_the_time_to_come(name: str, exam: Exam) -> None:
    """The forecasts of the first window are the same when its candles end with it."""
    window = exam.windows[0]
    shorter = replace(exam, stop=window.stop)
    whole, short = predict_baseline(name, exam), predict_baseline(name, shorter)
    assert (whole["date"] >= exam.start).all()
    pd.testing.assert_frame_equal(whole[whole["date"] < window.stop], short)


def test_persistence_is_the_label_of_horizon_candles_ago(exam: Exam) -> None:
    """What is known of a label that lies n candles ahead is its value n candles ago."""
    predicted = predict_baseline("persistence", exam).set_index("date")
    truth = add_labels(exam.candles(PAIR)).set_index("date")
    at = exam.start + pd.Timedelta(hours=50)
    column = LABELS["log_volume"].column
    assert predicted[column].loc[at] == truth[column].loc[at - pd.Timedelta(hours=6)]
    assert LABELS["since_high"].column not in predicted


def _result(name: str, exam: Exam, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Result:
    truth = add_labels(exam.candles(PAIR))
    rows = truth[truth["date"] >= exam.start].assign(pair=PAIR, do_predict=1)
    return Result(name, 1, change(rows[["pair", "date", "do_predict", *COLUMNS]]), 2.0, 1.0)


def _worse(rows: pd.DataFrame) -> pd.DataFrame:
    noise = np.random.default_rng(1).normal(size=len(rows))
    return rows.assign(**{c: rows[c] + rows[c].std() * noise for c in COLUMNS})


def _shrunk(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{c: 0.9 * rows[c] + 0.1 * rows[c].mean() for c in COLUMNS})


def test_scores_count_only_candles_that_every_contender_predicts(exam: Exam) -> None:
    """A candle that one contender marks do_predict 0 counts for none."""
    whole = _result("ridge", exam, lambda rows: rows)
    holed = _result("lightgbm", exam, lambda rows: rows.assign(do_predict=rows.index % 2))
    found = measure(exam, [whole, holed])["labels"]["since_high"]
    assert found["rows"] == 480 // 2
    assert found["contenders"]["ridge"]["mean"]["r2"] == 1.0


def test_scores_leave_out_the_blind_candles_of_a_contender(exam: Exam) -> None:
    """The first candles of each window that a contender fills with zeros are not scored."""
    found = measure(exam, [_result("transformer", exam, lambda rows: rows)])
    windows = len(exam.windows)
    assert found["labels"]["since_high"]["rows"] == 480 - 24 * windows


def test_the_difference_to_the_best_contender_has_an_interval(exam: Exam) -> None:
    """The best contender that is not this project's is named, and the interval holds the figure."""
    better = _result("ridge", exam, _shrunk)
    ours = _result("lstm", exam, lambda rows: rows)
    found = measure(exam, [better, _result("xgboost", exam, _worse), ours])
    made = found["labels"]["log_volatility"]["contenders"]
    assert "against" not in made["ridge"]
    for name, sign in (("lstm", 1), ("xgboost", -1)):
        against = made[name]["against"]
        low, high = against["interval"]
        assert against["best"] == "ridge"
        assert sign * against["difference"] > 0
        assert low - 1e-9 <= against["difference"] <= high + 1e-9


def test_figures_of_known_forecasts() -> None:
    """R² of the mean is 0, a constant has no correlation, a reversed order has rank −1."""
    y = np.arange(100.0)
    flat = figures(y, np.full(100, y.mean()))
    assert flat == {"r2": 0.0, "correlation": None, "rank_correlation": None}
    assert figures(y, -(y**3))["rank_correlation"] == pytest.approx(-1)
    assert figures(y, y + 1)["correlation"] == pytest.approx(1)


def test_the_report_has_every_contender_and_label(exam: Exam, tmp_path: Path) -> None:
    """JSON, Markdown and picture are written; the picture draws a mark for every figure."""
    runs = [_result("ridge", exam, _worse), _result("lstm", exam, lambda rows: rows)]
    found = measure(exam, runs)
    files = write_report(exam, found, tmp_path)
    assert [file.name for file in files] == ["small.json", "small.md", "small.svg"]
    text = files[1].read_text(encoding="utf-8")
    for name in ("LSTMRegressor", "ridge", *(label.title for label in LABELS.values())):
        assert name in text
    assert draw(found).count("#0047bb") == len(LABELS) + 1  # and one in the legend


@pytest.mark.slow
def test_the_dump_holds_what_models_are_given(exam: Exam, tmp_path: Path) -> None:
    """Training rows end where predictions begin, and those have the labels known in the range."""
    files = dump_inputs(exam, tmp_path)
    assert len(files) == 2 * len(exam.windows)
    first = exam.windows[0]
    train, predict = (
        pd.read_feather(tmp_path / f"dumps/small/BTC_USDT_USDT_{first.name}.{what}.feather")
        for what in ("train", "predict")
    )
    assert train["date"].iloc[-1] < pd.Timestamp(first.start) == predict["date"].iloc[0]
    assert train[COLUMNS].iloc[-1].isna().any()  # not known yet
    assert not predict[COLUMNS].isna().any(axis=None)  # known from the next window's candles
    features = [column for column in map(str, train) if "%" in column]
    assert len(features) > 40
    assert not train[features].isna().any(axis=None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["run", "jugde"], "choose, judge"), (["run", "choose", "--only", "lsmt"], "lightgbm")],
)
def test_a_wrong_name_on_the_command_line_is_answered_with_the_right_ones(
    arguments: list[str], told: str
) -> None:
    """An unknown range or contender ends with exit code 2 and the known names."""
    answer = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert answer.exit_code == 2
    assert told in answer.output


@pytest.mark.slow
def test_a_small_exam_runs_through_freqtrade(
    exam: Exam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ridge learns two labels in the real backtest, predicts every candle, and is kept."""
    two = ("log_volume", "since_high")

    class TwoLabels(Contender):
        def configs(self, exam: Exam, seed: int) -> dict[str, dict[str, Any]]:
            return {"all": merged(base_config(exam, two), {"freqai": {"identifier": "ridge"}})}

    contender = TwoLabels("ridge", "ridge", CONTENDERS["ridge"].model)
    results = Results(exam, tmp_path)
    assert results.get(contender, 1) is None
    made = results.make(contender, 1)
    assert made.predictions["do_predict"].eq(1).all()
    assert len(made.predictions) == 480
    found = measure(exam, [made])["labels"]
    assert set(found) == set(two)
    assert found["since_high"]["contenders"]["ridge"]["mean"]["r2"] > 0.3

    def refuse(*args: Any) -> None:
        raise AssertionError("what is done was done again")

    monkeypatch.setattr(results_module, "backtest", refuse)
    again = results.get(contender, 1)
    assert again is not None
    pd.testing.assert_frame_equal(again.predictions, made.predictions)
