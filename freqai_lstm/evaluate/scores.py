"""How good predictions of the score are: the figures, on arrays whose rows are candles.

All functions take T (realised) and T̂ (predicted) of the same candles and know nothing of files,
pairs or models. A figure that is not defined (a correlation with a constant, say) is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import r2_score


Values = NDArray[np.float64]
NAN = float("nan")
# T̂ nearer to zero than this, in label scales, is one bin of the calibration: most candles.
CENTRE = 0.1


def r_squared(actual: NDArray[Any], predicted: NDArray[Any]) -> float:
    """1 - residual / total sum of squares, the latter about each column's mean.

    :param actual: shape (rows,) or (rows, labels); several labels count in the scale they have.
    :return: NaN where `actual` does not vary.
    """
    if len(actual) == 0 or not np.ptp(actual, axis=0).any():
        return NAN
    return float(r2_score(actual, predicted, multioutput="variance_weighted"))


def correlation(t: Values, t_hat: Values) -> float:
    """Pearson's; NaN where either side does not vary."""
    if len(t) < 2 or not np.ptp(t) or not np.ptp(t_hat):
        return NAN
    return float(np.corrcoef(t, t_hat)[0, 1])


def slope(t: Values, t_hat: Values) -> float:
    """Slope of the regression of T on T̂: 1 is calibrated, below 1 the predictions are too bold."""
    variance = float(np.var(t_hat)) if len(t_hat) else 0.0
    if not variance or not np.ptp(t_hat):
        return NAN
    return float(np.mean((t - t.mean()) * (t_hat - t_hat.mean()))) / variance


def share(hits: NDArray[np.bool_]) -> float:
    """Share of True; NaN of nothing."""
    return float(hits.mean()) if len(hits) else NAN


def signals(values: Values, threshold: float) -> NDArray[np.int_]:
    """+1 above the threshold, -1 below its negative, else 0: the strategy's entries."""
    return (values > threshold).astype(int) - (values < -threshold).astype(int)


def measure(t: Values, t_hat: Values, scale: Values, threshold: float) -> dict[str, Any]:
    """All figures of one set of candles.

    :param t: realised score, shape (candles,), in 1 / quote currency.
    :param t_hat: predicted score, same shape and unit; every value a number.
    :param scale: label scale of each candle, same unit.
    :param threshold: `threshold_buy` of the strategy, in label scales.
    :return: candles; r2; correlation; rmse in the unit of T; rmse_scaled in label scales;
        sign_accuracy where T ≠ 0, and nonzero, the share of these candles; signals, how many
        candles T̂ would enter on; precision, the share of them where T lies beyond the threshold on
        the same side; recall, the share of candles with T beyond it that T̂ would enter on; slope.
    """
    # Without a label scale there is no signal, as in the strategy.
    with np.errstate(invalid="ignore", divide="ignore"):
        entered, due = signals(t_hat / scale, threshold), signals(t / scale, threshold)
        scaled = (t - t_hat) / scale
    right, moved = entered == due, t != 0
    return {
        "candles": len(t),
        "r2": r_squared(t, t_hat),
        "correlation": correlation(t, t_hat),
        "rmse": float(np.sqrt(np.mean((t - t_hat) ** 2))) if len(t) else NAN,
        "rmse_scaled": float(np.sqrt(np.mean(scaled**2))) if len(t) else NAN,
        "sign_accuracy": share(np.sign(t[moved]) == np.sign(t_hat[moved])),
        "nonzero": share(moved),
        "signals": int((entered != 0).sum()),
        "precision": share(right[entered != 0]),
        "recall": share(right[due != 0]),
        "slope": slope(t, t_hat),
    }


def calibration(t: Values, t_hat: Values, scale: Values, per_side: int = 6) -> pd.DataFrame:
    """Mean realised T of candles with similar T̂.

    T is zero on most candles, so equal bins would say little: one bin holds |T̂| up to 0.1, and on
    either side of it the candles are cut into up to `per_side` bins of equal number, 10 at least.

    :return: per bin, in label scales: predicted (mean T̂), realised (mean T), error (standard
        error of that mean) and candles; in order of predicted.
    """
    y, x = t / scale, t_hat / scale
    known = np.isfinite(x) & np.isfinite(y)
    y, x = y[known], x[known]
    groups = [np.flatnonzero(np.abs(x) <= CENTRE)]
    for side in (np.flatnonzero(x < -CENTRE), np.flatnonzero(x > CENTRE)):
        ordered = side[np.argsort(x[side], kind="stable")]
        groups += np.array_split(ordered, max(1, min(per_side, len(side) // 10)))
    bins = [
        {
            "predicted": float(x[group].mean()),
            "realised": float(y[group].mean()),
            "error": float(y[group].std() / np.sqrt(len(group))),
            "candles": len(group),
        }
        for group in groups
        if len(group)
    ]
    columns = ["predicted", "realised", "error", "candles"]
    return pd.DataFrame(bins, columns=columns).sort_values("predicted", ignore_index=True)


def compare(rows: pd.DataFrame, predictors: list[str], threshold: float) -> dict[str, Any]:
    """`measure` of each predictor over the same candles.

    :param rows: columns T, scale, valid and one per predictor. Only candles count that the model
        predicted (valid), that have a realised T, and for which every predictor has a value.
    :param predictors: names of columns; a missing column is passed over.
    :return: predictor → figures; and "predicted", the share of all candles with a prediction.
    """
    names = [name for name in predictors if name in rows]
    known = rows["valid"] & rows[["T", *names]].notna().all(axis=1)
    t, scale = (rows.loc[known, name].to_numpy("float64") for name in ("T", "scale"))
    found: dict[str, Any] = {
        name: measure(t, rows.loc[known, name].to_numpy("float64"), scale, threshold)
        for name in names
    }
    return {"predicted": share(rows["valid"].to_numpy(dtype=bool)), **found}


def in_label_scales(rows: pd.DataFrame, predictors: list[str]) -> pd.DataFrame:
    """Scores of several pairs made comparable: each divided by its label scale, scale then 1."""
    names = [name for name in ("T", *predictors) if name in rows]
    return rows.assign(**{name: rows[name] / rows["scale"] for name in names}, scale=1.0)
