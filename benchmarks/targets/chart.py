"""R² by label and contender as an SVG: a line per label, a mark per contender.

The picture has a white background of its own, so it reads the same on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.targets.contenders import CONTENDERS


WIDTH, LEFT, RIGHT, TOP, STEP = 900, 290, 870, 64, 36
LOWEST, HIGHEST = -0.2, 1.0  # of R²; what lies below is drawn as an arrow at the edge
LEGEND_COLUMNS, LEGEND_STEP = 3, 24
APART = 26  # over which the marks of a label are spread
INK, PALE = "#1f2937", "#d1d5db"
# Shape and colour tell a contender; shape alone tells its kind.
STYLES = {
    "flat": ("diamond", "#b0b7c3"),
    "persistence": ("diamond", "#6b7280"),
    "har": ("diamond", "#111827"),
    "ridge-own-60": ("square", "#e69f00"),
    "ridge-own-150": ("square", "#e69f00"),
    "ridge-own-730": ("square", "#a16207"),
    "lightgbm": ("square", "#008f66"),
    "xgboost": ("square", "#b8478b"),
    "previous": ("circle", "#9db8ee"),
    "lstm-regression": ("circle", "#3b1fa8"),
    "lstm-network": ("circle", "#0a7e8c"),
    "lstm": ("circle", "#0047bb"),
}
OTHER_STYLES = (("circle", "#3b1fa8"), ("circle", "#0a7e8c"), ("circle", "#7c3aed"))


def draw(figures: Mapping[str, Any]) -> str:
    """The picture of the figures from `scores.measure`."""
    labels = list(figures["labels"])
    # Figures of some of the windows are no figures of the others.
    contenders = {n: one for n, one in figures["contenders"].items() if one["every"] == 1}
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
        f'<text x="{RIGHT}" y="30" text-anchor="end" font-size="14">arrow: below {LOWEST:g}</text>',
        *_axis(bottom),
    ]
    for number, label in enumerate(labels):
        y = TOP + STEP * (number + 0.5)
        title = escape(figures["labels"][label]["title"])
        parts.append(f'<text x="{LEFT - 14}" y="{y + 5}" text-anchor="end">{title}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}" stroke="{PALE}"/>')
        # This project's marks come last, on top of the others.
        for name in sorted(contenders, key=_ours):
            made = figures["labels"][label]["contenders"].get(name)
            if made and made["r2"] is not None:
                position = list(contenders).index(name)
                # Apart, so that no mark covers another.
                apart = APART * ((position + 0.5) / len(contenders) - 0.5)
                parts.append(_placed(position, name, made["r2"], y + apart))
    for position, (name, contender) in enumerate(contenders.items()):
        x = 30 + (position % LEGEND_COLUMNS) * 285
        y = bottom + 46 + LEGEND_STEP * (position // LEGEND_COLUMNS)
        weight = ' font-weight="bold"' if _ours(name) else ""
        parts.append(_mark(position, name, x, y))
        title = escape(contender["title"])
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
    _, colour = _style(position, name)
    return f'<path d="M{_x(LOWEST) - 9:g} {y:g} l9 -5 v10 z" fill="{colour}"/>'


def _mark(position: int, name: str, x: float, y: float) -> str:
    shape, colour = _style(position, name)
    style = f'fill="{colour}" stroke="white" stroke-width="1"'
    if shape == "square":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:g}" width="9" height="9" {style}/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 5.5:g} l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 z" {style}/>'
    return f'<circle cx="{x:.1f}" cy="{y:g}" r="6" {style}/>'


def _style(position: int, name: str) -> tuple[str, str]:
    return STYLES.get(name, OTHER_STYLES[position % len(OTHER_STYLES)])


def _ours(name: str) -> bool:
    return name in CONTENDERS and CONTENDERS[name].ours


def _x(r2: float) -> float:
    return LEFT + (RIGHT - LEFT) * (r2 - LOWEST) / (HIGHEST - LOWEST)
