"""A generated market: seeded candles that behave like a crypto market but never happened.

Nothing here is market data. The candles exist so that the demo and the tests run anywhere, at once
and the same way each time; no statement about profit can be drawn from them.

What is imitated, because indicators and a model react to it:

* one market factor that all pairs follow (each with its own beta) plus noise of each pair's own;
* regimes that alternate: trends up and down, ranges that pull back to their middle, crashes;
* volatility clustering, GARCH(1,1): s²ₜ = ω + α·r²ₜ₋₁ + β·s²ₜ₋₁, with Student-t shocks (fat tails);
* volume that follows the hour of the day, the weekday and the size of the move;
* volatility that follows the hour of the day, and the pair's own volume `LAG` candles before;
* for futures, mark candles close to the traded price and a funding rate that follows the trend.

What can be foretold from a window of candles and the date: of the variance of ln ln(highest /
lowest price) of the next 6 hourly candles about 0.65 is known to one who also knows the regime and
the state of GARCH exactly (`known_volatility`). The daily cycle by itself explains about 0.15 of
it, the pair's volumes of the last 6 candles 0.1, the newest such range 0.1 to 0.2. The sign of the
returns cannot be foretold but for the drift of the regimes.

Each series has its own random stream, derived from the seed, the pair and the series' name. So the
same arguments give bit-identical candles, adding a pair changes no other pair, a later `end`
appends candles without changing earlier ones, and the perpetual of a pair follows its spot market.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd
import typer
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import CandleType
from freqtrade.exchange import timeframe_to_resample_freq, timeframe_to_seconds


Mode = Literal["spot", "futures"]
# freqtrade looks mark and funding up at this timeframe on Binance.
MARK_TIMEFRAME = "1h"

_PAIRS, _TIMEFRAMES = ["BTC/USDT:USDT", "ETH/USDT:USDT"], ["1h", "4h"]
_START_PRICES = {"BTC": 40_000.0, "ETH": 2_500.0, "BNB": 300.0, "SOL": 100.0, "XRP": 0.6}
# Turnover of the busiest pair in quote currency and hour; the others are scaled down from it.
_HOURLY_TURNOVER = 2.5e8
_HOURLY_VOLATILITY = 0.0055
_GARCH_ALPHA, _GARCH_BETA = 0.10, 0.88
# Of log volatility: swing of its daily cycle, and what a volume shock adds to it LAG candles later.
_CYCLE, _AFTER_VOLUME, LAG = 0.35, 0.5, 6
_SHOCK_FREEDOM = 5.0
# The regimes, one a row: mean return per hour in units of the hourly volatility, volatility as a
# multiple of it, mean duration in hours, share per hour of the way back to where the regime began,
# and how often it is drawn.
_REGIMES = np.array(
    [
        [0.10, 0.9, 120, 0.0, 0.32],  # trend up
        [-0.09, 1.1, 90, 0.0, 0.27],  # trend down
        [0.0, 0.7, 140, 0.02, 0.34],  # range
        [-0.60, 2.6, 14, 0.0, 0.07],  # crash
    ]
)


def market(
    datadir: Annotated[Path, typer.Option(help="freqtrade data folder to write to")],
    pairs: Annotated[list[str], typer.Option(help="repeat it for each pair")] = _PAIRS,
    start: Annotated[datetime | None, typer.Option(help="default: 180 days before the end")] = None,
    end: Annotated[datetime | None, typer.Option(help="of the last candle; default: today")] = None,
    timeframes: Annotated[list[str], typer.Option(help="repeat it for each")] = _TIMEFRAMES,
    trading_mode: Annotated[Mode, typer.Option()] = "futures",
    seed: Annotated[int, typer.Option(help="the same seed gives the same candles")] = 1,
) -> None:
    """Write a generated market (not real data) into a freqtrade data folder; dates are in UTC."""
    end = end or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        generate_market(
            datadir,
            pairs,
            start=start or end - timedelta(days=180),
            end=end,
            timeframes=timeframes,
            trading_mode=trading_mode,
            seed=seed,
        )
    except ValueError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Generated candles (not real data) for {', '.join(pairs)} in {datadir}")


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
    if trading_mode not in get_args(Mode):
        raise ValueError(f"trading_mode is {trading_mode!r}; use 'spot' or 'futures'.")
    if not pairs or not timeframes:
        raise ValueError(f"Name at least one pair and one timeframe, got {pairs} and {timeframes}.")
    futures = trading_mode == "futures"
    candle_type = CandleType.FUTURES if futures else CandleType.SPOT
    base = _base_timeframe({*timeframes, MARK_TIMEFRAME} if futures else set(timeframes))
    first, last = pd.to_datetime([start, end], utc=True)
    step = f"{timeframe_to_seconds(base)}s"
    dates = pd.date_range(first, last, freq=step, inclusive="left", unit="ms").floor(step)
    if dates.empty:
        raise ValueError(f"No {base} candle fits between {first} and {last}; move the end.")
    factor = _market_factor(dates, seed)
    (datadir / "futures" if futures else datadir).mkdir(parents=True, exist_ok=True)
    store = get_datahandler(datadir, "feather").ohlcv_store
    for pair in (pair_for_mode(name, trading_mode) for name in pairs):
        candles = _candles(pair, dates, factor, seed)
        for timeframe in timeframes:
            store(pair, timeframe, resample_candles(candles, timeframe), candle_type)
        if futures:
            hourly = resample_candles(candles, MARK_TIMEFRAME)
            mark, funding = _mark_candles(pair, hourly, seed), _funding_rates(pair, hourly, seed)
            store(pair, MARK_TIMEFRAME, mark, CandleType.MARK)
            store(pair, MARK_TIMEFRAME, funding, CandleType.FUNDING_RATE)


def known_volatility(pair: str, dates: pd.DatetimeIndex, ahead: int, seed: int = 1) -> pd.Series:
    """Foretell the volatility of the next candles as well as the generator itself could.

    It knows what no model can know exactly, the regime and the state of GARCH at each candle, and
    nothing that is drawn later. So the R² of a regression on it bounds what can be known.

    :param dates: of all candles of the pair, from the first generated one on.
    :param ahead: how many candles.
    :return: root of the mean expected square return of the next `ahead` candles, by date.
    """
    spot, n = pair.split(":")[0], len(dates)
    beta, own_share, _ = _traits(spot, seed)
    multiplier = _REGIMES[_regimes(n, _hours_per_candle(dates), seed), 1]
    # Past the newest shock that is known, the expected factor is 1.
    later = pd.date_range(dates[0], periods=n + ahead, freq=dates[1] - dates[0])
    tide = _tide(spot, later, seed)
    cycle = np.exp(2 * _CYCLE * _daily(later)) / np.i0(2 * _CYCLE)
    market, own = (_garch(name, n + 1, seed)[0][1:] ** 2 - 1 for name in ("factor", spot))
    total = np.zeros(n)
    for k in range(1, ahead + 1):
        fades = (_GARCH_ALPHA + _GARCH_BETA) ** (k - 1)
        level = (beta * multiplier) ** 2 * (1 + fades * market) + own_share**2 * (1 + fades * own)
        total += level * (tide[k : n + k] ** 2 if k <= LAG else cycle[k : n + k])
    usual = _HOURLY_VOLATILITY * np.sqrt(_hours_per_candle(dates))
    return pd.Series(usual * np.sqrt(total / ahead), index=dates)


def pair_for_mode(pair: str, trading_mode: str) -> str:
    """`BTC/USDT` and `BTC/USDT:USDT` in the form that `trading_mode` uses.

    :raises ValueError: the name is not `BASE/QUOTE` or `BASE/QUOTE:SETTLE`.
    """
    spot = pair.split(":")[0]
    base, _, quote = spot.partition("/")
    if not base or not quote:
        raise ValueError(f"Pair {pair!r} is not BASE/QUOTE or BASE/QUOTE:SETTLE, as 'BTC/USDT'.")
    return f"{spot}:{quote}" if trading_mode == "futures" else spot


def _market_factor(dates: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    """What every pair follows: `log_return` and its `volatility`, one row per candle."""
    hours = _hours_per_candle(dates)
    regime = _regimes(len(dates), hours, seed)
    drift, multiplier, _, pull, _ = _REGIMES.T
    volatility, shock = _garch("factor", len(dates), seed)
    scale = volatility * multiplier[regime] * _HOURLY_VOLATILITY * np.sqrt(hours)
    returns = drift[regime] * _HOURLY_VOLATILITY * hours + scale * shock
    log_price, anchor, previous = 0.0, 0.0, -1
    for i, current in enumerate(regime):
        if current != previous:
            anchor, previous = log_price, current
        returns[i] -= pull[current] * hours * (log_price - anchor)
        log_price += returns[i]
    return pd.DataFrame({"log_return": returns, "volatility": scale}, index=dates)


def _candles(pair: str, dates: pd.DatetimeIndex, factor: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Candles of one pair, with low ≤ open, close ≤ high and each open at the close before it."""
    # The spot name chooses the random streams, so spot and perpetual agree.
    spot = pair.split(":")[0]
    n, hours = len(dates), _hours_per_candle(dates)
    beta, own_share, size = _traits(spot, seed)
    own_volatility, own_shock = _garch(spot, n, seed)
    own_scale = own_share * _HOURLY_VOLATILITY * np.sqrt(hours) * own_volatility
    tide = _tide(spot, dates, seed)
    returns = tide * (beta * factor["log_return"].to_numpy() + own_scale * own_shock)
    scale = tide * np.hypot(beta * factor["volatility"].to_numpy(), own_scale)

    # A name that is not listed gets a level between 0.1 and 300, the same with every seed.
    base = spot.split("/")[0]
    other = 10 ** (-1 + 3.5 * (zlib.crc32(base.encode()) % 1000) / 1000)
    start_price = _START_PRICES.get(base, other)
    log_close = np.log(start_price) + np.cumsum(returns)
    log_open = np.concatenate(([np.log(start_price)], log_close[:-1]))
    # The extremes come from a path inside the candle: a Brownian bridge from open to close. Real
    # candles have longer wicks than a bridge of the same volatility gives, hence the factor.
    inner = 1.4 * scale / np.sqrt(12)
    steps = _stream(seed, spot, "path").standard_normal((n, 12)) * inner[:, None]
    walk, share = np.cumsum(steps, axis=1), np.arange(1, 13) / 12
    path = log_open[:, None] + walk - share * walk[:, -1:] + share * returns[:, None]
    high = np.maximum(path.max(axis=1), np.maximum(log_open, log_close))
    low = np.minimum(path.min(axis=1), np.minimum(log_open, log_close))
    decimals = max(0, min(8, 5 - int(np.floor(np.log10(start_price)))))
    prices = np.exp(np.column_stack([log_open, high, low, log_close])).round(decimals)
    # A price may fall far from where it began, but never to zero.
    prices = np.maximum(prices, 10.0**-decimals)
    candles = pd.DataFrame(prices, columns=["open", "high", "low", "close"])
    candles.insert(0, "date", dates)
    relative = _relative_volume(spot, dates, returns, scale, seed)
    candles["volume"] = (relative * (_HOURLY_TURNOVER * hours * size) / candles["close"]).round(3)
    return candles


def _traits(spot: str, seed: int) -> tuple[float, float, float]:
    """Share of the market's moves, size of the pair's own beside them, turnover beside BTC's."""
    if spot.startswith("BTC/"):
        return 1.0, 0.2, 1.0
    traits = _stream(seed, spot, "traits")
    beta, own_share = traits.uniform(0.9, 1.4), traits.uniform(0.5, 0.9)
    return beta, own_share, beta * own_share


def resample_candles(
    candles: pd.DataFrame, timeframe: str, *, running: bool = False
) -> pd.DataFrame:
    """Candles of a longer timeframe; a candle at either end that is not whole is left out.

    :param candles: freqtrade's columns, evenly spaced, no gaps at the ends of a longer candle.
    :param running: keep the last candle though it is not whole: it still runs.
    """
    dates = candles["date"]
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    longer = candles.resample(timeframe_to_resample_freq(timeframe), on="date").agg(how)
    longer = longer[longer.index >= dates.min()].dropna(subset=["close"])
    if not running:
        length = pd.Timedelta(seconds=timeframe_to_seconds(timeframe))
        step = dates.diff().min() if len(candles) > 1 else length
        longer = longer[longer.index <= dates.max() + step - length]
    return longer.reset_index()


def _mark_candles(pair: str, hourly: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mark price candles: the traded ones within a few basis points, volume 0 as on Binance."""
    basis = _stream(seed, pair, "mark").normal(0.0, 1e-4, len(hourly))
    prices = hourly[["open", "high", "low", "close"]].mul(1.0 + basis, axis=0).round(8)
    return hourly.assign(**prices, volume=0.0)


def _funding_rates(pair: str, hourly: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Funding rates every 8 hours (00, 08, 16 UTC): Binance's usual 0.01 %, more in an uptrend."""
    trend = np.log(hourly["close"]).diff(24).fillna(0.0)
    due = hourly["date"].dt.hour % 8 == 0
    noise = _stream(seed, pair, "funding").normal(0.0, 3e-5, due.sum())
    rate = (1e-4 + 2e-3 * trend[due] + noise).clip(-7.5e-4, 7.5e-4).round(8)
    rates = pd.DataFrame({"date": hourly["date"], "funding_rate": rate}).dropna(ignore_index=True)
    # freqtrade takes its own columns of these; older ones have the rate in `open`, 0 in the others.
    zeros = dict.fromkeys(("high", "low", "close", "volume"), 0.0)
    return rates.assign(open=rates["funding_rate"], **zeros)


def _stream(seed: int, *names: str) -> np.random.Generator:
    # crc32 rather than hash(): the latter differs between processes.
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _hours_per_candle(dates: pd.DatetimeIndex) -> float:
    return (dates[1] - dates[0]) / pd.Timedelta(hours=1) if len(dates) > 1 else 1.0


def _base_timeframe(timeframes: set[str]) -> str:
    base = min(timeframes, key=timeframe_to_seconds)
    for timeframe in timeframes:
        seconds = timeframe_to_seconds(timeframe)
        if seconds % timeframe_to_seconds(base) or seconds > 86_400:
            raise ValueError(
                f"Timeframe {timeframe} cannot be made from {base} candles; use multiples of the "
                "shortest timeframe, one day at most (futures also need 1h, for mark and funding)."
            )
    return base


def _regimes(n: int, hours: float, seed: int) -> np.ndarray:
    """The row of `_REGIMES` that each candle belongs to, shape (n,)."""
    rng = _stream(seed, "regimes")
    regimes, current, position = np.empty(n, dtype=np.int64), -1, 0
    while position < n:
        others = np.where(np.arange(len(_REGIMES)) == current, 0.0, _REGIMES[:, 4])
        current = int(rng.choice(len(_REGIMES), p=others / others.sum()))
        length = max(1, round(rng.exponential(_REGIMES[current, 2]) / hours))
        regimes[position : position + length] = current
        position += length
    return regimes


def _garch(name: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Volatility (mean square about 1) and shocks (variance 1), each of shape (n,)."""
    shock = _stream(seed, name, "shock").standard_t(_SHOCK_FREEDOM, n)
    shock *= np.sqrt((_SHOCK_FREEDOM - 2) / _SHOCK_FREEDOM)
    variance, level = np.empty(n), 1.0
    for i, value in enumerate(shock.tolist()):
        variance[i] = level
        reaction = _GARCH_ALPHA * value * value + _GARCH_BETA
        # The cap keeps one wild shock from making a year of candles unusable.
        level = min(1 - _GARCH_ALPHA - _GARCH_BETA + level * reaction, 25.0)
    return np.sqrt(variance), shock


def _relative_volume(
    spot: str, dates: pd.DatetimeIndex, returns: np.ndarray, scale: np.ndarray, seed: int
) -> np.ndarray:
    """Volume relative to the pair's usual turnover, shape (n,)."""
    weekly = np.where(dates.day_of_week.to_numpy() >= 5, 0.6, 1.1)
    usual = _HOURLY_VOLATILITY * np.sqrt(_hours_per_candle(dates))
    activity = 0.35 + 0.8 * np.abs(returns) / usual + 0.3 * scale / usual
    noise = np.exp(0.7 * _stream(seed, spot, "volume").standard_normal(len(dates)) - 0.245)
    return (1.0 + 0.45 * _daily(dates)) * weekly * activity * noise


def _daily(dates: pd.DatetimeIndex) -> np.ndarray:
    """From -1 to 1: busiest when the American day overlaps the European one."""
    hour = dates.hour.to_numpy() + dates.minute.to_numpy() / 60
    return np.cos((hour - 15.0) * 2 * np.pi / 24)


def _tide(spot: str, dates: pd.DatetimeIndex, seed: int) -> np.ndarray:
    """What volatility is multiplied by, mean square about 1, shape (n,)."""
    shocks = _stream(seed, spot, "volume").standard_normal(len(dates))
    shocks = np.concatenate((np.zeros(LAG), shocks))[: len(dates)]
    level = _CYCLE * _daily(dates) + _AFTER_VOLUME * shocks
    return np.exp(level - np.log(np.i0(2 * _CYCLE)) / 2 - _AFTER_VOLUME**2)
