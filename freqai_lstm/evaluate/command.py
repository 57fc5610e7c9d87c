"""Walk-forward evaluation: did the model learn anything, on candles it was not trained on?

    freqai-lstm evaluate -c config.json --userdir user_data --timerange 20240901-20241001

It reads the predictions that FreqAI saved in a backtest; where there are none for the timerange it
runs that backtest first. The predicted score T̂ is compared with the score T that came about, and
with what persistence, a ridge regression and FreqAI's LightGBMRegressor predict for the same
candles from the same features and training rows. What is written: a table to the terminal,
`evaluation.json` (keys: freqai_lstm/evaluate/report.py) and `evaluation.html`, one page that needs
no network.

`--loopback` serves the data folder as an exchange, so that the backtest needs no network either.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pandas as pd
import typer
from freqtrade.enums import TradingMode
from freqtrade.exceptions import FreqtradeException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from freqai_lstm.evaluate.baselines import Features, add_baselines
from freqai_lstm.evaluate.data import Window, missing_windows, read_windows, saved_timerange
from freqai_lstm.evaluate.importance import permutation_importance, sample_windows
from freqai_lstm.evaluate.page import write_page
from freqai_lstm.evaluate.report import build_report, print_report, without_nan
from freqai_lstm.evaluate.setup import (
    EvaluationFailed,
    Setup,
    load_config,
    load_setup,
    models_folder,
    trained_settings,
)
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, load_newest_backtest, run_freqtrade


# In label scales; the same model on the same features differs by rounding alone.
UNLIKE = 0.01
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
    strategy: Annotated[str, typer.Option("-s", "--strategy")] = "ScoreStrategy",
    strategy_path: Annotated[Path | None, typer.Option()] = None,
    freqaimodel: Annotated[str, typer.Option()] = "LSTMRegressor",
    freqaimodel_path: Annotated[Path | None, typer.Option()] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and the figures.")] = Path(
        "build/evaluation"
    ),
    baselines: Annotated[bool, typer.Option(help="Train ridge and LightGBM too.")] = True,
    importance_windows: Annotated[
        int, typer.Option(min=0, help="Trainings whose feature importance is measured.")
    ] = 4,
    loopback: Annotated[
        bool, typer.Option(help="Serve the datadir as exchange; needs no network.")
    ] = False,
) -> None:
    """Compare FreqAI's saved predictions with what came about, beside baselines.

    Without saved predictions for the timerange the backtest runs first. Writes a table to the
    terminal, `evaluation.json` and `evaluation.html`, one page that needs no network.
    """
    options = SimpleNamespace(**locals())
    try:
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
            run_evaluation(options, Path(scratch), Console())
    except (EvaluationFailed, FreqtradeFailed, FreqtradeException) as error:
        typer.secho(f"The evaluation failed: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in this process; returns its exit code."""
    app = typer.Typer(add_completion=False)
    app.command()(evaluate)
    try:
        app(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def run_evaluation(options: Any, scratch: Path, console: Console) -> dict[str, Any]:
    """Everything the command does, in order; returns the report.

    :param scratch: an empty folder for what FreqAI's classes write.
    :raises EvaluationFailed: see the message.
    :raises FreqtradeFailed: the backtest failed.
    """
    setup = _with_predictions(options, scratch, console)
    with _progress(console) as progress:
        task = progress.add_task("Predictions", total=len(setup.pairs))
        windows = read_windows(setup, advance=lambda pair: progress.advance(task))
        count = sum(map(len, windows.values()))
        features = Features(setup, scratch)
        if options.baselines:
            task = progress.add_task("Ridge and LightGBM", total=count)
            add_baselines(features, windows, scratch, lambda window: progress.advance(task))
        importance: list[dict[str, Any]] = []
        note = "No importance: switched off with --importance-windows 0."
        if options.importance_windows:
            chosen = sample_windows(windows, options.importance_windows)
            task = progress.add_task("Permutation importance", total=len(chosen))
            importance, note = permutation_importance(
                features,
                windows,
                limit=options.importance_windows,
                advance=lambda window: progress.advance(task),
            )
    notes = _notes(setup, windows, missing_windows(setup, scratch) if options.timerange else [])
    trades, trades_note = _trades(setup)
    report = build_report(setup, windows, importance, note, [*notes, trades_note])
    options.output.mkdir(parents=True, exist_ok=True)
    data, page = options.output / "evaluation.json", options.output / "evaluation.html"
    text = json.dumps(without_nan(report), indent=1, allow_nan=False, ensure_ascii=False)
    data.write_text(text + "\n", encoding="utf-8")
    write_page(page, report, windows, trades)
    print_report(report, console)
    for path in (data, page):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    return report


def _with_predictions(options: Any, scratch: Path, console: Console) -> Setup:
    """The setup, after a backtest where predictions of the timerange are missing."""
    config = load_config(_freqtrade_arguments(options))
    folder = models_folder(config)
    if not config.get("timerange"):
        timerange = saved_timerange(config)
        if timerange is None:
            raise EvaluationFailed(
                f"Expected saved predictions in {folder / 'backtesting_predictions'}, got none of "
                f"{', '.join(config['exchange']['pair_whitelist'])}. Check --userdir and "
                "freqai.identifier, or give --timerange to run the backtest first."
            )
        config["timerange"] = timerange
        return load_setup(config)
    setup = load_setup(config)
    missing = missing_windows(setup, scratch)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        console.print(f"No predictions yet for {', '.join(missing[:3])}{more}: backtesting first.")
        _run_backtest(options, config, scratch)
    return setup


def _run_backtest(options: Any, config: dict[str, Any], scratch: Path) -> None:
    args = ["backtesting", *(part for path in options.config for part in ("-c", str(path)))]
    with contextlib.ExitStack() as stack:
        if options.loopback:
            mode = TradingMode(config.get("trading_mode", TradingMode.SPOT)).value
            try:
                exchange = stack.enter_context(
                    LoopbackExchange(Path(config["datadir"]), trading_mode=mode)
                )
            except ValueError as error:
                raise EvaluationFailed(
                    f"--loopback cannot serve the data folder: {error}"
                ) from None
            args += ["-c", str(exchange.write_config(scratch / "endpoints.json"))]
        args += ["--userdir", str(options.userdir), "--datadir", str(config["datadir"])]
        args += ["--strategy", options.strategy, "--freqaimodel", options.freqaimodel]
        args += ["--timerange", options.timerange, "--cache", "none"]
        for name in ("strategy_path", "freqaimodel_path"):
            if getattr(options, name):
                args += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        run_freqtrade(args, echo=True)


def _notes(setup: Setup, windows: dict[str, list[Window]], missing: list[str]) -> list[str]:
    """What a reader of the figures has to know."""
    notes = [f"{pair} has no predictions here." for pair, found in windows.items() if not found]
    if missing:
        notes.append(f"Windows without predictions: {', '.join(missing)}.")
    unlike = [window.unlike_saved for found in windows.values() for window in found]
    if any(difference > UNLIKE for difference in unlike):
        notes.append(
            "The saved models no longer give the saved predictions (they differ by up to "
            f"{max(value for value in unlike if value == value):.2g} label scales): strategy, "
            "candles or configuration have changed since. A new freqai.identifier starts clean."
        )
    trained, now = trained_settings(setup.config), setup.config["freqai"]
    differ = [
        key
        for key in ("train_period_days", "conv_width", "feature_parameters")
        if key in trained and trained[key] != now.get(key)
    ]
    if differ:
        notes.append(
            f"The configuration differs from the last run's in freqai.{', freqai.'.join(differ)}: "
            "baselines learn from today's features and days, the saved predictions do not."
        )
    if setup.horizon == 0:
        notes.append(
            "label_period_candles is 0: the score of the same candle, which the features contain "
            "nearly whole. Skill here shows that the model can learn, not that it can foresee."
        )
    persisted = "of the candle before" if setup.horizon == 0 else "known when the forecast is made"
    notes.append(f"Persistence predicts the last score {persisted}.")
    return notes


def _trades(setup: Setup) -> tuple[pd.DataFrame, str]:
    """Trades of the newest backtest result, if it was made with this identifier."""
    none = pd.DataFrame()
    try:
        statistics, trades = load_newest_backtest(
            Path(setup.config["user_data_dir"]), setup.config["strategy"]
        )
    except (ValueError, OSError) as error:
        return none, f"No trades are shown: {error}"
    made_with = statistics.get("freqai_identifier")
    if made_with != setup.config["freqai"]["identifier"]:
        return none, f"No trades are shown: the newest backtest is of identifier {made_with!r}."
    return trades, f"The trades shown, {len(trades)}, are those of the newest backtest result."


def _freqtrade_arguments(options: Any) -> dict[str, Any]:
    args: dict[str, Any] = {
        "config": [str(path) for path in options.config],
        "user_data_dir": str(options.userdir),
        "datadir": options.datadir,
        "timerange": options.timerange,
        "strategy": options.strategy,
        "freqaimodel": options.freqaimodel,
    }
    for name in ("strategy_path", "freqaimodel_path"):
        if getattr(options, name):
            args[name] = str(getattr(options, name))
    return args


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep freqtrade's log below a warning, and libraries' advice, out of the progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    # FreqAI asks each pipeline for a step that is not there, and datasieve warns of it. That the
    # data end with the timerange is no news, and missing candles end the evaluation anyway.
    # Filters, since freqtrade sets levels anew when it reads a configuration.
    talkative = [logging.getLogger(name) for name in TALKATIVE]
    for logger in talkative:
        logger.addFilter(_is_error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        for logger in talkative:
            logger.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


if __name__ == "__main__":
    raise SystemExit(main())
