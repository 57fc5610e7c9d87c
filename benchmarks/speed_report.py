"""`speed.md` and `speed-growth.svg` from the figures of `benchmarks.speed`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.reports import environment_line, markdown_table
from benchmarks.speed_contenders import NAMES
from benchmarks.speed_plot import growth_plot


Found = dict[str, Any]  # one job of speed.json
Target = tuple[str, str, float | None, bool | None]  # what, aim, measured, met

DIMENSIONS = ("rows", "conv_width", "features", "pairs")
# From ×1 to ×4, more than 1.1 times as much as the dimension is no longer linear.
LINEAR = 1.1


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


def spread(found: Found, contender: str, figure: str, form: str = "{:.3g}") -> str:
    """Median (lowest to highest) for a table."""
    values = [r[figure] for r in found["rounds_of"].get(contender, [])]
    if not values:
        return "not run"
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


def whole_seconds(found: Found, contender: str) -> float:
    """Seconds of the whole backtest; missing trainings count as the mean of those that ran."""
    if not found["rounds_of"].get(contender):
        return math.nan
    run = found["rounds_of"][contender][0]
    missing = len(found["size"]["pairs"]) * found["size"]["windows"] - run["trainings"]
    return run["seconds"] + missing * run["training_seconds"]


def target(what: str, aim: str, value: float, met: Callable[[float], bool]) -> Target:
    """A row of the table of targets; nan is 'not measured'."""
    return (what, aim, None, None) if math.isnan(value) else (what, aim, value, met(value))


def targets(everything: dict[str, Found]) -> Iterable[Target]:
    """Every target of the jobs that have run."""
    found = everything.get("backtest")
    if found:
        ours = whole_seconds(found, "ours")
        yield target(
            "backtest: seconds of plain Keras' design",
            "≤ 0.1×",
            ours / whole_seconds(found, "keras"),
            lambda r: r <= 0.1,
        )
        yield target(
            "the same: R² above its, on what both predicted",
            "≥ 0",
            median(found, "ours", "r2_first_window") - median(found, "keras", "r2_first_window"),
            lambda d: d >= 0,
        )
        yield target(
            "backtest: seconds of native PyTorch, same epochs",
            "≤ 1.0×",
            ours / whole_seconds(found, "torch"),
            lambda r: r <= 1,
        )
    found = everything.get("throughput")
    for batch in found["size"]["batches"] if found else []:
        yield target(
            f"training throughput, batch {batch}, of native PyTorch",
            "≥ 1.0×",
            ratio(found, f"batch {batch}", "ours", "torch"),
            lambda r: r >= 1,
        )
    found = everything.get("again")
    if found:
        seconds = median(found, "ours", "seconds")
        yield target("each further training, seconds beyond", "≤ 0.3 s", seconds, _up_to(0.3))
    for job, what, other, limit in (
        ("live", "one prediction, p50, of PyTorch's forward", "torch", 2.0),
        ("live", "one prediction, p50, of `model.predict`", "keras", 1 / 20),
        ("window", "720 candles, of `model.predict`", "keras", 1 / 5),
    ):
        found = everything.get(job)
        for network in found["size"]["networks"] if found else []:
            title = "{}×{}".format(*network)
            value = ratio(found, f"{title} p50", "ours", other)
            yield target(f"{what}, {title}", f"≤ {limit:g}×", value, _up_to(limit))
    found = everything.get("memory")
    if found:
        peak = median(found, "ours", "ratio")
        yield target("memory of a training over its matrix", "≤ 2×", peak, _up_to(2))
    found = everything.get("growth")
    for what in DIMENSIONS if found else ():
        for kind, grown in (("time", time_growth), ("memory", memory_growth)):
            value = grown(found, what, 4) / 4
            yield target(f"{what} ×4: {kind} over linear", f"≤ {LINEAR}×", value, _up_to(LINEAR))
    found = everything.get("start")
    for command in ("list-freqaimodels", "list-strategies") if found else ():
        more = [
            plugins[command] - stock[command]
            for plugins, stock in zip(
                found["rounds_of"]["plugins"], found["rounds_of"]["stock"], strict=True
            )
        ]
        value = statistics.median(more)
        yield target(f"`freqtrade {command}`, seconds over stock", "≤ 0.3 s", value, _up_to(0.3))


def _up_to(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def time_growth(found: Found, what: str, factor: int) -> float:
    """How many times the seconds of the base one dimension times `factor` takes."""
    return 1.0 if factor == 1 else ratio(found, "seconds", f"{what}×{factor}", "rows×1")


def memory_growth(found: Found, what: str, factor: int) -> float:
    """The same of the peak of memory."""
    base = found["facts"]["rows×1"]["peak_mb"]
    return 1.0 if factor == 1 else found["facts"][f"{what}×{factor}"]["peak_mb"] / base


def figures_table(found: Found) -> str:
    """A table of a job: a row per contender, a column per figure, median and range."""
    rows = []
    for contender, rounds in found["rounds_of"].items():
        facts = found["facts"].get(contender, {})
        notes = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items()]
        row = {"who": NAMES.get(contender, contender)}
        row |= {figure: spread(found, contender, figure) for figure in rounds[0]}
        rows.append(row | {"notes": "; ".join(notes)})
    return markdown_table(rows)


def backtest_table(found: Found) -> str:
    """The table of whole backtests."""
    rows = []
    for contender, rounds in found["rounds_of"].items():
        run, ours = rounds[0], whole_seconds(found, "ours")
        whole = whole_seconds(found, contender)
        scaled = run["trainings"] < len(found["size"]["pairs"]) * found["size"]["windows"]
        rows.append(
            {
                "who": NAMES[contender],
                "seconds": f"{whole:.0f}" + (f" (scaled up from {run['seconds']:.0f})" * scaled),
                "LSTMRegressor's share of it": f"{ours / whole:.2f}",
                "trainings run": f"{run['trainings']:.0f}",
                "s per training": f"{run['training_seconds']:.1f}",
                "peak MB": f"{run['peak_mb']:.0f}",
                "R²": "" if scaled else f"{run['r2']:.3f}",
                "R² of BTC's first window": f"{run['r2_first_window']:.3f}",
            }
        )
    return markdown_table(rows)


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
    "growth": "![time and memory by factor](speed-growth.svg)",
    "start": "",
}


def write_report(everything: dict[str, Found], output: Path) -> None:
    """Write `speed.md` and, where growth was measured, `speed-growth.svg` into `output`."""
    rows = [
        {
            "what": what,
            "target": aim,
            "measured": "not measured" if value is None else f"{value:.3g}",
            "met": {None: "", True: "yes", False: "**no**"}[met],
        }
        for what, aim, value, met in targets(everything)
    ]
    machine = next(iter(everything.values()))["environment"]
    parts = [
        "# Speed, beside what a user would pick instead",
        "`python -m benchmarks.speed`",
        f"{environment_line(machine)} No GPU. Each contender in a process of its own, asked in "
        "turns; medians over the rounds (lowest to highest). Ratios are medians of the ratios of "
        "single rounds.",
        markdown_table(rows),
        "Where the time goes and why targets are missed: [speed-profile.md](speed-profile.md).",
    ]
    for name, found in everything.items():
        table = backtest_table(found) if name == "backtest" else figures_table(found)
        low, high = found["load_average"]
        parts += [
            f"## {TITLES[name]}",
            f"`{name}`: {found['rounds']} rounds, {found['seconds_of_job']:.0f} s, load average "
            f"{low} before and {high} after. Sizes: {_sizes(found['size'])}. {NOTES[name]}".strip(),
            table,
        ]
        if found["left_out"]:
            left_out = ", ".join(NAMES[name] for name in found["left_out"])
            parts.append(f"Not run, since PyTorch is not installed: {left_out}.")
    (output / "speed.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if "growth" in everything:
        lines = {
            kind: {
                what: [grown(everything["growth"], what, factor) for factor in (1, 2, 4)]
                for what in DIMENSIONS
            }
            for kind, grown in (("time", time_growth), ("peak of memory", memory_growth))
        }
        (output / "speed-growth.svg").write_text(growth_plot(lines), encoding="utf-8")


def _sizes(size: dict[str, Any]) -> str:
    shown = {key: value for key, value in size.items() if key != "only"}
    return (
        ", ".join(
            f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}"
            for key, value in shown.items()
        )
        .replace("{", "")
        .replace("}", "")
        .replace("'", "")
    )
