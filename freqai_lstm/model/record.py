"""What a model learned from, so that nothing else uses it unnoticed.

FreqAI finds models and predictions by `identifier` alone and would reuse them whatever else
changed. With each model a sample of its newest rows is kept, and compared with the same candles'
rows of now: that sees every change that matters, wherever it was made, and none that does not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.constants import Config
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.parameters import KEY, LSTMParameters
from freqai_lstm.model.windows import seconds_of


logger = logging.getLogger(__name__)

# Raise it with every change of inputs, scaling, network or training that changes predictions.
MODEL_REVISION = 14
ROWS = 24  # the newest whose labels are known, and further ones: of both kinds so many
# From so many candles a sample is made anew: indicators with a memory need some.
SAMPLE_CANDLES = 1500
# Of a column's own spread in the sample: what rounding, and indicators that begin elsewhere, make.
TOLERANCE = 0.02
ALLOW_CHANGES = "allow_changed_fingerprint"

# What of the `freqai` block changes inputs or labels, with what freqtrade assumes without it.
_SETTINGS = {
    "conv_width": 1,
    "train_period_days": 0,
    "feature_parameters.DI_threshold": 0,
    "feature_parameters.principal_component_analysis": False,
    "feature_parameters.use_SVM_to_remove_outliers": False,
    "feature_parameters.use_DBSCAN_to_remove_outliers": False,
    "feature_parameters.noise_standard_deviation": 0,
    "feature_parameters.weight_factor": 0,
}
_NEUTRAL_PARAMETERS = {"device", "gpu_memory_limit_mb", "history_pairs"}


class ChangedSettings(OperationalException):
    """A saved model or prediction was made with something else."""


def settings_of(config: Config, parameters: LSTMParameters) -> dict[str, Any]:
    """List the settings that a training depends on, as JSON values by their dotted names."""
    features = config["freqai"].get("feature_parameters", {})
    given = config["freqai"] | {f"feature_parameters.{key}": features[key] for key in features}
    found: dict[str, Any] = {
        "model revision": MODEL_REVISION,
        "timeframe": config.get("timeframe"),
        "trading_mode": str(config.get("trading_mode", "spot")),
    }
    found |= {f"freqai.{key}": given.get(key, default) for key, default in _SETTINGS.items()}
    chosen = parameters.model_dump(exclude=_NEUTRAL_PARAMETERS)
    return found | {f"{KEY}.{name}": value for name, value in chosen.items()}


def record(settings: dict[str, Any], frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """Keep what a model learned from: settings, and a sample of rows.

    What depends on the newest candle is left out: an exchange may still correct it.

    :param frame: training candles with features and labels.
    :param columns: features and labels.
    """
    labels = [column for column in columns if column.startswith("&")]
    known = frame.dropna(subset=labels, how="any")
    sample = pd.concat([known.tail(ROWS), frame.tail(ROWS)])
    sample = sample.drop_duplicates("date").sort_values("date")
    sample = sample[sample["date"] != frame["date"].iloc[-1]]
    values = {
        column: [_json(value) for value in sample[column].to_numpy(dtype=float)]
        for column in columns
    }
    for label in labels:
        for row in np.flatnonzero(sample.index == frame[label].last_valid_index()):
            values[label][row] = None
    return {"settings": settings, "dates": seconds_of(sample["date"]).tolist(), "values": values}


def changes(then: Mapping[str, Any], settings: Mapping[str, Any], frame: pd.DataFrame) -> list[str]:
    """Compare a record with the settings and rows of now.

    :param frame: candles with features and labels, those of the record among them; candles that it
        does not have are not compared.
    :return: a line for each difference, empty where the model fits.
    """
    old = then.get("settings", {})
    found = [
        f"{key}: {old.get(key, 'not set')!r} -> {settings.get(key, 'not set')!r}"
        for key in sorted(old.keys() | settings.keys())
        if old.get(key) != settings.get(key)
    ]
    _, rows, same = np.intersect1d(
        np.asarray(then["dates"], np.int64), seconds_of(frame["date"]), return_indices=True
    )
    if len(rows) == 0:
        return found
    for column, values in then["values"].items():
        if column not in frame:
            found.append(f"{column} is not there any more")
            continue
        was = np.array([np.nan if value is None else value for value in values], dtype=float)[rows]
        now = frame[column].to_numpy(dtype=float)[same]
        comparable = np.isfinite(was) & np.isfinite(now)
        # Labels of the newest candles become known later.
        if column[0] != "&" and (np.isfinite(was) != np.isfinite(now)).mean() > 0.5:
            found.append(f"{column} is missing where it was there, or the other way round")
            continue
        if not comparable.any():
            continue
        was, now, place = was[comparable], now[comparable], same[comparable]
        # A cumulative sum (OBV) begins at the frame's first candle: its height means nothing.
        moved = (now - was) - np.median(now - was) if len(was) > 4 else now - was
        spread = max(float(np.ptp(was)), 1e-6 * float(np.abs(was).max()), 1e-12)
        if np.ptp(was) == 0 and np.ptp(now) == 0:
            moved = now - was
            spread = max(float(np.abs(was).max()), 1e-12)
        worst = int(np.abs(moved).argmax())
        if abs(moved[worst]) > TOLERANCE * spread:
            when = pd.Timestamp(frame["date"].iloc[place[worst]])
            found.append(
                f"{column} of {when:%Y-%m-%d %H:%M} was {was[worst]:.6g}, now {now[worst]:.6g}"
            )
    return found


def refuse(where: str, found: list[str], *, allow_changes: bool) -> None:
    """Refuse a model that does not fit, or warn where the user allows it.

    :raises ChangedSettings: names what changed.
    """
    if not found:
        return
    more = f"\n  - and {len(found) - 12} more" if len(found) > 12 else ""
    listed = "".join(f"\n  - {change}" for change in found[:12]) + more
    if not allow_changes:
        raise ChangedSettings(
            f"{where} was made with something else. Changed:{listed}\nChoose a new "
            "freqai.identifier to train anew, or take the change back. "
            f"(freqai.{ALLOW_CHANGES}: true uses what is saved all the same.)"
        )
    logger.warning(
        f"{where} was made with something else, and freqai.{ALLOW_CHANGES} is true: it is used all "
        f"the same. Changed:{listed}"
    )


def _json(value: float) -> float | None:
    return float(f"{value:.9g}") if np.isfinite(value) else None
