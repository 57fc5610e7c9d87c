"""The charts of the evaluation page, as plotly figures with data but no page around them.

Colours are legible on white and on near-black; text and grid take the page's colours, which the
page sets when it is shown (page.html.j2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from freqai_lstm.evaluate.trades import CASH, drawdown
from freqai_lstm.evaluate.words import compared, titled


COLOURS = {
    "model": "#3b82f6",
    "flat": "#9ca3af",
    "persistence": "#8b5cf6",
    "ridge": "#d97706",
    "lightgbm": "#16a34a",
    "har": "#0891b2",
}
PAIR_COLOURS = ["#3b82f6", "#d97706", "#16a34a", "#db2777", "#8b5cf6", "#0891b2", "#ca8a04"]
GREY, GREEN, RED, RUN_COLOUR = "#94a3b8", "#16a34a", "#dc2626", "#db2777"
# Points of all curves together, and of one cloud: the page is to stay small enough to be sent.
LINE_POINTS, CLOUD_POINTS, EQUITY_POINTS, MARKERS = 18_000, 600, 500, 200
GROUPS = 20  # of inputs, the most important ones
PIXELS = {"template": "none", "color_discrete_sequence": PAIR_COLOURS}
PREDICTORS: dict[str, Any] = {
    "color_discrete_map": COLOURS,
    "color_discrete_sequence": [RUN_COLOUR],
}


def styled(figure: go.Figure, height: int = 340, **layout: Any) -> go.Figure:
    """The figure in the page's style, without a background of its own."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 48, "r": 8, "t": 8, "b": 40},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"namelength": -1},
        **layout,
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True)
    return figure


def differences(report: dict[str, Any]) -> go.Figure:
    """Difference in R² from each baseline, a row per target, with its interval."""
    targets = list(report["targets"])
    rows = pd.DataFrame(
        [
            {"target": target, "baseline": name, **skills["r2"]}
            for target, of in report["targets"].items()
            for name, skills in of["differences"].items()
        ]
    )
    rows = rows.assign(plus=rows["high"] - rows["value"], minus=rows["value"] - rows["low"])
    found = px.scatter(
        rows,
        x="value",
        y="target",
        color="baseline",
        error_x="plus",
        error_x_minus="minus",
        hover_data=["word"],
        **PREDICTORS,
        labels={"value": "R² of the model minus R² of the baseline"},
        category_orders={"target": targets, "baseline": compared(report)},
    )
    found.update_traces(marker_size=8, orientation="h")
    styled(found, 110 + 46 * len(targets), scattermode="group", scattergap=0.35, yaxis_title=None)
    ends = _skill_range(rows[["value", "low", "high"]].to_numpy().ravel(), lowest=-1.0)
    return found.update_xaxes(range=ends, zeroline=True)


def by_pair(of_target: dict[str, Any]) -> go.Figure:
    """R² of every predictor, a group of bars per pair."""
    rows = [
        (short(pair), name, figures[name]["r2"])
        for pair, figures in of_target["pairs"].items()
        for name in of_target["predictors"]
    ]
    frame = pd.DataFrame(rows, columns=["pair", "predictor", "R²"])
    found = px.bar(frame, x="pair", y="R²", color="predictor", barmode="group", **PREDICTORS)
    styled(found, xaxis_title=None)
    # A hopeless baseline (R² of persistence, say) may lie far below zero; what counts is above.
    return found.update_yaxes(range=_skill_range(frame["R²"], lowest=-0.5))


def by_window(report: dict[str, Any], target: str) -> go.Figure:
    """The model's R² window by window, a line per pair; the best baseline's mean as a line."""
    means = report["targets"][target]["mean"]
    best = max(list(means)[1:], key=lambda name: means[name]["r2"]["value"])
    rows = pd.DataFrame(
        [
            (window["start"], short(window["pair"]), name, window["skill"][target][name]["r2"])
            for window in report["windows"]
            for name in ("model", best)
        ],
        columns=["window", "pair", "predictor", "R²"],
    )
    of_best = rows["predictor"] == best
    lines = rows[~of_best]
    mean = rows[of_best].groupby("window", as_index=False)["R²"].mean()
    found = px.line(lines, x="window", y="R²", color="pair", markers=True, **PIXELS)
    style = {"color": COLOURS.get(best, GREY), "dash": "dash"}
    found.add_scatter(
        x=mean["window"], y=mean["R²"], name=f"{titled(best)}, mean of pairs", line=style
    )
    styled(found, xaxis_title=None)
    found.update_yaxes(range=_skill_range([*lines["R²"], *mean["R²"]], lowest=-2.0))
    return found.update_xaxes(type="date", tickformat="%d %b\n%Y")


def over_time(rows: pd.DataFrame, trades: pd.DataFrame, points: int) -> go.Figure:
    """Prediction and realised value of one pair, and the candles on whose signal a trade began.

    :param rows: date, realised, model, valid of one target and pair. Candles without a valid
        prediction are a gap.
    :param trades: freqtrade's, of this pair, with `signal`, the candle before the trade opened.
    """
    rows = rows.assign(model=rows["model"].where(rows["valid"]))
    thin = thinned(rows[["date", "realised", "model"]], points)
    found = go.Figure()
    for column, name, colour in (
        ("realised", "realised", GREY),
        ("model", "predicted", COLOURS["model"]),
    ):
        line = {"color": colour, "width": 1.4}
        values = thin[column].to_numpy("float32")
        found.add_scatter(x=_milliseconds(thin["date"]), y=values, name=name, line=line)
    if len(trades):
        known = trades.tail(MARKERS).merge(
            rows[["date", "model"]], left_on="signal", right_on="date"
        )
        won = known["profit_ratio"] > 0
        found.add_scatter(
            x=_milliseconds(known["signal"]),
            y=known["model"].to_numpy("float32"),
            name="entry",
            mode="markers",
            marker={
                "symbol": np.where(known["is_short"], "triangle-down", "triangle-up").tolist(),
                "size": 10,
                "color": np.where(won, GREEN, RED).tolist(),
                "line": {"width": 1, "color": "white"},
            },
            customdata=(100 * known["profit_ratio"]).round(2).tolist(),
            hovertemplate="profit %{customdata} %",
        )
    return styled(found, 380, hovermode="x unified").update_xaxes(type="date")


def thinned(rows: pd.DataFrame, points: int) -> pd.DataFrame:
    """At most about `points` rows, in order, with every extreme of both curves kept.

    Of each stretch of candles the lowest and the highest of both stay: a peak that is thinned away
    would look like a candle on which nothing happened.
    """
    if len(rows) <= points:
        return rows
    frame = rows.reset_index(drop=True)
    stretch = frame.index // -(-len(rows) * 4 // points)
    kept: set[int] = set()
    for column in ("realised", "model"):
        values = frame[column].dropna().groupby(stretch[frame[column].notna()])
        kept |= set(values.idxmin()) | set(values.idxmax())
    return frame.loc[sorted(kept)]


def calibrated(of_target: dict[str, Any], rows: pd.DataFrame) -> go.Figure | None:
    """Realised values of similar predictions with their error, and the line of perfect calibration.

    :param rows: realised and model of one target, in standard deviations.
    :return: None for a label that has none, a constant.
    """
    if not of_target["calibration"]:
        return None
    bins = pd.DataFrame(of_target["calibration"])
    cloud = rows.sample(min(len(rows), CLOUD_POINTS), random_state=1).astype("float32")
    # Heavy tails: a few candles must not squeeze all others into a dot.
    inner = rows.quantile([0.01, 0.99])
    x, y = (
        [min(bins[a].min(), inner[b].min()) - 0.1, max(bins[a].max(), inner[b].max()) + 0.1]
        for a, b in (("predicted", "model"), ("realised", "realised"))
    )
    found = px.scatter(cloud, x="model", y="realised", color_discrete_sequence=[GREY], opacity=0.4)
    found.update_traces(marker_size=4, name="one candle", showlegend=True, hoverinfo="skip")
    found.add_scatter(
        x=bins["predicted"],
        y=bins["realised"],
        error_y={"array": 2 * bins["error"], "thickness": 1},
        name="mean of similar predictions",
        line={"color": COLOURS["model"], "width": 2},
        customdata=bins[["candles", "rmse"]].to_numpy(),
        hovertemplate=(
            "%{x:.2f}, realised %{y:.2f}, %{customdata[0]} candles, "
            "root mean square error %{customdata[1]:.2f}<extra></extra>"
        ),
    )
    found.add_scatter(x=x, y=x, mode="lines", name="perfect", line={"dash": "dot", "color": GREY})
    styled(found, 400, xaxis_title="predicted", yaxis_title="realised")
    return found.update_xaxes(range=x).update_yaxes(range=y)


def by_fifth(of_target: dict[str, Any]) -> go.Figure | None:
    """Mean return of the next candles by fifth of the prediction, a line per number of candles."""
    rows = pd.DataFrame(
        [
            (f"{of['candles']} ahead", fifth, value)
            for of in of_target["returns"]
            for fifth, value in enumerate(of["fifths"], start=1)
        ],
        columns=["candles", "fifth", "return"],
    )
    if rows.empty:
        return None
    found = px.line(rows, x="fifth", y="return", color="candles", markers=True, **PIXELS)
    names = {1: "lowest fifth", len(rows["fifth"].unique()): "highest"}
    ticks = {"tickvals": list(range(1, 6)), "ticktext": [names.get(n, n) for n in range(1, 6)]}
    styled(found, xaxis_title="prediction", yaxis_title="mean return, basis points")
    return found.update_xaxes(ticks).update_yaxes(zeroline=True)


def along_threshold(of_target: dict[str, Any]) -> go.Figure:
    """Precision, recall and chance of entries beyond a threshold."""
    rows = pd.DataFrame(of_target["thresholds"])
    found = go.Figure()
    for name, colour, dash in (
        ("precision", COLOURS["model"], "solid"),
        ("chance", GREY, "dash"),
        ("recall", COLOURS["ridge"], "solid"),
    ):
        found.add_scatter(
            x=rows["threshold"],
            y=rows[name],
            name=name,
            line={"color": colour, "dash": dash},
            customdata=rows["signals"],
            hovertemplate="%{y:.1%}, %{customdata} entries",
        )
    title = "threshold, standard deviations of the labels"
    styled(found, hovermode="x unified", xaxis_title=title)
    return found.update_yaxes(range=[0, 1.02], tickformat=".0%")


def equity(equities: pd.DataFrame) -> go.Figure:
    """The wallet beside buy-and-hold and cash, and below it how far each is under its highest."""
    start = float(equities[CASH].iloc[0])
    found = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.65, 0.35], vertical_spacing=0.06)
    step = max(len(equities) // EQUITY_POINTS, 1)
    colours = (COLOURS["model"], COLOURS["ridge"], GREY, *PAIR_COLOURS[3:])
    for (name, of), colour in zip(equities.items(), colours, strict=False):
        for row, values in ((1, of / start - 1), (2, drawdown(of, start))):
            found.add_scatter(
                x=_milliseconds(values.index.to_series()[::step]),
                y=values.to_numpy("float32")[::step],
                name=str(name),
                line={"color": colour, "width": 1.5},
                legendgroup=str(name),
                showlegend=row == 1,
                row=row,
                col=1,
            )
    styled(found, 460, hovermode="x unified")
    found.update_yaxes(tickformat=".0%").update_xaxes(type="date")
    found.update_yaxes(title="profit", row=1)
    return found.update_yaxes(title="drawdown", row=2)


def importance(explanation: dict[str, Any]) -> go.Figure:
    """Loss of R² by group of inputs, the mean over the labels, with the labels as points."""
    rows = pd.DataFrame(
        [
            (group, label, of["value"], of["error"])
            for label, groups in explanation["importance"].items()
            for group, of in groups.items()
        ],
        columns=["group", "label", "value", "error"],
    )
    order = rows.groupby("group")["value"].mean().sort_values().index[-GROUPS:]
    rows = rows[rows["group"].isin(order)]
    found = px.scatter(
        rows,
        x="value",
        y="group",
        error_x="error",
        color="label",
        category_orders={"group": list(order[::-1])},
        labels={"value": "loss of R² when it is moved in time", "group": ""},
        **PIXELS,
    )
    found.update_traces(marker_size=8)
    return styled(found, 110 + 26 * len(order)).update_xaxes(zeroline=True)


def attention(explanation: dict[str, Any]) -> go.Figure:
    """Mean share of the network's attention by how many candles it looks back."""
    shares = explanation["attention"]
    found = px.bar(x=list(range(len(shares))), y=shares, color_discrete_sequence=PAIR_COLOURS)
    styled(found, 260, xaxis_title="candles back", yaxis_title="share of the attention")
    return found.update_yaxes(tickformat=".0%")


def short(pair: str) -> str:
    """`BTC/USDT` of `BTC/USDT:USDT`."""
    return pair.split(":")[0]


def _milliseconds(dates: pd.Series) -> np.ndarray:
    return dates.dt.as_unit("ms").astype("int64").to_numpy("float64")


def _skill_range(values: Any, lowest: float) -> list[float]:
    low, high = float(np.nanmin([*values, 0.0])), float(np.nanmax([*values, 0.0]))
    return [max(low * 1.1 - 0.01, lowest), high * 1.1 + 0.01]
