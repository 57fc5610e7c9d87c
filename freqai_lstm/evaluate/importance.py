"""Which features the saved models use: permutation importance on candles they were not trained on.

A group of features is displaced in time against all others, the saved model predicts again, and
the loss of R² is what the group was worth. Displacing by a random number of candles, rather than
shuffling candle by candle, keeps the columns as smooth within a window as the model knows them:
it meets the wrong values, not impossible ones.

Only FreqAI's own interface is used (`load_data`, `predict`), so every saved FreqAI model will do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.resolvers.freqaimodel_resolver import FreqaiModelResolver

from freqai_lstm.evaluate.baselines import Features
from freqai_lstm.evaluate.data import Window
from freqai_lstm.evaluate.scores import NAN, r_squared


logger = logging.getLogger(__name__)

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
    features: Features,
    windows: dict[str, list[Window]],
    *,
    limit: int = 4,
    repeats: int = 2,
    seed: int = 1,
    advance: Callable[[Window], None] = lambda window: None,
) -> tuple[list[dict[str, Any]], str]:
    """Importance of each group, averaged over a few windows.

    :param limit: windows looked at, spread over pairs and time.
    :param repeats: displacements per group and window.
    :param advance: called with each window that is done.
    :return: ([{group, features, drop, per_window}, …], most important first, note). `drop` is the
        mean loss of R² of T; the note says why there is none, or how many models were used.
    """
    chosen = sample_windows(windows, limit)
    try:
        model = FreqaiModelResolver.load_freqaimodel(features.config)
    except OperationalException as error:
        return [], f"No importance: {error}"
    drops: dict[str, list[float]] = {}
    members: dict[str, set[str]] = {}
    used = 0
    for window in chosen:
        measured, groups = _of_window(model, features, window, repeats, seed)
        used += bool(measured)
        for group, drop in measured.items():
            drops.setdefault(group, []).append(drop)
            members.setdefault(group, set()).update(groups[group])
        advance(window)
    if not used:
        return [], (
            "No importance: none of the saved models could be used. Were they saved "
            "(freqai.save_backtest_models), and are the strategy's features still the same?"
        )
    found: list[dict[str, Any]] = [
        {
            "group": group,
            "features": sorted(members[group]),
            "drop": float(np.mean(values)),
            "per_window": values,
        }
        for group, values in drops.items()
    ]
    return sorted(found, key=lambda row: -row["drop"]), f"{used} saved models, {repeats} repeats"


def sample_windows(windows: dict[str, list[Window]], limit: int) -> list[Window]:
    """Up to `limit` windows: every pair in turn, each time its next window in an even spread."""
    pairs = [of_pair for of_pair in windows.values() if of_pair]
    if not pairs or limit < 1:
        return []
    rounds = -(-limit // len(pairs))
    spread = [
        of_pair[round(turn * (len(of_pair) - 1) / max(rounds - 1, 1))]
        for turn in range(rounds)
        for of_pair in pairs
    ]
    unique = {(window.pair, window.start): window for window in spread[:limit]}
    # Window after window of one pair: its features are computed once.
    return sorted(unique.values(), key=lambda window: (window.pair, window.start))


def _of_window(
    model: Any, features: Features, window: Window, repeats: int, seed: int
) -> tuple[dict[str, float], dict[str, list[str]]]:
    kitchen = features.kitchen(window)
    frame = features.predicted(window).reset_index(drop=True)
    try:
        trained = _load(model, kitchen, window)
        if trained is None:
            return {}, {}
        usual = _t_hat(model, trained, kitchen, features, frame)
    except (OSError, OperationalException) as error:
        logger.warning(f"{window.pair}, {window.folder}: no importance ({error}).")
        return {}, {}
    t = window.rows.set_index("date")["T"].reindex(pd.DatetimeIndex(frame["date"])).to_numpy()
    saved, scale = (window.rows.set_index("date")[name] for name in ("model", "scale"))
    unlike = (saved - pd.Series(usual, index=pd.DatetimeIndex(frame["date"]))) / scale
    window.unlike_saved = float(unlike.abs().max())
    groups: dict[str, list[str]] = {}
    for column in kitchen.training_features_list:
        groups.setdefault(feature_group(column, window.pair), []).append(column)

    def loss(displaced: np.ndarray) -> float:
        known = np.isfinite(t) & np.isfinite(usual) & np.isfinite(displaced)
        return r_squared(t[known], usual[known]) - r_squared(t[known], displaced[known])

    rng = np.random.default_rng(seed)
    far = max(len(frame) // 10, 1)
    drops = {}
    for group, columns in groups.items():
        losses = []
        for _ in range(repeats):
            other = frame.copy()
            shift = int(rng.integers(far, max(len(frame) - far, far + 1)))
            other[columns] = np.roll(frame[columns].to_numpy(), shift, axis=0)
            losses.append(loss(_t_hat(model, trained, kitchen, features, other)))
        drops[group] = float(np.nanmean(losses)) if np.isfinite(losses).any() else NAN
    return {group: drop for group, drop in drops.items() if np.isfinite(drop)}, groups


def _load(model: Any, kitchen: FreqaiDataKitchen, window: Window) -> Any:
    folder = Path(kitchen.data_path)
    if not any(folder.glob(f"{window.name}_model.*")):
        logger.warning(f"{window.pair}: no saved model in {folder}.")
        return None
    model.dd.pair_dict.setdefault(
        window.pair,
        {"model_filename": window.name, "trained_timestamp": 0, "data_path": "", "extras": {}},
    )
    return model.dd.load_data(window.pair, kitchen)


def _t_hat(
    model: Any, trained: Any, kitchen: FreqaiDataKitchen, features: Features, frame: pd.DataFrame
) -> np.ndarray:
    model.model = trained
    predicted, do_predict = model.predict(frame, kitchen)
    weights = features.setup.strategy.weights
    t_hat = features.setup.formulas.weigh(predicted, weights).to_numpy()
    return np.where(np.asarray(do_predict) == 1, t_hat, np.nan)
