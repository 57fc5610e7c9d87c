"""How fast, beside what a user would pick instead: every job of `speed.md`, contenders in turns.

    python -m benchmarks.speed [JOB …] [--rounds 5] [--again]

Without names all jobs run. Each contender has a process of its own, and in every round they are
asked one after the other, each round beginning with another one. A finished job is merged into
`speed.json`, and `speed.md` is written anew, so jobs can run one by one. PyTorch (`pip install
torch`) is needed for its contenders alone; without it they are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from benchmarks.places import BUILD
from benchmarks.reports import environment, write
from benchmarks.speed.jobs import JOBS, available
from benchmarks.speed.report import as_markdown
from benchmarks.speed.worker import Worker


HERE = Path(__file__).resolve().parent


def run_job(name: str, size: dict[str, Any], rounds: int, folder: Path) -> dict[str, Any]:
    """Measure all contenders of a job in turns.

    :param folder: scratch that the job's contenders share.
    :return: size, rounds, `facts` by contender, and `rounds_of`: figures by contender and round.
    """
    job, folder = JOBS[name], folder.resolve()
    contenders = available(job.contenders)
    started, load = perf_counter(), os.getloadavg()[0]
    facts: dict[str, Any] = {}
    rounds_of: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
    with ExitStack() as kept:
        workers = {}
        if not job.fresh:
            for contender in contenders:
                print(f"{name}: {contender} gets ready …", flush=True)
                workers[contender] = kept.enter_context(Worker(name, contender, size, folder))
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
        "load_average": [round(load, 2), round(os.getloadavg()[0], 2)],
        "environment": environment(),
        "left_out": [c for c in job.contenders if c not in contenders],
        "facts": facts,
        "rounds_of": rounds_of,
    }


def merge(output: Path, name: str, found: dict[str, Any]) -> str:
    """Put one job's figures beside those of the others and write the report; return its text."""
    path = output / "speed.json"
    everything = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    everything[name] = found
    everything = {job: everything[job] for job in JOBS if job in everything}
    text = as_markdown(everything)
    write(output, "speed", everything, text)
    return text


def main(
    jobs: Annotated[list[str] | None, typer.Argument(help=", ".join(JOBS))] = None,
    rounds: Annotated[int | None, typer.Option(help="instead of each job's own number")] = None,
    again: Annotated[bool, typer.Option(help="forget finished backtests")] = False,
    output: Annotated[Path, typer.Option(help="folder of speed.json and speed.md")] = HERE,
) -> None:
    """Measure jobs, all by default, and write the report."""
    unknown = sorted(set(jobs or []) - set(JOBS))
    if unknown:
        raise typer.BadParameter(f"no job {', '.join(unknown)}; there are {', '.join(JOBS)}")
    text = ""
    for name in jobs or JOBS:
        job = JOBS[name]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if name == "backtest":  # too long to lose when it is interrupted
                folder = _kept_folder(BUILD / "speed", job.size, again)
            text = merge(output, name, run_job(name, job.size, rounds or job.rounds, folder))
    print(text)


def _kept_folder(folder: Path, size: dict[str, Any], again: bool) -> Path:
    """A folder with the finished backtests of the same size."""
    kept = folder / "size.json"
    if again or not kept.is_file() or json.loads(kept.read_text()) != size:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(size))
    return folder


if __name__ == "__main__":
    typer.run(main)
