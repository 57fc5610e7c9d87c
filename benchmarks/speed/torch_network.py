"""The network of LSTMRegressor in native PyTorch: the same layers, the same weights where given.

Written as someone who knows PyTorch would: `torch.nn.LSTM` (oneDNN's kernel on a CPU), windows
gathered from the 2-D matrix by index, AdamW, clipped gradients, no DataLoader in the way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from benchmarks.model_under_test import Weights
from freqai_lstm.model.candles import CHANNELS, FLAT, LEAST_VOLUME, LIMIT
from freqai_lstm.model.network import HEADS, MIXTURES
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.ridge import Loss
from freqai_lstm.model.windows import Floats, Inputs, Rows


LOSSES: dict[str, Any] = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
NORM_EPSILON = 1e-3  # Keras' default; PyTorch's is 1e-5


class TorchLSTM(nn.Module):
    """`build_network` of freqai_lstm/model/network.py, layer by layer, under the same names.

    `forward` maps windows (windows, conv_width, features) and, with `candle_channel`, (windows,
    conv_width, 13) to (windows, labels).
    """

    def __init__(self, conv_width: int, features: int, labels: int, p: LSTMParameters) -> None:
        super().__init__()
        self.dropout_features = nn.Dropout1d(p.input_dropout_rate)
        self.mixtures = nn.Linear(features, MIXTURES) if p.candle_channel else None
        first = CHANNELS + MIXTURES if p.candle_channel else features
        sizes = [first] + [p.units] * (p.num_lstm_layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(size, p.units, batch_first=True) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(p.units, eps=NORM_EPSILON) for _ in sizes[1:])
        self.states = nn.LayerNorm(p.units, eps=NORM_EPSILON)
        self.scores = nn.Linear(p.units, HEADS)
        self.lags = nn.Linear(conv_width * first, p.units)
        self.head = nn.Linear(p.units * (2 + HEADS) + HEADS * first + features, p.units)
        self.dropout = nn.Dropout(p.dropout_rate)
        self.residual = nn.Linear(2 * p.units + features, labels, bias=False)
        nn.init.zeros_(self.residual.weight)

    def forward(self, features: torch.Tensor, candles: torch.Tensor | None = None) -> torch.Tensor:
        seen = self.dropout_features(features.transpose(1, 2)).transpose(1, 2)
        stack = seen
        if candles is not None and self.mixtures is not None:
            stack = torch.cat([candles, self.mixtures(seen)], dim=2)
        columns = stack
        lags = self.lags(columns.flatten(1))
        stack, _ = self.lstms[0](stack)
        for norm, lstm in zip(self.norms, self.lstms[1:], strict=True):
            stack = stack + lstm(self.dropout(norm(stack)))[0]
        states = self.states(stack)
        attention = torch.softmax(self.scores(states), dim=1)  # (windows, conv_width, heads)
        read = torch.cat([columns, states], dim=2)
        picked = torch.bmm(attention.transpose(1, 2), read)  # (windows, heads, columns + units)
        current = seen[:, -1]
        found = torch.cat([states[:, -1], picked.flatten(1), lags, current], dim=1)
        head = self.dropout(torch.relu(self.head(found)))
        return self.residual(torch.cat([head, lags, current], dim=1))

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
        dense: dict[str, Any] = {"head": self.head, "scores": self.scores, "lags": self.lags}
        if self.mixtures is not None:
            dense["mixtures"] = self.mixtures
        places: dict[str, Any] = {"residual/kernel": self.residual.weight}
        for name, layer in dense.items():
            places |= {f"{name}/kernel": layer.weight, f"{name}/bias": layer.bias}
        lstms: Any = self.lstms
        for number, lstm in enumerate(lstms, start=1):
            cell = f"lstm_{number}/lstm_cell"
            places |= {
                f"{cell}/kernel": lstm.weight_ih_l0,
                f"{cell}/recurrent_kernel": lstm.weight_hh_l0,
                f"{cell}/bias": lstm.bias_ih_l0,
            }
        norms: dict[str, Any] = {f"norm_{n}": norm for n, norm in enumerate(self.norms, start=2)}
        for name, norm in (norms | {"states": self.states}).items():
            places |= {f"{name}/gamma": norm.weight, f"{name}/beta": norm.bias}
        return places


def row_losses(parameters: LSTMParameters) -> Loss:
    """Return the loss of each row, from labels and predictions of shape (rows, labels)."""

    def losses(labels: Floats, predictions: Floats) -> Floats:
        pair = (torch.from_numpy(np.array(part)) for part in (predictions, labels))
        return LOSSES[parameters.loss](*pair, reduction="none").mean(dim=1).numpy()

    return losses


class TorchNetwork:
    """What `CompiledNetwork` offers to `Training` and `TrainedLSTM`, in PyTorch.

    Early stopping and the steps of the learning rate are therefore the same code.
    """

    def __init__(
        self, parameters: LSTMParameters, conv_width: int, features: int, labels: int
    ) -> None:
        self.parameters, self.shape, self.labels = parameters, (conv_width, features), labels
        self.offsets = torch.arange(1 - conv_width, 1)
        self.reads_candles = parameters.candle_channel
        self.lock = threading.RLock()
        self.reset(parameters.seed)

    def reset(self, seed: int, weights: Floats | None = None) -> None:
        p = self.parameters
        torch.manual_seed(seed)
        self.model = TorchLSTM(*self.shape, self.labels, p)
        if weights is not None:
            self.set_weights(weights)
        learned = list(self.model.parameters())
        groups = [
            {"params": [w for w in learned if w.ndim > 1], "weight_decay": p.weight_decay},
            {"params": [w for w in learned if w.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=p.learning_rate)

    def joined(self, blocks: Sequence[Floats]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(blocks))

    @torch.no_grad()
    def weights(self) -> Floats:
        return parameters_to_vector(self.model.parameters()).numpy()

    @torch.no_grad()
    def set_weights(self, weights: Floats) -> None:
        # A copy: the parameters become views of it, and training changes them in place.
        vector_to_parameters(torch.from_numpy(weights).clone(), self.model.parameters())

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def train(
        self, rows: tuple[Any, ...], label_weights: Floats, ends: Rows, batch_size: int
    ) -> float:
        self.model.train()
        features, candles, labels, weights = rows
        inputs, of_label = Inputs(features, candles), torch.from_numpy(np.array(label_weights))
        loss, total = LOSSES[self.parameters.loss], 0.0
        for batch in torch.from_numpy(ends.astype(np.int64)).split(batch_size):
            predicted = self.model(*self.windows(inputs, batch))
            each = loss(predicted, labels[batch], reduction="none") * of_label
            losses = each.mean(dim=1) * weights[batch]
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
        rows = Inputs(*map(torch.as_tensor, inputs))
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
    high, low = windows[:, :, 1:2], windows[:, :, 2:3]
    volatility = (close[:, 1:] - close[:, :-1]).abs().mean(dim=1, keepdim=True) + FLAT

    def log_share(of: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.where(of == 0, 0.0, volume / of) + LEAST_VOLUME)

    def since(values: torch.Tensor) -> torch.Tensor:
        return values.flip(1).cummax(dim=1).values.flip(1)

    channels = [
        (prices - close[:, -1:]) / volatility,
        (close - windows[:, :, :1]) / volatility,
        log_share(volume.mean(dim=1, keepdim=True)),
        (high - high.amax(dim=1, keepdim=True)) / volatility,
        (low - low.amin(dim=1, keepdim=True)) / volatility,
        log_share(volume.amax(dim=1, keepdim=True)),
        (high - since(high)) / volatility,
        (low + since(-low)) / volatility,
        log_share(since(volume)),
        torch.linspace(-1, 0, windows.shape[1])[:, None].expand_as(close),
    ]
    return torch.cat(channels, dim=2).clip(-LIMIT, LIMIT)
