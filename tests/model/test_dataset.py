"""From FreqAI's frame to the rows of a pair's regression: what is kept, refused, and said."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, make_frame
from freqtrade.exceptions import OperationalException
from pandas import DataFrame

from freqai_lstm.model import dataset as model_dataset
from freqai_lstm.model.dataset import Dataset, prepare
from freqai_lstm.model.scaling import feature_pipeline


Make = Callable[..., Any]
SVM = {"use_SVM_to_remove_outliers": True, "svm_params": {"shuffle": False, "nu": 0.1}}


@pytest.fixture
def prepared(freqai_config: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Prepare a frame; returns data (the Dataset), dk and frame."""

    def make(frame: DataFrame | None = None, seed: int = 1, **config: Any) -> SimpleNamespace:
        made = freqai_config(**config)
        freqai = made["freqai"]
        frame = learnable(260) if frame is None else frame
        dk = kitchen(made, frame)
        dk.feature_pipeline = feature_pipeline(freqai["feature_parameters"])
        data: Dataset = prepare(
            frame,
            dk,
            freqai,
            timeframe_seconds=3600,
            label_scale_feature="",
            seed=seed,
        )
        return SimpleNamespace(data=data, dk=dk, frame=frame)

    return make


def test_rows_keep_their_candle(prepared: Make, learnable: Make) -> None:
    """Without outlier steps every window of whole features is a row, and its label its own."""
    frame = learnable(260)
    frame.loc[50, "%-x1"] = np.nan
    frame.loc[52, "%-x1"] = np.inf
    frame = frame.drop(index=150).reset_index(drop=True)
    before = frame.copy()
    data = prepared(frame).data
    gone = {*range(5), *range(50, 58), *range(150, 155)}
    assert data.rows.tolist() == [row for row in range(259) if row not in gone]
    back = data.space.labels(data.labels, frame.iloc[data.rows])
    np.testing.assert_allclose(back, frame[["&-a", "&-b"]].to_numpy()[data.rows], atol=1e-9)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_missing_label_costs_no_window(prepared: Make, learnable: Make, value: float) -> None:
    """A row needs features alone; where a label is missing or infinite it is NaN, and alone."""
    frame = learnable(260)
    whole = prepared(frame).data
    frame.loc[100:110, "&-a"] = value
    data = prepared(frame).data
    np.testing.assert_array_equal(data.rows, whole.rows)
    missing = (data.rows >= 100) & (data.rows <= 110)
    np.testing.assert_array_equal(np.isnan(data.labels[:, 0]), missing)
    np.testing.assert_array_equal(data.labels[:, 1], whole.labels[:, 1])


@pytest.mark.parametrize(("most", "step"), [(30, 4), (95, 1), (1000, 1)])
def test_of_older_windows_some_are_kept(
    prepared: Make, monkeypatch: pytest.MonkeyPatch, most: int, step: int
) -> None:
    """Later windows are whole, and each that is kept has its own features, labels and weight."""
    monkeypatch.setattr(model_dataset, "MOST_OLDER", most)
    data = prepared().data
    first = int(data.inputs.numbers[data.rows[95]]) * data.candle_seconds
    kept = [*range(0, 95, step), *range(95, len(data.rows))]
    found = data.thinned(first)
    for name in ("rows", "features", "labels", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name)[kept])
    np.testing.assert_array_equal(data.thinned(0).rows, data.rows)


def test_outlier_steps(prepared: Make) -> None:
    """Rows that they drop end windows; the others keep candle, label and weight."""
    run = prepared(make_frame(600), features=SVM | {"weight_factor": 0.2})
    data, frame = run.data, run.frame
    assert len(run.dk.data_dictionary["train_features"]) < 570
    assert 100 <= len(data.rows) < 500
    back = data.space.labels(data.labels, frame.iloc[data.rows])
    np.testing.assert_allclose(back, frame[["&-a", "&-b"]].to_numpy()[data.rows], atol=1e-9)
    assert (np.diff(data.weights) > 0).all(), "recent rows weigh more"
    assert data.weights.mean() == pytest.approx(1)
    again = prepared(make_frame(600), features=SVM | {"weight_factor": 0.2}).data
    np.testing.assert_array_equal(again.features, data.features)


def test_noise_is_seeded_and_leaves_numpys_own(prepared: Make) -> None:
    """Steps that draw give the same with one seed, whatever was drawn before."""
    features = {"noise_standard_deviation": 0.1}
    first = prepared(features=features).data.features
    np.random.seed(99)
    state = np.random.get_state(legacy=True)[1].copy()  # type: ignore[index]
    second = prepared(features=features).data.features
    np.testing.assert_array_equal(np.random.get_state(legacy=True)[1], state)  # type: ignore[index]
    np.testing.assert_array_equal(second, first)
    assert (prepared(features=features, seed=2).data.features != first).any()


def test_horizons_of_each_label(
    prepared: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Read off the frame's end, per label; a setting that says less is warned of."""
    frame = learnable(260)
    frame["&-a"] = frame["&-a"].shift(-12)
    data = prepared(frame).data
    assert data.space.horizons == [12, 0]
    (warning,) = [r.getMessage() for r in caplog.records if "label_period_candles" in r.message]
    assert "&-a is known after 12 candles" in warning
    cut = {"buffer_train_data_candles": 20, "label_period_candles": 7}
    assert prepared(learnable(260), features=cut).data.space.horizons == [7, 7]


def test_few_windows(prepared: Make, learnable: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Below 100 windows a warning, below 20 an error; both say what to do."""
    caplog.set_level(logging.WARNING)
    prepared(learnable(105))
    assert "training windows" not in caplog.text
    prepared(learnable(104), train_period_days=1)
    for part in (PAIR, "99 training windows", "freqai.train_period_days", "freqai.conv_width"):
        assert part in caplog.text
    with pytest.raises(OperationalException, match="19 training windows"):
        prepared(learnable(24), train_period_days=1)


def test_too_few_rows(prepared: Make, learnable: Make) -> None:
    """The error says how many candles had everything, and what to download where that helps."""
    frame = learnable(600)
    frame.loc[19:, "%-x1"] = np.nan
    with pytest.raises(OperationalException, match=rf"{PAIR}: 19 of 600 training candles"):
        prepared(frame)
    with pytest.raises(OperationalException, match=r"20240121-20240210 --prepend"):
        prepared(learnable(20, start="2024-02-10"), train_period_days=20)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_never_there_is_named(
    prepared: Make, learnable: Make, value: float
) -> None:
    """Instead of "download more data"."""
    with pytest.raises(OperationalException, match=r"%-x2 is missing or infinite on all 260"):
        prepared(learnable(260).assign(**{"%-x2": value}))


def test_label_with_the_name_of_an_interval(prepared: Make, learnable: Make) -> None:
    """A label `&-a_upper` beside `&-a` is refused."""
    with pytest.raises(OperationalException, match="&-a_upper has the name of another label's"):
        prepared(learnable(260).assign(**{"&-a_upper": 1.0}))


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({"weight_factor": 1e-9}, "weight_factor"),
        (SVM | {"svm_params": {"shuffle": False, "nu": 1.0}}, "outlier steps removed every"),
    ],
)
def test_settings_that_leave_nothing(prepared: Make, features: dict, named: str) -> None:
    """An error names the setting, instead of a training on nothing."""
    with pytest.raises(OperationalException, match=named):
        prepared(make_frame(600), features=features)
