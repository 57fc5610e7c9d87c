"""Tuning: its space, scores, accounting of trials, report and errors; and a search end to end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import typer
from conftest import ROOT
from optuna.trial import TrialState, create_trial
from rich.console import Console
from tune_user import PAIR, TuneUser
from typer.testing import CliRunner

from freqai_lstm.evaluate.scores import compare
from freqai_lstm.evaluate.setup import load_config
from freqai_lstm.tune.command import tune
from freqai_lstm.tune.processes import environment, gpus
from freqai_lstm.tune.report import build_report, print_report, time_left, verdict
from freqai_lstm.tune.search import Trials
from freqai_lstm.tune.space import (
    DEFAULT_GROUPS,
    GROUPS,
    PARAMETERS,
    TuneFailed,
    choose_space,
    defaults,
    fragment,
    suggest,
)
from freqai_lstm.tune.study import finished, join_study, open_storage, quiet_optuna
from freqai_lstm.tune.trial import DAY, Scores, scores, split_windows
from freqai_lstm.tune.worker import Worker


FREQAI: dict[str, Any] = {
    "conv_width": 24,
    "train_period_days": 90,
    "feature_parameters": {"label_period_candles": 0, "indicator_periods_candles": [10, 20]},
    "model_training_parameters": {"units": 200},
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


# ------------------------------------------------------------------------------------ the space


def test_defaults_are_the_models_own(lstm: ModuleType) -> None:
    """Where the configuration is silent, the searched default is LSTMRegressor's."""
    known = {f.name: f.default for f in fields(lstm.LSTMParameters)}
    searched = [p for p in PARAMETERS.values() if p.block == "model_training_parameters"]
    assert len(searched) == 6
    assert {p.name: p.default for p in searched} == {p.name: known[p.name] for p in searched}


def test_every_suggestion_is_allowed_and_the_configured_values_are_inside(
    lstm: ModuleType,
) -> None:
    """Random trials pass the model's own check; the configured values are one of them."""
    space = choose_space(GROUPS, FREQAI)
    assert [p.name for p in space] == list(PARAMETERS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(defaults(space, FREQAI))
    for i in range(30):
        values = suggest(study.ask(), space)
        freqai = fragment(values, "x")["freqai"]
        lstm.LSTMParameters.from_config(freqai["model_training_parameters"])
        assert all(isinstance(n, int) for n in freqai["feature_parameters"][PERIODS])
        assert freqai["conv_width"] >= 2
        if i == 0:
            assert freqai["model_training_parameters"]["units"] == 200
            assert freqai["feature_parameters"][PERIODS] == [10, 20]
            assert freqai["train_period_days"] == 90


PERIODS = "indicator_periods_candles"


def test_horizon_and_outliers_are_searched_on_demand_only() -> None:
    """By default neither is; a group or a parameter's name brings it in."""
    names = {p.name for p in choose_space(DEFAULT_GROUPS, FREQAI)}
    assert names == set(PARAMETERS) - {"label_period_candles", "DI_threshold"}
    chosen = choose_space(["horizon", "units"], FREQAI)
    assert [p.name for p in chosen] == ["units", "label_period_candles"]


def test_ranges_of_ones_own(tmp_path: Path) -> None:
    """A file replaces ranges and brings its parameters in; the configured value stays inside."""
    path = tmp_path / "ranges.json"
    path.write_text(
        json.dumps(
            {
                "units": {"low": 4, "high": 8},
                PERIODS: {"choices": [[14], [5, 15]]},
                "conv_width": {"low": 4, "high": 12, "step": 4},
                "train_period_days": {"low": 120, "high": 150},
            }
        )
    )
    found = {p.name: p for p in choose_space([], FREQAI, path)}
    assert (found["units"].low, found["units"].high) == (4, 200)
    assert found[PERIODS].choices == ("14", "5 15", "10 20")
    assert PARAMETERS["conv_width"].reaching(18).step == 6
    assert PARAMETERS["conv_width"].reaching(20).step is None
    assert (found["train_period_days"].low, found["train_period_days"].high) == (90, 150)
    assert (found["conv_width"].high, found["conv_width"].step) == (24, 4)


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"unit": {"low": 1, "high": 2}}, "got 'unit'"),
        ({"units": [4, 8]}, "for units"),
        ({"units": {"low": 8, "high": 4}}, "got (8, 4)"),
        ({"units": {"low": 4.5, "high": 8}}, "Expected whole numbers from 1 to 4096"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "log only above 0"),
        ({"dropout_rate": {"low": 0, "high": 1}}, "from 0 to 0.99"),
        ({PERIODS: {"low": 1, "high": 2}}, "Write choices"),
        ({PERIODS: {"choices": ["a"]}}, "lists of whole numbers"),
        ([1], "Expected {parameter: range}"),
    ],
)
def test_ranges_that_cannot_be_are_named(tmp_path: Path, ranges: Any, words: str) -> None:
    """Each error says what was expected and what was got."""
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(ranges))
    with pytest.raises(TuneFailed) as error:
        choose_space([], FREQAI, path)
    assert words in str(error.value)
    assert "Expected" in str(error.value)


# ----------------------------------------------------------------------------- windows and scores


def test_windows_are_freqais_and_the_last_ones_are_held_out() -> None:
    """Ten windows of ten days and a short one: at least the days asked for are held out."""
    first = int(pd.Timestamp("2024-01-01", tz="UTC").timestamp())
    searched, held = split_windows("20240101-20240415", 10, 20)
    assert searched == [(first + i * 10 * DAY, first + (i + 1) * 10 * DAY) for i in range(8)]
    assert len(held) == 3
    assert held[0][0] == searched[-1][1]
    assert held[-1] == (first + 100 * DAY, first + 105 * DAY)
    assert len(split_windows("20240101-20240410", 10, None)[1]) == 3
    assert split_windows("20240101-20240410", 10, 0)[1] == []


@pytest.mark.parametrize(
    ("timerange", "holdout"),
    [("20240101-", 10), ("-20240101", 10), ("20240101-20240111", 10), ("20240101-20240111", -3)],
)
def test_timeranges_without_windows_are_errors(timerange: str, holdout: float) -> None:
    """An open timerange, and one that leaves nothing to search on."""
    with pytest.raises(TuneFailed, match="Expected"):
        split_windows(timerange, 10, holdout)


def candles(t: np.ndarray, t_hat: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"T": t, "model": t_hat, "valid": True, "scale": 1.0})


def test_score_is_the_evaluations_where_all_candles_are_predicted() -> None:
    """The mean over the pairs of what `evaluate` calls correlation."""
    rng = np.random.default_rng(1)
    rows = {}
    for pair in "AB":
        t = rng.normal(size=200)
        rows[pair] = candles(t, t + rng.normal(size=200))
    found = scores(rows)
    expected = {
        pair: compare(frame, ["model"], 0.5)["model"]["correlation"] for pair, frame in rows.items()
    }
    assert found.pairs == pytest.approx(expected)
    assert found.score == pytest.approx(np.mean(list(expected.values())))
    assert found.predicted == 1


def test_candles_without_a_prediction_cost() -> None:
    """Predicting the easy half alone scores less than predicting it all; a constant scores 0."""
    t = np.random.default_rng(1).normal(size=200)
    rows = candles(t, t.copy())
    rows.loc[100:, "valid"] = False
    found = scores({"A": rows})
    assert 0.5 < found.score < 0.9
    assert found.predicted == 0.5
    assert scores({"A": candles(t, np.ones(200))}).score == 0
    rows.loc[0, "T"] = np.nan
    assert np.isfinite(scores({"A": rows}).score)


# ------------------------------------------------------------------------ trials and their workers


def x_squared(trial: optuna.Trial) -> float:
    return -(trial.suggest_float("x", -1, 1) ** 2)


def study_at(path: Path, **kwargs: Any) -> optuna.Study:
    return join_study(open_storage(str(path), 60), "s", {"a": [1, 2]}, **kwargs)


def work_at(path: Path, total: int) -> None:
    quiet_optuna()
    Worker(study_at(path, trials=total), total, poll_seconds=0.1).work(x_squared)


def die_at(path: Path) -> None:
    quiet_optuna()

    def objective(trial: optuna.Trial) -> float:
        x_squared(trial)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    Worker(study_at(path), 1).work(objective)


def test_several_processes_share_the_studys_total(tmp_path: Path) -> None:
    """Three workers at once: as many trials as asked for, the first with the defaults."""
    spawn = multiprocessing.get_context("spawn")
    path = tmp_path / "journal.log"
    study = study_at(path, trials=9, first={"x": 0.5})
    workers = [spawn.Process(target=work_at, args=(path, 9)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    trials = [t for t in study.trials if not t.user_attrs.get("surplus")]
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 9
    assert trials[0].params == {"x": 0.5}
    assert len({t.params["x"] for t in trials}) == 9


def test_a_journals_dead_worker_is_noticed(tmp_path: Path) -> None:
    """A process killed in mid-trial leaves it to the next one; the total stays."""
    path = tmp_path / "journal.log"
    study = study_at(path, trials=2)
    process = multiprocessing.get_context("spawn").Process(target=die_at, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (dead,) = study.trials
    assert dead.state == TrialState.RUNNING
    Worker(study, 2).work(x_squared)
    states = [t.state for t in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert study.trials[1].params == dead.params
    assert study.trials[1].system_attrs["failed_trial"] == 0
    assert len(finished(study)) == 2


def test_a_stopped_trial_waits_for_the_next_start(tmp_path: Path) -> None:
    """Ctrl-C puts the running trial back, however often, and it is run once in the end."""
    study = study_at(tmp_path / "journal.log", trials=2)

    def stop(trial: optuna.Trial) -> float:
        trial.suggest_float("x", -1, 1)
        raise KeyboardInterrupt

    for _ in range(7):
        with pytest.raises(KeyboardInterrupt):
            Worker(study, 2).work(stop)
    Worker(study, 2).work(x_squared)
    ended = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(ended) == 2
    assert ended[0].params == study.trials[0].params


def test_a_worker_taken_for_dead_lets_its_trial_go(tmp_path: Path) -> None:
    """Another worker put its trial back meanwhile: it is run once more, not twice more."""
    study = study_at(tmp_path / "journal.log", trials=2)

    def held_up(trial: optuna.Trial) -> float:
        value = x_squared(trial)
        if trial.number == 0:
            Worker(study, 2)._put_back(0, 5)
        return value

    Worker(study, 2).work(held_up)
    states = [t.state for t in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_trial_too_many_is_dropped(tmp_path: Path) -> None:
    """What two workers ask for at the same moment beyond the total is never run."""
    study = study_at(tmp_path / "journal.log", trials=1)
    worker = Worker(study, 1)
    worker.work(x_squared)
    worker._one(lambda trial: pytest.fail("was run"), ())
    assert study.trials[1].user_attrs["surplus"]
    worker.total = 2
    worker.work(x_squared)
    assert [t.state for t in study.trials][2:] == [TrialState.COMPLETE]


def test_a_trial_with_an_error_of_its_own_is_not_repeated(tmp_path: Path) -> None:
    """It counts as one of the trials, and its error is kept; other errors put the trial back."""
    study = study_at(tmp_path / "journal.log", trials=2)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            raise ValueError("no such thing")
        return x_squared(trial)

    Worker(study, 2).work(objective, catch=(ValueError,))
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[0].user_attrs["error"] == "no such thing"

    def fall(trial: optuna.Trial) -> float:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Worker(study, 3).work(fall, catch=(ValueError,))
    Worker(study, 3).work(x_squared)
    assert len(finished(study)) == 3


def test_a_search_in_which_nothing_works_ends(tmp_path: Path) -> None:
    """A failure of the defaults, or three in a row, is an error and not the next trial."""
    study = study_at(tmp_path / "journal.log", trials=9)
    walk = SimpleNamespace(work=tmp_path)
    watch = SimpleNamespace(update=lambda: None)
    trials = Trials(SimpleNamespace(walk=walk, prefix="p-"), study, watch)  # type: ignore[arg-type]
    failing = {0}

    def objective(trial: optuna.Trial) -> float:
        if trial.number in failing:
            raise ValueError("no candles")
        return x_squared(trial)

    with pytest.raises(TuneFailed, match="no candles"):
        Worker(study, 9).work(objective, catch=(ValueError,), after=trials.look)
    assert len(study.trials) == 1
    failing = {2, 3, 5, 6, 7}
    with pytest.raises(TuneFailed, match=r"p-7\.log"):
        Worker(study, 9).work(objective, catch=(ValueError,), after=trials.look)


class Walk:
    """A walk-forward run whose scores are known: trial 5 is worse than the others."""

    def __init__(self, folder: Path) -> None:
        self.work = folder
        self.runs: list[tuple[str, int]] = []
        self.removed: list[str] = []

    def run(self, values: dict[str, Any], identifier: str, windows: list[Any]) -> Any:
        for step in range(len(windows)):
            self.runs.append((identifier, step))
            yield Scores(0.1 if identifier == "p-5" else 0.3, {PAIR: 0.3}, 1.0)

    def remove(self, identifier: str, *, always: bool = False) -> None:
        if not always:
            self.removed.append(identifier)


def test_a_trial_behind_the_median_is_pruned_between_windows(tmp_path: Path) -> None:
    """It runs the second window and not the third; its files are removed like the others'."""
    study = study_at(tmp_path / "journal.log", trials=6)
    walk = Walk(tmp_path)
    search = SimpleNamespace(
        walk=walk, prefix="p-", searched=[(0, 1)] * 3, space=choose_space(["units"], FREQAI)
    )
    watch = SimpleNamespace(update=lambda: None)
    trials = Trials(search, study, watch)  # type: ignore[arg-type]
    Worker(study, 6).work(trials.objective, after=trials.look)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED]
    assert [step for identifier, step in walk.runs if identifier == "p-5"] == [0, 1]
    assert walk.removed == [f"p-{i}" for i in range(6)]
    assert study.trials[0].user_attrs["pairs"] == {PAIR: 0.3}


def test_a_resumed_search_with_a_seed_tries_something_new(tmp_path: Path) -> None:
    """The seed makes a search repeatable, and its second start does not repeat the first."""
    for name in "ab":
        for total in (3, 6):
            study = study_at(tmp_path / name, trials=total, seed=1)
            Worker(study, total).work(x_squared)
    a, b = ([t.params["x"] for t in study_at(tmp_path / name).trials] for name in "ab")
    assert a == b
    assert len(set(a)) == 6


def test_workers_must_agree(tmp_path: Path) -> None:
    """Joining with other settings names the key, what the study has and what was given."""
    path = tmp_path / "journal.log"
    study_at(path)
    with pytest.raises(TuneFailed) as error:
        join_study(open_storage(str(path), 60), "s", {"a": [1, 3]})
    assert "a: expected [1, 2], got [1, 3]" in str(error.value)


def test_the_total_is_the_studys(tmp_path: Path) -> None:
    """Who joins without --trials takes the study's total; who gives one sets it for later."""
    path = tmp_path / "journal.log"
    assert study_at(path).user_attrs["trials"] == 30
    assert study_at(path, trials=5).user_attrs["trials"] == 5
    assert study_at(path).user_attrs["trials"] == 5


@pytest.mark.parametrize("url", ["postgresql+psycopg://u@127.0.0.1:1/x", "nothing://x"])
def test_a_database_out_of_reach_is_an_error(url: str) -> None:
    """Address, account or driver: the message names what is expected of --storage."""
    with pytest.raises(TuneFailed, match="Expected a database that can be reached"):
        open_storage(url, 60)


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU for each worker in turn; without any, a share of the cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert gpus(None) == ["2", "5"]
    assert gpus("1") == ["1"]
    assert gpus("") == []
    seen = [environment(i, 3, gpus(None))["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert seen == ["2", "5", "2"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert environment(0, 3, []) == {"TF_NUM_INTRAOP_THREADS": "2"}


# -------------------------------------------------------------------------------------- the report


def test_time_left() -> None:
    """Ten trials of a minute, four done, two running: about three minutes side by side."""
    now = datetime.now()
    done = [create_trial(value=1.0) for _ in range(4)]
    running = [create_trial(state=TrialState.RUNNING) for _ in range(2)]
    for trial in done:
        trial.datetime_start, trial.datetime_complete = now - timedelta(seconds=60), now
    for trial in running:
        trial.datetime_start = now
    assert time_left([*done, *running], 10, 3) == pytest.approx(180, abs=2)
    assert time_left(running, 10, 3) is None
    running[0].datetime_start = now - timedelta(seconds=20)
    running[0].intermediate_values = {0: 1.0}
    assert time_left(running[:1], 2, 3) == pytest.approx(100, abs=2)


@pytest.mark.parametrize(
    ("best", "plain", "beats", "words"),
    [
        (0.30, 0.25, True, "beats the defaults"),
        (0.26, 0.25, False, "Up to 0.02 is no difference"),
        (0.20, 0.25, False, "does not beat"),
    ],
)
def test_verdict(best: float, plain: float, beats: bool, words: str) -> None:
    """It beats the defaults by more than the margin, or it is said that it does not."""
    found = verdict({"best": {"score": best}, "defaults": {"score": plain}}, is_default=False)
    assert found["beats"] is beats
    assert words in f"{found['headline']} {found['detail']}"
    assert verdict({}, is_default=False)["beats"] is None
    assert "keep them" in verdict({}, is_default=True)["headline"]


def test_report_of_a_search_with_horizons() -> None:
    """Counts, both scores, the best of each horizon, and that these are not comparable."""
    study = optuna.create_study(direction="maximize", study_name="named")
    whole = optuna.distributions.IntDistribution(0, 3)
    for horizon, value in ((0, 0.8), (1, 0.3), (1, 0.4)):
        study.add_trial(
            create_trial(
                value=value,
                params={"label_period_candles": horizon},
                distributions={"label_period_candles": whole},
                user_attrs={"defaults": horizon == 0},
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "x"}))
    held = {"score": 0.7, "pairs": {PAIR: 0.7}, "predicted": 1.0}
    report = build_report(
        study,
        [(0, DAY)],
        [(DAY, 2 * DAY)],
        {"label_period_candles": 0},
        {"best": held, "defaults": held},
    )
    assert report["trials"] == {"complete": 3, "pruned": 0, "failed": 1, "taken_up_again": 0}
    assert report["defaults"]["score"] == 0.8
    assert report["per_horizon"] == {"0": 0.8, "1": 0.4}
    assert any("different questions" in note for note in report["notes"])
    console = Console(record=True, width=120)
    print_report(json.loads(json.dumps(report)), console)
    text = console.export_text()
    assert "keep them" in text
    assert "1970-01-01 to 1970-01-02" in text


# ------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> TuneUser:
    """A user with candles and the smallest of models."""
    return TuneUser(tmp_path_factory.mktemp("tune"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timerange", "20240404-"], "Expected --timerange with a start and a later end"),
        (["--timerange", "20240305-20240410"], "Expected candles of BTC/USDT:USDT from 2024-02-24"),
        (["--holdout-days", "6"], "Expected at least one window of 3 days"),
        (["--space", "unit"], "Did you mean 'units'?"),
        (["--study", "a/b"], "Expected a study name of letters"),
        (["--ranges", "nowhere.json"], "Expected a JSON file of ranges at nowhere.json"),
        (["--datadir", "nowhere"], "Expected a data folder with candles at nowhere"),
    ],
)
def test_wrong_options_are_named(user: TuneUser, options: list[str], words: str) -> None:
    """Before anything is trained: exit code 1, what was expected, what was got."""
    app = typer.Typer()
    app.command()(tune)
    found = CliRunner().invoke(app, [*user.arguments(), *options])
    assert found.exit_code == 1
    assert words in " ".join(found.stderr.split())
    assert not user.output.exists()
    assert not any((user.userdir / "models").glob("*")), "nothing is left in the user's folder"


def start(user: TuneUser, *options: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "freqai_lstm", "tune", *user.arguments(), *options]
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


@pytest.mark.slow
def test_search_stopped_and_resumed(user: TuneUser, tmp_path: Path) -> None:
    """Two workers, Ctrl-C in mid-trial, the same command again: every trial once, a usable file."""
    options = ("--trials", "3", "--workers", "2", "--study", "again")
    log = tmp_path / "log"
    journal = user.output / "again" / "journal.log"
    process = start(user, *options, log=log)
    patience = time.monotonic() + 300
    while not running_freqtrade(journal):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < patience, log.read_text()
        time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, log.read_text()
    assert "the same command goes on from there" in log.read_text()
    storage = open_storage(str(journal), 60)
    study = optuna.load_study(study_name="again", storage=storage)
    assert not [t for t in study.trials if t.state == TrialState.RUNNING]

    assert start(user, *options, log=log).wait(500) == 0, log.read_text()
    trials = study.trials
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len({t.system_attrs.get("failed_trial", t.number) for t in ended}) == len(ended) == 3
    assert any("failed_trial" in t.system_attrs for t in ended)
    report = json.loads((user.output / "again" / "report.json").read_text())
    assert report["verdict"]["headline"] in log.read_text()
    assert report["best"]["score"] == pytest.approx(study.best_value)

    best = user.output / "again" / "best.json"
    configs = [ROOT / "config.example.json", user.folder / "second.json", best]
    config = load_config(
        {"config": [str(path) for path in configs], "user_data_dir": str(user.userdir)}
    )
    parameters = config["freqai"]["model_training_parameters"]
    assert parameters["units"] == study.best_params["units"]
    assert parameters["epochs"] == 2
    assert config["freqai"]["identifier"] == f"tiny-tuned-again-{study.best_trial.number}"
    assert not list((user.userdir / "models").glob("*-tune-*")), "no models are left"


def running_freqtrade(journal: Path) -> bool:
    """Whether a trial has started its backtest: its configuration is there."""
    return any(journal.parent.glob("tiny-tune-*.json"))
