"""The demo: its own checks one by one, and the whole of it once, as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from typer.testing import CliRunner

from freqai_lstm import demo
from freqai_lstm.cli import app
from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE, load_plugin


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """The demo empties only what a demo made, and otherwise ends with an error."""
    (tmp_path / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(app, ["demo", "--workdir", str(tmp_path)])
    assert result.exit_code == 1
    assert str(tmp_path) in result.output
    assert "--workdir" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_preparing_again_starts_anew(tmp_path: Path) -> None:
    """A second run finds nothing of the first but candles, plugin files and configurations."""
    workdir = tmp_path / "demo"
    demo.prepare(workdir)
    (workdir / "user_data" / "left-over").touch()
    demo.prepare(workdir)
    assert not (workdir / "user_data" / "left-over").exists()
    for source in (MODEL_FILE, STRATEGY_FILE):
        copied = workdir / "user_data" / source.parent.name / source.name
        assert copied.read_bytes() == source.read_bytes()


@pytest.fixture
def predicted(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A prepared work folder with perfect predictions of 300 candles a pair, in one window."""
    demo.prepare(tmp_path)
    strategy = load_plugin(STRATEGY_FILE)
    folder = tmp_path / "user_data" / "models" / "demo" / "backtesting_predictions"
    folder.mkdir(parents=True)
    files = []
    for pair in demo.PAIRS:
        candles = load_pair_history(pair, "1h", tmp_path / "data", candle_type=CandleType.FUTURES)
        labels = strategy.targets(candles, 0).assign(date=candles["date"], do_predict=1)
        base = pair.split("/")[0].lower()
        files.append(folder / f"cb_{base}_1717200000_prediction.feather")
        labels.tail(300).reset_index(drop=True).to_feather(files[-1])
    return tmp_path, files


def change(file: Path, **columns: float) -> None:
    """Overwrite columns of stored predictions."""
    pd.read_feather(file).assign(**columns).to_feather(file)


def test_perfect_predictions_correlate_fully(predicted: tuple[Path, list[Path]]) -> None:
    """Predictions equal to the score give a correlation of 1 for every pair."""
    report = demo.check_predictions(predicted[0], windows=1)
    assert list(report["pair"]) == list(demo.PAIRS)
    assert report["correlation"].tolist() == pytest.approx([1.0, 1.0])
    assert report["valid"].tolist() == [1.0, 1.0]


def test_flat_predictions_fail(predicted: tuple[Path, list[Path]]) -> None:
    """A model that predicts one value for every candle is reported with pair and label."""
    workdir, files = predicted
    change(files[1], **{"&-t_cci": 0.25})
    with pytest.raises(demo.DemoFailed, match=r"ETH/USDT:USDT.*&-t_cci"):
        demo.check_predictions(workdir, windows=1)


def test_invalid_predictions_fail(predicted: tuple[Path, list[Path]]) -> None:
    """A pair whose candles all carry do_predict 0 is reported."""
    workdir, files = predicted
    change(files[0], do_predict=0)
    with pytest.raises(demo.DemoFailed, match=r"BTC/USDT:USDT.*300 candles"):
        demo.check_predictions(workdir, windows=1)


def test_missing_window_fails(predicted: tuple[Path, list[Path]]) -> None:
    """A window that left no predictions is reported, not passed over."""
    with pytest.raises(demo.DemoFailed, match=r"BTC/USDT:USDT.* 1 .*expected 2"):
        demo.check_predictions(predicted[0], windows=2)


@pytest.mark.slow
def test_the_demo_fits_one_screen(tmp_path: Path) -> None:
    """`freqai-lstm demo` succeeds, prints tables and correlations, and names freqtrade's log."""
    workdir = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "--workdir", str(workdir)])
    assert result.exit_code == 0, result.output
    log = (workdir / "freqtrade.log").read_text(encoding="utf-8")
    assert "freqtrade.log" in result.output
    assert all(title in result.output and title in log for title in demo.TABLES)
    assert "SUMMARY METRICS" in log
    assert "Correlation" in result.output
    assert len(result.output.splitlines()) <= 45


@pytest.mark.slow
def test_a_failed_training_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """freqtrade goes on after a training that raised; the demo ends with its message and code 1."""
    broken = {**demo.SETTINGS["freqai"], "model_training_parameters": {"units": "many"}}
    monkeypatch.setitem(demo.SETTINGS, "freqai", broken)
    result = CliRunner().invoke(app, ["demo", "--workdir", str(tmp_path / "demo")])
    assert result.exit_code == 1
    assert "units" in result.output
