"""What FreqAI costs per hyperopt epoch, once the predictions are saved.

    python -m benchmarks.hyperopt_epochs

Two forms of one strategy, side by side in one process, with freqtrade's own evaluator of epochs:

* FreqAI: `ScoreStrategy` as it is, its predictions saved by an earlier backtest;
* plain: a subclass, FreqAI switched off, that reads the very same columns from a file.

Each set of weights and thresholds is evaluated in both forms, one right after the other and in
turns first, so that whatever else the machine does meets both. The trades of each pair must agree,
or the comparison means nothing. Then the real command `freqtrade hyperopt -j 2` runs in both forms
while its workers' memory and libraries are watched.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import psutil
from freqtrade.exceptions import FreqtradeException
from freqtrade.optimize.hyperopt.hyperopt_optimizer import HyperOptimizer

from benchmarks.reports import FORMS, environment, epochs_report, write
from benchmarks.saved_run import (
    LOSS,
    PROJECT,
    BenchmarkFailed,
    SavedRun,
    add_options,
    open_saved_run,
    quiet,
)
from freqai_lstm.freqtrade_run import FreqtradeFailed


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hyperopt_epochs")
    add_options(parser)
    parser.add_argument("--sets", type=int, default=10, help="sets of weights and thresholds")
    parser.add_argument("--rounds", type=int, default=5, help="how often each set is evaluated")
    parser.add_argument("--epochs", type=int, default=20, help="of the watched command")
    options = parser.parse_args(arguments)
    quiet()
    try:
        with open_saved_run(
            options.workdir.resolve(),
            datadir=options.datadir,
            predictions=options.predictions,
            allow_changes=options.allow_changes,
        ) as saved:
            figures = measure(saved, options.sets, options.rounds, options.epochs)
    except (BenchmarkFailed, FreqtradeFailed, FreqtradeException) as error:
        print(f"The benchmark failed: {error}")
        return 1
    text = epochs_report(figures)
    write(options.output, "hyperopt-epochs", figures, text)
    print(text)
    return 0


def measure(saved: SavedRun, sets: int, rounds: int, epochs: int) -> dict[str, Any]:
    """Everything that is reported.

    :raises BenchmarkFailed: the two forms did not trade alike.
    """
    days = saved.periods.search
    with_freqai = saved.epochs(days)
    off = make_plain(saved, with_freqai)
    evaluators = {
        "FreqAI": with_freqai,
        "plain": saved.epochs(days, strategy=STRATEGIES["plain"], configs=[off]),
    }
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
        "market": saved.market,
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
    source = (PROJECT / "user_data/strategies/ScoreStrategy.py").read_text(encoding="utf-8")
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
    wall: dict[str, list[list[float]]] = {form: [] for form in FORMS}
    cpu: dict[str, list[list[float]]] = {form: [] for form in FORMS}
    results: dict[int, tuple[int, float, float]] = {}
    # The first epoch of a process also imports and compiles.
    for form in FORMS:
        evaluators[form].generate_optimizer(parameters[0])
    for turn in range(rounds):
        for times in (*wall.values(), *cpu.values()):
            times.append([])
        for number, values in enumerate(parameters):
            order = FORMS if (turn + number) % 2 == 0 else FORMS[::-1]
            for form in order:
                started, used = time.perf_counter(), time.process_time()
                epoch = evaluators[form].generate_optimizer(values)
                wall[form][-1].append(time.perf_counter() - started)
                cpu[form][-1].append(time.process_time() - used)
                result = identity(epoch)
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


def identity(epoch: dict[str, Any]) -> tuple[int, float, float]:
    """What must agree between two evaluations of the same parameters."""
    metrics = epoch["results_metrics"]
    profit = float(metrics["profit_total_abs"])
    return metrics["total_trades"], round(profit, 6), round(float(epoch["loss"]), 9)


def summary(times: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Medians and spread of both forms, and the ratio of the medians, overall and by round."""
    figures: dict[str, Any] = {}
    medians: dict[str, list[float]] = {}
    for form, by_round in times.items():
        every = sorted(second for seconds in by_round for second in seconds)
        quarters = statistics.quantiles(every, n=4)
        medians[form] = [statistics.median(seconds) for seconds in by_round]
        figures[form] = {
            "median": round(statistics.median(every), 4),
            "quartiles": [round(quarters[0], 4), round(quarters[2], 4)],
            "median_by_round": [round(value, 4) for value in medians[form]],
        }
    ratio = figures["FreqAI"]["median"] / figures["plain"]["median"]
    # Epochs differ by what they trade; a pair is the same parameters in both forms.
    pairs = [
        a / b
        for with_freqai, plain in zip(times["FreqAI"], times["plain"], strict=True)
        for a, b in zip(with_freqai, plain, strict=True)
    ]
    ratios = [a / b for a, b in zip(*medians.values(), strict=True)]
    return {
        **figures,
        "ratio": round(ratio, 3),
        "ratio_of_pairs": round(statistics.median(pairs), 3),
        "ratio_by_round": [round(value, 3) for value in ratios],
    }


def watch_command(
    saved: SavedRun, form: str, days: str, epochs: int, *, configs: Sequence[Path] = ()
) -> dict[str, Any]:
    """Run `freqtrade hyperopt -j 2`; what its workers hold, and what its epochs came to.

    :return: seconds of the whole command, workers, peak resident and unique memory of one worker
        in MiB, workers that map TensorFlow's libraries, and `results` of the epochs.
    """
    finished = threading.Event()
    failures: list[FreqtradeFailed] = []
    seconds: list[float] = []

    def command() -> None:
        try:
            options = ["--spaces", "buy", "sell", "--hyperopt-loss", LOSS, "-e", str(epochs)]
            options += ["-j", "2", "--random-state", "1", "--disable-param-export"]
            strategy = STRATEGIES[form]
            run = saved.run("hyperopt", days, *options, strategy=strategy, configs=configs)
            seconds.append(run.seconds)
        except FreqtradeFailed as error:
            failures.append(error)
        finally:
            finished.set()

    resident: dict[int, int] = {}
    unique: dict[int, int] = {}
    with_tensorflow: set[int] = set()
    threading.Thread(target=command).start()
    while not finished.wait(0.25):
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
    if failures:
        raise failures[0]
    return {
        "seconds": round(seconds[0], 1),
        "workers": len(resident),
        "resident_mib": round(max(resident.values()) / 2**20),
        "unique_mib": round(max(unique.values()) / 2**20),
        "workers_with_tensorflow": len(with_tensorflow),
        "results": read_results(saved, STRATEGIES[form]),
    }


def read_results(saved: SavedRun, strategy: str) -> list[tuple[int, float, float]]:
    """Trades, profit and loss of each epoch of the newest search with this strategy."""
    folder = saved.userdir / "hyperopt_results"
    newest = max(folder.glob(f"strategy_{strategy}_*.fthypt"))
    with newest.open(encoding="utf-8") as lines:
        return [identity(json.loads(line)) for line in lines]


if __name__ == "__main__":
    raise SystemExit(main())
