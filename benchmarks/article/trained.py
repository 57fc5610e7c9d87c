"""The article's configuration, trained on its 360 days by two implementations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.exam import Exam
from benchmarks.horizon.backtests import Backtest, backtest
from benchmarks.places import BUILD, CANDLES, PAIRS, ROOT
from freqai_lstm.plugins import MODEL_FILE


# 360 days: 34 of start-up candles, 233 to train on, 93 to predict, each of which a model sees once.
TRAIN_DAYS = 233
START, END = datetime(2024, 9, 1, tzinfo=UTC), datetime(2024, 12, 3, tzinfo=UTC)
OURS, PLAIN = "LSTMRegressor", "PlainKerasLSTM"
ARTICLE = {"epochs": 100, "batch_size": 32}
# What FreqAI has to be told of each: plain Keras cannot be saved by it, and has its own names.
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {
        "model_training_parameters": {
            **ARTICLE,
            "num_lstm_layers": 3,
            "learning_rate": 0.001,
            "dropout_rate": 0.3,
        },
    },
    PLAIN: {
        "keras": False,
        "model_save_type": "joblib",
        "save_backtest_models": False,
        "model_training_parameters": {**ARTICLE, "layers": 3},
    },
}
PATHS = {OURS: MODEL_FILE.parent, PLAIN: ROOT / "benchmarks" / "speed" / "models"}


def train(
    model: str,
    horizon: int,
    pairs: tuple[str, ...] = PAIRS,
    build: Path = BUILD,
    datadir: Path = CANDLES,
) -> tuple[Exam, Backtest]:
    """Train and backtest once; a run that is done is read again.

    :param model: OURS or PLAIN.
    :param horizon: `label_period_candles`.
    """
    exam = Exam("futures", START, END, pairs, datadir)
    freqai = SETTINGS[model] | {
        "conv_width": 24,
        "train_period_days": TRAIN_DAYS,
        "backtest_period_days": (END - START).days,
        "feature_parameters": {"label_period_candles": horizon},
    }
    folder = build / "article" / f"{model}-h{horizon}"
    return exam, backtest(exam, folder, freqai, model=model, model_path=PATHS[model])
