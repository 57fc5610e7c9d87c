"""FreqAI's saved predictions, window by window, beside the score that they were for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.evaluate.scores import NAN, r_squared
from freqai_lstm.evaluate.setup import EvaluationFailed, Setup, load_candles, models_folder


@dataclass
class Window:
    """One training of one pair and the candles predicted with it.

    `start` is where the training data end and the predictions begin, in seconds since 1970, as in
    FreqAI's file names; `end` the first second after the last predicted candle. `report` is what
    the model noted about its training; empty for models that note nothing. `label_r2` is the R² of
    the scaled labels on `rows`. `unlike_saved` is the largest difference, in label scales, between
    the saved predictions and those of the saved model now, where that was tried.
    """

    pair: str
    start: int
    end: int
    rows: pd.DataFrame = field(repr=False)
    report: dict[str, Any] = field(default_factory=dict, repr=False)
    label_r2: float = NAN
    unlike_saved: float = NAN

    @property
    def name(self) -> str:
        """`cb_btc_1709251200`, the beginning of FreqAI's file names."""
        return f"cb_{self.pair.split('/')[0].lower()}_{self.start}"

    @property
    def folder(self) -> str:
        """`sub-train-BTC_1709251200`, below the identifier's folder."""
        return f"sub-train-{self.pair.split('/')[0]}_{self.start}"

    def timerange(self, train_days: int = 0) -> TimeRange:
        """The predicted candles or, given the days of training, the candles trained on."""
        if train_days:
            return TimeRange("date", "date", self.start - train_days * 86_400, self.start)
        return TimeRange("date", "date", self.start, self.end)


def prediction_files(folder: Path, pair: str) -> dict[int, Path]:
    """Saved predictions of a pair, by window start in seconds, in time order."""
    begin, end = f"cb_{pair.split('/')[0].lower()}_", "_prediction.feather"
    found = {}
    for path in (folder / "backtesting_predictions").glob(f"{begin}*{end}"):
        start = path.name.removeprefix(begin).removesuffix(end)
        if start.isdecimal():
            found[int(start)] = path
    return dict(sorted(found.items()))


def saved_timerange(config: dict[str, Any]) -> str | None:
    """The `--timerange` that covers all saved predictions of the configured pairs, or None."""
    spans = [
        _span(_read_predictions(path), config["timeframe"])
        for pair in config["exchange"]["pair_whitelist"]
        for path in prediction_files(models_folder(config), pair).values()
    ]
    if not spans:
        return None
    return f"{min(start for start, _ in spans)}-{max(end for _, end in spans)}"


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


def read_windows(
    setup: Setup, advance: Callable[[str], None] = lambda pair: None
) -> dict[str, list[Window]]:
    """Read all saved predictions inside the timerange and put the realised score beside them.

    :param advance: called with each pair that is done.
    :return: per pair its windows in time order. Their `rows` have: date; T, the realised score the
        candle's prediction was for; model, the predicted one; both in 1 / quote currency; scale,
        the label scale, in that unit too; valid (do_predict is 1 and the prediction a number);
        persistence, see `persistence`.
    :raises EvaluationFailed: no predictions, or predictions of something else.
    """
    limits = TimeRange.parse_timerange(setup.config["timerange"])
    windows = {}
    for pair in setup.pairs:
        candles = load_candles(setup, pair)
        dates = pd.DatetimeIndex(pd.to_datetime(candles["date"], utc=True))
        labels = setup.formulas.targets(candles, setup.horizon).set_axis(dates)
        now = setup.formulas.score(candles, setup.strategy.weights).set_axis(dates)
        windows[pair] = [
            window
            for start, path in prediction_files(setup.folder, pair).items()
            if (window := _read_window(setup, pair, start, path, labels, now, limits))
        ]
        advance(pair)
    if not any(windows.values()):
        raise EvaluationFailed(
            f"Expected predictions of {', '.join(setup.pairs)} in "
            f"{setup.folder / 'backtesting_predictions'} for {setup.config['timerange']}, got none."
            " Check --timerange, --userdir and freqai.identifier."
        )
    return windows


def _read_window(
    setup: Setup,
    pair: str,
    start: int,
    path: Path,
    labels: pd.DataFrame,
    now: pd.Series,
    limits: TimeRange,
) -> Window | None:
    formulas, weights = setup.formulas, setup.strategy.weights
    predicted = _read_predictions(path)
    wanted = [*formulas.LABELS, *(f"{label}_std" for label in formulas.LABELS), "do_predict"]
    lacking = [column for column in wanted if column not in predicted]
    if lacking:
        raise EvaluationFailed(
            f"Expected predictions of {setup.config['strategy']} in {path}, got a file without "
            f"{', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}: it was made with another "
            "strategy. Check --strategy and freqai.identifier, or choose a new identifier."
        )
    dates = pd.DatetimeIndex(predicted["date"])
    seconds = dates.as_unit("s").asi8
    inside = (seconds >= limits.startts) & ((seconds < limits.stopts) | (limits.stopts == 0))
    if not inside.any():
        return None
    predicted, dates = predicted[inside].reset_index(drop=True), dates[inside]
    realised = labels.reindex(dates).reset_index(drop=True)
    t_hat = formulas.weigh(predicted[list(formulas.LABELS)], weights)
    rows = pd.DataFrame(
        {
            "date": dates,
            "T": formulas.weigh(realised, weights),
            "model": t_hat,
            "scale": formulas.label_scale(predicted),
            "valid": (predicted["do_predict"] == 1) & np.isfinite(t_hat),
            "persistence": persistence(now, setup.horizon).reindex(dates).to_numpy(),
        }
    )
    window = Window(pair, start, _span(predicted, setup.config["timeframe"])[1], rows)
    window.report = _training_report(setup.folder / window.folder / f"{window.name}_metadata.json")
    pipeline = setup.folder / window.folder / f"{window.name}_label_pipeline.pkl"
    if pipeline.is_file():
        usable = rows["valid"] & realised.notna().all(axis=1)
        if usable.any():
            with pipeline.open("rb") as file:
                scaler = cloudpickle.load(file)
            actual, _, _ = scaler.transform(realised[usable].reset_index(drop=True))
            labels_hat = predicted.loc[usable, list(formulas.LABELS)].reset_index(drop=True)
            guess, _, _ = scaler.transform(labels_hat)
            window.label_r2 = r_squared(np.asarray(actual), np.asarray(guess))
    return window


def persistence(now: pd.Series, horizon: int) -> pd.Series:
    """The last score known when a prediction is made, as the forecast.

    At the close of candle t the score of t is known, so it is the forecast of T_{t+h}. With h = 0
    that would be the answer itself; there the score of the previous candle stands in.
    """
    return now if horizon else now.shift(1)


def _training_report(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get("training_report") or {})


def _read_predictions(path: Path) -> pd.DataFrame:
    try:
        predicted = pd.read_feather(path)
    except (OSError, ValueError) as error:
        raise EvaluationFailed(
            f"Expected FreqAI's predictions in {path}, got a file that cannot be read ({error}). "
            "Delete it; the next backtest makes it again."
        ) from error
    if "date" not in predicted or predicted.empty:
        raise EvaluationFailed(
            f"Expected FreqAI's predictions in {path}, got a file without rows or dates. "
            "Delete it; the next backtest makes it again."
        )
    return predicted.assign(date=pd.to_datetime(predicted["date"], utc=True))


def _span(predicted: pd.DataFrame, timeframe: str) -> tuple[int, int]:
    first, last = predicted["date"].min(), predicted["date"].max()
    return int(first.timestamp()), int(last.timestamp()) + timeframe_to_seconds(timeframe)
