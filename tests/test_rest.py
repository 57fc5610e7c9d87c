"""What FreqUI gets from a running bot over REST, and how Ctrl-C ends the bot.

The bot is the one of test_live_faults.py: it has just come through all faults.
"""

from __future__ import annotations

import re

import pytest
from test_live_faults import ADA, BTC, PAIRS, SIGINT_IN_COMMIT, FaultyRun, live_run


pytestmark = pytest.mark.slow

LABELS = [f"&-t_{t}" for t in ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FaultyRun:
    """The run that test_live_faults.py looks at."""
    return live_run(tmp_path_factory.getbasetemp() / "live-faults")


def test_candles_carry_the_predicted_score(run: FaultyRun) -> None:
    """pair_candles shows T̂ beside T, the thresholds, do_predict and the nine labels."""
    for pair in PAIRS:
        frame = run.frames[pair]
        assert {"T_hat", "T", "do_predict", *LABELS, "enter_long", "exit_long"} <= set(frame)
        valid = frame[frame["do_predict"] == 1]
        assert len(valid) > 0
        # Where all labels of a training were equal, a score has no scale.
        assert valid["T_hat"].notna().all() or pair == ADA
    thresholds = run.frames[BTC][["long_above", "short_below", "exit_long_below"]].iloc[-1]
    assert thresholds.tolist() == [0.05, -0.05, 0.0]


def test_everything_the_plot_shows_is_there(run: FaultyRun) -> None:
    """plot_config comes, and pair_candles has every column that it draws."""
    config = run.answers["plot_config"]
    assert set(config["subplots"]) >= {"Score", "Valid"}
    assert "T_hat" in config["subplots"]["Score"]
    assert "do_predict" in config["subplots"]["Valid"]
    drawn = {*config["main_plot"], *(name for plot in config["subplots"].values() for name in plot)}
    assert drawn <= set(run.frames[BTC])


def test_status_and_login(run: FaultyRun) -> None:
    """Open trades are those of the bot; name and password give a token; others get nothing."""
    assert run.answers["ping"] == {"status": "pong"}
    assert all(trade["pair"] in PAIRS for trade in run.answers["status"])
    assert all(trade["is_open"] for trade in run.answers["status"])
    assert run.answers["status by token"] == 200
    assert run.answers["status without password"] == 401


def test_password_is_nowhere(run: FaultyRun) -> None:
    """The password given by the environment is neither in the log nor in a configuration."""
    assert not run.said(re.escape(run.password))
    configs = [path.read_text(encoding="utf-8") for path in run.rehearsal.configs]
    assert run.password not in "".join(configs)


def test_interrupt_ends_the_bot(run: FaultyRun) -> None:
    """SIGINT ends it with freqtrade's exit code for that, nothing breaks, the history is saved."""
    assert run.returncode == 130
    (ending,) = (when for when, text in run.records if "worker found ... calling exit" in text)
    assert [
        text
        for text in run.said(r"Traceback| - (ERROR|CRITICAL) - ", ending)
        if not re.search(SIGINT_IN_COMMIT, text)
    ] == []
    assert run.said("Stopping FreqAI", ending)
    assert run.said("SIGINT received, aborting", ending)
    for pair in PAIRS:
        shown = run.frames[pair].iloc[-1]
        assert run.history[pair].loc[shown["date"].timestamp(), "do_predict"] == 1
