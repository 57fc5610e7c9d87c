"""The command line: what it imports, what it says where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freqai_lstm import __version__
from freqai_lstm.cli import COMMANDS, INSTALL, app


HEAVY = ("tensorflow", "keras", "optuna", "plotly", "sklearn")


def python(code: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run code in a process of its own, with a folder in front of the installed packages."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(path or ""), "COLUMNS": "120", "HOME": str(Path.home())},
    )


def command(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run `freqai-lstm`, and print at the end which heavy libraries it imported."""
    code = (
        "import atexit, sys; from freqai_lstm.cli import app\n"
        f"atexit.register(lambda: print('imported', [m for m in {HEAVY} if m in sys.modules]))\n"
        "app(prog_name='freqai-lstm')"
    )
    return python(code, *arguments, path=path)


def test_help_lists_all_commands_and_imports_nothing_heavy() -> None:
    """`freqai-lstm --help` shows each command without TensorFlow, Optuna or plotly."""
    shown = command("--help")
    assert shown.returncode == 0, shown.stderr
    assert "imported []" in shown.stdout
    for name in COMMANDS:
        assert f" {name} " in shown.stdout


def test_init_imports_nothing_heavy(tmp_path: Path) -> None:
    """`freqai-lstm init` works without TensorFlow, Optuna or plotly."""
    done = command("init", "--userdir", str(tmp_path / "user_data"))
    assert done.returncode == 0, done.stderr
    assert "imported []" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_help(name: str) -> None:
    """`--help` of a command is the command's own, with its options."""
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert f"freqai-lstm {name} [OPTIONS]" in shown.output


def test_unknown_option_fails() -> None:
    """A misspelt option of a command ends with the option's name and a code that is not 0."""
    refused = CliRunner().invoke(app, ["init", "--user-dir", "x"])
    assert refused.exit_code == 2
    assert "--user-dir" in refused.stderr


@pytest.mark.parametrize(
    ("name", "library"), [("evaluate", "plotly"), ("tune", "optuna"), ("rehearse", "psutil")]
)
def test_a_missing_extra_is_named(name: str, library: str, tmp_path: Path) -> None:
    """A command whose library is not installed names it and the line that installs it."""
    # A module in front of the installed one that is not found, as without the extra.
    (tmp_path / f"{library}.py").write_text(
        f"raise ModuleNotFoundError('No module named {library}', name='{library}')\n"
    )
    refused = command(name, path=tmp_path)
    assert refused.returncode == 1
    assert f"'{library}'" in refused.stderr
    assert INSTALL in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_python_m_is_the_same_command() -> None:
    """`python -m freqai_lstm` runs the command line; `--version` is the package's."""
    shown = subprocess.run(
        [sys.executable, "-m", "freqai_lstm", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == __version__
