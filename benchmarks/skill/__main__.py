"""Out-of-sample skill over the last 180 days of ../shared/candles, by horizon and seed.

    python -m benchmarks.skill [--horizons 0 1] [--seeds 1 2 3] [--more-horizons 2 3 6 12]

Each horizon and seed is a walk-forward backtest of four pairs (180 training days, windows of 30
days, everything else as in config.example.json), evaluated by `freqai_lstm.evaluate.command`; the baselines are
computed once per horizon. `--more-horizons` are run with the first seed alone. What is done
already, in `build/skill`, is not done again. Writes
`skill.json` and `skill.md` beside this file.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from freqai_lstm.evaluate import command as evaluate
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import run_freqtrade


HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CANDLES = ROOT.parent / "shared" / "candles"
TIMERANGE = "20240607-20241204"
BASELINES = ("persistence", "ridge", "lightgbm")


def run_one(horizon: int, seed: int, work: Path, exchange: LoopbackExchange) -> dict[str, Any]:
    """Backtest and evaluate one horizon and seed; returns the evaluation's report."""
    name = f"skill-h{horizon}-s{seed}"
    report = work / name / "evaluation.json"
    if report.is_file():
        return json.loads(report.read_text(encoding="utf-8"))
    (work / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "freqai": {
            "identifier": name,
            "train_period_days": 180,
            "backtest_period_days": 30,
            "feature_parameters": {"label_period_candles": horizon},
            "model_training_parameters": {"seed": seed},
        }
    }
    second = work / name / "settings.json"
    second.write_text(json.dumps(settings), encoding="utf-8")
    configs = [ROOT / "config.example.json", exchange.write_config(work / "endpoints.json"), second]
    common = [part for config in configs for part in ("-c", str(config))]
    common += ["--userdir", str(work / "user_data"), "--datadir", str(CANDLES)]
    common += ["--strategy-path", str(ROOT / "user_data/strategies")]
    common += ["--freqaimodel-path", str(ROOT / "user_data/freqaimodels")]
    names = ["-s", "ScoreStrategy", "--freqaimodel", "LSTMRegressor", "--timerange", TIMERANGE]
    # Before the first window lie fewer start-up candles than freqtrade wants, so it shifts the
    # start of trading. The predictions, which are measured here, cover the whole range.
    run_freqtrade(["backtesting", *common, *names, "--cache", "none"], cwd=ROOT, echo=False)
    extra = ["--output", str(work / name), "--importance-windows", "0"]
    if seed != 1:
        extra.append("--no-baselines")
    code = evaluate.main([*common, *names, *extra])
    if code != 0:
        raise SystemExit(f"The evaluation of {name} failed with exit code {code}.")
    return json.loads(report.read_text(encoding="utf-8"))


def summarize(reports: dict[int, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """Per horizon and pair: the model's figures by seed, their mean and spread, the baselines."""
    result: dict[str, Any] = {}
    for horizon, by_seed in reports.items():
        pairs = {}
        for pair in by_seed[min(by_seed)]["pairs"]:
            model = {
                figure: [report["pairs"][pair]["model"][figure] for report in by_seed.values()]
                for figure in ("r2", "correlation", "sign_accuracy")
            }
            first = by_seed[min(by_seed)]["pairs"][pair]
            pairs[pair] = {
                "model": {figure: statistics.mean(values) for figure, values in model.items()},
                "r2_spread_of_seeds": max(model["r2"]) - min(model["r2"]),
                "by_seed": model,
                **{name: first[name] for name in BASELINES if name in first},
            }
        seconds = [report["training"]["seconds"] for report in by_seed.values()]
        longest = [report["training"]["seconds_longest"] for report in by_seed.values()]
        result[str(horizon)] = {
            "seeds": list(by_seed),
            "pairs": pairs,
            "training_seconds_mean": statistics.mean(seconds),
            "training_seconds_longest": max(longest),
        }
    return result


def as_markdown(result: dict[str, Any], command: str) -> str:
    """The tables of `skill.md`."""
    lines = [
        "# Skill, out of sample, by horizon and seed",
        "",
        f"`{command}`: {TIMERANGE}, four pairs, walk-forward, 180 training days at 1h, windows of "
        f"30 days, otherwise config.example.json; {psutil.cpu_count()} cores, no GPU. The model's "
        "figures are means over the seeds. A dash: not defined (a forecast of zero has no sign).",
    ]
    for horizon, found in result.items():
        lines += [
            "",
            f"## label_period_candles {horizon}, seeds {', '.join(map(str, found['seeds']))}",
            "",
            f"One training took {found['training_seconds_mean']:.1f} s on average, "
            f"{found['training_seconds_longest']:.1f} s at most.",
            "",
            "| pair | who | R² | correlation | sign where T ≠ 0 | spread of R² |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for pair, figures in found["pairs"].items():
            for who in ("model", *BASELINES):
                if who not in figures:
                    continue
                row = [figures[who].get(k) for k in ("r2", "correlation", "sign_accuracy")]
                shown = " | ".join("-" if value is None else f"{value:.3f}" for value in row)
                spread = f"{figures['r2_spread_of_seeds']:.3f}" if who == "model" else ""
                title = "**LSTMRegressor**" if who == "model" else who
                lines.append(f"| {pair.split('/')[0]} | {title} | {shown} | {spread} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skill")
    parser.add_argument("--horizons", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--more-horizons", type=int, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--workdir", type=Path, default=ROOT / "build" / "skill")
    options = parser.parse_args()
    console = Console()
    reports: dict[int, dict[int, dict[str, Any]]] = {}
    (options.workdir / "user_data").mkdir(parents=True, exist_ok=True)
    with LoopbackExchange(CANDLES) as exchange:
        for seed in options.seeds:
            more = options.more_horizons if seed == options.seeds[0] else []
            for horizon in [*options.horizons, *more]:
                console.rule(f"horizon {horizon}, seed {seed}")
                found = run_one(horizon, seed, options.workdir, exchange)
                reports.setdefault(horizon, {})[seed] = found
                result = summarize(reports)
                (HERE / "skill.json").write_text(json.dumps(result, indent=2) + "\n")
                command = "python -m benchmarks.skill"
                if options.more_horizons:
                    command += f" --more-horizons {' '.join(map(str, options.more_horizons))}"
                (HERE / "skill.md").write_text(as_markdown(result, command), encoding="utf-8")
    console.print(as_markdown(result, command))


if __name__ == "__main__":
    main()
