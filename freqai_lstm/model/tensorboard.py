"""Training curves for TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def scalars_writer(
    folder: Path, *, active: bool
) -> Iterator[Callable[[dict[str, float], int], None]]:
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
