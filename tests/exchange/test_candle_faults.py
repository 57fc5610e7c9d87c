"""Faults that one run of a bot cannot show, on the candles that the exchange serves and on disk."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from faulty_run import BTC
from freqtrade.data.converter import ohlcv_to_dataframe
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from livebot import FIRST, SECOND, LiveBot, candles, full_disk
from pandas import DataFrame
from test_exchange_live import client

from freqai_lstm.exchange.faults import CANDLE_KINDS
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


# ------------------------------------------------------- what one run cannot show: long after


@pytest.fixture(scope="module")
def strategy() -> ModuleType:
    """The module of ScoreStrategy.py."""
    return load_plugin(STRATEGY_FILE)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month and a half of one perpetual, to be replayed as minutes."""
    folder = tmp_path_factory.mktemp("market")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    generate_market(folder, [BTC], start=start, end=start + timedelta(hours=1100))
    return folder


@pytest.mark.parametrize("kind", CANDLE_KINDS)
def test_fault_of_candles_passes(
    kind: str,
    market: Path,
    strategy: ModuleType,
    lstm: ModuleType,
    freqai_config: Callable[..., dict],
    kitchen: Callable[..., Any],
) -> None:
    """Before it as without it; nothing during it; predictions again soon, and in the end the same.

    Candles come from the exchange by way of ccxt and of freqtrade, which fills gaps.
    """
    config = freqai_config() | {"timeframe": "1m"}
    freqai = lstm.LSTMRegressor(config=config)
    freqai.live = False
    with LoopbackExchange(market, live="1m", ahead=10) as exchange:
        clean = features_of(served(exchange), strategy)
        first = int(clean["date"].iloc[600].timestamp() * 1000)
        exchange.faults.inject(kind, pair=BTC, start_ms=first, end_ms=first + 3 * 60_000)
        faulty = features_of(served(exchange), strategy)
    dk = kitchen(config, clean)
    dk.pair = BTC
    freqai.model = freqai.train(clean.iloc[:500], BTC, dk)
    width = freqai.CONV_WIDTH
    std = np.array([dk.data["labels_std"][label] for label in dk.label_list])
    expected, could = freqai.predict(clean, dk)
    predicted, did = freqai.predict(faulty, dk)
    difference = np.abs((predicted - expected)[dk.label_list].to_numpy()) / std

    assert could[400:].all()
    assert did[400:600].all()
    assert difference[400:600].max() < 1e-5
    assert not did[600 : 603 + width - 1].any()
    recovered = 603 + int(np.argmax(did[603:]))
    # The price of 0 stays in SMA(100) for so long.
    wait = 99 if kind == "zero" else 0
    assert 603 + wait + width - 1 <= recovered <= 603 + wait + width + 3
    assert did[recovered:].all()
    assert difference[600 + 300 :].max() < 1e-3


def served(exchange: LoopbackExchange) -> DataFrame:
    """The newest 990 candles as freqtrade's bot would hold them, without the running one."""
    rows = client(exchange).fetch_ohlcv(BTC, "1m", limit=1000)
    frame = ohlcv_to_dataframe(rows, "1m", BTC, fill_missing=True, drop_incomplete=True)
    return frame.tail(990).reset_index(drop=True)


def features_of(frame: DataFrame, strategy: ModuleType) -> DataFrame:
    """Candles with the strategy's own features of one timeframe and its labels."""
    parts = [
        strategy.score_features(frame),
        strategy.period_features(frame, 10),
        strategy.candle_features(frame),
        strategy.targets(frame, 0),
    ]
    return pd.concat([frame, *parts], axis=1)


# ------------------------------------------------------------------ the bot's own memory, disk

ROWS = (SECOND - 1706745600) // 3600  # of the candles in livebot, up to the second training


@pytest.fixture
def start(lstm: ModuleType, freqai_config: Callable[..., dict]) -> Callable[[], LiveBot]:
    """Start a bot; a second start in a test finds what the first one left on disk."""
    return lambda: LiveBot(lstm, freqai_config())


def test_pair_listed_a_moment_ago(start: Callable[[], LiveBot]) -> None:
    """A pair without a complete candle at the start joins with its first; no other suffers."""
    bot = start()
    new = "NEW/USDT:USDT"
    bot.dd.historic_data[new] = {"1h": DataFrame(columns=["date", "open", "close"])}
    fresh = {PAIR: candles(601), new: candles(1, "2024-02-26")}
    dk = FreqaiDataKitchen(bot.config, True, PAIR)
    dk.all_pairs = [new, PAIR]
    for rows in (601, 602):
        fresh[PAIR] = candles(rows)
        bot.strategy.dp.get_pair_dataframe = lambda pair, timeframe: fresh[pair]
        bot.dd.update_historic_data(bot.strategy, dk)
        assert len(bot.dd.historic_data[PAIR]["1h"]) == rows
        assert len(bot.dd.historic_data[new]["1h"]) == rows - 600
        fresh[new] = candles(2, "2024-02-26")


def test_disk_full_passes(start: Callable[[], LiveBot]) -> None:
    """The old model serves on while nothing can be saved; with space again a new one, for good."""
    bot = start()
    bot.train(FIRST)
    bot.new_candle(ROWS)
    with full_disk(2000), pytest.raises(OSError, match=r"File too large|errno"):
        bot.train(SECOND)
    old = bot.dd.model_dictionary[PAIR]
    assert bot.new_candle(ROWS + 1)["do_predict"].iloc[-1] == 1
    bot.train(SECOND)
    assert bot.dd.model_dictionary[PAIR] is not old
    assert bot.new_candle(ROWS + 2)["do_predict"].tolist()[-3:] == [1, 1, 1]
    bot.dd.save_historic_predictions_to_disk()
    again = start()
    served = again.new_candle(ROWS + 3)
    assert served["do_predict"].tolist()[-4:] == [1, 1, 1, 1]
    assert again.dd.pair_dict[PAIR]["trained_timestamp"] == SECOND


def test_damaged_archive_passes(
    start: Callable[[], LiveBot], caplog: pytest.LogCaptureFixture
) -> None:
    """A model cut off on disk is named and set aside; the pair is due, trains, and predicts."""
    bot = start()
    bot.train(FIRST)
    bot.new_candle(ROWS)
    bot.dd.save_historic_predictions_to_disk()
    (archive,) = bot.freqai.full_path.glob("sub-train-*/*_model.npz")
    archive.write_bytes(archive.read_bytes()[:1000])

    again = start()
    dk = FreqaiDataKitchen(again.config, True, PAIR)
    assert again.dd.load_data(PAIR, dk) is None
    assert str(archive) in caplog.text
    assert archive.with_name(f"{archive.name}.damaged").is_file()
    assert again.dd.get_pair_dict_info(PAIR) == ("", 0)
    again.train(SECOND)
    assert again.new_candle(ROWS + 1)["do_predict"].tolist()[-2:] == [1, 1]
