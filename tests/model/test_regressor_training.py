"""LSTMRegressor.train, as FreqAI calls it: what it learns from, refuses, and says."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import PAIR, STAMP
from freqtrade.exceptions import OperationalException
from pandas import DataFrame, Series
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from freqai_lstm.model.pool import NetworkPool


Make = Callable[..., Any]


@pytest.fixture
def trained(regressor: Make, learnable: Make, kitchen: Make) -> Callable[..., SimpleNamespace]:
    """Train on `frame`; returns model, dk, freqai (the LSTMRegressor), and the frame."""

    def train(
        frame: DataFrame | None = None,
        freqai: Any = None,
        live: bool = False,
        stamp: int = STAMP,
        **config: Any,
    ) -> SimpleNamespace:
        frame = learnable(260) if frame is None else frame
        freqai = freqai or regressor(**config)
        freqai.live, freqai.tb_logger = live, None
        dk = kitchen(freqai.config, frame, live=live, stamp=stamp)
        model = freqai.train(frame, PAIR, dk)
        return SimpleNamespace(model=model, dk=dk, freqai=freqai, frame=frame)

    return train


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two vectors of weights are equal bit for bit."""
    return bool((first == second).all())


def lines(caplog: pytest.LogCaptureFixture, lstm: ModuleType) -> list[str]:
    """What the plugin and its package logged."""
    ours = (lstm.__name__, "freqai_lstm")
    return [record.getMessage() for record in caplog.records if record.name.startswith(ours)]


def test_one_line_per_training(
    lstm: ModuleType, trained: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says how many epochs ran, the best loss, R² on validation rows, and seconds."""
    caplog.set_level("INFO")
    report = trained().model.report
    (line,) = [line for line in lines(caplog, lstm) if "windows in" in line]
    for part in (
        f"{PAIR}: trained 3 epochs on 203 windows in ",
        f"best epoch {report['best_epoch']}, validation loss {report['validation_loss']:.4f}",
        f"R² {report['validation_r2']:.3f}",
        f"{report['ridge_validation_r2']:.3f}",
        "52 validation windows",
    ):
        assert part in line


def test_exact_ridge_regression_is_said(
    lstm: ModuleType, trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels that are linear in the features train no LSTM, and the line says so."""
    caplog.set_level("INFO")
    frame = learnable(260)
    frame["&-a"], frame["&-b"] = frame["%-x0"] - 2 * frame["%-x1"], 3 * frame["%-x2"]
    report = trained(frame).model.report
    assert (report["exact"], report["epochs"], report["best_epoch"]) == (True, 0, 0)
    (line,) = [line for line in lines(caplog, lstm) if "no LSTM was trained" in line]
    assert line.startswith(PAIR)
    assert "203 windows" in line


def test_test_size_zero(lstm: ModuleType, trained: Make, caplog: pytest.LogCaptureFixture) -> None:
    """With test_size 0 a line says that there is no validation, and all epochs run."""
    caplog.set_level("INFO")
    report = trained(
        split={"test_size": 0}, training={"early_stopping_patience": 1, "learning_rate": 0.5}
    ).model.report
    said = lines(caplog, lstm)
    assert [("early stopping is off" in line and "test_size 0" in line) for line in said].count(
        True
    ) == 1
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    (line,) = [line for line in said if "windows in" in line]
    assert "trained 3 epochs on 255 windows" in line
    assert f"no validation; loss {report['loss']:.4f}" in line
    assert report["epochs"] == 3


def test_validation_too_short_for_a_window(
    trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Validation rows that make no window are warned about, with what to raise."""
    frame = learnable(260)
    frame.loc[160:258:2, "%-x0"] = np.nan
    trained(frame)
    (warning,) = [
        r.getMessage()
        for r in caplog.records
        if r.levelname == "WARNING" and "validation windows" in r.getMessage()
    ]
    for part in (PAIR, "all epochs run", "data_split_parameters.test_size"):
        assert part in warning


def test_no_window_bridges_dropped_rows(
    trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows with NaN, rows without a label and missing candles each cost their windows."""
    caplog.set_level("INFO")
    frame = learnable(260)
    frame.loc[50, "%-x1"] = np.nan
    frame.loc[100, "&-a"] = np.nan
    frame = frame.drop(index=150).reset_index(drop=True)
    trained(frame, split={"test_size": 0})
    # Each of the three holes ends a run of candles; the next run's first 5 rows make no window.
    assert "on 237 windows in" in caplog.text  # 257 rows left in 4 runs, less 4 × 5


def test_few_windows_warn_and_fewer_fail(
    trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Below 100 training windows there is a warning, below 20 an error; both say what to do."""
    trained(learnable(130), train_period_days=1)  # 99 windows
    (warning,) = [r.getMessage() for r in caplog.records if "training windows" in r.getMessage()]
    for part in (PAIR, "99 training windows", "freqai.train_period_days", "freqai.conv_width"):
        assert part in warning
    caplog.clear()
    trained(learnable(140))
    assert "training windows" not in caplog.text
    with pytest.raises(OperationalException) as caught:
        trained(learnable(30), train_period_days=1)  # 19 windows
    for part in (PAIR, "19 training windows", "at least 20", "freqai.train_period_days"):
        assert part in str(caught.value)


def test_too_few_rows(trained: Make, learnable: Make) -> None:
    """With too few candles that have everything the error says how many there were."""
    frame = learnable(600)
    frame.loc[19:, "%-x1"] = np.nan
    with pytest.raises(OperationalException) as caught:
        trained(frame)
    for part in (PAIR, "19 of 600", "at least 20", "always missing"):
        assert part in str(caught.value)


def test_too_short_a_history_names_the_dates_to_download(trained: Make, learnable: Make) -> None:
    """Candles that begin after the training period does: raising its days would not help."""
    frame = learnable(20, start="2024-02-10")
    with pytest.raises(OperationalException) as caught:
        trained(frame, train_period_days=20)
    message = str(caught.value)
    for part in ("2024-02-10", "2024-01-21", "download-data", "20240121-20240210", "--prepend"):
        assert part in message
    assert "Raise" not in message


def test_infinite_labels(
    lstm: ModuleType, trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Candles with infinite labels are left out, with a line; the strategy's frame stays as is."""
    caplog.set_level("INFO")
    frame = learnable(260)
    frame.loc[[30, 31], "&-a"] = np.inf
    frame.loc[31, "&-b"] = -np.inf
    before = frame.copy()
    run = trained(frame, split={"test_size": 0})
    assert frame.equals(before)
    assert any(PAIR in s and "2 candles have infinite labels" in s for s in lines(caplog, lstm))
    assert np.isfinite(run.model.weights).all()
    assert np.isfinite(list(run.dk.data["labels_std"].values())).all()
    assert "on 248 windows in" in caplog.text  # 258 rows left in 2 runs, less 2 × 5


def test_infinite_features(trained: Make, learnable: Make) -> None:
    """Candles with infinite features are left out like those with NaN."""
    frame = learnable(260)
    frame.loc[30, "%-x0"] = np.inf
    assert np.isfinite(trained(frame).model.report["validation_loss"])


def test_text_labels(regressor: Make, learnable: Make, kitchen: Make) -> None:
    """Labels that are words are refused by name, and a backtest then ends."""
    frame = learnable(100)
    frame["&-word"] = "up"
    freqai = regressor()
    dk = kitchen(freqai.config, frame)
    with pytest.raises(OperationalException, match="&-word") as caught:
        freqai.train(frame, PAIR, dk)
    with pytest.raises(OperationalException) as ended:
        freqai._append_null_backtesting_predictions(dk, frame)
    assert ended.value is caught.value


def test_weight_factor(trained: Make) -> None:
    """FreqAI's weight_factor reaches the training: recent rows pull harder."""
    parameters = {"epochs": 10, "learning_rate": 0.02}
    plain = trained(training=parameters).model
    weighted = trained(training=parameters, features={"weight_factor": 0.2}).model
    for name in ("weights", "kernel"):
        assert not same(getattr(plain, name), getattr(weighted, name)), name
    assert plain.report["curves"] != weighted.report["curves"]


def test_weight_factor_that_leaves_nothing(trained: Make) -> None:
    """So small that every weight is 0 to the computer: an error, not a training on nothing."""
    with pytest.raises(OperationalException, match=r"feature_parameters\.weight_factor"):
        trained(features={"weight_factor": 1e-9})


def test_fit_is_not_the_way_in(trained: Make) -> None:
    """FreqAI calls `train`; whoever calls `fit` is told."""
    run = trained()
    with pytest.raises(NotImplementedError, match=r"trains in train\(\)"):
        run.freqai.fit(run.dk.data_dictionary, run.dk)


def test_dates_of_dtype_object(trained: Make, learnable: Make) -> None:
    """Live, dates can arrive as objects of mixed resolution: training and saving still work."""
    plain, mixed = learnable(260), learnable(260)
    units = np.where(np.arange(260) < 130, "ms", "ns")
    stamps = [date.as_unit(str(unit)) for date, unit in zip(mixed["date"], units, strict=True)]
    mixed["date"] = Series(stamps, dtype=object)
    assert mixed["date"].dtype == object
    run = trained(mixed, live=True)
    assert same(run.model.weights, trained(plain, live=True).model.weights)
    run.freqai.dd.save_data(run.model, PAIR, run.dk)
    assert run.freqai.model_exists(run.dk)


def test_random_state_is_left_alone(regressor: Make, trained: Make) -> None:
    """Building, training and outlier steps leave Python's and NumPy's own randomness as it was."""
    features = {"use_SVM_to_remove_outliers": True, "noise_standard_deviation": 0.05}
    freqai = regressor(features=features)
    freqai.pool = NetworkPool(freqai.parameters)
    before: tuple[Any, Any] = random.getstate(), np.random.get_state()
    trained(freqai=freqai)
    after: tuple[Any, Any] = random.getstate(), np.random.get_state()
    assert before[0] == after[0]
    assert (before[1][1] == after[1][1]).all()
    assert before[1][2:] == after[1][2:]


def test_random_state_does_not_matter(trained: Make) -> None:
    """Noise and SVM repeat themselves whatever was drawn before."""
    features = {"use_SVM_to_remove_outliers": True, "noise_standard_deviation": 0.05}
    first = trained(features=features)
    np.random.seed(99)
    random.seed(99)
    assert same(first.model.weights, trained(features=features).model.weights)


FRESH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
import numpy as np
from freqai_lstm.plugins import MODEL_FILE
lstm = conftest.load_plugin(MODEL_FILE)
out = Path(sys.argv[2])
config, frame = conftest.make_config(out), conftest.make_frame(260)
freqai = lstm.LSTMRegressor(config=config)
freqai.live = False
model = freqai.train(frame, conftest.PAIR, conftest.make_kitchen(config, frame))
np.save(out / "weights.npy", model.weights)
"""


def test_fresh_process_same_weights(trained: Make, tmp_path: Path) -> None:
    """A fresh process with another hash seed trains the same weights, bit for bit."""
    subprocess.run(
        [sys.executable, "-c", FRESH, str(Path(__file__).parents[1]), str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert same(np.load(tmp_path / "weights.npy"), trained().model.weights)


def test_continual_learning(
    lstm: ModuleType, trained: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The second training starts from the pair's saved model, with a line."""
    caplog.set_level("INFO")
    first = trained(continual_learning=True, training={"epochs": 30, "learning_rate": 0.02})
    first.freqai.dd.save_data(first.model, PAIR, first.dk)
    assert not any("continual" in line for line in lines(caplog, lstm))
    second = trained(freqai=first.freqai, stamp=1709856000)
    assert f"{PAIR}: continual learning, starting from the last model." in lines(caplog, lstm)
    begun = [run.model.report["curves"][0]["val_loss"] for run in (first, second)]
    assert begun[1] < 0.5 * begun[0]


def test_continual_learning_with_other_features(
    lstm: ModuleType, trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """When the features changed the training starts fresh and says so."""
    first = trained(continual_learning=True)
    first.freqai.dd.save_data(first.model, PAIR, first.dk)
    changed = learnable(260).rename(columns={"%-x3": "%-y"})
    second = trained(changed, freqai=first.freqai, stamp=1709856000)
    (said,) = [s for s in lines(caplog, lstm) if "continual learning cannot start" in s]
    assert PAIR in said
    assert "16 features then, 16 now" in said
    assert same(second.model.weights, first.model.weights)  # as a first training would be


def test_without_continual_learning(trained: Make) -> None:
    """By default every training starts fresh, though there is a model of the pair."""
    first = trained()
    first.freqai.dd.save_data(first.model, PAIR, first.dk)
    assert same(first.model.weights, trained(freqai=first.freqai).model.weights)


def test_tensorboard_on(trained: Make) -> None:
    """Switched on, TensorBoard itself reads a scalar per epoch from the sub-train's folder."""
    run = trained(activate_tensorboard=True)
    (folder,) = {path.parent for path in Path(run.dk.data_path).rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    assert {"loss", "val_loss", "learning_rate"} <= set(events.Tags()["tensors"])
    curves = run.model.report["curves"]
    for name in ("loss", "val_loss", "learning_rate"):
        written = events.Tensors(name)
        values = [
            float(np.frombuffer(e.tensor_proto.tensor_content, np.float32)[0])
            if e.tensor_proto.tensor_content
            else e.tensor_proto.float_val[0]
            for e in written
        ]
        # Epoch 0 is the ridge regression, which has a validation loss alone.
        had = [epoch for epoch in curves if name in epoch]
        assert [event.step for event in written] == [epoch["epoch"] for epoch in had]
        assert had[0]["epoch"] == (0 if name == "val_loss" else 1)
        assert values == pytest.approx([epoch[name] for epoch in had])


def test_tensorboard_off(trained: Make) -> None:
    """Switched off, a training writes nothing at all."""
    run = trained(activate_tensorboard=False)
    assert not Path(run.dk.data_path).exists()


def test_outlier_step_removes_all_validation_rows(
    trained: Make, learnable: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """When every validation row is an outlier the training goes on without validation, warned."""
    frame = learnable(260)
    frame.loc[208:, ["%-x0", "%-x1", "%-x2", "%-x3"]] *= 1000
    report = trained(
        frame, features={"DI_threshold": 0.9}, data_kitchen_thread_count=1
    ).model.report
    assert report["validation_loss"] is None
    assert report["epochs"] == 3
    assert "no validation windows" in caplog.text


def test_outlier_step_removes_all_training_rows(trained: Make) -> None:
    """When every training row is an outlier the error names the pair and the cause."""
    with pytest.raises(OperationalException, match=rf"{PAIR}.*outlier"):
        trained(
            features={
                "use_SVM_to_remove_outliers": True,
                "svm_params": {"shuffle": False, "nu": 1.0},
            }
        )


def test_all_labels_missing(trained: Make, learnable: Make) -> None:
    """A live training without a single labelled candle stops with an error that names the pair."""
    frame = learnable(100)
    frame["&-a"] = np.nan
    with pytest.raises(OperationalException, match=PAIR):
        trained(frame, live=True)
