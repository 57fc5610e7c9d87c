"""ScoreStrategy's score so many candles ahead: what is forecast of T, and what its trades earn."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from benchmarks.exam import Exam, run_exam
from benchmarks.reports import environment, environment_line, markdown_table, write
from benchmarks.targets.setup import BUILD, HERE, YEAR, perpetuals
from freqai_lstm.evaluate.command import evaluate
from freqai_lstm.evaluate.scores import TARGET
from freqai_lstm.evaluate.trades import AFTER_FEES
from freqai_lstm.evaluate.words import shown
from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE


HORIZONS = (0, 1, 3)  # candles
FOUR = perpetuals("BTC ETH SOL BNB")
RANGES = {
    "2023": (datetime(2023, 7, 1, tzinfo=UTC), datetime(2023, 12, 28, tzinfo=UTC)),
    "2024": YEAR,
}


def measure_horizons() -> dict[str, Any]:
    """Backtest each range with each horizon, and evaluate it; what ran before is used again.

    :return: by range and horizon, see `_figures`.
    """
    found = {
        name: {
            str(ahead): _figures(Exam("horizons", *span, pairs=FOUR), ahead, name)
            for ahead in HORIZONS
        }
        for name, span in RANGES.items()
    }
    return {"environment": environment(), "ranges": found}


def _figures(exam: Exam, ahead: int, name: str) -> dict[str, Any]:
    folder = BUILD / "horizons" / f"{name}-{ahead}"
    settings = {"freqai": {"feature_parameters": {"label_period_candles": ahead}}}
    run_exam(exam, folder, settings)
    file = folder / "evaluation.json"
    evaluate(
        config=[folder / "settings.json"],
        userdir=folder / "user_data",
        datadir=exam.datadir,
        strategy_path=STRATEGY_FILE.parent,
        freqaimodel_path=MODEL_FILE.parent,
        output=folder,
        baselines=False,
        json_file=file,
    )
    report = json.loads(file.read_text(encoding="utf-8"))
    t, trades = report["targets"][TARGET]["mean"], report["trades"]
    money = trades["costs"][AFTER_FEES]
    return {
        "r2": t["model"]["r2"],
        "persistence": t["persistence"]["r2"]["value"],
        "trades": trades["trades"],
        "profit": money["profit"],
        "drawdown": money["drawdown"],
        "sharpe": trades["sharpe"],
    }


def as_markdown(found: dict[str, Any]) -> str:
    """Return the text of `horizons.md`."""
    rows = [
        {
            "range": name,
            "candles ahead": ahead,
            "R² of T": _between(of["r2"], "{:.3f}"),
            "persistence": shown(of["persistence"]),
            "trades": str(of["trades"]),
            "profit": shown(of["profit"], "{:+.1%}"),
            "worst drawdown": shown(of["drawdown"], "{:.1%}"),
            "Sharpe": _between(of["sharpe"], "{:.2f}"),
        }
        for name, horizons in found["ranges"].items()
        for ahead, of in horizons.items()
    ]
    text = (
        "ScoreStrategy as it is shipped, four perpetuals at 1h, seed 1, fees and funding in all "
        "figures. T is weighed from its predicted terms; with 0 it is that of the same candle, "
        "which a regression finds, and nothing is forecast. In brackets 95 % intervals from "
        "resampled weeks."
    )
    return (
        "\n\n".join(
            [
                "# ScoreStrategy: how many candles ahead",
                "`python -m benchmarks.targets horizons`",
                f"{environment_line(found['environment'])} {text}",
                markdown_table(rows),
            ]
        )
        + "\n"
    )


def _between(of: dict[str, float], form: str) -> str:
    low, high = shown(of["low"], form), shown(of["high"], form)
    return f"{shown(of['value'], form)} [{low}, {high}]"


def horizons(output: Path = typer.Option(HERE, help="folder for horizons.json and .md")) -> None:  # noqa: B008
    """Compare ScoreStrategy one and three candles ahead with the same candle."""
    found = measure_horizons()
    write(output, "horizons", found, as_markdown(found))
