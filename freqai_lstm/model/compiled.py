"""A compiled network: trains on, and predicts, windows that are gathered from a matrix of rows.

One compiled network serves every training and every prediction of its shape. Building a Keras
graph takes seconds and its memory is never quite given back, so a training resets the weights
instead of building a new network, and what a training returns is only the weights.

Windows are never copied out. Rows stay in 2-D matrices; a window is the number of its last row, and
TensorFlow gathers `conv_width` rows for one batch at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqai_lstm.model.candles import COLUMNS, unit_free
from freqai_lstm.model.devices import joined_tensor, load_tensorflow
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.windows import Floats, Inputs, Rows


MAX_GATHERED = 2**23  # numbers in the windows of one prediction: 32 MB
MOST_WINDOWS = 2048  # predicted in one call


class CompiledNetwork:
    """Hold a Keras model with its TensorFlow functions for training and prediction.

    One training at a time uses it (`lock`), while any number of threads predict with it:
    predictions never read the variables that a training changes, they bring their own weights.

    Weights outside of TensorFlow are one vector: all numbers of `keras.Model.get_weights()` in that
    order, float32, shape (numbers,). TensorFlow takes one argument much faster than twenty.

    :param build: makes the Keras model of a seed; a member of an ensemble starts from its own.
    """

    def __init__(
        self, model: Any, parameters: LSTMParameters, build: Callable[[int], Any] | None = None
    ) -> None:
        self.tf, self.keras = load_tensorflow()
        self.model = model
        self.parameters = parameters
        self._build = build
        self.lock = threading.RLock()
        self.conv_width, self.features = model.inputs[0].shape[1:]
        self.labels = model.output_shape[-1]
        self.reads_candles = len(model.inputs) > 1
        self._shapes = [tuple(v.shape) for v in model.weights]
        self._sizes = [int(np.prod(shape)) for shape in self._shapes]
        # By seed; weights, and the state of the dropout seeds.
        self._first_values = {parameters.seed: [np.asarray(v) for v in model.variables]}
        self._predict = self._prediction_function()
        self._training: tuple[Callable, Any, list[NDArray]] | None = None

    def weights(self) -> Floats:
        """Return the weights that the Keras model holds now, shape (numbers,)."""
        return self.vector(self.model)

    @staticmethod
    def vector(model: Any) -> Floats:
        """Return the weights of a Keras model as a vector of shape (numbers,)."""
        return np.concatenate([np.ravel(w) for w in model.get_weights()]).astype(np.float32)

    def set_weights(self, weights: Floats) -> None:
        """Put weights of shape (numbers,) into the Keras model."""
        parts = np.split(weights, np.cumsum(self._sizes)[:-1])
        self.model.set_weights(
            [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        )

    def joined(self, blocks: Sequence[Floats]) -> Any:
        """Join rows of several pairs in one tensor, for `predict` and `train`."""
        return joined_tensor(self.tf, blocks)

    def predict(self, weights: Any, inputs: Inputs, ends: Rows) -> Floats:
        """Predict the windows that end at `ends`, with the given weights.

        :param weights: array or tensor of shape (numbers,).
        :return: array of shape (windows, labels).
        """
        given = [self.tf.constant(part) for part in (weights, *inputs)]
        batch = min(MOST_WINDOWS, max(1, MAX_GATHERED // (self.conv_width * self.features)))
        parts = [
            self._predict(*given, self.tf.constant(ends[start : start + batch])).numpy()
            for start in range(0, len(ends), batch)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.labels), dtype=np.float32)

    def _windows(self, inputs: Inputs, ends: Any) -> list[Any]:
        """The model's inputs: (batch, conv_width, features) and (batch, conv_width, channels)."""
        rows = ends[:, None] + self.tf.range(1 - self.conv_width, 1)  # (batch, conv_width)
        windows = [self.tf.gather(inputs.features, rows)]
        if self.reads_candles:
            windows.append(unit_free(self.tf, self.tf.gather(inputs.candles, rows)))
        return windows

    def _rows_signature(self) -> list[Any]:
        tf = self.tf
        return [
            tf.TensorSpec((None, self.features), tf.float32),
            tf.TensorSpec((None, len(COLUMNS)), tf.float32),
        ]

    def _prediction_function(self) -> Callable:
        tf, model = self.tf, self.model
        unused = [tf.constant(np.asarray(v)) for v in model.non_trainable_variables]

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec((sum(self._sizes),), tf.float32),
                *self._rows_signature(),
                tf.TensorSpec((None,), tf.int32),
            ],
        )
        def predict(vector: Any, features: Any, candles: Any, ends: Any) -> Any:
            parts = zip(tf.split(vector, self._sizes), self._shapes, strict=True)
            weights = [tf.reshape(part, shape) for part, shape in parts]
            windows = self._windows(Inputs(features, candles), ends)
            return model.stateless_call(weights, unused, windows, training=False)[0]

        return predict.get_concrete_function()

    # --- what a training needs ---

    def reset(self, seed: int, weights: Floats | None = None) -> None:
        """Put every variable, the optimizer's too, back to its first value.

        :param seed: of the first weights and of dropout.
        :param weights: start from these instead of the fresh ones (continual learning).
        """
        if seed not in self._first_values and self._build is not None:
            self._first_values[seed] = [np.asarray(v) for v in self._build(seed).variables]
        for variable, value in zip(self.model.variables, self._first_values[seed], strict=True):
            variable.assign(value)
        if self._training is not None:
            _, optimizer, first_values = self._training
            for variable, value in zip(optimizer.variables, first_values, strict=True):
                variable.assign(value)
        if weights is not None:
            self.set_weights(weights)

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate; can be set between two epochs."""
        return float(np.asarray(self._training_function()[1].learning_rate))

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._training_function()[1].learning_rate = rate

    def train(
        self, rows: tuple[Any, ...], label_weights: Floats, ends: Rows, batch_size: int
    ) -> float:
        """Train on each window once, in the given order; return the sum of the windows' losses.

        It is one call into TensorFlow: no Python between batches, and the bot's own thread keeps
        the interpreter to itself meanwhile.

        :param rows: tensors: features, candles (see `Inputs`), labels of shape (rows, labels) and
            weights of shape (rows,).
        :param label_weights: array of shape (labels,), how much each label's loss counts.
        """
        epoch, _, _ = self._training_function()
        constant = self.tf.constant
        return float(epoch(*rows, constant(label_weights), constant(ends), constant(batch_size)))

    # No functools.cached_property: in Python 3.11 it holds a lock, and hyperopt pickles the model.
    def _training_function(self) -> tuple[Callable, Any, list[NDArray]]:
        """One epoch as a TensorFlow function, the optimizer, and its variables' first values."""
        if self._training is None:
            self._training = self._compile_training()
        return self._training

    def _compile_training(self) -> tuple[Callable, Any, list[NDArray]]:
        tf, model = self.tf, self.model
        learned = model.trainable_variables
        optimizer = self._optimizer(learned)
        loss = self.keras.losses.get(self.parameters.loss)

        def step(start: Any, total: Any, data: tuple) -> tuple[Any, Any]:
            features, candles, labels, weights, label_weights, ends, batch_size = data
            batch = ends[start : start + batch_size]
            with tf.GradientTape() as tape:
                predicted = model(self._windows(Inputs(features, candles), batch), training=True)
                # Keras' losses take the mean over the last axis: one label at a time.
                each = loss(tf.gather(labels, batch)[..., None], predicted[..., None])
                losses = tf.reduce_mean(each * label_weights, axis=1) * tf.gather(weights, batch)
                mean = tf.reduce_mean(losses)
            optimizer.apply(tape.gradient(mean, learned), learned)
            return start + batch_size, total + tf.reduce_sum(losses)

        @tf.function(
            autograph=False,
            input_signature=[
                *self._rows_signature(),
                tf.TensorSpec((None, self.labels), tf.float32),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((self.labels,), tf.float32),
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((), tf.int32),
            ],
        )
        def epoch(*data: Any) -> Any:
            count = tf.shape(data[-2])[0]
            _, total = tf.while_loop(
                lambda start, _: start < count,
                lambda start, total: step(start, total, data),
                (tf.constant(0), tf.constant(0.0)),
                parallel_iterations=1,
            )
            return total

        first_values = [np.asarray(v) for v in optimizer.variables]
        return epoch.get_concrete_function(), optimizer, first_values

    def _optimizer(self, learned: list[Any]) -> Any:
        p = self.parameters
        config = {"learning_rate": p.learning_rate, "global_clipnorm": p.clip_norm}
        if p.optimizer == "adamw":
            config["weight_decay"] = p.weight_decay
        optimizer = self.keras.optimizers.get({"class_name": p.optimizer, "config": config})
        if p.optimizer == "adamw":
            # Decay is for weights that multiply inputs: not for biases and normalisation gains.
            optimizer.exclude_from_weight_decay(var_list=[v for v in learned if len(v.shape) < 2])
        optimizer.build(learned)
        return optimizer
