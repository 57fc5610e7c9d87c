"""One case of what a user pays, in a process of its own (which cannot be `__main__`)."""

from __future__ import annotations

import resource
from time import perf_counter

import numpy as np

from benchmarks.model_under_test import compiled_network, random_training_set
from benchmarks.speed.memory import MB
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.part import Part
from freqai_lstm.model.pool import NetworkPool
from freqai_lstm.model.training import Training


WIDTH, FEATURES = 24, 135


def measure(pairs: int, rows: int) -> dict[str, float]:
    """Train on so many pairs with so many rows each; in a process of its own.

    :return: `start`, seconds until the first epoch can begin; `prepare`, seconds for all pairs;
        `epoch`, seconds; `peak_mb` of the whole process.
    """
    parameters = LSTMParameters(epochs=2, early_stopping_patience=2)
    started = perf_counter()
    network = compiled_network(parameters, WIDTH, FEATURES)
    marks = [perf_counter()]
    loss = NetworkPool(parameters).loss
    parts = []
    for number in range(pairs):
        np.zeros((rows, FEATURES)).fill(1.0)  # the strategy's frame, of one pair at a time
        data = random_training_set(rows, FEATURES, WIDTH, validation=0.2)
        parts.append(Part.fit(f"C{number}/USDT", data, range(FEATURES), loss))
    marks.append(perf_counter())
    Training(network, parts, on_epoch=lambda *_: marks.append(perf_counter())).run()
    return {
        "start": marks[0] - started,
        "prepare": marks[1] - marks[0],
        "epoch": marks[-1] - marks[-2],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB,
    }
