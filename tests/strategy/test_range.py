"""RangeStrategy: its label, and what the forecast decides: entry, stake and stop."""

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, ROOT, load_plugin
from freqtrade.exceptions import OperationalException
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import stoploss_from_open
from pandas import DataFrame
from test_strategy import all_columns, config, random_walk


RANGE = load_plugin(ROOT / "user_data/strategies/RangeStrategy.py")
LABEL = RANGE.LABEL
HORIZON = 12


def load(name: str = "RangeStrategy", trading_mode: str = "futures", horizon: int = HORIZON) -> Any:
    """The strategy as freqtrade's resolver loads it."""
    return StrategyResolver.load_strategy(config(trading_mode, horizon, strategy=name))


def predicting(strategy: Any, **columns: Any) -> Any:
    """The strategy with a FreqAI that returns these columns beside the candles."""
    strategy.freqai = SimpleNamespace(start=lambda frame, *_: frame.assign(**columns))
    return strategy


def breakouts(rows: int = 200) -> DataFrame:
    """Candles that stand still, then break out upwards (at -2) and downwards (at -1)."""
    candles = random_walk(rows)
    prices = dict.fromkeys(("open", "high", "low", "close"), 100.0)
    candles = candles.assign(**prices)
    candles.loc[rows - 2, "close"], candles.loc[rows - 1, "close"] = 101.0, 99.0
    return candles


def signals(strategy: Any, candles: DataFrame) -> DataFrame:
    """Entries, as freqtrade asks for them."""
    frame = strategy.advise_indicators(candles, {"pair": PAIR})
    return strategy.advise_entry(frame, {"pair": PAIR})


def forecast(middle: float = 0.02, width: float = 1.0, valid: int = 1) -> dict[str, Any]:
    """What the model returns: range `middle`, interval `width` wide in logarithms."""
    log = np.log(middle)
    ends = {LABEL: log, f"{LABEL}_lower": log - width / 2, f"{LABEL}_upper": log + width / 2}
    return {**ends, "do_predict": valid}


def test_the_label_is_the_range_of_the_next_candles() -> None:
    """At one candle the label is the number that its formula gives, at the end it is missing."""
    candles = random_walk(300)
    made = load().set_freqai_targets(candles.copy(), {"pair": PAIR})[LABEL]
    ahead = candles.iloc[101 : 101 + HORIZON]
    expected = np.log(np.log(ahead["high"].max() / ahead["low"].min()))
    assert made.iloc[100] == pytest.approx(expected)
    assert made.iloc[-HORIZON:].isna().all()
    assert made.iloc[HORIZON:-HORIZON].notna().all()


def test_a_market_that_stands_still_has_no_range() -> None:
    """ln 0 is missing, never infinite: FreqAI keeps infinite labels."""
    still = random_walk(50).assign(high=5.0, low=5.0)
    assert RANGE.log_range(still, HORIZON).isna().all()


def test_features_know_nothing_of_later_candles() -> None:
    """Features of a candle are the same when all later candles are missing, and without units."""
    candles, strategy = random_walk(400), load()
    whole, short = all_columns(strategy, candles), all_columns(strategy, candles.iloc[:300])
    features = [column for column in whole if column.startswith("%")]
    pd.testing.assert_frame_equal(short[features], whole[features].iloc[:300])
    prices = ["open", "high", "low", "close"]
    dear = all_columns(strategy, candles.assign(**{name: 1000 * candles[name] for name in prices}))
    pd.testing.assert_frame_equal(dear[features], whole[features])
    assert whole[features].iloc[strategy.startup_candle_count :].notna().all(axis=None)


def test_breakouts_are_entered_where_the_forecast_allows() -> None:
    """One entry on each side, and nothing on the candles before."""
    made = signals(predicting(load(), **forecast()), breakouts())
    assert made["enter_long"].to_numpy().nonzero()[0].tolist() == [198]
    assert made["enter_short"].to_numpy().nonzero()[0].tolist() == [199]


@pytest.mark.parametrize(
    "told",
    [
        forecast(valid=0),
        forecast(valid=2),
        forecast(middle=RANGE.MIN_RANGE * 0.99),
        forecast(width=RANGE.MAX_WIDTH * 1.01),
    ],
    ids=["no prediction", "expired", "range too small", "interval too wide"],
)
def test_no_entry_on_a_forecast_that_says_too_little(told: dict[str, Any]) -> None:
    """Without a valid, large and well-known range no breakout is entered."""
    made = signals(predicting(load(), **told), breakouts())
    assert not made[["enter_long", "enter_short"]].any(axis=None)


def test_a_model_without_an_interval_gives_no_entries_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """LightGBM, say, returns no interval: the backtest runs, and the log names what is missing."""
    with caplog.at_level(logging.WARNING):
        made = signals(predicting(load(), **{LABEL: -4.0, "do_predict": 1}), breakouts())
    assert not made[["enter_long", "enter_short"]].any(axis=None)
    assert "interval" in caplog.text
    assert "LSTMRegressor" in caplog.text


def test_every_stop_costs_the_same() -> None:
    """Stake × stop distance is RISK of the wallet, whatever the range; a stake has a limit."""
    for middle in (0.01, 0.04):
        strategy = with_frame(predicting(load(), **forecast(middle)))
        distance = RANGE.STOP * middle
        stake = strategy.custom_stake_amount(PAIR, leverage=1.0, max_stake=1e9)
        assert stake * distance == pytest.approx(RANGE.RISK * 10_000)
        assert strategy.custom_stake_amount(PAIR, leverage=1.0, max_stake=7.0) == 7.0
        half = strategy.custom_stake_amount(PAIR, leverage=2.0, max_stake=1e9)
        assert half == pytest.approx(stake / 2)


@pytest.mark.parametrize("is_short", [False, True])
def test_the_stop_is_set_when_the_entry_is_filled_and_stays(is_short: bool) -> None:
    """The distance counts from the price of entry, and no later forecast moves it."""
    strategy = with_frame(predicting(load(), **forecast(0.02)))
    trade = SimpleNamespace(is_short=is_short, leverage=1.0)
    set_once = strategy.custom_stoploss(PAIR, trade, current_profit=0.004, after_fill=True)
    distance = RANGE.STOP * 0.02
    assert set_once == pytest.approx(stoploss_from_open(-distance, 0.004, is_short))
    assert strategy.custom_stoploss(PAIR, trade, current_profit=0.1, after_fill=False) is None


def test_a_missing_forecast_leaves_the_newest_one_in_force() -> None:
    """An order that is filled while nothing is predicted gets the stop of the last prediction."""
    told = forecast(0.02) | {"do_predict": [1] * 199 + [0]}
    strategy = with_frame(predicting(load(), **told))
    stake = strategy.custom_stake_amount(PAIR, leverage=1.0, max_stake=1e9)
    assert stake == pytest.approx(RANGE.RISK * 10_000 / (RANGE.STOP * 0.02))


def with_frame(strategy: Any) -> Any:
    """The strategy in a bot with 10 000 in its wallet, which has analysed the breakouts."""
    frame = strategy.advise_indicators(breakouts(), {"pair": PAIR})
    strategy.dp = SimpleNamespace(get_analyzed_dataframe=lambda *_: (frame, None))
    strategy.wallets = SimpleNamespace(get_total_stake_amount=lambda: 10_000.0)
    return strategy


def test_a_trade_lasts_so_many_candles_at_most() -> None:
    """It is left at the first candle that begins HOLD hours after the entry."""
    opened = datetime(2024, 3, 1, tzinfo=UTC)
    trade = SimpleNamespace(open_date_utc=opened)
    leave = opened + timedelta(hours=RANGE.HOLD)
    assert load().custom_exit(PAIR, trade, leave) == "held long enough"
    assert load().custom_exit(PAIR, trade, leave - timedelta(hours=1)) is None


def test_a_horizon_of_zero_is_refused() -> None:
    """The range of no candles is no forecast: the error names the key and a value that works."""
    with pytest.raises(OperationalException, match=r"label_period_candles.*12.*got 0"):
        load(horizon=0).set_freqai_targets(random_walk(50), {"pair": PAIR})


@pytest.mark.parametrize("name", ["RangeStrategy", "RangeStrategyATR"])
def test_both_classes_are_found_in_one_file(name: str) -> None:
    """freqtrade resolves either by its name; only futures can be short."""
    for mode in ("futures", "spot"):
        strategy = load(name, mode)
        assert type(strategy).__name__ == name
        assert strategy.can_short is (mode == "futures")


def test_atr_needs_no_model() -> None:
    """The twin makes the same columns of ATR alone, with an interval of constant width."""
    made = load("RangeStrategyATR").advise_indicators(random_walk(200), {"pair": PAIR})
    known = made.dropna()
    assert len(known) == 200 - RANGE.BREAKOUT
    assert (known["range_lower"] < known["range"]).all()
    width = np.log(known["range_upper"] / known["range_lower"])
    assert width.max() == pytest.approx(width.min())
    assert width.max() < RANGE.MAX_WIDTH
