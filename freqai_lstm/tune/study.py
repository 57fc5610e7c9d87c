"""A study that several processes and machines work on: its storage, joining it, counting trials.

A trial that is taken up again is a new trial of Optuna with the same parameters; the one before it
stays as failed. So the study's total counts *first* trials only, and each of them ends once.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import (
    BaseStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from freqai_lstm.tune.space import TuneFailed


# A trial that ends its worker so often is given up: perhaps it needs more memory than there is.
MOST_KILLS = 5
SETTINGS, TRIALS = "settings", "trials"


def quiet_optuna() -> None:
    """Only errors in Optuna's log, and no word about heartbeats being experimental."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)


def open_storage(url: str, heartbeat: int) -> BaseStorage:
    """Optuna's storage for a database URL, or a journal file for anything that is a path.

    :param heartbeat: seconds between a worker's signs of life; after three without one its trial
        is taken up again. Databases only.
    :raises TuneFailed: the database cannot be reached, or its driver is not installed.
    """
    if "://" not in url:
        path = Path(url).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    try:
        return RDBStorage(
            url,
            heartbeat_interval=heartbeat,
            grace_period=3 * heartbeat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MOST_KILLS),
        )
    except (ArgumentError, NoSuchModuleError, SQLAlchemyError, ImportError) as error:
        raise TuneFailed(
            "Expected a database that can be reached at --storage (a URL such as "
            "postgresql+psycopg://user:password@host/name, whose driver is installed), got: "
            f"{error}. Check address, account and driver, or name a file for a journal."
        ) from error


def join_study(
    storage: BaseStorage,
    name: str,
    settings: Mapping[str, Any],
    *,
    trials: int | None = None,
    first: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> optuna.Study:
    """Create the study, or join it where another process has.

    :param settings: what all its workers must agree on, as JSON would give it back.
    :param trials: the study's total from now on; None: what it was, 30 for a new one.
    :param first: parameters of the first trial.
    :raises TuneFailed: the study there was started with other settings; they are named.
    """
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    # Four trials to compare with, and never after the first window alone. It compares a trial's
    # best score so far, so it errs on the side of going on.
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    kinds: dict[str, Any] = {"sampler": sampler, "pruner": pruner}
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", **kinds)
    except DuplicatedStudyError:
        study = _join(storage, name, settings, kinds)
        if seed is not None:
            # Else a resumed search would suggest once more what it began with.
            again = seed + 1000 * len(study.get_trials(deepcopy=False))
            study.sampler = optuna.samplers.TPESampler(seed=again, constant_liar=True)
        if trials is not None:
            study.set_user_attr(TRIALS, trials)
        return study
    study.set_user_attr(TRIALS, trials or 30)
    study.set_user_attr(SETTINGS, dict(settings))
    if first is not None:
        study.enqueue_trial(dict(first), user_attrs={"defaults": True})
    return study


def _join(
    storage: BaseStorage, name: str, settings: Mapping[str, Any], kinds: dict[str, Any]
) -> optuna.Study:
    study = optuna.load_study(study_name=name, storage=storage, **kinds)
    patience = time.monotonic() + 30
    while SETTINGS not in study.user_attrs:
        if time.monotonic() > patience:
            raise TuneFailed(
                f"Expected a study started by this command under the name {name}, got one without "
                "settings: another program's, or its first worker was killed. Name another --study."
            )
        time.sleep(0.2)
    theirs, ours = study.user_attrs[SETTINGS], json.loads(json.dumps(settings))
    differ = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    if differ:
        listed = "".join(
            f"\n  {key}: expected {theirs.get(key)}, got {ours.get(key)}" for key in differ
        )
        raise TuneFailed(
            f"Study {name} was started with other settings:{listed}\nGive the same, or name "
            "another --study."
        )
    return study


def is_first(trial: FrozenTrial) -> bool:
    """True for a trial that takes up no other one and was not dropped."""
    return "failed_trial" not in trial.system_attrs and not trial.user_attrs.get("surplus")


def place(study: optuna.Study, trial: FrozenTrial) -> int:
    """How many first trials the study has before this trial, or before the one it takes up."""
    number = trial.system_attrs.get("failed_trial", trial.number)
    return sum(
        is_first(other) for other in study.get_trials(deepcopy=False) if other.number < number
    )


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that ended by themselves: complete, pruned, or failed with an error of their own."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "error" in trial.user_attrs
    ]
