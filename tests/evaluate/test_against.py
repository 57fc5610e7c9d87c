"""Two saved runs beside each other, the figures for machines, and the trades in the report."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from saved import PAIRS, User, market, noisy
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from freqai_lstm.evaluate.intervals import BETTER, UNDECIDED


Noise = float | Callable[[pd.DataFrame], pd.DataFrame]
RUN = "run other"
TWO = {"strategy": "TwoLabels", "strategy_path": Path(__file__).parent}


class Forecaster(User):
    """A user of TwoLabels, six candles ahead."""

    def save(self, noise: Noise = 0.5, identifier: str = "known") -> None:  # type: ignore[override]
        """Save the labels with noise, or changed by a function."""
        change = noise if callable(noise) else partial(noisy, noise, len(identifier))
        super().save(change, two_labels, identifier)

    def evaluate(self, **options: Any) -> int:
        return super().evaluate(**TWO, **options)

    def save_result(self, *args: Any, **changed: Any) -> Path:
        return super().save_result(*args, strategy_name="TwoLabels", **changed)


def two_labels(module: ModuleType, candles: pd.DataFrame) -> pd.DataFrame:
    """Return and log range of the next six candles."""
    del module
    close = candles["close"]
    high, low = candles["high"].rolling(6).max(), candles["low"].rolling(6).min()
    ranges = (high / low).apply(np.log).shift(-6)
    return pd.DataFrame({"&-return": close.shift(-6) / close - 1, "&-range": ranges})


@pytest.fixture
def user(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """A user with candles."""
    found = Forecaster(tmp_path, market(tmp_path_factory))
    found.configure(label_period_candles=6)
    return found


def test_a_better_and_an_equal_run(user: Forecaster) -> None:
    """Half the noise is better on every label and differs by pair; as much noise is not."""
    user.save(0.5)
    user.save(1.0, "other")
    assert user.evaluate(against=["other"]) == 0
    report = user.report()
    assert report["against"] == ["other"]
    for of in report["targets"].values():
        assert of["differences"][RUN]["r2"]["word"] == BETTER
        for pair in PAIRS:
            found = of["pairs"][pair]
            for skill in ("r2", "rank_correlation"):
                difference = found[RUN]["differences"][skill]
                expected = found["model"][skill] - found[RUN][skill]
                assert difference["value"] == pytest.approx(expected, abs=1e-9)
                assert difference["low"] < expected < difference["high"]
    assert report["headline"]["against"]["other"]["tone"] == "good"
    user.save(0.5, "other")
    assert user.evaluate(against=["other"]) == 0
    report = user.report()
    for of in report["targets"].values():
        assert of["differences"][RUN]["r2"]["word"] == UNDECIDED
    assert report["headline"]["against"]["other"]["tone"] == "neutral"


def test_only_common_candles_are_compared(user: Forecaster) -> None:
    """Where one of the runs has no prediction, neither counts; R² and IC are scikit-learn's."""

    def without(rows: pd.DataFrame) -> pd.DataFrame:
        rows = noisy(1.0, 2, rows)
        rows.loc[rows.index % 2 == 1, "do_predict"] = 0
        return rows

    user.save(0.5)
    user.save(without, "other")
    assert user.evaluate(against=["other"]) == 0
    for pair in PAIRS:
        saved = []
        for identifier in ("known", "other"):
            files = user.predictions(identifier).glob(f"cb_{pair.split('/')[0].lower()}_*")
            frames = [pd.read_feather(file).set_index("date") for file in files]
            saved.append(pd.concat(frames).sort_index())
        mine, theirs = (of[saved[1]["do_predict"] == 1] for of in saved)
        close = user.candles(pair).set_index("date")["close"]
        labels = (close.shift(-6) / close - 1).reindex(mine.index).dropna()
        mine, theirs = mine.loc[labels.index], theirs.loc[labels.index]
        found = user.report()["targets"]["&-return"]["pairs"][pair]
        for name, of in (("model", mine), (RUN, theirs)):
            assert found[name]["candles"] == len(labels) == 237
            assert found[name]["r2"] == pytest.approx(r2_score(labels, of["&-return"]))
            rank = spearmanr(labels, of["&-return"])[0]
            assert found[name]["rank_correlation"] == pytest.approx(rank)


def test_runs_that_cannot_be_compared(user: Forecaster, capsys: pytest.CaptureFixture[str]) -> None:
    """An absent run is named with its folder, one of other candles with both ranges."""
    user.save()
    assert user.evaluate(against=["absent"]) == 1
    assert str(user.predictions("absent")) in " ".join(capsys.readouterr().err.split())

    def nothing(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(do_predict=0)

    user.save(nothing, "other")
    assert user.evaluate(against=["other"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert RUN in error
    assert "--timerange" in error


def test_figures_for_machines(user: Forecaster) -> None:
    """--json names the file; it holds intervals per label and pair, and the money."""
    user.save(0.5)
    trades = [user.trade(PAIRS[0], "2024-04-12 00:00", 20)]
    result = user.save_result(trades)
    file = user.folder / "figures" / "out.json"
    assert user.evaluate(json_file=file) == 0
    report = json.loads(file.read_text())
    found = report["targets"]["&-range"]["pairs"][PAIRS[1]]["model"]
    for skill in ("r2", "rank_correlation"):
        limits = found["intervals"][skill]
        assert limits["low"] < limits["value"] < limits["high"]
    assert found["r2"] == pytest.approx(found["intervals"]["r2"]["value"])
    assert report["trades"]["file"] == result.name
    assert report["trades"]["profit"] == pytest.approx(trades[0]["profit_abs"] / 10_000)
    doubt = report["targets"]["&-range"]["doubt"]
    assert doubt["coverage"]["value"] == pytest.approx(0.8, abs=0.05)


def test_without_a_result_the_page_says_how_to_get_one(user: Forecaster) -> None:
    """No result file: the folder and the command are named, in report and page."""
    user.save()
    assert user.evaluate() == 0
    report = user.report()
    assert report["trades"] is None
    page = (user.folder / "out" / "evaluation.html").read_text()
    for text in (report["without_trades"], re.sub(r"<[^>]+>", "", page)):
        assert "freqtrade backtesting" in text
        assert str(user.userdir / "backtest_results") in text


def test_trades_of_both_runs_are_compared(user: Forecaster) -> None:
    """The other run's equity stands beside, if it traded on the same candles."""
    user.save(0.5)
    user.save(1.0, "other")
    user.save_result([user.trade(PAIRS[0], "2024-04-12 00:00", 20)])
    theirs = [user.trade(PAIRS[1], "2024-04-12 00:00", 20)]
    user.save_result(theirs, "2024-05-02_00-00-00", freqai_identifier="other")
    assert user.evaluate(against=["other"]) == 0
    costs = user.report()["trades"]["costs"]
    assert costs[RUN]["profit"] == pytest.approx(theirs[0]["profit_abs"] / 10_000)


def test_models_and_their_seeds_in_one_table(user: Forecaster) -> None:
    """Runs of one name are a row: mean and deviation of their R² on the candles of all runs."""

    def without(rows: pd.DataFrame) -> pd.DataFrame:
        rows = noisy(1.0, 3, rows)
        rows.loc[rows.index % 3 == 1, "do_predict"] = 0
        return rows

    user.save(0.5)
    user.save(lambda rows: noisy(0.5, 9, rows), "seed-2")
    user.save(1.0, "other")
    user.save(without, "another")
    user.save_result([user.trade(PAIRS[0], "2024-04-12 00:00", 20)])
    runs = ["model=seed-2", "noise=other", "noise=another"]
    assert user.evaluate(against=runs) == 0
    report = user.report()
    assert report["against"] == ["seed-2", "other", "another"]
    assert [*report["headline"]["against"]] == ["other", "another"]
    rows = {row["name"]: row for row in report["models"]}
    assert [*rows][:2] == ["model", "noise"]
    assert {"flat", "persistence"} <= {*rows}
    assert [rows[name]["runs"] for name in ("model", "noise", "flat")] == [2, 2, 1]
    for target, of in report["targets"].items():
        for name, columns in (("model", ["model", "run seed-2"]), ("noise", [RUN, "run another"])):
            each = [of["mean"][column]["r2"]["value"] for column in columns]
            found = rows[name]["targets"][target]["r2"]
            assert found["mean"] == pytest.approx(np.mean(each))
            assert found["std"] == pytest.approx(np.std(each, ddof=1))
        assert rows["flat"]["targets"][target]["r2"]["std"] is None
    candles = report["targets"]["&-return"]["pairs"][PAIRS[0]]
    assert len({candles[name]["candles"] for name in candles}) == 1
    assert rows["noise"]["trades"] is None, "they have no result"
    page = (user.folder / "out" / "evaluation.html").read_text()
    assert "noise, 2 seeds" in page
