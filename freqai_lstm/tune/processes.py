"""Several workers on one machine, each a process of its own, spread over the GPUs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from freqai_lstm.tune.space import TuneFailed


STOP_SECONDS = 60


def gpus(given: str | None) -> list[str]:
    """The GPUs to use, as CUDA_VISIBLE_DEVICES names them; empty where there are none.

    :param given: `--gpus`: names with commas between; "" for none; None looks at
        CUDA_VISIBLE_DEVICES, then asks nvidia-smi.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES") if given is None else given
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []


def environment(worker: int, workers: int, devices: Sequence[str]) -> dict[str, str]:
    """What a worker's environment has beside this process's own.

    With GPUs: the one that is its turn. Without: its share of the cores, unless the user has set
    that, because every TensorFlow would take all of them.
    """
    if devices:
        return {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]}
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {name: threads for name in names if name not in os.environ}


def run_workers(
    arguments: Sequence[str],
    count: int,
    *,
    devices: Sequence[str],
    seed: int | None,
    logs: Path,
    watch: Callable[[], None],
    poll_seconds: float = 2.0,
) -> None:
    """Run `python -m freqai_lstm ARGUMENTS` in `count` processes until all have ended.

    A worker that was killed is left to the others; where none is left, the caller goes on alone.

    :param watch: called every `poll_seconds`.
    :param logs: folder for `worker-1.log` and so on.
    :raises TuneFailed: a worker ended with an error; the others are stopped.
    """
    workers = []
    logs.mkdir(parents=True, exist_ok=True)
    try:
        for i in range(count):
            # Workers with one seed would all try the same.
            own = ["--seed", str(seed + i)] if seed is not None else []
            with (logs / f"worker-{i + 1}.log").open("wb") as log:
                workers.append(
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-m",
                            "freqai_lstm",
                            *arguments,
                            "--workers",
                            "1",
                            *own,
                        ],
                        env={**os.environ, **environment(i, count, devices)},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        # Ctrl-C reaches this process alone, which then stops each of them once.
                        start_new_session=True,
                    )
                )
        while any(worker.poll() is None for worker in workers):
            for i, worker in enumerate(workers):
                if (worker.poll() or 0) > 0:
                    path = logs / f"worker-{i + 1}.log"
                    tail = path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
                    raise TuneFailed("\n".join([f"Worker {i + 1} failed, see {path}:", *tail]))
            watch()
            time.sleep(poll_seconds)
        watch()
    finally:
        _stop(workers)


def _stop(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.send_signal(signal.SIGTERM)
    patience = time.monotonic() + STOP_SECONDS
    for worker in workers:
        try:
            worker.wait(max(0.1, patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
