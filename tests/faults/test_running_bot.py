"""Kinds of faults of a running bot: two threads, power cuts, pairs that come and go, nothing known.

A new report is one more case of a test here.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType, RunMode
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from livebot import FIRST, SECOND, LiveBot, candles
from pandas import DataFrame

from freqai_lstm.model import networks
from freqai_lstm.model.prediction import mark_unpredicted
from freqai_lstm.model.record import ChangedSettings
from freqai_lstm.model.storage import replacing


Make = Callable[..., dict]
HOUR, DAY = 3600, 86400
ROWS = (SECOND - 1706745600) // HOUR  # candles that end at SECOND
NEW = "NEW/USDT:USDT"


@pytest.fixture
def start(lstm: ModuleType, freqai_config: Make) -> Callable[..., LiveBot]:
    """Start a bot; a second start in a test finds what the first one left on disk."""
    return lambda **freqai: LiveBot(lstm, freqai_config(**freqai))


# ------------------------------------------------------------------------------- two threads


class Meanwhile(dict):
    """What is known of a pair's model; the other thread trains the pair after some looks at it."""

    train: Callable[[], Any]
    looks = 1

    def __getitem__(self, key: str) -> Any:
        found = super().__getitem__(key)
        self.looks -= key == "model_filename"
        if self.looks == 0:
            self.looks = -1
            self.train()
        return found


@pytest.mark.parametrize(("kept", "looks"), [(1, 1), (1, 2), (2, 2)])
def test_training_that_ends_while_the_model_is_looked_up(
    start: Callable[..., LiveBot], caplog: pytest.LogCaptureFixture, kept: int, looks: int
) -> None:
    """The candle gets one model whole, old or new; nothing is set aside, and none is forgotten."""
    start(purge_old_models=kept).train(FIRST)
    bot = start(purge_old_models=kept)
    known = Meanwhile(bot.dd.pair_dict[PAIR])
    known.train, known.looks = lambda: bot.train(SECOND), looks
    bot.dd.pair_dict[PAIR] = known  # type: ignore[assignment]
    bot.dd.models.clear()
    dk = FreqaiDataKitchen(bot.config, True, PAIR)
    assert bot.dd.load_data(PAIR, dk) is not None
    assert dk.data_path.name.endswith(dk.model_filename.removeprefix("cb_btc"))
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND
    assert bot.dd.pair_dict[PAIR]["model_filename"].endswith(str(SECOND))
    assert not list(bot.freqai.full_path.rglob("*.damaged"))
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


# ---------------------------------------------------------------------------------- power cuts


def test_a_file_is_on_the_disk_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is synced before it is moved into place, and the folder's names after that."""
    done: list[tuple[str, Any]] = []
    sync, move = os.fsync, os.replace

    def fsync(number: int) -> None:
        done.append(("sync", os.fstat(number).st_ino))
        sync(number)

    def replace(source: Path, target: Path) -> None:
        done.append(("move", source.stat().st_ino))
        move(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    path = tmp_path / "pair_dictionary.json"
    with replacing(path) as temporary:
        temporary.write_text("new")
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert done == [("sync", file), ("move", file), ("sync", folder)]


def test_folders_of_a_model_are_on_the_disk(
    start: Callable[..., LiveBot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder that a training writes into is synced, and the one that holds a new folder."""
    synced: set[int] = set()
    sync = os.fsync

    def fsync(number: int) -> None:
        synced.add(os.fstat(number).st_ino)
        sync(number)

    monkeypatch.setattr(os, "fsync", fsync)
    bot = start()
    bot.train(SECOND)
    folder = bot.dd.models[PAIR].path.parent
    assert {folder.stat().st_ino, folder.parent.stat().st_ino} <= synced


# --------------------------------------------------------------------------- pairs that join


@pytest.mark.parametrize("configured", [False, True])
def test_pair_that_freqai_did_not_know_at_the_start(
    start: Callable[..., LiveBot], configured: bool
) -> None:
    """A pair of a dynamic pairlist joins with the candles that the exchange has given."""
    bot = start()
    if configured:
        bot.config["exchange"]["pair_whitelist"].append(NEW)
    fresh = candles(300, seed=5)
    bot.strategy.dp = SimpleNamespace(
        runmode=RunMode.DRY_RUN, get_pair_dataframe=lambda pair, timeframe: fresh
    )
    for rows in (300, 301):
        fresh = candles(rows, seed=5)
        dk = FreqaiDataKitchen(bot.config, True, NEW)
        bot.dd.update_historic_data(bot.strategy, dk)
        assert bot.dd.historic_data[NEW]["1h"]["date"].iloc[-1] == fresh["date"].iloc[-1]
        assert bot.dd.current_candle == fresh["date"].iloc[-1]
    assert len(bot.dd.historic_data[NEW]["1h"]) == 301


@pytest.mark.parametrize(("ends", "kept"), [(24, 520), (290, 250)])
def test_pair_that_joins_with_candles_on_disk(
    start: Callable[..., LiveBot], ends: int, kept: int
) -> None:
    """Candles that were downloaded before serve its training, unless they end too early."""
    bot = start()
    whole = candles(600, str(pd.Timestamp.now("UTC").floor("h") - pd.Timedelta(hours=599)), seed=5)
    handler = get_datahandler(bot.config["datadir"], "feather")
    bot.config["datadir"].mkdir(exist_ok=True)
    bot.config["exchange"]["pair_whitelist"] = []  # a volume pairlist names none
    handler.ohlcv_store(NEW, "1h", whole.iloc[:-ends], CandleType.SPOT)
    bot.strategy.dp = SimpleNamespace(
        runmode=RunMode.DRY_RUN,
        get_pair_dataframe=lambda pair, timeframe: whole.tail(250).reset_index(drop=True),
    )
    bot.dd.update_historic_data(bot.strategy, FreqaiDataKitchen(bot.config, True, NEW))
    joined = bot.dd.historic_data[NEW]["1h"]
    assert len(joined) >= kept
    assert (len(joined) > 250) == (ends < 250)
    assert (joined["date"].diff().dropna() == pd.Timedelta(hours=1)).all()


def test_pair_that_joins_with_a_base_coin_that_is_there(start: Callable[..., LiveBot]) -> None:
    """It would share the other's files, and is refused by name, though it came later."""
    start().train(SECOND)
    bot = start()
    candle(bot, ROWS)
    with pytest.raises(OperationalException, match=f"{PAIR} and BTC/USDC:USDC have one base coin"):
        bot.freqai.start(candles(ROWS), {"pair": "BTC/USDC:USDC"}, bot.strategy)
    assert candle(bot, ROWS + 1)["do_predict"].iloc[-1] == 1


# --------------------------------------------------------------------- what is not predicted


def candle(bot: LiveBot, rows: int, first: int = 0) -> DataFrame:
    """What the strategy gets of a bot when its frame ends with candle `rows`."""
    frame = candles(rows).iloc[first:].tail(300).reset_index(drop=True)
    bot.freqai.scanning = True  # no thread that trains
    bot.strategy.dp = SimpleNamespace(
        runmode=RunMode.DRY_RUN, get_pair_dataframe=lambda pair, timeframe: frame
    )
    bot.dd.historic_data = {PAIR: {"1h": frame}}
    return bot.freqai.start(frame, {"pair": PAIR}, bot.strategy)


def down(start: Callable[..., LiveBot]) -> DataFrame:
    """Three candles close while the bot is down."""
    bot = start()
    candle(bot, ROWS)
    bot.dd.save_historic_predictions_to_disk()
    return candle(start(), ROWS + 4)


def skipped(start: Callable[..., LiveBot]) -> DataFrame:
    """A pass takes longer than a candle."""
    bot = start()
    candle(bot, ROWS)
    return candle(bot, ROWS + 3)


def expired(start: Callable[..., LiveBot]) -> DataFrame:
    """The model is older than it may be."""
    bot = start(expiration_hours=1)
    candle(bot, ROWS)
    return candle(bot, ROWS + 1)


def longer(start: Callable[..., LiveBot]) -> DataFrame:
    """The strategy's frame begins before the prediction history."""
    bot = start()
    bot.dd.historic_predictions.clear()
    candle(bot, ROWS, first=ROWS - 280)
    return candle(bot, ROWS + 1)


def no_model(start: Callable[..., LiveBot]) -> DataFrame:
    """There is no model yet."""
    return candle(start(identifier="another"), ROWS)


@pytest.mark.parametrize("how", [down, skipped, expired, longer, no_model])
def test_what_is_not_predicted_live(
    start: Callable[..., LiveBot], how: Callable[..., DataFrame]
) -> None:
    """A filled candle has the prediction 0 in an interval without end, as in a backtest."""
    start().train(SECOND)
    frame = how(start)
    assert not frame.filter(regex="^&|do_predict").isna().any(axis=None)
    lower, upper = frame["&-return_lower"], frame["&-return_upper"]
    filled = (frame["&-return"] == 0) & (frame["do_predict"] != 1)
    assert filled.any()
    assert np.isneginf(lower[filled]).all()
    assert np.isposinf(upper[filled]).all()
    assert (lower < upper).all()


def test_what_is_before_the_first_window_of_a_backtest(start: Callable[..., LiveBot]) -> None:
    """FreqAI fills these candles with zeros; their intervals have no end."""
    frame = candles(60)
    dk = FreqaiDataKitchen(start().config, True, PAIR)
    dk.full_df = frame[["date"]].tail(20).assign(do_predict=1)
    dk.full_df[["&-x", "&-x_lower", "&-x_upper"]] = [0.0, -1.0, 1.0]
    dk.fill_predictions(frame)
    mark_unpredicted(dk.return_dataframe)
    found = dk.return_dataframe[["&-x", "&-x_lower", "&-x_upper", "do_predict"]].to_numpy()
    assert (found[:40] == [0, -np.inf, np.inf, 0]).all()
    assert (found[40:] == [0, -1, 1, 1]).all()


def test_two_rows_of_one_candle(start: Callable[..., LiveBot]) -> None:
    """A history that freqtrade up to 2026.7 left is mended at the start, the newest row kept."""
    start().train(SECOND)
    bot = start()
    candle(bot, ROWS)
    history = bot.dd.historic_predictions[PAIR]
    bot.dd.historic_predictions[PAIR] = pd.concat([history, history.tail(2)], ignore_index=True)
    bot.dd.save_historic_predictions_to_disk()
    frame = candle(start(), ROWS + 1)
    assert frame["do_predict"].tolist()[-2:] == [1, 1]
    assert not frame["date"].duplicated().any()


# -------------------------------------------------------------------------- the shared network


BOTH = (PAIR, "ETH/USDT:USDT")


@pytest.fixture
def networked(lstm: ModuleType, freqai_config: Make) -> Callable[..., LiveBot]:
    """Start a bot of two pairs that has candles of four months before its own on disk."""

    def make(**training: Any) -> LiveBot:
        small = {"history_days": 1000, "units": 4, "epochs": 1}
        config = freqai_config(training=small | training)
        bot = LiveBot(lstm, config, BOTH)
        config["datadir"].mkdir(exist_ok=True)
        handler = get_datahandler(config["datadir"], "feather")
        for number, pair in enumerate(BOTH):
            whole = candles(123 * 24, "2023-10-01", seed=number)
            handler.ohlcv_store(pair, "1h", whole, CandleType.SPOT)
        return bot

    return make


def no_memory() -> None:
    """NumPy's words."""
    raise MemoryError("4 GB")


def no_device_memory() -> None:
    """TensorFlow's: more bytes than there are addresses."""
    import tensorflow as tf

    tf.zeros([1 << 45], tf.float64)


def full_gpu() -> None:
    """CUDA's, where another program has all of the GPU's memory when TensorFlow starts."""
    import tensorflow as tf

    raise tf.errors.InternalError(None, None, "cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY")


def diverged() -> None:
    """What is no fault of the machine."""
    raise OperationalException("the training diverged.")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (diverged, "not there: the training diverged. Pairs"),
        (no_memory, "not there: no memory (4 GB). Pairs"),
        (no_device_memory, "not there: no memory (OOM when allocating tensor with shape[35"),
        (full_gpu, "not there: no memory (CUDA_ERROR_OUT_OF_MEMORY). Pairs"),
    ],
)
def test_failed_network_is_not_tried_again_for_every_pair(
    networked: Callable[..., LiveBot],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Callable[[], None],
    said: str,
) -> None:
    """One training, one ERROR; the pairs are served by their regressions, and each says so."""
    caplog.set_level("INFO")
    tried: list[int] = []

    def failing(*_: Any, **__: Any) -> None:
        tried.append(1)
        failure()

    monkeypatch.setattr(networks, "train_network", failing)
    bot = networked()
    for pair in BOTH:
        bot.train(SECOND, pair)
    for stamp in (SECOND + HOUR, SECOND + 2 * HOUR):
        for pair in BOTH:
            assert bot.train(stamp, pair).network is None
    assert tried == [1]
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert "The shared network is not there" in errors[0]
    assert said in errors[0]
    assert not list(bot.freqai.full_path.rglob("*.damaged"))
    assert caplog.text.count("predicts with its regression, since the shared network") == 3


def test_reload_keeps_no_network(networked: Callable[..., LiveBot]) -> None:
    """`/reload_config` makes a new model in the same process; it reads what fits, or refuses it."""
    bot = networked()
    for stamp in (SECOND, SECOND + HOUR):
        for pair in BOTH:
            bot.train(stamp, pair)
    assert bot.freqai.networks._known
    again = networked()
    assert again.freqai.networks._known == {}
    assert again.dd.models == {}
    changed = networked(units=5)
    assert (changed.new_candle(ROWS)["do_predict"] == 0).all()
    with pytest.raises(ChangedSettings, match="units: 4 -> 5"):
        changed.train(SECOND + 2 * HOUR, BOTH[1])
