"""Stability, own doubt, later returns, decay and thresholds, against independent calculations."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from freqai_lstm.evaluate.har import har_forecast, is_log_volatility, variances
from freqai_lstm.evaluate.regimes import by_regime
from freqai_lstm.evaluate.signal import (
    along_threshold,
    decay,
    later_returns,
    own_doubt,
    stability,
)


HOURS = 70 * 24
DATES = pd.date_range("2024-01-01", periods=HOURS, freq="h", tz="UTC")


def candles(seed: int) -> pd.DataFrame:
    """Candles whose volatility has a daily cycle and a memory of a day."""
    rng = np.random.default_rng(seed)
    slow = pd.Series(rng.normal(size=HOURS)).ewm(span=24).mean().to_numpy()
    size = 0.01 * np.exp(np.sin(np.arange(HOURS) * 2 * np.pi / 24) + 3 * slow)
    close = 100 * np.exp(np.cumsum(size * rng.normal(size=HOURS)))
    wide = np.exp(size * (1 + rng.random(HOURS)))
    frame = {"date": DATES, "close": close, "high": close * wide, "low": close / wide}
    return pd.DataFrame(frame, index=DATES)


@pytest.fixture(scope="module")
def market() -> dict[str, pd.DataFrame]:
    """Two pairs."""
    return {"A/B": candles(1), "C/B": candles(2)}


@pytest.fixture(scope="module")
def rows(market: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A prediction that knows a little of the next return, with an interval."""
    frames: list[pd.DataFrame] = []
    for pair, of in market.items():
        rng = np.random.default_rng(len(frames))
        ahead = of["close"].pct_change().shift(-1).fillna(0).to_numpy()
        doubt = 0.5 + rng.random(HOURS)
        realised = ahead / ahead.std() + doubt * rng.normal(size=HOURS)
        model = 0.5 * ahead / ahead.std() + rng.normal(size=HOURS)
        frame = {"pair": pair, "date": DATES, "realised": realised, "model": model, "flat": 0.1}
        limits = {"lower": model - 2, "upper": model + 2, "scale": 2.0}
        frames.append(pd.DataFrame(frame | limits))
    return pd.concat(frames, ignore_index=True)


def test_regimes_are_those_of_the_pair(rows: pd.DataFrame, market: dict[str, pd.DataFrame]) -> None:
    """Terciles, trend, weekend and month, with scikit-learn's R² and intervals counted by hand."""
    found = {(of["kind"], of["regime"]): of for of in by_regime(rows, market)}
    assert [name for kind, name in found if kind == "volatility"] == ["quiet", "middle", "wild"]
    assert [name for kind, name in found if kind == "month"] == ["2024-01", "2024-02", "2024-03"]
    for kind in ("week", "month"):
        assert sum(of["share"] for (k, _), of in found.items() if k == kind) == pytest.approx(1)
    saturday = rows[rows["date"].dt.day_name().isin(["Saturday", "Sunday"])]
    skills = [r2_score(of["realised"], of["model"]) for _, of in saturday.groupby("pair")]
    inside = (saturday["realised"] - saturday["model"]).abs() <= 2
    assert found["week", "weekend"]["r2"] == pytest.approx(np.mean(skills))
    assert found["week", "weekend"]["coverage"] == pytest.approx(inside.mean())
    moves = market["A/B"]["close"].pct_change().abs().rolling(24).mean().to_numpy()
    rising = (market["A/B"]["close"] > market["A/B"]["close"].rolling(168).mean()).to_numpy()
    of_pair = rows[rows["pair"] == "A/B"]
    few = {(of["kind"], of["regime"]): of for of in by_regime(of_pair, market)}
    wild = of_pair[moves > np.nanquantile(moves, 2 / 3)]
    assert few["volatility", "wild"]["r2"] == pytest.approx(
        r2_score(wild["realised"], wild["model"])
    )
    up = of_pair[rising]
    assert few["trend", "up"]["r2"] == pytest.approx(r2_score(up["realised"], up["model"]))
    without = rows.assign(lower=np.nan, upper=np.nan)
    assert all(np.isnan(of["coverage"]) for of in by_regime(without, market))


def test_icir_is_that_of_weeks(rows: pd.DataFrame) -> None:
    """Rank correlation of each of ten weeks and pair with scipy, averaged, mean ÷ deviation."""
    weeks = rows["date"].dt.dayofyear.sub(1) // 7
    ics = [
        np.mean([spearmanr(of["realised"], of["model"])[0] for _, of in week.groupby("pair")])
        for _, week in rows.groupby(weeks)
    ]
    found = stability(rows)
    assert found["icir"] == pytest.approx(np.mean(ics) / np.std(ics, ddof=1))
    assert found["blocks"] == "10 weeks"


def test_own_doubt(rows: pd.DataFrame) -> None:
    """Coverage and width counted by hand; silent models say None."""
    found = own_doubt(rows)
    inside = (rows["realised"] - rows["model"]).abs() <= 2
    assert found["coverage"]["value"] == pytest.approx(inside.mean())
    assert found["coverage"]["low"] < inside.mean() < found["coverage"]["high"]
    assert found["width"] == pytest.approx(2)
    silent = own_doubt(rows.assign(lower=np.nan, upper=np.nan))
    assert silent == {"coverage": None, "width": None}


def test_later_returns(rows: pd.DataFrame, market: dict[str, pd.DataFrame]) -> None:
    """IC with scipy and means of fifths with pandas' qcut, one candle ahead and twelve."""
    found = {of["candles"]: of for of in later_returns(rows, market)}
    assert list(found) == [1, 3, 6, 12, 24]
    for ahead in (1, 12):
        ics, parts = [], []
        for pair in market:
            of = rows[rows["pair"] == pair]
            close = market[pair]["close"].to_numpy()
            later = 1e4 * (close[ahead:] / close[:-ahead] - 1)
            known = of["model"].to_numpy()[:-ahead]
            ics.append(spearmanr(known, later)[0])
            fifth = pd.qcut(of["model"], 5, labels=False).to_numpy()[:-ahead]
            parts.append(pd.DataFrame({"fifth": fifth, "later": later}))
        assert found[ahead]["ic"]["value"] == pytest.approx(np.mean(ics))
        means = pd.concat(parts).groupby("fifth")["later"].mean()
        np.testing.assert_allclose(found[ahead]["fifths"], means)
        assert found[ahead]["top_bottom"]["value"] == pytest.approx(means[4] - means[0])
    assert found[1]["ic"]["low"] > 0, "the prediction knows the next return"


def test_decay_and_turnover() -> None:
    """Autocorrelation with pandas, without bridging a gap; a slow prediction turns over less."""
    slow = np.repeat(np.random.default_rng(1).normal(size=HOURS // 10), 10)
    rows = pd.DataFrame({"pair": "A/B", "date": DATES, "model": slow})
    found = decay(rows)
    assert found["autocorrelation"]["3"] == pytest.approx(pd.Series(slow).autocorr(3))
    assert found["turnover"] == pytest.approx(0.1, abs=0.03)
    gap = decay(rows.drop(index=range(500, 600)))
    holes = pd.Series(slow)
    holes[500:600] = np.nan
    assert gap["autocorrelation"]["3"] == pytest.approx(holes.autocorr(3))


def test_entries_along_the_threshold(rows: pd.DataFrame) -> None:
    """At one standard deviation counted by hand; random entries are right as often as chance."""
    found = {of["threshold"]: of for of in along_threshold(rows)}[1.0]
    said, came = (rows["model"] - 0.1) / 2, (rows["realised"] - 0.1) / 2
    entered, due = np.sign(said) * (said.abs() > 1), np.sign(came) * (came.abs() > 1)
    assert found["signals"] == (entered != 0).sum()
    assert found["precision"] == pytest.approx((entered == due)[entered != 0].mean())
    assert found["recall"] == pytest.approx((entered == due)[due != 0].mean())
    shuffled = np.random.default_rng(3).permuted(np.tile(due, (300, 1)), axis=1)
    random = (shuffled == entered.to_numpy())[:, entered != 0].mean()
    assert found["chance"] == pytest.approx(random, rel=0.05)


def test_log_volatilities_are_recognized_and_others_are_not(
    market: dict[str, pd.DataFrame],
) -> None:
    """The range and log volatility of the next 12 candles are; returns, and the past, are not."""
    of = market["A/B"]
    variance = variances(of)
    high, low = of["high"].rolling(12).max(), of["low"].rolling(12).min()
    returns = of["close"].pct_change()
    ranges = (high / low).apply(np.log)
    spreads = returns.rolling(12).std().apply(np.log)
    for volatility in (ranges, ranges.apply(np.log), spreads):
        assert is_log_volatility(volatility.shift(-12).dropna(), variance, 12)
    assert not is_log_volatility((of["close"].shift(-12) / of["close"]).dropna(), variance, 12)
    assert not is_log_volatility(ranges.dropna(), variance, 0)
    assert not is_log_volatility(ranges.dropna(), variance, None)


def test_har_is_a_line_on_past_volatility(market: dict[str, pd.DataFrame]) -> None:
    """A label that is such a line is forecast exactly, on candles after the training rows."""
    variance = variances(market["A/B"])
    past = [np.log(variance.rolling(span).mean()) / 2 for span in (1, 24, 168)]
    label = 1 + 0.3 * past[0] + 0.5 * past[1] - 0.2 * past[2]
    found = har_forecast(label[:1_000].dropna(), variance, DATES[1_000:], 24)
    np.testing.assert_allclose(found, label[1_000:])
