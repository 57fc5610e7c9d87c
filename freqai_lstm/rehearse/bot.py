"""A `freqtrade trade` process for rehearsals: started, watched, killed, stopped, its log read.

`freqtrade_run.py` waits for a command's end; a bot has none of its own. Its output goes to a
file, its memory is sampled, and the log lines that matter are counted.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType

import psutil

from freqai_lstm.freqtrade_run import log_records


_LEVEL = re.compile(r" - (WARNING|ERROR|CRITICAL) - ")
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) - ")
_TRAINED = re.compile(r" - (\S+): trained \d+ epochs on \d+ windows in ([\d.]+) s")
_TRAINING_FAILED = re.compile(r"Training (\S+) raised exception")
_PASS = re.compile(r"Total time spent inferencing pairlist ([\d.]+) seconds")
_TOO_SLOW = re.compile(r"Strategy analysis took|outdated|took longer than one candle")


class BotFailed(RuntimeError):
    """The bot did not do what was waited for; the message has the end of its log."""


class Bot:
    """One `freqtrade ARGS` process in a session of its own; a context manager that leaves none.

    :param args: `["trade", "--dry-run", …]`.
    :param log: file for standard output and error; a new process appends to it.
    :param cwd: its working directory.
    """

    def __init__(self, args: Sequence[str], *, log: Path, cwd: Path, sample_seconds: float = 2.0):
        self.args = tuple(str(arg) for arg in args)
        self.log, self._cwd, self._sample_seconds = log, cwd, sample_seconds
        self.memory: list[tuple[float, float]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0
        self._end: int | None = None

    def start(self) -> Bot:
        """Start it; returns at once."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "freqtrade", *self.args],
                cwd=self._cwd,
                # freqtrade wraps its log at the terminal's width, which would cut records in two.
                env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell starts background jobs, and a CI its steps perhaps, with SIGINT ignored.
                # Children inherit that, and freqtrade would never notice its Ctrl-C.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
        threading.Thread(target=self._sample_memory, args=(self._process.pid,), daemon=True).start()
        return self

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def output(self) -> str:
        """What this process has written so far."""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            # Later lives write to the same file.
            length = -1 if self._end is None else self._end - self._begin
            return file.read(length).decode("utf-8", errors="replace")

    def wait_for(self, pattern: str, *, count: int = 1, timeout: float) -> list[str]:
        """Wait until the log holds `pattern` (a regular expression) `count` times.

        :return: the matches.
        :raises BotFailed: it ended before, or `timeout` seconds passed.
        """
        deadline = time.monotonic() + timeout
        while True:
            ended = self.returncode is not None
            found = [match.group(0) for match in re.finditer(pattern, self.output())]
            if len(found) >= count:
                return found
            if ended or time.monotonic() > deadline:
                why = f"ended with {self.returncode}" if ended else f"{timeout:.0f} s passed"
                tail = "\n".join(self.output().splitlines()[-30:])
                raise BotFailed(
                    f"{pattern!r}: {count} expected, {len(found)} found; {why}:\n{tail}"
                )
            time.sleep(0.05)

    def watch(self, seconds: float) -> None:
        """Let it run.

        :raises BotFailed: it ended by itself.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.returncode is not None:
                tail = "\n".join(self.output().splitlines()[-30:])
                raise BotFailed(f"The bot ended by itself with {self.returncode}:\n{tail}")
            time.sleep(0.2)

    def kill(self) -> None:
        """kill -9, as a power cut would end it."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def interrupt(self, timeout: float = 300) -> float:
        """End it by SIGINT (Ctrl-C); returns the seconds until it was gone.

        :raises BotFailed: it was still there after `timeout` seconds.
        """
        if self._process is None or self._process.poll() is not None:
            raise BotFailed("SIGINT was due, but the bot does not run any more.")
        started = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            tail = "\n".join(self.output().splitlines()[-30:])
            self.kill()
            raise BotFailed(f"Still running {timeout:.0f} s after SIGINT:\n{tail}") from error
        return time.monotonic() - started

    def __enter__(self) -> Bot:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._end = self.log.stat().st_size

    def _sample_memory(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            # A process that is ending has given its memory back before it is gone.
            while (resident := process.memory_info().rss) > 0:
                self.memory.append((time.time(), resident / 2**20))
                time.sleep(self._sample_seconds)
        except psutil.NoSuchProcess:
            return  # it has ended, and the curve with it


@dataclass
class LogSummary:
    """What a bot's log says.

    `trained` holds (pair, seconds) of each training; `passes` (time, seconds) of each time FreqAI
    has gone through all pairs, the time being its end; `warnings` and `errors` whole records.
    """

    trained: list[tuple[str, float]] = field(default_factory=list)
    failed_trainings: list[str] = field(default_factory=list)
    passes: list[tuple[float, float]] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, output: str) -> LogSummary:
        """Read what a bot wrote."""
        summary = cls()
        for record in log_records(output):
            if trained := _TRAINED.search(record):
                summary.trained.append((trained.group(1), float(trained.group(2))))
            if failed := _TRAINING_FAILED.search(record):
                summary.failed_trainings.append(failed.group(1))
            stamp = _STAMP.match(record)
            if stamp and (passed := _PASS.search(record)):
                moment = datetime.fromisoformat(stamp.group(1)).timestamp()
                moment += int(stamp.group(2)) / 1000
                summary.passes.append((moment, float(passed.group(1))))
            if _TOO_SLOW.search(record):
                summary.late.append(record)
            level = _LEVEL.search(record.splitlines()[0])
            # The traceback of a thread that died follows whatever record came before it.
            if "Traceback (most recent call last)" in record or (level and level[1] != "WARNING"):
                summary.errors.append(record)
            elif level:
                summary.warnings.append(record)
        return summary
