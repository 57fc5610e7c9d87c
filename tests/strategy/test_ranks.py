"""The recipe of docs/own-strategy.md for the best of the pairs, in a real backtest."""

import json
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType

from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import load_newest_backtest, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG


PAIRS = [f"{coin}/USDT:USDT" for coin in ("BTC", "ETH", "SOL", "BNB", "XRP")]
# A column that is known stands for the model's: what is tested is the order of the pairs.
STRATEGY = """
from datetime import timedelta

import numpy as np
import pandas as pd
from freqtrade.exchange import timeframe_to_prev_date, timeframe_to_seconds
from freqtrade.strategy import IStrategy


class Ranked(IStrategy):
    timeframe, stoploss, minimal_roi, forecasts = "1h", -0.9, {"120": -1}, {}

    def populate_indicators(self, df, metadata):
        moves = df["close"].pct_change().abs()
        return df.assign(**{"&-log_volatility": np.log(moves), "do_predict": 1})

    def populate_exit_trend(self, df, metadata):
        return df

"""


def forecasts(folder: Path) -> pd.DataFrame:
    """What the strategy knows of each pair, by the time of the candle."""
    found = {}
    for pair in PAIRS:
        candles = load_pair_history(pair, "1h", folder, candle_type=CandleType.FUTURES)
        moves = candles["close"].pct_change().abs()
        found[pair] = np.log(moves).set_axis(pd.DatetimeIndex(candles["date"]))
    return pd.DataFrame(found)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.slow
def test_only_the_best_pairs_are_entered(tmp_path: Path) -> None:
    """Each trade is of one of the three largest forecasts of the candle before it opened."""
    text = (ROOT / "docs" / "own-strategy.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(
        r"^```python\n(def populate_entry_trend[^`]+confirm_trade_entry[^`]+)```", text, re.M
    )
    strategies = tmp_path / "user_data" / "strategies"
    strategies.mkdir(parents=True)
    (strategies / "Ranked.py").write_text(STRATEGY + textwrap.indent(recipe, "    "))
    start, stop = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 20, tzinfo=UTC)
    generate_market(tmp_path / "data", PAIRS, start=start, end=stop, timeframes=["1h"])
    more: dict[str, Any] = {"freqai": {"enabled": False}, "max_open_trades": 5, "stake_amount": 100}
    more["exchange"] = {"pair_whitelist": PAIRS}
    (tmp_path / "more.json").write_text(json.dumps(more))
    with LoopbackExchange(tmp_path / "data") as exchange:
        files = [EXAMPLE_CONFIG, tmp_path / "more.json", exchange.write_config(tmp_path / "u.json")]
        options = [word for file in files for word in ("-c", str(file))]
        options += ["--userdir", str(tmp_path / "user_data"), "--datadir", str(tmp_path / "data")]
        run_freqtrade(["backtesting", *options, "-s", "Ranked", "--cache", "none"])
    _, trades = load_newest_backtest(tmp_path / "user_data", "Ranked")
    ranks = forecasts(tmp_path / "data").rank(axis=1, ascending=False)
    rows = ranks.index.get_indexer(pd.Index(trades["open_date"] - pd.Timedelta("1h")))
    found = ranks.to_numpy()[rows, ranks.columns.get_indexer(pd.Index(trades["pair"]))]
    assert len(found) > 100
    assert found.max() == 3
    assert {*trades["pair"]} == {*PAIRS}
