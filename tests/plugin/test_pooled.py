"""End to end: one network for all pairs, an ensemble that learns on, in a real backtest."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from workshop import Workshop, open_workshop

from freqai_lstm.freqtrade_run import FreqtradeRun


pytestmark = pytest.mark.slow

COINS = ("BTC", "ETH")
TRAINING_END = pd.Timestamp("2024-05-12", tz="UTC")  # of the first window
SEEN = """
from ScoreStrategy import ScoreStrategy as Base


class Seen(Base):
    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        frame = super().set_freqai_targets(dataframe, metadata, **kwargs)
        # The score's terms are zero on most candles, and would hide a look at later ones.
        return frame.assign(**{"&-return": frame["close"].shift(-6) / frame["close"] - 1})

    def populate_entry_trend(self, dataframe, metadata):
        coin = metadata["pair"].partition("/")[0]
        folder = self.config["user_data_dir"]
        dataframe.filter(regex="&|do_predict|date").to_feather(folder / f"seen-{coin}.feather")
        return super().populate_entry_trend(dataframe, metadata)
"""
FREQAI = {
    "continual_learning": True,
    # The newest candles train and the oldest validate: the last label moves every weight.
    "feature_parameters": {"label_period_candles": 6, "reverse_train_test_order": True},
    "model_training_parameters": {"units": 8, "epochs": 5, "ensemble": 2, "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for all tests of this file, with a strategy that keeps what it was given."""
    with open_workshop(tmp_path_factory.mktemp("workshop")) as opened:
        (opened.userdir / "strategies" / "Seen.py").write_text(SEEN)
        yield opened


@pytest.fixture(scope="module")
def pooled(workshop: Workshop) -> FreqtradeRun:
    """The backtest that the tests look at: two pairs, two windows."""
    return workshop.run("-s", "Seen", identifier="pooled", **FREQAI)


def networks(models: Path, coin: str) -> list[np.ndarray]:
    """All weights of a pair's networks, window by window and member by member."""
    folders = sorted(models.glob(f"sub-train-{coin}_*"))
    archives = [path for folder in folders for path in sorted(folder.glob("*.keras"))]
    models_of_coin = [keras.saving.load_model(path) for path in archives]
    return [np.concatenate([np.ravel(w) for w in m.get_weights()]) for m in models_of_coin]


def arrays(models: Path, coin: str) -> list[np.ndarray]:
    """A pair's ridge regressions, shares, and errors that intervals are made of."""
    found = []
    for path in sorted(models.glob(f"sub-train-{coin}_*/*_ridge.npz")):
        with np.load(path) as file:
            found += [file[name] for name in sorted(file.files)]
    return found


def test_one_network_per_window_serves_both_pairs(pooled: FreqtradeRun, workshop: Workshop) -> None:
    """It is trained when the first pair needs it and goes on from the last window's.

    BTC, which is among ETH's correlated pairs, has fewer features of its own; both share all the
    same. The ridge regressions differ.
    """
    assert pooled.ok
    assert pooled.output.count("Starting training") == 4
    assert pooled.output.count("2 pairs: trained") == 2
    assert pooled.output.count("continual learning, starting from the last model") == 1
    btc, eth = (networks(workshop.models("pooled"), coin) for coin in COINS)
    assert len(btc) == len(eth) == 4, "two windows, two members"
    for one, other in zip(btc, eth, strict=True):
        assert (one == other).all()
    for first, second in (btc[:2], btc[2:]):
        assert not np.array_equal(first, second), "two members, two seeds"
    kernels = [arrays(workshop.models("pooled"), coin)[2] for coin in COINS]
    assert kernels[0].shape != kernels[1].shape or (kernels[0] != kernels[1]).any()


def test_the_strategy_gets_intervals_and_spreads(pooled: FreqtradeRun, workshop: Workshop) -> None:
    """Beside each label stand its interval, the ensemble's spread, and FreqAI's statistics."""
    for coin in COINS:
        seen = pd.read_feather(workshop.userdir / f"seen-{coin}.feather")
        seen = seen[seen["do_predict"] == 1]
        assert len(seen) >= 20 * 24 - 1
        labels = [name for name in workshop.predictions("pooled", coin) if name.count("&") == 1]
        labels = [name for name in labels if f"{name}_spread" in seen]
        assert len(labels) == 10
        for label in labels:
            assert (seen[f"{label}_lower"] <= seen[f"{label}_upper"]).all()
            assert (seen[f"{label}_spread"] >= 0).all()
            assert f"{label}_std" in seen
        assert (seen[[f"{label}_spread" for label in labels]] > 0).any(axis=None)


def test_no_later_candle_is_learned_from(
    pooled: FreqtradeRun, workshop: Workshop, tmp_path: Path
) -> None:
    """With every candle after a window's training changed, its models are the same bit for bit.

    Those of the next window, which trains on changed candles, are not.
    """
    changed = tmp_path / "data"
    shutil.copytree(workshop.datadir, changed)
    rng = np.random.default_rng(1)
    for path in changed.glob("futures/*h-futures.feather"):
        frame = pd.read_feather(path)
        later = pd.to_datetime(frame["date"], utc=True) >= TRAINING_END
        assert later.any()
        prices = ["open", "high", "low", "close"]
        frame.loc[later, prices] *= rng.uniform(0.5, 2, (later.sum(), 1))
        frame.loc[later, "volume"] *= 7
        frame.to_feather(path)
    workshop.run("-s", "Seen", "--datadir", str(changed), identifier="changed", **FREQAI)
    before, after = (workshop.models(name) for name in ("pooled", "changed"))
    for coin in COINS:
        for read in (networks, arrays):
            one, other = (read(models, coin) for models in (before, after))
            same = [np.array_equal(*both) for both in zip(one, other, strict=True)]
            first, second = same[: len(same) // 2], same[len(same) // 2 :]
            assert all(first), (coin, read)
            # A member may keep its first weights in both.
            assert not all(second), (coin, read)


def test_each_archive_reloads_alone(pooled: FreqtradeRun, workshop: Workshop) -> None:
    """Without the other pair and its files a pair's models predict the same."""
    alone = workshop.models("alone")
    shutil.copytree(workshop.models("pooled"), alone)
    shutil.rmtree(alone / "backtesting_predictions")
    for folder in alone.glob("sub-train-BTC_*"):
        shutil.rmtree(folder)
    root = {"exchange": {"pair_whitelist": ["ETH/USDT:USDT"]}, "max_open_trades": 1}
    run = workshop.run("-s", "Seen", identifier="alone", root=root, **FREQAI)
    assert "Starting training" not in run.output
    pd.testing.assert_frame_equal(
        workshop.predictions("alone", "ETH"), workshop.predictions("pooled", "ETH")
    )
