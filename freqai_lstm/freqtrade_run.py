"""Run the real freqtrade command and notice when it failed, which its exit code alone does not say.

freqtrade exits 0 after a configuration error and after a wrong option, and FreqAI goes on after a
training that raised: each leaves only a line of output. Everything in this project that runs
freqtrade goes through here, so that none of them passes for success.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.data.btanalysis import load_backtest_data, load_backtest_stats


# The two log lines are freqtrade's own: freqtrade/loggers and freqtrade/freqai/freqai_interface.py.
_ERROR_LINE = re.compile(r" - (ERROR|CRITICAL) - ")
# argparse's words; freqtrade's main() then replaces the exit code 2 by 0.
_USAGE_ERROR = re.compile(r"^(?:freqtrade|__main__\.py).*: error: .*$", re.MULTILINE)
_FAILED_TRAINING = re.compile(r"Training \S+ raised exception")
_RECORD_START = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ", re.MULTILINE)


@dataclass(frozen=True)
class FreqtradeRun:
    """What one freqtrade command did.

    `output` is standard output and error together, in order. `failed_trainings` and `errors` are
    log records: the line and what follows it up to the next record, such as a traceback; a wrong
    option is an error too. `seconds` is wall-clock time.
    """

    args: tuple[str, ...]
    returncode: int
    output: str
    failed_trainings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """True when it ended by itself with code 0, no ERROR line and no failed training."""
        clean = not self.errors and not self.failed_trainings
        return self.returncode == 0 and clean and not self.timed_out

    def problems(self) -> str:
        """Why `ok` is false, in the command's own lines; empty when it is true."""
        found = []
        if self.timed_out:
            found.append(f"stopped after {self.seconds:.0f} s, the time limit it was given")
        elif self.returncode != 0:
            found.append(f"exit code {self.returncode}")
        found += [f"failed training: {line}" for line in self.failed_trainings]
        # A failed live training is an ERROR line too; once is enough.
        found += [f"error: {line}" for line in self.errors if line not in self.failed_trainings]
        if found and not self.errors and not self.failed_trainings:
            tail = self.output.rstrip().splitlines()[-20:]
            found += ["last lines:", *tail]
        return "\n".join(found)


class FreqtradeFailed(RuntimeError):
    """A freqtrade command failed; `run` is the `FreqtradeRun` with its whole output."""

    def __init__(self, run: FreqtradeRun) -> None:
        self.run = run
        super().__init__(f"freqtrade {' '.join(run.args)}\n{run.problems()}")


def run_freqtrade(
    args: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    echo: bool = False,
    timeout: float | None = None,
    check: bool = True,
) -> FreqtradeRun:
    """Run `freqtrade ARGS` with this interpreter's freqtrade.

    :param args: sub-command and options, such as `["backtesting", "-c", "config.json"]`.
    :param cwd: its working directory; the current one by default.
    :param env: variables added to, or replacing, the current environment's.
    :param echo: also print each line as it arrives.
    :param timeout: seconds after which the command and its children are killed.
    :param check: raise when the command failed in any way `FreqtradeRun.ok` knows.
    :return: the finished run, also of a failed command when `check` is false.
    :raises FreqtradeFailed: `check` is true and the command failed; the message has its lines.
    """
    args = tuple(str(arg) for arg in args)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "freqtrade", *args],
        cwd=cwd,
        # freqtrade wraps its log at the terminal's width; a narrow one would cut records in two.
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        # A group of its own, so that hyperopt's workers can be ended with it.
        start_new_session=True,
    )
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        _kill_group(process)

    timer = threading.Timer(timeout, stop) if timeout is not None else None
    lines: list[str] = []
    try:
        if timer is not None:
            timer.start()
        for line in process.stdout or ():
            lines.append(line)
            if echo:
                print(line, end="", flush=True)
        returncode = process.wait()
    except BaseException:
        # Ctrl-C reaches this process alone, since the command has its own session.
        _kill_group(process)
        process.wait()
        raise
    finally:
        if timer is not None:
            timer.cancel()
        if process.stdout is not None:
            process.stdout.close()
    output = "".join(lines)
    records = log_records(output)
    run = FreqtradeRun(
        args=args,
        returncode=returncode,
        output=output,
        failed_trainings=[record for record in records if _FAILED_TRAINING.search(record)],
        errors=[
            *(record for record in records if _ERROR_LINE.search(record)),
            *_USAGE_ERROR.findall(output),
        ],
        seconds=time.monotonic() - started,
        timed_out=timed_out.is_set(),
    )
    if check and not run.ok:
        raise FreqtradeFailed(run)
    return run


def log_records(output: str) -> list[str]:
    """freqtrade's log records in `output`, each with the lines that belong to it."""
    starts = [match.start() for match in _RECORD_START.finditer(output)]
    return [output[a:b].rstrip() for a, b in pairwise([*starts, len(output)])]


def load_newest_backtest(
    userdir: Path, strategy: str | None = None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The newest backtest result below a user folder.

    :param userdir: the folder given to freqtrade as `--userdir`.
    :param strategy: needed only where one result holds several strategies.
    :return: freqtrade's statistics of the strategy (`total_trades`, `profit_total`, …) and its
        trades, one row each.
    :raises ValueError: there is no result there, or it does not hold the strategy.
    """
    results = userdir / "backtest_results"
    strategies: dict[str, Any] = dict(load_backtest_stats(results)["strategy"])
    if strategy is None and len(strategies) == 1:
        strategy = next(iter(strategies))
    if strategy not in strategies:
        raise ValueError(
            f"The newest result in {results} holds {sorted(strategies)}, asked for: {strategy}."
        )
    return strategies[strategy], load_backtest_data(results, strategy)


def _kill_group(process: subprocess.Popen[str]) -> None:
    # It may have ended by itself meanwhile; then there is nothing left to stop.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
