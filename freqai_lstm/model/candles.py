"""The candle channel: open, high, low, close and volume as windows without units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from freqai_lstm.model.windows import Floats


COLUMNS = ["open", "high", "low", "close", "volume"]
CHANNELS = 10  # of unit_free
LIMIT = 6.0  # channels are clipped to this, so that no single candle rules a window
FLAT = 1e-6  # volatility below this is rounding of 32 bit numbers
LEAST_VOLUME = 0.01  # of the window's mean: the logarithm of no volume at all


def candle_rows(frame: pd.DataFrame) -> Floats:
    """Return log prices, relative to the frame's first close, and volume.

    :param frame: candles as the strategy has them.
    :return: array of shape (rows, 5); not finite where a price is missing, zero or below.
    :raises OperationalException: a column is missing.
    """
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise OperationalException(
            f"The candle channel needs the columns {', '.join(COLUMNS)} of the strategy's frame. "
            f"Missing: {', '.join(missing)}. Keep them, or set "
            "freqai.model_training_parameters.candle_channel to false."
        )
    values = _values(frame)
    with np.errstate(divide="ignore", invalid="ignore"):
        values[:, :4] = np.log(values[:, :4])
    closes = values[:, 3]
    known = closes[np.isfinite(closes)]
    # 32 bits hold the small differences of prices only near zero.
    values[:, :4] -= known[0] if len(known) else 0.0
    return values.astype(np.float32)


def summary_names(conv_width: int) -> list[str]:
    """Name the columns of `summaries`."""
    short, whole = _lengths(conv_width)
    moves = [f"log_{what}_{length}" for what in ("return", "range") for length in (short, whole)]
    return [*moves, f"log_volume_{short}"]


def summaries(frame: pd.DataFrame, conv_width: int) -> Floats:
    """Return how much prices moved and how much was traded, over the window and its newest quarter.

    They are what a heterogeneous autoregression knows of a window (HAR, Corsi 2009), for the ridge
    regression; the windows that the network reads are free of just these units.

    :param frame: candles as the strategy has them.
    :return: array of shape (rows, 5): logarithms of the mean absolute return and of the mean
        range (high - low), both over two lengths, and of the volume's newest quarter relative to
        the window's; near zero for hourly candles, 0 where the candles before are not in the frame.
    """
    values = _values(frame)
    # In 64 bits: the small returns of a calm market are differences of large logarithms.
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values[:, :4])
        moves = np.abs(np.diff(logs[:, 3], prepend=np.nan))
        ranges, volume = logs[:, 1] - logs[:, 2], values[:, 4]
        short, whole = _lengths(conv_width)
        columns = [np.log(_means(moves, length) + FLAT) + 6 for length in (short, whole)]
        columns += [np.log(_means(ranges, length) + FLAT) + 5 for length in (short, whole)]
        columns.append(np.log(_means(volume, short) / _means(volume, whole) + LEAST_VOLUME))
    found = np.column_stack(columns)
    return np.where(np.isfinite(found), found, 0.0).astype(np.float32)


def _values(frame: pd.DataFrame) -> NDArray[np.float64]:
    # Column by column, which is faster for the few rows of a live prediction than frame[COLUMNS].
    return np.column_stack([frame[column].to_numpy(dtype=float) for column in COLUMNS])


def _means(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the mean of each row and the rows before it, nan where there are too few."""
    means = np.full(len(values), np.nan)
    if len(values) >= length:
        means[length - 1 :] = sliding_window_view(values, length).mean(axis=1)
    return means


def _lengths(conv_width: int) -> tuple[int, int]:
    whole = max(1, conv_width - 1)  # returns within a window
    return max(1, whole // 4), whole


def unit_free(tf: Any, windows: Any) -> Any:
    """Free windows of the pair's price and volume, the same way for every pair.

    Prices are relative to the window's last close, in units of the window's volatility (its mean
    absolute return, which heavy tails move less than a standard deviation does). Volume is the
    logarithm of its share of the window's mean. What marks a candle within its window stands beside
    them: how far its high is below the window's high, its low above the window's low, and its
    volume below the window's largest, each zero for the one candle that sets the mark; and how long
    ago it was, from -1 to 0.

    :param windows: tensor of shape (windows, conv_width, 5), from `candle_rows`.
    :return: tensor of shape (windows, conv_width, 10), each within ±6: open, high, low, close,
        body (close - open), volume, high under high, low over low, volume under volume, time.
    """
    prices, close, volume = windows[:, :, :4], windows[:, :, 3:4], windows[:, :, 4:]
    high, low = windows[:, :, 1:2], windows[:, :, 2:3]

    def over_window(reduce: Any, values: Any) -> Any:
        return reduce(values, axis=1, keepdims=True)  # (windows, 1, 1)

    returns = close[:, 1:] - close[:, :-1]  # (windows, conv_width - 1, 1)
    volatility = over_window(tf.reduce_mean, tf.abs(returns)) + FLAT

    def log_share(of: Any) -> Any:
        return tf.math.log(tf.math.divide_no_nan(volume, of) + LEAST_VOLUME)

    time = tf.linspace(-1.0, 0.0, tf.shape(windows)[1])[:, None]  # (conv_width, 1)
    channels = [
        (prices - close[:, -1:]) / volatility,
        (close - windows[:, :, :1]) / volatility,
        log_share(over_window(tf.reduce_mean, volume)),
        (high - over_window(tf.reduce_max, high)) / volatility,
        (low - over_window(tf.reduce_min, low)) / volatility,
        log_share(over_window(tf.reduce_max, volume)),
        tf.broadcast_to(time, tf.shape(close)),
    ]
    return tf.clip_by_value(tf.concat(channels, axis=2), -LIMIT, LIMIT)
