"""The exam's figures as JSON, as Markdown tables and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.reports import environment, environment_line, markdown_table, write
from benchmarks.targets.chart import draw
from benchmarks.targets.labels import LABELS
from benchmarks.targets.scores import RESAMPLES
from benchmarks.targets.setup import Exam


def write_report(exam: Exam, figures: dict[str, Any], output: Path) -> list[Path]:
    """Write RANGE.json, RANGE.md and RANGE.svg.

    :param figures: from `scores.measure`.
    :return: the files.
    """
    figures = {"range": exam.timerange, "environment": environment(), **_rounded(figures)}
    picture = output / f"{exam.name}.svg"
    write(output, exam.name, figures, as_markdown(exam, figures, picture.name))
    picture.write_text(draw(figures), encoding="utf-8")
    return [output / f"{exam.name}.json", output / f"{exam.name}.md", picture]


def as_markdown(exam: Exam, figures: Mapping[str, Any], picture: str) -> str:
    """The page with all tables, in which the picture is linked."""
    titles = {name: LABELS[name].title for name in figures["labels"]}
    formulas = "\n".join(
        f"* **{title}** (`{name}`): {_formula(name)}" for name, title in titles.items()
    )
    return f"""# Targets that FreqAI users give: who predicts them best

`python -m benchmarks.targets run {exam.name}`, then `python -m benchmarks.targets report \
{exam.name}`

{environment_line(figures["environment"])} Perpetuals of {len(exam.pairs)} pairs at 1h, \
predictions {exam.start:%Y-%m-%d} to {exam.stop:%Y-%m-%d}, walk-forward through \
`freqtrade backtesting`: {exam.train_days} training days, windows of {exam.window_days} \
days. {_features(exam)} All labels are learned together where the model can.

Every figure is out of sample and the mean of the pairs, over the candles that every contender of \
the row predicts; ± is the standard deviation over seeds. Labels of horizon 0 describe the last 20 \
candles and can be told from a window alone; the others lie ahead.

![R² by label and contender]({picture})

## R²

{_table(figures, "r2")}

## Difference in R² to the best contender that is not of this project

In brackets the 95 % interval from {RESAMPLES:,} resamples of whole weeks.

{_differences(figures)}

## Correlation

{_table(figures, "correlation")}

## Rank correlation

{_table(figures, "rank_correlation")}

## Labels within the 80 % interval, of the contenders that give one

{_coverages(figures)}

## Cost of the whole backtest

{_costs(figures)}

## Labels

{formulas}
"""


def _features(exam: Exam) -> str:
    if exam.indicators:
        return (
            "Features: RSI, MFI, ADX, price over its average, ROC, relative volume and NATR of the "
            "pair itself for 10 and 20 candles, at 1h and 4h, hour and weekday as whole numbers."
        )
    return "Features as in freqtrade's FreqAI example strategy, at 1h and 4h."


def _table(figures: Mapping[str, Any], key: str) -> str:
    def cell(made: Mapping[str, Any]) -> str:
        mean, spread = made["mean"][key], made["spread"][key]
        if mean is None:
            return "–"
        return _number(mean) + (f" ± {spread:.3f}" if spread is not None else "")

    return _by_label(figures, cell)


def _differences(figures: Mapping[str, Any]) -> str:
    def cell(made: Mapping[str, Any]) -> str:
        if "against" not in made:
            return "**best**"
        low, high = made["against"]["interval"]
        return f"{made['against']['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"

    return _by_label(figures, cell)


def _coverages(figures: Mapping[str, Any]) -> str:
    def cell(made: Mapping[str, Any]) -> str:
        found = [seed.get("coverage") for seed in made["by_seed"].values()]
        known = [coverage for coverage in found if coverage is not None]
        return f"{sum(known) / len(known):.3f}" if known else ""

    return _by_label(figures, cell)


def _by_label(figures: Mapping[str, Any], cell: Callable[[Mapping[str, Any]], str]) -> str:
    """A row per contender, a column per label."""
    rows = []
    for name, contender in figures["contenders"].items():
        row = {"": contender["title"]}
        for label, found in figures["labels"].items():
            made = found["contenders"].get(name)
            row[_short(label)] = cell(made) if made else ""
        if any(list(row.values())[1:]):
            rows.append(row)
    return markdown_table(rows) if rows else "None of them does."


def _costs(figures: Mapping[str, Any]) -> str:
    return markdown_table(
        [
            {
                "": contender["title"],
                "seconds": f"{contender['seconds']:.0f}",
                "CPU seconds": f"{contender['cpu_seconds']:.0f}",
                "seeds": ", ".join(map(str, contender["seeds"])),
            }
            for contender in figures["contenders"].values()
        ]
    )


def _short(label: str) -> str:
    return label.replace("_", " ")


def _formula(name: str) -> str:
    """What follows the first line of the formula's docstring."""
    return " ".join(str(LABELS[name].formula.__doc__).split("\n", 2)[2].split())


def _rounded(value: Any) -> Any:
    """Five decimals are more than the figures hold, and keep the JSON readable."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value


def _number(value: float) -> str:
    return f"{value:.3f}" if value > -10 else f"{value:.0f}"
