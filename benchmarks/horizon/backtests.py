"""Backtest ScoreStrategy on the shared candles, and read what was predicted and traded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.misc import deep_merge_dicts

from benchmarks.exam import Exam, run_exam
from freqai_lstm.plugins import MODEL_FILE


@dataclass(frozen=True)
class Backtest:
    """What a backtest left behind.

    `statistics` are freqtrade's; `trades` has a row per trade; `predictions` by pair what FreqAI
    saved for every candle: date, the labels, `do_predict`.
    """

    statistics: dict[str, Any]
    trades: pd.DataFrame
    predictions: dict[str, pd.DataFrame]


def backtest(
    exam: Exam,
    folder: Path,
    freqai: dict[str, Any],
    *,
    model: str = "LSTMRegressor",
    model_path: Path = MODEL_FILE.parent,
) -> Backtest:
    """Run `freqtrade backtesting`; predictions of an earlier run in the folder are used again.

    :param folder: of the benchmark's own.
    :param freqai: laid over the `freqai` block of the example configuration.
    :raises FreqtradeFailed: the command or a training failed.
    """
    identifier = f"{exam.market}-{model}"
    plain = {
        "identifier": identifier,
        "activate_tensorboard": False,
        "feature_parameters": {"include_corr_pairlist": list(exam.pairs[:2])},
    }
    settings = {"freqai": deep_merge_dicts(freqai, plain)}
    statistics, trades = run_exam(exam, folder, settings, model=model, model_path=model_path)
    saved = folder / "user_data/models" / identifier / "backtesting_predictions"
    predictions = {
        pair: pd.concat(
            map(pd.read_feather, sorted(saved.glob(f"cb_{pair.split('/')[0].lower()}_*.feather"))),
            ignore_index=True,
        )
        for pair in exam.pairs
    }
    return Backtest(statistics, trades, predictions)
