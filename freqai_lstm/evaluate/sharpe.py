"""Sharpe ratios of daily returns, with their doubt.

Annual, from 365 days, without a riskless rate. The interval draws whole weeks, as elsewhere. The
deflated ratio is that of Bailey and López de Prado, "The Deflated Sharpe Ratio" (2014): the
probability that the true ratio is above zero, after the best of so many tries was kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kurtosis, norm, skew

from freqai_lstm.evaluate.intervals import block_counts, drawn_sums
from freqai_lstm.evaluate.metrics import NAN


DAYS_A_YEAR = 365


def sharpe(returns: NDArray[np.float64]) -> float:
    """Mean ÷ standard deviation of daily returns, not annual; NaN where they do not vary."""
    return float(returns.mean() / returns.std()) if len(returns) and returns.std() > 0 else NAN


def drawn_sharpes(returns: pd.DataFrame) -> NDArray[np.float64]:
    """Annual Sharpe ratios over the range and over every draw of its blocks.

    :param returns: daily returns, a column per portfolio, by date.
    :return: shape (1 + draws, columns); 0 for a portfolio that never moves, as cash.
    """
    index, counts = block_counts(returns.index.to_series())
    values = returns.to_numpy("float64")
    sums = drawn_sums(np.column_stack([np.ones(len(values)), values, values**2]), index, counts)
    mean, square = np.split(sums[:, 1:] / sums[:, [0]], 2, axis=1)
    spread = np.sqrt(np.clip(square - mean**2, 0, None))
    moves = spread > 1e-12
    return np.sqrt(DAYS_A_YEAR) * np.where(moves, mean, 0.0) / np.where(moves, spread, 1.0)


def expected_maximum(spread: float, tries: int) -> float:
    """The best of so many Sharpe ratios that luck alone makes, in the unit of the spread.

    :param spread: standard deviation of the ratios.
    :param tries: independent ones, at least 2; tries that resemble each other count for less, so
        the true maximum is lower.
    """
    quantiles = norm.ppf([1 - 1 / tries, 1 - 1 / (tries * np.e)])
    return float(spread * (quantiles @ [1 - np.euler_gamma, np.euler_gamma]))


def probability_above(ratio: float, luck: float, days: int, skewness: float, kurt: float) -> float:
    """Probability that the true ratio is above `luck`, given the returns' shape.

    :param ratio: daily, as `luck`.
    :param kurt: 3 for a normal distribution.
    """
    shape = 1 - skewness * ratio + (kurt - 1) / 4 * ratio**2
    return float(norm.cdf((ratio - luck) * np.sqrt(days - 1) / np.sqrt(shape)))


def deflated_sharpe(returns: NDArray[np.float64], tried: Sequence[float] = ()) -> float:
    """Probability that the true Sharpe ratio is above what luck alone makes of the best try.

    :param returns: daily returns, shape (days,).
    :param tried: daily Sharpe ratios of all tries; with fewer than two the probability that the
        true ratio is above zero.
    :return: 0 to 1; NaN where the returns do not vary.
    """
    ratio = sharpe(returns)
    if not np.isfinite(ratio):
        return NAN
    luck = expected_maximum(float(np.std(tried, ddof=1)), len(tried)) if len(tried) > 1 else 0.0
    shape = float(skew(returns)), float(kurtosis(returns, fisher=False))
    return probability_above(ratio, luck, len(returns), *shape)


def tried_sets(
    config: Mapping[str, Any],
    strategy: str,
    identifier: str,
    start: pd.Timestamp,
    end: pd.Timestamp,
) -> list[float]:
    """Daily Sharpe ratios of hyperopt's epochs, and of tune's trials, on days of a backtest.

    A search on other days leaves these days held out, and does not count.

    :param config: with `user_data_dir`, and with `tuned` where it has the `best.json` of a search.
    """
    ratios = []
    if tuned := config.get("tuned"):
        first, after = pd.to_datetime([tuned["start"], tuned["end"]], utc=True)
        if first <= end and after > start:
            ratios += [ratio / np.sqrt(DAYS_A_YEAR) for ratio in tuned["sharpes"]]
    folder = Path(config["user_data_dir"]) / "hyperopt_results"
    for file in sorted(folder.glob(f"strategy_{strategy}_*.fthypt")):
        epochs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found = [epoch["results_metrics"] for epoch in epochs]
        counted = [
            of
            for of in found
            if of.get("freqai_identifier") == identifier
            and of["backtest_start_ts"] < end.timestamp() * 1000
            and of["backtest_end_ts"] > start.timestamp() * 1000
        ]
        ratios += [_epoch_sharpe(of) for of in counted]
    # A set that never traded was a try too.
    return [float(ratio) for ratio in np.nan_to_num(ratios)]


def _epoch_sharpe(metrics: dict) -> float:
    # freqtrade lists the days from the first closed trade to the last one.
    returns = np.array([profit for _, profit in metrics["daily_profit"]])
    days = max(metrics["backtest_days"], len(returns))
    return sharpe(np.pad(returns, (0, days - len(returns))) / metrics["starting_balance"])
