"""How figures and names are put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from freqai_lstm.evaluate.intervals import BETTER, UNDECIDED, WORSE


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


def in_words(words: Mapping[str, str]) -> tuple[str, str]:
    """Tone and title of what is better, worse or undecided.

    :param words: name → word, as from `compare_skills`.
    :return: good where all is better, bad where anything is worse, else neutral; and the title.
    """
    names = {word: [name for name, of in words.items() if of == word] for word in words.values()}
    parts = [f"{word} than {listed(names[word])}" for word in (WORSE, BETTER) if word in names]
    if UNDECIDED in names:
        parts.append(f"{UNDECIDED} from {listed(names[UNDECIDED])}")
    title = "; ".join(parts)
    tone = "bad" if WORSE in names else "neutral" if UNDECIDED in names else "good"
    return tone, title[0].upper() + title[1:]


def shown(value: float | None, form: str = "{:.3f}") -> str:
    """The figure as text, or a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = form.format(value)
    return text.lstrip("+-") if not text.strip("+-0.%") else text


def of_seeds(model: Mapping[str, Any]) -> str:
    """Name a model of the table of models, with its number of seeds where there are several."""
    runs = model["runs"]
    return titled(model["name"]) + (f", {runs} seeds" if runs > 1 else "")


def with_spread(of: Mapping[str, float] | None, form: str = "{:.3f}") -> str:
    """Show a mean, and its standard deviation over several seeds."""
    if of is None:
        return "–"
    spread = shown(of["std"], form)
    return shown(of["mean"], form) + (f" ± {spread}" if spread != "–" else "")
