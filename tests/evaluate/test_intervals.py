"""Differences of skill: sums per block give scikit-learn's figures, and the words are honest."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from freqai_lstm.evaluate.intervals import (
    BETTER,
    DRAWS,
    EXACT,
    UNDECIDED,
    WORSE,
    blocks_of,
    compare_skills,
    drawn_skills,
)
from freqai_lstm.evaluate.metrics import measure


def rows(days: int = 84, seed: int = 1, **noise: float) -> pd.DataFrame:
    """Two pairs whose label lies far from zero, and predictors that are it plus noise."""
    rng = np.random.default_rng(seed)
    frames = []
    for pair, level in (("A/B", 60_000.0), ("C/B", -3.0)):
        y = rng.normal(size=days * 24)
        values = {name: level + y + size * rng.normal(size=len(y)) for name, size in noise.items()}
        dates = pd.date_range("2024-01-01", periods=len(y), freq="h", tz="UTC")
        frames.append(pd.DataFrame({"pair": pair, "date": dates, "realised": level + y, **values}))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("skill", ["r2", "correlation", "rank_correlation"])
def test_skills_of_the_range_are_the_means_of_the_pairs(skill: str) -> None:
    """Row 0 equals `measure` of each pair, averaged; the draws scatter about it."""
    frame = rows(model=1.0, ridge=2.0)
    drawn = drawn_skills(frame, ["model", "ridge"], skill)
    assert drawn.shape == (1 + DRAWS, 2)
    for column, name in enumerate(("model", "ridge")):
        expected = [
            measure(of["realised"].to_numpy(), of[name].to_numpy())[skill]
            for _, of in frame.groupby("pair")
        ]
        assert drawn[0, column] == pytest.approx(np.mean(expected), abs=1e-6)
        assert drawn[1:, column].mean() == pytest.approx(drawn[0, column], abs=0.01)


def test_draws_equal_an_explicit_resampling() -> None:
    """A draw that takes each block once more or less is what pandas gives on those candles."""
    frame = rows(model=1.0, ridge=2.0)
    drawn = drawn_skills(frame, ["model"], "r2")[1:, 0]
    blocks, kind = blocks_of(frame["date"])
    assert (kind, len(np.unique(blocks))) == ("weeks", 12)
    rng = np.random.default_rng(5)
    explicit = []
    for _ in range(300):
        parts = [frame[blocks == block] for block in rng.integers(0, 12, 12)]
        of_pair = pd.concat(parts).groupby("pair")
        skills = [
            measure(p["realised"].to_numpy(), p["model"].to_numpy())["r2"] for _, p in of_pair
        ]
        explicit.append(np.mean(skills))
    assert np.std(drawn) == pytest.approx(np.std(explicit), rel=0.15)


def test_short_ranges_are_cut_into_days_and_shorter_ones_have_no_interval() -> None:
    """Five weeks: days. Five days: no draws, so nothing can be shown."""
    assert blocks_of(rows(35)["date"])[1] == "days"
    drawn = drawn_skills(rows(5, model=0.5, ridge=9.0), ["model", "ridge"], "r2")
    assert drawn.shape == (1, 2)
    assert compare_skills(drawn)["word"] == UNDECIDED


def test_words() -> None:
    """Better, worse, undecided by noise, and nothing to decide where both are exact."""

    def word(**noise: Any) -> str:
        frame = rows(**noise)
        return compare_skills(drawn_skills(frame, ["model", "ridge"], "r2"))["word"]

    assert word(model=1.0, ridge=2.0) == BETTER
    assert word(model=2.0, ridge=1.0) == WORSE
    assert word(model=1.0, ridge=1.0) == UNDECIDED
    assert word(model=0.0, ridge=0.005) == EXACT  # R² 1.000000 against 0.999975


def test_equal_predictors_are_rarely_called_different() -> None:
    """Over 60 markets with two equally good predictors the interval covers zero in most."""
    words = [
        compare_skills(drawn_skills(rows(70, seed, a=1.0, b=1.0), ["a", "b"], "r2"))["word"]
        for seed in range(60)
    ]
    assert words.count(UNDECIDED) >= 50


def test_intervals_are_the_same_every_time() -> None:
    """The seed is fixed."""
    frame = rows(model=1.0)
    np.testing.assert_array_equal(
        drawn_skills(frame, ["model"], "r2"), drawn_skills(frame, ["model"], "r2")
    )
