"""A backtest's trades as money, against a candle by candle account of the same orders."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from saved import FEE, PAIRS, User, market

from freqai_lstm.evaluate.trades import CASH, HOLD, Result, equity, find_result, money, verdict


FIRST, LAST = (pd.Timestamp(day, tz="UTC") for day in ("2024-04-11", "2024-04-30 23:00"))
BTC, ETH = PAIRS


@pytest.fixture
def user(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user with candles."""
    return User(tmp_path, market(tmp_path_factory))


def some(user: User) -> list[dict[str, Any]]:
    """Longs and a short of both pairs, one with funding, one filled within a candle."""
    return [
        user.trade(BTC, "2024-04-11 05:00", 30),
        user.trade(ETH, "2024-04-12 00:00", 100, short=True, funding=-2.5),
        user.trade(BTC, "2024-04-20 12:30", 1),
        user.trade(ETH, "2024-04-29 00:00", 40),
    ]


def read(user: User) -> Result:
    """The newest result of the known run."""
    found = find_result(user.userdir, "ScoreStrategy", "known", FIRST, LAST)
    assert found
    return found


def by_date(user: User) -> dict[str, pd.DataFrame]:
    """Candles of both pairs, by date."""
    return {pair: user.candles(pair).set_index("date") for pair in PAIRS}


def account(
    user: User, trades: list[dict[str, Any]], slippage: float, fee: float = FEE
) -> pd.Series:
    """The wallet at each close, candle by candle and trade by trade."""
    closes = pd.DataFrame({pair: of["close"] for pair, of in by_date(user).items()})[FIRST:LAST]
    values = []
    for date in closes.index:
        wallet = 10_000.0
        for trade in trades:
            enter, leave = trade["orders"]
            opened, closed = (
                pd.Timestamp(of["order_filled_timestamp"], unit="ms", tz="UTC")
                for of in (enter, leave)
            )
            end = date + pd.Timedelta(hours=1)
            if end <= opened:
                continue
            side, amount = -1 if trade["is_short"] else 1, enter["amount"]
            price = leave["safe_price"] if end > closed else closes.loc[date, trade["pair"]]
            wallet += side * amount * (price - enter["safe_price"])
            wallet -= (fee + slippage) * amount * enter["safe_price"]
            if end > closed:
                wallet += trade["funding_fees"] - (fee + slippage) * amount * leave["safe_price"]
        values.append(wallet)
    return pd.Series(values, closes.index)


def test_equity_equals_an_account_of_every_candle(user: User) -> None:
    """Longs, shorts, fees, funding and slippage; the last value is freqtrade's own balance."""
    trades = some(user)
    user.save_result(trades)
    result, candles = read(user), by_date(user)
    closes = pd.DataFrame({pair: of["close"] for pair, of in candles.items()})[FIRST:LAST]
    for slippage in (0.0, 0.001):
        found = equity(result, closes, slippage)
        np.testing.assert_allclose(found, account(user, trades, slippage), rtol=1e-12)
    final = 10_000 + sum(trade["profit_abs"] for trade in trades)
    assert equity(result, closes).iloc[-1] == pytest.approx(final)


def test_money_equals_an_independent_calculation(user: User) -> None:
    """Profit, drawdown and Sharpe of every cost, buy-and-hold, and the fee that breaks even."""
    trades = some(user)
    user.save_result(trades)
    candles = by_date(user)
    found, equities = money(read(user), candles, {"user_data_dir": user.userdir}, {})
    for name, slippage, fee in (
        ("before fees", 0.0, 0.0),
        ("fees, 0 bp slippage", 0.0, FEE),
        ("fees, 5 bp slippage", 0.0005, FEE),
        ("fees, 10 bp slippage", 0.001, FEE),
    ):
        wallet, of = account(user, trades, slippage, fee), found["costs"][name]
        assert of["profit"] == pytest.approx(wallet.iloc[-1] / 10_000 - 1)
        highest = np.maximum.accumulate([10_000, *wallet])[1:]
        assert of["drawdown"] == pytest.approx(np.min(wallet.to_numpy() / highest - 1))
        ends = wallet.to_numpy()[23::24]
        daily = ends / [10_000, *ends[:-1]] - 1
        ratio = daily.mean() / daily.std() * np.sqrt(365)
        assert of["sharpe"]["value"] == pytest.approx(ratio)
        assert of["sharpe"]["low"] < ratio < of["sharpe"]["high"]
    held = np.mean([of["close"][LAST] / of["open"][FIRST] - 1 for of in candles.values()])
    assert found["costs"][HOLD]["profit"] == pytest.approx(held)
    assert found["costs"][CASH]["profit"] == 0
    assert np.isnan(found["costs"][CASH]["sharpe"]["value"])
    assert list(equities) == ["strategy", HOLD, CASH]
    assert found["fee"] == pytest.approx(FEE)
    even = account(user, trades, 0.0, found["break_even"])
    assert even.iloc[-1] == pytest.approx(10_000)


def test_the_newest_fitting_result_is_chosen(user: User) -> None:
    """Newer ones of another identifier, strategy or range are passed over."""
    user.save_result([], "2024-05-01_00-00-00")
    wanted = user.save_result([], "2024-05-02_00-00-00")
    user.save_result([], "2024-05-03_00-00-00", freqai_identifier="other")
    user.save_result([], "2024-05-04_00-00-00", strategy_name="Other")
    early = {"backtest_start_ts": 1_700_000_000_000, "backtest_end_ts": 1_700_100_000_000}
    user.save_result([], "2024-05-05_00-00-00", **early)
    assert read(user).file == wanted.name
    assert find_result(user.userdir, "ScoreStrategy", "absent", FIRST, LAST) is None


@pytest.mark.parametrize(
    ("words", "deflated", "tone"),
    [
        (("better", "better"), None, "good"),
        (("better", "better"), 0.5, "neutral"),
        (("better", "no difference that this range can show"), None, "neutral"),
        (("worse", "better"), None, "bad"),
    ],
)
def test_verdict_on_trades(words: tuple[str, str], deflated: float | None, tone: str) -> None:
    """Green only where cash and buy-and-hold are beaten, and the search does not explain it."""
    figures = {"profit": 0.1, "drawdown": -0.1, "sharpe": {}}
    found = verdict(
        {
            "file": "x.zip",
            "range": "a to b",
            "days": 100,
            "trades": 12,
            "profit": 0.1,
            "costs": {HOLD: figures, "fees, 5 bp slippage": figures},
            "fee": 0.0005,
            "break_even": 0.001,
            "sharpe": {"value": 1.0, "low": 0.1, "high": 2.0},
            "above_zero": 0.9,
            "tried": 20,
            "deflated": deflated,
            "differences": {
                name: {"word": word} for name, word in zip((CASH, HOLD), words, strict=True)
            },
        }
    )
    assert found["tone"] == tone
    assert any("10.0 basis points" in caveat for caveat in found["caveats"])
    assert any("30 trades" in caveat for caveat in found["caveats"])
    assert any("20 parameter sets" in caveat for caveat in found["caveats"]) == bool(deflated)


def test_without_trades_nothing_is_judged(user: User) -> None:
    """A result without a trade is neutral and has no break-even fee."""
    user.save_result([])
    found, _ = money(read(user), by_date(user), {"user_data_dir": user.userdir}, {})
    assert found["verdict"]["tone"] == "neutral"
    assert found["break_even"] is None
    assert found["profit"] == 0
