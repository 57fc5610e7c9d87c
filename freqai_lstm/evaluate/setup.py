"""What is evaluated: a configuration as freqtrade reads it, the strategy, and the candles.

Nothing is written into the user's folder. Where FreqAI's own classes are needed, they get a
scratch copy of the configuration whose user folder is a temporary one.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.configuration import Configuration
from freqtrade.configuration.config_validation import validate_config_consistency
from freqtrade.data.dataprovider import DataProvider
from freqtrade.data.history import get_datahandler, load_pair_history
from freqtrade.enums import CandleType, RunMode, TradingMode
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.plugins.pairlist.pairlist_helpers import expand_pairlist
from freqtrade.resolvers import StrategyResolver

from freqai_lstm.evaluate.scores import Score, find_score


class EvaluationFailed(RuntimeError):
    """The evaluation cannot go on; the message says what was expected, what was got, what to do."""


@dataclass
class Setup:
    """A configuration as freqtrade understands it, the strategy, and where things are.

    `score` is what a strategy makes of its labels, for ScoreStrategy and those derived from it.
    """

    config: dict[str, Any]
    strategy: Any  # an IStrategy; the attributes of a score are no part of that class
    folder: Path  # <userdir>/models/<identifier>
    score: Score | None = None

    @property
    def pairs(self) -> list[str]:
        return list(self.config["exchange"]["pair_whitelist"])

    @property
    def horizon(self) -> int:
        """`label_period_candles`; 0 where the configuration has none."""
        return int(self.config["freqai"]["feature_parameters"].get("label_period_candles", 0))

    def scratch(self, folder: Path) -> dict[str, Any]:
        """A configuration for FreqAI's classes that makes them write into `folder`."""
        config = copy.copy(self.config)
        config["user_data_dir"] = folder
        config["freqai"] = copy.deepcopy(self.config["freqai"])
        if not config.get("freqaimodel_path"):
            config["freqaimodel_path"] = str(self.config["user_data_dir"] / "freqaimodels")
        return config

    def label_frame(self, candles: pd.DataFrame, pair: str) -> pd.DataFrame:
        """The candles that `labels` can be made of: with features where labels need some.

        FreqAI calls `feature_engineering_*` first, so a label may be made of what these add. It
        takes long, so it is done only where the labels cannot be made of the candles alone.

        :param candles: all of the pair's, with `date`.
        """
        try:
            self.strategy.set_freqai_targets(candles.copy(), metadata={"pair": pair})
        except (KeyError, AttributeError):
            with tempfile.TemporaryDirectory() as folder:
                return self.features(candles, pair, self.scratch(Path(folder)))
        return candles

    def features(self, candles: pd.DataFrame, pair: str, scratch: dict[str, Any]) -> pd.DataFrame:
        """Candles with the features of the strategy, as FreqAI makes them.

        :param scratch: a configuration from `scratch`.
        """
        kitchen = FreqaiDataKitchen(scratch, False, pair)
        return kitchen.use_strategy_to_populate_indicators(
            self.strategy, prediction_dataframe=candles, pair=pair
        )

    def labels(self, candles: pd.DataFrame, pair: str) -> pd.DataFrame:
        """The strategy's labels of candles, one column each, and T where it has a score.

        :param candles: from `label_frame`, or with features.
        :return: same index; named as FreqAI names the predictions.
        :raises EvaluationFailed: the strategy makes no numeric label.
        """
        made = self.strategy.set_freqai_targets(candles.copy(), metadata={"pair": pair})
        labels = made[[name for name in made if str(name).startswith("&")]]
        text = [name for name in labels if not pd.api.types.is_numeric_dtype(labels[name])]
        if text or not len(labels.columns):
            got = f"text in {', '.join(map(str, text))}" if text else "none"
            raise EvaluationFailed(
                f"Expected numeric labels (columns that begin with '&') from set_freqai_targets of "
                f"{self.config['strategy']}, got {got}. Only regressions are evaluated."
            )
        labels = labels.astype("float64")
        labels.columns = [str(name).replace(":", "") for name in labels]
        return labels if self.score is None else labels.assign(T=self.score.weigh(labels))


def load_config(args: dict[str, Any]) -> dict[str, Any]:
    """Read the configuration files as `freqtrade backtesting` does.

    :param args: freqtrade's own argument names: config, user_data_dir, datadir, timerange, …
    :raises EvaluationFailed: a file or folder is missing or wrong, or FreqAI is not set up in it.
    """
    datadir = args.get("datadir")
    if datadir is not None and not Path(datadir).is_dir():
        raise EvaluationFailed(
            f"Expected a data folder with candles at {datadir}, there is none. Name it with "
            "--datadir, or download candles with `freqtrade download-data`."
        )
    try:
        config = Configuration(args, RunMode.BACKTEST).get_config()
    except OperationalException as error:
        raise EvaluationFailed(f"freqtrade refuses the configuration: {error}") from error
    freqai = config.get("freqai")
    if not freqai or not freqai.get("enabled", False):
        got = "no freqai block" if not freqai else "freqai.enabled false or missing"
        raise EvaluationFailed(
            f"Expected a configuration with freqai.enabled true, got {got} in "
            f"{', '.join(map(str, args['config']))}. Add the block (see config.example.json) or "
            "name the file that has it with another -c."
        )
    _expand_whitelist(config)
    return config


def _expand_whitelist(config: dict[str, Any]) -> None:
    """Put the pairs that lie on disk in place of patterns, as freqtrade takes the exchange's."""
    handler = get_datahandler(config["datadir"], config.get("dataformat_ohlcv", "feather"))
    kind = config.get("candle_type_def", CandleType.SPOT)
    stored = handler.ohlcv_get_available_data(
        config["datadir"], config.get("trading_mode", TradingMode.SPOT)
    )
    pairs = sorted({pair for pair, _, candle_type in stored if candle_type == kind})
    exchange = config["exchange"]
    exchange["pair_whitelist"] = expand_pairlist(exchange["pair_whitelist"], pairs, True)


def load_setup(config: dict[str, Any]) -> Setup:
    """Load the strategy, with the parameters of its `.json` file, and let it see the candles.

    :param config: from `load_config`, with a `timerange`.
    :raises EvaluationFailed: there is no such strategy, or it was trained for another horizon.
    """
    try:
        strategy = StrategyResolver.load_strategy(config)
        validate_config_consistency(config)
    except OperationalException as error:
        raise EvaluationFailed(
            f"freqtrade refuses the strategy or configuration: {error}"
        ) from error
    config["startup_candle_count"] = strategy.startup_candle_count
    strategy.dp = DataProvider(config, None)
    strategy.freqai_info = config["freqai"]
    # Parameters that a hyperopt run has saved. freqtrade's ft_bot_start would load the model too,
    # and FreqAI then notes this configuration as that of the last run.
    try:
        strategy.bot_start()
    except ValueError as error:
        raise EvaluationFailed(
            f"{config['strategy']} refuses the configuration: {error}"
        ) from error
    strategy.ft_load_hyper_params(False)
    setup = Setup(config, strategy, models_folder(config), find_score(strategy))
    trained = trained_settings(config).get("feature_parameters", {}).get("label_period_candles")
    if trained not in (None, setup.horizon):
        raise EvaluationFailed(
            f"Expected predictions {setup.horizon} candles ahead (label_period_candles of the "
            f"configuration), got a folder {setup.folder} whose last run had {trained}. "
            "Name the configuration of that run, or choose a new freqai.identifier."
        )
    return setup


def models_folder(config: dict[str, Any]) -> Path:
    """Where FreqAI keeps everything of the configured identifier."""
    return Path(config["user_data_dir"]) / "models" / str(config["freqai"]["identifier"])


def trained_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The `freqai` block of the last run with this identifier; {} where FreqAI kept none."""
    path = models_folder(config) / "run_params.json"
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get("freqai", {}))


def load_candles(setup: Setup, pair: str, timeframe: str | None = None) -> pd.DataFrame:
    """All stored candles of a timeframe, the strategy's by default.

    :raises EvaluationFailed: there are none.
    """
    config, timeframe = setup.config, timeframe or setup.config["timeframe"]
    kind = config.get("candle_type_def", CandleType.SPOT)
    candles = load_pair_history(
        pair,
        timeframe,
        config["datadir"],
        data_format=config["dataformat_ohlcv"],
        candle_type=kind,
    )
    if candles.empty:
        raise EvaluationFailed(
            f"Expected {timeframe} candles ({kind}) of {pair} in {config['datadir']}, got none. "
            "Name the right folder with --datadir, or run `freqtrade download-data "
            f"--pairs {pair} --timeframes {timeframe}`."
        )
    return candles
