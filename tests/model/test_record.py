"""The sample of rows that says whether a saved model still fits: what it sees, what it does not."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import make_config
from pandas import DataFrame

from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.model.record import ChangedSettings, changes, record, refuse, settings_of


ROWS = 400
COLUMNS = ["%-rsi", "%-obv", "&-a"]


def candles(rows: int = ROWS) -> DataFrame:
    """Candles whose close wanders."""
    steps = np.random.default_rng(1).normal(0, 0.01, rows)
    dates = pd.date_range("2024-05-01", periods=rows, freq="h", tz="UTC")
    close = 100 * np.exp(np.cumsum(steps))
    return DataFrame({"date": dates, "close": close, "volume": 1 + np.abs(steps)})


def corrected(rows: int) -> DataFrame:
    """Candles of which the exchange has corrected the one that was the newest."""
    frame = candles(rows)
    frame.loc[ROWS - 1, ["close", "volume"]] *= [1.03, 2.0]
    return frame


def made(frame: DataFrame, period: int = 14, ahead: int = 6, factor: float = 1.0) -> DataFrame:
    """What a strategy makes of candles: an average, a cumulative sum, a label that lies ahead."""
    frame = frame.copy()
    change = frame["close"].pct_change()
    frame["%-rsi"] = factor * change.ewm(period).mean() / change.abs().ewm(period).mean()
    frame["%-obv"] = (np.sign(change) * frame["volume"]).fillna(0).cumsum()
    frame["&-a"] = frame["close"].shift(-ahead) / frame["close"] - 1
    return frame


def settings(**config: Any) -> dict[str, Any]:
    """The settings of a configuration."""
    made_of = make_config(Path(), **config)
    return settings_of(made_of, read_parameters(made_of["freqai"]["model_training_parameters"]))


@pytest.fixture(scope="module")
def then() -> dict[str, Any]:
    """A record, as it comes back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(record(settings(), made(candles()), COLUMNS)))
    return found


@pytest.mark.parametrize(
    "same",
    [
        lambda: made(candles()),
        lambda: made(candles(ROWS + 30)),  # labels that were not known then are known now
        lambda: made(candles().iloc[150:].reset_index(drop=True)),  # averages begin later
        lambda: made(candles()).sample(frac=1, random_state=1).sort_values("date"),
        lambda: made(candles().assign(date=lambda f: f["date"].astype(object))),
        lambda: made(corrected(ROWS + 30)),  # by the exchange, after the training
        lambda: made(candles().iloc[:50]),  # none of the record's candles
    ],
)
def test_what_is_the_same_passes(then: dict[str, Any], same: Callable[[], DataFrame]) -> None:
    """More candles, fewer, later starts and other dtypes are no change."""
    assert changes(then, settings(), same()) == []


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (lambda: made(candles(), period=20), "%-rsi"),  # a Parameter's value, wherever it stands
        (lambda: made(candles(), factor=1.1), "%-rsi"),
        (lambda: made(candles(), ahead=7), "&-a"),
        (lambda: made(candles()).assign(**{"%-obv": 1.0}), "%-obv"),
        (lambda: made(candles().assign(volume=lambda f: f["volume"] ** 200)), "%-obv"),
    ],
)
def test_a_change_is_named(then: dict[str, Any], now: Callable[[], DataFrame], named: str) -> None:
    """The line says which column of which candle, what it was and what it is."""
    (line,) = changes(then, settings(), now())
    place = f"{named} of 2024-05-1"
    assert line.startswith(place)
    assert ":00 was " in line
    assert ", now " in line


def test_values_of_the_line(then: dict[str, Any]) -> None:
    """The values of then and of now are those of the named candle."""
    frame = made(candles())
    was = frame["%-rsi"].copy()
    frame["%-rsi"] = was.where(was.index != 395, was + 5)
    now = frame["%-rsi"]
    (line,) = changes(then, settings(), frame)
    assert f"of 2024-05-17 11:00 was {was[395]:.6g}, now {now[395]:.6g}" in line


def test_missing_columns_and_values(then: dict[str, Any]) -> None:
    """A feature that is gone, or missing where it was there, is a change."""
    gone = made(candles()).drop(columns="%-rsi")
    assert changes(then, settings(), gone) == ["%-rsi is not there any more"]
    empty = made(candles()).assign(**{"%-rsi": np.nan})
    (line,) = changes(then, settings(), empty)
    assert "%-rsi is missing where it was there" in line


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"conv_width": 8}, "freqai.conv_width: 6 -> 8"),
        ({"features": {"DI_threshold": 1}}, "DI_threshold: 0 -> 1"),
        ({"training": {"seed": 2}}, "model_training_parameters.seed: 1 -> 2"),
        ({"training": {"device": "cpu"}}, ""),
        ({"training": {"history_pairs": "all"}}, ""),
        ({"purge_old_models": 5}, ""),
        ({"features": {"DI_threshold": 0}}, ""),
    ],
)
def test_settings(then: dict[str, Any], config: dict[str, Any], named: str) -> None:
    """Settings that change predictions are named with both values, others are none."""
    found = changes(then, settings(**config), made(candles()))
    assert [named in line for line in found] == ([True] if named else [])


def test_refusing(caplog: pytest.LogCaptureFixture) -> None:
    """What changed is refused with a way out, or warned of where the user allows it."""
    caplog.set_level(logging.WARNING)
    refuse("model", [], allow_changes=False)
    with pytest.raises(ChangedSettings) as caught:
        refuse("model", [f"change {n}" for n in range(20)], allow_changes=False)
    for part in ("change 0", "and 8 more", "new freqai.identifier", "allow_changed_fingerprint"):
        assert part in str(caught.value)
    assert not caplog.records
    refuse("model", ["change"], allow_changes=True)
    assert "change" in caplog.text
