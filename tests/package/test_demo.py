"""The demo's own checks; that the whole of it works is what `make demo` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from freqai_lstm import demo
from freqai_lstm.market import generate_market


def test_a_folder_of_somebody_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo empties only what a demo made, and otherwise ends with an error."""
    (tmp_path / "thesis.txt").write_text("mine")
    assert demo.main(["--workdir", str(tmp_path)]) == 1
    assert "is not empty and not from an earlier demo" in " ".join(capsys.readouterr().out.split())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_preparing_again_starts_anew(tmp_path: Path) -> None:
    """A second run finds nothing of the first but the plugin files and the configuration."""
    workdir = tmp_path / "demo"
    demo.prepare(workdir)
    (workdir / "user_data" / "left-over").touch()
    demo.prepare(workdir)
    assert not (workdir / "user_data" / "left-over").exists()
    for plugin in demo.PLUGINS:
        copied = workdir / "user_data" / plugin
        assert copied.read_bytes() == (demo.PROJECT / "user_data" / plugin).read_bytes()


@pytest.fixture
def predicted(tmp_path: Path) -> tuple[Path, Path, list[Path]]:
    """A user folder with perfect predictions for two days, one window, and its candles."""
    demo.prepare(tmp_path / "demo")
    userdir, datadir = tmp_path / "demo" / "user_data", tmp_path / "data"
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    generate_market(datadir, demo.PAIRS, start=start, end=end)
    strategy = demo._load_module(userdir / "strategies" / "ScoreStrategy.py")
    folder = userdir / "models" / "demo" / "backtesting_predictions"
    folder.mkdir(parents=True)
    files = []
    for pair in demo.PAIRS:
        candles = demo.load_pair_history(pair, "1h", datadir, candle_type=demo.CandleType.FUTURES)
        labels = strategy.targets(candles, 0).assign(date=candles["date"], do_predict=1)
        base = pair.split("/")[0].lower()
        files.append(folder / f"cb_{base}_1706486400_prediction.feather")
        labels.tail(300).reset_index(drop=True).to_feather(files[-1])
    return userdir, datadir, files


def change(file: Path, **columns: object) -> None:
    """Overwrite columns of stored predictions."""
    pd.read_feather(file).assign(**columns).to_feather(file)


def test_perfect_predictions_correlate_fully(predicted: tuple[Path, Path, list[Path]]) -> None:
    """Predictions equal to the score give a correlation of 1 for every pair."""
    userdir, datadir, _ = predicted
    report = demo.check_predictions(userdir, datadir, windows=1)
    assert list(report["pair"]) == list(demo.PAIRS)
    assert report["correlation"].tolist() == pytest.approx([1.0, 1.0])
    assert report["valid"].tolist() == [1.0, 1.0]


def test_flat_predictions_fail(predicted: tuple[Path, Path, list[Path]]) -> None:
    """A model that predicts one value for every candle is reported with pair and label."""
    userdir, datadir, files = predicted
    change(files[1], **{"&-t_cci": 0.25})
    with pytest.raises(demo.DemoFailed, match="ETH/USDT:USDT: the predictions of &-t_cci do not"):
        demo.check_predictions(userdir, datadir, windows=1)


def test_invalid_predictions_fail(predicted: tuple[Path, Path, list[Path]]) -> None:
    """A pair whose candles all carry do_predict 0 is reported."""
    userdir, datadir, files = predicted
    change(files[0], do_predict=0)
    with pytest.raises(demo.DemoFailed, match="none of 300 candles has a prediction"):
        demo.check_predictions(userdir, datadir, windows=1)


def test_missing_window_fails(predicted: tuple[Path, Path, list[Path]]) -> None:
    """A window that left no predictions is reported, not passed over."""
    userdir, datadir, _ = predicted
    with pytest.raises(demo.DemoFailed, match=r"expected predictions of 2 windows in .* got 1"):
        demo.check_predictions(userdir, datadir, windows=2)
