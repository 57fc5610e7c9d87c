"""A bot's day: its clock, what is announced and what is not, and a short one from end to end."""

import io
import json
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from rich.console import Console

from freqai_lstm.rehearse.bot import Bot
from tools.clock import Clock
from tools.day import Day, Event


# A kill at 02:00, and from 04:00 to 05:00 a full disk.
BEGAN = datetime(2026, 1, 1).timestamp()
HOUR = 3600
RUNS = sys.platform == "linux" and find_spec("time_machine") is not None


def line(hour: float, level: str, message: str) -> str:
    """A line of the bot's log."""
    when = datetime.fromtimestamp(BEGAN + hour * HOUR)
    return f"{when:%Y-%m-%d %H:%M:%S},000 - bot - {level} - {message}\n"


def lived(folder: Path, log: str, *, lost: range = range(0), until: int = 360) -> list[str]:
    """The problems of six hours with such a log, in which one pair was predicted but for `lost`."""
    day = Day(folder, candles=360, console=Console(file=io.StringIO()))
    rehearsal = day.rehearsal
    day.events = [
        Event("kill", 0, 0, print, print, predicts=False),
        Event("full disk", 0, 0, print, print, announced="No space left"),
    ]
    for event, start, end in zip(day.events, (2, 4), (2, 5), strict=True):
        event.began, event.ended = BEGAN + start * HOUR, BEGAN + end * HOUR
    rehearsal.models.mkdir(parents=True)
    rehearsal.pairs = rehearsal.pairs[:1]
    (folder / "pairs.json").write_text(json.dumps({"pairs": rehearsal.pairs}))
    dates = pd.to_datetime([BEGAN + 60 * n for n in range(until)], unit="s", utc=True)
    frame = pd.DataFrame({"date_pred": dates, "do_predict": 1}).drop(index=lost)
    saved = pickle.dumps({rehearsal.pairs[0]: frame})
    (rehearsal.models / "historic_predictions.pkl").write_bytes(saved)
    bot = Bot([], log=folder / "bot-1.log", cwd=folder)
    bot.log.write_text(log)
    bot.memory = [1]
    rehearsal.bots = [bot]
    problems: list[str] = day._summary(BEGAN, BEGAN + 6 * HOUR)["problems"]
    return problems


def test_an_announced_error_is_no_problem(tmp_path: Path) -> None:
    """What says what the event should bring, while it lasts."""
    log = line(1, "INFO", "all is well") + line(4.5, "ERROR", "[Errno 28] No space left on device")
    assert lived(tmp_path, log) == []


@pytest.mark.parametrize(
    ("hour", "message"),
    [
        (3, "[Errno 28] No space left on device"),  # before there was a full disk
        (5.5, "[Errno 28] No space left on device"),  # long after it
        (4.5, "Unable to analyze candle"),  # meanwhile, and something else
        (2, "[Errno 28] No space left on device"),  # the kill announces nothing
    ],
)
def test_another_error_is_a_problem(tmp_path: Path, hour: float, message: str) -> None:
    """At another time, or with other words."""
    (problem,) = lived(tmp_path, line(hour, "ERROR", message))
    assert message in problem


def test_a_traceback_is_a_problem(tmp_path: Path) -> None:
    """Also that of a thread, which no level comes with."""
    log = line(1, "INFO", "all is well") + "Traceback (most recent call last):\nKeyError: 1\n"
    (problem,) = lived(tmp_path, log)
    assert "KeyError" in problem


def test_candles_without_a_prediction(tmp_path: Path) -> None:
    """Around a kill they are expected; at another time, and at the end, each is named."""
    assert lived(tmp_path / "a", "", lost=range(119, 122)) == []
    (problem,) = lived(tmp_path / "b", "", lost=range(59, 61))
    first, second = (datetime.fromtimestamp(BEGAN + n * 60, UTC) for n in (60, 61))
    assert problem.endswith(f"not ['{first:%H:%M}', '{second:%H:%M}']")
    assert len(lived(tmp_path / "c", "", until=300)) == 1


@pytest.mark.skipif(not RUNS, reason="needs Linux and time-machine")
def test_a_process_goes_by_the_clock(tmp_path: Path) -> None:
    """freqtrade's log has the time of the file's clock, from the first line on."""
    clock = Clock(tmp_path / "clock")
    clock.set_forward(36 * HOUR)
    config = tmp_path / "config.json"
    config.write_text('{"exchange": {"name": "binance"}, "stake_currency": "USDT"}')
    command = [sys.executable, "-m", *clock.module, "show-config", "-c", str(config)]
    before = clock.now()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    times = [text[:19] for text in done.stderr.splitlines() if " - INFO - " in text]
    assert times, done.stderr
    for text in times:
        assert before - 1 <= datetime.fromisoformat(text).timestamp() <= clock.now()


@pytest.mark.slow
@pytest.mark.skipif(not RUNS, reason="needs Linux and time-machine")
def test_two_dozen_candles(tmp_path: Path) -> None:
    """All that happens in a day, in 24 candles: no ERROR but the announced ones."""
    # A second between passes: other tests run beside this one.
    command = [sys.executable, "-m", "tools.day", "24", str(tmp_path / "day"), "1"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False
    )
    if "could not be mounted" in done.stderr or "unshare: " in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr}")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    summary = json.loads((tmp_path / "day" / "summary.json").read_text())
    assert summary["candles"] >= 24
    assert {"settings", "full disk"} <= {*summary["announced"]}
    assert all(summary["predicted"].values())
    assert summary["trainings"] >= 3
