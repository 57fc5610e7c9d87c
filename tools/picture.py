"""What each part of the score does to one week of candles, in one picture.

    python -m tools.picture --output build/score.html
    python -m tools.picture --datadir user_data/data/binance --start 2024-03-11 -o build/score.html

Without `--datadir` the week is one of the generated market. The result is one HTML page that opens
offline; with an output file that ends in .png a still picture, for which plotly needs the package
`kaleido` and a Chrome or Chromium on the machine.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import typer
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
from plotly.subplots import make_subplots

from freqai_lstm.market import generate_market
from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


TIMEFRAME = "1h"
# SMA(100) wants 100 candles and Wilder's averages some more before they have settled.
STARTUP = timedelta(days=21)
BLUE, GREY, RED, GREEN, ORANGE = "#3b82f6", "#94a3b8", "#dc2626", "#16a34a", "#d97706"
PURPLE, TEAL, BROWN, PINK = "#7c3aed", "#0d9488", "#92400e", "#be185d"

PANELS = (
    "Close, Bollinger bands (20 candles, 2 σ), SMA(100)",
    "S, the weighted sum of z-scored indicators: nearly always something",
    "R · R2, the gate: 0 inside the bands; outside, +1 where band and SMA(100) agree, else -1",
    "V and V2, the weight of a quiet market, in units of their median of this week",
    "T = S · R · V · R2 · V2, in standard deviations of its own, on a logarithmic axis beyond ±1",
)
HEIGHTS = (0.34, 0.16, 0.12, 0.16, 0.22)


class PictureFailed(RuntimeError):
    """The picture could not be drawn; the message says what to do."""


def picture(
    datadir: Annotated[
        Path | None, typer.Option(help="A freqtrade data folder; default: a generated market.")
    ] = None,
    pair: Annotated[str, typer.Option()] = "BTC/USDT:USDT",
    start: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="First day, UTC.")
    ] = datetime(2024, 3, 11),
    days: Annotated[int, typer.Option(min=1)] = 7,
    output: Annotated[Path, typer.Option("-o", "--output", help=".html or .png")] = Path(
        "build/score.html"
    ),
) -> None:
    """Draw what each part of the score does to one week of candles, as one page."""
    start = start.replace(tzinfo=UTC)
    end = start + timedelta(days=days)
    try:
        candles = load_week(datadir, pair, start, end)
        write(draw(score_week(candles, start, end)), output)
    except PictureFailed as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{output}: {pair}, {start:%Y-%m-%d} to {end:%Y-%m-%d} (UTC)")


def load_week(datadir: Path | None, pair: str, start: datetime, end: datetime) -> pd.DataFrame:
    """Hourly candles from `STARTUP` before `start` up to `end`.

    :param datadir: a freqtrade data folder; None generates a market that never happened.
    :raises PictureFailed: the folder does not hold these candles.
    """
    if datadir is None:
        with tempfile.TemporaryDirectory() as folder:
            generate_market(Path(folder), [pair], start=start - STARTUP, end=end)
            return _load(Path(folder), pair, start, end)
    return _load(datadir, pair, start, end)


def _load(datadir: Path, pair: str, start: datetime, end: datetime) -> pd.DataFrame:
    kind = CandleType.FUTURES if ":" in pair else CandleType.SPOT
    candles = load_pair_history(pair, TIMEFRAME, datadir, candle_type=kind)
    if not candles.empty:
        candles = candles[(candles["date"] >= start - STARTUP) & (candles["date"] < end)]
    if candles.empty or candles["date"].iloc[0] > start - STARTUP:
        raise PictureFailed(
            f"Expected {TIMEFRAME} candles of {pair} in {datadir} from {start - STARTUP:%Y-%m-%d} "
            f"(three weeks of run-up) to {end:%Y-%m-%d}. Download them with freqtrade "
            "download-data, or choose another --start."
        )
    return candles.reset_index(drop=True)


def score_week(candles: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    """The candles of the week with everything the panels show.

    :param candles: from `load_week`, with the run-up.
    :return: date, OHLC; bb_upper, bb_lower, sma_100 in quote currency; S, gate (R · R2), V and V2
        over their median, T over its standard deviation, no units.
    """
    strategy = load_plugin(STRATEGY_FILE)
    parts = strategy.score_parts(candles)
    lines = strategy.score_indicators(candles)[["bb_upper", "bb_lower", "sma_100"]]
    found = pd.concat([candles[["date", "open", "high", "low", "close"]], lines], axis=1).assign(
        S=strategy.weighted_sum(candles),
        gate=parts["R"] * parts["R2"],
        V=parts["V"],
        V2=parts["V2"],
        T=strategy.score(candles),
    )
    found = found[(found["date"] >= start) & (found["date"] < end)].reset_index(drop=True)
    for name in ("V", "V2"):
        found[name] /= found[name].median()
    found["T"] /= found["T"].std()
    return found


def draw(week: pd.DataFrame) -> go.Figure:
    """The five panels, one below the other, over the same hours."""
    figure = make_subplots(
        rows=5,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.045,
        row_heights=HEIGHTS,
        subplot_titles=PANELS,
    )

    def line(row: int, column: str, name: str, colour: str, **more: Any) -> None:
        style = {"color": colour, "width": 1.6}
        figure.add_scatter(
            x=week["date"], y=week[column], name=name, line=style, row=row, col=1, **more
        )

    line(1, "bb_upper", "Bollinger bands", GREY, showlegend=False)
    line(1, "bb_lower", "Bollinger bands", GREY, fill="tonexty", fillcolor="rgba(148,163,184,.18)")
    line(1, "sma_100", "SMA(100)", ORANGE)
    line(1, "close", "close", BLUE)
    for gate, colour, name in ((1, GREEN, "R · R2 = 1"), (-1, RED, "R · R2 = -1")):
        outside = week[week["gate"] == gate]
        figure.add_scatter(
            x=outside["date"],
            y=outside["close"],
            mode="markers",
            marker={"color": colour, "size": 7},
            name=name,
        )
        bars = {"color": colour, "line": {"width": 0}}
        figure.add_bar(
            x=outside["date"], y=outside["gate"], marker=bars, row=3, col=1, showlegend=False
        )
    line(2, "S", "S", PURPLE)
    line(4, "V", "V, from the bands' width", TEAL)
    line(4, "V2", "V2, from the ATR", BROWN)
    # Like a logarithm beyond ±1, and linear around 0: a spike of 10 hides no other one.
    figure.add_scatter(
        x=week["date"],
        y=np.arcsinh(week["T"]),
        customdata=week["T"],
        hovertemplate="%{customdata:.2f}",
        name="T",
        line={"color": PINK, "width": 1.6},
        fill="tozeroy",
        row=5,
        col=1,
    )
    shown = np.array([-10, -3, -1, 0, 1, 3, 10])
    figure.update_yaxes(tickvals=np.arcsinh(shown), ticktext=shown, row=5)
    figure.update_layout(
        template="plotly_white",
        width=1000,
        height=1050,
        margin={"l": 60, "r": 20, "t": 50, "b": 40},
        legend={"orientation": "h", "y": -0.04, "traceorder": "normal"},
        bargap=0.1,
    )
    figure.update_annotations(font_size=14, x=0, xanchor="left")
    figure.update_yaxes(title_text="quote currency", row=1)
    figure.update_yaxes(range=[-1.3, 1.3], tickvals=[-1, 0, 1], row=3)
    return figure


def write(figure: go.Figure, output: Path) -> None:
    """Write the picture as .html or .png, as the name says.

    :raises PictureFailed: another ending, or plotly cannot make still pictures on this machine.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".html":
        figure.write_html(output, include_plotlyjs=True, config={"displayModeBar": False})
    elif output.suffix == ".png":
        try:
            figure.write_image(output)
        except (ValueError, RuntimeError, ImportError) as error:
            raise PictureFailed(
                f"plotly could not write {output} ({error}). A still picture needs "
                "`pip install kaleido` and Chrome or Chromium; an .html page needs neither."
            ) from error
    else:
        raise PictureFailed(f"Expected an output file ending in .html or .png, got {output}.")


if __name__ == "__main__":
    typer.run(picture)
