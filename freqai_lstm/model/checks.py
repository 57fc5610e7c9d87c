"""Whether there is enough to learn from, and whether a model fits its strategy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.model.windows import TrainingSet


logger = logging.getLogger(__name__)

# With fewer training windows a pair gets no model; with fewer than the second number, a warning.
FEWEST_WINDOWS, FEW_WINDOWS = 20, 100


def check_rows(found: int, frame: pd.DataFrame, pair: str, freqai: Mapping[str, Any]) -> None:
    """Refuse a training whose rows with all features and labels are too few.

    :param frame: all training candles of the pair.
    :param freqai: the `freqai` block of the configuration.
    :raises OperationalException: says what to do.
    """
    if found < FEWEST_WINDOWS:
        raise OperationalException(
            f"{pair}: {found} of {len(frame)} training candles have all features and labels; at "
            f"least {FEWEST_WINDOWS} are needed. {remedy(frame, freqai)}"
        )


def check_windows(
    data: TrainingSet, frame: pd.DataFrame, pair: str, freqai: Mapping[str, Any]
) -> None:
    """Refuse a training with too few windows; warn where there are few, or none to validate on.

    :raises OperationalException: says what to do.
    """
    found = len(data.train_ends)
    if found < FEW_WINDOWS:
        line = (
            f"{pair}: {found} training windows of {freqai['conv_width']} consecutive candles in "
            f"{len(data.candles)} rows"
        )
        if found < FEWEST_WINDOWS:
            raise OperationalException(
                f"{line}; at least {FEWEST_WINDOWS} are needed. {remedy(frame, freqai)}"
            )
        logger.warning(f"{line}: so few teach little. {remedy(frame, freqai)}")
    if len(data.validation_ends) == 0:
        wanted = freqai.get("data_split_parameters", {}).get("test_size", 0.1) != 0
        mend = ": raise freqai.data_split_parameters.test_size." if wanted else " (test_size 0)."
        logger.log(
            logging.WARNING if wanted else logging.INFO,
            f"{pair}: no validation windows, so early stopping is off and all epochs run{mend}",
        )


def remedy(frame: pd.DataFrame, freqai: Mapping[str, Any]) -> str:
    """Say what to do about too few training candles: earlier candles, or other settings."""
    days = freqai.get("train_period_days", 0)
    first, last = frame["date"].iloc[0], frame["date"].iloc[-1]
    wanted = last - pd.Timedelta(days=days)
    if first > wanted + pd.Timedelta(days=1):
        return (
            f"Its candles begin at {first:%Y-%m-%d}; the {days} training days begin at "
            f"{wanted:%Y-%m-%d}. Download earlier ones, and the start-up candles of the longest "
            f"timeframe before them: freqtrade download-data --timerange {wanted:%Y%m%d}-"
            f"{first:%Y%m%d} --prepend."
        )
    return (
        "Raise freqai.train_period_days, lower freqai.conv_width, or look for missing candles, a "
        "feature or label that is always missing, and strict outlier settings."
    )


def check_columns(dk: FreqaiDataKitchen) -> None:
    """Refuse to predict from other features or labels than the model was trained on.

    :raises OperationalException: names the differences.
    """
    for what, now in (("feature", dk.training_features_list), ("label", dk.label_list)):
        then = dk.data.get("training_features_list" if what == "feature" else "label_list")
        if then is None or list(then) == list(now):
            continue
        new, missing = sorted(set(now) - set(then)), sorted(set(then) - set(now))
        how = f"new: {new[:5]}, missing: {missing[:5]}" if new or missing else "another order"
        raise OperationalException(
            f"{dk.pair}: the strategy's {what}s are not those the model was trained on ({how}). "
            f"Choose a new freqai.identifier to train anew, or restore the {what}s."
        )
