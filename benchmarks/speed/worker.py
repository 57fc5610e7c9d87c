"""One contender of one job in its own process: one round per line it is asked for.

    python -m benchmarks.speed.worker JOB CONTENDER SIZE_AS_JSON FOLDER

Answers with JSON, a line each: first what there is to note, then the figures of each round.
`Worker` is the other end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.places import ROOT
from benchmarks.speed.jobs import JOBS


class WorkerFailed(RuntimeError):
    """A contender ended before it answered; the message has the end of its log."""


class Worker(AbstractContextManager):
    """Starts a contender and asks it for rounds; use it in a `with` block.

    :param size: numbers of the job, see `benchmarks.speed.jobs`.
    :param folder: shared by the contenders of a job; each leaves a log there.
    """

    def __init__(self, job: str, contender: str, size: dict[str, Any], folder: Path) -> None:
        self.name = f"{job} of {contender}"
        self.log = folder / f"{contender}.log"
        command = [sys.executable, "-m", "benchmarks.speed.worker"]
        command += [job, contender, json.dumps(size), str(folder)]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.facts = self._answer()

    def round(self) -> dict[str, float]:
        """Measure once.

        :raises WorkerFailed: the contender ended.
        """
        assert self._process.stdin
        print("round", file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise WorkerFailed(f"{self.name} ended without an answer:\n" + "\n".join(tail))
        return json.loads(line)

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # the contender ends when nothing more is asked


def main() -> None:
    """Command line: see the module's docstring."""
    job, name, size, folder = sys.argv[1:]
    # Whatever else prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    facts, measure = JOBS[job].setup(name, json.loads(size), Path(folder))
    print(json.dumps(facts), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), file=answers, flush=True)


if __name__ == "__main__":
    main()
