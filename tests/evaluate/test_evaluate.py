"""The evaluation: its figures on predictions whose scores are known, its errors, and end to end."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, load_plugin

from freqai_lstm.evaluate import command as evaluate
from freqai_lstm.evaluate.charts import thinned
from freqai_lstm.evaluate.data import Window, persistence, read_windows, saved_timerange
from freqai_lstm.evaluate.importance import feature_group, sample_windows
from freqai_lstm.evaluate.report import build_report, rows_of, shown, verdict, without_nan
from freqai_lstm.evaluate.scores import calibration, compare, in_label_scales, measure, r_squared
from freqai_lstm.evaluate.setup import load_config, load_setup
from freqai_lstm.market import generate_market


TERMS = ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
STAMPS = [int(datetime(2024, 4, day, tzinfo=UTC).timestamp()) for day in (11, 21)]


def scores(candles: int = 2_000, seed: int = 1) -> np.ndarray:
    """A series like T: zero on most candles, heavy tails elsewhere, some memory."""
    rng = np.random.default_rng(seed)
    moved = np.repeat(rng.random(candles // 4) < 0.15, 4)
    shared = np.repeat(rng.normal(size=candles // 4), 4)
    return np.where(moved, rng.standard_t(4, candles) + shared, 0)


@pytest.fixture
def t() -> np.ndarray:
    """Realised scores."""
    return scores()


def figures(t: np.ndarray, t_hat: np.ndarray, scale: float = 0.5) -> dict[str, Any]:
    return measure(t, t_hat, np.full(len(t), scale), threshold=0.5)


def test_perfect_predictions(t: np.ndarray) -> None:
    """T̂ = T: every figure is at its best, the error zero and the calibration slope one."""
    found = figures(t, t)
    for name in ("r2", "correlation", "sign_accuracy", "precision", "recall", "slope"):
        assert found[name] == pytest.approx(1), name
    assert found["rmse"] == found["rmse_scaled"] == 0
    assert found["candles"] == len(t)
    assert found["signals"] == int((np.abs(t / 0.5) > 0.5).sum())
    assert found["nonzero"] == pytest.approx((t != 0).mean())


def test_sign_flipped_predictions(t: np.ndarray) -> None:
    """T̂ = -T: correlation and slope -1, no sign right, R² 1 - 4·ΣT²/Σ(T-mean)², no right entry."""
    found = figures(t, -t)
    assert found["correlation"] == pytest.approx(-1)
    assert found["slope"] == pytest.approx(-1)
    assert found["sign_accuracy"] == found["precision"] == found["recall"] == 0
    assert found["r2"] == pytest.approx(1 - 4 * np.sum(t**2) / np.sum((t - t.mean()) ** 2))


@pytest.mark.parametrize("constant", [0.0, 0.3, -5.0])
def test_constant_predictions(t: np.ndarray, constant: float) -> None:
    """A flat line: R² is not above zero, correlation and slope are undefined and nothing fails."""
    found = figures(t, np.full(len(t), constant))
    assert found["r2"] <= 0
    assert np.isnan(found["correlation"])
    assert np.isnan(found["slope"])


def test_predictions_shifted_by_one_candle(t: np.ndarray) -> None:
    """T̂_t = T_{t-1}: the correlation is T's autocorrelation at one candle, far from perfect."""
    found = figures(t[1:], t[:-1])
    expected = np.corrcoef(t[1:], t[:-1])[0, 1]
    assert found["correlation"] == pytest.approx(expected)
    assert 0 < found["correlation"] < 0.9
    assert found["r2"] < found["correlation"]


def test_predictions_twice_too_bold(t: np.ndarray) -> None:
    """T̂ = 2T: the correlation does not notice, slope 0.5 and R² do."""
    found = figures(t, 2 * t)
    assert found["correlation"] == pytest.approx(1)
    assert found["slope"] == pytest.approx(0.5)
    assert found["r2"] < 0.1


def test_entries_are_counted_in_label_scales() -> None:
    """Precision and recall of six candles, counted by hand, threshold 0.5 label scales of 2."""
    t = np.array([2.0, 2.0, -2.0, 0.0, 0.9, 2.0])
    t_hat = np.array([2.0, 0.5, 2.0, 2.0, 0.9, 2.0])
    found = measure(t, t_hat, np.full(6, 2.0), threshold=0.5)
    assert found["signals"] == 4
    assert found["precision"] == pytest.approx(2 / 4)
    assert found["recall"] == pytest.approx(2 / 4)
    assert found["sign_accuracy"] == pytest.approx(4 / 5)


def test_no_candles_and_no_scale_give_no_figures() -> None:
    """Nothing to measure is NaN, and without a label scale there is no signal."""
    empty = np.empty(0)
    assert all(
        np.isnan(v) for k, v in figures(empty, empty).items() if k not in ("candles", "signals")
    )
    one = np.array([1.0, 2.0])
    found = measure(one, one, np.full(2, np.nan), threshold=0.5)
    assert found["signals"] == 0
    assert found["r2"] == 1


def test_r_squared_is_the_one_of_the_models_report(lstm: ModuleType) -> None:
    """Over several labels it equals the R² that LSTMRegressor notes about its validation."""
    rng = np.random.default_rng(2)
    actual = rng.normal(size=(300, 9)) * np.arange(1, 10)
    guess = actual + rng.normal(size=actual.shape)
    assert r_squared(actual, guess) == pytest.approx(lstm.r_squared(actual, guess))
    assert np.isnan(r_squared(np.ones((5, 2)), np.zeros((5, 2))))


def test_calibration_bins_lie_on_the_line_of_perfect_predictions(t: np.ndarray) -> None:
    """Perfect predictions: every bin's mean T is its mean T̂, and no candle is lost."""
    bins = calibration(t, t, np.full(len(t), 0.5))
    np.testing.assert_allclose(bins["realised"], bins["predicted"])
    assert bins["candles"].sum() == len(t)
    assert bins["predicted"].is_monotonic_increasing
    assert len(bins) > 6


def frame(t: np.ndarray, model: np.ndarray, **columns: Any) -> pd.DataFrame:
    dates = pd.date_range("2024-01-01", periods=len(t), freq="h", tz="UTC")
    known = {"date": dates, "T": t, "model": model, "scale": 0.5, "valid": True}
    return pd.DataFrame(known | {"persistence": np.roll(t, 1)} | columns)


def test_only_candles_that_all_can_be_measured_on_count(t: np.ndarray) -> None:
    """Invalid predictions and missing scores are left out, for every predictor the same."""
    rows = frame(t, t.copy())
    rows.loc[:99, "valid"] = False
    rows.loc[:99, "model"] = 1e9
    rows.loc[200:249, "T"] = np.nan
    rows.loc[300:309, "persistence"] = np.nan
    found = compare(rows, ["model", "persistence", "ridge"], 0.5)
    assert found["predicted"] == pytest.approx(1 - 100 / len(t))
    assert found["model"]["candles"] == found["persistence"]["candles"] == len(t) - 160
    assert found["model"]["r2"] == 1
    assert "ridge" not in found


def windows_of(rows: dict[str, list[pd.DataFrame]]) -> dict[str, list[Window]]:
    return {
        pair: [
            Window(pair, int(r["date"].iloc[0].timestamp()), int(r["date"].iloc[-1].timestamp()), r)
            for r in frames
        ]
        for pair, frames in rows.items()
    }


def setup_of(horizon: int = 0) -> Any:
    config = {
        "freqai": {"identifier": "known"},
        "strategy": "ScoreStrategy",
        "freqaimodel": "LSTMRegressor",
        "timeframe": "1h",
    }
    strategy = SimpleNamespace(weights={"ma": 1.0})
    return SimpleNamespace(config=config, strategy=strategy, horizon=horizon, threshold=0.5)


def test_pairs_and_windows_are_measured_apart_and_together(t: np.ndarray) -> None:
    """A perfect and a flipped pair: each for itself, ±1 in the pairs, 0 over both."""
    halves = [slice(0, 1000), slice(1000, None)]
    good, bad = frame(t, t), frame(1_000 * t, -1_000 * t, scale=500.0)
    windows = windows_of({"A/B": [good[h] for h in halves], "C/B": [bad[h] for h in halves]})
    windows["A/B"][0].report = {"epochs": 3, "seconds": 2.0, "validation_r2": 0.9, "curves": []}
    windows["A/B"][0].label_r2 = 0.7
    report = build_report(setup_of(), windows, [], "", [])
    assert report["pairs"]["A/B"]["model"]["r2"] == pytest.approx(1)
    assert report["pairs"]["C/B"]["model"]["correlation"] == pytest.approx(-1)
    assert [w["model"]["correlation"] for w in report["windows"]] == pytest.approx([1, 1, -1, -1])
    # In label scales both pairs weigh the same, though C/B's scores are a thousand times larger.
    assert report["all"]["model"]["correlation"] == pytest.approx(0, abs=0.01)
    assert report["all"]["model"]["sign_accuracy"] == pytest.approx(0.5)
    assert report["all"]["model"]["correlation_mean_of_pairs"] == pytest.approx(0)
    assert report["all"]["model"]["correlation_worst_pair"] == pytest.approx(-1)
    assert report["windows"][0]["training"]["overfitting"] == pytest.approx(0.2)
    assert report["training"]["seconds"] == 2.0
    json.dumps(without_nan(report), allow_nan=False)


def test_a_candle_predicted_twice_counts_once(t: np.ndarray) -> None:
    """Where windows overlap, the newest training's prediction stands."""
    rows = frame(t, t)
    windows = windows_of({"A/B": [rows.assign(model=0.0), rows[500:]]})["A/B"]
    joined = rows_of(windows)
    assert len(joined) == len(t)
    assert (joined["model"][:500] == 0).all()
    assert (joined["model"][500:] == t[500:]).all()


@pytest.mark.parametrize(
    ("model", "ridge", "colour"),
    [
        ([0.9, 0.8], [0.5, 0.5], "green"),
        ([0.9, 0.4], [0.5, 0.5], "amber"),
        ([0.5, 0.5], [0.51, 0.51], "amber"),
        ([0.5, 0.5], [0.7, 0.7], "red"),
        ([0.9, 0.9], [1.0, 1.0], "amber"),
        ([0.01, 0.01], [-0.5, -0.5], "red"),
        ([np.nan, np.nan], [0.3, 0.3], "red"),
    ],
)
def test_verdict(model: list[float], ridge: list[float], colour: str) -> None:
    """Green beats every baseline on every pair, red is none or worse, amber lies between."""

    def one(a: float, b: float) -> dict[str, Any]:
        return {"model": {"r2": a}, "ridge": {"r2": b}}

    pairs = {name: one(a, b) for name, a, b in zip("AB", model, ridge, strict=True)}
    found = verdict(one(np.mean(model), np.mean(ridge)), pairs, ["model", "ridge"], 0)
    assert found["colour"] == colour
    assert found["best_baseline"] == "ridge"


def test_persistence_never_knows_the_answer() -> None:
    """With a horizon it is the score known now, for the same candle the one before."""
    now = pd.Series([1.0, 2.0, 3.0])
    assert persistence(now, 2).tolist() == [1.0, 2.0, 3.0]
    assert persistence(now, 0).tolist()[1:] == [1.0, 2.0]


def test_label_scales_make_pairs_comparable(t: np.ndarray) -> None:
    """Scores are divided by their scale, which then is one."""
    rows = in_label_scales(frame(t, t, scale=4.0), ["model"])
    np.testing.assert_allclose(rows["T"], t / 4)
    np.testing.assert_allclose(rows["model"], t / 4)
    assert (rows["scale"] == 1).all()


def test_thinning_keeps_every_peak(t: np.ndarray) -> None:
    """Far fewer points, in order, with the largest and smallest score still there."""
    rows = frame(t, np.roll(t, 3))
    thin = thinned(rows, 200)
    assert len(thin) <= 220
    assert thin["date"].is_monotonic_increasing
    for column in ("T", "model"):
        assert thin[column].max() == rows[column].max()
        assert thin[column].min() == rows[column].min()


@pytest.mark.parametrize(
    ("feature", "group"),
    [
        ("%-rsi-period_10_BTC/USDTUSDT_1h", "rsi 1h"),
        ("%-bb_width-period_20_shift-1_BTC/USDTUSDT_4h", "bb_width 4h"),
        ("%-return_gen_BTC/USDTUSDT_1h", "return 1h"),
        ("%-return_gen_ETH/USDTUSDT_4h", "ETH 4h"),
        ("%-z_ma", "z …"),
        ("%-hour_sin", "hour …"),
    ],
)
def test_features_are_grouped_by_what_they_are(feature: str, group: str) -> None:
    """FreqAI's expanded names fall into indicator and timeframe, other pairs into one each."""
    assert feature_group(feature, "BTC/USDT:USDT") == group


def test_sampled_windows_cover_pairs_and_time(t: np.ndarray) -> None:
    """Four of ten windows of two pairs: both pairs, each with its first and its last window."""
    rows = frame(t, t)
    windows = windows_of(
        {p: [rows[i * 200 : i * 200 + 200] for i in range(5)] for p in ("A/B", "C/B")}
    )
    chosen = sample_windows(windows, 4)
    assert [w.pair for w in chosen] == ["A/B", "A/B", "C/B", "C/B"]
    assert [w.start for w in chosen[:2]] == [windows["A/B"][0].start, windows["A/B"][-1].start]
    assert sample_windows(windows, 0) == []


def test_figures_are_shown_or_a_dash() -> None:
    """NaN and None are a dash, and zero has no sign."""
    assert shown(None, "{:.2f}") == shown(np.nan, "{:.2f}") == "–"
    assert shown(-0.001, "{:.2f}") == "0.00"
    assert shown(-0.2, "{:.1%}") == "-20.0%"


# ------------------------------------------------------------------- on files, without a training


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated market of two pairs."""
    datadir = tmp_path_factory.mktemp("data")
    generate_market(datadir, PAIRS, start=START, end=END)
    return datadir


class User:
    """A user folder with the plugin files, and a configuration on top of config.example.json."""

    def __init__(self, folder: Path, datadir: Path, **freqai: Any) -> None:
        self.folder, self.datadir = folder, datadir
        for plugin in ("freqaimodels/LSTMRegressor.py", "strategies/ScoreStrategy.py"):
            target = self.userdir / plugin
            target.parent.mkdir(parents=True)
            shutil.copy(ROOT / "user_data" / plugin, target)
        small = {"units": 16, "epochs": 12, "num_lstm_layers": 2}
        settings = {
            "exchange": {"pair_whitelist": list(PAIRS)},
            "max_open_trades": 2,
            "freqai": {
                "identifier": "known",
                "train_period_days": 20,
                "backtest_period_days": 5,
                "conv_width": 8,
                "model_training_parameters": small,
                **freqai,
                "feature_parameters": {
                    "label_period_candles": 0,
                    "include_timeframes": ["1h"],
                    "include_corr_pairlist": ["BTC/USDT:USDT"],
                    **freqai.get("feature_parameters", {}),
                },
            },
        }
        (folder / "second.json").write_text(json.dumps(settings))

    @property
    def userdir(self) -> Path:
        return self.folder / "user_data"

    @property
    def predictions(self) -> Path:
        return self.userdir / "models" / "known" / "backtesting_predictions"

    @property
    def configs(self) -> list[str]:
        return [str(ROOT / "config.example.json"), str(self.folder / "second.json")]

    def save(self, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows) -> None:
        """Save predictions as FreqAI does: the realised labels, changed by `change`."""
        score = load_plugin(self.userdir / "strategies" / "ScoreStrategy.py")
        self.predictions.mkdir(parents=True, exist_ok=True)
        for pair in PAIRS:
            coin = pair.split("/")[0]
            stored = pd.read_feather(self.datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
            labels = score.targets(stored, 0)
            stds = labels.std(ddof=0).add_suffix("_std").to_dict()
            rows = labels.assign(**stds, do_predict=1, date=stored["date"])
            for stamp in STAMPS:
                first = int((rows["date"] < pd.Timestamp(stamp, unit="s", tz="UTC")).sum())
                window = change(rows).iloc[first : first + 240].reset_index(drop=True)
                window.to_feather(
                    self.predictions / f"cb_{coin.lower()}_{stamp}_prediction.feather"
                )

    def evaluate(self, *extra: str) -> int:
        args = [part for config in self.configs for part in ("-c", config)]
        args += ["--userdir", str(self.userdir), "--datadir", str(self.datadir)]
        return evaluate.main([*args, "--output", str(self.folder / "out"), *extra])

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "out" / "evaluation.json").read_text())


@pytest.fixture
def user(tmp_path: Path, candles: Path) -> User:
    """A user who has trained nothing yet."""
    return User(tmp_path, candles)


QUICK = ("--no-baselines", "--importance-windows", "0")


def test_saved_perfect_predictions_are_perfect(user: User) -> None:
    """Predictions equal to the labels are read, measured per pair and window, and all are 1."""
    user.save()
    assert user.evaluate(*QUICK) == 0
    report = user.report()
    assert list(report["pairs"]) == list(PAIRS)
    assert len(report["windows"]) == 4
    for found in (report["all"], *report["pairs"].values(), *report["windows"]):
        assert found["predicted"] == 1
        assert found["model"]["r2"] == pytest.approx(1)
        assert found["model"]["sign_accuracy"] == 1
        assert found["persistence"]["r2"] < 0.9
    assert report["verdict"]["colour"] == "green"
    assert report["windows"][0]["start"] == "2024-04-11T00:00:00+00:00"
    assert report["windows"][0]["end"] == "2024-04-21T00:00:00+00:00"
    assert report["importance"] == []


def test_saved_predictions_one_candle_late_are_persistence(user: User) -> None:
    """Labels of the candle before give exactly the figures of persistence."""
    columns = slice("&-t_ma", "&-t_stoch")

    def late(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**rows.loc[:, columns].shift(1))

    user.save(late)
    assert user.evaluate(*QUICK) == 0
    report = user.report()
    for pair in PAIRS:
        model, other = (report["pairs"][pair][name] for name in ("model", "persistence"))
        assert model["correlation"] == pytest.approx(other["correlation"])
        assert model["r2"] == pytest.approx(other["r2"])


def test_weights_found_by_hyperopt_count(user: User) -> None:
    """Weights in ScoreStrategy.json weigh both T and T̂."""
    user.save(lambda rows: rows.assign(**{"&-t_obv": 0.0}))
    zeros = {f"{term}_w": 0.0 for term in TERMS}
    for chosen, r2 in (("ma", 1.0), ("obv", 0.0)):
        parameters = {
            "strategy_name": "ScoreStrategy",
            "params": {"buy": zeros | {f"{chosen}_w": 1.0, "threshold_buy": 0.5}},
        }
        file = user.userdir / "strategies" / "ScoreStrategy.json"
        file.write_text(json.dumps(parameters))
        assert user.evaluate(*QUICK) == 0
        assert user.report()["all"]["model"]["r2"] == pytest.approx(r2, abs=0.02)


def test_timerange_limits_the_candles(user: User) -> None:
    """Only windows and candles inside a given timerange are measured."""
    user.save()
    args = {"config": user.configs, "user_data_dir": str(user.userdir), "datadir": user.datadir}
    args |= {"strategy": "ScoreStrategy", "freqaimodel": "LSTMRegressor"}
    config = load_config(args)
    assert saved_timerange(config) == f"{STAMPS[0]}-{STAMPS[1] + 240 * 3600}"
    config["timerange"] = "20240421-20240425"
    windows = read_windows(load_setup(config))
    assert [len(found) for found in windows.values()] == [1, 1]
    rows = windows[PAIRS[0]][0].rows
    assert rows["date"].iloc[[0, -1]].dt.strftime("%d %H").tolist() == ["21 00", "24 23"]


def error_of(user: User, capsys: pytest.CaptureFixture[str], *extra: str) -> str:
    capsys.readouterr()
    assert user.evaluate(*extra) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return " ".join(err.split())


def test_nothing_predicted_is_an_error(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Without predictions and timerange: where they were expected, and what to do."""
    error = error_of(user, capsys)
    assert f"Expected saved predictions in {user.predictions}, got none" in error
    assert "give --timerange" in error
    user.predictions.mkdir(parents=True)
    assert error_of(user, capsys) == error


def test_predictions_of_another_strategy_are_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saved predictions with other labels are named, not measured."""
    user.save(lambda rows: rows[["date", "do_predict"]].assign(**{"&-target": 1.0}))
    error = error_of(user, capsys, *QUICK)
    assert "got a file without &-t_ma" in error
    assert "another strategy" in error


def test_unreadable_predictions_are_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no feather is named."""
    user.save()
    broken = next(user.predictions.glob("cb_btc_*"))
    broken.write_bytes(b"not a feather file")
    assert f"{broken}, got a file that cannot be read" in error_of(user, capsys, *QUICK)


def test_missing_candles_are_an_error(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data folder that is absent or without the pair's candles is named, with what to do."""
    user.save()
    user.datadir = tmp_path / "nowhere"
    assert f"Expected a data folder with candles at {user.datadir}" in error_of(user, capsys)
    user.datadir.mkdir()
    error = error_of(user, capsys, *QUICK)
    assert f"Expected 1h candles (futures) of {PAIRS[0]} in {user.datadir}, got none" in error
    assert "freqtrade download-data" in error


def test_configuration_without_freqai_is_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """FreqAI switched off, and a missing file, are said so."""
    (user.folder / "second.json").write_text(json.dumps({"freqai": {"enabled": False}}))
    assert "Expected a configuration with freqai.enabled true" in error_of(user, capsys)
    (user.folder / "second.json").unlink()
    assert "second.json" in error_of(user, capsys)


def test_strategy_without_a_score_is_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another strategy is refused by name, also one that does not exist."""
    user.save()
    plain = "from freqtrade.strategy import IStrategy\n\n\nclass Plain(IStrategy):\n"
    plain += "    stoploss = -0.1\n\n"
    for function in ("indicators", "entry_trend", "exit_trend"):
        plain += (
            f"    def populate_{function}(self, dataframe, metadata):\n        return dataframe\n"
        )
    (user.userdir / "strategies" / "Plain.py").write_text(plain)
    assert "a strategy with a score" in error_of(user, capsys, "--strategy", "Plain")
    assert "Absent" in error_of(user, capsys, "--strategy", "Absent")


def test_another_horizon_than_trained_is_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions for the same candle are not measured as forecasts."""
    user.save()
    trained = {"freqai": {"feature_parameters": {"label_period_candles": 3}}}
    (user.predictions.parent / "run_params.json").write_text(json.dumps(trained))
    error = error_of(user, capsys, *QUICK)
    assert "Expected predictions 0 candles ahead" in error
    assert "had 3" in error


# --------------------------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, candles: Path) -> User:
    """The whole command on a user folder with nothing in it: backtest, baselines, importance."""
    user = User(tmp_path_factory.mktemp("user"), candles)
    timerange = ("--timerange", "20240421-20240501")
    assert user.evaluate("--loopback", "--importance-windows", "2", *timerange) == 0
    return user


@pytest.mark.slow
def test_report_of_a_real_backtest(evaluated: User) -> None:
    """Two pairs, two windows: every predictor is measured and every training's report is there."""
    report = evaluated.report()
    assert report["predictors"] == ["model", "persistence", "ridge", "lightgbm"]
    assert len(report["windows"]) == 4
    for window in report["windows"]:
        counts = {window[name]["candles"] for name in report["predictors"]}
        assert counts == {120}, "all predictors are measured on the same candles"
        training = window["training"]
        assert 1 <= training["epochs"] == len(training["curves"]) <= 12
        assert training["seconds"] > 0
        assert training["overfitting"] == pytest.approx(
            training["validation_r2"] - training["label_r2"]
        )
    assert report["all"]["ridge"]["r2"] > 0.5, "the features contain T nearly whole"
    assert report["all"]["lightgbm"]["r2"] > 0.2
    assert not any("no longer give" in note for note in report["notes"])


@pytest.mark.slow
def test_importance_of_real_models(evaluated: User) -> None:
    """The saved `.keras` files are loaded and the score's own features matter most to them."""
    report = evaluated.report()
    assert report["importance_note"].startswith("2 saved models")
    assert len({feature for row in report["importance"] for feature in row["features"]}) > 50
    first = report["importance"][0]
    assert first["drop"] > 0
    assert first["group"] in ("score …", "gated …", "open …")


@pytest.mark.slow
def test_page_is_one_file_that_loads_nothing(evaluated: User) -> None:
    """plotly.js is inside it once, no tag names anything to load, and no figure was lost."""
    text = (evaluated.folder / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert len(text) < 8_000_000
    assert text.count("plotly.js v") == 1
    outside = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert "<script" not in outside
    assert not re.search(r"\b(src|href)\s*=|@import|url\(", outside)
    for heading in ("Did it learn?", "Against the baselines", "Calibration", "Learning curves"):
        assert heading in outside
    assert evaluated.report()["verdict"]["headline"] in outside
    drawn = set(re.findall(r'^"(chart\d+)":|const charts = {"(chart\d+)":', text, re.MULTILINE))
    shown_in = set(re.findall(r'<div id="(chart\d+)"', outside))
    assert {a or b for a, b in drawn} == shown_in
    assert len(shown_in) == 8


@pytest.mark.slow
def test_second_evaluation_trains_nothing(
    evaluated: User, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the predictions there, the same command reads them and gives the same figures.

    What FreqAI noted of the run that made them stays as it is.
    """
    before = evaluated.report()
    noted = evaluated.predictions.parent / "run_params.json"
    noted_before = noted.stat().st_mtime_ns
    assert evaluated.evaluate("--timerange", "20240421-20240501", *QUICK) == 0
    assert "Starting training" not in capfd.readouterr().out
    assert evaluated.report()["pairs"][PAIRS[0]]["model"] == before["pairs"][PAIRS[0]]["model"]
    assert noted.stat().st_mtime_ns == noted_before
