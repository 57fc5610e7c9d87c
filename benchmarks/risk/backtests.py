"""Backtest one book, and read from its trades what figures are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import freqtrade
import numpy as np
import pandas as pd
from freqtrade.misc import deep_merge_dicts
from pandas import DataFrame, Series

from benchmarks.exam import (
    BenchmarkFailed,
    Exam,
    Outcome,
    read_outcome,
    run_exam,
    settings_of,
)
from benchmarks.places import BUILD
from benchmarks.risk.forecasts import HORIZON, RISK, YEAR, by_date, constant_share, forecasts
from benchmarks.risk.forecasts import realised as realised_of
from benchmarks.targets.setup import PAIRS
from freqai_lstm.evaluate.trades import Result, daily_returns, drawdown, equity, orders_of
from freqai_lstm.plugins import RISK_FILE


HERE = Path(__file__).resolve().parent
EXAM = Exam(
    "risk", datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, tzinfo=UTC), pairs=PAIRS
)
OURS, STAKE = "forecast", "constant stake"
# Contender → its words, and what its volatility is.
CONTENDERS = {
    OURS: ("LSTMRegressor", ""),
    STAKE: ("constant stake", "constant"),
    "atr": ("ATR(14)", "atr"),
    "har": ("HAR", "har"),
    "day": ("last day's volatility", "day"),
}
FEE = 0.001  # a side: 5 basis points for the exchange, 5 for slippage


@dataclass(frozen=True)
class Book:
    """What a backtest brought.

    `hourly` are returns of the wallet with its open positions, by candle; `daily` has a row per
    day: `returns` and `turnover` (what was bought and sold, as a share of the wallet). `positions`
    has a row per entry and per day after it, while the position is held: `date` and `ratio`
    (realised ÷ expected volatility of the next HORIZON candles). `stops` has a row per trade:
    `date` and `r`, the result in units of what the stop would have cost.
    """

    hourly: Series
    daily: DataFrame
    positions: DataFrame
    stops: DataFrame

    @property
    def drawdown(self) -> float:
        """The worst, as a negative share of the highest wallet before it."""
        return float(drawdown((1 + self.hourly).cumprod(), 1.0).min())

    def between(self, start: datetime, stop: datetime) -> Book:
        """The book of some of the days; `stop` is exclusive."""
        last = stop - pd.Timedelta(seconds=1)
        positions, stops = (
            of[of["date"].between(start, last)] for of in (self.positions, self.stops)
        )
        return Book(self.hourly.loc[start:last], self.daily.loc[start:last], positions, stops)


def backtest(
    exam: Exam, name: str, seed: int, more: dict[str, Any] | None = None, build: Path = BUILD
) -> Book:
    """Run `freqtrade backtesting`, once: see `_run_once`.

    :param name: one of CONTENDERS.
    :param more: laid over the configuration.
    :raises FreqtradeFailed: the command or a training failed.
    :raises BenchmarkFailed: there was no trade.
    """
    folder = build / "risk" / exam.name / name
    settings: dict[str, Any] = {
        "stake_amount": "unlimited",
        "max_open_trades": len(exam.pairs),
        "freqai": {
            "enabled": name == OURS,
            "identifier": f"{exam.name}-s{seed}",
            "save_backtest_models": False,
            "feature_parameters": {
                "include_timeframes": ["1h"],
                "label_period_candles": HORIZON,
                "indicator_periods_candles": [6, 24],
            },
            "model_training_parameters": {"seed": seed},
        },
    }
    strategy = "RiskStrategy"
    options = ["--fee", str(FEE), "--logfile", str(folder / "freqtrade.log")]
    if name != OURS:
        told = forecasts(exam, CONTENDERS[name][1])
        for pair, of in told.items():
            file = folder / "volatility" / f"{pair.split('/')[0]}.feather"
            file.parent.mkdir(parents=True, exist_ok=True)
            of.reset_index().to_feather(file)
        settings |= {"risk_volatility": str(folder / "volatility")}
        strategy = "ConstantStake" if name == STAKE else "GivenVolatility"
        options += ["--strategy-path", str(HERE)]
        if name == STAKE:
            settings |= {"risk_share": constant_share(exam)}
    found = _run_once(exam, folder, deep_merge_dicts(more or {}, settings), options, strategy)
    if found.trades.empty:
        raise BenchmarkFailed(
            f"Expected trades of {name} in {exam.timerange}, got none: look for do_predict 0."
        )
    if name == OURS:
        told = {
            pair: RISK.with_volatility(by_date(of), YEAR) for pair, of in found.predictions.items()
        }
    return book(exam, found, told)


def _run_once(
    exam: Exam, folder: Path, settings: dict[str, Any], options: list[str], strategy: str
) -> Outcome:
    """Run a backtest, or read its result where the same one is in the folder.

    The same are freqtrade, the configuration, the command's options, the strategies and the
    formulas of the volatilities. Whether the candles or the model are, is not looked at: FreqAI
    uses its predictions of an earlier run in any case.
    """
    sources = [RISK_FILE, HERE / "RiskVariants.py", HERE / "forecasts.py"]
    made_of = {
        "freqtrade": freqtrade.__version__,
        "settings": settings_of(exam, settings),
        "options": [strategy, exam.timerange, *options],
        "sources": {file.name: sha256(file.read_bytes()).hexdigest() for file in sources},
    }
    mark, told = folder / "finished.json", json.dumps(made_of, indent=2)
    if mark.exists() and mark.read_text(encoding="utf-8") == told:
        return read_outcome(exam, folder, made_of["settings"]["freqai"]["identifier"], strategy)
    mark.unlink(missing_ok=True)
    _, found = run_exam(exam, folder, settings, *options, strategy=strategy)
    mark.write_text(told, encoding="utf-8")  # only of a run without a failure
    return found


def book(exam: Exam, found: Outcome, told: dict[str, DataFrame]) -> Book:
    """Measure the trades of a backtest.

    :param told: from `forecasts.forecasts`, or the same of predictions.
    """
    result = Result("", found.statistics, found.trades)
    first, last = result.span
    candles = {pair: by_date(exam.candles(pair)) for pair in exam.pairs}
    closes = DataFrame({pair: of["close"] for pair, of in candles.items()}).loc[first:last].ffill()
    wallet = equity(result, closes)
    returns = daily_returns(wallet.to_frame("returns"), result.start)
    orders = orders_of(found.trades)
    traded = orders.groupby(orders["date"].dt.floor("D"))["cost"].sum()
    start = wallet.resample("1D").first()
    pairs = [(str(pair), of) for pair, of in found.trades.groupby("pair")]
    rows = [_positions(of, candles[pair], told[pair]) for pair, of in pairs]
    positions, stops = (pd.concat(parts, ignore_index=True) for parts in zip(*rows, strict=True))
    return Book(
        wallet.pct_change().dropna(),
        returns.assign(turnover=(traded.reindex(returns.index).fillna(0) / start)),
        positions,
        stops,
    )


def _positions(
    trades: DataFrame, candles: DataFrame, told: DataFrame
) -> tuple[DataFrame, DataFrame]:
    """Rows of one pair for `Book.positions` and `Book.stops`."""
    candle, span = pd.Timedelta(hours=1), pd.Timedelta(hours=HORIZON)
    newest = told[["volatility", "volatility_upper"]].reindex(candles.index).ffill(limit=HORIZON)
    # A trade opens with the candle after its signal.
    held = [
        at - candle
        for first, last in zip(trades["open_date"], trades["close_date"] - candle, strict=True)
        for at in pd.date_range(first, max(first, last), freq=span)
    ]
    ratio = (realised_of(candles) / newest["volatility"]).reindex(held)
    entries = [next(order for order in of if order["ft_is_entry"]) for of in trades["orders"]]
    paid = np.array([order["amount"] * order["safe_price"] for order in entries])
    move = RISK.STOP * np.sqrt(HORIZON / YEAR)
    distance = move * newest["volatility_upper"].reindex(trades["open_date"] - candle).to_numpy()
    stops = {"date": trades["open_date"], "r": trades["profit_abs"] / (paid * distance)}
    return (
        DataFrame({"date": held, "ratio": ratio.to_numpy()}).dropna(),
        DataFrame(stops),
    )
