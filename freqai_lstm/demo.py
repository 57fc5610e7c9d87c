"""`freqai-lstm demo`: the real `freqtrade backtesting` on a generated market, from nothing.

It does what a user does: `init` puts the files in place and freqtrade runs with
`config.example.json`, of which a second configuration changes little: two pairs, shorter training.
Only candles and exchange are made up, so the profit says nothing. The last table shows what was
learnt: predictions for candles the model was not trained on, beside the score they got.
"""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from freqtrade.configuration.load_config import load_config_file
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from rich.console import Console
from rich.table import Table

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, load_newest_backtest, run_freqtrade
from freqai_lstm.init import place
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG, STRATEGY_FILE, load_plugin


PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START, END = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 21, tzinfo=UTC)
TRAIN_DAYS, WINDOWS = 90, 2
# Before the training days FreqAI wants the strategy's start-up candles of the longest timeframe.
STARTUP_DAYS = 50
# Changes to config.example.json, for a run of seconds.
SETTINGS: dict[str, Any] = {
    "max_open_trades": len(PAIRS),
    "exchange": {"pair_whitelist": list(PAIRS)},
    "freqai": {
        "identifier": "demo",
        "train_period_days": TRAIN_DAYS,
        "backtest_period_days": (END - START).days // WINDOWS,
        "feature_parameters": {"include_corr_pairlist": list(PAIRS)},
        "model_training_parameters": {"units": 32, "epochs": 40},
    },
}
# A folder holding this file was made by the demo, so the demo may empty it.
MARKER = ".made-by-demo"
# Of freqtrade's seven result tables, those that fit one screen; all are in the log.
TABLES = ("BACKTESTING REPORT", "EXIT REASON STATS")


class DemoFailed(RuntimeError):
    """The demo found something wrong; the message says what."""


def demo(
    workdir: Annotated[
        Path, typer.Option(help="made where it is missing, emptied if an earlier demo made it")
    ] = Path("freqai-lstm-demo"),
) -> None:
    """Backtest LSTMRegressor and ScoreStrategy on a generated market, and check the result."""
    console = Console()
    log = workdir / "freqtrade.log"
    console.print("A generated market, then freqtrade backtesting with four trainings.")
    console.print(f"freqtrade's output: {log}", soft_wrap=True)
    try:
        prepare(workdir)
        backtest(workdir, log)
        report = check_predictions(workdir, WINDOWS)
        _, trades = load_newest_backtest(workdir / "user_data", "ScoreStrategy")
        if trades.empty:
            raise DemoFailed(f"The backtest made no trade; expected some. See {log}.")
    except (DemoFailed, FreqtradeFailed) as error:
        console.print("The demo failed:", style="bold red")
        # As it is: a traceback's brackets are not rich's markup.
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    show(console, log, report)
    console.print(f"Training curves: tensorboard --logdir {_models(workdir)}", soft_wrap=True)


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
    start = START - timedelta(days=TRAIN_DAYS + STARTUP_DAYS)
    generate_market(workdir / "data", PAIRS, start=start, end=END)


def backtest(workdir: Path, log: Path) -> None:
    """Run `freqtrade backtesting` on the loopback exchange; all that it prints goes to `log`.

    :raises FreqtradeFailed: the command failed, or a training inside it did.
    """
    args = ["backtesting", "-c", "config.example.json", "-c", "demo.json", "-c", "endpoints.json"]
    args += ["--userdir", "user_data", "--datadir", "data", "--cache", "none"]
    args += ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy"]
    args += ["--timerange", f"{START:%Y%m%d}-{END:%Y%m%d}"]
    with LoopbackExchange(workdir / "data") as exchange:
        exchange.write_config(workdir / "endpoints.json")
        run_freqtrade(args, cwd=workdir, output=log)


def check_predictions(workdir: Path, windows: int) -> pd.DataFrame:
    """Compare the stored predictions with the score that came about, pair by pair.

    :param windows: training windows per pair; each leaves one file of predictions.
    :return: per pair: candles, share of them with a valid prediction, and over these the
        correlation of the predicted score with the realised one (out of sample).
    :raises DemoFailed: predictions are missing, invalid throughout, or the same for every candle.
    """
    strategy = load_plugin(STRATEGY_FILE)
    labels, horizon = list(strategy.LABELS), _horizon()
    folder = _models(workdir) / "backtesting_predictions"
    rows = []
    for pair in PAIRS:
        files = sorted(folder.glob(f"cb_{pair.split('/')[0].lower()}_*_prediction.feather"))
        if len(files) != windows:
            raise DemoFailed(f"{pair}: predictions of {len(files)} windows, expected {windows}.")
        predictions = pd.concat([pd.read_feather(file) for file in files], ignore_index=True)
        valid = predictions[predictions["do_predict"] == 1].set_index("date")
        if valid.empty:
            raise DemoFailed(f"{pair}: none of {len(predictions)} candles has a prediction.")
        flat = [label for label in labels if not valid[label].std() > 0]
        if flat:
            raise DemoFailed(f"{pair}: the predictions of {', '.join(flat)} do not vary.")
        candles = load_pair_history(pair, "1h", workdir / "data", candle_type=CandleType.FUTURES)
        realised = strategy.targets(candles, horizon).set_index(candles["date"])
        score = strategy.weigh(realised.reindex(valid.index), strategy.ARTICLE_WEIGHTS)
        correlation = strategy.weigh(valid[labels], strategy.ARTICLE_WEIGHTS).corr(score)
        rows.append((pair, len(predictions), len(valid) / len(predictions), correlation))
    return pd.DataFrame(rows, columns=["pair", "candles", "valid", "correlation"])


def show(console: Console, log: Path, report: pd.DataFrame) -> None:
    """Print freqtrade's result tables from its log, then what the predictions are worth."""
    output = log.read_text(encoding="utf-8")
    for title in TABLES:
        found = re.search(rf"^ *{title} *\n┏.*?^└.*?$", output, re.MULTILINE | re.DOTALL)
        if found:
            console.print(found.group(), markup=False, highlight=False, soft_wrap=True)
    table = Table("Pair", "Candles", "With a prediction", "Correlation with the score")
    for row in report.itertuples():
        table.add_row(str(row.pair), f"{row.candles}", f"{row.valid:.1%}", f"{row.correlation:.2f}")
    console.print(table)
    ahead = f"{_horizon()} candles ahead" if _horizon() else "of the same candle, no forecast"
    console.print(f"Predicted: the score {ahead}. Candles are generated: the profit means nothing.")


def _models(workdir: Path) -> Path:
    return workdir / "user_data" / "models" / str(SETTINGS["freqai"]["identifier"])


def _horizon() -> int:
    freqai = load_config_file(str(EXAMPLE_CONFIG))["freqai"]
    return int(freqai["feature_parameters"]["label_period_candles"])
