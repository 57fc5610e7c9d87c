"""Storage: what is saved is found again, whole or not at all, also while a thread trains."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, STAMP
from livebot import full_disk
from pandas import DataFrame
from small import candle_matrix

from freqai_lstm.model import drawer
from freqai_lstm.model.candles import unit_free
from freqai_lstm.model.devices import load_tensorflow
from freqai_lstm.model.storage import model_path
from freqai_lstm.model.windows import Inputs


ROWS = 260
# Enough for the LSTMs to add to the ridge regression, so that candles change predictions.
LEARNS = {"epochs": 20, "learning_rate": 0.02}

Make = Callable[..., Any]


@pytest.fixture
def saved(regressor: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Train and save a model; returns freqai, dk, frame, path of the archive, predictions."""

    def make(
        instance: Any = None, frame: DataFrame | None = None, stamp: int = STAMP, **config: Any
    ) -> SimpleNamespace:
        instance = instance or regressor(**config)
        frame = learnable(ROWS) if frame is None else frame
        dk = kitchen(instance.config, frame, stamp=stamp)
        instance.model = instance.train(frame, PAIR, dk)
        instance.dd.pair_dict[PAIR]["trained_timestamp"] = stamp
        instance.dd.save_data(instance.model, PAIR, dk)
        predictions, _ = instance.predict(frame, dk)
        path = model_path(dk, instance.dd.model_type)
        return SimpleNamespace(
            freqai=instance, dk=dk, frame=frame, path=path, predictions=predictions
        )

    return make


def load(freqai: Any, kitchen: Make, frame: DataFrame, *, live: bool = False) -> DataFrame | None:
    """Predictions of the model on disk (or, live, of the pair's model), None without one."""
    dk = kitchen(freqai.config, frame, live=live)
    freqai.live = live
    if not live and not freqai.model_exists(dk):
        return None
    freqai.model = freqai.dd.load_data(PAIR, dk)
    return None if freqai.model is None else freqai.predict(frame, dk)[0]


RESTARTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
from freqai_lstm.plugins import MODEL_FILE
lstm = conftest.load_plugin(MODEL_FILE)
out = Path(sys.argv[2])
config = conftest.make_config(out, model_save_type=sys.argv[3])
frame = conftest.make_frame(int(sys.argv[4]))
for live in (False, True):
    freqai = lstm.LSTMRegressor(config=config)
    freqai.live = live
    freqai.dd.set_pair_dict_info({"pair": conftest.PAIR})
    dk = conftest.make_kitchen(config, frame, live=live)
    assert live or freqai.model_exists(dk)
    freqai.model = freqai.dd.load_data(conftest.PAIR, dk)
    freqai.predict(frame, dk)[0].to_pickle(out / f"{live}.pkl")
"""


def labels_and_spreads(predictions: DataFrame) -> DataFrame:
    """Without intervals: of a backtest window they roll on with its own errors, live they do not.

    They are from the errors up to the newest candle there.
    """
    return predictions.loc[:, ~predictions.columns.str.contains("_lower|_upper")]


@pytest.mark.parametrize(("kind", "ensemble"), [("keras", 2), ("joblib", 1)])
def test_fresh_process(saved: Make, tmp_path: Path, kind: str, ensemble: int) -> None:
    """A fresh process, backtest or bot, finds the model and predicts bit for bit the same."""
    run = saved(model_save_type=kind, training=LEARNS | {"ensemble": ensemble})
    assert max(run.freqai.model.report["shares"]) > 0
    assert len(run.freqai.model.weights) == ensemble
    assert run.path.name == f"cb_btc_{STAMP}_model.{kind}"
    script = [sys.executable, "-c", RESTARTED, str(Path(__file__).parents[1])]
    subprocess.run([*script, str(tmp_path), kind, str(ROWS)], check=True, cwd=tmp_path)
    for live in (False, True):
        again = pd.read_pickle(tmp_path / f"{live}.pkl")
        assert again.notna().any(axis=None)
        assert labels_and_spreads(again).equals(labels_and_spreads(run.predictions))
        assert live or again.equals(run.predictions)


def test_nothing_saved_yet(regressor: Make, learnable: Make, kitchen: Make) -> None:
    """Without a saved model there is none: neither for a backtest nor for a bot."""
    instance, frame = regressor(), learnable(ROWS)
    assert not instance.model_exists(kitchen(instance.config, frame))
    assert instance.dd.load_data(PAIR, kitchen(instance.config, frame, live=True)) is None


@pytest.mark.parametrize("ensemble", [1, 3])
def test_files_of_a_model(saved: Make, ensemble: int) -> None:
    """Beside the archive lie FreqAI's own files, the history and the ridge regression.

    Further members of an ensemble have archives of their own; nothing temporary stays.
    """
    run = saved(training={"ensemble": ensemble, "epochs": 1})
    names = {path.name.removeprefix(f"cb_btc_{STAMP}_") for path in run.path.parent.iterdir()}
    assert names == {
        *(f"member_{number}.keras" for number in range(2, ensemble + 1)),
        "model.keras",
        "metadata.json",
        "feature_pipeline.pkl",
        "label_pipeline.pkl",
        "trained_df.pkl",
        "trained_dates_df.pkl",
        "history.feather",
        "ridge.npz",
    }


def test_loaded_model_is_not_rebuilt(saved: Make, regressor: Make, kitchen: Make) -> None:
    """After a restart the loaded model uses the network that trainings use."""
    run = saved()
    again = regressor()
    load(again, kitchen, run.frame)
    assert again.model.network is run.freqai.model.network
    assert again.model.features == run.freqai.model.features


def test_other_parameters_after_training(saved: Make, regressor: Make, kitchen: Make) -> None:
    """A model keeps its predictions when the configuration's parameters have changed since."""
    run = saved()
    predictions = load(regressor(training={"units": 5, "seed": 9}), kitchen, run.frame)
    assert predictions is not None
    assert predictions.equals(run.predictions)


# --- a write that fails ---


def test_disk_full(saved: Make, kitchen: Make, learnable: Make) -> None:
    """An archive that cannot be written leaves the old one whole and in use, and no remains."""
    run = saved()
    before = run.path.read_bytes()
    dk = kitchen(run.freqai.config, run.frame)
    other = run.freqai.train(learnable(ROWS, seed=2), PAIR, dk)
    with full_disk(len(before) // 2), pytest.raises(OSError, match=r"File too large|errno"):
        run.freqai.dd.save_data(other, PAIR, dk)
    assert run.path.read_bytes() == before
    assert [path.name for path in run.path.parent.iterdir() if path.name.startswith("~")] == []
    assert run.freqai.dd.model_dictionary[PAIR] is not other


def test_disk_full_keeps_the_old_model_consistent(
    saved: Make, regressor: Make, kitchen: Make, learnable: Make
) -> None:
    """After a failed write the old model is not read with the scalers of the new one."""
    run = saved()
    larger = learnable(ROWS, seed=2)
    larger[["%-x0", "%-x1", "&-a"]] *= 1000
    dk = kitchen(run.freqai.config, larger)
    other = run.freqai.train(larger, PAIR, dk)
    size = run.path.stat().st_size
    with full_disk(size // 2), pytest.raises(OSError, match=r"File too large|errno"):
        run.freqai.dd.save_data(other, PAIR, dk)
    predictions = load(regressor(), kitchen, run.frame)
    assert predictions is None or predictions.equals(run.predictions)


def test_pipeline_that_cannot_be_saved(saved: Make, kitchen: Make) -> None:
    """A pipeline that cannot be pickled stops the saving before the model is replaced."""
    run = saved()
    before = run.path.read_bytes()
    dk = kitchen(run.freqai.config, run.frame)
    other = run.freqai.train(run.frame, PAIR, dk)
    dk.feature_pipeline.lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        run.freqai.dd.save_data(other, PAIR, dk)
    assert run.path.read_bytes() == before
    assert run.freqai.dd.model_dictionary[PAIR] is not other
    assert not list(run.path.parent.glob("~*"))


def test_pair_dictionary_is_replaced_whole(saved: Make) -> None:
    """A pair dictionary that cannot be written leaves the old one readable."""
    run = saved()
    path = run.freqai.dd.pair_dictionary_path
    before = path.read_bytes()
    run.freqai.dd.pair_dict[PAIR]["odd"] = "x" * 5000
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        run.freqai.dd.save_drawer_to_disk()
    assert path.read_bytes() == before
    assert json.loads(before)[PAIR]["model_filename"] == f"cb_btc_{STAMP}"


# --- damage ---


def assert_set_aside(run: SimpleNamespace, caplog: Any) -> None:
    """The archive is moved away and an error names it."""
    aside = run.path.with_name(f"{run.path.name}.damaged")
    assert not run.path.exists()
    assert aside.is_file()
    (record,) = [r for r in caplog.records if r.name == drawer.__name__ and r.levelname == "ERROR"]
    for part in (str(run.path), aside.name, "trained anew"):
        assert part in record.getMessage()


@pytest.mark.parametrize("kind", ["keras", "joblib"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated(
    saved: Make,
    regressor: Make,
    kitchen: Make,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    share: float,
) -> None:
    """A cut-off archive is reported by name, set aside, and the model is trained anew."""
    run = saved(model_save_type=kind)
    os.truncate(run.path, int(run.path.stat().st_size * share))
    assert load(regressor(model_save_type=kind), kitchen, run.frame) is None
    assert_set_aside(run, caplog)
    again = saved(model_save_type=kind)
    assert again.predictions.equals(run.predictions)
    assert load(regressor(model_save_type=kind), kitchen, run.frame) is not None


@pytest.mark.parametrize("kind", ["keras", "joblib"])
def test_flipped_bits(saved: Make, regressor: Make, kitchen: Make, kind: str) -> None:
    """Wherever a bit is flipped, either the damage is found or it changed no prediction."""
    run = saved(model_save_type=kind)
    whole = run.path.read_bytes()
    places = np.random.default_rng(1).integers(0, len(whole), 25)
    found = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        run.path.write_bytes(bytes(damaged))
        predictions = load(regressor(model_save_type=kind), kitchen, run.frame)
        found += predictions is None
        assert predictions is None or predictions.equals(run.predictions), f"byte {place}"
    assert found > 15


@pytest.mark.parametrize(
    "name",
    [
        *("metadata.json", "feature_pipeline.pkl", "label_pipeline.pkl", "history.feather"),
        *("ridge.npz", "member_2.keras"),
    ],
)
def test_damage_beside_the_archive(
    saved: Make,
    regressor: Make,
    kitchen: Make,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    """A model whose other files are damaged is not used either, an ensemble's members included."""
    run = saved(training={"ensemble": 2, "epochs": 1})
    beside = run.path.with_name(f"cb_btc_{STAMP}_{name}")
    beside.write_bytes(beside.read_bytes()[:20])
    assert load(regressor(), kitchen, run.frame) is None
    assert_set_aside(run, caplog)


def test_damage_live(
    saved: Make, regressor: Make, kitchen: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A bot that finds its model damaged goes on without one and trains the pair at once."""
    run = saved()
    os.truncate(run.path, 1000)
    bot = regressor()
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == STAMP
    dk = kitchen(bot.config, run.frame, live=True)
    assert bot.dd.load_data(PAIR, dk) is None
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == 0
    assert_set_aside(run, caplog)
    assert bot.dd.load_data(PAIR, dk) is None


# --- FreqAI's ways ---


def test_purge(saved: Make) -> None:
    """FreqAI's purge keeps the newest folders, and the newest model can still be loaded."""
    first = saved()
    for number in (1, 2):
        last = saved(first.freqai, stamp=STAMP + number)
    first.freqai.dd.purge_old_models()
    assert not first.path.exists()
    folders = sorted(path.name for path in first.freqai.full_path.glob("sub-train-*"))
    assert folders == [f"sub-train-BTC_{STAMP + number}" for number in (1, 2)]
    assert last.path.is_file()


def test_failed_training_in_a_backtest(
    regressor: Make, learnable: Make, kitchen: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed training is an ERROR in the log, cannot trade, and is tried again next time."""
    instance, frame = regressor(), learnable(48)
    dk = kitchen(instance.config, frame)
    assert not dk.check_if_backtest_prediction_is_valid(len(frame))
    instance._append_null_backtesting_predictions(dk, frame)
    assert dk.full_df["do_predict"].tolist() == [0] * 48
    assert not dk.check_if_backtest_prediction_is_valid(len(frame))
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    for part in (PAIR, f"sub-train-BTC_{STAMP}", "48 candles", "do_predict 0"):
        assert part in record.getMessage()


def test_training_thread(saved: Make, learnable: Make, kitchen: Make) -> None:
    """While a second thread trains, predictions are the old model's; then the new one's, whole."""
    run = saved(training={"epochs": 40})
    bot, frame = run.freqai, run.frame
    bot.live = True
    other = learnable(ROWS, seed=2)
    other[["%-x0", "&-b"]] *= 100
    begun, done = threading.Event(), threading.Event()
    trained: list[Any] = []

    def scan() -> None:
        dk = kitchen(bot.config, other, live=True, stamp=STAMP + 1)
        begun.set()
        trained.append(bot.train(other, PAIR, dk))
        trained.append(dk)
        done.set()

    def predict() -> tuple[Any, DataFrame]:
        dk = kitchen(bot.config, frame, live=True)
        bot.model = bot.dd.load_data(PAIR, dk)
        return bot.model, bot.predict(frame, dk)[0]

    thread = threading.Thread(target=scan)
    thread.start()
    begun.wait()
    during = 0
    while not done.is_set():
        model, predictions = predict()
        assert labels_and_spreads(predictions).equals(labels_and_spreads(run.predictions))
        during += 1
    thread.join()
    assert during > 0
    assert labels_and_spreads(predict()[1]).equals(labels_and_spreads(run.predictions))

    model, dk = trained
    bot.dd.save_data(model, PAIR, dk)
    used, predictions = predict()
    assert used is model
    bot.live, bot.model = False, model
    again = kitchen(bot.config, frame, stamp=STAMP + 1)
    assert bot.model_exists(again)
    bot.model = bot.dd.load_data(PAIR, again)
    expected = bot.predict(frame, again)[0]
    assert labels_and_spreads(predictions).equals(labels_and_spreads(expected))
    assert not predictions.equals(run.predictions)


# --- the archive ---

OPEN_ARCHIVE = """
import sys
import numpy as np
import keras
model = keras.saving.load_model(sys.argv[1])
assert getattr(model, "optimizer", None) is None
windows = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict([windows["features"], windows["candles"]], verbose=0))
"""


def test_archive_opens_without_the_package(saved: Make, tmp_path: Path) -> None:
    """Plain `keras.saving.load_model` opens it in a fresh process, and predicts what it learned.

    It holds no optimizer, and Keras has nothing to warn about.
    """
    run = saved(training=LEARNS)
    with zipfile.ZipFile(run.path) as archive, archive.open("model.weights.h5") as weights:
        assert b"optimizer" not in weights.read()
    model = run.freqai.model
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, len(model.features))).astype(np.float32)
    inputs, ends = Inputs(features, candle_matrix(30)), np.arange(5, 30, dtype=np.int32)
    features = np.clip(features, model.lowest, model.highest)
    read = (features[:, model.columns], inputs.candles)
    windows = [np.stack([rows[end - 5 : end + 1] for end in ends]) for rows in read]
    tf, _ = load_tensorflow()
    channels = unit_free(tf, windows[1]).numpy()
    np.savez(tmp_path / "windows.npz", features=windows[0], candles=channels)
    names = [str(path) for path in (run.path, tmp_path / "windows.npz", tmp_path / "out.npy")]
    ran = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", OPEN_ARCHIVE, *names],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "UserWarning" not in ran.stderr
    residual = np.load(names[-1])
    ridge = features[ends] @ model.kernel + model.bias
    predicted = model.predict(inputs, ends).mean
    np.testing.assert_allclose(ridge + model.shares * residual, predicted, atol=1e-5)
    others = model.predict(inputs._replace(candles=candle_matrix(30, seed=2)), ends).mean
    assert np.abs(others - predicted).max() > 1e-3


def test_size_does_not_depend_on_earlier_trainings(saved: Make) -> None:
    """The archives of two trainings with one network are equally large, but for the packing."""
    first = saved()
    second = saved(first.freqai, stamp=STAMP + 1)
    sizes = [run.path.stat().st_size for run in (first, second)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
