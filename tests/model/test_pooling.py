"""One network for all pairs: whom it serves, until when, and what each pair keeps of its own."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import PAIR
from freqtrade.enums import RunMode
from freqtrade.freqai.freqai_interface import IFreqaiModel
from livebot import FIRST, SECOND, LiveBot, candles
from small import part_of, small_network, small_set, train_small

from freqai_lstm.model.pooling import HOUR, LearnedNetwork, PooledNetworks
from freqai_lstm.model.training import Training


ETH, SOL = "ETH/USDT:USDT", "SOL/USDT:USDT"


@pytest.fixture
def start(
    lstm: ModuleType, freqai_config: Callable[..., dict], caplog: pytest.LogCaptureFixture
) -> Callable[..., LiveBot]:
    """Start a bot of three pairs; a second start finds what the first one left on disk."""
    caplog.set_level("INFO")
    parameters = {"epochs": 8, "num_lstm_layers": 1, "learning_rate": 0.02}

    def make(**freqai: Any) -> LiveBot:
        config = freqai_config(training=parameters, live_retrain_hours=1, **freqai)
        return LiveBot(lstm, config, (PAIR, ETH, SOL))

    return make


def trainings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Which pooled trainings there were, by the pairs in them."""
    said = [record.getMessage() for record in caplog.records]
    return [line.partition(":")[0] for line in said if "pairs: trained" in line]


def empty_network() -> LearnedNetwork:
    """A network of which only its identity matters."""
    return LearnedNetwork(small_network(), np.zeros((1, 1), np.float32), [], {})


def test_of_round() -> None:
    """A network serves each pair once, and no pair once it is old or of a later window."""
    pooled, network = PooledNetworks(), empty_network()
    assert pooled.of_round("A", FIRST, 4) is None, "none yet"
    pooled.begin_round("A", FIRST, network)
    assert pooled.of_round("A", FIRST + 1, 4) is None, "its second turn"
    assert pooled.of_round("B", FIRST - 1, 4) is None, "from before the network"
    assert pooled.of_round("B", FIRST + 4 * HOUR, 4) is None, "too old"
    assert pooled.of_round("B", FIRST + 4 * HOUR - 1, 4) is network
    assert pooled.of_round("B", FIRST + 4 * HOUR - 1, 4) is None, "its second turn"
    other = empty_network()
    pooled.begin_round("B", FIRST + HOUR, other)
    assert pooled.of_round("A", FIRST + HOUR, 4) is other, "a new round for all"


def test_one_round_of_a_bot(start: Callable[..., LiveBot], caplog: Any) -> None:
    """The first pair trains for all, the others get the same weights; each has its own ridge.

    The second turn of any pair begins the next round, and so does a network that is too old.
    """
    bot = start()
    first, second, third = (bot.train(FIRST + 60 * n, pair) for n, pair in enumerate(bot.whitelist))
    assert trainings(caplog) == ["3 pairs"]
    for other in (second, third):
        assert (other.weights == first.weights).all()
        assert (other.kernel != first.kernel).any()
    bot.train(FIRST + 1800, ETH)
    assert trainings(caplog) == ["3 pairs"] * 2
    bot.train(FIRST + 1800 + HOUR, SOL)
    assert trainings(caplog) == ["3 pairs"] * 3, "the last network is an hour old"


def test_pair_that_joins_gets_the_present_network(
    start: Callable[..., LiveBot], caplog: Any
) -> None:
    """Though it was trained without the pair, which takes part from the next round on."""
    bot = start()
    first = bot.train(FIRST, PAIR)
    bot.join("XRP/USDT:USDT")
    joined = bot.train(FIRST + 60, "XRP/USDT:USDT")
    assert trainings(caplog) == ["3 pairs"]
    assert (joined.weights == first.weights).all()
    bot.train(FIRST + 120, PAIR)
    assert trainings(caplog) == ["3 pairs", "4 pairs"]


def test_restart_in_the_middle_of_a_round(start: Callable[..., LiveBot], caplog: Any) -> None:
    """The networks of a round are in memory alone: the next pair begins a new one.

    The pairs that were served keep their models, which are whole on disk.
    """
    served = start().train(FIRST, PAIR)
    bot = start()
    begun = bot.train(FIRST + 60, ETH)
    assert trainings(caplog) == ["3 pairs"] * 2
    assert bot.new_candle((SECOND - 1706745600) // HOUR)["do_predict"].iloc[-1] == 1
    assert (bot.dd.model_dictionary[PAIR].weights == served.weights).all()
    assert (bot.train(FIRST + 120, SOL).weights == begun.weights).all()


@pytest.mark.parametrize("rows", [0, 40])
def test_pair_without_enough_candles_is_left_out(
    start: Callable[..., LiveBot], caplog: Any, rows: int
) -> None:
    """The others train together, and a warning names the pair and the cause."""
    bot = start()
    bot.join("NEW/USDT:USDT", rows)
    bot.train(FIRST, PAIR)
    assert trainings(caplog) == ["3 pairs"]
    (warning,) = [r.getMessage() for r in caplog.records if "takes no part" in r.getMessage()]
    assert warning.startswith("NEW/USDT:USDT")
    assert "candles" in warning


def test_continual_learning(start: Callable[..., LiveBot], caplog: Any) -> None:
    """The next round goes on from the last network, once for all pairs."""
    bot = start(continual_learning=True)
    for pair in bot.whitelist:
        bot.train(FIRST, pair)
    assert "continual" not in caplog.text
    for pair in bot.whitelist:
        bot.train(FIRST + HOUR, pair)
    assert trainings(caplog) == ["3 pairs"] * 2
    assert caplog.text.count("continual learning, starting from the last model") == 1


@pytest.mark.parametrize(
    ("features", "training", "pools"),
    [
        ({}, {}, True),
        ({}, {"pooled": False}, False),
        ({"principal_component_analysis": True}, {}, False),
    ],
)
def test_what_switches_pooling_off(
    regressor: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    features: dict[str, Any],
    training: dict[str, Any],
    pools: bool,
) -> None:
    """Principal components mean something else on every pair, so each learns alone then."""
    freqai = regressor(features=features, training=training)
    freqai._fingerprint = {}
    seen = []

    def begins(self: Any, frame: Any, metadata: dict, strategy: Any) -> Any:
        seen.append(self._frames is not None)
        return frame

    # Of FreqAI's own part of `start` only that it is entered matters here.
    monkeypatch.setattr(IFreqaiModel, "start", begins)
    dp = SimpleNamespace(runmode=RunMode.BACKTEST, current_whitelist=lambda: [PAIR, ETH])
    freqai.start(candles(30), {"pair": PAIR}, SimpleNamespace(dp=dp))
    assert seen == [pools]


def test_order_of_the_pairs() -> None:
    """Another order of the whitelist draws other batches: the network differs a little.

    The ridge regressions, which are each pair's own, are the same bit for bit. Whichever pair comes
    first, the network is judged by the mean over the pairs.
    """
    network = small_network(epochs=15, learning_rate=0.02, units=16)
    parts = [part_of(network, small_set(noise=0.5, seed=seed), f"{seed}") for seed in (1, 2)]
    reports = [Training(network, order).run()[1] for order in (parts, parts[::-1], parts)]
    assert reports[0] == reports[2]
    assert reports[0]["curves"][0] == pytest.approx(reports[1]["curves"][0])
    assert reports[0]["curves"][-1] != reports[1]["curves"][-1]
    best = [min(epoch["val_loss"] for epoch in report["curves"]) for report in reports]
    assert best[0] < 0.8 * reports[0]["curves"][0]["val_loss"]
    assert best[1] == pytest.approx(best[0], rel=0.15)


def test_ensemble() -> None:
    """Members are what trainings with their seeds give alone; the spread is theirs; it repeats."""
    given = {"epochs": 10, "learning_rate": 0.02, "units": 16}
    data = small_set(noise=0.5)
    first, again = (train_small(small_network(ensemble=2, **given), data) for _ in range(2))
    assert first.weights.shape[0] == 2
    assert (first.weights == again.weights).all()
    ends = data.validation_ends
    members = []
    for number, seed in enumerate((1, 2)):
        alone = train_small(small_network(seed=seed, **given), data)
        assert (alone.weights[0] == first.weights[number]).all()
        members.append(alone.network.predict(alone.weights[0], data.inputs, ends))
    said = first.predict(data.inputs, ends)
    ridge = data.inputs.features[ends] @ first.kernel + first.bias
    assert first.shares.max() > 0.3
    expected = ridge + first.shares * np.mean(members, axis=0)
    np.testing.assert_allclose(said.mean, expected, atol=1e-5)
    spread = first.shares * np.std(members, axis=0)
    np.testing.assert_allclose(said.spread, spread, atol=1e-5)
    assert (said.spread > 0).any(axis=1).all()


def test_ensemble_goes_on_member_by_member() -> None:
    """Continual learning starts each member from the same member of the last ensemble."""
    given = {"epochs": 10, "learning_rate": 0.02, "units": 16}
    data = small_set(noise=0.5)
    network = small_network(ensemble=2, **given)
    start_from = train_small(network, data).weights
    onward = train_small(network, data, start_from)
    for number, seed in enumerate((1, 2)):
        alone = train_small(small_network(seed=seed, **given), data, start_from[[number]])
        assert (alone.weights[0] == onward.weights[number]).all()
