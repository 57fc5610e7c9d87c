"""DumpInputs: a FreqAI model that writes down what it is given, and predicts zero.

For each pair and window it writes NAME.train.feather and NAME.predict.feather into the folder
`freqai.dump_folder`: the frames that `train` and `predict` of every other model get, before rows
with missing values are dropped. NAME is the pair, with `_` for `/` and `:`, and the first day of
the predictions.
"""

from pathlib import Path
from typing import Any

import numpy as np
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.freqai_interface import IFreqaiModel
from numpy.typing import NDArray
from pandas import DataFrame


class DumpInputs(IFreqaiModel):
    """Write the inputs of training and prediction as feather files."""

    def train(
        self, unfiltered_df: DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> Any:
        """Write the training frame; the model is the name of the file."""
        self._write(unfiltered_df, dk, "train")
        return pair

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Nothing to learn."""

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, NDArray[np.int_]]:
        """Write the prediction frame; every prediction is 0."""
        self._write(unfiltered_df, dk, "predict")
        zeros = np.zeros((len(unfiltered_df), len(dk.label_list)))
        return DataFrame(zeros, columns=dk.label_list), np.ones(len(unfiltered_df), dtype=np.int_)

    def _write(self, frame: DataFrame, dk: FreqaiDataKitchen, what: str) -> None:
        folder = Path(self.freqai_info["dump_folder"])
        start = self.training_timerange.stopdt
        name = f"{dk.pair.replace('/', '_').replace(':', '_')}_{start:%Y%m%d}.{what}.feather"
        frame.reset_index(drop=True).to_feather(folder / name)
