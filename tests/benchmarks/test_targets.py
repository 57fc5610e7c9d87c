"""The targets exam: labels are what their formulas say, scores are fair, a small exam runs."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.exchange import timeframe_to_seconds
from typer.testing import CliRunner

from benchmarks.targets import results as results_module
from benchmarks.targets import scores
from benchmarks.targets.__main__ import app
from benchmarks.targets.alarm import measure_money
from benchmarks.targets.baselines import BASELINES, predict_baseline
from benchmarks.targets.contenders import CONTENDERS
from benchmarks.targets.labels import LABELS, MAX_HORIZON, add_labels, log_returns
from benchmarks.targets.report import write_report
from benchmarks.targets.results import Result, Results
from benchmarks.targets.run import collect
from benchmarks.targets.scores import common_rows, diebold_mariano, figures, measure, true_labels
from benchmarks.targets.setup import EXAMS, YEAR, Exam, base_config, merged
from freqai_lstm.market import generate_market
from freqai_lstm.model.alarm import Limits


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
    moves = [abs(r[s]) for s in last]
    falls = [np.log(close[i] / close[j]) for i in range(t - 19, t + 1) for j in range(i, t + 1)]
    expected = {
        "mean_return": np.mean(close[t + 1 : t + 25]) / close[t] - 1,
        "log_volatility": np.log(np.sqrt(np.mean(r[t + 1 : t + 13] ** 2))),
        "log_volatility_24": np.log(np.sqrt(np.mean(r[t + 1 : t + 25] ** 2))),
        "log_range": np.log(np.log(high[t + 1 : t + 13].max() / low[t + 1 : t + 13].min())),
        "log_volume": np.log(volume[t + 1 : t + 7].mean() / volume[t - 23 : t + 1].mean()),
        "drawdown": fall,
        "triple_barrier": hit,
        "ma_distance": close[t + 12] / close[t - 7 : t + 13].mean() - 1,
        "since_high": t - max(last, key=lambda s: (high[s], s)),
        "sign_product": np.sign(r[t - 2]) * np.sign(r[t - 5]),
        "busiest_return": r[busiest] / np.sqrt(np.mean(r[t - 19 : t + 1] ** 2)),
        "since_move": moves.index(max(moves)),
        "log_fall": np.log(1e-4 + max(falls)),
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


def test_ranges_are_apart_and_end_where_they_must() -> None:
    """No label that may be looked at reaches a range that is run once; windows fill each range."""
    for one in EXAMS.values():
        if one.name in ("choose", "four"):
            candle = timeframe_to_seconds(one.timeframes[0])
            assert (YEAR[0] - one.stop).total_seconds() >= MAX_HORIZON * candle
        else:
            assert one.start >= YEAR[0]
        assert one.windows[0].start == one.start
        assert one.windows[-1].stop == one.stop
        assert set(one.contenders) <= set(CONTENDERS)
    judge = EXAMS["judge"]
    assert [part.start for part in judge.parts(3)] == [w.start for w in judge.windows[::3]]
    assert base_config(EXAMS["delisted"])["exchange"]["pair_whitelist"][2] == "FIL/USDT:USDT"


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
    assert short[short.columns.intersection(COLUMNS)].notna().to_numpy().mean() > 0.9
    pd.testing.assert_frame_equal(whole[whole["date"] < window.stop], short)


def test_terms_of_the_score_are_scored_by_what_was_known(exam: Exam) -> None:
    """Predictions and terms are divided by the size of T of their candle; the ridge predicts them.

    The ridge has the strategy's features, and all of them are known at the candle.
    """
    small = replace(exam, labels=EXAMS["score"].labels, strategy="ScoreStrategy")
    result = Result("ridge-own-150", 1, predict_baseline("own ridge", small), 2.0, 1.0)
    label = small.labels[0]
    rows = common_rows(small, label, true_labels(small), [result])
    frame = small.frame(PAIR).set_index("date")
    at = rows["date"].iloc[40]
    term = exam.candles(PAIR).pipe(label.formula).set_axis(frame.index)
    assert rows["y"].iloc[40] == pytest.approx(term[at] / abs(frame["%-label_scale"][at]))
    early = replace(small, stop=small.windows[0].stop)
    first = predict_baseline("own ridge", early)
    pd.testing.assert_frame_equal(result.predictions.iloc[: len(first)], first)


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


def test_what_the_alarm_costs(exam: Exam) -> None:
    """The rule's sum is that of a loop over the candles; a bad model is kept out by the alarm."""
    column, wrong = LABELS["log_volatility"].column, np.where(np.arange(480) % 2, -9.0, -2.0)
    ends = {"": 0.0, "_lower": -0.1, "_upper": 0.1}
    made: dict[str, Any] = {f"{column}{end}": wrong + by for end, by in ends.items()}
    made |= {f"{column}_mean": -5.0, f"{column}_std": 0.5}
    result = _result("lstm", exam, lambda rows: rows.assign(**made))
    found = measure_money(exam, result, Limits(1e200, 1e200), stuck=False)
    close = exam.candles(PAIR)["close"].to_numpy()[-480:]
    earned, before = 0.0, 0.0
    for t in range(480):
        stake = min(0.005 / np.exp(wrong[t]), 1)
        ahead = close[t + 1] / close[t] - 1 if t < 479 else 0
        earned += stake * ahead - 0.0005 * abs(stake - before)
        before = stake
    assert found["alone"] == found["with_alarm"] == pytest.approx(earned)
    assert found["silenced"] == 0
    strict = measure_money(exam, result, Limits(1e-3, 1e-3), stuck=False)
    assert strict["silenced"] > 0.9
    assert abs(strict["with_alarm"]) < abs(strict["alone"]) / 4
    assert strict["difference"] == pytest.approx(strict["with_alarm"] - strict["alone"])
    assert strict["interval"][0] < strict["difference"] < strict["interval"][1]


def test_scores_count_only_candles_that_every_contender_predicts(exam: Exam) -> None:
    """A candle that one contender marks do_predict 0, or fills up, counts for none.

    One that took some of the windows alone costs the others no candle.
    """
    whole = _result("ridge-own-150", exam, lambda rows: rows)
    holed = _result("ridge-own-730", exam, lambda rows: rows.assign(do_predict=rows.index % 2))
    some = _result("xgboost", exam, lambda rows: rows[rows["date"] < exam.windows[0].stop])
    found = measure(exam, [whole, holed, some])["labels"]["since_high"]["contenders"]
    assert (found["ridge-own-730"]["rows"], found["xgboost"]["rows"]) == (480 // 2, 480 // 4)
    assert found["ridge-own-150"]["r2"] == 1.0
    blind = _result("transformer", exam, lambda rows: rows)
    found = measure(exam, [blind])["labels"]["since_high"]["contenders"]
    assert found["transformer"]["rows"] == 480 - 24 * len(exam.windows)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_difference_has_an_interval_and_a_statistic(
    exam: Exam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours is ahead of a worse contender and behind a better one, by both."""
    monkeypatch.setattr(scores, "FEWEST_WEEKS", 2)
    ours = _result("lstm", exam, _shrunk)
    worse, better = _result("lightgbm", exam, _worse), _result("har", exam, lambda rows: rows)
    found = measure(exam, [worse, better, ours])["labels"]["log_volatility"]["contenders"]
    assert "behind" not in found["lstm"]
    for name, sign in (("lightgbm", 1), ("har", -1)):
        behind = found[name]["behind"]
        low, high = behind["interval"]
        assert sign * behind["difference"] > 0
        assert sign * behind["dm"] > 1.96
        assert low - 1e-9 <= behind["difference"] <= high + 1e-9


def test_the_statistic_of_errors_without_memory_is_that_of_a_mean() -> None:
    """Diebold-Mariano of independent differences is near mean / standard error."""
    rng, dates = np.random.default_rng(1), pd.date_range("2024", periods=4000, freq="h")
    y = rng.normal(size=len(dates))
    rows = pd.DataFrame({"pair": PAIR, "date": dates, "y": y, 0: y + rng.normal(size=len(y))})
    rows[1] = y + 1.03 * rng.normal(size=len(y))
    gained = (rows[1] - y) ** 2 - (rows[0] - y) ** 2
    expected = gained.mean() / gained.std() * np.sqrt(len(y))
    assert diebold_mariano(rows, [0], [1], 1) == pytest.approx(expected, rel=0.3)


def test_intervals_are_measured_by_week_and_tercile(exam: Exam) -> None:
    """An interval around the truth holds all labels, and its score is its width."""

    def around(rows: pd.DataFrame) -> pd.DataFrame:
        column, width = "&-log_volume", rows["&-log_volume"].std()
        ends = {f"{column}_lower": -width, f"{column}_upper": width}
        return rows.assign(**{name: rows[column] + end for name, end in ends.items()})

    found = measure(exam, [_result("lstm", exam, around)])["labels"]
    given = found["log_volume"]["contenders"]["lstm"]["intervals"]
    assert given.pop("score") == pytest.approx(2, rel=0.05)
    assert set(given.values()) == {1.0}
    assert "intervals" not in found["log_range"]["contenders"]["lstm"]


def test_ranks_across_pairs() -> None:
    """A forecast in the right order of pairs has 1, a reversed one -1; three pairs have none."""
    rng, dates = np.random.default_rng(1), pd.date_range("2024", periods=500, freq="h", tz="UTC")
    frames = [
        pd.DataFrame({"pair": f"P{n}", "date": dates, "y": rng.normal(size=500)}) for n in "abcd"
    ]
    rows = pd.concat(frames, ignore_index=True)
    rows[0], rows[1], rows[2] = np.exp(rows["y"]), -rows["y"], rng.normal(size=len(rows))
    for position, expected in ((0, 1.0), (1, -1.0)):
        found = scores._across(rows, [position])
        assert found is not None
        assert found["rank_correlation"] == pytest.approx(expected)
        assert found["interval"] == pytest.approx([expected, expected])
    luck = scores._across(rows, [2])
    assert luck is not None
    assert abs(luck["rank_correlation"]) < 0.1
    assert scores._across(rows[rows["pair"] != "Pa"], [0]) is None


def test_figures_of_known_forecasts() -> None:
    """R² of the mean is 0, and a constant has no correlation."""
    y = np.arange(100.0)
    assert figures(y, np.full(100, y.mean())) == {"r2": 0.0, "correlation": None}
    assert figures(y, y + 1)["correlation"] == pytest.approx(1)


def test_the_report_has_every_contender_and_label(exam: Exam, tmp_path: Path) -> None:
    """JSON, Markdown and picture are written; the picture has a mark for every figure of ours."""
    names = ("ridge-own-150", "lightgbm-730", "lstm")
    found = measure(exam, [_result(name, exam, _worse) for name in names])
    files = write_report(exam, found, tmp_path)
    assert [file.name for file in files] == ["small.json", "small.md", "small.svg"]
    text = files[1].read_text(encoding="utf-8")
    titles = [CONTENDERS[name].title for name in names]
    for name in (
        *titles,
        "(one of 3 windows)",
        "Not run: flat",
        *(label.title for label in LABELS.values()),
    ):
        assert name in text
    picture = files[2].read_text(encoding="utf-8")
    assert picture.count("#0047bb") == len(LABELS) + 1  # and one in the legend
    assert "two years" not in picture


def test_a_missing_window_is_named_but_not_of_a_pair_that_ended(exam: Exam, tmp_path: Path) -> None:
    """FreqAI leaves nothing of a pair that has ended; else a missing window is an error."""
    with pytest.raises(ValueError, match=r"no predictions of BTC/USDT:USDT from 2024-05-12"):
        collect(tmp_path, exam)
    longer = replace(exam, stop=datetime(2024, 8, 1, tzinfo=UTC))
    folder = tmp_path / "backtesting_predictions"
    folder.mkdir()
    for window in exam.windows:
        file = folder / f"cb_btc_{int(window.start.timestamp())}_prediction.feather"
        pd.DataFrame({"date": [window.start]}).to_feather(file)
    assert len(collect(tmp_path, longer)) == len(exam.windows)
    assert (predict_baseline("flat", longer)["date"] < exam.stop).all()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["run", "jugde"], "choose, four, judge"), (["run", "choose", "--only", "lsmt"], "lightgbm")],
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
    """Trees with our inputs learn two labels in the real backtest, on one window, and are kept."""
    small = replace(exam, labels=(LABELS["log_volume"], LABELS["since_high"]))
    usual = CONTENDERS["lightgbm-inputs"]
    few = {"model_training_parameters": {"n_estimators": 20, "learning_rate": 0.2}}
    contender = replace(usual, freqai=merged(dict(usual.freqai), few))
    results = Results(small, tmp_path)
    assert results.get(contender, 1) is None
    made = results.make(contender, 1)
    assert made.predictions["do_predict"].eq(1).all()
    assert len(made.predictions) == 240
    found = measure(small, [made])["labels"]
    assert set(found) == {"log_volume", "since_high"}
    assert found["since_high"]["contenders"]["lightgbm-inputs"]["r2"] > 0.6  # the window is told

    def refuse(*args: Any) -> None:
        raise AssertionError("what is done was done again")

    monkeypatch.setattr(results_module, "backtest", refuse)
    again = results.get(contender, 1)
    assert again is not None
    pd.testing.assert_frame_equal(again.predictions, made.predictions)
