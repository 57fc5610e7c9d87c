"""RidgePerLabel: a ridge regression as a FreqAI model, the straight line to beat.

Features of the last candle alone, each divided by its standard deviation. The penalty is chosen
for each label by itself: the one with the least squared error on FreqAI's test rows after a fit on
the training rows, of which the last `label_period_candles` are left out, because their labels look
into the test rows. Then the line is fitted again on all rows.
"""

from typing import Any

import numpy as np
from freqtrade.freqai.base_models.BaseRegressionModel import BaseRegressionModel
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


# From nearly none to so large that the prediction is the mean of the training rows.
PENALTIES = 10.0 ** np.arange(-1, 8)


class RidgePerLabel(BaseRegressionModel):
    """A ridge regression with one penalty per label, chosen on the test rows."""

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Choose the penalties and fit on all rows.

        :param data_dictionary: FreqAI's training and test rows, scaled.
        :return: a scikit-learn pipeline with `predict`.
        """
        x, y = (data_dictionary[f"train_{name}"].to_numpy() for name in ("features", "labels"))
        later_x, later_y = (
            data_dictionary[f"test_{name}"].to_numpy() for name in ("features", "labels")
        )
        known = slice(0, len(x) - self.ft_params["label_period_candles"])
        errors = [
            np.mean((_line(penalty).fit(x[known], y[known]).predict(later_x) - later_y) ** 2, 0)
            for penalty in PENALTIES
        ]
        penalties = PENALTIES[np.argmin(errors, axis=0)]
        return _line(penalties).fit(np.concatenate([x, later_x]), np.concatenate([y, later_y]))


def _line(penalty: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty))
