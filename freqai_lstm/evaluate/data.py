"""FreqAI's saved predictions, window by window, beside the labels that came about.

Predictions come from `backtesting_predictions/*.feather`, realised labels from the strategy's own
`set_freqai_targets` on all stored candles. Everything that follows works on one long frame, a row
per pair, target and candle; see `Predictions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.evaluate.scores import TARGET
from freqai_lstm.evaluate.setup import EvaluationFailed, Setup, load_candles, models_folder


RUN = "run "  # begins the column of another run's predictions
KEYS = ["pair", "start", "date", "target"]
# Places in the history at which it is tried how many candles later a label is settled.
CUTS, FARTHEST = 6, 1_000
RARELY = 0.05  # a label whose neighbours are equal more often repeats


@dataclass
class Window:
    """One training of one pair and the candles predicted with it.

    `start` is where the training data end and the predictions begin, in seconds since 1970, as in
    FreqAI's file names; `end` the first second after the last predicted candle. `report` is what
    the model noted about its training; empty for models that note nothing.
    """

    pair: str
    start: int
    end: int
    report: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """`cb_btc_1709251200`, the beginning of FreqAI's file names."""
        return f"cb_{self.pair.split('/')[0].lower()}_{self.start}"

    @property
    def folder(self) -> str:
        """`sub-train-BTC_1709251200`, below the identifier's folder."""
        return f"sub-train-{self.pair.split('/')[0]}_{self.start}"


@dataclass
class Predictions:
    """What was read.

    :param windows: in order of pair and time.
    :param rows: a row per pair, start (of the window), date and target. realised: the label the
        candle's prediction was for; model: the prediction; flat: the mean of the labels the model
        was trained on; persistence: the last label settled when the prediction is made; scale:
        standard deviation of the training labels; lower, upper: what the model says of
        its own doubt, NaN where it says nothing; all in the unit of the label; valid: do_predict
        is 1 and the prediction a number.
    :param look_ahead: target → candles after which its value is settled; 0 is a label of the same
        candle, None one that is not settled within a thousand candles, which has no persistence.
    :param candles: pair → all its stored candles, by date.
    """

    windows: list[Window]
    rows: pd.DataFrame
    look_ahead: dict[str, int | None]
    candles: dict[str, pd.DataFrame]

    @property
    def targets(self) -> list[str]:
        """The labels and, where the strategy has a score, T."""
        return list(self.look_ahead)


def prediction_files(folder: Path, pair: str) -> dict[int, Path]:
    """Saved predictions of a pair, by window start in seconds, in time order."""
    begin, end = f"cb_{pair.split('/')[0].lower()}_", "_prediction.feather"
    files = (folder / "backtesting_predictions").glob(f"{begin}*{end}")
    starts = {path.name.removeprefix(begin).removesuffix(end): path for path in files}
    return dict(sorted((int(start), path) for start, path in starts.items() if start.isdecimal()))


def saved_timerange(config: dict[str, Any]) -> str:
    """The `--timerange` that covers all saved predictions of the configured pairs.

    :raises EvaluationFailed: there are none.
    """
    pairs, folder = config["exchange"]["pair_whitelist"], models_folder(config)
    files = [path for pair in pairs for path in prediction_files(folder, pair).values()]
    if not files:
        raise EvaluationFailed(
            f"Expected saved predictions in {folder / 'backtesting_predictions'}, got none of "
            f"{', '.join(pairs)}. Run `freqtrade backtesting` first, or check --userdir and "
            "freqai.identifier."
        )
    dates = pd.concat([_read_file(path)["date"] for path in files])
    last = int(dates.max().timestamp()) + timeframe_to_seconds(config["timeframe"])
    return f"{int(dates.min().timestamp())}-{last}"


def missing_windows(setup: Setup, scratch: Path) -> list[str]:
    """Windows of the timerange that have candles and no predictions, as "PAIR from DATE"."""
    missing = []
    for pair in setup.pairs:
        kitchen = FreqaiDataKitchen(setup.scratch(scratch), False, pair)
        dates = load_candles(setup, pair)["date"]
        there = prediction_files(setup.folder, pair)
        for window in kitchen.backtesting_timeranges:
            inside = (dates >= window.startdt) & (dates < window.stopdt)
            if inside.any() and window.startts not in there:
                missing.append(f"{pair} from {window.startdt:%Y-%m-%d}")
    return missing


def read_predictions(setup: Setup) -> Predictions:
    """Read all saved predictions inside the timerange and put the realised labels beside them.

    :raises EvaluationFailed: no predictions, or predictions of something else.
    """
    limits = TimeRange.parse_timerange(setup.config["timerange"])
    saved: dict[str, dict[int, pd.DataFrame]] = {}
    for pair in setup.pairs:
        saved[pair] = {}
        for start, path in prediction_files(setup.folder, pair).items():
            predicted = _read_file(path)
            seconds = pd.DatetimeIndex(predicted["date"]).as_unit("s").asi8
            inside = (seconds >= limits.startts) & (seconds < (limits.stopts or np.inf))
            if inside.any():
                saved[pair][start] = predicted[inside]
    where = setup.folder / "backtesting_predictions"
    if not any(saved.values()):
        raise EvaluationFailed(
            f"Expected predictions of {', '.join(setup.pairs)} in {where} for "
            f"{setup.config['timerange']}, got none. Check --timerange, --userdir and "
            "freqai.identifier."
        )
    candles = {pair: load_candles(setup, pair) for pair in setup.pairs}
    found = beside_labels(setup, candles, saved, where)
    for window in found.windows:
        notes = setup.folder / window.folder / f"{window.name}_metadata.json"
        if notes.is_file():
            metadata = json.loads(notes.read_text(encoding="utf-8"))
            window.report = metadata.get("training_report") or {}
    return found


def beside_labels(
    setup: Setup,
    candles: Mapping[str, pd.DataFrame],
    saved: Mapping[str, Mapping[int, pd.DataFrame]],
    where: Path,
) -> Predictions:
    """Put realised labels beside predictions.

    :param candles: pair → all its candles, in time order.
    :param saved: pair → start of a window, in seconds → FreqAI's predictions with `date`.
    :param where: what they were read from, for the error.
    :raises EvaluationFailed: they are predictions of something else.
    """
    step = timeframe_to_seconds(setup.config["timeframe"])
    windows, frames = [], []
    stored: dict[str, pd.DataFrame] = {}
    look_ahead: dict[str, int | None] = {}
    for pair, of_pair in saved.items():
        frame = setup.label_frame(candles[pair], pair)
        labels = setup.labels(frame, pair)
        look_ahead = look_ahead or _look_ahead(setup, frame, labels, pair)
        labels.index = pd.DatetimeIndex(pd.to_datetime(candles[pair]["date"], utc=True))
        stored[pair] = candles[pair].set_index(labels.index)
        for start, predicted in of_pair.items():
            last = int(predicted["date"].iloc[-1].timestamp())
            rows = _rows(setup, predicted.set_index("date"), labels, look_ahead, where)
            frames.append(rows.assign(pair=pair, start=start))
            windows.append(Window(pair, start, last + step))
    return Predictions(windows, pd.concat(frames, ignore_index=True), look_ahead, stored)


def add_run(found: Predictions, other: Predictions, name: str) -> None:
    """Put another run's predictions of the same candles beside the model's, as column `name`.

    :raises EvaluationFailed: they have no candle in common.
    """
    theirs = newest(other.rows[other.rows["valid"]]).rename(columns={"model": name})
    keys = ["pair", "target", "date"]
    found.rows = found.rows.merge(theirs[[*keys, name]], on=keys, how="left")
    if found.rows.loc[found.rows["valid"], name].isna().all():
        span = [
            f"{of['date'].min():%Y-%m-%d} to {of['date'].max():%Y-%m-%d}"
            for of in (found.rows, other.rows)
        ]
        raise EvaluationFailed(
            f"Expected predictions of the same candles, got {span[0]} from one run and {span[1]} "
            f"from the other ({name}). Backtest both on the same --timerange and pairs."
        )


def newest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of a candle that two windows predicted, the newest training's prediction."""
    rows = rows.sort_values("start", kind="stable")
    rows = rows.drop_duplicates(["pair", "target", "date"], keep="last")
    return rows.sort_values(["target", "pair", "date"], kind="stable", ignore_index=True)


def stacked(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Frames of dates × targets as one long frame with a column per frame."""
    long = {name: of.stack(future_stack=True) for name, of in frames.items()}  # noqa: PD013
    return pd.DataFrame(long).rename_axis(["date", "target"]).reset_index()


def persistence(labels: pd.Series, look_ahead: int | None) -> pd.Series:
    """The last label that is settled when a prediction is made, as the forecast.

    For a label of the same candle that would be the answer itself; there it is the one before. A
    label may be missing on candles, all but a few even.
    """
    if look_ahead is None:
        return labels * np.nan
    return labels.shift(max(look_ahead, 1)).ffill()


def leave_out_unknown(found: Predictions) -> list[str]:
    """Leave out targets that no predicted candle has a label of; return their names.

    :raises EvaluationFailed: that are all of them.
    """
    known = found.rows[found.rows["valid"] & found.rows["realised"].notna()]["target"].unique()
    unknown = [target for target in found.targets if target not in known]
    if len(unknown) == len(found.targets):
        raise EvaluationFailed(
            "Expected candles with a prediction (do_predict 1) and a known label, got none. Look "
            "for failed trainings in freqtrade's log, and for labels that are always missing."
        )
    found.rows = found.rows[~found.rows["target"].isin(unknown)].reset_index(drop=True)
    found.look_ahead = {name: of for name, of in found.look_ahead.items() if name not in unknown}
    return unknown


def _look_ahead(
    setup: Setup, candles: pd.DataFrame, labels: pd.DataFrame, pair: str
) -> dict[str, int | None]:
    """Candles after which each label no longer changes, from histories that end earlier.

    A label that mostly repeats (a pivot is 1 on a few candles) shows its horizon on few histories:
    where it looks ahead at all, `label_period_candles` counts if it is larger.
    """
    still_open = dict.fromkeys(labels, 0)
    for end in np.linspace(len(candles) // 2, len(candles), CUTS + 1, dtype=int)[:-1]:
        early = setup.labels(candles.iloc[:end], pair)
        for name in labels:
            known = labels[name].to_numpy()[:end]
            close = 1e-9 * float(np.nanmax(np.abs(known), initial=0.0))
            same = np.isclose(early[name], known, rtol=1e-6, atol=close, equal_nan=True)
            changed = np.flatnonzero(~same[-FARTHEST:])
            if len(changed):
                never = changed[0] == 0
                last = FARTHEST if never else min(end, FARTHEST) - int(changed[0])
                still_open[name] = max(still_open[name], last)
    for name, last in still_open.items():
        if 0 < last < setup.horizon and (labels[name].diff() == 0).mean() > RARELY:
            still_open[name] = setup.horizon
    return {str(name): last if last < FARTHEST else None for name, last in still_open.items()}


def _rows(
    setup: Setup,
    predicted: pd.DataFrame,
    labels: pd.DataFrame,
    look_ahead: Mapping[str, int | None],
    path: Path,
) -> pd.DataFrame:
    targets = [str(name) for name in labels]
    names = [name for name in targets if name != TARGET or setup.score is None]
    lacking = [column for column in (*names, "do_predict") if column not in predicted]
    if lacking:
        raise EvaluationFailed(
            f"Expected predictions of {setup.config['strategy']} in {path}, got a file without "
            f"{', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}: it was made with another "
            "strategy. Check --strategy and freqai.identifier, or choose a new identifier."
        )
    # FreqAI saves mean and standard deviation of the training labels beside each label.
    model, flat, scale, *doubt = (
        predicted.reindex(columns=[f"{name}{what}" for name in names]).set_axis(names, axis=1)
        for what in ("", "_mean", "_std", "_lower", "_upper")
    )
    if setup.score is not None:
        scale = scale.assign(T=setup.score.scale(predicted))
        model, flat = (frame.assign(T=setup.score.weigh(frame)) for frame in (model, flat))
    usable = (predicted["do_predict"] == 1) & np.isfinite(model.to_numpy()).all(axis=1)
    last_known = {name: persistence(labels[name], look_ahead[name]) for name in targets}
    frames = {
        "realised": labels,
        "model": model,
        "flat": flat,
        "persistence": pd.DataFrame(last_known),
        "scale": scale,
        **dict(zip(("lower", "upper"), doubt, strict=True)),
        "valid": pd.DataFrame(dict.fromkeys(labels, usable)),
    }
    rows = stacked({name: of.reindex(predicted.index) for name, of in frames.items()})
    return rows.astype({"valid": bool})


def _read_file(path: Path) -> pd.DataFrame:
    try:
        predicted = pd.read_feather(path)
    except (OSError, ValueError) as error:
        raise EvaluationFailed(
            f"Expected FreqAI's predictions in {path}, got a file that cannot be read ({error}). "
            "Delete it; the next backtest makes it again."
        ) from error
    return predicted.assign(date=pd.to_datetime(predicted["date"], utc=True))
