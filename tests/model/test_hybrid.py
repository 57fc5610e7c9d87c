"""What a pair predicts with: exact, flat, its regression, or the network and a regression."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, make_frame, make_kitchen
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame
from small import DAY, PAIRS, STOP, Ranges, history_config

from freqai_lstm.model import dataset, hybrid
from freqai_lstm.model.history import History
from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.ridge import fit_ridge
from freqai_lstm.model.shared_network import SharedNetwork


Make = Callable[..., Any]
TRAINED, ROWS = 900, 1200
LABELS = ["&-a", "&-b"]


@pytest.fixture
def trained(regressor: Make) -> Callable[..., SimpleNamespace]:
    """Train on the first rows of a frame without a network; predict the rest."""

    def train(frame: DataFrame, **config: Any) -> SimpleNamespace:
        freqai = regressor(**config)
        dk = make_kitchen(freqai.config, frame)
        freqai.model = freqai.train(frame.iloc[:TRAINED], PAIR, dk)
        window = frame.iloc[TRAINED:]
        predictions, do_predict = freqai.predict(window, dk)
        return SimpleNamespace(
            freqai=freqai, model=freqai.model, dk=dk, predictions=predictions, said=do_predict
        )

    return train


def frame_of(noise: float = 0.3) -> DataFrame:
    """Candles with two labels that features tell but for noise, one known a candle later."""
    frame = make_frame(ROWS)
    drawn = np.random.default_rng(5).normal(size=(ROWS, 2))
    frame["&-a"] = frame["%-x0"] - frame["%-x1"] + noise * drawn[:, 0]
    frame.loc[[TRAINED - 1, ROWS - 1], "&-a"] = np.nan
    frame["&-b"] = 10 * (frame["%-x2"] + noise * drawn[:, 1]) + 3
    return frame


def r2(frame: DataFrame, predictions: DataFrame) -> Any:
    """R² of each label on the rows after the training, its highest and lowest percent left out."""
    actual = frame[LABELS].iloc[TRAINED:].reset_index(drop=True)
    low, high = actual.quantile(0.02), actual.quantile(0.98)
    kept = (actual >= low) & (actual <= high)
    errors = (actual - predictions[LABELS]).where(kept)
    return 1 - (errors**2).mean() / actual.where(kept).var()


def test_linear_labels_are_exact(trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A label that is linear in the features is predicted exactly, far beyond what was seen too."""
    caplog.set_level(logging.INFO)
    frame = frame_of(noise=0)
    frame.loc[TRAINED + 50 :, "%-x0"] *= 100
    frame["&-a"] = frame["%-x0"] - 2 * frame["%-x1"]
    run = trained(frame)
    actual = frame["&-a"].to_numpy()[TRAINED:]
    left = actual - run.predictions["&-a"].to_numpy()
    assert 1 - np.square(left).sum() / np.square(actual - actual.mean()).sum() > 0.99999
    assert run.model.exact.tolist() == [True, True]
    assert "a straight line explains all of it" in caplog.text


def test_a_feature_keeps_its_slope(trained: Make) -> None:
    """A label that features tell but for some noise is not shrunk: nothing of them is left over."""
    frame = frame_of()
    run = trained(frame)
    features = frame[["%-x0", "%-x1"]].to_numpy()[TRAINED:-1]
    left = frame["&-a"].to_numpy()[TRAINED:-1] - run.predictions["&-a"].to_numpy()[:-1]
    slopes = np.linalg.lstsq(features, left, rcond=None)[0]
    assert np.abs(slopes).max() < 0.1


def test_labels_that_nothing_tells_are_flat(
    trained: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Noise is predicted by (nearly) a constant, and the log names it."""
    frame = frame_of()
    frame["&-a"] = np.random.default_rng(9).normal(5, 1, ROWS)
    run = trained(frame)
    assert run.predictions["&-a"].std() < 0.1
    assert run.predictions["&-a"].mean() == pytest.approx(5, abs=0.15)
    assert run.model.report["factors"][0] < 0.5
    if run.model.report["factors"][0] == 0:
        assert "nothing predicts &-a better" in caplog.text


def test_a_mean_within_its_error_counts_as_zero(trained: Make) -> None:
    """What luck makes of a mean is not predicted; a level that the label really has is."""
    frame, drawn = make_frame(ROWS), np.random.default_rng(8).normal(size=(ROWS, 2))
    drawn[:TRAINED] -= drawn[:TRAINED].mean(axis=0)
    frame["&-a"], frame["&-b"] = drawn[:, 0] + 0.02, 7 + drawn[:, 1]
    predictions = trained(frame).predictions
    assert np.abs(predictions["&-a"].median()) < 0.005
    assert np.abs(predictions["&-b"].median() - 7) < 0.05


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_missing_labels_cost_only_themselves(trained: Make, share: float) -> None:
    """With so many values of one label missing both labels are predicted as well as before."""
    frame = frame_of()
    before = r2(frame, trained(frame).predictions)
    rows = np.random.default_rng(2).random(TRAINED) < share
    frame.loc[np.flatnonzero(rows), "&-a"] = np.nan
    run = trained(frame)
    after = r2(frame, run.predictions)
    assert before.min() > 0.7
    assert (after > before - 0.02).all()
    assert run.model.report["windows"] == TRAINED - 5
    assert run.said.all()


@pytest.mark.parametrize("size", [300, 3000])
def test_a_wild_label_costs_only_itself(
    trained: Make, size: float, caplog: pytest.LogCaptureFixture
) -> None:
    """One value of so many deviations leaves both labels predicted as before, and is said."""
    frame = frame_of()
    before = r2(frame, trained(frame).predictions)
    caplog.clear()
    frame.loc[400, "&-a"] = size * frame["&-a"].std()
    run = trained(frame)
    assert (r2(frame, run.predictions) > before - 0.05).all()
    (line,) = [r.getMessage() for r in caplog.records if "lie beyond" in r.getMessage()]
    assert "&-a" in line
    width = (run.predictions["&-a_upper"] - run.predictions["&-a_lower"]).median()
    assert width < 6 * 0.3, "the interval is not that of the wild value"


def test_wild_features(trained: Make) -> None:
    """One percent of a feature's values a thousand spreads out costs only these rows."""
    frame = frame_of()
    before = r2(frame, trained(frame).predictions)
    wild = np.random.default_rng(3).random(ROWS) < 0.01
    for feature in ("%-x0", "%-x2", "%-x3"):
        frame.loc[wild, feature] = 1000.0
    run = trained(frame)
    after = r2(frame, run.predictions)
    assert (after > before - 0.1).all()
    assert np.isfinite(run.predictions.to_numpy()).all()
    spread = frame[LABELS].std().to_numpy()
    assert (run.predictions[LABELS].abs().max().to_numpy() < 6 * spread + 5).all()


def test_a_label_in_the_price_s_unit(trained: Make) -> None:
    """The close some candles ahead is no worse than the last close, though the price has left."""
    frame = frame_of()
    steps = np.random.default_rng(4).normal(0, 0.01, ROWS) + 0.002
    close = 100 * np.exp(np.cumsum(steps))
    frame = frame.assign(open=close, high=close, low=close, close=close)
    frame["&-a"] = frame["close"].shift(-6)
    run = trained(frame)
    actual, last = frame["&-a"].to_numpy()[TRAINED:-6], close[TRAINED:-6]
    errors = np.abs(actual - run.predictions["&-a"].to_numpy()[:-6]).mean()
    assert close[TRAINED:].min() > close[: TRAINED - 300].max(), "beyond what was seen"
    assert errors < 1.1 * np.abs(actual - last).mean()


def test_intervals_in_label_units(trained: Make) -> None:
    """They are as wide as errors are, and four of five labels lie between."""
    frame = frame_of()
    run = trained(frame)
    for label in LABELS:
        lower, upper = (run.predictions[f"{label}{end}"] for end in ("_lower", "_upper"))
        actual = frame[label].iloc[TRAINED:].reset_index(drop=True)
        assert ((lower < actual) & (actual < upper)).mean() == pytest.approx(0.8, abs=0.06)
        deviation = (actual - run.predictions[label]).std()
        assert (upper - lower).mean() == pytest.approx(2 * 1.28 * deviation, rel=0.2)


# ------------------------------------------------------------------------- with a network


def pair_frame(config: dict[str, Any], pair: str, rows: int = 20 * 24) -> DataFrame:
    """A pair's newest candles with features and labels, as FreqAI gives them to `train`."""
    history = History(config, SimpleNamespace(history_days=1000), 3600)  # type: ignore[arg-type]
    whole = history.frame(Ranges(config), STOP, pair)
    return whole.tail(rows).reset_index(drop=True)


@pytest.fixture(scope="module")
def served(
    lstm: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., SimpleNamespace]:
    """Train a pair on the newest twenty days of candles, with the network of those before."""
    folder = tmp_path_factory.mktemp("served")
    pairs = (*PAIRS, "SOL/USDT:USDT")
    history_config(folder, pairs)

    def train(pair: str, whitelist: tuple[str, ...] = PAIRS, **config: Any) -> SimpleNamespace:
        made = history_config(folder, whitelist, **config)
        freqai = lstm.LSTMRegressor(config=made)
        freqai.live, freqai.strategy = False, Ranges(made)
        freqai.dd.set_pair_dict_info({"pair": pair})
        frame = pair_frame(made, pair)
        dk = FreqaiDataKitchen(made, False, pair)
        dk.set_paths(pair, STOP)
        dk.set_new_model_names(pair, STOP)
        dk.find_features(frame)
        dk.find_labels(frame)
        freqai.model = freqai.train(frame, pair, dk)
        return SimpleNamespace(freqai=freqai, model=freqai.model, dk=dk, frame=frame)

    return train


def test_the_network_serves_what_a_window_tells(served: Make) -> None:
    """It has a share in labels that no line finds, learned before the pair's own window."""
    model: PairModel = served(PAIR).model
    report = model.report
    shares = dict(zip(report["labels"], report["network_factors"], strict=True))
    assert shares["&-since"] > 0.3
    gain = np.subtract(report["selected_r2"], report["ridge_selected_r2"])
    assert gain[report["labels"].index("&-since")] > 0.1
    assert gain.min() > -0.01, "a label that it does not help keeps its regression"
    assert model.network is not None
    assert model.network.border <= STOP - 20 * DAY
    hours = (STOP - model.network.border) // 3600
    assert report["windows"] > 2 * hours, "older ones than the network's border too"
    assert report["teachers"] == sorted(PAIRS)


@pytest.mark.parametrize("dbscan", [False, True])
def test_how_many_older_windows_a_regression_has(
    served: Make, monkeypatch: pytest.MonkeyPatch, dbscan: bool
) -> None:
    """So many at most, beside those from the network's border on; DBSCAN has none: its memory."""
    monkeypatch.setattr(dataset, "MOST_OLDER", 100)
    features = {"use_DBSCAN_to_remove_outliers": dbscan}
    run = served(PAIR, features=features, identifier=f"older-{dbscan}")
    hours = 20 * 24 if dbscan else (STOP - run.model.network.border) // 3600 + 100
    assert (100 if dbscan else hours - 60) < run.model.report["windows"] <= hours


def test_what_is_left_over_is_learned_from_the_earlier_network_s_border_on(
    served: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All windows between the borders of both networks are learned from, with half the weight."""
    monkeypatch.setattr(dataset, "MOST_OLDER", 10)
    fits = []

    def fit(columns: Any, labels: Any, weights: Any, numbers: Any, horizons: Any) -> Any:
        fits.append((weights, numbers))
        return fit_ridge(columns, labels, weights, numbers, horizons)

    monkeypatch.setattr(hybrid, "fit_ridge", fit)
    model: PairModel = served(PAIR, identifier="both", training={"network_days": 10}).model
    assert model.network is not None
    assert len(model.network.borders) == 2
    newest, earlier = (border // 3600 for border in model.network.borders)
    weights, numbers = fits[-1]  # of what the network leaves over
    assert (numbers[0], numbers[-1]) == (earlier, STOP // 3600 - 1)
    assert (np.diff(numbers) == 1).all()
    even = model.report["labels"].index("&-since")
    np.testing.assert_array_equal(weights[:, even], np.where(numbers < newest, 0.5, 1.0))


def test_a_network_that_tells_nothing_leaves_the_regression(
    served: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older windows too tell the regression what few new ones do not; it is not given up."""

    def noise(self: Any, inputs: Any, features: Any, scales: Any, ends: Any, at: Any) -> Any:
        return np.random.default_rng(2).normal(size=(len(ends), len(scales.labels.names)))

    monkeypatch.setattr(SharedNetwork, "predict", noise)
    model: PairModel = served(PAIR).model
    report = model.report
    gain = np.subtract(report["selected_r2"], report["ridge_selected_r2"])
    assert gain.min() > -0.005
    assert max(report["network_factors"]) < 0.1


def test_a_pair_without_history_of_its_own_is_served(served: Make) -> None:
    """A pair that the network did not learn from is scaled by its own window, and gains too."""
    served(PAIR)
    run = served("SOL/USDT:USDT")
    model: PairModel = run.model
    assert model.network is not None
    assert "SOL/USDT:USDT" not in model.network.scales
    assert model.report["network_factors"][model.report["labels"].index("&-since")] > 0.3
    predictions, said = run.freqai.predict(run.frame.tail(100), run.dk)
    assert said.sum() >= 95
    assert np.isfinite(predictions.to_numpy()[said == 1]).all()


def test_the_network_is_trained_once(served: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The second pair, and the second process, use what the first one trained."""
    caplog.set_level(logging.INFO)
    first = served(PAIR)
    caplog.clear()
    second = served(PAIRS[1])
    assert "Training the shared network" not in caplog.text
    weights = [run.model.network.forwards[0].weights["scores/0"] for run in (first, second)]
    np.testing.assert_array_equal(weights[0], weights[1])


def test_no_network_where_nothing_is_left_to_learn(
    served: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where every label is linear in the features none is trained."""
    caplog.set_level(logging.INFO)

    def linear(self: Any, dataframe: DataFrame, metadata: dict, **_: Any) -> DataFrame:
        return dataframe.assign(**{"&-line": 3 * dataframe["%-hour"]})

    monkeypatch.setattr(Ranges, "set_freqai_targets", linear)
    run = served(PAIR, identifier="line")
    assert run.model.network is None
    assert "Training the shared network" not in caplog.text
    assert not (run.freqai.full_path / "networks").exists()


@pytest.mark.parametrize(
    ("labels", "training", "named"),
    [({"&-word": "up"}, {}, "&-word"), ({}, {"label_scale_feature": "%-lable"}, "%-lable")],
)
def test_training_that_no_one_can_use_ends_a_backtest(
    regressor: Make, labels: dict, training: dict, named: str
) -> None:
    """Labels that are words, or a size that is no feature, are refused; a backtest then ends."""
    frame, freqai = make_frame(100).assign(**labels), regressor(training=training)
    dk = make_kitchen(freqai.config, frame)
    with pytest.raises(OperationalException, match=named) as caught:
        freqai.train(frame, PAIR, dk)
    with pytest.raises(OperationalException) as ended:
        freqai._append_null_backtesting_predictions(dk, frame)
    assert ended.value is caught.value
    with pytest.raises(NotImplementedError, match=r"trains in train\(\)"):
        freqai.fit({}, dk)


def test_failed_training_in_a_backtest(regressor: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its candles get 0 in an interval without end, do_predict 0, and one error that names it."""
    frame, freqai = make_frame(48), regressor()
    dk = make_kitchen(freqai.config, frame)
    freqai._append_null_backtesting_predictions(dk, frame)
    found: DataFrame = dk.full_df
    assert found["do_predict"].tolist() == [0] * 48
    expected = {"&-a": 0.0, "&-a_lower": -np.inf, "&-a_upper": np.inf}
    pd.testing.assert_frame_equal(
        found[list(expected)].reset_index(drop=True), DataFrame(expected, index=range(48))
    )
    assert not dk.check_if_backtest_prediction_is_valid(len(frame)), "it is tried again"
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    for part in (PAIR, Path(dk.data_path).name, "48 candles", "do_predict 0"):
        assert part in error
