"""What `rehearse --fault` breaks, and what it reads in the log; the run itself takes long."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from freqai_lstm.market import generate_market
from freqai_lstm.plugins import STRATEGY_FILE, load_plugin
from freqai_lstm.rehearse.fault import SCALE, alarms, break_features, change_regime


PAIR = "BTC/USDT:USDT"


def test_regime_triples_the_returns_from_a_candle_on(tmp_path: Path) -> None:
    """Candles before it are as they were; after it each return and span is three times as large."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    generate_market(tmp_path, [PAIR], start=start, end=start.replace(day=11), timeframes=["1h"])
    (file,) = tmp_path.rglob("*-1h-futures.feather")
    before = pd.read_feather(file)
    change_regime(tmp_path, 40)
    after = pd.read_feather(file)
    split = len(before) - 40
    pd.testing.assert_frame_equal(before.head(split), after.head(split))
    returns, larger = (np.diff(np.log(of["close"].to_numpy()))[-40:] for of in (before, after))
    assert larger == pytest.approx(SCALE * returns)
    spans, wider = (np.log((of["high"] / of["low"]).to_numpy())[-40:] for of in (before, after))
    assert wider == pytest.approx(SCALE * spans)


def test_features_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment on every feature of the written strategy has its last value."""
    (tmp_path / STRATEGY_FILE.name).write_text(STRATEGY_FILE.read_text(encoding="utf-8"))
    (tmp_path / "ScoreStrategy.json").write_text('{"strategy_name": "ScoreStrategy"}')
    dates = pd.date_range("2024-01-01", periods=200, freq="h", tz="UTC")
    break_features(tmp_path, int(dates[150].timestamp()))
    monkeypatch.syspath_prepend(str(tmp_path))
    made = load_plugin(tmp_path / "FaultyStrategy.py").FaultyStrategy
    frame = pd.DataFrame({"date": dates, "%-x": np.arange(200.0)})
    monkeypatch.setattr(
        made.__mro__[1], "feature_engineering_standard", lambda self, dataframe, metadata: dataframe
    )
    found = made.feature_engineering_standard(made.__new__(made), frame, {})
    assert found["%-x"].tolist() == [*range(150), *[149.0] * 50]
    assert "FaultyStrategy" in (tmp_path / "FaultyStrategy.json").read_text()


def test_alarms_are_counted_from_the_fault() -> None:
    """The first warning and stop of each pair count, in candles; earlier ones apart."""
    since = pd.Timestamp("2026-01-01 12:00", tz="UTC").timestamp()
    records = [
        "x - WARNING - BTC/USDT:USDT: alarm good -> warn at 2026-01-01 11:50: the model",
        "x - WARNING - BTC/USDT:USDT: alarm good -> warn at 2026-01-01 12:04: the model",
        "x - WARNING - BTC/USDT:USDT: alarm warn -> stop at 2026-01-01 12:09: the model",
    ]
    found = alarms(records, [PAIR, "ETH/USDT:USDT"], since)
    assert found == {
        PAIR: {"warn": 5, "stop": 10},
        "ETH/USDT:USDT": {"warn": None, "stop": None},
        "before": 1,
    }
