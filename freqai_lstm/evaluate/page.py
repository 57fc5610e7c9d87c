"""The evaluation as one HTML file: everything is inside it, plotly.js once, nothing is loaded.

It is one column at any width, follows the reader's light or dark setting, and on a touch screen
lets a finger scroll instead of zooming the charts.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from freqtrade.exchange import timeframe_to_seconds
from plotly.offline import get_plotlyjs

from freqai_lstm.evaluate import charts, training_charts
from freqai_lstm.evaluate.data import Window
from freqai_lstm.evaluate.report import COLUMNS, shown
from freqai_lstm.evaluate.scores import in_label_scales


STYLE = """
:root { --page: #ffffff; --card: #f6f7f9; --text: #1b2430; --quiet: #5b6675; --line: #d9dee5;
  --green: #15803d; --amber: #b45309; --red: #b91c1c; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1a2029; --text: #e6eaf0;
  --quiet: #9aa5b4; --line: #2e3744; --green: #4ade80; --amber: #fbbf24; --red: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-x: hidden; }
main { max-width: 960px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.4rem; margin: 0 0 2px; } h2 { font-size: 1.12rem; margin: 36px 0 2px; }
p { margin: 4px 0 10px; } .quiet, caption { color: var(--quiet); font-size: .92rem; }
.verdict { border-left: 8px solid var(--tone); background: var(--card); border-radius: 8px;
  padding: 14px 18px; margin: 16px 0; } .verdict strong { font-size: 1.3rem; line-height: 1.3;
  color: var(--tone); display: block; } .verdict p { margin: 6px 0 0; }
.figures { display: grid; grid-template-columns: repeat(2, 1fr); gap: 10px; }
@media (min-width: 640px) { .figures { grid-template-columns: repeat(4, 1fr); } }
.figures div { background: var(--card); border-radius: 8px; padding: 10px 12px; }
.figures b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--quiet); font-size: .85rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; } th, td { padding: 5px 8px; text-align: right;
  white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
thead th { color: var(--quiet); font-weight: 500; border-bottom: 1px solid var(--line); }
tr.model td { font-weight: 650; border-top: 1px solid var(--line); } tr.other td:first-child {
  padding-left: 18px; color: var(--quiet); }
select { font: inherit; color: inherit; background: var(--card); padding: 6px 10px;
  border: 1px solid var(--line); border-radius: 6px; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--quiet); }
li { margin: 2px 0; } footer { margin-top: 36px; color: var(--quiet); font-size: .85rem; }
"""

# Charts take text and grid colours from the page. A chart that is hidden is drawn when shown.
SCRIPT = """
const settings = {responsive: true, displaylogo: false, displayModeBar: false};
const touch = matchMedia("(pointer: coarse)").matches;
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function paint(id) {
  const chart = charts[id], layout = chart.layout, line = colour("--line");
  layout.font = {color: colour("--text"), size: 12};
  layout.dragmode = touch ? false : "zoom";
  layout.hoverlabel = {...layout.hoverlabel, bgcolor: colour("--card"),
    font: {color: colour("--text")}};
  for (const axis of ["xaxis", "yaxis"])
    layout[axis] = {...layout[axis], gridcolor: line, linecolor: line, zerolinecolor: line,
      fixedrange: touch};
  Plotly.react(id, chart.data, layout, settings);
}
function paintAll() {
  for (const id in charts) if (!document.getElementById(id).hidden) paint(id);
}
const select = document.getElementById("pair");
if (select) select.onchange = () => {
  for (const option of select.options)
    document.getElementById(option.value).hidden = option.value !== select.value;
  paint(select.value);
};
matchMedia("(prefers-color-scheme: dark)").onchange = paintAll;
paintAll();
"""


def write_page(
    path: Path, report: dict[str, Any], windows: dict[str, list[Window]], trades: pd.DataFrame
) -> None:
    """Write the page.

    :param report: from `evaluate_report.build_report`, with NaN where a figure is not defined.
    :param trades: freqtrade's trades of the same predictions; empty for none.
    """
    page = _Page()
    _write(page, report, windows, trades)
    figures = ",\n".join(f'"{name}": {chart.to_json()}' for name, chart in page.charts.items())
    figures = figures.replace("</", "<\\/")  # would end the script
    name = f"{report['identifier']}: did it learn?"
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}</style></head><body><main>
{"".join(page.parts)}
</main>
<script>{get_plotlyjs()}</script>
<script>const charts = {{{figures}}};
{SCRIPT}</script></body></html>
"""
    path.write_text(text, encoding="utf-8")


class _Page:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.charts: dict[str, go.Figure] = {}

    def add(self, html: str) -> None:
        self.parts.append(html + "\n")

    def section(self, heading: str, text: str) -> None:
        self.add(f'<h2>{escape(heading)}</h2><p class="quiet">{escape(text)}</p>')

    def chart(self, found: go.Figure, *, hidden: bool = False) -> str:
        name = f"chart{len(self.charts) + 1}"
        self.charts[name] = found
        height = found.layout.height
        attribute = " hidden" if hidden else ""
        self.add(f'<div id="{name}" style="width:100%;height:{height}px"{attribute}></div>')
        return name


def _write(
    page: _Page, report: dict[str, Any], windows: dict[str, list[Window]], trades: pd.DataFrame
) -> None:
    found, model = report["verdict"], report["all"]["model"]
    measure, axis = found["measure"], {"r2": "R²", "correlation": "correlation"}[found["measure"]]
    horizon = report["horizon"]
    ahead = (
        f"{horizon} candle{'s' if horizon > 1 else ''} ahead" if horizon else "of the same candle"
    )
    page.add(
        f"<h1>Did it learn?</h1><p class='quiet'>{escape(report['freqaimodel'])} on "
        f"{escape(report['strategy'])}, identifier {escape(report['identifier'])}: score T "
        f"{ahead}, {report['timeframe']} candles, {report['timerange']}, "
        f"{len(report['pairs'])} pairs, {len(report['windows'])} trainings.</p>"
        f"<div class='verdict' style='--tone: var(--{found['colour']})'>"
        f"<strong>{escape(found['headline'])}</strong><p>{escape(found['detail'])}</p></div>"
    )
    trained = report["training"]
    tiles = (
        (shown(model["r2"], "{:.2f}"), "R² of T̂"),
        (shown(model["correlation"], "{:.2f}"), "correlation"),
        (shown(model["sign_accuracy"], "{:.1%}"), "sign right, T ≠ 0"),
        (shown(model["precision"], "{:.0%}"), "of entries right"),
        (shown(model["recall"], "{:.0%}"), "of entries found"),
        (shown(report["all"]["predicted"], "{:.1%}"), "of candles predicted"),
        (shown(trained["overfitting"], "{:.2f}"), "R² lost after validation"),
        (shown(trained["seconds"], "{:.1f} s"), "per training"),
    )
    cells = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in tiles)
    page.add(f'<div class="figures">{cells}</div>')

    page.section(
        "Against the baselines",
        "Same windows, features, training rows and candles for all. Ridge and LightGBM learn T "
        "itself; the model learns its nine terms, so its weights stay free.",
    )
    page.add(_table(report))
    page.section(f"Skill by pair ({axis})", "Higher is better; 1 is perfect.")
    page.chart(charts.by_pair(report, measure, axis))
    page.section(f"Skill by window ({axis})", "Each point is a training and the candles after it.")
    page.chart(charts.by_window(report, measure, axis))
    page.add(_window_table(report))

    page.section(
        "T̂ against T over time",
        "In label scales, the unit of the thresholds. Triangles: signals of the backtest's trades, "
        "green with profit, red with loss.",
    )
    per_pair = charts.all_rows(windows)
    step = pd.Timedelta(seconds=timeframe_to_seconds(report["timeframe"]))
    where = len(page.parts)
    options = ""
    for number, (pair, rows) in enumerate(per_pair.items()):
        of_pair = trades[trades["pair"] == pair] if len(trades) else trades
        points = charts.LINE_POINTS // len(per_pair)
        drawn = page.chart(charts.over_time(rows, of_pair, points, step), hidden=number > 0)
        options += f'<option value="{drawn}">{escape(pair)}</option>'
    page.parts.insert(where, f'<select id="pair" aria-label="Pair">{options}</select>\n')

    page.section(
        "Calibration",
        f"Where the model says T̂, what came on average? On the dotted line it can be taken at its "
        f"word; slope over all candles {shown(model['slope'], '{:.2f}')} (1 is perfect, less is "
        "too bold).",
    )
    scaled = in_label_scales(pd.concat(per_pair.values(), ignore_index=True), ["model"])
    known = scaled["valid"] & scaled[["T", "model"]].notna().all(axis=1)
    page.chart(charts.scatter(report, scaled[known]))

    curves = training_charts.learning_curves(report)
    if curves is not None:
        page.section("Learning curves", "Every training; validation solid, training dotted.")
        page.chart(curves)
    spread = training_charts.overfitting(report)
    if spread is not None:
        page.section(
            "Overfitting",
            "R² of the nine scaled labels on validation rows and on the candles after them. Far "
            "below the line: what was learnt did not last.",
        )
        page.chart(spread)
    page.section("What it looks at", f"Permutation importance of features. {_importance(report)}")
    bars = training_charts.importance_bars(report)
    if bars is not None:
        page.chart(bars)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report["notes"])
    page.add(f"<h2>Notes</h2><ul>{notes}</ul><footer>{escape(report['generated'])}</footer>")


def _importance(report: dict[str, Any]) -> str:
    if not report["importance"]:
        return str(report["importance_note"])
    return (
        f"The groups that cost most when displaced in time ({report['importance_note']}). Groups "
        "that say the same can stand in for each other, then neither seems important."
    )


def _table(report: dict[str, Any]) -> str:
    rows = ""
    for pair, figures in (("All pairs", report["all"]), *report["pairs"].items()):
        for name in report["predictors"]:
            first = pair if name == "model" else charts.title(report, name)
            cells = "".join(
                f"<td>{shown(figures[name][key], form)}</td>" for _, key, form in COLUMNS
            )
            kind = "model" if name == "model" else "other"
            rows += f'<tr class="{kind}"><td>{escape(first)}</td>{cells}</tr>'
    head = "".join(f"<th>{column}</th>" for column, _, _ in COLUMNS)
    return (
        f'<div class="table"><table><thead><tr><th>{escape(report["freqaimodel"])}, bold</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="quiet">Sign: where T ≠ 0. Precision and recall: entries beyond '
        f"±{report['threshold_buy']:g} label scales. Slope: of T on T̂. RMSE: in label scales.</p>"
    )


def _window_table(report: dict[str, Any]) -> str:
    head = "<th>Window</th><th>Pair</th><th>R²</th><th>Corr.</th><th>Sign</th>"
    head += "<th>Predicted</th><th>R² val.</th><th>R² unseen</th><th>Epochs</th><th>Seconds</th>"
    rows = ""
    for window in report["windows"]:
        figures, training = window["model"], window["training"]
        cells = (
            window["pair"].split(":")[0],
            shown(figures["r2"], "{:.3f}"),
            shown(figures["correlation"], "{:.3f}"),
            shown(figures["sign_accuracy"], "{:.1%}"),
            shown(window["predicted"], "{:.1%}"),
            shown(training["validation_r2"], "{:.3f}"),
            shown(training["label_r2"], "{:.3f}"),
            shown(training["epochs"], "{:.0f}"),
            shown(training["seconds"], "{:.1f}"),
        )
        rows += f"<tr><td>{window['start'][:10]}</td>"
        rows += "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    return (
        f"<details><summary>All {len(report['windows'])} windows as a table</summary>"
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></details>"
    )
