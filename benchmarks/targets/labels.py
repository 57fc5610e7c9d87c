"""The labels of the exam: thirteen functions of a pair's candles, with formula and horizon.

Notation: O, H, L, C and V are open, high, low, close and volume, rₜ = ln(Cₜ / Cₜ₋₁) is the log
return of candle t. A label with horizon h is known once candle t+h has closed. Labels with horizon
0 describe candles that have closed already: they can be read off the last 20 candles exactly, but
not off the features of the last candle. They show whether a model uses its window.

Every function takes candles in time order without gaps and returns one value per candle; where the
candles do not suffice (at either end, or in a market that does not move) it is NaN, never ±∞.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pandas import DataFrame, Series


DAY = 24  # candles
WINDOW = 20  # candles: labels of the window must fit into conv_width, 24
MAX_HORIZON = DAY
BARRIER = 1.5  # standard deviations


@dataclass(frozen=True)
class Label:
    """One label: its column in the strategy's frame, its horizon in candles, its formula."""

    name: str
    horizon: int
    formula: Callable[[DataFrame], Series]

    @property
    def column(self) -> str:
        return f"&-{self.name}"

    @property
    def title(self) -> str:
        """The first line of the formula's docstring, without its full stop."""
        return str(self.formula.__doc__).partition("\n")[0].rstrip(".")


def mean_return(candles: DataFrame) -> Series:
    """Mean return, next 24 candles.

    mean(Cₜ₊₁ … Cₜ₊₂₄) / Cₜ − 1; horizon 24. The label of freqtrade's own FreqAI example strategy.
    """
    return candles["close"].shift(-DAY).rolling(DAY).mean() / candles["close"] - 1


def log_volatility(candles: DataFrame) -> Series:
    """Log volatility, next 12 candles.

    ln √mean(rₜ₊₁² … rₜ₊₁₂²); horizon 12.
    """
    squares = log_returns(candles) ** 2
    return _log(squares.rolling(12).mean().shift(-12)) / 2


def log_volatility_24(candles: DataFrame) -> Series:
    """Log volatility, next 24 candles.

    ln √mean(rₜ₊₁² … rₜ₊₂₄²); horizon 24.
    """
    squares = log_returns(candles) ** 2
    return _log(squares.rolling(DAY).mean().shift(-DAY)) / 2


def log_range(candles: DataFrame) -> Series:
    """Log range, next 12 candles.

    ln ln(max(Hₜ₊₁ … Hₜ₊₁₂) / min(Lₜ₊₁ … Lₜ₊₁₂)); horizon 12.
    """
    highest, lowest = candles["high"].rolling(12).max(), candles["low"].rolling(12).min()
    return _log(_log(highest / lowest)).shift(-12)


def log_volume(candles: DataFrame) -> Series:
    """Log relative volume, next 6 candles.

    ln(mean(Vₜ₊₁ … Vₜ₊₆) / mean(Vₜ₋₂₃ … Vₜ)); horizon 6.
    """
    volume = candles["volume"]
    return _log(volume.rolling(6).mean().shift(-6)) - _log(volume.rolling(DAY).mean())


def drawdown(candles: DataFrame) -> Series:
    """Largest drawdown, next 24 candles.

    max over t ≤ i ≤ j ≤ t+24 of 1 − Cⱼ / Cᵢ, from 0 to 1; horizon 24.
    """
    paths = _paths(candles["close"], DAY)
    fallen = 1 - paths / np.maximum.accumulate(paths, axis=1)
    return _ending(fallen.max(axis=1), candles, tail=DAY)


def triple_barrier(candles: DataFrame) -> Series:
    """Triple barrier, next 24 candles.

    −1, 0 or 1: the sign of ln(Cₜ₊ₖ / Cₜ) at the first k ≤ 24 where its absolute value reaches
    1.5 · σₜ · √24, 0 where none does; σₜ is the standard deviation of the last 48 returns. Horizon
    24. (López de Prado 2018, Advances in Financial Machine Learning, 3.4.)
    """
    paths = np.log(_paths(candles["close"], DAY))
    moved = paths[:, 1:] - paths[:, :1]
    sigma = log_returns(candles).rolling(48).std().to_numpy()[: len(moved)]
    barrier = BARRIER * sigma * np.sqrt(DAY)
    reached = np.abs(moved) >= barrier[:, None]
    first = moved[np.arange(len(moved)), reached.argmax(axis=1)]
    outcome = np.where(reached.any(axis=1), np.sign(first), 0.0)
    return _ending(np.where(barrier > 0, outcome, np.nan), candles, tail=DAY)


def ma_distance(candles: DataFrame) -> Series:
    """Distance to the average, in 12 candles.

    Cₜ₊₁₂ / mean(Cₜ₋₇ … Cₜ₊₁₂) − 1, the average over 20 candles; horizon 12.
    """
    close = candles["close"]
    return (close / close.rolling(WINDOW).mean() - 1).shift(-12)


def since_high(candles: DataFrame) -> Series:
    """Candles since the 20-candle high.

    The smallest k with Hₜ₋ₖ = max(Hₜ₋₁₉ … Hₜ), from 0 to 19; horizon 0, told by the window alone.
    """
    newest_first = _windows(candles["high"])[:, ::-1]
    return _ending(newest_first.argmax(axis=1).astype(float), candles)


def sign_product(candles: DataFrame) -> Series:
    """Signs of two lagged returns, product.

    sign(rₜ₋₂) · sign(rₜ₋₅), −1, 0 or 1; horizon 0, told by the window alone and by no sum over it.
    """
    signs = pd.Series(np.sign(log_returns(candles)), index=candles.index)
    return signs.shift(2) * signs.shift(5)


def busiest_return(candles: DataFrame) -> Series:
    """Return of the busiest of 20 candles.

    rₛ / σ, in standard deviations, with s the candle of the highest volume (the newest such) among
    the last 20 and σ the root mean square of their returns; horizon 0, told by the window alone.
    """
    returns, volume = _windows(log_returns(candles))[:, ::-1], _windows(candles["volume"])[:, ::-1]
    chosen = returns[np.arange(len(returns)), volume.argmax(axis=1)]
    sigma = np.sqrt(np.mean(returns**2, axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return _ending(np.where(sigma > 0, chosen / sigma, np.nan), candles)


def since_move(candles: DataFrame) -> Series:
    """Candles since the largest move.

    The smallest k with |rₜ₋ₖ| = max(|rₜ₋₁₉| … |rₜ|), from 0 to 19; horizon 0, told by the window
    alone.
    """
    newest_first = np.abs(_windows(log_returns(candles)))[:, ::-1]
    known = np.isfinite(newest_first).all(axis=1)
    found = np.where(known, np.nan_to_num(newest_first).argmax(axis=1).astype(float), np.nan)
    return _ending(found, candles)


def log_fall(candles: DataFrame) -> Series:
    """Largest fall within 20 candles.

    ln(10⁻⁴ + max over t−19 ≤ i ≤ j ≤ t of ln(Cᵢ / Cⱼ)); horizon 0, told by the window alone.
    """
    closes = _windows(_log(candles["close"]))
    fallen = (np.maximum.accumulate(closes, axis=1) - closes).max(axis=1)
    return _ending(np.log(1e-4 + fallen), candles)


LABELS: dict[str, Label] = {
    label.name: label
    for label in (
        Label("mean_return", DAY, mean_return),
        Label("log_volatility", 12, log_volatility),
        Label("log_volatility_24", DAY, log_volatility_24),
        Label("log_range", 12, log_range),
        Label("log_volume", 6, log_volume),
        Label("drawdown", DAY, drawdown),
        Label("triple_barrier", DAY, triple_barrier),
        Label("ma_distance", 12, ma_distance),
        Label("since_high", 0, since_high),
        Label("sign_product", 0, sign_product),
        Label("busiest_return", 0, busiest_return),
        Label("since_move", 0, since_move),
        Label("log_fall", 0, log_fall),
    )
}


def add_labels(candles: DataFrame, names: Sequence[str] = tuple(LABELS)) -> DataFrame:
    """Return the frame with one `&-` column per label.

    :param candles: date, open, high, low, close, volume and any other columns.
    :raises ValueError: a name is not one of `LABELS`.
    """
    unknown = sorted(set(names) - set(LABELS))
    if unknown:
        raise ValueError(f"Unknown labels {unknown}; known are {', '.join(LABELS)}.")
    made = {LABELS[name].column: LABELS[name].formula(candles) for name in names}
    return candles.assign(**made)


def log_returns(candles: DataFrame) -> Series:
    """rₜ = ln(Cₜ / Cₜ₋₁); NaN at the first candle."""
    return _log(candles["close"]).diff()


def _log(values: Series) -> Series:
    return np.log(values.where(values > 0))


def _paths(values: Series, ahead: int) -> NDArray[np.float64]:
    """Row t holds the values of candles t … t+ahead; shape (candles − ahead, ahead + 1)."""
    return sliding_window_view(values.to_numpy("float64"), ahead + 1)


def _windows(values: Series) -> NDArray[np.float64]:
    """Row i holds `WINDOW` values ending at candle i + WINDOW − 1."""
    return sliding_window_view(values.to_numpy("float64"), WINDOW)


def _ending(values: NDArray[np.float64], candles: DataFrame, tail: int = 0) -> Series:
    """Values as a series of the candles: NaN in front, and at the `tail` last candles."""
    padding = (len(candles) - len(values) - tail, tail)
    return pd.Series(np.pad(values, padding, constant_values=np.nan), index=candles.index)
