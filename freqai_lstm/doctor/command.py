"""`freqai-lstm doctor`: why are there no trades, no predictions, no end of trainings?

It names the rows of docs/symptoms.md that apply, the likeliest cause first, and what to change. The
exit code is 0 only where nothing is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from freqtrade.exceptions import FreqtradeException
from freqtrade.exchange import timeframe_to_seconds
from rich.console import Console

from freqai_lstm.doctor.checks import NEVER, STOPS, TOGETHER, TRADES, examine
from freqai_lstm.doctor.symptoms import Finding, read_log
from freqai_lstm.evaluate.command import quiet
from freqai_lstm.evaluate.options import Configs, Datadir, Userdir
from freqai_lstm.evaluate.setup import EvaluationFailed, load_config


# What comes first explains what comes later.
ORDER = (STOPS, TOGETHER, "The training diverged", NEVER, "A pair is stuck", TRADES)


def doctor(
    config: Configs,
    userdir: Userdir = Path("user_data"),
    datadir: Datadir = None,
    log: Annotated[
        Path | None, typer.Option(help="Log of a bot or backtest; default: the one configured.")
    ] = None,
) -> None:
    """Name the cause of no trades, equal predictions, do_predict 0, endless trainings.

    Reads configuration, candles, models, predictions and log. Exit code 0 only where nothing is
    wrong.
    """
    args: dict[str, Any] = {"config": [str(path) for path in config]}
    args |= {"user_data_dir": str(userdir)} | ({"datadir": str(datadir)} if datadir else {})
    try:
        with quiet():
            read = load_config(args)
            log = log or (Path(read["logfile"]) if read.get("logfile") else None)
            if log and not log.is_file():
                raise EvaluationFailed(f"Expected a log file at {log}, there is none.")
            found = examine(read)
            found += read_log(log, timeframe_to_seconds(read["timeframe"])) if log else []
    except (EvaluationFailed, FreqtradeException) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None
    tell(found, Console())
    raise typer.Exit(1 if any(finding.wrong for finding in found) else 0)


def tell(found: list[Finding], console: Console) -> None:
    """Print what is wrong, the likeliest cause first, then what is only worth knowing."""

    def line(text: str, style: str = "") -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True, style=style)

    places = {section: place for place, section in enumerate(ORDER)}
    ordered = sorted(
        found, key=lambda of: (not of.wrong, places.get(of.symptom.section, len(places)))
    )
    if not any(of.wrong for of in ordered):
        line("Nothing is wrong.", "green")
    for number, of in enumerate(ordered):
        row = of.symptom
        title = "Cause" if of.wrong and number == 0 else "Also" if of.wrong else "To know"
        style = "red" if title == "Cause" else "yellow" if of.wrong else ""
        line(f"{title}: {row.cause} ({row.section})", style)
        line(f"  seen: {of.evidence}")
        line(f"  do: {row.remedy}")
