"""Two saved runs beside each other, the figures for machines, and the trades in the report."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from saved import PAIRS, User, market
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from freqai_lstm.evaluate.intervals import BETTER, UNDECIDED


COLUMNS = slice("&-t_ma", "&-t_stoch")
RUN = "run other"


@pytest.fixture
def user(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user with candles."""
    return User(tmp_path, market(tmp_path_factory))


def noisy(size: float, seed: int, rows: pd.DataFrame) -> pd.DataFrame:
    """The labels plus noise, with an interval and a spread."""
    rows, labels = rows.copy(), rows.loc[:, COLUMNS]
    rng = np.random.default_rng(seed)
    rows[labels.columns] += size * rng.normal(size=labels.shape) * labels.std().to_numpy()
    for name in labels:
        half = 1.28 * size * labels[name].std()
        rows[f"{name}_lower"], rows[f"{name}_upper"] = rows[name] - half, rows[name] + half
        rows[f"{name}_spread"] = rng.random(len(rows))
    return rows


def test_a_better_and_an_equal_run(user: User) -> None:
    """Half the noise is better on every label and differs by pair; as much noise is not."""
    user.save(lambda rows: noisy(0.5, 1, rows))
    user.save(lambda rows: noisy(1.0, 2, rows), identifier="other")
    assert user.evaluate(against="other") == 0
    report = user.report()
    assert report["against"] == "other"
    for of in report["targets"].values():
        assert of["differences"][RUN]["r2"]["word"] == BETTER
        for pair in PAIRS:
            found = of["pairs"][pair]
            for skill in ("r2", "rank_correlation"):
                difference = found[RUN]["differences"][skill]
                expected = found["model"][skill] - found[RUN][skill]
                assert difference["value"] == pytest.approx(expected, abs=1e-9)
                assert difference["low"] < expected < difference["high"]
    user.save(lambda rows: noisy(0.5, 3, rows), identifier="other")
    assert user.evaluate(against="other") == 0
    words = [of["differences"][RUN]["r2"]["word"] for of in user.report()["targets"].values()]
    assert words.count(UNDECIDED) >= len(words) - 1


def test_only_common_candles_are_compared(user: User) -> None:
    """Where one of the runs has no prediction, neither counts; R² and IC are scikit-learn's."""

    def without(rows: pd.DataFrame) -> pd.DataFrame:
        rows = noisy(1.0, 2, rows)
        rows.loc[rows.index % 2 == 1, "do_predict"] = 0
        return rows

    user.save(lambda rows: noisy(0.5, 1, rows))
    user.save(without, identifier="other")
    assert user.evaluate(against="other") == 0
    for pair in PAIRS:
        saved = []
        for identifier in ("known", "other"):
            files = user.predictions(identifier).glob(f"cb_{pair.split('/')[0].lower()}_*")
            frames = [pd.read_feather(file).set_index("date") for file in files]
            saved.append(pd.concat(frames).sort_index())
        mine, theirs = (of[saved[1]["do_predict"] == 1] for of in saved)
        user.save(identifier="labels")  # predictions that are the labels themselves
        labels = pd.concat(
            pd.read_feather(file).set_index("date")
            for file in user.predictions("labels").glob(f"cb_{pair.split('/')[0].lower()}_*")
        ).reindex(mine.index)
        found = user.report()["targets"]["&-t_rsi"]["pairs"][pair]
        for name, of in (("model", mine), (RUN, theirs)):
            y, p = labels["&-t_rsi"][1:], of["&-t_rsi"][1:]
            assert found[name]["candles"] == pytest.approx(len(y), abs=1)
            assert found[name]["r2"] == pytest.approx(r2_score(y, p), abs=0.01)
            assert found[name]["rank_correlation"] == pytest.approx(spearmanr(y, p)[0], abs=0.01)


def test_runs_that_cannot_be_compared(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """An absent run is named with its folder, one of other candles with both ranges."""
    user.save()
    assert user.evaluate(against="absent") == 1
    assert str(user.predictions("absent")) in " ".join(capsys.readouterr().err.split())

    def nothing(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(do_predict=0)

    user.save(nothing, identifier="other")
    assert user.evaluate(against="other") == 1
    error = " ".join(capsys.readouterr().err.split())
    assert RUN in error
    assert "--timerange" in error


def test_figures_for_machines(user: User) -> None:
    """--json names the file; it holds intervals per label and pair, and the money."""
    user.save(lambda rows: noisy(0.5, 1, rows))
    trades = [user.trade(PAIRS[0], "2024-04-12 00:00", 20)]
    result = user.save_result(trades)
    file = user.folder / "figures" / "out.json"
    assert user.evaluate(json_file=file) == 0
    report = json.loads(file.read_text())
    found = report["targets"]["&-t_rsi"]["pairs"][PAIRS[1]]["model"]
    for skill in ("r2", "rank_correlation"):
        limits = found["intervals"][skill]
        assert limits["low"] < limits["value"] < limits["high"]
    assert found["r2"] == pytest.approx(found["intervals"]["r2"]["value"])
    assert report["trades"]["file"] == result.name
    assert report["trades"]["profit"] == pytest.approx(trades[0]["profit_abs"] / 10_000)
    doubt = report["targets"]["&-t_rsi"]["doubt"]
    assert doubt["coverage"]["value"] == pytest.approx(0.8, abs=0.05)
    assert abs(doubt["spread"]["value"]) < 0.15  # noise knows no error


def test_without_a_result_the_page_says_how_to_get_one(user: User) -> None:
    """No result file: the folder and the command are named, in report and page."""
    user.save()
    assert user.evaluate() == 0
    report = user.report()
    assert report["trades"] is None
    page = (user.folder / "out" / "evaluation.html").read_text()
    for text in (report["without_trades"], re.sub(r"<[^>]+>", "", page)):
        assert "freqtrade backtesting" in text
        assert str(user.userdir / "backtest_results") in text


def test_trades_of_both_runs_are_compared(user: User) -> None:
    """The other run's equity stands beside, if it traded on the same candles."""
    user.save(lambda rows: noisy(0.5, 1, rows))
    user.save(lambda rows: noisy(1.0, 2, rows), identifier="other")
    user.save_result([user.trade(PAIRS[0], "2024-04-12 00:00", 20)])
    theirs = [user.trade(PAIRS[1], "2024-04-12 00:00", 20)]
    user.save_result(theirs, "2024-05-02_00-00-00", freqai_identifier="other")
    assert user.evaluate(against="other") == 0
    costs = user.report()["trades"]["costs"]
    assert costs[RUN]["profit"] == pytest.approx(theirs[0]["profit_abs"] / 10_000)
