"""Training days and retraining: variants are compared on the same candles."""

from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.reports import environment
from benchmarks.retraining.__main__ import DEFAULT, VARIANTS, as_markdown, compare
from benchmarks.targets.labels import LABELS, add_labels
from benchmarks.targets.results import Result
from benchmarks.targets.setup import Exam
from freqai_lstm.market import generate_market


def test_better_predictions_have_a_positive_difference(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A variant that is nearer to every label is ahead of the first, beyond its interval."""
    datadir, pair = tmp_path_factory.mktemp("market"), "BTC/USDT:USDT"
    start, stop = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    generate_market(datadir, [pair], start=start, end=stop)
    exam = Exam("small", datetime(2024, 5, 1, tzinfo=UTC), stop, 31, 40, (pair,), datadir)
    truth = add_labels(exam.candles(pair)).assign(pair=pair, do_predict=1)
    truth = truth[truth["date"] >= exam.start].reset_index(drop=True)
    rng = np.random.default_rng(1)

    def result(name: str, seed: int, noise: float) -> Result:
        made = truth.copy()
        for label in LABELS.values():
            column = made[label.column]
            made[label.column] = column + noise * column.std() * rng.normal(size=len(made))
        return Result(name, seed, made, seconds=2.0, cpu_seconds=3.0)

    results = {
        DEFAULT: [result(DEFAULT, seed, 0.8) for seed in (1, 2)],
        "nearer": [result("nearer", seed, 0.2) for seed in (1, 2)],
    }
    found = compare(exam, results)
    assert found[DEFAULT]["mean"] == pytest.approx(1 - 0.8**2, abs=0.05)
    assert found["nearer"]["mean"] == pytest.approx(1 - 0.2**2, abs=0.02)
    difference = found["nearer"]["difference"]
    assert difference["low"] > 0.4
    assert difference["low"] < difference["value"] < difference["high"]
    page = {"environment": environment(), "range": exam.timerange, "variants": found}
    assert "| nearer |" in as_markdown(page)


def test_variants_differ_from_the_default_by_what_their_names_say() -> None:
    """Days of training and days between two trainings are those of the name."""
    assert next(iter(VARIANTS)) == DEFAULT
    for name, variant in VARIANTS.items():
        assert name.startswith(f"{variant.train_days} days")
    assert VARIANTS["150 days, each week"].window_days == 7
