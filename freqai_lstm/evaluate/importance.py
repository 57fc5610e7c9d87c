"""Which features the saved models use: permutation importance on candles they were not trained on.

A group of features is displaced in time against all others, the saved model predicts again, and
the loss of R², as the mean over the targets, is what the group was worth. Displacing by a random
number of candles, rather than shuffling candle by candle as scikit-learn does, keeps the columns as
smooth within a window as the model knows them: it meets the wrong values, not impossible ones.

Only FreqAI's own interface is used (`load_data`, `predict`), so every saved FreqAI model will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.resolvers.freqaimodel_resolver import FreqaiModelResolver

from freqai_lstm.evaluate.data import Predictions, Window
from freqai_lstm.evaluate.features import Features
from freqai_lstm.evaluate.metrics import NAN, r_squared


REPEATS, SEED = 2, 1
# FreqAI's names: %-rsi-period_10_BTC/USDTUSDT_1h, %-return_gen_shift-1_ETH/USDT_4h.
_EXPANDED = re.compile(
    r"^%+-?(?P<name>.+?)_(?:gen|\d+)(?:_shift-\d+)?_(?P<pair>[^_]+/[^_]+)_(?P<tf>\d+\w)$"
)


def feature_group(feature: str, pair: str) -> str:
    """The group of a feature: its indicator and timeframe, whatever the period or shift.

    All features of another pair and timeframe are one group. Features without pair and timeframe
    in their name belong together by the first word of it: `z_ma`, `z_rsi` are `z …`.
    """
    found = _EXPANDED.match(feature)
    if not found:
        return feature.lstrip("%-").split("_")[0] + " …"
    if found["pair"] != pair.replace(":", ""):
        return f"{found['pair'].split('/')[0]} {found['tf']}"
    return f"{found['name'].removesuffix('-period')} {found['tf']}"


def permutation_importance(
    features: Features, found: Predictions, targets: Sequence[str], limit: int
) -> tuple[pd.DataFrame, list[str]]:
    """Importance of each group of features, averaged over a few windows.

    :param targets: whose R² counts.
    :param limit: windows looked at, spread over pairs and time.
    :return: (group, drop, the mean loss of R², and features, most important first; notes for
        readers of the figures).
    """
    drops, notes, unlike = [], [], []
    for window in sample_windows(found.windows, limit):
        mine = (found.rows["pair"] == window.pair) & (found.rows["start"] == window.start)
        rows = found.rows[mine & found.rows["target"].isin(targets)]
        try:
            drop, difference = _of_window(features, window, rows)
            drops.append(drop)
            unlike.append(difference)
        except (OSError, OperationalException) as error:
            notes.append(f"No feature importance of {window.folder}: {error}.")
    if not drops:
        return pd.DataFrame(), notes
    groups = pd.concat(drops).groupby("group")
    importance = groups.agg(drop=("drop", "mean"), features=("features", "first")).reset_index()
    notes.append(f"Feature importance is that of {len(drops)} saved models.")
    if max(unlike) > 0.01:  # the same model on the same features differs by rounding alone
        notes.append(
            "The saved models no longer give the saved predictions (they differ by up to "
            f"{max(unlike):.2g} standard deviations): strategy, candles or configuration have "
            "changed since. A new freqai.identifier starts clean."
        )
    return importance.sort_values("drop", ascending=False, ignore_index=True), notes


def sample_windows(windows: Sequence[Window], limit: int) -> list[Window]:
    """Up to `limit` windows: every pair in turn, each time its next window in an even spread."""
    pairs = list(dict.fromkeys(window.pair for window in windows))
    rounds = -(-limit // len(pairs))
    spread = []
    for turn in range(rounds):
        for pair in pairs:
            of_pair = [window for window in windows if window.pair == pair]
            spread.append(of_pair[round(turn * (len(of_pair) - 1) / max(rounds - 1, 1))])
    unique = {(window.pair, window.start): window for window in spread[:limit]}
    # Window after window of one pair: its features are computed once.
    return [unique[key] for key in sorted(unique)]


def _of_window(
    features: Features, window: Window, rows: pd.DataFrame
) -> tuple[pd.DataFrame, float]:
    """Loss of R² per group, and how far the model is from what it predicted in the backtest."""
    kitchen, score = features.kitchen(window), features.setup.score
    model: Any = FreqaiModelResolver.load_freqaimodel(features.config)
    folder = Path(kitchen.data_path)
    if not any(folder.glob(f"{window.name}_model.*")):
        raise OSError(f"no saved model in {folder} (see freqai.save_backtest_models)")
    known = {"model_filename": window.name, "trained_timestamp": 0, "data_path": "", "extras": {}}
    model.dd.pair_dict.setdefault(window.pair, known)
    trained = model.dd.load_data(window.pair, kitchen)
    frame = features.predicted(window)
    wide = rows.pivot_table(index="date", columns="target", values=["realised", "model", "scale"])
    wide = wide.reindex(pd.DatetimeIndex(frame["date"]))
    realised = wide["realised"].to_numpy()

    def predict(given: pd.DataFrame) -> np.ndarray:
        model.model = trained
        predicted, do_predict = model.predict(given.copy(), kitchen)
        if score is not None:
            predicted = predicted.assign(T=score.weigh(predicted))
        values = predicted[list(wide["realised"])].to_numpy("float64")
        return np.where(np.asarray(do_predict)[:, None] == 1, values, np.nan)

    def r2(predicted: np.ndarray) -> float:
        both = np.isfinite(predicted).all(axis=1) & np.isfinite(realised).all(axis=1)
        columns = zip(realised[both].T, predicted[both].T, strict=True)
        return float(np.mean([r_squared(*column) for column in columns])) if both.any() else NAN

    usual = predict(frame)
    groups: dict[str, list[str]] = {}
    for column in kitchen.training_features_list:
        groups.setdefault(feature_group(column, window.pair), []).append(column)
    rng, far = np.random.default_rng(SEED), max(len(frame) // 10, 1)
    drops = []
    for group, columns in groups.items():
        losses = []
        for _ in range(REPEATS):
            other = frame.copy()
            shift = int(rng.integers(far, max(len(frame) - far, far + 1)))
            other[columns] = np.roll(frame[columns].to_numpy(), shift, axis=0)
            losses.append(r2(usual) - r2(predict(other)))
        drops.append({"group": group, "features": columns, "drop": float(np.mean(losses))})
    unlike = (wide["model"].to_numpy() - usual) / wide["scale"].to_numpy()
    return pd.DataFrame(drops).dropna(subset="drop"), float(np.nanmax(np.abs(unlike)))
