"""Is a difference in skill more than this range of candles can show? Bootstrap of whole weeks.

Neighbouring candles are alike, and so are pairs on the same day. So whole weeks are drawn with
replacement, the same weeks for every pair and every predictor, and the spread of a difference over
the draws is its doubt. Below eight weeks the blocks are days, below eight days none is drawn.
R², correlations and means follow from sums per block, so a draw costs one matrix product. Ranks are
those of the whole range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from freqai_lstm.evaluate.metrics import NAN


DRAWS, SEED, LEVEL = 2_000, 1, 95
FEWEST_BLOCKS = 8
# Differences below this are of no use, however sure: an R² of 0.0001 is a correlation of 0.01.
MARGIN = 1e-4
# Where both know this much, the label is arithmetic of the features and rounding is compared.
SATURATED = 0.99
SKILLS = ("r2", "correlation", "rank_correlation")
WORDS = ("better", "worse", "no difference that this range can show", "nothing to decide")
BETTER, WORSE, UNDECIDED, EXACT = WORDS


def blocks_of(dates: pd.Series) -> tuple[NDArray[np.int_], str]:
    """The block of each candle, counted from the first candle, and the block's length in words."""
    days = ((dates - dates.min()) // pd.Timedelta(days=1)).to_numpy(dtype=int)
    weeks = days // 7
    if len(np.unique(weeks)) >= FEWEST_BLOCKS:
        return weeks, "weeks"
    return days, "days"


def block_counts(dates: pd.Series) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """How often each draw takes each block.

    :return: the block of each row, counted from 0; counts, shape (1 + DRAWS, blocks), whose row 0
        takes every block once. Without enough blocks there are no draws.
    """
    kinds, index = np.unique(blocks_of(dates)[0], return_inverse=True)
    counts = np.ones((1, len(kinds)))
    if len(kinds) >= FEWEST_BLOCKS:
        even = np.full(len(kinds), 1 / len(kinds))
        drawn = np.random.default_rng(SEED).multinomial(len(kinds), even, size=DRAWS)
        counts = np.vstack([counts, drawn])
    return index, counts


def drawn_sums(
    values: NDArray[np.float64], index: NDArray[np.int_], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sums of columns over the range and over every draw.

    :param values: shape (rows, columns).
    :param index: the block of each row, and `counts`, as from `block_counts`.
    :return: shape (1 + DRAWS, columns).
    """
    per_block = np.zeros((counts.shape[1], values.shape[1]))
    np.add.at(per_block, index, values)
    return counts @ per_block


def drawn_mean(
    values: NDArray[np.float64], index: NDArray[np.int_], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of the values that are numbers, over the range and over every draw; see `drawn_sums`.

    :param values: shape (rows,).
    :return: shape (1 + DRAWS,), NaN for a draw without any.
    """
    known = np.isfinite(values)
    columns = np.column_stack([np.where(known, values, 0.0), known])
    total, size = drawn_sums(columns, index, counts).T
    return total / np.where(size > 0, size, NAN)


def drawn_skills(rows: pd.DataFrame, predictors: Sequence[str], skill: str) -> NDArray[np.float64]:
    """Skill on the range and on every draw of its blocks, as the mean over the pairs.

    :param rows: pair, date, realised and one column per predictor, nothing missing.
    :param skill: one of SKILLS.
    :return: shape (1 + DRAWS, predictors); row 0 is the range as it is. Without enough blocks
        there are no draws.
    """
    index, counts = block_counts(rows["date"])
    names = ["realised", *predictors]
    of_pair = rows.groupby("pair", sort=False)[names]
    # Centred per pair, so that the sums below do not cancel for labels far from zero.
    values = of_pair.rank() if skill == "rank_correlation" else rows[names].copy()
    values = values.sub(values["realised"].groupby(rows["pair"]).transform("mean"), axis=0)
    y, predicted = values["realised"].to_numpy(), values[list(predictors)].to_numpy()
    n = len(predictors)
    errors = (y[:, None] - predicted) ** 2
    products = (predicted, predicted**2, predicted * y[:, None])
    sums = np.column_stack([np.ones(len(y)), y, y**2, errors, *products])
    found = []
    for positions in rows.groupby("pair", sort=False).indices.values():
        rest = drawn_sums(sums[positions], index[positions], counts)
        size, sum_y, sum_yy = (rest[:, [column]] for column in range(3))
        sum_ee, sum_p, sum_pp, sum_py = (rest[:, 3 + n * k : 3 + n * (k + 1)] for k in range(4))
        with np.errstate(invalid="ignore", divide="ignore"):
            total = sum_yy - sum_y**2 / size
            if skill == "r2":
                found.append(1 - sum_ee / np.where(total > 0, total, NAN))
            else:
                spread = sum_pp - sum_p**2 / size
                spread = np.where(spread > 1e-12 * sum_pp, spread, NAN)
                # A constant prediction orders nothing: no correlation, but no missing skill either.
                found.append(
                    np.nan_to_num((sum_py - sum_p * sum_y / size) / np.sqrt(total * spread))
                )
    return np.nanmean(np.stack(found), axis=0)


def interval(draws: NDArray[np.float64]) -> dict[str, float]:
    """Value on the range and its 95 % interval.

    :param draws: shape (1 + draws,), from `drawn_skills`.
    :return: value, low, high; the latter NaN without draws.
    """
    tail = (100 - LEVEL) / 2
    low, high = np.nanpercentile(draws[1:], [tail, 100 - tail]) if len(draws) > 1 else (NAN, NAN)
    return {"value": float(draws[0]), "low": float(low), "high": float(high)}


def compare_skills(draws: NDArray[np.float64], saturated: float = SATURATED) -> dict[str, Any]:
    """The difference between two predictors, with its interval and a word for it.

    :param draws: shape (1 + draws, 2), skill of the model and of a baseline.
    :param saturated: where both exceed it, there is nothing to decide.
    :return: value, low, high, word (one of WORDS).
    """
    found = interval(draws[:, 0] - draws[:, 1])
    if draws[0].min() > saturated:
        word = EXACT
    elif found["low"] > 0 and found["value"] > MARGIN:
        word = BETTER
    elif found["high"] < 0 and found["value"] < -MARGIN:
        word = WORSE
    else:
        word = UNDECIDED
    return {**found, "word": word}
