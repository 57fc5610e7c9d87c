"""The formulas of the score against the article's own code and values worked out by hand."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib.abstract as ta
from packaging.version import Version
from pandas import DataFrame, Series

from freqai_lstm.plugins import STRATEGY_FILE, load_plugin


ROOT = Path(__file__).resolve().parents[2]
CANDLES = ROOT.parent / "shared" / "candles" / "futures"

formulas = load_plugin(STRATEGY_FILE)

WARM_UP = 99  # SMA(100) begins with the hundredth candle.


def random_walk(rows: int, seed: int = 1, price: float = 100.0) -> DataFrame:
    """Candles of a seeded random walk with volatility that comes in clusters."""
    rng = np.random.default_rng(seed)
    volatility = 0.006 * np.exp(np.convolve(rng.normal(0, 0.3, rows), np.ones(12), "same") / 3)
    close = price * np.exp(np.cumsum(rng.normal(0, volatility)))
    opened = np.roll(close, 1)
    opened[0] = price
    wick = np.abs(rng.normal(0, volatility, (2, rows)))
    return DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC"),
            "open": opened,
            "high": np.maximum(opened, close) * (1 + wick[0]),
            "low": np.minimum(opened, close) * (1 - wick[1]),
            "close": close,
            "volume": rng.lognormal(5, 1, rows),
        }
    )


def zigzag(last_close: float) -> DataFrame:
    """119 candles with closes 99, 101, 99, ... and a last one elsewhere; highs and lows 1 away."""
    close = np.append(np.where(np.arange(119) % 2, 101.0, 99.0), last_close)
    return DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0}
    )


def article(candles: DataFrame, w: dict[str, float]) -> DataFrame:
    """The article's listing, line by line, with the windows that the text lost filled in."""
    df = candles.copy()
    # Step 0
    df["ma"] = ta.SMA(df, timeperiod=10)
    df["roc"] = ta.ROC(df, timeperiod=2)
    df["macd"], df["macdsignal"], df["macdhist"] = ta.MACD(
        df["close"], slowperiod=12, fastperiod=26
    )
    df["momentum"] = ta.MOM(df, timeperiod=4)
    df["rsi"] = ta.RSI(df, timeperiod=10)
    bollinger = ta.BBANDS(df, timeperiod=20)
    df["bb_upperband"] = bollinger["upperband"]
    df["bb_middleband"] = bollinger["middleband"]
    df["bb_lowerband"] = bollinger["lowerband"]
    df["cci"] = ta.CCI(df, timeperiod=20)
    df["stoch"] = ta.STOCH(df)["slowk"]
    df["atr"] = ta.ATR(df, timeperiod=14)
    df["obv"] = ta.OBV(df)
    # Step 1
    for name, column, window in (
        ("stoch", "stoch", 14),
        ("atr", "atr", 14),
        ("obv", "obv", 14),
        ("ma", "close", 10),
        ("macd", "macd", 26),
        ("roc", "roc", 2),
        ("momentum", "momentum", 4),
        ("rsi", "rsi", 10),
        ("cci", "cci", 20),
    ):
        df[f"normalized_{name}"] = (df[column] - df[column].rolling(window=window).mean()) / df[
            column
        ].rolling(window=window).std()
    df["normalized_bb_width"] = (df["bb_upperband"] - df["bb_lowerband"]).rolling(
        window=20
    ).mean() / (df["bb_upperband"] - df["bb_lowerband"]).rolling(window=20).std()
    # Step 1.5
    trend_strength = abs(df["ma"] - df["close"])
    strong_trend_threshold = (
        trend_strength.rolling(window=14).mean() + 1.5 * trend_strength.rolling(window=14).std()
    )
    is_strong_trend = trend_strength > strong_trend_threshold
    df["w_momentum"] = np.where(is_strong_trend, w["rsi"] * 1.5, w["rsi"])
    # Step 2
    df["S"] = (
        w["ma"] * df["normalized_ma"]
        + w["macd"] * df["normalized_macd"]
        + w["roc"] * df["normalized_roc"]
        + w["rsi"] * df["normalized_rsi"]
        + w["bb"] * df["normalized_bb_width"]
        + w["cci"] * df["normalized_cci"]
        + df["w_momentum"] * df["normalized_momentum"]
        + w["stoch"] * df["normalized_stoch"]
        + w["atr"] * df["normalized_atr"]
        + w["obv"] * df["normalized_obv"]
    )
    # Step 3
    df["R"] = 0
    df.loc[(df["close"] > df["bb_middleband"]) & (df["close"] > df["bb_upperband"]), "R"] = 1
    df.loc[(df["close"] < df["bb_middleband"]) & (df["close"] < df["bb_lowerband"]), "R"] = -1
    # Step 3.5
    df["ma_100"] = ta.SMA(df, timeperiod=100)
    df["R2"] = np.where(df["close"] > df["ma_100"], 1, -1)
    # Step 4
    bb_width = (df["bb_upperband"] - df["bb_lowerband"]) / df["bb_middleband"]
    df["V"] = 1 / bb_width
    df["V2"] = 1 / df["atr"]
    # Step 5
    df["T"] = df["S"] * df["R"] * df["V"] * df["R2"] * df["V2"]
    return df


def assert_is_article(candles: DataFrame) -> None:
    expected = article(candles, formulas.ARTICLE_WEIGHTS)[WARM_UP:]
    parts = formulas.score_parts(candles)[WARM_UP:]
    assert (expected["T"] != 0).sum() > 0.05 * len(expected)
    for ours, theirs in (
        (formulas.score(candles)[WARM_UP:], "T"),
        (formulas.weighted_sum(candles)[WARM_UP:], "S"),
        *((parts[name], name) for name in ("R", "R2", "V", "V2")),
    ):
        np.testing.assert_allclose(ours, expected[theirs], rtol=1e-9, atol=1e-12)


def test_score_is_the_articles_on_a_random_walk():
    """S, R, R2, V, V2 and T equal the article's code on every candle after the warm-up."""
    assert_is_article(random_walk(3000))


@pytest.mark.parametrize("pair", ["BTC", "ETH", "SOL", "BNB"])
def test_score_is_the_articles_on_real_candles(pair):
    """S, R, R2, V, V2 and T equal the article's code on a year of real candles."""
    path = CANDLES / f"{pair}_USDT_USDT-1h-futures.feather"
    if not path.is_file():
        pytest.skip("real candles are looked for in ../shared/candles and are not there")
    assert_is_article(pd.read_feather(path))


def test_article_weights_are_the_articles():
    """The nine default weights are those of the article and sum to one."""
    assert formulas.ARTICLE_WEIGHTS == {
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
    assert sum(formulas.ARTICLE_WEIGHTS.values()) == pytest.approx(1)
    assert tuple(formulas.ARTICLE_WEIGHTS) == formulas.TERMS
    assert formulas.LABELS[0] == "&-t_ma"
    assert len(formulas.LABELS) == 9


def test_zscore_by_hand():
    """A z-score takes its own window, with the sample standard deviation."""
    z = formulas.zscore(Series([1.0, 2.0, 3.0, 7.0]), 3)
    # 1, 2, 3: mean 2, deviation 1. 2, 3, 7: mean 4, deviation sqrt(14 / 2).
    np.testing.assert_allclose(z, [np.nan, np.nan, 1.0, 3 / np.sqrt(7)])


def test_zscore_of_a_constant_is_missing():
    """A window that does not move has no z-score, also when rounding makes it move by an ulp."""
    constant = Series([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2, 0.3])
    assert constant.nunique() == 2
    assert formulas.zscore(constant, 3).isna().all()
    assert formulas.zscore(Series([5.0] * 5), 3).isna().all()


def test_ratio_is_never_infinite():
    """Dividing by zero gives a missing value, whatever is divided."""
    result = formulas.ratio(Series([1.0, 0.0, -1.0, 1.0]), Series([0.0, 0.0, 0.0, 2.0]))
    assert result.tolist()[:3] == pytest.approx([np.nan] * 3, nan_ok=True)
    assert result[3] == 0.5


def test_bands_of_a_constant_have_no_width():
    """What rounding leaves between the bands of a price that stands still is no width."""
    close = Series([5.0, 4.0, 4.0, 4.0, 4.0])
    width = formulas.band_width(close, close + 1e-9, close - 1e-9, 3)
    np.testing.assert_allclose(width, [np.nan, np.nan, 2e-9, np.nan, np.nan], rtol=1e-6)


def test_parts_of_a_breakout_by_hand():
    """A jump from a zigzag around 100 to 110 gives the pieces that pen and paper give."""
    last = formulas.score_parts(zigzag(110)).iloc[-1]
    # Last 20 closes: ten 99, nine 101, one 110: mean 100.45, population variance 5.7475.
    width = 4 * np.sqrt(5.7475)
    assert last["V"] == pytest.approx(100.45 / width)
    assert last["R"] == 1  # 110 is above 100.45 + width / 2 = 105.24
    assert last["R2"] == 1  # and above the mean of the last hundred, 100.09
    # True ranges: 3 everywhere, then 111 - 99 = 12; Wilder: (13 * 3 + 12) / 14.
    assert last["V2"] == pytest.approx(14 / 51)
    # Last 10 closes: five 99, four 101, one 110: mean 100.9, sample variance 100.9 / 9.
    assert last["z_ma"] == pytest.approx(9.1 / np.sqrt(100.9 / 9))
    # ROC over two candles was 0 before: of two unequal values the later is 1 / sqrt(2) away.
    assert last["z_roc"] == pytest.approx(1 / np.sqrt(2))
    # Trend strength: thirteen 1 and one 9.1, threshold 4.83.
    assert last["trend_strength"] == pytest.approx(9.1)
    assert last["trend_threshold"] == pytest.approx(4.825795, abs=1e-5)
    assert last["boost"] == 1.5


def test_parts_of_a_breakdown_by_hand():
    """A fall to 90 turns both regimes, and leaves the volatilities without a sign."""
    last = formulas.score_parts(zigzag(90)).iloc[-1]
    # Last 20 closes: ten 99, nine 101, one 90: mean 99.45, population variance 5.6475.
    assert last["V"] == pytest.approx(99.45 / (4 * np.sqrt(5.6475)))
    assert (last["R"], last["R2"]) == (-1, -1)
    assert last["V2"] == pytest.approx(14 / (13 * 3 + 10))  # TR 99 - 89 = 10


def test_steady_trend_strength_is_no_boost():
    """Where the trend strength is the same for a whole window there is no boost, as in the article.

    Its deviation is zero there, but nothing is divided by it.
    """
    parts = formulas.score_parts(zigzag(99))[WARM_UP:-1]
    assert (parts["trend_strength"] == 1).all()
    assert (parts["boost"] == 1).all()


def test_parts_between_the_bands_by_hand():
    """Inside the bands R is 0, there is no boost, and so all nine terms are 0."""
    candles = random_walk(400)
    parts = formulas.score_parts(candles)[WARM_UP:]
    terms = formulas.score_terms(candles)[WARM_UP:]
    inside = parts["R"] == 0
    assert 0.5 < inside.mean() < 1
    assert (terms[inside] == 0).all(axis=None)
    assert (terms[~inside].drop(columns="t_roc") != 0).all(axis=None)
    assert set(parts["boost"]) == {1.0, 1.5}


def test_terms_are_zscores_behind_the_gate():
    """Each term is z * R * V * R2 * V2; that of RSI carries the boosted momentum."""
    candles = random_walk(600)
    parts, terms = formulas.score_parts(candles), formulas.score_terms(candles)
    gate = parts["R"] * parts["V"] * parts["R2"] * parts["V2"]
    assert list(terms) == [f"t_{term}" for term in formulas.TERMS]
    for term in formulas.TERMS:
        z = parts[f"z_{term}"]
        if term == "rsi":
            z = z + parts["boost"] * parts["z_momentum"]
        np.testing.assert_allclose(terms[f"t_{term}"], z * gate)


def test_score_is_the_weighed_sum_of_the_terms():
    """T by way of S and T by way of the terms agree for weights that are not the article's."""
    candles = random_walk(600)
    weights = {term: 1.0 + i for i, term in enumerate(formulas.TERMS)}
    parts = formulas.score_parts(candles)
    gate = parts["R"] * parts["V"] * parts["R2"] * parts["V2"]
    by_sum = formulas.weighted_sum(candles, weights) * gate
    np.testing.assert_allclose(formulas.score(candles, weights), by_sum, rtol=1e-9)


def test_weights_count_relative_to_their_sum():
    """Multiplying all weights by the same number leaves T as it is."""
    candles = random_walk(400)
    tripled = {term: 3 * weight for term, weight in formulas.ARTICLE_WEIGHTS.items()}
    np.testing.assert_allclose(formulas.score(candles, tripled), formulas.score(candles))


def test_all_weights_zero_is_no_score():
    """Nine zero weights give a missing score, not a division by zero and not a zero."""
    nothing = dict.fromkeys(formulas.TERMS, 0.0)
    with np.errstate(all="raise"):
        assert formulas.score(random_walk(200), nothing).isna().all()


def test_weigh_takes_labels_and_terms():
    """`weigh` reads predicted labels where the frame has them, and realised terms otherwise."""
    terms = DataFrame([range(9)], columns=[f"t_{term}" for term in formulas.TERMS], dtype=float)
    labels = terms.set_axis(list(formulas.LABELS), axis=1)
    equal = dict.fromkeys(formulas.TERMS, 0.5)
    assert formulas.weigh(terms, equal).tolist() == [4.0]
    assert formulas.weigh(labels, equal).tolist() == [4.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ma": -0.1}, "not negative"),
        ({"ma": float("inf")}, "finite"),
        ({"momentum": 0.1}, "one weight for each of ma, macd"),
    ],
)
def test_impossible_weights_are_refused(change, message):
    """Negative, infinite and unknown weights stop with a message that says what was expected."""
    with pytest.raises(ValueError, match=message):
        formulas.weight_vector(formulas.ARTICLE_WEIGHTS | change)


def test_warm_up_is_missing():
    """No regime, and so no score, before SMA(100) has a value; none missing after it."""
    score = formulas.score(random_walk(300))
    assert score[:WARM_UP].isna().all()
    assert score[WARM_UP:].notna().all()


def test_flat_market_has_no_score():
    """Where the price stands still after moving, the terms are missing and nothing is infinite."""
    candles = random_walk(400, price=65_000)
    candles.loc[200:, ["open", "high", "low", "close"]] = candles.loc[199, "close"]
    terms = formulas.score_terms(candles)
    assert not np.isinf(terms).any(axis=None)
    # The bands are flat once the twenty last closes are the same: 199 ... 218.
    assert terms[218:].isna().all(axis=None)
    assert terms[WARM_UP:199].notna().all(axis=None)


def test_market_without_volume_has_no_score():
    """Without volume OBV stands still: its term is missing, and the score with it."""
    candles = random_walk(300).assign(volume=0.0)
    assert formulas.score_terms(candles)["t_obv"].isna().all()
    assert formulas.score(candles).isna().all()


OLD_TALIB = pytest.mark.skipif(
    Version(version("TA-Lib")) < Version("0.8"),
    reason="below 0.8 a pair that cheap has no Bollinger bands, see docs/versions.md",
)


@pytest.mark.parametrize("price", [pytest.param(1e-7, marks=OLD_TALIB), 1.0, 1e5])
def test_terms_scale_inversely_with_price(price):
    """T is a number per quote currency: prices times k give T / k, down to the cheapest coins."""
    base = formulas.score_terms(random_walk(500, price=100.0))[WARM_UP:]
    other = formulas.score_terms(random_walk(500, price=price))[WARM_UP:]
    np.testing.assert_allclose(other * price / 100.0, base, rtol=1e-6, atol=1e-9)


def test_whole_number_candles_and_any_index():
    """Integer columns and an index of dates give the same score as floats and a plain index."""
    candles = random_walk(300, price=50_000).drop(columns="date").round().astype("int64")
    expected = formulas.score(candles.astype("float64"))
    dated = candles.set_axis(pd.date_range("2024", periods=300, freq="h", tz="UTC"))
    pd.testing.assert_series_equal(formulas.score(candles), expected)
    np.testing.assert_array_equal(formulas.score(dated), expected)
