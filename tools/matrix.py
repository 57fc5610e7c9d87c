"""Run the tests on several versions of Python, freqtrade and TensorFlow: docs/versions.md's table.

    python -m tools.matrix                  every row: hours, and 4 GB of disk each
    python -m tools.matrix 3.13 pinned      the rows whose name holds one of these words

Each row is an environment of its own in build/matrix. It runs the fast tests and a rehearsal with
kill -9. A row is written into the page when it is done, so that rows may be run one at a time, and
on several machines. Logs lie beside the environments.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
FOLDER, PAGE = ROOT / "build" / "matrix", ROOT / "docs" / "versions.md"
LIBRARIES = ("freqtrade", "tensorflow", "keras", "numpy", "pandas", "ta-lib")
COLUMNS = ("row", "Python", *LIBRARIES, "fast tests", "rehearse --kill", "on")


@dataclass(frozen=True)
class Row:
    """Hold what one environment is made of: a Python, and what pip is told beside the package."""

    name: str
    python: str
    pip: tuple[str, ...] = ()


OLDEST = ("freqtrade[freqai]==2026.8", "tensorflow==2.18.1", "keras==3.5.0", "TA-Lib==0.6.5")
ROWS = (
    Row("pinned", "3.11", ("--constraint", "constraints.txt")),
    Row("oldest-3.11", "3.11", (*OLDEST, "joblib<1.6")),
    Row("oldest-3.12", "3.12", (*OLDEST, "joblib<1.6")),
    Row("newest-3.12", "3.12"),
    Row("newest-3.13", "3.13"),
    Row("newest-3.14", "3.14"),
)


def commands(row: Row, python: Path) -> dict[str, list[str]]:
    """Return what is run for a row, in order, by the name of its column."""
    program = str(python)
    folder = f"build/matrix/{row.name}-rehearsal"
    return {
        "install": [program, "-m", "pip", "install", "--editable", ".[dev]", *row.pip],
        "fast tests": [program, "-m", "pytest", "-q", "-n", "1", "-m", "not slow"],
        "rehearse --kill": [
            *(program, "-m", "freqai_lstm", "rehearse", "--kill"),
            *("--minutes", "4", "--workdir", folder),
        ],
    }


def run(row: Row) -> dict[str, str]:
    """Make a row's environment and run its commands; return its cells.

    :raises SystemExit: the Python is not there, or pip could not install.
    """
    interpreter = shutil.which(f"python{row.python}")
    if interpreter is None:
        raise SystemExit(f"{row.name} needs python{row.python}, which is not on the PATH.")
    environment = FOLDER / row.name
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    cells = {"row": row.name, "on": time.strftime("%Y-%m-%d")}
    for name, command in commands(row, python).items():
        started, log = time.monotonic(), FOLDER / f"{row.name} {name}.log"
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        cells[name] = outcome(done.returncode, log.read_text(encoding="utf-8"))
        seconds = time.monotonic() - started
        print(f"{row.name}: {name}: {cells[name]}, {seconds:.0f} s ({log})", flush=True)
        if name == "install" and done.returncode:
            raise SystemExit(f"pip could not install {row.name}, see {log}")
    return cells | installed(python)


def outcome(returncode: int, output: str) -> str:
    """Return pytest's counts, or passed, or the exit code."""
    counts = re.findall(r"\d+ (?:failed|passed|skipped|error)", output[-300:])
    return ", ".join(counts) or ("passed" if returncode == 0 else f"exit {returncode}")


def installed(python: Path) -> dict[str, str]:
    """Return the versions of Python and of the libraries in an environment."""
    listed = [str(python), "-m", "pip", "list", "--format", "json"]
    found = json.loads(subprocess.run(listed, check=True, capture_output=True, text=True).stdout)
    versions = {entry["name"].lower(): entry["version"] for entry in found}
    # A release candidate of TensorFlow brings Keras under another name.
    versions.setdefault("keras", versions.get("keras-nightly", ""))
    said = subprocess.run([str(python), "--version"], check=True, capture_output=True, text=True)
    return {"Python": said.stdout.split()[1]} | {name: versions[name] for name in LIBRARIES}


def with_row(page: str, cells: dict[str, str]) -> str:
    """Return the page with a row of the table replaced, or added below it.

    :raises ValueError: the page has no such table.
    """
    head = f"| {' | '.join(COLUMNS)} |"
    lines = page.splitlines()
    if head not in lines:
        raise ValueError(f"{PAGE} has no table with the columns {head}")
    line = f"| {' | '.join(cells[name] for name in COLUMNS)} |"
    last = lines.index(head) + 1
    while last + 1 < len(lines) and lines[last + 1].startswith("|"):
        last += 1
        if lines[last].startswith(f"| {cells['row']} |"):
            lines[last] = line
            return "\n".join(lines) + "\n"
    lines.insert(last + 1, line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the chosen rows and write each into the page."""
    words = sys.argv[1:]
    chosen = [row for row in ROWS if not words or any(word in row.name for word in words)]
    if not chosen:
        raise SystemExit(f"Rows are {', '.join(row.name for row in ROWS)}; none holds {words}.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for row in chosen:
        cells = run(row)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_row(page, cells), encoding="utf-8")


if __name__ == "__main__":
    main()
