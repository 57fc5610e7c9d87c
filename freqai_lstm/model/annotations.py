"""What a chart of predictions is marked with: trainings, failed ones, and the alarm.

All of it is read off the columns of `quality.py`, so a bot and a backtest, and a chart of last
month's candles, are marked alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.model.alarm import STATES
from freqai_lstm.model.quality import AGE, ALARM, FAILED, MODEL_AGE
from freqai_lstm.model.windows import seconds_of


HOUR = 3600
NETWORK, MODEL = "rgba(47, 111, 222, 0.45)", "rgba(127, 127, 127, 0.25)"
FAILURE = "rgba(148, 103, 189, 0.20)"
ALARMS = {"warn": "rgba(255, 165, 0, 0.20)", "stop": "rgba(214, 39, 40, 0.20)"}


def chart_areas(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return areas as freqtrade's `plot_annotations` wants them, in the order of their start.

    An area of one candle is where a network, or a pair's model, begins to serve. Longer ones are
    where a training has failed and none has succeeded since, and where the alarm stands.

    :param frame: what the strategy gets, in time order; without the columns of the model there is
        nothing to mark.
    """
    if len(frame) < 2 or not {AGE, MODEL_AGE, ALARM, FAILED} <= {*frame}:
        return []
    seconds = seconds_of(frame["date"])
    opens = pd.to_datetime(np.append(seconds, 2 * seconds[-1] - seconds[-2]), unit="s", utc=True)
    network, model = _begins(frame[AGE], seconds), _begins(frame[MODEL_AGE], seconds)
    alarm = frame[ALARM].to_numpy(dtype=float)
    found = _areas(opens, model & ~network, "model", MODEL)
    found += _areas(opens, network, "network", NETWORK)
    found += _areas(opens, frame[FAILED].to_numpy(dtype=float) > 0, "training failed", FAILURE)
    for state, color in ALARMS.items():
        found += _areas(opens, alarm == STATES.index(state), f"alarm: {state}", color)
    return sorted(found, key=lambda area: area["start"])


def _begins(hours: pd.Series, seconds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where another one serves than on the last candle with any; where the first one is new."""
    age = hours.to_numpy(dtype=float)
    known = np.flatnonzero(age > 0)
    learned = np.round(seconds[known] / HOUR - age[known], 3)
    begins = np.zeros(len(age), dtype=bool)
    if len(known):
        begins[known[1:]] = np.diff(learned) != 0
        begins[known[0]] = known[0] > 0 or age[0] * HOUR <= np.diff(seconds[:2])[0]
    return begins


def _areas(
    opens: pd.DatetimeIndex, marked: NDArray[np.bool_], label: str, color: str
) -> list[dict[str, Any]]:
    """One area for each run of marked candles, to the open of the candle after it.

    :param opens: of the candles, and of the one after the last.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [
        {
            "type": "area",
            "start": opens[start].to_pydatetime(),
            "end": opens[end].to_pydatetime(),
            "label": label,
            "color": color,
        }
        for start, end in edges.reshape(-1, 2)
    ]
