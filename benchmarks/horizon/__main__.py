"""Is ScoreStrategy better off with the exact score of a candle, or with a forecast of it?

    python -m benchmarks.horizon

Each horizon is a walk-forward backtest over all of the shared candles, in futures and in spot;
everything else is as in config.example.json, but for windows of 30 days. Predictions in
`build/benchmarks/horizon` are used again. Writes `horizon.json` and `horizon.md` beside this file.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from benchmarks.exam import SPOT_PAIRS, Exam
from benchmarks.horizon.backtests import Backtest, backtest
from benchmarks.places import BUILD
from benchmarks.reports import environment, render, valued, write
from benchmarks.saved_run import failures_in_words
from freqai_lstm.evaluate.intervals import block_counts, drawn_sums, interval


HERE = Path(__file__).resolve().parent
# The first day that has start-up candles (34 days) and training days (90) before it.
EXAMS = (
    Exam("futures", datetime(2024, 4, 7, tzinfo=UTC), datetime(2024, 12, 3, tzinfo=UTC)),
    Exam("spot", datetime(2024, 5, 7, tzinfo=UTC), datetime(2024, 9, 24, tzinfo=UTC), SPOT_PAIRS),
)
DAYS_A_YEAR = 365
# Figure, its words, its format.
ROWS = (
    ("profit", "profit, %", "{:+.2f}"),
    ("sharpe", "Sharpe ratio", "{:+.2f}"),
    ("mean", "mean result of a trade, %", "{:+.3f}"),
    ("won", "share of trades won", "{:.2f}"),
    ("drawdown", "worst drawdown, %", "{:.2f}"),
    ("trades", "trades", "{:.0f}"),
)
app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    horizons: Annotated[list[int], typer.Option(help="the first is compared with")] = [0, 1, 3],  # noqa: B006
    output: Annotated[Path, typer.Option(help="folder for horizon.json and .md")] = HERE,
) -> None:
    """Backtest, measure and write the report."""
    with failures_in_words():
        markets = {exam.market: examine(exam, horizons) for exam in EXAMS}
    figures = {"environment": environment(), "horizons": horizons, "markets": markets}
    text = as_markdown(figures)
    write(output, "horizon", figures, text)
    print(text)


def examine(
    exam: Exam, horizons: list[int], freqai: dict[str, Any] | None = None, build: Path = BUILD
) -> dict[str, Any]:
    """Backtest every horizon in one market, and compare them with the first.

    :param freqai: laid over the `freqai` block.
    :return: `timerange`, `pairs`; `by_horizon`: horizon → figures; `differences`: horizon → figure
        → its value less the first horizon's, with low and high (95 % interval).
    """
    drawn, by_horizon = {}, {}
    for horizon in horizons:
        settings = {
            "backtest_period_days": 30,
            **(freqai or {}),
            "feature_parameters": {"label_period_candles": horizon},
        }
        found = backtest(exam, build / "horizon" / f"{exam.market}-h{horizon}", settings)
        drawn[horizon] = draws(exam, found)
        by_horizon[horizon] = {
            **{name: interval(values) for name, values in drawn[horizon].items()},
            "drawdown": 100 * found.statistics["max_drawdown_account"],
            "trades": len(found.trades),
        }
    first = drawn[horizons[0]]
    return {
        "timerange": exam.timerange,
        "pairs": list(exam.pairs),
        "by_horizon": by_horizon,
        "differences": {
            horizon: {name: interval(drawn[horizon][name] - first[name]) for name in first}
            for horizon in horizons[1:]
        },
    }


def draws(exam: Exam, found: Backtest) -> dict[str, NDArray[np.float64]]:
    """Figures on the range (position 0) and on each draw of its weeks, shape (1 + draws,).

    :return: `profit` in percent of the starting balance, `sharpe` of a year from the daily results
        of closed trades, `mean` result of a trade in percent of its stake, `won` the share of
        trades with a profit. NaN where a draw holds no trade.
    """
    days = pd.Series(pd.date_range(exam.start, exam.end, freq="D", inclusive="left"))
    index, counts = block_counts(days)
    trades = found.trades
    day = ((trades["close_date"] - days[0]).dt.days.clip(upper=len(days) - 1)).to_numpy(dtype=int)
    percent = 100 * trades["profit_abs"].to_numpy() / found.statistics["starting_balance"]
    daily = np.bincount(day, weights=percent, minlength=len(days))
    of_days = np.column_stack([np.ones(len(days)), daily, daily**2])
    size, profit, squares = drawn_sums(of_days, index, counts).T
    results = trades["profit_ratio"].to_numpy()
    of_trades = np.column_stack([np.ones(len(trades)), 100 * results, results > 0])
    number, total, won = drawn_sums(of_trades, index[day], counts).T
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(squares / size - (profit / size) ** 2)
        return {
            "profit": profit,
            "sharpe": profit / size / spread * np.sqrt(DAYS_A_YEAR),
            "mean": total / number,
            "won": won / number,
        }


def as_markdown(figures: dict[str, Any]) -> str:
    """The report: one table per market."""
    tables = {market: rows(found) for market, found in figures["markets"].items()}
    return render(HERE / "horizon.md.j2", tables=tables, **figures)


def rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """The table of one market: a row per figure."""
    first = next(iter(found["by_horizon"]))
    return [
        {
            "": words,
            **{f"{h} ahead": valued(of.get(name), form) for h, of in found["by_horizon"].items()},
            **{
                f"{h} less {first}": valued(of.get(name), form.replace("{:.", "{:+."))
                for h, of in found["differences"].items()
            },
        }
        for name, words, form in ROWS
    ]


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.horizon")
