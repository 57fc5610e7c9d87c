"""The network of LSTMRegressor in native PyTorch: the same layers, the same weights where given.

Written as someone who knows PyTorch would: `torch.nn.LSTM` (oneDNN's kernel on a CPU), windows
gathered from the 2-D matrix by index, AdamW, clipped gradients, no DataLoader in the way.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from benchmarks.model_under_test import Weights
from freqai_lstm.model.candles import CHANNELS, FLAT, LEAST_VOLUME, LIMIT
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.windows import Floats, Inputs, Rows


LOSSES: dict[str, Any] = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
NORM_EPSILON = 1e-3  # Keras' default; PyTorch's is 1e-5


class Stack(nn.Module):
    """Residual LSTMs: (windows, conv_width, inputs) to their last state, (windows, units)."""

    def __init__(self, inputs: int, p: LSTMParameters) -> None:
        super().__init__()
        sizes = [inputs] + [p.units] * (p.num_lstm_layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(size, p.units, batch_first=True) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(p.units, eps=NORM_EPSILON) for _ in sizes[1:])
        self.dropout = nn.Dropout(p.dropout_rate)
        self.state = nn.LayerNorm(p.units, eps=NORM_EPSILON)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        stack, _ = self.lstms[0](windows)
        for norm, lstm in zip(self.norms, self.lstms[1:], strict=True):
            stack = stack + lstm(self.dropout(norm(stack)))[0]
        return self.state(stack[:, -1])


class TorchLSTM(nn.Module):
    """`build_network` of freqai_lstm/model/network.py, layer by layer, under the same names.

    `forward` maps windows (windows, conv_width, features) and, with `candle_channel`, (windows,
    conv_width, 6) to (windows, labels).
    """

    def __init__(self, features: int, labels: int, p: LSTMParameters) -> None:
        super().__init__()
        self.dropout_features = nn.Dropout1d(p.input_dropout_rate)
        sizes = {"features": features} | ({"candles": CHANNELS} if p.candle_channel else {})
        self.stacks = nn.ModuleDict({name: Stack(size, p) for name, size in sizes.items()})
        self.head = nn.Linear(p.units * len(sizes) + features, p.units)
        self.dropout = nn.Dropout(p.dropout_rate)
        self.residual = nn.Linear(p.units + features, labels, bias=False)
        nn.init.zeros_(self.residual.weight)
        # Solved, not learned: LSTMRegressor's optimizer leaves it alone too.
        self.ridge = nn.Linear(features, labels).requires_grad_(False)
        nn.init.zeros_(self.ridge.weight)
        nn.init.zeros_(self.ridge.bias)

    def forward(self, features: torch.Tensor, candles: torch.Tensor | None = None) -> torch.Tensor:
        seen = self.dropout_features(features.transpose(1, 2)).transpose(1, 2)
        states = [self.stacks["features"](seen)]
        if candles is not None:
            states.append(self.stacks["candles"](candles))
        current = seen[:, -1]
        head = self.dropout(torch.relu(self.head(torch.cat([*states, current], dim=1))))
        return self.ridge(features[:, -1]) + self.residual(torch.cat([head, current], dim=1))

    @torch.no_grad()
    def load_keras_weights(self, weights: Weights) -> None:
        """Take over the weights of LSTMRegressor's network.

        Both order the gates input, forget, cell, output. PyTorch has two biases, of which one
        becomes zero.

        :raises ValueError: there are other weights than this network has.
        """
        places = self._places()
        if set(places) != set(weights):
            raise ValueError(f"Expected weights {sorted(places)}, got {sorted(weights)}.")
        for path, parameter in places.items():
            values = torch.from_numpy(weights[path])
            parameter.copy_(values.T if values.ndim == 2 else values)
        for name, parameter in self.named_parameters():
            if "bias_hh" in name:
                parameter.zero_()

    def _places(self) -> dict[str, Any]:
        """The parameter for each Keras variable, by its path."""
        dense = {"head": self.head, "learned_residual": self.residual, "ridge": self.ridge}
        places: dict[str, Any] = {f"{name}/kernel": part.weight for name, part in dense.items()}
        places |= {"head/bias": self.head.bias, "ridge/bias": self.ridge.bias}
        norms: dict[str, Any] = {}
        stacks: dict[str, Any] = dict(self.stacks.items())
        for name, stack in stacks.items():
            for number, lstm in enumerate(stack.lstms, start=1):
                cell = f"{name}_lstm_{number}/lstm_cell"
                places |= {
                    f"{cell}/kernel": lstm.weight_ih_l0,
                    f"{cell}/recurrent_kernel": lstm.weight_hh_l0,
                    f"{cell}/bias": lstm.bias_ih_l0,
                }
            norms |= {f"{name}_norm_{n}": norm for n, norm in enumerate(stack.norms, start=2)}
            norms[f"{name}_state"] = stack.state
        for name, norm in norms.items():
            places |= {f"{name}/gamma": norm.weight, f"{name}/beta": norm.bias}
        return places


class TorchNetwork:
    """What `CompiledNetwork` offers to `Training` and `TrainedLSTM`, in PyTorch.

    Ridge regression, early stopping and the steps of the learning rate are therefore the same code.
    """

    tf = SimpleNamespace(constant=torch.from_numpy)

    def __init__(
        self, parameters: LSTMParameters, conv_width: int, features: int, labels: int
    ) -> None:
        self.parameters, self.features, self.labels = parameters, features, labels
        self.offsets = torch.arange(1 - conv_width, 1)
        self.lock = threading.RLock()
        self.reset()

    def reset(self, weights: Floats | None = None) -> None:
        p = self.parameters
        torch.manual_seed(p.seed)
        self.model = TorchLSTM(self.features, self.labels, p)
        if weights is not None:
            self.set_weights(weights)
        learned = [weight for weight in self.model.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in learned if w.ndim > 1], "weight_decay": p.weight_decay},
            {"params": [w for w in learned if w.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=p.learning_rate)

    @torch.no_grad()
    def weights(self) -> Floats:
        return parameters_to_vector(self.model.parameters()).numpy()

    @torch.no_grad()
    def set_weights(self, weights: Floats) -> None:
        # A copy: the parameters become views of it, and training changes them in place.
        vector_to_parameters(torch.from_numpy(weights).clone(), self.model.parameters())

    @torch.no_grad()
    def set_ridge(self, kernel: Floats, bias: Floats) -> None:
        self.model.ridge.weight.copy_(torch.from_numpy(kernel.T))
        self.model.ridge.bias.copy_(torch.from_numpy(bias))

    @torch.no_grad()
    def scale_residual(self, shares: Floats) -> None:
        self.model.residual.weight.mul_(torch.from_numpy(shares)[:, None])

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def loss(self, labels: Floats, predictions: Floats) -> Floats:
        pair = (torch.from_numpy(np.array(part)) for part in (predictions, labels))
        return LOSSES[self.parameters.loss](*pair, reduction="none").mean(dim=1).numpy()

    def train(self, inputs: Inputs, labels: Any, weights: Any, ends: Rows) -> float:
        self.model.train()
        loss, total = LOSSES[self.parameters.loss], 0.0
        for batch in torch.from_numpy(ends.astype(np.int64)).split(self.parameters.batch_size):
            predicted = self.model(*self.windows(inputs, batch))
            losses = loss(predicted, labels[batch], reduction="none").mean(dim=1) * weights[batch]
            self.optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            clip_grad_norm_(self.model.parameters(), self.parameters.clip_norm)
            self.optimizer.step()
            total += float(losses.detach().sum())
        return total

    @torch.no_grad()
    def predict(self, weights: Floats, inputs: Inputs, ends: Rows, batch: int = 2048) -> Floats:
        self.set_weights(weights)
        self.model.eval()
        rows = Inputs(*map(torch.from_numpy, inputs))
        parts = torch.from_numpy(ends.astype(np.int64)).split(batch)
        return torch.cat([self.model(*self.windows(rows, part)) for part in parts]).numpy()

    def windows(self, inputs: Inputs, ends: torch.Tensor) -> list[torch.Tensor]:
        """Gather the model's inputs; `ends` and `inputs` are tensors."""
        rows = ends[:, None] + self.offsets
        windows = [inputs.features[rows]]
        if self.parameters.candle_channel:
            windows.append(_unit_free(inputs.candles[rows]))
        return windows


def _unit_free(windows: torch.Tensor) -> torch.Tensor:
    """`unit_free` of freqai_lstm/model/candles.py."""
    prices, close, volume = windows[:, :, :4], windows[:, :, 3:4], windows[:, :, 4:]
    volatility = (close[:, 1:] - close[:, :-1]).abs().mean(dim=1, keepdim=True) + FLAT
    mean = volume.mean(dim=1, keepdim=True)
    share = torch.where(mean == 0, 0.0, volume / mean)
    channels = [
        (prices - close[:, -1:]) / volatility,
        (close - windows[:, :, :1]) / volatility,
        torch.log(share + LEAST_VOLUME),
    ]
    return torch.cat(channels, dim=2).clip(-LIMIT, LIMIT)
