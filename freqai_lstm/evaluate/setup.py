"""What is evaluated: a configuration as freqtrade reads it, the strategy, and the candles.

Nothing is written into the user's folder. Where FreqAI's own classes are needed, they get a
scratch copy of the configuration whose user folder is a temporary one.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from freqtrade.configuration import Configuration
from freqtrade.configuration.config_validation import validate_config_consistency
from freqtrade.data.dataprovider import DataProvider
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType, RunMode
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import IStrategy


# What is used of ScoreStrategy.py, so that labels, weights and units are the strategy's own.
FORMULAS = ("LABELS", "targets", "score", "weigh", "label_scale", "label_horizon")


class EvaluationFailed(RuntimeError):
    """The evaluation cannot go on; the message says what was expected, what was got, what to do."""


@dataclass
class Setup:
    """A configuration as freqtrade understands it, the strategy, and where things are."""

    config: dict[str, Any]
    strategy: Any  # an IStrategy with ScoreStrategy's weights and threshold_buy
    formulas: SimpleNamespace
    horizon: int
    folder: Path  # <userdir>/models/<identifier>

    @property
    def pairs(self) -> list[str]:
        return list(self.config["exchange"]["pair_whitelist"])

    @property
    def threshold(self) -> float:
        """`threshold_buy`, in units of the label scale."""
        return float(self.strategy.threshold_buy.value)

    def scratch(self, folder: Path, **freqai: Any) -> dict[str, Any]:
        """A configuration for FreqAI's classes that makes them write into `folder`.

        :param freqai: replaces keys of the `freqai` block.
        """
        config = copy.copy(self.config)
        config["user_data_dir"] = folder
        config["freqai"] = copy.deepcopy(self.config["freqai"]) | freqai
        if not config.get("freqaimodel_path"):
            config["freqaimodel_path"] = str(self.config["user_data_dir"] / "freqaimodels")
        return config


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
    return config


def load_setup(config: dict[str, Any]) -> Setup:
    """Load the strategy, with the parameters of its `.json` file, and let it see the candles.

    :param config: from `load_config`, with a `timerange`.
    :raises EvaluationFailed: there is no such strategy, or it has no score to compare with.
    """
    try:
        strategy = StrategyResolver.load_strategy(config)
        validate_config_consistency(config)
    except OperationalException as error:
        raise EvaluationFailed(
            f"freqtrade refuses the strategy or configuration: {error}"
        ) from error
    formulas = _formulas(strategy)
    config["startup_candle_count"] = strategy.startup_candle_count
    strategy.dp = DataProvider(config, None)
    horizon = _horizon(config, formulas)
    # Weights and thresholds that a hyperopt run has saved. freqtrade's ft_bot_start would load the
    # model too, and FreqAI then notes this configuration as that of the last run.
    strategy.bot_start()
    strategy.ft_load_hyper_params(False)
    return Setup(config, strategy, formulas, horizon, models_folder(config))


def models_folder(config: dict[str, Any]) -> Path:
    """Where FreqAI keeps everything of the configured identifier."""
    return Path(config["user_data_dir"]) / "models" / str(config["freqai"]["identifier"])


def trained_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The `freqai` block of the last run with this identifier; {} where FreqAI kept none."""
    path = models_folder(config) / "run_params.json"
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get("freqai", {}))


def load_candles(setup: Setup, pair: str) -> pd.DataFrame:
    """All stored candles of the strategy's timeframe.

    :raises EvaluationFailed: there are none.
    """
    config = setup.config
    candles = load_pair_history(
        pair,
        config["timeframe"],
        config["datadir"],
        data_format=config["dataformat_ohlcv"],
        candle_type=config.get("candle_type_def", CandleType.SPOT),
    )
    if candles.empty:
        raise EvaluationFailed(_no_candles(setup, pair, config["timeframe"]))
    return candles


def populate_features(setup: Setup, kitchen: FreqaiDataKitchen, pair: str) -> pd.DataFrame:
    """Candles with features, made by the strategy through FreqAI as in a backtest.

    :return: the candles of timerange and training before it, one row each.
    :raises EvaluationFailed: candles of this pair, of a timeframe or of a correlated pair lack.
    """
    wanted = setup.config["freqai"]["feature_parameters"]
    for other in {pair, *wanted.get("include_corr_pairlist", [])}:
        for timeframe in wanted["include_timeframes"]:
            if setup.strategy.dp.get_pair_dataframe(other, timeframe).empty:
                raise EvaluationFailed(_no_candles(setup, other, timeframe))
    candles = setup.strategy.dp.get_pair_dataframe(pair, setup.config["timeframe"])
    return kitchen.use_strategy_to_populate_indicators(
        setup.strategy, prediction_dataframe=candles, pair=pair
    )


def _formulas(strategy: IStrategy) -> SimpleNamespace:
    # freqtrade's resolver does not put the module into sys.modules; its functions know it.
    for cls in type(strategy).__mro__:
        for member in vars(cls).values():
            names = getattr(member, "__globals__", {})
            if all(name in names for name in FORMULAS):
                return SimpleNamespace(**{name: names[name] for name in FORMULAS})
    raise EvaluationFailed(
        f"Expected a strategy with a score (ScoreStrategy, or a class derived from it), got "
        f"{type(strategy).__name__}, whose file has no {', '.join(FORMULAS)}. Check --strategy."
    )


def _horizon(config: dict[str, Any], formulas: SimpleNamespace) -> int:
    try:
        horizon = int(formulas.label_horizon(config))
    except (KeyError, ValueError) as error:
        raise EvaluationFailed(str(error)) from error
    trained = trained_settings(config).get("feature_parameters", {}).get("label_period_candles")
    if trained not in (None, horizon):
        raise EvaluationFailed(
            f"Expected predictions {horizon} candles ahead (label_period_candles of the "
            f"configuration), got a folder {models_folder(config)} whose last run had {trained}. "
            "Name the configuration of that run, or choose a new freqai.identifier."
        )
    return horizon


def _no_candles(setup: Setup, pair: str, timeframe: str) -> str:
    kind = setup.config.get("candle_type_def", CandleType.SPOT)
    return (
        f"Expected {timeframe} candles ({kind}) of {pair} in {setup.config['datadir']}, got none. "
        "Name the right folder with --datadir, or run `freqtrade download-data "
        f"--pairs {pair} --timeframes {timeframe}`."
    )
