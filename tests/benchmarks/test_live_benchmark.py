"""The live benchmark: a bot's trainings and predictions run, and the report tells of both."""

from pathlib import Path

import pytest

from benchmarks.live import __main__ as live


TINY = {"units": 3, "num_lstm_layers": 1, "epochs": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of ten days, with few features and short windows."""
    for name, value in (("TRAIN_DAYS", 10), ("FEATURES", 8), ("WIDTH", 4)):
        monkeypatch.setattr(live, name, value)


def test_the_report_has_every_figure() -> None:
    """The smallest run measures memory, latency and a pass over all pairs."""
    figures = live.measure(trainings=10, calls=3, pairs=2, parameters=TINY)
    assert len(figures["memory_mb"]) == 10
    assert figures["network_alone_idle"]["p50_ms"] > 0
    assert figures["idle"]["p50_ms"] > 0
    assert figures["while_training"]["p99_ms"] > 0
    text = live.as_markdown(figures)
    assert f"| one pass over 2 pairs, idle | {figures['pass_of_all_pairs_s']} s |" in text


def test_every_pair_has_a_model_of_its_own(tmp_path: Path) -> None:
    """A pass over all pairs predicts each from its own files, as in a bot."""
    pairs = ["A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT"]
    bot = live.Bot(tmp_path, pairs, TINY)
    bot.train_all(pairs)
    assert all(bot.predict(pair) > 0 for pair in pairs)
    assert len(list(tmp_path.rglob("*_model.keras"))) == len(pairs)
