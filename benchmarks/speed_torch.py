"""The network of LSTMRegressor in native PyTorch: the same layers, the same weights where given.

Written as someone who knows PyTorch would: `torch.nn.LSTM` (oneDNN's kernel on a CPU), windows
gathered from the 2-D matrix by index, AdamW, clipped gradients, no DataLoader in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


LOSSES = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
NORM_EPSILON = 1e-3  # Keras' default; PyTorch's is 1e-5


class TorchLSTM(nn.Module):
    """`build_network` of LSTMRegressor, layer by layer.

    `forward` maps (windows, conv_width, features) to (windows, labels).
    """

    def __init__(self, features: int, labels: int, parameters: Any) -> None:
        super().__init__()
        p = parameters
        self.units, self.layers = p.units, p.num_lstm_layers
        self.drop_features = nn.Dropout1d(p.input_dropout_rate)
        inputs = [features] + [p.units] * (p.num_lstm_layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(size, p.units, batch_first=True) for size in inputs)
        self.norms = nn.ModuleList(
            nn.LayerNorm(p.units, eps=NORM_EPSILON) for _ in range(p.num_lstm_layers - 1)
        )
        self.dropout = nn.Dropout(p.dropout_rate)
        self.norm_state = nn.LayerNorm(p.units, eps=NORM_EPSILON)
        self.head = nn.Linear(p.units + features, p.units)
        self.learned = nn.Linear(p.units + features, labels, bias=False)
        nn.init.zeros_(self.learned.weight)
        # Solved, not learned: LSTMRegressor's optimizer leaves it alone too.
        self.line = nn.Linear(features, labels).requires_grad_(False)
        self.set_line(np.zeros((features, labels)), np.zeros(labels))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        seen = self.drop_features(windows.transpose(1, 2)).transpose(1, 2)
        stack, _ = self.lstms[0](seen)
        for norm, lstm in zip(self.norms, self.lstms[1:], strict=True):
            stack = stack + lstm(self.dropout(norm(stack)))[0]
        state = self.norm_state(stack[:, -1])
        head = torch.relu(self.head(torch.cat([state, seen[:, -1]], dim=1)))
        learned = self.learned(torch.cat([self.dropout(head), seen[:, -1]], dim=1))
        return self.line(windows[:, -1]) + learned

    @torch.no_grad()
    def set_line(self, kernel: npt.NDArray, bias: npt.NDArray) -> None:
        """Put in the straight line: kernel of shape (features, labels), bias of shape (labels,)."""
        self.line.weight.copy_(torch.from_numpy(kernel.T))
        self.line.bias.copy_(torch.from_numpy(bias))

    def load_keras_weights(self, weights: Sequence[npt.NDArray]) -> None:
        """Take over `keras.Model.get_weights()` of LSTMRegressor's network.

        Both order the gates input, forget, cell, output. PyTorch has two biases, of which one
        becomes zero.
        """
        left = [torch.tensor(np.asarray(values)) for values in weights]

        def put(parameter: nn.Parameter, values: torch.Tensor) -> None:
            if parameter.shape != values.shape:
                raise ValueError(f"Expected {tuple(parameter.shape)}, got {tuple(values.shape)}.")
            parameter.copy_(values)

        with torch.no_grad():
            for number, lstm in enumerate(self.lstms):
                if number:
                    put(self.norms[number - 1].weight, left.pop(0))
                    put(self.norms[number - 1].bias, left.pop(0))
                put(lstm.weight_ih_l0, left.pop(0).T)
                put(lstm.weight_hh_l0, left.pop(0).T)
                put(lstm.bias_ih_l0, left.pop(0))
                lstm.bias_hh_l0.zero_()
            put(self.norm_state.weight, left.pop(0))
            put(self.norm_state.bias, left.pop(0))
            put(self.head.weight, left.pop(0).T)
            put(self.head.bias, left.pop(0))
            # Keras orders these two as it likes; only the straight line sees the features alone.
            for dense in (self.learned, self.line):
                at = next(i for i, w in enumerate(left) if w.shape == dense.weight.shape[::-1])
                put(dense.weight, left.pop(at).T)
                if dense.bias is not None:
                    put(dense.bias, left.pop(at))
        if left:
            raise ValueError(f"{len(left)} arrays of weights are left over.")


class TorchTrainer:
    """Trains and predicts one `TorchLSTM` on windows of a 2-D matrix."""

    def __init__(self, conv_width: int, features: int, labels: int, parameters: Any) -> None:
        torch.manual_seed(parameters.seed)
        self.parameters = parameters
        self.loss = LOSSES[parameters.loss]
        self.offsets = torch.arange(1 - conv_width, 1)
        self.model = TorchLSTM(features, labels, parameters)
        self.optimizer = torch.optim.AdamW(
            [weight for weight in self.model.parameters() if weight.requires_grad],
            lr=parameters.learning_rate,
            weight_decay=parameters.weight_decay,
        )
        self.order = np.random.default_rng(parameters.seed)

    def train_epoch(self, data: Any, ends: npt.NDArray[np.int32], batch_size: int) -> float:
        """Train on each window once; returns the mean loss.

        :param data: a `TrainingSet` of LSTMRegressor.
        """
        p, model = self.parameters, self.model
        matrix, labels, weights = map(torch.from_numpy, (data.features, data.labels, data.weights))
        rows = torch.from_numpy(ends.astype(np.int64))
        model.train()
        total = 0.0
        for batch in rows.split(batch_size):
            predicted = model(matrix[batch[:, None] + self.offsets])
            losses = self.loss(predicted, labels[batch], reduction="none")
            losses = losses.mean(dim=1) * weights[batch]
            self.optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), p.clip_norm)
            self.optimizer.step()
            total += float(losses.detach().sum())
        return total / len(ends)

    def train(self, data: Any, epochs: int, each: Callable[[], None] = lambda: None) -> list[float]:
        """Train so many epochs, validate after each, keep the best weights.

        :param each: called after each epoch.
        :returns: the validation losses (the training losses without validation windows).
        """
        losses: list[float] = []
        best: dict[str, torch.Tensor] = {}
        steering = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer,
            factor=self.parameters.lr_factor,
            patience=self.parameters.lr_patience - 1,
            min_lr=self.parameters.min_learning_rate,
        )
        for _ in range(epochs):
            shuffled = self.order.permutation(data.train_ends)
            loss = self.train_epoch(data, shuffled, self.parameters.batch_size)
            if len(data.validation_ends):
                predicted = torch.from_numpy(self.predict(data.features, data.validation_ends))
                actual = torch.from_numpy(data.labels[data.validation_ends])
                loss = float(self.loss(predicted, actual))
            steering.step(loss)
            if loss < min(losses, default=np.inf):
                best = {name: value.clone() for name, value in self.model.state_dict().items()}
            losses.append(loss)
            each()
        self.model.load_state_dict(best)
        return losses

    @torch.no_grad()
    def predict(
        self, matrix: npt.NDArray[np.float32], ends: npt.NDArray[np.int32], batch: int = 2048
    ) -> npt.NDArray[np.float32]:
        """Predict the windows of `matrix` (rows, features) that end at the rows `ends`."""
        self.model.eval()
        rows, last = torch.from_numpy(matrix), torch.from_numpy(ends.astype(np.int64))
        parts = [self.model(rows[part[:, None] + self.offsets]) for part in last.split(batch)]
        return torch.cat(parts).numpy()
