"""One training: ridge regression first, then epochs on its residual until validation says stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.parameters import KEY
from freqai_lstm.model.ridge import Ridge, fit_ridge
from freqai_lstm.model.shares import cautious_shares
from freqai_lstm.model.windows import Floats, Inputs, TrainingSet


logger = logging.getLogger(__name__)

# A ridge regression that leaves less than this share of the medians' loss is exact, but for
# rounding of 32 bit numbers.
EXACT = 1e-6
SECONDS_BETWEEN_LINES = 15.0
WINDOWS_AT_ONCE = (
    8192  # trained in one call: some seconds at the most, so that lines can be on time
)
LEAST_IMPROVEMENT = 1e-4  # as in ReduceLROnPlateau of Keras

Scalars = dict[str, float]


class Plateau:
    """Count epochs without a better value; tell when there were `patience` of them."""

    def __init__(self, patience: int, least_improvement: float = 0.0) -> None:
        self.patience, self.least_improvement = patience, least_improvement
        self.best, self.waited = np.inf, 0

    def reached(self, value: float) -> bool:
        """Take the next epoch's value; begin to count again once the plateau is reached."""
        if value < self.best - self.least_improvement:
            self.best, self.waited = value, 0
            return False
        self.waited += 1
        if self.waited < self.patience:
            return False
        self.waited = 0
        return True


class Training:
    """Train one network on one training set.

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
        self.parameters = network.parameters
        self.curves: list[Scalars] = []
        self._started = self._said = perf_counter()

    def run(self, start_from: Floats | None = None) -> tuple[Floats, dict[str, Any]]:
        """Train with early stopping on the validation loss and a learning rate that steps down.

        The network learns what the ridge regression, which has not seen a window's block of time,
        leaves over. Of each label it adds a share, by how well it does on the validation windows
        (shares.py): a label about which nothing can be known neither takes part nor ends the
        training of the others. Without validation windows all epochs run, the training
        loss steers the learning rate, and the network adds all it has learned.

        :param start_from: weights to continue from (continual learning); None for fresh ones. The
            ridge regression is solved anew all the same, since the scalers are fitted anew.
        :return: (weights of shape (numbers,), report); the report holds `epochs`, `best_epoch`,
            `loss`, `validation_loss`, `validation_r2`, `ridge_validation_loss`,
            `ridge_validation_r2` (None without validation), `shares` of the network, one a label,
            `ridge_shares` and `penalties` of the ridge regression (None: the median is predicted),
            `exact`, and `curves`, one dict per epoch from 0.
        :raises OperationalException: the loss is no finite number any more.
        """
        network, data = self.network, self.data
        with network.lock:
            ridge = fit_ridge(data, network.loss)
            shares, best_epoch = np.zeros(data.labels.shape[1], np.float32), 0
            network.reset(start_from)
            # The epochs see residuals: the ridge regression of the last model has no part in them.
            network.set_ridge(np.zeros_like(ridge.kernel), np.zeros_like(ridge.bias))
            exact = start_from is None and self._is_exact(ridge)
            weights = network.weights()
            if len(data.validation_ends) or exact:
                shares, best_epoch, weights = self._run_validated(ridge, weights, exact=exact)
            else:
                residuals = data.labels - ridge.out_of_fold
                for best_epoch, loss in self._epochs(residuals):
                    self._note({"loss": loss}, best_epoch)
                    self._lower_rate(loss)
                shares, weights = np.ones_like(shares), network.weights()
            network.set_weights(weights)
            network.scale_residual(shares)
            network.set_ridge(ridge.kernel, ridge.bias)
            return network.weights(), self._report(ridge, shares, best_epoch, exact=exact)

    def _is_exact(self, ridge: Ridge) -> bool:
        ends = np.concatenate([self.data.train_ends, self.data.validation_ends])
        loss, labels = self.network.loss, self.data.labels[ends]
        medians = np.broadcast_to(ridge.medians, labels.shape)
        left = loss(labels, ridge.out_of_fold[ends]).mean()
        return bool(np.isfinite(left) and left <= EXACT * loss(labels, medians).mean())

    def _run_validated(
        self, ridge: Ridge, weights: Floats, *, exact: bool
    ) -> tuple[Floats, int, Floats]:
        """Train until no better; return (shares, best epoch, its weights)."""
        stop = Plateau(self.parameters.early_stopping_patience)
        shares, scalars = self._validate(ridge, weights)
        self._note(scalars, 0)
        best = (shares, 0, weights)
        if exact:
            return best
        stop.reached(scalars["val_loss"])
        for epoch, loss in self._epochs(self.data.labels - ridge.out_of_fold):
            weights = self.network.weights()
            shares, scalars = self._validate(ridge, weights)
            self._note({"loss": loss} | scalars, epoch)
            if scalars["val_loss"] < self.curves[best[1]]["val_loss"]:
                best = (shares, epoch, weights)
            if stop.reached(scalars["val_loss"]):
                break
            self._lower_rate(scalars["val_loss"])
        return best

    def _epochs(self, residuals: Floats) -> Iterator[tuple[int, float]]:
        """Train epoch by epoch; yield (epoch from 1, mean loss)."""
        p, constant, data = self.parameters, self.network.tf.constant, self.data
        inputs = Inputs(*map(constant, data.inputs))
        labels, weights = constant(residuals), constant(data.weights)
        self._plateau = Plateau(p.lr_patience, LEAST_IMPROVEMENT)
        order = np.random.default_rng(p.seed)
        at_once = max(1, WINDOWS_AT_ONCE // p.batch_size) * p.batch_size
        for epoch in range(1, p.epochs + 1):
            shuffled, total = order.permutation(data.train_ends), 0.0
            for start in range(0, len(shuffled), at_once):
                part = shuffled[start : start + at_once]
                total += self.network.train(inputs, labels, weights, part)
                self._say(epoch - 1 + (start + len(part)) / len(shuffled))
            if not np.isfinite(total):
                raise OperationalException(
                    f"{self.name}: the loss became {total} in epoch {epoch}: the training "
                    f"diverged. Lower {KEY}.learning_rate (now {p.learning_rate:g}), or look for "
                    "extreme values in features and labels."
                )
            yield epoch, total / len(shuffled)

    def _lower_rate(self, loss: float) -> None:
        p, rate = self.parameters, self.network.learning_rate
        if self._plateau.reached(loss) and rate > p.min_learning_rate:
            self.network.learning_rate = max(rate * p.lr_factor, p.min_learning_rate)

    def _validate(self, ridge: Ridge, weights: Floats) -> tuple[Floats, Scalars]:
        """The share of the network that serves each label best, and the scores with it."""
        data, ends = self.data, self.data.validation_ends
        if len(ends) == 0:
            return np.zeros(data.labels.shape[1], np.float32), {}
        actual, out_of_fold = data.labels[ends], ridge.out_of_fold[ends]
        learned = self.network.predict(weights, data.inputs, ends)  # (windows, labels)
        residual, counts = actual - out_of_fold, data.weights[ends]
        shares = cautious_shares(residual, learned, counts, data.horizon, errors=1.0)
        return shares, self._scores(out_of_fold + shares * learned)

    def _scores(self, predicted: Floats) -> Scalars:
        data, ends = self.data, self.data.validation_ends
        actual, scales = data.labels[ends], data.label_scales[ends, None]
        loss = np.average(self.network.loss(actual, predicted), weights=data.weights[ends])
        return {"val_loss": float(loss), "val_r2": r_squared(actual * scales, predicted * scales)}

    def _note(self, scalars: Scalars, epoch: int) -> None:
        scalars = scalars | {"learning_rate": self.network.learning_rate} if epoch else scalars
        self.curves.append({"epoch": epoch, **scalars})
        self.on_epoch(scalars, epoch)

    def _say(self, done: float) -> None:
        now = perf_counter()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        left = (now - self._started) / done * (self.parameters.epochs - done)
        losses = [scalars["val_loss"] for scalars in self.curves if "val_loss" in scalars]
        best = f", best validation loss {min(losses):.4f}" if losses else ""
        if losses:
            best += f" in epoch {losses.index(min(losses))}"
        logger.info(
            f"{self.name}: {done:.1f} of at most {self.parameters.epochs} epochs{best}, "
            f"at most {left:.0f} s still."
        )

    def log_summary(self, labels: list[str], report: dict[str, Any], seconds: float) -> None:
        """Write the lines that end a training in the log.

        :param labels: names of the labels.
        :param report: what `run` returned.
        :param seconds: what the training took, with the preparation of its rows.
        """
        windows = f"{len(self.data.train_ends)} windows in {seconds:.1f} s"
        if report["exact"]:
            logger.info(
                f"{self.name}: trained on {windows}: the straight line explains all of it; no LSTM "
                "was trained."
            )
            return
        parts = zip(labels, report["shares"], report["ridge_shares"], strict=True)
        unknown = [label for label, network, ridge in parts if network == ridge == 0]
        if unknown:
            logger.warning(
                f"{self.name}: nothing validates better than the median of {', '.join(unknown)}; "
                "it is predicted."
            )
        if report["validation_loss"] is None:
            result = f"no validation; loss {report['loss']:.4f}"
        else:
            result = (
                f"best validation loss {report['validation_loss']:.4f} in epoch "
                f"{report['best_epoch']}, R² {report['validation_r2']:.3f} (ridge regression alone "
                f"{report['ridge_validation_r2']:.3f}) on {len(self.data.validation_ends)} "
                "validation windows"
            )
        logger.info(f"{self.name}: trained {report['epochs']} epochs on {windows}; {result}.")

    def _report(
        self, ridge: Ridge, shares: Floats, best_epoch: int, *, exact: bool
    ) -> dict[str, Any]:
        by_epoch = {int(scalars["epoch"]): scalars for scalars in self.curves}
        best, ends = by_epoch.get(best_epoch, {}), self.data.validation_ends
        alone = self._scores(ridge.out_of_fold[ends]) if len(ends) else {}
        return {
            "epochs": max(by_epoch, default=0),
            "best_epoch": best_epoch,
            "loss": best.get("loss"),
            "validation_loss": best.get("val_loss"),
            "validation_r2": best.get("val_r2"),
            "ridge_validation_loss": alone.get("val_loss"),
            "ridge_validation_r2": alone.get("val_r2"),
            "shares": [float(share) for share in shares],
            "ridge_shares": [float(share) for share in ridge.shares],
            "penalties": [float(p) if np.isfinite(p) else None for p in ridge.penalties],
            "exact": exact,
            "curves": self.curves,
        }


def r_squared(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the coefficient of determination over all labels together, in their own scale.

    :param actual: array of shape (windows, labels)
    :return: 1 - residual / total sum of squares about each label's mean; nan when that is 0.
    """
    total = float(np.square(actual - actual.mean(axis=0)).sum())
    return 1 - float(np.square(actual - predicted).sum()) / total if total else float("nan")
