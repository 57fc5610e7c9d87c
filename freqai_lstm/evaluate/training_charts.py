"""Charts of the trainings: learning curves, overfitting, and what the models look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from freqai_lstm.evaluate.charts import COLOURS, figure, pair_colours, short


def learning_curves(report: dict[str, Any]) -> go.Figure | None:
    """Training and validation loss by epoch, a thin line per training; None where none is known."""
    found = figure(xaxis_title="epoch", yaxis_title="loss (log)")
    colours = pair_colours(report)
    seen: set[str] = set()
    for window in report["windows"]:
        curves = pd.DataFrame(window["training"]["curves"])
        if curves.empty:
            continue
        legend = "val_loss" if "val_loss" in curves else "loss"
        colour = colours[window["pair"]]
        for key, dash, name in (("loss", "dot", "training"), ("val_loss", "solid", "validation")):
            if key not in curves:
                continue
            found.add_scatter(
                x=list(range(1, len(curves) + 1)),
                y=curves[key].to_numpy("float32"),
                mode="lines",
                line={"color": colour, "width": 1.2, "dash": dash},
                name=short(window["pair"]),
                legendgroup=window["pair"],
                showlegend=key == legend and window["pair"] not in seen,
                hovertemplate=f"{name} from {window['start'][:10]}: %{{y:.4f}}",
            )
        seen.add(window["pair"])
    if not seen:
        return None
    losses = np.concatenate([np.asarray(trace.y, dtype=float) for trace in found.data])
    found.update_yaxes(type="log", tickvals=_ticks(losses), tickformat=".2~g")
    return found


def overfitting(report: dict[str, Any]) -> go.Figure | None:
    """R² of the nine labels, validation against out of sample, a point per training."""
    found = figure(xaxis_title="R² in validation", yaxis_title="R² out of sample", height=360)
    points = [
        (window["pair"], window["start"][:10], training["validation_r2"], training["label_r2"])
        for window in report["windows"]
        if (training := window["training"])["validation_r2"] is not None
        and np.isfinite(training["label_r2"])
    ]
    if not points:
        return None
    frame = pd.DataFrame(points, columns=["pair", "start", "validation", "unseen"])
    colours = pair_colours(report)
    for pair, of_pair in frame.groupby("pair", sort=False):
        found.add_scatter(
            x=of_pair["validation"],
            y=of_pair["unseen"],
            mode="markers",
            name=short(str(pair)),
            marker={"size": 9, "color": colours[str(pair)]},
            customdata=of_pair["start"],
            hovertemplate="%{customdata}: %{x:.2f} → %{y:.2f}",
        )
    low = float(max(min(frame[["validation", "unseen"]].min().min(), 0.0), -1.0)) - 0.02
    ends = [low, 1.02]
    found.add_scatter(
        x=ends, y=ends, mode="lines", name="no loss", line={"dash": "dot", "color": "#9ca3af"}
    )
    found.update_xaxes(range=ends)
    found.update_yaxes(range=ends)
    return found


def importance_bars(report: dict[str, Any], most: int = 20) -> go.Figure | None:
    """The groups of features whose displacement costs most R²."""
    rows = report["importance"][:most][::-1]
    if not rows:
        return None
    found = figure(height=60 + 24 * len(rows), xaxis_title="R² lost when displaced in time")
    found.add_bar(
        x=[row["drop"] for row in rows],
        y=[row["group"] for row in rows],
        orientation="h",
        marker_color=COLOURS["model"],
        customdata=[_listed(row["features"]) for row in rows],
        hovertemplate="%{x:.4f}<br>%{customdata}<extra></extra>",
    )
    return found


def _listed(features: list[str], most: int = 8) -> str:
    more = f"<br>and {len(features) - most} more" if len(features) > most else ""
    return "<br>".join(features[:most]) + more


def _ticks(values: np.ndarray) -> list[float]:
    # plotly labels either decades alone, often none at all here, or every digit.
    known = values[np.isfinite(values) & (values > 0)]
    low, high = np.log10(known.min()), np.log10(known.max())
    digits = (1, 2, 5) if high - low > 0.8 else (1, 1.5, 2, 3, 4, 5, 7)
    decades = range(int(np.floor(low)) - 1, int(np.ceil(high)) + 1)
    return [digit * 10.0**decade for decade in decades for digit in digits]
