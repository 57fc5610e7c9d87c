"""`watch` on predictions whose figures are known: the figures again, the verdict, the page."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from independent import assert_figures
from saved import PAIRS, User, market, noisy

from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.metrics import measure_interval
from freqai_lstm.evaluate.setup import load_config, load_setup
from freqai_lstm.plugins import EXAMPLE_CONFIG
from freqai_lstm.watch.command import watch
from freqai_lstm.watch.drift import beyond, moved, stability_index
from freqai_lstm.watch.regression import predict_without_network


BOT = "2024-04-24"  # its first candle; the backtest ends before it
LAST = pd.Timestamp("2024-04-30 23:00", tz="UTC")


class Watched(User):
    """A user whose bot has predicted a week, after a backtest of the days before."""

    def live(self, size: float = 0.3, since: str = BOT, seed: int = 7) -> None:
        """Save labels plus noise as the bot's history, with a trained model for each pair."""
        self.save(change=lambda rows: noisy(size, seed, rows), identifier="bot")
        folder = self.userdir / "models" / "bot"
        history, models = {}, {}
        for pair in PAIRS:
            coin = pair.split("/")[0].lower()
            files = sorted(self.predictions("bot").glob(f"cb_{coin}_*"))
            rows = pd.concat(map(pd.read_feather, files)).drop_duplicates("date")
            kept = rows[rows["date"] >= pd.Timestamp(since, tz="UTC")]
            # As FreqAI leaves it: candles before the bot's start are there and not predicted.
            before = rows[rows["date"] < pd.Timestamp(since, tz="UTC")].tail(50)
            before = before[["date"]].reindex(columns=list(before), fill_value=0.0)
            whole = pd.concat([before, kept]).rename(columns={"date": "date_pred"})
            history[pair] = whole.reset_index(drop=True)
            models[pair] = {
                "model_filename": f"cb_{coin}_1",
                "trained_timestamp": int(LAST.timestamp()) - 7200,
                "data_path": str(folder),
            }
        shutil.rmtree(self.predictions("bot"))
        (folder / "historic_predictions.pkl").write_bytes(pickle.dumps(history))
        (folder / "pair_dictionary.json").write_text(json.dumps(models))

    def watch(self, **options: Any) -> tuple[int, dict[str, Any]]:
        """Run the command; exit code and figures."""
        third = self.folder / "third.json"
        third.write_text(json.dumps({"freqai": {"identifier": "bot"}}))
        output = self.folder / "watch.json"
        output.unlink(missing_ok=True)
        given = {
            "config": [EXAMPLE_CONFIG, self.folder / "second.json", third],
            "userdir": self.userdir,
            "datadir": self.datadir,
            "backtest": "known",
            "db_url": f"sqlite:///{self.folder / 'none.sqlite'}",
            "json_file": output,
        }
        with pytest.raises(typer.Exit) as ended:
            watch(**{**given, **options})
        return ended.value.exit_code, json.loads(output.read_text()) if output.exists() else {}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A bot that is as good as its backtest."""
    made = Watched(tmp_path_factory.mktemp("watched"), market(tmp_path_factory))
    made.save(change=lambda rows: noisy(0.3, 5, rows))
    made.live()
    return made


def test_figures_equal_an_independent_calculation(user: Watched) -> None:
    """R², IC, bias, coverage, width and interval score by their definitions, by pair and label."""
    code, report = user.watch()
    assert code == 0, report["reasons"]
    history = pd.read_pickle(user.userdir / "models" / "bot" / "historic_predictions.pkl")
    for pair in PAIRS:
        whole = history[pair]
        last_day = whole["date_pred"] > LAST - pd.Timedelta(days=1)
        for span, rows in (("day", whole[last_day]), ("all", whole)):
            assert assert_figures(report, span, pair, rows, user.candles(pair), 0) >= 24


def test_the_models_own_regression_beside_the_bot(user: Watched) -> None:
    """Learned anew from the candles before: it finds ScoreStrategy's terms of the same candle."""
    _, report = user.watch()
    for span in ("day", "all"):
        for target, cards in report["spans"][span].items():
            for pair in PAIRS:
                assert cards[pair]["regression_r2"] > 0.99, (span, target, pair)


def test_the_regression_knows_no_later_candle(user: Watched, tmp_path: Path) -> None:
    """Other candles from a day on change nothing of what was predicted before; nor do labels."""
    config = load_config(user.arguments | {"timerange": "20240424-20240501"})
    features = Features(load_setup(config), tmp_path)
    start, later, end = (pd.Timestamp(f"2024-04-{day}", tz="UTC") for day in (24, 26, 28))
    frame = features.of(PAIRS[0])
    before = predict_without_network(features, PAIRS[0], start, end)
    values = frame.columns.drop("date")
    frame.loc[frame["date"] >= later, values] = frame.loc[frame["date"] >= later, values] * 1.5
    after = predict_without_network(features, PAIRS[0], start, end)
    same = before.index < later
    assert same.sum() == 48
    pd.testing.assert_frame_equal(before[same], after[same])
    assert not before[~same].equals(after[~same])


def test_a_week_without_regression_costs_only_itself(user: Watched, tmp_path: Path) -> None:
    """Too few candles before a week give a note; later weeks have theirs, the whole has none."""
    fewer = tmp_path / "data"
    shutil.copytree(user.datadir, fewer)
    for file in fewer.glob("futures/*-1h-futures.feather"):
        frame = pd.read_feather(file)
        frame[frame["date"] >= "2024-04-10"].reset_index(drop=True).to_feather(file)
    user.live(since="2024-04-12")
    try:
        _, report = user.watch(datadir=fewer)
    finally:
        user.live()
    notes = [note for note in report["notes"] if "No regression alone from" in note]
    assert len(notes) == len(PAIRS)
    assert all("2024-04-12" in note for note in notes)
    for span, known in (("day", True), ("all", False)):
        found = report["spans"][span]["&-t_rsi"][PAIRS[0]]
        assert (found["regression_r2"] is not None) == known, span
        assert found["r2"]["value"] is not None


def test_promise_is_the_backtests_band(user: Watched) -> None:
    """A bot like its backtest lies inside the bands of most figures; without one there are none."""
    _, report = user.watch()
    words = [
        of["mean"][figure]["word"]
        for of in report["spans"]["day"].values()
        for figure in ("r2", "coverage", "interval_score")
        if of["mean"][figure]["value"] is not None
    ]
    assert np.mean([word == "inside" for word in words if word]) > 0.6
    _, alone = user.watch(backtest=None)
    assert alone["promise"] is None
    assert any("--backtest" in note for note in alone["notes"])
    assert alone["spans"]["day"]["&-t_rsi"]["mean"]["r2"]["word"] is None


def test_a_bad_bot_stops(user: Watched) -> None:
    """Noise instead of predictions: exit code 2, evidence beyond stop, figures below the band."""
    user.live(size=4.0)
    try:
        code, report = user.watch()
    finally:
        user.live()
    assert code == 2
    assert report["level"] == "stop"
    assert report["alarm"]["state"] == "stop"
    # The predictions fail, the intervals do not: three of six fortunes are at their cap, which is
    # four times the limit, so that the evidence can fall again.
    cap = 4 * report["alarm"]["stop"]
    assert max(report["alarm"]["evidence"]) == pytest.approx(3 * cap / 6, rel=1e-3)
    assert report["spans"]["day"]["&-t_rsi"]["mean"]["r2"]["word"] == "below"
    # The backtest of 20 days is not eight times as long as all that the bot has predicted.
    assert report["spans"]["all"]["&-t_rsi"]["mean"]["r2"]["word"] is None
    assert any("worse than the mean" in reason for reason in report["reasons"])


def test_page_and_screen(user: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """The page needs no network and shows each label; the screen fits a terminal of 80 columns."""
    page = user.folder / "watch.html"
    user.watch(html=page)
    text = page.read_text(encoding="utf-8")
    assert "<script src" not in text
    assert all(word in text for word in ("&amp;-t_rsi", "Evidence against the model", "Drift"))
    shown = capsys.readouterr().out
    assert "&-t_rsi" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_candles_that_are_missing_are_said(user: Watched, tmp_path: Path) -> None:
    """Where the data folder ends before the predictions, a note names the command."""
    fewer = tmp_path / "data"
    shutil.copytree(user.datadir, fewer)
    for file in fewer.glob("futures/*-1h-futures.feather"):
        frame = pd.read_feather(file)
        frame[frame["date"] < "2024-04-30"].reset_index(drop=True).to_feather(file)
    _, report = user.watch(datadir=fewer)
    assert any("download-data --pairs BTC" in note for note in report["notes"])
    assert report["spans"]["all"]["&-t_rsi"][PAIRS[0]]["candles"] == 6 * 24


def test_nothing_to_measure(user: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a history, or with a wrong --every, the exit code is 3 and the error helps."""
    code, _ = user.watch(userdir=user.folder / "elsewhere")
    assert code == 3
    code, _ = user.watch(every="hourly")
    assert code == 3
    assert "30m, 1h or 1d" in capsys.readouterr().err


def test_stability_index() -> None:
    """0 for the same values, the textbook sum for known shares, large for a stuck feature."""
    then = np.arange(1000.0)
    assert stability_index(then, then) == pytest.approx(0, abs=1e-9)
    now = np.concatenate([np.repeat(50.0, 500), np.repeat(950.0, 500)])
    p, q = np.full(10, 100.5), np.array([500.5, *[0.5] * 8, 500.5])
    p, q = (np.append(of, 0.5) / (of.sum() + 0.5) for of in (p, q))
    assert stability_index(then, now) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=0.02)
    assert beyond(then, np.array([-1.0, 5, 2000, np.nan])) == pytest.approx(0.75)


def test_far_is_beyond_every_week_of_the_training() -> None:
    """A feature that wanders each week is usual; one that is stuck, or outside, is far."""
    rng = np.random.default_rng(1)
    wandering = np.concatenate([rng.normal(m, 1, 168) for m in rng.normal(0, 2, 14)])
    then, now = pd.Series(wandering[:-168]), pd.Series(wandering[-168:])
    assert not moved(then, now)["far"]
    assert moved(then, now * 0)["far"]
    assert moved(then, now + 100)["far"]


def test_interval_score() -> None:
    """Width plus ten times what lies outside; a candle without a finite bound is left out."""
    found = measure_interval(
        np.array([0.0, 3, 5]), np.array([-1.0, 0, -np.inf]), np.array([1.0, 2, 9]), np.ones(3)
    )
    assert found == {"coverage": 0.5, "width": 2.0, "interval_score": pytest.approx(7.0)}
