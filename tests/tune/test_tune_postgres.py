"""Tuning by two workers on a real PostgreSQL, one of which is killed in mid-trial."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from conftest import ROOT
from optuna.trial import FrozenTrial, TrialState
from tune_user import TuneUser


TRIALS = 2
PATIENCE = 400
pytestmark = pytest.mark.slow


def binaries() -> Path | None:
    """The folder with initdb and postgres: on the path, or where Debian has it."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += [Path(folder) for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"))]
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a throw-away PostgreSQL cluster of this test's own."""
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip('psycopg is not installed (pip install "psycopg[binary]")')
    # Root may not run a cluster, and no other user may look into pytest's folders.
    account = {"user": "postgres", "group": "postgres", "extra_groups": []}
    user: dict[str, Any] = {} if os.getuid() else account
    data = Path(tempfile.mkdtemp(prefix="tune-postgres-"))
    server = None
    try:
        if user:
            shutil.chown(data, "postgres", "postgres")
        initdb: list[Any] = [
            folder / "initdb",
            "-D",
            data,
            "-U",
            "tuner",
            "-A",
            "trust",
            "--no-sync",
        ]
        initdb += ["--no-locale", "-E", "UTF8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, timeout=120, cwd=data, **user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command: list[Any] = [folder / "postgres", "-D", data, "-k", data, "-p", port, "-F"]
        command += ["-c", "listen_addresses=127.0.0.1"]
        with (data / "server.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=data, **user)
        ready: list[Any] = [folder / "pg_isready", "-h", "127.0.0.1", "-p", port, "-q"]
        for _ in range(120):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            assert server.poll() is None, (data / "server.log").read_text()
            time.sleep(0.5)
        yield f"postgresql+psycopg://tuner@127.0.0.1:{port}/postgres"
    finally:
        if server is not None:
            # Fast: the default waits for every client to leave.
            server.send_signal(signal.SIGINT)
            server.wait(60)
        shutil.rmtree(data, ignore_errors=True)


def worker(user: TuneUser, url: str, log: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "freqai_lstm",
        "tune",
        *user.arguments(),
        "--study",
        "shared",
    ]
    command += ["--storage", url, "--heartbeat", "2", "--trials", str(TRIALS)]
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


def trials_of(url: str, study: str = "shared") -> list[FrozenTrial]:
    return optuna.load_study(study_name=study, storage=url).trials


def running_of(url: str, pid: int) -> FrozenTrial | None:
    """The trial that process `pid` is at, once freqtrade runs for it."""
    with contextlib.suppress(KeyError):
        for trial in trials_of(url):
            owner = str(trial.user_attrs.get("worker"))
            if trial.state == TrialState.RUNNING and owner.endswith(f" {pid}"):
                commands = [c.cmdline() for c in psutil.Process(pid).children()]
                if any("freqtrade" in command for command in commands):
                    return trial
    return None


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a worker and to the freqtrade it runs, as when the machine is gone."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


@pytest.fixture
def tune_user(tmp_path: Path) -> TuneUser:
    """A user with candles and the smallest of models."""
    return TuneUser(tmp_path / "user")


def test_a_killed_workers_trial_is_taken_up_again(
    database: str, tune_user: TuneUser, tmp_path: Path
) -> None:
    """Two workers, one killed in mid-trial: no trial is lost, none completed twice."""
    logs = [tmp_path / f"worker-{i}.log" for i in range(2)]
    workers = [worker(tune_user, database, log) for log in logs]
    try:
        patience = time.monotonic() + PATIENCE
        lost = None
        while lost is None or running_of(database, workers[0].pid) is None:
            assert time.monotonic() < patience, "\n".join(log.read_text() for log in logs)
            assert all(w.poll() is None for w in workers), "\n".join(x.read_text() for x in logs)
            time.sleep(0.3)
            lost = running_of(database, workers[1].pid)
        kill(workers[1])
        assert workers[0].wait(PATIENCE) == 0, logs[0].read_text()
    finally:
        for process in workers:
            if process.poll() is None:
                process.kill()
                process.wait()

    trials = trials_of(database)
    assert trials[lost.number].state == TrialState.FAIL
    again = [t for t in trials if t.system_attrs.get("failed_trial") == lost.number]
    assert [t.params for t in again] == [lost.params]
    assert again[0].user_attrs["worker"].endswith(f" {workers[0].pid}")
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert TRIALS <= len(ended) <= TRIALS + 1
    assert again[0].number in [t.number for t in ended]

    report = json.loads((tune_user.output / "shared" / "report.json").read_text())
    assert report["trials"]["complete"] + report["trials"]["pruned"] == len(ended)
    assert report["trials"]["interrupted"] == 1
    best, defaults = report["best"], report["defaults"]
    if best["parameters"] == defaults["parameters"]:
        assert best["held_out"] is None, "there is nothing to compare"
    else:
        assert best["held_out"]["predicted"] == 1
    assert not list((tune_user.userdir / "models").glob("*-tune-*")), "no models are left"
