"""Which rows are complete windows: the quick code against the definition, spelled out."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freqai_lstm.model.windows import candle_numbers, window_ends


HOUR = 3600
thorough = settings(derandomize=True, deadline=None, database=None, max_examples=300)

# Steps from one row to the next, in candles: mostly 1; 0 is a duplicate, more a gap.
steps = st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 0, 2, 5]), max_size=40)
widths = st.integers(2, 7)
mostly = st.sampled_from([True, True, True, True, True, False])


def complete(candles: np.ndarray, valid: np.ndarray, width: int, row: int) -> bool:
    """Definition: the window is there, each candle follows the one before, and all are valid."""
    rows = range(row - width + 1, row + 1)
    return (
        rows[0] >= 0
        and all(valid[r] for r in rows)
        and all(candles[r] - candles[r - 1] == 1 for r in rows[1:])
    )


@thorough
@given(steps=steps, width=widths, data=st.data())
def test_window_ends(steps: list[int], width: int, data: st.DataObject) -> None:
    """Windows end exactly where `conv_width` consecutive valid candles do."""
    candles = np.cumsum(np.array([100, *steps], dtype=np.int64))
    valid = np.array(data.draw(st.lists(mostly, min_size=len(candles), max_size=len(candles))))
    ends = window_ends(candles, valid, width)
    expected = [r for r in range(len(candles)) if complete(candles, valid, width, r)]
    assert ends.tolist() == expected
    assert ends.dtype == np.int64


def test_rows_out_of_order() -> None:
    """Rows that jump back and forth make no window, even where first and last would fit."""
    candles = np.array([1, 3, 2, 4, 5, 6])
    assert window_ends(candles, np.ones(6, dtype=bool), 4).tolist() == []
    assert window_ends(candles, np.ones(6, dtype=bool), 3).tolist() == [5]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_fewer_rows_than_conv_width(rows: int) -> None:
    """A frame shorter than one window has none."""
    ends = window_ends(np.arange(rows), np.ones(rows, dtype=bool), 4)
    assert ends.shape == (0,)


def test_exactly_conv_width_rows() -> None:
    """A live call brings exactly one window, and it ends at the last row."""
    assert window_ends(np.arange(4), np.ones(4, dtype=bool), 4).tolist() == [3]


@thorough
@given(
    hours=st.lists(st.integers(0, 500_000), min_size=1, max_size=20, unique=True).map(sorted),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    as_object=st.booleans(),
)
def test_candle_numbers(
    hours: list[int], unit: Literal["s", "ms", "us", "ns"], as_object: bool
) -> None:
    """Numbers count candles since 1970 whatever the resolution and the dtype of the dates."""
    stamps = pd.to_datetime(pd.Series(hours) * HOUR, unit="s", utc=True).dt.as_unit(unit)
    dates = stamps.astype(object) if as_object else stamps
    assert candle_numbers(dates, HOUR).tolist() == hours
    assert candle_numbers(dates, HOUR).dtype == np.int64


def test_dates_of_mixed_kind() -> None:
    """A column of dtype object with several resolutions and time zones counts right."""
    start = datetime(2024, 3, 1, tzinfo=UTC)
    dates = pd.Series(
        [
            start,
            pd.Timestamp(start + timedelta(hours=1)).as_unit("ns"),
            pd.Timestamp("2024-03-01 03:00", tz="Europe/Berlin").as_unit("ms"),
            pd.Timestamp("2024-02-29 22:00", tz="America/New_York").as_unit("s"),
        ],
        dtype=object,
    )
    assert np.diff(candle_numbers(dates, HOUR)).tolist() == [1, 1, 1]


def test_dates_without_a_time_zone() -> None:
    """Dates without a zone are UTC, and the index of the series does not matter."""
    naive = pd.Series(pd.date_range("2024-03-01", periods=5, freq="5min"), index=[9, 7, 5, 3, 1])
    aware = naive.dt.tz_localize("UTC")
    assert (candle_numbers(naive, 300) == candle_numbers(aware, 300)).all()
    assert np.diff(candle_numbers(naive, 300)).tolist() == [1] * 4
