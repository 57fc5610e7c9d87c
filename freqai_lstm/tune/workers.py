"""Several workers on one machine, each a process of its own, spread over the GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from freqai_lstm.tune.space import TuneFailed


POLL_SECONDS = 0.5
STORAGE = (
    "FREQAI_LSTM_STORAGE"  # its URL holds a password, and every user of a machine sees options
)


def visible_gpus() -> list[str]:
    """Return the GPUs of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []


def environment(worker: int, workers: int, devices: Sequence[str]) -> dict[str, str]:
    """Return the variables that a worker gets beside this process's own.

    With GPUs: the one that is its turn. Without: its share of the cores, unless the user has set
    that, because every TensorFlow would take all of them.
    """
    if devices:
        return {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]}
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {name: threads for name in names if name not in os.environ}


def without_option(arguments: Sequence[str], name: str) -> list[str]:
    """Return a command line without an option and its value."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != name and not argument.startswith(f"{name}="):
            kept.append(argument)
        skip = not skip and argument == name
    return kept


def run_workers(
    arguments: Sequence[str], count: int, seed: int | None, storage: str | None = None
) -> None:
    """Run `freqai-lstm ARGUMENTS --worker` in several processes until all have ended.

    A worker that was killed is left to the others; where none is left, the caller goes on alone.

    :param seed: of the first worker; with the same all would try the same.
    :param storage: the database's URL, which workers get by environment.
    :raises TuneFailed: a worker ended with an error; the others are stopped.
    """
    workers: list[subprocess.Popen[bytes]] = []
    devices = visible_gpus()
    try:
        for i in range(count):
            command = [sys.executable, "-m", "freqai_lstm"]
            command += [*without_option(arguments, "--storage"), "--worker"]
            command += [] if seed is None else ["--seed", str(seed + i)]
            variables = {**os.environ, **environment(i, count, devices)}
            variables |= {STORAGE: storage} if storage else {}
            # Ctrl-C reaches this process alone, which then stops each of them once.
            workers.append(subprocess.Popen(command, env=variables, start_new_session=True))
        codes: list[int | None] = [None]
        while None in codes:
            codes = [worker.poll() for worker in workers]
            if any((code or 0) > 0 for code in codes):
                raise TuneFailed("A worker ended with the error above; the others are stopped.")
            time.sleep(POLL_SECONDS)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
