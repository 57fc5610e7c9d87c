"""A hook of mkdocs: a page per command of `freqai-lstm`, made from the command line itself.

`mkdocs.yml` names this file. Nothing is written into `docs/`: the pages exist in the site alone.
"""

from __future__ import annotations

import inspect
from importlib import import_module

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from freqai_lstm.cli import COMMANDS


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    pages = [{name: f"commands/{name}.md"} for name in COMMANDS]
    config.nav = [*(config.nav or []), {"Commands": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name in COMMANDS:
        uri = f"commands/{name}.md"
        files.append(File.generated(config, uri, content=command_page(name)))
    return files


def command_page(name: str) -> str:
    """Return the page of a command: what its module says of it, then its options."""
    module = import_module(COMMANDS[name][0])
    single = typer.Typer(add_completion=False)
    single.command(name)(getattr(module, name))
    command = typer.main.get_command(single)
    context = typer.Context(command, info_name=name)
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [
        f"| `{option.strip()}` | {' '.join(what.split())} |".replace("[required]", "**required**")
        for option, what in filter(None, records)
    ]
    table = "\n".join(["| option | what it does |", "| --- | --- |", *rows])
    text = inspect.getdoc(module) or ""
    return "\n\n".join([f"# freqai-lstm {name}", text, table]) + "\n"
