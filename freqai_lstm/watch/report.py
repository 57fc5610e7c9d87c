"""All that `watch` finds as one dictionary: what the JSON file holds, and page and screen show.

* identifier, strategy, timeframe, generated, from, to: what was looked at, and when.
* level: good, warn or stop; reasons: sentences, those to stop first; notes: what could not be told.
* promise: the identifier of the backtest, or null.
* spans: as from `scorecard`; alarm: as from `scorecard.alarm`; drift, health, trades: as from the
  modules of these names.

Figures that are not defined are null.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.evaluate.data import read_predictions, saved_timerange
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.setup import EvaluationFailed, Setup, load_setup
from freqai_lstm.model.alarm import Limits
from freqai_lstm.watch.drift import LISTED, drift
from freqai_lstm.watch.health import complaints, health
from freqai_lstm.watch.history import live_history, live_predictions
from freqai_lstm.watch.regression import add_regression
from freqai_lstm.watch.scorecard import alarm, broken_promises, scorecard
from freqai_lstm.watch.trades import database, live_trades


# The exit code of the command.
LEVELS = {"good": 0, "warn": 1, "stop": 2}


def watch_once(
    config: dict[str, Any],
    scratch: Path,
    *,
    backtest: str | None = None,
    db_url: str | None = None,
    log: Path | None = None,
) -> dict[str, Any]:
    """Measure what a bot has left until now; keys as in the module's docstring.

    :param config: from `evaluate.setup.load_config`.
    :param scratch: an empty folder for what FreqAI's classes write.
    :param backtest: identifier of the backtest that promised; default: the bot's own.
    :raises EvaluationFailed: see the message.
    """
    saved, step = live_history(config), timeframe_to_seconds(config["timeframe"])
    first = min(frame["date"].iloc[0] for frame in saved.values())
    last = max(frame["date"].iloc[-1] for frame in saved.values())
    config["timerange"] = f"{int(first.timestamp())}-{int(last.timestamp()) + step}"
    setup = load_setup(config)
    live, notes = live_predictions(setup, saved)
    then = _backtest(config, backtest)
    if then is None:
        notes.append(
            "No backtest under this identifier tells what to expect. Backtest the same "
            "configuration under another one, and name it with --backtest."
        )
    promised = read_predictions(then) if then else None
    features = Features(setup, scratch)
    notes += add_regression(features, live)
    spans = scorecard(live, promised)
    tested = alarm(live, Limits.read(config["freqai"].get("watch", {})), step)
    moved, work = drift(features, live), health(setup, live, log)
    if not moved:
        notes.append(
            "Drift is told once there are 24 candles of predictions and, before them on "
            "disk, the candles of train_period_days."
        )
    stop, warn = complaints(work, config["freqai"])
    if tested["state"] != "good":
        text = (
            f"The model is worse than the mean of its training labels, or its intervals miss: "
            f"evidence {tested['evidence'][-1]:.0f}, {tested[tested['state']]:.0f} is the limit"
        )
        (stop if tested["state"] == "stop" else warn).append(text)
    warn += broken_promises(spans, len(live.candles))
    for pair, rows in moved.items():
        far = [row["feature"] for row in rows if row["far"]]
        if far:
            more = f" and {len(far) - LISTED} more" if len(far) > LISTED else ""
            warn.append(f"{pair}: unlike the training are {', '.join(far[:LISTED])}{more}")
    return {
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "identifier": str(config["freqai"]["identifier"]),
        "strategy": config["strategy"],
        "timeframe": config["timeframe"],
        "from": first.isoformat(),
        "to": last.isoformat(),
        "level": "stop" if stop else "warn" if warn else "good",
        "reasons": [*stop, *warn],
        "notes": notes,
        "promise": str(then.config["freqai"]["identifier"]) if then else None,
        "spans": spans,
        "alarm": tested,
        "drift": {pair: rows[:LISTED] for pair, rows in moved.items()},
        "health": work,
        "trades": live_trades(setup, live, database(setup, db_url), then),
    }


def _backtest(config: dict[str, Any], identifier: str | None) -> Setup | None:
    """The backtest that promised; None where the bot's own identifier has none."""
    theirs = copy.copy(config)
    theirs["freqai"] = copy.deepcopy(config["freqai"])
    if identifier:
        theirs["freqai"]["identifier"] = identifier
    try:
        theirs["timerange"] = saved_timerange(theirs)
    except EvaluationFailed:
        if identifier:
            raise
        return None
    return load_setup(theirs)
