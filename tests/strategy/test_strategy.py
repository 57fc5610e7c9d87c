"""Features, targets, signals and trading modes of ScoreStrategy, loaded as freqtrade loads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from freqtrade.enums import CandleType, RunMode
from freqtrade.exceptions import StrategyError
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy.hyper import detect_all_parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pandas import DataFrame


ROOT = Path(__file__).resolve().parents[2]
CANDLES = ROOT.parent / "shared" / "candles" / "futures"
TERMS = ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")
LABELS = [f"&-t_{term}" for term in TERMS]
PAIR = "BTC/USDT:USDT"
WARM_UP = 99
# Features in the unit of the labels, 1 / quote currency.
PRICED = ("%-score_t_", "%-open_t_", "%-label_scale")


def config(trading_mode: str = "futures", horizon: Any = 0, **extra: Any) -> dict[str, Any]:
    futures = trading_mode == "futures"
    return {
        "strategy": "ScoreStrategy",
        "user_data_dir": ROOT / "user_data",
        "stake_currency": "USDT",
        "stake_amount": 100,
        "timeframe": "1h",
        "trading_mode": trading_mode,
        "margin_mode": "isolated" if futures else "",
        "candle_type_def": CandleType.FUTURES if futures else CandleType.SPOT,
        "runmode": RunMode.BACKTEST,
        "exchange": {"name": "binance", "pair_whitelist": [PAIR]},
        "entry_pricing": {},
        "exit_pricing": {},
        "freqai": {
            "enabled": True,
            "identifier": "test",
            "train_period_days": 30,
            "backtest_period_days": 7,
            "feature_parameters": {
                "include_timeframes": ["1h", "4h"],
                "include_corr_pairlist": ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"],
                "label_period_candles": horizon,
                "include_shifted_candles": 0,
                "indicator_periods_candles": [10, 20],
            },
            "data_split_parameters": {"test_size": 0.2},
        },
        **extra,
    }


def load(trading_mode: str = "futures", horizon: Any = 0, **extra: Any) -> Any:
    strategy = StrategyResolver.load_strategy(config(trading_mode, horizon, **extra))
    strategy.ft_load_hyper_params()
    return strategy


FUTURES, SPOT = load("futures"), load("spot")


def random_walk(rows: int, seed: int = 1, price: float = 100.0) -> DataFrame:
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.006, rows)))
    opened = np.roll(close, 1)
    opened[0] = price
    wick = np.abs(rng.normal(0, 0.003, (2, rows)))
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


def all_columns(strategy: Any, candles: DataFrame) -> DataFrame:
    """Features and labels of one pair and timeframe, as FreqAI asks for them."""
    metadata = {"pair": PAIR, "tf": "1h"}
    frames = [
        strategy.feature_engineering_expand_all(candles.copy(), 10, metadata).add_suffix("_10"),
        strategy.feature_engineering_expand_all(candles.copy(), 20, metadata).add_suffix("_20"),
        strategy.feature_engineering_expand_basic(candles.copy(), metadata),
        strategy.feature_engineering_standard(candles.copy(), metadata),
        strategy.set_freqai_targets(candles.copy(), metadata),
    ]
    return pd.concat([f[[c for c in f if c[0] in "%&"]] for f in frames], axis=1)


def predictions(values: np.ndarray, do_predict: Any = 1, std: float = 1.0) -> DataFrame:
    """A frame as FreqAI returns it: one predicted value for each label and candle."""
    frame = random_walk(len(values), seed=3)
    frame[LABELS] = values
    frame[[f"{label}_mean" for label in LABELS]] = 0.0
    frame[[f"{label}_std" for label in LABELS]] = std
    frame["do_predict"] = do_predict
    return frame


def signals(strategy: Any, frame: DataFrame) -> DataFrame:
    return strategy.ft_advise_signals(frame.copy(), {"pair": PAIR})


SIGNALS = ["enter_long", "enter_short", "exit_long", "exit_short"]


def random_predictions(rows: int = 300, seed: int = 5) -> DataFrame:
    return predictions(np.random.default_rng(seed).normal(0, 1.5, (rows, 9)))


def use(strategy: Any, **parameters: float) -> Any:
    """A strategy whose parameters hyperopt or a parameter file has set."""
    for name, value in parameters.items():
        getattr(strategy, name).value = value
    return strategy


# ----------------------------------------------------------------- features and targets


@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_labels_are_the_terms_of_a_later_candle(horizon):
    """Label t is term t + horizon, so only the last `horizon` labels are missing."""
    candles = random_walk(400)
    now = load(horizon=0).set_freqai_targets(candles.copy(), {})[LABELS]
    later = load(horizon=horizon).set_freqai_targets(candles.copy(), {})[LABELS]
    pd.testing.assert_frame_equal(later, now.shift(-horizon))
    assert later[WARM_UP : 400 - horizon].notna().all(axis=None)
    assert later[400 - horizon :].isna().all(axis=None)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(120, 399), horizon=st.sampled_from([0, 1, 5]))
def test_the_future_changes_nothing_of_the_past(cut, horizon):
    """Cutting candles off the end changes no feature, and only the last `horizon` labels."""
    strategy = use(load(horizon=horizon))
    candles = random_walk(400)
    full = all_columns(strategy, candles)[:cut]
    known = all_columns(strategy, candles[:cut])
    labels = [column for column in full if column[0] == "&"]
    assert labels == LABELS
    pd.testing.assert_frame_equal(known.drop(columns=labels), full.drop(columns=labels))
    pd.testing.assert_frame_equal(known[labels][: cut - horizon], full[labels][: cut - horizon])
    assert known[labels][cut - horizon :].isna().all(axis=None)


def test_startup_candles_are_enough():
    """A frame that begins later gives the same features once its startup candles have passed."""
    candles = random_walk(1200)
    late = candles[500:].reset_index(drop=True)
    start = FUTURES.startup_candle_count
    full = all_columns(FUTURES, candles)[500 + start :].reset_index(drop=True)
    restarted = all_columns(FUTURES, late)[start:].reset_index(drop=True)
    assert restarted.notna().all(axis=None)
    apart = (full - restarted).abs().max() / full.std()
    assert apart.max() < 1e-3, apart.sort_values().tail()


def test_features_have_no_unit():
    """Prices times 1 000 and volumes times 10 change no feature but the terms of the score."""
    candles = random_walk(500)
    scaled = candles.copy()
    scaled[["open", "high", "low", "close"]] *= 1000
    scaled["volume"] *= 10
    expected = all_columns(FUTURES, candles).filter(regex="^%")
    priced = [column for column in expected if column.startswith(PRICED)]
    assert len(priced) == 2 * len(TERMS) + 1
    expected[priced] /= 1000  # 1 / quote currency, the unit of the labels
    result = all_columns(FUTURES, scaled)[expected.columns]
    pd.testing.assert_frame_equal(result, expected, rtol=1e-6)


def test_features_are_complete_and_sane_after_the_warm_up():
    """No feature is missing, infinite or constant on a market that moves, and none is huge."""
    columns = all_columns(FUTURES, random_walk(3000))
    features = columns[[c for c in columns if c[0] == "%"]][WARM_UP:]
    assert features.columns.is_unique
    assert np.isfinite(features).all(axis=None)
    assert (features.std() > 0).all()
    free_of_units = [c for c in features if not c.startswith(PRICED)]
    assert features[free_of_units].abs().quantile(0.99).max() < 100


@pytest.mark.parametrize("still", ["price", "volume"])
def test_a_market_that_stands_still_gives_missing_values(still):
    """Without price moves or without volume no row is complete, and nothing is infinite."""
    candles = random_walk(400)
    columns = ["volume"] if still == "volume" else ["open", "high", "low", "close"]
    candles.loc[200:, columns] = 0.0 if still == "volume" else candles.loc[199, "close"]
    result = all_columns(FUTURES, candles)
    assert not np.isinf(result).any(axis=None)
    features = result[[c for c in result if c[0] == "%"]]
    assert features[:200].notna().all(axis=1).sum() == 200 - WARM_UP
    assert features[230:].isna().any(axis=1).all()
    assert result[230:][LABELS].isna().any(axis=1).all()


def test_dates_of_any_type():
    """Object dates, as live training can hand them over, give the same time features."""
    candles = random_walk(200)
    mixed = candles.assign(date=candles["date"].astype(object))
    assert mixed["date"].dtype == object
    expected = FUTURES.feature_engineering_standard(candles, {})
    result = FUTURES.feature_engineering_standard(mixed, {})
    time = ["%-hour_sin", "%-hour_cos", "%-day_sin", "%-day_cos"]
    pd.testing.assert_frame_equal(result[time], expected[time])
    # 2024-01-01 was a Monday; 06:00 is a quarter of the way round.
    assert result[time].iloc[6].tolist() == pytest.approx([1, 0, 0, 1])
    assert result["date"].dtype == object  # the caller's own column is left alone


def test_freqai_expands_the_features(tmp_path):
    """FreqAI's own data kitchen builds two periods, two timeframes and three pairs of features."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    settings_ = config(timerange="20240201-20240220", config_files=[str(path)])
    settings_["user_data_dir"] = tmp_path
    kitchen = FreqaiDataKitchen(settings_, live=False, pair=PAIR)
    pairs = settings_["freqai"]["feature_parameters"]["include_corr_pairlist"]
    frames = {}
    for seed, pair in enumerate(pairs):
        base = random_walk(1200, seed=seed)
        coarse = base.resample("4h", on="date").agg(
            {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
        )
        frames[pair] = {"1h": base, "4h": coarse.reset_index()}
    corr = {pair: frames[pair] for pair in pairs if pair != PAIR}
    result = kitchen.use_strategy_to_populate_indicators(
        FUTURES, corr_dataframes=corr, base_dataframes=dict(frames[PAIR]), pair=PAIR
    )
    features = [column for column in result if column.startswith("%")]
    assert len(features) == 3 * 2 * (2 * 10 + 3) + 53
    assert "%-rsi-period_20_ETH/USDT:USDT_4h" in features
    assert np.isfinite(result[features][300:]).all(axis=None)


# --------------------------------------------------------------------------------- signals


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(float, (40, 9), elements=st.floats(-50, 50)),
    threshold_buy=st.floats(-1, 2),
    threshold_sell=st.floats(-2, 1),
    do_predict=arrays(int, 40, elements=st.sampled_from([0, 1, 2])),
)
def test_long_and_short_never_both(values, threshold_buy, threshold_sell, do_predict):
    """No prediction, and no threshold either, enters both sides or enters and leaves one side."""
    strategy = use(load(), threshold_buy=threshold_buy, threshold_sell=threshold_sell)
    frame = signals(strategy, predictions(values, do_predict))
    assert not (frame["enter_long"] & frame["enter_short"]).any()
    assert not (frame["exit_long"] & frame["exit_short"]).any()
    assert not (frame["enter_long"] & frame["exit_long"]).any()
    assert not (frame["enter_short"] & frame["exit_short"]).any()
    assert (frame.loc[frame["do_predict"] != 1, SIGNALS] == 0).all(axis=None)


def test_signals_by_hand():
    """The weighed prediction over the label standard deviation is compared with the thresholds."""
    strategy = use(load(), threshold_buy=0.5, threshold_sell=-0.2)
    levels = np.array([1.2, 0.8, 0.0, -0.3, -0.5, -0.8, -1.2, 0.5])
    # Equal labels weigh to themselves; with all deviations 2 the unit is 2.
    frame = signals(strategy, predictions(np.repeat(levels[:, None], 9, axis=1), std=2.0))
    assert frame["T_hat"].tolist() == pytest.approx(levels / 2)
    assert frame["enter_long"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert frame["exit_long"].tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert frame["enter_short"].tolist() == [0, 0, 0, 0, 0, 0, 1, 0]
    assert frame["exit_short"].tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    assert frame["enter_tag"].iloc[[0, 6]].tolist() == ["enter_long_score", "enter_short_score"]
    assert frame["enter_tag"].iloc[1:6].isna().all()


def test_turned_predictions_give_turned_signals():
    """Predictions with the sign turned swap long and short, so neither side is favoured."""
    frame = random_predictions()
    turned = frame.copy()
    turned[LABELS] = -turned[LABELS]
    there, back = signals(FUTURES, frame), signals(FUTURES, turned)
    assert there[SIGNALS].sum().min() > 0
    for long, short in (("enter_long", "enter_short"), ("exit_long", "exit_short")):
        assert there[long].tolist() == back[short].tolist()
        assert there[short].tolist() == back[long].tolist()


@pytest.mark.parametrize("do_predict", [0, 2, -1])
def test_only_valid_predictions_trade(do_predict):
    """Outliers and the zeros of an expired model give neither entries nor exits."""
    frame = signals(FUTURES, random_predictions().assign(do_predict=do_predict))
    assert (frame[SIGNALS] == 0).all(axis=None)
    assert frame["T_hat"].isna().all()


def test_no_volume_no_trade():
    """A candle in which nothing was traded gives no signal."""
    frame = signals(FUTURES, random_predictions().assign(volume=0.0))
    assert (frame[SIGNALS] == 0).all(axis=None)


@pytest.mark.parametrize("std", [0.0, np.nan, np.inf])
def test_no_std_no_trade(std):
    """Without a label standard deviation, as on the first live candle, there is no signal."""
    frame = random_predictions()
    frame[[f"{label}_std" for label in LABELS]] = std
    frame = signals(FUTURES, frame)
    assert (frame[SIGNALS] == 0).all(axis=None)
    assert frame["T_hat"].isna().all()


def test_deviations_that_are_not_there_are_named(caplog):
    """Without FreqAI's deviations there is no signal, and the log says what is missing."""
    frame = signals(FUTURES, random_predictions().drop(columns="&-t_obv_std"))
    assert (frame[SIGNALS] == 0).all(axis=None)
    assert "&-t_obv_std" in caplog.text


def test_pairs_of_any_price_trade_alike():
    """Labels a hundred times as large, with their deviations, give the same signals."""
    frame = random_predictions()
    large = frame.copy()
    stds = [f"{label}_std" for label in LABELS]
    large[LABELS + stds] *= 100
    there, here = signals(FUTURES, frame), signals(FUTURES, large)
    assert there["enter_long"].sum() > 0
    pd.testing.assert_frame_equal(there[SIGNALS], here[SIGNALS])
    np.testing.assert_allclose(there["T_hat"], here["T_hat"])


def test_weights_count_relative_to_their_sum():
    """Weights times two give the same signals; other weights give others."""
    frame = random_predictions()
    base = signals(FUTURES, frame)[SIGNALS]
    doubled = {f"{term}_w": 2 * weight for term, weight in FUTURES.weights.items()}
    pd.testing.assert_frame_equal(signals(use(load(), **doubled), frame)[SIGNALS], base)
    for term in TERMS:
        changed = signals(use(load(), **{f"{term}_w": 0.9}), frame)[SIGNALS]
        assert not changed.equals(base), term


def test_all_weights_zero_is_no_signal():
    """Nine zero weights give no signal, and no division by zero."""
    with np.errstate(all="raise"):
        frame = signals(use(load(), **{f"{t}_w": 0.0 for t in TERMS}), random_predictions())
    assert (frame[SIGNALS] == 0).all(axis=None)


# ---------------------------------------------------------------------- modes and hyperopt


def test_one_file_for_spot_and_futures():
    """The same file is long only in spot and long and short in futures."""
    assert FUTURES.can_short is True
    assert SPOT.can_short is False
    frame = random_predictions()
    spot, futures = signals(SPOT, frame), signals(FUTURES, frame)
    assert (spot[["enter_short", "exit_short"]] == 0).all(axis=None)
    assert futures["enter_short"].sum() > 0
    assert spot["enter_long"].tolist() == futures["enter_long"].tolist()
    assert "enter_short_score" not in set(spot["enter_tag"])


def test_hyperopt_finds_the_parameters():
    """freqtrade detects weights and entry threshold, exit threshold and protections by space."""
    found = {space: set(names) for space, names in detect_all_parameters(load()).items()}
    assert found == {
        "buy": {f"{term}_w" for term in TERMS} | {"threshold_buy"},
        "sell": {"threshold_sell"},
        "protection": {"cooldown", "stoploss_pause", "drawdown_pause"},
    }
    assert FUTURES.threshold_buy.low > 0
    assert FUTURES.threshold_sell.high <= 0


def test_parameters_change_neither_features_nor_labels():
    """What hyperopt searches cannot make a training stale."""
    candles = random_walk(300)
    changed = use(load(), ma_w=0.9, rsi_w=0.0, threshold_buy=1.5, threshold_sell=-1.0)
    pd.testing.assert_frame_equal(all_columns(changed, candles), all_columns(FUTURES, candles))


def test_protections_follow_their_parameters():
    """A searched protection parameter arrives in freqtrade's protections."""
    strategy = use(load(), cooldown=7, stoploss_pause=11, drawdown_pause=13)
    durations = {p["method"]: p["stop_duration_candles"] for p in strategy.protections}
    assert durations == {"CooldownPeriod": 7, "StoplossGuard": 11, "MaxDrawdown": 13}
    StrategyResolver.validate_strategy(strategy)


@pytest.mark.parametrize("horizon", [-1, 1.5, True, "3"])
def test_impossible_horizon_stops_the_bot(horizon):
    """A horizon that is no number of candles stops at the start, not inside a training."""
    strategy = load(horizon=horizon)
    strategy.load_freqAI_model = lambda: None  # loading a model is another file's test
    with pytest.raises(StrategyError, match="label_period_candles must be a whole number"):
        strategy.ft_bot_start()


class PerfectForesight:
    """Stands where a trained model would: predicts the labels of each candle as they are."""

    def start(self, dataframe: DataFrame, metadata: dict, strategy: Any) -> DataFrame:
        labels = strategy.set_freqai_targets(dataframe.copy(), metadata)[LABELS]
        frame = dataframe.copy()
        frame[LABELS] = labels.fillna(0.0)
        for label in LABELS:
            frame[f"{label}_mean"] = labels[label].mean()
            frame[f"{label}_std"] = labels[label].std()
        frame["do_predict"] = labels.notna().all(axis=1).astype(int)
        return frame


def test_plot_shows_the_score_at_its_candle():
    """A perfect prediction of the same candle lies on T, and every column of the plot exists."""
    strategy = load()
    strategy.freqai = PerfectForesight()
    frame = signals(strategy, strategy.advise_indicators(random_walk(800), {"pair": PAIR}))
    known = frame["T_hat"].notna()
    assert known.sum() == 800 - WARM_UP
    np.testing.assert_allclose(frame["T_hat"][known], frame["T"][known])
    drawn = set(strategy.plot_config["main_plot"]).union(*strategy.plot_config["subplots"].values())
    # A model without intervals, and that tells nothing of itself, is drawn all the same.
    of_lstm = {"asinh_T_hat_lower", "asinh_T_hat_upper", "lstm_r2", "lstm_coverage"}
    assert drawn - of_lstm <= set(frame)
    assert strategy.ft_plot_annotations(PAIR, frame) == []
    assert frame[["enter_long", "enter_short"]].sum().min() > 0


def test_plot_columns_do_not_know_the_future():
    """With a horizon, T still stands at its own candle and is known when that candle closes."""
    strategy = load(horizon=2)
    strategy.freqai = PerfectForesight()
    frame = signals(strategy, strategy.advise_indicators(random_walk(400), {"pair": PAIR}))
    ahead = frame["T_hat"].shift(2)
    both = ahead.notna() & frame["T"].notna()
    assert both.sum() > 200
    np.testing.assert_allclose(ahead[both], frame["T"][both])


def test_the_band_is_the_weighted_sum_of_the_ends():
    """Ends of the terms are weighed as the terms are, where a candle was predicted."""
    strategy = load()
    strategy.freqai = PerfectForesight()
    frame = strategy.advise_indicators(random_walk(400), {"pair": PAIR})
    for label in LABELS:
        frame[f"{label}_lower"] = frame[label] - 2 * frame[f"{label}_std"]
        frame[f"{label}_upper"] = frame[label] + frame[f"{label}_std"]
    frame = signals(strategy, frame)
    known = frame["T_hat"].notna()
    weights = np.array(list(strategy.weights.values())) / sum(strategy.weights.values())
    stds = frame[[f"{label}_std" for label in LABELS]].to_numpy()
    apart = stds @ weights / np.sqrt((stds**2).mean(axis=1))
    for end, steps in (("lower", -2), ("upper", 1)):
        drawn = np.sinh(frame[f"asinh_T_hat_{end}"])
        assert (drawn.notna() == known).all()
        np.testing.assert_allclose(drawn[known], (frame["T_hat"] + steps * apart)[known])


def test_hyperopt_frames_carry_no_plot_columns():
    """In hyperopt the signals are the same and the plot's columns are not made."""
    searched, plain = load(runmode=RunMode.HYPEROPT), load()
    frames = []
    for strategy in (searched, plain):
        strategy.freqai = PerfectForesight()
        frame = strategy.advise_indicators(random_walk(400), {"pair": PAIR})
        frames.append(signals(strategy, frame))
    pd.testing.assert_frame_equal(frames[0][SIGNALS], frames[1][SIGNALS])
    assert not {"T", "t_ma", "sma_100", "asinh_T", "do_predict_not_1"} & set(frames[0])


def test_the_plot_shows_spikes_thresholds_and_what_is_not_predicted():
    """Score and thresholds are drawn as their asinh, `do_predict` only where it is not 1."""
    strategy = load()
    strategy.freqai = PerfectForesight()
    frame = strategy.advise_indicators(random_walk(400), {"pair": PAIR})
    frame["do_predict"] = np.arange(len(frame)) % 3
    frame = signals(strategy, frame)
    for name in ("T", "T_hat"):
        np.testing.assert_allclose(np.sinh(frame[f"asinh_{name}"]), frame[name])
    lines = {
        "long_above": 0.5,
        "short_below": -0.5,
        "exit_long_below": -0.1,
        "exit_short_above": 0.1,
    }
    for name, level in lines.items():
        np.testing.assert_allclose(np.sinh(frame[f"asinh_{name}"]), level)
    unpredicted = frame["do_predict"] != 1
    assert frame["do_predict_not_1"].notna().equals(unpredicted)
    assert set(frame["do_predict_not_1"].dropna()) == {0, 2}


@pytest.mark.parametrize("pair", ["BTC", "ETH", "SOL", "BNB"])
def test_the_true_score_trades_at_a_sane_pace(pair):
    """The default threshold on the real score enters 0.2 to 3 times a day, on both sides."""
    path = CANDLES / f"{pair}_USDT_USDT-1h-futures.feather"
    if not path.is_file():
        pytest.skip("real candles are looked for in ../shared/candles and are not there")
    strategy = load()
    strategy.freqai = PerfectForesight()
    frame = signals(strategy, strategy.advise_indicators(pd.read_feather(path), {"pair": PAIR}))
    days = len(frame) / 24
    fresh = {side: (frame[side].diff() == 1).sum() / days for side in SIGNALS[:2]}
    assert 0.2 < sum(fresh.values()) < 3
    assert min(fresh.values()) > 0.1
