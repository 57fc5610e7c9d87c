"""The article's design and LSTMRegressor, trained for its 360 days."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.exam import Exam, Outcome, run_exam
from benchmarks.places import BUILD
from freqai_lstm.plugins import MODEL_FILE


# 360 days: 34 of start-up candles, 233 to train on, 93 to predict, each of which a model sees once.
TRAIN_DAYS = 233
START, END = datetime(2024, 9, 1, tzinfo=UTC), datetime(2024, 12, 3, tzinfo=UTC)
OURS, PLAIN = "LSTMRegressor", "PlainKerasLSTM"
EXAM = Exam("article", START, END, window_days=(END - START).days, train_days=TRAIN_DAYS)
# The article's epochs and batches; LSTMRegressor has its own defaults.
PARAMETERS: dict[str, dict[str, Any]] = {
    OURS: {},
    PLAIN: {"layers": 3, "epochs": 100, "batch_size": 32},
}
PATHS = {OURS: MODEL_FILE.parent, PLAIN: Path(__file__).with_name("models")}


def train(model: str, horizon: int, exam: Exam = EXAM, build: Path = BUILD) -> tuple[Exam, Outcome]:
    """Train and backtest once; a run that is done is read again.

    :param model: OURS or PLAIN.
    :param horizon: `label_period_candles`.
    """
    freqai = {
        "feature_parameters": {"label_period_candles": horizon},
        "model_training_parameters": PARAMETERS[model],
    }
    folder = build / "article" / f"{model}-h{horizon}"
    found = run_exam(exam, folder, {"freqai": freqai}, model=model, model_path=PATHS[model])
    return exam, found
