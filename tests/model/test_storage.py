"""Storage: what is saved is found again, whole or not at all, and without TensorFlow."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, STAMP
from livebot import full_disk
from pandas import DataFrame
from small import drawn_network

from freqai_lstm.model import storage
from freqai_lstm.model.storage import model_path, read_model, replacing


ROWS = 260
Make = Callable[..., Any]


@pytest.fixture
def saved(regressor: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Train and save a model that uses a network; freqai, dk, frame, path and predictions."""

    def make(instance: Any = None, frame: DataFrame | None = None, stamp: int = STAMP) -> Any:
        instance = instance or regressor()
        frame = learnable(ROWS) if frame is None else frame
        dk = kitchen(instance.config, frame, stamp=stamp)
        model = instance.train(frame, PAIR, dk)
        model.network = drawn_network(frame, model.space, instance.CONV_WIDTH)
        model.scales = model.network.scales[PAIR]
        model.network_factors = np.array([0.5, 0.2])
        instance.model = model
        instance.dd.pair_dict[PAIR]["trained_timestamp"] = stamp
        instance.dd.save_data(model, PAIR, dk)
        predictions, _ = instance.predict(frame, dk)
        return SimpleNamespace(
            freqai=instance, dk=dk, frame=frame, path=model_path(dk), predictions=predictions
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
config = conftest.make_config(out)
frame = conftest.make_frame(int(sys.argv[3]))
for live in (False, True):
    freqai = lstm.LSTMRegressor(config=config)
    freqai.live = live
    freqai.dd.set_pair_dict_info({"pair": conftest.PAIR})
    dk = conftest.make_kitchen(config, frame, live=live)
    assert live or freqai.model_exists(dk)
    freqai.model = freqai.dd.load_data(conftest.PAIR, dk)
    assert freqai.model.network is not None
    freqai.predict(frame, dk)[0].to_pickle(out / f"{live}.pkl")
loaded = {"tensorflow", "keras", "torch"} & set(sys.modules)
assert not loaded, loaded
"""


def test_fresh_process_predicts_without_tensorflow(saved: Make, tmp_path: Path) -> None:
    """A fresh process, backtest or bot, predicts the same; TensorFlow is never imported."""
    run = saved()
    script = [sys.executable, "-c", RESTARTED, str(Path(__file__).parents[1])]
    subprocess.run([*script, str(tmp_path), str(ROWS)], check=True, cwd=tmp_path)
    backtest, live = (pd.read_pickle(tmp_path / f"{live}.pkl") for live in (False, True))
    assert backtest.equals(run.predictions)
    assert live[["&-a", "&-b"]].equals(run.predictions[["&-a", "&-b"]])
    network = run.freqai.model.network
    run.freqai.model.network = replace(network, forwards=network.forwards[:1])
    alone, _ = run.freqai.predict(run.frame, run.dk)
    assert (alone["&-a"] - backtest["&-a"]).abs().max() > 1e-3, "so does the one before it"
    changed = run.freqai.model.network_factors * 0
    run.freqai.model.network_factors = changed
    without, _ = run.freqai.predict(run.frame, run.dk)
    assert (without["&-a"] - backtest["&-a"]).abs().max() > 1e-3, "the network takes part"


def test_files_of_a_model(saved: Make) -> None:
    """Beside the model lie FreqAI's own files and the history; nothing temporary stays."""
    run = saved()
    names = {path.name.removeprefix(f"cb_btc_{STAMP}_") for path in run.path.parent.iterdir()}
    assert names == {"model.npz", "metadata.json", "feature_pipeline.pkl", "history.feather"}
    with np.load(run.path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
    read, written = read_model(run.path).model.network, run.freqai.model.network
    assert read is not None
    assert read.borders == written.borders


def test_nothing_saved_yet(regressor: Make, learnable: Make, kitchen: Make) -> None:
    """Without a saved model there is none: neither for a backtest nor for a bot."""
    instance, frame = regressor(), learnable(ROWS)
    assert not instance.model_exists(kitchen(instance.config, frame))
    assert instance.dd.load_data(PAIR, kitchen(instance.config, frame, live=True)) is None


# --- a write that fails ---


@pytest.mark.parametrize("problem", ["full disk", "pipeline"])
def test_failed_write_leaves_the_old_model(
    saved: Make, regressor: Make, kitchen: Make, learnable: Make, problem: str
) -> None:
    """The old model stays whole, with its own scalers, and in use; there are no remains."""
    run = saved()
    before = {path: path.read_bytes() for path in run.path.parent.iterdir()}
    larger = learnable(ROWS, seed=2)
    larger[["%-x0", "%-x1", "&-a"]] *= 1000
    dk = kitchen(run.freqai.config, larger)
    other = run.freqai.train(larger, PAIR, dk)
    if problem == "full disk":
        with full_disk(3000), pytest.raises(OSError, match=r"File too large|errno"):
            run.freqai.dd.save_data(other, PAIR, dk)
    else:
        dk.feature_pipeline.lock = threading.Lock()
        with pytest.raises(TypeError, match="lock"):
            run.freqai.dd.save_data(other, PAIR, dk)
    assert {path: path.read_bytes() for path in run.path.parent.iterdir()} == before
    assert run.freqai.dd.model_dictionary[PAIR] is not other
    predictions = load(regressor(), kitchen, run.frame)
    assert predictions is not None
    assert predictions.equals(run.predictions)


KILLED = """
import os, signal, sys
from pathlib import Path
from freqai_lstm.model.storage import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_while_writing(tmp_path: Path) -> None:
    """A process that is killed leaves the old file whole, and the next write succeeds."""
    path = tmp_path / "pair_dictionary.json"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "new")]


# --- damage ---


def assert_set_aside(run: SimpleNamespace, caplog: Any) -> None:
    """The model is moved away and an error names it."""
    aside = run.path.with_name(f"{run.path.name}.damaged")
    assert not run.path.exists()
    assert aside.is_file()
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    for part in (str(run.path), aside.name, "trained anew"):
        assert part in error


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated(
    saved: Make, regressor: Make, kitchen: Make, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    """A cut-off model is reported by name, set aside, and trained anew."""
    run = saved()
    os.truncate(run.path, int(run.path.stat().st_size * share))
    assert load(regressor(), kitchen, run.frame) is None
    assert_set_aside(run, caplog)
    assert saved().predictions.equals(run.predictions)
    assert load(regressor(), kitchen, run.frame) is not None


def test_flipped_bits(saved: Make, kitchen: Make) -> None:
    """Wherever a bit is flipped, either the damage is found or it changed no prediction."""
    run = saved()
    whole = run.path.read_bytes()
    # Spread over the file, and each byte of the table at its end, which says what it holds.
    places = [*np.linspace(0, len(whole) - 1, 60).astype(int), *range(len(whole) - 150, len(whole))]
    places += range(0, 60)
    found = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        run.path.write_bytes(bytes(damaged))
        run.freqai.dd.models.clear()
        predictions = load(run.freqai, kitchen, run.frame)
        found += predictions is None
        assert predictions is None or predictions.equals(run.predictions), f"byte {place}"
    assert found > len(places) / 2


@pytest.mark.parametrize("damage", ["cut", "missing", "another's"])
@pytest.mark.parametrize("name", ["metadata.json", "feature_pipeline.pkl", "history.feather"])
def test_damage_beside_the_model(
    saved: Make,
    regressor: Make,
    kitchen: Make,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: str,
) -> None:
    """A model is not used with files that are not those it was written with."""
    run = saved()
    beside = run.path.with_name(f"cb_btc_{STAMP}_{name}")
    content = beside.read_bytes()
    beside.write_bytes(content[:20] if damage == "cut" else content + b" ")
    if damage == "missing":
        beside.unlink()
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


@pytest.mark.parametrize("error", [PermissionError("not yours"), MemoryError(), OSError(5, "io")])
def test_what_is_not_damage_is_raised(
    saved: Make,
    regressor: Make,
    kitchen: Make,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    """A healthy model that cannot be read just now stays where it is."""
    run, again = saved(), regressor()

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(storage.zipfile, "ZipFile", fails)
    with pytest.raises(type(error)):
        load(again, kitchen, run.frame)
    monkeypatch.undo()
    predictions = load(again, kitchen, run.frame)
    assert predictions is not None
    assert predictions.equals(run.predictions)


# --- a new model ---


def test_a_model_in_use_is_swapped_whole(saved: Make, learnable: Make, kitchen: Make) -> None:
    """Until the save predictions are the old model's with its scalers; then the new one's."""
    run = saved()
    bot, frame = run.freqai, run.frame
    bot.live = True

    def predict() -> DataFrame:
        dk = kitchen(bot.config, frame, live=True)
        bot.model = bot.dd.load_data(PAIR, dk)
        return bot.predict(frame, dk)[0][["&-a", "&-b"]]

    other = learnable(ROWS, seed=2)
    other[["%-x0", "&-b"]] *= 100
    dk = kitchen(bot.config, other, live=True, stamp=STAMP + 1)
    model = bot.train(other, PAIR, dk)
    assert predict().equals(run.predictions[["&-a", "&-b"]])
    bot.dd.save_data(model, PAIR, dk)
    now = predict()
    assert bot.model is model
    bot.dd.models.clear()
    assert predict().equals(now), "from disk"
    assert not now.equals(run.predictions[["&-a", "&-b"]])


def test_a_file_that_notes_the_newest_border_alone_can_be_read(saved: Make) -> None:
    """So it was before revision 14: what differs is then named, and the file not called damaged."""
    run = saved()
    with np.load(run.path) as file:
        arrays = {name: file[name] for name in file.files}
    notes = json.loads(arrays["notes"].tobytes())
    notes["network"]["border"] = notes["network"].pop("borders")[0]
    arrays["notes"] = np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8)
    with run.path.open("wb") as file:
        np.savez(file, **arrays)
    network = read_model(run.path).model.network
    assert network is not None
    assert network.border == run.freqai.model.network.border
