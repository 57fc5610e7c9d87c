"""The command on real backtests: LSTMRegressor with ScoreStrategy, LightGBM with two labels."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from conftest import ROOT
from freqtrade.data.btanalysis import load_backtest_stats
from scipy.stats import spearmanr
from sklearn.metrics import r2_score
from workshop import PAIRS, Workshop, open_workshop

from freqai_lstm.evaluate.command import evaluate
from freqai_lstm.plugins import EXAMPLE_CONFIG


pytestmark = pytest.mark.slow
PLAIN = {"keras": False, "model_save_type": "joblib"}
SPLIT = {"test_size": 0, "shuffle": False}


@dataclass
class Evaluated:
    """A backtest and what the command wrote of it."""

    workshop: Workshop
    identifier: str
    output: Path

    def evaluate(self, output: Path, **options: Any) -> None:
        """Run the command on the backtest's configuration."""
        folder = self.workshop.folder
        evaluate(
            config=[EXAMPLE_CONFIG, folder / f"{self.identifier}.json"],
            userdir=self.workshop.userdir,
            datadir=self.workshop.datadir,
            output=output,
            **options,
        )

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.output / "evaluation.json").read_text())


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A user's folder with candles and an exchange, for both backtests."""
    with open_workshop(tmp_path_factory.mktemp("evaluated")) as opened:
        shutil.copy(ROOT / "tests/evaluate/TwoLabels.py", opened.userdir / "strategies")
        yield opened


def backtest(workshop: Workshop, identifier: str, *args: str, **freqai: Any) -> Evaluated:
    """Run freqtrade, and keep the configuration it ran with."""
    workshop.run(*args, identifier=identifier, **freqai)
    shutil.copy(workshop.folder / "second.json", workshop.folder / f"{identifier}.json")
    return Evaluated(workshop, identifier, workshop.folder / f"out-{identifier}")


@pytest.fixture(scope="session")
def score(workshop: Workshop) -> Evaluated:
    """LSTMRegressor and ScoreStrategy at horizon 0."""
    found = backtest(workshop, "score", conv_width=4)
    found.evaluate(found.output)
    return found


@pytest.fixture(scope="session")
def two(workshop: Workshop, score: Evaluated) -> Evaluated:
    """FreqAI's LightGBM and a strategy with two labels six candles ahead."""
    names = ("--freqaimodel", "LightGBMRegressorMultiTarget", "--strategy", "TwoLabels")
    features = {"label_period_candles": 6, "include_timeframes": ["1h"]}
    # What config.example.json has for the LSTM is unknown to LightGBM, which passes over it.
    parameters = {"n_jobs": 1, "verbosity": -1, "n_estimators": 60, "learning_rate": 0.05}
    found = backtest(
        workshop,
        "two",
        *names,
        **PLAIN,
        data_split_parameters=SPLIT,
        feature_parameters=features,
        model_training_parameters=parameters,
    )
    options = {"strategy": "TwoLabels", "freqaimodel": "LightGBMRegressorMultiTarget"}
    found.evaluate(found.output, **options)
    return found


def realised(workshop: Workshop, pair: str) -> pd.DataFrame:
    """The two labels by their formulas, by date."""
    coin = pair.split("/")[0]
    candles = pd.read_feather(workshop.datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
    candles = candles.set_index("date")
    ranges = [
        np.log(candles["high"].iloc[i + 1 : i + 7].max() / candles["low"].iloc[i + 1 : i + 7].min())
        for i in range(len(candles) - 6)
    ]
    after = candles["close"].shift(-6) / candles["close"] - 1
    return pd.DataFrame({"&-return": after, "&-range": pd.Series(ranges, candles.index[:-6])})


def test_figures_of_another_strategy_equal_an_independent_calculation(two: Evaluated) -> None:
    """R², rank correlation and persistence of both labels and pairs, from the feather files."""
    report = two.report
    assert list(report["targets"]) == ["&-return", "&-range"]
    assert report["score"] is None
    for pair in PAIRS:
        saved = two.workshop.predictions("two", pair.split("/")[0]).set_index("date")
        labels = realised(two.workshop, pair)
        for target in labels:
            of = report["targets"][target]
            assert of["look_ahead"] == 6
            late = labels[target].shift(6)
            frame = pd.DataFrame({"y": labels[target], "p": saved[target], "late": late})
            frame = frame[saved["do_predict"].reindex(frame.index) == 1].dropna()
            found = of["pairs"][pair]
            assert found["model"]["candles"] == len(frame)
            assert found["model"]["r2"] == pytest.approx(r2_score(frame["y"], frame["p"]))
            assert found["model"]["rank_correlation"] == pytest.approx(
                spearmanr(frame["y"], frame["p"])[0]
            )
            assert found["persistence"]["r2"] == pytest.approx(r2_score(frame["y"], frame["late"]))
            assert found["flat"]["r2"] <= 0


def test_baselines_learn_what_the_model_learned(two: Evaluated) -> None:
    """LightGBM with FreqAI's defaults on the model's own rows is about as good as FreqAI's."""
    for target, of in two.report["targets"].items():
        har = ["har"] if target == "&-range" else []
        assert of["predictors"] == ["model", "flat", "persistence", "ridge", "lightgbm", *har]
        skills = {name: of["mean"][name]["correlation"]["value"] for name in ("model", "lightgbm")}
        assert skills["model"] == pytest.approx(skills["lightgbm"], abs=0.2)
        assert of["verdict"]["tone"] in ("good", "neutral", "bad")
        for skills in of["differences"].values():
            assert skills["r2"]["low"] <= skills["r2"]["value"] <= skills["r2"]["high"]


@pytest.mark.parametrize("name", ["score", "two"])
def test_trades_end_at_the_balance_of_freqtrade(name: str, request: pytest.FixtureRequest) -> None:
    """Profit from the filled orders, and the number of trades, equal freqtrade's own figures."""
    found = request.getfixturevalue(name)
    money = found.report["trades"]
    folder = found.workshop.userdir / "backtest_results"
    (statistics,) = load_backtest_stats(folder / money["file"])["strategy"].values()
    assert statistics["freqai_identifier"] == found.identifier
    assert money["trades"] == statistics["total_trades"] > 0
    final = statistics["final_balance"] / statistics["starting_balance"] - 1
    assert money["profit"] == pytest.approx(final, abs=1e-9)
    before = statistics["market_change"]
    assert money["costs"]["buy-and-hold"]["profit"] == pytest.approx(before, abs=0.02)


def test_report_of_score_strategy(score: Evaluated) -> None:
    """Two pairs, two windows: every predictor is measured and every training's report is there."""
    report = score.report
    assert report["headline"]["targets"] == ["T"]
    assert report["headline"]["tone"] == "neutral"
    assert report["targets"]["T"]["predictors"] == [
        "model", "flat", "persistence", "ridge", "lightgbm",
    ]  # fmt: skip
    assert len(report["windows"]) == 4
    for window in report["windows"]:
        assert {of["candles"] for of in window["skill"]["T"].values()} == {240}
        assert window["training"]["seconds"] > 0
        assert np.isfinite(window["training"]["unseen_r2"])
    mean = report["targets"]["T"]["mean"]
    assert mean["ridge"]["r2"]["value"] > 0.5, "the features contain T nearly whole"
    assert mean["lightgbm"]["r2"]["value"] > 0.2
    assert set(report["score"]["pairs"]) == {"All pairs", *PAIRS}


def test_second_evaluation_gives_the_same(two: Evaluated, tmp_path: Path) -> None:
    """The same figures again, and what FreqAI noted of the run stays as it is."""
    noted = two.workshop.models("two") / "run_params.json"
    before = noted.stat().st_mtime_ns
    two.evaluate(
        tmp_path,
        strategy="TwoLabels",
        freqaimodel="LightGBMRegressorMultiTarget",
        baselines=False,
    )
    again = json.loads((tmp_path / "evaluation.json").read_text())
    for target, of in two.report["targets"].items():
        assert again["targets"][target]["mean"]["model"] == of["mean"]["model"]
    assert noted.stat().st_mtime_ns == before


def test_a_failing_command_exits_with_1(two: Evaluated, tmp_path: Path) -> None:
    """ScoreStrategy on the other strategy's predictions."""
    with pytest.raises(typer.Exit) as ended:
        two.evaluate(tmp_path, strategy="ScoreStrategy")
    assert ended.value.exit_code == 1
