"""The wheel holds what a user needs, and plugin file and package are checked against each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from freqai_lstm import __version__
from freqai_lstm.init import FILES, place
from freqai_lstm.plugins import SHIPPED, SYMPTOMS_PAGE


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contents of a wheel that was built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    source = next(folder.glob("*.tar.gz"))
    subprocess.run(["tar", "xf", str(source)], cwd=folder, check=True)
    source_tree = folder / source.name.removesuffix(".tar.gz")
    subprocess.run([*build, "-t", "wheel"], cwd=source_tree, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "unpacked")
    return folder / "unpacked"


def run(*arguments: str, package: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m ARGUMENTS` with another folder's freqai_lstm in front of the installed one."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_has_every_file_of_the_package(unpacked: Path) -> None:
    """Modules, templates and records are in the wheel, and nothing that git ignores."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "freqai_lstm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    expected = {name for name in tracked if (ROOT / name).exists()}
    shipped = {
        f"freqai_lstm/shipped/{file.relative_to(SHIPPED).as_posix()}"
        for file in (*FILES, SYMPTOMS_PAGE)
    }
    package = unpacked / "freqai_lstm"
    found = {p.relative_to(unpacked).as_posix() for p in package.rglob("*") if p.is_file()}
    assert found == expected | shipped


def test_init_from_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    """The wheel's `init` places the same files as the editable install's."""
    placed = run("freqai_lstm", "init", package=unpacked, cwd=tmp_path)
    assert placed.returncode == 0, placed.stderr
    assert {file.state for file in place(tmp_path / "user_data")} == {"up to date"}


@pytest.mark.slow
def test_freqtrade_loads_what_the_wheel_placed(unpacked: Path, tmp_path: Path) -> None:
    """freqtrade lists model and strategy of the wheel as loadable, the strategy as hyperoptable."""
    run("freqai_lstm", "init", package=unpacked, cwd=tmp_path)
    for command, name, state in (
        ("list-freqaimodels", "LSTMRegressor", r"\bOK\b"),
        ("list-strategies", "ScoreStrategy", r"ScoreStrategy\.py │\s+OK │\s+Yes │"),
    ):
        config = ["-c", "config.example.json"]
        listed = run("freqtrade", command, *config, package=unpacked, cwd=tmp_path)
        row = next(line for line in listed.stdout.splitlines() if f" {name} " in line)
        assert re.search(state, row), listed.stdout


def listed_models(folder: Path, package: Path) -> str:
    """What `freqtrade list-freqaimodels` prints for the files in a folder."""
    arguments = ["list-freqaimodels", "-c", "config.example.json"]
    done = run("freqtrade", *arguments, package=package, cwd=folder)
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
def test_a_plugin_of_another_release_says_what_to_run(tmp_path: Path) -> None:
    """A plugin file of another release names both releases and `freqai-lstm init`."""
    place(tmp_path / "user_data")
    model = tmp_path / "user_data" / "freqaimodels" / "LSTMRegressor.py"
    changed = re.sub(r'^RELEASE = ".*"$', 'RELEASE = "9.8"', model.read_text(), flags=re.MULTILINE)
    model.write_text(changed)
    shown = listed_models(tmp_path, ROOT)
    installed = __version__.rpartition(".")[0]
    assert f"this LSTMRegressor.py belongs to freqai-lstm 9.8, {installed} is installed" in shown
    assert "run freqai-lstm init" in shown


@pytest.mark.slow
def test_a_missing_package_is_named_with_its_install_command(tmp_path: Path) -> None:
    """Without freqai_lstm the plugin names the package and `pip install`."""
    place(tmp_path / "user_data")
    hidden = tmp_path / "hidden" / "freqai_lstm"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'freqai_lstm'\", name='freqai_lstm')\n"
    )
    shown = listed_models(tmp_path, hidden.parent)
    assert "LSTMRegressor needs the package freqai-lstm" in shown
    assert "pip install" in shown
