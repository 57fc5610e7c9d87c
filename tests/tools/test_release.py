"""What a release is made of agrees: versions, ranges, pins, image, workflows, table of runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from freqai_lstm.init import FILES
from freqai_lstm.plugins import SHIPPED
from tools.image import context, instructions
from tools.matrix import COLUMNS, PAGE, ROWS, outcome, with_row
from tools.release_check import first_commands, versions


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, TARGETS = PYPROJECT["project"], PYPROJECT["tool"]["hatch"]["build"]["targets"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_versions_agree() -> None:
    """Package, plugin file, changelog and citation name one version."""
    assert len(set(versions().values())) == 1, versions()


def test_readme_begins_with_commands_that_a_release_is_checked_with() -> None:
    """The first block of README has `init` and `demo`, which make release-check runs."""
    found = first_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"init", "demo"} <= {command[1] for command in found}


def test_pins_lie_in_the_ranges() -> None:
    """Each pinned version is one that pip may take."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in pairs}
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["train"], *extras["tools"], *extras["dev"]]
    for text in wanted:
        needed = Requirement(text)
        version = pinned.get(canonicalize_name(needed.name))
        applies = needed.marker is None or needed.marker.evaluate({"python_version": "3.11"})
        if applies and needed.name != PROJECT["name"]:
            assert version, f"{needed.name} is not pinned"
            assert needed.specifier.contains(version), text


@pytest.mark.parametrize(("python", "taken"), [("3.13", "2.21.0"), ("3.14", "2.22.0rc0")])
def test_a_candidate_of_tensorflow_is_for_new_pythons_only(python: str, taken: str) -> None:
    """Where both are to be had, Python 3.14 takes TensorFlow's candidate, others what is stable."""
    environment: dict[str, str] = {**default_environment(), "python_version": python}  # type: ignore[dict-item]
    ranges = [
        needed.specifier
        for needed in map(Requirement, PROJECT["optional-dependencies"]["train"])
        if needed.name == "tensorflow" and needed.marker and needed.marker.evaluate(environment)
    ]
    assert len(ranges) == 1
    assert list(ranges[0].filter(["2.17.1", "2.21.0", "2.22.0rc0"])) == [taken]


def test_the_base_installs_no_tensorflow() -> None:
    """A machine that only predicts gets neither TensorFlow nor Keras."""
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not names & {"tensorflow", "keras"}


# ------------------------------------------------------------------------ the image


def test_the_image_is_built_from_what_the_wheel_needs() -> None:
    """.dockerignore lets through what the wheel ships, and nothing with keys or candles in it."""
    listed = ["git", "ls-files"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    private = ["config.json", "user_data/data/BTC.feather", "freqai_lstm/__pycache__/cli.pyc"]
    seen = context(ignore, [*files.splitlines(), *private])
    for file in FILES:
        assert file.relative_to(SHIPPED).as_posix() in seen
    steps = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    copied = [source for name, text in steps if name == "COPY" for source in text.split()[:-1]]
    for source in TARGETS["wheel"]["force-include"]:  # the wheel is not built without one of them
        assert source in seen
        assert any(source == one or source.startswith(f"{one}/") for one in copied), source
        assert any(source == o or source.startswith(f"{o}/") for o in TARGETS["sdist"]["include"])
    assert {"pyproject.toml", "constraints.txt", "freqai_lstm/cli.py"} <= set(seen)
    assert not set(private) & set(seen)


def test_the_image_does_not_run_as_root() -> None:
    """The Dockerfile ends as another user, with pinned versions, on a Python with a TensorFlow."""
    steps = list(instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")))
    users = [arguments for name, arguments in steps if name == "USER"]
    assert users[-1] not in ("root", "0")
    assert steps[0] == ("FROM", "python:3.13-slim-trixie")
    assert any("--constraint" in arguments for name, arguments in steps if name == "RUN")


def test_continued_lines_are_one_instruction() -> None:
    """A comment between two continued lines is none of the command."""
    text = "FROM a\n# why\nRUN one \\\n# and\n    && two\n"
    assert list(instructions(text)) == [("FROM", "a"), ("RUN", "one && two")]


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path("/usr/sbin/debootstrap").exists() and Path("/image-test").is_dir()),
    reason="needs root, debootstrap, 4 GB and a folder /image-test",
)
def test_the_steps_of_the_image_in_a_chroot() -> None:
    """Every step of the Dockerfile runs in its Debian release, and freqtrade loads the model."""
    command = [sys.executable, "-m", "tools.image", "/image-test/root"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------ workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_and_keep_no_secret(path: Path) -> None:
    """Actions by digest, read-only by default, no secret but the run's own token."""
    text = path.read_text(encoding="utf-8")
    for name, reference in re.findall(r"uses: ([\w./-]+)(\S*)", text):
        pinned = re.fullmatch(r"@[0-9a-f]{40}", reference)
        assert name.startswith("./.github/workflows/") or pinned, f"{name}{reference}"
    assert "\npermissions:\n  contents: read\n\n" in text
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"run: make ([a-z-]+)", text):
        assert f"\n{target}:" in makefile


# ------------------------------------------------------------------------ the table of runs


def test_a_row_is_replaced_or_added() -> None:
    """A second run of a row takes its place in the page's table; a new row comes last."""
    page = PAGE.read_text(encoding="utf-8")
    cells = dict.fromkeys(COLUMNS, "new") | {"row": ROWS[0].name}
    once = with_row(page, cells)
    assert once.count("| new |") > page.count("| new |")
    assert with_row(once, cells) == once
    added = with_row(once, cells | {"row": "other"})
    assert len(added.splitlines()) == len(once.splitlines()) + 1


@pytest.mark.parametrize(
    ("code", "output", "said"),
    [
        (0, "12 passed, 3 skipped in 4.2s", "12 passed, 3 skipped"),
        (1, "1 failed, 12 passed in 4.2s", "1 failed, 12 passed"),
        (0, "the rehearsal's report", "passed"),
        (2, "killed", "exit 2"),
    ],
)
def test_what_a_run_came_to(code: int, output: str, said: str) -> None:
    """pytest's counts, else whether the command succeeded."""
    assert outcome(code, output) == said
