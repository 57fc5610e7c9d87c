"""Running the real freqtrade command, and noticing each of the ways in which it fails."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import (
    FreqtradeFailed,
    FreqtradeRun,
    load_newest_backtest,
    log_records,
    run_freqtrade,
)
from freqai_lstm.market import generate_market


# A FreqAI model that learns BTC and raises for ETH, as a bug in a plugin would.
MODEL = """
from freqtrade.freqai.base_models.BaseRegressionModel import BaseRegressionModel
from sklearn.linear_model import LinearRegression

class FailsForETH(BaseRegressionModel):
    def fit(self, data_dictionary, dk, **kwargs):
        if dk.pair.startswith("ETH/"):
            raise ValueError("the weights\\nare not finite")
        return LinearRegression().fit(
            data_dictionary["train_features"], data_dictionary["train_labels"]
        )
"""
STRATEGY = """
from freqtrade.strategy import IStrategy

class BuysWhatRises(IStrategy):
    timeframe = "1h"
    startup_candle_count = 10
    stoploss = -0.05
    minimal_roi = {"0": 0.02}

    def feature_engineering_expand_all(self, dataframe, period, metadata, **kwargs):
        dataframe["%-change-period"] = dataframe["close"].pct_change(period)
        return dataframe

    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        dataframe["&-rise"] = dataframe["close"].shift(-4) / dataframe["close"] - 1
        return dataframe

    def populate_indicators(self, dataframe, metadata):
        return self.freqai.start(dataframe, metadata, self)

    def populate_entry_trend(self, dataframe, metadata):
        rises = (dataframe["do_predict"] == 1) & (dataframe["&-rise"] > 0)
        dataframe.loc[rises, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
"""
CONFIG: dict[str, Any] = {
    "dry_run": True,
    "dry_run_wallet": 1000,
    "stake_currency": "USDT",
    "stake_amount": 100,
    "max_open_trades": 2,
    "timeframe": "1h",
    "entry_pricing": {"price_side": "same", "use_order_book": True},
    "exit_pricing": {"price_side": "same", "use_order_book": True},
    "exchange": {"name": "binance", "pair_whitelist": ["BTC/USDT", "ETH/USDT"]},
    "pairlists": [{"method": "StaticPairList"}],
    "freqai": {
        "enabled": True,
        "identifier": "linear",
        "train_period_days": 10,
        "backtest_period_days": 5,
        "feature_parameters": {
            "include_timeframes": ["1h"],
            "include_corr_pairlist": [],
            "label_period_candles": 4,
            "indicator_periods_candles": [2, 8],
        },
        "data_split_parameters": {"test_size": 0.2, "shuffle": False},
        "model_training_parameters": {},
    },
}


@pytest.fixture
def userdir(tmp_path: Path) -> Path:
    """A user folder with the model, the strategy and its configuration."""
    folder = tmp_path / "user_data"
    for name in ("freqaimodels", "strategies"):
        (folder / name).mkdir(parents=True)
    (folder / "freqaimodels" / "FailsForETH.py").write_text(MODEL)
    (folder / "strategies" / "BuysWhatRises.py").write_text(STRATEGY)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.mark.slow
def test_command_that_succeeds(userdir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Output comes back whole, and meanwhile is printed or written to a file when asked for."""
    args = ["list-timeframes", "--exchange", "binance", "--userdir", str(userdir)]
    run = run_freqtrade(args, echo=True)
    assert run.ok
    assert run.returncode == 0
    assert run.problems() == ""
    assert "Timeframes available for the exchange `Binance`: 1s, 1m" in run.output
    assert run.output in capfd.readouterr().out
    assert run.seconds > 0

    log = userdir / "freqtrade.log"
    log.write_text("what was there\n")
    version = run_freqtrade(["--version"], echo=re.compile("^Python"), output=log)
    assert log.read_text() == "what was there\n" + version.output
    (shown,) = capfd.readouterr().out.splitlines()
    assert shown.startswith("Python Version")


@pytest.mark.slow
def test_configuration_error_is_noticed_though_freqtrade_exits_0(userdir: Path) -> None:
    """A bad configuration raises with its ERROR line, also where the exit code says success."""
    config = json.loads((userdir / "config.json").read_text())
    config["exchange"]["pair_whitelist"] = []
    (userdir / "config.json").write_text(json.dumps(config))
    args = ["backtesting", "-c", "config.json", "--userdir", str(userdir), "-s", "BuysWhatRises"]
    with pytest.raises(FreqtradeFailed, match="StaticPairList requires pair_whitelist") as caught:
        run_freqtrade(args, cwd=userdir)
    assert caught.value.run.returncode == 0
    assert len(caught.value.run.errors) == 1
    assert "freqtrade backtesting -c config.json" in str(caught.value)


def test_wrong_option_is_noticed_though_freqtrade_exits_0() -> None:
    """A usage error raises with argparse's own line, although the exit code says success."""
    with pytest.raises(FreqtradeFailed, match="unrecognized arguments: --no-such") as caught:
        run_freqtrade(["backtesting", "--no-such"])
    assert caught.value.run.returncode == 0
    with pytest.raises(FreqtradeFailed, match="invalid choice: 'no-such-command'"):
        run_freqtrade(["no-such-command"])


def test_exit_code_without_an_error_line_is_noticed() -> None:
    """Where only the exit code tells of a failure, the message shows the last lines."""
    run = FreqtradeRun(("trade",), -9, "first\nKilled by the system\n")
    assert not run.ok
    assert run.problems() == "exit code -9\nlast lines:\nfirst\nKilled by the system"


def test_time_limit_ends_the_command() -> None:
    """A command over its limit is killed, and the failure names the limit as the reason."""
    with pytest.raises(FreqtradeFailed, match="the time limit") as caught:
        run_freqtrade(["list-timeframes", "--exchange", "binance"], timeout=0.2)
    assert caught.value.run.timed_out


@pytest.mark.slow
def test_swallowed_training_failure_is_noticed(userdir: Path) -> None:
    """FreqAI skips a training that raised and exits 0; here the command counts as failed."""
    datadir = userdir / "data"
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    generate_market(
        datadir, CONFIG["exchange"]["pair_whitelist"], start=start, end=end, trading_mode="spot"
    )
    with LoopbackExchange(datadir, trading_mode="spot") as exchange:
        endpoints = exchange.write_config(userdir / "endpoints.json")
        args = ["backtesting", "-c", str(userdir / "config.json"), "-c", str(endpoints)]
        args += ["--userdir", str(userdir), "--datadir", str(datadir), "--cache", "none"]
        args += ["-s", "BuysWhatRises", "--freqaimodel", "FailsForETH"]
        with pytest.raises(FreqtradeFailed, match=r"failed training: .*ETH/USDT") as caught:
            run_freqtrade([*args, "--timerange", "20240120-20240130"])
    run = caught.value.run
    assert run.returncode == 0
    assert run.errors == []
    assert len(run.failed_trainings) == 2, "one for each of the two windows"
    assert not any("BTC/USDT" in record for record in run.failed_trainings)
    assert all("are not finite" in record for record in run.failed_trainings)
    assert exchange.unknown_requests == []

    statistics, trades = load_newest_backtest(userdir)
    assert statistics["total_trades"] == len(trades) > 0
    assert set(trades["pair"]) == {"BTC/USDT"}
    with pytest.raises(ValueError, match=r"holds \['BuysWhatRises'\], asked for: Other"):
        load_newest_backtest(userdir, "Other")


def test_log_records_keep_what_belongs_to_them() -> None:
    """A traceback stays with its record; what freqtrade prints before the first is none."""
    first = "2024-01-01 00:00:00,000 - freqtrade - ERROR - Fatal exception!\nTraceback\n  KeyError"
    second = "2024-01-01 00:00:01,000 - freqtrade - INFO - bye"
    assert log_records(f"banner\n{first}\n{second}\n") == [first, second]


def test_problems_name_a_live_failure_once() -> None:
    """In live mode a failed training is an ERROR record too; it is reported one time."""
    record = "2024-01-01 00:00:00,000 - x - ERROR - Training BTC/USDT raised exception KeyError."
    run = FreqtradeRun(("trade",), 0, record)
    assert not run.ok
    assert run.problems() == f"failed training: {record}"
