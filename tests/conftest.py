"""What the tests share: a small FreqAI set-up, a strategy's frame, seeds."""

import logging
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame

from freqai_lstm.plugins import MODEL_FILE, load_plugin


__all__ = ["PAIR", "ROOT", "load_plugin"]

ROOT = Path(__file__).resolve().parents[1]
PAIR = "BTC/USDT:USDT"
STAMP = 1709251200  # 2024-03-01, when a training window ends


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take minutes first, so that the workers of `make test` end together.

    The dry-runs of tests/rehearse take longest and mostly wait: `make test` has three workers, and
    two cores are busy. They come first, so that nothing waits for them in the end.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != "test_bots.py", item.path not in slow))


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Tests draw the same numbers, and log alike, in every run and in every order."""
    logging.disable(logging.NOTSET)  # commands that were called in this process keep it quiet
    random.seed(1)
    np.random.seed(1)


@pytest.fixture(scope="session")
def lstm() -> ModuleType:
    """The module of LSTMRegressor.py."""
    return load_plugin(MODEL_FILE)


def hide_tensorflow(folder: Path) -> dict[str, str]:
    """Return variables for a process in which TensorFlow and Keras cannot be imported."""
    lines = ["import sys", "sys.modules['tensorflow'] = sys.modules['keras'] = None"]
    (folder / "sitecustomize.py").write_text("\n".join(lines))
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def make_config(
    folder: Path,
    training: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
    split: dict[str, Any] | None = None,
    **freqai: Any,
) -> dict[str, Any]:
    """Make a freqtrade configuration for FreqAI, without a shared network: `history_days` is 0.

    :param folder: the user's folder.
    :param training: updates `model_training_parameters`.
    :param features: updates `feature_parameters`.
    :param split: updates `data_split_parameters`.
    :param freqai: anything else of the `freqai` block.
    """
    small: dict[str, Any] = {"units": 8, "epochs": 3, "history_days": 0}
    return {
        "user_data_dir": folder,
        "datadir": folder / "data",
        "config_files": [str(folder / "config.json")],
        "timeframe": "1h",
        "timerange": "20240301-20240315",
        "stake_currency": "USDT",
        "exchange": {"name": "binance", "pair_whitelist": [PAIR]},
        "freqai": {
            "enabled": True,
            "identifier": "test",
            "keras": True,
            "model_save_type": "keras",
            "conv_width": 6,
            "train_period_days": 20,
            "backtest_period_days": 7,
            "live_retrain_hours": 0,
            "purge_old_models": 2,
            "activate_tensorboard": False,
            "feature_parameters": {
                "include_timeframes": ["1h"],
                "include_corr_pairlist": [],
                "label_period_candles": 0,
                "include_shifted_candles": 0,
                "indicator_periods_candles": [10],
                "shuffle_after_split": False,
                "buffer_train_data_candles": 0,
                **(features or {}),
            },
            "data_split_parameters": {"test_size": 0.2, "shuffle": False, **(split or {})},
            "model_training_parameters": {**small, **(training or {})},
            **freqai,
        },
    }


def make_frame(rows: int = 500, start: str = "2024-01-01", seed: int = 1) -> DataFrame:
    """Make candles with four features and two labels that the last three candles decide."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    past = pd.DataFrame(x).rolling(3, min_periods=1).mean().to_numpy()
    close = 100 + np.cumsum(x[:, 0])
    return DataFrame(
        {
            "date": pd.date_range(start, periods=rows, freq="h", tz="UTC"),
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 1.0,
            **{f"%-x{i}": x[:, i] for i in range(4)},
            "&-a": past[:, 0] - past[:, 1],
            "&-b": 10 * past[:, 2],
        }
    )


def make_kitchen(
    config: dict[str, Any], frame: DataFrame, *, live: bool = False, stamp: int = STAMP
) -> FreqaiDataKitchen:
    """Make the FreqaiDataKitchen of one training window, with features and labels found."""
    dk = FreqaiDataKitchen(config, live, PAIR)
    dk.set_paths(PAIR, stamp)
    dk.set_new_model_names(PAIR, stamp)
    dk.find_features(frame)
    dk.find_labels(frame)
    return dk


@pytest.fixture
def freqai_config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`make_config` in the test's own folder."""
    (tmp_path / "config.json").write_text("{}")  # FreqAI copies it to the models
    return partial(make_config, tmp_path)


@pytest.fixture
def learnable() -> Callable[..., DataFrame]:
    """`make_frame`."""
    return make_frame


@pytest.fixture
def kitchen() -> Callable[..., FreqaiDataKitchen]:
    """`make_kitchen`."""
    return make_kitchen


@pytest.fixture
def regressor(lstm: ModuleType, freqai_config: Callable[..., dict]) -> Callable[..., Any]:
    """Make an LSTMRegressor of a backtest; a second one in a test is that after a restart.

    Keywords are those of `make_config`.
    """

    def make(**config: Any) -> Any:
        freqai = lstm.LSTMRegressor(config=freqai_config(**config))
        freqai.live = False
        freqai.dd.set_pair_dict_info({"pair": PAIR})
        return freqai

    return make
