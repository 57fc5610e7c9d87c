"""What a search says at its end.

Keys of `report.json`: study, generated; metric, and scored, which says what it is of; searched and
held_out (windows, start, end); trials (complete, pruned, failed, interrupted); best and defaults
(trial, score, parameters, held_out: score, parts, predicted); better and difference (null where
they are not known) and text: best against defaults on the held-out windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from freqai_lstm.evaluate.intervals import BETTER
from freqai_lstm.tune.score import Metric
from freqai_lstm.tune.search import ENDED, Search, failed, shown
from freqai_lstm.tune.trial import Window


HORIZONS = (
    "The horizon was searched. Scores of different horizons do not compare: a near one is easier, "
    "and the search favours it. Both columns of the held-out windows have the best trial's."
)


def build_report(
    search: Search, study: optuna.Study, held_out: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what the search found; keys as in the module's docstring.

    :param held_out: from `Search.compare`; empty where nothing was held out.
    """
    defaults = search.defaults
    trials, best = study.get_trials(deepcopy=False), study.best_trial
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    first = next((trial for trial in complete if trial.params == defaults), None)
    states, errors = Counter(trial.state for trial in trials), sum(map(failed, trials))
    return {
        "study": study.study_name,
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "metric": search.walk.metric,
        "scored": _scored(search),
        "searched": _span(search.searched),
        "held_out": _span(search.held_out),
        "trials": {
            "complete": states[TrialState.COMPLETE],
            "pruned": states[TrialState.PRUNED],
            "failed": errors,
            "interrupted": states[TrialState.FAIL] - errors,
        },
        "best": {
            "trial": best.number,
            "score": best.value,
            "parameters": best.params,
            "held_out": held_out.get("best"),
        },
        "defaults": {
            "trial": first.number if first else None,
            "score": first.value if first else None,
            "parameters": defaults,
            "held_out": held_out.get("defaults"),
        },
        **compare(held_out, is_default=best.params == defaults),
    }


def tries(report: Mapping[str, Any], study: optuna.Study) -> dict[str, Any]:
    """Note in `best.json` what `evaluate` deflates the Sharpe ratio of its backtest by.

    :param report: from `build_report`.
    :return: `tuned`: study, start and end of the searched days, and sharpes, the annual ratio of
        every trial. Empty where trials have another score: then no ratio was chosen.
    """
    if report["metric"] != Metric.SHARPE:
        return {}
    span = {name: report["searched"][name] for name in ("start", "end")}
    ended = study.get_trials(deepcopy=False, states=ENDED)
    sharpes = [trial.value for trial in ended]
    return {"tuned": {"study": report["study"], **span, "sharpes": sharpes}}


def compare(held_out: Mapping[str, Any], *, is_default: bool) -> dict[str, Any]:
    """Say whether the best parameters are better than the defaults, where neither was chosen.

    :return: better, difference and text, as in the module's docstring.
    """
    if is_default:
        text = "No trial was better than the defaults on the searched windows: keep them."
        return {"better": False, "difference": None, "text": text}
    if not held_out:
        text = (
            "Nothing was held out, so whether these parameters are better than the defaults is not "
            "known: the best of many trials looks good on its own windows by luck alone."
        )
        return {"better": None, "difference": None, "text": text}
    found = {key: shown(value) for key, value in held_out["difference"].items()}
    better = found["word"] == BETTER
    text = (
        f"Best against defaults on the held-out windows: {found['word']}. "
        f"Scores {shown(held_out['best']['score'])} and {shown(held_out['defaults']['score'])}, "
        f"difference {found['value']}, 95 % interval {found['low']} to {found['high']} "
        "(it takes 8 days)."
    )
    return {
        "better": better,
        "difference": held_out["difference"]["value"],
        "text": text + ("" if better else " Keep the defaults."),
    }


def table_of(report: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Rows of name, value of the defaults, value of the best trial; empty names divide."""
    best, plain = report["best"], report["defaults"]
    rows = [(name, plain["parameters"][name], value) for name, value in best["parameters"].items()]
    rows += [("", "", ""), (f"Score, {_days(report['searched'])}", plain["score"], best["score"])]
    if best["held_out"]:
        a, b = plain["held_out"], best["held_out"]
        rows.append((f"Held out, {_days(report['held_out'])}", a["score"], b["score"]))
        rows += [(f"  {part}", a["parts"].get(part), value) for part, value in b["parts"].items()]
        if b["predicted"] is not None:
            rows.append(("  share of candles predicted", a["predicted"], b["predicted"]))
    return rows


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print parameters, scores on both ranges, and the comparison."""
    best = report["best"]
    table = Table("", "Defaults", f"Trial {best['trial']}", title=f"Study {report['study']}")
    for name, *values in table_of(report):
        if name:
            table.add_row(name, *map(shown, values))
        else:
            table.add_section()
    console.print(table, soft_wrap=False)
    counts = ", ".join(f"{count} {name}" for name, count in report["trials"].items())
    console.print(f"Trials: {counts}. Score: {report['scored']}.")
    if "label_period_candles" in best["parameters"]:
        console.print(HORIZONS)
    style = "green" if report["better"] else "yellow"
    panel = Panel(report["text"], title="Best trial against defaults", border_style=style)
    console.print(panel, soft_wrap=False)


def _scored(search: Search) -> str:
    if search.walk.metric is Metric.SHARPE:
        return "Sharpe ratio of a year, from the daily results of the trades"
    of = ", ".join(search.walk.labels) or ("T" if search.setup.score else "all labels")
    return f"{search.walk.metric} of {of}, mean over the pairs"


def _span(windows: Sequence[Window]) -> dict[str, Any] | None:
    if not windows:
        return None
    start, end = (f"{datetime.fromtimestamp(s, UTC):%F}" for s in (windows[0][0], windows[-1][1]))
    return {"windows": len(windows), "start": start, "end": end}


def _days(span: Mapping[str, str]) -> str:
    return f"{span['start']} to {span['end']}"
