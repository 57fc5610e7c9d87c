"""What a trader asks of a prediction: is it steady, does it know its doubt, do returns follow?

Figures of one target over all pairs, from the candles on which every predictor is measured.
Returns are those of the close: candle t's prediction against close(t + n) / close(t) - 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from freqai_lstm.evaluate.intervals import (
    FEWEST_BLOCKS,
    block_counts,
    blocks_of,
    drawn_mean,
    drawn_skills,
    interval,
)
from freqai_lstm.evaluate.metrics import NAN, measure_interval, share
from freqai_lstm.evaluate.scores import entry_figures


CANDLES_AHEAD = (1, 3, 6, 12, 24)
FIFTHS = 5
THRESHOLDS = tuple(np.arange(0.25, 3.01, 0.25))
BASIS_POINTS = 1e4


def stability(rows: pd.DataFrame) -> dict[str, Any]:
    """ICIR, the mean of the blocks' rank correlations ÷ their standard deviation.

    :param rows: pair, date, realised, model; nothing missing.
    :return: icir, NaN below eight blocks; blocks, how many of what.
    """
    blocks, kind = blocks_of(rows["date"])
    of_block = rows.groupby([pd.Series(blocks, rows.index, name="block"), "pair"])
    ics = of_block[["realised", "model"]].apply(_rank_correlation).groupby("block").mean().dropna()
    enough = len(ics) >= FEWEST_BLOCKS and ics.std() > 0
    return {
        "icir": float(ics.mean() / ics.std()) if enough else NAN,
        "blocks": f"{len(ics)} {kind}",
    }


def own_doubt(rows: pd.DataFrame) -> dict[str, Any]:
    """What the model's interval is worth.

    :param rows: pair, date, realised, model, scale; lower and upper, NaN for none.
    :return: coverage, the share of labels inside the interval, with its own interval; width, its
        mean in standard deviations of the training labels. None where the model says nothing.
    """
    found: dict[str, Any] = {"coverage": None, "width": None}
    known = rows.loc[np.isfinite(rows[["lower", "upper"]].to_numpy("float64")).all(axis=1)]
    if len(known):
        inside = known["realised"].between(known["lower"], known["upper"])
        drawn = drawn_mean(np.asarray(inside, np.float64), *block_counts(known["date"]))
        found["coverage"] = interval(drawn)
        values = known[["realised", "lower", "upper", "scale"]].to_numpy("float64").T
        found["width"] = measure_interval(*values)["width"]
    return found


def later_returns(rows: pd.DataFrame, candles: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """The prediction against the returns of the next candles, by how many.

    :param rows: pair, date, model; nothing missing.
    :param candles: pair → candles with `close`, by date.
    :return: per number of candles: candles; ic, the mean of the pairs' rank correlations; fifths,
        the mean return in basis points where the prediction lies in the lowest … highest fifth
        of its pair; top_bottom, the last fifth minus the first. Both differences with intervals.
    """
    rows = rows.assign(fifth=_fifths(rows))
    found = []
    for ahead in CANDLES_AHEAD:
        after = pd.concat(
            {pair: of["close"].shift(-ahead) / of["close"] - 1 for pair, of in candles.items()}
        )
        keys = pd.MultiIndex.from_frame(rows[["pair", "date"]])
        known = rows.assign(realised=BASIS_POINTS * after.reindex(keys).to_numpy())
        known = known.dropna(subset="realised")
        if known.empty:
            continue
        index, counts = block_counts(known["date"])
        returns, fifth = known["realised"].to_numpy(), known["fifth"].to_numpy()
        means = [
            drawn_mean(np.where(fifth == number, returns, NAN), index, counts)
            for number in range(FIFTHS)
        ]
        found.append(
            {
                "candles": ahead,
                "ic": interval(drawn_skills(known, ["model"], "rank_correlation")[:, 0]),
                "fifths": [float(mean[0]) for mean in means],
                "top_bottom": interval(means[-1] - means[0]),
            }
        )
    return found


def decay(rows: pd.DataFrame) -> dict[str, Any]:
    """How fast the prediction changes, as the mean over the pairs.

    :param rows: pair, date, model.
    :return: autocorrelation by candles; turnover, the share of candles in a pair's highest fifth
        of predictions that the next candle leaves; NaN of single candles.
    """
    values = rows.assign(top=(_fifths(rows) == FIFTHS - 1).astype("float64"))
    pairs = [of.set_index("date").sort_index() for _, of in values.groupby("pair")]
    # Candles without a prediction are no neighbours of those beside them.
    step = min((of.index.to_series().diff().min() for of in pairs), default=pd.Timedelta(0))
    regular = [
        of[["model", "top"]].asfreq(pd.tseries.frequencies.to_offset(step))
        for of in pairs
        if len(of) > 1
    ]
    if not regular:
        return {"autocorrelation": dict.fromkeys(map(str, CANDLES_AHEAD), NAN), "turnover": NAN}
    stays = pd.concat([of["top"].shift(-1)[of["top"] == 1].dropna() for of in regular])
    return {
        "autocorrelation": {
            str(lag): float(np.mean([of["model"].corr(of["model"].shift(lag)) for of in regular]))
            for lag in CANDLES_AHEAD
        },
        "turnover": share(stays == 0),
    }


def along_threshold(rows: pd.DataFrame) -> list[dict[str, float]]:
    """Precision and recall of entries beyond a threshold, in standard deviations of the labels.

    An entry is a prediction so far from the mean of the training labels, on either side; it is
    right where the label lies beyond the threshold on the same side.

    :param rows: realised, model, flat, scale.
    :return: per threshold: threshold, signals, precision, recall, and chance, the precision of as
        many entries on each side at random candles.
    """
    rows = rows[rows["scale"] > 0]
    realised, predicted = (
        ((rows[name] - rows["flat"]) / rows["scale"]).to_numpy("float64")
        for name in ("realised", "model")
    )
    found = []
    for threshold in THRESHOLDS:
        figures = entry_figures(realised, predicted, threshold)
        up, down = float((predicted > threshold).mean()), float((predicted < -threshold).mean())
        chance = up * share(realised > threshold) + down * share(realised < -threshold)
        wanted = {name: figures[name] for name in ("signals", "precision", "recall")}
        chance = chance / (up + down) if up + down else NAN
        found.append({"threshold": float(threshold), **wanted, "chance": chance})
    return found


def _fifths(rows: pd.DataFrame) -> pd.Series:
    ranks = rows.groupby("pair")["model"].rank(pct=True)
    return np.ceil(ranks * FIFTHS).astype(int) - 1


def _rank_correlation(rows: pd.DataFrame) -> float:
    if rows["model"].nunique() < 2 or rows["realised"].nunique() < 2:
        return NAN
    return float(spearmanr(rows["realised"], rows["model"])[0])
