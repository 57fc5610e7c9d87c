"""End to end: a machine that only predicts, without TensorFlow and Keras.

Both are hidden from the processes that the tests start.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from workshop import Workshop, open_workshop

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.rehearse.rehearsal import PARAMETERS, Rehearsal
from freqai_lstm.rehearse.summary import read_history


pytestmark = pytest.mark.slow

HIDING = """
import sys

sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them raises ModuleNotFoundError
"""
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
    folder = tmp_path_factory.mktemp("hiding")
    (folder / "sitecustomize.py").write_text(HIDING)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


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


def test_saved_models_serve_a_dry_run(tmp_path: Path, hiding: dict[str, str]) -> None:
    """A bot with a backtest's models predicts each candle and trains nothing."""
    quick = {"freqai": {"model_training_parameters": {"epochs": 1}}}
    rehearsal = Rehearsal(tmp_path / "work", minutes=5, from_backtest=True, overrides=quick)

    def predicted() -> dict[str, int]:
        history = read_history(rehearsal.models)
        return {pair: int((of["do_predict"] == 1).sum()) for pair, of in history.items()}

    rehearsal.prepare()
    with LoopbackExchange(rehearsal.workdir / "market", live="1m", ahead=200) as exchange:
        rehearsal.configs.append(exchange.write_config(rehearsal.workdir / "endpoints.json"))
        rehearsal.download()
        rehearsal.backtest()
        assert list((rehearsal.models / "networks").glob("*.keras"))
        with rehearsal.bot(hiding) as bot:
            deadline = time.monotonic() + 240
            while min(predicted().values(), default=0) < 2 and time.monotonic() < deadline:
                bot.watch(2)
            said = bot.output()  # freqtrade may log an error when SIGINT comes in a commit
            bot.interrupt()
    assert "Starting training" not in said
    assert " - ERROR - " not in said
    found = predicted()
    assert found.keys() == {*rehearsal.pairs}
    assert min(found.values()) >= 2, found
