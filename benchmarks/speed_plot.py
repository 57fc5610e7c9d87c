"""The plot of growth as a small SVG, so that the Markdown page shows it anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2


COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
WIDTH, HEIGHT, LEFT, TOP, SIDE = 720, 360, 60, 40, 260
FACTORS = (1, 2, 4)
HIGHEST = 8  # the axes are logarithmic: 1, 2, 4, 8


def growth_plot(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Draw one panel per kind (time, memory), one line per dimension.

    :param panels: kind to dimension to the growth at ×1, ×2 and ×4; dashed is linear growth.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, (kind, lines) in enumerate(panels.items()):
        left = LEFT + number * (SIDE + 80)
        parts += _axes(left, kind)
        parts.append(_line(left, FACTORS, "#888888", 'stroke-dasharray="5 4"'))
        for position, (name, values) in enumerate(lines.items()):
            colour = COLOURS[position]
            parts.append(_line(left, values, colour))
            y = TOP + 16 * (position + 1)
            parts.append(f'<text x="{left + 10}" y="{y}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(left: float, kind: str) -> list[str]:
    parts = [
        f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{kind}, times the base</text>',
        f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#333333"/>',
    ]
    for factor in FACTORS:
        x, _ = _place(left, factor, 1)
        parts.append(f'<text x="{x}" y="{TOP + SIDE + 18}" text-anchor="middle">×{factor}</text>')
    for value in (1, 2, 4, HIGHEST):
        _, y = _place(left, 1, value)
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value}</text>')
    return parts


def _line(left: float, values: Sequence[float], colour: str, more: str = "") -> str:
    places = [_place(left, factor, value) for factor, value in zip(FACTORS, values, strict=True)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" {more}/>'


def _place(left: float, factor: float, value: float) -> tuple[float, float]:
    inside = min(max(log2(max(value, 1e-9)), -1.0), log2(HIGHEST))  # at the edge, beyond it
    return left + SIDE * log2(factor) / log2(FACTORS[-1]), TOP + SIDE * (1 - inside / 3)
