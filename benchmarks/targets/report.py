"""The exam's figures as JSON, as Markdown tables and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reports import environment, environment_line, markdown_table, write
from benchmarks.targets.chart import draw
from benchmarks.targets.contenders import CONTENDERS
from benchmarks.targets.labels import Label
from benchmarks.targets.scores import LAGS, RESAMPLES, TERCILES
from benchmarks.targets.setup import Exam


WILDNESS = ("quiet", "middle", "wild")


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
    labels = figures["labels"]
    kinds = {
        "Labels that lie ahead": [name for name, one in labels.items() if one["horizon"]],
        "Labels that the window tells": [
            name for name, one in labels.items() if not one["horizon"]
        ],
    }
    tables = "\n\n".join(
        f"## {title}\n\nR²:\n\n{_table(figures, names, _r2)}\n\n"
        f"R² of ours less that of each, on the same rows:\n\n{_table(figures, names, _behind)}"
        for title, names in kinds.items()
        if names
    )
    formulas = "\n".join(
        f"* **{label.title}** (`{label.name}`): {_formula(label)}"
        for label in exam.labels
        if label.name in labels
    )
    return f"""# Targets that FreqAI users give: who predicts them best

`python -m benchmarks.targets run {exam.name}`, then `python -m benchmarks.targets report \
{exam.name}`

{environment_line(figures["environment"])} Perpetuals at {exam.timeframes[0]}: \
{", ".join(pair.split("/")[0] for pair in exam.pairs)}. Predictions {exam.start:%Y-%m-%d} to \
{exam.stop:%Y-%m-%d}, walk-forward through `freqtrade backtesting`: {exam.train_days} training \
days where a row says nothing else, windows of {exam.window_days} days, features of \
{exam.strategy}. All labels are learned together where the model can.

Every figure is out of sample and the mean of the pairs, over the candles that all contenders \
predict; ± is the standard deviation over seeds. A contender that would take hours has some of the \
windows, as its row says: its R² is that of these windows and cannot be compared with R² of other \
rows; its difference to ours can. In brackets the 95 % interval from {RESAMPLES:,} resamples of \
whole weeks, then the statistic of Diebold and Mariano (variance over {LAGS} horizons). **Bold**: \
ours is ahead, the interval lies above 0.

![R² by label and contender]({picture})

{tables}

## Across pairs

Which pair will have the largest label? Rank correlation of prediction and label over the pairs of \
a candle, its mean over the candles; in brackets the interval from whole weeks. The flat mean \
ranks pairs by what they were in training.

{_table(figures, kinds["Labels that lie ahead"], _across)}

## Intervals, 80 %

Share of labels within: mean, of the worst week, and by tercile of the pair's volatility over the \
last 24 candles. The interval score is in standard deviations of the label; less is better.

{_intervals(figures)}

## Cost of the whole backtest

{_costs(figures)}

Not run: {_not_run(exam, figures)}.

## Labels

{formulas}
"""


def _table(
    figures: Mapping[str, Any],
    labels: Sequence[str],
    cell: Callable[[Sequence[Mapping[str, Any]]], str],
) -> str:
    """A row per contender, a column per label; the mean where there is a figure of every label."""
    rows = []
    for name in figures["contenders"]:
        found = [figures["labels"][label]["contenders"].get(name) for label in labels]
        row = {"": _title(figures, name)}
        row |= {
            label.replace("_", " "): cell([one]) if one else ""
            for label, one in zip(labels, found, strict=True)
        }
        row["mean"] = cell(found) if all(found) and len(found) > 1 else ""
        if any([*row.values()][1:]):
            rows.append(row)
    return markdown_table(rows) if rows else "Ours did not run."


def _title(figures: Mapping[str, Any], name: str) -> str:
    contender = figures["contenders"][name]
    every = contender["every"]
    return contender["title"] + (f" (one of {every} windows)" if every > 1 else "")


def _r2(found: Sequence[Mapping[str, Any]]) -> str:
    values = [one["r2"] for one in found]
    if None in values:
        return "–"
    value, spread = sum(values) / len(values), found[0]["spread"]
    shown = f"{value:.3f}" if value > -10 else f"{value:.0f}"
    return shown + (f" ± {spread:.3f}" if spread is not None and len(found) == 1 else "")


def _behind(found: Sequence[Mapping[str, Any]]) -> str:
    if any("behind" not in one for one in found):
        return ""
    if len(found) > 1:
        return f"{sum(one['behind']['difference'] for one in found) / len(found):+.3f}"
    behind = found[0]["behind"]
    interval, dm, difference = behind["interval"], behind["dm"], f"{behind['difference']:+.3f}"
    if interval and interval[0] > 0:
        difference = f"**{difference}**"
    shown = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
    return difference + shown + (f" {dm:+.1f}" if dm is not None else "")


def _across(found: Sequence[Mapping[str, Any]]) -> str:
    across = found[0].get("across")
    if not across or len(found) > 1:
        return ""
    low, high = across["interval"]
    return f"{across['rank_correlation']:.3f} [{low:.3f}, {high:.3f}]"


def _intervals(figures: Mapping[str, Any]) -> str:
    heads = {"coverage": "within", "worst_week": "worst week"}
    heads |= {f"tercile_{n}": name for n, name in zip(range(TERCILES), WILDNESS, strict=True)}
    heads["score"] = "interval score"
    rows = []
    for name in figures["contenders"]:
        given = {
            label: one["contenders"][name]["intervals"]
            for label, one in figures["labels"].items()
            if "intervals" in one["contenders"].get(name, {})
        }
        if given:
            mean = {key: sum(one[key] for one in given.values()) / len(given) for key in heads}
            rows += [
                {"": _title(figures, name), "label": label.replace("_", " ")}
                | {head: f"{one[key]:.3f}" for key, head in heads.items()}
                for label, one in {**given, "mean": mean}.items()
            ]
    return markdown_table(rows) if rows else "None of them gives any."


def _costs(figures: Mapping[str, Any]) -> str:
    return markdown_table(
        [
            {
                "": _title(figures, name),
                "seconds": f"{contender['seconds']:.0f}",
                "CPU seconds": f"{contender['cpu_seconds']:.0f}",
                "seeds": ", ".join(map(str, contender["seeds"])),
            }
            for name, contender in figures["contenders"].items()
        ]
    )


def _not_run(exam: Exam, figures: Mapping[str, Any]) -> str:
    """Contenders of the exam without a result, with the reason where they cannot run here."""
    asked = [CONTENDERS[name] for name in exam.contenders or CONTENDERS]
    absent = [one for one in asked if one.name not in figures["contenders"]]
    told = [f"{one.title} ({one.missing()})" if one.missing() else one.title for one in absent]
    return "; ".join(told) or "none"


def _formula(label: Label) -> str:
    """What follows the first line of the formula's docstring."""
    return " ".join(str(label.formula.__doc__).split("\n", 2)[2].split())


def _rounded(value: Any) -> Any:
    """Five decimals are more than the figures hold, and keep the JSON readable."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value
