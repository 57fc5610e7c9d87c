"""Options that commands which read a user's configuration have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


Configs = Annotated[
    list[Path], typer.Option("-c", "--config", help="As for freqtrade; may be repeated.")
]
Userdir = Annotated[Path, typer.Option(help="freqtrade's user folder.")]
Datadir = Annotated[
    Path | None, typer.Option(help="Folder with candles; default: that of the userdir.")
]
StrategyName = Annotated[
    str | None,
    typer.Option("-s", "--strategy", help="Default: the configuration's, or ScoreStrategy."),
]
StrategyPath = Annotated[Path | None, typer.Option()]
