"""The generated market: the same each time, sane as candles, and readable by freqtrade."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from freqtrade.data.history import load_pair_history
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import CandleType, TradingMode
from pandas.testing import assert_frame_equal
from sklearn.linear_model import LinearRegression
from typer.testing import CliRunner

from freqai_lstm.exchange.candles import CandleStore
from freqai_lstm.market import (
    generate_market,
    known_volatility,
    market,
    pair_for_mode,
    resample_candles,
)


START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "ANYTHING/USDT:USDT")


@pytest.fixture(scope="module")
def datadir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three perpetuals, three months."""
    folder = tmp_path_factory.mktemp("market") / "data" / "binance"
    generate_market(folder, PAIRS, start=START, end=END)
    return folder


def load(
    folder: Path, pair: str, timeframe: str = "1h", kind: CandleType = CandleType.FUTURES
) -> pd.DataFrame:
    """Candles as a backtest reads them, except that gaps are not filled."""
    return load_pair_history(
        pair, timeframe, folder, fill_up_missing=False, drop_incomplete=False, candle_type=kind
    )


def test_same_seed_gives_the_same_bytes(datadir: Path, tmp_path: Path) -> None:
    """Another process with the same arguments writes bit-identical files."""
    options = ["--datadir", str(tmp_path), "--start", "2024-01-01", "--end", "2024-04-01"]
    options += [part for pair in PAIRS for part in ("--pairs", pair)]
    subprocess.run(
        [sys.executable, "-m", "freqai_lstm", "market", *options],
        # Python's own hash() differs between processes; this one must differ for sure.
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=True,
    )
    files = sorted(path.name for path in (datadir / "futures").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "futures").iterdir())
    for name in files:
        ours, theirs = (folder / "futures" / name for folder in (datadir, tmp_path))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_another_seed_gives_another_market(datadir: Path, tmp_path: Path) -> None:
    """The seed decides the path of the prices."""
    generate_market(tmp_path, PAIRS[:1], start=START, end=END, seed=2)
    ours, other = load(datadir, PAIRS[0]), load(tmp_path, PAIRS[0])
    assert not np.allclose(ours["close"], other["close"])


def test_later_end_and_fewer_pairs_change_no_candle(datadir: Path, tmp_path: Path) -> None:
    """A pair's candles depend on neither the other pairs nor on what comes later."""
    later = datetime(2024, 5, 1, tzinfo=UTC)
    generate_market(tmp_path, PAIRS[1:2], start=START, end=later)
    ours, longer = load(datadir, PAIRS[1]), load(tmp_path, PAIRS[1])
    assert len(longer) == len(ours) + 30 * 24
    assert_frame_equal(ours, longer.iloc[: len(ours)])


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("timeframe", ["1h", "4h"])
def test_candles_are_consistent(datadir: Path, pair: str, timeframe: str) -> None:
    """Low and high enclose open and close, opens follow closes, and no candle is missing."""
    candles = load(datadir, pair, timeframe)
    assert (candles["low"] <= candles[["open", "close"]].min(axis=1)).all()
    assert (candles["high"] >= candles[["open", "close"]].max(axis=1)).all()
    assert (candles["low"] > 0).all()
    assert (candles["volume"] > 0).all()
    assert np.allclose(candles["open"].iloc[1:], candles["close"].iloc[:-1], rtol=1e-9)
    assert (candles["date"].diff().iloc[1:] == pd.Timedelta(timeframe)).all()
    assert candles["date"].iloc[0] == pd.Timestamp(START)
    assert candles["date"].iloc[-1] == pd.Timestamp(END) - pd.Timedelta(timeframe)


def test_price_levels_differ(datadir: Path) -> None:
    """Known pairs start near their usual price; any other name has a positive one."""
    opens = [load(datadir, pair)["open"].iloc[0] for pair in PAIRS]
    assert opens[0] == pytest.approx(40_000)
    assert opens[1] == pytest.approx(2_500)
    assert 0.05 < opens[2] < 400


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_returns_look_like_a_market(tmp_path: Path, seed: int) -> None:
    """Fat tails, clustered volatility, no memory in the sign, volume with the moves."""
    end = datetime(2024, 12, 1, tzinfo=UTC)
    generate_market(tmp_path, PAIRS[:2], start=START, end=end, timeframes=["1h"], seed=seed)
    returns = {}
    for pair in PAIRS[:2]:
        candles = load(tmp_path, pair)
        moves = np.log(candles["close"]).diff().dropna()
        returns[pair] = moves
        assert 0.002 < moves.std() < 0.02
        assert moves.kurt() > 2
        assert moves.abs().autocorr(1) > 0.1
        assert moves.abs().autocorr(24) > 0.03
        assert abs(moves.autocorr(1)) < 0.12
        assert moves.abs().corr(candles["volume"].iloc[1:]) > 0.3
        afternoon = candles["volume"][candles["date"].dt.hour == 15].mean()
        assert afternoon > 1.5 * candles["volume"][candles["date"].dt.hour == 3].mean()
    assert returns[PAIRS[0]].corr(returns[PAIRS[1]]) > 0.4


def log_range(candles: pd.DataFrame, ahead: int) -> pd.Series:
    """Logarithm of the log range of the next candles, by date."""
    candles = candles.set_index("date")
    high, low = candles["high"].rolling(ahead).max(), candles["low"].rolling(ahead).min()
    return pd.Series(np.log(np.log(high / low))).shift(-ahead)


@pytest.mark.parametrize("pair", PAIRS[:2])
def test_so_much_of_the_range_can_be_known(datadir: Path, pair: str) -> None:
    """The docstring's shares of variance: hidden state 0.65, cycle 0.15, lagged volume 0.1."""
    candles = load(datadir, pair)
    realised = log_range(candles, 6).rename("y")
    dates = pd.DatetimeIndex(realised.index)
    hour = pd.Series(np.cos((dates.hour - 15) * np.pi / 12), dates)
    move = log_range(candles, 1).shift(1)
    # What neither hour, weekend nor the candle's own range explains of its turnover.
    turnover = pd.Series(np.log((candles["volume"] * candles["close"]).to_numpy()), dates)
    usual = np.column_stack([move.fillna(move.mean()), hour, dates.day_of_week >= 5])
    shock = turnover - LinearRegression().fit(usual, turnover).predict(usual)
    past, shocks = (
        pd.concat({(name, lag): column.shift(lag) for lag in range(6)}, axis=1)
        for name, column in {"move": move, "shock": shock}.items()
    )
    cycle = hour.rolling(6).mean().shift(-6)

    def r2(*explaining: pd.Series | pd.DataFrame) -> float:
        rows = pd.concat([realised, *explaining], axis=1).dropna().to_numpy()
        return float(LinearRegression().fit(rows[:, 1:], rows[:, 0]).score(rows[:, 1:], rows[:, 0]))

    assert 0.55 < r2(np.log(known_volatility(pair, dates, 6))) < 0.8
    assert 0.05 < r2(cycle) < 0.25
    assert 0.05 < r2(past, cycle, shocks) - r2(past, cycle) < 0.25


def test_known_volatility_takes_nothing_from_later_candles(datadir: Path) -> None:
    """What is known at a candle is the same when the market ends there."""
    dates = pd.DatetimeIndex(load(datadir, PAIRS[1])["date"])
    whole, early = (known_volatility(PAIRS[1], part, 12) for part in (dates, dates[:1000]))
    assert np.allclose(whole.iloc[:1000], early, rtol=1e-12)


def test_longer_timeframe_is_the_shorter_one_joined(datadir: Path) -> None:
    """Each 4h candle equals its four 1h candles, computed by hand."""
    hours, longer = load(datadir, PAIRS[0]), load(datadir, PAIRS[0], "4h")
    for i in (0, 7, len(longer) - 1):
        four = hours.iloc[4 * i : 4 * i + 4]
        row = longer.iloc[i]
        assert row["date"] == four["date"].iloc[0]
        assert (row["open"], row["close"]) == (four["open"].iloc[0], four["close"].iloc[-1])
        assert (row["high"], row["low"]) == (four["high"].max(), four["low"].min())
        assert row["volume"] == pytest.approx(four["volume"].sum())


def test_resampling_leaves_out_what_is_not_whole() -> None:
    """A longer candle that begins before the data or ends after it is dropped."""
    dates = pd.date_range("2024-01-01 01:00", periods=10, freq="1h", tz="UTC")
    prices = dict.fromkeys(["open", "high", "low", "close", "volume"], 1.0)
    longer = resample_candles(pd.DataFrame({"date": dates, **prices}), "4h")
    assert list(longer["date"]) == [pd.Timestamp("2024-01-01 04:00", tz="UTC")]


def test_futures_come_with_mark_and_funding(datadir: Path) -> None:
    """Mark candles follow the traded price at 1h; funding is due at 0, 8 and 16 o'clock."""
    for pair in PAIRS:
        candles = load(datadir, pair)
        mark = load(datadir, pair, kind=CandleType.MARK)
        funding = load(datadir, pair, kind=CandleType.FUNDING_RATE)
        assert list(mark["date"]) == list(candles["date"])
        assert np.allclose(mark["close"], candles["close"], rtol=1e-3)
        assert set(funding["date"].dt.hour) == {0, 8, 16}
        assert len(funding) == 3 * 91
        assert funding["funding_rate"].abs().max() <= 7.5e-4
        assert funding["funding_rate"].std() > 0


def test_funding_rates_for_older_freqtrade(
    datadir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older freqtrade stores candles' columns of any frame; the rate is in `open` then."""

    class Older:
        def ohlcv_store(self, pair: str, timeframe: str, data: pd.DataFrame, kind: CandleType):
            stored[kind] = data.loc[:, ["date", "open", "high", "low", "close", "volume"]]

    stored: dict[CandleType, pd.DataFrame] = {}
    monkeypatch.setattr("freqai_lstm.market.get_datahandler", lambda *_: Older())
    generate_market(tmp_path, PAIRS[:1], start=START, end=END)
    funding = load(datadir, PAIRS[0], kind=CandleType.FUNDING_RATE)
    assert np.array_equal(stored[CandleType.FUNDING_RATE]["open"], funding["funding_rate"])

    store = CandleStore(datadir)
    monkeypatch.setattr(store, "_load", lambda *_: stored[CandleType.FUNDING_RATE])
    found = store.funding(store.market("futures", "BTCUSDT"))
    assert np.array_equal(found["funding_rate"], funding["funding_rate"])


def test_freqtrade_lists_the_files(datadir: Path) -> None:
    """freqtrade's data handler finds each pair, timeframe and candle type by the file names."""
    handler = get_datahandler(datadir, "feather")
    found = set(handler.ohlcv_get_available_data(datadir, TradingMode.FUTURES))
    expected = set()
    for pair in PAIRS:
        expected |= {(pair, "1h", CandleType.FUTURES), (pair, "4h", CandleType.FUTURES)}
        expected |= {(pair, "1h", CandleType.MARK), (pair, "1h", CandleType.FUNDING_RATE)}
    assert found == expected


def test_spot_has_the_same_prices_and_no_funding(datadir: Path, tmp_path: Path) -> None:
    """The perpetual and the spot pair of one name move together."""
    generate_market(tmp_path, PAIRS[:1], start=START, end=END, trading_mode="spot")
    spot = load(tmp_path, "BTC/USDT", kind=CandleType.SPOT)
    assert_frame_equal(spot, load(datadir, "BTC/USDT:USDT"))
    assert not (tmp_path / "futures").exists()


def test_minute_candles(tmp_path: Path) -> None:
    """Short timeframes are generated too; the 1h mark candles are joined from them."""
    day = datetime(2024, 1, 3, tzinfo=UTC)
    generate_market(tmp_path, PAIRS[:1], start=START, end=day, timeframes=["5m", "15m"])
    assert len(load(tmp_path, PAIRS[0], "5m")) == 2 * 288
    assert len(load(tmp_path, PAIRS[0], "15m")) == 2 * 96
    assert len(load(tmp_path, PAIRS[0], "1h", CandleType.MARK)) == 48


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trading_mode": "margin"}, "use 'spot' or 'futures'"),
        ({"pairs": []}, r"one pair .*got \[\] and"),
        ({"pairs": ["BTCUSDT"]}, "is not BASE/QUOTE"),
        ({"timeframes": ["4h"], "end": START}, "move the end"),
        ({"timeframes": ["45m"]}, "cannot be made from 45m"),
        ({"timeframes": ["1h", "1w"]}, "one day at most"),
        ({"timeframes": [], "trading_mode": "spot"}, r"one timeframe, got .* and \[\]"),
    ],
)
def test_refusals_say_what_would_fit(tmp_path: Path, wrong: dict, message: str) -> None:
    """An argument that does not fit is refused by name."""
    arguments = {"pairs": PAIRS, "start": START, "end": END} | wrong
    pairs = arguments.pop("pairs")
    with pytest.raises(ValueError, match=message):
        generate_market(tmp_path, pairs, **arguments)


def test_pair_for_mode() -> None:
    """Both notations of a pair are taken in both modes."""
    assert pair_for_mode("BTC/USDT", "futures") == "BTC/USDT:USDT"
    assert pair_for_mode("BTC/USDT:USDT", "futures") == "BTC/USDT:USDT"
    assert pair_for_mode("BTC/USDT:USDT", "spot") == "BTC/USDT"


def test_command_line(tmp_path: Path) -> None:
    """`market` writes the files and says that they are generated; a refusal exits with 1."""
    app = typer.Typer()
    app.command()(market)
    days = ["--start", "2024-01-01", "--end", "2024-01-05", "--trading-mode", "spot"]
    args = ["--datadir", str(tmp_path), *days, "--pairs"]
    written = CliRunner().invoke(app, [*args, "SOL/USDT"])
    assert written.exit_code == 0
    assert "not real data" in written.output
    assert len(load(tmp_path, "SOL/USDT", kind=CandleType.SPOT)) == 96
    refused = CliRunner().invoke(app, [*args, "SOLUSDT"])
    assert refused.exit_code == 1
    assert "BASE/QUOTE" in refused.stderr
