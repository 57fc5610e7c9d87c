"""What predictions rest on: grouped permutation importance, and how far back the network looks.

A group is moved in time against everything else, round and round over the candles that the model
was not trained on, so that it keeps its own course and loses its tie to the label. How much R² is
lost is its importance (Breiman 2001; grouped as by Gregorutti et al. 2015): columns that stand for
each other are only seen where they move together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.evaluate.data import Predictions, Window
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.setup import Setup
from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.prediction import with_past
from freqai_lstm.model.shared_network import assemble
from freqai_lstm.model.storage import Damaged, SavedModel, read_model
from freqai_lstm.model.windows import (
    SUMMARIES,
    CandleInputs,
    Numbers,
    Rows,
    candle_numbers,
    memory,
    numeric,
    window_ends,
)


REPEATS, SEED = 8, 1
MOST = 4  # windows that are looked at: the newest of a pair each
BLOCK = 24  # neighbouring windows whose errors count as one
CANDLES, CALENDAR, NETWORK = "candles", "calendar", "the network"
_FEATURE = re.compile(r"^%+-?(.+?)(?:-period_\d+)?(?:_shift-\d+)?(?:_[^_]+/\S+_\w+)?$")


def explain(
    setup: Setup, found: Predictions, features: Features, notes: list[str]
) -> dict[str, Any] | None:
    """Importance by label and group, and attention by lag, mean over the newest windows.

    :param notes: what the reader should know is added.
    :return: importance: label → group → value and error, in R², largest first; attention: share of
        the network's attention by lag, the newest candle first, or null; windows. None where no
        model of this package is on disk.
    """
    newest = {window.pair: window for window in found.windows}
    tables, attentions = [], []
    for window in list(newest.values())[:MOST]:
        path = setup.folder / window.folder / f"{window.name}_model.npz"
        if not path.is_file():
            continue
        try:
            saved = read_model(path)
        except Damaged as damage:
            notes.append(f"Nothing is said of what {path.name} rests on, it is damaged: {damage}.")
            continue
        table, attention = _window(setup, window, saved, found, features)
        tables.append(table)
        if attention is not None:
            attentions.append(attention)
    tables = [table for table in tables if len(table)]
    if not tables:
        return None
    count = len(tables)
    means = pd.concat(tables).groupby(["label", "group"])
    value, error = means["value"].mean(), np.sqrt(means["error"].apply(lambda e: (e**2).sum()))
    table = pd.DataFrame({"value": value, "error": error / count})
    table = table.sort_values("value", ascending=False)
    by_label: dict[str, dict[str, Any]] = {}
    for row in table.reset_index().to_dict("records"):
        of_group = {"value": row["value"], "error": row["error"]}
        by_label.setdefault(row["label"], {})[row["group"]] = of_group
    attention = np.mean(attentions, axis=0).tolist() if attentions else None
    return {"importance": by_label, "attention": attention, "windows": count}


def _window(
    setup: Setup, window: Window, saved: SavedModel, found: Predictions, features: Features
) -> tuple[pd.DataFrame, Numbers | None]:
    frame, names = features.predicted(window), saved.model.features
    labels = setup.labels(frame, window.pair)[list(saved.model.space.names)]
    seconds = timeframe_to_seconds(setup.config["timeframe"])
    conv_width = setup.config["freqai"]["conv_width"]
    past = found.candles[window.pair].reset_index(drop=True)
    numbers = candle_numbers(frame["date"], seconds)
    whole = with_past(frame, past, memory(conv_width))
    inputs = CandleInputs.of(whole, seconds).take(numbers)
    values = frame[names].to_numpy(float)
    valid = np.isfinite(values).all(axis=1) & inputs.valid
    scaled, _, _ = saved.feature_pipeline.transform(
        pd.DataFrame(np.nan_to_num(values), columns=names), outlier_check=True
    )
    ends = window_ends(inputs.numbers, valid, conv_width)
    actual = saved.model.space.learned(labels.to_numpy(float)[ends], frame.iloc[ends])
    table = importance(saved.model, window.pair, frame, inputs, scaled.to_numpy(), ends, actual)
    return table, attention_by_lag(saved.model, window.pair, frame, inputs, ends)


def importance(
    model: PairModel,
    pair: str,
    frame: pd.DataFrame,
    inputs: CandleInputs,
    scaled: Numbers,
    ends: Rows,
    actual: Numbers,
) -> pd.DataFrame:
    """Measure how much R² each group is worth on windows that the model has not seen.

    :param frame: candles with features; `inputs` and `scaled`, as they leave the feature pipeline,
        are of the same rows.
    :param ends: last row of each window.
    :param actual: learned values of the labels, shape (windows, labels), NaN where unknown.
    :return: label, group, value (the loss of R²) and error (its standard error).
    """
    rng = np.random.default_rng(SEED)

    names = [str(name) for name in frame if "%" in str(name)]

    def predict(
        frame: pd.DataFrame, inputs: CandleInputs, scaled: Numbers, model: PairModel = model
    ) -> Numbers:
        columns = model.columns(inputs, ends, scaled[ends])
        features = model.network_features(numeric(frame, names), names, pair)
        return model.predict(inputs, ends, columns, features, model.references(frame, ends))

    whole = predict(frame, inputs, scaled)
    regression = predict(frame, inputs, scaled, replace(model, network=None))
    base, spread = (actual - whole) ** 2, np.nanvar(actual, axis=0)
    groups = feature_groups(model.features)
    rows = []
    for group in [*groups, CANDLES, CALENDAR, *([NETWORK] if model.network else [])]:
        losses = []
        for _ in range(REPEATS):
            offset = int(rng.integers(len(frame) // 4, max(3 * len(frame) // 4, 2)))
            order = np.roll(np.arange(len(frame)), offset)
            if group == NETWORK:
                moved = regression + np.roll(whole - regression, offset % len(ends), axis=0)
            elif group in groups:
                own = [model.features[place] for place in groups[group]]
                changed = frame.assign(**{n: frame[n].to_numpy()[order] for n in own})
                others = scaled.copy()
                others[:, groups[group]] = scaled[order][:, groups[group]]
                moved = predict(changed, inputs, others)
            else:
                moved = predict(frame, _inputs_moved(inputs, group, order), scaled)
            losses.append((actual - moved) ** 2 - base)
        loss = np.mean(losses, axis=0)  # (windows, labels)
        for column, label in enumerate(model.space.names):
            known = loss[np.isfinite(loss[:, column]), column]
            if len(known) < 2 * BLOCK or not spread[column] > 0:
                continue
            blocks = [part.mean() for part in np.array_split(known, len(known) // BLOCK)]
            error = float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))
            value, scale = float(known.mean()), float(spread[column])
            rows.append((label, group, value / scale, error / scale))
    return pd.DataFrame(rows, columns=["label", "group", "value", "error"])


def feature_groups(names: list[str]) -> Mapping[str, list[int]]:
    """Features by the user's own name: all periods, shifts, timeframes and pairs together."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        match = _FEATURE.match(name)
        groups.setdefault(match[1] if match else name, []).append(place)
    return groups


def _inputs_moved(inputs: CandleInputs, group: str, order: Rows) -> CandleInputs:
    """The summaries and what the windows read of the candles, or the calendar."""
    columns = inputs.columns.copy()
    if group == CALENDAR:
        columns[:, SUMMARIES:] = columns[order, SUMMARIES:]
        return replace(inputs, columns=columns)
    columns[:, :SUMMARIES] = columns[order, :SUMMARIES]
    return replace(inputs, columns=columns, levels=inputs.levels[order], logs=inputs.logs[order])


def attention_by_lag(
    model: PairModel, pair: str, frame: pd.DataFrame, inputs: CandleInputs, ends: Rows
) -> Numbers | None:
    """Mean share of the network's attention by lag, the newest candle first; sums to 1."""
    network, scales = model.network, model.scales
    if network is None or scales is None or not len(ends):
        return None
    read = scales.read(inputs, network.features_of(frame, pair))
    windows, _ = assemble(*read, ends, network.conv_width, network.in_windows)
    found = [forward.attention(windows) for forward in network.forwards]
    weights = np.mean(found, axis=0)  # (windows, conv_width, heads)
    return np.asarray(weights.mean(axis=(0, 2))[::-1], float)
