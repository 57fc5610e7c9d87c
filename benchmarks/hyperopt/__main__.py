"""What FreqAI costs per hyperopt epoch, once the predictions are saved.

    python -m benchmarks.hyperopt

Two forms of one strategy, side by side in one process, with freqtrade's own evaluator of epochs:

* FreqAI: `ScoreStrategy` as it is, its predictions saved by an earlier backtest;
* plain: a subclass, FreqAI switched off, that reads the very same columns from a file.

Each set of weights and thresholds is evaluated in both forms, one right after the other and in
turns first, so that whatever else the machine does meets both. The trades of each pair must agree,
or the comparison means nothing. Then the real command `freqtrade hyperopt -j 2` runs in both forms
while its workers' memory and libraries are watched. Writes `hyperopt.json` and `hyperopt.md`
beside this file.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
import psutil
import typer
from freqtrade.optimize.hyperopt.hyperopt_optimizer import HyperOptimizer
from numpy.typing import NDArray

from benchmarks.places import BUILD, CANDLES
from benchmarks.reports import environment, render, write
from benchmarks.saved_run import BenchmarkFailed, SavedRun, failures_in_words, open_saved_run
from freqai_lstm.plugins import STRATEGY_FILE


HERE = Path(__file__).resolve().parent
FORMS = ("FreqAI", "plain")
STRATEGIES = {"FreqAI": "ScoreStrategy", "plain": "PlainScoreStrategy"}
AIM = 1.1
# Appended to a copy of ScoreStrategy.py: a plugin has to be one file.
PLAIN_STRATEGY = '''

class PlainScoreStrategy(WithFreqAI):
    """ScoreStrategy with the columns FreqAI returned read from a file."""

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        name = metadata["pair"].replace("/", "_").replace(":", "_")
        columns = pd.read_feather(self.config["user_data_dir"] / "columns" / f"{name}.feather")
        return dataframe.merge(columns, on="date", how="left")
'''


def main(
    sets: Annotated[int, typer.Option(help="of weights and thresholds")] = 10,
    rounds: Annotated[int, typer.Option(help="how often each set is evaluated")] = 5,
    epochs: Annotated[int, typer.Option(help="of the watched command")] = 20,
    datadir: Annotated[Path, typer.Option(help="candles of 2024")] = CANDLES,
) -> None:
    """Compare both forms, and write the report."""
    with failures_in_words(), open_saved_run(BUILD / "saved-run", datadir) as saved:
        figures = measure(saved, sets, rounds, epochs)
        text = as_markdown(figures)
        write(HERE, "hyperopt", figures, text)
        print(text)


def measure(saved: SavedRun, sets: int, rounds: int, epochs: int) -> dict[str, Any]:
    """Everything that is reported.

    :raises BenchmarkFailed: the two forms did not trade alike.
    """
    days = saved.periods.search
    with_freqai = saved.evaluator(days)
    off = make_plain(saved, with_freqai)
    plain = saved.evaluator(days, strategy=STRATEGIES["plain"], configs=[off])
    evaluators = {"FreqAI": with_freqai, "plain": plain}
    study = with_freqai.get_optimizer(1)
    parameters = [study.ask(with_freqai.o_dimensions).params for _ in range(sets)]
    timings = time_epochs(evaluators, parameters, rounds)
    load = os.getloadavg()[1]  # of the last five minutes
    watched = {
        "FreqAI": watch_command(saved, "FreqAI", days, epochs),
        "plain": watch_command(saved, "plain", days, epochs, configs=[off]),
    }
    if watched["FreqAI"].pop("results") != watched["plain"].pop("results"):
        raise BenchmarkFailed(
            f"The two forms of `freqtrade hyperopt -e {epochs} -j 2` gave other trades or profits."
        )
    return {
        "environment": environment(),
        "load_average": round(load, 1),
        "timerange": days,
        "pairs": with_freqai.pairlist,
        "sets": sets,
        "rounds": rounds,
        "aim": AIM,
        "frames": {form: frame_size(evaluator) for form, evaluator in evaluators.items()},
        "epochs": timings,
        "workers": {"epochs": epochs, "jobs": 2, "random_state": 1, **watched},
    }


def make_plain(saved: SavedRun, with_freqai: HyperOptimizer) -> Path:
    """Write the plain strategy and its columns; returns a configuration with FreqAI off."""
    source = STRATEGY_FILE.read_text(encoding="utf-8")
    target = saved.userdir / "strategies" / f"{STRATEGIES['plain']}.py"
    # freqtrade looks for a class by name in every file: there must be one ScoreStrategy only.
    base = source.replace("class ScoreStrategy(", "class WithFreqAI(")
    target.write_text(base + PLAIN_STRATEGY, encoding="utf-8")
    folder = saved.userdir / "columns"
    folder.mkdir(exist_ok=True)
    for pair, frame in joblib.load(with_freqai.data_pickle_file).items():
        labels = [column for column in frame if column.startswith("&-")]
        wanted = [name for name in labels if not name.endswith("_mean")]
        name = pair.replace("/", "_").replace(":", "_")
        frame[["date", *wanted, "do_predict"]].to_feather(folder / f"{name}.feather")
    off = saved.folder / "freqai-off.json"
    off.write_text(json.dumps({"freqai": {"enabled": False}}), encoding="utf-8")
    return off


def frame_size(evaluator: HyperOptimizer) -> dict[str, int]:
    """Rows of all pairs and columns of one: what an epoch reads and writes its signals into."""
    frames = joblib.load(evaluator.data_pickle_file)
    first = next(iter(frames.values()))
    return {"rows": sum(map(len, frames.values())), "columns": len(first.columns)}


def time_epochs(
    evaluators: dict[str, HyperOptimizer], parameters: list[dict[str, Any]], rounds: int
) -> dict[str, Any]:
    """Seconds per epoch of each form and their ratio, `rounds` times over all parameter sets.

    :raises BenchmarkFailed: a set gave other trades or another profit in one form than in the
        other, or no set traded.
    """
    wall, cpu = np.empty((2, len(FORMS), rounds, len(parameters)))
    results: dict[int, tuple[int, float, float]] = {}
    # The first epoch of a process also imports and compiles.
    for evaluator in evaluators.values():
        evaluator.generate_optimizer(parameters[0])
    for turn in range(rounds):
        for number, values in enumerate(parameters):
            for form in (0, 1) if (turn + number) % 2 == 0 else (1, 0):
                started, used = time.perf_counter(), time.process_time()
                epoch = evaluators[FORMS[form]].generate_optimizer(values)
                wall[form, turn, number] = time.perf_counter() - started
                cpu[form, turn, number] = time.process_time() - used
                result = _identity(epoch)
                if results.setdefault(number, result) != result:
                    raise BenchmarkFailed(
                        f"Expected the same trades in both forms, got (trades, profit, loss) "
                        f"{results[number]} and {result} for {values}."
                    )
    trades = [result[0] for result in results.values()]
    if not any(trades):
        raise BenchmarkFailed("Expected trades, got none in any epoch: use a longer timerange.")
    return {
        "trades": {"lowest": min(trades), "median": statistics.median(trades), "most": max(trades)},
        "wall_seconds": summary(wall),
        "cpu_seconds": summary(cpu),
    }


def _identity(epoch: dict[str, Any]) -> tuple[int, float, float]:
    """What must agree between two evaluations of the same parameters."""
    metrics = epoch["results_metrics"]
    profit = float(metrics["profit_total_abs"])
    return metrics["total_trades"], round(profit, 6), round(float(epoch["loss"]), 9)


def summary(times: NDArray[np.float64]) -> dict[str, Any]:
    """Medians and spread of both forms, and the ratio of the medians, overall and by round.

    :param times: array of shape (forms, rounds, sets).
    """
    by_round = np.median(times, axis=2)  # (forms, rounds)
    with_freqai, plain = np.median(times, axis=(1, 2))
    return {
        **{
            form: {
                "median": round(float(np.median(seconds)), 4),
                "quartiles": np.quantile(seconds, (0.25, 0.75)).round(4).tolist(),
                "median_by_round": medians.round(4).tolist(),
            }
            for form, seconds, medians in zip(FORMS, times, by_round, strict=True)
        },
        "ratio": round(float(with_freqai / plain), 3),
        # Epochs differ by what they trade; a pair is the same parameters in both forms.
        "ratio_of_pairs": round(float(np.median(times[0] / times[1])), 3),
        "ratio_by_round": (by_round[0] / by_round[1]).round(3).tolist(),
    }


def watch_command(
    saved: SavedRun, form: str, days: str, epochs: int, *, configs: Sequence[Path] = ()
) -> dict[str, Any]:
    """Run `freqtrade hyperopt -j 2`; what its workers hold, and what its epochs came to.

    :return: seconds of the whole command, workers, peak resident and unique memory of one worker
        in MiB, workers that map TensorFlow's libraries, and `results` of the epochs.
    """
    strategy, extra = STRATEGIES[form], ("--random-state", "1", "--disable-param-export")
    resident: dict[int, int] = {}
    unique: dict[int, int] = {}
    with_tensorflow: set[int] = set()
    with ThreadPoolExecutor(1) as beside:
        command = beside.submit(
            saved.hyperopt, days, epochs, *extra, strategy=strategy, configs=configs
        )
        while not command.done():
            for process in psutil.Process().children(recursive=True):
                try:
                    if "LokyProcess" not in " ".join(process.cmdline()):
                        continue
                    memory = process.memory_full_info()
                    maps = [part.path for part in process.memory_maps()]
                except psutil.NoSuchProcess:
                    continue  # it ended between being listed and being looked at
                resident[process.pid] = max(resident.get(process.pid, 0), memory.rss)
                unique[process.pid] = max(unique.get(process.pid, 0), memory.uss)
                if any("tensorflow" in path for path in maps):
                    with_tensorflow.add(process.pid)
            time.sleep(0.25)
    return {
        "seconds": round(command.result().seconds, 1),
        "workers": len(resident),
        "resident_mib": round(max(resident.values()) / 2**20),
        "unique_mib": round(max(unique.values()) / 2**20),
        "workers_with_tensorflow": len(with_tensorflow),
        "results": [_identity(epoch) for epoch in saved.saved_epochs(strategy)],
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The text of `hyperopt.md`."""
    epochs, workers = figures["epochs"], figures["workers"]
    rows = []
    for form in FORMS:
        row = {"form": form}
        for name, key in (("s per epoch", "wall_seconds"), ("CPU s per epoch", "cpu_seconds")):
            low, high = epochs[key][form]["quartiles"]
            row[name] = f"{epochs[key][form]['median']:.3f} ({low:.3f} to {high:.3f})"
        size = figures["frames"][form]
        rows.append(row | {"frame": f"{size['rows']} rows, {size['columns']} columns"})
    held = [
        {
            "form": form,
            "workers": workers[form]["workers"],
            "resident": f"{workers[form]['resident_mib']} MiB",
            "of it its own": f"{workers[form]['unique_mib']} MiB",
            "workers with TensorFlow": workers[form]["workers_with_tensorflow"],
            "whole command": f"{workers[form]['seconds']:.0f} s",
        }
        for form in FORMS
    ]
    wall, cpu = epochs["wall_seconds"], epochs["cpu_seconds"]
    return render(HERE / "hyperopt.md.j2", rows=rows, held=held, wall=wall, cpu=cpu, **figures)


if __name__ == "__main__":
    typer.run(main)
