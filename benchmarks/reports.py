"""The benchmarks' figures as Markdown, and machine and versions beside them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined


def environment() -> dict[str, Any]:
    """Machine and versions, for the reader of the figures."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        lines = []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), cpu)
    packages = ("freqtrade", "tensorflow", "keras", "optuna", "pandas", "numpy")
    installed = packages_distributions()  # a candidate of TensorFlow brings Keras as keras-nightly
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "system": platform.system(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(installed[package][0]) for package in packages},
    }


def environment_line(found: dict[str, Any]) -> str:
    """One sentence of `environment()`."""
    versions = ", ".join(
        f"{name} {found[name]}" for name in ("freqtrade", "tensorflow", "optuna", "pandas")
    )
    return (
        f"{found['system']}, {found['cores']} cores ({found['cpu']}), Python {found['python']}, "
        f"{versions}; {found['date']}."
    )


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table; the keys of the first row are its head."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[key]) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def valued(value: Any, form: str) -> str:
    """A figure for a table's cell.

    :param value: a number; value, low and high; or None, which leaves the cell empty.
    """
    if not isinstance(value, dict):
        return "" if value is None else form.format(value)
    shown = {name: form.format(value[name]) for name in ("value", "low", "high")}
    return "{value} [{low}, {high}]".format(**shown)


def render(template: Path, **values: Any) -> str:
    """Fill in a Markdown template.

    :param template: a Jinja file; `table` in it is `markdown_table`.
    :raises jinja2.UndefinedError: the template names a value that is not given.
    """
    pages = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    text = pages.from_string(template.read_text(encoding="utf-8"))
    return text.render(table=markdown_table, environment_line=environment_line, **values)


def write(output: Path, name: str, figures: dict[str, Any], text: str) -> None:
    """Write NAME.json and NAME.md into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    data = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    (output / f"{name}.json").write_text(data, encoding="utf-8")
    (output / f"{name}.md").write_text(text, encoding="utf-8")
