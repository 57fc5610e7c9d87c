"""The speed benchmark: a small one runs from the backtest to the newest candle and the report."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.exam import Exam
from benchmarks.places import PAIRS
from benchmarks.reports import environment
from benchmarks.speed.__main__ import AIMS, JOBS, as_markdown, measure, median
from benchmarks.speed.jobs import LIGHTGBM, OURS, Size, backtest
from freqai_lstm.market import generate_market


@pytest.mark.slow
def test_jobs_end_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are finite and above zero. The newest candle needs the backtest's models."""
    start, pairs = datetime(2024, 5, 1, tzinfo=UTC), PAIRS[:1]
    stop = start + timedelta(days=10)
    generate_market(tmp_path / "data", pairs, start=start - timedelta(days=170), end=stop)
    size = Size(
        Exam("speed", start, stop, 5, 30, pairs, tmp_path / "data"),
        teachers=pairs,
        border=start,
        parameters={"history_days": 120, "epochs": 1, "units": 4, "batch_size": 64},
        calls=5,
        trainings=2,
    )
    monkeypatch.setitem(JOBS, "backtest", (backtest, (OURS,)))
    found = {name: measure(name, size, tmp_path / "work") for name in ("backtest", "live")}
    for of_job in found.values():
        for (figures,) in of_job.values():
            assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    assert found["backtest"][OURS][0]["networks"] == 1
    assert median(found["backtest"], "trainings") == 2
    found["backtest"][LIGHTGBM] = [{**found["backtest"][OURS][0], "seconds": 1e9}]
    text = as_markdown({"environment": environment(), "jobs": found})
    assert f"| {LIGHTGBM} |" in text
    assert all(what in text for what, *_, figure, _ in AIMS if figure in found["live"][OURS][0])
