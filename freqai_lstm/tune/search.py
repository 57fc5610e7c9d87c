"""A search: its objective, its trials until there are enough, and the held-out windows.

Optuna's heartbeat finds trials whose worker was killed and puts them back into the queue; a trial
that Ctrl-C ended is put back here. Either becomes a new trial with the same parameters.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from freqai_lstm.evaluate.setup import EvaluationFailed, Setup
from freqai_lstm.freqtrade_run import FreqtradeFailed
from freqai_lstm.tune.score import difference, score
from freqai_lstm.tune.space import PARAMETERS, Space, TuneFailed, Value
from freqai_lstm.tune.trial import WalkForward, Window


# So many failed trials in a row are no accident of their parameters.
MOST_FAILURES = 3
AGAIN_SECONDS = 0.1  # after which an interrupt that got lost is raised again
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
FAILURES = (FreqtradeFailed, EvaluationFailed)
retries = RetryHeartbeatStaleTrialCallback.retry_history


class Interrupts:
    """Hold Ctrl-C back while Optuna begins or ends a trial, and raise it again where it got lost.

    A trial that is interrupted there stays RUNNING in the study, and every worker waits for it
    until its heartbeat is overdue.

    Python ignores what is raised in a destructor, and in logging's callback after a fork, which
    comes with every start of freqtrade. A worker is told once that it has to end: where that is
    ignored it runs on to the last trial.
    """

    def __init__(self) -> None:
        self._held = self._pending = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Answer the signals that raise KeyboardInterrupt now; the old handlers come back."""
        self._pending = False
        both = (signal.SIGINT, signal.SIGTERM)
        ours = [s for s in both if signal.getsignal(s) is signal.default_int_handler]
        hook = sys.unraisablehook
        timers: list[threading.Timer] = []

        def lost(ignored: sys.UnraisableHookArgs) -> None:
            if isinstance(ignored.exc_value, KeyboardInterrupt):
                timers.append(threading.Timer(AGAIN_SECONDS, _thread.interrupt_main))
                timers[-1].start()
            else:
                hook(ignored)

        for number in ours:
            signal.signal(number, self._came)
        sys.unraisablehook = lost
        try:
            yield
        finally:
            sys.unraisablehook = hook
            for timer in timers:
                timer.cancel()
            for number in ours:
                signal.signal(number, signal.default_int_handler)

    @contextlib.contextmanager
    def held(self, hold: bool) -> Iterator[None]:
        """Hold them back in this block, or let them through; one that was held is raised then."""
        before, self._held = self._held, hold
        try:
            self._raise_pending()
            yield
        finally:
            self._held = before
        self._raise_pending()

    def _came(self, number: int, frame: FrameType | None) -> None:
        self._pending = True
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending and not self._held:
            self._pending = False
            raise KeyboardInterrupt


@dataclass
class Search:
    """What is searched, on which windows, and how trials are run.

    :param identifier: FreqAI's, as configured.
    :param trials: how many the study shall have.
    :param say: shows a line of text.
    """

    name: str
    setup: Setup
    identifier: str
    space: Space
    searched: list[Window]
    held_out: list[Window]
    walk: WalkForward
    trials: int
    say: Callable[[str], None]
    poll_seconds: float = 2.0
    current: int = -1  # number of the trial
    windows_done: int = 0  # by this process
    started: float = field(default_factory=time.monotonic)
    interrupts: Interrupts = field(default_factory=Interrupts)

    @property
    def defaults(self) -> dict[str, Value]:
        """The searched parameters as configured."""
        freqai = self.setup.config["freqai"]
        return {name: PARAMETERS[name].configured(freqai) for name in self.space}

    @property
    def settings(self) -> dict[str, Any]:
        """What all workers of the study must agree on, as JSON gives it back."""
        config = self.setup.config
        ignored = ("identifier", "enabled", "model_save_type", "activate_tensorboard")
        settings = {
            **{key: config[key] for key in ("freqaimodel", "strategy", "timeframe")},
            "freqai": {k: v for k, v in sorted(config["freqai"].items()) if k not in ignored},
            "held_out": self.held_out,
            "labels": self.walk.labels,
            "metric": self.walk.metric,
            "pairs": self.setup.pairs,
            "searched": self.searched,
            "space": {name: tried.model_dump() for name, tried in self.space.items()},
            "weights": self.setup.score and self.setup.score.weights,
        }
        return dict(json.loads(json.dumps(settings)))

    def run(self, study: optuna.Study) -> FrozenTrial:
        """Run trials until as many have ended as wanted, also by other workers; return the best.

        The first has the configured parameters. Failed ones do not count. Workers that ask for the
        last trial at the same moment each get one, so there may be one too many for each of them.

        :raises TuneFailed: nothing works.
        """
        with self.interrupts.installed():
            return self._run_trials(study)

    def _run_trials(self, study: optuna.Study) -> FrozenTrial:
        study.enqueue_trial(self.defaults, skip_if_exists=True)
        counted = (*ENDED, TrialState.RUNNING)
        enough = MaxTrialsCallback(self.trials, counted)
        callbacks: list[Callable[[optuna.Study, FrozenTrial], None]] = [self.after_trial, enough]
        while True:
            optuna.storages.fail_stale_trials(study)
            if len(study.get_trials(deepcopy=False, states=counted)) < self.trials:
                try:
                    with self.interrupts.held(True):
                        study.optimize(self.objective, catch=FAILURES, callbacks=callbacks)
                except (UpdateFinishedTrialError, ValueError):
                    # Optuna's answers to a trial that ended before: this worker was taken for
                    # dead, its heartbeat held up, and another one has the trial now.
                    if not any(self.current in retries(trial) for trial in study.trials):
                        raise
            elif study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                time.sleep(self.poll_seconds)
            else:
                return study.best_trial

    def objective(self, trial: Trial) -> float:
        """Run one trial, which is pruned where it is behind the others after a window."""
        self.current = trial.number
        values = {name: tried.suggest(trial, name) for name, tried in self.space.items()}
        stopped = trial.user_attrs.get("stopped")
        identifier = stopped or self._identifier(trial.number)
        # A trial that takes this one up after a kill must not inherit it: freqtrade may live on.
        trial.set_user_attr("stopped", None)
        trial.set_user_attr("worker", f"{socket.gethostname()} {os.getpid()}")
        for number in retries(trial.study.trials[trial.number]):
            self.walk.remove(self._identifier(number))
        if not stopped:
            self.walk.remove(identifier)  # of a deleted study by the same name
        keep = False
        try:
            with self.interrupts.held(False):
                return self._run(trial, values, identifier)
        except KeyboardInterrupt:
            keep = True
            trial.study.enqueue_trial(trial.params, {"stopped": identifier})
            raise
        except FAILURES as error:
            trial.set_user_attr("error", str(error)[:2000])
            raise
        finally:
            if not keep:
                self.walk.remove(identifier)

    def _run(self, trial: Trial, values: dict[str, Value], identifier: str) -> float:
        found, count = {"score": 0.0}, len(self.searched)
        self.say(f"Trial {trial.number} starts: window 1 of {count}.")
        for step, rows in enumerate(self.walk.run(values, identifier, self.searched), 1):
            found = score(rows, self.walk.metric)
            trial.report(found["score"], step)
            self.windows_done += 1
            left = timedelta(seconds=round(self._seconds_left(trial.study)))
            name = f"Trial {trial.number}, window {step} of {count}"
            self.say(f"{name}: {found['score']:.3f}. About {left} left.")
            if step < count and trial.should_prune():
                raise optuna.TrialPruned
        return found["score"]

    def _seconds_left(self, study: optuna.Study) -> float:
        """Estimate the seconds for the study's other windows, run by as many workers as now."""
        trials = study.get_trials(deepcopy=False, states=(*ENDED, TrialState.RUNNING))
        each, running = len(self.searched), [t for t in trials if t.state == TrialState.RUNNING]
        done = sum(len(t.intermediate_values) for t in running) + each * (
            len(trials) - len(running)
        )
        seconds = (time.monotonic() - self.started) / self.windows_done
        return seconds * max(0, self.trials * each - done) / max(1, len(running))

    def after_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Show a trial that ended, and end a study in which nothing works; a callback of Optuna.

        :raises TuneFailed: the first trial failed, or several in a row.
        """
        done = [t for t in study.get_trials(deepcopy=False) if t.state in ENDED or failed(t)]
        self.say(f"{describe(trial)}  ({len(done)} of {self.trials} done)")
        last = done[-MOST_FAILURES:]
        if all(map(failed, last)) and (len(done) == 1 or len(last) == MOST_FAILURES):
            log = self.walk.folder / f"{self._identifier(last[-1].number)}.log"
            raise TuneFailed(
                f"Expected trials that run, got {len(last)} that failed one after the other, the "
                f"last with:\n{last[-1].user_attrs['error']}\nfreqtrade's output, on the machine "
                f"it ran on: {log}. Correct the cause; the same command goes on."
            )

    def compare(self, best: FrozenTrial) -> dict[str, Any]:
        """Run the best trial's and the configured parameters on the held-out windows.

        Where the horizon was searched both have the best trial's: scores of different horizons are
        scores of different questions.

        :return: "best" and "defaults" as of `score`; "difference" as of `difference`.
        """
        plain = self.defaults
        if "label_period_candles" in plain:
            plain["label_period_candles"] = best.params["label_period_candles"]
        rows = {}
        for role, values in {"best": best.params, "defaults": plain}.items():
            # With the process: another one on this machine may compare too.
            identifier = self._identifier(f"held-out-{role}-{os.getpid()}")
            try:
                for step, found in enumerate(self.walk.run(values, identifier, self.held_out), 1):
                    rows[role] = found
                    self.say(f"Held out, {role}: window {step} of {len(self.held_out)}.")
            finally:
                self.walk.remove(identifier)
        metric = self.walk.metric
        return {role: score(found, metric) for role, found in rows.items()} | {
            "difference": difference(rows["best"], rows["defaults"], metric)
        }

    def _identifier(self, trial: int | str) -> str:
        return f"{self.identifier}-tune-{self.name}@{trial}"  # no study's name has an @


def failed(trial: FrozenTrial) -> bool:
    """Return whether a trial failed with an error of its own, was not killed or stopped."""
    return "error" in trial.user_attrs


def describe(trial: FrozenTrial) -> str:
    """Describe a trial that ended, in a line."""
    if failed(trial):
        lines = trial.user_attrs["error"].strip().splitlines() or ["without a message"]
        return f"Trial {trial.number} failed: {lines[-1]}"
    values = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
    how = ", pruned" if trial.state == TrialState.PRUNED else ""
    return f"Trial {trial.number}: {shown(trial.value)}{how}. {values}"


def shown(value: Any) -> str:
    """Show a number with three digits that matter, or the text itself; a dash for nothing."""
    if value is None or value != value:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
