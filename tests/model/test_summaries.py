"""Summaries of the candles: moves, directions and volume over several lengths of time."""

import numpy as np
import pandas as pd
import pytest

from freqai_lstm.model.candles import FLAT, LEAST_VOLUME
from freqai_lstm.model.summaries import memory, summaries, summary_names


WIDTH = 13


def candles(rows: int = 60, seed: int = 1) -> pd.DataFrame:
    """A seeded random walk with shadows and volume."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    open_ = np.concatenate([[100], close[:-1]])
    high = np.maximum(open_, close) * (1 + rng.uniform(0, 0.01, rows))
    low = np.minimum(open_, close) * (1 - rng.uniform(0, 0.01, rows))
    volume = rng.uniform(1, 3, rows)
    return pd.DataFrame({"open": open_, "high": high, "low": low, "close": close, "volume": volume})


def test_summaries_equal_an_independent_calculation() -> None:
    """Each column by its definition, with pandas: newest candle, quarter, window, three windows."""
    frame = candles()
    logs = np.log(frame)
    moves, ranges = logs["close"].diff().abs(), logs["high"] - logs["low"]
    volume, unit = frame["volume"], moves.rolling(12).mean() + FLAT

    def share(short: int, long: int) -> pd.Series:
        return np.log(volume.rolling(short).mean() / volume.rolling(long).mean() + LEAST_VOLUME)

    expected = {
        **{f"log_return_{n}": np.log(moves.rolling(n).mean() + FLAT) + 6 for n in (1, 3, 12, 39)},
        **{f"log_range_{n}": np.log(ranges.rolling(n).mean() + FLAT) + 5 for n in (1, 3, 12, 39)},
        "log_volume_1_12": share(1, 12),
        "log_volume_3_12": share(3, 12),
        "log_volume_12_39": share(12, 39),
        **{f"return_{n}": logs["close"].diff(n) / unit / np.sqrt(n) / 3 for n in (1, 3, 12)},
    }
    assert summary_names(WIDTH) == list(expected)
    assert memory(WIDTH) == 39
    found = summaries(frame, WIDTH)
    np.testing.assert_allclose(found[40:], 2 * pd.DataFrame(expected)[40:], atol=1e-5)


def test_no_more_than_the_memory_is_looked_at() -> None:
    """The newest row is the same with nothing before the memory and its first return."""
    frame = candles()
    last = frame.tail(memory(WIDTH) + 1)
    found, whole = summaries(last, WIDTH)[-1], summaries(frame, WIDTH)[-1]
    np.testing.assert_allclose(found, whole, atol=1e-6)


def test_a_short_past_counts_as_far_as_it_goes() -> None:
    """With a window and no more, the memory is that window; within it nothing changes."""
    frame, names = candles(), summary_names(WIDTH)
    whole, short = summaries(frame, WIDTH)[-1], summaries(frame.tail(WIDTH), WIDTH)[-1]
    beyond = [name.endswith("39") for name in names]
    np.testing.assert_allclose(short[np.invert(beyond)], whole[np.invert(beyond)], atol=1e-6)
    move = np.log(frame["close"].tail(WIDTH)).diff().abs().mean()
    assert short[names.index("log_return_39")] == pytest.approx(
        2 * (np.log(move + FLAT) + 6), abs=1e-5
    )


def test_an_impossible_price_is_left_out() -> None:
    """A price of zero within the memory leaves finite summaries, made from the others."""
    frame = candles()
    frame.loc[30, ["open", "high", "low", "close"]] = 0.0
    found = summaries(frame, WIDTH)
    assert np.isfinite(found).all()
    others = summaries(candles(), WIDTH)
    assert np.abs(found[-1] - others[-1]).max() < 0.2


@pytest.mark.parametrize("volume", [0.0, 1.0])
def test_a_market_that_stands_still(volume: float) -> None:
    """No move, and no volume either: finite summaries."""
    frame = candles()
    frame[["open", "high", "low", "close"]] = 100.0
    frame["volume"] = volume
    assert np.isfinite(summaries(frame, WIDTH)).all()


def test_the_shortest_windows() -> None:
    """With two candles a window its lengths fall together, and each stands once."""
    frame = candles()
    assert summaries(frame, 2).shape == (60, len(summary_names(2)))
    assert len(set(summary_names(2))) == len(summary_names(2))
