"""How close the risk of a book is to what was expected, and whether two books differ in it.

All figures but the drawdown have an interval: weeks are drawn with replacement, the same weeks for
every book, since positions of one week share its market.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from benchmarks.risk.backtests import OURS, Book
from benchmarks.risk.forecasts import RISK, YEAR
from freqai_lstm.evaluate.intervals import block_counts, compare_skills, drawn_sums, interval
from freqai_lstm.evaluate.sharpe import DAYS_A_YEAR, deflated_sharpe, drawn_sharpes, sharpe


Draws = dict[str, NDArray[np.float64]]
AVERSIONS = (1, 10)  # Fleming, Kirby and Ostdiek
RATIO, AVERSION = 0.4, 2  # Bollerslev, Hood, Huss and Pedersen
WORST = 0.05  # share of days
BASIS_POINTS = 1e4


def measure(books: Mapping[str, Book]) -> dict[str, Any]:
    """Figures of all books, and the difference of ours to each other.

    :param books: of the same days, OURS among them.
    :return: `books`: name → figure → value, of `sharpe` with its 95 % interval; `differences`:
        name → figure → value, low, high and word, for ours less it.
    """
    drawn = {name: draws(of) for name, of in books.items()}
    returns = DataFrame({name: of.daily["returns"] for name, of in books.items()})
    tried = [sharpe(returns[name].to_numpy()) for name in returns]
    figures = {
        name: {figure: float(values[0]) for figure, values in drawn[name].items()}
        | {
            "sharpe": interval(drawn[name]["sharpe"]),
            "volatility": float(np.sqrt(YEAR * (of.hourly**2).mean())),
            "drawdown": of.drawdown,
            "trades": len(of.stops),
            "deflated": deflated_sharpe(returns[name].to_numpy(), tried),
        }
        for name, of in books.items()
    }
    differences = {
        name: {
            figure: difference(drawn[OURS][figure], values)
            for figure, values in drawn[name].items()
        }
        | {
            f"utility_{aversion}": compare_skills(utility_gain(returns, name, aversion), np.inf)
            for aversion in AVERSIONS
        }
        for name in books
        if name != OURS
    }
    return {"books": figures, "differences": differences}


def difference(ours: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """Ours less the other with its interval, and a word for whether the interval excludes 0."""
    return compare_skills(np.column_stack([ours, other]), np.inf)


def draws(book: Book) -> Draws:
    """Every figure on the range (position 0) and on each draw of its weeks.

    :return: name → shape (1 + draws,). `turnover` in wallets a year, `shortfall` in percent,
        `constant_ratio` in basis points a year.
    """
    days = book.daily.index.to_series()
    index, counts = block_counts(days)
    first = days.iloc[0]

    def sums(dates: Series, *columns: Any) -> NDArray[np.float64]:
        rows = index[(dates.dt.floor("D") - first).dt.days.to_numpy()]
        return drawn_sums(np.column_stack(np.broadcast_arrays(1.0, *columns)), rows, counts).T

    ratio = book.positions["ratio"].to_numpy()
    size, log, logs, total, squares = sums(
        book.positions["date"], np.log(ratio), np.log(ratio) ** 2, ratio, ratio**2
    )
    trades, r, rs = sums(book.stops["date"], book.stops["r"], book.stops["r"] ** 2)
    every, returned, traded = sums(days, book.daily["returns"], book.daily["turnover"])
    gain = RATIO**2 / AVERSION * BASIS_POINTS
    weeks = pd.Timedelta(days=7) * ((book.hourly.index - first) // pd.Timedelta(days=7)) + first
    months = pd.DatetimeIndex(book.hourly.index).strftime("%Y-%m-01")
    return {
        "position_error": np.sqrt(logs / size - (log / size) ** 2),
        "position_ratio": np.sqrt(squares / size),
        "month_error": _target_error(book.hourly.groupby(months)),
        "week_error": _target_error(book.hourly.groupby(weeks)),
        "spread_r": np.sqrt(rs / trades - (r / trades) ** 2),
        "shortfall": 100 * _shortfall(book.daily["returns"].to_numpy(), counts[:, index]),
        "turnover": DAYS_A_YEAR * traded / every,
        "profit": 100 * DAYS_A_YEAR * returned / every,
        "sharpe": drawn_sharpes(book.daily[["returns"]])[:, 0],
        "constant_ratio": gain * (total - squares / 2) / size,
    }


def utility_gain(returns: DataFrame, other: str, aversion: float) -> NDArray[np.float64]:
    """What an investor would pay for ours instead of another book, in basis points a year.

    He has the utility G - a G² of a day's gross return G, a = aversion / (2 (1 + aversion)), and
    pays d a day: the means of the utility of G - d of ours and of G of the other are equal.
    (Fleming, Kirby and Ostdiek, "The economic value of volatility timing", 2001.)

    :return: shape (1 + draws, 2): the gain, and 0.
    """
    a = aversion / (2 * (1 + aversion))
    gross = 1 + returns[[OURS, other]].to_numpy()
    index, counts = block_counts(returns.index.to_series())
    size, ours, other_mean, ours_square, other_square = drawn_sums(
        np.column_stack([np.ones(len(gross)), gross, gross**2]), index, counts
    ).T
    mean = ours / size
    more = (ours - other_mean - a * (ours_square - other_square)) / size
    slope = 1 - 2 * a * mean  # more = slope d + a d²
    paid = (np.sqrt(slope**2 + 4 * a * more) - slope) / (2 * a)
    gain = DAYS_A_YEAR * BASIS_POINTS * paid
    return np.column_stack([gain, np.zeros_like(gain)])


def _target_error(hours: Any) -> NDArray[np.float64]:
    """Root mean square of ln(realised ÷ TARGET) of periods, which are the blocks that are drawn."""
    volatility = np.sqrt(YEAR * hours.apply(lambda of: (of**2).mean()))
    errors = np.log(volatility / RISK.TARGET) ** 2
    index, counts = block_counts(pd.to_datetime(volatility.index, utc=True).to_series())
    total, size = drawn_sums(np.column_stack([errors, np.ones(len(errors))]), index, counts).T
    return np.sqrt(total / size)


def _shortfall(returns: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean loss of the worst days, in every draw.

    :param counts: how often a draw takes each day, shape (1 + draws, days).
    """
    order = np.argsort(returns)
    taken = counts[:, order]
    tail = WORST * taken.sum(axis=1, keepdims=True)
    used = np.clip(tail - (taken.cumsum(axis=1) - taken), 0, taken)
    return -(used @ returns[order]) / tail[:, 0]
