"""End to end: a machine that only predicts, without TensorFlow and Keras.

Both are hidden from the processes that the tests start. So they are from the bot of
tests/rehearse/test_bots.py that has a backtest's models.
"""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from conftest import hide_tensorflow
from workshop import Workshop, open_workshop

from freqai_lstm.rehearse.rehearsal import PARAMETERS


pytestmark = pytest.mark.slow

FREQAI: dict[str, Any] = {
    "feature_parameters": {"label_period_candles": 3},
    "model_training_parameters": {
        "units": 8,
        "epochs": 2,
        "learning_rate": 0.02,
        "network_days": 30,  # both windows begin in the same 30 days: one network serves them
    },
}


@pytest.fixture(scope="module")
def hiding(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a process in which neither library can be imported."""
    return hide_tensorflow(tmp_path_factory.mktemp("hiding"))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for all tests of this file, with months of candles for a network."""
    start = datetime(2023, 12, 1, tzinfo=UTC)
    with open_workshop(tmp_path_factory.mktemp("workshop"), start) as opened:
        yield opened


@pytest.fixture
def hidden(hiding: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide both libraries from the processes that the test starts."""
    for name, value in hiding.items():
        monkeypatch.setenv(name, value)


def test_a_training_is_refused_before_it_begins(workshop: Workshop, hidden: None) -> None:
    """One error says what is missing and what to do, with an exit code, and leaves no model."""
    run = workshop.run(identifier="refused", check=False, **FREQAI)
    assert run.returncode != 0
    (error,) = [line for line in run.errors if " raised exception" not in line]
    for part in (
        "no tensorflow and no keras",
        'pip install "freqai-lstm[train]"',
        "history_days 0",
    ):
        assert part in " ".join(error.split())
    assert run.output.count("Starting training") == 1
    assert "Training the shared network" not in run.output
    assert not list(workshop.models("refused").rglob("*_model.npz"))


def test_a_regression_is_trained(workshop: Workshop, hidden: None) -> None:
    """Without a network no training needs TensorFlow."""
    training = FREQAI["model_training_parameters"] | {"history_days": 0}
    run = workshop.run(identifier="ridge", **FREQAI | {"model_training_parameters": training})
    assert run.output.count("Starting training") == 4


def test_saved_models_backtest(
    workshop: Workshop, hiding: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models with a network give the same predictions and trades as where they were trained."""
    parameters = workshop.userdir / "strategies" / "ScoreStrategy.json"
    parameters.write_text(json.dumps(PARAMETERS))  # thresholds at which it trades
    run = workshop.run(identifier="saved", **FREQAI)
    assert "Training the shared network" in run.output
    trades, before = workshop.trades(), workshop.predictions("saved", "ETH")
    shutil.rmtree(workshop.models("saved") / "backtesting_predictions")
    for name, value in hiding.items():
        monkeypatch.setenv(name, value)
    again = workshop.run(identifier="saved", **FREQAI)
    assert "Starting training" not in again.output
    pd.testing.assert_frame_equal(workshop.trades(), trades)
    pd.testing.assert_frame_equal(workshop.predictions("saved", "ETH"), before)
