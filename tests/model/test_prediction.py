"""Prediction: which candles get one, from which rows, and that all ways to it agree."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, make_frame
from freqtrade.exceptions import OperationalException
from pandas import DataFrame, Series
from small import drawn_network

from freqai_lstm.model.prediction import with_past


WIDTH = 6
TRAINED, ROWS = 240, 300  # rows to train on; the rest is the backtest window
LABELS = ["&-a", "&-b"]
STEPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pca": {"principal_component_analysis": True},
    "noise": {"noise_standard_deviation": 0.05},
    "di": {"DI_threshold": 0.6},
    "svm": {"use_SVM_to_remove_outliers": True, "svm_params": {"shuffle": False, "nu": 0.05}},
    "dbscan": {"use_DBSCAN_to_remove_outliers": True},
}
Make = Callable[..., Any]


@pytest.fixture
def trained(regressor: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Train on the first rows of a frame, give the model a network, and save it.

    Returns freqai (the LSTMRegressor), dk, frame, `window` (the rows after the training),
    `predict(frame)` for a backtest window and `live(frame)` for a call of a running bot.
    """

    def train(frame: DataFrame | None = None, **config: Any) -> SimpleNamespace:
        frame = learnable(ROWS) if frame is None else frame
        freqai = regressor(**{"data_kitchen_thread_count": 1, **config})
        dk = kitchen(freqai.config, frame)
        freqai.model = model = freqai.train(frame.iloc[:TRAINED], PAIR, dk)
        model.network = drawn_network(frame.iloc[:TRAINED].fillna(0), model.space, WIDTH)
        model.scales, model.network_factors = model.network.scales[PAIR], np.array([0.5, 0.2])
        freqai.dd.save_data(model, PAIR, dk)

        def predict(asked: DataFrame) -> tuple[DataFrame, np.ndarray]:
            freqai.strategy_frame = frame  # as `start` is given it
            return freqai.predict(asked, dk)

        def live(asked: DataFrame) -> tuple[DataFrame, np.ndarray]:
            running = kitchen(freqai.config, frame, live=True)
            freqai.model = freqai.dd.load_data(PAIR, running)
            running.find_labels(frame)
            newest = asked["date"].iloc[-1]
            freqai.strategy_frame = frame.loc[frame["date"] <= newest].tail(max(250, len(asked)))
            return freqai.predict(asked, running, first=False)

        return SimpleNamespace(
            freqai=freqai,
            dk=dk,
            frame=frame,
            window=frame.iloc[TRAINED:],
            predict=predict,
            live=live,
        )

    return train


def assert_alike(first: DataFrame, second: DataFrame) -> None:
    """Labels equal within 1e-5 of their deviation, those without a prediction too."""
    for label, deviation in zip(LABELS, (0.8, 6.0), strict=True):
        a, b = (part[label].to_numpy() / deviation for part in (first, second))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def expected_do_predict(candles: np.ndarray, valid: np.ndarray) -> list[int]:
    """Definition: 1 where the last WIDTH rows are consecutive candles and all of them valid."""
    return [
        int(
            row >= WIDTH - 1
            and bool(valid[row - WIDTH + 1 : row + 1].all())
            and bool((np.diff(candles[row - WIDTH + 1 : row + 1]) == 1).all())
        )
        for row in range(len(candles))
    ]


@pytest.mark.parametrize("name", [name for name in STEPS if name != "dbscan"])
def test_backtest_equals_live(trained: Make, name: str) -> None:
    """The last `conv_width` rows, which a bot predicts, give what the backtest gave there."""
    run = trained(features=STEPS[name])
    predictions, said = run.predict(run.window)
    assert said.sum() > 20
    for row in range(0, len(run.window), 7):
        end = TRAINED + row + 1
        now, said_now = run.live(run.frame.iloc[end - WIDTH : end])
        assert said_now[-1] == said[row]
        assert_alike(now.tail(1), predictions.iloc[[row]])


def test_columns_and_units(trained: Make) -> None:
    """Each label under its own name, in its unit, within its interval, which may be narrow."""
    frame = make_frame(ROWS)
    drawn = np.random.default_rng(3).normal(size=ROWS)
    frame["&-a"], frame["&-b"] = frame["%-x0"] + 0.3 * drawn, 10 * frame["%-x2"] - 3 * drawn
    run = trained(frame)
    run.freqai.model.network = None
    predictions, said = run.predict(run.window)
    ends = ("_lower", "_upper")
    assert list(predictions) == [*LABELS, *(f"{label}{end}" for end in ends for label in LABELS)]
    assert said.tolist() == [1] * len(run.window)
    for label in LABELS:
        assert np.corrcoef(predictions[label], run.window[label])[0, 1] > 0.5
        assert (predictions[f"{label}_lower"] < predictions[f"{label}_upper"]).all()
    assert run.dk.DI_values.tolist() == [0.0] * len(run.window)


@pytest.mark.parametrize("live", [True, False])
def test_what_is_not_predicted(trained: Make, live: bool) -> None:
    """Live as in a backtest it is 0 in an interval without end, and do_predict 0."""
    run = trained()
    frame = run.frame.iloc[: WIDTH + 3] if live else run.window.copy()
    if not live:
        frame.loc[TRAINED + 20, "%-x0"] = np.nan
    predictions, said = (run.live if live else run.predict)(frame)
    none = predictions[said == 0]
    assert len(none) == (WIDTH - 1 if live else WIDTH)
    for end, value in (("", 0.0), ("_lower", -np.inf), ("_upper", np.inf)):
        assert (none[[f"{label}{end}" for label in LABELS]] == value).all(axis=None)
    assert np.isfinite(predictions[said == 1].to_numpy()).all()


def test_window_without_candles(trained: Make) -> None:
    """A pair delisted in the range: no candles, no predictions, all columns, no error."""
    run = trained()
    predictions, said = run.predict(run.window.iloc[:0])
    assert len(predictions) == len(said) == len(run.dk.DI_values) == 0
    assert {*LABELS, "&-a_lower", "&-b_upper"} <= {*predictions}


def test_first_rows_of_a_window(trained: Make, regressor: Make, kitchen: Make) -> None:
    """They are predicted from the last training rows, after a reload too."""
    run = trained()
    predictions, _ = run.predict(run.window)
    again = regressor(data_kitchen_thread_count=1)
    dk = kitchen(again.config, run.frame)
    assert again.model_exists(dk)
    again.model = again.dd.load_data(PAIR, dk)
    again.strategy_frame = run.frame
    reloaded, said = again.predict(run.window, dk)
    assert said.tolist() == [1] * len(run.window)
    assert reloaded.equals(predictions)


def test_training_that_ends_before_the_window(trained: Make) -> None:
    """With `buffer_train_data_candles` the training's last rows begin no window, nor any other."""
    run = trained()
    later = run.window.iloc[3:]
    predictions, said = run.predict(later)
    assert said.tolist() == [0] * (WIDTH - 1) + [1] * (len(later) - WIDTH + 1)
    assert_alike(predictions[said == 1], run.predict(run.window)[0].tail(len(later) - WIDTH + 1))


@pytest.mark.parametrize("seed", range(3))
def test_invalid_windows(trained: Make, seed: int) -> None:
    """do_predict is 0 exactly where a window touches a gap, a NaN, an infinity or no price."""
    run = trained()
    rng = np.random.default_rng(seed)
    frame = run.frame.copy()
    for value in (np.nan, np.inf, -np.inf):
        frame.loc[rng.integers(TRAINED, ROWS), f"%-x{rng.integers(4)}"] = value
    frame.loc[rng.integers(TRAINED, ROWS), "low"] = 0.0
    frame = frame.drop(index=rng.choice(np.arange(TRAINED, ROWS), 3, replace=False))
    valid = np.isfinite(frame.filter(like="%").to_numpy()).all(axis=1) & (frame["low"] > 0)
    expected = expected_do_predict(np.asarray(frame.index), valid.to_numpy())[TRAINED:]
    run.freqai.strategy_frame = None
    before = frame.copy()
    predictions, said = run.freqai.predict(frame.iloc[TRAINED:], run.dk)
    assert 0 < sum(expected) < len(expected)
    assert said.tolist() == expected
    assert np.isfinite(predictions["&-a_upper"]).astype(int).tolist() == expected
    pd.testing.assert_frame_equal(frame, before)


def test_predictions_that_are_no_numbers(trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A model that gives NaN cannot trade: do_predict 0 and an error in the log."""
    run = trained()
    run.freqai.model.bias = np.full_like(run.freqai.model.bias, np.nan)
    predictions, said = run.predict(run.window)
    assert said.tolist() == [0] * len(run.window)
    assert (predictions[LABELS] == 0).all(axis=None)
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    for part in (PAIR, "60 predictions", "do_predict 0"):
        assert part in error


def test_far_beyond_what_was_seen(trained: Make) -> None:
    """Features that grow a millionfold after the training move predictions no further than that."""
    run = trained()
    spread = run.predict(run.window)[0][LABELS].std()
    wild = run.window.copy()
    wild[[f"%-x{i}" for i in range(4)]] *= 1e6
    predictions, _ = run.predict(wild)
    assert (predictions[LABELS].abs().max() < 20 * spread + 20).all()


@pytest.mark.parametrize("name", ["di", "dbscan"])
def test_outlier_in_a_window(trained: Make, name: str) -> None:
    """A far-off candle takes the prediction from every window that holds it, and from no other."""
    run = trained(features={"DI_threshold": 2.0} if name == "di" else STEPS[name])
    _, before = run.predict(run.window)
    broken = run.window.copy()
    broken.loc[TRAINED + 30, ["%-x0", "%-x1"]] = 100.0
    _, said = run.predict(broken)
    assert before[30 : 30 + WIDTH].any()
    assert said[30 : 30 + WIDTH].tolist() == [0] * WIDTH
    assert said[:30].tolist() == before[:30].tolist()
    assert said[30 + WIDTH :].tolist() == before[30 + WIDTH :].tolist()


def test_di_threshold_is_kept(trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """DI_threshold works with `keras: true`; it stays, is recorded, gives a value per candle."""
    run = trained(features={"DI_threshold": 0.6})
    assert run.freqai.config["freqai"]["feature_parameters"]["DI_threshold"] == 0.6
    recorded = json.loads((run.freqai.full_path / "run_params.json").read_text())
    assert recorded["freqai"]["feature_parameters"]["DI_threshold"] == 0.6
    assert "Deactivating" not in caplog.text
    _, said = run.predict(run.window)
    far = run.dk.DI_values >= 0.6
    assert far.shape == (len(run.window),)
    assert far.any()
    assert (said[far] == 0).all()


def test_dates_of_dtype_object(trained: Make) -> None:
    """Dates that arrive as objects give the same predictions."""
    run = trained()
    predictions, _ = run.predict(run.window)
    mixed = run.window.copy()
    stamps = [d.as_unit("ns" if i % 2 else "s") for i, d in enumerate(mixed["date"])]
    mixed["date"] = Series(stamps, dtype=object, index=mixed.index)
    assert run.predict(mixed)[0].equals(predictions)
    assert run.live(mixed.tail(WIDTH))[1].tolist() == [0] * (WIDTH - 1) + [1]


def test_other_features_and_labels(trained: Make, kitchen: Make) -> None:
    """Other features or labels, or another order of them, are refused with both sides named."""
    run = trained()
    with pytest.raises(OperationalException) as caught:
        run.live(run.window.rename(columns={"%-x3": "%-new"}))
    for part in (PAIR, "features", "new: ['%-new']", "missing: ['%-x3']", "freqai.identifier"):
        assert part in str(caught.value)
    swap = {"%-x0": "%-x1", "%-x1": "%-x0"}
    with pytest.raises(OperationalException, match="order"):
        run.predict(run.window[[swap.get(column, column) for column in run.window]])
    more = run.frame.assign(**{"&-c": 1.0})
    dk = kitchen(run.freqai.config, more, live=True)
    run.freqai.model = run.freqai.dd.load_data(PAIR, dk)
    dk.find_labels(more)  # as start_live does after loading
    with pytest.raises(OperationalException, match="label"):
        run.freqai.predict(more, dk)


def test_label_statistics(trained: Make, learnable: Make) -> None:
    """`labels_mean` and `labels_std` are those of the training candles that have the label."""
    frame = learnable(ROWS)
    frame.loc[50:60, "&-a"] = np.nan
    frame.loc[70, "&-a"] = np.inf
    run = trained(frame)
    rows = frame.iloc[:TRAINED].replace(np.inf, np.nan)
    for label in LABELS:
        assert run.dk.data["labels_mean"][label] == pytest.approx(rows[label].mean())
        assert run.dk.data["labels_std"][label] == pytest.approx(rows[label].std(ddof=0))


@pytest.mark.parametrize(
    ("do_predict", "expected"),
    [
        ([1, 1, 0, 1, 0, 1, 2], None),  # three real ones among the last six, of six
        ([1, 1, 1, 1, 1, 1, 1], (2.0, np.sqrt(4.0))),
    ],
)
def test_fit_live_predictions(trained: Make, do_predict: list, expected: Any) -> None:
    """Until enough candles were really predicted the training's statistics serve."""
    run = trained(fit_live_predictions_candles=6)
    before = run.dk.data["labels_mean"]["&-a"], run.dk.data["labels_std"]["&-a"]
    values = [99.0, 0, 0, 4, 4, 4, 0]
    run.freqai.dd.historic_predictions[PAIR] = DataFrame(
        {"&-a": values, "&-b": 1.0, "do_predict": do_predict}
    )
    run.freqai.fit_live_predictions(run.dk, PAIR)
    found = run.dk.data["labels_mean"]["&-a"], run.dk.data["labels_std"]["&-a"]
    assert found == pytest.approx(before if expected is None else expected)


def test_a_frame_is_given_its_past() -> None:
    """Its own candles and as many before them as are asked for, or as there are."""
    dates = pd.date_range("2024-03-01", periods=30, freq="h", tz="UTC")
    every = DataFrame({"date": dates, "close": np.arange(30.0)})
    assert with_past(every[20:25], every, 7)["close"].tolist() == list(range(13, 25))
    assert with_past(every[3:5], every, 7)["close"].tolist() == list(range(5))
    assert with_past(every[29:], every, 2)["close"].tolist() == [27, 28, 29]
