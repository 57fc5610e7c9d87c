"""NetworkAlone: what the shared network of LSTMRegressor says by itself.

Everything is trained as in LSTMRegressor. Then the pair's regression, its share of the network and
its constants are taken away: each label is what the network predicts for it. Without intervals,
which are those of the whole model.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame

from freqai_lstm.plugins import MODEL_FILE, load_plugin


LSTMRegressor = load_plugin(MODEL_FILE).LSTMRegressor


class NetworkAlone(LSTMRegressor):  # type: ignore[misc, valid-type]
    """LSTMRegressor less all that a pair adds to the shared network."""

    def _network(self, border: int | None, pair: str, dk: FreqaiDataKitchen) -> Any:
        self._shared = super()._network(border, pair, dk)
        return self._shared

    def train(
        self, unfiltered_df: DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> Any:
        """Train as usual, then keep the network alone.

        :raises ValueError: there is no network, or it has not learned from this pair.
        """
        model = super().train(unfiltered_df, pair, dk, **kwargs)
        if self._shared is None or pair not in self._shared.scales:
            raise ValueError(f"Expected a shared network that has learned from {pair}.")
        model.network, model.scales = self._shared, self._shared.scales[pair]
        model.kernel, model.bias = np.zeros_like(model.kernel), np.zeros_like(model.bias)
        model.exact, model.network_factors = (
            np.zeros_like(model.exact),
            np.ones_like(model.network_factors),
        )
        return model

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, npt.NDArray[np.int_]]:
        """Predict the labels, without intervals."""
        found, do_predict = super().predict(unfiltered_df, dk, **kwargs)
        return found[dk.label_list], do_predict
