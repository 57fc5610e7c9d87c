"""What the shared network learns from: up to a border in time, from all pairs, and no further."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.data.history import get_datahandler
from freqtrade.exceptions import OperationalException
from pandas import DataFrame
from small import (
    BEGIN,
    DAY,
    FEATURES,
    HOUR,
    PAIRS,
    STOP,
    WINDOW,
    Ranges,
    features_of,
    history_config,
    networks_of,
)

from freqai_lstm.market import generate_market
from freqai_lstm.model import history as model_history
from freqai_lstm.model import networks as model_networks
from freqai_lstm.model.history import read_features
from freqai_lstm.model.labels import references
from freqai_lstm.model.networks import SharedNetworks
from freqai_lstm.model.record import ChangedSettings
from freqai_lstm.model.shared_network import SharedNetwork
from freqai_lstm.model.storage import network_path, read_network
from freqai_lstm.model.training import TrainingData, joined
from freqai_lstm.model.windows import CandleInputs


THREE = (*PAIRS, "SOL/USDT:USDT")
QUICK = {"epochs": 1, "units": 4}
Trained = tuple[SharedNetworks, SharedNetwork]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with candles of three pairs, of which two are in the whitelist."""
    folder = tmp_path_factory.mktemp("history")
    history_config(folder, THREE)
    return folder


def train(folder: Path, pairs: tuple[str, ...] = PAIRS, pair: str = PAIR, **config: Any) -> Trained:
    """The network that serves the last window of a folder's candles."""
    made = history_config(folder, pairs, **{"training": QUICK, **config})
    networks = networks_of(made)
    border = networks.border(*WINDOW, list(pairs))
    assert border is not None
    network = networks.get(border, Ranges(made), list(pairs), features_of(pair), pair)
    assert network is not None
    return networks, network


@pytest.fixture(scope="module")
def trained(folder: Path) -> Trained:
    """A network that the tests compare others with."""
    return train(folder, identifier="first")


def copied(folder: Path, target: Path, change: Callable[[DataFrame], DataFrame]) -> Path:
    """Copy the candles of a folder, each pair's changed."""
    store = history_config(folder, THREE)
    for pair in THREE:
        handler = get_datahandler(store["datadir"], "feather")
        candles = handler.ohlcv_load(pair, "1h", store["candle_type_def"], fill_missing=False)
        (target / "data" / "futures").mkdir(parents=True, exist_ok=True)
        written = get_datahandler(target / "data", "feather")
        written.ohlcv_store(pair, "1h", change(candles), store["candle_type_def"])
    return target


def weights(network: SharedNetwork) -> np.ndarray:
    """All weights in one vector."""
    return np.concatenate([values.ravel() for values in network.forwards[0].weights.values()])


def test_no_candle_after_the_border_reaches_the_network(
    trained: Trained, folder: Path, tmp_path: Path
) -> None:
    """With every candle from the border on changed its weights are the same, bit for bit.

    With the last candle before the border changed they are not.
    """
    border = trained[1].border

    def moved(since: int) -> Callable[[DataFrame], DataFrame]:
        def change(candles: DataFrame) -> DataFrame:
            rows = candles["date"] >= pd.Timestamp(since, unit="s", tz="UTC")
            factor = np.random.default_rng(1).uniform(0.5, 2, rows.sum())
            columns = ["open", "high", "low", "close", "volume"]
            candles.loc[rows, columns] = candles.loc[rows, columns].mul(factor, axis=0)
            return candles

        return change

    after = train(copied(folder, tmp_path / "after", moved(border)))[1]
    before = train(copied(folder, tmp_path / "before", moved(border - HOUR)))[1]
    assert after.border == before.border == border
    np.testing.assert_array_equal(weights(after), weights(trained[1]))
    assert not np.array_equal(weights(before), weights(trained[1]))


def test_order_of_pairs_does_not_matter(trained: Trained, folder: Path) -> None:
    """Another order of the whitelist, and another pair that asks first, train the same network."""
    other = train(folder, (PAIRS[1], PAIRS[0]), PAIRS[1], identifier="order")[1]
    np.testing.assert_array_equal(weights(other), weights(trained[1]))
    assert other.teachers == trained[1].teachers == sorted(PAIRS)
    assert other.features == FEATURES, "without a pair's own name"


def test_borders_lie_on_a_grid(tmp_path: Path) -> None:
    """With years of candles a border is a multiple of `network_days`, before the training window.

    It is a function of the window alone: a backtest's range does not matter.
    """
    config = history_config(tmp_path, training={"network_days": 30})
    generate_market(
        config["datadir"], PAIRS, start=BEGIN.replace(year=2022), end=BEGIN, timeframes=["1h"]
    )
    networks, day = networks_of(config), int(BEGIN.timestamp())
    found = []
    for start in range(day - 300 * DAY, day - 20 * DAY, 7 * DAY):
        border = networks.border(start, start + 20 * DAY, list(PAIRS))
        assert border is not None
        assert border % (30 * DAY) == 0
        assert start - 30 * DAY < border <= start
        found.append(border)
    assert len(set(found)) == 10, "one network serves the windows of thirty days"


@pytest.mark.parametrize("days", [20, 60, 110])
def test_little_history_is_shared_out(folder: Path, days: int) -> None:
    """The network learns from at most 60 % of the candles, and from all before the window."""
    networks = networks_of(history_config(folder))
    border = networks.border(STOP - days * DAY, STOP, list(PAIRS))
    first = int(BEGIN.timestamp())
    newest = max(STOP - days * DAY, first + 0.6 * (STOP - first))
    assert border is not None
    assert 0.7 * (newest - first) < border - first <= newest - first


def test_no_history_at_all(folder: Path, tmp_path: Path) -> None:
    """With `history_days` 0, without candles, and before the first one there is no border."""
    off = networks_of(history_config(folder, training={"history_days": 0}))
    assert off.border(*WINDOW, list(PAIRS)) is None
    assert networks_of(history_config(folder)).border(*WINDOW, ["X/USDT:USDT"]) is None
    first = int(BEGIN.timestamp())
    assert networks_of(history_config(folder)).border(first - DAY, first, list(PAIRS)) is None


def test_too_little_history_is_said_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Below 2,000 windows there is no network, and one line says what to download."""
    caplog.set_level("INFO")
    config = history_config(folder, PAIRS[:1], identifier="few", training={"history_days": 60})
    networks = networks_of(config)
    border = networks.border(*WINDOW, [PAIR])
    for _ in range(3):
        assert networks.get(border, Ranges(config), [PAIR], features_of(PAIR), PAIR) is None
    (line,) = [r.getMessage() for r in caplog.records if "No shared network" in r.getMessage()]
    for part in ("1425 windows", "2000", "download-data", "--prepend"):
        assert part in line
    assert networks.ready(border, [PAIR]), "known not to be possible"


def test_the_missing_days_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the folder holds less than asked, one line names the days and the command."""
    caplog.set_level("INFO")
    config = history_config(folder)
    networks = networks_of(config)
    for _ in range(2):
        networks.history.of_pairs(Ranges(config), STOP, list(PAIRS), FEATURES)
    (line,) = [r.getMessage() for r in caplog.records if "history_days asks" in r.getMessage()]
    for part in ("121 days before 2024-05-01", "1000", "download-data", "20210805-20240101", "1h"):
        assert part in line


@pytest.mark.parametrize(
    ("further", "teachers"),
    [([], PAIRS), (["SOL/USDT:USDT"], THREE), ("all", THREE), (["X/USDT:USDT"], PAIRS)],
)
def test_further_pairs_teach(folder: Path, further: list[str], teachers: tuple[str, ...]) -> None:
    """`history_pairs` adds pairs that only teach; one without candles teaches nothing."""
    config = history_config(folder, training={"history_pairs": further})
    networks = networks_of(config)
    found = networks.history.of_pairs(Ranges(config), STOP, list(PAIRS), FEATURES)
    assert [history.pair for history in found] == sorted(teachers)


def test_strategy_that_fails_on_one_pair(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises, the others teach, and the log holds the reason."""

    class Fails(Ranges):
        def set_freqai_targets(
            self, dataframe: DataFrame, metadata: dict, **_: object
        ) -> DataFrame:
            if metadata["pair"] == PAIR:
                raise ZeroDivisionError("odd pair")
            return super().set_freqai_targets(dataframe, metadata)

    config = history_config(folder)
    found = networks_of(config).history.of_pairs(Fails(config), STOP, list(PAIRS), FEATURES)
    assert [history.pair for history in found] == [PAIRS[1]]
    assert "odd pair" in caplog.text


def test_labels_made_of_features(folder: Path) -> None:
    """A label that needs a column of `feature_engineering_*` finds it, and horizons are its own."""

    class FromFeature(Ranges):
        def set_freqai_targets(
            self, dataframe: DataFrame, metadata: dict, **_: object
        ) -> DataFrame:
            dataframe["&-later"] = dataframe["%-hour"].shift(-3)
            return super().set_freqai_targets(dataframe, metadata)

    config = history_config(folder)
    history = networks_of(config).history.of_pairs(FromFeature(config), STOP, [PAIR], FEATURES)[0]
    assert history.scales.labels.names == ["&-later", "&-range", "&-since", "&-busy"]
    assert history.scales.labels.horizons == [3, 6, 0, 0]


def histories_joined(folder: Path, test_size: float, stride: int = 1) -> TrainingData:
    """The data of two pairs, of which one begins forty days later."""
    config = history_config(folder)
    history = networks_of(config).history
    found = history.of_pairs(Ranges(config), STOP, list(PAIRS), FEATURES)
    found[1].ends = found[1].ends[found[1].ends >= 40 * 24]
    return joined(found, True, test_size, HOUR, stride)


def test_one_border_in_time_validates_all_pairs(folder: Path) -> None:
    """No pair trains on a candle, or a label, of the time that another one validates on."""
    data = histories_joined(folder, 0.2)
    rows = 121 * 24
    train, validation = data.train_ends % rows, data.validation_ends % rows
    assert len(data.inputs.numbers) == 2 * rows
    assert validation.min() == rows - int(0.2 * rows)
    assert train.max() + 6 < validation.min(), "the longest horizon"
    assert {*(data.train_ends // rows)} == {*(data.validation_ends // rows)} == {0, 1}
    assert (np.diff(validation) >= 0).all(), "in time order"
    assert data.waits == [12, 0, 0], "of windows: at a candle there are two"
    assert len(histories_joined(folder, 0.0).validation_ends) == 0
    assert len(histories_joined(folder, 0.2, 3).train_ends) == pytest.approx(len(train) / 3, abs=2)


def test_which_features_the_network_reads() -> None:
    """Not those of correlated pairs; with many it reads the newest alone, with thousands none."""
    own = ["%-rsi-period_10_BTC/USDTUSDT_1h", "%-hour"]
    names = [*own, "%-rsi-period_10_ETH/USDTUSDT_1h"]
    expected = ["%-rsi-period_10__1h", "%-hour"]
    assert read_features(names, PAIR, ["ETH/USDT:USDT"]) == (expected, True)
    many = [f"%-x{number}" for number in range(513)]
    assert read_features(many[:33], PAIR, []) == (many[:33], False)
    assert read_features(many, PAIR, []) == ([], False)


def test_saved_network_is_read_again(
    trained: Trained, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second process reads the network, and says which pair it did not learn from."""
    caplog.set_level("INFO")
    _, again = train(folder, THREE, identifier="first")
    assert "Training the shared network" not in caplog.text
    assert "did not learn from SOL/USDT:USDT" in caplog.text
    np.testing.assert_array_equal(weights(again), weights(trained[1]))
    assert again.scales.keys() == {*PAIRS}


@pytest.mark.parametrize("change", ["label", "units"])
def test_changed_network_is_refused(trained: Trained, folder: Path, change: str) -> None:
    """A network of other labels or settings is refused each time, and said what changed."""

    class Twice(Ranges):
        def set_freqai_targets(
            self, dataframe: DataFrame, metadata: dict, **_: object
        ) -> DataFrame:
            dataframe = super().set_freqai_targets(dataframe, metadata)
            dataframe["&-range"] *= 2
            return dataframe

    units = 5 if change == "units" else QUICK["units"]
    config = history_config(folder, identifier="first", training=QUICK | {"units": units})
    strategy = (Twice if change == "label" else Ranges)(config)
    networks = networks_of(config)
    named = "&-range of " if change == "label" else "units: 4 -> 5"
    for pair in PAIRS:
        with pytest.raises(ChangedSettings, match=named):
            networks.get(trained[1].border, strategy, list(PAIRS), features_of(pair), pair)


def test_damaged_network_is_trained_anew(
    trained: Trained, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cut-off archive is set aside with one error, and the same network trained again."""
    (path,) = (folder / "models" / "first" / "networks").glob("*.keras")
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    _, again = train(folder, identifier="first")
    np.testing.assert_array_equal(weights(again), weights(trained[1]))
    assert path.with_name(f"{path.name}.damaged").is_file()
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert str(path) in error


def test_a_later_network_reads_candles_anew(folder: Path, tmp_path: Path) -> None:
    """Between two networks pairs ask for the first one: no candle of that time stays in memory."""

    def dearer(candles: DataFrame) -> DataFrame:
        candles[["open", "high", "low", "close"]] *= 2
        return candles

    networks, network = train(copied(folder, tmp_path, lambda candles: candles))
    strategy = Ranges(networks.config)
    other = networks_of(networks.config).history
    before = other.frame(strategy, network.border, PAIR)["close"]
    for pair in PAIRS:
        assert networks.border(WINDOW[0], STOP, list(PAIRS)) == network.border
        again = networks.get(network.border, strategy, list(PAIRS), features_of(pair), pair)
        assert again is network
    copied(folder, tmp_path, dearer)
    after = networks.history.frame(strategy, network.border, PAIR)["close"]
    np.testing.assert_allclose(after, 2 * before)


def test_continual_learning(
    trained: Trained, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh starts from the last network's weights, or says why it cannot."""
    caplog.set_level("INFO")
    config = history_config(
        folder, identifier="on", training=QUICK | {"epochs": 2}, continual_learning=True
    )
    networks, strategy = networks_of(config), Ranges(config)
    losses = []
    for border in (STOP - 21 * DAY, STOP - 20 * DAY):
        network = networks.get(border, strategy, list(PAIRS), features_of(PAIR), PAIR)
        losses.append(network.report["curves"][0]["loss"])
    assert caplog.text.count("starts from the last one") == 1
    assert losses[1] < losses[0]
    networks.get(STOP - 19 * DAY, strategy, list(PAIRS), features_of(PAIR)[:1], PAIR)
    assert "starting from fresh weights" in caplog.text


def test_predictions_are_the_mean_with_the_network_before(folder: Path) -> None:
    """Both are trained and saved; the earlier one reads the newer one's scales."""
    networks, network = train(folder, identifier="two", training=QUICK | {"network_days": 10})
    border, before = network.border, network.border - 10 * DAY
    files = sorted(path.stem for path in (folder / "models/two/networks").glob("*.keras"))
    assert files == [f"network_{before}", f"network_{border}"]
    assert [*networks._known] == [before, border]
    strategy = Ranges(networks.config)
    newer, earlier = (
        networks.alone(one, strategy, list(PAIRS), features_of(PAIR), PAIR)
        for one in (border, before)
    )
    assert newer is not None
    assert earlier is not None
    frame = networks.history.frame(strategy, STOP, PAIR, 32 * DAY)
    inputs, ends = CandleInputs.of(frame, HOUR), np.arange(100, len(frame))
    scales, features = network.scales[PAIR], network.features_of(frame, PAIR)
    at = references(frame, ends, scales.labels)
    given = (inputs, features, scales, ends, at)
    mean = (newer.predict(*given) + earlier.predict(*given)) / 2
    np.testing.assert_allclose(network.predict(*given), mean, rtol=1e-5, atol=1e-6)
    assert not np.allclose(newer.predict(*given), earlier.predict(*given))
    assert network.borders == (border, before)
    told = network.predict_unseen(*given, HOUR)
    seen = inputs.numbers[ends] < border // HOUR
    assert 0 < seen.sum() < len(seen)
    np.testing.assert_allclose(told[~seen], mean[~seen], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told[seen], earlier.predict(*given)[seen], rtol=1e-5, atol=1e-6)


def test_restarts_and_pairs_get_the_same_two_networks(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process reads both, and is not ready while one of them is missing."""
    kept: dict[str, Any] = {"identifier": "again", "training": QUICK | {"network_days": 10}}
    networks, network = train(folder, **kept)
    caplog.set_level("INFO")
    caplog.clear()
    again = train(folder, pair=PAIRS[1], **kept)[1]
    assert "Training the shared network" not in caplog.text
    for first, second in zip(network.forwards, again.forwards, strict=True):
        np.testing.assert_array_equal(first.weights["scores/0"], second.weights["scores/0"])
    other = networks_of(networks.config)
    assert other.ready(network.border, list(PAIRS))
    network_path(networks.folder, network.border - 10 * DAY).unlink()
    assert not other.ready(network.border, list(PAIRS))


def test_a_teacher_that_ended_long_before_the_border(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A record of its own last candles is kept, and a restart reads the network."""
    monkeypatch.setattr(model_networks, "SAMPLE_CANDLES", 100)
    first, end = min(THREE), pd.Timestamp(WINDOW[0] - 40 * DAY, unit="s", tz="UTC")
    ended = copied(folder, tmp_path, lambda candles: candles)
    config = history_config(ended, THREE)
    handler = get_datahandler(config["datadir"], "feather")
    candles = handler.ohlcv_load(first, "1h", config["candle_type_def"], fill_missing=False)
    handler.ohlcv_store(first, "1h", candles[candles["date"] < end], config["candle_type_def"])
    networks, network = train(ended, pairs=THREE, identifier="ended")
    assert first in network.teachers
    _, then = read_network(network_path(networks.folder, network.border))
    assert max(then["dates"]) < end.timestamp() - HOUR
    assert then["pair"] == first
    caplog.set_level("INFO")
    caplog.clear()
    train(ended, pairs=THREE, identifier="ended")
    assert "Training the shared network" not in caplog.text


@pytest.mark.parametrize(("network_days", "count"), [(10, 2), (25, 2), (26, 1), (90, 1)])
def test_the_network_before_needs_a_history(folder: Path, network_days: int, count: int) -> None:
    """Four `network_days` of candles lie before the border, else the newest predicts alone."""
    config = history_config(folder, training=QUICK | {"network_days": network_days})
    history, border = networks_of(config).history, STOP - 20 * DAY
    before = history.border_before(border, list(PAIRS))
    assert before == (border - network_days * DAY if count == 2 else None)
    assert history.border_before(border, ["X/USDT:USDT"]) is None


def test_an_earlier_network_of_other_features_does_not_predict(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A strategy got a feature since: the newest alone predicts, and each pair says so."""
    config = history_config(folder, identifier="fewer", training=QUICK | {"network_days": 10})
    border = networks_of(config).border(*WINDOW, list(PAIRS))
    assert border is not None
    strategy, names = Ranges(config), features_of(PAIR)
    for one, features in ((border - 10 * DAY, names[:1]), (border, names)):
        networks = networks_of(config)
        network = networks.alone(one, strategy, list(PAIRS), features, PAIR)
        assert network is not None
        assert len(network.features) == len(features)
    found = networks_of(config).get(border, strategy, list(PAIRS), names, PAIR)
    assert found is not None
    assert len(found.forwards) == 1
    assert "newest shared network alone, since the one before it differs in features" in caplog.text


def test_an_earlier_network_that_failed_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest serves alone then; the error has been said when it failed."""

    tried: list[int] = []
    real = model_networks.train_network

    def first_fails(*given: Any, **options: Any) -> Any:
        tried.append(1)
        if len(tried) == 1:
            raise OperationalException("the loss became nan.")
        return real(*given, **options)

    monkeypatch.setattr(model_networks, "train_network", first_fails)
    network = train(folder, identifier="gone", training=QUICK | {"network_days": 10})[1]
    assert len(network.forwards) == 1
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert (
        error == "The shared network is not there: the loss became nan. Pairs predict without it."
    )
    assert "predicts with its regression" not in caplog.text


def test_no_candles_of_a_correlated_pair(folder: Path) -> None:
    """The pair teaches nothing then, and the reason names which candles are missing."""
    config = history_config(folder, features={"include_corr_pairlist": ["X/USDT:USDT"]})
    with pytest.raises(OperationalException, match="no candles of X/USDT:USDT at 1h"):
        networks_of(config).history.frame(Ranges(config), STOP, PAIR)


# ------------------------------------------------------------ in front of the window


@pytest.fixture
def from_border(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candles in front of a window begin at the border, none before it."""
    monkeypatch.setattr(model_history, "OLDER_DAYS", 0)


@pytest.mark.parametrize("keep", [False, True])
def test_candles_before_the_border_are_learned_from_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """A regression without the network learns from them; they begin so many days before it."""
    monkeypatch.setattr(model_history, "OLDER_DAYS", 15)
    config = history_config(folder, PAIRS)
    history, strategy = networks_of(config).history, Ranges(config)
    whole = history.frame(strategy, STOP, PAIR)
    window = whole.tail(20 * 24).reset_index(drop=True)
    found = history.with_older(strategy, WINDOW[0] - 10 * DAY, window, PAIR, keep=keep)
    assert found["date"].tolist() == whole["date"].tail(45 * 24).tolist()


@pytest.mark.usefixtures("from_border")
def test_candles_between_border_and_window_are_learned_from(folder: Path) -> None:
    """They stand in front of the window, as the strategy makes them; no label looks into it."""
    config = history_config(folder, PAIRS)
    history, strategy = networks_of(config).history, Ranges(config)
    whole = history.frame(strategy, STOP, PAIR)
    window = whole.tail(20 * 24).reset_index(drop=True)
    border = WINDOW[0] - 10 * DAY
    found = history.with_older(strategy, border, window, PAIR)
    expected = whole.tail(30 * 24).reset_index(drop=True)
    assert found["date"].tolist() == expected["date"].tolist()
    names = ["close", *features_of(PAIR), "&-since"]
    pd.testing.assert_frame_equal(found.tail(20 * 24).reset_index(drop=True)[names], window[names])
    before = 10 * 24 - 6
    pd.testing.assert_frame_equal(found[names][:before], expected[names][:before])
    assert found["&-range"][: 10 * 24].isna().sum() == 6, "six candles ahead lies the window"


def test_a_backtest_makes_them_once_for_all_windows_after_a_border(folder: Path) -> None:
    """Its second window gets what it would get alone, and the strategy is not asked again."""
    asked = []

    class Asked(Ranges):
        def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kw: Any) -> DataFrame:
            asked.append(metadata["pair"])
            return super().set_freqai_targets(dataframe, metadata, **kw)

    config = history_config(folder, PAIRS, training={"network_days": 15})
    history, strategy = networks_of(config).history, Asked(config)
    whole = history.frame(strategy, STOP, PAIR)
    border = WINDOW[0] - 10 * DAY
    found = []
    for keep in (True, False):
        asked.clear()
        for days in (25, 20):
            window = whole.tail(days * 24).reset_index(drop=True)
            found.append(history.with_older(strategy, border, window, PAIR, keep=keep))
        assert len(asked) == (1 if keep else 2)
    for kept, alone in zip(found[:2], found[2:], strict=True):
        pd.testing.assert_frame_equal(kept, alone)
    other = history.frame(strategy, STOP, PAIRS[1]).tail(20 * 24).reset_index(drop=True)
    assert not history.with_older(strategy, border, other, PAIRS[1], keep=True).equals(found[1])


@pytest.mark.usefixtures("from_border")
@pytest.mark.parametrize(("most", "days"), [(22 * 24, 22), (10 * 24, 20)])
def test_of_very_many_candles_the_newest_are_learned_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int, days: int
) -> None:
    """The window is whole in any case, and as many before it as the regression may have.

    A backtest, which would keep more, makes no more of them.
    """
    monkeypatch.setattr(model_history, "MOST_ROWS", most)
    asked = []

    class Asked(Ranges):
        def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kw: Any) -> DataFrame:
            asked.append(len(dataframe))
            return super().set_freqai_targets(dataframe, metadata, **kw)

    config = history_config(folder, PAIRS)
    history, strategy = networks_of(config).history, Asked(config)
    window = history.frame(strategy, STOP, PAIR).tail(20 * 24).reset_index(drop=True)
    asked.clear()
    for keep in (False, True):
        found = history.with_older(strategy, WINDOW[0] - 10 * DAY, window, PAIR, keep=keep)
        assert len(found) == days * 24
        assert found["date"].iloc[-1] == window["date"].iloc[-1]
    assert asked[::2] == asked[1::2]


@pytest.mark.usefixtures("from_border")
def test_labels_of_their_own_candle_need_no_more_than_the_window(folder: Path) -> None:
    """Where no label lies ahead, or nothing lies between, the window stays as it is."""
    config = history_config(folder, PAIRS)
    history, strategy = networks_of(config).history, Ranges(config)
    window = history.frame(strategy, STOP, PAIR).tail(20 * 24)
    assert history.with_older(strategy, WINDOW[0] + DAY, window, PAIR) is window
    told = config["freqai"]["feature_parameters"].pop("label_period_candles", None)
    window = window.drop(columns="&-range")
    assert history.with_older(strategy, WINDOW[0] - DAY, window, PAIR) is window
    config["freqai"]["feature_parameters"]["label_period_candles"] = told or 6
    assert len(history.with_older(strategy, WINDOW[0] - DAY, window, PAIR)) == 21 * 24


@pytest.mark.usefixtures("from_border")
def test_older_candles_do_not_hide_a_feature_that_is_missing(folder: Path) -> None:
    """A window with a feature on 19 candles alone stays as it is, and its training fails."""
    config = history_config(folder, PAIRS)
    history, strategy = networks_of(config).history, Ranges(config)
    window = history.frame(strategy, STOP, PAIR).tail(20 * 24)
    values, name = window[features_of(PAIR)[0]], features_of(PAIR)[0]
    missing = window.assign(**{name: values.where(np.arange(len(window)) >= len(window) - 19)})
    assert history.with_older(strategy, WINDOW[0] - DAY, missing, PAIR) is missing
    enough = window.assign(**{name: values.where(np.arange(len(window)) >= len(window) - 20)})
    assert len(history.with_older(strategy, WINDOW[0] - DAY, enough, PAIR)) == 21 * 24


def test_a_strategy_that_cannot_make_them(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The window alone serves, and one line says why."""

    class Broken(Ranges):
        def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kw: Any) -> DataFrame:
            raise RuntimeError("no candles of another exchange")

    caplog.set_level("INFO")
    config = history_config(folder, PAIRS)
    history = networks_of(config).history
    window = history.frame(Ranges(config), STOP, PAIR).tail(20 * 24)
    for _ in range(2):
        assert history.with_older(Broken(config), WINDOW[0] - DAY, window, PAIR) is window
    assert caplog.text.count("learns from its training window alone") == 1
    assert "no candles of another exchange" in caplog.text
