"""`freqai-lstm evaluate`: what are a backtest's predictions and trades worth?

It reads the predictions that FreqAI saved in `freqtrade backtesting`, and freqtrade's own result
file. Written: tables to the terminal, `evaluation.json` (keys: report.py) and `evaluation.html`,
one page that needs no network.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from freqtrade.exceptions import FreqtradeException
from plotly.utils import PlotlyJSONEncoder
from rich.console import Console
from rich.progress import track

from freqai_lstm.evaluate.baselines import learned_baselines
from freqai_lstm.evaluate.data import (
    KEYS,
    RUN,
    Predictions,
    add_run,
    leave_out_unknown,
    missing_windows,
    newest,
    read_predictions,
    saved_timerange,
)
from freqai_lstm.evaluate.explanation import explain
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.models import OWN
from freqai_lstm.evaluate.options import Configs, Datadir, StrategyName, StrategyPath, Userdir
from freqai_lstm.evaluate.page import write_page
from freqai_lstm.evaluate.report import build_report, headline_targets
from freqai_lstm.evaluate.setup import (
    EvaluationFailed,
    Setup,
    load_candles,
    load_config,
    load_setup,
    trained_settings,
)
from freqai_lstm.evaluate.tables import print_report
from freqai_lstm.evaluate.trades import Result, find_result, money


TALKATIVE = ("datasieve.pipeline", "freqtrade.data.history.datahandlers.idatahandler")


def evaluate(
    config: Configs,
    userdir: Userdir = Path("user_data"),
    datadir: Datadir = None,
    timerange: Annotated[
        str | None, typer.Option(help="YYYYMMDD-YYYYMMDD; default: all that was predicted.")
    ] = None,
    strategy: StrategyName = None,
    strategy_path: StrategyPath = None,
    freqaimodel: Annotated[
        str | None, typer.Option(help="Default: the configuration's, or LSTMRegressor.")
    ] = None,
    freqaimodel_path: Annotated[Path | None, typer.Option()] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and the figures.")] = Path(
        "build/evaluation"
    ),
    baselines: Annotated[bool, typer.Option(help="Train ridge, LightGBM and HAR too.")] = True,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]IDENTIFIER",
            help="Another run of this strategy to compare with; repeatable. Runs of one NAME are "
            f"seeds of one model, those of {OWN} of this one.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Default: evaluation.json in the output folder.")
    ] = None,
) -> None:
    """Compare FreqAI's saved predictions, and the trades, with what came about and baselines.

    Any strategy with numeric labels and any FreqAI regression model.
    """
    given = {
        "user_data_dir": userdir,
        "datadir": datadir,
        "timerange": timerange,
        "strategy": strategy,
        "strategy_path": strategy_path,
        "freqaimodel": freqaimodel,
        "freqaimodel_path": freqaimodel_path,
    }
    args: dict[str, Any] = {name: str(value) for name, value in given.items() if value is not None}
    args["config"] = [str(path) for path in config]
    console = Console(markup=False)  # names may have brackets
    try:
        with quiet(), tempfile.TemporaryDirectory() as scratch:
            found = load_config(args)
            found["strategy"] = found.get("strategy") or "ScoreStrategy"
            found["freqaimodel"] = found.get("freqaimodel") or "LSTMRegressor"
            found["timerange"] = found.get("timerange") or saved_timerange(found)
            setup, work = load_setup(found), Path(scratch)
            others = []
            for run in against or []:
                name, _, identifier = run.rpartition("=")
                theirs = copy.deepcopy(found)
                theirs["freqai"]["identifier"] = identifier
                others.append((name or identifier, load_setup(theirs)))
            data = json_file or output / "evaluation.json"
            write_evaluation(setup, others, work, output, data, console, baselines)
    except (EvaluationFailed, FreqtradeException) as error:
        typer.secho(f"The evaluation failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


def write_evaluation(
    setup: Setup,
    others: Sequence[tuple[str, Setup]],
    scratch: Path,
    output: Path,
    data: Path,
    console: Console,
    baselines: bool,
) -> None:
    """Measure what is saved, write the page and the figures, print the tables.

    :param others: name of the model, and another run of it to compare with.
    :param scratch: an empty folder for what FreqAI's classes write.
    :param data: the file for the figures.
    :raises EvaluationFailed: see the message.
    """
    found, features = read_predictions(setup), Features(setup, scratch)
    unknown = leave_out_unknown(found)
    runs = {_column(other): name for name, other in others}
    for _, other in others:
        add_run(found, read_predictions(other), _column(other))
    if baselines:
        windows = track(
            learned_baselines(features, found, headline_targets(found)),
            "Ridge, LightGBM, HAR",
            total=len(found.windows),
            console=console,
        )
        found.rows = found.rows.merge(pd.concat(windows), on=KEYS, how="left")
    trades, equities, opened = _trades(setup, [other for _, other in others], found)
    notes = _notes(setup, scratch)
    if unknown:
        notes.append(f"Left out, since no predicted candle has such a label: {', '.join(unknown)}.")
    report = build_report(setup, found, notes, trades, runs)
    report["explanation"] = explain(setup, found, features, report["notes"])
    output.mkdir(parents=True, exist_ok=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    page = output / "evaluation.html"
    # plotly's encoder writes null for what is not a number, and knows NumPy's types.
    text = json.dumps(report, indent=1, ensure_ascii=False, cls=PlotlyJSONEncoder)
    data.write_text(text + "\n", encoding="utf-8")
    write_page(page, report, newest(found.rows), opened, equities)
    print_report(report, console)
    for path in (data, page):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


def _notes(setup: Setup, scratch: Path) -> list[str]:
    """What a reader of the figures has to know of the run that made the predictions."""
    missing, notes = missing_windows(setup, scratch), []
    if missing:
        notes.append(f"Windows without predictions: {', '.join(missing)}.")
    trained, now = trained_settings(setup.config), setup.config["freqai"]
    differ = [
        f"freqai.{key}"
        for key in ("train_period_days", "conv_width", "feature_parameters")
        if key in trained and trained[key] != now.get(key)
    ]
    if differ:
        notes.append(
            f"The configuration differs from the last run's in {', '.join(differ)}: baselines "
            "learn from today's features and days, the saved predictions do not."
        )
    return notes


def _column(run: Setup) -> str:
    return f"{RUN}{run.config['freqai']['identifier']}"


def _trades(
    setup: Setup, others: Sequence[Setup], found: Predictions
) -> tuple[dict[str, Any] | str, pd.DataFrame, pd.DataFrame]:
    """Figures of the trades, or why there are none; equity by candle; and the trades."""
    dates = found.rows["date"]
    result = _result(setup, dates)
    if result is None:
        text = (
            f"Expected a backtest result of {setup.config['strategy']} with identifier "
            f"{setup.config['freqai']['identifier']} in "
            f"{Path(setup.config['user_data_dir']) / 'backtest_results'} that traded on these "
            "candles, got none. Run `freqtrade backtesting` with this configuration (without "
            "`--export none`); it reuses the saved predictions."
        )
        return text, pd.DataFrame(), pd.DataFrame()
    pairs = {*result.trades.get("pair", []), *result.statistics["pairlist"]}
    candles = dict(found.candles)
    for pair in pairs - set(candles):
        stored = load_candles(setup, pair)
        candles[pair] = stored.set_index(pd.DatetimeIndex(pd.to_datetime(stored["date"], utc=True)))
    results = {_column(other): _result(other, dates) for other in others}
    same = {name: of for name, of in results.items() if of and of.span == result.span}
    figures, equities = money(result, candles, setup.config, same)
    return figures, equities, result.trades


def _result(setup: Setup, dates: pd.Series) -> Result | None:
    config = setup.config
    identifier = str(config["freqai"]["identifier"])
    userdir = Path(config["user_data_dir"])
    return find_result(userdir, config["strategy"], identifier, dates.min(), dates.max())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep freqtrade's log below a warning, and libraries' advice, out of the progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    # FreqAI asks each pipeline for a step that is not there, and datasieve warns of it. That the
    # data end with the timerange is no news, and missing candles end the evaluation anyway.
    # Filters, since freqtrade sets levels anew when it reads a configuration.
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        for logger in map(logging.getLogger, TALKATIVE):
            logger.addFilter(_is_error)
            stack.callback(logger.removeFilter, _is_error)
        stack.callback(logging.disable, before)
        yield


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
