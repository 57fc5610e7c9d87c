"""`freqai-lstm evaluate`: how good are a backtest's predictions, beside simple baselines?

It reads the predictions that FreqAI saved in `freqtrade backtesting`. Written: tables to the
terminal, `evaluation.json` (keys: report.py) and `evaluation.html`, one page that needs no network.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from freqtrade.exceptions import FreqtradeException
from freqtrade.exchange import timeframe_to_seconds
from plotly.utils import PlotlyJSONEncoder
from rich.console import Console
from rich.progress import track

from freqai_lstm.evaluate.baselines import learned_baselines
from freqai_lstm.evaluate.data import (
    KEYS,
    missing_windows,
    newest,
    read_predictions,
    saved_timerange,
)
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.importance import permutation_importance
from freqai_lstm.evaluate.page import write_page
from freqai_lstm.evaluate.report import build_report, headline_targets
from freqai_lstm.evaluate.setup import (
    EvaluationFailed,
    Setup,
    load_config,
    load_setup,
    trained_settings,
)
from freqai_lstm.evaluate.tables import print_report
from freqai_lstm.freqtrade_run import load_newest_backtest


TALKATIVE = ("datasieve.pipeline", "freqtrade.data.history.datahandlers.idatahandler")


def evaluate(
    config: Annotated[
        list[Path], typer.Option("-c", "--config", help="As for freqtrade; may be repeated.")
    ],
    userdir: Annotated[Path, typer.Option(help="freqtrade's user folder.")] = Path("user_data"),
    datadir: Annotated[
        Path | None, typer.Option(help="Folder with candles; default: that of the userdir.")
    ] = None,
    timerange: Annotated[
        str | None, typer.Option(help="YYYYMMDD-YYYYMMDD; default: all that was predicted.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("-s", "--strategy", help="Default: the configuration's, or ScoreStrategy."),
    ] = None,
    strategy_path: Annotated[Path | None, typer.Option()] = None,
    freqaimodel: Annotated[
        str | None, typer.Option(help="Default: the configuration's, or LSTMRegressor.")
    ] = None,
    freqaimodel_path: Annotated[Path | None, typer.Option()] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and the figures.")] = Path(
        "build/evaluation"
    ),
    baselines: Annotated[bool, typer.Option(help="Train ridge and LightGBM too.")] = True,
    importance_windows: Annotated[
        int, typer.Option(min=0, help="Trainings whose feature importance is measured.")
    ] = 4,
) -> None:
    """Compare FreqAI's saved predictions with what came about, beside baselines.

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
    try:
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
            found = load_config(args)
            found["strategy"] = found.get("strategy") or "ScoreStrategy"
            found["freqaimodel"] = found.get("freqaimodel") or "LSTMRegressor"
            found["timerange"] = found.get("timerange") or saved_timerange(found)
            setup, work = load_setup(found), Path(scratch)
            write_evaluation(setup, work, output, Console(), baselines, importance_windows)
    except (EvaluationFailed, FreqtradeException) as error:
        typer.secho(f"The evaluation failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


def write_evaluation(
    setup: Setup,
    scratch: Path,
    output: Path,
    console: Console,
    baselines: bool,
    importance_windows: int,
) -> None:
    """Measure what is saved, write the page and the figures, print the tables.

    :param scratch: an empty folder for what FreqAI's classes write.
    :raises EvaluationFailed: see the message.
    """
    found, features = read_predictions(setup), Features(setup, scratch)
    trades, note = _trades(setup)
    importance, notes = pd.DataFrame(), [*_notes(setup, scratch), note]
    if baselines:
        windows = track(
            learned_baselines(features, found),
            "Ridge and LightGBM",
            total=len(found.windows),
            console=console,
        )
        found.rows = found.rows.merge(pd.concat(windows), on=KEYS, how="left")
    if importance_windows:
        with console.status("Feature importance"):
            targets = headline_targets(found)
            importance, more = permutation_importance(features, found, targets, importance_windows)
        notes += more
    report = build_report(setup, found, importance, notes)
    output.mkdir(parents=True, exist_ok=True)
    data, page = output / "evaluation.json", output / "evaluation.html"
    # plotly's encoder writes null for what is not a number, and knows NumPy's types.
    text = json.dumps(report, indent=1, ensure_ascii=False, cls=PlotlyJSONEncoder)
    data.write_text(text + "\n", encoding="utf-8")
    write_page(page, report, newest(found.rows), trades)
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


def _trades(setup: Setup) -> tuple[pd.DataFrame, str]:
    """Trades of the newest backtest result, if it was made with this identifier."""
    try:
        statistics, trades = load_newest_backtest(
            Path(setup.config["user_data_dir"]), setup.config["strategy"]
        )
    except (ValueError, OSError, FreqtradeException) as error:
        return pd.DataFrame(), f"No trades are shown: {error}"
    made_with = statistics.get("freqai_identifier")
    if made_with != setup.config["freqai"]["identifier"]:
        note = f"No trades are shown: the newest backtest is of identifier {made_with!r}."
        return pd.DataFrame(), note
    step = pd.Timedelta(seconds=timeframe_to_seconds(setup.config["timeframe"]))
    # A trade opens with the candle after its signal.
    trades = trades.assign(signal=pd.to_datetime(trades["open_date"], utc=True) - step)
    return trades, f"The trades shown, {len(trades)}, are those of the newest backtest result."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
