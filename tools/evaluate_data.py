"""What an evaluation reads: FreqAI's saved predictions, the candles, and the score they were for.

Nothing is written into the user's folder. Where FreqAI's own classes are needed, they get a
scratch copy of the configuration whose user folder is a temporary one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from freqtrade.configuration import Configuration, TimeRange
from freqtrade.configuration.config_validation import validate_config_consistency
from freqtrade.data.dataprovider import DataProvider
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType, RunMode
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.resolvers import StrategyResolver
from freqtrade.strategy import IStrategy

from tools.evaluate_scores import r_squared


# What is used of ScoreStrategy.py, so that labels, weights and units are the strategy's own.
FORMULAS = ("LABELS", "targets", "score", "weigh", "label_scale", "label_horizon")


class EvaluationFailed(RuntimeError):
    """The evaluation cannot go on; the message says what was expected, what was got, what to do."""


@dataclass
class Window:
    """One training of one pair and the candles predicted with it.

    `start` is where the training data end and the predictions begin, in seconds since 1970, as in
    FreqAI's file names; `end` the first second after the last predicted candle. `report` is what
    the model noted about its training; empty for models that note nothing.
    """

    pair: str
    start: int
    end: int
    rows: pd.DataFrame = field(repr=False)
    report: dict[str, Any] = field(default_factory=dict, repr=False)
    label_r2: float = float("nan")

    @property
    def name(self) -> str:
        """`cb_btc_1709251200`, the beginning of FreqAI's file names."""
        return f"cb_{self.pair.split('/')[0].lower()}_{self.start}"

    @property
    def folder(self) -> str:
        """`sub-train-BTC_1709251200`, below the identifier's folder."""
        return f"sub-train-{self.pair.split('/')[0]}_{self.start}"

    def timerange(self, train_days: int = 0) -> TimeRange:
        """The predicted candles or, given the days of training, the candles trained on."""
        if train_days:
            return TimeRange("date", "date", self.start - train_days * 86_400, self.start)
        return TimeRange("date", "date", self.start, self.end)


@dataclass
class Setup:
    """A configuration as freqtrade understands it, the strategy, and where things are."""

    config: dict[str, Any]
    strategy: IStrategy
    formulas: SimpleNamespace
    horizon: int
    folder: Path  # <userdir>/models/<identifier>

    @property
    def pairs(self) -> list[str]:
        return list(self.config["exchange"]["pair_whitelist"])

    @property
    def threshold(self) -> float:
        """`threshold_buy`, in units of the label scale."""
        return float(self.strategy.threshold_buy.value)  # type: ignore[attr-defined]

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
        raise EvaluationFailed(f"freqtrade refuses the strategy or configuration: {error}") from error
    formulas = _formulas(strategy)
    config["startup_candle_count"] = strategy.startup_candle_count
    strategy.dp = DataProvider(config, None)
    return Setup(config, strategy, formulas, _horizon(config, formulas), models_folder(config))


def models_folder(config: dict[str, Any]) -> Path:
    """Where FreqAI keeps everything of the configured identifier."""
    return Path(config["user_data_dir"]) / "models" / str(config["freqai"]["identifier"])


def prediction_files(folder: Path, pair: str) -> dict[int, Path]:
    """Saved predictions of a pair, by window start in seconds, in time order."""
    begin, end = f"cb_{pair.split('/')[0].lower()}_", "_prediction.feather"
    found = {}
    for path in (folder / "backtesting_predictions").glob(f"{begin}*{end}"):
        start = path.name.removeprefix(begin).removesuffix(end)
        if start.isdecimal():
            found[int(start)] = path
    return dict(sorted(found.items()))


def saved_timerange(config: dict[str, Any]) -> str | None:
    """The `--timerange` that covers all saved predictions of the configured pairs, or None."""
    spans = [
        _span(_read_predictions(path), config["timeframe"])
        for pair in config["exchange"]["pair_whitelist"]
        for path in prediction_files(models_folder(config), pair).values()
    ]
    if not spans:
        return None
    return f"{min(start for start, _ in spans)}-{max(end for _, end in spans)}"


def missing_windows(setup: Setup, scratch: Path) -> list[str]:
    """Windows of the timerange that have candles and no predictions, as "PAIR from DATE"."""
    missing = []
    for pair in setup.pairs:
        kitchen = FreqaiDataKitchen(setup.scratch(scratch), False, pair)
        dates = load_candles(setup, pair)["date"]
        there = prediction_files(setup.folder, pair)
        for window in kitchen.backtesting_timeranges:
            inside = (dates >= window.startdt) & (dates < window.stopdt)
            if inside.any() and window.startts not in there:
                missing.append(f"{pair} from {window.startdt:%Y-%m-%d}")
    return missing


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


def read_windows(
    setup: Setup, advance: Callable[[str], None] = lambda pair: None
) -> dict[str, list[Window]]:
    """Read all saved predictions inside the timerange and put the realised score beside them.

    :param advance: called with each pair that is done.
    :return: per pair its windows in time order. Their `rows` have: date; T, the realised score the
        candle's prediction was for; model, the predicted one; both in 1 / quote currency; scale, the label scale;
        valid (do_predict is 1 and the prediction a number); persistence, see `persistence`.
    :raises EvaluationFailed: no predictions, or predictions of something else.
    """
    limits = TimeRange.parse_timerange(setup.config["timerange"])
    windows = {}
    for pair in setup.pairs:
        candles = load_candles(setup, pair)
        dates = pd.DatetimeIndex(pd.to_datetime(candles["date"], utc=True))
        labels = setup.formulas.targets(candles, setup.horizon).set_axis(dates)
        now = setup.formulas.score(candles, setup.strategy.weights).set_axis(dates)  # type: ignore[attr-defined]
        windows[pair] = [
            window
            for start, path in prediction_files(setup.folder, pair).items()
            if (window := _read_window(setup, pair, start, path, labels, now, limits))
        ]
        advance(pair)
    if not any(windows.values()):
        raise EvaluationFailed(
            f"Expected predictions of {', '.join(setup.pairs)} in "
            f"{setup.folder / 'backtesting_predictions'} for {setup.config['timerange']}, got none."
            " Check --timerange, --userdir and freqai.identifier."
        )
    return windows


def _read_window(
    setup: Setup,
    pair: str,
    start: int,
    path: Path,
    labels: pd.DataFrame,
    now: pd.Series,
    limits: TimeRange,
) -> Window | None:
    formulas, weights = setup.formulas, setup.strategy.weights  # type: ignore[attr-defined]
    predicted = _read_predictions(path)
    wanted = [*formulas.LABELS, *(f"{label}_std" for label in formulas.LABELS), "do_predict"]
    lacking = [column for column in wanted if column not in predicted]
    if lacking:
        raise EvaluationFailed(
            f"Expected predictions of {setup.config['strategy']} in {path}, got a file without "
            f"{', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}: it was made with another "
            "strategy. Check --strategy and freqai.identifier, or choose a new identifier."
        )
    dates = pd.DatetimeIndex(predicted["date"])
    seconds = dates.as_unit("s").asi8
    inside = (seconds >= limits.startts) & ((seconds < limits.stopts) | (limits.stopts == 0))
    if not inside.any():
        return None
    predicted, dates = predicted[inside].reset_index(drop=True), dates[inside]
    realised = labels.reindex(dates).reset_index(drop=True)
    t_hat = formulas.weigh(predicted[list(formulas.LABELS)], weights)
    rows = pd.DataFrame(
        {
            "date": dates,
            "T": formulas.weigh(realised, weights),
            "model": t_hat,
            "scale": formulas.label_scale(predicted),
            "valid": (predicted["do_predict"] == 1) & np.isfinite(t_hat),
            "persistence": persistence(now, setup.horizon).reindex(dates).to_numpy(),
        }
    )
    window = Window(pair, start, _span(predicted, setup.config["timeframe"])[1], rows)
    window.report = _training_report(setup.folder / window.folder / f"{window.name}_metadata.json")
    pipeline = setup.folder / window.folder / f"{window.name}_label_pipeline.pkl"
    if pipeline.is_file():
        usable = rows["valid"] & realised.notna().all(axis=1)
        if usable.any():
            with pipeline.open("rb") as file:
                scaler = cloudpickle.load(file)
            actual, _, _ = scaler.transform(realised[usable].reset_index(drop=True))
            labels_hat = predicted.loc[usable, list(formulas.LABELS)].reset_index(drop=True)
            guess, _, _ = scaler.transform(labels_hat)
            window.label_r2 = r_squared(np.asarray(actual), np.asarray(guess))
    return window


def persistence(now: pd.Series, horizon: int) -> pd.Series:
    """The last score known when a prediction is made, as the forecast.

    At the close of candle t the score of t is known, so it is the forecast of T_{t+h}. With h = 0
    that would be the answer itself; there the score of the previous candle stands in.
    """
    return now if horizon else now.shift(1)


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


def trained_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The `freqai` block of the last run with this identifier; {} where FreqAI kept none."""
    path = models_folder(config) / "run_params.json"
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get("freqai", {}))


def _training_report(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get("training_report") or {})


def _read_predictions(path: Path) -> pd.DataFrame:
    try:
        predicted = pd.read_feather(path)
    except (OSError, ValueError) as error:
        raise EvaluationFailed(
            f"Expected FreqAI's predictions in {path}, got a file that cannot be read ({error}). "
            "Delete it; the next backtest makes it again."
        ) from error
    if "date" not in predicted or predicted.empty:
        raise EvaluationFailed(
            f"Expected FreqAI's predictions in {path}, got a file without rows or dates. "
            "Delete it; the next backtest makes it again."
        )
    return predicted.assign(date=pd.to_datetime(predicted["date"], utc=True))


def _span(predicted: pd.DataFrame, timeframe: str) -> tuple[int, int]:
    first, last = predicted["date"].min(), predicted["date"].max()
    return int(first.timestamp()), int(last.timestamp()) + timeframe_to_seconds(timeframe)


def _no_candles(setup: Setup, pair: str, timeframe: str) -> str:
    kind = setup.config.get("candle_type_def", CandleType.SPOT)
    return (
        f"Expected {timeframe} candles ({kind}) of {pair} in {setup.config['datadir']}, got none. "
        "Name the right folder with --datadir, or run `freqtrade download-data "
        f"--pairs {pair} --timeframes {timeframe}`."
    )


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
