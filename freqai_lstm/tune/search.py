"""The trials of a search: their objective, the run on the held-out windows, and tidying up."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from freqai_lstm.evaluate.setup import EvaluationFailed, Setup
from freqai_lstm.freqtrade_run import FreqtradeFailed
from freqai_lstm.tune.report import Watch, progress_bar
from freqai_lstm.tune.space import Parameter, TuneFailed, Value, defaults, suggest
from freqai_lstm.tune.study import finished, join_study, place
from freqai_lstm.tune.trial import Span, WalkForward
from freqai_lstm.tune.worker import Worker


# So many failed trials in a row are no accident of their parameters.
MOST_FAILURES = 3
FAILURES = (FreqtradeFailed, EvaluationFailed)


@dataclass(frozen=True)
class Search:
    """What is searched, on which windows, and how trials are run."""

    setup: Setup
    identifier: str
    space: list[Parameter]
    searched: list[Span]
    held_out: list[Span]
    name: str
    walk: WalkForward

    @property
    def freqai(self) -> dict[str, Any]:
        """The `freqai` block as configured."""
        return dict(self.setup.config["freqai"])

    @property
    def prefix(self) -> str:
        """What the identifiers of all trials begin with."""
        return f"{self.identifier}-tune-{self.name}-"

    def settings(self) -> dict[str, Any]:
        """What all workers of the study must agree on."""
        config = self.setup.config
        ignored = ("identifier", "enabled", "model_save_type", "activate_tensorboard")
        return {
            "freqai": {k: v for k, v in sorted(self.freqai.items()) if k not in ignored},
            "freqaimodel": config["freqaimodel"],
            "held_out": [list(window) for window in self.held_out],
            "pairs": self.setup.pairs,
            "searched": [list(window) for window in self.searched],
            "space": {parameter.name: parameter.describe() for parameter in self.space},
            "strategy": config["strategy"],
            "timeframe": config["timeframe"],
            "weights": dict(self.setup.strategy.weights),
        }


class Trials:
    """The objective of the search, and a look at the study after each trial."""

    def __init__(self, search: Search, study: optuna.Study, watch: Watch) -> None:
        self.search, self.study, self.watch = search, study, watch

    def objective(self, trial: Trial) -> float:
        """Score of one trial; pruned where it is behind the others."""
        values = suggest(trial, self.search.space)
        last = len(self.search.searched) - 1
        score = 0.0
        with _identifier(trial, self.search, self.search.prefix) as identifier:
            runs = self.search.walk.run(values, identifier, self.search.searched)
            for step, found in enumerate(runs):
                score = found.score
                trial.report(score, step)
                trial.set_user_attr("pairs", found.pairs)
                trial.set_user_attr("predicted", found.predicted)
                self.watch.update()
                if step < last and trial.should_prune():
                    raise optuna.TrialPruned
        return score

    def look(self) -> None:
        """Show what is new, and end a search in which nothing works.

        :raises TuneFailed: the configured parameters failed, or several trials in a row did.
        """
        self.watch.update()
        done = finished(self.study)
        failed = [trial for trial in done if "error" in trial.user_attrs]
        in_a_row = failed and failed[-MOST_FAILURES:] == done[-MOST_FAILURES:]
        if in_a_row and (len(done) == 1 or len(failed) >= MOST_FAILURES):
            log = self.search.walk.work / f"{self.search.prefix}{failed[-1].number}.log"
            raise TuneFailed(
                f"Expected trials that run, got {len(failed)} that failed, the last with:\n"
                f"{failed[-1].user_attrs['error']}\nfreqtrade's output on the machine it ran on: "
                f"{log}. Correct the cause and name another --study."
            )


def hold_out(
    search: Search,
    study: optuna.Study,
    storage: optuna.storages.BaseStorage,
    member: dict[str, Any],
    console: Console,
) -> dict[str, dict[str, Any]]:
    """Best and defaults on the held-out windows, shared out among the workers like the search."""
    best = best_trial(study)
    plain = defaults(search.space, search.freqai)
    if "label_period_candles" in plain:
        plain["label_period_candles"] = best.params["label_period_candles"]
    values: list[tuple[str, dict[str, Value]]] = [("best", best.params)]
    if best.params != plain:
        values.append(("defaults", plain))
    name = f"{study.study_name}-holdout-{best.number}"
    held = join_study(storage, name, search.settings(), trials=len(values))
    with progress_bar(console) as progress:
        watch = Watch(held, len(values), len(search.held_out), console, progress)

        def objective(trial: Trial) -> float:
            frozen = next(t for t in held.get_trials(deepcopy=False) if t.number == trial.number)
            role, parameters = values[place(held, frozen)]
            prefix = f"{search.prefix}holdout-{best.number}-"
            with _identifier(trial, search, prefix) as identifier:
                runs = search.walk.run(parameters, identifier, search.held_out)
                for step, found in enumerate(runs):
                    trial.report(found.score, step)
                    watch.update()
            trial.set_user_attr("role", role)
            trial.set_user_attr("pairs", found.pairs)
            trial.set_user_attr("predicted", found.predicted)
            return found.score

        Worker(held, len(values), **member).work(objective, after=watch.update)
    complete = held.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = {
        trial.user_attrs["role"]: {
            "score": trial.value,
            "pairs": trial.user_attrs["pairs"],
            "predicted": trial.user_attrs["predicted"],
        }
        for trial in complete
    }
    if len(found) < len(values):
        raise TuneFailed(
            f"Expected {len(values)} runs on the held-out windows, got {len(found)}: the others "
            "ended their workers too often. Look for what ends them, then extend the search."
        )
    return {"defaults": found["best"]} | found


@contextlib.contextmanager
def _identifier(trial: Trial, search: Search, prefix: str) -> Iterator[str]:
    """The trial's own identifier; what it left on disk stays only when it was stopped."""
    identifier = trial.user_attrs.get("resume")
    if identifier is None:
        # What is there can only be of a deleted study by the same name.
        identifier = f"{prefix}{trial.number}"
        search.walk.remove(identifier, always=True)
    trial.set_user_attr("resume", None)
    try:
        yield identifier
    except KeyboardInterrupt:
        trial.set_user_attr("resume", identifier)
        raise
    except BaseException:
        search.walk.remove(identifier)
        raise
    search.walk.remove(identifier)


def best_trial(study: optuna.Study) -> FrozenTrial:
    try:
        return study.best_trial
    except ValueError as error:
        raise TuneFailed(
            f"Expected a trial of {study.study_name} that was run to its end, got none. See the "
            "errors above; --trials with a higher number goes on."
        ) from error


def remove_leftovers(search: Search, study: optuna.Study) -> None:
    """Folders of trials whose worker was killed on this machine."""
    if search.walk.keep_models or study.get_trials(
        deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)
    ):
        return
    pattern = re.compile(re.escape(search.prefix) + r"(holdout-\d+-)?\d+")
    for folder in search.setup.folder.parent.glob("*"):
        if pattern.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
