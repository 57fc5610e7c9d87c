"""What there is to measure: each job, its contenders, and the numbers that make it big or small."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.places import PAIRS
from benchmarks.speed import measure
from benchmarks.speed.backtest import backtest
from benchmarks.speed.measure import Prepared


THREE = ("ours", "torch", "keras")
FACTORS = (4, 16)
DIMENSIONS = ("rows", "conv_width", "features", "pairs")
POINTS = ("rows×1", *(f"{what}×{factor}" for what in DIMENSIONS for factor in FACTORS))
# Torch is a package of its own; these contenders cannot run without it.
NEED_TORCH = ("torch", "transformer")


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    :param setup: makes one contender ready.
    :param size: its numbers.
    :param tiny: what the tests replace in `size`, so that everything runs in seconds.
    :param fresh: a contender has a new process in every round (its peak of memory counts).
    """

    setup: Callable[[str, dict[str, Any], Path], Prepared]
    contenders: Sequence[str]
    size: dict[str, Any]
    tiny: dict[str, Any] = field(default_factory=dict)
    rounds: int = 5
    fresh: bool = False


SMALL = {"features": 120, "width": 24}
TINY = {"features": 5, "width": 4, "network": [2, 3]}
JOBS = {
    "backtest": Job(
        backtest,
        (*THREE, "transformer", "lightgbm"),
        {
            "pairs": list(PAIRS),
            "windows": 6,
            "train_days": 120,
            "horizon": 1,
            "only": {
                name: {"pairs": list(PAIRS[:1]), "windows": 1} for name in ("keras", "transformer")
            },
        },
        {
            "pairs": list(PAIRS[:1]),
            "windows": 1,
            "train_days": 20,
            "generated": True,
            "only": {},
            "parameters": {
                "ours": {"epochs": 2, "units": 4},
                "keras": {"epochs": 1, "units": 4, "layers": 2},
            },
        },
        rounds=1,
        fresh=True,
    ),
    "throughput": Job(
        measure.throughput,
        THREE,
        {**SMALL, "network": [4, 100], "windows": 1536, "batches": [32, 128, 512]},
        {**TINY, "windows": 40, "batches": [8]},
    ),
    "again": Job(
        measure.again,
        THREE,
        {**SMALL, "network": [1, 32], "rows": 2880, "epochs": 6},
        {**TINY, "rows": 60, "epochs": 3},
    ),
    "live": Job(
        measure.live,
        THREE,
        {**SMALL, "networks": [[1, 32], [2, 32], [4, 100]], "calls": 200},
        {**TINY, "networks": [[2, 3]], "calls": 3},
    ),
    "window": Job(
        measure.window,
        THREE,
        {**SMALL, "networks": [[1, 32], [4, 100]], "windows": 720, "calls": 5},
        {**TINY, "networks": [[2, 3]], "windows": 20, "calls": 3},
    ),
    "memory": Job(
        measure.memory,
        THREE,
        {
            "features": 2000,
            "width": 48,
            "network": [1, 32],
            "rows": 10_000,
            "windows": 1024,
            "keras_share": 8,
        },
        {**TINY, "rows": 80, "windows": 40, "keras_share": 2},
        rounds=3,
        fresh=True,
    ),
    "growth": Job(
        measure.growth,
        POINTS,
        {
            "network": [1, 32],
            "base": {"rows": 2880, "conv_width": 24, "features": 120, "pairs": 1},
        },
        {"network": [2, 3], "base": {"rows": 60, "conv_width": 4, "features": 5, "pairs": 1}},
    ),
    "start": Job(measure.start, ("stock", "plugins"), {}),
}


def available(contenders: Sequence[str]) -> list[str]:
    """Return those that can run here, in the given order."""
    torch = importlib.util.find_spec("torch") is not None
    return [name for name in contenders if torch or name not in NEED_TORCH]
