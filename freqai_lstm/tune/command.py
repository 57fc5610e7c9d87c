"""Tuning: search parameters of the model and of FreqAI with Optuna, judged out of sample.

    python -m freqai_lstm.tune.command -c config.json --userdir user_data --timerange 20240101-20240701

Each trial is a walk-forward run of the real `freqtrade backtesting` with an identifier of its own
(freqai_lstm/tune/trial.py), scored on the windows before the held-out ones; a trial that is behind the
median of the others after a window is pruned. The first trial has the configured parameters. At
the end the best trial and these defaults are both run on the held-out windows, and
`build/tuning/STUDY` gets `report.json` and `best.json`, for freqtrade's second `-c`.

Ctrl-C keeps what is done and the same command goes on. The same command in other terminals, or with
a database as `--storage` on other machines, joins in (freqai_lstm/tune/study.py); `--workers` starts
several at once, spread over the GPUs. More: docs/tuning.md.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from freqtrade.enums import TradingMode
from freqtrade.exceptions import FreqtradeException
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from freqai_lstm.evaluate.setup import load_config, load_setup, models_folder
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.tune.processes import gpus, run_workers
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    console = Console()
    quiet_optuna()
    with _quiet(), _stoppable(), tempfile.TemporaryDirectory() as scratch:
        try:
            tune(options, given, Path(scratch), console)
        except KeyboardInterrupt:
            console.print(
                "\nStopped. What is done is kept; the same command goes on from there.",
            )
            return 130
        except (TuneFailed, *FAILURES, FreqtradeException, SQLAlchemyError) as error:
            console.print("The search failed:", style="bold red")
            console.print(str(error), markup=False, highlight=False, soft_wrap=True)
            return 1
    return 0


def tune(
    options: argparse.Namespace, given: Sequence[str], scratch: Path, console: Console
) -> dict[str, Any]:
    """Everything the command does, in order; returns the report.

    :param given: the command line, for further workers.
    :param scratch: an empty folder for what FreqAI's classes write.
    :raises TuneFailed: see the message; so EvaluationFailed and FreqtradeFailed.
    """
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
                    given,
                    options.workers,
                    devices=gpus(options.gpus),
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
    if not options.timerange:
        raise TuneFailed(
            "Expected --timerange, got none. Write for example --timerange 20240101-20240701."
        )
    for name, least in (("trials", 1), ("workers", 1), ("heartbeat", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise TuneFailed(f"Expected --{name} from {least} up, got {value}. Correct it.")
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m freqai_lstm.tune.command",
        description="Search parameters with Optuna, each trial a walk-forward run of freqtrade.",
        epilog="More in docs/tuning.md.",
    )
    add = parser.add_argument
    add("-c", "--config", type=Path, action="append", required=True, help="as for freqtrade")
    add("--userdir", type=Path, default=Path("user_data"), help="default: user_data")
    add("--datadir", type=Path, help="folder with candles; default: that of the userdir")
    add("--timerange", help="YYYYMMDD-YYYYMMDD; its last part is held out")
    add("--holdout-days", type=float, metavar="N", help="default: a quarter; 0: none")
    add("--trials", type=int, metavar="N", help="of the study, not of this worker; default 30")
    add("--space", nargs="+", default=DEFAULT_GROUPS, metavar="NAME", help=_groups())
    add("--ranges", type=Path, metavar="FILE", help="JSON with ranges of your own")
    add("--storage", metavar="URL", help="database URL, or a file for a journal; default: a file")
    add("--study", metavar="NAME", help="default: the identifier")
    add("--seed", type=int, help="for the sampler; only a search with one worker is repeatable")
    add("--workers", type=int, default=1, metavar="N", help="processes started here, default 1")
    add("--gpus", metavar="0,1", help="shared out among the workers; default: those there are")
    add("--keep-models", action="store_true", help="keep what FreqAI saves of each trial")
    add("--heartbeat", type=int, default=60, metavar="SECONDS", help="databases; default 60")
    add("--release", nargs="+", default=[], metavar="HOST", help="journal: hosts that are gone")
    add("--strategy", "-s", default="ScoreStrategy")
    add("--strategy-path", type=Path)
    add("--freqaimodel", default="LSTMRegressor")
    add("--freqaimodel-path", type=Path)
    add("--output", type=Path, default=Path("build/tuning"), help="default: build/tuning")
    add("--loopback", action="store_true", help="serve the datadir as exchange, needs no network")
    return parser


def _groups() -> str:
    return f"groups ({', '.join(GROUPS)}) or parameters; default: {' '.join(DEFAULT_GROUPS)}"


if __name__ == "__main__":
    raise SystemExit(main())
