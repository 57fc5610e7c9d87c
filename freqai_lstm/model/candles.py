"""The candle channel: open, high, low, close and volume as windows without units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray

from freqai_lstm.model.windows import Floats


COLUMNS = ["open", "high", "low", "close", "volume"]
CHANNELS = 13  # of unit_free
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
    values = candle_values(frame)
    with np.errstate(divide="ignore", invalid="ignore"):
        values[:, :4] = np.log(values[:, :4])
    closes = values[:, 3]
    known = closes[np.isfinite(closes)]
    # 32 bits hold the small differences of prices only near zero.
    values[:, :4] -= known[0] if len(known) else 0.0
    return values.astype(np.float32)


def candle_values(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return the candles as an array of shape (rows, 5), in the order of `COLUMNS`."""
    # Column by column, which is faster for the few rows of a live prediction than frame[COLUMNS].
    return np.column_stack([frame[column].to_numpy(dtype=float) for column in COLUMNS])


def unit_free(tf: Any, windows: Any) -> Any:
    """Free windows of the pair's price and volume, the same way for every pair.

    Prices are relative to the window's last close, in units of the window's volatility (its mean
    absolute return, which heavy tails move less than a standard deviation does). Volume is the
    logarithm of its share of the window's mean. What marks a candle within its window stands beside
    them: how far its high is below the window's high, its low above the window's low, and its
    volume below the window's largest, each zero for the one candle that sets the mark; the same
    against the candle itself and the later ones, zero where none has passed it since; and how long
    ago it was, from -1 to 0.

    :param windows: tensor of shape (windows, conv_width, 5), from `candle_rows`.
    :return: tensor of shape (windows, conv_width, 13), each within ±6: open, high, low, close,
        body (close - open), volume; high under high, low over low, volume under volume, of the
        window and of the candles since; time.
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
        (high - _since(tf, tf.maximum, high)) / volatility,
        (low - _since(tf, tf.minimum, low)) / volatility,
        log_share(_since(tf, tf.maximum, volume)),
        tf.broadcast_to(time, tf.shape(close)),
    ]
    return tf.clip_by_value(tf.concat(channels, axis=2), -LIMIT, LIMIT)


def _since(tf: Any, extreme: Any, values: Any) -> Any:
    """Return the extreme of each candle and the later ones of its window.

    :param extreme: `tf.maximum` or `tf.minimum`.
    :param values: tensor of shape (windows, conv_width, 1), as is the result.
    """
    width, reached = int(values.shape[1]), 1
    while reached < width:  # so many candles are looked at already; each turn doubles them
        values = tf.concat(
            [extreme(values[:, :-reached], values[:, reached:]), values[:, -reached:]], axis=1
        )
        reached *= 2
    return values
