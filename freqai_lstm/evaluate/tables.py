"""The evaluation in the terminal: skill per target, the score's entries, the verdict."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from freqai_lstm.evaluate.report import TITLES, shown


TONES = {"good": "green", "neutral": "white", "bad": "red"}


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the tables, the notes and the verdict, in this order."""
    table = Table("Out of sample", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("R²", "IC", "difference in R² from", ""):
        table.add_column(title, justify="left" if not title else "right")
    for target, of in report["targets"].items():
        skill = [shown(of["mean"]["model"][name]["value"]) for name in ("r2", "rank_correlation")]
        for number, (name, skills) in enumerate(of["differences"].items()):
            first = [target, *skill] if number == 0 else [""] * 3
            found = skills["r2"]
            span = f" ({shown(found['low'])} to {shown(found['high'])})"
            word = found["word"] if of["look_ahead"] != 0 else "same candle, no forecast"
            table.add_row(*first, f"{TITLES[name]} {shown(found['value'])}{span}", word)
        table.add_section()
    console.print(table)
    if report["score"]:
        table = Table("T as a signal", box=box.SIMPLE_HEAD, pad_edge=False)
        forms = {"R²": "r2", "Corr.": "correlation", "Sign": "sign_accuracy"}
        forms |= {"Precision": "precision", "Recall": "recall"}
        for title in forms:
            table.add_column(title, justify="right")
        for pair, of in report["score"]["pairs"].items():
            for name in (name for name in TITLES if name in of):
                label = pair.split(":")[0] if name == "model" else f"  {TITLES[name]}"
                table.add_row(label, *(shown(of[name][figure]) for figure in forms.values()))
            table.add_section()
        console.print(table)
    for note in report["notes"]:
        console.print(f"Note: {note}", markup=False, highlight=False)
    found = report["headline"]
    text = f"{found['title']}\n{found['detail']}\n{found['doubt']}."
    console.print(Panel(text, title="The forecast", border_style=TONES[found["tone"]]))
