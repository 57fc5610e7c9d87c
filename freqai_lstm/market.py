"""A generated market: seeded candles that behave like a crypto market but never happened.

Nothing here is market data. The candles exist so that the demo and the tests run anywhere, at once
and the same way each time; no statement about profit can be drawn from them.

What is imitated, because indicators and a model react to it:

* one market factor that all pairs follow (each with its own beta) plus noise of each pair's own;
* regimes that alternate: trends up and down, ranges that pull back to their middle, crashes;
* volatility clustering, GARCH(1,1): s²ₜ = ω + α·r²ₜ₋₁ + β·s²ₜ₋₁, with Student-t shocks (fat tails);
* volume that follows the hour of the day, the weekday and the size of the move;
* for futures, mark candles close to the traded price and a funding rate that follows the trend.

Each series has its own random stream, derived from the seed, the pair and the series' name. So the
same arguments give bit-identical candles, adding a pair changes no other pair, a later `end`
appends candles without changing earlier ones, and the perpetual of a pair follows its spot market.

    python -m freqai_lstm.market --datadir build/data --pairs BTC/USDT:USDT ETH/USDT:USDT \\
        --start 2024-01-01 --end 2024-06-01
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import CandleType
from freqtrade.exchange import timeframe_to_resample_freq, timeframe_to_seconds


# freqtrade looks mark and funding up at this timeframe on Binance.
MARK_TIMEFRAME = "1h"
FUNDING_HOURS = 8

_START_PRICES = {"BTC": 40_000.0, "ETH": 2_500.0, "BNB": 300.0, "SOL": 100.0, "XRP": 0.6}
# Turnover of the busiest pair in quote currency and hour; the others are scaled down from it.
_HOURLY_TURNOVER = 2.5e8
_GARCH_ALPHA, _GARCH_BETA = 0.10, 0.88
_SHOCK_FREEDOM = 5.0
_HOURLY_VOLATILITY = 0.0055


class Regime(NamedTuple):
    """One mood of the market.

    `drift` is the mean return per hour in units of the hourly volatility, `volatility` multiplies
    it, `hours` is the mean duration, `pull` the share per hour of the way back to where it began.
    """

    name: str
    drift: float
    volatility: float
    hours: float
    pull: float
    weight: float


REGIMES = (
    Regime("trend up", 0.10, 0.9, 120, 0.0, 0.32),
    Regime("trend down", -0.09, 1.1, 90, 0.0, 0.27),
    Regime("range", 0.0, 0.7, 140, 0.02, 0.34),
    Regime("crash", -0.60, 2.6, 14, 0.0, 0.07),
)


def generate_market(
    datadir: Path,
    pairs: Sequence[str],
    *,
    start: datetime,
    end: datetime,
    timeframes: Sequence[str] = ("1h", "4h"),
    trading_mode: str = "futures",
    seed: int = 1,
) -> None:
    """Write generated candles for `pairs` into `datadir`, as `freqtrade download-data` would.

    :param datadir: a freqtrade data folder (`user_data/data/binance`); made if absent. Files of
        the same pair and timeframe are replaced.
    :param pairs: `BASE/QUOTE` or `BASE/QUOTE:SETTLE`; written in the form `trading_mode` needs.
    :param start: first candle, UTC (naive is taken as UTC); midnight keeps all timeframes whole.
    :param end: end of the last candle (exclusive), UTC.
    :param timeframes: the shortest is generated, the others are resampled from it, so each must be
        a multiple of it, a day at most, and fit into 1h for futures.
    :param trading_mode: "spot", or "futures", which adds 1h mark and 8-hourly funding rate files.
    :param seed: the same seed and arguments give bit-identical candles.
    :raises ValueError: an argument does not fit; the message says which and what would.
    """
    if trading_mode not in ("spot", "futures"):
        raise ValueError(f"trading_mode is {trading_mode!r}; use 'spot' or 'futures'.")
    if not pairs:
        raise ValueError("pairs is empty; name at least one, such as 'BTC/USDT:USDT'.")
    futures = trading_mode == "futures"
    needed = {*timeframes, MARK_TIMEFRAME} if futures else set(timeframes)
    base_timeframe = _base_timeframe(needed)
    dates = candle_dates(start, end, base_timeframe)
    factor = market_factor(dates, seed=seed)
    datadir.mkdir(parents=True, exist_ok=True)
    if futures:
        (datadir / "futures").mkdir(exist_ok=True)
    handler = get_datahandler(datadir, "feather")
    candle_type = CandleType.FUTURES if futures else CandleType.SPOT
    for name in pairs:
        pair = pair_for_mode(name, trading_mode)
        candles = generate_candles(pair, dates, factor, seed=seed)
        for timeframe in timeframes:
            resampled = resample_candles(candles, timeframe)
            handler.ohlcv_store(pair, timeframe, resampled, candle_type)
        if futures:
            hourly = resample_candles(candles, MARK_TIMEFRAME)
            mark = mark_candles(pair, hourly, seed=seed)
            handler.ohlcv_store(pair, MARK_TIMEFRAME, mark, CandleType.MARK)
            funding = funding_rates(pair, hourly, seed=seed)
            handler.ohlcv_store(pair, MARK_TIMEFRAME, funding, CandleType.FUNDING_RATE)


def pair_for_mode(pair: str, trading_mode: str) -> str:
    """`BTC/USDT` and `BTC/USDT:USDT` in the form that `trading_mode` uses.

    :raises ValueError: the name is not `BASE/QUOTE` or `BASE/QUOTE:SETTLE`.
    """
    market = pair.split(":")[0]
    base, _, quote = market.partition("/")
    if not base or not quote:
        raise ValueError(f"Pair {pair!r} is not BASE/QUOTE or BASE/QUOTE:SETTLE, as 'BTC/USDT'.")
    return f"{market}:{quote}" if trading_mode == "futures" else market


def candle_dates(start: datetime, end: datetime, timeframe: str) -> pd.DatetimeIndex:
    """Opening times, UTC, of the candles from `start` up to, without, `end`.

    :raises ValueError: fewer than one candle fits.
    """
    first, last = _as_utc(start), _as_utc(end)
    step = f"{timeframe_to_seconds(timeframe)}s"
    dates = pd.date_range(first, last, freq=step, inclusive="left", unit="ms")
    if len(dates) == 0:
        raise ValueError(f"No {timeframe} candle fits between {first} and {last}; move the end.")
    return dates.floor(step)


def market_factor(dates: pd.DatetimeIndex, *, seed: int) -> pd.DataFrame:
    """The factor every pair follows, one row per candle.

    :param dates: evenly spaced opening times.
    :return: columns `log_return` (the factor's), `volatility` (standard deviation of one candle,
        the clustering included) and `regime` (index into `REGIMES`).
    """
    hours = _hours_per_candle(dates)
    regime = _regimes(len(dates), hours, seed)
    volatility, shock = _garch("factor", len(dates), seed)
    scale = volatility * np.array([r.volatility for r in REGIMES])[regime]
    scale = scale * _HOURLY_VOLATILITY * np.sqrt(hours)
    drift = np.array([r.drift for r in REGIMES])[regime] * _HOURLY_VOLATILITY * hours
    pull = np.array([r.pull for r in REGIMES])[regime] * hours
    returns = (drift + scale * shock).tolist()
    log_price, anchor, previous = 0.0, 0.0, -1
    for i, mood in enumerate(regime.tolist()):
        if mood != previous:
            anchor, previous = log_price, mood
        returns[i] -= pull[i] * (log_price - anchor)
        log_price += returns[i]
    return pd.DataFrame({"log_return": returns, "volatility": scale, "regime": regime}, index=dates)


def generate_candles(
    pair: str, dates: pd.DatetimeIndex, factor: pd.DataFrame, *, seed: int
) -> pd.DataFrame:
    """Candles of one pair.

    :param pair: its market (`BTC/USDT`) chooses the random streams, so spot and perpetual agree.
    :param factor: `market_factor` of the same dates.
    :return: freqtrade's columns date, open, high, low, close, volume (in base currency), with
        low ≤ open, close ≤ high and each open at the close before it.
    """
    market = pair.split(":")[0]
    n, hours = len(dates), _hours_per_candle(dates)
    traits = _stream(seed, market, "traits")
    beta = 1.0 if market.startswith("BTC/") else traits.uniform(0.9, 1.4)
    own_share = 0.2 if market.startswith("BTC/") else traits.uniform(0.5, 0.9)
    turnover = _HOURLY_TURNOVER * hours * (1.0 if market.startswith("BTC/") else beta * own_share)

    own_volatility, own_shock = _garch(market, n, seed)
    own_scale = own_share * _HOURLY_VOLATILITY * np.sqrt(hours) * own_volatility
    returns = beta * factor["log_return"].to_numpy() + own_scale * own_shock
    scale = np.hypot(beta * factor["volatility"].to_numpy(), own_scale)

    start_price = _start_price(market)
    decimals = max(0, min(8, 5 - int(np.floor(np.log10(start_price)))))
    log_close = np.log(start_price) + np.cumsum(returns)
    log_open = np.concatenate(([np.log(start_price)], log_close[:-1]))
    # The extremes come from a path inside the candle: a Brownian bridge from open to close. Real
    # candles have longer wicks than a bridge of the same volatility gives, hence the factor.
    inner = 1.4 * scale / np.sqrt(12)
    steps = _stream(seed, market, "path").standard_normal((n, 12)) * inner[:, None]
    walk = np.cumsum(steps, axis=1)
    share = np.arange(1, 13) / 12
    path = log_open[:, None] + walk - share * walk[:, -1:] + share * returns[:, None]
    body_high = np.maximum(log_open, log_close)
    body_low = np.minimum(log_open, log_close)
    tick = 10.0**-decimals
    prices = np.exp(
        np.column_stack(
            [
                log_open,
                np.maximum(path.max(axis=1), body_high),
                np.minimum(path.min(axis=1), body_low),
                log_close,
            ]
        )
    )
    # A price may fall far from where it began, but never to zero.
    prices = np.maximum(np.round(prices, decimals), tick)
    volume = _volume(market, dates, returns, scale, seed) * turnover / prices[:, 3]
    columns = {"date": dates, "open": prices[:, 0], "high": prices[:, 1], "low": prices[:, 2]}
    return pd.DataFrame({**columns, "close": prices[:, 3], "volume": np.round(volume, 3)})


def resample_candles(candles: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Candles of a longer timeframe; a candle at either end that is not whole is left out.

    :param candles: freqtrade's columns, evenly spaced, no gaps at the ends of a longer candle.
    """
    step = candles["date"].diff().min() if len(candles) > 1 else None
    length = pd.Timedelta(seconds=timeframe_to_seconds(timeframe))
    if step is None or length == step:
        return candles.reset_index(drop=True)
    rule = timeframe_to_resample_freq(timeframe)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    longer = candles.resample(rule, on="date", label="left", closed="left").agg(how)
    first, end = candles["date"].iloc[0], candles["date"].iloc[-1] + step
    opened = pd.DatetimeIndex(longer.index)
    whole = (opened >= first) & (opened <= end - length)
    return longer[whole].dropna(subset=["close"]).reset_index()


def mark_candles(pair: str, hourly: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Mark price candles: the traded ones within a few basis points, volume 0 as on Binance."""
    basis = _stream(seed, pair, "mark").normal(0.0, 1e-4, len(hourly))
    mark = hourly.copy()
    for column in ("open", "high", "low", "close"):
        mark[column] = (hourly[column] * (1.0 + basis)).round(8)
    mark["volume"] = 0.0
    return mark


def funding_rates(pair: str, hourly: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Funding rates every 8 hours (00, 08, 16 UTC): Binance's usual 0.01 %, more in an uptrend.

    :return: columns `date` and `funding_rate` (a share of the position, not percent).
    """
    trend = np.log(hourly["close"]).diff(24).fillna(0.0)
    due = hourly["date"].dt.hour % FUNDING_HOURS == 0
    trend_due = trend[due].to_numpy()
    noise = _stream(seed, pair, "funding").normal(0.0, 3e-5, len(trend_due))
    rate = np.clip(1e-4 + 2e-3 * trend_due + noise, -7.5e-4, 7.5e-4)
    return pd.DataFrame({"date": hourly.loc[due, "date"].to_numpy(), "funding_rate": rate.round(8)})


def _stream(seed: int, *names: str) -> np.random.Generator:
    # crc32 rather than hash(): the latter differs between processes.
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _as_utc(moment: datetime) -> pd.Timestamp:
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize(UTC) if stamp.tzinfo is None else stamp.tz_convert(UTC)


def _hours_per_candle(dates: pd.DatetimeIndex) -> float:
    return (dates[1] - dates[0]) / pd.Timedelta(hours=1) if len(dates) > 1 else 1.0


def _base_timeframe(timeframes: set[str]) -> str:
    if not timeframes:
        raise ValueError("timeframes is empty; name at least one, such as '1h'.")
    base = min(timeframes, key=timeframe_to_seconds)
    for timeframe in timeframes:
        seconds = timeframe_to_seconds(timeframe)
        if seconds % timeframe_to_seconds(base) or seconds > 86_400:
            raise ValueError(
                f"Timeframe {timeframe} cannot be made from {base} candles; use multiples of the "
                "shortest timeframe, one day at most (futures also need 1h, for mark and funding)."
            )
    return base


def _start_price(market: str) -> float:
    base = market.split("/")[0]
    if base in _START_PRICES:
        return _START_PRICES[base]
    # Any other name gets a level of its own between 0.1 and 300, the same with every seed.
    return float(10 ** (-1 + 3.5 * (zlib.crc32(base.encode()) % 1000) / 1000))


def _regimes(n: int, hours: float, seed: int) -> np.ndarray:
    rng = _stream(seed, "regimes")
    weights = np.array([regime.weight for regime in REGIMES])
    regimes, current = np.empty(n, dtype=np.int64), int(rng.choice(len(REGIMES), p=weights))
    position = 0
    while position < n:
        length = max(1, round(rng.exponential(REGIMES[current].hours) / hours))
        regimes[position : position + length] = current
        position += length
        following = weights.copy()
        following[current] = 0.0
        current = int(rng.choice(len(REGIMES), p=following / following.sum()))
    return regimes


def _garch(name: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Volatility (mean square about 1) and shocks (variance 1), each of shape (n,)."""
    shock = _stream(seed, name, "shock").standard_t(_SHOCK_FREEDOM, n)
    shock *= np.sqrt((_SHOCK_FREEDOM - 2) / _SHOCK_FREEDOM)
    variance, level = np.empty(n), 1.0
    for i, value in enumerate(shock.tolist()):
        variance[i] = level
        # The cap keeps one wild shock from making a year of candles unusable.
        level = (
            1 - _GARCH_ALPHA - _GARCH_BETA + level * (_GARCH_ALPHA * value * value + _GARCH_BETA)
        )
        level = min(level, 25.0)
    return np.sqrt(variance), shock


def _volume(
    market: str, dates: pd.DatetimeIndex, returns: np.ndarray, scale: np.ndarray, seed: int
) -> np.ndarray:
    """Volume relative to the pair's usual turnover, shape (n,)."""
    hour = dates.hour.to_numpy() + dates.minute.to_numpy() / 60
    # Busiest when the American day overlaps the European one, quiet at weekends.
    daily = 1.0 + 0.45 * np.cos((hour - 15.0) * 2 * np.pi / 24)
    weekly = np.where(dates.day_of_week.to_numpy() >= 5, 0.6, 1.1)
    usual = _HOURLY_VOLATILITY * np.sqrt(_hours_per_candle(dates))
    activity = 0.35 + 0.8 * np.abs(returns) / usual + 0.3 * scale / usual
    noise = np.exp(_stream(seed, market, "volume").normal(-0.06, 0.35, len(dates)))
    return daily * weekly * activity * noise


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m freqai_lstm.market",
        description="Write a generated market (not real data) into a freqtrade data folder.",
    )
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    parser.add_argument("--datadir", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", default=["BTC/USDT:USDT", "ETH/USDT:USDT"])
    parser.add_argument("--start", type=datetime.fromisoformat, default=today - timedelta(days=180))
    parser.add_argument("--end", type=datetime.fromisoformat, default=today)
    parser.add_argument("--timeframes", nargs="+", default=["1h", "4h"])
    parser.add_argument("--trading-mode", choices=("spot", "futures"), default="futures")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    generate_market(
        options.datadir,
        options.pairs,
        start=options.start,
        end=options.end,
        timeframes=options.timeframes,
        trading_mode=options.trading_mode,
        seed=options.seed,
    )
    print(f"Generated candles (not real data) for {', '.join(options.pairs)} in {options.datadir}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
