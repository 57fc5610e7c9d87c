"""The evaluation in the terminal: skill per target, the score's entries, trades, the verdicts."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from freqai_lstm.evaluate.words import of_seeds, shown, titled, with_spread


LISTED = 5  # groups of a label
TONES = {"good": "green", "neutral": "white", "bad": "red"}


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print tables, notes and verdicts.

    :param console: without markup, since names of labels and pairs may have brackets.
    """
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
            table.add_row(*first, f"{titled(name)} {shown(found['value'])}{span}", word)
        table.add_section()
    console.print(table)
    if report["score"]:
        table = Table("T as a signal", box=box.SIMPLE_HEAD, pad_edge=False)
        forms = {"R²": "r2", "Corr.": "correlation", "Sign": "sign_accuracy"}
        forms |= {"Precision": "precision", "Recall": "recall"}
        for title in forms:
            table.add_column(title, justify="right")
        for pair, of in report["score"]["pairs"].items():
            for name in (name for name in of if name != "predicted"):
                label = pair.split(":")[0] if name == "model" else f"  {titled(name)}"
                table.add_row(label, *(shown(of[name][figure]) for figure in forms.values()))
            table.add_section()
        console.print(table)
    if explanation := report["explanation"]:
        table = Table("Rests on (loss of R²)", "", box=box.SIMPLE_HEAD, pad_edge=False)
        for target, groups in explanation["importance"].items():
            table.add_row(target, resting_on(groups))
        console.print(table)
    for target in report["targets"] if report["models"] else ():
        table = Table(f"Models, {target}", "R²", "IC", "Profit", "Sharpe", box=box.SIMPLE_HEAD)
        for model in report["models"]:
            if of := model["targets"].get(target):
                trades = model["trades"] or {}
                table.add_row(
                    of_seeds(model),
                    with_spread(of["r2"]),
                    with_spread(of["rank_correlation"]),
                    with_spread(trades.get("profit"), "{:.1%}"),
                    with_spread(trades.get("sharpe"), "{:.2f}"),
                )
        console.print(table)
    for note in report["notes"]:
        console.print(f"Note: {note}", highlight=False)
    found, trades = report["headline"], report["trades"]
    text = f"{found['title']}\n{found['detail']}\n{found['doubt']}."
    console.print(Panel(text, title="The forecast", border_style=TONES[found["tone"]]))
    for run, beside in found["against"].items():
        text, tone = f"{beside['title']}\n{beside['detail']}", TONES[beside["tone"]]
        other = Text(f"Against {run}")  # a plain title would be markup
        console.print(Panel(text, title=other, border_style=tone))
    if not trades:
        console.print(Panel(report["without_trades"], title="The trades"))
        return
    table = Table("The trades", "Profit", "Drawdown", "Sharpe", box=box.SIMPLE_HEAD)
    for name, of in trades["costs"].items():
        ratio = [shown(of["sharpe"][key], "{:.2f}") for key in ("value", "low", "high")]
        money = [shown(of[key], "{:.1%}") for key in ("profit", "drawdown")]
        table.add_row(name, *money, f"{ratio[0]} ({ratio[1]} to {ratio[2]})")
    console.print(table)
    verdict = trades["verdict"]
    text = "\n".join([verdict["title"], verdict["detail"], *verdict["caveats"]])
    console.print(Panel(text, title="The trades", border_style=TONES[verdict["tone"]]))


def resting_on(groups: dict[str, Any]) -> str:
    """The most important groups with their loss of R²; those within two errors of zero are not."""
    found = [
        f"{group} {shown(of['value'], '{:.2f}')}"
        for group, of in groups.items()
        if of["value"] > 2 * of["error"]
    ]
    return ", ".join(found[:LISTED]) or "nothing that these candles can show"
