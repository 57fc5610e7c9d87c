"""How many days should be trained on, and how often?

    python -m benchmarks.retraining [NAME …]

Each variant is a walk-forward backtest of LSTMRegressor on the targets, pairs and candles of the
exam's range `choose` (benchmarks/targets); but for its own settings it is the contender `lstm`.
Variants without a result in `build/targets` run; the names of some run those alone. Writes
`retraining.json` and `retraining.md` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.reports import environment, environment_line, markdown_table, valued, write
from benchmarks.targets.contenders import CONTENDERS
from benchmarks.targets.labels import LABELS
from benchmarks.targets.results import Result, Results
from benchmarks.targets.scores import INTERVAL, common_rows, figures, resampled_r2, true_labels
from benchmarks.targets.setup import EXAMS, Exam


HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Variant:
    """Days of training, days between two trainings, and what else differs from the default."""

    name: str
    train_days: int
    window_days: int
    freqai: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2)

    def exam(self) -> Exam:
        """The range with this variant's windows; results are kept under its name."""
        choose = EXAMS["choose"]
        return replace(
            choose,
            name=f"retraining-{self.name}",
            train_days=self.train_days,
            window_days=self.window_days,
        )


CONTINUAL = {"continual_learning": True, "model_training_parameters": {"learning_rate": 0.001}}
DEFAULT = "150 days, each month"
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(DEFAULT, 150, 31),
        Variant("60 days, each month", 60, 31),
        Variant("100 days, each month", 100, 31),
        Variant("200 days, each month", 200, 31),
        Variant("150 days, each week", 150, 7, seeds=(1,)),
        Variant("150 days, each week, continual", 150, 7, CONTINUAL, seeds=(1,)),
        Variant("150 days, each day", 150, 1, seeds=(1,)),
    )
}


def results_of(variant: Variant) -> list[Result]:
    """The variant's predictions, made where there are none yet."""
    lstm = CONTENDERS["lstm"]
    contender = replace(lstm, name=variant.name, freqai={**lstm.freqai, **variant.freqai})
    kept = Results(variant.exam())
    return [kept.get(contender, seed) or kept.make(contender, seed) for seed in variant.seeds]


def compare(exam: Exam, results: dict[str, list[Result]]) -> dict[str, Any]:
    """R² by variant and label, and the mean over labels less that of the first variant.

    :param results: of each variant, one a seed.
    :return: variant → `labels` (R², mean of pairs and seeds), `mean` of them, `seconds`, and, but
        for the first, `difference`: value, low and high (weeks resampled in blocks).
    """
    truth, every = true_labels(exam), [one for runs in results.values() for one in runs]
    r2: dict[str, dict[str, float]] = {name: {} for name in results}
    drawn: dict[str, list[Any]] = {name: [] for name in results}
    for label in LABELS.values():
        rows = common_rows(exam, label, truth, every)
        for name in results:
            positions = [i for i, run in enumerate(every) if run.contender == name]
            found = [
                figures(pair["y"].to_numpy(), pair[position].to_numpy())["r2"]
                for position in positions
                for _, pair in rows.groupby("pair")
            ]
            r2[name][label.name] = float(np.mean([value for value in found if value is not None]))
            drawn[name].append(resampled_r2(rows, positions))
    first = next(iter(results))
    compared: dict[str, Any] = {}
    for name, runs in results.items():
        mean = float(np.mean(list(r2[name].values())))
        compared[name] = {
            "labels": r2[name],
            "mean": mean,
            "seconds": float(np.mean([run.cpu_seconds for run in runs])),
            "seeds": len(runs),
        }
        if name != first:
            less = np.mean(drawn[name], axis=0) - np.mean(drawn[first], axis=0)
            low, high = np.percentile(less, INTERVAL)
            value = mean - compared[first]["mean"]
            compared[name]["difference"] = {"value": value, "low": low, "high": high}
    return compared


def as_markdown(found: dict[str, Any]) -> str:
    """The report: a row per variant."""
    rows = [
        {
            "trained on, and how often": name,
            "mean R²": f"{one['mean']:.3f}",
            "less the first": valued(one.get("difference"), "{:+.3f}"),
            **{LABELS[label].title: f"{r2:.3f}" for label, r2 in one["labels"].items()},
            "CPU seconds": f"{one['seconds']:.0f}",
            "seeds": one["seeds"],
        }
        for name, one in found["variants"].items()
    ]
    return f"""# How many days to train on, and how often

`python -m benchmarks.retraining`

{environment_line(found["environment"])} LSTMRegressor with its defaults on the targets, pairs and
candles of the exam's range `choose` ({found["range"]}); R² as in [choose.md](../targets/choose.md),
on the candles that all variants predict. In brackets the 95 % interval from resampled weeks.

{markdown_table(rows)}
"""


def main(
    names: Annotated[list[str] | None, typer.Argument(help=", ".join(VARIANTS))] = None,
    output: Annotated[Path, typer.Option(help="folder of the JSON and the Markdown")] = HERE,
) -> None:
    """Run what is missing, compare all that was asked for, and write the report."""
    unknown = sorted({*(names or [])} - {*VARIANTS})
    if unknown:
        raise typer.BadParameter(f"no variant {', '.join(unknown)}; there are {list(VARIANTS)}")
    chosen = [VARIANTS[name] for name in names or VARIANTS]
    results = {variant.name: results_of(variant) for variant in chosen}
    exam = EXAMS["choose"]
    found = {
        "range": exam.timerange,
        "environment": environment(),
        "variants": compare(exam, results),
    }
    text = as_markdown(found)
    write(output, "retraining", found, text)
    print(text)


if __name__ == "__main__":
    typer.run(main)
