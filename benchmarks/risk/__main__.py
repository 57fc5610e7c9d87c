"""Command line: backtest every book, and write judge.json and judge.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.exam import failures_in_words
from benchmarks.reports import environment, render, valued, write
from benchmarks.risk.backtests import CONTENDERS, EXAM, OURS, Book, backtest
from benchmarks.risk.figures import measure
from freqai_lstm.evaluate.intervals import UNDECIDED


HERE = Path(__file__).resolve().parent
app = typer.Typer(pretty_exceptions_enable=False)
# Figure, its words, its format, and whether less is better (None: neither is).
ROWS: tuple[tuple[str, str, str, bool | None], ...] = (
    ("position_error", "position: error of ln(realised ÷ expected)", "{:.3f}", True),
    ("position_ratio", "position: realised ÷ expected, root mean square", "{:.2f}", None),
    ("constant_ratio", "position: utility at a constant Sharpe ratio, bp a year", "{:.0f}", False),
    ("volatility", "book: realised volatility of a year", "{:.1%}", None),
    ("month_error", "book, by month: error of ln(realised ÷ target)", "{:.3f}", True),
    ("week_error", "book, by week: error of ln(realised ÷ target)", "{:.3f}", True),
    ("spread_r", "spread of results, in stops", "{:.2f}", True),
    ("drawdown", "worst drawdown", "{:.1%}", None),
    ("shortfall", "expected shortfall of a day, %", "{:.2f}", True),
    ("turnover", "turnover, wallets a year", "{:.0f}", True),
    ("trades", "trades", "{:.0f}", None),
    ("profit", "mean return, % a year", "{:.1f}", False),
    ("sharpe", "Sharpe ratio", "{:.2f}", False),
    ("deflated", "probability of a ratio above the luck of the best of these", "{:.2f}", None),
    ("utility_1", "utility, aversion 1, bp a year", "{:.0f}", False),
    ("utility_10", "utility, aversion 10, bp a year", "{:.0f}", False),
)


@app.command()
def main(
    seed: Annotated[int, typer.Option(help="of the model")] = 1,
    output: Annotated[Path, typer.Option(help="folder for judge.json and judge.md")] = HERE,
) -> None:
    """Backtest all books on 2023 and 2024, measure them, and write the report.

    A book that is in build/benchmarks/risk is not run again. One takes a quarter of an hour on a
    free core, LSTMRegressor's half an hour; freqtrade.log in its folder tells how far that is.
    """
    books = {}
    with failures_in_words():
        for name, (words, _) in CONTENDERS.items():
            books[name] = backtest(EXAM, name, seed)
            typer.echo(f"{words}: {len(books[name].stops)} trades", err=True)
    figures = {"environment": environment(), "seed": seed, "timerange": EXAM.timerange}
    figures["periods"] = periods(books)
    text = as_markdown(figures)
    write(output, "judge", figures, text)
    print(text)


def periods(books: Mapping[str, Book]) -> dict[str, Any]:
    """What `figures.measure` returns, for both years and for 2024."""
    years = {"2023 and 2024": (2023, 2025), "2024": (2024, 2025)}
    found = {}
    for name, years_of in years.items():
        ends = [datetime(year, 1, 1, tzinfo=UTC) for year in years_of]
        found[name] = measure({key: of.between(*ends) for key, of in books.items()})
    return found


def as_markdown(figures: dict[str, Any]) -> str:
    """The report: figures, differences and a verdict for each period."""
    tables = {
        name: {
            "figures": figure_rows(of["books"]),
            "differences": difference_rows(of["differences"]),
            "verdicts": {
                CONTENDERS[other][0]: verdict(found) for other, found in of["differences"].items()
            },
        }
        for name, of in figures["periods"].items()
    }
    ran = next(iter(figures["periods"].values()))["books"]
    missing = [words for name, (words, _) in CONTENDERS.items() if name not in ran]
    return render(HERE / "risk.md.j2", tables=tables, missing=missing, **figures)


def figure_rows(books: dict[str, Any]) -> list[dict[str, str]]:
    """A row per figure, a column per book."""
    return [
        {
            "": words,
            **{CONTENDERS[book][0]: valued(of[name], form) for book, of in books.items()},
        }
        for name, words, form, _ in ROWS
        if name in books[OURS]
    ]


def difference_rows(differences: dict[str, Any]) -> list[dict[str, str]]:
    """A row per figure, a column per other book: ours less it, with the interval."""
    return [
        {
            "": words,
            **{
                CONTENDERS[other][0]: valued(of[name], form.replace("{:.", "{:+."))
                for other, of in differences.items()
            },
        }
        for name, words, form, _ in ROWS
        if all(name in of for of in differences.values())
    ]


def verdict(found: dict[str, dict[str, Any]]) -> str:
    """Say which figures are better, which are worse, and what the range could have shown else.

    :param found: figure → value, low, high, word, for ours less the other.
    """
    told: dict[str, list[str]] = {"Better": [], "Worse": [], "No difference": []}
    for name, words, form, less in ROWS:
        if name not in found or less is None:
            continue
        one = found[name]
        if one["word"] == UNDECIDED:
            seen = form.format((one["high"] - one["low"]) / 2)
            told["No difference"].append(f"{words} (one of {seen} would have shown)")
        else:
            told["Better" if (one["value"] < 0) == less else "Worse"].append(words)
    return " ".join(f"{side}: {'; '.join(of)}." for side, of in told.items() if of)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.risk")
