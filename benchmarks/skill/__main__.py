"""Out-of-sample skill over the last 180 days of ../shared/candles, by horizon and seed.

    python -m benchmarks.skill [--horizons 0 --horizons 1] [--seeds 1 …] [--more-horizons 2 …]

Each horizon and seed is a walk-forward backtest of four pairs (180 training days, windows of 30
days, everything else as in config.example.json), measured by `freqai-lstm evaluate`; the baselines
are computed once per horizon. `--more-horizons` are run with the first seed alone. What is done
already, in `build/benchmarks/skill`, is not done again. Writes `skill.json` and `skill.md` beside
this file.
"""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.exam import Exam, run_exam
from benchmarks.places import BUILD
from benchmarks.reports import environment, environment_line, markdown_table, write
from freqai_lstm.evaluate.command import evaluate
from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE


HERE = Path(__file__).resolve().parent
EXAM = Exam(
    "skill", datetime(2024, 6, 7, tzinfo=UTC), datetime(2024, 12, 4, tzinfo=UTC), train_days=180
)
BASELINES = ("persistence", "ridge", "lightgbm")
FIGURES = ("r2", "correlation", "sign_accuracy")
Reports = dict[int, dict[int, dict[str, Any]]]  # horizon to seed to the evaluation's report


def run_one(
    horizon: int, seed: int, work: Path, exam: Exam = EXAM, *, baselines: bool = True, **freqai: Any
) -> dict[str, Any]:
    """Backtest and evaluate one horizon and seed.

    :param work: a folder; holds the report of a run that is done.
    :param freqai: replaces keys of the `freqai` block.
    :return: the evaluation's report.
    """
    folder = work / f"h{horizon}-s{seed}"
    report = folder / "evaluation.json"
    if not report.is_file():
        settings = {"feature_parameters": {"label_period_candles": horizon}, **freqai}
        parameters = settings.setdefault("model_training_parameters", {})
        settings["model_training_parameters"] = parameters | {"seed": seed}
        run_exam(exam, folder, {"freqai": settings})
        evaluate(
            config=[folder / "settings.json"],
            userdir=folder / "user_data",
            datadir=exam.datadir,
            timerange=exam.timerange,
            strategy_path=STRATEGY_FILE.parent,
            freqaimodel_path=MODEL_FILE.parent,
            output=folder,
            baselines=baselines,
        )
    return json.loads(report.read_text(encoding="utf-8"))


def summarize(reports: Reports) -> dict[str, Any]:
    """Per horizon and pair: the model's figures by seed, their mean and spread, the baselines."""
    result: dict[str, Any] = {}
    for horizon, by_seed in reports.items():
        scores = [report["score"]["pairs"] for report in by_seed.values()]
        pairs = {}
        for pair in by_seed[min(by_seed)]["targets"]["T"]["pairs"]:
            predictors = by_seed[min(by_seed)]["score"]["pairs"][pair]
            model = {
                figure: [score[pair]["model"][figure] for score in scores] for figure in FIGURES
            }
            pairs[pair] = {
                "model": {figure: statistics.mean(values) for figure, values in model.items()},
                "r2_spread_of_seeds": max(model["r2"]) - min(model["r2"]),
                "by_seed": model,
                **{name: predictors[name] for name in BASELINES if name in predictors},
            }
        trainings = [w["training"] for report in by_seed.values() for w in report["windows"]]
        seconds = [training["seconds"] for training in trainings]
        result[str(horizon)] = {
            "seeds": list(by_seed),
            "pairs": pairs,
            "training_seconds_mean": statistics.mean(seconds),
            "training_seconds_longest": max(seconds),
        }
    return result


def as_markdown(figures: dict[str, Any]) -> str:
    """The text of `skill.md`."""
    parts = [
        "# Skill, out of sample, by horizon and seed",
        "`python -m benchmarks.skill`",
        f"{environment_line(figures['environment'])} No GPU. {EXAM.timerange}, "
        "four pairs, walk-forward, 180 training days at 1h, windows of 30 days, otherwise "
        "config.example.json. The model's figures are means over the seeds. A dash: not defined "
        "(a forecast of zero has no sign).",
    ]
    for horizon, found in figures["horizons"].items():
        rows = []
        for pair, predictors in found["pairs"].items():
            for who in ("model", *BASELINES):
                if who not in predictors:
                    continue
                values = [predictors[who].get(figure) for figure in FIGURES]
                shown = ["-" if value is None else f"{value:.3f}" for value in values]
                row = {"pair": pair.split("/")[0]}
                row["who"] = "**LSTMRegressor**" if who == "model" else who
                row |= dict(zip(("R²", "correlation", "sign where T ≠ 0"), shown, strict=True))
                spread = f"{predictors['r2_spread_of_seeds']:.3f}" if who == "model" else ""
                rows.append(row | {"spread of R²": spread})
        parts += [
            f"## label_period_candles {horizon}, seeds {', '.join(map(str, found['seeds']))}",
            f"One training took {found['training_seconds_mean']:.1f} s on average, "
            f"{found['training_seconds_longest']:.1f} s at most.",
            markdown_table(rows),
        ]
    return "\n\n".join(parts) + "\n"


def main(
    horizons: Annotated[list[int] | None, typer.Option(help="0 and 1 by default")] = None,
    more_horizons: Annotated[list[int] | None, typer.Option(help="with the first seed")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="1, 2 and 3 by default")] = None,
    workdir: Annotated[Path, typer.Option()] = BUILD / "skill",
) -> None:
    """Measure what is missing in the work folder, and write the report."""
    console, reports = Console(), Reports()
    for number, seed in enumerate(seeds or [1, 2, 3]):
        for horizon in [*(horizons or [0, 1]), *((more_horizons or []) if number == 0 else [])]:
            console.rule(f"horizon {horizon}, seed {seed}")
            found = run_one(horizon, seed, workdir, baselines=number == 0)
            reports.setdefault(horizon, {})[seed] = found
    figures = {"environment": environment(), "horizons": summarize(reports)}
    text = as_markdown(figures)
    write(HERE, "skill", figures, text)
    console.print(text, markup=False)


if __name__ == "__main__":
    typer.run(main)
