"""R² by label and contender as an SVG: a line per label, a mark per contender.

The picture has a white background of its own, so it reads the same on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.targets.contenders import CONTENDERS
from benchmarks.targets.labels import LABELS


WIDTH, LEFT, RIGHT, TOP, STEP = 900, 290, 870, 64, 36
LOWEST, HIGHEST = -0.2, 1.0  # of R²; what lies below is drawn as an arrow at the edge
LEGEND_COLUMNS, LEGEND_STEP = 3, 24
INK, PALE = "#1f2937", "#d1d5db"
# Okabe and Ito's colours, told apart with every colour vision; shapes tell them apart without.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#000000", "#8C6D31")
SHAPES = ("circle", "square", "diamond")
OURS = ("#9DB8EE", "#0047BB", "#3B1FA8", "#0A7E8C")  # the first is the previous release


def draw(figures: Mapping[str, Any]) -> str:
    """The picture of the figures from `scores.measure`."""
    labels = list(figures["labels"])
    contenders = figures["contenders"]
    bottom = TOP + STEP * len(labels)
    lines = -(-len(contenders) // LEGEND_COLUMNS)
    height = bottom + 44 + LEGEND_STEP * lines
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="15" fill="{INK}">',
        "<title>R² out of sample by label and contender</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="white"/>',
        '<text x="20" y="30" font-size="18" font-weight="bold">R² out of sample, mean of '
        "pairs: right is better</text>",
        *_axis(bottom),
    ]
    for number, label in enumerate(labels):
        y = TOP + STEP * (number + 0.5)
        title = escape(LABELS[label].title)
        parts.append(f'<text x="{LEFT - 14}" y="{y + 5}" text-anchor="end">{title}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}" stroke="{PALE}"/>')
        # This project's marks come last, on top of the others.
        for name in sorted(contenders, key=_ours):
            made = figures["labels"][label]["contenders"].get(name)
            if made and made["mean"]["r2"] is not None:
                parts.append(_placed(list(contenders).index(name), name, made["mean"]["r2"], y))
    for position, (name, contender) in enumerate(contenders.items()):
        x = 30 + (position % LEGEND_COLUMNS) * 285
        y = bottom + 46 + LEGEND_STEP * (position // LEGEND_COLUMNS)
        weight = ' font-weight="bold"' if _ours(name) else ""
        parts.append(_mark(position, name, x, y))
        title = escape(_brief(contender["title"]))
        parts.append(f'<text x="{x + 16}" y="{y + 5}"{weight}>{title}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axis(bottom: float) -> list[str]:
    parts = []
    for tenths in range(-2, 11, 2):
        x = _x(tenths / 10)
        colour = INK if tenths == 0 else PALE
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{tenths / 10:g}</text>')
    return parts


def _placed(position: int, name: str, r2: float, y: float) -> str:
    if r2 >= LOWEST:
        return _mark(position, name, _x(min(r2, HIGHEST)), y)
    x = _x(LOWEST)
    return f'<path d="M{x - 9} {y} l9 -6 v12 z" fill="{_colour(position, name)}"/>'


def _mark(position: int, name: str, x: float, y: float) -> str:
    colour, size = _colour(position, name), 8 if _ours(name) else 6
    style = f'fill="{colour}" stroke="white" stroke-width="1"'
    shape = "circle" if _ours(name) else SHAPES[position % len(SHAPES)]
    if shape == "square":
        side = 1.7 * size
        return (
            f'<rect x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" '
            f'height="{side:.1f}" {style}/>'
        )
    if shape == "diamond":
        d = 1.3 * size
        return f'<path d="M{x:.1f} {y - d:.1f} l{d} {d} l-{d} {d} l-{d} -{d} z" {style}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {style}/>'


def _colour(position: int, name: str) -> str:
    if _ours(name):
        return OURS[[n for n in CONTENDERS if _ours(n)].index(name) % len(OURS)]
    return COLOURS[position % len(COLOURS)]


def _ours(name: str) -> bool:
    return name in CONTENDERS and CONTENDERS[name].ours


def _brief(title: str) -> str:
    return title.replace("LSTMRegressor, previous release", "previous release")


def _x(r2: float) -> float:
    return LEFT + (RIGHT - LEFT) * (r2 - LOWEST) / (HIGHEST - LOWEST)
