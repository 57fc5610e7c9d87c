"""One training: ridge regression first, then epochs on its residual until validation says stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.parameters import KEY, LSTMParameters
from freqai_lstm.model.ridge import Ridge, fit_ridge, flat
from freqai_lstm.model.windows import Floats, TrainingSet


logger = logging.getLogger(__name__)

# A ridge regression that leaves less than this share of the flat prediction's loss is exact, but
# for rounding of 32 bit numbers.
EXACT = 1e-6
SECONDS_BETWEEN_LINES = 15.0
WINDOWS_AT_ONCE = (
    8192  # trained in one call: some seconds at the most, so that lines can be on time
)
# What ReduceLROnPlateau of Keras takes for an improvement.
LEAST_IMPROVEMENT = 1e-4

Scalars = dict[str, float]


class Plateau:
    """Count epochs without a better value; tell when there were `patience` of them."""

    def __init__(self, patience: int, least_improvement: float = 0.0) -> None:
        self.patience, self.least_improvement = patience, least_improvement
        self.best, self.waited = np.inf, 0

    def reached(self, value: float) -> bool:
        """Take the next epoch's value."""
        if value < self.best - self.least_improvement:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience


class Training:
    """Train one network on one training set; `run` returns the weights and a report.

    Epoch 0 is the ridge regression alone, in the log, the report and TensorBoard alike.

    :param name: of what is trained, for the log: the pair.
    :param on_epoch: called with {name: value} and the epoch, for TensorBoard.
    """

    def __init__(
        self,
        network: CompiledNetwork,
        data: TrainingSet,
        *,
        name: str = "",
        on_epoch: Callable[[Scalars, int], None] = lambda scalars, epoch: None,
    ) -> None:
        self.network, self.data, self.name, self.on_epoch = network, data, name, on_epoch
        self.parameters: LSTMParameters = network.parameters
        self.curves: list[Scalars] = []
        self.best_epoch = 0
        self.best_weights: Floats | None = None
        self._started = self._said = perf_counter()

    def run(self, start_from: Floats | None = None) -> tuple[Floats, dict[str, Any]]:
        """Train with early stopping on the validation loss and a learning rate that steps down.

        Without validation windows all epochs run and the training loss steers the learning rate.

        :param start_from: weights to continue from (continual learning); None for fresh ones. The
            ridge regression is solved anew all the same, since the scalers are fitted anew.
        :return: (weights of shape (numbers,), report); the report holds `epochs`, `best_epoch`,
            `loss`, `validation_loss`, `validation_r2`, `ridge_validation_loss`,
            `ridge_validation_r2`, `flat_validation_loss` (None without validation), `kept`
            ('network', 'ridge' or 'flat'), `exact` and `curves`, one dict per epoch from 0.
        :raises OperationalException: the loss is no finite number any more.
        """
        network, data = self.network, self.data
        with network.lock:
            network.reset(start_from)
            ridge, flat_ridge = fit_ridge(data, network.loss), flat(data)
            network.set_ridge(ridge.kernel, ridge.bias)
            if len(data.validation_ends) == 0:
                self._run_all_epochs()
                return network.weights(), self._report("network", None)
            flat_loss = self._loss_of(flat_ridge)
            ridge_loss = self._loss_of(ridge)
            exact = start_from is None and ridge_loss <= EXACT * flat_loss
            self._keep_best(self._validate(), 0)
            if not exact:
                self._run_until_no_better()
            kept = "network" if self.best_epoch or start_from is not None else "ridge"
            if self.curves[self.best_epoch]["val_loss"] > flat_loss:
                logger.warning(
                    f"{self.name}: the model validates worse than predicting each label's median "
                    f"(loss {self.curves[self.best_epoch]['val_loss']:.4f} against "
                    f"{flat_loss:.4f}); the medians are predicted."
                )
                kept = "flat"
                network.reset()
                network.set_ridge(flat_ridge.kernel, flat_ridge.bias)
                self.best_weights = network.weights()
            assert self.best_weights is not None
            return self.best_weights, self._report(kept, flat_loss, exact=exact)

    def _run_until_no_better(self) -> None:
        p, network = self.parameters, self.network
        stop = Plateau(p.early_stopping_patience)
        stop.reached(self.curves[0]["val_loss"])
        lower_rate = Plateau(p.lr_patience, LEAST_IMPROVEMENT)
        for epoch, loss in self._epochs():
            scalars = self._validate()
            self._check_finite(scalars["val_loss"], epoch)
            scalars |= {"loss": loss, "learning_rate": network.learning_rate}
            self._keep_best(scalars, epoch)
            if stop.reached(scalars["val_loss"]):
                break
            if lower_rate.reached(scalars["val_loss"]):
                self._lower_rate()
                lower_rate.waited = 0

    def _run_all_epochs(self) -> None:
        lower_rate = Plateau(self.parameters.lr_patience, LEAST_IMPROVEMENT)
        for epoch, loss in self._epochs():
            self._check_finite(loss, epoch)
            self.best_epoch = epoch
            self._note({"loss": loss, "learning_rate": self.network.learning_rate}, epoch)
            if lower_rate.reached(loss):
                self._lower_rate()
                lower_rate.waited = 0

    def _epochs(self) -> Any:
        """Train epoch by epoch; yield (epoch from 1, mean loss)."""
        p, tf, data = self.parameters, self.network.tf, self.data
        tensors = [tf.constant(m) for m in (data.features, data.labels, data.weights)]
        order = np.random.default_rng(p.seed)
        at_once = max(1, WINDOWS_AT_ONCE // p.batch_size) * p.batch_size
        for epoch in range(1, p.epochs + 1):
            shuffled, total = order.permutation(data.train_ends), 0.0
            for start in range(0, len(shuffled), at_once):
                total += self.network.train(*tensors, shuffled[start : start + at_once])
                self._say(epoch - 1 + min(1.0, (start + at_once) / len(shuffled)))
            yield epoch, total / len(shuffled)

    def _lower_rate(self) -> None:
        p, rate = self.parameters, self.network.learning_rate
        if rate > p.min_learning_rate:
            self.network.learning_rate = max(rate * p.lr_factor, p.min_learning_rate)

    def _validate(self) -> Scalars:
        data, ends = self.data, self.data.validation_ends
        predicted = self.network.predict(self.network.weights(), data.features, ends)
        actual, scales = data.labels[ends], data.label_scales[ends, None]
        loss = np.average(self.network.loss(actual, predicted), weights=data.weights[ends])
        return {"val_loss": float(loss), "val_r2": r_squared(actual * scales, predicted * scales)}

    def _loss_of(self, ridge: Ridge) -> float:
        ends = self.data.validation_ends
        losses = self.network.loss(self.data.labels[ends], ridge.predict(self.data.features[ends]))
        return float(np.average(losses, weights=self.data.weights[ends]))

    def _keep_best(self, scalars: Scalars, epoch: int) -> None:
        self._note(scalars, epoch)
        if epoch == 0 or scalars["val_loss"] < self.curves[self.best_epoch]["val_loss"]:
            self.best_epoch, self.best_weights = epoch, self.network.weights()

    def _note(self, scalars: Scalars, epoch: int) -> None:
        self.curves.append({"epoch": epoch, **scalars})
        self.on_epoch(scalars, epoch)

    def _check_finite(self, loss: float, epoch: int) -> None:
        if not np.isfinite(loss):
            raise OperationalException(
                f"{self.name}: the loss became {loss} in epoch {epoch}: the training diverged. "
                f"Lower {KEY}.learning_rate (now {self.parameters.learning_rate:g}), or look for "
                "extreme values in features and labels."
            )

    def _say(self, done: float) -> None:
        now = perf_counter()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        left = (now - self._started) / done * (self.parameters.epochs - done)
        best = ""
        if self.curves and "val_loss" in self.curves[0]:
            loss = self.curves[self.best_epoch]["val_loss"]
            best = f", best validation loss {loss:.4f} in epoch {self.best_epoch}"
        logger.info(
            f"{self.name}: {done:.1f} of at most {self.parameters.epochs} epochs{best}, "
            f"at most {left:.0f} s still."
        )

    def _report(self, kept: str, flat_loss: float | None, *, exact: bool = False) -> dict[str, Any]:
        validated = flat_loss is not None
        best = self.curves[self.best_epoch if validated else -1]
        ridge = self.curves[0] if validated else {}
        return {
            "epochs": len(self.curves) - validated,
            "best_epoch": self.best_epoch,
            "loss": best.get("loss"),
            "validation_loss": best.get("val_loss"),
            "validation_r2": best.get("val_r2"),
            "ridge_validation_loss": ridge.get("val_loss"),
            "ridge_validation_r2": ridge.get("val_r2"),
            "flat_validation_loss": flat_loss,
            "kept": kept,
            "exact": exact,
            "curves": self.curves,
        }


def r_squared(actual: Floats, predicted: Floats) -> float:
    """Return the coefficient of determination over all labels together, in their own scale.

    :param actual: array of shape (windows, labels)
    :return: 1 - residual / total sum of squares about each label's mean; nan when that is 0.
    """
    total = float(np.square(actual - actual.mean(axis=0)).sum())
    return 1 - float(np.square(actual - predicted).sum()) / total if total else float("nan")
