"""Search and hyperopt benchmarks: both run on saved predictions, and their reports are complete."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks.hyperopt import __main__ as hyperopt
from benchmarks.saved_run import (
    BenchmarkFailed,
    Periods,
    SavedRun,
    generated_candles,
    open_saved_run,
)
from benchmarks.search import __main__ as search


DAYS = (datetime(2024, month, day, tzinfo=UTC) for month, day in ((4, 1), (5, 1), (5, 31)))
SMALL = Periods(*DAYS)
PAIRS = ["BTC/USDT:USDT", "ETH/USDT:USDT"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SavedRun]:
    """Two windows of a generated market, predicted by a network of one epoch."""
    folder = tmp_path_factory.mktemp("saved")
    parameters = {"units": 3, "num_lstm_layers": 1, "epochs": 1}
    settings = {
        "exchange": {"pair_whitelist": PAIRS},
        "freqai": {"train_period_days": 20, "model_training_parameters": parameters},
    }
    datadir = generated_candles(folder / "data", SMALL, train_days=20)
    with open_saved_run(folder / "run", datadir, SMALL, settings) as opened:
        yield opened


@pytest.mark.slow
def test_search_reproduces_its_best_epoch(saved: SavedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest search ends in a report, whose best epoch a backtest gave to the cent."""
    monkeypatch.setattr(search, "THRESHOLDS_BUY", (0.2,))
    monkeypatch.setattr(search, "THRESHOLDS_SELL", (0.0, -0.3))
    figures = search.search_and_test(saved, epochs=3, random_state=1)
    assert not saved.parameters.exists()
    assert len(figures["thresholds"]) == 2
    text = search.as_markdown(figures)
    assert f"held out {SMALL.held_out}" in text
    assert all(f"| {coin} |" in text for coin in ("BTC", "ETH"))


@pytest.mark.slow
def test_both_forms_of_an_epoch_trade_alike(saved: SavedRun) -> None:
    """The smallest comparison ends in a report, and only FreqAI keeps its training days."""
    figures = hyperopt.measure(saved, sets=2, rounds=1, epochs=2)
    assert figures["epochs"]["trades"]["most"] > 0
    assert figures["frames"]["FreqAI"]["rows"] > figures["frames"]["plain"]["rows"]
    text = hyperopt.as_markdown(figures)
    assert all(f"| {form} | " in text for form in hyperopt.FORMS)


def test_ratio_is_of_the_same_parameters() -> None:
    """Times of both forms are compared round by round and pair by pair."""
    found = hyperopt.summary(np.array([[[2.0, 4.0], [8.0, 8.0]], [[1.0, 2.0], [8.0, 8.0]]]))
    assert found["ratio_by_round"] == [2.0, 1.0]
    assert found["ratio_of_pairs"] == 1.5
    assert found["ratio"] == round(6.0 / 5.0, 3)
    assert found["plain"]["median"] == 5.0


def test_a_search_of_part_of_a_window_is_refused() -> None:
    """FreqAI finds saved predictions only where windows begin, so other days are an error."""
    start, split, end = SMALL.start, SMALL.split.replace(day=2), SMALL.end
    with pytest.raises(ValueError, match="30 days"):
        Periods(start, split, end)


def test_missing_candles_are_named(tmp_path: Path) -> None:
    """Without candles the message says which folder, and how to fill it."""
    with (
        pytest.raises(BenchmarkFailed, match=r"nowhere.*download-data"),
        open_saved_run(tmp_path / "run", tmp_path / "nowhere"),
    ):
        pass
