"""ScoreStrategy: a FreqAI strategy that trades a score made of nine indicators.

The score of a candle is T = S * R * V * R2 * V2, where

* S   is a weighted sum of z-scored indicators,
* R   is +1 above the upper Bollinger band, -1 below the lower one and 0 between them,
* R2  is +1 above the 100 candle average and -1 below it,
* V   is the inverse of the relative band width, and
* V2  is the inverse of the ATR, in quote currency: T of two pairs are not comparable as they are.

T is linear in its weights: T = sum(w_i * T_i) with T_i = z_i * R * V * R2 * V2. The model predicts
the nine terms T_i and the strategy weighs the predictions, so weights and thresholds can be
searched with `freqtrade hyperopt` after a single training.

The file reads from top to bottom: the formulas, features and targets, signals, the strategy. It
knows nothing of the model: any FreqAI regression model that predicts several labels will do.

Licence: GPLv3.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import talib.abstract as ta
from freqtrade.enums import RunMode, TradingMode
from freqtrade.strategy import DecimalParameter, IntParameter, IStrategy
from numpy.typing import NDArray
from pandas import DataFrame, Series


logger = logging.getLogger(__name__)

# ------------------------------------------------------------------------------- the score

TERMS: tuple[str, ...] = ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")

ARTICLE_WEIGHTS: dict[str, float] = {
    "ma": 0.10,
    "macd": 0.15,
    "roc": 0.10,
    "rsi": 0.15,
    "bb": 0.10,
    "cci": 0.10,
    "obv": 0.10,
    "atr": 0.05,
    "stoch": 0.15,
}
"""Weights of the article. Momentum has none of its own: it rides on that of RSI."""

TERM_COLUMNS = [f"t_{term}" for term in TERMS]
LABELS: tuple[str, ...] = tuple(f"&-t_{term}" for term in TERMS)

MOMENTUM_BOOST = 1.5

# A spread this small beside the values it is the spread of is rounding, not a market that moves.
# Dividing by it would give huge numbers made of noise.
NOISE = 1e-12


def ratio(numerator: Series, denominator: Series, magnitude: Series | float = 0.0) -> Series:
    """Divide; the result is missing, never infinite, where the denominator is not above zero.

    :param numerator: any values, aligned with the denominator.
    :param denominator: a spread (standard deviation, band width, ATR): zero or more.
    :param magnitude: size of the values that the denominator is the spread of. A denominator
        below 1e-12 of it counts as zero.
    """
    return numerator / denominator.where(denominator > NOISE * magnitude)


def rolling_moments(values: Series, window: int) -> tuple[Series, Series]:
    """Mean and standard deviation (ddof 1) of the last `window` candles, in the unit of `values`.

    The deviation is missing where the window holds one value only. pandas updates a deviation
    from candle to candle, and what it rounds on the way stays behind as a deviation of its own:
    a constant would get one too, small enough to turn the next division into noise.
    """
    rolling = values.rolling(window)
    highest, lowest = rolling.max(), rolling.min()
    moves = highest - lowest > NOISE * np.maximum(highest.abs(), lowest.abs())
    return rolling.mean(), rolling.std().where(moves)


def zscore(values: Series, window: int) -> Series:
    """(x - mean) / standard deviation (ddof 1) over the last `window` candles, no unit."""
    mean, std = rolling_moments(values, window)
    return ratio(values - mean, std)


def band_width(close: Series, upper: Series, lower: Series, window: int) -> Series:
    """Upper minus lower band, in quote currency; missing where the close did not move at all.

    There the width is zero by definition, whatever rounding TA-Lib has left in it.
    """
    _, moves = rolling_moments(close, window)
    return (upper - lower).where(moves.notna())


def ohlcv(candles: DataFrame) -> DataFrame:
    """The five candle columns as float64, the one type that TA-Lib takes."""
    return candles[["open", "high", "low", "close", "volume"]].astype("float64")


def score_indicators(candles: DataFrame) -> DataFrame:
    """The article's indicators.

    :param candles: open, high, low, close, volume; one row per candle, any index.
    :return: one row per candle: sma_10, sma_100, macd, mom, bb_upper, bb_middle, bb_lower, atr in
        quote currency, roc in percent, rsi and stoch 0..100, cci, obv in base currency.
    """
    candles = ohlcv(candles)
    bands = ta.BBANDS(candles, timeperiod=20)
    return DataFrame(
        {
            "sma_10": ta.SMA(candles, timeperiod=10),
            "sma_100": ta.SMA(candles, timeperiod=100),
            "macd": ta.MACD(candles, fastperiod=12, slowperiod=26)["macd"],
            "roc": ta.ROC(candles, timeperiod=2),
            "mom": ta.MOM(candles, timeperiod=4),
            "rsi": ta.RSI(candles, timeperiod=10),
            "bb_upper": bands["upperband"],
            "bb_middle": bands["middleband"],
            "bb_lower": bands["lowerband"],
            "cci": ta.CCI(candles, timeperiod=20),
            "obv": ta.OBV(candles),
            "atr": ta.ATR(candles, timeperiod=14),
            "stoch": ta.STOCH(candles)["slowk"],
        },
        index=candles.index,
    )


def score_parts(candles: DataFrame) -> DataFrame:
    """Everything that T is a product or a sum of, one row per candle.

    :param candles: open, high, low, close, volume.
    :return: z_ma, z_macd, z_roc, z_rsi, z_momentum, z_bb, z_cci, z_obv, z_atr, z_stoch (no unit;
        z_bb is mean / standard deviation of the band width, as in the article's code);
        trend_strength = |SMA(10) - close| and trend_threshold = mean + 1.5 * std of it over 14
        candles (quote currency); boost, 1.5 where the strength is above the threshold, else 1;
        R in {-1, 0, 1}; R2 in {-1, 1}; V = middle / (upper - lower), no unit; V2 = 1 / ATR, in
        1 / quote currency. Missing where a window is not full yet, the ATR, the band width or
        a standard deviation is zero.
    """
    return _parts(candles, score_indicators(candles))


def _parts(candles: DataFrame, indicators: DataFrame) -> DataFrame:
    close = candles["close"].astype("float64")
    upper, middle, lower = (indicators[f"bb_{band}"] for band in ("upper", "middle", "lower"))
    atr = indicators["atr"]

    width = band_width(close, upper, lower, 20)
    width_mean, width_std = rolling_moments(width, 20)
    strength = (indicators["sma_10"] - close).abs()
    strength_window = strength.rolling(14)
    threshold = strength_window.mean() + 1.5 * strength_window.std()

    # The article leaves R at 0 and R2 at -1 while the averages are still missing; here they are
    # missing too, since a regime nobody has seen must not become a training row.
    regime = (close > upper).astype("float64") - (close < lower).astype("float64")
    long_regime = Series(np.where(close > indicators["sma_100"], 1.0, -1.0), index=close.index)

    parts = DataFrame(
        {
            "z_ma": zscore(close, 10),
            "z_macd": zscore(indicators["macd"], 26),
            "z_roc": zscore(indicators["roc"], 2),
            "z_rsi": zscore(indicators["rsi"], 10),
            "z_momentum": zscore(indicators["mom"], 4),
            "z_bb": ratio(width_mean, width_std),
            "z_cci": zscore(indicators["cci"], 20),
            "z_obv": zscore(indicators["obv"], 14),
            "z_atr": zscore(atr, 14),
            "z_stoch": zscore(indicators["stoch"], 14),
            "trend_strength": strength,
            "trend_threshold": threshold,
            "boost": Series(
                np.where(strength > threshold, MOMENTUM_BOOST, 1.0), index=close.index
            ).where(threshold.notna()),
            "R": regime.where(width.notna()),
            "R2": long_regime.where(indicators["sma_100"].notna()),
            "V": ratio(middle, width, middle),
            "V2": ratio(Series(1.0, index=close.index), atr, close),
        }
    )
    return _without_impossible(parts, candles)


def _without_impossible(values: DataFrame, candles: DataFrame) -> DataFrame:
    """Missing for as long as a price of 0 or less bends the longest average, SMA(100)."""
    impossible = (candles[["open", "high", "low", "close"]] <= 0).any(axis=1)
    bent = impossible.rolling(100, min_periods=1).max() > 0
    rows = np.broadcast_to(bent.to_numpy()[:, None], values.shape)
    return values.mask(rows) if bent.any() else values


def score_terms(candles: DataFrame) -> DataFrame:
    """The nine terms T_i = z_i * R * V * R2 * V2, columns t_ma ... t_stoch, in 1 / quote currency.

    :param candles: open, high, low, close, volume.
    :return: one row per candle. t_rsi carries z_rsi + boost * z_momentum, because the article
        weighs momentum with the weight of RSI.
    """
    return _terms(score_parts(candles))


def _terms(parts: DataFrame) -> DataFrame:
    z = {term: parts[f"z_{term}"] for term in TERMS}
    z["rsi"] = z["rsi"] + parts["boost"] * parts["z_momentum"]
    gate = parts["R"] * parts["V"] * parts["R2"] * parts["V2"]
    return DataFrame({f"t_{term}": z[term] * gate for term in TERMS})


def weight_vector(weights: Mapping[str, float]) -> NDArray[np.float64]:
    """The nine weights divided by their sum, in the order of TERMS; all NaN if all are zero.

    :raises ValueError: a weight is missing, unknown, negative or not finite.
    """
    if set(weights) != set(TERMS):
        raise ValueError(
            f"Expected one weight for each of {', '.join(TERMS)}, got {', '.join(weights)}."
        )
    vector = np.array([weights[term] for term in TERMS], dtype="float64")
    if not np.isfinite(vector).all() or (vector < 0).any():
        raise ValueError(f"Weights must be finite and not negative, got {dict(weights)}.")
    total = vector.sum()
    return vector / total if total > 0 else np.full(len(TERMS), np.nan)


def weigh(terms_frame: DataFrame, weights: Mapping[str, float]) -> Series:
    """T = sum(w_i * T_i) / sum(w_i), in the unit of the terms.

    :param terms_frame: the columns t_ma ... t_stoch (realised) or, where it has these, the labels
        &-t_ma ... &-t_stoch (predicted).
    :param weights: one weight per name in TERMS, not negative, any sum.
    :return: missing where a term is missing, and everywhere if all weights are zero.
    """
    columns = list(LABELS) if LABELS[0] in terms_frame else TERM_COLUMNS
    return Series(
        terms_frame[columns].to_numpy("float64") @ weight_vector(weights), index=terms_frame.index
    )


def score(candles: DataFrame, weights: Mapping[str, float] = ARTICLE_WEIGHTS) -> Series:
    """The score T of each candle, in 1 / quote currency.

    :param candles: open, high, low, close, volume.
    :param weights: one weight per name in TERMS; divided by their sum.
    """
    return weigh(score_terms(candles), weights)


def weighted_sum(candles: DataFrame, weights: Mapping[str, float] = ARTICLE_WEIGHTS) -> Series:
    """The aggregate S of each candle, no unit: T before regimes and volatility have their say."""
    parts = score_parts(candles)
    z = parts[[f"z_{term}" for term in TERMS]].to_numpy("float64", copy=True)
    z[:, TERMS.index("rsi")] += parts["boost"] * parts["z_momentum"]
    return Series(z @ weight_vector(weights), index=candles.index)


# -------------------------------------------------------------------- features and targets


def period_features(candles: DataFrame, period: int) -> DataFrame:
    """The article's indicators for one period, free of price and volume units.

    :param candles: open, high, low, close, volume; any timeframe, any pair.
    :param period: in candles, 2 or more.
    :return: ten columns `%-...-period`, missing where the market stands still.
    """
    candles = ohlcv(candles)
    close = candles["close"]
    bands = ta.BBANDS(candles, timeperiod=period)
    width = band_width(close, bands["upperband"], bands["lowerband"], period)
    atr = ta.ATR(candles, timeperiod=period)
    macd = ta.MACD(candles, fastperiod=period, slowperiod=2 * period)["macd"]
    stoch = ta.STOCH(candles, fastk_period=period)["slowk"]
    features = {
        "ma": ratio(close - ta.SMA(candles, timeperiod=period), atr, close),
        "macd": ratio(macd, atr, close),
        "roc": ta.ROC(candles, timeperiod=period) / 100,
        "rsi": ta.RSI(candles, timeperiod=period) / 50 - 1,
        "bb_width": width / bands["middleband"],
        "bb_position": ratio(2 * (close - bands["middleband"]), width, close),
        "cci": ta.CCI(candles, timeperiod=period) / 100,
        "stoch": stoch / 50 - 1,
        "atr": atr / close,
        "obv": zscore(ta.OBV(candles), period),
    }
    named = _named({f"{name}-period": column for name, column in features.items()}, candles)
    return _without_impossible(named, candles)


def candle_features(candles: DataFrame) -> DataFrame:
    """What one candle says by itself: `%-return`, `%-body` (-1..1) and `%-volume` (relative)."""
    candles = ohlcv(candles)
    features = {
        "return": candles["close"].pct_change(),
        "body": ratio(
            candles["close"] - candles["open"],
            candles["high"] - candles["low"],
            candles["close"],
        ),
        "volume": ratio(candles["volume"], candles["volume"].rolling(20).mean()),
    }
    return _without_impossible(_named(features, candles), candles)


def score_features(candles: DataFrame) -> DataFrame:
    """The state of the score itself: the targets are made of it.

    :param candles: open, high, low, close, volume of the base timeframe.
    :return: the ten z-scores, boost, R, R2, the gate R * R2 and the z-scores behind that gate;
        the distances of the close to both bands (in band widths), to SMA(100) (in ATR) and of the
        trend strength to its threshold (in ATR); log V and log(V2 * close), all free of units;
        and, in the unit of the labels, 1 / quote currency: the nine terms, what they would be with
        the close beyond the band on its side of the middle (open_t_...), and R2 * V * V2, by whose
        size LSTMRegressor divides labels that lie ahead (label_scale). Freed of the unit, they
        would mislead by as much as the price has moved since the training candles.
    """
    indicators = score_indicators(candles)
    parts = _parts(candles, indicators)
    close = candles["close"].astype("float64")
    atr = indicators["atr"]
    gate = parts["R"] * parts["R2"]
    zscores = parts.filter(regex="^z_")
    width = band_width(close, indicators["bb_upper"], indicators["bb_lower"], 20)
    terms = _terms(parts)
    # Three quarters of the variance of T lie in the first candle beyond a band, before which all
    # terms are zero. How large T is then goes with the scale, and that changes slowly.
    opened = _terms(parts.assign(R=np.sign(close - indicators["bb_middle"])))
    features: dict[str, Series] = {
        **{str(name): zscores[name] for name in zscores},
        **{f"gated_{name}": zscores[name] * gate for name in zscores},
        **{f"score_{name}": terms[name] for name in terms},
        **{f"open_{name}": opened[name] for name in opened},
        "label_scale": parts["R2"] * parts["V"] * parts["V2"],
        "boost": parts["boost"],
        "regime": parts["R"],
        "long_regime": parts["R2"],
        "gate": gate,
        "above_upper": ratio(close - indicators["bb_upper"], width, close),
        "above_lower": ratio(close - indicators["bb_lower"], width, close),
        "above_sma_100": ratio(close - indicators["sma_100"], atr, close),
        "trend_excess": ratio(parts["trend_strength"] - parts["trend_threshold"], atr, close),
        "log_v": np.log(parts["V"]),
        "log_v2": np.log(parts["V2"] * close),
    }
    return _without_impossible(_named(features, candles), candles)


def time_features(dates: Series) -> DataFrame:
    """Hour of the day and day of the week (UTC) on a circle: midnight is near 23:00."""
    # While training live, FreqAI can hand dates over as an object column, which has no `.dt`.
    dates = pd.to_datetime(dates, utc=True)
    hour = 2 * np.pi * (dates.dt.hour + dates.dt.minute / 60) / 24
    day = 2 * np.pi * dates.dt.dayofweek / 7
    features = {
        "hour_sin": np.sin(hour),
        "hour_cos": np.cos(hour),
        "day_sin": np.sin(day),
        "day_cos": np.cos(day),
    }
    return _named(features, dates)


def _named(features: Mapping[str, Any], like: DataFrame | Series) -> DataFrame:
    # FreqAI makes features of the columns that begin with "%".
    return DataFrame({f"%-{name}": column for name, column in features.items()}, index=like.index)


def label_horizon(config: Mapping[str, Any]) -> int:
    """`freqai.feature_parameters.label_period_candles`: how many candles ahead the labels lie.

    :raises ValueError: it is not a whole number, 0 or more.
    """
    horizon = config["freqai"]["feature_parameters"]["label_period_candles"]
    if not isinstance(horizon, int) or isinstance(horizon, bool) or horizon < 0:
        raise ValueError(
            "freqai.feature_parameters.label_period_candles must be a whole number of candles,"
            f" 0 (the score of the same candle) or more, got {horizon!r}."
        )
    return horizon


def targets(candles: DataFrame, horizon: int) -> DataFrame:
    """The nine labels: the terms of the score `horizon` candles ahead (0: of the same candle).

    :param candles: open, high, low, close, volume.
    :param horizon: in candles, 0 or more.
    :return: columns &-t_ma ... &-t_stoch in 1 / quote currency; the last `horizon` rows are NaN.
    """
    labels = score_terms(candles).shift(-horizon)
    labels.columns = pd.Index(LABELS)
    return labels


# --------------------------------------------------------------------------------- signals

STD_COLUMNS = [f"{label}_std" for label in LABELS]


def label_std(predictions: DataFrame) -> NDArray[np.float64]:
    """Pooled standard deviation of the nine labels: the root mean square of theirs.

    It is the unit of T_hat, so that one threshold means the same on every pair. (LSTMRegressor's
    label scale is another thing: what labels that lie ahead are divided by before training.)

    :param predictions: what FreqAI returned, with the columns &-t_ma_std ... &-t_stoch_std.
    :return: one value per candle, in the unit of the labels; NaN where it is zero or missing, as
        it is before FreqAI has seen labels, so that nothing compares greater or smaller.
    """
    missing = [column for column in STD_COLUMNS if column not in predictions]
    if missing:
        logger.warning("No signals: FreqAI returned no %s.", ", ".join(missing))
        return np.full(len(predictions), np.nan)
    stds = predictions[STD_COLUMNS].to_numpy("float64")
    pooled = np.sqrt(np.einsum("ij,ij->i", stds, stds) / stds.shape[1])
    return np.where((pooled > 0) & np.isfinite(pooled), pooled, np.nan)


def predicted_score(
    predictions: DataFrame, weights: Mapping[str, float], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predicted T in label standard deviations; NaN where the model gave no valid prediction.

    FreqAI fills up what it cannot predict with zeros and says so in `do_predict` (0: outlier or
    incomplete candle, 2: the model is expired). Such a zero is made up, so it is no score.

    :param predictions: what FreqAI returned: the labels, their `_std` and do_predict.
    :param weights: one weight per name in TERMS.
    :param std: `label_std` of the same candles.
    """
    t_hat = weigh(predictions, weights).to_numpy() / std
    return np.where(predictions["do_predict"].to_numpy() == 1, t_hat, np.nan)


def entries(
    t_hat: NDArray[np.float64], threshold_buy: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Long where T_hat > threshold_buy, short where T_hat < -threshold_buy.

    A threshold below zero counts as zero: no candle can be both long and short.
    """
    threshold = max(threshold_buy, 0.0)
    return t_hat > threshold, t_hat < -threshold


def exits(
    t_hat: NDArray[np.float64], threshold_sell: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Leave longs where T_hat < threshold_sell, shorts where T_hat > -threshold_sell.

    A threshold above zero counts as zero: no candle can enter and leave the same side.
    """
    threshold = min(threshold_sell, 0.0)
    return t_hat < threshold, t_hat > -threshold


def _signal(
    dataframe: DataFrame,
    kind: str,
    can_short: bool,
    long: NDArray[np.bool_],
    short: NDArray[np.bool_],
) -> None:
    # Whole columns from NumPy: `.loc` with a mask costs ten times as much, in every epoch.
    traded = dataframe["volume"].to_numpy() > 0
    long, short = traded & long, traded & short & can_short
    tags = np.full(len(dataframe), None, dtype=object)
    tags[long], tags[short] = f"{kind}_long_score", f"{kind}_short_score"
    dataframe[f"{kind}_long"] = long.astype("int64")
    dataframe[f"{kind}_short"] = short.astype("int64")
    dataframe[f"{kind}_tag"] = Series(tags, index=dataframe.index, dtype=object)


# -------------------------------------------------------------------------------- strategy


class ScoreStrategy(IStrategy):
    """Trades the predicted score: long when it is high, short (futures only) when it is low.

    Only candles with a valid prediction (`do_predict` 1) and some volume give signals, exits
    included: with an expired model an open trade is left to the stoploss, the trailing stop and
    the ROI table rather than to a score that nobody predicted.

    Weights and thresholds are read in `populate_entry_trend` and `populate_exit_trend` alone.
    Features and targets do not depend on them, so changing them never needs a new training.
    """

    INTERFACE_VERSION = 3

    timeframe = "1h"
    process_only_new_candles = True
    use_exit_signal = True

    # SMA(100) is the longest window; after 200 candles Wilder's and exponential averages (ATR,
    # RSI, MACD) have forgotten where they began to within 1e-6 of their size.
    startup_candle_count = 200

    stoploss = -0.06
    trailing_stop = True
    trailing_stop_positive = 0.015
    trailing_stop_positive_offset = 0.03
    trailing_only_offset_is_reached = True
    minimal_roi = {"0": 0.12, "720": 0.06, "2160": 0.03, "4320": 0.015}  # noqa: RUF012

    # One weight per term; they are divided by their sum when used.
    ma_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["ma"], decimals=2, space="buy")
    macd_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["macd"], decimals=2, space="buy")
    roc_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["roc"], decimals=2, space="buy")
    rsi_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["rsi"], decimals=2, space="buy")
    bb_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["bb"], decimals=2, space="buy")
    cci_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["cci"], decimals=2, space="buy")
    obv_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["obv"], decimals=2, space="buy")
    atr_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["atr"], decimals=2, space="buy")
    stoch_w = DecimalParameter(0, 1, default=ARTICLE_WEIGHTS["stoch"], decimals=2, space="buy")

    # In label standard deviations.
    threshold_buy = DecimalParameter(0.05, 2, default=0.5, decimals=2, space="buy")
    threshold_sell = DecimalParameter(-2, 0, default=-0.1, decimals=2, space="sell")

    # All in candles.
    cooldown = IntParameter(1, 24, default=2, space="protection")
    stoploss_pause = IntParameter(2, 72, default=24, space="protection")
    drawdown_pause = IntParameter(6, 120, default=48, space="protection")

    plot_config = {  # noqa: RUF012
        "main_plot": {
            "bb_upper": {"color": "#9fb4cc", "fill_to": "bb_lower"},
            "bb_middle": {"color": "#5b7ea6"},
            "bb_lower": {"color": "#9fb4cc"},
            "sma_100": {"color": "#d08c3f"},
        },
        "subplots": {
            "Score": {
                "asinh_T_hat_upper": {"color": "#9fb4cc", "fill_to": "asinh_T_hat_lower"},
                "asinh_T_hat_lower": {"color": "#9fb4cc"},
                "asinh_T_hat": {"color": "#2f6fde"},
                "asinh_T": {"color": "#a0a0a0"},
                "asinh_long_above": {"color": "#2ca02c"},
                "asinh_exit_long_below": {"color": "#98df8a"},
                "asinh_exit_short_above": {"color": "#ff9896"},
                "asinh_short_below": {"color": "#d62728"},
                "do_predict_not_1": {"color": "#8c564b", "plotly": {"mode": "markers"}},
            },
            "Model": {
                "lstm_r2": {"color": "#2f6fde"},
                "lstm_coverage": {"color": "#2ca02c"},
            },
        },
    }

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        # freqtrade refuses `can_short = True` in spot markets before any trade, so one file that
        # serves both has to look at the configuration.
        self.can_short = config.get("trading_mode", TradingMode.SPOT) == TradingMode.FUTURES

    @property
    def protections(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """freqtrade's protections, active with `--enable-protections` and in live trading."""
        return [
            {"method": "CooldownPeriod", "stop_duration_candles": self.cooldown.value},
            {
                "method": "StoplossGuard",
                "lookback_period_candles": 48,
                "trade_limit": 3,
                "stop_duration_candles": self.stoploss_pause.value,
                "only_per_pair": False,
                "only_per_side": True,
            },
            {
                "method": "MaxDrawdown",
                "lookback_period_candles": 168,
                "trade_limit": 20,
                "stop_duration_candles": self.drawdown_pause.value,
                "max_allowed_drawdown": 0.15,
            },
        ]

    @property
    def weights(self) -> dict[str, float]:
        """The current weight of each term. Not for features or targets: hyperopt changes it."""
        return {term: getattr(self, f"{term}_w").value for term in TERMS}

    def bot_start(self, **kwargs: Any) -> None:
        """Stop before any training if the horizon is no horizon."""
        if self.config.get("freqai", {}).get("enabled", False):
            label_horizon(self.config)

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Ten features per period, timeframe and pair: see `period_features`."""
        return pd.concat([dataframe, period_features(dataframe, period)], axis=1)

    def feature_engineering_expand_basic(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """Three features per timeframe and pair: see `candle_features`."""
        return pd.concat([dataframe, candle_features(dataframe)], axis=1)

    def feature_engineering_standard(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """The state of the score on the base timeframe, and the time of day and week."""
        features = [score_features(dataframe), time_features(dataframe["date"])]
        return pd.concat([dataframe, *features], axis=1)

    def set_freqai_targets(
        self, dataframe: DataFrame, metadata: dict[str, Any], **kwargs: Any
    ) -> DataFrame:
        """The nine terms of the score, `label_horizon` candles ahead: see `targets`."""
        return pd.concat([dataframe, targets(dataframe, label_horizon(self.config))], axis=1)

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Adds FreqAI's predictions and, outside of hyperopt, what the plot shows."""
        dataframe = self.freqai.start(dataframe, metadata, self)
        # Nobody looks at the frames of a hyperopt run, where every column costs time per epoch.
        if self.config.get("runmode") != RunMode.HYPEROPT:
            lines = score_indicators(dataframe)[["bb_upper", "bb_middle", "bb_lower", "sma_100"]]
            dataframe = pd.concat([dataframe, lines, score_terms(dataframe)], axis=1)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Adds T_hat, the predicted score in label standard deviations, and the entries.

        T_hat of a candle is the forecast made at its close for the candle `label_horizon` ahead.
        """
        std = label_std(dataframe)
        t_hat = predicted_score(dataframe, self.weights, std)
        dataframe["T_hat"] = t_hat
        if TERM_COLUMNS[0] in dataframe:
            dataframe = self._add_lines(dataframe, std)

        enter_long, enter_short = entries(t_hat, self.threshold_buy.value)
        _signal(dataframe, "enter", self.can_short, enter_long, enter_short)
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Adds exit_long and exit_short: the score has crossed to the other side."""
        t_hat = predicted_score(dataframe, self.weights, label_std(dataframe))
        exit_long, exit_short = exits(t_hat, self.threshold_sell.value)
        _signal(dataframe, "exit", self.can_short, exit_long, exit_short)
        return dataframe

    def plot_annotations(self, dataframe: DataFrame, **kwargs: Any) -> list[Any]:
        """Trainings, failed ones and the alarm, of a model that tells them."""
        tell = getattr(self.freqai, "plot_annotations", None)
        return tell(dataframe) if tell else []

    def _add_lines(self, dataframe: DataFrame, std: NDArray[np.float64]) -> DataFrame:
        # T stands at its own candle. With a horizon, T_hat therefore leads it by that many
        # candles; moving T back instead would put the future into the frame.
        dataframe["T"] = weigh(dataframe[TERM_COLUMNS], self.weights).to_numpy() / std
        beyond, back = self.threshold_buy.value, self.threshold_sell.value
        lines = {
            "T_hat": dataframe["T_hat"],
            "T": dataframe["T"],
            "long_above": beyond,
            "short_below": -beyond,
            "exit_long_below": back,
            "exit_short_above": -back,
        }
        valid = dataframe["do_predict"]
        for end in ("lower", "upper"):
            names = [f"{label}_{end}" for label in LABELS]
            if {*names} <= {*dataframe}:
                # The terms share their gate and open together, so their ends are added.
                limit = dataframe[names].to_numpy("float64") @ weight_vector(self.weights) / std
                lines[f"T_hat_{end}"] = np.where(valid == 1, limit, np.nan)
        # T is 20 and more on a few candles, and freqtrade's plots have no logarithmic axis. asinh
        # is linear near 0, where the thresholds are, and logarithmic beyond.
        drawn = {f"asinh_{name}": np.arcsinh(line) for name, line in lines.items()}
        return dataframe.assign(**drawn, do_predict_not_1=valid.where(valid != 1))
