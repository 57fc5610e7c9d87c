"""How steady the risk of a backtest's trades is, and whether two backtests differ in it.

Every figure but the drawdown follows from sums over days, so it has an interval from resampled
weeks, the same weeks for every backtest: trades of one week share its market.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.range.backtests import Backtest, Exam
from freqai_lstm.evaluate.intervals import block_counts, drawn_sums, interval


DAYS_A_YEAR = 365


def measure(exam: Exam, forecast: Sequence[Backtest], atr: Backtest) -> dict[str, Any]:
    """Figures of both strategies, and the difference of the forecast to ATR.

    :param forecast: one backtest per seed. Their figures are averaged, draw by draw.
    :return: `forecast` and `atr`: figure → value, low, high (95 % interval), and `trades` and
        `drawdown` without; `by_seed` the values of each seed; `difference`: forecast less ATR.
    """
    seeds = [draws(exam, one) for one in forecast]
    mean = {name: np.mean([one[name] for one in seeds], axis=0) for name in seeds[0]}
    base = draws(exam, atr)
    return {
        "forecast": {
            "trades": float(np.mean([len(one.trades) for one in forecast])),
            "drawdown": float(np.mean([one.drawdown for one in forecast])),
            **_intervals(mean),
        },
        "atr": {"trades": len(atr.trades), "drawdown": atr.drawdown, **_intervals(base)},
        "difference": _intervals({name: mean[name] - base[name] for name in mean}),
        "by_seed": [
            {
                "trades": len(one.trades),
                "drawdown": one.drawdown,
                **{name: float(values[0]) for name, values in drawn.items()},
            }
            for one, drawn in zip(forecast, seeds, strict=True)
        ],
    }


def draws(exam: Exam, found: Backtest) -> dict[str, NDArray[np.float64]]:
    """Every figure on the range (position 0) and on each draw of its weeks.

    :return: name → shape (1 + draws,). `profit` and `spread_percent` in percent of the starting
        balance, `mean_r` and `spread_r` in units of what a stop costs, `distance` in percent of the
        price, `sharpe` of a year, from the daily results of closed trades, `stopped` and `inside`
        as shares, `bias` and `spread_error` of ln(range / expected range).
    """
    days = pd.Series(pd.date_range(exam.start, exam.stop, freq="D", inclusive="left"))
    index, counts = block_counts(days)
    trades = found.trades
    known = trades["error"].notna()
    columns = {
        "size": 1.0,
        "percent": trades["percent"],
        "percent²": trades["percent"] ** 2,
        "r": trades["r"],
        "r²": trades["r"] ** 2,
        "distance": trades["distance"],
        "stopped": trades["stopped"],
        "known": known,
        "error": trades["error"].fillna(0),
        "error²": trades["error"].fillna(0) ** 2,
        "inside": trades["inside"] & known,
    }
    table = pd.DataFrame(columns, index=trades.index).astype(float)
    entered = index[(trades["entered"].dt.floor("D") - days[0]).dt.days.to_numpy()]
    sums = dict(zip(columns, drawn_sums(table.to_numpy(), entered, counts).T, strict=True))
    daily = trades.groupby(trades["closed"].dt.floor("D"))["percent"].sum()
    results = daily.reindex(days, fill_value=0.0).to_numpy()
    per_day = np.column_stack([np.ones(len(days)), results, results**2])
    size, profit, squares = drawn_sums(per_day, index, counts).T
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold no trade
        return {
            "profit": profit,
            "sharpe": profit / size / _spread(size, profit, squares) * np.sqrt(DAYS_A_YEAR),
            "spread_percent": _spread(sums["size"], sums["percent"], sums["percent²"]),
            "mean_r": sums["r"] / sums["size"],
            "spread_r": _spread(sums["size"], sums["r"], sums["r²"]),
            "distance": sums["distance"] / sums["size"],
            "stopped": sums["stopped"] / sums["size"],
            "bias": sums["error"] / sums["known"],
            "spread_error": _spread(sums["known"], sums["error"], sums["error²"]),
            "inside": sums["inside"] / sums["known"],
        }


def _spread(
    size: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standard deviation from sums."""
    mean = total / size
    return np.sqrt(squares / size - mean**2)


def _intervals(drawn: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    return {name: interval(values) for name, values in drawn.items()}
