"""What is read of candles: channels without units, summaries, calendar, never the future."""

import numpy as np
import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException
from pandas import DataFrame

from freqai_lstm.model.windows import (
    COLUMNS,
    LENGTHS,
    LIMIT,
    SUMMARIES,
    CandleInputs,
    calendar,
    memory,
)


HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
ROWS, WIDTH = 600, 12
LEVELS = 5  # the channels that come first


def candles(rows: int = ROWS, seed: int = 1) -> DataFrame:
    """A seeded market of hourly candles."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    frame = DataFrame({"date": pd.date_range("2024-03-01", periods=rows, freq="h", tz="UTC")})
    frame["open"] = np.append(close[:1], close[:-1])
    frame["high"] = np.maximum(frame["open"], close) * (1 + rng.uniform(0, 0.01, rows))
    frame["low"] = np.minimum(frame["open"], close) * (1 - rng.uniform(0, 0.01, rows))
    return frame.assign(close=close, volume=rng.lognormal(size=rows))


def test_a_row_knows_no_later_candle() -> None:
    """Cut off or changed later candles leave all that is read of earlier ones as it was."""
    frame = candles()
    changed = frame.copy()
    changed.loc[400:, COLUMNS] *= 3
    whole, cut, other = (CandleInputs.of(f, HOUR) for f in (frame, frame[:400], changed))
    for name in ("numbers", "valid", "levels", "logs", "columns"):
        for inputs in (cut, other):
            np.testing.assert_array_equal(getattr(whole, name)[:400], getattr(inputs, name)[:400])


def test_the_memory_is_enough() -> None:
    """With so many candles before it a row is read as with all of them: live as in a backtest."""
    frame = candles()
    whole, few = CandleInputs.of(frame, HOUR), CandleInputs.of(frame.tail(memory(WIDTH)), HOUR)
    np.testing.assert_allclose(few.columns[-1], whole.columns[-1], rtol=1e-5, atol=1e-6)
    ends = np.array([ROWS - 1]), np.array([len(few.numbers) - 1])
    windows = [i.windows(e, WIDTH) for i, e in zip((whole, few), ends, strict=True)]
    np.testing.assert_allclose(windows[1], windows[0], rtol=1e-5, atol=1e-6)


def test_units_do_not_matter() -> None:
    """Prices and volumes in other units give the same channels and columns."""
    frame = candles()
    other = frame.assign(**{name: frame[name] * 1e4 for name in COLUMNS[:4]})
    other["volume"] *= 1e-3
    first, second = CandleInputs.of(frame, HOUR), CandleInputs.of(other, HOUR)
    ends = np.arange(300, ROWS)
    np.testing.assert_allclose(second.columns[200:], first.columns[200:], atol=1e-4)
    np.testing.assert_allclose(second.windows(ends, WIDTH), first.windows(ends, WIDTH), atol=1e-4)


def test_channels_of_a_window() -> None:
    """Prices stand in mean moves from the window's last close; volume as a ratio to the largest."""
    frame = candles()
    inputs, end = CandleInputs.of(frame, HOUR), 500
    (window,) = inputs.windows(np.array([end]), WIDTH)
    assert window.shape == (WIDTH, LEVELS + 6)
    rows = frame.iloc[end - WIDTH + 1 : end + 1]
    close = np.log(rows["close"].to_numpy())
    unit = np.abs(np.diff(close)).mean()
    for channel, name in enumerate(COLUMNS[:4]):
        expected = ((np.log(rows[name]) - close[-1]) / unit).clip(-LIMIT, LIMIT)
        np.testing.assert_allclose(window[:, LEVELS + channel], expected, rtol=1e-3, atol=1e-3)
    volume = rows["volume"].to_numpy()
    np.testing.assert_allclose(window[:, -1], np.log(volume / volume.max() + 0.01), rtol=1e-5)
    assert window[-1, LEVELS + 3] == 0


def test_summaries_are_means_over_lengths() -> None:
    """Each is the logarithm of a mean move, range or volume ratio, or a return, over a length."""
    frame = candles()
    found = CandleInputs.of(frame, HOUR).columns[-1, :SUMMARIES]
    returns, ranges, volumes, moved_by = np.split(found, [5, 10, 14])
    moves = np.log(frame["close"]).diff().abs()
    spans = np.log(frame["high"]) - np.log(frame["low"])
    for place, length in enumerate(LENGTHS):
        expected = np.log(moves.tail(length).mean() + 1e-6)
        assert returns[place] == pytest.approx(expected, rel=1e-4)
        expected = np.log(spans.tail(length).mean() + 1e-6)
        assert ranges[place] == pytest.approx(expected, rel=1e-4)
        moved = np.log(frame["close"].iloc[-1] / frame["close"].iloc[-1 - length])
        unit = (moves.tail(24).mean() + 1e-6) * np.sqrt(length)
        assert moved_by[place] == pytest.approx(np.clip(moved / unit, -8, 8), rel=1e-3)
    ratio = frame["volume"].tail(6).mean() / frame["volume"].tail(24).mean()
    assert volumes[1] == pytest.approx(np.log(ratio + 0.01), rel=1e-4)


@pytest.mark.parametrize("column", ["open", "close"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_impossible_prices(column: str, value: float) -> None:
    """A candle without a price is not valid; nothing that is read of the others is infinite."""
    frame = candles()
    frame.loc[300, column] = value
    inputs = CandleInputs.of(frame, HOUR)
    assert np.flatnonzero(~inputs.valid).tolist() == [300]
    for values in (inputs.columns, inputs.levels, inputs.logs):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("still", ["price", "volume", "both"])
def test_a_market_that_stands_still(still: str) -> None:
    """Without moves, or without volume, all is finite and bounded."""
    frame = candles()
    if still != "volume":
        frame[COLUMNS[:4]] = 100.0
    if still != "price":
        frame["volume"] = 0.0
    inputs = CandleInputs.of(frame, HOUR)
    windows = inputs.windows(np.arange(WIDTH, ROWS), WIDTH)
    assert inputs.valid.all()
    assert np.abs(windows).max() < 20
    assert np.abs(inputs.columns).max() < 20


def test_missing_column() -> None:
    """A strategy that drops a candle's column is told which."""
    with pytest.raises(OperationalException, match="volume"):
        CandleInputs.of(candles().drop(columns="volume"), HOUR)


def test_calendar_repeats_itself() -> None:
    """Each hour of a week has its own place, and the same one in the next week."""
    found = calendar(np.arange(14 * 24), HOUR)
    assert np.abs(found).max() <= 1
    np.testing.assert_allclose(found[: 7 * 24], found[7 * 24 :], atol=1e-6)
    assert len(np.unique(found[: 7 * 24].round(5), axis=0)) == 7 * 24


@pytest.mark.parametrize(
    ("seconds", "columns"), [(60, 36), (HOUR, 36), (4 * HOUR, 34), (DAY, 6), (WEEK, 0)]
)
def test_calendar_of_a_timeframe(seconds: int, columns: int) -> None:
    """Cycles that a timeframe cannot show are left out; the others differ from each other."""
    found = calendar(np.arange(50), seconds)
    assert found.shape == (50, columns)
    assert len({column.tobytes() for column in found.T}) == columns
