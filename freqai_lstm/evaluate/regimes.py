"""Skill and intervals by regime: in quiet and wild markets, in trends, at weekends, by month.

A mean over a year hides in which market a model fails. A regime is known at the candle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from freqai_lstm.evaluate.metrics import NAN, measure_interval, r_squared


VOLATILITY, TREND = 24, 168  # candles that a regime looks back on
TERCILES = ("quiet", "middle", "wild")
FEWEST = 20  # candles of a pair; with fewer a regime has no R²


def by_regime(rows: pd.DataFrame, candles: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Measure a target in each regime.

    Volatility is the mean absolute return of the last 24 candles, in terciles of the pair; the
    trend is up where the close is above its mean over the last 168 candles; a weekend is Saturday
    and Sunday, UTC.

    :param rows: pair, date, realised, model, scale; lower and upper, NaN for none.
    :param candles: pair → candles with `close`, by date.
    :return: per regime: kind, regime, share of the candles; r2, about the mean of these candles of
        a pair, mean of the pairs; coverage, interval_score as in `metrics.measure_interval`.
    """
    found = []
    for kind, regimes in _regimes(rows, candles).items():
        for regime in sorted(regimes.dropna().unique(), key=_order):
            some = rows[(regimes == regime).to_numpy()]
            skills = [
                r_squared(of["realised"].to_numpy(), of["model"].to_numpy())
                for _, of in some.groupby("pair")
                if len(of) >= FEWEST
            ]
            known = [value for value in skills if np.isfinite(value)]
            intervals = measure_interval(
                *some[["realised", "lower", "upper", "scale"]].to_numpy("float64").T
            )
            found.append(
                {
                    "kind": kind,
                    "regime": str(regime),
                    "share": len(some) / len(rows),
                    "r2": float(np.mean(known)) if known else NAN,
                    "coverage": intervals["coverage"],
                    "interval_score": intervals["interval_score"],
                }
            )
    return found


def _regimes(rows: pd.DataFrame, candles: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """The regime of each row, by kind; missing where it is not known."""
    keys = pd.MultiIndex.from_frame(rows[["pair", "date"]])

    def of_pairs(values: dict[str, pd.Series]) -> pd.Series:
        return pd.Series(pd.concat(values).reindex(keys).to_numpy(), index=rows.index)

    closes = {pair: of["close"] for pair, of in candles.items()}
    moves = of_pairs(
        {p: c.pct_change().abs().rolling(VOLATILITY).mean() for p, c in closes.items()}
    )
    ranks = moves.groupby(rows["pair"]).rank(pct=True)
    above = of_pairs({p: c - c.rolling(TREND).mean() for p, c in closes.items()})
    dates = pd.to_datetime(rows["date"])
    thirds = pd.cut(ranks, [0, 1 / 3, 2 / 3, 1], labels=list(TERCILES)).astype("object")
    trends = pd.Series(np.where(above > 0, "up", "down"), rows.index, dtype="object")
    return {
        "volatility": thirds,
        "trend": trends.where(above.notna()),
        "week": pd.Series(np.where(dates.dt.weekday >= 5, "weekend", "weekday"), rows.index),
        "month": dates.dt.strftime("%Y-%m"),
    }


def _order(regime: str) -> tuple[int, str]:
    return (TERCILES.index(regime) if regime in TERCILES else 0, str(regime))
