"""The command on saved predictions whose figures are known, and its errors; nothing is trained."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import freqtrade.templates
import numpy as np
import pandas as pd
import pytest
from saved import PAIRS, STAMPS, User, market

from freqai_lstm.evaluate.charts import thinned
from freqai_lstm.evaluate.data import newest, persistence, read_predictions, saved_timerange
from freqai_lstm.evaluate.report import verdict
from freqai_lstm.evaluate.setup import load_config, load_setup
from freqai_lstm.evaluate.words import shown


TERMS = ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")


@pytest.fixture
def user(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user who has trained nothing yet."""
    return User(tmp_path, market(tmp_path_factory))


def draws(*r2: float, spread: float = 0.01) -> np.ndarray:
    """R² of a model and baselines, with draws of a normal spread."""
    noise = np.random.default_rng(1).normal(size=(500, len(r2)))
    return np.vstack([[r2], np.asarray(r2) + spread * noise])


@pytest.mark.parametrize(
    ("r2", "tone", "says"),
    [
        ((0.5, 0.0, 0.3), "good", ["better than", "flat", "ridge"]),
        ((0.5, 0.0, 0.49), "neutral", ["better than the flat", "no difference", "ridge"]),
        ((0.5, 0.0, 0.7), "bad", ["worse than ridge", "better than the flat"]),
        ((1.0, 0.0, 0.999974), "neutral", ["nothing to decide", "ridge"]),
    ],
)
def test_verdict(r2: tuple[float, ...], tone: str, says: list[str]) -> None:
    """Green only where every baseline is beaten beyond doubt; a tie decides nothing."""
    found = verdict(draws(*r2), ["model", "flat", "ridge"], same_candle=False)
    assert found["tone"] == tone
    assert all(words in found["title"].lower() for words in says), found["title"]


def test_verdict_on_the_same_candle_is_neutral() -> None:
    """Horizon 0 is called reproduction, however good or bad the baselines are."""
    for r2 in ((1.0, 0.0, 0.5), (0.5, 0.0, 0.9)):
        found = verdict(draws(*r2), ["model", "flat", "ridge"], same_candle=True)
        assert found["tone"] == "neutral"
        assert "no forecast" in found["title"]


def test_persistence_never_knows_the_answer() -> None:
    """It is the label settled when the forecast is made; for the same candle the one before."""
    labels = pd.Series([1.0, 2.0, 3.0, 4.0])
    assert persistence(labels, 2).tolist()[2:] == [1.0, 2.0]
    assert persistence(labels, 0).tolist()[1:] == [1.0, 2.0, 3.0]
    assert persistence(labels, None).isna().all()


def test_a_candle_predicted_twice_counts_once() -> None:
    """Where windows overlap, the newest training's prediction stands."""
    dates = pd.date_range("2024-01-01", periods=10, freq="h", tz="UTC")
    rows = pd.DataFrame({"pair": "A/B", "target": "&-x", "date": dates, "start": 1, "model": 0})
    later = rows[5:].assign(start=2, model=1)
    assert newest(pd.concat([later, rows]))["model"].tolist() == [0] * 5 + [1] * 5


def test_thinning_keeps_every_peak() -> None:
    """Far fewer points, in order, with the largest and smallest value still there."""
    t = np.random.default_rng(1).standard_t(3, 2_000)
    rows = pd.DataFrame({"date": range(2_000), "realised": t, "model": np.roll(t, 3)})
    thin = thinned(rows, 200)
    assert len(thin) <= 220
    assert thin["date"].is_monotonic_increasing
    for column in ("realised", "model"):
        assert thin[column].max() == rows[column].max()
        assert thin[column].min() == rows[column].min()


def test_figures_are_shown_or_a_dash() -> None:
    """NaN and None are a dash, and zero has no sign."""
    assert shown(None) == shown(np.nan) == "–"
    assert shown(-0.001, "{:.2f}") == "0.00"
    assert shown(-0.2, "{:.1%}") == "-20.0%"


def test_saved_perfect_predictions_are_perfect(user: User) -> None:
    """Predictions equal to the labels of the same candle: all is 1, and no forecast is claimed."""
    user.save()
    assert user.evaluate() == 0
    report = user.report()
    assert list(report["targets"]) == [*(f"&-t_{term}" for term in TERMS), "T"]
    for of in report["targets"].values():
        assert of["look_ahead"] == 0
        assert list(of["pairs"]) == list(PAIRS)
        assert of["mean"]["model"]["r2"]["value"] == pytest.approx(1)
        assert of["mean"]["persistence"]["r2"]["value"] < 0.9
    assert report["headline"]["targets"] == ["T"]
    assert report["headline"]["tone"] == "neutral"
    for figures in report["score"]["pairs"].values():
        assert figures["model"]["sign_accuracy"] == figures["model"]["precision"] == 1
    assert len(report["windows"]) == 4
    first = report["windows"][0]
    assert (first["start"], first["end"]) == (
        "2024-04-11T00:00:00+00:00",
        "2024-04-21T00:00:00+00:00",
    )
    assert first["predicted"] == 1
    assert first["training"]["unseen_r2"] == pytest.approx(1)


def test_saved_predictions_one_candle_late_are_persistence(user: User) -> None:
    """Labels of the candle before give exactly the figures of persistence."""
    columns = slice("&-t_ma", "&-t_stoch")

    def late(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**rows.loc[:, columns].shift(1))

    user.save(late)
    assert user.evaluate() == 0
    for of in user.report()["targets"].values():
        for skill, found in of["mean"]["model"].items():
            assert found == pytest.approx(of["mean"]["persistence"][skill])


def test_invalid_predictions_are_left_out(user: User) -> None:
    """Candles with do_predict 0 count in `predicted` alone."""
    spoilt = {"&-t_ma": 1e9, "do_predict": 0}

    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.copy()
        rows.loc[rows.index[::4], list(spoilt)] = list(spoilt.values())
        return rows

    user.save(spoil)
    assert user.evaluate() == 0
    report = user.report()
    assert [window["predicted"] for window in report["windows"]] == pytest.approx([0.75] * 4)
    assert report["targets"]["&-t_ma"]["mean"]["model"]["r2"]["value"] == pytest.approx(1)


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
        assert user.evaluate() == 0
        found = user.report()["targets"]["T"]["mean"]["model"]["r2"]["value"]
        assert found == pytest.approx(r2, abs=0.02)


def test_timerange_limits_the_candles(user: User) -> None:
    """Only windows and candles inside a given timerange are measured."""
    user.save()
    config = load_config(user.arguments)
    assert saved_timerange(config) == f"{STAMPS[0]}-{STAMPS[1] + 240 * 3600}"
    config["timerange"] = "20240421-20240425"
    found = read_predictions(load_setup(config))
    assert [window.pair for window in found.windows] == list(PAIRS)
    dates = found.rows["date"].dt.strftime("%d %H")
    assert (dates.min(), dates.max()) == ("21 00", "24 23")


def test_how_far_labels_look_ahead_is_measured(user: User) -> None:
    """A strategy's labels of 3 candles ahead, of the next 5 and of all time, whatever it says."""
    (user.userdir / "strategies" / "Ahead.py").write_text(
        "from freqtrade.strategy import IStrategy\n\n\n"
        "class Ahead(IStrategy):\n    stoploss = -0.1\n    timeframe = '1h'\n\n"
        "    def set_freqai_targets(self, dataframe, metadata, **kwargs):\n"
        "        close = dataframe['close']\n"
        "        dataframe['&-3'] = close.shift(-3) / close\n"
        "        dataframe['&-5'] = close.rolling(5).mean().shift(-5)\n"
        "        dataframe['&-all'] = close - close.mean()\n"
        "        return dataframe\n\n"
        "    def populate_indicators(self, dataframe, metadata):\n        return dataframe\n\n"
        "    populate_entry_trend = populate_exit_trend = populate_indicators\n"
    )

    def labels(module: ModuleType, stored: pd.DataFrame) -> pd.DataFrame:
        del module
        close = stored["close"]
        ahead = close.rolling(5).mean().shift(-5)
        return pd.DataFrame({"&-3": close.shift(-3) / close, "&-5": ahead, "&-all": close})

    user.save(make=labels)
    assert user.evaluate(strategy="Ahead") == 0
    report = user.report()
    assert {t: of["look_ahead"] for t, of in report["targets"].items()} == {
        "&-3": 3,
        "&-5": 5,
        "&-all": None,
    }
    assert "persistence" not in report["targets"]["&-all"]["predictors"]
    assert report["score"] is None


def test_example_strategy_of_freqtrade(user: User) -> None:
    """Its mean return six candles ahead, measured with all baselines on its own features."""
    user.configure(label_period_candles=6, include_corr_pairlist=[])
    rng = np.random.default_rng(1)

    def made(module: ModuleType, stored: pd.DataFrame) -> pd.DataFrame:
        del module
        close = stored["close"]
        label = close.rolling(6).mean().shift(-6) / close - 1
        return pd.DataFrame({"&-s_close": label + label.std() * rng.normal(size=len(label))})

    user.save(make=made)
    folder = Path(freqtrade.templates.__path__[0])
    strategy = {"strategy": "FreqaiExampleStrategy", "strategy_path": folder}
    assert user.evaluate(**strategy, freqaimodel="LightGBMRegressor", baselines=True) == 0
    of = user.report()["targets"]["&-s_close"]
    assert of["look_ahead"] == 6
    assert of["predictors"] == ["model", "flat", "persistence", "ridge", "lightgbm"]
    assert of["returns"][2]["ic"]["low"] > 0, "the label is part of the return six candles ahead"


def error_of(user: User, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    capsys.readouterr()
    assert user.evaluate(**options) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return " ".join(captured.err.split())


def test_nothing_predicted_is_an_error(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    """Without predictions: where they were expected, and what to do."""
    error = error_of(user, capsys)
    assert str(user.predictions()) in error
    assert "freqtrade backtesting" in error
    user.save()
    assert str(user.predictions()) in error_of(user, capsys, timerange="20240101-20240110")


def test_predictions_of_another_strategy_are_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saved predictions with other labels are named, not measured."""
    user.save(lambda rows: rows[["date", "do_predict"]].assign(**{"&-target": 1.0}))
    error = error_of(user, capsys)
    assert "&-t_ma" in error
    assert "--strategy" in error


def test_unreadable_predictions_are_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no feather is named."""
    user.save()
    broken = next(user.predictions().glob("cb_btc_*"))
    broken.write_bytes(b"not a feather file")
    assert str(broken) in error_of(user, capsys)


def test_missing_candles_are_an_error(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data folder that is absent or without the pair's candles is named, with what to do."""
    user.save()
    user.datadir = tmp_path / "nowhere"
    assert str(user.datadir) in error_of(user, capsys)
    user.datadir.mkdir()
    error = error_of(user, capsys)
    assert all(word in error for word in ("1h", "futures", PAIRS[0], str(user.datadir)))
    assert "freqtrade download-data" in error


def test_configuration_without_freqai_is_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """FreqAI switched off, and a missing file, are said so."""
    (user.folder / "second.json").write_text(json.dumps({"freqai": {"enabled": False}}))
    assert "freqai.enabled" in error_of(user, capsys)
    (user.folder / "second.json").unlink()
    assert "second.json" in error_of(user, capsys)


def test_strategy_without_numeric_labels_is_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """A strategy that makes no label, or text, is refused by name, also one that does not exist."""
    user.save()
    plain = (
        "from freqtrade.strategy import IStrategy\n\n\nclass Plain(IStrategy):\n"
        "    stoploss = -0.1\n    timeframe = '1h'\n\n"
        "    def populate_indicators(self, dataframe, metadata):\n        return dataframe\n\n"
        "    populate_entry_trend = populate_exit_trend = populate_indicators\n"
    )
    file = user.userdir / "strategies" / "Plain.py"
    file.write_text(plain)
    assert "Plain, got none" in error_of(user, capsys, strategy="Plain")
    label = (
        "\n    def set_freqai_targets(self, dataframe, metadata, **kwargs):\n"
        "        dataframe['&s-up'] = 'up'\n        return dataframe\n"
    )
    file.write_text(plain + label)
    assert "text in &s-up" in error_of(user, capsys, strategy="Plain")
    assert "Absent" in error_of(user, capsys, strategy="Absent")


def test_another_horizon_than_trained_is_an_error(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions for the same candle are not measured as forecasts."""
    user.save()
    trained = {"freqai": {"feature_parameters": {"label_period_candles": 3}}}
    (user.predictions().parent / "run_params.json").write_text(json.dumps(trained))
    error = error_of(user, capsys)
    assert "label_period_candles" in error
    assert "had 3" in error
