"""Check before a release what can be checked without a network beyond the package index.

    python -m tools.release_check

Version, changelog and citation agree; wheel and source distribution are built and described well;
the wheel installs into a fresh environment with the pinned versions; README's first commands run
there from an empty folder. The SBOM is made of that environment. All of it lies in build/release.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import freqai_lstm


ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "release"
DIST, SBOM = FOLDER / "dist", FOLDER / "sbom.cdx.json"
TOOLS = ("build", "twine", "cyclonedx-bom")


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version that each file names, by what it is named in."""

    def first(pattern: str, file: str) -> str:
        found = re.search(pattern, (root / file).read_text(encoding="utf-8"), re.MULTILINE)
        return found[1] if found else "none"

    release = first(r'^RELEASE = "(.+)"', "user_data/freqaimodels/LSTMRegressor.py")
    return {
        "freqai_lstm/__init__.py": freqai_lstm.__version__,
        "CHANGELOG.md, first heading": first(r"^## (\S+)", "CHANGELOG.md"),
        "CITATION.cff": first(r"^version: (\S+)", "CITATION.cff"),
        "LSTMRegressor.py, RELEASE": ".".join(
            [release, *freqai_lstm.__version__.split(".")[release.count(".") + 1 :]]
        ),
    }


def first_commands(readme: str) -> list[list[str]]:
    """Return the freqai-lstm commands of README's first sh block."""
    block = re.search(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    lines = block[1].replace("\\\n", " ").splitlines() if block else []
    return [shlex.split(line) for line in lines if line.startswith("freqai-lstm ")]


def step(name: str, command: Sequence[object], cwd: Path = ROOT) -> None:
    """Run a command; end with its output where it fails."""
    started = time.monotonic()
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{name}: exit code {done.returncode}")
    print(f"{time.monotonic() - started:5.0f} s  {name}", flush=True)


def environment(name: str) -> Path:
    """Make an empty environment; return its folder of programs."""
    venv.create(FOLDER / name, with_pip=True, clear=True)
    return FOLDER / name / ("Scripts" if sys.platform == "win32" else "bin")


def main() -> None:
    """Run all checks; end at the first that fails."""
    named = versions()
    if len(set(named.values())) > 1:
        raise SystemExit(f"The versions differ: {named}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    tools = environment("tools")
    step(f"install {', '.join(TOOLS)}", [tools / "pip", "install", "--quiet", *TOOLS])
    step("build", [tools / "python", "-m", "build", "--outdir", DIST])
    step("twine check", [tools / "twine", "check", "--strict", *sorted(DIST.iterdir())])
    (wheel,) = DIST.glob("*.whl")
    user = environment("user")
    pinned = ["--constraint", ROOT / "constraints.txt"]
    step("install the wheel", [user / "pip", "install", "--quiet", *pinned, f"{wheel}[tools]"])
    step("pip check", [user / "pip", "check"])
    bom = [tools / "cyclonedx-py", "environment", user / "python", "--output-file", SBOM]
    step("SBOM", bom)
    folder = FOLDER / "folder"
    folder.mkdir()
    for command in first_commands((ROOT / "README.md").read_text(encoding="utf-8")):
        step(" ".join(command), [user / command[0], *command[1:]], cwd=folder)
    listing = [user / "freqtrade", "list-freqaimodels", "-c", "config.example.json"]
    step("freqtrade list-freqaimodels", listing, cwd=folder)
    print(f"freqai-lstm {freqai_lstm.__version__} can be released: {DIST}, {SBOM}")


if __name__ == "__main__":
    main()
