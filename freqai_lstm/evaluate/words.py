"""How figures and names are put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


TITLES = {
    "model": "the model",
    "flat": "the flat mean",
    "persistence": "persistence",
    "ridge": "ridge",
    "lightgbm": "LightGBM",
    "har": "HAR",
}


def compared(report: Mapping[str, Any]) -> list[str]:
    """Everything that the model is compared with for some target, another run last."""
    names = {name for of in report["targets"].values() for name in of["differences"]}
    return sorted(names, key=[*TITLES, *sorted(names)].index)


def titled(name: str) -> str:
    """A predictor's name in a sentence; another run's is its own."""
    return TITLES.get(name, name)


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shown(value: float | None, form: str = "{:.3f}") -> str:
    """The figure as text, or a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = form.format(value)
    return text.lstrip("+-") if not text.strip("+-0.%") else text
