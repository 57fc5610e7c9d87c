"""TensorFlow and Keras, loaded on first use, and the device they work on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
from freqtrade.exceptions import OperationalException
from numpy.typing import NDArray

from freqai_lstm.model.parameters import KEY


SMALL_UNITS = 128
ALIGNMENT = 64  # bytes; TensorFlow reads memory of others only from such addresses


def load_tensorflow() -> tuple[Any, Any]:
    """Import TensorFlow and Keras; freqtrade lists models without paying for it.

    :return: (tensorflow, keras)
    :raises OperationalException: Keras is set up for another backend.
    """
    # TensorFlow's C++ parts write a dozen lines to stderr otherwise, and still two or three before
    # this level applies. Errors appear.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise OperationalException(
            "LSTMRegressor needs Keras on TensorFlow. Got the Keras backend "
            f"'{keras.backend.backend()}': unset KERAS_BACKEND or set it to 'tensorflow'."
        )
    return tf, keras


def limit_threads(units: int) -> None:
    """Let each of TensorFlow's operations have one thread, where LSTMs are small.

    Matrices of up to 128 units are so small that sharing one out over threads takes longer than it
    saves; independent operations still run side by side. Takes effect before TensorFlow's first
    operation, and only where the environment says nothing about it.
    """
    if units <= SMALL_UNITS:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")


def configure_devices(tf: Any, device: str = "auto", memory_limit_mb: int = 0) -> str:
    """Choose the device to train on, and let TensorFlow take GPU memory only as it needs it.

    Safe to call twice and after TensorFlow's runtime has started: devices that can no longer be
    changed stay as they are, and the returned line says so.

    :param device: 'auto' (a GPU where there is one), 'cpu' or 'gpu'.
    :param memory_limit_mb: upper limit of GPU memory in MB, 0 for none.
    :return: one line for the log: what was chosen and why.
    :raises OperationalException: `device` is 'gpu' and TensorFlow sees none.
    """
    system = platform.system()
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise OperationalException(
            f"{KEY}.device is 'gpu', but TensorFlow sees no GPU. {_gpu_hint(system)} "
            "Or write 'auto' to use the CPU."
        )
    try:
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return "Training on the CPU, as configured."
        if not gpus:
            return f"Training on the CPU: TensorFlow sees no GPU. {_gpu_hint(system)}"
        for gpu in gpus:
            if memory_limit_mb:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_limit_mb)
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError) as reason:
        return f"TensorFlow is running already and keeps its devices as they are ({reason})."
    which = "one GPU" if len(gpus) == 1 else f"the first of {len(gpus)} GPUs"
    memory = f"at most {memory_limit_mb} MB" if memory_limit_mb else "memory grows as needed"
    line = f"Training on {which} ({memory})."
    if system == "Darwin":
        line += (
            " Apple's metal plugin is usually slower than the CPU for LSTMs: "
            f'compare with {KEY}.device = "cpu".'
        )
    return line


def joined_tensor(tf: Any, blocks: Sequence[NDArray[np.float32]]) -> Any:
    """Join blocks of rows in one tensor of shape (rows, columns).

    On a CPU the tensor is the joined array itself: `tf.constant` would hold two further copies.
    """
    if tf.config.list_logical_devices("GPU"):
        return tf.constant(np.concatenate(blocks))
    shape = (sum(map(len, blocks)), *blocks[0].shape[1:])
    size = int(np.prod(shape)) * np.float32().itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    rows = memory[start : start + size].view(np.float32).reshape(shape)
    np.concatenate(blocks, out=rows)
    return tf.experimental.dlpack.from_dlpack(rows.__dlpack__())


def _gpu_hint(system: str) -> str:
    return {
        "Windows": "On Windows, TensorFlow uses GPUs only inside WSL2.",
        "Darwin": "On Apple silicon, tensorflow-metal would add one, usually slower for LSTMs.",
    }.get(system, "For an NVIDIA GPU: pip install 'freqai-lstm[gpu]'.")
