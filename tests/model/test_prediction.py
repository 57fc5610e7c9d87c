"""Prediction: which candles get one, from which rows, and that all ways to it agree."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame, Series

from freqai_lstm.model.parameters import LABEL_SCALE
from freqai_lstm.model.part import r_squared
from freqai_lstm.model.prediction import with_past
from freqai_lstm.model.scaling import LabelScale


WIDTH = 6
TRAINED, ROWS = 240, 300  # rows to train on; the rest is the backtest window

Make = Callable[..., Any]


@pytest.fixture
def trained(regressor: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Train on the first rows of a frame, as a backtest does, and save the model.

    Returns freqai (the LSTMRegressor), dk, frame, `window` (the rows after the training),
    `predict(frame)` for a backtest window and `live(frame)` for a call of a running bot.
    """

    def train(frame: DataFrame | None = None, **config: Any) -> SimpleNamespace:
        frame = learnable(ROWS) if frame is None else frame
        freqai = regressor(**{"data_kitchen_thread_count": 1, **config})
        dk = kitchen(freqai.config, frame)
        freqai.model = freqai.train(frame.iloc[:TRAINED], PAIR, dk)
        freqai.dd.save_data(freqai.model, PAIR, dk)

        def predict(asked: DataFrame) -> tuple[DataFrame, np.ndarray]:
            freqai.strategy_frame = frame  # as `start` is given it
            return freqai.predict(asked, dk)

        def live(asked: DataFrame) -> tuple[DataFrame, np.ndarray]:
            running = kitchen(freqai.config, frame, live=True)
            freqai.model = freqai.dd.load_data(PAIR, running)
            running.find_labels(frame)
            newest = asked["date"].iloc[-1]
            freqai.strategy_frame = frame.loc[frame["date"] <= newest].tail(max(50, len(asked)))
            return freqai.predict(asked, running, first=False)

        return SimpleNamespace(
            freqai=freqai,
            dk=dk,
            frame=frame,
            window=frame.iloc[TRAINED:],
            predict=predict,
            live=live,
            scale=Series({label: dk.data["labels_std"][label] for label in dk.label_list}),
        )

    return train


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


LABELS = ["&-a", "&-b"]
ENDS = ("_lower", "_upper")


def assert_equal_predictions(
    first: DataFrame, second: DataFrame, scale: Series, ends: tuple[str, ...] = ("",)
) -> None:
    """Equal within a millionth of each label's standard deviation, and NaN in the same places.

    :param ends: of the columns' names, after those of the labels.
    """
    for end in ends:
        for label in scale.index:
            a, b = (part[label + end].to_numpy() / scale[label] for part in (first, second))
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, equal_nan=True)


# Enough for the network to add something to the ridge regression.
LEARNS = {"epochs": 30, "learning_rate": 0.02, "units": 16}


@pytest.mark.parametrize("switched", ["candle_channel", "calendar"])
def test_a_model_keeps_the_inputs_it_was_trained_with(trained: Make, switched: str) -> None:
    """Loaded under another setting (allow_changed_fingerprint), it predicts as before."""
    run = trained(training=LEARNS)
    before, _ = run.predict(run.window)
    parameters = run.freqai.parameters
    run.freqai.parameters = parameters.model_copy(update={switched: False})
    after, _ = run.predict(run.window)
    pd.testing.assert_frame_equal(before, after)


def test_backtest_equals_live(trained: Make) -> None:
    """The last `conv_width` rows, which a bot predicts, give what the backtest gave there."""
    run = trained(training=LEARNS)
    assert max(run.freqai.model.report["shares"]) > 0.1, "the LSTMs take part"
    predictions, do_predict = run.predict(run.window)
    assert do_predict.tolist() == [1] * len(run.window)
    assert predictions.std().min() > 0
    for row in range(0, len(run.window), 7):
        end = TRAINED + row + 1
        now, said = run.live(run.frame.iloc[end - WIDTH : end])
        assert said.tolist() == [0] * (WIDTH - 1) + [1]
        assert_equal_predictions(now.tail(1), predictions.iloc[[row]], run.scale)


def test_predictions_are_in_label_units(trained: Make) -> None:
    """Predictions come back in the scale of the labels, each under its own name."""
    training = {"epochs": 40, "learning_rate": 0.02, "units": 16}
    run = trained(training=training | {"candle_channel": False, "calendar": False})
    predictions, _ = run.predict(run.window)
    assert list(predictions.columns) == [*LABELS, *(f"{a}{end}" for end in ENDS for a in LABELS)]
    for label in LABELS:
        actual = run.window[label].to_numpy()
        residual = ((actual - predictions[label].to_numpy()) ** 2).mean()
        assert residual < 0.5 * actual.var()


def test_whole_frame_live(trained: Make) -> None:
    """The first live call predicts the whole frame; only its own first rows lack a window."""
    run = trained()
    whole, said = run.live(run.frame)
    assert said.tolist() == [0] * (WIDTH - 1) + [1] * (ROWS - WIDTH + 1)
    assert whole.iloc[: WIDTH - 1].isna().all(axis=None)
    assert_equal_predictions(whole.tail(ROWS - TRAINED), run.predict(run.window)[0], run.scale)


def test_first_rows_after_a_reload(trained: Make, regressor: Make, kitchen: Make) -> None:
    """Loaded from disk, a model predicts the first candles of its window from its history too."""
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


def test_history_does_not_bridge_a_gap(trained: Make) -> None:
    """When the backtest window does not follow the training at once, its first rows wait."""
    run = trained()
    _, said = run.predict(run.window.iloc[1:])
    assert said.tolist() == [0] * (WIDTH - 1) + [1] * (len(run.window) - WIDTH)


def test_history_holds_invalid_rows(trained: Make, learnable: Make) -> None:
    """A NaN among the history's rows invalidates the windows that reach it, and only those."""
    frame = learnable(ROWS)
    frame.loc[TRAINED - 2, "%-x1"] = np.nan
    run = trained(frame)
    _, said = run.predict(run.window)
    assert said.tolist() == [0] * (WIDTH - 2) + [1] * (len(run.window) - WIDTH + 2)


@pytest.mark.parametrize("seed", range(4))
def test_invalid_windows(trained: Make, seed: int) -> None:
    """NaN and do_predict 0 stand exactly where a window touches a gap, a NaN or an infinity."""
    run = trained()
    rng = np.random.default_rng(seed)
    frame = run.frame.copy()
    for value in (np.nan, np.inf, -np.inf):
        row = rng.integers(TRAINED, ROWS)
        frame.loc[row, f"%-x{rng.integers(4)}"] = value
    frame = frame.drop(index=rng.choice(np.arange(TRAINED, ROWS), 3, replace=False))
    candles = np.asarray(frame.index)
    valid = np.isfinite(frame.filter(like="%").to_numpy()).all(axis=1)
    expected = expected_do_predict(candles, valid)[TRAINED:]
    assert 0 < sum(expected) < len(expected)
    predictions, said = run.predict(frame.iloc[TRAINED:])
    assert said.tolist() == expected
    assert predictions.isna().all(axis=1).astype(int).tolist() == [1 - e for e in expected]
    assert predictions.isna().any(axis=1).astype(int).tolist() == [1 - e for e in expected]


def test_untouched_windows_keep_their_prediction(trained: Make) -> None:
    """An invalid row changes no prediction of a window that does not hold it."""
    run = trained()
    predictions, _ = run.predict(run.window)
    broken = run.window.copy()
    broken.loc[TRAINED + 20, "%-x2"] = np.nan
    with_hole, said = run.predict(broken)
    untouched = said == 1
    assert untouched.sum() == len(said) - WIDTH
    assert_equal_predictions(with_hole[untouched], predictions[untouched], run.scale)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"principal_component_analysis": True},
        {"DI_threshold": 0.5},
        {"use_SVM_to_remove_outliers": True},
    ],
)
def test_future_changes_nothing(trained: Make, features: dict[str, Any]) -> None:
    """With the candles after it cut off or changed, every candle keeps its prediction.

    The interval, which learns from errors of the candles before, stays as well.
    """
    run = trained(features=features)
    predictions, said = run.predict(run.window)
    assert said.any()
    for rows in (1, 17, 40):
        cut, said_cut = run.predict(run.window.iloc[:rows])
        assert said_cut.tolist() == said[:rows].tolist()
        assert_equal_predictions(cut, predictions.iloc[:rows], run.scale, ("", *ENDS))
    changed = run.window.copy()
    changed.iloc[30:, changed.columns.str.contains("[%&]")] *= 50
    other, said_other = run.predict(changed)
    assert said_other[:30].tolist() == said[:30].tolist()
    assert_equal_predictions(other.iloc[:30], predictions.iloc[:30], run.scale, ("", *ENDS))


STEPS = {
    "svm": {"use_SVM_to_remove_outliers": True},
    "svm_params": {"use_SVM_to_remove_outliers": True, "svm_params": {"nu": 0.2}},
    "pca": {"principal_component_analysis": True},
    "dbscan": {"use_DBSCAN_to_remove_outliers": True},
    "noise": {"noise_standard_deviation": 0.05},
    "di": {"DI_threshold": 0.6},
    "all": {
        "use_SVM_to_remove_outliers": True,
        "principal_component_analysis": True,
        "noise_standard_deviation": 0.05,
        "DI_threshold": 1.2,
    },
}


@pytest.mark.parametrize("name", STEPS)
def test_steps(trained: Make, name: str) -> None:
    """With each of FreqAI's steps a candle is predicted where its window holds only inliers."""
    run = trained(features=STEPS[name])
    pipeline = run.dk.feature_pipeline
    wanted = {"all": ["pca", "svm", "di", "noise"], "svm_params": ["svm"]}.get(name, [name])
    assert all(step in pipeline for step in wanted)
    predictions, said = run.predict(run.window)
    names = run.dk.training_features_list
    rows = run.frame.iloc[TRAINED - WIDTH + 1 :]
    _, inliers, _ = pipeline.transform(rows[names], outlier_check=True)
    candles = np.arange(len(rows))
    assert said.tolist() == expected_do_predict(candles, np.asarray(inliers) == 1)[WIDTH - 1 :]
    assert said.sum() > 5
    assert np.isfinite(predictions[said == 1]).all(axis=None)
    assert predictions[said == 0].isna().all(axis=None)


@pytest.mark.parametrize("name", ["pca", "noise", "di", "svm", "all"])
def test_steps_live(trained: Make, name: str) -> None:
    """With these steps too, a bot predicts what the backtest did."""
    run = trained(features=STEPS[name])
    predictions, said = run.predict(run.window)
    for row in range(0, len(run.window), 11):
        end = TRAINED + row + 1
        now, said_now = run.live(run.frame.iloc[end - WIDTH : end])
        assert said_now[-1] == said[row]
        assert_equal_predictions(now.tail(1), predictions.iloc[[row]], run.scale)


@pytest.mark.parametrize("name", ["di", "dbscan"])
def test_outlier_in_a_window(trained: Make, name: str) -> None:
    """A far-off candle takes the prediction from every window that holds it, and from no other."""
    wide = {"DI_threshold": 2.0} if name == "di" else STEPS[name]
    run = trained(features=wide)
    _, before = run.predict(run.window)
    broken = run.window.copy()
    row = TRAINED + 30
    broken.loc[row, ["%-x0", "%-x1"]] = 100.0
    _, said = run.predict(broken)
    assert before[30 : 30 + WIDTH].any()
    assert said[30 : 30 + WIDTH].tolist() == [0] * WIDTH
    assert said[:30].tolist() == before[:30].tolist()
    assert said[30 + WIDTH :].tolist() == before[30 + WIDTH :].tolist()


def test_noise_is_for_training_alone(trained: Make) -> None:
    """Noise changes what is learned, and no prediction is ever noisy."""
    run = trained(features=STEPS["noise"])
    assert run.predict(run.window)[0].equals(run.predict(run.window)[0])


def test_di_threshold_is_kept(trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """DI_threshold works with `keras: true`; the user's value stays, also in what is recorded."""
    run = trained(features={"DI_threshold": 0.6})
    assert run.freqai.config["freqai"]["keras"] is True
    assert run.freqai.config["freqai"]["feature_parameters"]["DI_threshold"] == 0.6
    assert run.freqai.ft_params["DI_threshold"] == 0.6
    recorded = json.loads((run.freqai.full_path / "run_params.json").read_text())
    assert recorded["freqai"]["feature_parameters"]["DI_threshold"] == 0.6
    assert "Deactivating" not in caplog.text
    assert run.dk.feature_pipeline["di"].di_threshold == 0.6


def test_di_values(trained: Make) -> None:
    """DI_values has one value per candle asked for: the distance of that candle's own features."""
    run = trained(features={"DI_threshold": 0.6})
    _, said = run.predict(run.window)
    assert run.dk.DI_values.shape == (len(run.window),)
    far = run.dk.DI_values >= 0.6
    assert far.any()
    assert (said[far] == 0).all()
    near_too = [not far[max(0, r - WIDTH + 1) : r + 1].any() for r in range(WIDTH, len(far))]
    assert (said[WIDTH:] == 1).tolist() == near_too


def test_di_values_without_di(trained: Make) -> None:
    """Without DI the values are zeros, one per candle."""
    run = trained()
    run.predict(run.window)
    assert run.dk.DI_values.tolist() == [0.0] * len(run.window)


def test_frame_is_left_alone(trained: Make) -> None:
    """Predicting changes nothing in the strategy's frame."""
    run = trained()
    window = run.window.copy()
    window.loc[TRAINED + 3, "%-x0"] = np.inf
    before = window.copy()
    run.predict(window)
    assert window.equals(before)


def test_dates_of_dtype_object(trained: Make) -> None:
    """Dates that arrive as objects give the same predictions."""
    run = trained()
    predictions, _ = run.predict(run.window)
    mixed = run.window.copy()
    stamps = [d.as_unit("ns" if i % 2 else "s") for i, d in enumerate(mixed["date"])]
    mixed["date"] = Series(stamps, dtype=object, index=mixed.index)
    assert mixed["date"].dtype == object
    assert run.predict(mixed)[0].equals(predictions)
    assert run.live(mixed.tail(WIDTH))[1].tolist() == [0] * (WIDTH - 1) + [1]


def test_other_features(trained: Make) -> None:
    """Features other than the trained ones are refused with both sides named."""
    run = trained()
    other = run.window.rename(columns={"%-x3": "%-new"})
    with pytest.raises(OperationalException) as caught:
        run.live(other)
    for part in (PAIR, "features", "new: ['%-new']", "missing: ['%-x3']", "freqai.identifier"):
        assert part in str(caught.value)


def test_other_order_of_features(trained: Make) -> None:
    """The same features in another order are refused too, and the message says it is the order."""
    run = trained()
    swap = {"%-x0": "%-x1", "%-x1": "%-x0"}
    with pytest.raises(OperationalException, match=r"order"):
        run.predict(run.window[[swap.get(column, column) for column in run.window]])


def test_other_labels(trained: Make, kitchen: Make) -> None:
    """A bot whose strategy makes other labels, or orders them otherwise, is told which."""
    run = trained()
    swap = {"&-a": "&-b", "&-b": "&-a"}
    swapped = run.frame[[swap.get(column, column) for column in run.frame]]
    for frame in (swapped, run.frame.assign(**{"&-c": 1.0})):
        dk = kitchen(run.freqai.config, frame, live=True)
        run.freqai.model = run.freqai.dd.load_data(PAIR, dk)
        dk.find_labels(frame)  # as start_live does after loading
        with pytest.raises(OperationalException, match=r"label"):
            run.freqai.predict(frame, dk)


def test_predictions_that_are_no_numbers(trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A model that gives NaN cannot trade: do_predict 0 and an error in the log."""
    run = trained()
    run.freqai.model.bias = np.full_like(run.freqai.model.bias, np.nan)
    predictions, said = run.predict(run.window)
    assert said.tolist() == [0] * len(run.window)
    assert predictions.isna().all(axis=None)
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    for part in (PAIR, "60 predictions", "do_predict 0"):
        assert part in record.getMessage()


def test_label_statistics_are_those_of_training(trained: Make) -> None:
    """FreqAI's `labels_mean` and `labels_std` are those of the training rows, in label units."""
    run = trained()
    rows = run.frame.iloc[: TRAINED * 8 // 10]
    for label in ("&-a", "&-b"):
        assert run.dk.data["labels_mean"][label] == pytest.approx(rows[label].mean())
        assert run.dk.data["labels_std"][label] == pytest.approx(rows[label].std(ddof=0))


def statistics(dk: FreqaiDataKitchen) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation that FreqAI gives the strategy for each label."""
    return {
        label: (dk.data["labels_mean"][label], dk.data["labels_std"][label]) for label in LABELS
    }


def test_fit_live_predictions(trained: Make) -> None:
    """Only candles that were predicted count in the recent mean and deviation."""
    run = trained(fit_live_predictions_candles=6)
    history = DataFrame(
        {
            "&-a": [99.0, 1, 0, 3, np.nan, 5, 0],
            "&-b": [99.0, 2, 0, 2, np.nan, 2, 0],
            "do_predict": [1, 1, 0, 1, 0, 1, 2],
        }
    )
    run.freqai.dd.historic_predictions[PAIR] = history
    run.freqai.fit_live_predictions(run.dk, PAIR)
    assert statistics(run.dk) == {"&-a": (3.0, pytest.approx(np.std([1, 3, 5]))), "&-b": (2.0, 0)}


def test_fit_live_predictions_before_the_first(trained: Make) -> None:
    """With no predicted candle yet, mean and deviation are 0, not NaN."""
    run = trained(fit_live_predictions_candles=6)
    run.freqai.dd.historic_predictions[PAIR] = DataFrame(
        {"&-a": [0.0, 0.0], "&-b": [0.0, 0.0], "do_predict": [0, 0]}
    )
    run.freqai.fit_live_predictions(run.dk, PAIR)
    assert statistics(run.dk) == {"&-a": (0, 0), "&-b": (0, 0)}


def test_fit_live_predictions_without_do_predict(trained: Make) -> None:
    """A history without the column, as FreqAI's own tests have it, counts whole."""
    run = trained(fit_live_predictions_candles=2)
    run.freqai.dd.historic_predictions[PAIR] = DataFrame({"&-a": [9.0, 1, 3], "&-b": [9.0, 2, 2]})
    run.freqai.fit_live_predictions(run.dk, PAIR)
    assert statistics(run.dk) == {"&-a": (2.0, 1.0), "&-b": (2.0, 0.0)}


def test_interval_covers_four_of_five(trained: Make, learnable: Make) -> None:
    """Where errors are alike from candle to candle, so often the label lies between the two."""
    frame = learnable(TRAINED + 1000)
    noise = np.random.default_rng(7).normal(size=(len(frame), 2))
    frame[LABELS] = frame[["%-x0", "%-x1"]].to_numpy() + noise * [0.5, 3.0]
    run = trained(frame, features={"label_period_candles": 1})
    predictions, _ = run.predict(run.window)
    for label, deviation in (("&-a", 0.5), ("&-b", 3.0)):
        actual = run.window[label].to_numpy()
        lower, upper = (predictions[label + end].to_numpy() for end in ENDS)
        assert ((lower < actual) & (actual < upper)).mean() == pytest.approx(0.8, abs=0.03)
        width = 2 * 1.2816 * deviation  # from the 10th to the 90th percentile of a normal
        assert np.mean(upper - lower) == pytest.approx(width, rel=0.15)


# ------------------------------------------------------------------ labels relative to a scale


AHEAD = {"label_period_candles": 1}


@pytest.fixture
def swinging(learnable: Make) -> Make:
    """Make candles whose next label is a feature of now times a size that swings thousandfold."""

    def make(rows: int = ROWS, name: str = LABEL_SCALE) -> DataFrame:
        frame = learnable(rows)
        size = 10 ** np.random.default_rng(3).uniform(-1, 2, rows)
        sign = np.where(np.arange(rows) % 2, -1, 1)  # only its size counts
        for label, feature in (("&-a", "%-x0"), ("&-b", "%-x1")):
            frame[label] = size * (frame[feature] + 0.5 * frame["%-x2"] ** 2)
        return frame.assign(**{name: sign * size})

    return make


def test_labels_ahead_are_learned_relative_to_their_scale(trained: Make, swinging: Make) -> None:
    """Small labels are met as well as large ones, and predictions are in label units again."""
    training = {"epochs": 30, "learning_rate": 0.02, "units": 16}
    error = {}
    for name, parameters in (("relative", {}), ("as they are", {"label_scale_feature": ""})):
        run = trained(swinging(), features=AHEAD, training=training | parameters)
        predictions, do_predict = run.predict(run.window)
        predictions = predictions[LABELS]
        assert do_predict.all()
        small = (run.window[LABEL_SCALE].abs() < 1).to_numpy()
        actual = run.window[list(predictions)].to_numpy()
        error[name] = np.abs(predictions.to_numpy() - actual)[small].mean()
        assert (np.sign(predictions) == np.sign(actual)).to_numpy()[~small].mean() > 0.7
        assert (predictions.std() / actual.std(axis=0) > 0.2).all(), "in label units"
    assert error["relative"] < 0.2 * error["as they are"]


def test_validation_r2_is_in_label_units(trained: Make, swinging: Make) -> None:
    """The report compares with what is seen out of sample, where large candles weigh most."""
    frame = swinging()
    run = trained(frame, features=AHEAD)
    rows = slice(TRAINED - 48, TRAINED)  # test_size 0.2
    predictions, _ = run.predict(frame.iloc[TRAINED - 48 - WIDTH + 1 : TRAINED])
    size = LabelScale(**run.dk.data["label_scale"]).of(frame[LABEL_SCALE])
    unit = (frame[LABELS].div(size, axis=0)).iloc[: TRAINED - 48].std(ddof=0).to_numpy()
    actual, predicted = frame[LABELS].iloc[rows], predictions[LABELS].tail(48)
    r2 = r_squared(actual.to_numpy() / unit, predicted.to_numpy() / unit)
    # The report's ridge regression has not seen the rows, that of the predictions has.
    assert run.freqai.model.report["validation_r2"] == pytest.approx(r2, abs=0.15)
    assert run.freqai.model.report["validation_r2"] < r2


def test_relative_labels_live_and_from_disk(trained: Make, swinging: Make) -> None:
    """A model loaded from disk, which a bot has, multiplies with the size it was trained with."""
    run = trained(swinging(), features=AHEAD)
    predictions, _ = run.predict(run.window)
    for row in (0, 30, 59):
        end = TRAINED + row + 1
        now, _ = run.live(run.frame.iloc[end - WIDTH : end])
        assert_equal_predictions(now.tail(1), predictions.iloc[[row]], run.scale)


def test_rows_dropped_by_outlier_steps_keep_their_scale(trained: Make, swinging: Make) -> None:
    """Each label is still divided by the size of its own candle."""
    svm = {"use_SVM_to_remove_outliers": True, "svm_params": {"shuffle": False, "nu": 0.5}}
    run = trained(swinging(), features=AHEAD | svm)
    parts = run.dk.data_dictionary
    assert len(parts["train_labels"]) < 0.75 * TRAINED
    relative = parts["train_labels"].to_numpy() / parts["train_labels"].std().to_numpy()
    assert np.abs(relative).max() < 10, "sizes that swing thousandfold are gone"


@pytest.mark.parametrize(
    ("horizon", "columns", "parameter"),
    [
        (0, LABEL_SCALE, None),  # labels of the same candle are a function of the features
        (1, "%-other", None),  # a strategy need not have the default feature
        (1, LABEL_SCALE, ""),
    ],
)
def test_labels_are_left_as_they_are(
    trained: Make, swinging: Make, horizon: int, columns: str, parameter: str | None
) -> None:
    """Nothing is divided, nothing is kept for prediction."""
    given = {} if parameter is None else {"training": {"label_scale_feature": parameter}}
    run = trained(swinging(name=columns), features={"label_period_candles": horizon}, **given)
    assert run.dk.data["label_scale"] is None
    rows = run.dk.label_pipeline.inverse_transform(run.dk.data_dictionary["train_labels"])[0]
    labels = run.frame[LABELS].to_numpy()[: len(rows)]
    np.testing.assert_allclose(rows.to_numpy(), labels, rtol=1e-6)


@pytest.mark.parametrize("problem", ["missing", "mostly zero"])
def test_scale_feature_that_no_training_can_use(
    regressor: Make, swinging: Make, kitchen: Make, problem: str
) -> None:
    """The training fails by its name, and a backtest then ends instead of filling in zeros."""
    frame = swinging()
    given = {}
    if problem == "missing":
        given = {"training": {"label_scale_feature": "%-lable_scale"}}
    else:
        frame.loc[frame.index % 10 > 0, LABEL_SCALE] = 0.0
    freqai = regressor(features=AHEAD, **given)
    dk = kitchen(freqai.config, frame)
    with pytest.raises(OperationalException, match="label_scale_feature") as caught:
        freqai.train(frame, PAIR, dk)
    with pytest.raises(OperationalException) as ended:
        freqai._append_null_backtesting_predictions(dk, frame)
    assert ended.value is caught.value


def test_a_frame_is_given_its_past() -> None:
    """Its own candles and as many before them as are asked for, or as there are."""
    dates = pd.date_range("2024-03-01", periods=30, freq="h", tz="UTC")
    every = DataFrame({"date": dates, "close": np.arange(30.0)})
    assert with_past(every[20:25], every, 7)["close"].tolist() == list(range(13, 25))
    assert with_past(every[3:5], every, 7)["close"].tolist() == list(range(5))
    assert with_past(every[29:], every, 2)["close"].tolist() == [27, 28, 29]
