"""How fast, beside what a user would pick instead: every job of `speed.md`, contenders in turns.

    python -m benchmarks.speed [JOB …] [--rounds 5] [--size '{"windows": 2}'] [--again]

Without names all jobs run. Each contender has a process of its own, and in every round they are
asked one after the other, each round beginning with another one. A finished job is merged into
`speed.json`, and `speed.md` and `speed-growth.svg` are written anew, so jobs can run one by one.
PyTorch (`pip install torch`) is needed for its contenders alone; without it they are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import speed_jobs
from benchmarks.reports import environment
from benchmarks.speed_backtest import PAIRS, backtest
from benchmarks.speed_report import write_report
from benchmarks.speed_worker import Worker


HERE = Path(__file__).resolve().parent
WORK = HERE.parent / "build" / "speed"
THREE = ("ours", "torch", "keras")
POINTS = ("rows×1", "rows×2", "rows×4", "conv_width×2", "conv_width×4")
POINTS += ("features×2", "features×4", "pairs×2", "pairs×4")
# Torch is a package of its own; these contenders cannot run without it.
NEED_TORCH = ("torch", "transformer")


@dataclass(frozen=True)
class Job:
    """A job, its contenders, and the numbers that make it big or small.

    :param tiny: what the tests replace in `size`, so that everything runs in seconds.
    :param fresh: a contender has a new process in every round (its peak of memory counts).
    """

    setup: Callable[[str, dict[str, Any], Path], speed_jobs.Prepared]
    contenders: tuple[str, ...]
    size: dict[str, Any]
    tiny: dict[str, Any] = field(default_factory=dict)
    rounds: int = 5
    fresh: bool = False


SMALL = {"features": 120, "width": 24}
TINY = {"features": 5, "width": 4, "network": [2, 3]}
JOBS = {
    "backtest": Job(
        backtest,
        ("ours", "torch", "keras", "transformer", "lightgbm"),
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
        speed_jobs.throughput,
        THREE,
        {**SMALL, "network": [4, 100], "windows": 1536, "batches": [32, 128, 512]},
        {**TINY, "windows": 40, "batches": [8]},
    ),
    "again": Job(
        speed_jobs.again,
        THREE,
        {**SMALL, "network": [2, 32], "rows": 2880, "epochs": 6},
        {**TINY, "rows": 60, "epochs": 3},
    ),
    "live": Job(
        speed_jobs.live,
        THREE,
        {**SMALL, "networks": [[2, 32], [4, 100]], "calls": 200},
        {**TINY, "networks": [[2, 3]], "calls": 3},
    ),
    "window": Job(
        speed_jobs.window,
        THREE,
        {**SMALL, "networks": [[2, 32], [4, 100]], "windows": 720, "calls": 5},
        {**TINY, "networks": [[2, 3]], "windows": 20, "calls": 3},
    ),
    "memory": Job(
        speed_jobs.memory,
        ("ours", "torch", "keras"),
        {
            "features": 2000,
            "width": 48,
            "network": [2, 32],
            "rows": 10_000,
            "windows": 1024,
            "keras_share": 8,
        },
        {**TINY, "rows": 80, "windows": 40, "keras_share": 2},
        rounds=3,
        fresh=True,
    ),
    "growth": Job(
        speed_jobs.growth,
        POINTS,
        {
            "network": [2, 32],
            "base": {"rows": 2880, "conv_width": 24, "features": 120, "pairs": 1},
        },
        {"network": [2, 3], "base": {"rows": 60, "conv_width": 4, "features": 5, "pairs": 1}},
    ),
    "start": Job(speed_jobs.start, ("stock", "plugins"), {}),
}


def available(contenders: tuple[str, ...]) -> list[str]:
    """Those that can run here, in the given order."""
    torch = importlib.util.find_spec("torch") is not None
    return [name for name in contenders if torch or name not in NEED_TORCH]


def run_job(name: str, size: dict[str, Any], rounds: int, folder: Path) -> dict[str, Any]:
    """Measure all contenders of a job in turns.

    :param folder: scratch that the job's contenders share.
    :returns: size, rounds, `facts` by contender, and `rounds_of`: figures by contender and round.
    """
    job, folder = JOBS[name], folder.resolve()
    contenders = available(job.contenders)
    started, load = perf_counter(), os.getloadavg()
    facts: dict[str, Any] = {}
    rounds_of: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
    with ExitStack() as open_workers:
        workers = {}
        if not job.fresh:
            for contender in contenders:
                print(f"{name}: {contender} gets ready …", flush=True)
                worker = Worker(name, contender, size, folder)
                workers[contender] = open_workers.enter_context(worker)
        for number in range(rounds):
            # In the first round the order is as given: some contenders need what another left.
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                with ExitStack() as one:
                    worker = workers.get(contender) or one.enter_context(
                        Worker(name, contender, size, folder)
                    )
                    facts[contender] = worker.facts
                    figures = worker.round()
                rounds_of[contender].append(figures)
                shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
                print(f"{name}, round {number + 1}, {contender}: {shown}", flush=True)
    return {
        "size": size,
        "rounds": rounds,
        "seconds_of_job": round(perf_counter() - started, 1),
        "load_average": [round(load[0], 2), round(os.getloadavg()[0], 2)],
        "environment": environment(),
        "left_out": [c for c in job.contenders if c not in contenders],
        "facts": facts,
        "rounds_of": rounds_of,
    }


def merge(path: Path, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Put one job's figures into the file beside those of the others; returns all."""
    everything = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    everything[name] = found
    everything = {job: everything[job] for job in JOBS if job in everything}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(everything, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    return everything


def main(arguments: list[str] | None = None) -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=", ".join(JOBS))
    parser.add_argument("--rounds", type=int, help="instead of each job's own number")
    parser.add_argument("--size", type=json.loads, default={}, help="JSON, replaces job sizes")
    parser.add_argument("--again", action="store_true", help="forget finished backtests")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args(arguments)
    unknown = set(options.jobs) - set(JOBS)
    if unknown:
        parser.error(f"no job {', '.join(sorted(unknown))}; there are {', '.join(JOBS)}")
    for name in options.jobs or JOBS:
        size = JOBS[name].size | options.size
        rounds = options.rounds or JOBS[name].rounds
        if name == "backtest":  # too long to lose when it is interrupted
            folder = WORK / name
            kept = folder / "size.json"
            if options.again or not kept.is_file() or json.loads(kept.read_text()) != size:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(size))
            found = run_job(name, size, 1, folder)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                found = run_job(name, size, rounds, Path(scratch))
        write_report(merge(options.output / "speed.json", name, found), options.output)
    print((options.output / "speed.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
