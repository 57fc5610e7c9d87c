"""Live: which model predicts, from its first candle to its last, and what becomes of old ones."""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import PAIR
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.freqai_interface import IFreqaiModel
from livebot import FIRST, SECOND, LiveBot, Momentum, candles
from pandas import DataFrame

from freqai_lstm.model.devices import BESIDE
from freqai_lstm.model.interval import ErrorSizes
from freqai_lstm.model.windows import Numbers


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


def test_every_column_before_the_first_model(start: Callable[..., LiveBot]) -> None:
    """A frame without a model has the columns that a prediction will have."""
    bot = start()
    before = bot.new_candle(ROWS)
    assert (before["do_predict"] == 0).all()
    for end, value in (("", 0.0), ("_lower", -np.inf), ("_upper", np.inf)):
        assert (before[f"&-return{end}"] == value).all()
    bot.train(SECOND)
    after = bot.new_candle(ROWS + 1)
    assert {*before.filter(regex="&|do_predict")} == {*after.filter(regex="&|do_predict")}


def test_history_of_another_model(
    start: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """A prediction history without intervals begins anew, with one warning."""
    bot = start()
    bot.train(SECOND)
    bot.dd.historic_predictions[PAIR] = DataFrame(
        {"&-return": [1.0], "do_predict": [1], "date_pred": candles(ROWS)["date"].tail(1)}
    )
    for step in range(2):
        frame = bot.new_candle(ROWS + step)
    assert frame["do_predict"].tolist()[-2:] == [1, 1]
    assert caplog.text.count("is of another model; it begins anew") == 1


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


def test_pair_that_joins_is_trained_next(start: Callable[..., LiveBot]) -> None:
    """FreqAI waits for the first pair of its queue; one without a model goes before it, once."""
    bot, new = start(), "ETH/USDT:USDT"
    bot.train(SECOND)
    queue = bot.freqai.train_queue
    queue.clear()
    queue.append(PAIR)
    bot.dd.set_pair_dict_info({"pair": new})
    for _ in range(2):
        bot.freqai._after_live_pass(new, [PAIR, new])
        assert list(queue) == [new, PAIR]
    bot.freqai._tried[new] = time.time()  # its training failed, and it has gone to the end
    queue.rotate(-1)
    bot.freqai._after_live_pass(new, [PAIR, new])
    assert list(queue) == [PAIR, new]


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
    monkeypatch.setattr(IFreqaiModel, "start", lambda self, frame, *_: frame.assign(do_predict=1))
    monkeypatch.setattr(bot.dd, "save_new_predictions", saved.append)
    bot.config["exchange"]["pair_whitelist"] = [PAIR, "STALE/USDT:USDT"]
    for rows, saves in ((ROWS, 0), (ROWS, 0), (ROWS + 1, 1), (ROWS + 1, 1), (ROWS + 2, 2)):
        freqai.start(candles(rows), {"pair": PAIR}, bot.strategy)
        assert len(saved) == saves
    bot.dd.set_pair_dict_info({"pair": "STALE/USDT:USDT"})
    freqai.start(candles(ROWS + 2), {"pair": "STALE/USDT:USDT"}, bot.strategy)
    assert len(saved) == 3, "the last pair of the whitelist"
    freqai.start(candles(ROWS + 3), {"pair": PAIR}, bot.strategy)
    assert len(saved) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities by thread")
def test_the_thread_that_trains_lets_the_bot_go_first(start: Callable[..., LiveBot]) -> None:
    """A training lowers the priority of its own thread, and never that of the main one."""
    bot, found = start(), []

    def train() -> None:
        bot.train(FIRST)
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    training = threading.Thread(target=train)
    training.start()
    training.join()
    bot.train(SECOND)
    assert found == [max(before, BESIDE)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


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


def test_intervals_reach_the_strategy(
    start: Callable[..., LiveBot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live too, each label has its interval, candle by candle; a miss moves its level."""
    bot = start()
    bot.train(SECOND)
    frame = [bot.new_candle(ROWS + step) for step in range(3)][-1].tail(3)
    assert frame["do_predict"].tolist() == [1, 1, 1]
    assert (frame["&-return_lower"] < frame["&-return"]).all()
    assert (frame["&-return"] < frame["&-return_upper"]).all()
    assert np.isfinite(frame[["&-return_lower", "&-return_upper"]].to_numpy()).all()
    history = bot.dd.historic_predictions[PAIR]
    history["&-return_lower"], history["&-return_upper"] = 5.0, 6.0
    bounds, levels = ErrorSizes.bounds, []

    def seen(sizes: ErrorSizes, now: Numbers) -> tuple[Numbers, Numbers]:
        levels.append(now[0])
        return bounds(sizes, now)

    monkeypatch.setattr(ErrorSizes, "bounds", seen)
    bot.new_candle(ROWS + 3)
    assert levels[0] < 0.2


def test_label_statistics_of_recent_predictions(start: Callable[..., LiveBot]) -> None:
    """`fit_live_predictions_candles`: of the last real predictions; the training's until then."""
    bot = start(fit_live_predictions_candles=3)
    bot.train(SECOND)
    trained = bot.dd.models[PAIR].metadata["labels_std"]["&-return"]
    frames = [bot.new_candle(ROWS + step) for step in range(6)]
    for frame in frames[:3]:
        assert frame["&-return_std"].iloc[-1] == pytest.approx(trained)
    values = frames[-1]["&-return"].to_numpy()
    # FreqAI takes the statistics before it adds the newest prediction.
    assert frames[-1]["&-return_mean"].iloc[-1] == pytest.approx(np.mean(values[-4:-1]))
    assert frames[-1]["&-return_std"].iloc[-1] == pytest.approx(np.std(values[-4:-1]))


# ------------------------------------------------------------- models that do not fit any more


class Longer(Momentum):
    """Another label under the same name."""

    def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **_: Any) -> DataFrame:
        dataframe["&-return"] = dataframe["close"].pct_change(5)
        return dataframe


def test_refused_model_is_neither_used_nor_replaced(
    lstm: ModuleType,
    freqai_config: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a change of the strategy its candles have do_predict 0, said once, with a way out.

    FreqAI asks for its training again every second: that adds no line, and waits.
    """
    LiveBot(lstm, freqai_config()).train(SECOND)
    bot = LiveBot(lstm, freqai_config(), strategy=Longer)
    for step in range(3):
        frame = bot.new_candle(ROWS + step)
        assert (frame["do_predict"] == 0).all()
        assert np.isinf(frame["&-return_upper"]).all()
    path = bot.dd.models[PAIR].path
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    waited: list[float] = []
    monkeypatch.setattr(bot.freqai._stop_event, "wait", waited.append)
    bot.freqai.train_queue = deque([PAIR])
    for _ in range(3):
        bot.train(SECOND + DAY)
    assert waited == [60] * 3
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    assert len(list(bot.freqai.full_path.glob("sub-train-*"))) == 1
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    for part in (PAIR, "&-return of 2024-", "new freqai.identifier"):
        assert part in said
    same = LiveBot(lstm, freqai_config())
    assert same.new_candle(ROWS)["do_predict"].iloc[-1] == 1, "the change was taken back"
    allowed = LiveBot(lstm, freqai_config(allow_changed_fingerprint=True), strategy=Longer)
    assert allowed.new_candle(ROWS)["do_predict"].iloc[-1] == 1


def test_model_of_an_earlier_release_is_refused(start: Callable[..., LiveBot]) -> None:
    """One without a record is not used."""
    start().train(SECOND)
    bot = start()
    bot.new_candle(ROWS)
    del bot.dd.models[PAIR].metadata["record"]
    bot.freqai._compared.clear()
    assert (bot.new_candle(ROWS + 1)["do_predict"] == 0).all()


# -------------------------------------------------------------------------- the shared network


BOTH = (PAIR, "ETH/USDT:USDT")


@pytest.fixture
def networked(lstm: ModuleType, freqai_config: Make) -> Callable[..., LiveBot]:
    """Start a bot of two pairs that has candles of four months before its own on disk."""

    def make(**training: Any) -> LiveBot:
        config = freqai_config(training={"history_days": 1000, "units": 4, "epochs": 1} | training)
        bot = LiveBot(lstm, config, BOTH)
        handler = get_datahandler(config["datadir"], "feather")
        config["datadir"].mkdir(exist_ok=True)
        for number, pair in enumerate(BOTH):
            whole = candles(123 * 24, "2023-10-01", seed=number)
            handler.ohlcv_store(pair, "1h", whole, CandleType.SPOT)
        return bot

    return make


def test_a_new_bot_predicts_before_the_network_is_there(
    networked: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """Each pair's first model is its regression; then the network is trained, once, and serves."""
    caplog.set_level("INFO")
    bot = networked()
    for pair in BOTH:
        assert bot.train(SECOND, pair).network is None
        assert bot.dd.pair_dict[pair]["trained_timestamp"] < SECOND, "it stays due"
    assert bot.new_candle(ROWS)["do_predict"].iloc[-1] == 1
    assert caplog.text.count("predicts with its regression until") == 2
    assert "Training the shared network" not in caplog.text
    for pair in BOTH:
        bot.train(SECOND + HOUR, pair)
        assert bot.dd.pair_dict[pair]["trained_timestamp"] == SECOND + HOUR
    assert caplog.text.count("Training the shared network on") == 1
    assert len(list((bot.freqai.full_path / "networks").glob("*.keras"))) == 1
    assert bot.new_candle(ROWS + 1)["do_predict"].iloc[-1] == 1


def test_a_restarted_bot_reads_the_network(
    networked: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart the saved network serves the next training, also a new pair's first one."""
    bot = networked()
    for stamp in (SECOND, SECOND + HOUR):
        for pair in BOTH:
            bot.train(stamp, pair)
    caplog.set_level("INFO")
    caplog.clear()
    again = networked()
    again.train(SECOND + 2 * HOUR)
    assert "Training the shared network" not in caplog.text
    assert "predicts with its regression until" not in caplog.text
    networks = [b.freqai.networks._known for b in (bot, again)]
    assert [*networks[0]] == [*networks[1]]
    kernels = [next(iter(known.values())).forwards[0].weights["scores/0"] for known in networks]
    np.testing.assert_array_equal(kernels[0], kernels[1])


def test_without_history_a_bot_does_not_wait(
    networked: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """With `history_days` 0 a pair is trained once, and is not due again."""
    caplog.set_level("INFO")
    bot = networked(history_days=0)
    bot.train(SECOND)
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND
    assert "until the shared network" not in caplog.text


def test_pairs_of_one_base_coin(start: Callable[..., LiveBot]) -> None:
    """They share FreqAI's files, and are refused by name at the start."""
    bot = start()
    bot.config["exchange"]["pair_whitelist"] = [PAIR, "BTC/USDC:USDC"]
    bot.freqai.strategy = None  # as before the first pair
    with pytest.raises(OperationalException, match=f"{PAIR} and BTC/USDC:USDC have one base coin"):
        bot.freqai.start(candles(ROWS), {"pair": PAIR}, bot.strategy)


def test_a_bot_without_tensorflow_waits_for_a_network(
    networked: Callable[..., LiveBot],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says once an hour what is missing and trains nothing; a network copied there serves."""
    trainer = networked()
    for stamp in (SECOND, SECOND + HOUR):
        trainer.train(stamp)
        trainer.train(stamp, BOTH[1])
    networks = trainer.freqai.full_path / "networks"
    networks.rename(networks.with_name("elsewhere"))
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
    waited: list[float] = []
    bot = networked()
    monkeypatch.setattr(bot.freqai._stop_event, "wait", waited.append)
    assert bot.new_candle(ROWS)["do_predict"].iloc[-1] == 1
    before = bot.dd.pair_dict[PAIR]["trained_timestamp"]
    for _ in range(2):
        bot.train(SECOND + 2 * HOUR)
    assert waited == [60, 60]
    assert caplog.text.count("no tensorflow and no keras") == 1
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == before, "it stays due"
    assert bot.new_candle(ROWS + 1)["do_predict"].iloc[-1] == 1
    networks.with_name("elsewhere").rename(networks)
    assert bot.train(SECOND + 3 * HOUR).network is not None
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND + 3 * HOUR


def test_a_new_bot_without_tensorflow_trains_nothing(
    networked: Callable[..., LiveBot],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its regression alone does not serve either: it would wait for a network that never comes."""
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
    bot = networked()
    monkeypatch.setattr(bot.freqai._stop_event, "wait", lambda seconds: None)
    with pytest.raises(KeyError):  # the helper looks for the model that was trained
        bot.train(SECOND)
    assert "no tensorflow and no keras" in caplog.text
    assert bot.new_candle(ROWS)["do_predict"].iloc[-1] == 0
