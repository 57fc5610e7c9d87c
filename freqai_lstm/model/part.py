"""What one pair brings to a training, and what it makes of the network that was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.combination import fit_combined
from freqai_lstm.model.ridge import Loss, Ridge
from freqai_lstm.model.shares import cautious_shares
from freqai_lstm.model.windows import Floats, Inputs, TrainingSet


@dataclass(frozen=True)
class Part:
    """Hold a pair's training set with its ridge regression.

    `columns` of shape (network features,): which columns of the set's features the network reads,
    -1 where the pair has none and the network sees zeros.
    """

    pair: str
    data: TrainingSet
    ridge: Ridge
    columns: NDArray[np.intp]
    loss: Loss

    @classmethod
    def fit(
        cls,
        pair: str,
        data: TrainingSet,
        columns: Sequence[int],
        loss: Loss,
        few: Sequence[int] = (),
    ) -> Part:
        """Solve the ridge regression.

        :param loss: of each row, from labels and predictions of shape (rows, labels).
        :param few: columns of the features for a second regression (combination.py).
        """
        ridge = fit_combined(data, loss, few)
        return cls(pair, data, ridge, np.asarray(columns, dtype=np.intp), loss)

    @property
    def exact(self) -> bool:
        """Whether the ridge regression explains all of the labels."""
        return self.ridge.exact

    @property
    def residuals(self) -> Floats:
        """What the network learns: labels less the regression that has not seen them."""
        return self.data.labels - self.ridge.out_of_fold

    def inputs(self) -> Inputs:
        """What the network sees of each row."""
        return network_inputs(self.data.inputs, self.columns)

    def shares(self, learned: Floats, *, errors: float = 1.5) -> Floats:
        """How much of the network's prediction serves each label, by the validation windows.

        :param learned: what the network predicts for them, of shape (validation windows, labels).
        :param errors: how many standard errors to take off. The best of many epochs is chosen on
            the same windows, so luck has many chances; 1 let noise through in a changing market.
        :return: array of shape (labels,), from 0 to 1; ones without validation windows.
        """
        data, ends = self.data, self.data.validation_ends
        if len(ends) == 0:
            return np.ones(data.labels.shape[1], np.float32)
        residuals, counts = self.residuals[ends], data.weights[ends]
        return cautious_shares(residuals, learned, counts, data.horizon, errors=errors)

    def scores(self, added: Floats) -> dict[str, float]:
        """Loss and R² on the validation windows; none without any.

        :param added: to the ridge regression, of shape (validation windows, labels).
        """
        data, ends = self.data, self.data.validation_ends
        if len(ends) == 0:
            return {}
        actual, predicted = data.labels[ends], self.ridge.out_of_fold[ends] + added
        loss = np.average(self.loss(actual, predicted), weights=data.weights[ends])
        scales = data.label_scales[ends, None]
        r2 = r_squared(actual * scales, predicted * scales)
        return {"val_loss": float(loss), "val_r2": r2}

    def ridge_scores(self) -> dict[str, float]:
        """The same of the ridge regression alone: epoch 0."""
        return self.scores(np.zeros(1, np.float32))

    def feature_range(self) -> tuple[Floats, Floats]:
        """Smallest and largest value of each feature at the windows, each of shape (features,).

        Without bounds where the ridge regression is exact: it holds everywhere then.
        """
        ends = np.concatenate([self.data.train_ends, self.data.validation_ends])
        features = np.asarray(self.data.inputs.features)[ends]
        if self.exact:
            unbounded = np.full(features.shape[1], np.inf, np.float32)
            return -unbounded, unbounded
        return features.min(axis=0), features.max(axis=0)

    def errors(self, added: Floats) -> Floats:
        """Errors on windows that no weight was fitted on, of shape (windows, labels).

        They are those on the validation windows; without any, those of the ridge regression out of
        fold.

        :param added: to the ridge regression, of shape (validation windows, labels).
        """
        if len(self.data.validation_ends) == 0:
            return self.residuals[self.data.train_ends]
        return self.residuals[self.data.validation_ends] - added


def network_inputs(inputs: Inputs, columns: NDArray[np.intp]) -> Inputs:
    """Choose the columns that the network reads; -1 stands for zeros."""
    features = np.asarray(inputs.features)
    if np.array_equal(columns, np.arange(features.shape[1])):
        return inputs
    return Inputs(np.pad(features, ((0, 0), (0, 1)))[:, columns], inputs.candles)


def r_squared(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the coefficient of determination over all labels together, in their own scale.

    :param actual: array of shape (windows, labels)
    :return: 1 - residual / total sum of squares about each label's mean; nan when that is 0.
    """
    total = float(np.square(actual - actual.mean(axis=0)).sum())
    return 1 - float(np.square(actual - predicted).sum()) / total if total else float("nan")
