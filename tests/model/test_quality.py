"""Columns of quality and the alarm: only known labels count, and a stop ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, make_frame, make_kitchen
from livebot import SECOND, LiveBot

from freqai_lstm.model.alarm import Limits
from freqai_lstm.model.quality import AGE, COLUMNS, COVERAGE, R2, Known


DATES = pd.date_range("2024-01-01", periods=600, freq="h", tz="UTC")
AT = DATES.as_unit("s").asi8


def saved(predicted: np.ndarray, **changed: object) -> pd.DataFrame:
    """Predictions as FreqAI keeps them, with intervals of ±1.28."""
    values = {"date": DATES, "&-a": predicted, "&-a_lower": predicted - 1.28}
    values |= {"&-a_upper": predicted + 1.28, "&-a_mean": 0.0, "&-a_std": 1.0, "do_predict": 1}
    return pd.DataFrame(values | changed)


def truth(seed: int = 1) -> pd.DataFrame:
    """Labels of normal values."""
    return pd.DataFrame({"date": DATES, "&-a": np.random.default_rng(seed).normal(size=600)})


def test_coverage_is_that_of_the_last_known_labels() -> None:
    """At each candle it is the share inside among the 200 newest labels known there."""
    labels = truth()
    known = Known.of(saved(np.zeros(600)), labels, ["&-a"], [3])
    found = known.coverage(AT, 3 * 3600)
    inside = (labels["&-a"].abs() <= 1.28).to_numpy()
    assert np.isnan(found[:3]).all()
    for row in (3, 10, 250, 599):
        ends = row - 3 + 1
        assert found[row] == pytest.approx(inside[max(0, ends - 200) : ends].mean())


def test_later_labels_change_nothing() -> None:
    """What is shown at a candle is the same whatever comes after it."""
    labels, other = truth(), truth()
    other.loc[300:, "&-a"] = 50.0
    limits = Limits(1, 2)
    found = []
    for frame in (labels, other):
        known = Known.of(saved(np.zeros(600)), frame, ["&-a"], [3])
        states = known.alarm(AT, 3600, 3, limits, 1)
        found.append((known.coverage(AT, 3 * 3600)[:303], states[:303]))
    assert np.array_equal(found[0][0], found[1][0], equal_nan=True)
    assert found[0][1] == found[1][1]


def test_only_real_predictions_and_known_labels_count() -> None:
    """Each label counts where the frame knows it by its end; a candle without a prediction not."""
    dates = pd.date_range("2024-01-01", periods=8, freq="h", tz="UTC")
    past = pd.DataFrame({"date_pred": dates[:7], "do_predict": [1, 0, 1, 0, 1, 1, 1]})
    for label in ("&-a", "&-b"):
        past[label], past[f"{label}_mean"], past[f"{label}_std"] = 1.0, 0.0, 1.0
        past[f"{label}_lower"], past[f"{label}_upper"] = 0.0, 2.0
        past.loc[3, [f"{label}_lower", f"{label}_upper"]] = [-np.inf, np.inf]
    past.loc[6, "&-b_upper"] = np.nan
    frame = pd.DataFrame({"date": dates[2:], "&-a": [1.5, 9, np.nan, 5, 6, 7], "&-b": 9.0})
    known = Known.of(past, frame, ["&-a", "&-b"], [3, 0])
    nan = np.nan
    assert known.seconds.tolist() == dates[[2, 4, 5, 6]].as_unit("s").asi8.tolist()
    np.testing.assert_array_equal(known.missed, [[0, 1], [nan, 1], [nan, 1], [nan, nan]])
    for none in (pd.DataFrame(), past.drop(columns="&-a_lower")):
        assert Known.of(none, frame, ["&-a", "&-b"], [3, 0]).missed.shape == (0, 2)


def test_the_alarm_stops_and_recovers() -> None:
    """Wrong predictions on 150 candles stop it; good ones afterwards bring it back."""
    labels = truth()
    predicted = 0.9 * labels["&-a"].to_numpy()
    predicted[200:350] = -3 * labels["&-a"].to_numpy()[200:350]
    # A silenced candle has do_predict 0, and counts all the same.
    known = Known.of(saved(predicted, do_predict=0), labels, ["&-a"], [1])
    states = known.alarm(AT, 3600, 1, Limits(1, 10), 1)
    assert set(states[:201]) == {"good"}
    assert "stop" in states[210:300]
    assert states[-1] == "good"


def test_a_stop_ends_after_so_many_good_labels() -> None:
    """However bad it was, the evidence is four times the limit at most, and halves from there."""
    skill = np.concatenate([np.ones(300), -np.ones(300)])[:, None]
    known = Known(AT, np.full((600, 1), np.nan), skill)
    states = known.alarm(AT, 3600, 1, Limits(1, 10), 1)  # 24 and 240 bets
    # Three of six fortunes lost nothing and are 1; these bets cost the others these shares.
    left = [(4 * 240 * sum((1 - s) ** n for s in (0.2, 0.4, 0.8)) + 3) / 6 for n in range(50)]
    needed = next(n for n, evidence in enumerate(left) if evidence < 24)
    assert states[300] == "stop"
    assert states.index("good", 300) == 300 + needed


def test_windows_of_a_backtest_are_joined() -> None:
    """Known labels of one window go on in the next, each candle once."""
    labels, rows = truth(), saved(np.zeros(600))
    whole = Known.of(rows, labels, ["&-a"], [1])
    first = Known.of(rows.head(300), labels.head(302), ["&-a"], [1])
    joined = first.then(Known.of(rows.tail(320), labels, ["&-a"], [1]))
    assert np.array_equal(joined.seconds, whole.seconds)
    assert np.array_equal(joined.missed, whole.missed)


@pytest.fixture
def bot(lstm: object, freqai_config: Callable[..., dict]) -> Callable[..., LiveBot]:
    """Make a bot, keywords as for `make_config`."""
    return lambda **config: LiveBot(lstm, freqai_config(**config))  # type: ignore[arg-type]


def test_columns_are_there_before_the_first_model_and_after(bot: Callable[..., LiveBot]) -> None:
    """Without a model they are missing values; then R² of the training, age and coverage come."""
    live = bot()
    assert live.new_candle(560)[list(COLUMNS)].isna().all(axis=None)
    model = live.train(SECOND)
    for rows in range(561, 580):
        shown = live.new_candle(rows)
    newest = shown.iloc[-1]
    known = [value for value in model.report["selected_r2"] if value is not None]
    assert newest[R2] == pytest.approx(np.mean(known))
    assert 0 <= newest[COVERAGE] <= 1
    assert np.isnan(newest[AGE])  # this bot has no network


def test_frames_of_different_lengths(regressor: Callable[..., Any]) -> None:
    """One model predicts two frames of a backtest, and each gets columns of its own length."""
    frame = make_frame(700)
    freqai = regressor(conv_width=6)
    dk = make_kitchen(freqai.config, frame)
    freqai.model = freqai.train(frame.iloc[:500], PAIR, dk)
    for rows in (150, 90):
        window = frame.iloc[500 : 500 + rows].reset_index(drop=True)
        predictions, do_predict = freqai.predict(window, dk)
        found = dk.get_predictions_to_append(predictions, do_predict, window)
        assert len(found) == rows
        assert found[COVERAGE].notna().sum() > rows - 10


def test_a_bot_stops_and_says_so_once(bot: Callable[..., LiveBot]) -> None:
    """With a limit that anything exceeds, do_predict becomes 0 and one message is sent."""
    live = bot(watch={"warn": 1e-4, "stop": 1e-3})
    sent: list[str] = []
    live.freqai.data_provider = type(
        "Provider", (), {"send_msg": lambda self, text, **how: sent.append(text)}
    )()
    live.train(SECOND)
    for rows in range(560, 575):
        shown = live.new_candle(rows)
    assert shown.iloc[-1]["do_predict"] == 0
    assert len(sent) == 1
    assert "good -> stop" in sent[0]
    assert PAIR in sent[0]
