"""`freqai-lstm tune`: search parameters of the model and of FreqAI with Optuna.

Each trial is a walk-forward run of the real `freqtrade backtesting` with an identifier of its own,
scored on the windows before the held-out ones. At the end the best trial and the configured
parameters are both run on the held-out windows. More: docs/tuning.md.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
from freqtrade.enums import TradingMode
from freqtrade.exceptions import FreqtradeException
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from freqai_lstm.evaluate.options import Userdir
from freqai_lstm.evaluate.setup import load_config, load_setup, models_folder
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.tune.page import write_page
from freqai_lstm.tune.report import build_report, print_report, tries
from freqai_lstm.tune.score import Metric
from freqai_lstm.tune.search import FAILURES, Search
from freqai_lstm.tune.space import DEFAULT_GROUPS, GROUPS, TuneFailed, choose_space, fragment
from freqai_lstm.tune.study import join_study, open_storage
from freqai_lstm.tune.trial import WalkForward, check_candles, check_labels, split_windows
from freqai_lstm.tune.workers import STORAGE, run_workers


FREQTRADE = ("datadir", "strategy", "strategy_path", "freqaimodel", "freqaimodel_path")


def tune(
    config: Annotated[list[Path], typer.Option("-c", "--config", help="As for freqtrade.")],
    timerange: Annotated[
        str, typer.Option(metavar="YYYYMMDD-YYYYMMDD", help="Its last part is held out.")
    ],
    userdir: Userdir = Path("user_data"),
    datadir: Annotated[Path | None, typer.Option(help="Candles; default: the userdir's.")] = None,
    strategy: Annotated[str, typer.Option("-s", "--strategy")] = "ScoreStrategy",
    strategy_path: Annotated[Path | None, typer.Option()] = None,
    freqaimodel: Annotated[str, typer.Option()] = "LSTMRegressor",
    freqaimodel_path: Annotated[Path | None, typer.Option()] = None,
    metric: Annotated[
        Metric | None, typer.Option(help="Default: correlation for ScoreStrategy's T, else r2.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Score this label alone; repeatable. Default: T, or all."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of the study, all workers together.")] = 30,
    holdout_days: Annotated[
        float | None, typer.Option(min=0, help="Default: a quarter; 0: none.")
    ] = None,
    space: Annotated[
        list[str], typer.Option(help=f"A group ({', '.join(GROUPS)}) or parameter; repeatable.")
    ] = list(DEFAULT_GROUPS),  # noqa: B006
    ranges: Annotated[Path | None, typer.Option(help="JSON file with ranges of your own.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar=STORAGE, help="Database; default: an SQLite file."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name; default: the identifier.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler; repeats with 1 worker.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    heartbeat: Annotated[int, typer.Option(min=1, help="Seconds; three missed: dead.")] = 60,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Serve the datadir as exchange; needs no network.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for reports.")] = Path("build/tuning"),
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Search parameters of the model and of FreqAI with Optuna; more in docs/tuning.md."""
    options = SimpleNamespace(**locals())
    console = Console(highlight=False, soft_wrap=True, markup=False)  # names may have brackets
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
            _run(options, Path(scratch), console)
    except KeyboardInterrupt:
        console.print("Stopped. What is done is kept; the same command goes on from there.")
        raise typer.Exit(130) from None
    except (TuneFailed, *FAILURES, FreqtradeException, SQLAlchemyError) as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None


def _run(options: Any, scratch: Path, console: Console) -> None:
    console.print("Reading configuration, strategy and candles …")
    with _prepare(options, scratch, console) as search:
        folder = search.walk.folder
        storage, url = open_storage(options.storage, folder / "study.db", options.heartbeat)
        study = join_study(storage, search.name, search.settings, options.seed)
        if options.worker:
            search.run(study)
            return
        console.print(
            f"Study {search.name}: {options.trials} trials of {len(search.searched)} windows, "
            f"{len(search.held_out)} windows held out, {len(search.setup.pairs)} pairs.\n"
            "To look into it while it runs: pip install optuna-dashboard, then\n"
            f"optuna-dashboard '{url.render_as_string(hide_password=True)}'",
        )
        if options.workers > 1:
            run_workers(sys.argv[1:], options.workers, options.seed, options.storage)
        best = search.run(study)
        other = best.params != search.defaults
        held_out = search.compare(best) if search.held_out and other else {}
    report = build_report(search, study, held_out)
    print_report(report, console)
    _write(folder / "report.json", report)
    write_page(folder / "report.html", report, study)
    console.print(f"Wrote {folder / 'report.json'} and {folder / 'report.html'}")
    file = folder / "best.json"
    if report["better"] is False:
        file.unlink(missing_ok=True)  # of a search with fewer trials
        console.print("No best.json, because nothing was better than the defaults.")
        return
    identifier = f"{search.identifier}-tuned-{search.name}-{best.number}"
    _write(file, fragment(best.params, identifier) | tries(report, study))
    console.print(f"Wrote {file}, for freqtrade's next -c.")


@contextlib.contextmanager
def _prepare(options: Any, scratch: Path, console: Console) -> Iterator[Search]:
    """Check the options and set everything up; the loopback exchange ends with the context."""
    arguments = {name: getattr(options, name) for name in FREQTRADE if getattr(options, name)}
    arguments |= {name: str(value) for name, value in arguments.items() if name.endswith("_path")}
    arguments |= {"config": list(map(str, options.config)), "user_data_dir": str(options.userdir)}
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
    space = choose_space(options.space, config["freqai"], options.ranges)
    days = config["freqai"]["backtest_period_days"]
    searched, held_out = split_windows(options.timerange, days, options.holdout_days)
    check_candles(setup, space, searched[0][0])
    metric = options.metric or (Metric.CORRELATION if setup.score else Metric.R2)
    labels = tuple(options.label or ())
    check_labels(setup, labels)
    with contextlib.ExitStack() as stack:
        exchange = []
        if options.loopback:
            mode = TradingMode(config.get("trading_mode", TradingMode.SPOT)).value
            try:
                server = LoopbackExchange(Path(config["datadir"]), trading_mode=mode)
                exchange = [str(stack.enter_context(server).write_config(scratch / "urls.json"))]
            except ValueError as error:
                raise TuneFailed(f"--loopback cannot serve the data folder: {error}") from None
        folder = options.output.resolve() / name
        walk = WalkForward(arguments, metric, folder, exchange, labels)
        yield Search(
            name, setup, identifier, space, searched, held_out, walk, options.trials, console.print
        )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Failures arrive as exceptions; log lines of freqtrade and Optuna would only disturb."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
