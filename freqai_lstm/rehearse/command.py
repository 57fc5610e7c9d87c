"""`freqai-lstm rehearse`: the real `freqtrade trade --dry-run` for some minutes, and a verdict.

A generated market is replayed as one-minute candles, FreqAI trains anew every few minutes, the
thresholds are low, so that within minutes there are trainings, predictions and trades. With
`--kill` the bot is killed (kill -9) half way and started again. With `--from-backtest` a backtest
trains the models first, and the bot is to predict with them from its first candle on, training
none itself. SIGINT ends it. Then its history, log and trades are read, and its predictions are
compared with those of the backtest path.

With `--fault` the market's regime, or the features, change after half the time, and it is told
after how many candles the alarm warned and stopped.

The exit code is not 0 when a training failed, an ERROR or a traceback was logged, candles were
missed or the comparison did not hold. In the work folder `summary.json` holds all figures, and
`rehearsal.html` what the terminal showed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from freqai_lstm.freqtrade_run import FreqtradeFailed
from freqai_lstm.rehearse.bot import BotFailed
from freqai_lstm.rehearse.fault import FaultName
from freqai_lstm.rehearse.parity import ParityFailed
from freqai_lstm.rehearse.rehearsal import NAMES, Moment, Rehearsal, RehearsalFailed


def rehearse(
    minutes: Annotated[float, typer.Option(help="how long the bot runs")] = 10,
    pairs: Annotated[int, typer.Option(min=1, max=len(NAMES), help="how many pairs")] = 2,
    kill: Annotated[bool, typer.Option("--kill", help="kill -9 half way, and start again")] = False,
    kill_at: Annotated[
        Moment | None, typer.Option(help="kill -9 at this moment after half the time")
    ] = None,
    from_backtest: Annotated[
        bool, typer.Option("--from-backtest", help="predict with models of a backtest")
    ] = False,
    fault: Annotated[
        FaultName | None, typer.Option(help="break this after half the time, with the alarm on")
    ] = None,
    workdir: Annotated[Path, typer.Option(help="is emptied first")] = Path("build/rehearsal"),
) -> None:
    """Run `freqtrade trade --dry-run` on a generated market, replayed as one-minute candles."""
    # `timeout` and `kill` must not leave a bot behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    console = Console(log_path=False, record=True, markup=False)  # paths may have brackets
    rehearsal = Rehearsal(
        workdir.resolve(),
        minutes=minutes,
        pairs=pairs,
        kill=kill_at or ("between" if kill else None),
        from_backtest=from_backtest,
        fault=fault,
        console=console,
    )
    try:
        summary = rehearsal.run()
    except (RehearsalFailed, BotFailed, ParityFailed, FreqtradeFailed) as error:
        typer.secho(f"The rehearsal failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interrupt:
        typer.secho("Interrupted; the bot was killed.", fg="red", err=True)
        raise typer.Exit(130) from interrupt
    if fault:
        for pair, found in summary["candles"].items():
            console.print(f"{pair}: {found}", markup=False, highlight=False)
        raise typer.Exit(0)
    conclude(console, summary, rehearsal.workdir)
    raise typer.Exit(1 if summary["problems"] else 0)


def conclude(console: Console, summary: dict[str, Any], workdir: Path) -> None:
    """Print the verdict, and write all that the console has shown as `rehearsal.html`."""
    console.print(verdict(summary))
    console.save_html(str(workdir / "rehearsal.html"))
    files = "summary.json, rehearsal.html, logs of the bot"
    console.print(f"{workdir}: {files}", soft_wrap=True)


def verdict(summary: dict[str, Any]) -> Panel:
    """The summary for a terminal: figures, warnings, and what failed, if anything did."""
    figures = Table.grid("what", "figure", padding=(0, 2))
    trades, parity = summary["trades"], summary["parity"]
    memory = "; ".join(f"{life['peak']} and {life['end']} MB" for life in summary["memory"])
    for what, figure in (
        ("minutes, pairs", f"{summary['minutes']}, {summary['pairs']}"),
        ("candles predicted", summary["candles_predicted"]),
        ("candles missed", summary["candles_missed"]),
        ("predictions not yet saved at kill -9", summary["candles_lost_by_kill"]),
        ("first prediction after the start", _seconds(*summary["first_prediction_seconds"])),
        ("trainings, failed", f"{summary['trainings']}, {summary['trainings_failed']}"),
        ("longest training", _seconds(summary["training_seconds_worst"])),
        ("trades, closed, short", f"{trades['all']}, {trades['closed']}, {trades['short']}"),
        ("pass over all pairs, median", _seconds(summary["pass_seconds_median"])),
        ("pass over all pairs, worst", _seconds(summary["pass_seconds_worst"])),
        ("latest end of a pass after a close", _seconds(summary["seconds_after_close_worst"])),
        ("memory, peak and end", memory),
        ("time to stop", _seconds(*summary["stop_seconds"])),
        ("live against backtest, candles", f"{parity['candles']} of {parity['models']} models"),
        (
            "live against backtest, worst",
            f"{parity['worst_difference']:.1e} label standard deviations",
        ),
    ):
        figures.add_row(what, str(figure))
    warnings = [f"Warning, {n} ×: {text}" for text, n in summary["warnings"].items()]
    problems = [f"Problem: {problem}" for problem in summary["problems"]]
    return Panel(
        Group(
            figures,
            *(Text(line, style="yellow") for line in warnings),
            *(Text(line, style="red") for line in problems),
        ),
        title=f"Rehearsal failed: {len(problems)} problems" if problems else "Rehearsal passed",
        border_style="red" if problems else "green",
    )


def _seconds(*values: float | None) -> str:
    return ", ".join("-" if value is None else f"{value:.2f} s" for value in values)
