"""What `rehearse --fault` breaks after half the time, and how soon the alarm says so.

`regime`: returns of all candles become three times as large. `feature`: every feature stays at its
last value, as a data source does that has died. Both begin at the same candle for all pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd


FaultName = Literal["regime", "feature"]
STRATEGY = "FaultyStrategy"
# Days between false alarms of a rehearsal's candles of one minute.
LIMITS = {"warn": 1 / 96, "stop": 1 / 48}
SCALE = 3.0
_ALARM = re.compile(r"(\S+/\S+): alarm \w+ -> (warn|stop) at (\d{4}-\d\d-\d\d \d\d:\d\d)")
_SOURCE = '''"""ScoreStrategy whose features stay as they are from a candle on."""

import pandas as pd

from ScoreStrategy import ScoreStrategy


class FaultyStrategy(ScoreStrategy):
    """Repeats the last features before the fault."""

    def feature_engineering_standard(self, dataframe, metadata, **kwargs):
        dataframe = super().feature_engineering_standard(dataframe, metadata, **kwargs)
        broken = dataframe["date"] >= pd.Timestamp({since}, unit="s", tz="UTC")
        features = [name for name in dataframe if name.startswith("%")]
        dataframe[features] = dataframe[features].mask(broken).ffill()
        return dataframe
'''


def break_features(strategies: Path, since: int) -> None:
    """Write a strategy whose features stop at a time, in seconds since 1970."""
    path = strategies / f"{STRATEGY}.py"
    path.write_text(_SOURCE.replace("{since}", str(since)), encoding="utf-8")
    parameters = (strategies / "ScoreStrategy.json").read_text(encoding="utf-8")
    path.with_suffix(".json").write_text(parameters.replace("ScoreStrategy", STRATEGY))


def change_regime(market: Path, left: int) -> None:
    """Make returns of the last candles of each pair larger.

    :param market: a folder of candles.
    :param left: how many candles at the end.
    """
    for file in sorted(market.rglob("*-1h-*.feather")):
        frame = pd.read_feather(file)
        if "volume" not in frame or len(frame) <= left:
            continue
        start = len(frame) - left
        close = frame["close"].to_numpy("float64")
        before = close[start - 1 : -1]
        path = np.exp(SCALE * np.cumsum(np.log(close[start:] / before)))
        base = np.concatenate([[1.0], path[:-1]]) * close[start - 1]
        for name in ("open", "high", "low", "close"):
            ratio = frame[name].to_numpy("float64")[start:] / before
            frame.loc[frame.index[start:], name] = base * ratio**SCALE
        frame.to_feather(file)


def alarms(records: Sequence[str], pairs: Sequence[str], since: float) -> dict[str, Any]:
    """After how many candles of a minute each pair warned and stopped.

    :param records: the bot's log.
    :param since: when the fault began, in seconds since 1970.
    :return: pair → warn and stop in candles, None where there was none; and `before`, the alarms
        before the fault.
    """
    found: dict[str, Any] = {pair: {"warn": None, "stop": None} for pair in pairs}
    before = 0
    for record in records:
        for pair, state, when in _ALARM.findall(" ".join(record.split())):
            candles = int((pd.Timestamp(when, tz="UTC").timestamp() - since) // 60) + 1
            if candles < 1:
                before += 1
            elif pair in found and found[pair][state] is None:
                found[pair][state] = candles
    return found | {"before": before}
