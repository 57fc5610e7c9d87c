"""End to end: `freqtrade hyperopt` searches weights and thresholds over one training."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from conftest import ROOT
from freqtrade.configuration import Configuration
from freqtrade.enums import RunMode
from freqtrade.optimize.backtesting import Backtesting
from freqtrade.optimize.hyperopt_tools import HyperoptTools
from workshop import TIMERANGE, Workshop, open_workshop

from freqai_lstm.freqtrade_run import FreqtradeRun, load_newest_backtest, run_freqtrade


pytestmark = pytest.mark.slow

EPOCHS = 10
NETWORK: dict[str, Any] = {
    "feature_parameters": {"label_period_candles": 1},
    "model_training_parameters": {"units": 8, "epochs": 1, "network_days": 30},
}
TERMS = ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")


@dataclass
class Searched:
    """A finished hyperopt run, its epochs, and the processes that evaluated them."""

    run: FreqtradeRun
    epochs: list[dict[str, Any]]
    parameters: Path
    workers: dict[int, bool]  # by process, whether it has mapped TensorFlow

    @property
    def best(self) -> dict[str, Any]:
        return min(self.epochs, key=lambda epoch: epoch["loss"])


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for all tests of this file, with candles enough for a network."""
    start = datetime(2023, 12, 1, tzinfo=UTC)
    with open_workshop(tmp_path_factory.mktemp("hyperopt"), start) as opened:
        yield opened


@pytest.fixture(scope="module")
def searched(workshop: Workshop) -> Searched:
    """Search weights and thresholds with two workers, over models with a network."""
    options = ["--spaces", "buy", "sell", "--hyperopt-loss", "SharpeHyperOptLossDaily"]
    options += ["-e", str(EPOCHS), "-j", "2", "--random-state", "7"]
    found: list[FreqtradeRun] = []

    def work() -> None:
        found.append(
            workshop.run(
                *options, command="hyperopt", check=False, identifier="searched", **NETWORK
            )
        )

    thread = threading.Thread(target=work)
    workers: dict[int, bool] = {}
    thread.start()
    while thread.is_alive():
        for process in psutil.Process().children(recursive=True):
            try:
                if "LokyProcess" in " ".join(process.cmdline()):
                    maps = [part.path for part in process.memory_maps()]
                    mapped = any("tensorflow" in path for path in maps)
                    workers[process.pid] = workers.get(process.pid, False) or mapped
            except psutil.NoSuchProcess:
                continue  # it ended between being listed and being looked at
        time.sleep(0.5)
    thread.join()
    (run,) = found
    assert run.ok, run.problems()
    results = max((workshop.userdir / "hyperopt_results").glob("strategy_*.fthypt"))
    epochs = [epoch for batch in HyperoptTools._read_results(results, 100) for epoch in batch]
    parameters = workshop.userdir / "strategies/ScoreStrategy.json"
    kept = workshop.folder / "best.json"
    # Other tests start without the exported file: freqtrade applies it wherever it lies.
    shutil.move(parameters, kept)
    return Searched(run, epochs, kept, workers)


def test_one_training_serves_all_epochs(searched: Searched) -> None:
    """Two pairs and two windows are trained once, then every epoch is evaluated, with trades."""
    assert searched.run.output.count("Starting training") == 4
    assert len(searched.epochs) == EPOCHS
    profits = {epoch["results_metrics"]["profit_total_abs"] for epoch in searched.epochs}
    assert len(profits) > EPOCHS / 2


def test_workers_never_start_tensorflow(searched: Searched) -> None:
    """One process trains the network, and those that evaluate epochs do not map TensorFlow."""
    assert searched.run.output.count("Training the shared network on") == 1
    assert len(searched.workers) >= 2
    assert not any(searched.workers.values())


@pytest.mark.parametrize("identifier", ["searched", "trained-anew"])
def test_best_epoch_is_reproduced_by_a_backtest(
    searched: Searched, workshop: Workshop, identifier: str
) -> None:
    """With the exported parameters a backtest gives the best epoch's trades, to the cent.

    At once under the same identifier; under a new one the same seed trains the same models.
    """
    beside = workshop.userdir / "strategies/ScoreStrategy.json"
    shutil.copy(searched.parameters, beside)
    run = workshop.run(identifier=identifier, **NETWORK)
    beside.unlink()
    assert ("Starting training" in run.output) == (identifier == "trained-anew")
    for coin in ("BTC", "ETH"):
        pd.testing.assert_frame_equal(
            workshop.predictions(identifier, coin), workshop.predictions("searched", coin)
        )
    stats, trades = load_newest_backtest(workshop.userdir, "ScoreStrategy")
    best = searched.best["results_metrics"]
    assert stats["total_trades"] == best["total_trades"] > 0
    assert stats["profit_total_abs"] == pytest.approx(best["profit_total_abs"], abs=0.005)
    # Trades that close with the same candle stand in any order.
    order = ["pair", "open_timestamp"]
    expected = pd.DataFrame(best["trades"]).sort_values(order)
    trades = trades.sort_values(order)
    for column in ("pair", "is_short", "enter_tag", "exit_reason"):
        assert trades[column].tolist() == expected[column].tolist()
    assert trades["profit_abs"].to_numpy() == pytest.approx(expected["profit_abs"].to_numpy())


def test_each_weight_alone_changes_the_trades(searched: Searched, workshop: Workshop) -> None:
    """Thresholds fixed, raising any one of the nine weights gives other trades."""
    files = [workshop.folder / name for name in ("endpoints.json", "second.json")]
    second = json.loads(files[1].read_text())
    second["freqai"]["identifier"] = "searched"
    files[1].write_text(json.dumps(second))
    arguments = {
        "config": [str(ROOT / "config.example.json"), *map(str, files)],
        "user_data_dir": str(workshop.userdir),
        "datadir": str(workshop.datadir),
        "strategy": "ScoreStrategy",
        "freqaimodel": "LSTMRegressor",
        "timerange": TIMERANGE,
        "backtest_cache": "none",
    }
    backtesting = Backtesting(Configuration(arguments, RunMode.BACKTEST).get_config())
    backtesting._set_strategy(backtesting.strategylist[0])
    strategy = backtesting.strategy
    data, _ = backtesting.load_bt_data()
    frames = strategy.advise_all_indicators(data)
    start = pd.Timestamp("2024-05-12", tz="UTC").to_pydatetime()
    end = pd.Timestamp("2024-06-01", tz="UTC").to_pydatetime()

    def trades() -> list[tuple[Any, ...]]:
        copies = {pair: frame.copy() for pair, frame in frames.items()}
        result = backtesting.backtest(processed=copies, start_date=start, end_date=end)
        columns = ["pair", "open_date", "close_date", "is_short", "profit_abs"]
        return list(result["results"][columns].itertuples(index=False, name=None))

    base = trades()
    assert base
    assert trades() == base
    unchanged = []
    for term in TERMS:
        weight = getattr(strategy, f"{term}_w")
        kept, weight.value = weight.value, 1.0
        if trades() == base:
            unchanged.append(term)
        weight.value = kept
    assert unchanged == []
    for term in TERMS:
        getattr(strategy, f"{term}_w").value = 0.0
    assert trades() == []
    Backtesting.cleanup()


def test_other_spaces_and_result_commands_work(searched: Searched, workshop: Workshop) -> None:
    """Stoploss, trailing, ROI and protection are searchable; list and show print the epochs."""
    run = workshop.run(
        *("--spaces", "stoploss", "trailing", "roi", "protection", "--enable-protections"),
        *("--hyperopt-loss", "SharpeHyperOptLossDaily", "-e", "4", "-j", "1"),
        *("--random-state", "3", "--disable-param-export"),
        command="hyperopt",
        identifier="searched",
        **NETWORK,
    )
    assert "Starting training" not in run.output
    assert "protection_params" in run.output
    folder = ["--userdir", str(workshop.userdir)]
    assert "4/4" in run_freqtrade(["hyperopt-list", *folder, "--no-details"]).output
    shown = run_freqtrade(["hyperopt-show", *folder, "--best"]).output
    assert "BACKTESTING REPORT" in shown
    assert "stoploss = " in shown
