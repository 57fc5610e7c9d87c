"""Live: which model predicts, from its first candle to its last, and what becomes of old ones."""

import json
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.freqai.freqai_interface import IFreqaiModel
from livebot import FIRST, SECOND, LiveBot, candles
from pandas import DataFrame


Make = Callable[..., dict]
HOUR, DAY = 3600, 86400
# Candles of the bot begin on 2024-02-01; this many end at SECOND, when a second model is due.
ROWS = (SECOND - 1706745600) // HOUR


@pytest.fixture
def start(lstm: ModuleType, freqai_config: Make) -> Callable[..., LiveBot]:
    """Start a bot; a second start in a test finds what the first one left on disk."""
    return lambda **freqai: LiveBot(lstm, freqai_config(**freqai))


def test_first_candle_is_predicted(start: Callable[..., LiveBot]) -> None:
    """With a model from disk, the first pass predicts its newest candle like any later one."""
    start().train(SECOND)
    bot = start()
    first = bot.new_candle(ROWS)
    assert first["do_predict"].tolist()[-1] == 1
    assert (first["do_predict"].iloc[:-1] == 0).all(), "older candles were not predicted live"
    assert first["&-return_std"].iloc[-1] > 0
    second = bot.new_candle(ROWS + 1)
    assert second["do_predict"].tolist()[-2:] == [1, 1]
    assert second["&-return"].iloc[-2] == first["&-return"].iloc[-1]


@pytest.mark.parametrize("candle_channel", [True, False])
def test_candle_with_an_impossible_price(
    regressor: Callable[..., Any],
    learnable: Callable[..., DataFrame],
    kitchen: Callable[..., Any],
    candle_channel: bool,
) -> None:
    """Windows that hold a price of zero are not predicted, unless no network looks at prices."""
    freqai, frame = regressor(training={"candle_channel": candle_channel}), learnable(200)
    dk = kitchen(freqai.config, frame, live=True)
    freqai.model = freqai.train(frame, PAIR, dk)
    before, _ = freqai.predict(frame, dk)
    frame.loc[150, "low"] = 0.0
    predictions, do_predict = freqai.predict(frame, dk)
    width = freqai.CONV_WIDTH
    left_out = set(range(width - 1))
    if candle_channel:
        left_out |= set(range(150, 150 + width))
    assert set(np.flatnonzero(do_predict == 0)) == left_out
    missing = predictions.isna()
    assert set(np.flatnonzero(missing.all(axis=1))) == left_out
    # Summaries of the next candles lack its range.
    pd.testing.assert_frame_equal(predictions, before.mask(missing), rtol=0.02)


def test_restart_predicts_at_once_and_keeps_the_history(start: Callable[..., LiveBot]) -> None:
    """A new process goes on with the saved history; its first pass adds its newest candle."""
    bot = start()
    bot.train(SECOND)
    before = bot.new_candle(ROWS)
    bot.dd.save_historic_predictions_to_disk()
    after = start().new_candle(ROWS + 3)
    # Two candles closed while it was down: FreqAI fills them with zeros and do_predict 0.
    assert after["do_predict"].tolist()[-4:] == [1, 0, 0, 1]
    assert after["&-return"].iloc[-4] == before["&-return"].iloc[-1]
    again = start()
    again.dd.historic_data = {PAIR: {"1h": candles(ROWS - 24)}}
    again.train(SECOND + HOUR)
    same = again.new_candle(ROWS)
    assert same["do_predict"].iloc[-1] == 1
    assert same["&-return"].iloc[-1] == before["&-return"].iloc[-1], "it stays, the model is new"


def test_expired_model_predicts_nothing(
    start: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """Past `expiration_hours` candles get do_predict 2, which the strategy never enters on."""
    start().train(SECOND)
    bot = start(expiration_hours=1)
    for rows in (ROWS, ROWS + 1):
        frame = bot.new_candle(rows)
        assert frame["do_predict"].iloc[-1] == 2
        assert frame["&-return"].iloc[-1] == 0
    assert f"Model expired for {PAIR}" in caplog.text
    assert start(expiration_hours=0).new_candle(ROWS + 2)["do_predict"].iloc[-1] == 1


def test_old_models_are_purged_and_the_last_one_serves(start: Callable[..., LiveBot]) -> None:
    """`purge_old_models` keeps so many folders; a restart takes the newest."""
    bot = start(purge_old_models=2)
    stamps = [SECOND - 2 * DAY, SECOND - DAY, SECOND]
    for stamp in stamps:
        bot.train(stamp)
    folders = sorted(folder.name for folder in bot.freqai.full_path.glob("sub-train-*"))
    assert folders == [f"sub-train-BTC_{stamp}" for stamp in stamps[1:]]
    again = start()
    assert again.dd.pair_dict[PAIR]["data_path"].endswith(folders[-1])
    assert again.new_candle(ROWS)["&-return"].iloc[-1] == pytest.approx(
        bot.new_candle(ROWS)["&-return"].iloc[-1], rel=1e-6
    )


def test_continual_learning_goes_on_from_disk(
    start: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """The next training of the same bot, and the first of a restarted one, start from the last."""
    caplog.set_level("INFO")
    bot = start(continual_learning=True)
    bot.train(FIRST)
    assert "continual learning, starting from" not in caplog.text
    bot.train(FIRST + HOUR)
    assert caplog.text.count("continual learning, starting from the last model") == 1
    again = start(continual_learning=True)
    again.new_candle(ROWS)
    again.train(SECOND)
    assert caplog.text.count("continual learning, starting from the last model") == 2


def test_pair_that_comes_back_is_trained_again(start: Callable[..., LiveBot]) -> None:
    """FreqAI drops a pair from its queue when it leaves the whitelist; back there, it is due."""
    bot = start()
    bot.train(SECOND)
    queue = bot.freqai.train_queue
    queue.clear()
    bot.freqai._after_live_pass(PAIR, ["ETH/USDT:USDT"])
    assert PAIR not in queue
    for _ in range(2):
        bot.freqai._after_live_pass(PAIR, [PAIR, "ETH/USDT:USDT"])
    assert list(queue) == [PAIR]


def test_clock_that_was_set_back(
    start: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """A model trained in the future would never be retrained: its age counts from now on."""
    bot = start()
    bot.train(SECOND)
    bot.freqai._after_live_pass(PAIR, [])
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND
    bot.dd.pair_dict[PAIR]["trained_timestamp"] = int(time.time()) + 5 * HOUR
    for _ in range(2):
        bot.freqai._after_live_pass(PAIR, [])
    assert abs(bot.dd.pair_dict[PAIR]["trained_timestamp"] - time.time()) < HOUR
    assert caplog.text.count("the clock has been set back") == 1


def test_stale_last_pair_does_not_keep_the_history_from_being_saved(
    start: Callable[..., LiveBot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history is saved with the next candle, though the whitelist's last pair had none."""
    bot = start()
    freqai = bot.freqai
    saved: list[float] = []
    # Of FreqAI's own part of `start` only the frame matters here.
    monkeypatch.setattr(IFreqaiModel, "start", lambda self, frame, metadata, strategy: frame)
    monkeypatch.setattr(bot.dd, "save_new_predictions", saved.append)
    bot.strategy.dp.current_whitelist = lambda: [PAIR, "STALE/USDT:USDT"]
    for rows, saves in ((ROWS, 0), (ROWS, 0), (ROWS + 1, 1), (ROWS + 1, 1), (ROWS + 2, 2)):
        freqai.start(candles(rows), {"pair": PAIR}, bot.strategy)
        assert len(saved) == saves
    bot.dd.set_pair_dict_info({"pair": "STALE/USDT:USDT"})
    freqai.start(candles(ROWS + 2), {"pair": "STALE/USDT:USDT"}, bot.strategy)
    assert len(saved) == 3, "the last pair of the whitelist"
    freqai.start(candles(ROWS + 3), {"pair": PAIR}, bot.strategy)
    assert len(saved) == 3


def test_retraining_changes_the_model_between_candles(start: Callable[..., LiveBot]) -> None:
    """The candle after a retraining comes from the new model; earlier predictions stay."""
    bot = start()
    bot.dd.historic_data = {PAIR: {"1h": candles(ROWS - 24)}}
    bot.train(FIRST)
    before = bot.new_candle(ROWS)
    bot.dd.historic_data = {PAIR: {"1h": candles(ROWS)}}
    bot.train(SECOND)
    after = bot.new_candle(ROWS + 1)
    assert after["&-return"].iloc[-2] == before["&-return"].iloc[-1]
    metadata = next(bot.freqai.full_path.glob(f"sub-train-BTC_{SECOND}/*_metadata.json"))
    saved = json.loads(metadata.read_text())
    assert after["&-return_std"].iloc[-1] == pytest.approx(saved["labels_std"]["&-return"])
    assert after["&-return_std"].iloc[-1] != before["&-return_std"].iloc[-1]


def test_interval_and_spread_reach_the_strategy(start: Callable[..., LiveBot]) -> None:
    """Live too, each label has its interval and, of an ensemble, its spread, candle by candle."""
    training = {"ensemble": 2, "epochs": 10, "learning_rate": 0.02}
    bot = start(training=training)
    bot.train(SECOND)
    frame = [bot.new_candle(ROWS + step) for step in range(3)][-1].tail(3)
    assert frame["do_predict"].tolist() == [1, 1, 1]
    assert (frame["&-return_lower"] < frame["&-return_upper"]).all()
    assert (frame["&-return_spread"] > 0).all()
    assert frame["&-return_std"].iloc[-1] > 0


def test_label_statistics_of_recent_predictions(start: Callable[..., LiveBot]) -> None:
    """With `fit_live_predictions_candles`, mean and std are those of the last real predictions."""
    bot = start(fit_live_predictions_candles=3)
    bot.train(SECOND)
    frames = [bot.new_candle(ROWS + step) for step in range(5)]
    values = frames[-1]["&-return"].to_numpy()
    # FreqAI takes the statistics before it adds the newest prediction.
    assert frames[-1]["&-return_mean"].iloc[-1] == pytest.approx(np.mean(values[-4:-1]))
    assert frames[-1]["&-return_std"].iloc[-1] == pytest.approx(np.std(values[-4:-1]))
