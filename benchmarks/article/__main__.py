"""What is the article's "63 % accuracy" on 360 days, and what is it worth?

    python -m benchmarks.article

Its configuration (3 layers, 100 epochs, batches of 32, dropout 0.3, windows of 24 candles) is
trained by plain Keras, one training per pair, on T of the same candle, as in the article's code,
and on T one candle ahead; LSTMRegressor with its defaults stands beside it. What is
done already, in `build/benchmarks/article`, is not done again. Writes `article.json` and
`article.md` beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.article.accuracy import PREDICTORS, READINGS, measure
from benchmarks.article.trained import END, OURS, PLAIN, START, TRAIN_DAYS, train
from benchmarks.places import PAIRS
from benchmarks.reports import environment, render, write
from benchmarks.saved_run import failures_in_words


HERE = Path(__file__).resolve().parent
CLAIM = 0.63
app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    horizons: Annotated[list[int], typer.Option(help="label_period_candles")] = [0, 1],  # noqa: B006
    output: Annotated[Path, typer.Option(help="folder for article.json and .md")] = HERE,
) -> None:
    """Train, measure and write the report."""
    with failures_in_words():
        found = {
            str(horizon): {
                model: measure(*train(model, horizon), horizon) for model in (OURS, PLAIN)
            }
            for horizon in horizons
        }
    figures = {
        "environment": environment(),
        "train_days": TRAIN_DAYS,
        "timerange": f"{START:%Y-%m-%d} to {END:%Y-%m-%d}",
        "pairs": PAIRS,
        "horizons": found,
    }
    text = as_markdown(figures)
    write(output, "article", figures, text)
    print(text)


def as_markdown(figures: dict[str, Any]) -> str:
    """The report: two tables per horizon."""
    horizons = figures["horizons"]
    return render(
        HERE / "article.md.j2",
        holding=holding(horizons),
        accuracies={horizon: readings(found) for horizon, found in horizons.items()},
        trades={horizon: trades(found) for horizon, found in horizons.items()},
        **figures,
    )


def holding(horizons: dict[str, Any]) -> list[str]:
    """The models' figures whose interval holds 0.63, in words."""
    found = []
    for horizon, models in horizons.items():
        for model, of in models.items():
            shares = {words: of["readings"][name]["model"] for name, words in READINGS.items()}
            shares["share of winning trades"] = of["trades"]["won"]
            found += [
                f"{model}, {horizon} ahead: {words}, {share['value']:.2f}"
                for words, share in shares.items()
                if share["low"] <= CLAIM <= share["high"]
            ]
    return found


def readings(found: dict[str, Any]) -> list[dict[str, str]]:
    """A row per reading: the two models, then what needs no model, on our model's candles."""

    def share(figures: dict[str, float]) -> str:
        mark = "**" if figures["low"] <= CLAIM <= figures["high"] else ""
        ends = f"[{figures['low']:.2f}, {figures['high']:.2f}]"
        return f"{mark}{figures['value']:.2f}{mark} {ends}"

    return [
        {
            "reading": words,
            **{model: share(of["readings"][name]["model"]) for model, of in found.items()},
            **{other: share(found[OURS]["readings"][name][other]) for other in PREDICTORS[1:]},
            "candles": str(found[OURS]["readings"][name]["candles"]),
        }
        for name, words in READINGS.items()
    ]


def trades(found: dict[str, Any]) -> list[dict[str, str]]:
    """A row per model: its trades."""
    return [
        {
            "model": model,
            "trades": str(of["trades"]["number"]),
            "won": f"{of['trades']['won']['value']:.2f} [{of['trades']['won']['low']:.2f}, "
            f"{of['trades']['won']['high']:.2f}]",
            "average win, %": f"{of['trades']['win']:+.2f}",
            "average loss, %": f"{of['trades']['loss']:+.2f}",
            "won needed to break even": f"{of['trades']['breakeven']:.2f}",
            "profit, %": f"{of['trades']['profit']:+.2f}",
        }
        for model, of in found.items()
    ]


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.article")
