"""One worker of a study: it takes trials until there are none, and takes up those of dead workers.

Optuna gives trials their numbers atomically: a first trial that has `total` first trials before it
was one too many, asked for by two workers at the same moment, and is dropped without being run.

Dead workers are noticed by Optuna's heartbeat in a database. A journal file has none; there the
process a trial belongs to is looked up, which works on the machine it runs on. `release` names
other machines whose trials shall be taken up.
"""

from __future__ import annotations

import copy
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from freqai_lstm.tune.study import MOST_KILLS, is_first, place


# A worker names itself in its trial at once; one that did not within this time died before.
NAMELESS_SECONDS = 60


class Surplus(RuntimeError):
    """The trial was one too many and is dropped."""


@dataclass
class Worker:
    """This process in a study.

    :param total: first trials the study shall have, all workers together.
    :param beats: the storage has a heartbeat.
    :param release: hosts (as of `whoami`) that are gone, where there is no heartbeat.
    """

    study: optuna.Study
    total: int
    beats: bool = False
    release: Collection[str] = ()
    poll_seconds: float = 2.0
    current: int | None = None
    nameless: dict[int, float] = field(default_factory=dict)

    def work(
        self,
        objective: Callable[[Trial], float],
        *,
        catch: tuple[type[Exception], ...] = (),
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Run trials until the study has all of them and none is running anywhere.

        :param objective: as Optuna's; an exception in `catch` ends the trial alone.
        :param after: called after each trial and while waiting for other workers.
        :raises KeyboardInterrupt: after the running trial was put back; so other exceptions.
        """
        while True:
            self.take_up_dead()
            first = sum(map(is_first, self.study.get_trials(deepcopy=False)))
            if first < self.total or self._trials(TrialState.WAITING):
                self._one(objective, catch)
            elif self._trials(TrialState.RUNNING):
                time.sleep(self.poll_seconds)
            else:
                return
            after()

    def take_up_dead(self) -> None:
        """Put trials of dead workers back into the queue."""
        if self.beats:
            optuna.storages.fail_stale_trials(self.study)
        for trial in self._trials(TrialState.RUNNING):
            if self._is_dead(trial):
                self._put_back(trial.number, MOST_KILLS)

    def _one(self, objective: Callable[[Trial], float], catch: tuple[type[Exception], ...]) -> None:
        def run(trial: Trial) -> float:
            self.current = trial.number
            trial.set_user_attr(_owner_key(trial.number), whoami())
            frozen = self._trial(trial.number)
            if is_first(frozen) and place(self.study, frozen) >= self.total:
                trial.set_user_attr("surplus", True)
                raise Surplus
            try:
                return objective(trial)
            except catch as error:
                trial.set_user_attr("error", str(error)[:2000])
                raise

        try:
            self.study.optimize(run, n_trials=1, catch=(Surplus, *catch))
        except BaseException as error:
            if self.current is None:
                raise
            if not (isinstance(error, Exception) and self._taken_up(self.current)):
                stopped = isinstance(error, KeyboardInterrupt)
                self._put_back(self.current, None if stopped else MOST_KILLS)
                raise
            # This worker was taken for dead, its heartbeat held up, and another has the trial now:
            # whatever Optuna says to the end of a trial that ended before, go on.
        self.current = None

    def _put_back(self, number: int, most: int | None) -> None:
        try:
            self.study.tell(number, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return
        except ValueError:
            # Finished already. Our own by Optuna when it raised; another's by whoever was faster,
            # and then puts it back.
            if number != self.current:
                return
        trial = self._trial(number)
        dropped = trial.user_attrs.get("surplus") or self._taken_up(number)
        if trial.state == TrialState.FAIL and not dropped:
            RetryHeartbeatStaleTrialCallback(most)(self.study, trial)

    def _taken_up(self, number: int) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        return any(number in trial.system_attrs.get("retry_history", ()) for trial in trials)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(_owner_key(trial.number))
        if owner is None:
            since = self.nameless.setdefault(trial.number, time.monotonic())
            return time.monotonic() - since > NAMELESS_SECONDS
        if self.beats:
            return False
        here = owner["host"] == whoami()["host"]
        return owner["host"] in self.release or (here and not _lives(owner))

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(state,))

    def _trial(self, number: int) -> FrozenTrial:
        trials = self.study.get_trials(deepcopy=False)
        return copy.deepcopy(next(trial for trial in trials if trial.number == number))


def _owner_key(number: int) -> str:
    # With the number: a trial that takes up another one inherits its attributes.
    return f"worker of {number}"


def whoami() -> dict[str, Any]:
    """This process: host, pid, and when it started, since pids are used again.

    Containers can share a host name and count their processes apart, so on Linux the host has the
    number of the process namespace too.
    """
    space = Path("/proc/self/ns/pid")
    host = socket.gethostname() + (f"#{os.stat(space).st_ino}" if space.exists() else "")
    started = psutil.Process().create_time()
    return {"host": host, "pid": os.getpid(), "started": started}


def _lives(owner: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(owner["pid"])
        dead = process.status() == psutil.STATUS_ZOMBIE
        return not dead and abs(process.create_time() - owner["started"]) < 2
    except psutil.NoSuchProcess:
        return False
