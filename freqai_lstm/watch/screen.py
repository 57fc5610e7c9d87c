"""What `watch` found, on one screen."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from freqai_lstm.evaluate.words import shown


TONES = {"good": "green", "warn": "yellow", "stop": "red"}
TITLES = {
    "r2": "R²",
    "rank_correlation": "IC",
    "bias": "Bias",
    "coverage": "Coverage",
    "width": "Width",
    "interval_score": "Int. score",
}
WIDE = 120  # columns of a terminal that shows all figures
MARKS = {"below": " ↓", "above": " ↑", "inside": " ✓", None: ""}


def print_screen(report: dict[str, Any], console: Console) -> None:
    """Print figures by span and label, drift, work and trades, and the verdict last."""
    wide = console.width >= WIDE
    titles = {f: title for f, title in TITLES.items() if wide or f not in ("bias", "width")}
    others = {"regression_r2": "R² alone"}
    others |= {"flat_r2": "flat", "persistence_r2": "persistence"} if wide else {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Mean over the pairs", no_wrap=True)
    for title in ("Labels", *titles.values(), *others.values()):
        table.add_column(title, justify="right", no_wrap=True)
    for span, targets in report["spans"].items():
        table.add_row("All" if span == "all" else f"The last {span}", style="bold")
        for target, of in targets.items():
            if mean := of.get("mean"):
                figures = [shown(mean[f]["value"]) + MARKS[mean[f]["word"]] for f in titles]
                rest = [shown(mean[name]) for name in others]
                table.add_row(f"  {target}", f"{mean['candles']:.0f}", *figures, *rest)
    console.print(table)
    if report["promise"]:
        text = f"✓ inside, ↓ below, ↑ above nine of ten stretches of backtest {report['promise']}"
        console.print(text, markup=False, highlight=False)
    table = Table("Pair", "Newest", "Missed", "Model", "R² held out", box=box.SIMPLE_HEAD)
    table.add_column("Feature that moved most")
    for pair, of in report["health"]["pairs"].items():
        worst = next(iter(report["drift"].get(pair, [])), None)
        moved = (
            f"{worst['feature']} PSI {worst['psi']:.2f} ({worst['psi_usual']:.2f})"
            if worst
            else "–"
        )
        table.add_row(
            pair.split(":")[0],
            of["newest"][:16].replace("T", " "),
            str(of["missed"]),
            shown(of["age_hours"], "{:.1f} h"),
            f"{shown(of['held_out_r2'])} (alone {shown(of['regression_r2'])})",
            moved,
        )
    console.print(table)
    console.print(trades_line(report["trades"]), markup=False, highlight=False)
    for note in report["notes"]:
        console.print(f"Note: {note}", markup=False, highlight=False)
    text = "\n".join(report["reasons"] or ["Nothing speaks against it."])
    alarm = report["alarm"]
    if alarm["evidence"]:
        text += (
            f"\nEvidence against the model {alarm['evidence'][-1]:.1f}; "
            f"warn {alarm['warn']:.0f}, stop {alarm['stop']:.0f}"
        )
    title = f"{report['strategy']}, {report['identifier']}: {report['level']}"
    console.print(Panel(text, title=title, border_style=TONES[report["level"]]))


def trades_line(trades: dict[str, Any]) -> str:
    """The trades in a sentence."""
    if not trades["all"]:
        return f"No trades in {trades['database']}."
    text = (
        f"{trades['all']} trades, {trades['closed']} closed: {shown(trades['profit'], '{:+.2%}')}"
    )
    text += " each on average"
    if expected := trades["expected"]:
        text += (
            f" (of so many the backtest makes {expected['low']:+.2%} to {expected['high']:+.2%})"
        )
    costs = [shown(trades[f"{side}_cost"], "{:.1f}") for side in ("entry", "exit")]
    return f"{text}; fills worse than the candle's open by {costs[0]} and {costs[1]} basis points."
