"""`freqai-lstm demo`: the real `freqtrade backtesting` on a generated market, and its evaluation.

It does what a user does: `init` puts the files in place, and freqtrade runs RiskStrategy with
`config.example.json` and `config.risk.json`, of which a third configuration changes little: two
pairs, two windows, the volatility of the next twelve candles as label. Only candles and exchange
are made up, so the profit says nothing. What can be known of that volatility is known, though,
since the generator's own state tells it; so the last table says how much of it was found, on
candles that no model was trained on.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LinearRegression

from freqai_lstm.evaluate.command import evaluate
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, run_freqtrade
from freqai_lstm.init import place
from freqai_lstm.market import generate_market, known_volatility
from freqai_lstm.plugins import RISK_FILE, load_plugin


PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START, END = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 21, tzinfo=UTC)
TRAIN_DAYS, WINDOWS, HORIZON = 90, 2, 12
# Before the training days: what the network of both pairs learns from.
HISTORY_DAYS = 240
# The last of them are for the network's border, and for start-up candles of the longest timeframe.
FIRST = START - timedelta(days=TRAIN_DAYS + HISTORY_DAYS + 140)
# Changes to the configurations that are shipped, for a run of half a minute.
SETTINGS: dict[str, Any] = {
    "strategy": RISK_FILE.stem,
    "max_open_trades": len(PAIRS),
    "exchange": {"pair_whitelist": list(PAIRS)},
    "freqai": {
        "identifier": "demo",
        "train_period_days": TRAIN_DAYS,
        "backtest_period_days": (END - START).days // WINDOWS,
        "feature_parameters": {
            "include_corr_pairlist": list(PAIRS),
            "label_period_candles": HORIZON,
        },
        "model_training_parameters": {
            "history_days": HISTORY_DAYS,
            "epochs": 3,
            # For so short a history fewer and larger steps are better.
            "batch_size": 256,
            "learning_rate": 0.005,
        },
    },
}
CONFIGS = ("config.example.json", "config.risk.json", "demo.json", "endpoints.json")
# A folder holding this file was made by the demo, so the demo may empty it.
MARKER = ".made-by-demo"
# Of freqtrade's seven result tables, those that fit one screen; all are in the log.
TABLES = ("BACKTESTING REPORT", "EXIT REASON STATS")
PREDICTORS = {
    "model": "LSTMRegressor",
    "lightgbm": "LightGBM",
    "ridge": "Ridge",
    "persistence": "Persistence",
}


class DemoFailed(RuntimeError):
    """The demo found something wrong; the message says what."""


def demo(
    workdir: Annotated[
        Path, typer.Option(help="made where it is missing, emptied if an earlier demo made it")
    ] = Path("freqai-lstm-demo"),
) -> None:
    """Backtest LSTMRegressor and RiskStrategy on a generated market, and evaluate the result."""
    console = Console(markup=False)  # paths may have brackets
    log = workdir / "freqtrade.log"
    console.print("A generated market, then freqtrade backtesting with four trainings.")
    console.print(f"freqtrade's output: {log}", soft_wrap=True)
    try:
        prepare(workdir)
        backtest(workdir, log)
        console.print("The same candles are learned by LightGBM and a ridge regression.")
        report = evaluated(workdir)
        known = {pair: known_r2(workdir / "data", pair) for pair in PAIRS}
        show(console, log, report, known)
    except (DemoFailed, FreqtradeFailed) as error:
        console.print("The demo failed:", style="bold red")
        # As it is: a traceback's brackets are not rich's markup.
        console.print(str(error), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"All figures and charts: {workdir / 'evaluation.html'}", soft_wrap=True)


def prepare(workdir: Path) -> None:
    """Make an empty work folder with candles, the files of `init` and a second configuration.

    :raises DemoFailed: the folder holds something that no demo made.
    """
    if workdir.exists() and any(workdir.iterdir()):
        if not (workdir / MARKER).exists():
            raise DemoFailed(
                f"{workdir} is not empty and not from an earlier demo; it is left as it is. "
                "Name another folder with --workdir."
            )
        shutil.rmtree(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / MARKER).touch()
    place(workdir / "user_data")
    (workdir / "demo.json").write_text(json.dumps(SETTINGS, indent=4) + "\n", encoding="utf-8")
    generate_market(workdir / "data", PAIRS, start=FIRST, end=END)


def backtest(workdir: Path, log: Path) -> None:
    """Run `freqtrade backtesting` on the loopback exchange; all that it prints goes to `log`.

    :raises FreqtradeFailed: the command failed, or a training inside it did.
    """
    args = ["backtesting", *(part for name in CONFIGS for part in ("-c", name))]
    args += ["--userdir", "user_data", "--datadir", "data", "--cache", "none"]
    args += ["--freqaimodel", "LSTMRegressor", "--timerange", f"{START:%Y%m%d}-{END:%Y%m%d}"]
    with LoopbackExchange(workdir / "data") as exchange:
        exchange.write_config(workdir / "endpoints.json")
        run_freqtrade(args, cwd=workdir, output=log)


def evaluated(workdir: Path) -> dict[str, Any]:
    """Write `evaluation.html` into the work folder, and return its figures of the label.

    :return: those of `report.py`, and `trainings`, what each training noted.
    :raises DemoFailed: windows are missing, a model foretells no more than a constant does, or the
        LSTM has no part in any.
    """
    with (workdir / "evaluation.log").open("w") as file, contextlib.redirect_stdout(file):
        evaluate(
            config=[workdir / name for name in CONFIGS[:-1]],
            userdir=workdir / "user_data",
            datadir=workdir / "data",
            output=workdir,
        )
    report = json.loads((workdir / "evaluation.json").read_text(encoding="utf-8"))
    if report["notes"]:
        raise DemoFailed("Expected predictions of all windows. " + " ".join(report["notes"]))
    figures: dict[str, Any] = report["targets"][load_plugin(RISK_FILE).LABEL]
    for pair, found in figures["pairs"].items():
        r2 = found["model"]["r2"]
        if not (r2 or 0) > 0:
            raise DemoFailed(
                f"{pair}: expected an R² above 0 on candles that were not trained on, got {r2}."
            )
    figures["trainings"] = [window["training"] for window in report["windows"]]
    if not any(any(training["network_factors"]) for training in figures["trainings"]):
        raise DemoFailed("Expected that the LSTM helps on windows held out; it did for no pair.")
    return figures


def known_r2(datadir: Path, pair: str) -> float:
    """R² on the predicted candles of one who knows the generator's state, and nothing later."""
    candles = load_pair_history(pair, "1h", datadir, candle_type=CandleType.FUTURES)
    known = np.log(known_volatility(pair, pd.DatetimeIndex(candles["date"]), HORIZON))
    label = load_plugin(RISK_FILE).log_volatility(candles, HORIZON).shift(-HORIZON)
    rows = pd.DataFrame({"known": known.to_numpy(), "label": label.to_numpy()}, known.index)
    rows = rows.dropna()
    trained, unseen = rows[: START - HORIZON * timedelta(hours=1)], rows[START:]
    line = LinearRegression().fit(trained[["known"]], trained["label"])
    return float(line.score(unseen[["known"]], unseen["label"]))


def show(console: Console, log: Path, figures: dict[str, Any], known: dict[str, float]) -> None:
    """Print freqtrade's result tables from its log, then what the predictions are worth."""
    output = log.read_text(encoding="utf-8")
    for title in TABLES:
        found = re.search(rf"^ *{title} *\n┏.*?^└.*?$", output, re.MULTILINE | re.DOTALL)
        if found:
            console.print(found.group(), highlight=False, soft_wrap=True)
    title = f"R² of the volatility of the next {HORIZON} candles, on candles not trained on"
    table = Table("Pair", *PREDICTORS.values(), "Can be known", "Found", title=title)
    for pair, of_pair in figures["pairs"].items():
        r2 = [of_pair[name]["r2"] for name in PREDICTORS]
        share = f"{r2[0] / known[pair]:.0%}"
        table.add_row(
            pair.split("/")[0], *(f"{value:.2f}" for value in r2), f"{known[pair]:.2f}", share
        )
    console.print(table)
    weights = [training["network_factors"][0] for training in figures["trainings"]]
    trained = max(figures["trainings"], key=lambda training: training["epochs"])
    console.print(
        f"The LSTM, epoch {trained['best_epoch']} of {trained['epochs']}, enters with weight "
        f"{min(weights):.2f} to {max(weights):.2f}; a regression of each pair adds the rest.",
        highlight=False,
    )
    console.print(f"Verdict over both pairs: {figures['verdict']['title']}.", highlight=False)
    console.print("The candles are generated: the profit means nothing.")
