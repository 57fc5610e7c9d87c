"""What every contender shares: ranges, pairs, folders and the configuration for freqtrade."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType

from benchmarks.places import CANDLES, ROOT
from benchmarks.targets import score
from benchmarks.targets.labels import LABELS, MAX_HORIZON, Label


HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "targets"


def perpetuals(coins: str) -> tuple[str, ...]:
    """Name the perpetuals of coins, which are separated by spaces."""
    return tuple(f"{coin}/USDT:USDT" for coin in coins.split())


PAIRS = perpetuals("BTC ETH BCH XRP LTC ADA DOGE SOL BNB TRX")


@dataclass(frozen=True)
class Window:
    """One training and the candles predicted with it: training up to `start`, prediction from it.

    Times are UTC; ends are exclusive.
    """

    train_start: datetime
    start: datetime
    stop: datetime


@dataclass(frozen=True)
class Exam:
    """A named range of candles to predict, and how the training walks through it.

    :param name: names the results.
    :param start: first candle to predict.
    :param stop: end of the candles to predict (exclusive). No label looks beyond it.
    :param window_days: `backtest_period_days`.
    :param train_days: `train_period_days`.
    :param pairs: that are scored.
    :param labels: to learn, all together where the model can.
    :param timeframes: that of the candles, then further ones of the strategy's features.
    :param strategy: TargetsStrategy, or ScoreStrategy for its score one candle ahead.
    :param more_pairs: in front of `pairs` in the whitelist, and not scored.
    :param contenders: names of those that take it; all where there are none.
    """

    name: str
    start: datetime
    stop: datetime
    window_days: int = 30
    train_days: int = 150
    pairs: tuple[str, ...] = PAIRS
    datadir: Path = CANDLES
    labels: tuple[Label, ...] = tuple(LABELS.values())
    timeframes: tuple[str, ...] = ("1h", "4h")
    strategy: str = "TargetsStrategy"
    more_pairs: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()

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

    def parts(self, every: int) -> list[Exam]:
        """Cut out every so manieth window, the first one among them; all in one for 1."""
        if every == 1:
            return [self]
        return [replace(self, start=one.start, stop=one.stop) for one in self.windows[::every]]

    def candles(self, pair: str) -> pd.DataFrame:
        """Candles of a pair, from the folder's first one to the end of the range.

        :raises ValueError: the folder does not hold candles from before the range.
        """
        candles = load_pair_history(
            pair,
            self.timeframes[0],
            self.datadir,
            candle_type=CandleType.FUTURES,
            data_format="feather",
        )
        if candles.empty or candles["date"].iloc[0] >= self.start:
            raise ValueError(
                f"Expected {self.timeframes[0]} candles of {pair} in {self.datadir} from before "
                f"{self.start:%Y-%m-%d}. Give another folder, or a later range."
            )
        return candles[candles["date"] < self.stop].reset_index(drop=True)

    def frame(self, pair: str) -> pd.DataFrame:
        """Candles of a pair with its labels; of ScoreStrategy with its features."""
        candles = self.candles(pair)
        made = {label.column: label.formula(candles) for label in self.labels}
        if self.strategy == "ScoreStrategy":
            candles = pd.concat([candles, score.features(candles)], axis=1)
        return candles.assign(**made)


YEAR = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 26, tzinfo=UTC))
# The candles of `choose` and `four` may be looked at while models are chosen, the others once, at
# the end (PLAN.md). Days lie between them, so that no label of one reaches into the other.
EXAMS = {
    exam.name: exam
    for exam in (
        Exam(
            "choose",
            datetime(2023, 7, 1, tzinfo=UTC),
            datetime(2023, 12, 28, tzinfo=UTC),
            window_days=45,  # four windows
        ),
        Exam(
            "four",
            datetime(2023, 7, 1, tzinfo=UTC),
            datetime(2023, 12, 28, tzinfo=UTC),
            window_days=45,
            timeframes=("4h",),
            contenders=("flat", "ridge-own-150", "ridge-own-730", "lstm-regression", "lstm"),
        ),
        Exam("judge", *YEAR),
        Exam(
            "score",
            *YEAR,
            pairs=perpetuals("BTC ETH SOL BNB"),
            labels=score.TERMS,
            strategy="ScoreStrategy",
            contenders=("flat", "ridge-own-150", "lstm"),
        ),
        Exam(
            "five",
            datetime(2024, 3, 14, tzinfo=UTC),
            datetime(2024, 5, 14, tzinfo=UTC),
            window_days=31,  # two windows
            train_days=60,
            pairs=perpetuals("BTC ETH LTC SUI 1000PEPE"),
            labels=(LABELS["log_volatility"], LABELS["log_volume"]),
            timeframes=("5m",),
            contenders=("flat", "har", "ridge-own-60", "lstm"),
        ),
        Exam(
            "delisted",
            *YEAR,
            pairs=perpetuals("FIL PEOPLE"),
            more_pairs=perpetuals("BTC ETH"),
            contenders=("flat", "persistence", "har", "ridge-own-150", "lstm"),
        ),
    )
}


def base_config(exam: Exam, labels: Sequence[Label] = ()) -> dict[str, Any]:
    """The configuration of every contender, as freqtrade reads it; nothing in it is of one model.

    :param labels: to learn together; all of the exam where none are given.
    """
    whitelist = [*exam.more_pairs, *exam.pairs]
    price = {"price_side": "other", "use_order_book": True, "order_book_top": 1}
    return {
        "dry_run": True,
        "timeframe": exam.timeframes[0],
        "stake_currency": "USDT",
        "stake_amount": 100,
        "max_open_trades": len(whitelist),
        "exchange": {"pair_whitelist": whitelist, "pair_blacklist": []},
        "pairlists": [{"method": "StaticPairList"}],
        "entry_pricing": price,
        "exit_pricing": price,
        "targets": [label.name for label in labels or exam.labels],
        "freqai": {
            "enabled": True,
            "conv_width": 24,
            "train_period_days": exam.train_days,
            "backtest_period_days": exam.window_days,
            "live_retrain_hours": 24,
            "save_backtest_models": False,
            "activate_tensorboard": False,
            "feature_parameters": {
                "include_timeframes": list(exam.timeframes),
                "include_corr_pairlist": whitelist[:2],
                "label_period_candles": (
                    score.AHEAD if exam.strategy == "ScoreStrategy" else MAX_HORIZON
                ),
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


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` with `more` laid over it, dictionaries merged key by key."""
    result = deepcopy(base)
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = deepcopy(value)
    return result
