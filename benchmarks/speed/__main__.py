"""How fast the model is, and how much memory it takes.

    python -m benchmarks.speed [backtest] [start] [network] [live] [--rounds 2]

`backtest` runs four pairs and six windows through freqtrade's command, in turns with FreqAI's
LightGBM; `start` runs the same when the models exist; `network` trains the shared network on three
years of twelve pairs; `live` predicts the newest candle as a bot does, and trains a pair a hundred
times. `start` and `live` need what `backtest` left in `build/benchmarks/speed`. A finished job is
merged into `speed.json`, and `speed.md` is written anew.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.places import BUILD
from benchmarks.reports import environment, environment_line, markdown_table, write
from benchmarks.speed.jobs import (
    LIGHTGBM,
    OURS,
    TWELVE,
    Figures,
    Size,
    backtest,
    fresh,
    live,
    network,
    start,
)


HERE = Path(__file__).resolve().parent
JOBS: dict[str, tuple[Callable[..., Figures], tuple[str, ...]]] = {
    "backtest": (backtest, (OURS, LIGHTGBM)),
    "start": (start, ()),
    "network": (network, ()),
    "live": (live, ()),
}
TITLES = {
    "backtest": "Walk-forward backtest: four pairs, six windows of 30 days, 120 training days",
    "start": "The same when the models exist",
    "network": f"Training of the shared network: {len(TWELVE)} pairs, three years of 1h",
    "live": "The newest candle, and a pair trained again and again",
}
# What, job, contender, figure, aim; `backtest` as a share of LightGBM's seconds.
AIMS = (
    ("the shared network, seconds", "network", "seconds", 150),
    ("the shared network, peak MB", "network", "peak_mb", 1500),
    ("newest candle through FreqAI, p50, ms", "live", "newest_p50_ms", 2),
    ("the network's part of that, ms", "live", "network_p50_ms", 0.25),
    ("while the network is trained, p99, ms", "live", "newest_while_training_p99_ms", 100),
    ("memory, rise over 100 trainings, MB", "live", "trainings_growth_mb", 20),
)
SHARE = 0.35  # of LightGBM's seconds, networks included


def measure(name: str, size: Size, folder: Path, rounds: int = 1) -> dict[str, list[Figures]]:
    """Run a job so many times; contenders take turns.

    :return: contender → the figures of each round.
    """
    job, contenders = JOBS[name]
    found: dict[str, list[Figures]] = {}
    for _ in range(rounds):
        for contender in contenders or (OURS,):
            given = (contender,) if contenders else ()
            found.setdefault(contender, []).append(fresh(job, size, folder, *given))
            print(f"{name}, {contender}: {found[contender][-1]}", flush=True)
    return found


def median(found: dict[str, list[Figures]], figure: str, contender: str = OURS) -> float:
    """Median of a figure over the rounds."""
    return statistics.median(one[figure] for one in found[contender])


def as_markdown(everything: dict[str, Any]) -> str:
    """The text of `speed.md`: aims first, then a table per job."""
    jobs = everything["jobs"]
    aims = [
        {"what": what, "aim": f"≤ {aim:g}", "measured": f"{median(jobs[job], figure):.3g}"}
        for what, job, figure, aim in AIMS
        if job in jobs and figure in jobs[job][OURS][0]
    ]
    if "backtest" in jobs:
        share = statistics.median(
            ours["seconds"] / other["seconds"]
            for ours, other in zip(*(jobs["backtest"][of] for of in (OURS, LIGHTGBM)), strict=True)
        )
        what = "backtest, of LightGBM's seconds"
        aims.insert(0, {"what": what, "aim": f"≤ {SHARE:g}", "measured": f"{share:.2f}"})
    parts = [
        "# Speed and memory",
        "`python -m benchmarks.speed`",
        f"{environment_line(everything['environment'])} No GPU. Medians of the rounds.",
        markdown_table(aims),
    ]
    for name, found in jobs.items():
        rows = [
            {"who": contender}
            | {
                figure.replace("_", " "): f"{median(found, figure, contender):.4g}"
                for figure in found[OURS][0]
            }
            for contender in found
        ]
        parts += [f"## {TITLES[name]}", markdown_table(rows)]
    return "\n\n".join(parts) + "\n"


def main(
    jobs: Annotated[list[str] | None, typer.Argument(help=", ".join(JOBS))] = None,
    rounds: Annotated[int, typer.Option(help="of the backtests")] = 2,
    output: Annotated[Path, typer.Option(help="folder of speed.json and speed.md")] = HERE,
) -> None:
    """Measure jobs, all by default, and write the report."""
    unknown = sorted(set(jobs or []) - set(JOBS))
    if unknown:
        raise typer.BadParameter(f"no job {', '.join(unknown)}; there are {', '.join(JOBS)}")
    path = output / "speed.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["jobs"] if path.is_file() else {}
    for name in jobs or JOBS:
        several = rounds if name == "backtest" else 1
        kept[name] = measure(name, Size(), BUILD / "speed", several)
        figures = {
            "environment": environment(),
            "jobs": {job: kept[job] for job in JOBS if job in kept},
        }
        text = as_markdown(figures)
        write(output, "speed", figures, text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
