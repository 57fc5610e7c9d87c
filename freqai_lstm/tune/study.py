"""The study of a search: a database that several processes and machines work on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import SQLAlchemyError

from freqai_lstm.tune.space import TuneFailed


# A trial that ends its worker so often is given up: perhaps it needs more memory than there is.
MOST_RETRIES = 5
# Several workers write into one file: wait for each other; transactions begin as told below.
SQLITE = {"timeout": 60, "isolation_level": None}


def open_storage(given: str | None, file: Path, heartbeat: int) -> tuple[BaseStorage, URL]:
    """Open the database of the studies.

    :param given: its URL; None: an SQLite database in `file`.
    :param heartbeat: seconds between a worker's heartbeats; after three without one its trial is
        put back into the queue.
    :raises TuneFailed: the database cannot be reached, or its driver is not installed.
    """
    shown = re.sub(r":.*@", ":***@", given or "")
    try:
        url = make_url(given) if given else URL.create("sqlite", database=str(file))
        shown = url.render_as_string(hide_password=True)
        sqlite = url.get_backend_name() == "sqlite"
        if sqlite:
            Path(url.database or file).parent.mkdir(parents=True, exist_ok=True)
        storage = RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"connect_args": SQLITE} if sqlite else None,
            heartbeat_interval=heartbeat,
            grace_period=3 * heartbeat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MOST_RETRIES),
        )
        if sqlite:
            # SQLite has no FOR UPDATE, by which Optuna keeps two workers from taking one trial.
            event.listen(storage.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise TuneFailed(
            "Expected as --storage the URL of a database that can be reached and whose driver is "
            "installed, such as postgresql+psycopg://user:password@host/name, got "
            f"{shown}: {error}. Check address, account and driver."
        ) from error
    return storage, url


def join_study(
    storage: BaseStorage, name: str, settings: Mapping[str, Any], seed: int | None = None
) -> optuna.Study:
    """Create the study, or join it where there is one.

    :param settings: what all its workers must agree on, as JSON would give it back.
    :raises TuneFailed: the study there was started with other settings; they are named.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        # Four trials to compare with, and never after the first window (step 1) alone. It compares
        # a trial's best score so far, so it errs on the side of going on.
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        load_if_exists=True,
    )
    if seed is not None:
        # Else a resumed search would suggest once more what it began with.
        seed += 1000 * len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    theirs = study.user_attrs.get("settings")
    if theirs is None:
        study.set_user_attr("settings", settings)
    elif differ := [key for key in settings if settings[key] != theirs.get(key)]:
        listed = "".join(f"\n  {k}: expected {theirs.get(k)}, got {settings[k]}" for k in differ)
        raise TuneFailed(
            f"Study {name} was started with other settings:{listed}\nGive the same, or name "
            "another --study."
        )
    return study
