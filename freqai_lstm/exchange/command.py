"""`freqai-lstm exchange`: serve a freqtrade data folder by hand, until Ctrl-C."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.market import Mode


def exchange(
    datadir: Annotated[Path, typer.Option(help="freqtrade data folder with feather files")],
    trading_mode: Annotated[
        Mode, typer.Option(help="what the written configuration sets")
    ] = "futures",
    port: Annotated[int, typer.Option(help="on 127.0.0.1; 0 takes a free one")] = 8765,
    write_config: Annotated[
        Path | None, typer.Option(help="file to write, for freqtrade's second -c")
    ] = None,
    live: Annotated[
        str | None,
        typer.Option(metavar="TIMEFRAME", help="replay the folder, as candles of this timeframe"),
    ] = None,
    ahead: Annotated[int, typer.Option(help="live: candles still to come")] = 1440,
) -> None:
    """Serve a freqtrade data folder as Binance's public REST, on this machine only."""
    try:
        with LoopbackExchange(
            datadir, trading_mode=trading_mode, port=port, live=live, ahead=ahead
        ) as served:
            typer.echo(f"Serving {', '.join(served.pairs)} at {served.url}; Ctrl-C ends it.")
            if write_config:
                typer.echo(f"Wrote {served.write_config(write_config)}")
            threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    except (OSError, ValueError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
