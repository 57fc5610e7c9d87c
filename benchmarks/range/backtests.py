"""Backtest one of the two strategies, and measure what each of its trades risked and brought."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.data.btanalysis import load_backtest_analysis_data
from freqtrade.misc import deep_merge_dicts

from benchmarks.exam import BenchmarkFailed, Exam, run_exam
from benchmarks.places import BUILD, CANDLES, PAIRS
from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


STRATEGY = load_plugin(STRATEGY_FILE.with_name("RangeStrategy.py"))
FORECAST, ATR = "RangeStrategy", "RangeStrategyATR"
HORIZON = 12  # candles


SPLIT = datetime(2024, 9, 1, tzinfo=UTC)
PAIRS_OF = {"futures": PAIRS, "spot": ("BTC/USDT", "ETH/USDT", "SOL/USDT")}


def _exam(market: str, start: datetime, stop: datetime) -> Exam:
    """Whole windows of 31 days, 120 training days before each."""
    return Exam(f"range-{market}", start, stop, 31, 120, PAIRS_OF[market], CANDLES, market)


EXAMS = {
    "choose": (
        _exam("futures", datetime(2024, 4, 30, tzinfo=UTC), SPLIT),
        _exam("spot", datetime(2024, 5, 31, tzinfo=UTC), SPLIT),
    ),
    "judge": (
        _exam("futures", SPLIT, datetime(2024, 12, 3, tzinfo=UTC)),
        _exam("spot", SPLIT, datetime(2024, 9, 24, tzinfo=UTC)),
    ),
}


@dataclass(frozen=True)
class Backtest:
    """What a backtest brought.

    `trades` has a row per trade: `entered` and `closed` (dates), `percent` (result in percent of
    the starting balance), `r` (result in units of what the stop would have cost), `distance` (of
    the stop, in percent of the price), `stopped`, `error` (ln of the range of the next candles over
    the expected one) and `inside` (that range lies in the 80 % interval). `drawdown` is
    freqtrade's, in percent.
    """

    trades: pd.DataFrame
    drawdown: float


def backtest(
    exam: Exam, strategy: str, seed: int, more: dict[str, Any] | None = None, build: Path = BUILD
) -> Backtest:
    """Run `freqtrade backtesting`; predictions of an earlier run are used again.

    :param strategy: FORECAST or ATR, which needs no seed.
    :param more: laid over the configuration.
    :raises FreqtradeFailed: the command or a training failed.
    :raises BenchmarkFailed: there was no trade.
    """
    folder = build / "range" / exam.market
    settings = deep_merge_dicts(more or {}, _settings(exam, strategy, seed))
    found = run_exam(exam, folder, settings, "--export", "signals", strategy=strategy)
    if found.trades.empty:
        raise BenchmarkFailed(
            f"Expected trades of {strategy} in {exam.market} {exam.timerange}, got none: look for "
            "do_predict 0 and for limits that no forecast passes."
        )
    results = folder / "user_data" / "backtest_results"
    signals = load_backtest_analysis_data(results, "signals")[strategy]
    measured = [
        _measured(exam, of_pair, signals[pair], found.statistics["starting_balance"])
        for pair, of_pair in found.trades.groupby("pair")
    ]
    return Backtest(pd.concat(measured), 100 * found.statistics["max_drawdown_account"])


def _settings(exam: Exam, strategy: str, seed: int) -> dict[str, Any]:
    """What differs from the example configurations."""
    return {
        "freqai": {
            "enabled": strategy == FORECAST,
            "identifier": f"range-{exam.market}-s{seed}",
            "feature_parameters": {"label_period_candles": HORIZON, "include_corr_pairlist": []},
            "model_training_parameters": {"seed": seed},
        },
    }


def _measured(
    exam: Exam, trades: pd.DataFrame, signals: pd.DataFrame, balance: float
) -> pd.DataFrame:
    """The trades of one pair as `Backtest` has them."""
    pair = trades["pair"].iloc[0]
    candles = exam.candles(pair)
    realised = STRATEGY.log_range(candles, HORIZON).shift(-HORIZON)
    columns = ["stop_distance", "range", "range_lower", "range_upper"]
    known = signals.drop_duplicates("date").set_index("date")[columns]
    known["realised"] = pd.Series(realised.to_numpy(), candles["date"])
    # A trade opens with the candle after its signal.
    at = known.reindex(trades["open_date"] - pd.Timedelta(hours=1)).reset_index(drop=True)
    trades = trades.reset_index(drop=True)
    low, high = np.log(at["range_lower"]), np.log(at["range_upper"])
    return pd.DataFrame(
        {
            "entered": trades["open_date"],
            "closed": trades["close_date"],
            "percent": 100 * trades["profit_abs"] / balance,
            "r": trades["profit_ratio"] / at["stop_distance"],
            "distance": 100 * at["stop_distance"],
            "stopped": trades["exit_reason"].isin(["stop_loss", "trailing_stop_loss"]),
            "error": at["realised"] - np.log(at["range"]),
            "inside": (at["realised"] > low) & (at["realised"] < high),
        }
    )
