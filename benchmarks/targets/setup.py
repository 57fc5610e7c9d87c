"""What every contender shares: ranges, pairs, folders and the configuration for freqtrade."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType

from benchmarks.targets.labels import LABELS, MAX_HORIZON


HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CANDLES = ROOT.parent / "shared" / "candles"
BUILD = ROOT / "build" / "targets"
COINS = ("BTC", "ETH", "BCH", "XRP", "LTC", "ADA", "DOGE", "SOL", "BNB", "TRX")
PAIRS = tuple(f"{coin}/USDT:USDT" for coin in COINS)
TIMEFRAME = "1h"


@dataclass(frozen=True)
class Window:
    """One training and the candles predicted with it: training up to `start`, prediction from it.

    Times are UTC; ends are exclusive.
    """

    train_start: datetime
    start: datetime
    stop: datetime

    @property
    def name(self) -> str:
        return f"{self.start:%Y%m%d}"


@dataclass(frozen=True)
class Exam:
    """A named range of candles to predict, and how the training walks through it.

    :param name: names the results.
    :param start: first candle to predict.
    :param stop: end of the candles to predict (exclusive). No label looks beyond it.
    :param window_days: `backtest_period_days`.
    :param train_days: `train_period_days`.
    :param labels: names of `LABELS` to learn.
    :param indicators: whether the features are indicators without units alone, of the pair itself;
        else those of freqtrade's FreqAI example strategy.
    """

    name: str
    start: datetime
    stop: datetime
    window_days: int = 30
    train_days: int = 150
    pairs: tuple[str, ...] = PAIRS
    datadir: Path = CANDLES
    labels: tuple[str, ...] = tuple(LABELS)
    indicators: bool = False

    @property
    def timerange(self) -> str:
        """For freqtrade's `--timerange`."""
        return f"{self.start:%Y%m%d}-{self.stop:%Y%m%d}"

    @property
    def windows(self) -> list[Window]:
        """The windows as FreqAI cuts them."""
        found, start = [], self.start
        while start < self.stop:
            stop = min(start + timedelta(days=self.window_days), self.stop)
            found.append(Window(start - timedelta(days=self.train_days), start, stop))
            start = stop
        return found

    def candles(self, pair: str) -> pd.DataFrame:
        """Hourly candles of a pair, from the folder's first one to the end of the range.

        :raises ValueError: the folder does not hold them.
        """
        candles = load_pair_history(
            pair, TIMEFRAME, self.datadir, candle_type=CandleType.FUTURES, data_format="feather"
        )
        first = self.windows[0].train_start
        if candles.empty or candles["date"].iloc[0] > first:
            raise ValueError(
                f"Expected {TIMEFRAME} candles of {pair} in {self.datadir} from {first:%Y-%m-%d} "
                "on. Give another folder, or a later range."
            )
        return candles[candles["date"] < self.stop].reset_index(drop=True)


# The candles of `choose` may be looked at while models are chosen, those of `judge` once, at the
# end (PLAN.md). A day lies between them, so that no label of one reaches into the other.
EXAMS = {
    exam.name: exam
    for exam in (
        Exam(
            "choose",
            datetime(2023, 7, 1, tzinfo=UTC),
            datetime(2023, 12, 28, tzinfo=UTC),
            window_days=45,  # four windows
        ),
        Exam("judge", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 26, tzinfo=UTC)),
    )
}


def base_config(exam: Exam, labels: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of every contender, as freqtrade reads it; nothing in it is of one model.

    :param labels: names of `LABELS` to learn together; all of the exam where none are given.
    """
    config: dict[str, Any] = {
        "dry_run": True,
        "timeframe": TIMEFRAME,
        "stake_currency": "USDT",
        "stake_amount": 100,
        "max_open_trades": len(exam.pairs),
        "exchange": {"pair_whitelist": list(exam.pairs), "pair_blacklist": []},
        "pairlists": [{"method": "StaticPairList"}],
        "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "targets": list(labels or exam.labels),
        "freqai": {
            "enabled": True,
            "conv_width": 24,
            "train_period_days": exam.train_days,
            "backtest_period_days": exam.window_days,
            "live_retrain_hours": 24,
            "save_backtest_models": False,
            "activate_tensorboard": False,
            "feature_parameters": {
                "include_timeframes": ["1h", "4h"],
                "include_corr_pairlist": list(exam.pairs[:2]),
                "label_period_candles": MAX_HORIZON,
                "include_shifted_candles": 0,
                "indicator_periods_candles": [10, 20],
                "weight_factor": 0,
                "DI_threshold": 0,
                "principal_component_analysis": False,
                "use_SVM_to_remove_outliers": False,
                "plot_feature_importances": 0,
                "buffer_train_data_candles": 0,
            },
            "data_split_parameters": {"test_size": 0.2, "shuffle": False},
            "model_training_parameters": {},
        },
    }
    if exam.indicators:
        config["indicators"] = True
        config["freqai"]["feature_parameters"]["include_corr_pairlist"] = []
    return config


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` with `more` laid over it, dictionaries merged key by key."""
    result = deepcopy(base)
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = deepcopy(value)
    return result
