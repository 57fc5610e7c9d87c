"""The command line `freqai-lstm`: one command per room, each defined in its own module."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

import typer


# Command -> (module, what it does, the library of the [tools] extra without which it cannot run).
COMMANDS = {
    "init": ("freqai_lstm.init", "Put the model, the strategy and a configuration in place.", ""),
    "demo": ("freqai_lstm.demo", "Backtest on a generated market, from nothing.", "plotly"),
    "evaluate": ("freqai_lstm.evaluate.command", "Measure a backtest's predictions.", "plotly"),
    "tune": ("freqai_lstm.tune.command", "Search parameters of model and FreqAI.", "optuna"),
    "rehearse": ("freqai_lstm.rehearse.command", "Run a dry-run on a replayed market.", "psutil"),
    "picture": ("freqai_lstm.picture", "Draw the parts of the score over a week.", "plotly"),
    "exchange": ("freqai_lstm.exchange.command", "Serve candles as an exchange would.", "aiohttp"),
    "market": ("freqai_lstm.market", "Generate candles of a market.", ""),
}

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


def _needs_tools(library: str) -> NoReturn:
    typer.secho(
        f"This command needs '{library}', which is not installed: "
        'pip install "freqai-lstm[tools]"',
        fg="red",
        err=True,
    )
    raise typer.Exit(1)


def _add(name: str, module: str, summary: str, library: str) -> None:
    if library and find_spec(library) is None:

        @app.command(
            name,
            help=summary,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )
        def missing() -> None:
            _needs_tools(library)

        return
    app.command(name, short_help=summary)(getattr(import_module(module), name))


for _name, (_module, _summary, _library) in COMMANDS.items():
    _add(_name, _module, _summary, _library)
