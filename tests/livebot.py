"""A bot's LSTMRegressor in memory, for tests of what happens live between two candles."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from conftest import PAIR
from freqtrade.configuration import TimeRange
from freqtrade.enums import CandleType, RunMode
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.strategy import IStrategy
from pandas import DataFrame

from freqai_lstm.model.hybrid import PairModel


FIRST, SECOND = 1709251200, 1709337600  # 2024-03-01 and 2024-03-02


class Momentum(IStrategy):
    """The smallest FreqAI strategy: two features and a label that they decide."""

    timeframe = "1h"
    stoploss = -0.1

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        return self.freqai.start(dataframe, metadata, self)

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict, **kwargs: Any
    ) -> DataFrame:
        dataframe["%-return-period"] = dataframe["close"].pct_change(period)
        return dataframe

    def feature_engineering_standard(
        self, dataframe: DataFrame, metadata: dict, **kwargs: Any
    ) -> DataFrame:
        dataframe["%-hour"] = dataframe["date"].dt.hour
        return dataframe

    def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kwargs: Any) -> DataFrame:
        dataframe["&-return"] = dataframe["close"].pct_change(2)
        return dataframe


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow above `size` bytes: writing more fails as on a full disk."""
    import resource  # not on Windows, where the other tests run

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def candles(rows: int, start: str = "2024-02-01", seed: int = 1) -> DataFrame:
    """A seeded random walk of hourly candles."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, rows)))
    dates = pd.date_range(start, periods=rows, freq="h", tz="UTC")
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return DataFrame({"date": dates, **prices, "volume": 1.0})


class LiveBot:
    """LSTMRegressor as a bot has it, with a strategy and 600 candles of each pair in memory."""

    def __init__(
        self,
        lstm: ModuleType,
        config: dict[str, Any],
        pairs: tuple[str, ...] = (PAIR,),
        strategy: type[IStrategy] = Momentum,
    ) -> None:
        config["exchange"]["pair_whitelist"] = list(pairs)
        self.config = config | {
            "runmode": RunMode.DRY_RUN,
            "candle_type_def": CandleType.SPOT,
            "entry_pricing": {},
            "exit_pricing": {},
        }
        del self.config["timerange"]
        self.freqai = lstm.LSTMRegressor(config=self.config)
        self.dd = self.freqai.dd
        self.waited: list[float] = []  # seconds that the training thread would have waited
        self.freqai._stop_event.wait = self.waited.append
        self.freqai.live = True
        self.strategy = self.freqai.strategy = strategy(self.config)
        self.strategy.dp = SimpleNamespace(runmode=RunMode.DRY_RUN)
        self.dd.historic_data = {}
        for pair in pairs:
            self.join(pair)

    def join(self, pair: str, rows: int = 600) -> None:
        """Let a pair with so many candles join the bot."""
        self.dd.set_pair_dict_info({"pair": pair})
        seed = len(self.dd.historic_data) + 1
        self.dd.historic_data[pair] = {"1h": candles(rows, seed=seed)}

    def train(self, stamp: int, pair: str = PAIR) -> PairModel:
        """Train a pair on the candles up to `stamp`, as the scanning thread does."""
        dk = FreqaiDataKitchen(self.config, True, pair)
        dk.set_paths(pair, stamp)
        window = TimeRange("date", "date", 1706745600 + 86400, stamp)
        whole = TimeRange("date", "date", 1706745600, SECOND)
        self.freqai.extract_data_and_train_model(window, pair, self.strategy, dk, whole)
        return self.dd.model_dictionary[pair]

    def new_candle(self, rows: int) -> DataFrame:
        """Predict as `start_live` does when the strategy's frame ends with candle `rows`.

        :returns: what the strategy gets: its candles with the predictions.
        """
        dk = self.freqai.dk = FreqaiDataKitchen(self.config, True, PAIR)
        trained = self.dd.get_pair_dict_info(PAIR)[1]
        self.freqai.model = self.dd.load_data(PAIR, dk)
        frame = dk.use_strategy_to_populate_indicators(
            self.strategy, prediction_dataframe=candles(rows).tail(300), pair=PAIR
        )
        if not self.freqai.model:
            self.dd.return_null_values_to_strategy(frame, dk)
            return dk.return_dataframe
        dk.find_labels(frame)
        self.freqai.build_strategy_return_arrays(frame.reset_index(drop=True), dk, PAIR, trained)
        return dk.return_dataframe
