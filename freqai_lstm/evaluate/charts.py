"""The charts of the evaluation page, as plotly figures with data but no page around them.

Colours are legible on white and on near-black; text and grid take the page's colours, which the
page sets when it is shown (freqai_lstm/evaluate/page.py).
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from freqai_lstm.evaluate.data import Window
from freqai_lstm.evaluate.report import TITLES, rows_of


COLOURS = {
    "model": "#3b82f6",
    "persistence": "#9ca3af",
    "ridge": "#d97706",
    "lightgbm": "#16a34a",
    "T": "#94a3b8",
}
PAIR_COLOURS = ("#3b82f6", "#d97706", "#16a34a", "#db2777", "#8b5cf6", "#0891b2", "#ca8a04")
# Points that keep the page small enough to be sent around.
LINE_POINTS, CLOUD_POINTS = 40_000, 2_500


def figure(**layout: Any) -> go.Figure:
    """An empty figure in the page's style."""
    found = go.Figure()
    found.update_layout(
        template="none",
        margin={"l": 48, "r": 8, "t": 8, "b": 40},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"namelength": -1},
        **{"height": 340, **layout},
    )
    found.update_xaxes(automargin=True, zeroline=False)
    found.update_yaxes(automargin=True)
    return found


def title(report: dict[str, Any], predictor: str) -> str:
    """The predictor's name for people."""
    return str(report["freqaimodel"]) if predictor == "model" else TITLES[predictor]


def thinned(rows: pd.DataFrame, points: int) -> pd.DataFrame:
    """At most about `points` rows, in order, with every extreme of T and of the prediction kept.

    Of each stretch of candles the lowest and the highest of both stay: a peak that is thinned away
    would look like a candle on which nothing happened.
    """
    if len(rows) <= points:
        return rows
    stretch = np.arange(len(rows)) // -(-len(rows) * 4 // points)
    kept: set[int] = set()
    frame = rows.reset_index(drop=True)
    for column in ("T", "model"):
        values = frame[column].dropna().groupby(stretch[frame[column].notna()])
        kept |= set(values.idxmin()) | set(values.idxmax())
    return frame.loc[sorted(kept)]


def over_time(rows: pd.DataFrame, trades: pd.DataFrame, points: int, step: pd.Timedelta) -> Any:
    """T̂ and T of one pair in label scales, and the candles on whose signal a trade began.

    :param rows: of one pair. Candles without a prediction are a gap in T̂.
    :param step: length of a candle; a trade opens with the candle after its signal.
    """
    scaled = pd.DataFrame(
        {
            "date": rows["date"],
            "T": rows["T"] / rows["scale"],
            "model": (rows["model"] / rows["scale"]).where(rows["valid"]),
        }
    )
    found = figure(height=380, yaxis_title="score, in label scales", hovermode="x unified")
    thin = thinned(scaled, points)
    milliseconds = thin["date"].dt.as_unit("ms").astype("int64").to_numpy("float64")
    for column, name, width in (("T", "T, realised", 2.4), ("model", "T̂, predicted", 1.2)):
        found.add_scatter(
            x=milliseconds,
            y=thin[column].to_numpy("float32"),
            name=name,
            mode="lines",
            line={"color": COLOURS[column], "width": width},
            hovertemplate="%{y:.2f}",
        )
    at = scaled.set_index("date")["model"]
    for short, symbol, name in ((False, "triangle-up", "long"), (True, "triangle-down", "short")):
        chosen = trades[trades["is_short"] == short] if len(trades) else trades
        opened = chosen["open_date"] if len(chosen) else pd.Series(dtype="datetime64[ns, UTC]")
        signal = pd.DatetimeIndex(pd.to_datetime(opened, utc=True)) - step
        height = at.reindex(signal)
        inside = height.notna().to_numpy()
        if not inside.any():
            continue
        chosen, height, signal = chosen[inside], height[inside], signal[inside]
        won = chosen["profit_ratio"].to_numpy() > 0
        found.add_scatter(
            x=signal.as_unit("ms").asi8.astype("float64"),
            y=height.to_numpy("float32"),
            name=f"{name} entry",
            mode="markers",
            marker={
                "symbol": symbol,
                "size": 10,
                "color": np.where(won, "#16a34a", "#dc2626").tolist(),
                "line": {"width": 1, "color": "white"},
            },
            customdata=(100 * chosen["profit_ratio"]).round(2).tolist(),
            hovertemplate=f"{name}, profit %{{customdata}} %",
        )
    found.update_xaxes(type="date")
    return found


def scatter(report: dict[str, Any], rows: pd.DataFrame) -> go.Figure:
    """T against T̂, the mean T of similar T̂ with its error, and the line of perfect calibration.

    :param rows: candles with a prediction, in label scales.
    """
    x, y = rows["model"].to_numpy("float64"), rows["T"].to_numpy("float64")
    # Heavy tails: a few candles must not squeeze all others into a dot.
    bins = pd.DataFrame(report["calibration"])
    wide = float(max(np.quantile(np.abs(x), 0.995), bins["predicted"].abs().max(), 0.5)) * 1.1
    high = float(max(np.quantile(np.abs(y), 0.99), bins["realised"].abs().max(), 0.5)) * 1.1
    moved = np.flatnonzero((y != 0) | (np.abs(x) > 0.1))
    drawn = np.random.default_rng(1).permutation(moved)[:CLOUD_POINTS]
    found = figure(xaxis_title="T̂, predicted (label scales)", yaxis_title="T, realised", height=400)
    found.add_scatter(
        x=x[drawn].astype("float32"),
        y=y[drawn].astype("float32"),
        mode="markers",
        name="one candle",
        marker={"size": 4, "color": COLOURS["T"], "opacity": 0.45},
        hoverinfo="skip",
    )
    line = [-wide, wide]
    found.add_scatter(
        x=line, y=line, mode="lines", name="T̂ = T", line={"dash": "dot", "color": "#9ca3af"}
    )
    found.add_scatter(
        x=bins["predicted"],
        y=bins["realised"],
        error_y={"array": 2 * bins["error"], "thickness": 1},
        mode="lines+markers",
        name="mean T of similar T̂",
        line={"color": COLOURS["model"], "width": 2},
        customdata=bins["candles"],
        hovertemplate="T̂ %{x:.2f}, T %{y:.2f}, %{customdata} candles<extra></extra>",
    )
    found.update_xaxes(range=[-wide, wide])
    found.update_yaxes(range=[-high, high])
    return found


def by_pair(report: dict[str, Any], measure: str, axis: str) -> go.Figure:
    """One group of bars per pair and one for all, one bar per predictor."""
    found = figure(yaxis_title=axis, barmode="group")
    groups = {**{short(pair): of for pair, of in report["pairs"].items()}, "all": report["all"]}
    for name in report["predictors"]:
        found.add_bar(
            x=list(groups),
            y=[figures[name][measure] for figures in groups.values()],
            name=title(report, name),
            marker_color=COLOURS[name],
            hovertemplate="%{y:.3f}",
        )
    values = [of[name][measure] for of in groups.values() for name in report["predictors"]]
    found.update_yaxes(range=_skill_range(values))
    return found


def by_window(report: dict[str, Any], measure: str, axis: str) -> go.Figure:
    """The model's skill window by window, a line per pair; the best baseline's mean as a line."""
    found = figure(yaxis_title=axis)
    windows = pd.DataFrame(report["windows"])
    colours = pair_colours(report)
    for pair, of_pair in windows.groupby("pair", sort=False):
        found.add_scatter(
            x=of_pair["start"],
            y=[figures[measure] for figures in of_pair["model"]],
            name=short(str(pair)),
            mode="lines+markers",
            line={"color": colours[str(pair)]},
            hovertemplate="%{y:.3f}",
        )
    best = report["verdict"]["best_baseline"]
    mean = windows[best].map(lambda figures: figures[measure]).groupby(windows["start"]).mean()
    found.add_scatter(
        x=list(mean.index),
        y=mean.to_numpy(),
        name=f"{TITLES[best]}, mean of pairs",
        mode="lines",
        line={"color": COLOURS["persistence"], "dash": "dash", "width": 2},
        hovertemplate="%{y:.3f}",
    )
    values = [figures[measure] for figures in windows["model"]] + list(mean)
    found.update_yaxes(range=_skill_range(values))
    found.update_xaxes(type="date", tickformat="%d %b\n%Y")
    return found


def all_rows(windows: dict[str, list[Window]]) -> dict[str, pd.DataFrame]:
    """The candles of every pair that has predictions."""
    return {pair: rows_of(found) for pair, found in windows.items() if found}


def short(pair: str) -> str:
    """`BTC/USDT` of `BTC/USDT:USDT`."""
    return pair.split(":")[0]


def pair_colours(report: dict[str, Any]) -> dict[str, str]:
    """A colour for each pair, the same in every chart; with many pairs they repeat."""
    return dict(zip(report["pairs"], cycle(PAIR_COLOURS), strict=False))


def _skill_range(values: list[float]) -> list[float]:
    # A hopeless baseline (R² of persistence, say) may lie far below zero; what counts is above.
    low, high = float(np.nanmin([*values, 0.0])), float(np.nanmax([*values, 0.0]))
    return [max(low - 0.05, -0.5), 1.02 if high > 0.5 else high * 1.2 + 0.02]
