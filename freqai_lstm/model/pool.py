"""The compiled networks of a process, one per shape."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.devices import configure_devices, limit_threads, load_tensorflow
from freqai_lstm.model.network import NetworkShape, build_network, same_architecture
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.windows import Floats


logger = logging.getLogger(__name__)

MOST_NETWORKS = 8


class NetworkPool:
    """Start TensorFlow on the chosen device, and keep the compiled networks by shape.

    No network is built twice. Only the most recent ones are kept: with PCA the number of features
    may change at every training.
    """

    def __init__(self, parameters: LSTMParameters) -> None:
        self.parameters = parameters
        self._lock = threading.RLock()
        self._networks: OrderedDict[NetworkShape, CompiledNetwork] = OrderedDict()
        self._keras: Any = None

    def start(self) -> Any:
        """Import TensorFlow and choose the device, once, with one line in the log.

        :return: the `keras` module
        :raises OperationalException: the device is not there.
        """
        with self._lock:
            if self._keras is None:
                p = self.parameters
                limit_threads(p.units)
                tf, keras = load_tensorflow()
                logger.info(configure_devices(tf, p.device, p.gpu_memory_limit_mb))
                self._keras = keras
            return self._keras

    def network(self, conv_width: int, features: int, labels: int) -> CompiledNetwork:
        """Return the network for windows of this shape, built on first use."""
        keras, shape = self.start(), NetworkShape(conv_width, features, labels, self.parameters)
        with self._lock:
            if shape not in self._networks:
                tf, _ = load_tensorflow()
                on_gpu = bool(tf.config.list_logical_devices("GPU"))

                def build(seed: int) -> Any:
                    seeded = self.parameters.model_copy(update={"seed": seed})
                    return build_network(keras, replace(shape, parameters=seeded), on_gpu=on_gpu)

                model = build(self.parameters.seed)
                self._networks[shape] = CompiledNetwork(model, self.parameters, build)
                if len(self._networks) > MOST_NETWORKS:
                    self._networks.popitem(last=False)
            self._networks.move_to_end(shape)
            return self._networks[shape]

    def loss(self, labels: Floats, predictions: Floats) -> Floats:
        """Return the loss of each row, shape (rows,), the same that training minimises.

        :param labels: array of shape (rows, labels), as `predictions`.
        """
        return np.asarray(self.start().losses.get(self.parameters.loss)(labels, predictions))

    def network_of(self, model: Any) -> CompiledNetwork:
        """Return the network that equals a loaded `keras.Model`.

        An archive of another architecture (other parameters, with `allow_changed_fingerprint`)
        still predicts, with a network of its own.
        """
        _, conv_width, features = model.inputs[0].shape
        network = self.network(conv_width, features, model.output_shape[-1])
        if same_architecture(network.model, model):
            return network
        return CompiledNetwork(model, self.parameters)
