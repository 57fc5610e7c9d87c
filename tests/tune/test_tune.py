"""Tuning: its space, scores, trials of several workers, report and errors; and a search whole."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import typer
from conftest import ROOT
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState, create_trial
from rich.console import Console
from tune_user import PAIR, TuneUser
from typer.testing import CliRunner

from freqai_lstm.evaluate.intervals import BETTER, UNDECIDED, WORSE
from freqai_lstm.evaluate.setup import load_config
from freqai_lstm.freqtrade_run import FreqtradeFailed, FreqtradeRun
from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.tune.command import tune
from freqai_lstm.tune.page import charts, write_page
from freqai_lstm.tune.report import build_report, compare, print_report, tries
from freqai_lstm.tune.score import Metric, difference, score
from freqai_lstm.tune.search import Search
from freqai_lstm.tune.space import (
    DEFAULT_GROUPS,
    GROUPS,
    PARAMETERS,
    TuneFailed,
    choose_space,
    fragment,
)
from freqai_lstm.tune.study import join_study, open_storage
from freqai_lstm.tune.trial import DAY, split_windows
from freqai_lstm.tune.workers import environment, visible_gpus


FREQAI: dict[str, Any] = {
    "conv_width": 24,
    "train_period_days": 90,
    "feature_parameters": {"label_period_candles": 0, "indicator_periods_candles": [10, 20]},
    "model_training_parameters": {"units": 200},
}
PERIODS = "indicator_periods_candles"
# What takes seconds to import is imported once for all child processes.
CHILDREN: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    CHILDREN.set_forkserver_preload(["freqai_lstm.tune.command", "freqtrade.freqai.data_kitchen"])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"):
        yield


# ------------------------------------------------------------------------------------ the space


def test_every_suggestion_is_allowed_and_the_configured_values_are_inside() -> None:
    """Random trials pass the model's own check; the configured values are one of them."""
    space = choose_space(GROUPS, FREQAI)
    assert list(space) == list(PARAMETERS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial({name: PARAMETERS[name].configured(FREQAI) for name in space})
    for i in range(30):
        trial = study.ask()
        values = {name: tried.suggest(trial, name) for name, tried in space.items()}
        freqai = fragment(values, "x")["freqai"]
        read_parameters(freqai["model_training_parameters"])
        assert all(isinstance(n, int) for n in freqai["feature_parameters"][PERIODS])
        assert freqai["conv_width"] >= 2
        if i == 0:
            assert freqai["model_training_parameters"]["units"] == 200
            assert freqai["feature_parameters"][PERIODS] == [10, 20]
            assert freqai["train_period_days"] == 90


def test_horizon_and_outliers_are_searched_on_demand_only() -> None:
    """By default neither is; a group or a parameter's name brings it in."""
    assert set(choose_space(DEFAULT_GROUPS, FREQAI)) == set(PARAMETERS) - {
        "label_period_candles",
        "DI_threshold",
    }
    assert list(choose_space(["horizon", "units"], FREQAI)) == ["units", "label_period_candles"]


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
    found = choose_space([], FREQAI, path)
    assert (found["units"].low, found["units"].high) == (4, 200)
    assert found[PERIODS].choices == ["14", "5 15", "10 20"]
    assert PARAMETERS["conv_width"].range.holding(18).step == 6
    assert PARAMETERS["conv_width"].range.holding(20).step is None
    assert (found["train_period_days"].low, found["train_period_days"].high) == (90, 150)
    assert (found["conv_width"].high, found["conv_width"].step) == (24, 4)


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"unit": {"low": 1, "high": 2}}, ["unit:", "'units'"]),
        ({"units": {"lo": 1, "high": 2}}, ["units.lo:", "'low'"]),
        ({"units": [4, 8]}, ["units:", "[4, 8]"]),
        ({"units": {"low": 4}}, ["units:", "high"]),
        ({"units": {"low": 8, "high": 4}}, ["units:", "low up to high", "8"]),
        ({"units": {"low": 4.5, "high": 8}}, ["units.low:", "integer", "4.5"]),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, ["learning_rate.low:", "0"]),
        ({"dropout_rate": {"low": 0, "high": 1}}, ["dropout_rate.high:", "less than 1"]),
        ({PERIODS: {"low": 1, "high": 2}}, [f"{PERIODS}.low:"]),
        ({PERIODS: {"choices": ["a"]}}, [f"{PERIODS}.choices.0:", "'a'"]),
        ([1], ["the file:", "[1]"]),
    ],
)
def test_ranges_that_cannot_be_are_named(tmp_path: Path, ranges: Any, words: list[str]) -> None:
    """Each error names the key, what was expected and what was got."""
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(ranges))
    with pytest.raises(TuneFailed, match="Expected") as error:
        choose_space([], FREQAI, path)
    assert all(word in str(error.value) for word in words), str(error.value)


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
    [("20240101-", 10), ("-20240101", 10), ("20240101-20240111", 10)],
)
def test_timeranges_without_windows_are_errors(timerange: str, holdout: float) -> None:
    """An open timerange, and one that leaves nothing to search on."""
    with pytest.raises(TuneFailed, match="Expected"):
        split_windows(timerange, 10, holdout)


def forecasts(realised: np.ndarray, forecast: np.ndarray, pair: str = PAIR) -> pd.DataFrame:
    dates = pd.date_range("2024-01-01", periods=len(realised), freq="h", tz="UTC")
    columns = {"pair": pair, "target": "T", "date": dates, "predicted": True}
    return pd.DataFrame({**columns, "realised": realised, "forecast": forecast})


def test_score_is_the_mean_over_pairs() -> None:
    """Of each figure, computed here by pandas; a constant forecast counts as 0."""
    rng = np.random.default_rng(1)
    rows = []
    for pair in "AB":
        t = rng.normal(size=200)
        rows.append(forecasts(t, t + rng.normal(size=200), pair))
    found = score(pd.concat(rows), Metric.CORRELATION)
    parts = [frame["realised"].corr(frame["forecast"]) for frame in rows]
    assert list(found["parts"].values()) == pytest.approx(parts)
    assert found["score"] == pytest.approx(np.mean(parts))
    assert found["predicted"] == 1
    ranks = score(rows[0], Metric.RANK_CORRELATION)["score"]
    assert ranks == pytest.approx(rows[0]["realised"].rank().corr(rows[0]["forecast"].rank()))
    error = rows[0]["realised"] - rows[0]["forecast"]
    r2 = 1 - (error**2).mean() / rows[0]["realised"].var(ddof=0)
    assert score(rows[0], Metric.R2)["score"] == pytest.approx(r2)
    constant = forecasts(rng.normal(size=200), np.ones(200))
    assert score(constant, Metric.CORRELATION)["score"] == 0


def test_a_difference_is_said_only_where_the_candles_show_it() -> None:
    """Better and worse when every day says so; undecided between two equally noisy forecasts."""
    rng = np.random.default_rng(1)
    t = rng.normal(size=24 * 20)
    good, bad, other = (forecasts(t, t + k * rng.normal(size=len(t))) for k in (0.5, 3, 3))
    assert difference(good, bad, Metric.CORRELATION)["word"] == BETTER
    assert difference(bad, good, Metric.R2)["word"] == WORSE
    assert difference(bad, other, Metric.CORRELATION)["word"] == UNDECIDED


def test_sharpe_is_that_of_daily_results() -> None:
    """Annual, from every day of the range; 0 without a trade; a sure difference is told."""
    rng = np.random.default_rng(1)
    days = pd.date_range("2024-01-01", periods=70, freq="D", tz="UTC")
    rows = pd.DataFrame({"date": days, "profit": rng.normal(0.001, 0.01, 70)})
    expected = rows["profit"].mean() / rows["profit"].std(ddof=0) * np.sqrt(365)
    assert score(rows, Metric.SHARPE)["score"] == pytest.approx(expected)
    assert score(rows.assign(profit=0.0), Metric.SHARPE)["score"] == 0
    better = rows.assign(profit=rows["profit"] + 0.02)
    assert difference(better, rows, Metric.SHARPE)["word"] == BETTER
    assert difference(rows, rows, Metric.SHARPE)["word"] == UNDECIDED


# ------------------------------------------------------------------------ trials and their workers


class Walk:
    """A walk-forward run of given scores: those of `poor` trials are worse than the others."""

    def __init__(self, folder: Path, poor: tuple[int, ...] = ()) -> None:
        self.folder, self.metric, self.poor = folder, Metric.CORRELATION, poor
        self.labels = ("&-a",)
        self.runs: list[tuple[str, int]] = []
        self.removed: list[str] = []
        self.failing: set[int] = set()
        self.stop = self.kill = False

    def run(self, values: dict[str, Any], identifier: str, windows: list[Any]) -> Any:
        number = int(identifier.rpartition("@")[2])
        if self.kill:
            time.sleep(1)  # the first heartbeat is there
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.failing:
            raise FreqtradeFailed(FreqtradeRun(("backtesting",), 2, "no candles"))
        for step in range(len(windows)):
            if self.stop and step:
                raise KeyboardInterrupt
            self.runs.append((identifier, step))
            t = np.random.default_rng(1).normal(size=200)
            noise = np.random.default_rng(2).normal(size=200)
            yield forecasts(t, t + (9 if number in self.poor else 1) * noise)

    def remove(self, identifier: str) -> None:
        self.removed.append(identifier)


def search_at(folder: Path, trials: int, **walk: Any) -> tuple[Search, optuna.Study]:
    """A search on a database in a folder, without freqtrade."""
    logging.disable(logging.WARNING)
    setup: Any = SimpleNamespace(config={"freqai": FREQAI}, score=None)
    space = choose_space(["units", "learning_rate"], FREQAI)
    walking: Any = Walk(folder, **walk)
    windows = [(0, 1)] * 3
    search = Search("s", setup, "p", space, windows, [], walking, trials, print, 0.1)
    storage, _ = open_storage(None, folder / "study.db", 1)
    return search, join_study(storage, "s", {"a": [1, 2]})


def work_at(folder: Path, trials: int, kill: bool = False) -> None:
    search, study = search_at(folder, trials)
    search.walk.kill = kill  # type: ignore[attr-defined]
    search.run(study)


def test_several_processes_share_the_studys_total(tmp_path: Path) -> None:
    """Two workers on one SQLite file: each trial once, the first with the configured values."""
    search, study = search_at(tmp_path, 9)
    study.enqueue_trial(search.defaults)
    workers = [CHILDREN.Process(target=work_at, args=(tmp_path, 9)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    assert 9 <= len(study.trials) <= 10
    assert study.trials[0].params == search.defaults
    assert len({trial.params["learning_rate"] for trial in study.trials}) == len(study.trials)


def test_a_killed_workers_trial_is_run_again(tmp_path: Path) -> None:
    """A process killed in mid-trial: its parameters are run by the next one."""
    search, study = search_at(tmp_path, 2)
    process = CHILDREN.Process(target=work_at, args=(tmp_path, 2, True))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    search.run(study)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAIL) == 1
    assert states.count(TrialState.COMPLETE) == 2
    again = next(t for t in study.trials if RetryHeartbeatStaleTrialCallback.retry_history(t))
    assert again.params == study.trials[0].params
    assert "p-tune-s@0" in search.walk.removed  # type: ignore[attr-defined]


def test_a_stopped_trial_goes_on_with_the_next_start(tmp_path: Path) -> None:
    """Ctrl-C puts the running trial back, however often; its files stay and are used again."""
    search, study = search_at(tmp_path, 2)
    walk: Any = search.walk
    walk.stop = True
    for _ in range(7):
        with pytest.raises(KeyboardInterrupt):
            search.run(study)
    walk.stop = False
    search.run(study)
    ended = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(ended) == 2
    assert ended[0].params == study.trials[0].params
    assert {identifier for identifier, step in walk.runs if step == 0} == {
        "p-tune-s@0",
        f"p-tune-s@{ended[1].number}",
    }


class Interrupting(optuna.samplers.RandomSampler):
    """A sampler during which Ctrl-C comes, before or after a trial."""

    def __init__(self, moment: str) -> None:
        super().__init__(1)
        self.moment = moment

    def before_trial(self, study: optuna.Study, trial: Any) -> None:
        if self.moment == "before":
            os.kill(os.getpid(), signal.SIGINT)

    def after_trial(self, study: optuna.Study, trial: Any, state: Any, values: Any) -> None:
        if self.moment == "after":
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_ctrl_c_while_optuna_writes_leaves_no_trial_running(tmp_path: Path, moment: str) -> None:
    """Ctrl-C while a trial is asked for, or told, waits until the trial is whole in the study."""
    search, study = search_at(tmp_path, 2)
    study.sampler = Interrupting(moment)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            search.run(study)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    states = [trial.state for trial in study.trials]
    assert TrialState.RUNNING not in states
    study.sampler = optuna.samplers.RandomSampler(1)
    search.run(study)
    ended = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(ended) == 2
    assert ended[0].params == search.defaults


class Dropped:
    """An object whose destructor Ctrl-C comes in."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def fork() -> None:
    """Start a process as freqtrade is started, while Ctrl-C comes."""
    os.register_at_fork(after_in_parent=partial(os.kill, os.getpid(), signal.SIGINT))
    subprocess.run([sys.executable, "-c", ""], preexec_fn=heed_ctrl_c, check=True)


@pytest.mark.parametrize("ignoring", [Dropped, fork])
def test_ctrl_c_that_python_ignores_ends_a_worker(tmp_path: Path, ignoring: Any) -> None:
    """Ctrl-C within a destructor, or in a callback after a fork, ends the trial all the same."""
    child = CHILDREN.Process(target=ignore, args=(tmp_path, ignoring))
    child.start()
    child.join()
    assert child.exitcode == 7
    _, study = search_at(tmp_path, 2)
    assert TrialState.RUNNING not in [trial.state for trial in study.trials]
    assert not [trial for trial in study.trials if trial.state == TrialState.COMPLETE]


def ignore(folder: Path, ignoring: Any) -> None:
    """Search in a process of its own, which forks once; exit with 7 where Ctrl-C came through."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    search, study = search_at(folder, 2)
    run = search.walk.run

    def waiting(values: Any, identifier: str, windows: Any) -> Any:
        ignoring()
        time.sleep(5)
        yield from run(values, identifier, windows)

    search.walk.run = waiting  # type: ignore[method-assign]
    try:
        search.run(study)
    except KeyboardInterrupt:
        sys.exit(7)


def test_a_worker_taken_for_dead_lets_its_trial_go(tmp_path: Path) -> None:
    """Another worker put its trial back meanwhile: it is run once more, not twice more."""
    search, study = search_at(tmp_path, 2)
    run = search.walk.run

    def held_up(values: Any, identifier: str, windows: Any) -> Any:
        if identifier.endswith("@0"):
            study.tell(0, state=TrialState.FAIL)
            RetryHeartbeatStaleTrialCallback()(study, study.trials[0])
        yield from run(values, identifier, windows)

    search.walk.run = held_up  # type: ignore[method-assign]
    search.run(study)
    states = [t.state for t in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_search_in_which_nothing_works_ends(tmp_path: Path) -> None:
    """A failure of the first trial, or three in a row, is an error; others are not counted."""
    search, study = search_at(tmp_path, 9)
    walk: Any = search.walk
    walk.failing = {0}
    with pytest.raises(TuneFailed, match="no candles"):
        search.run(study)
    assert [t.state for t in study.trials] == [TrialState.FAIL]
    walk.failing = {2, 4, 5, 6}
    with pytest.raises(TuneFailed, match=r"@6\.log"):
        search.run(study)
    walk.failing = set()
    search.run(study)
    assert sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in study.trials) == 9
    search.run(study)
    assert len(study.trials) == 14, "a finished study is left as it is"


def test_a_trial_behind_the_median_is_pruned_between_windows(tmp_path: Path) -> None:
    """It runs the second window and not the third; its files are removed like the others'."""
    search, study = search_at(tmp_path, 6, poor=(5,))
    search.run(study)
    walk: Any = search.walk
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED]
    assert [step for identifier, step in walk.runs if identifier == "p-tune-s@5"] == [0, 1]
    assert set(walk.removed) == {f"p-tune-s@{i}" for i in range(6)}


def test_a_resumed_search_with_a_seed_tries_something_new(tmp_path: Path) -> None:
    """The seed makes a search repeatable, and its second start does not repeat the first."""
    tried = []
    for name in "ab":
        for total in (3, 6):
            search, study = search_at(tmp_path / name, total)
            join_study(study._storage, "s", {"a": [1, 2]})
            seeded = join_study(open_storage(None, tmp_path / name / "study.db", 60)[0], "s", {}, 1)
            search.run(seeded)
        tried.append([t.params["learning_rate"] for t in seeded.trials])
    assert tried[0] == tried[1]
    assert len(set(tried[0])) == 6


def test_workers_must_agree(tmp_path: Path) -> None:
    """Joining with other settings names the key, what the study has and what was given."""
    search_at(tmp_path, 1)
    storage, _ = open_storage(None, tmp_path / "study.db", 60)
    with pytest.raises(TuneFailed) as error:
        join_study(storage, "s", {"a": [1, 3]})
    assert "a: expected [1, 2], got [1, 3]" in str(error.value)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://u:secret@127.0.0.1:1/x", "nothing://u:secret@x", "a file"]
)
def test_a_database_out_of_reach_is_an_error(url: str, tmp_path: Path) -> None:
    """Address, account or driver: the message names --storage and never the password."""
    with pytest.raises(TuneFailed, match="Expected as --storage") as error:
        open_storage(url, tmp_path / "x", 60)
    assert "secret" not in str(error.value)


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU for each worker in turn; without any, a share of the cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert visible_gpus() == ["2", "5"]
    seen = [environment(i, 3, visible_gpus())["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert seen == ["2", "5", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert environment(0, 3, []) == {"TF_NUM_INTRAOP_THREADS": "2"}


# -------------------------------------------------------------------------------------- the report


@pytest.mark.parametrize("word", [BETTER, WORSE, UNDECIDED])
def test_comparison_on_held_out_windows(word: str) -> None:
    """Only a difference that the range shows is better; the text has scores and difference."""
    spread = {"value": 0.0512, "low": 0.01, "high": 0.1, "word": word}
    held_out = {"best": {"score": 0.301}, "defaults": {"score": 0.25}, "difference": spread}
    found = compare(held_out, is_default=False)
    assert found["better"] is (word == BETTER)
    assert all(part in found["text"] for part in (word, "0.301", "0.25", "0.0512"))
    assert ("Keep the defaults" in found["text"]) is (word != BETTER)
    assert compare({}, is_default=False)["better"] is None
    assert compare({}, is_default=True)["better"] is False


def test_report_of_a_search_with_horizons(tmp_path: Path) -> None:
    """Counts, both scores, and that scores of different horizons do not compare."""
    search, _ = search_at(tmp_path, 1)
    search.space = choose_space(["horizon"], FREQAI)
    search.searched, search.held_out = [(0, DAY)], [(DAY, 2 * DAY)]
    study = optuna.create_study(direction="maximize", study_name="named")
    whole = optuna.distributions.IntDistribution(0, 3)
    for horizon, value in ((0, 0.8), (1, 0.3)):
        study.add_trial(
            create_trial(
                value=value,
                params={"label_period_candles": horizon},
                distributions={"label_period_candles": whole},
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "x"}))
    study.add_trial(create_trial(state=TrialState.FAIL))
    held = {"score": 0.7, "parts": {f"{PAIR} T": 0.7}, "predicted": 1.0}
    report = build_report(search, study, {"best": held, "defaults": held})
    assert report["trials"] == {"complete": 2, "pruned": 0, "failed": 1, "interrupted": 1}
    assert report["defaults"]["score"] == 0.8
    console = Console(record=True, width=120)
    print_report(json.loads(json.dumps(report)), console)
    text = console.export_text()
    assert "do not compare" in text
    assert "1970-01-01 to 1970-01-02" in text
    assert "correlation of &-a" in text
    page = tmp_path / "report.html"
    write_page(page, report, study)
    html = page.read_text()
    assert all(part in html for part in ("do not compare", "Held out, 1970-01-02", report["text"]))
    assert "Importance" not in html, "two trials do not tell it"
    assert "src=" not in html.split("<body>")[1], "it opens offline"


def test_page_draws_history_and_importance(tmp_path: Path) -> None:
    """Optuna's two charts, once there are trials enough."""
    search, study = search_at(tmp_path, 5, poor=(1, 3))
    search.run(study)
    assert list(charts(study)) == ["Score of every trial", "Importance of the parameters"]


def test_a_fragment_lists_the_sharpe_ratio_of_every_trial(tmp_path: Path) -> None:
    """What `evaluate` deflates by, pruned trials too; nothing where another score was searched."""
    search, study = search_at(tmp_path, 5, poor=(1, 3))
    search.run(study)
    report = build_report(search, study, {})
    assert tries(report, study) == {}
    tuned = tries(report | {"metric": "sharpe"}, study)["tuned"]
    assert tuned["sharpes"] == [trial.value for trial in study.trials]
    assert (tuned["start"], tuned["end"]) == ("1970-01-01", report["searched"]["end"])


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
        (["--label", "&-none"], "Expected --label one of &-t_ma, "),
        (["--study", "a/b"], "Expected a study name of letters"),
        (["--ranges", "nowhere.json"], "Expected a JSON file at --ranges nowhere.json"),
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


def heed_ctrl_c() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and so the tests too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(user: TuneUser, *options: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "freqai_lstm", "tune", *user.arguments(), *options]
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, preexec_fn=heed_ctrl_c)


@pytest.mark.slow
def test_search_stopped_and_resumed(user: TuneUser, tmp_path: Path) -> None:
    """Two workers, Ctrl-C in mid-trial, the same command again: every trial, report and page.

    The score is the Sharpe ratio, so that a backtest's trades are read too.
    """
    options = ("--trials", "2", "--workers", "2", "--study", "again", "--metric", "sharpe")
    log, folder = tmp_path / "log", user.output / "again"
    process = start(user, *options, log=log)
    patience = time.monotonic() + 300
    while not any(folder.glob("tiny-tune-again@*.json")):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < patience, log.read_text()
        time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, log.read_text()
    text = log.read_text()
    assert "1 windows held out" in text
    assert f"optuna-dashboard 'sqlite:///{folder / 'study.db'}'" in text
    assert "the same command goes on from there" in text
    storage, _ = open_storage(None, folder / "study.db", 60)
    study = optuna.load_study(study_name="again", storage=storage)
    assert not [t for t in study.trials if t.state == TrialState.RUNNING]

    assert start(user, *options, log=log).wait(500) == 0, log.read_text()
    ended = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert 2 <= len(ended) <= 3
    assert any(t.params == study.trials[0].params for t in ended), "the stopped one was run"
    report = json.loads((folder / "report.json").read_text())
    assert report["best"]["score"] == pytest.approx(study.best_value)
    assert report["searched"]["windows"] == 1
    assert "Sharpe" in (folder / "report.html").read_text()
    assert (folder / "best.json").exists() is (report["better"] is not False)
    assert not list((user.userdir / "models").glob("*-tune-*")), "no models are left"


@pytest.mark.slow
def test_any_strategy_and_a_fragment_for_freqtrade(user: TuneUser, tmp_path: Path) -> None:
    """A strategy of one's own with two labels: R² of one; nothing held out, so a fragment."""
    log, folder = tmp_path / "log", user.output / "own"
    options = ["--trials", "1", "--study", "own", "--holdout-days", "0", "-s", "TwoLabels"]
    options += ["--label", "&-range"]
    user.write_strategy()
    assert start(user, *options, log=log).wait(500) == 0, log.read_text()
    report = json.loads((folder / "report.json").read_text())
    assert report["metric"] == "r2"
    assert report["scored"] == "r2 of &-range, mean over the pairs"
    storage, _ = open_storage(None, folder / "study.db", 60)
    (trial,) = optuna.load_study(study_name="own", storage=storage).trials
    assert trial.state == TrialState.COMPLETE
    fragment_file = user.write("best.json", fragment(trial.params, "tuned"))
    configs = [ROOT / "config.example.json", user.folder / "second.json", fragment_file]
    config = load_config(
        {"config": [str(path) for path in configs], "user_data_dir": str(user.userdir)}
    )
    parameters = config["freqai"]["model_training_parameters"]
    assert parameters["units"] == trial.params["units"]
    assert parameters["epochs"] == 2
