"""From FreqAI's frames to the matrices of a training: rows keep their candle, weight and scale."""

import numpy as np
import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException
from pandas import DataFrame, Series

from freqai_lstm.model.candles import COLUMNS
from freqai_lstm.model.dataset import Block, numeric_labels, training_set, transform
from freqai_lstm.model.inputs import InputMaker
from freqai_lstm.model.scaling import LabelScale, feature_pipeline, label_pipeline
from freqai_lstm.model.windows import TrainingSet


HOUR = 3600
SVM = {"use_SVM_to_remove_outliers": True, "svm_params": {"shuffle": False, "nu": 0.4}}


def block(first: int, rows: int, weights: float | np.ndarray = 1.0) -> Block:
    """A block of `rows` consecutive candles whose one feature and one label are their number."""
    numbers = np.arange(first, first + rows)
    return Block(
        DataFrame({"%-x": numbers.astype(float)}),
        DataFrame({"&-a": -numbers.astype(float)}),
        np.full(rows, weights) if np.isscalar(weights) else np.asarray(weights),
        numbers,
        numbers.astype(float),
    )


def joined(
    train: Block, validation: Block | None, horizon: int = 0, no_price: tuple[int, ...] = ()
) -> TrainingSet:
    """The training set of two blocks, for windows of three candles.

    :param no_price: candles whose close is zero.
    """
    numbers = np.arange(200)
    dates = pd.to_datetime(numbers * HOUR, unit="s", utc=True)
    frame = DataFrame({"date": dates, **dict.fromkeys(COLUMNS, 1.0 + numbers)})
    frame.loc[list(no_price), "close"] = 0.0
    inputs = InputMaker(frame, HOUR, 3, candle_channel=True, with_calendar=True)
    return training_set(train, validation, inputs, 3, horizon)


# --- training_set ---


@pytest.mark.parametrize("reversed_order", [False, True])
def test_blocks_are_joined_in_time_order(reversed_order: bool) -> None:
    """Training rows first, or validation rows first with `reverse_train_test_order`."""
    train, validation = block(100, 20), block(120, 8)
    if reversed_order:
        train, validation = block(108, 20), block(100, 8)
    data = joined(train, validation)
    assert data.candles.tolist() == list(range(100, 128))
    for matrix in (data.inputs.features, -data.labels):
        assert matrix[:, 0].tolist() == data.candles.tolist()
        assert matrix.dtype == np.float32
    volume = data.inputs.candles[:, 4]
    assert volume.tolist() == (data.candles + 1).tolist()
    assert volume.dtype == np.float32
    assert data.label_scales.tolist() == data.candles.tolist()
    own = set(validation.candles)
    assert set(data.candles[data.validation_ends]) <= own
    assert not set(data.candles[data.train_ends]) & own
    assert len(data.train_ends) + len(data.validation_ends) == 28 - 2


def test_horizon_is_purged() -> None:
    """`label_period_candles` fewer windows train; the validation windows stay."""
    data = joined(block(0, 20), block(20, 8), horizon=7)
    assert data.train_ends.tolist() == list(range(2, 13))
    assert data.validation_ends.tolist() == list(range(20, 28))
    assert data.horizon == 7


@pytest.mark.parametrize("validation", [None, block(20, 0)])
def test_without_validation_rows(validation: Block | None) -> None:
    """All windows train."""
    data = joined(block(0, 20), validation)
    assert data.train_ends.tolist() == list(range(2, 20))
    assert data.validation_ends.tolist() == []


def test_windows_of_weight_zero_are_left_out() -> None:
    """Neither trained nor validated on: a loss averaged over such weights would be 0 / 0."""
    train, validation = block(0, 20, np.arange(20) >= 10.0), block(20, 8, np.arange(8) >= 5.0)
    data = joined(train, validation)
    assert data.train_ends.tolist() == list(range(10, 20))
    assert data.validation_ends.tolist() == [25, 26, 27]
    none = joined(block(0, 20), block(20, 8, 0.0))
    assert none.validation_ends.tolist() == []


def test_windows_with_an_impossible_price_are_left_out() -> None:
    """A close of zero has no logarithm: no window with it is trained or validated on."""
    train, validation = block(0, 20), block(20, 8)
    data = joined(train, validation, no_price=(7, 24))
    assert data.train_ends.tolist() == [2, 3, 4, 5, 6, *range(10, 20)]
    assert data.validation_ends.tolist() == [20, 21, 22, 23, 27]
    assert data.candles.tolist() == list(range(28)), "its row stays, with its label"
    assert np.isfinite(data.inputs.candles).all()


def test_weights_have_mean_one() -> None:
    """Over the training windows, so that the loss does not depend on their unit."""
    data = joined(block(0, 20, np.linspace(1, 5, 20)), block(20, 8, 7.0))
    assert data.weights[data.train_ends].mean() == pytest.approx(1)
    assert data.weights[25] / data.weights[19] == pytest.approx(7 / 5)


def test_weights_that_leave_nothing() -> None:
    """So small that every weight is 0 to the computer: an error, not a training on nothing."""
    with pytest.raises(OperationalException) as caught:
        joined(block(0, 20, 0.0), None)
    assert "freqai.feature_parameters.weight_factor" in str(caught.value)


# --- transform ---


def frames(rows: int = 200) -> tuple[DataFrame, DataFrame, np.ndarray, Series]:
    """Features, labels, weights and candle numbers of rows whose index is not their position."""
    rng = np.random.default_rng(1)
    index = np.arange(rows) * 3 + 7
    x = DataFrame(rng.normal(size=(rows, 2)), columns=["%-x", "%-s"], index=index)
    labels = DataFrame({"&-a": 1000.0 + np.arange(rows)}, index=index)
    candles = Series(np.arange(rows) * 2 + 500, index=index)
    return x, labels, np.linspace(0.5, 1, rows), candles


def test_rows_that_outlier_steps_drop_take_everything_along() -> None:
    """Each remaining row keeps its own label, scale, weight and candle."""
    x, labels, weights, candles = frames()
    scale = LabelScale.fit("%-s", x, 1)
    assert scale is not None
    pipelines = feature_pipeline(SVM), label_pipeline()
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    got = transform(x, labels, weights, candles, scale, pipelines, fit=True, seed=1)
    assert (np.random.get_state(legacy=False)["state"]["key"] == state).all()
    rows = (got.candles - 500) // 2
    assert 20 < len(rows) < 190
    scales = scale.of(x["%-s"].to_numpy()[rows])
    np.testing.assert_allclose(got.label_scales, scales)
    np.testing.assert_allclose(got.weights, weights[rows], rtol=1e-6)
    back = pipelines[1].inverse_transform(got.labels)[0]["&-a"].to_numpy() * scales
    np.testing.assert_allclose(back, 1000.0 + rows)
    assert list(got.labels) == ["&-a"]
    assert list(got.features) == ["%-x", "%-s"]


def test_validation_rows_are_scaled_as_training_rows() -> None:
    """Pipelines are fitted on training rows alone."""
    x, labels, weights, candles = frames()
    pipelines = feature_pipeline({}), label_pipeline()
    train = transform(x, labels, weights, candles, None, pipelines, fit=True, seed=1)
    again = transform(x, labels, weights, candles, None, pipelines, fit=False, seed=1)
    far = transform(x * 10, labels * 10, weights, candles, None, pipelines, fit=False, seed=1)
    assert train.features.equals(again.features)
    assert train.labels.equals(again.labels)
    np.testing.assert_allclose(far.labels, train.labels * 10)
    assert (train.label_scales == 1).all()


def test_noise_repeats_itself() -> None:
    """FreqAI's noise depends on the seed, and not on what was drawn before."""
    x, labels, weights, candles = frames()

    def noisy(seed: int) -> DataFrame:
        pipelines = feature_pipeline({"noise_standard_deviation": 0.1}), label_pipeline()
        return transform(x, labels, weights, candles, None, pipelines, fit=True, seed=seed).features

    first = noisy(1)
    np.random.seed(99)
    assert noisy(1).equals(first)
    assert not noisy(2).equals(first)


# --- numeric_labels ---


def test_infinite_labels_become_missing() -> None:
    """They are counted by candle; the strategy's own frame stays as it is."""
    frame = DataFrame({"&-a": [1, np.inf, -np.inf, 4], "&-b": [1, 2, np.inf, np.nan], "x": np.inf})
    before = frame.copy()
    clean, infinite = numeric_labels(frame, ["&-a", "&-b"])
    assert infinite == 2
    assert clean[["&-a", "&-b"]].isna().sum().tolist() == [2, 2]
    assert np.isinf(clean["x"]).all()
    assert frame.equals(before)
    same, none = numeric_labels(frame[:1], ["&-a"])
    assert none == 0
    assert same.equals(frame[:1])


@pytest.mark.parametrize(
    "words",
    [["up", "down"], [None, None], pd.Categorical(["up", "down"])],
)
def test_text_labels(words: object) -> None:
    """Labels that are words are refused by name: this is a regression."""
    frame = DataFrame({"&-a": [1.0, 2.0], "&-word": words})
    with pytest.raises(OperationalException) as caught:
        numeric_labels(frame, ["&-a", "&-word"])
    assert "&-word" in str(caught.value)
    assert "numeric labels" in str(caught.value)
    assert "&-a" not in str(caught.value)
