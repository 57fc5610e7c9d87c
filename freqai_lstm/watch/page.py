"""What `watch` found as one HTML file that opens offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from freqai_lstm.evaluate.charts import COLOURS, GREY, RED, styled
from freqai_lstm.evaluate.template import write_template
from freqai_lstm.evaluate.words import shown
from freqai_lstm.watch.screen import TITLES, trades_line


TONES = {"good": "good", "warn": "neutral", "stop": "bad"}


def write_page(path: Path, report: dict[str, Any]) -> None:
    """Write the page; `report` is from `watch_once`."""
    drawn = {"evidence": evidence(report["alarm"])} if report["alarm"]["evidence"] else {}
    data = ",".join(f"{json.dumps(key)}:{chart.to_json()}" for key, chart in drawn.items())
    write_template(
        path,
        "watch/page.html.j2",
        report=report,
        drawn=drawn,
        tone=TONES[report["level"]],
        titles=TITLES,
        shown=shown,
        trades=trades_line(report["trades"]),
        charts=Markup("{" + data.replace("</", "<\\/") + "}"),  # "</" would end the script
    )


def evidence(alarm: dict[str, Any]) -> go.Figure:
    """The evidence against the model after each known label, with the limits of warn and stop."""
    found = go.Figure()
    line = {"color": COLOURS["model"], "width": 1.6}
    found.add_scatter(x=alarm["dates"], y=alarm["evidence"], name="evidence", line=line)
    for name, colour in (("warn", GREY), ("stop", RED)):
        ends = [alarm["dates"][0], alarm["dates"][-1]]
        style = {"color": colour, "dash": "dash"}
        found.add_scatter(x=ends, y=[alarm[name]] * 2, name=name, line=style, mode="lines")
    return styled(found, 300).update_yaxes(type="log").update_xaxes(type="date")
