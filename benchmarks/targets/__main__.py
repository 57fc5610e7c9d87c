"""Command line of the exam: run, report, alarm, horizons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.reports import write
from benchmarks.targets.alarm import as_markdown, measure_alarm
from benchmarks.targets.contenders import CONTENDERS, Contender
from benchmarks.targets.horizons import horizons
from benchmarks.targets.report import write_report
from benchmarks.targets.results import Results
from benchmarks.targets.scores import measure
from benchmarks.targets.setup import BUILD, EXAMS, HERE, Exam
from freqai_lstm.freqtrade_run import FreqtradeFailed


app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()
RangeName = Annotated[str, typer.Argument(help=f"one of {', '.join(EXAMS)}")]


@app.command()
def run(
    exam_name: RangeName,
    only: Annotated[list[str] | None, typer.Option(help="contenders; all by default")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="1, and 3 of ours, by default")] = None,
    again: Annotated[bool, typer.Option(help="run also what is done")] = False,
) -> None:
    """Run contenders, one after the other; those that are done are passed over."""
    exam = _exam(exam_name)
    results = Results(exam)
    for contender in _contenders(exam, only):
        if reason := contender.missing():
            console.print(f"{contender.name}: passed over, {reason}.")
            continue
        for seed in (seeds or range(1, contender.seeds + 1)) if contender.seed else [1]:
            if not again and results.get(contender, seed):
                console.print(f"{contender.name}, seed {seed}: done before.")
                continue
            try:
                result = results.make(contender, seed)
            except FreqtradeFailed as error:
                console.print(f"{contender.name}, seed {seed}, failed:\n{error}", markup=False)
                raise typer.Exit(1) from error
            console.print(f"{contender.name}, seed {seed}: {result.seconds:.0f} s.")


@app.command()
def report(
    exam_name: RangeName,
    only: Annotated[list[str] | None, typer.Option(help="contenders; all that ran")] = None,
    output: Annotated[Path, typer.Option(help="folder for RANGE.json, .md and .svg")] = HERE,
) -> None:
    """Compare what was run, on the candles that all of them predict."""
    exam = _exam(exam_name)
    results = Results(exam)
    found = [
        result
        for contender in _contenders(exam, only)
        for seed in results.seeds(contender)
        if (result := results.get(contender, seed))
    ]
    if not found:
        console.print(
            f"No results of {exam_name} in {BUILD}. First: python -m benchmarks.targets run "
            f"{exam_name}"
        )
        raise typer.Exit(1)
    for file in write_report(exam, measure(exam, found), output):
        console.print(str(file))


@app.command()
def alarm(
    exam_name: RangeName,
    output: Annotated[Path, typer.Option(help="folder for alarm.json and .md")] = HERE,
) -> None:
    """What the alarm would have done with the predictions of LSTMRegressor, seed 1."""
    exam = _exam(exam_name)
    result = Results(exam).get(CONTENDERS["lstm"], 1)
    if result is None:
        console.print(f"First: python -m benchmarks.targets run {exam_name} --only lstm --seeds 1")
        raise typer.Exit(1)
    figures = measure_alarm(exam, result)
    write(output, "alarm", figures, as_markdown(figures))


app.command()(horizons)


def _exam(name: str) -> Exam:
    if name not in EXAMS:
        raise typer.BadParameter(f"expected one of {', '.join(EXAMS)}, got {name!r}")
    return EXAMS[name]


def _contenders(exam: Exam, names: list[str] | None) -> list[Contender]:
    """Those that were named, else those of the exam, else all."""
    unknown = sorted(set(names or []) - set(CONTENDERS))
    if unknown:
        raise typer.BadParameter(f"no contender {unknown}; known are {', '.join(CONTENDERS)}")
    return [CONTENDERS[name] for name in names or exam.contenders or CONTENDERS]


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.targets")
