"""Peaks of memory, as Linux counts them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


MB = 2**20


def peak_growth(call: Callable[[], Any]) -> float:
    """Return by how many MB resident memory rose at most during the call; needs Linux.

    Linux keeps the highest value ever; writing 5 to clear_refs makes it start anew.
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def peak_of_children() -> float:
    """Return how many MB the largest finished child process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / MB


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / MB
    raise RuntimeError(f"/proc/self/status has no {key}: the memory jobs need Linux.")
