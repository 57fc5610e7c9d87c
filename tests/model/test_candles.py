"""The candle channel: windows without units, the same for every pair."""

import numpy as np
import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException
from hypothesis import given, settings
from hypothesis import strategies as st

from freqai_lstm.model.candles import (
    CHANNELS,
    LIMIT,
    candle_rows,
    unit_free,
)
from freqai_lstm.model.devices import load_tensorflow


def candles(rows: int = 30, seed: int = 1, price: float = 100.0) -> pd.DataFrame:
    """A seeded random walk with shadows and volume."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    open_ = np.concatenate([[price], close[:-1]])
    high = np.maximum(open_, close) * (1 + rng.uniform(0, 0.01, rows))
    low = np.minimum(open_, close) * (1 - rng.uniform(0, 0.01, rows))
    volume = rng.uniform(1, 3, rows)
    return pd.DataFrame({"open": open_, "high": high, "low": low, "close": close, "volume": volume})


def channels(frame: pd.DataFrame) -> np.ndarray:
    """One window of the whole frame, of shape (rows, channels)."""
    tf, _ = load_tensorflow()
    return unit_free(tf, tf.constant(candle_rows(frame)[None])).numpy()[0]


@given(price=st.floats(1e-6, 1e6), unit=st.floats(1e-3, 1e3), volume=st.floats(1e-3, 1e6))
@settings(max_examples=25, deadline=None)
def test_no_unit_is_left(price: float, unit: float, volume: float) -> None:
    """Prices and volumes in other units give the same channels."""
    frame = candles(price=price)
    other = frame * unit
    other["volume"] = frame["volume"] * volume
    np.testing.assert_allclose(channels(other), channels(frame), atol=2e-3)


def test_channels_equal_an_independent_calculation() -> None:
    """Each channel by its definition, with pandas.

    Prices are from the last close in mean absolute returns, the body likewise, volume from its
    mean; high, low and volume also from the largest or smallest of the window, and of the candles
    since; time from -1 to 0.
    """
    frame = candles()
    log = frame[["open", "high", "low", "close"]].apply(np.log)
    volatility = log["close"].diff().abs().mean()
    expected = ((log - log["close"].iloc[-1]) / volatility).to_numpy()
    body = ((log["close"] - log["open"]) / volatility).to_numpy()
    volume = np.log(frame["volume"] / frame["volume"].mean() + 0.01).to_numpy()
    marks = [
        (log["high"] - log["high"].max()) / volatility,
        (log["low"] - log["low"].min()) / volatility,
        np.log(frame["volume"] / frame["volume"].max() + 0.01),
        (log["high"] - log["high"][::-1].cummax()) / volatility,
        (log["low"] - log["low"][::-1].cummin()) / volatility,
        np.log(frame["volume"] / frame["volume"][::-1].cummax() + 0.01),
        np.linspace(-1, 0, 30),
    ]
    expected = np.column_stack([expected, body, volume, *marks]).clip(-LIMIT, LIMIT)
    found = channels(frame)
    assert found.shape == (30, CHANNELS)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    for channel, best in ((6, frame["high"].idxmax()), (7, frame["low"].idxmin())):
        assert (found[:, channel] == 0).nonzero()[0].tolist() == [best]
    unpassed = [row for row in range(30) if frame["high"][row] == frame["high"][row:].max()]
    assert (found[:, 9] == 0).nonzero()[0].tolist() == unpassed


def test_flat_market_and_no_volume() -> None:
    """A market that stands still gives finite channels within the limit."""
    flat = candles()
    flat[["open", "high", "low", "close"]] = 100.0
    flat["volume"] = 0.0
    found = channels(flat)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= LIMIT
    assert not found[:, [0, 1, 2, 3, 4, 6, 7, 9, 10]].any()


def test_one_wild_candle_is_clipped() -> None:
    """A price a thousand times as high stays within the limit."""
    frame = candles()
    frame["high"] = frame["high"].where(frame.index != 10, 1000 * frame["high"])
    assert np.abs(channels(frame)).max() <= LIMIT


@pytest.mark.parametrize("price", [0.0, -1.0, np.nan])
def test_impossible_prices_are_not_finite(price: float) -> None:
    """A missing price, or one of zero or below, marks its row."""
    frame = candles()
    frame.loc[5, "low"] = price
    finite = np.isfinite(candle_rows(frame)).all(axis=1)
    assert finite.tolist() == [row != 5 for row in range(30)]


def test_missing_column_names_the_remedy() -> None:
    """A strategy that drops a column is told which, and what to set."""
    with pytest.raises(OperationalException, match=r"volume.*candle_channel"):
        candle_rows(candles().drop(columns="volume"))
