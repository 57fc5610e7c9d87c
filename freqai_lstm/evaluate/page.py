"""The evaluation as one HTML file that opens offline, and which charts are on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from freqai_lstm.evaluate import charts
from freqai_lstm.evaluate.signal import CANDLES_AHEAD
from freqai_lstm.evaluate.template import write_template
from freqai_lstm.evaluate.words import compared, of_seeds, shown, titled, with_spread


def write_page(
    path: Path,
    report: dict[str, Any],
    rows: pd.DataFrame,
    trades: pd.DataFrame,
    equities: pd.DataFrame,
) -> None:
    """Write the page.

    :param report: from `report.build_report`, with NaN where a figure is not defined.
    :param rows: `Predictions.rows`, a candle once.
    :param trades: freqtrade's trades of the same predictions; empty for none.
    :param equities: from `trades.money`; empty for none.
    """
    drawn = figures(report, rows, trades, equities)
    data = ",".join(f"{json.dumps(key)}:{chart.to_json()}" for key, chart in drawn.items())
    write_template(
        path,
        "evaluate/page.html.j2",
        report=report,
        drawn=drawn,
        pairs=list(dict.fromkeys(rows["pair"])),
        heights={key.split("|")[0]: chart.layout.height for key, chart in drawn.items()},
        titled=titled,
        compared=compared(report),
        shown=shown,
        of_seeds=of_seeds,
        with_spread=with_spread,
        ahead=CANDLES_AHEAD,
        charts=Markup("{" + data.replace("</", "<\\/") + "}"),  # "</" would end the script
    )


def figures(
    report: dict[str, Any], rows: pd.DataFrame, trades: pd.DataFrame, equities: pd.DataFrame
) -> dict[str, go.Figure]:
    """Every chart by its key: what it shows, then target and pair where it has one of them."""
    drawn = {
        "differences": charts.differences(report),
        "equity": None if equities.empty else charts.equity(equities),
    }
    if explanation := report["explanation"]:
        drawn["importance"] = charts.importance(explanation)
        if explanation["attention"]:
            drawn["attention"] = charts.attention(explanation)
    series = dict(list(rows.groupby(["target", "pair"], sort=False)))
    for target, of_target in report["targets"].items():
        drawn[f"pairs|{target}"] = charts.by_pair(of_target)
        drawn[f"windows|{target}"] = charts.by_window(report, target)
        known = pd.concat([of for (name, _), of in series.items() if name == target])
        known = known[known["valid"] & (known["scale"] > 0)]
        scaled = known[["realised", "model"]].div(known["scale"], axis=0).dropna()
        drawn[f"calibration|{target}"] = charts.calibrated(of_target, scaled)
        drawn[f"fifths|{target}"] = charts.by_fifth(of_target)
        drawn[f"thresholds|{target}"] = charts.along_threshold(of_target)
    for (target, pair), of_series in series.items():
        # Entries are decided on the score, where there is one.
        here = len(trades) and target in report["headline"]["targets"]
        of_pair = trades[trades["pair"] == pair] if here else trades.head(0)
        points = charts.LINE_POINTS // len(series)
        drawn[f"time|{target}|{pair}"] = charts.over_time(of_series, of_pair, points)
    return {key: chart for key, chart in drawn.items() if chart is not None}
