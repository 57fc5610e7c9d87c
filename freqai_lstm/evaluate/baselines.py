"""What any model must beat: ridge regression and LightGBM, trained as the model was, and HAR.

Each learns one target at a time from the same training rows of each window as the model, and
predicts the same candles. Two more baselines need no training and are read with the predictions:
flat, the mean of the training labels, and persistence, the last label known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from freqtrade.exchange import timeframe_to_seconds
from joblib import Parallel, delayed
from lightgbm import LGBMRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from freqai_lstm.evaluate.data import Predictions, stacked
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.har import har_forecast, is_log_volatility, variances


ALPHAS = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
FEWEST_ROWS = 20  # with a label, to learn it from


def learned_baselines(
    features: Features, found: Predictions, targets: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Predictions of ridge, LightGBM and HAR, in the unit of the target, window after window.

    :param targets: those to learn; HAR learns the log volatilities among them.
    :return: per window the columns pair, start, date, target, ridge, lightgbm, har.
    """
    volatile: dict[str, bool] = {}
    for window in found.windows:
        x, y = features.training(window)
        y = y[list(targets)]
        variance = variances(found.candles[window.pair])
        if not volatile:
            ahead = found.look_ahead
            volatile = {name: is_log_volatility(y[name], variance, ahead[name]) for name in targets}
        frame = features.predicted(window)
        # FreqAI keeps dates in other units than pandas makes them.
        dates = pd.DatetimeIndex(pd.to_datetime(frame["date"], utc=True))
        # FreqAI fills what is missing with zeros and says so in do_predict; so do the baselines.
        unseen = frame[list(x)].replace([np.inf, -np.inf], np.nan).fillna(0)
        # A thread per target: on so few rows LightGBM's own threads mostly wait for each other.
        fits = Parallel(n_jobs=-1, prefer="threads")(
            delayed(_predict)(x, y[name], unseen, found.look_ahead[name] or 0) for name in targets
        )
        day = 86_400 // timeframe_to_seconds(features.setup.config["timeframe"])
        har = [
            har_forecast(y[name].dropna(), variance, dates, max(day, 1))
            if volatile[name]
            else np.full(len(dates), np.nan)
            for name in targets
        ]
        values = np.concatenate([np.stack(fits), np.stack(har)[:, None]], axis=1)
        index = dates.astype(found.rows["date"].dtype)
        rows = stacked(
            {
                name: pd.DataFrame(values[:, column].T, index=index, columns=list(targets))
                for column, name in enumerate(("ridge", "lightgbm", "har"))
            }
        )
        yield rows.assign(pair=window.pair, start=window.start)


def _predict(x: pd.DataFrame, y: pd.Series, unseen: pd.DataFrame, gap: int) -> np.ndarray:
    """Ridge on robustly scaled features, and LightGBM with the defaults that FreqAI has too.

    The ridge penalty is chosen on the last fifth of the training rows, then all are learned.
    LightGBM sorts values into 63 bins in place of 255: the same skill in a third of the time.
    Of a label that hardly any row has there is neither.
    """
    known = np.isfinite(y.to_numpy())
    x, y = x[known], y[known]
    if len(x) < FEWEST_ROWS:
        return np.full((2, len(unseen)), np.nan)
    cut = int(len(x) * 0.8)
    # Labels of the last rows before the cut are settled behind it.
    early, late = np.arange(max(cut - gap, 1)), np.arange(cut, len(x))
    ridge = make_pipeline(RobustScaler(), RidgeCV(ALPHAS, cv=[(early, late)]))
    lightgbm = LGBMRegressor(max_bin=63, verbosity=-1, n_jobs=1)
    return np.stack([model.fit(x, y).predict(unseen) for model in (ridge, lightgbm)])
