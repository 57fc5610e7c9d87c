"""Kinds of faults with data and settings of users: many rows, keys of a strategy's own.

A new report is one more case of a test here.
"""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasieve.transforms as ds
import numpy as np
import psutil
import pytest
from conftest import PAIR, make_config
from freqtrade.exceptions import OperationalException
from pandas import DataFrame

from freqai_lstm.model import scaling
from freqai_lstm.model.dataset import check_memory
from freqai_lstm.model.labels import UnusableFeature, known_labels
from freqai_lstm.model.parameters import check_freqai, read_parameters
from freqai_lstm.model.scaling import DissimilarityIndex


# ------------------------------------------------------------------- memory that grows with rows²


def values(rows: int, seed: int = 1) -> np.ndarray:
    """Rows of five features, a tenth of them far out."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 5)) * rng.choice([1, 4], size=(rows, 1), p=[0.9, 0.1])


@pytest.mark.parametrize("block", [0.01, 1024])
def test_dissimilarity_is_datasieves(block: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed in blocks, the index and what it removes are those of FreqAI's own step."""
    monkeypatch.setattr(scaling, "BLOCK_MB", block)
    train, new = values(300), values(80, seed=2)
    found: list[Any] = []
    for made in (ds.DissimilarityIndex(di_threshold=0.3, n_jobs=1), DissimilarityIndex(0.3)):
        kept = made.fit_transform(train, np.ones((300, 1)), np.ones(300))
        marks = np.ones(80)
        made.transform(new, marks, outlier_check=True)
        short = made.transform(new, np.ones((80, 1)), np.ones(80))
        found.append((len(kept[0]), made.avg_mean_dist, marks, len(short[0])))
        found.append(made.di_values)
    assert found[0][0] == found[2][0] == 300
    assert found[0][1] == pytest.approx(found[2][1], rel=1e-9)
    assert 0 < found[0][3] == found[2][3] < 80
    np.testing.assert_array_equal(found[0][2], found[2][2])
    np.testing.assert_allclose(found[1], found[3], rtol=1e-9)


def test_mean_distance_of_very_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken to some of the rows, it differs little: two hundredths with 400 of 3,000."""
    train = values(3000)
    exact = DissimilarityIndex(1)
    exact.fit(train)
    monkeypatch.setattr(scaling, "MOST_ROWS", 400)
    some = DissimilarityIndex(1)
    some.fit(train)
    assert some.avg_mean_dist == pytest.approx(exact.avg_mean_dist, rel=0.02)


LIMITED = """
import resource, sys
import numpy as np
from freqai_lstm.model import scaling
scaling.BLOCK_MB = 32
step = scaling.feature_pipeline({"DI_threshold": 1.0}).steps[-1][1]
rows = int(sys.argv[1])
values = np.random.default_rng(1).normal(size=(rows, 4))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20, resource.RLIM_INFINITY))
step.fit_transform(values, np.ones((rows, 1)), np.ones(rows))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_dissimilarity_of_many_rows_in_little_memory() -> None:
    """8,000 rows, whose distances take 512 MB at once, in 400 MB."""
    subprocess.run([sys.executable, "-c", LIMITED, "8000"], check=True, timeout=300)


def test_dbscan_that_does_not_fit_is_refused(
    regressor: Callable[..., Any],
    learnable: Callable[..., DataFrame],
    kitchen: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says how much memory is needed, how much is free, and what to do."""
    check_memory(5000, "A/B")
    free = psutil.virtual_memory().available
    rows = int(np.sqrt(free / 12) * 1.1)
    with pytest.raises(
        UnusableFeature, match=f"A/B: .*DBSCAN.* {rows} training rows need"
    ) as error:
        check_memory(rows, "A/B")
    assert "GB are free. Lower train_period_days" in str(error.value)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    freqai, frame = regressor(features={"use_DBSCAN_to_remove_outliers": True}), learnable(260)
    with pytest.raises(UnusableFeature, match="260 training rows need"):
        freqai.train(frame, PAIR, kitchen(freqai.config, frame))


# --------------------------------------------------------------------------- labels that never move


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_labels_that_never_move(
    regressor: Callable[..., Any],
    learnable: Callable[..., DataFrame],
    kitchen: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    value: float,
) -> None:
    """A constant is predicted as it is; the log line has no R² where there is none."""
    caplog.set_level(logging.INFO)
    freqai, frame = regressor(), learnable(260)
    frame[["&-a", "&-b"]] = value
    dk = kitchen(freqai.config, frame)
    freqai.model = freqai.train(frame, PAIR, dk)
    predictions, said = freqai.predict(frame, dk)
    assert (predictions.loc[said == 1, ["&-a", "&-b"]] == np.nan_to_num(value)).all(axis=None)
    assert "R² – (regression alone –), held out" in caplog.text


# -------------------------------------------------------------------- a strategy's own settings


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"features": {"label_horizon_candles": 24}}, "feature_parameters.label_horizon_candles"),
        ({"features": {"min_label_period_candles": 3}}, "feature_parameters.min_label_period"),
        ({"features": {"causal_mode": True}}, "feature_parameters.causal_mode"),
        ({"features": {"seed": 7}}, "feature_parameters.seed"),
        (
            {
                "features": {
                    "device": "x",
                }
            },
            "feature_parameters.device",
        ),
        ({"split": {"epochs": 3}}, "data_split_parameters.epochs"),
        ({"optuna_hyperopt": {"enabled": True}}, "freqai.optuna_hyperopt"),
        ({"label_weighting": {"strategy": "none"}}, "freqai.label_weighting"),
        ({"units": 64}, "freqai.units"),
    ],
)
def test_a_strategys_own_key_is_a_warning(
    config: dict[str, Any], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is called, it is named once and refused nowhere."""
    check_freqai(make_config(Path(), **config)["freqai"])
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert key in line
    assert "read by neither FreqAI nor LSTMRegressor" in line
    name = key.rpartition(".")[2]
    belongs = "belongs into freqai.model_training_parameters" in line
    assert belongs == (name in {"seed", "device", "epochs", "units"})


@pytest.mark.parametrize("name", ["unit", "leraning_rate", "history_day", "batchsize"])
def test_a_name_of_ours_that_is_misspelt_is_refused(name: str) -> None:
    """In the model's own block nothing else can be meant; the name that is near is offered."""
    with pytest.raises(OperationalException, match="Did you mean"):
        read_parameters({name: 1})


# ----------------------------------------------------- labels that are not missing at the end


def ahead(horizon: int = 12, rows: int = 400) -> np.ndarray:
    """A return of so many candles ahead, missing at the end."""
    close = 100 + np.random.default_rng(1).normal(size=rows).cumsum()
    return np.append(close[horizon:] / close[:-horizon] - 1, np.full(horizon, np.nan))


def pivots(rows: int = 400) -> np.ndarray:
    """1 on one candle in twenty, else 0."""
    return (np.random.default_rng(2).random(rows) < 0.05).astype(float) * (np.arange(rows) < 380)


FILLED = {
    "missing": (ahead(), 12, 0),
    "zero": (np.nan_to_num(ahead()), 12, 12),
    "mean": (np.where(np.isnan(ahead()), np.nanmean(ahead()), ahead()), 12, 12),
    "the last one": (DataFrame(ahead()).ffill()[0].to_numpy(), 13, 13),
    "one candle ahead": (np.nan_to_num(ahead(1)), 0, 0),
    "of the same candle": (np.random.default_rng(3).normal(size=400), 0, 0),
    "mostly zero": (pivots(), 24, 0),
    "constant": (np.zeros(400), 24, 0),
    "gaps": (np.where(np.arange(400) % 7 == 3, np.nan, np.nan_to_num(ahead())), 12, 12),
}


@pytest.mark.parametrize("how", list(FILLED))
def test_labels_that_are_filled_in(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Filled candles are found and left out; where labels repeat, the setting says the horizon."""
    label, horizon, left_out = FILLED[how]
    values, horizons = known_labels(label[:, None], ["&-x"], 24, "A/B")
    assert horizons == [horizon]
    kept = values[:, 0]
    assert (
        np.isfinite(label).sum() - np.isfinite(kept).sum()
        == np.isfinite(label[400 - left_out :]).sum()
    )
    np.testing.assert_array_equal(kept[: 400 - left_out], label[: 400 - left_out])
    assert caplog.text.count("filled in with one value on the newest") == bool(left_out)
