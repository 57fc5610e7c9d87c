"""What a user pays: seconds and memory of a pooled training by pairs, timeframe and days.

    python -m benchmarks.cost

Each case is a process of its own. It prepares random rows of every pair in the shape of the example
configuration, solves the ridge regressions and trains two epochs, of which the second counts.
Cases with more rows than `MOST_ROWS` are extrapolated by a straight line through the others. Writes
`cost.json` and `cost.md` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.cost.measure import FEATURES, WIDTH, measure
from benchmarks.reports import environment, render, write


HERE = Path(__file__).resolve().parent
CANDLES_A_DAY = {"1h": 24, "5m": 288}
PAIRS, DAYS = (1, 10, 50), (90, 365)
MOST_ROWS = 450_000
EPOCHS = 50  # of a typical training; at most 100
SIZES_GB = (4, 8, 16)


def cases(
    pairs: Sequence[int] = PAIRS, days: Sequence[int] = DAYS, most_rows: int = MOST_ROWS
) -> list[dict[str, Any]]:
    """Measure every case that is small enough, and extrapolate the others.

    :return: pairs, timeframe, days, rows (of all pairs), `measured` and the figures.
    """
    found: list[dict[str, Any]] = [
        {"pairs": count, "timeframe": timeframe, "days": length, "rows": count * length * candles}
        for timeframe, candles in CANDLES_A_DAY.items()
        for length in days
        for count in pairs
    ]
    for case in found:
        case["measured"] = case["rows"] <= most_rows
        if case["measured"]:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rows = case["rows"] // case["pairs"]
                case |= process.submit(measure, case["pairs"], rows).result()
            print(case, flush=True)
    lines = fit([case for case in found if case["measured"]])
    for case in found:
        if not case["measured"]:
            case |= {what: base + each * case["rows"] for what, (base, each) in lines.items()}
    return found


def fit(measured: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Fit figure = base + each × rows by least squares of relative errors.

    :return: figure → (base, each).
    """
    rows = np.array([case["rows"] for case in measured], float)
    lines = {}
    for what in ("prepare", "epoch", "peak_mb"):
        values = np.array([case[what] for case in measured])
        design = np.column_stack([np.ones_like(rows), rows]) / values[:, None]
        base, each = np.linalg.lstsq(design, np.ones_like(rows), rcond=None)[0]
        lines[what] = (float(base), float(each))
    return lines


def as_markdown(found: dict[str, Any]) -> str:
    """The report: a row per case, and what fits into so much memory."""
    rows = [
        {
            "pairs": case["pairs"],
            "timeframe": case["timeframe"],
            "days": case["days"],
            "rows": f"{case['rows']:,}",
            "preparation, s": f"{case['prepare']:.1f}",
            "an epoch, s": f"{case['epoch']:.2f}",
            f"{EPOCHS} epochs, min": f"{(case['prepare'] + EPOCHS * case['epoch']) / 60:.1f}",
            "peak, MB": f"{case['peak_mb']:,.0f}",
            "": "" if case["measured"] else "extrapolated",
        }
        for case in found["cases"]
    ]
    measured = [case for case in found["cases"] if case["measured"]]
    lines = fit(measured)
    base, each = lines["peak_mb"]
    fits = []
    for size in SIZES_GB:
        most = (size * 1000 - base) / each
        years = {name: most / candles / 365 for name, candles in CANDLES_A_DAY.items()}
        shown = {f"pairs × years at {name}": f"{value:,.1f}" for name, value in years.items()}
        fits.append({"memory, GB": size, "rows": f"{most:,.0f}", **shown})
    off = {
        what: max(abs(line[0] + line[1] * one["rows"] - one[what]) / one[what] for one in measured)
        for what, line in lines.items()
    }
    start = float(np.median([case["start"] for case in measured]))
    return render(
        HERE / "cost.md.j2",
        environment=found["environment"],
        rows=rows,
        fits=fits,
        lines=lines,
        off=off,
        start=start,
        features=FEATURES,
        width=WIDTH,
    )


def main(
    output: Annotated[Path, typer.Option(help="folder of cost.json and cost.md")] = HERE,
) -> None:
    """Measure, extrapolate and write the report."""
    found = {"environment": environment(), "cases": cases()}
    text = as_markdown(found)
    write(output, "cost", found, text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
