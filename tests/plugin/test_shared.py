"""End to end: the shared network of two pairs, in a real backtest."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
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
import sys

import numpy as np
from ScoreStrategy import ScoreStrategy as Base


class Seen(Base):
    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        frame = super().set_freqai_targets(dataframe, metadata, **kwargs)
        # One label that lies ahead, and one that the newest window tells and no line does.
        since = frame["high"].rolling(6).apply(np.argmax, raw=True)
        ahead = frame["close"].shift(-6) / frame["close"] - 1
        return frame.assign(**{"&-return": ahead, "&-since": since})

    def populate_entry_trend(self, dataframe, metadata):
        coin = metadata["pair"].partition("/")[0]
        folder = self.config["user_data_dir"]
        dataframe.filter(regex="&|do_predict|date").to_feather(folder / f"seen-{coin}.feather")
        (folder / f"modules-{coin}.txt").write_text(" ".join(sys.modules))
        return super().populate_entry_trend(dataframe, metadata)
"""
SAME = SEEN.replace("class Seen", "# a comment\nclass Same")
FREQAI = {
    "feature_parameters": {"label_period_candles": 6},
    "model_training_parameters": {
        "units": 8,
        "epochs": 4,
        "learning_rate": 0.02,
        "network_days": 26,  # both windows begin in the same 26 days: the same networks serve them
    },
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for all tests of this file, with a strategy that keeps what it was given."""
    start = datetime(2023, 12, 1, tzinfo=UTC)
    with open_workshop(tmp_path_factory.mktemp("workshop"), start) as opened:
        (opened.userdir / "strategies" / "Seen.py").write_text(SEEN)
        yield opened


@pytest.fixture(scope="module")
def shared(workshop: Workshop) -> FreqtradeRun:
    """The backtest that the tests look at: two pairs, two windows."""
    return workshop.run("-s", "Seen", identifier="shared", **FREQAI)


def arrays(models: Path, coin: str) -> list[dict[str, np.ndarray]]:
    """The arrays of a pair's models, window by window, the network's weights among them."""
    found = []
    for path in sorted(models.glob(f"sub-train-{coin}_*/*_model.npz")):
        with np.load(path) as file:
            found.append({name: file[name] for name in file.files if name != "notes"})
    return found


def test_two_networks_serve_both_pairs(shared: FreqtradeRun, workshop: Workshop) -> None:
    """They are trained when the first pair needs them; Keras opens them; curves are there."""
    assert shared.ok
    assert shared.output.count("Starting training") == 4
    networks = sorted((workshop.models("shared") / "networks").glob("*.keras"))
    assert shared.output.count("Training the shared network on") == len(networks) == 2
    assert "the network serves" in " ".join(shared.output.split())  # freqtrade wraps lines
    for network in networks:
        model = keras.saving.load_model(network)
        assert [tensor.name for tensor in model.inputs] == ["windows", "columns"]
        assert list(network.parent.glob("*/tensorboard/events.out.tfevents.*"))
        border = pd.Timestamp(int(network.stem.removeprefix("network_")), unit="s", tz="UTC")
        assert border <= TRAINING_END - pd.Timedelta(days=30)
    btc, eth = (arrays(workshop.models("shared"), coin)[0] for coin in COINS)
    weights = [name for name in btc if name.startswith(("weights.", "earlier."))]
    heads = [btc[f"{kind}.scores|0"] for kind in ("weights", "earlier")]
    assert not np.array_equal(heads[0], heads[1])
    assert all(np.array_equal(btc[name], eth[name]) for name in weights)
    assert not np.array_equal(btc["network_factors"], eth["network_factors"])


def test_the_strategy_gets_intervals(shared: FreqtradeRun, workshop: Workshop) -> None:
    """Beside each label stand its interval and FreqAI's statistics."""
    for coin in COINS:
        seen = pd.read_feather(workshop.userdir / f"seen-{coin}.feather")
        seen = seen[seen["do_predict"] == 1]
        assert len(seen) >= 20 * 24 - 1
        labels = [str(name).removesuffix("_lower") for name in seen if str(name).endswith("_lower")]
        assert len(labels) == 11
        for label in labels:
            assert (seen[f"{label}_lower"] <= seen[f"{label}_upper"]).all()
            assert (seen[f"{label}_std"] >= 0).all()
        known = seen["&-since"].std()
        assert known > 0.3, "the network tells the window's label"


def test_no_later_candle_is_learned_from(
    shared: FreqtradeRun, workshop: Workshop, tmp_path: Path
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
    for coin in COINS:
        before, after = (arrays(workshop.models(name), coin) for name in ("shared", "changed"))
        assert before[0].keys() == after[0].keys()
        for name, values in before[0].items():
            np.testing.assert_array_equal(after[0][name], values, err_msg=f"{coin} {name}")
        assert not np.array_equal(before[1]["kernel"], after[1]["kernel"])


def test_models_reload_alone_and_without_tensorflow(
    shared: FreqtradeRun, workshop: Workshop
) -> None:
    """Without the other pair, its files and the networks a pair's models predict the same.

    A comment in the strategy, or another name of its class, changes nothing.
    """
    (workshop.userdir / "strategies" / "Same.py").write_text(SAME)
    alone = workshop.models("alone")
    shutil.copytree(workshop.models("shared"), alone)
    for folder in ("backtesting_predictions", "networks"):
        shutil.rmtree(alone / folder)
    for folder in alone.glob("sub-train-BTC_*"):
        shutil.rmtree(folder)
    root = {"exchange": {"pair_whitelist": ["ETH/USDT:USDT"]}, "max_open_trades": 1}
    run = workshop.run("-s", "Same", identifier="alone", root=root, **FREQAI)
    assert "Starting training" not in run.output
    pd.testing.assert_frame_equal(
        workshop.predictions("alone", "ETH"), workshop.predictions("shared", "ETH")
    )
    loaded = (workshop.userdir / "modules-ETH.txt").read_text().split()
    assert "pandas" in loaded
    assert not {"tensorflow", "keras"} & {*loaded}


def test_changed_strategy_under_the_same_identifier(
    shared: FreqtradeRun, workshop: Workshop
) -> None:
    """A label that is made otherwise ends the command, naming candle, then and now."""
    other = SAME.replace("Same", "Other").replace("rolling(6)", "rolling(5)")
    (workshop.userdir / "strategies" / "Other.py").write_text(other)
    run = workshop.run("-s", "Other", identifier="shared", check=False, **FREQAI)
    assert run.returncode != 0
    assert len(run.errors) == 1
    for part in ("&-since of 2024-05-", " was ", ", now ", "Choose a new freqai.identifier"):
        assert part in run.errors[0]
