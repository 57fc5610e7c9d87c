"""What a search shows while it runs, and what it says at its end.

Keys of `report.json`: study, generated; searched and held_out (windows, first and last day); score
(what it is); trials (complete, pruned, failed, taken_up_again); best and defaults (number of the
trial, score on the searched windows, parameters); holdout (best and defaults: score, pairs,
predicted); verdict (beats, headline, detail); per_horizon; notes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from freqai_lstm.evaluate.report import MARGIN
from freqai_lstm.tune.study import finished
from freqai_lstm.tune.trial import Span


SCORE = (
    "mean over the pairs of the correlation of T̂ with T, out of sample; a candle without a "
    "prediction counts as T̂ = 0"
)


class Watch:
    """The study in the terminal: a line for each trial that ended, a bar, the time left."""

    def __init__(
        self, study: optuna.Study, total: int, windows: int, console: Console, progress: Progress
    ) -> None:
        self.study, self.total, self.windows = study, total, windows
        self.console, self.progress = console, progress
        self.told = {trial.number for trial in finished(study)}
        self.task: TaskID = progress.add_task("Trials", total=total, left="")
        if self.told:
            console.print(f"Going on: {len(self.told)} of {total} trials are done.")
        self.update()

    def update(self) -> None:
        """Look at the study and show what is new, also of other workers."""
        done = finished(self.study)
        left = time_left(self.study.get_trials(deepcopy=False), self.total, self.windows)
        about = f"about {timedelta(seconds=round(left))} left" if left is not None else ""
        for trial in done:
            if trial.number not in self.told:
                self.told.add(trial.number)
                line = describe(trial)
                if not self.console.is_terminal:  # where the bar is not seen, a log file say
                    line += f"  ({len(done)} of {self.total} done, {about})"
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        running = [
            f"trial {trial.number}: window {len(trial.intermediate_values) + 1}/{self.windows}"
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]
        self.progress.update(self.task, completed=len(done), left=" · ".join([*running[:3], about]))


def progress_bar(console: Console) -> Progress:
    """A bar with trials done of all, what runs, and the time left."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TextColumn("{task.fields[left]}"), console=console)


def time_left(trials: Sequence[FrozenTrial], total: int, windows: int) -> float | None:
    """Seconds until `total` trials are done, if those to come take what those so far took.

    Trials run side by side as many as do now. None while no window is done.
    """
    now = datetime.now()
    over = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    running = [t for t in trials if t.state == TrialState.RUNNING and t.datetime_start]
    spent = [(now - t.datetime_start).total_seconds() for t in running if t.datetime_start]
    lengths = [t.duration.total_seconds() for t in over if t.duration is not None]
    if not lengths:
        lengths = [
            seconds * windows / len(t.intermediate_values)
            for t, seconds in zip(running, spent, strict=True)
            if t.intermediate_values
        ]
    if not lengths:
        return None
    each = sum(lengths) / len(lengths)
    failed = sum("error" in t.user_attrs for t in trials)
    work = (total - len(over) - failed) * each - sum(min(seconds, each) for seconds in spent)
    return max(0.0, work / max(1, len(running)))


def describe(trial: FrozenTrial) -> str:
    """One trial that ended, in a line."""
    if "error" in trial.user_attrs:
        lines = trial.user_attrs["error"].strip().splitlines() or ["without a message"]
        return f"Trial {trial.number} failed: {lines[-1]}"
    if "role" in trial.user_attrs:
        return f"Held out, {trial.user_attrs['role']}: {shown(trial.value)}"
    values = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
    how = "" if trial.state == TrialState.COMPLETE else " (pruned)"
    return f"Trial {trial.number}: {shown(trial.value)}{how}  {values}"


def shown(value: Any) -> str:
    """A number with three digits that matter, or the text itself; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def build_report(
    study: optuna.Study,
    searched: Sequence[Span],
    held_out: Sequence[Span],
    configured: Mapping[str, Any],
    holdout: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything the search found; keys as in the module's docstring.

    :param configured: the searched parameters as the configuration has them.
    :param holdout: "best" and "defaults" → score, pairs, predicted, on the held-out windows.
    """
    trials, best = study.get_trials(deepcopy=False), study.best_trial
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    mine = next((t for t in complete if t.user_attrs.get("defaults")), None)
    notes = [] if mine else ["The defaults have no score on the searched windows."]
    per_horizon: dict[str, Any] = {}
    if "label_period_candles" in best.params:
        for trial in sorted(complete, key=lambda t: t.value or 0.0):
            per_horizon[str(trial.params["label_period_candles"])] = trial.value
        notes.append(
            "The horizon was searched. Scores of different horizons answer different questions, a "
            "near one is easier: the search favours it. On the held-out windows the defaults are "
            "run with the best trial's horizon."
        )
    return {
        "study": study.study_name,
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "searched": _days(searched),
        "held_out": _days(held_out) if held_out else None,
        "score": SCORE,
        "trials": {
            "complete": len(complete),
            "pruned": sum(t.state == TrialState.PRUNED for t in trials),
            "failed": sum("error" in t.user_attrs for t in trials),
            "taken_up_again": sum("failed_trial" in t.system_attrs for t in trials),
        },
        "best": {"trial": best.number, "score": best.value, "parameters": best.params},
        "defaults": {
            "trial": mine.number if mine else None,
            "score": mine.value if mine else None,
            "parameters": dict(configured),
        },
        "holdout": dict(holdout),
        "verdict": verdict(holdout, is_default=best.params == dict(configured)),
        "per_horizon": per_horizon,
        "notes": notes,
    }


def verdict(holdout: Mapping[str, Mapping[str, Any]], *, is_default: bool) -> dict[str, Any]:
    """Whether the best parameters beat the defaults on candles that the search never saw.

    :return: beats (None where nothing was held out), headline and detail for people.
    """
    if is_default:
        return {
            "beats": False,
            "headline": "No trial was better than the defaults: keep them.",
            "detail": "The best trial on the searched windows has the configured parameters.",
        }
    if not holdout:
        return {
            "beats": None,
            "headline": "Nothing was held out: whether this beats the defaults is not known.",
            "detail": "The best of many trials looks good on the windows it was chosen on by luck "
            "alone. Search again with --holdout-days.",
        }
    best, plain = holdout["best"]["score"], holdout["defaults"]["score"]
    detail = f"Held out: best {best:.3f}, defaults {plain:.3f}, difference {best - plain:+.3f}."
    if best - plain > MARGIN:
        headline = "The best trial beats the defaults on the held-out windows."
    else:
        headline = "The best trial does not beat the defaults on the held-out windows."
        detail += f" Up to {MARGIN} is no difference." if best > plain else ""
    return {"beats": best - plain > MARGIN, "headline": headline, "detail": detail}


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Parameters, scores on both ranges, and the verdict."""
    best, plain, holdout = report["best"], report["defaults"], report["holdout"]
    table = Table("", "Defaults", f"Trial {best['trial']}", title=f"Best of {report['study']}")
    for name, value in best["parameters"].items():
        table.add_row(name, shown(plain["parameters"][name]), shown(value))
    table.add_section()
    table.add_row(
        f"Score, {report['searched']['text']}", shown(plain["score"]), shown(best["score"])
    )
    if holdout:
        a, b = holdout["defaults"], holdout["best"]
        table.add_row(
            f"Held out, {report['held_out']['text']}", shown(a["score"]), shown(b["score"])
        )
        for pair in b["pairs"]:
            table.add_row(f"  {pair}", shown(a["pairs"].get(pair)), shown(b["pairs"][pair]))
        table.add_row("  candles predicted", f"{a['predicted']:.1%}", f"{b['predicted']:.1%}")
    console.print(table)
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in report["trials"].items())
    console.print(f"Trials: {counts}. Score: {report['score']}.", highlight=False)
    for horizon, score in report["per_horizon"].items():
        console.print(f"Best at horizon {horizon}: {shown(score)}", highlight=False)
    for note in report["notes"]:
        console.print(f"Note: {note}", markup=False, highlight=False)
    found = report["verdict"]
    style = {True: "green", False: "yellow", None: "yellow"}[found["beats"]]
    text = f"{found['headline']}\n{found['detail']}"
    console.print(Panel(text, title="Worth it?", border_style=style))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole: several workers may write the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _days(windows: Sequence[Span]) -> dict[str, Any]:
    first, last = (datetime.fromtimestamp(s, UTC) for s in (windows[0][0], windows[-1][1]))
    text = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return {
        "windows": len(windows),
        "start": first.isoformat(),
        "end": last.isoformat(),
        "text": text,
    }
