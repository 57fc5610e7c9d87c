"""A `freqtrade trade` process for rehearsals: started, watched, killed, stopped.

`run_freqtrade` waits for a command's end; a bot has none of its own. Its output goes to a file, and
while it is watched its memory is sampled.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from pandas import DataFrame

from freqai_lstm.freqtrade_run import kill_group, start_freqtrade


_OBSERVE_EVERY = 2.0  # seconds


class BotFailed(RuntimeError):
    """The bot did not do what was waited for; the message has the end of its log."""


class Bot:
    """One life of a bot, in a process session of its own; a context manager that leaves none.

    `memory` holds its resident MB, sample by sample; `started` and `ended` are seconds since 1970;
    `stop_seconds` is how long SIGINT took. `saved` is for the prediction history that a kill -9
    left on disk; a bot that has one was killed.

    :param args: `["trade", "--dry-run", …]`.
    :param log: file for standard output and error.
    :param cwd: its working directory.
    :param env: variables added to the current environment's.
    :param module: runs freqtrade's command, see `start_freqtrade`.
    :param now: seconds since 1970 by the bot's clock.
    :param observer: called with this bot every two seconds while it is watched, and at its end.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        module: Sequence[str] = ("freqtrade",),
        now: Callable[[], float] = time.time,
        observer: Callable[[Bot], None] = lambda bot: None,
    ) -> None:
        self.args, self.log, self._cwd, self._observer = tuple(args), log, cwd, observer
        self._env, self._module, self.now = env, module, now
        self.memory: list[int] = []
        self.started = self.ended = 0.0
        self.stop_seconds: float | None = None
        self.saved: dict[str, DataFrame] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._observed = 0.0

    def __enter__(self) -> Bot:
        self.started = self.now()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = start_freqtrade(
                self.args, stdout=output, cwd=self._cwd, env=self._env, module=self._module
            )
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._observer(self)

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def watch(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let it run for so long, or until the condition holds; returns whether it held.

        :raises BotFailed: it ended by itself.
        """
        deadline = time.monotonic() + seconds
        while True:
            ended = self.returncode
            if until():
                return True
            if ended is not None:
                raise self._failed(f"The bot ended with {ended}")
            if time.monotonic() > deadline:
                return False
            if time.monotonic() >= self._observed + _OBSERVE_EVERY:
                self._observed = time.monotonic()
                self.sample_memory()
                self._observer(self)
            time.sleep(0.1)

    def wait_for(self, pattern: str, *, count: int = 1, timeout: float) -> list[str]:
        """Wait until the log holds `pattern` (a regular expression) `count` times.

        :return: the matches.
        :raises BotFailed: it ended before, or `timeout` seconds passed.
        """

        def found() -> list[str]:
            return [match[0] for match in re.finditer(pattern, self.output())]

        if not self.watch(timeout, until=lambda: len(found()) >= count):
            missing = f"{pattern!r}: {count} expected, {len(found())} found"
            raise self._failed(f"{missing} in {timeout:.0f} s")
        return found()

    def kill(self) -> None:
        """kill -9, as a power cut would end it; harmless where it has ended."""
        if self._process is not None and self._process.poll() is None:
            kill_group(self._process)
            self.ended = self.now()

    def interrupt(self, timeout: float = 300) -> float:
        """End it by SIGINT (Ctrl-C); returns the seconds until it was gone.

        :raises BotFailed: it had ended, or was still there after `timeout` seconds.
        """
        if self._process is None or self._process.poll() is not None:
            raise BotFailed("SIGINT was due, but the bot does not run any more.")
        started = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise self._failed(f"Still running {timeout:.0f} s after SIGINT") from error
        self.ended, self.stop_seconds = self.now(), time.monotonic() - started
        return self.stop_seconds

    def sample_memory(self) -> None:
        """Note the resident memory, if it runs."""
        if self._process is None:
            return
        try:
            resident = psutil.Process(self._process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return
        # A process that is ending has given its memory back before it is gone.
        if resident > 0:
            self.memory.append(round(resident / 2**20))

    def _failed(self, what: str) -> BotFailed:
        return BotFailed("\n".join([f"{what}; its last lines:", *self.output().splitlines()[-30:]]))
