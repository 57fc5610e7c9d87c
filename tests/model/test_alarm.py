"""The sequential test: how often it is false, how soon it is right, when it ends."""

from typing import Any

import numpy as np
import pytest
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.alarm import (
    Limits,
    against_intervals,
    against_skill,
    evidence,
    states,
)


def bets(rows: int, seed: int, *, skill: float, missed: float) -> tuple[np.ndarray, np.ndarray]:
    """Bets on heavy-tailed labels in a market whose wildness comes and goes.

    :param skill: share of the label that the prediction knows; below 0 it is turned round.
    :param missed: share of labels outside of their intervals.
    """
    rng = np.random.default_rng(seed)
    wild = np.exp(np.cumsum(rng.normal(0, 0.1, rows)) % 2)
    known, rest = rng.standard_t(4, (2, rows)) * wild
    actual, zeros = known + rest, np.zeros(rows)
    outside = (rng.random(rows) < missed).astype(float)
    return (
        against_skill(actual, skill * known, zeros, np.ones(rows)),
        against_intervals(outside),
    )


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Without any skill, and with a quarter outside, the mean time to an alarm is above c bets."""
    limit = 60.0
    # Predictions as far from the labels as the flat mean: the worst that the claim allows.
    waits = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        even = rng.choice([-1.0, 1.0], 3_000)
        found = evidence(even, against_intervals((rng.random(3_000) < 0.25).astype(float)))
        waits.append(int(np.argmax(found >= limit)) or 3_000)
    assert np.mean(waits) >= limit


@pytest.mark.parametrize("seed", range(5))
def test_a_good_model_raises_none_in_a_year(seed: int) -> None:
    """With some skill and the intervals meant, nothing happens in 2,000 bets."""
    assert evidence(*bets(2_000, seed, skill=0.4, missed=0.2)).max() < 60


@pytest.mark.parametrize(("skill", "missed"), [(-0.8, 0.2), (0.4, 0.6)])
def test_a_broken_model_is_found(skill: float, missed: float) -> None:
    """Predictions that are turned round, or intervals that miss, give an alarm in 60 bets."""
    waits = [
        int(np.argmax(evidence(*bets(500, seed, skill=skill, missed=missed)) >= 60)) or 500
        for seed in range(20)
    ]
    assert np.median(waits) <= 60


def test_stop_holds_until_the_evidence_is_below_warn() -> None:
    """Between the limits stop stays stop and good becomes warn."""
    found = states(np.array([1, 5, 12, 25, 12, 9, 12.0]), 10, 20)
    assert found == ["good", "good", "warn", "stop", "stop", "good", "warn"]


def test_recovery() -> None:
    """After a break of 100 bets, the capped evidence falls below warn within 150 good ones."""
    broken, healed = (
        bets(rows, 1, skill=skill, missed=missed)
        for rows, skill, missed in ((100, -0.8, 0.7), (150, 0.6, 0.15))
    )
    skill, intervals = (np.concatenate(pair) for pair in zip(broken, healed, strict=True))
    found = states(evidence(skill, intervals, most=4 * 700), 60, 700)
    assert "stop" in found
    assert found[-1] == "good"


def test_what_is_missing_is_no_bet() -> None:
    """NaN on either side leaves that side's evidence as it was."""
    gap = np.full(3, np.nan)
    assert evidence(gap, gap).tolist() == [1, 1, 1]
    one = np.array([1.0, np.nan])
    assert np.diff(evidence(one, np.full(2, np.nan))) == 0


def test_limits_are_days() -> None:
    """30 days of hourly candles 12 ahead are 60 bets, for ten tests at once 600."""
    assert Limits().bets(3600, 12) == (60, 730)
    assert Limits().bets(3600, 12, tests=10) == (600, 7300)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (7, "expected"),
        ({"warm": 3}, "warm"),
        ({"warn": 0}, "above 0"),
        ({"stop": True}, "number of days"),
        ({"warn": 400}, "at most stop"),
    ],
)
def test_wrong_limits_are_refused(block: Any, says: str) -> None:
    """The error says what was expected and what was got."""
    with pytest.raises(OperationalException, match=says):
        Limits.read(block)
