"""One training of the network: epochs on what ridge regressions leave over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.parameters import KEY
from freqai_lstm.model.part import Part
from freqai_lstm.model.windows import Floats, Inputs, Rows


logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0
# Trained in one call: some seconds at the most, so that lines can be on time.
WINDOWS_AT_ONCE = 8192
LEAST_IMPROVEMENT = 1e-4  # as in ReduceLROnPlateau of Keras
# Of the weights' running mean over epochs: single epochs scatter about it while the
# learning rate is high (Izmailov et al. 2018; a running mean as in Tarvainen and Valpola 2017).
KEPT_OF_MEAN = 0.6
# Every label counts at least this much, so that the network can find something in it later.
LEAST_LABEL_WEIGHT = 0.05
# Standard errors taken off these weights: fewer than off what is added, because a label that is
# only beginning to be learned needs its weight most.
LABEL_WEIGHT_ERRORS = 1.0

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
    """Train one network on the windows of one pair, or of several together.

    Epoch 0 is the ridge regression alone, in the log, the report and TensorBoard alike.

    :param parts: of the pairs; their networks' features are the same, column by column.
    :param name: of what is trained, for the log.
    :param on_epoch: called with {name: value} and the epoch, for TensorBoard.
    """

    def __init__(
        self,
        network: CompiledNetwork,
        parts: Sequence[Part],
        *,
        name: str = "",
        on_epoch: Callable[[Scalars, int], None] = lambda scalars, epoch: None,
    ) -> None:
        self.network, self.parts, self.name, self.on_epoch = network, parts, name, on_epoch
        self.parameters = network.parameters
        self.curves: list[Scalars] = []
        self._started = self._said = perf_counter()
        # Rows of all pairs in one matrix; windows end at rows of one pair and never reach over.
        inputs = zip(*(part.inputs() for part in parts), strict=True)
        self._rows = Inputs(*map(network.joined, inputs))
        self._train_ends = self._joined([part.data.train_ends for part in parts])
        self._validation_ends = self._joined([part.data.validation_ends for part in parts])

    def _joined(self, ends: list[Rows]) -> Rows:
        offsets = np.cumsum([0, *(len(part.data.labels) for part in self.parts)])
        moved = [rows + offset for rows, offset in zip(ends, offsets, strict=False)]
        return np.concatenate(moved).astype(np.int32)

    def run(self, start_from: Floats | None = None) -> tuple[Floats, dict[str, Any]]:
        """Train every member of the ensemble, each from its own seed.

        The network learns what the ridge regressions, which have not seen a window's block of time,
        leave over. Early stopping and the learning rate follow the validation loss of what is added
        (see `Part.shares`): a label about which nothing can be known neither takes part nor ends
        the training of the others, and its errors no longer change the network. Without validation
        windows all epochs run, and the training loss steers the learning rate.

        :param start_from: weights of shape (members, numbers) to continue from (continual
            learning); None for fresh ones.
        :return: (weights of shape (members, numbers), report); the report holds `epochs` and
            `best_epoch`, of all members the largest, `loss`, and `curves`, one dict per epoch from
            0 (of the first member).
        :raises OperationalException: the loss is no finite number any more.
        """
        members, best_epochs, last_epochs, losses = [], [], [], []
        with self.network.lock:
            for number in range(self.parameters.ensemble):
                given = None if start_from is None else start_from[number]
                self.network.reset(self.parameters.seed + number, given)
                weights, curves, best = self._member(number)
                members.append(weights)
                best_epochs.append(best)
                last_epochs.append(len(curves) - 1)
                losses.append(curves[best].get("loss"))
                self.curves = self.curves or curves
        windows, seconds = len(self._train_ends), perf_counter() - self._started
        if len(self.parts) > 1:
            logger.info(
                f"{self.name}: trained {max(last_epochs)} epochs on {windows} windows in "
                f"{seconds:.1f} s."
            )
        return np.stack(members), {
            "epochs": max(last_epochs),
            "best_epoch": max(best_epochs),
            "loss": losses[0],
            "curves": self.curves,
        }

    def _member(self, number: int) -> tuple[Floats, list[Scalars], int]:
        """Train once; return the best weights, the curves, and the best epoch.

        What is validated, and returned, is the running mean of the weights over the epochs.
        """
        p, stop = self.parameters, Plateau(self.parameters.early_stopping_patience)
        plateau = Plateau(p.lr_patience, LEAST_IMPROVEMENT)
        curves: list[Scalars] = []
        validated = len(self._validation_ends) > 0
        label_weights = np.ones(self.network.labels, np.float32)
        best, mean, best_weights = 0, None, self.network.weights()

        def note(scalars: Scalars, epoch: int) -> None:
            curves.append({"epoch": epoch, **scalars})
            if number == 0:
                self.on_epoch(scalars, epoch)

        if validated:
            note(self._validate(best_weights)[1], 0)
            stop.reached(curves[0]["val_loss"])
        else:
            note({}, 0)
        for epoch, loss in self._epochs(number, label_weights, curves):
            rate = {"learning_rate": self.network.learning_rate}
            weights, scalars = self.network.weights(), {"loss": loss}
            if mean is None:
                mean = weights
            mean = KEPT_OF_MEAN * mean + (1 - KEPT_OF_MEAN) * weights
            if validated:
                found, scores = self._validate(mean)
                label_weights[:] = np.maximum(found, LEAST_LABEL_WEIGHT)
                scalars |= scores
            note(scalars | rate, epoch)
            value = scalars.get("val_loss", loss)
            if not validated or value < curves[best]["val_loss"]:
                best, best_weights = epoch, mean
            if validated and stop.reached(value):
                break
            if plateau.reached(value) and rate["learning_rate"] > p.min_learning_rate:
                lowered = max(rate["learning_rate"] * p.lr_factor, p.min_learning_rate)
                self.network.learning_rate = lowered
        return best_weights, curves, best

    def _epochs(
        self, number: int, label_weights: Floats, curves: list[Scalars]
    ) -> Iterator[tuple[int, float]]:
        """Train epoch after epoch; yield its number and its mean loss.

        :param label_weights: of shape (labels,); may change between two epochs.
        """
        p, joined = self.parameters, self.network.joined
        residuals = joined([part.residuals for part in self.parts])
        rows = (*self._rows, residuals, joined([part.data.weights for part in self.parts]))
        # As many steps an epoch for several pairs as for one.
        batch_size = p.batch_size * len(self.parts)
        order = np.random.default_rng(p.seed + number)
        at_once = max(1, WINDOWS_AT_ONCE // batch_size) * batch_size
        for epoch in range(1, p.epochs + 1):
            shuffled, total = order.permutation(self._train_ends), 0.0
            for start in range(0, len(shuffled), at_once):
                part = shuffled[start : start + at_once]
                total += self.network.train(rows, label_weights, part, batch_size)
                self._say(
                    number * p.epochs + epoch - 1 + (start + len(part)) / len(shuffled), curves
                )
            if not np.isfinite(total):
                raise OperationalException(
                    f"{self.name}: the loss became {total} in epoch {epoch}: the training "
                    f"diverged. Lower {KEY}.learning_rate (now {p.learning_rate:g}), or look for "
                    "extreme values in features and labels."
                )
            yield epoch, total / len(shuffled)

    def _validate(self, weights: Floats) -> tuple[Floats, Scalars]:
        """How well each label is learned, from 0 to 1, and the scores; means over the pairs."""
        learned = self.network.predict(weights, self._rows, self._validation_ends)
        borders = np.cumsum([len(part.data.validation_ends) for part in self.parts])[:-1]
        found, scores = [], []
        for part, predicted in zip(self.parts, np.split(learned, borders), strict=True):
            if len(predicted):
                found.append(part.shares(predicted, errors=LABEL_WEIGHT_ERRORS))
                scores.append(part.scores(part.shares(predicted) * predicted))
        mean = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
        return np.mean(found, axis=0), mean

    def _say(self, done: float, curves: list[Scalars]) -> None:
        now = perf_counter()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        most = self.parameters.epochs * self.parameters.ensemble
        left = (now - self._started) / done * (most - done)
        losses = [scalars["val_loss"] for scalars in curves if "val_loss" in scalars]
        best = f", best validation loss {min(losses):.4f}" if losses else ""
        if losses:
            best += f" in epoch {losses.index(min(losses))}"
        logger.info(
            f"{self.name}: {done:.1f} of at most {most} epochs{best}, at most {left:.0f} s still."
        )
