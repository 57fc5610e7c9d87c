"""Live: what FreqAI keeps in memory and on disk survives full disks, kills and odd dates."""

import json
import pickle
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.configuration import TimeRange
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType, RunMode
from freqtrade.freqai.data_drawer import FreqaiDataDrawer
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.strategy import IStrategy
from pandas import DataFrame


FIRST, SECOND = 1709251200, 1709337600


class Momentum(IStrategy):
    """The smallest FreqAI strategy: two features and a label that they decide."""

    timeframe = "1h"
    stoploss = -0.1

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return self.freqai.start(dataframe, metadata, self)

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict, **kwargs: Any
    ) -> DataFrame:
        dataframe["%-return-period"] = dataframe["close"].pct_change(period)
        return dataframe

    def feature_engineering_standard(
        self, dataframe: DataFrame, metadata: dict, **kwargs: Any
    ) -> DataFrame:
        dataframe["%-hour"] = dataframe["date"].dt.hour
        return dataframe

    def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kwargs: Any) -> DataFrame:
        dataframe["&-return"] = dataframe["close"].pct_change(2)
        return dataframe


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow above `size` bytes: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def candles(rows: int, start: str = "2024-02-01") -> DataFrame:
    """A seeded random walk of hourly candles."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, rows)))
    dates = pd.date_range(start, periods=rows, freq="h", tz="UTC")
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return DataFrame({"date": dates, **prices, "volume": 1.0})


@pytest.fixture
def bot(lstm: ModuleType, freqai_config: Callable[..., dict]) -> SimpleNamespace:
    """LSTMRegressor as a bot has it, with a strategy and 600 candles in memory; `train(stamp)`."""
    config = freqai_config() | {
        "runmode": RunMode.DRY_RUN,
        "candle_type_def": CandleType.SPOT,
        "entry_pricing": {},
        "exit_pricing": {},
    }
    freqai = lstm.LSTMRegressor(config=config)
    freqai.live = True
    freqai.dd.set_pair_dict_info({"pair": PAIR})
    freqai.dd.historic_data = {PAIR: {"1h": candles(600)}}
    strategy = Momentum(config)
    whole = TimeRange("date", "date", 1706745600, SECOND)

    def train(stamp: int) -> None:
        dk = FreqaiDataKitchen(config, True, PAIR)
        dk.set_paths(PAIR, stamp)
        window = TimeRange("date", "date", 1706745600 + 86400, stamp)
        freqai.extract_data_and_train_model(window, PAIR, strategy, dk, whole)

    return SimpleNamespace(freqai=freqai, dd=freqai.dd, strategy=strategy, train=train)


def test_pair_stays_due_when_its_model_could_not_be_saved(bot: SimpleNamespace) -> None:
    """On a full disk the old model stays with its own age; with space again training succeeds."""
    bot.train(FIRST)
    old = bot.dd.model_dictionary[PAIR]
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == FIRST
    with full_disk(2000), pytest.raises(OSError, match=r"File too large|errno"):
        bot.train(SECOND)
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == FIRST
    assert bot.dd.model_dictionary[PAIR] is old
    on_disk = json.loads(bot.dd.pair_dictionary_path.read_text())
    assert on_disk[PAIR]["trained_timestamp"] == FIRST
    bot.train(SECOND)
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND
    assert bot.dd.model_dictionary[PAIR] is not old


def test_interrupted_writes_leave_the_old_files_whole(bot: SimpleNamespace) -> None:
    """What the next start reads is never half a file: history, its backup, pairs, metadata."""
    dd = bot.dd
    dd.historic_predictions = {PAIR: DataFrame({"&-a": [1.0], "do_predict": [1]})}
    dd.save_historic_predictions_to_disk()
    dd.save_drawer_to_disk()
    dd.save_global_metadata_to_disk({"start_dry_live_date": FIRST})
    paths = [
        dd.historic_predictions_path,
        dd.historic_predictions_bkp_path,
        dd.pair_dictionary_path,
        dd.global_metadata_path,
    ]
    before = [path.read_bytes() for path in paths]
    dd.historic_predictions = {PAIR: DataFrame({"&-a": np.random.default_rng(1).random(9999)})}
    dd.pair_dict[PAIR]["odd"] = "x" * 9999
    with full_disk(4000):
        dd.save_historic_predictions_to_disk()
        with pytest.raises(OSError, match=r"File too large|errno"):
            dd.save_drawer_to_disk()
        with pytest.raises(OSError, match=r"File too large|errno"):
            dd.save_global_metadata_to_disk({"odd": "x" * 9999})
    assert [path.read_bytes() for path in paths] == before
    assert not list(bot.freqai.full_path.glob("~*"))
    assert pickle.loads(before[0])[PAIR]["&-a"].tolist() == [1.0]


def test_history_that_cannot_be_saved_does_not_end_the_training_thread(
    bot: SimpleNamespace, lstm: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk costs one ERROR line; the last saved history stays, the next save succeeds."""
    dd = bot.dd
    dd.historic_predictions = {PAIR: DataFrame({"&-a": [1.0]})}
    dd.save_historic_predictions_to_disk()
    before = dd.historic_predictions_path.read_bytes()
    dd.historic_predictions = {PAIR: DataFrame({"&-a": np.random.default_rng(1).random(9999)})}
    with full_disk(4000):
        dd.save_historic_predictions_to_disk()
    errors = [r for r in caplog.records if r.name == lstm.__name__ and r.levelname == "ERROR"]
    assert ["could not be saved" in error.getMessage() for error in errors] == [True]
    assert dd.historic_predictions_path.read_bytes() == before
    assert not list(bot.freqai.full_path.glob("~*"))
    dd.save_historic_predictions_to_disk()
    assert len(pickle.loads(dd.historic_predictions_path.read_bytes())[PAIR]) == 9999


def test_dates_stay_dates_when_new_candles_arrive(bot: SimpleNamespace) -> None:
    """Candles from files and candles from the exchange join without their dates turning objects."""
    handler = get_datahandler(bot.freqai.config["datadir"], "feather")
    handler.ohlcv_store(PAIR, "1h", candles(600), CandleType.SPOT)
    fresh = candles(605).tail(300).reset_index(drop=True)
    fresh["date"] = fresh["date"].dt.tz_convert(UTC).dt.as_unit("us")
    dk = FreqaiDataKitchen(bot.freqai.config, True, PAIR)
    whole = TimeRange("date", "date", 1706745600, SECOND + 30 * 86400)

    stock = FreqaiDataDrawer(bot.freqai.full_path, bot.freqai.config)
    stock.load_all_pair_histories(whole, dk)
    joined = pd.concat([stock.historic_data[PAIR]["1h"], fresh])["date"]
    assert joined.dtype == object, "freqtrade mended this: the override may go"

    bot.dd.historic_data = {}
    bot.dd.load_all_pair_histories(whole, dk)
    bot.strategy.dp = SimpleNamespace(get_pair_dataframe=lambda pair, timeframe: fresh)
    bot.dd.update_historic_data(bot.strategy, dk)
    dates = bot.dd.historic_data[PAIR]["1h"]["date"]
    expected = pd.date_range("2024-02-01", periods=605, freq="h")
    assert dates.dt.hour.tolist() == expected.hour.tolist()
