"""`freqai-lstm watch`: is a running, or stopped, bot still good?

It reads the bot's prediction history, candles, models and trades, and writes nothing but what
`--html` and `--json` name. The exit code is 0 (good), 1 (warn), 2 (stop), and 3 where nothing could
be measured.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from freqtrade.exceptions import FreqtradeException
from plotly.utils import PlotlyJSONEncoder
from rich.console import Console

from freqai_lstm.evaluate.command import quiet
from freqai_lstm.evaluate.options import Configs, Datadir, StrategyName, StrategyPath, Userdir
from freqai_lstm.evaluate.setup import EvaluationFailed, load_config
from freqai_lstm.watch.page import write_page
from freqai_lstm.watch.report import LEVELS, watch_once
from freqai_lstm.watch.screen import print_screen


FAILED = 3
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def watch(
    config: Configs,
    userdir: Userdir = Path("user_data"),
    datadir: Datadir = None,
    strategy: StrategyName = None,
    strategy_path: StrategyPath = None,
    backtest: Annotated[
        str | None,
        typer.Option(
            metavar="IDENTIFIER", help="Of the backtest to compare with; default: the bot's own."
        ),
    ] = None,
    db_url: Annotated[
        str | None, typer.Option(help="The bot's database; default: as for freqtrade.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="The bot's log file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page that opens offline.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help="Look again after 30m, 1h, 1d, …")
    ] = None,
) -> None:
    """Measure a bot: predictions beside labels and the backtest's promise, drift, trades.

    Exit code: 0 good, 1 warn, 2 stop, 3 where nothing could be measured.
    """
    given = {
        "user_data_dir": userdir,
        "datadir": datadir,
        "strategy": strategy,
        "strategy_path": strategy_path,
    }
    args: dict[str, Any] = {name: str(value) for name, value in given.items() if value is not None}
    args["config"] = [str(path) for path in config]
    console = Console()
    try:
        pause = _seconds(every) if every else 0
        while True:
            report = _look(args, backtest, db_url, log)
            print_screen(report, console)
            if json_file:
                text = json.dumps(report, indent=1, ensure_ascii=False, cls=PlotlyJSONEncoder)
                json_file.write_text(text + "\n", encoding="utf-8")
            if html:
                write_page(html, report)
            if not pause:
                break
            try:
                time.sleep(pause)
            except KeyboardInterrupt:
                break
    except (EvaluationFailed, FreqtradeException) as error:
        typer.secho(f"The bot could not be measured: {error}", fg="red", err=True)
        raise typer.Exit(FAILED) from None
    raise typer.Exit(LEVELS[report["level"]])


def _look(
    args: dict[str, Any], backtest: str | None, db_url: str | None, log: Path | None
) -> dict[str, Any]:
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        config = load_config(dict(args))
        config["strategy"] = config.get("strategy") or "ScoreStrategy"
        config["freqaimodel"] = config.get("freqaimodel") or "LSTMRegressor"
        return watch_once(config, Path(scratch), backtest=backtest, db_url=db_url, log=log)


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*[smhd]", text):
        raise EvaluationFailed(f"--every: expected a time such as 30m, 1h or 1d, got {text!r}.")
    return int(text[:-1]) * SECONDS[text[-1]]
