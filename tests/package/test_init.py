"""`freqai-lstm init`: what it puts where, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from freqai_lstm import __version__
from freqai_lstm import init as module
from freqai_lstm.cli import app
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE


def init(*arguments: str) -> tuple[int, str]:
    """Run `freqai-lstm init`; its exit code and what it printed."""
    result = CliRunner().invoke(app, ["init", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fresh_folder(folder: Path) -> None:
    """In an empty folder all files land where freqtrade looks, equal to the shipped ones."""
    code, _ = init()
    assert code == 0
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(files) == [
        "config.example.json",
        "config.risk.json",
        "config.spot.json",
        "user_data/freqaimodels/LSTMRegressor.py",
        "user_data/strategies/RiskStrategy.py",
        "user_data/strategies/ScoreStrategy.py",
    ]
    for placed in module.place(Path("user_data")):
        assert placed.state == "up to date"
        assert placed.path.read_bytes() == placed.source.read_bytes()


def test_a_changed_file_is_kept_and_can_be_compared(folder: Path) -> None:
    """A file that the user changed stays; the command shown prints the change; the code is 1."""
    userdir = folder / "my data"
    init("--userdir", str(userdir))
    strategy = userdir / "strategies" / "ScoreStrategy.py"
    strategy.write_text(strategy.read_text().replace("class ScoreStrategy", "class Mine"))
    changed = strategy.read_bytes()
    code, output = init("--userdir", str(userdir))
    assert code == 1
    assert strategy.read_bytes() == changed
    command = re.search(r"^diff .*$", output, re.MULTILINE)
    assert command
    difference = subprocess.run(
        shlex.split(command.group()), capture_output=True, text=True, check=False
    )
    assert "-class Mine" in difference.stdout
    assert "+class ScoreStrategy" in difference.stdout


def test_a_file_of_an_earlier_release_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose digest an earlier release shipped is brought up to date."""
    model = folder / "user_data" / "freqaimodels" / "LSTMRegressor.py"
    model.parent.mkdir(parents=True)
    model.write_text("# as shipped once\n")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    releases = folder / "releases.json"
    releases.write_text(json.dumps({"0.0.1": {"user_data/freqaimodels/LSTMRegressor.py": digest}}))
    assert init()[0] == 1
    monkeypatch.setattr(module, "RELEASES", releases)
    assert init()[0] == 0
    assert model.read_bytes() == MODEL_FILE.read_bytes()


def test_every_earlier_release_is_on_record() -> None:
    """Each release of the changelog but the present one has a digest for its two plugin files."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = set(re.findall(r"^## (\d+\.\d+\.\d+)$", changelog, re.MULTILINE)) - {__version__}
    record = json.loads(module.RELEASES.read_text(encoding="utf-8"))
    assert released == set(record)
    for files in record.values():
        assert {Path(name).name for name in files} >= {"LSTMRegressor.py", "ScoreStrategy.py"}
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in files.values())


def test_config_without_freqai_gets_the_block(folder: Path) -> None:
    """A configuration without a freqai block is shown the example's; the file stays as it was."""
    config = folder / "config.json"
    config.write_text('{"dry_run": true, // mine\n}')
    code, output = init("--config", "config.json")
    assert code == 0
    assert config.read_text() == '{"dry_run": true, // mine\n}'
    block = json.loads(
        "{" + output.partition('"freqai": ')[1] + output.partition('"freqai": ')[2] + "}"
    )
    example = module.load_config_file(str(EXAMPLE_CONFIG))["freqai"]
    assert block["freqai"] == example


def test_config_of_another_model_is_shown_its_differences(folder: Path) -> None:
    """Keys that differ are named with what they are and what to write; the file stays as it was."""
    given = {
        "freqai": {
            "enabled": True,
            "conv_width": 2,
            "data_split_parameters": {"shuffle": True},
            "model_training_parameters": {"n_estimators": 800, "unit": 3},
        }
    }
    config = folder / "config.json"
    config.write_text(json.dumps(given))
    _, output = init("--config", "config.json")
    for named in (
        "freqai.keras: missing; write true",
        'freqai.model_save_type: missing; write "keras"',
        "freqai.data_split_parameters.shuffle: true; write false",
        "n_estimators",
        "LightGBM",
        "'unit'",
        "'units'",
    ):
        assert named in output, named
    assert "freqai.conv_width" not in output
    assert json.loads(config.read_text()) == given


def test_the_example_has_what_the_model_needs(folder: Path) -> None:
    """Nothing differs in the configuration that init itself puts in place."""
    init()
    code, output = init("--config", "config.example.json")
    assert code == 0
    assert "has what the model needs" in output


@pytest.mark.parametrize(("content", "named"), [(None, "not found"), ("{,", "offset")])
def test_config_that_cannot_be_read(folder: Path, content: str | None, named: str) -> None:
    """A missing or broken configuration ends with freqtrade's own words and code 1."""
    if content is not None:
        Path("config.json").write_text(content)
    code, output = init("--config", "config.json")
    assert code == 1
    assert named in output
