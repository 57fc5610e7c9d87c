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
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pandas as pd
from freqtrade.data.btanalysis import load_backtest_data, load_backtest_stats


# The log lines are freqtrade's own: freqtrade/loggers and freqtrade/freqai/freqai_interface.py.
_ERROR_LINE = re.compile(r" - (ERROR|CRITICAL) - ")
_FAILED_TRAINING = re.compile(r"Training \S+ raised exception")
_RECORD_START = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ", re.MULTILINE)
# argparse's words; freqtrade's main() then replaces the exit code 2 by 0.
_USAGE_ERROR = re.compile(r"^(?:freqtrade|__main__\.py).*: error: .*$", re.MULTILINE)


@dataclass(frozen=True)
class FreqtradeRun:
    """What one freqtrade command did.

    `output` is standard output and error together, in order; `seconds` is wall-clock time.
    """

    args: tuple[str, ...]
    returncode: int
    output: str
    seconds: float = 0.0
    timed_out: bool = False

    @cached_property
    def failed_trainings(self) -> list[str]:
        """Log records of trainings that raised: the line and its traceback."""
        return [record for record in log_records(self.output) if _FAILED_TRAINING.search(record)]

    @cached_property
    def errors(self) -> list[str]:
        """Log records of level ERROR and above, and what argparse says of a wrong option."""
        records = [record for record in log_records(self.output) if _ERROR_LINE.search(record)]
        return records + _USAGE_ERROR.findall(self.output)

    @property
    def ok(self) -> bool:
        """True when it ended by itself with code 0, no ERROR line and no failed training."""
        return not (self.returncode or self.timed_out or self.errors or self.failed_trainings)

    def problems(self) -> str:
        """Why `ok` is false, in the command's own lines; empty when it is true."""
        found = [f"failed training: {record}" for record in self.failed_trainings]
        # A failed live training is an ERROR record too; once is enough.
        found += [f"error: {error}" for error in self.errors if error not in self.failed_trainings]
        if not found and not self.ok:
            found = ["last lines:", *self.output.rstrip().splitlines()[-20:]]
        if self.timed_out:
            found.insert(0, f"stopped after {self.seconds:.0f} s, the time limit it was given")
        elif self.returncode:
            found.insert(0, f"exit code {self.returncode}")
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
    echo: bool | re.Pattern[str] = False,
    output: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> FreqtradeRun:
    """Run `freqtrade ARGS` with this interpreter's freqtrade.

    :param args: sub-command and options, such as `["backtesting", "-c", "config.json"]`.
    :param cwd: its working directory; the current one by default.
    :param env: variables added to, or replacing, the current environment's.
    :param echo: also print each line as it arrives; a pattern prints only the lines it is found in.
    :param output: also append each line, as it arrives, to this file.
    :param timeout: seconds after which the command and its children are killed.
    :param check: raise when the command failed in any way `FreqtradeRun.ok` knows.
    :return: the finished run, also of a failed command when `check` is false.
    :raises FreqtradeFailed: `check` is true and the command failed; the message has its lines.
    """
    started, lines = time.monotonic(), []
    process = start_freqtrade(args, stdout=subprocess.PIPE, cwd=cwd, env=env)
    timer = threading.Timer(timeout or threading.TIMEOUT_MAX, kill_group, [process])
    timer.daemon = True
    timer.start()
    with process, (output or Path(os.devnull)).open("a", encoding="utf-8") as file:
        try:
            for line in process.stdout or ():
                lines.append(line)
                file.write(line)
                file.flush()
                if echo is True or (echo and echo.search(line)):
                    print(line, end="", flush=True)
            process.wait()
        finally:
            timer.cancel()
            # Ctrl-C reaches this process alone, since the command has its own session.
            kill_group(process)
    seconds = time.monotonic() - started
    timed_out = timeout is not None and seconds >= timeout and process.returncode < 0
    arguments = tuple(map(str, args))
    run = FreqtradeRun(arguments, process.returncode, "".join(lines), seconds, timed_out)
    if check and not run.ok:
        raise FreqtradeFailed(run)
    return run


def start_freqtrade(
    args: Sequence[str],
    *,
    stdout: int | IO[Any],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    module: Sequence[str] = ("freqtrade",),
) -> subprocess.Popen[str]:
    """Start `freqtrade ARGS` in a session of its own; `stdout` takes its standard error too.

    :param module: a module that runs freqtrade's command, with arguments of its own.
    """
    return subprocess.Popen(
        [sys.executable, "-m", *module, *map(str, args)],
        cwd=cwd,
        # freqtrade wraps its log at the terminal's width; a narrow one would cut records in two.
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        # A group of its own, so that hyperopt's workers can be ended with it.
        start_new_session=True,
        # A shell starts background jobs, and a CI its steps perhaps, with SIGINT ignored. Children
        # inherit that, and a bot would never notice its Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def kill_group(process: subprocess.Popen[str]) -> None:
    """End a command and its children by kill -9, if it has not ended by itself."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it may just have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
