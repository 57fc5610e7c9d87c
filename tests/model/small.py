"""Four months of generated candles on disk, and what the shared network learns from them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from conftest import PAIR, make_config
from freqtrade.enums import CandleType
from livebot import Momentum
from pandas import DataFrame

from freqai_lstm.market import generate_market
from freqai_lstm.model.forward import Forward
from freqai_lstm.model.labels import LabelSpace
from freqai_lstm.model.network import EXTREMES
from freqai_lstm.model.networks import SharedNetworks
from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.model.record import settings_of
from freqai_lstm.model.shared_network import PairScales, SharedNetwork
from freqai_lstm.model.windows import CandleInputs


HOUR, DAY = 3600, 86_400
PAIRS = (PAIR, "ETH/USDT:USDT")
FEATURES = ["%-return-period_10__1h", "%-hour"]  # as the network names them
BEGIN, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
STOP = int(END.timestamp())  # of the last training window
WINDOW = (STOP - 20 * DAY, STOP)
# Enough for a network that has a share in predictions, in some seconds.
LEARNS = {"epochs": 6, "learning_rate": 0.01, "batch_size": 64, "dropout_rate": 0.0}


class Ranges(Momentum):
    """One label that lies six candles ahead, and two that the newest window tells."""

    def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kwargs: Any) -> DataFrame:
        high, low = dataframe["high"].rolling(6).max(), dataframe["low"].rolling(6).min()
        dataframe["&-range"] = np.log((high / low).shift(-6))
        dataframe["&-since"] = dataframe["high"].rolling(5).apply(np.argmax, raw=True)
        busiest = dataframe["volume"].rolling(4).apply(np.argmax, raw=True)
        dataframe["&-busy"] = (busiest >= 2).where(busiest.notna()).astype(float)
        return dataframe


def history_config(folder: Path, pairs: tuple[str, ...] = PAIRS, **config: Any) -> dict[str, Any]:
    """Make the configuration of a network, and the candles that it learns from; see `make_config`.

    :param pairs: with candles; the whitelist.
    """
    training = {"history_days": 1000, "units": 8, **LEARNS, **config.pop("training", {})}
    made = make_config(folder, training=training, **config)
    made["exchange"]["pair_whitelist"] = list(pairs)
    (folder / "config.json").write_text("{}")  # FreqAI copies it to the models
    if not made["datadir"].exists():
        generate_market(made["datadir"], pairs, start=BEGIN, end=END, timeframes=["1h"])
    return made | {"trading_mode": "futures", "candle_type_def": CandleType.FUTURES}


def networks_of(config: dict[str, Any]) -> SharedNetworks:
    """The shared networks of a process."""
    parameters = read_parameters(config["freqai"]["model_training_parameters"])
    folder = config["user_data_dir"] / "models" / config["freqai"]["identifier"]
    return SharedNetworks(config, parameters, HOUR, folder, settings_of(config, parameters))


def features_of(pair: str) -> list[str]:
    """The names that FreqAI gives a pair's features."""
    return [f"%-return-period_10_{pair.replace(':', '')}_1h", "%-hour"]


def drawn_network(frame: DataFrame, space: LabelSpace, conv_width: int) -> SharedNetwork:
    """A network of seeded weights and one before it, as large as those of the frame would be."""
    inputs = CandleInputs.of(frame, 3600)
    units, channels, heads = 4, 11, len(EXTREMES)
    names = [f"%-x{i}" for i in range(4)]
    columns, found = inputs.columns.shape[1] + 4, units + heads * (channels + 4 + units)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "lstm_1": [(channels + 4, 16), (units, 16), (16,)],
        "states": [(units,), (units,)],
        "scores": [(channels + 4 + units, heads), (heads,)],
        "gate": [(found + columns, 48), (48,)],
        "head_1": [(found + columns, 48), (48,)],
        "head_2": [(48, 32), (32,)],
        "bent": [(32, 2)],
        "line": [(columns, 2), (2,)],
        "left": [(2 * conv_width, 8), (8,)],
        "right": [(2 * conv_width, 8), (8,)],
        "crossed": [(8, 2)],
    }

    def forward(seed: int) -> Forward:
        rng = np.random.default_rng(seed)
        weights = {
            f"{layer}/{n}": rng.normal(0, 0.1, shape).astype(np.float32)
            for layer, parts in shapes.items()
            for n, shape in enumerate(parts)
        }
        return Forward(weights)

    features = frame[names].to_numpy()
    scales = PairScales.fit(inputs, features, np.arange(len(frame)), space)
    both = forward(1), forward(2)
    return SharedNetwork((0, -90 * DAY), both, conv_width, names, True, {PAIR: scales}, {})
