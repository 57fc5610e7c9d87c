"""The site: it builds without a warning, and has a page for each command with all its options."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from freqai_lstm.cli import COMMANDS, app


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it; --strict makes a warning an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_page(site: Path, name: str) -> None:
    """Its page names the options that --help names."""
    page = (site / "commands" / name / "index.html").read_text(encoding="utf-8")
    said = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
    options = set(re.findall(r"(?<=\s)--[a-z][a-z-]+\b(?!…)", said)) - {"--help"}
    assert len(options) > 0
    for option in options:
        assert option in page


def test_every_page_can_be_found(site: Path) -> None:
    """The search knows each page of docs/ and each command."""
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    for page in [*(ROOT / "docs").glob("*.md"), *(Path("commands") / name for name in COMMANDS)]:
        place = page.stem if page.suffix else page.as_posix()
        assert f'"{place}/' in index, place
