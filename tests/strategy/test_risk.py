"""RiskStrategy: its label, and what the forecast decides: stake, adjustment, stop and leverage."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR, ROOT, load_plugin
from freqtrade.exceptions import OperationalException
from freqtrade.persistence import FtNoDBContext, LocalTrade
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import stoploss_from_open
from pandas import DataFrame
from test_strategy import all_columns, config, random_walk

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import load_newest_backtest, run_freqtrade
from freqai_lstm.market import generate_market


RISK = load_plugin(ROOT / "user_data/strategies/RiskStrategy.py")
LABEL = RISK.LABEL
HORIZON, WALLET, YEAR = 24, 10_000.0, 365 * 24
ROWS = RISK.SLOW + 100
NOW = datetime(2024, 3, 1, tzinfo=UTC)
OTHERS = ["ETH/USDT:USDT", "SOL/USDT:USDT"]


def load(trading_mode: str = "futures", horizon: int = HORIZON, stake: Any = "unlimited") -> Any:
    """The strategy as freqtrade's resolver loads it."""
    settings = config(trading_mode, horizon, strategy="RiskStrategy", stake_amount=stake)
    return StrategyResolver.load_strategy(settings)


def predicting(strategy: Any, **columns: Any) -> Any:
    """The strategy with a FreqAI that returns these columns beside the candles."""
    strategy.freqai = SimpleNamespace(start=lambda frame, *_: frame.assign(**columns))
    return strategy


def forecast(volatility: float = 0.5, width: float = 0.8, valid: Any = 1) -> dict[str, Any]:
    """What the model returns: `volatility` of a year, an interval `width` wide in logarithms."""
    log = np.log(volatility / np.sqrt(YEAR))
    ends = {LABEL: log, f"{LABEL}_lower": log - width / 2, f"{LABEL}_upper": log + width / 2}
    return {**ends, "do_predict": valid}


def turning(rows: int = ROWS) -> DataFrame:
    """Candles that rise for all but the last SLOW candles, then fall."""
    steps = np.where(np.arange(rows) < rows // 2, 0.001, -0.001)
    close = 100 * np.exp(np.cumsum(steps))
    return random_walk(rows).assign(open=close, high=close, low=close, close=close)


def signals(strategy: Any, candles: DataFrame) -> DataFrame:
    """Entries and exits, as freqtrade asks for them."""
    frame = strategy.advise_indicators(candles, {"pair": PAIR})
    frame = strategy.advise_entry(frame, {"pair": PAIR})
    return strategy.advise_exit(frame, {"pair": PAIR})


@pytest.fixture(autouse=True)
def _no_database() -> Iterator[None]:
    """Trades are kept as in a backtest."""
    with FtNoDBContext("1h"):
        LocalTrade.bt_trades_open = []
        yield
        LocalTrade.bt_trades_open = []


def in_bot(told: dict[str, dict[str, Any]], seeds: tuple[int, ...] = (1, 2, 3)) -> Any:
    """The strategy in a bot with WALLET, which has analysed BTC, ETH and SOL.

    :param told: pair → what the model returns; a volatility of 0.5 where it is not there.
    """
    strategy, frames = load(), {}
    for pair, seed in zip([PAIR, *OTHERS], seeds, strict=True):
        predicting(strategy, **told.get(pair, forecast()))
        frames[pair] = signals(strategy, random_walk(ROWS, seed))
    strategy.dp = SimpleNamespace(
        get_analyzed_dataframe=lambda pair, _: (frames.get(pair, DataFrame()), None),
        current_whitelist=lambda: [PAIR, *OTHERS],
        frames=frames,
    )
    strategy.wallets = SimpleNamespace(get_total_stake_amount=lambda: WALLET)
    return strategy


def opened(pair: str, is_short: bool = False, **more: Any) -> LocalTrade:
    """An open trade of freqtrade's own kind, one of those that the strategy finds."""
    made = LocalTrade(
        id=len(LocalTrade.bt_trades_open) + 1,
        pair=pair,
        is_short=is_short,
        is_open=True,
        exchange="binance",
        open_rate=100.0,
        fee_open=0.0,
        fee_close=0.0,
        **{"leverage": 1.0, "stake_amount": 100.0, "amount": 1.0, "open_date": NOW, **more},
    )
    LocalTrade.bt_trades_open.append(made)
    return made


def stake(strategy: Any, pair: str = PAIR, side: str = "long", leverage: float = 1.0) -> float:
    """The stake of an entry, without a limit of the exchange."""
    return strategy.custom_stake_amount(pair, leverage=leverage, max_stake=1e9, side=side)


def test_the_label_is_the_volatility_of_the_next_candles() -> None:
    """At one candle the label is the number that its formula gives, at the end it is missing."""
    candles = random_walk(300)
    made = load().set_freqai_targets(candles.copy(), {"pair": PAIR})[LABEL]
    returns = np.diff(np.log(candles["close"].to_numpy()[100 : 101 + HORIZON]))
    assert made.iloc[100] == pytest.approx(np.log(np.sqrt(np.mean(returns**2))))
    assert made.iloc[-HORIZON:].isna().all()
    assert made.iloc[HORIZON:-HORIZON].notna().all()


def test_a_market_that_stands_still_has_no_volatility() -> None:
    """ln 0 is missing, never infinite: FreqAI keeps infinite labels."""
    assert RISK.log_volatility(random_walk(50).assign(close=5.0), HORIZON).isna().all()


def test_features_know_nothing_of_later_candles() -> None:
    """Features of a candle are the same when all later candles are missing, and without units."""
    candles, strategy = random_walk(700), load()
    whole, short = all_columns(strategy, candles), all_columns(strategy, candles.iloc[:600])
    features = [column for column in whole if column.startswith("%")]
    pd.testing.assert_frame_equal(short[features], whole[features].iloc[:600])
    prices = ["open", "high", "low", "close"]
    dear = all_columns(strategy, candles.assign(**{name: 1000 * candles[name] for name in prices}))
    pd.testing.assert_frame_equal(dear[features], whole[features])
    assert whole[features].iloc[strategy.startup_candle_count :].notna().all(axis=None)


def test_the_expected_volatility_is_that_of_a_lognormal_variable() -> None:
    """It is the root of the mean square of what the interval says, which is above the median."""
    made = RISK.with_volatility(DataFrame([forecast(0.5, 0.8)]), YEAR).iloc[0]
    drawn = np.exp(np.random.default_rng(1).normal(np.log(0.5), 0.8 / 2 / 1.2816, 1_000_000))
    assert made["volatility"] == pytest.approx(np.sqrt(np.mean(drawn**2)), rel=3e-3)
    assert made["volatility_upper"] == pytest.approx(np.quantile(drawn, 0.9), rel=3e-3)
    assert made["volatility_lower"] == pytest.approx(np.quantile(drawn, 0.1), rel=3e-3)


def test_trends_are_entered_and_left_when_they_turn() -> None:
    """Long while the averages rise, short while they fall; the exit comes with the crossing."""
    made = signals(predicting(load(), **forecast()), turning(2000))
    up = made["trend_fast"] > made["trend_slow"]
    assert made["enter_long"].sum() > 0
    assert made["enter_short"].sum() > 0
    assert up[made["enter_long"] == 1].all()
    assert not up[made["enter_short"] == 1].any()
    assert (made["exit_long"] == (~up & made["trend_slow"].notna())).all()
    assert (made["exit_short"] == up).all()


@pytest.mark.parametrize(
    "told",
    [forecast(valid=0), forecast(valid=2), forecast(volatility=np.nan)],
    ids=["no prediction", "expired", "missing"],
)
def test_no_entry_without_a_forecast(told: dict[str, Any]) -> None:
    """A candle that was not predicted opens nothing, whatever number FreqAI filled in."""
    made = signals(predicting(load(), **told), turning(2000))
    assert not made[["enter_long", "enter_short"]].any(axis=None)
    assert made[["exit_long", "exit_short"]].any(axis=None)


def test_a_model_without_an_interval_gives_no_entries_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """LightGBM, say, returns no interval: the backtest runs, and the log names what is missing."""
    with caplog.at_level(logging.WARNING):
        made = signals(predicting(load(), **{LABEL: -4.0, "do_predict": 1}), turning(2000))
    assert not made[["enter_long", "enter_short"]].any(axis=None)
    assert "interval" in caplog.text
    assert "LSTMRegressor" in caplog.text


def test_the_book_has_the_target_and_its_positions_equal_risk() -> None:
    """With the correlations of the candles, three sized positions have a volatility of TARGET."""
    told = {PAIR: forecast(0.9), OTHERS[0]: forecast(0.6), OTHERS[1]: forecast(1.2)}
    strategy = in_bot(told)
    book = {PAIR: 1, OTHERS[0]: -1, OTHERS[1]: 1}
    values = np.array([strategy.share(pair, book) for pair in book])
    frames = [strategy.dp.frames[pair].iloc[-RISK.CORRELATION :] for pair in book]
    returns = np.diff(np.log([of["close"].to_numpy() for of in frames]))
    volatilities = np.array([of["volatility"].iloc[-1] for of in frames])
    risks = values * volatilities
    assert risks == pytest.approx(np.full(3, risks[0]))
    signed = risks * [*book.values()]
    assert np.sqrt(signed @ np.corrcoef(returns) @ signed) == pytest.approx(RISK.TARGET)


def test_the_stake_counts_the_positions_that_are_open() -> None:
    """A second position of equal risk, uncorrelated, has 1/√2 of the risk of a single one."""
    strategy = in_bot({PAIR: forecast(1.0)})
    alone = stake(strategy)
    expected = strategy.dp.frames[PAIR]["volatility"].iloc[-1]
    assert alone * expected == pytest.approx(RISK.TARGET * WALLET)
    opened(OTHERS[0])
    assert stake(strategy) == pytest.approx(alone / np.sqrt(2), rel=0.1)
    assert stake(strategy, leverage=2.0) == pytest.approx(stake(strategy) / 2)
    assert strategy.custom_stake_amount(PAIR, leverage=1.0, max_stake=7.0, side="long") == 7.0


def test_a_hedge_does_not_make_a_book_safer_than_one_of_its_positions() -> None:
    """Two pairs that move alike, one long and one short, get no more than one alone would."""
    strategy = in_bot({PAIR: forecast(1.0)}, seeds=(1, 1, 3))
    alone = stake(strategy)
    opened(OTHERS[0], is_short=True)
    assert stake(strategy) == pytest.approx(alone)
    LocalTrade.bt_trades_open = []
    opened(OTHERS[0])
    assert stake(strategy) == pytest.approx(alone / 2)


def test_caps_hold_where_the_forecast_is_very_low() -> None:
    """No position is above PAIR_CAP of the wallet and no book above BOOK_CAP."""
    told = {pair: forecast(0.001) for pair in (PAIR, *OTHERS)}
    strategy = in_bot(told)
    assert stake(strategy) == pytest.approx(RISK.PAIR_CAP * WALLET)
    book = {PAIR: 1, OTHERS[0]: 1, OTHERS[1]: 1}
    assert sum(strategy.share(pair, book) for pair in book) <= RISK.BOOK_CAP
    many = {f"{number}/USDT:USDT": number for number in range(12)}
    strategy._at, strategy._volatility = many, np.full(12, 0.01)
    strategy._correlation, strategy._now = np.eye(12), strategy.dp.frames[PAIR]["date"].iloc[-1]
    strategy.dp.frames |= dict.fromkeys(many, strategy.dp.frames[PAIR])
    whole = dict.fromkeys(many, 1)
    assert sum(strategy.share(pair, whole) for pair in whole) == pytest.approx(RISK.BOOK_CAP)


@pytest.mark.parametrize("missing", [PAIR, OTHERS[0]])
def test_a_missing_forecast_of_any_position_is_no_trade_and_no_adjustment(
    missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it the book's risk is not known; the log says why nothing was entered."""
    strategy = in_bot({missing: forecast(valid=0)})
    opened(OTHERS[0])
    held = opened(PAIR, amount=1e-6)
    assert adjustment(strategy, held) is None
    with caplog.at_level(logging.WARNING):
        assert stake(strategy) == 0.0
    assert PAIR in caplog.text


def test_a_forecast_counts_until_its_horizon_is_over() -> None:
    """The newest forecast sizes positions for HORIZON candles more, and then none does."""
    for missing, known in ((HORIZON, True), (HORIZON + 1, False)):
        valid = [1] * (ROWS - missing) + [0] * missing
        assert (stake(in_bot({PAIR: forecast(valid=valid)})) > 0) is known


def adjustment(strategy: Any, trade: LocalTrade, hours: float = 0) -> float | None:
    """What the strategy says so many hours after the trade was opened."""
    return strategy.adjust_trade_position(
        trade, current_time=NOW + timedelta(hours=hours), max_stake=1e9
    )


def test_too_large_is_reduced_at_once_and_too_small_after_a_horizon() -> None:
    """Within BUFFER of the wanted size nothing happens; else it comes to the wanted size."""
    strategy = in_bot({PAIR: forecast(1.0)})
    frame = strategy.dp.frames[PAIR]
    is_short = bool(frame["exit_long"].iloc[-1])
    wanted = stake(strategy) / frame["close"].iloc[-1]
    near = opened(PAIR, is_short, amount=wanted * (1 + 0.9 * RISK.BUFFER))
    assert adjustment(strategy, near, 100) is None
    LocalTrade.bt_trades_open = []
    large = opened(PAIR, is_short, amount=2 * wanted, stake_amount=600.0)
    assert adjustment(strategy, large) == pytest.approx(-300.0)
    LocalTrade.bt_trades_open = []
    small = opened(PAIR, is_short, amount=wanted / 2, leverage=2.0)
    assert adjustment(strategy, small, HORIZON - 0.1) is None
    missing = wanted / 2 * frame["close"].iloc[-1]
    assert adjustment(strategy, small, HORIZON) == pytest.approx(missing / 2)


def test_a_position_whose_trend_has_turned_is_not_adjusted() -> None:
    """It is closed with the next order, so another one would cost fees for nothing."""
    strategy = in_bot({})
    against = not strategy.dp.frames[PAIR]["exit_long"].iloc[-1]
    assert adjustment(strategy, opened(PAIR, against, amount=1e6), 100) is None


@pytest.mark.parametrize(("volatility", "leverage"), [(0.5, 4.0), (2.5, 1.0), (1.5, 2.0)])
def test_liquidation_lies_beyond_two_stops(volatility: float, leverage: float) -> None:
    """The leverage is a whole number, MAX_LEVERAGE at most and 1 at least."""
    strategy = in_bot({PAIR: forecast(volatility)})
    assert strategy.leverage(PAIR, max_leverage=50.0) == leverage
    assert strategy.leverage(PAIR, max_leverage=1.0) == 1.0
    distance = strategy.dp.frames[PAIR]["stop_distance"].iloc[-1]
    assert distance == pytest.approx(RISK.STOP * volatility * np.exp(0.4) * np.sqrt(HORIZON / YEAR))
    assert leverage * distance <= 0.5 or leverage == 1.0


@pytest.mark.parametrize("is_short", [False, True])
def test_the_stop_is_set_when_the_entry_is_filled_and_stays(is_short: bool) -> None:
    """The distance counts from the price of entry; no later forecast or order moves it."""
    strategy = in_bot({})
    orders = {"nr_of_successful_entries": 1, "nr_of_successful_exits": 0}
    trade = SimpleNamespace(is_short=is_short, leverage=2.0, **orders)
    set_once = strategy.custom_stoploss(PAIR, trade, current_profit=0.004, after_fill=True)
    distance = 2 * strategy.dp.frames[PAIR]["stop_distance"].iloc[-1]
    assert set_once == pytest.approx(stoploss_from_open(-distance, 0.004, is_short, 2.0))
    assert strategy.custom_stoploss(PAIR, trade, current_profit=0.1, after_fill=False) is None
    for more in orders:
        later = SimpleNamespace(**{**vars(trade), more: orders[more] + 1})
        assert strategy.custom_stoploss(PAIR, later, current_profit=0.1, after_fill=True) is None


def test_a_configuration_with_which_it_would_do_something_else_is_refused() -> None:
    """The errors name the key, a value that works, the file that has it, and what was got."""
    with pytest.raises(OperationalException, match=r"label_period_candles.*24.*risk.*got 0"):
        load(horizon=0).bot_start()
    with pytest.raises(OperationalException, match=r"stake_amount.*unlimited.*risk.*got 100"):
        load(stake=100).bot_start()
    load().bot_start()


def test_only_futures_can_be_short() -> None:
    """The same file is long only in spot."""
    assert load("futures").can_short is True
    assert load("spot").can_short is False


@pytest.mark.slow
def test_it_runs_with_the_configuration_that_ships(tmp_path: Path) -> None:
    """The real freqtrade trades both ways, adjusts positions and keeps the caps."""
    start, end = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 6, 21, tzinfo=UTC)
    pairs = ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "BNB/USDT:USDT"]
    generate_market(tmp_path / "data", pairs, start=start, end=end)
    small = tmp_path / "small.json"
    small.write_text(
        '{"freqai": {"train_period_days": 60, "model_training_parameters": {"history_days": 0}}}'
    )
    userdir = tmp_path / "user_data"
    userdir.mkdir()
    with LoopbackExchange(tmp_path / "data") as exchange:
        files = [ROOT / "config.example.json", ROOT / "config.risk.json", small]
        files.append(exchange.write_config(tmp_path / "endpoints.json"))
        run_freqtrade(
            [
                *("backtesting", "-s", "RiskStrategy", "--freqaimodel", "LSTMRegressor"),
                *("--timerange", "20240601-20240621", "--cache", "none"),
                *("--userdir", str(userdir), "--datadir", str(tmp_path / "data")),
                *("--strategy-path", str(ROOT / "user_data/strategies")),
                *("--freqaimodel-path", str(ROOT / "user_data/freqaimodels")),
                *(part for file in files for part in ("-c", str(file))),
            ]
        )
    _, trades = load_newest_backtest(userdir, "RiskStrategy")
    assert set(trades["is_short"]) == {False, True}
    assert (trades["orders"].map(len) > 2).any()
    values = trades["stake_amount"] * trades["leverage"]
    assert values.max() < 1.2 * RISK.PAIR_CAP * WALLET
    assert set(trades["leverage"]) <= {1.0, 2.0, 3.0, 4.0}
    saved = userdir / "models" / "lstm-risk-1" / "backtesting_predictions"
    once = trades[trades["orders"].map(lambda of: sum(order["ft_is_entry"] for order in of)) == 1]
    assert (once["orders"].map(len) > 2).any()
    for pair, of in once.groupby("pair"):
        files = sorted(saved.glob(f"cb_{str(pair).split('/')[0].lower()}_*.feather"))
        told = RISK.with_volatility(pd.concat(map(pd.read_feather, files)), YEAR).set_index("date")
        upper = told["volatility_upper"].reindex(of["open_date"] - pd.Timedelta(hours=1))
        distance = RISK.STOP * np.sqrt(HORIZON / YEAR) * upper.to_numpy()
        found = (of["stop_loss_abs"] / of["open_rate"] - 1).abs().to_numpy()
        assert found == pytest.approx(distance, rel=0.1)  # fees are in it
