"""The demo: its own checks one by one, and the whole of it once, as a user runs it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from freqai_lstm import demo
from freqai_lstm.cli import app
from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE


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
    for source in (MODEL_FILE, STRATEGY_FILE, demo.RISK_FILE):
        copied = workdir / "user_data" / source.parent.name / source.name
        assert copied.read_bytes() == source.read_bytes()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The demo's work folder, and what it printed."""
    workdir = tmp_path_factory.mktemp("demo") / "demo"
    result = CliRunner().invoke(app, ["demo", "--workdir", str(workdir)])
    assert result.exit_code == 0, result.output
    return workdir, result


@pytest.mark.slow
def test_the_demo_fits_one_screen(ran: tuple[Path, Result]) -> None:
    """`freqai-lstm demo` prints freqtrade's tables, and names its log and the page."""
    workdir, result = ran
    log = (workdir / "freqtrade.log").read_text(encoding="utf-8")
    assert all(title in result.output and title in log for title in demo.TABLES)
    assert "SUMMARY METRICS" in log
    for name in ("freqtrade.log", "evaluation.html"):
        assert name in result.output
        assert (workdir / name).is_file()
    assert len(result.output.splitlines()) <= 45


@pytest.mark.slow
def test_it_says_how_much_of_what_can_be_known_was_found(ran: tuple[Path, Result]) -> None:
    """For each pair: R² of the model and the baselines, the bound, and the share found."""
    workdir, result = ran
    figures = demo.evaluated(workdir)
    for pair in demo.PAIRS:
        row = re.search(rf"│ {pair.split('/')[0]} .*", result.output)
        assert row
        *r2, known, share = (float(n) for n in re.findall(r"-?\d+\.?\d*", row[0]))
        found = [figures["pairs"][pair][name]["r2"] for name in demo.PREDICTORS]
        assert r2 == pytest.approx(found, abs=0.005)
        assert 0 < r2[0] < known == pytest.approx(demo.known_r2(workdir / "data", pair), abs=0.005)
        assert share == pytest.approx(100 * r2[0] / known, abs=3)


@pytest.mark.slow
def test_flat_predictions_fail(ran: tuple[Path, Result], tmp_path: Path) -> None:
    """A model that predicts one value for every candle is reported with its pair."""
    workdir = tmp_path / "demo"
    shutil.copytree(ran[0], workdir)
    folder = workdir / "user_data" / "models" / "demo" / "backtesting_predictions"
    for file in folder.glob("cb_eth_*.feather"):
        pd.read_feather(file).assign(**{"&-log_volatility": 0.25}).to_feather(file)
    with pytest.raises(demo.DemoFailed, match=r"ETH/USDT:USDT.*R² above 0"):
        demo.evaluated(workdir)


@pytest.mark.slow
def test_missing_window_fails(ran: tuple[Path, Result], tmp_path: Path) -> None:
    """A window that left no predictions is reported, not passed over."""
    workdir = tmp_path / "demo"
    shutil.copytree(ran[0], workdir)
    folder = workdir / "user_data" / "models" / "demo" / "backtesting_predictions"
    min(folder.glob("cb_btc_*.feather")).unlink()
    with pytest.raises(demo.DemoFailed, match=r"BTC/USDT:USDT from 2024-06-01"):
        demo.evaluated(workdir)


@pytest.mark.slow
def test_a_failed_training_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """freqtrade goes on after a training that raised; the demo ends with its message and code 1."""
    broken = {**demo.SETTINGS["freqai"], "model_training_parameters": {"units": "many"}}
    monkeypatch.setitem(demo.SETTINGS, "freqai", broken)
    result = CliRunner().invoke(app, ["demo", "--workdir", str(tmp_path / "demo")])
    assert result.exit_code == 1
    assert "units" in result.output
