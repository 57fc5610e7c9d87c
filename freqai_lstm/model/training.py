"""The training of the shared network: epochs on years of candles of all pairs."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.devices import start_tensorflow
from freqai_lstm.model.forward import Forward, weights_of
from freqai_lstm.model.history import PairHistory
from freqai_lstm.model.network import build_network
from freqai_lstm.model.parameters import KEY, LSTMParameters
from freqai_lstm.model.ridge import factors
from freqai_lstm.model.shared_network import assemble
from freqai_lstm.model.windows import DAY, CandleInputs, Floats, Numbers, Rows


logger = logging.getLogger(__name__)

MOST_VALIDATION_DAYS = 60
SECONDS_BETWEEN_LINES = 15.0
BATCHES_AT_ONCE = 16  # in one call of TensorFlow: seconds at the most, so that lines can be on time
# Added to a label's squared error before the logarithm: below, a label counts as learned. With
# less, nearly exact labels take all of the gradient, and one that is found late is not found.
LEARNED = 1e-2
LINE_PENALTY = 0.01  # of the regression that the network's line starts from

OnEpoch = Callable[[dict[str, float], int], None]


@dataclass
class TrainingData:
    """Hold the rows of all pairs in one set of arrays; no window reaches from one pair to another.

    `inputs` and `features` of shape (rows, features) are scaled; `labels` of shape (rows, labels),
    NaN where there is none. Validation windows are in time order, those of one candle side by side.
    `waits` of shape (labels,) says after how many of them a label is known.
    """

    inputs: CandleInputs
    features: Floats
    labels: Floats
    train_ends: Rows
    validation_ends: Rows
    waits: list[int]
    in_windows: bool


def joined(
    histories: list[PairHistory],
    in_windows: bool,
    test_size: float,
    timeframe_seconds: int,
    stride: int,
) -> TrainingData:
    """Join the pairs' rows, and split their windows at one border in time for all pairs.

    :param histories: emptied, since their rows would otherwise be in memory twice.
    :param test_size: fraction of the history whose windows validate, the newest; at most 60 days.
    :param stride: every how many windows one is learned from.
    """
    first = min(int(h.inputs.numbers[0]) for h in histories)
    last = max(int(h.inputs.numbers[-1]) for h in histories)
    days = MOST_VALIDATION_DAYS * DAY / timeframe_seconds
    border = last + 1 - int(min(test_size * (last + 1 - first), days))
    names = ("levels", "logs", "columns", "features", "labels")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    train, validation, times, offset = [], [], [], 0
    ahead = zip(*(h.scales.labels.horizons for h in histories), strict=True)
    waits = [max(horizons) * len(histories) for horizons in ahead]
    while histories:
        history = histories.pop(0)
        for name in names:
            where = history if name in ("features", "labels") else history.inputs
            parts[name].append(getattr(where, name))
        candles = history.inputs.numbers[history.ends]
        farthest = max(history.scales.labels.horizons, default=0)
        train.append(history.ends[candles + farthest < border][::stride] + offset)
        validation.append(history.ends[candles >= border] + offset)
        times.append(candles[candles >= border])
        offset += len(history.inputs.numbers)
    del history
    levels, logs, columns, features, labels = (np.concatenate(parts.pop(name)) for name in names)
    valid = np.ones(offset, dtype=bool)
    order = np.argsort(np.concatenate(times), kind="stable")
    return TrainingData(
        CandleInputs(np.arange(offset), valid, levels, logs, columns),
        features,
        labels,
        np.concatenate(train),
        np.concatenate(validation)[order],
        waits,
        in_windows,
    )


def train_network(
    data: TrainingData,
    parameters: LSTMParameters,
    conv_width: int,
    *,
    start_from: dict[str, Floats] | None = None,
    on_epoch: OnEpoch = lambda scalars, epoch: None,
) -> tuple[Any, dict[str, Any]]:
    """Train a network.

    The loss is the mean over the labels of the logarithm of their squared error, the likelihood of
    normal errors whose size is unknown (Kendall, Gal and Cipolla 2018, arXiv:1705.07115): a label
    that the window tells is learned ever more exactly, and one of noise does not drown it. A label
    that is missing at a window costs nothing. The learning rate falls along a cosine. The epoch
    with the least loss on the validation windows is kept; without any, the last. It is then shrunk
    towards the start where that is better there, see `_shrink_to_line`.

    :param start_from: weights to go on from (continual learning), see `forward.weights_of`.
    :param on_epoch: called with {name: value} and the epoch, for TensorBoard.
    :return: (`keras.Model`, report); the report holds `epochs`, `best_epoch`, `validation_loss`,
        `validation_r2` of the best epoch, `kept` of `_shrink_to_line` (these three None without
        validation windows), `windows`, `seconds` and `curves`.
    :raises OperationalException: the loss is no finite number any more.
    """
    started, p = perf_counter(), parameters
    tf, keras = start_tensorflow(p)
    windows, columns = _inputs(data, data.train_ends[:1], conv_width)
    shape = (conv_width, windows.shape[2], columns.shape[1], data.labels.shape[1])
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    model = build_network(keras, p, shape, on_gpu=on_gpu)
    line = _line(data)
    model.get_layer("line").set_weights(line)
    if start_from is not None:
        _go_on(model, start_from)
    batches = len(data.train_ends) // p.batch_size or 1
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(p.learning_rate, batches * p.epochs),
        weight_decay=p.weight_decay,
        global_clipnorm=p.clip_norm,
    )
    # Decay is for weights that multiply inputs: not for biases and normalisation gains, and not for
    # the attention's scores: heads would have left their extremes before a label asks for them.
    free = [v for v in model.trainable_variables if len(v.shape) < 2 or "scores" in v.path]
    optimizer.exclude_from_weight_decay(var_list=free)
    optimizer.build(model.trainable_variables)
    step = _step(tf, model, optimizer, p.batch_size)
    order, curves = np.random.default_rng(p.seed), []
    best, best_weights, said = 0, model.get_weights(), started
    at_once = BATCHES_AT_ONCE * p.batch_size
    for epoch in range(1, p.epochs + 1):
        shuffled, total = order.permutation(data.train_ends), 0.0
        for start in range(0, len(shuffled), at_once):
            ends = shuffled[start : start + at_once]
            total += float(
                step(*map(tf.constant, (*_inputs(data, ends, conv_width), data.labels[ends])))
            )
            if perf_counter() - said > SECONDS_BETWEEN_LINES:
                said = perf_counter()
                done = epoch - 1 + (start + len(ends)) / len(shuffled)
                left = (said - started) / done * (p.epochs - done)
                logger.info(
                    f"Shared network: {done:.1f} of {p.epochs} epochs, at most {left:.0f} s still."
                )
        scalars = {"loss": total / len(shuffled)}
        if not np.isfinite(total):
            raise OperationalException(
                f"Shared network: the loss became {total} in epoch {epoch}: the training diverged. "
                f"Lower {KEY}.learning_rate (now {p.learning_rate:g})."
            )
        if len(data.validation_ends):
            losses = validate(Forward(weights_of(model)), data, conv_width)
            scalars |= {
                "validation_loss": float(np.log(losses + LEARNED).mean()),
                "validation_r2": float(1 - losses.mean()),
            }
        curves.append({"epoch": epoch, **scalars})
        on_epoch(scalars, epoch)
        now = scalars.get("validation_loss", -epoch)
        if best == 0 or now < curves[best - 1].get("validation_loss", -best):
            best, best_weights = epoch, model.get_weights()
        elif epoch - best >= p.early_stopping_patience:
            break
    model.set_weights(best_weights)
    kept = _shrink_to_line(model, line, data, conv_width)
    chosen = curves[best - 1]
    report = {
        "epochs": len(curves),
        "best_epoch": best,
        **{name: chosen.get(name) for name in ("loss", "validation_loss", "validation_r2")},
        "windows": len(data.train_ends),
        "kept": kept,
        "seconds": perf_counter() - started,
        "curves": curves,
    }
    return model, report


def validate(forward: Forward, data: TrainingData, conv_width: int) -> Numbers:
    """Return each label's squared error on the validation windows, of its own spread there."""
    predicted = _predicted(forward, data, conv_width)
    actual = data.labels[data.validation_ends].astype(float)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a label that no window has
        spread = np.nanvar(actual, axis=0)
        losses = np.nanmean(np.square(actual - predicted), axis=0) / spread
    return losses[np.isfinite(losses)]


def _predicted(forward: Forward, data: TrainingData, conv_width: int) -> Floats:
    """Predictions of the validation windows, shape (windows, labels)."""
    ends = data.validation_ends
    parts = np.array_split(ends, len(ends) // 4096 + 1)
    return np.concatenate([forward(*_inputs(data, some, conv_width)) for some in parts])


def _shrink_to_line(
    model: Any, line: list[Floats], data: TrainingData, conv_width: int
) -> list[float] | None:
    """Shrink a trained network, label by label, towards the regression that it started from.

    Where windows are few (candles of 4 hours, say) a network overfits labels of which that line
    tells more. Of each label's change by the training the fraction is kept, from 0 to 1, that has
    the least squared error on the validation windows, and one standard error more. The mean of a
    network and its line is a network of the same layers.

    :param model: changed in place.
    :param line: kernel and bias of the regression.
    :return: the fractions, by label; None without validation windows.
    """
    ends = data.validation_ends
    if len(ends) == 0:
        return None
    columns = np.concatenate([data.inputs.columns[ends], data.features[ends]], axis=1)
    start = (columns @ line[0] + line[1]).astype(float)  # (windows, labels)
    learned = _predicted(Forward(weights_of(model)), data, conv_width) - start
    best, error = factors(data.labels[ends] - start, learned, np.ones(len(ends)), data.waits)
    kept = np.where(error > 0, np.clip(best + error, 0, 1), 1.0)  # a label without values
    for name in ("bent", "crossed"):
        layer = model.get_layer(name)
        layer.set_weights([layer.get_weights()[0] * kept])
    layer = model.get_layer("line")
    both = zip(layer.get_weights(), line, strict=True)
    layer.set_weights([kept * now + (1 - kept) * then for now, then in both])
    return [float(factor) for factor in kept]


def _inputs(data: TrainingData, ends: Rows, conv_width: int) -> tuple[Floats, Floats]:
    return assemble(data.inputs, data.features, ends, conv_width, data.in_windows)


def _step(tf: Any, model: Any, optimizer: Any, batch_size: int) -> Callable:
    """A TensorFlow function that learns from some batches; it returns the sum of their losses.

    It is one call for many batches: the bot's own thread keeps the interpreter to itself meanwhile.
    """
    learned = model.trainable_variables

    def loss_of(windows: Any, columns: Any, labels: Any) -> Any:
        known = tf.math.is_finite(labels)  # (batch, labels)
        errors = tf.where(
            known, model([windows, columns], training=True) - tf.where(known, labels, 0.0), 0.0
        )
        count = tf.reduce_sum(tf.cast(known, tf.float32), axis=0)  # (labels,)
        squares = tf.math.divide_no_nan(tf.reduce_sum(tf.square(errors), axis=0), count)
        # A label that no window of the batch has does not count.
        return tf.reduce_mean(tf.where(count > 0, tf.math.log(squares + LEARNED), 0.0))

    # Of any number of windows: the last ones of an epoch would be traced anew otherwise.
    shapes = [(None, *inputs.shape[1:]) for inputs in (*model.inputs, *model.outputs)]

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape) for shape in shapes])
    def step(windows: Any, columns: Any, labels: Any) -> Any:
        def body(start: Any, total: Any) -> tuple[Any, Any]:
            some = [values[start : start + batch_size] for values in (windows, columns, labels)]
            with tf.GradientTape() as tape:
                loss = loss_of(*some)
            optimizer.apply(tape.gradient(loss, learned), learned)
            return start + batch_size, total + loss * tf.cast(tf.shape(some[2])[0], tf.float32)

        count = tf.shape(labels)[0]
        _, total = tf.while_loop(
            lambda start, _: start < count, body, (0, 0.0), parallel_iterations=1
        )
        return total

    return step


def _line(data: TrainingData) -> list[Floats]:
    """The line that the network starts from: a ridge regression on the columns of all pairs."""
    ends = data.train_ends[:: max(1, len(data.train_ends) // 20_000)]
    columns = np.concatenate([data.inputs.columns[ends], data.features[ends]], axis=1).astype(float)
    labels = data.labels[ends].astype(float)
    known = np.isfinite(labels)
    centre = columns.mean(axis=0)
    means = np.where(known, labels, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    moved = columns - centre
    left = np.where(known, labels - means, 0)
    gram = moved.T @ moved / len(ends) + LINE_PENALTY * np.eye(columns.shape[1])
    kernel = np.linalg.solve(gram, moved.T @ left / np.maximum(known.sum(axis=0), 1))
    return [kernel.astype(np.float32), (means - centre @ kernel).astype(np.float32)]


def _go_on(model: Any, weights: dict[str, Floats]) -> None:
    """Put the weights of an earlier network into a new one."""
    now = weights_of(model)
    if {name: values.shape for name, values in now.items()} != {
        name: values.shape for name, values in weights.items()
    }:
        logger.warning(
            "Continual learning cannot start from the last shared network, its features or layers "
            "differ: starting from fresh weights."
        )
        return
    for layer in model.layers:
        own = [weights[name] for name in weights if name.rpartition("/")[0] == layer.name]
        if own:
            kept = layer.get_weights()
            layer.set_weights([*own, *kept[len(own) :]])
    logger.info("Continual learning: the shared network starts from the last one.")


@contextlib.contextmanager
def scalars_writer(folder: Path, *, active: bool) -> Iterator[OnEpoch]:
    """Give a function that writes one scalar per name and epoch to `<folder>/tensorboard`.

    :param active: `freqai.activate_tensorboard`; else the function does nothing.
    """
    if not active:
        yield lambda scalars, epoch: None
        return
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def write(scalars: dict[str, float], epoch: int) -> None:
        with writer.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=epoch)

    try:
        yield write
    finally:
        writer.close()
