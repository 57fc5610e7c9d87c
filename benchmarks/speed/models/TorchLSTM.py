"""LSTMRegressor with its network in native PyTorch; everything around it is the same code.

Trains each window as many epochs as `freqai.epochs_of` (a JSON file, sub-train folder to epochs)
says that LSTMRegressor took, so that both do the same work.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame

from benchmarks.model_under_test import random_training_set
from benchmarks.speed.contenders import NativeTorch
from benchmarks.speed.torch_network import TorchNetwork, row_losses
from freqai_lstm.plugins import MODEL_FILE, load_plugin


Base: Any = load_plugin(MODEL_FILE).LSTMRegressor


class TorchLSTM(Base):
    """Replaces only the pool of networks."""

    threads = 0  # how many are fastest is tried once

    def train(
        self, unfiltered_df: DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> Any:
        """Train so many epochs as LSTMRegressor did, and keep the best, as it does."""
        if not self.threads:
            features = len(dk.training_features_list)
            trial = NativeTorch(self.parameters, self.CONV_WIDTH, features)
            trial.prepare(random_training_set(1000, features, self.CONV_WIDTH))
            self.threads = trial.facts["threads"]
        done = json.loads(Path(self.freqai_info["epochs_of"]).read_text(encoding="utf-8"))
        epochs = max(1, done[Path(dk.data_path).name])
        parameters = self.parameters.model_copy(
            update={"epochs": epochs, "early_stopping_patience": epochs}
        )
        self.pool = SimpleNamespace(
            network=lambda *shape: TorchNetwork(parameters, *shape), loss=row_losses(parameters)
        )
        return super().train(unfiltered_df, pair, dk, **kwargs)
