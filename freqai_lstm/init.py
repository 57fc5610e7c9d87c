"""`freqai-lstm init`: put the plugin files and the example configurations where freqtrade looks.

A file that is already there is replaced only if it is byte for byte what this or an earlier release
shipped: `releases.json` holds the SHA-256 digests of earlier releases. Anything else is somebody's
work and is left as it is.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from freqtrade.configuration.load_config import load_config_file, load_from_files
from freqtrade.exceptions import OperationalException
from freqtrade.misc import deep_merge_dicts
from rich.console import Console
from rich.table import Table
from rich.text import Text

from freqai_lstm.model.parameters import check_freqai, read_parameters
from freqai_lstm.plugins import EXAMPLE_CONFIG, MODEL_FILE, RISK_FILE, SHIPPED, STRATEGY_FILE


FILES = (
    MODEL_FILE,
    STRATEGY_FILE,
    RISK_FILE,
    EXAMPLE_CONFIG,
    SHIPPED / "config.spot.json",
    SHIPPED / "config.risk.json",
)
RELEASES = Path(__file__).with_name("releases.json")

State = Literal["new", "up to date", "replaced", "kept"]
# What the model needs of the freqai block; ranges are checked by the rules of the model itself.
NEEDED: dict[str, Any] = {
    "enabled": True,
    "keras": True,
    "model_save_type": "keras",
    "data_split_parameters": {"shuffle": False},
    "feature_parameters": {"shuffle_after_split": False},
}


@dataclass(frozen=True)
class Placed:
    """One file of a user: where it is, what it was copied from, and what became of it."""

    path: Path
    source: Path
    state: State


def init(
    userdir: Annotated[
        Path, typer.Option("--userdir", "--user-data-dir", help="freqtrade's user folder")
    ] = Path("user_data"),
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Say what this configuration lacks; nothing is written into it."
        ),
    ] = None,
) -> None:
    """Put LSTMRegressor and ScoreStrategy into the user folder, example configurations beside it.

    A file that you changed is kept as it is, and the exit code is then 1.
    """
    console = Console(markup=False)  # names may have brackets
    placed = place(userdir)
    table = Table("File", "State")
    for file in placed:
        table.add_row(str(file.path), Text(file.state, "red" if file.state == "kept" else ""))
    console.print(table)
    kept = [file for file in placed if file.state == "kept"]
    for file in kept:
        console.print(f"{file.path} is not what any release shipped, so it was kept. Compare:")
        _print(console, shlex.join(["diff", "-u", str(file.path), str(file.source)]))
    if kept:
        console.print("To take the new file, move yours away and run this again.")
    if config is not None:
        try:
            _print(console, advise(config))
        except OperationalException as error:
            _print(console, str(error))
            raise typer.Exit(1) from error
    if kept:
        raise typer.Exit(1)


def place(userdir: Path) -> list[Placed]:
    """Copy every shipped file, except over one that the user changed.

    :param userdir: made where it is missing; configurations go beside it, where `-c` finds them.
    :raises OSError: a folder cannot be made or a file cannot be written.
    """
    earlier = json.loads(RELEASES.read_text(encoding="utf-8"))
    placed = []
    for source in FILES:
        name = source.relative_to(SHIPPED)
        path = userdir.parent / name if len(name.parts) == 1 else userdir.joinpath(*name.parts[1:])
        shipped = {files.get(name.as_posix()) for files in earlier.values()}
        state = _state(path, source, shipped)
        if state in ("new", "replaced"):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
        placed.append(Placed(path, source, state))
    return placed


def _state(path: Path, source: Path, earlier: set[str | None]) -> State:
    if not path.exists():
        return "new"
    content = path.read_bytes()
    if content == source.read_bytes():
        return "up to date"
    return "replaced" if hashlib.sha256(content).hexdigest() in earlier else "kept"


def advise(path: Path) -> str:
    """Say what a user's configuration needs for the model.

    Files that it names in `add_config_files` are read with it, as freqtrade does.

    :return: the `freqai` block to add where there is none; else the keys to change, if any.
    :raises OperationalException: the file is missing or is no valid JSON.
    """
    freqai = load_from_files([str(path)]).get("freqai")
    if freqai is None:
        block = load_config_file(str(EXAMPLE_CONFIG))["freqai"]
        return f'{path} has no freqai block. Add:\n"freqai": {json.dumps(block, indent=4)}'
    lines = lacks(freqai)
    if not lines:
        return f"{path} has what the model needs."
    return "\n".join([f"{path} differs from what the model needs:", *lines])


def lacks(freqai: Mapping[str, Any]) -> list[str]:
    """Say what of a `freqai` block differs from what the model needs, a line each."""
    lines = _differences("freqai", freqai, NEEDED)
    # The rest is checked as if these were mended, so that each fault is named once.
    mended = deep_merge_dicts(NEEDED, copy.deepcopy(dict(freqai)))
    for check, block in (
        (check_freqai, mended),
        (read_parameters, mended.get("model_training_parameters", {})),
    ):
        try:
            check(block)
        except OperationalException as error:
            lines += str(error).splitlines()
    return lines


def _differences(where: str, given: Mapping[str, Any], needed: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in needed.items():
        name = f"{where}.{key}"
        if isinstance(value, Mapping):
            lines += _differences(name, given.get(key, {}), value)
        elif given.get(key, None if value else False) != value:
            got = json.dumps(given[key]) if key in given else "missing"
            lines.append(f"{name}: {got}; write {json.dumps(value)}")
    return lines


def _print(console: Console, text: str) -> None:
    # Commands and JSON are copied from the terminal: no markup, no line breaks of ours.
    console.print(text, highlight=False, soft_wrap=True)
