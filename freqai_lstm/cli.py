"""The command line `freqai-lstm`: one command per room, loaded when it is called.

`--help` shows all commands and imports none of them: TensorFlow, Optuna and plotly take seconds to
import, and a base install lacks the last two.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from freqai_lstm import __version__


# Command -> module that defines a function of that name, and what it does.
COMMANDS = {
    "init": ("freqai_lstm.init", "Put the model, the strategy and a configuration in place."),
    "demo": ("freqai_lstm.demo", "Backtest on a generated market, from nothing."),
    "evaluate": ("freqai_lstm.evaluate.command", "Measure a backtest's predictions."),
    "watch": ("freqai_lstm.watch.command", "Is a running bot still good?"),
    "doctor": ("freqai_lstm.doctor.command", "Why are there no trades?"),
    "tune": ("freqai_lstm.tune.command", "Search parameters of model and FreqAI."),
    "rehearse": ("freqai_lstm.rehearse.command", "Run a dry-run on a replayed market."),
    "exchange": ("freqai_lstm.exchange.command", "Serve candles as an exchange would."),
    "market": ("freqai_lstm.market", "Generate candles of a market."),
}
INSTALL = 'pip install "freqai-lstm[tools]"'
# The command itself reads its options, --help too.
PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(no_args_is_help=True, add_completion=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """An LSTM for freqtrade's FreqAI: install it, try it, evaluate it, tune it, rehearse it."""


def _add(name: str, module: str, summary: str) -> None:
    @app.command(name, help=summary, context_settings=PASS_ALL)
    def run(context: typer.Context) -> None:
        try:
            command = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "freqai_lstm":
                raise
            typer.secho(
                f"freqai-lstm {name} needs '{error.name}', which is not installed: {INSTALL}",
                fg="red",
                err=True,
            )
            raise typer.Exit(1) from error
        single = typer.Typer(add_completion=False)
        single.command(name)(command)
        single(context.args, prog_name=f"freqai-lstm {name}")


for _name, (_module, _summary) in COMMANDS.items():
    _add(_name, _module, _summary)
