"""What any model must beat: a ridge regression and FreqAI's own LightGBMRegressor.

Both learn T itself, weighed with the strategy's current weights, from the same features and the
same training rows of each window as the model, and predict the same candles. One model for T is
stronger than nine for its terms: its loss is the very error that is measured. It is also the
lesser product, since other weights need a new training; the comparison leans to the baselines.

The third baseline, persistence, needs no training: `evaluate_data.persistence`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.prediction_models.LightGBMRegressor import LightGBMRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import RobustScaler

from freqai_lstm.evaluate.data import Window
from freqai_lstm.evaluate.setup import Setup, populate_features


TARGET = "&-T"
ALPHAS = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
LEARNED = ("ridge", "lightgbm")


class Features:
    """Features of each pair, computed once, cut into windows as FreqAI's backtest cuts them."""

    def __init__(self, setup: Setup, scratch: Path) -> None:
        self.setup = setup
        self.config = setup.scratch(scratch)
        self._frames: dict[str, pd.DataFrame] = {}

    def kitchen(self, window: Window) -> FreqaiDataKitchen:
        """FreqAI's kitchen, which looks for the window's model where FreqAI has put it."""
        kitchen = FreqaiDataKitchen(self.config, False, window.pair)
        kitchen.data_path = self.setup.folder / window.folder
        kitchen.model_filename = window.name
        return kitchen

    def training(self, window: Window) -> pd.DataFrame:
        """Candles the window's model was trained on, with features and the nine labels."""
        kitchen = self.kitchen(window)
        days = self.config["freqai"]["train_period_days"]
        known = self._of(window.pair)
        known = known[known["date"] < window.timerange().startdt]
        # The labels of the last candles would lie after the training data; here they are missing.
        known = self.setup.strategy.set_freqai_targets(known.copy(), {"pair": window.pair})
        frame = kitchen.slice_dataframe(kitchen.buffer_timerange(window.timerange(days)), known)
        return kitchen.remove_special_chars_from_feature_names(frame.copy())

    def predicted(self, window: Window) -> pd.DataFrame:
        """Candles of the window's predictions, with features."""
        kitchen = self.kitchen(window)
        frame = kitchen.slice_dataframe(window.timerange(), self._of(window.pair))
        return kitchen.remove_special_chars_from_feature_names(frame.copy())

    def _of(self, pair: str) -> pd.DataFrame:
        if pair not in self._frames:
            kitchen = FreqaiDataKitchen(self.config, False, pair)
            # One pair at a time is enough, and all of them may not fit into memory.
            self._frames = {pair: populate_features(self.setup, kitchen, pair)}
        return self._frames[pair]


def add_baselines(
    features: Features,
    windows: dict[str, list[Window]],
    scratch: Path,
    advance: Callable[[Window], None],
) -> None:
    """Add the columns ridge and lightgbm to the rows of every window, in 1 / quote currency.

    :param advance: called with each window that is done.
    """
    plain = features.setup.scratch(
        scratch,
        # Nothing of the evaluated model's set-up: LightGBM's defaults, as FreqAI runs them. On so
        # few rows several threads mostly wait for each other, for half a minute on a busy machine.
        keras=False,
        model_save_type="joblib",
        conv_width=1,
        activate_tensorboard=False,
        continual_learning=False,
        model_training_parameters={"verbosity": -1, "n_jobs": 1},
    )
    lightgbm = LightGBMRegressor(config=plain)
    for pair, of_pair in windows.items():
        for window in of_pair:
            train = _with_target(features, window)
            unseen = features.predicted(window)
            kitchen = FreqaiDataKitchen(plain, False, pair)
            for name, values in (
                ("lightgbm", _lightgbm(lightgbm, kitchen, train, unseen)),
                ("ridge", _ridge(kitchen, train, unseen, features.setup.horizon)),
            ):
                by_date = pd.Series(values, index=pd.DatetimeIndex(unseen["date"]))
                window.rows[name] = by_date.reindex(window.rows["date"]).to_numpy()
            advance(window)


def _with_target(features: Features, window: Window) -> pd.DataFrame:
    frame, formulas = features.training(window), features.setup.formulas
    weights = features.setup.strategy.weights
    frame = frame.assign(**{TARGET: formulas.weigh(frame, weights)})
    return frame.drop(columns=list(formulas.LABELS))


def _lightgbm(
    model: LightGBMRegressor, kitchen: FreqaiDataKitchen, train: pd.DataFrame, unseen: pd.DataFrame
) -> np.ndarray:
    kitchen.find_features(train)
    kitchen.find_labels(train)
    kitchen.data_path = Path(kitchen.full_path)
    with _own_split(kitchen):
        model.model = model.train(train, kitchen.pair, kitchen)
    predicted, _ = model.predict(unseen, kitchen)
    return predicted[TARGET].to_numpy("float64")


@contextlib.contextmanager
def _own_split(kitchen: FreqaiDataKitchen) -> Iterator[None]:
    # `make_train_test_datasets` writes a default into the configuration it was given.
    before = copy.deepcopy(kitchen.config["freqai"]["data_split_parameters"])
    try:
        yield
    finally:
        kitchen.config["freqai"]["data_split_parameters"] = before


def _ridge(
    kitchen: FreqaiDataKitchen, train: pd.DataFrame, unseen: pd.DataFrame, horizon: int
) -> np.ndarray:
    """Ridge on robustly scaled features; alpha is chosen on the last fifth of the training rows.

    Then it is fitted again on all of them: nothing of what the model may look at is held back.
    """
    kitchen.find_features(train)
    x, y = kitchen.filter_features(train, kitchen.training_features_list, [TARGET])
    unseen_x, _ = kitchen.filter_features(
        unseen, kitchen.training_features_list, training_filter=False
    )
    target = y[TARGET].to_numpy("float64")
    cut = int(len(x) * 0.8)
    # Labels of the last rows before the cut lie behind it.
    early, late = slice(0, max(cut - horizon, 1)), slice(cut, None)

    def error(alpha: float) -> float:
        guess = _ridge_pipeline(alpha).fit(x.iloc[early], target[early]).predict(x.iloc[late])
        return float(np.mean((guess - target[late]) ** 2))

    best: Any = min(ALPHAS, key=error)
    return _ridge_pipeline(best).fit(x, target).predict(unseen_x)


def _ridge_pipeline(alpha: float) -> Pipeline:
    return make_pipeline(RobustScaler(), Ridge(alpha=alpha))
