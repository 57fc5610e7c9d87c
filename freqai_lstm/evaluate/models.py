"""Several runs in one table: a row for each model, with the spread over its seeds.

Every figure is that of the same candles. A model's runs differ in their seed, say; their spread
tells how far two models must be apart before the difference means something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from freqai_lstm.evaluate.intervals import SKILLS
from freqai_lstm.evaluate.trades import AFTER_FEES
from freqai_lstm.evaluate.words import compared


OWN = "model"  # the name that further seeds of the evaluated model are given by


def by_model(report: Mapping[str, Any], runs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the table's rows, the evaluated model first.

    :param report: from `report.build_report`: its targets and trades.
    :param runs: column of another run → name of its model.
    :return: name; runs, how many; targets: target → skill → mean and std over the runs; trades:
        profit, drawdown and sharpe → mean and std, or null without results of all its runs.
    """
    columns: dict[str, list[str]] = {OWN: [OWN]}
    for column, name in runs.items():
        columns.setdefault(name, []).append(column)
    columns |= {name: [name] for name in compared(report) if name not in runs}
    costs = (report["trades"] or {}).get("costs", {})
    return [
        {
            "name": name,
            "runs": len(of),
            "targets": {
                target: {
                    skill: _spread([found["mean"][column][skill]["value"] for column in of])
                    for skill in SKILLS
                }
                for target, found in report["targets"].items()
                if set(of) <= set(found["mean"])
            },
            "trades": _trades([costs.get(AFTER_FEES if one == OWN else one) for one in of]),
        }
        for name, of in columns.items()
    ]


def _trades(found: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [of for of in found if of is not None]
    if len(known) < len(found):
        return None
    return {
        "profit": _spread([of["profit"] for of in known]),
        "drawdown": _spread([of["drawdown"] for of in known]),
        "sharpe": _spread([of["sharpe"]["value"] for of in known]),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float]:
    numbers = np.array([np.nan if value is None else value for value in values], dtype=float)
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else float("nan")
    return {"mean": float(numbers.mean()), "std": deviation}
