"""Storage: what is saved is found again, whole or not at all, also while a thread trains."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from livebot import full_disk
from pandas import DataFrame


PAIR = "BTC/USDT:USDT"
STAMP = 1709251200
ROWS = 260

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def pools() -> dict[Any, Any]:
    """Networks of equal parameters, shared: building takes seconds."""
    return {}


@pytest.fixture
def freqai(lstm: ModuleType, freqai_config: Make, pools: dict[Any, Any]) -> Callable[..., Any]:
    """Make an LSTMRegressor; a second one on the same folder is a bot after its restart."""

    def make(**config: Any) -> Any:
        model = lstm.LSTMRegressor(config=freqai_config(**config))
        model.pool = model.dd.pool = pools.setdefault(model.parameters, model.pool)
        model.live = False
        model.dd.set_pair_dict_info({"pair": PAIR})
        return model

    return make


@pytest.fixture
def saved(freqai: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Train and save a model; returns freqai, dk, frame, path of the archive, predictions."""

    def make(
        instance: Any = None, frame: DataFrame | None = None, stamp: int = STAMP, **config: Any
    ) -> SimpleNamespace:
        instance = instance or freqai(**config)
        frame = learnable(ROWS) if frame is None else frame
        dk = kitchen(instance.config, frame, stamp=stamp)
        instance.model = instance.train(frame, PAIR, dk)
        instance.dd.pair_dict[PAIR]["trained_timestamp"] = stamp
        instance.dd.save_data(instance.model, PAIR, dk)
        predictions, _ = instance.predict(frame, dk)
        path = instance.dd.model_path(dk)
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
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
lstm = conftest.load_plugin(conftest.ROOT / "user_data/freqaimodels/LSTMRegressor.py")
out = Path(sys.argv[2])
config = conftest.freqai_config.__wrapped__(out)(model_save_type=sys.argv[3])
frame = conftest.learnable.__wrapped__()(int(sys.argv[4]))
for live in (False, True):
    freqai = lstm.LSTMRegressor(config=config)
    freqai.live = live
    freqai.dd.set_pair_dict_info({"pair": conftest.PAIR})
    dk = conftest.kitchen.__wrapped__()(config, frame, live=live)
    assert live or freqai.model_exists(dk)
    freqai.model = freqai.dd.load_data(conftest.PAIR, dk)
    freqai.predict(frame, dk)[0].to_pickle(out / f"{live}.pkl")
"""


@pytest.mark.parametrize("kind", ["keras", "joblib"])
def test_fresh_process(saved: Make, tmp_path: Path, kind: str) -> None:
    """A fresh process, backtest or bot, finds the model and predicts bit for bit the same."""
    run = saved(model_save_type=kind)
    assert run.path.name == f"cb_btc_{STAMP}_model.{kind}"
    script = [sys.executable, "-c", RESTARTED, str(Path(__file__).parent)]
    subprocess.run([*script, str(tmp_path), kind, str(ROWS)], check=True, cwd=tmp_path)
    for live in (False, True):
        again = pd.read_pickle(tmp_path / f"{live}.pkl")
        assert again.notna().any(axis=None)
        assert again.equals(run.predictions)


def test_nothing_saved_yet(freqai: Make, learnable: Make, kitchen: Make) -> None:
    """Without a saved model there is none: neither for a backtest nor for a bot."""
    instance, frame = freqai(), learnable(ROWS)
    assert not instance.model_exists(kitchen(instance.config, frame))
    assert instance.dd.load_data(PAIR, kitchen(instance.config, frame, live=True)) is None


def test_files_of_a_model(saved: Make) -> None:
    """Beside the archive lie FreqAI's own files and the history; nothing temporary stays."""
    names = {path.name.removeprefix(f"cb_btc_{STAMP}_") for path in saved().path.parent.iterdir()}
    assert names == {
        "model.keras",
        "metadata.json",
        "feature_pipeline.pkl",
        "label_pipeline.pkl",
        "trained_df.pkl",
        "trained_dates_df.pkl",
        "history.feather",
    }


def test_loaded_model_is_not_rebuilt(saved: Make, freqai: Make, kitchen: Make) -> None:
    """After a restart the loaded model uses the network that trainings use."""
    run = saved()
    again = freqai()
    load(again, kitchen, run.frame)
    assert again.model.network is run.freqai.model.network
    assert again.model.features == run.freqai.model.features


def test_other_parameters_after_training(saved: Make, freqai: Make, kitchen: Make) -> None:
    """A model keeps its predictions when the configuration's parameters have changed since."""
    run = saved()
    predictions = load(freqai(training={"units": 5, "seed": 9}), kitchen, run.frame)
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
    saved: Make, freqai: Make, kitchen: Make, learnable: Make
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
    predictions = load(freqai(), kitchen, run.frame)
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


def assert_set_aside(run: SimpleNamespace, lstm: ModuleType, caplog: Any) -> None:
    """The archive is moved away and an error names it."""
    aside = run.path.with_name(f"{run.path.name}.damaged")
    assert not run.path.exists()
    assert aside.is_file()
    (record,) = [r for r in caplog.records if r.name == lstm.__name__ and r.levelname == "ERROR"]
    assert record.getMessage().startswith(f"The saved model {run.path} cannot be read (")
    assert record.getMessage().endswith(
        f"). It is set aside as {aside.name} and will be trained anew."
    )


@pytest.mark.parametrize("kind", ["keras", "joblib"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated(
    lstm: ModuleType,
    saved: Make,
    freqai: Make,
    kitchen: Make,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    share: float,
) -> None:
    """A cut-off archive is reported by name, set aside, and the model is trained anew."""
    run = saved(model_save_type=kind)
    os.truncate(run.path, int(run.path.stat().st_size * share))
    assert load(freqai(model_save_type=kind), kitchen, run.frame) is None
    assert_set_aside(run, lstm, caplog)
    again = saved(model_save_type=kind)
    assert again.predictions.equals(run.predictions)
    assert load(freqai(model_save_type=kind), kitchen, run.frame) is not None


@pytest.mark.parametrize("kind", ["keras", "joblib"])
def test_flipped_bits(saved: Make, freqai: Make, kitchen: Make, kind: str) -> None:
    """Wherever a bit is flipped, either the damage is found or it changed no prediction."""
    run = saved(model_save_type=kind)
    whole = run.path.read_bytes()
    places = np.random.default_rng(1).integers(0, len(whole), 25)
    found = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        run.path.write_bytes(bytes(damaged))
        predictions = load(freqai(model_save_type=kind), kitchen, run.frame)
        found += predictions is None
        assert predictions is None or predictions.equals(run.predictions), f"byte {place}"
    assert found > 15


@pytest.mark.parametrize(
    "name", ["metadata.json", "feature_pipeline.pkl", "label_pipeline.pkl", "history.feather"]
)
def test_damage_beside_the_archive(
    lstm: ModuleType,
    saved: Make,
    freqai: Make,
    kitchen: Make,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    """A model whose other files are damaged or gone is not used either."""
    run = saved()
    beside = run.path.with_name(f"cb_btc_{STAMP}_{name}")
    beside.write_bytes(beside.read_bytes()[:20])
    assert load(freqai(), kitchen, run.frame) is None
    assert_set_aside(run, lstm, caplog)


def test_damage_live(
    lstm: ModuleType, saved: Make, freqai: Make, kitchen: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A bot that finds its model damaged goes on without one and trains the pair at once."""
    run = saved()
    os.truncate(run.path, 1000)
    bot = freqai()
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == STAMP
    dk = kitchen(bot.config, run.frame, live=True)
    assert bot.dd.load_data(PAIR, dk) is None
    assert bot.dd.pair_dict[PAIR]["trained_timestamp"] == 0
    assert_set_aside(run, lstm, caplog)
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
    lstm: ModuleType, freqai: Make, learnable: Make, kitchen: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed training is an ERROR in the log, cannot trade, and is tried again next time."""
    instance, frame = freqai(), learnable(48)
    dk = kitchen(instance.config, frame)
    assert not dk.check_if_backtest_prediction_is_valid(len(frame))
    instance._append_null_backtesting_predictions(dk, frame)
    assert dk.full_df["do_predict"].tolist() == [0] * 48
    assert not dk.check_if_backtest_prediction_is_valid(len(frame))
    (record,) = [r for r in caplog.records if r.name == lstm.__name__ and r.levelname == "ERROR"]
    assert record.getMessage() == (
        f"{PAIR}: the training for sub-train-BTC_{STAMP} failed (see above). Its 48 candles have "
        "do_predict 0 and cannot trade."
    )


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
        assert predictions.equals(run.predictions)
        during += 1
    thread.join()
    assert during > 0
    assert predict()[1].equals(run.predictions)

    model, dk = trained
    bot.dd.save_data(model, PAIR, dk)
    used, predictions = predict()
    assert used is model
    bot.live, bot.model = False, model
    again = kitchen(bot.config, frame, stamp=STAMP + 1)
    assert bot.model_exists(again)
    bot.model = bot.dd.load_data(PAIR, again)
    expected = bot.predict(frame, again)[0]
    assert predictions.equals(expected)
    assert not predictions.equals(run.predictions)


def test_prediction_does_not_wait_for_a_training(lstm: ModuleType) -> None:
    """The bot's first prediction with a network returns while a thread still trains on it."""
    parameters = lstm.LSTMParameters.from_config({"units": 2, "num_lstm_layers": 1, "epochs": 2})
    network = lstm.NetworkPool(parameters).fresh(3, 2, 1)
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(50, 2)).astype(np.float32)
    ends = np.arange(2, 50, dtype=np.int32)
    data = lstm.TrainingSet(
        matrix, matrix[:, :1], np.ones(50, dtype=np.float32), ends, np.empty(0, dtype=np.int32)
    )
    weights = network.model.get_weights()
    training, predicted = threading.Event(), threading.Event()
    waited: list[bool] = []

    def within_an_epoch(scalars: dict[str, float], epoch: int) -> None:
        training.set()
        if epoch == 0:
            waited.append(predicted.wait(timeout=20))

    thread = threading.Thread(
        target=lstm.train_network, args=(network, data), kwargs={"summary": within_an_epoch}
    )
    thread.start()
    training.wait()
    first = network.predict(network.pack(weights), matrix, ends)
    predicted.set()
    thread.join()
    assert waited == [True]
    assert (network.predict(network.pack(weights), matrix, ends) == first).all()
