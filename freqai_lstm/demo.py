"""The demo: the real `freqtrade backtesting` on a generated market, from nothing, in minutes.

    python -m freqai_lstm.demo [--workdir build/demo]

It does what a user does: puts the two plugin files into a user folder, has candles in a data
folder, and runs freqtrade with `config.example.json`, of which a second configuration changes
little: two pairs, shorter training. Only the candles and the exchange are made up. The numbers in
freqtrade's tables therefore say nothing about profit. That the score is learnt can be seen in the
last table: predictions for candles the model was not trained on, beside the score they got.

The exit code is not 0 when anything inside failed, also where freqtrade itself would go on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from freqtrade.configuration.load_config import load_config_file
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from rich.console import Console
from rich.table import Table

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeFailed, load_newest_backtest, run_freqtrade
from freqai_lstm.market import generate_market


PROJECT = Path(__file__).resolve().parent.parent
PLUGINS = ("freqaimodels/LSTMRegressor.py", "strategies/ScoreStrategy.py")
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
BACKTEST = (datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 21, tzinfo=UTC))
TRAIN_DAYS, WINDOW_DAYS = 90, 10
# Before the training days FreqAI wants the strategy's start-up candles of the longest timeframe.
STARTUP_DAYS = 50
# Changes to config.example.json, for a run of minutes.
SETTINGS: dict[str, Any] = {
    "max_open_trades": len(PAIRS),
    "exchange": {"pair_whitelist": list(PAIRS)},
    "freqai": {
        "identifier": "demo",
        "train_period_days": TRAIN_DAYS,
        "backtest_period_days": WINDOW_DAYS,
        "feature_parameters": {"include_corr_pairlist": list(PAIRS)},
        "model_training_parameters": {"units": 32, "epochs": 40},
    },
}
# A folder holding this file was made by the demo, so the demo may empty it.
MARKER = ".made-by-demo"


class DemoFailed(RuntimeError):
    """The demo found something wrong; the message says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m freqai_lstm.demo",
        description="Backtest LSTMRegressor and ScoreStrategy on a generated market.",
    )
    parser.add_argument("--workdir", type=Path, default=PROJECT / "build" / "demo")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        run_demo(options.workdir.resolve(), console)
    except (DemoFailed, FreqtradeFailed) as error:
        console.print("\nThe demo failed:", style="bold red")
        # As it is: a traceback's brackets are not rich's markup.
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted.")
        return 130
    return 0


def run_demo(workdir: Path, console: Console) -> None:
    """Everything the demo does, in order.

    :param workdir: emptied first, if an earlier demo made it.
    :raises DemoFailed: a file is missing, or the predictions are not what a working model gives.
    :raises FreqtradeFailed: the command failed, or a training inside it did.
    """
    started = time.monotonic()
    prepare(workdir)
    datadir, userdir = workdir / "data" / "binance", workdir / "user_data"

    console.rule("1. A generated market (not real data)")
    start = BACKTEST[0] - timedelta(days=TRAIN_DAYS + STARTUP_DAYS)
    generate_market(datadir, PAIRS, start=start, end=BACKTEST[1])
    console.print(f"{', '.join(PAIRS)}, 1h and 4h, {start:%Y-%m-%d} to {BACKTEST[1]:%Y-%m-%d}")

    console.rule("2. freqtrade backtesting")
    windows = (BACKTEST[1] - BACKTEST[0]) // timedelta(days=WINDOW_DAYS)
    console.print(f"{len(PAIRS)} pairs, {windows} training windows each")
    configs = [PROJECT / "config.example.json", workdir / "demo.json"]
    with LoopbackExchange(datadir) as exchange:
        configs.append(exchange.write_config(workdir / "endpoints.json"))
        args = ["backtesting", *(part for path in configs for part in ("-c", str(path)))]
        args += ["--userdir", str(userdir), "--datadir", str(datadir)]
        args += ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy", "--cache", "none"]
        args += ["--timerange", "-".join(f"{day:%Y%m%d}" for day in BACKTEST)]
        console.print("freqtrade " + " ".join(args), style="dim", soft_wrap=True, highlight=False)
        run_freqtrade(args, cwd=PROJECT, echo=True)

    console.rule("3. Is it sound?")
    report = check_predictions(userdir, datadir, windows)
    statistics, trades = load_newest_backtest(userdir, "ScoreStrategy")
    if trades.empty:
        raise DemoFailed("The backtest made no trade; expected some. See its tables above.")
    console.print(_as_table(report))
    console.print(
        f"{statistics['total_trades']} trades, no failed training, predictions that vary. The "
        "market is generated: the profit above means nothing."
    )
    if _horizon() == 0:
        console.print("label_period_candles is 0: the score was learnt, not forecast.")

    console.rule("4. Where things are")
    models = userdir / "models" / SETTINGS["freqai"]["identifier"]
    for what, where in (
        ("results", userdir / "backtest_results"),
        ("models and predictions", models),
        ("training curves", f"{Path(sys.executable).parent / 'tensorboard'} --logdir {models}"),
        ("what was changed", f"{configs[1]}, on top of {configs[0]}"),
    ):
        console.print(f"{what}: {where}", soft_wrap=True, highlight=False)
    console.print(f"Done in {time.monotonic() - started:.0f} s.")


def prepare(workdir: Path) -> None:
    """An empty work folder with the user folder, plugin files and second configuration in it.

    :raises DemoFailed: the folder holds something the demo did not make, or a plugin is missing.
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
    for plugin in PLUGINS:
        source, target = PROJECT / "user_data" / plugin, workdir / "user_data" / plugin
        if not source.is_file():
            raise DemoFailed(f"{source} is missing; the demo needs a complete checkout.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    (workdir / "demo.json").write_text(json.dumps(SETTINGS, indent=4) + "\n", encoding="utf-8")


def check_predictions(userdir: Path, datadir: Path, windows: int) -> pd.DataFrame:
    """Compare the stored predictions with the score that came about, pair by pair.

    :param windows: training windows per pair; each leaves one file of predictions.
    :return: per pair: candles, share of them with a valid prediction, and over these the
        correlation of the predicted score with the realised one (out of sample).
    :raises DemoFailed: predictions are missing, invalid throughout, or the same for every candle.
    """
    strategy = _load_module(userdir / "strategies" / "ScoreStrategy.py")
    labels = list(strategy.LABELS)
    folder = userdir / "models" / SETTINGS["freqai"]["identifier"] / "backtesting_predictions"
    rows = []
    for pair in PAIRS:
        base = pair.split("/")[0].lower()
        files = sorted(folder.glob(f"*_{base}_*_prediction.feather"))
        if len(files) != windows:
            raise DemoFailed(
                f"{pair}: expected predictions of {windows} windows in {folder}, got {len(files)}."
            )
        predictions = pd.concat([pd.read_feather(file) for file in files], ignore_index=True)
        valid = predictions[predictions["do_predict"] == 1]
        if valid.empty:
            raise DemoFailed(f"{pair}: none of {len(predictions)} candles has a prediction.")
        flat = [label for label in labels if not valid[label].std() > 0]
        if flat:
            raise DemoFailed(f"{pair}: the predictions of {', '.join(flat)} do not vary.")
        candles = load_pair_history(pair, "1h", datadir, candle_type=CandleType.FUTURES)
        realised = strategy.targets(candles, _horizon()).set_index(candles["date"])
        realised = realised.reindex(pd.DatetimeIndex(valid["date"]))
        predicted_score = strategy.weigh(valid[labels], strategy.ARTICLE_WEIGHTS)
        realised_score = strategy.weigh(realised, strategy.ARTICLE_WEIGHTS)
        rows.append(
            {
                "pair": pair,
                "candles": len(predictions),
                "valid": len(valid) / len(predictions),
                "correlation": predicted_score.reset_index(drop=True).corr(
                    realised_score.reset_index(drop=True)
                ),
            }
        )
    return pd.DataFrame(rows)


def _horizon() -> int:
    # The example configuration has comments, which freqtrade's own reader understands.
    config = load_config_file(str(PROJECT / "config.example.json"))
    return int(config["freqai"]["feature_parameters"]["label_period_candles"])


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DemoFailed(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _as_table(report: pd.DataFrame) -> Table:
    table = Table("Pair", "Candles", "With a prediction", "Correlation with the score")
    for row in report.to_dict("records"):
        numbers = f"{row['candles']}", f"{row['valid']:.1%}", f"{row['correlation']:.2f}"
        table.add_row(row["pair"], *numbers)
    return table


if __name__ == "__main__":
    raise SystemExit(main())
