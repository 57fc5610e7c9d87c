"""`speed.md` from the figures of `benchmarks.speed`: targets first, then a table per job."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.reports import environment_line, markdown_table
from benchmarks.speed.contenders import NAMES
from benchmarks.speed.jobs import DIMENSIONS, FACTORS


Found = dict[str, Any]  # one job of speed.json
# What, aim in words, measured (nan: not measured), met.
Target = tuple[str, str, float, bool]

# From ×1 to ×16, more than 1.1 times as much as the dimension is no longer linear.
LINEAR = 1.1
FARTHEST = FACTORS[-1]


def median(found: Found, contender: str, figure: str) -> float:
    """Median of a figure over the rounds; nan where the contender did not run."""
    rounds = found["rounds_of"].get(contender) or []
    return statistics.median(r[figure] for r in rounds) if rounds else math.nan


def ratio(found: Found, figure: str, of: str, to: str) -> float:
    """Median over the rounds of one contender's figure divided by the other's.

    Both were measured within seconds of each other, so what the machine did meanwhile cancels.
    """
    pairs = zip(found["rounds_of"].get(of, []), found["rounds_of"].get(to, []), strict=False)
    ratios = [a[figure] / b[figure] for a, b in pairs]
    return statistics.median(ratios) if ratios else math.nan


def whole_seconds(found: Found, contender: str) -> float:
    """Seconds of the whole backtest; missing trainings count as the mean of those that ran."""
    if not found["rounds_of"].get(contender):
        return math.nan
    run = found["rounds_of"][contender][0]
    missing = len(found["size"]["pairs"]) * found["size"]["windows"] - run["trainings"]
    return run["seconds"] + missing * run["training_seconds"]


def time_growth(found: Found, what: str, factor: int) -> float:
    """How many times the seconds of the base one dimension times `factor` takes."""
    return ratio(found, "seconds", f"{what}×{factor}", "rows×1")


def memory_growth(found: Found, what: str, factor: int) -> float:
    """The same of the peak of memory."""
    facts = found["facts"]
    return facts[f"{what}×{factor}"]["peak_mb"] / facts["rows×1"]["peak_mb"]


def targets(everything: dict[str, Found]) -> Iterator[Target]:
    """Every target of the jobs that have run."""
    for job, found in everything.items():
        match job:
            case "backtest":
                ours, keras, torch = (whole_seconds(found, n) for n in ("ours", "keras", "torch"))
                yield _at_most(0.1, "backtest: seconds of plain Keras' design", ours / keras)
                r2_ours, r2_keras = (median(found, n, "r2_first_window") for n in ("ours", "keras"))
                gain = "the same: R² above its, on what both predicted"
                yield gain, "≥ 0", r2_ours - r2_keras, r2_ours >= r2_keras
                what = "backtest: seconds of native PyTorch, same epochs"
                yield _at_most(0.7, what, ours / torch)
                lightgbm = ours / whole_seconds(found, "lightgbm")
                yield _at_most(0.5, "backtest: seconds of LightGBM", lightgbm)
            case "throughput":
                for batch in found["size"]["batches"]:
                    value = ratio(found, f"batch {batch}", "ours", "torch")
                    what = f"training throughput, batch {batch}, of native PyTorch"
                    yield what, "≥ 1×", value, value >= 1
            case "again":
                seconds = median(found, "ours", "seconds")
                first = found["facts"].get("ours", {}).get("first_seconds", math.nan)
                yield _at_most(3, "first training of a process, seconds beyond", first, " s")
                yield _at_most(0.3, "each further training, seconds beyond", seconds, " s")
            case "live":
                yield from _latency(found, "one prediction, p50, of PyTorch's forward", "torch", 1)
                yield from _latency(found, "one prediction, p50, of `model.predict`", "keras", 0.05)
            case "window":
                yield from _latency(found, "720 candles, of `model.predict`", "keras", 0.3)
            case "memory":
                peak = median(found, "ours", "ratio")
                yield _at_most(2, "memory of a training over its matrix", peak)
            case "growth":
                for what in DIMENSIONS:
                    for kind, grown in (("time", time_growth), ("memory", memory_growth)):
                        value = grown(found, what, FARTHEST) / FARTHEST
                        title = f"{what} ×{FARTHEST}: {kind} over linear"
                        yield _at_most(LINEAR, title, value)
            case "start":
                for command in found["rounds_of"]["stock"][0]:
                    rounds = zip(
                        *(found["rounds_of"][n] for n in ("plugins", "stock")), strict=True
                    )
                    more = statistics.median(own[command] - stock[command] for own, stock in rounds)
                    yield _at_most(0.3, f"`freqtrade {command}`, seconds over stock", more, " s")


def _at_most(limit: float, what: str, value: float, unit: str = "×") -> Target:
    return what, f"≤ {limit:g}{unit}", value, value <= limit


def _latency(found: Found, what: str, other: str, limit: float) -> Iterator[Target]:
    for layers, units in found["size"]["networks"]:
        value = ratio(found, f"{layers}×{units} p50", "ours", other)
        yield _at_most(limit, f"{what}, {layers}×{units}", value)


def targets_table(everything: dict[str, Found]) -> str:
    """The table of targets."""
    return markdown_table(
        [
            {
                "what": what,
                "target": aim,
                "measured": "not measured" if math.isnan(value) else f"{value:.3g}",
                "met": "" if math.isnan(value) else "yes" if met else "**no**",
            }
            for what, aim, value, met in targets(everything)
        ]
    )


def figures_table(found: Found) -> str:
    """A row per contender, a column per figure: median and range of the rounds."""
    rows = []
    for contender, rounds in found["rounds_of"].items():
        facts = found["facts"].get(contender, {})
        notes = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items()]
        row = {"who": NAMES.get(contender, contender)}
        for figure in rounds[0]:
            values = sorted(one[figure] for one in rounds)
            row[figure] = f"{statistics.median(values):.3g}"
            if len(values) > 1:
                row[figure] += f" ({values[0]:.3g} to {values[-1]:.3g})"
        rows.append(row | {"notes": "; ".join(notes)})
    return markdown_table(rows)


def backtest_table(found: Found) -> str:
    """A row per whole backtest."""
    rows = []
    for contender, (run, *_) in found["rounds_of"].items():
        whole = whole_seconds(found, contender)
        scaled = run["trainings"] < len(found["size"]["pairs"]) * found["size"]["windows"]
        share = whole_seconds(found, "ours") / whole
        rows.append(
            {
                "who": NAMES[contender],
                "seconds": f"{whole:.0f}" + f" (scaled up from {run['seconds']:.0f})" * scaled,
                "LSTMRegressor's share of it": f"{share:.2f}",
                "trainings run": f"{run['trainings']:.0f}",
                "s per training": f"{run['training_seconds']:.1f}",
                "peak MB": f"{run['peak_mb']:.0f}",
                "R²": "" if scaled else f"{run['r2']:.3f}",
                "R² of BTC's first window": f"{run['r2_first_window']:.3f}",
            }
        )
    return markdown_table(rows)


def growth_table(found: Found) -> str:
    """A row per dimension: how many times the base's time and memory a multiple of it takes."""
    rows = []
    for what in DIMENSIONS:
        row = {"times the base": what}
        for kind, grown in (("time", time_growth), ("peak of memory", memory_growth)):
            row |= {f"{kind}, ×{f}": f"{grown(found, what, f):.2f}" for f in FACTORS}
        rows.append(row)
    return f"{markdown_table(rows)}\n\n{figures_table(found)}"


TABLES = {"backtest": backtest_table, "growth": growth_table}
TITLES = {
    "backtest": "Walk-forward backtest, freqtrade's command from start to end",
    "throughput": "Training throughput, windows per second",
    "again": "A further training in one process, seconds beyond its epochs",
    "live": "One live prediction, milliseconds",
    "window": "A backtest window predicted, milliseconds",
    "memory": "Memory of one training, over the 2-D float32 matrix",
    "growth": "Growth of LSTMRegressor's training",
    "start": "freqtrade's list commands, seconds",
}
NOTES = {
    "backtest": "`TorchLSTM` trains each window as many epochs as LSTMRegressor took there. Plain "
    "Keras is the article's design: 3×LSTM(100), batches of 32, at most 100 epochs, early "
    "stopping. The two FreqAI models have FreqAI's default parameters.",
    "throughput": "Same weights at the start, so the largest difference of predictions is "
    "rounding. PyTorch uses one thread or all, whichever it is faster with.",
    "again": "`first_seconds` is the first training of a process, which builds the graphs. What "
    "plain Keras does at every training, as in FreqAI's `fit`, is build a model.",
    "live": "LSTMRegressor: `TrainedLSTM.predict` from rows to an array; PyTorch: `forward` alone "
    "under `no_grad`; plain Keras: `model.predict`.",
    "window": "Plain Keras and its copied windows; the other two gather them from the rows.",
    "memory": "Everything a training adds is counted, the matrix itself too; libraries and graphs "
    "are there before. Trained on some of the windows, which changes no peak but plain Keras'; it "
    "has all windows of fewer rows, in float32.",
    "growth": "Less than the factor is less than linear.",
}


def as_markdown(everything: dict[str, Found]) -> str:
    """The text of `speed.md`."""
    machine = next(iter(everything.values()))["environment"]
    parts = [
        "# Speed, beside what a user would pick instead",
        "`python -m benchmarks.speed`",
        f"{environment_line(machine)} No GPU. Each contender in a process of its own, asked in "
        "turns; medians over the rounds (lowest to highest). Ratios are medians of the ratios of "
        "single rounds.",
        targets_table(everything),
        "Where the time goes and why targets are missed: [profile.md](profile.md).",
    ]
    for name, found in everything.items():
        low, high = found["load_average"]
        sizes = ", ".join(
            f"{key} {_shown(value)}" for key, value in found["size"].items() if key != "only"
        )
        parts += [
            f"## {TITLES[name]}",
            f"`{name}`: {found['rounds']} rounds, {found['seconds_of_job']:.0f} s, load average "
            f"{low} before and {high} after. {f'Sizes: {sizes}. ' if sizes else ''}"
            f"{NOTES.get(name, '')}".strip(),
            TABLES.get(name, figures_table)(found),
        ]
        if found["left_out"]:
            left_out = ", ".join(NAMES[name] for name in found["left_out"])
            parts.append(f"Not run, since PyTorch is not installed: {left_out}.")
    return "\n\n".join(parts) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} ({_shown(one)})" for key, one in value.items())
    if isinstance(value, list):
        return " ".join("×".join(map(str, v)) if isinstance(v, list) else str(v) for v in value)
    return str(value)
