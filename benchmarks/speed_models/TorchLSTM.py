"""LSTMRegressor with its network in native PyTorch; everything around it is the same code.

Trains each window as many epochs as `freqai.epochs_of` (a JSON file, sub-train folder to epochs)
says that LSTMRegressor took, so that both do the same work.
"""

import json
from pathlib import Path
from typing import Any

import torch
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from benchmarks.speed_contenders import NativeTorch, load_plugin, solve_line
from benchmarks.speed_torch import TorchTrainer


PLUGIN = load_plugin()


class Trained:
    """What LSTMRegressor wants of a trained model: `predict`, `weights`, `features`, `report`."""

    def __init__(self, trainer: TorchTrainer, features: list[str], report: dict[str, Any]) -> None:
        self.predict = trainer.predict
        self.features = features
        self.report = report


class TorchLSTM(PLUGIN.LSTMRegressor):
    """Replaces only the step from a training set to a trained model."""

    threads = 0  # how many are fastest is tried once

    def _fit(self, data: Any, names: list[str], dk: FreqaiDataKitchen) -> Trained:
        folder = Path(dk.data_path).name
        epochs = json.loads(Path(self.freqai_info["epochs_of"]).read_text())[folder]
        shape = (self.CONV_WIDTH, data.features.shape[1], data.labels.shape[1])
        if not self.threads:
            trial = NativeTorch(PLUGIN, self.parameters, self.CONV_WIDTH, data.features.shape[1])
            trial.prepare(data, self.parameters.batch_size)
            self.threads = torch.get_num_threads()
        trainer = TorchTrainer(*shape, self.parameters)
        trainer.model.set_line(*solve_line(PLUGIN, trainer, data))
        losses = trainer.train(data, epochs)
        report = {
            "epochs": epochs,
            "loss": losses[-1],
            "validation_loss": min(losses),
            "best_epoch": losses.index(min(losses)) + 1,
            "validation_r2": float("nan"),
            "line_validation_loss": float("nan"),
            "line_validation_r2": float("nan"),
            "curves": [],
        }
        return Trained(trainer, names, report)
