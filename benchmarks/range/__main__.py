"""Command line: backtest both strategies on a range, and write RANGE.json and RANGE.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.exam import Exam, failures_in_words
from benchmarks.range.backtests import ATR, EXAMS, FORECAST, STRATEGY, backtest
from benchmarks.range.figures import measure
from benchmarks.reports import environment, render, valued, write


HERE = Path(__file__).resolve().parent
app = typer.Typer(pretty_exceptions_enable=False)
NUMBERS = ("BREAKOUT", "HOLD", "STOP", "RISK", "MIN_RANGE", "MAX_WIDTH")
# Figure, its words, its format.
ROWS = (
    ("trades", "trades", "{:.0f}"),
    ("spread_percent", "spread of results, % of the balance", "{:.3f}"),
    ("spread_r", "spread of results, R", "{:.2f}"),
    ("mean_r", "mean result, R", "{:+.2f}"),
    ("distance", "distance of the stop, %", "{:.2f}"),
    ("stopped", "share stopped", "{:.2f}"),
    ("drawdown", "worst drawdown, %", "{:.1f}"),
    ("profit", "profit, %", "{:+.1f}"),
    ("sharpe", "Sharpe ratio", "{:+.2f}"),
    ("spread_error", "spread of ln(range / expected)", "{:.3f}"),
    ("bias", "mean of ln(range / expected)", "{:+.3f}"),
    ("inside", "ranges inside the 80 % interval", "{:.2f}"),
)


@app.command()
def main(
    name: Annotated[str, typer.Argument(help=f"one of {', '.join(EXAMS)}")],
    seeds: Annotated[list[int], typer.Option(help="of the model")] = [1, 2, 3],  # noqa: B006
    output: Annotated[Path, typer.Option(help="folder for RANGE.json and .md")] = HERE,
) -> None:
    """Backtest, measure and write the report."""
    if name not in EXAMS:
        raise typer.BadParameter(f"expected one of {', '.join(EXAMS)}, got {name!r}")
    with failures_in_words():
        markets = {exam.market: examine(exam, seeds) for exam in EXAMS[name]}
    figures = {"environment": environment(), "range": name, "seeds": seeds, "markets": markets}
    figures["numbers"] = {number: getattr(STRATEGY, number) for number in NUMBERS}
    text = as_markdown(figures)
    write(output, name, figures, text)
    print(text)


def examine(exam: Exam, seeds: list[int]) -> dict[str, Any]:
    """Backtest both strategies in one market, and compare them.

    :return: `timerange`, `pairs`, and what `figures.measure` returns.
    """
    forecast = [backtest(exam, FORECAST, seed) for seed in seeds]
    figures = measure(exam, forecast, backtest(exam, ATR, 0))
    return {"timerange": exam.timerange, "pairs": list(exam.pairs), **figures}


def as_markdown(figures: dict[str, Any]) -> str:
    """The report: one table per market."""
    markets = figures["markets"]
    tables = {market: rows(found) for market, found in markets.items()}
    verdicts = {market: verdict(found["difference"]) for market, found in markets.items()}
    return render(HERE / "range.md.j2", tables=tables, verdicts=verdicts, **figures)


def verdict(difference: dict[str, dict[str, float]]) -> str:
    """Name the figures whose difference is more than this range's chance, and those that are not.

    :param difference: figure → value, low, high.
    """
    words = {name: text for name, text, _ in ROWS if name in difference}
    lower = [text for name, text in words.items() if difference[name]["high"] < 0]
    higher = [text for name, text in words.items() if difference[name]["low"] > 0]
    said = [
        f"{side} with the forecast: {'; '.join(found)}."
        for side, found in (("Lower", lower), ("Higher", higher))
        if found
    ]
    return " ".join(
        [*said, f"{'All else' if said else 'All'}: no difference that this range can show."]
    )


def rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """The table of one market: a row per figure."""

    def by_seed(name: str, form: str) -> str:
        return ", ".join(form.format(one[name]) for one in found["by_seed"])

    return [
        {
            "": words,
            "forecast": valued(found["forecast"].get(name), form),
            "ATR": valued(found["atr"].get(name), form),
            "forecast less ATR": valued(found["difference"].get(name), form.replace("{:.", "{:+.")),
            "by seed": by_seed(name, form),
        }
        for name, words, form in ROWS
    ]


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.range")
