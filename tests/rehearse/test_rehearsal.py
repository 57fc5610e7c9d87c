"""The rehearsal's parts: bot, log, narrator, summary, verdict; whole runs are in test_bots.py."""

from __future__ import annotations

import io
import pickle
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from freqai_lstm.log import LogSummary
from freqai_lstm.rehearse.bot import Bot, BotFailed
from freqai_lstm.rehearse.command import conclude, rehearse, verdict
from freqai_lstm.rehearse.narration import Narrator
from freqai_lstm.rehearse.parity import Parity
from freqai_lstm.rehearse.rehearsal import MARKER, Rehearsal, RehearsalFailed
from freqai_lstm.rehearse.summary import candles_of, summarize
from freqai_lstm.watch.history import read_history


def told_by(console: Console) -> str:
    """What a console that writes into memory was told."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def save_history(history: dict[str, pd.DataFrame], path: Path) -> None:
    """Write a prediction history as FreqAI does."""
    path.write_bytes(pickle.dumps(history))


# ------------------------------------------------------------------------------- its parts


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    """A work folder that no rehearsal made is not emptied; an own one is."""
    (tmp_path / "keep.txt").touch()
    with pytest.raises(RehearsalFailed, match="not from an earlier rehearsal"):
        Rehearsal(tmp_path, minutes=1).prepare()
    assert (tmp_path / "keep.txt").exists()
    own = tmp_path / "own"
    own.mkdir()
    (own / MARKER).touch()
    (own / "old.txt").touch()
    Rehearsal(own, minutes=1).prepare()
    assert not (own / "old.txt").exists()
    assert (own / "user_data" / "freqaimodels" / "LSTMRegressor.py").is_file()


@pytest.fixture
def bot(tmp_path: Path) -> Bot:
    """A handle on the real freqtrade command, which only lists its options and ends."""
    return Bot(["trade", "--help"], log=tmp_path / "bot.log", cwd=tmp_path)


@pytest.mark.slow
def test_bot_that_ends_by_itself_is_noticed(bot: Bot) -> None:
    """Waiting for a bot that has ended fails at once, with the end of its log."""
    with bot, pytest.raises(BotFailed, match=r"ended with 0(.|\n)*--dry-run"):
        bot.wait_for("RUNNING", timeout=60)
    assert bot.memory
    with pytest.raises(BotFailed, match="does not run any more"):
        bot.interrupt()


@pytest.mark.slow
def test_memory_of_a_bot_that_has_ended_is_no_sample(bot: Bot) -> None:
    """It has given its memory back: without a last sample of 0 the last one is what it had."""
    others = psutil.Process().children()
    with bot:
        while not any(bot.memory):  # less than half a megabyte: it is just starting
            bot.sample_memory()
        samples = len(bot.memory)
        (process,) = [child for child in psutil.Process().children() if child not in others]
        while process.status() != psutil.STATUS_ZOMBIE:  # nobody has asked for its exit status
            time.sleep(0.01)
        assert process.memory_info().rss == 0
        bot.sample_memory()
    assert len(bot.memory) == samples
    assert bot.memory[-1] > 0


LOG = """\
2026-11-22 08:54:01,087 - LSTMRegressor - INFO - BTC/USDT:USDT: trained 8 epochs on 1140 windows \
in 9.0 s; best validation loss 0.0511 in epoch 8, R² 0.800 on 288 validation windows.
2026-11-22 08:54:01,687 - freqtrade.freqai.freqai_interface - WARNING - No model ready for ETH
2026-11-22 08:54:02,192 - freqtrade.freqai.freqai_interface - INFO - Total time spent \
inferencing pairlist 1.69 seconds
2026-11-22 08:54:02,754 - freqtrade.freqai.freqai_interface - ERROR - Training ETH/USDT:USDT \
raised exception ValueError. Message: no, skipping.
Traceback (most recent call last):
ValueError: no
2026-11-22 08:54:03,000 - freqtrade.worker - INFO - Bot heartbeat.
Exception in thread Thread-2 (_start_scanning):
Traceback (most recent call last):
NameError: name 'x' is not defined
"""


def test_log_is_read() -> None:
    """Trainings, passes, warnings and errors are found, a dead thread's traceback too."""
    log = LogSummary.read(LOG)
    assert log.trained == [("BTC/USDT:USDT", 9.0)]
    assert log.failed_trainings == ["ETH/USDT:USDT"]
    assert [seconds for _, seconds in log.passes] == [1.69]
    assert log.passes[0][0] == datetime(2026, 11, 22, 8, 54, 2, 192_000).timestamp()
    assert len(log.warnings) == 1
    assert [error.splitlines()[-1] for error in log.errors] == [
        "ValueError: no",
        "NameError: name 'x' is not defined",
    ]


STARTED = 1_795_337_650.0  # 10 s into a minute
MINUTE = 1_795_337_640  # the minute it started in


def history(minutes: list[int], invalid: tuple[int, ...] = ()) -> pd.DataFrame:
    """FreqAI's history of one pair: candles that open so many minutes after `MINUTE`."""
    frame = pd.DataFrame(
        {"date_pred": [pd.Timestamp(MINUTE + 60 * m, unit="s", tz="UTC") for m in minutes]}
    )
    frame["&-a"] = np.arange(len(minutes), dtype=float)
    frame["do_predict"] = [float(m not in invalid) for m in minutes]
    return frame


@pytest.fixture
def run(tmp_path: Path) -> Bot:
    """A life of ten minutes that logged nothing."""
    bot = Bot(["trade"], log=tmp_path / "bot.log", cwd=tmp_path)
    bot.log.touch()
    bot.memory = [100, 200]
    bot.started, bot.ended = STARTED, STARTED + 600
    return bot


def test_news_are_told_once(run: Bot, tmp_path: Path) -> None:
    """A record is told when it is whole, a kind of warning once, the last record at the end."""
    console = Console(file=io.StringIO(), log_path=False, width=200)
    narrator = Narrator(console, minutes=10)
    run.ended = 0.0
    for end in (300, len(LOG)):
        run.log.write_text(LOG[:end])
        narrator.follow(run)
        narrator.follow(run)
    told = told_by(console)
    assert told.count("Trained BTC/USDT:USDT in 9.0 s") == 1
    assert told.count("Warning: No model ready for ETH") == 1
    assert "NameError" not in told
    run.ended = STARTED + 600
    run.log.write_text(LOG + LOG)
    narrator.follow(run)
    told = told_by(console)
    assert "NameError" in told
    assert told.count("Warning: No model ready for ETH") == 1
    assert told.count("First prediction") == 0


def test_first_prediction_needs_all_models() -> None:
    """A pass in which a pair had no model is none that predicted; the next one is."""
    line = "2026-11-22 08:54:0{},000 - freqtrade.freqai.freqai_interface - {} - {}\n"
    passed = "Total time spent inferencing pairlist 1.69 seconds"
    records = [(1, "WARNING", "No model ready for ETH"), (2, "INFO", passed), (4, "INFO", passed)]
    log = LogSummary.read("".join(line.format(*record) for record in records))
    assert log.first_prediction == datetime(2026, 11, 22, 8, 54, 4).timestamp()


@pytest.fixture
def log() -> LogSummary:
    """Its log: a pass two seconds after each full minute."""
    return LogSummary(passes=[(MINUTE + 60 * m + 2, 0.5) for m in range(1, 11)])


def test_missed_candles_are_counted(run: Bot, log: LogSummary) -> None:
    """Missed: after the first predicted candle, up to the last pass, and not predicted."""
    frame = history(list(range(-5, 10)), invalid=(-5, -4, -3, -2, -1, 0, 5))
    row = candles_of("BTC/USDT:USDT", frame, run, log)
    assert (row["predicted"], row["missed"], row["before_first"], row["lost"]) == (8, 1, 1, 0)


def test_a_candle_of_an_unfinished_pass_counts(run: Bot, log: LogSummary) -> None:
    """A bot that ends within a pass has predicted a candle after the last finished one."""
    run.ended += 60
    row = candles_of("BTC", history(list(range(1, 11))), run, log)
    assert (row["predicted"], row["missed"]) == (10, 0)


def test_predictions_lost_by_a_kill_are_not_missed(run: Bot, log: LogSummary) -> None:
    """What was predicted but not on disk when kill -9 came is counted apart."""
    run.saved = {"BTC": history([0, 1, 2, 3])}
    row = candles_of("BTC", history(list(range(10)), invalid=(4, 5, 6)), run, log)
    assert (row["predicted"], row["missed"], row["lost"]) == (4, 0, 6)


def test_changed_history_is_a_problem(run: Bot, tmp_path: Path) -> None:
    """Saved predictions that differ after the restart, and no parity, are reported."""
    run.saved = {"BTC": history([0, 1, 2])}
    after = {"BTC": history([0, 1, 2, 3])}
    save_history(after, tmp_path / "historic_predictions.pkl")
    parity = Parity(pd.DataFrame({"difference": [1e-6, 2e-3], "model": "a", "older": False}))
    arguments = ([run], tmp_path, tmp_path / "none.sqlite", parity)
    summary = summarize(*arguments, pairs=["BTC"], retrain_hours=1.0)
    assert summary["history_kept"]
    assert any("differ by 2.0e-03" in problem for problem in summary["problems"])
    after["BTC"].loc[1, "&-a"] = 7.0
    save_history(after, tmp_path / "historic_predictions.pkl")
    assert not summarize(*arguments, pairs=["BTC"], retrain_hours=1.0)["history_kept"]


def test_pair_without_predictions_is_a_problem(run: Bot, tmp_path: Path) -> None:
    """A pair of the whitelist that the bot never predicted is named, though nothing was logged."""
    save_history({"BTC": history([2, 3])}, tmp_path / "historic_predictions.pkl")
    parity = Parity(pd.DataFrame(columns=["difference", "model", "older"]))
    arguments = ([run], tmp_path, tmp_path / "none", parity)
    summary = summarize(*arguments, pairs=["BTC", "ETH"], retrain_hours=1.0)
    assert [row["predicted"] for row in summary["candles"]] == [2, 0]
    assert "never predicted: ETH" in summary["problems"]


def test_early_training_is_a_problem(run: Bot, tmp_path: Path) -> None:
    """Two models of a pair closer together than live_retrain_hours are named."""
    for base, stamp in (("BTC", 1000), ("BTC", 4000), ("ETH", 1000), ("ETH", 4700)):
        folder = tmp_path / f"sub-train-{base}_{stamp}"
        folder.mkdir()
        (folder / f"cb_{base.lower()}_{stamp}_model.npz").touch()
    parity = Parity(pd.DataFrame(columns=["difference", "model", "older"]))
    summary = summarize(
        [run], tmp_path, tmp_path / "none", parity, pairs=["BTC"], retrain_hours=1.0
    )
    assert summary["trainings_too_early"] == ["BTC: 3000 s after the one before"]


def test_cut_off_history_falls_back(tmp_path: Path) -> None:
    """A history file cut off while written is passed over for FreqAI's backup."""
    assert read_history(tmp_path) == {}
    for name in ("historic_predictions.pkl", "historic_predictions.backup.pkl"):
        save_history({"BTC": history([1, 2])}, tmp_path / name)
    whole = tmp_path / "historic_predictions.pkl"
    whole.write_bytes(whole.read_bytes()[:100])
    assert len(read_history(tmp_path)["BTC"]) == 2


def test_parity_needs_candles() -> None:
    """Nothing compared is no parity, and a candle without a backtest prediction breaks it."""
    assert not Parity(pd.DataFrame(columns=["difference"])).holds
    assert Parity(pd.DataFrame({"difference": [0.0, 1e-5]})).holds
    assert not Parity(pd.DataFrame({"difference": [0.0, np.inf]})).holds


def test_verdict_names_problems_and_warnings(run: Bot, tmp_path: Path) -> None:
    """The panel says passed or failed, with what failed and each warning in words; a page too."""
    parity = Parity(pd.DataFrame(columns=["difference", "model", "older"]))
    arguments = ([run], tmp_path, tmp_path / "none", parity)
    summary = summarize(*arguments, pairs=["BTC"], retrain_hours=1.0)
    summary["warnings"] = {"outdated history [ETH]": 3}
    console = Console(file=io.StringIO(), width=120, record=True)
    Narrator(console, minutes=1).tell("Killed by kill -9")
    conclude(console, summary, tmp_path)
    page = (tmp_path / "rehearsal.html").read_text()
    assert all(word in page for word in ("Killed by kill -9", "never predicted: BTC"))
    console.print(verdict(summary | {"problems": []}))
    failed, passed = told_by(console).split("╰", 1)
    assert "Rehearsal failed" in failed
    assert "never predicted: BTC" in failed
    assert "3 ×: outdated history [ETH]" in failed
    assert "Rehearsal passed" in passed
    assert "Problem" not in passed


def test_command_refuses_a_foreign_folder(tmp_path: Path) -> None:
    """The command ends with exit code 1 and says on stderr which folder, and the way out."""
    (tmp_path / "keep.txt").touch()
    app = typer.Typer()
    app.command()(rehearse)
    result = CliRunner().invoke(app, ["--workdir", str(tmp_path)])
    assert result.exit_code == 1
    assert str(tmp_path) in result.stderr
    assert "--workdir" in result.stderr
