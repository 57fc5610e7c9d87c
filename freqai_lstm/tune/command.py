"""Tuning: search parameters of the model and of FreqAI with Optuna, judged out of sample.

    freqai-lstm tune -c config.json --userdir user_data --timerange 20240101-20240701

Each trial is a walk-forward run of the real `freqtrade backtesting` with an identifier of its
own (freqai_lstm/tune/trial.py), scored on the windows before the held-out ones; a trial that is behind
the median of the others after a window is pruned. The first trial has the configured parameters. At
the end the best trial and these defaults are both run on the held-out windows, and
`build/tuning/STUDY` gets `report.json` and `best.json`, for freqtrade's second `-c`.

Ctrl-C keeps what is done and the same command goes on. The same command in other terminals, or
with a database as `--storage` on other machines, joins in (freqai_lstm/tune/study.py); `--workers`
starts several at once, spread over the GPUs. More: docs/tuning.md.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from freqtrade.enums import TradingMode
from freqtrade.exceptions import FreqtradeException
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from freqai_lstm.evaluate.setup import load_config, load_setup, models_folder
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.tune.processes import gpus as visible_gpus
from freqai_lstm.tune.processes import run_workers
from freqai_lstm.tune.report import Watch, build_report, print_report, progress_bar, write_json
from freqai_lstm.tune.search import FAILURES, Search, Trials, best_trial, hold_out, remove_leftovers
from freqai_lstm.tune.space import (
    DEFAULT_GROUPS,
    GROUPS,
    TuneFailed,
    choose_space,
    defaults,
    fragment,
)
from freqai_lstm.tune.study import TRIALS, finished, join_study, open_storage, quiet_optuna
from freqai_lstm.tune.trial import WalkForward, check_candles, split_windows
from freqai_lstm.tune.worker import Worker


def tune(
    config: Annotated[list[Path], typer.Option("-c", "--config", help="As for freqtrade.")],
    timerange: Annotated[
        str, typer.Option(metavar="YYYYMMDD-YYYYMMDD", help="Its last part is held out.")
    ],
    userdir: Annotated[Path, typer.Option(help="freqtrade's user folder.")] = Path("user_data"),
    datadir: Annotated[Path | None, typer.Option(help="Candles; default: the userdir's.")] = None,
    strategy: Annotated[str, typer.Option("-s", "--strategy")] = "ScoreStrategy",
    strategy_path: Annotated[Path | None, typer.Option()] = None,
    freqaimodel: Annotated[str, typer.Option()] = "LSTMRegressor",
    freqaimodel_path: Annotated[Path | None, typer.Option()] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of the study, all workers together.")] = 30,
    holdout_days: Annotated[
        float | None, typer.Option(min=0, help="Default: a quarter; 0: none.")
    ] = None,
    space: Annotated[
        list[str], typer.Option(help=f"Groups ({', '.join(GROUPS)}) or parameters; repeatable.")
    ] = list(DEFAULT_GROUPS),  # noqa: B006
    ranges: Annotated[Path | None, typer.Option(help="JSON file with ranges of your own.")] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="Database; default: a file.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name; default: the identifier.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    gpus: Annotated[
        str | None, typer.Option(metavar="0,1", help="For the workers; default: all.")
    ] = None,
    heartbeat: Annotated[int, typer.Option(min=1, help="Seconds between signs of life.")] = 60,
    release: Annotated[list[str], typer.Option(help="Hosts that are gone.")] = [],  # noqa: B006
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep what FreqAI saves of each trial.")
    ] = False,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Serve the datadir as exchange; needs no network.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for reports.")] = Path("build/tuning"),
) -> None:
    """Search parameters of the model and of FreqAI with Optuna; details in docs/tuning.md."""
    options = argparse.Namespace(**locals())
    console = Console()
    quiet_optuna()
    with _quiet(), _stoppable(), tempfile.TemporaryDirectory() as scratch:
        try:
            _run(options, Path(scratch), console)
        except KeyboardInterrupt:
            console.print(
                "\nStopped. What is done is kept; the same command goes on from there.",
            )
            raise typer.Exit(130) from None
        except (TuneFailed, *FAILURES, FreqtradeException, SQLAlchemyError) as error:
            Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
            raise typer.Exit(1) from None


def _run(options: argparse.Namespace, scratch: Path, console: Console) -> dict[str, Any]:
    """Everything the command does, in order; returns the report."""
    with _search(options, scratch) as search:
        work = search.walk.work
        url = options.storage or str(work / "journal.log")
        storage = open_storage(url, options.heartbeat)
        configured = defaults(search.space, search.freqai)
        study = join_study(
            storage,
            search.name,
            search.settings(),
            trials=options.trials,
            first=configured,
            seed=options.seed,
        )
        total = int(study.user_attrs[TRIALS])
        member = {"beats": "://" in url, "release": options.release}
        console.print(
            f"Study {search.name}: {total} trials of {len(search.searched)} windows, "
            f"{len(search.held_out)} windows held out. Storage: {_without_password(url)}",
            highlight=False,
            soft_wrap=True,
        )
        with progress_bar(console) as progress:
            watch = Watch(study, total, len(search.searched), console, progress)
            if options.workers > 1 and len(finished(study)) < total:
                run_workers(
                    sys.argv[1:],
                    options.workers,
                    devices=visible_gpus(options.gpus),
                    seed=options.seed,
                    logs=work,
                    watch=watch.update,
                )
            trials = Trials(search, study, watch)
            Worker(study, total, **member).work(trials.objective, catch=FAILURES, after=trials.look)
        best = best_trial(study)
        console.print(f"Searched. The best is trial {best.number}: {best.value:.3f}")
        holdout = hold_out(search, study, storage, member, console) if search.held_out else {}
        report = build_report(study, search.searched, search.held_out, configured, holdout)
        remove_leftovers(search, study)
    identifier = f"{search.identifier}-tuned-{search.name}-{best.number}"
    write_json(work / "report.json", report)
    write_json(work / "best.json", fragment(best.params, identifier))
    print_report(report, console)
    for name in ("report.json", "best.json"):
        console.print(f"Wrote {work / name}", soft_wrap=True, highlight=False)
    return report


@contextlib.contextmanager
def _search(options: argparse.Namespace, scratch: Path) -> Iterator[Search]:
    """Check the options and set everything up; the loopback exchange ends with the context."""
    names = ("strategy", "freqaimodel", "strategy_path", "freqaimodel_path", "datadir")
    arguments = {name: getattr(options, name) for name in names if getattr(options, name)}
    arguments |= {name: str(value) for name, value in arguments.items() if name.endswith("_path")}
    arguments |= {
        "config": [str(path) for path in options.config],
        "user_data_dir": str(options.userdir),
    }
    config = load_config({**arguments, "timerange": options.timerange})
    identifier = str(config["freqai"]["identifier"])
    name = options.study or identifier
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise TuneFailed(
            f"Expected a study name of letters, digits, '.', '_' and '-', got {name!r} (the "
            "identifier, where --study is not given). Give --study."
        )
    # Loading the strategy makes FreqAI write into the identifier's folder; not into the user's.
    config["freqai"]["identifier"] = f"{identifier}-tune-{name}-{scratch.name}"
    try:
        setup = load_setup(config)
    finally:
        shutil.rmtree(models_folder(config), ignore_errors=True)
    with contextlib.ExitStack() as stack:
        space = choose_space(options.space, config["freqai"], options.ranges)
        days = config["freqai"]["backtest_period_days"]
        searched, held_out = split_windows(options.timerange, days, options.holdout_days)
        check_candles(setup, space, searched[0][0])
        endpoints = None
        if options.loopback:
            mode = TradingMode(config.get("trading_mode", TradingMode.SPOT)).value
            try:
                exchange = stack.enter_context(
                    LoopbackExchange(Path(config["datadir"]), trading_mode=mode)
                )
            except ValueError as error:
                raise TuneFailed(f"--loopback cannot serve the data folder: {error}") from None
            endpoints = exchange.write_config(scratch / "endpoints.json")
        work = options.output.resolve() / name
        walk = WalkForward(arguments, work, scratch, endpoints, options.keep_models)
        yield Search(setup, identifier, space, searched, held_out, name, walk)


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", url)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM is Ctrl-C, and a second one does not disturb the putting back of the trial."""

    def stop(number: int, frame: FrameType | None) -> None:
        for which in (signal.SIGINT, signal.SIGTERM):
            signal.signal(which, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {which: signal.signal(which, stop) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Failures arrive as exceptions; freqtrade's log lines would only disturb the bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
