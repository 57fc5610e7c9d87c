"""Live: what FreqAI keeps in memory and on disk survives full disks, kills and odd dates."""

import json
import pickle
from collections.abc import Callable
from datetime import UTC
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.configuration import TimeRange
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType
from freqtrade.freqai.data_drawer import FreqaiDataDrawer
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from livebot import FIRST, SECOND, LiveBot, candles, full_disk
from pandas import DataFrame

from freqai_lstm.model import drawer


@pytest.fixture
def bot(lstm: ModuleType, freqai_config: Callable[..., dict]) -> LiveBot:
    """LSTMRegressor as a bot has it."""
    return LiveBot(lstm, freqai_config())


def test_pair_stays_due_when_its_model_could_not_be_saved(bot: LiveBot) -> None:
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
    assert bot.waited == []
    bot.train(SECOND)
    assert 50 < bot.waited.pop() <= 60, "tried again within a second, with a traceback each time"
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND
    assert bot.dd.model_dictionary[PAIR] is not old
    bot.train(SECOND + 3600)
    assert bot.waited == []


def test_failed_purge_does_not_make_the_pair_due_again(
    bot: LiveBot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A new model that was saved counts, though an old one could not be removed."""

    def fail(self: FreqaiDataDrawer) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(FreqaiDataDrawer, "purge_old_models", fail)
    bot.train(FIRST)
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == FIRST
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "not yours" in error


def test_interrupted_writes_leave_the_old_files_whole(
    bot: LiveBot, caplog: pytest.LogCaptureFixture
) -> None:
    """What the next start reads is never half a file: history, its backup, pairs, metadata.

    A history that cannot be saved costs one ERROR line an hour, does not end the training thread,
    and is saved once there is space again.
    """
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
        dd.save_historic_predictions_to_disk()
        with pytest.raises(OSError, match=r"File too large|errno"):
            dd.save_drawer_to_disk()
        with pytest.raises(OSError, match=r"File too large|errno"):
            dd.save_global_metadata_to_disk({"odd": "x" * 9999})
    assert [path.read_bytes() for path in paths] == before
    assert not list(bot.freqai.full_path.glob("~*"))
    assert pickle.loads(before[0])[PAIR]["&-a"].tolist() == [1.0]
    errors = [r for r in caplog.records if r.name == drawer.__name__ and r.levelname == "ERROR"]
    assert ["could not be saved" in error.getMessage() for error in errors] == [True]
    dd.save_historic_predictions_to_disk()
    assert len(pickle.loads(dd.historic_predictions_path.read_bytes())[PAIR]) == 9999


def test_new_predictions_are_saved_without_a_training(bot: LiveBot) -> None:
    """Small histories are saved with every candle, large ones when a hundredth of the time pays."""
    dd = bot.dd
    dd.historic_predictions = {PAIR: DataFrame({"&-a": [1.0]})}
    dd.save_new_predictions(60)
    assert len(pickle.loads(dd.historic_predictions_path.read_bytes())[PAIR]) == 1
    dd.historic_predictions = {PAIR: DataFrame({"&-a": [1.0, 2.0]})}
    dd._history_seconds = 0.7
    dd.save_new_predictions(60)
    assert len(pickle.loads(dd.historic_predictions_path.read_bytes())[PAIR]) == 1
    dd._history_seconds = 0.5
    dd.save_new_predictions(60)
    assert len(pickle.loads(dd.historic_predictions_bkp_path.read_bytes())[PAIR]) == 2


def test_dates_stay_dates_when_new_candles_arrive(bot: LiveBot) -> None:
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


def test_a_candle_that_the_exchange_corrects(bot: LiveBot) -> None:
    """The next candle brings the correction into the training data, and changes nothing else."""
    right = candles(605).tail(300).reset_index(drop=True)
    first = right.iloc[:-1].copy()
    first.loc[first.index[-1], ["close", "volume"]] = [1.0, 0.5]
    dk = FreqaiDataKitchen(bot.freqai.config, True, PAIR)
    for fresh in (first, right):
        bot.strategy.dp = SimpleNamespace(get_pair_dataframe=lambda pair, timeframe: fresh)  # noqa: B023
        bot.dd.update_historic_data(bot.strategy, dk)
    found = bot.dd.historic_data[PAIR]["1h"].tail(100).reset_index(drop=True)
    expected = right.tail(100).reset_index(drop=True)
    assert found["close"].tolist() == expected["close"].tolist()
    assert found["volume"].tolist() == expected["volume"].tolist()
    assert found["date"].tolist() == expected["date"].tolist()
