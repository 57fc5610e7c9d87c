"""TensorFlow and Keras, loaded on first use, and the device they work on."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from freqtrade.exceptions import OperationalException

from freqai_lstm.model.parameters import KEY, LSTMParameters


logger = logging.getLogger(__name__)

SMALL_UNITS = 128
BESIDE = 10  # niceness of a thread that trains


class NoTensorFlow(OperationalException):
    """A network has to be trained where TensorFlow or Keras is not installed."""


def missing_libraries() -> list[str]:
    """Return which of the libraries that a training needs are not installed; imports none."""
    return [name for name in ("tensorflow", "keras") if find_spec(name) is None]


def require_tensorflow() -> None:
    """Refuse a training that could not end, before it begins.

    :raises NoTensorFlow: TensorFlow or Keras is not installed.
    """
    if missing := missing_libraries():
        raise NoTensorFlow(
            "The shared network has to be trained, and this environment has no "
            f"{' and no '.join(missing)}. Install what a training needs (pip install "
            '"freqai-lstm[train]"), or train elsewhere and copy the folder of the identifier in '
            f"user_data/models to here. With {KEY}.history_days 0 no network is needed."
        )


def start_tensorflow(parameters: LSTMParameters) -> tuple[Any, Any]:
    """Import TensorFlow and Keras on first use, and choose the device with a line in the log.

    :return: (tensorflow, keras)
    :raises NoTensorFlow: TensorFlow or Keras is not installed.
    :raises OperationalException: Keras is set up for another backend, or the device is not there.
    """
    require_tensorflow()
    first = "tensorflow" not in sys.modules
    # TensorFlow's C++ parts write a dozen lines to stderr otherwise, and still two or three before
    # this level applies. Errors appear.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if parameters.units <= SMALL_UNITS:
        # Matrices so small take longer to share out over threads than that saves; independent
        # operations still run side by side.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise OperationalException(
            "LSTMRegressor needs Keras on TensorFlow. Got the Keras backend "
            f"'{keras.backend.backend()}': unset KERAS_BACKEND or set it to 'tensorflow'."
        )
    line = configure_devices(tf, parameters.device, parameters.gpu_memory_limit_mb)
    if first:
        logger.info(line)
    return tf, keras


def let_others_go_first() -> None:
    """Lower the priority of this thread, and of those that TensorFlow starts in it.

    A bot's own thread shares the cores with the training, and its candles should not wait for it.
    Only Linux has a priority for each thread. The main thread keeps its own.
    """
    if sys.platform == "linux" and threading.current_thread() is not threading.main_thread():
        thread = os.PRIO_PROCESS, threading.get_native_id()
        os.setpriority(*thread, max(os.getpriority(*thread), BESIDE))  # no user may raise it


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raise TensorFlow's errors of a full memory, the machine's or a GPU's, as MemoryError.

    :raises MemoryError: what could not be allocated, and on which device.
    """
    try:
        yield
    except Exception as error:
        tf = sys.modules.get("tensorflow")
        if tf is None or not isinstance(error, tf.errors.OpError):
            raise
        # A GPU that another program has filled cannot even be started: an InternalError of CUDA.
        found = re.search(r"OOM when .+? by allocator \w+|\w*OUT_OF_MEMORY\w*", str(error))
        if not isinstance(error, tf.errors.ResourceExhaustedError) and found is None:
            raise
        raise MemoryError(found[0] if found else str(error).partition("\n")[0]) from error


def configure_devices(tf: Any, device: str = "auto", memory_limit_mb: int = 0) -> str:
    """Choose the device to train on, and let TensorFlow take GPU memory only as it needs it.

    Safe to call twice and after TensorFlow's runtime has started: devices that can no longer be
    changed stay as they are, and the returned line says so.

    :param device: 'auto' (a GPU where there is one), 'cpu' or 'gpu'.
    :param memory_limit_mb: upper limit of GPU memory in MB, 0 for none.
    :return: one line for the log: what was chosen and why.
    :raises OperationalException: `device` is 'gpu' and TensorFlow sees none.
    """
    hint = {
        "Windows": "On Windows, TensorFlow uses GPUs only inside WSL2.",
        "Darwin": "On a Mac the network is trained on the CPU.",
    }.get(platform.system(), "For an NVIDIA GPU: pip install 'freqai-lstm[gpu]'.")
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise OperationalException(
            f"{KEY}.device is 'gpu', but TensorFlow sees no GPU. {hint} "
            "Or write 'auto' to use the CPU."
        )
    try:
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return "Training on the CPU, as configured."
        if not gpus:
            return f"Training on the CPU: TensorFlow sees no GPU. {hint}"
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
    return f"Training on {which} ({memory})."
