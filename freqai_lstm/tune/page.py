"""The search as one HTML file that opens offline: held-out table, history, importance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from markupsafe import Markup
from optuna.trial import TrialState
from optuna.visualization import plot_optimization_history, plot_param_importances

from freqai_lstm.evaluate.charts import styled
from freqai_lstm.evaluate.template import write_template
from freqai_lstm.tune.report import HORIZONS, table_of
from freqai_lstm.tune.search import shown


# Fewer trials, or trials of one score, say nothing about which parameter matters.
FEWEST_TRIALS = 4


def write_page(path: Path, report: Mapping[str, Any], study: optuna.Study) -> None:
    """Write the page.

    :param report: from `build_report`.
    """
    write_template(
        path,
        "tune/page.html.j2",
        report=report,
        rows=table_of(report),
        charts={name: Markup(_drawn(chart)) for name, chart in charts(study).items()},
        horizons=HORIZONS if "label_period_candles" in report["best"]["parameters"] else "",
        shown=shown,
    )


def charts(study: optuna.Study) -> dict[str, go.Figure]:
    """Title → Optuna's own chart; the importance only where trials can tell it."""
    found = {"Score of every trial": plot_optimization_history(study)}
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) >= FEWEST_TRIALS and len({trial.value for trial in complete}) > 1:
        found["Importance of the parameters"] = plot_param_importances(study)
    for chart in found.values():
        # A colour that is readable on white and on black.
        styled(chart, 380, title=None, font_color="#7a8696")
        chart.update_xaxes(gridcolor="rgba(128,128,128,.25)")
        chart.update_yaxes(title=None, gridcolor="rgba(128,128,128,.25)")
    return found


def _drawn(chart: go.Figure) -> str:
    options = {"displayModeBar": False, "responsive": True}
    return str(chart.to_html(full_html=False, include_plotlyjs=False, config=options))
