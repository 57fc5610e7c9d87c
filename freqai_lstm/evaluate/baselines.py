"""What any model must beat: a ridge regression and LightGBM, trained as the model was.

Each learns one target at a time from the same features and the same training rows of each window
as the model, and predicts the same candles. Two more baselines need no training and are read with
the predictions: flat, the mean of the training labels, and persistence, the last label known.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from lightgbm import LGBMRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from freqai_lstm.evaluate.data import Predictions, Window, stacked
from freqai_lstm.evaluate.features import Features


ALPHAS = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
LEARNED = ("ridge", "lightgbm")


def learned_baselines(features: Features, found: Predictions) -> Iterator[pd.DataFrame]:
    """Predictions of ridge and LightGBM, in the unit of the target, window after window.

    :return: per window the columns pair, start, date, target, ridge, lightgbm.
    """
    for window in found.windows:
        yield _of_window(features, window, found).assign(pair=window.pair, start=window.start)


def _of_window(features: Features, window: Window, found: Predictions) -> pd.DataFrame:
    x, y = features.training(window)
    frame = features.predicted(window)
    # FreqAI fills what is missing with zeros and says so in do_predict; so do the baselines.
    unseen = frame[list(x)].replace([np.inf, -np.inf], np.nan).fillna(0)
    # A thread per target: on so few rows LightGBM's own threads mostly wait for each other.
    fits = Parallel(n_jobs=-1, prefer="threads")(
        delayed(_predict)(x, y[str(name)], unseen, found.look_ahead[str(name)] or 0) for name in y
    )
    # FreqAI keeps dates in other units than pandas makes them.
    dates = pd.to_datetime(frame["date"], utc=True).astype(found.rows["date"].dtype)
    values = np.stack(fits)  # (targets, predictors, candles)
    return stacked(
        {
            name: pd.DataFrame(values[:, column].T, index=pd.DatetimeIndex(dates), columns=list(y))
            for column, name in enumerate(LEARNED)
        }
    )


def _predict(x: pd.DataFrame, y: pd.Series, unseen: pd.DataFrame, gap: int) -> np.ndarray:
    """Ridge on robustly scaled features, and LightGBM with the defaults that FreqAI has too.

    The ridge penalty is chosen on the last fifth of the training rows, then all are learned.
    """
    cut = int(len(x) * 0.8)
    # Labels of the last rows before the cut are settled behind it.
    early, late = np.arange(max(cut - gap, 1)), np.arange(cut, len(x))
    ridge = make_pipeline(RobustScaler(), RidgeCV(ALPHAS, cv=[(early, late)]))
    lightgbm = LGBMRegressor(verbosity=-1, n_jobs=1)
    return np.stack([model.fit(x, y).predict(unseen) for model in (ridge, lightgbm)])
