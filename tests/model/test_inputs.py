"""The network's inputs: scaled features, the calendar, and the candles of the same rows."""

import numpy as np
import pandas as pd
import pytest
from small import WIDTH
from test_candles import candles

from freqai_lstm.model.calendar import calendar, calendar_names, product_names, products
from freqai_lstm.model.inputs import InputMaker


HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400


def frame(rows: int = 30) -> pd.DataFrame:
    """Hourly candles with their dates."""
    dates = pd.date_range("2024-03-01", periods=rows, freq="h", tz="UTC")
    return candles(rows).assign(date=dates)


def test_calendar_repeats_itself() -> None:
    """The same hour of another week is the same place in both cycles."""
    numbers = np.arange(14 * 24)
    found = calendar(numbers, HOUR)
    assert found.shape == (14 * 24, 12)
    assert np.abs(found).max() == pytest.approx(0.5)
    np.testing.assert_allclose(found[: 7 * 24], found[7 * 24 :], atol=1e-6)
    np.testing.assert_allclose(found[:24, :6], found[24:48, :6], atol=1e-6)
    assert len(np.unique(found[: 7 * 24].round(6), axis=0)) == 7 * 24


@pytest.mark.parametrize(
    ("seconds", "columns"), [(60, 12), (HOUR, 12), (4 * HOUR, 10), (DAY, 6), (WEEK, 0)]
)
def test_calendar_of_a_timeframe(seconds: int, columns: int) -> None:
    """Cycles that a timeframe cannot show are left out; names and columns agree."""
    assert calendar(np.arange(50), seconds).shape == (50, columns)
    assert len(calendar_names(seconds)) == columns
    assert len(set(calendar_names(seconds))) == columns


@pytest.mark.parametrize(
    ("seconds", "columns"), [(60, 24), (HOUR, 24), (4 * HOUR, 24), (DAY, 0), (WEEK, 0)]
)
def test_products_of_day_and_week(seconds: int, columns: int) -> None:
    """Each is the product of the two waves that its name says; none where there is no day."""
    names, waves = calendar_names(seconds), calendar(np.arange(50), seconds)
    found = products(waves, seconds)
    assert found.shape == (50, columns)
    assert len(set(product_names(seconds))) == columns
    for column, name in zip(found.T, product_names(seconds), strict=True):
        day, week = (waves[:, names.index(wave)] for wave in name.split())
        np.testing.assert_allclose(column, 2 * day * week, atol=1e-6)


def test_rows_find_their_candle() -> None:
    """Rows that outlier steps have left keep the candles and the calendar of their own time."""
    whole = frame()
    maker = InputMaker(whole, HOUR, WIDTH, candle_channel=True, with_calendar=True)
    features = np.arange(30.0)[:, None]
    every, valid = maker(features, maker.candles)
    kept = np.array([0, 3, 4, 29])
    some, _ = maker(features[kept], maker.candles[kept])
    assert valid.all()
    np.testing.assert_array_equal(some.features, every.features[kept])
    np.testing.assert_array_equal(some.candles, every.candles[kept])
    assert every.features.shape == (30, len(maker.names(["a"])))


def test_a_candle_that_the_frame_lacks_is_an_error() -> None:
    """Rows of a candle between, or after, those of the frame are not taken from another candle."""
    maker = InputMaker(frame(), HOUR, WIDTH, candle_channel=True, with_calendar=True)
    for wrong in (maker.candles + 1, maker.candles - 1):
        with pytest.raises(ValueError, match="candles"):
            maker(np.zeros((30, 1)), wrong)


def test_impossible_price_is_no_valid_row() -> None:
    """The row is marked, and what the network is given instead is finite."""
    whole = frame()
    whole.loc[7, "open"] = 0.0
    maker = InputMaker(whole, HOUR, WIDTH, candle_channel=True, with_calendar=True)
    found, valid = maker(np.zeros((30, 1)), maker.candles)
    assert np.flatnonzero(~valid).tolist() == [7]
    assert np.isfinite(found.candles).all()


def test_both_can_be_switched_off() -> None:
    """Without calendar the features are alone; without candle channel no price is looked at."""
    whole = frame()[["date"]]
    maker = InputMaker(whole, HOUR, WIDTH, candle_channel=False, with_calendar=False)
    found, valid = maker(np.ones((30, 2)), maker.candles)
    assert found.features.tolist() == np.ones((30, 2)).tolist()
    assert valid.all()
    assert maker.names(["a", "b"]) == ["a", "b"]
