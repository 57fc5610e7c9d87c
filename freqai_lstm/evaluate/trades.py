"""A backtest's trades as money: equity beside buy-and-hold and cash, costs, and a verdict.

Read from freqtrade's own result file. Equity is marked to the close of every candle, from the
filled orders of each trade. Stakes are those of the backtest: costs do not change them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.data.btanalysis import (
    get_backtest_resultlist,
    load_backtest_data,
    load_backtest_stats,
)
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.evaluate.intervals import compare_skills, interval
from freqai_lstm.evaluate.metrics import NAN
from freqai_lstm.evaluate.sharpe import deflated_sharpe, drawn_sharpes, tried_sets
from freqai_lstm.evaluate.words import in_words, shown


BASIS_POINT = 1e-4
SLIPPAGES = (0, 5, 10)  # basis points a side, on top of the backtest's fees
AFTER_FEES = f"fees, {SLIPPAGES[0]} bp slippage"
HOLD, CASH = "buy-and-hold", "cash"
FEW_TRADES = 30
SURE = 0.95


@dataclass(frozen=True)
class Result:
    """One strategy of a backtest result file: freqtrade's statistics and trades.

    `trades` has `signal` too, the candle before the one at which the trade opened.
    """

    file: str
    statistics: dict[str, Any]
    trades: pd.DataFrame

    @property
    def span(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First and last candle that the backtest traded on."""
        names = ("backtest_start_ts", "backtest_end_ts")
        first, last = (pd.Timestamp(self.statistics[of], unit="ms", tz="UTC") for of in names)
        return first, last

    @property
    def start(self) -> float:
        """The wallet at the beginning."""
        return float(self.statistics["starting_balance"])


def find_result(
    userdir: Path, strategy: str, identifier: str, first: pd.Timestamp, last: pd.Timestamp
) -> Result | None:
    """The newest result of this strategy and identifier that traded between two candles."""
    folder = userdir / "backtest_results"
    entries = [of for of in get_backtest_resultlist(folder) if of["strategy"] == strategy]
    for entry in sorted(entries, key=lambda of: of["backtest_start_time"], reverse=True):
        path = next(folder.glob(f"{entry['filename']}.[jz]*"))
        statistics = load_backtest_stats(path)["strategy"][strategy]
        trades = load_backtest_data(path, strategy)
        if len(trades):
            step = pd.Timedelta(seconds=timeframe_to_seconds(statistics["timeframe"]))
            trades["signal"] = trades["open_date"] - step
        result = Result(path.name, statistics, trades)
        begin, end = result.span
        if statistics.get("freqai_identifier") == identifier and begin <= last and end >= first:
            return result
    return None


def orders_of(trades: pd.DataFrame) -> pd.DataFrame:
    """The filled orders of trades.

    :return: pair, date, amount (negative for a sale), cost (amount × price, positive), fee (a
        share of the cost), money (paid or received, before the fee).
    """
    rows = [
        {
            "pair": trade["pair"],
            "date": order["order_filled_timestamp"],
            "amount": order["amount"] if order["ft_order_side"] == "buy" else -order["amount"],
            "cost": order["amount"] * order["safe_price"],
            "fee": trade["fee_open" if order["ft_is_entry"] else "fee_close"],
        }
        for trade in trades.to_dict("records")
        for order in trade["orders"]
        if order["order_filled_timestamp"]
    ]
    columns = ["pair", "date", "amount", "cost", "fee"]
    orders = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], "float64"))
    return orders.assign(
        date=pd.to_datetime(orders["date"].astype("int64"), unit="ms", utc=True),
        money=-np.sign(orders["amount"]) * orders["cost"],
    )


def equity(
    result: Result, closes: pd.DataFrame, slippage: float = 0.0, fees: float = 1.0
) -> pd.Series:
    """The wallet at the close of each candle, open positions at their value then.

    Funding is booked when its trade closes.

    :param closes: by date (of the candle's open) and pair, the range of the backtest.
    :param slippage: a share of each order's cost.
    :param fees: factor on the backtest's fees.
    """
    orders, dates = orders_of(result.trades), pd.DatetimeIndex(closes.index)
    paid = orders["cost"] * (orders["fee"] * fees + slippage)
    cash = _at(dates, orders["date"], orders["money"] - paid)
    if len(result.trades):
        cash += _at(dates, result.trades["close_date"], result.trades["funding_fees"].fillna(0.0))
    total = result.start + cash.cumsum()
    for pair, of in orders.groupby("pair"):
        total += _at(dates, of["date"], of["amount"]).cumsum() * closes[pair]
    return total


def _at(dates: pd.DatetimeIndex, when: pd.Series, values: pd.Series) -> pd.Series:
    """Sums of values by the candle they fall into."""
    into = np.clip(dates.searchsorted(pd.DatetimeIndex(when), side="right") - 1, 0, None)
    return pd.Series(np.bincount(into, values, len(dates)).astype(float), dates)


def daily_returns(equities: pd.DataFrame, start: float) -> pd.DataFrame:
    """Returns from one day's last candle to the next one's; the first day's from the start."""
    days = equities.resample("1D").last().dropna()
    return days / days.shift(fill_value=start) - 1


def drawdown(equities: pd.Series, start: float) -> pd.Series:
    """How far below its highest value so far, as a share of it; 0 or negative."""
    return equities / equities.cummax().clip(lower=start) - 1


def money(
    result: Result,
    candles: Mapping[str, pd.DataFrame],
    config: Mapping[str, Any],
    others: Mapping[str, Result],
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What the trades brought.

    :param candles: pair → candles by date, of every pair that is traded or in the pair list.
    :param config: the configuration of the backtest, for the searches before it.
    :param others: name → result to compare with.
    :return: figures and equity by candle (strategy, buy-and-hold, cash, the others). Figures: file;
        range; days; trades; profit; costs: name → profit, drawdown, sharpe with its interval; fee
        paid and break_even, the fee a side at which nothing is won, shares of the volume or null;
        sharpe; above_zero, the probability of a ratio above zero; tried, deflated: see sharpe.py;
        differences: name → Sharpe minus that of cash, buy-and-hold and the others, with interval
        and word; verdict.
    """
    first, last = result.span
    prices = pd.DataFrame({pair: of["close"] for pair, of in candles.items()}).loc[first:last]
    prices = prices.ffill()
    pairs = list(result.statistics["pairlist"])
    opened = pd.Series({pair: candles[pair]["open"].loc[first:last].iloc[0] for pair in pairs})
    lines = {
        "strategy": equity(result, prices),
        HOLD: result.start * (prices[pairs] / opened).mean(axis=1),
        CASH: pd.Series(result.start, prices.index),
    }
    for name, other in others.items():
        lines[name] = result.start / other.start * equity(other, prices)
    equities = pd.DataFrame(lines)
    returns = daily_returns(equities, result.start)
    ratios = drawn_sharpes(returns)
    orders = orders_of(result.trades)
    costs = {"before fees": equity(result, prices, fees=0.0)}
    costs |= {
        f"fees, {points} bp slippage": equity(result, prices, points * BASIS_POINT)
        for points in SLIPPAGES
    }
    costs |= {name: equities[name] for name in lines if name != "strategy"}
    tries = tried_sets(
        config,
        result.statistics["strategy_name"],
        result.statistics["freqai_identifier"],
        first,
        last,
    )
    volume = float(orders["cost"].sum())
    gross = float(costs["before fees"].iloc[-1]) - result.start
    found = {
        "file": result.file,
        "range": f"{first:%Y-%m-%d} to {last:%Y-%m-%d}",
        "days": len(returns),
        "trades": len(result.trades),
        "profit": float(equities["strategy"].iloc[-1] / result.start - 1),
        "costs": {name: _figures(of, result.start) for name, of in costs.items()},
        "fee": float((orders["fee"] * orders["cost"]).sum() / volume) if volume else None,
        "break_even": gross / volume if volume else None,
        "sharpe": interval(ratios[:, 0]),
        "above_zero": deflated_sharpe(returns["strategy"].to_numpy()),
        "tried": len(tries),
        "deflated": deflated_sharpe(returns["strategy"].to_numpy(), tries)
        if len(tries) > 1
        else None,
        "differences": {
            name: compare_skills(ratios[:, [0, column]], math.inf)
            for column, name in enumerate(lines)
            if column > 0
        },
    }
    return found | {"verdict": verdict(found)}, equities


def verdict(found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the trades beat cash and buy-and-hold, by their daily Sharpe ratios, in words.

    :param found: the figures of `money`.
    :return: tone, title, detail, caveats.
    """
    held = found["costs"][HOLD]["profit"]
    if not found["trades"]:
        detail = f"{found['range']}; buy-and-hold {held:+.1%}."
        title = "No trades in this range, so nothing to judge"
        return {"tone": "neutral", "title": title, "detail": detail, "caveats": []}
    words = {name: found["differences"][name]["word"] for name in (CASH, HOLD)}
    deflated = found["deflated"]
    values = [shown(found["sharpe"][key], "{:.2f}") for key in ("value", "low", "high")]
    detail = (
        f"{found['profit']:+.1%} after fees and funding; trades: {found['trades']} in "
        f"{found['days']} days; buy-and-hold {held:+.1%}, cash 0 %. "
        f"Sharpe {values[0]} ({values[1]} to {values[2]})."
    )
    beside = [name for name in found["differences"] if name not in (CASH, HOLD)]
    caveats = [
        f"Beside the trades of {name}, by Sharpe ratio: {found['differences'][name]['word']}."
        for name in beside
    ]
    caveats += [f"From {found['file']}: candles of {found['range']}, marked to the close."]
    dear = found["costs"][f"fees, {SLIPPAGES[1]} bp slippage"]["profit"]
    caveats.append(
        f"With {SLIPPAGES[1]} basis points of slippage a side {dear:+.1%}. "
        + (
            f"It breaks even at {found['break_even'] / BASIS_POINT:.1f} basis points a side, and "
            f"paid {found['fee'] / BASIS_POINT:.1f}."
            if found["break_even"] > 0
            else "It loses before fees, so no fee is low enough."
        )
    )
    if found["trades"] < FEW_TRADES:
        caveats.append(f"Fewer than {FEW_TRADES} trades: a few of them decide the result.")
    caveats.append(
        f"{found['tried']} parameter sets were tried on these days. The probability that the "
        f"true Sharpe ratio is above what luck makes of the best of them is {shown(deflated)}."
        if deflated is not None
        else "No search by hyperopt or tune on these days is known, so nothing is deflated; the "
        f"probability of a Sharpe ratio above zero is {shown(found['above_zero'])}. Parameter sets "
        "tried by hand count too."
    )
    tone, title = in_words(words)
    if tone == "good" and deflated is not None and not deflated > SURE:
        tone = "neutral"
    return {"tone": tone, "title": title, "detail": detail, "caveats": caveats}


def _figures(of: pd.Series, start: float) -> dict[str, Any]:
    ratio = interval(drawn_sharpes(daily_returns(of.to_frame(), start))[:, 0])
    if not of.diff().any():
        ratio = dict.fromkeys(ratio, NAN)
    return {
        "profit": float(of.iloc[-1] / start - 1),
        "drawdown": float(drawdown(of, start).min()),
        "sharpe": ratio,
    }
