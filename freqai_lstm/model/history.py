"""What the shared network learns from: years of candles of all pairs, from the data folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from freqtrade.configuration import TimeRange
from freqtrade.constants import Config
from freqtrade.data.history import get_datahandler, load_pair_history
from freqtrade.enums import CandleType
from freqtrade.exceptions import OperationalException
from freqtrade.exchange import timeframe_to_seconds
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.strategy.interface import IStrategy

from freqai_lstm.model.dataset import FEWEST_WINDOWS as FEWEST_COMPLETE
from freqai_lstm.model.labels import LabelSpace, known_labels, numeric_labels
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.shared_network import (
    MOST_FEATURES,
    MOST_WINDOW_FEATURES,
    PairScales,
    feature_values,
    own_names,
)
from freqai_lstm.model.windows import (
    COLUMNS,
    DAY,
    HOUR,
    CandleInputs,
    Floats,
    Rows,
    memory,
    numeric,
    seconds_of,
    window_ends,
)


logger = logging.getLogger(__name__)

KEPT_FOR_PAIRS = 0.4  # of all candles: the newest, which the network never sees
FEWEST_WINDOWS = 2000  # of all pairs; with fewer there is no network
OLDER_DAYS = 640  # before the network's border, for the regression without the network
MOST_ROWS = (
    30_000  # candles of a window and before it, for a pair's regression: 208 days of 10 minutes
)


@dataclass
class PairHistory:
    """Hold what the network learns from one pair: windows end at `ends` of these rows."""

    pair: str
    inputs: CandleInputs  # and features, as the network reads them, see `PairScales.read`
    features: Floats  # (rows, features)
    labels: Floats  # (rows, labels), learned values; NaN where there is none
    ends: Rows
    scales: PairScales


@dataclass
class History:
    """Find and prepare the candles before a border.

    :param parameters: `history_days`, `history_pairs` and `network_days` of them.
    """

    config: Config
    parameters: LSTMParameters
    timeframe_seconds: int
    _candles: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    # The last candles that `with_older` has kept, by pair, where they begin and where they end.
    _kept: dict[tuple[str, int, int], pd.DataFrame] = field(default_factory=dict)
    _firsts: dict[str, int] = field(default_factory=dict)  # when a pair's candles begin
    _said: set[str] = field(default_factory=set)

    def border(self, start: int, stop: int, pairs: list[str]) -> int | None:
        """Return where the history ends of the network that serves a training window.

        Borders lie on a grid of time, `network_days` apart, so that a window is served by the same
        network whatever range a backtest has, live too. Where the candles before the window are
        few, the network learns from the window's first candles too: the newest 40 % of all are
        the pair's own then, and the grid is finer.

        :param start: of the training window, seconds since 1970.
        :param stop: of the training window.
        :param pairs: the whitelist.
        :return: seconds since 1970; None where there are no candles of any pair before it.
        """
        if self.parameters.history_days == 0:
            return None
        first = self._first(pairs)
        if first is None or first >= stop:
            return None
        target: float = max(start, first + (1 - KEPT_FOR_PAIRS) * (stop - first))
        step: float = self.parameters.network_days * DAY
        while step > max(DAY, (target - first) / 4):
            step /= 2
        step = int(step) // HOUR * HOUR
        border = int(target) // step * step
        return border if border > first else None

    def border_before(self, border: int, pairs: list[str]) -> int | None:
        """Return the border before one on the grid; None where too few candles lie before it.

        Four `network_days` have to lie before `border`, so that three lie before the one returned.
        Where the grid is finer (see `border`), there is none.

        :param pairs: the whitelist.
        """
        step, first = self.parameters.network_days * DAY, self._first(pairs)
        return None if first is None or border - first < 4 * step else border - step

    def _first(self, pairs: list[str]) -> int | None:
        """When the candles on disk begin, of all pairs that the network learns from."""
        teachers = self.teachers(pairs)
        for pair in teachers:
            if pair not in self._firsts:
                dates = candles_on_disk(self.config, pair, self.config["timeframe"])["date"]
                if len(dates):
                    self._firsts[pair] = int(seconds_of(dates.iloc[:1])[0])
        return min((self._firsts[pair] for pair in teachers if pair in self._firsts), default=None)

    def teachers(self, pairs: list[str]) -> list[str]:
        """Return the pairs that the network learns from, sorted: their order does not matter."""
        further = self.parameters.history_pairs
        if further == "all":
            handler = get_datahandler(self.config["datadir"], self.config.get("dataformat_ohlcv"))
            found = handler.ohlcv_get_available_data(
                self.config["datadir"], self.config.get("trading_mode", "spot")
            )
            wanted = self.config["timeframe"], self.config.get("candle_type_def", CandleType.SPOT)
            further = [pair for pair, timeframe, kind in found if (timeframe, kind) == wanted]
        return sorted({*pairs, *further})

    def of_pairs(
        self, strategy: IStrategy, border: int, pairs: list[str], names: list[str]
    ) -> list[PairHistory]:
        """Make features and labels of every pair before a border, as FreqAI makes them.

        :param names: features that the network is to read, without the pair's name in them.
        """
        found = []
        for pair in self.teachers(pairs):
            try:
                found.append(self._of_pair(strategy, border, pair, names))
            except OperationalException as error:
                self._say(f"{pair} teaches the shared network nothing: {error}")
            except Exception:
                # The strategy's code can raise anything, and one pair must not stop all others.
                logger.exception(f"{pair} teaches the shared network nothing.")
        asked = self.parameters.history_days
        candles = max((len(history.inputs.numbers) for history in found), default=0)
        days = candles * self.timeframe_seconds / DAY
        if found and days < 0.9 * asked:
            first = pd.Timestamp(border - asked * DAY, unit="s")
            had = pd.Timestamp(border - int(days) * DAY, unit="s")
            missing = f"--timerange {first:%Y%m%d}-{had:%Y%m%d} -t {' '.join(self._timeframes)}"
            self._say(
                f"The shared network learns from {days:.0f} days before "
                f"{pd.Timestamp(border, unit='s'):%Y-%m-%d}; history_days asks for {asked}. For "
                f"the rest: freqtrade download-data -c CONFIG --prepend {missing}"
            )
        return found

    def with_older(
        self,
        strategy: IStrategy,
        border: int,
        window: pd.DataFrame,
        pair: str,
        *,
        keep: bool = False,
    ) -> pd.DataFrame:
        """Return a training window with candles in front of it.

        They begin `OLDER_DAYS` before a border. A regression without the network learns from all of
        them, that of what the network leaves over from those after the border. Of very many the
        newest are taken, since seconds and memory grow with them. Where all labels are known at
        their own candle, it is the window as it is. So it is where too few candles of the window
        have all features: older ones must not hide that a source has died.

        :param border: seconds since 1970.
        :param window: candles with features and labels, in time order.
        :param keep: make the candles of all windows after this border at once, and keep them: a
            backtest asks for them window by window.
        """
        labels = [str(name) for name in window if str(name).startswith("&")]
        known = [np.flatnonzero(column) for column in np.isfinite(numeric_labels(window, labels)).T]
        missing = len(window) - 1 - min((rows[-1] for rows in known if len(rows)), default=-1)
        told = self.config["freqai"]["feature_parameters"].get("label_period_candles", 0)
        ahead = max(missing, told)
        first, last = (int(second) for second in seconds_of(window["date"].iloc[[0, -1]]))
        features = [str(name) for name in window if "%" in str(name)]
        whole = np.isfinite(numeric(window, features)).all(axis=1)
        newest = first - (MOST_ROWS - len(window)) * self.timeframe_seconds
        start = border - OLDER_DAYS * DAY
        keep = keep and start >= newest  # else each window's begin elsewhere
        start = max(start, newest)
        if start >= first or ahead == 0 or whole.sum() < FEWEST_COMPLETE:
            return window
        columns = ["date", *COLUMNS, *features, *labels]
        stop = min(border + self.parameters.network_days * DAY, last) if keep else first
        try:
            made = self._after(strategy, start, pair, stop)[columns]
        except Exception as error:
            # The strategy's code can raise anything, and the window alone is enough.
            level = logging.INFO if isinstance(error, OperationalException) else logging.WARNING
            self._say(f"{pair}: learns from its training window alone: {error!r}", level)
            return window
        self._kept = {(pair, start, stop): made} if keep else {}
        found = made[seconds_of(made["date"]) < first].copy()
        found.loc[found.index[-ahead:], labels] = np.nan  # a strategy may fill in what is unknown
        return pd.concat([found, window], ignore_index=True)

    def newest(self, strategy: IStrategy, border: int, pair: str, candles: int) -> pd.DataFrame:
        """Return a pair's newest candles before a border, with features and labels.

        They end with the pair's own: one that is delisted may have ended long before.

        :raises OperationalException: there are no candles.
        """
        opened, length = self._load(pair, self.config["timeframe"])["date"], self.timeframe_seconds
        stops = seconds_of(opened) + length
        stop = int(stops[stops <= border].max(initial=0))
        return self._after(strategy, stop - candles * length, pair, stop)

    def _after(self, strategy: IStrategy, start: int, pair: str, stop: int) -> pd.DataFrame:
        """A pair's candles from a start to a stop, with features and labels."""
        if (pair, start, stop) in self._kept:
            return self._kept[pair, start, stop]
        longest = max(timeframe_to_seconds(timeframe) for timeframe in self._timeframes)
        before = max(
            strategy.startup_candle_count * longest,
            memory(self.config["freqai"]["conv_width"]) * self.timeframe_seconds,
        )
        made = self.frame(strategy, stop, pair, stop - start + before)
        return made[seconds_of(made["date"]) >= start]

    def frame(
        self, strategy: IStrategy, border: int, pair: str, seconds: int | None = None
    ) -> pd.DataFrame:
        """Return a pair's candles before a border with features and labels.

        :param seconds: how long before it they begin; None for `history_days`.
        :raises OperationalException: there are no candles.
        """
        freqai = self.config["freqai"]["feature_parameters"]
        stop = pd.Timestamp(border, unit="s", tz="UTC")
        seconds = self.parameters.history_days * DAY if seconds is None else seconds
        start = stop - pd.Timedelta(seconds=seconds)

        def candles(of: str, timeframe: str) -> pd.DataFrame:
            whole = self._load(of, timeframe)
            # A candle of a longer timeframe is known when it has closed.
            length = pd.Timedelta(timeframe)
            return whole[(whole["date"] >= start) & (whole["date"] + length <= stop)].reset_index(
                drop=True
            )

        base = {timeframe: candles(pair, timeframe) for timeframe in self._timeframes}
        correlated = {
            other: {timeframe: candles(other, timeframe) for timeframe in self._timeframes}
            for other in freqai.get("include_corr_pairlist", [])
        }
        for other, frames in ({pair: base} | correlated).items():
            for timeframe, frame in frames.items():
                if frame.empty:
                    raise OperationalException(
                        f"there are no candles of {other} at {timeframe} before {stop:%Y-%m-%d}."
                    )
        # A live kitchen makes the labels too, and asks for no timerange.
        dk = FreqaiDataKitchen(self.config, True, pair)
        return dk.use_strategy_to_populate_indicators(
            strategy, corr_dataframes=correlated, base_dataframes=base, pair=pair
        )

    def _of_pair(
        self, strategy: IStrategy, border: int, pair: str, names: list[str]
    ) -> PairHistory:
        width = self.config["freqai"]["conv_width"]
        frame = self.frame(strategy, border, pair)
        labels = [str(name) for name in frame if str(name).startswith("&")]
        told = self.config["freqai"]["feature_parameters"].get("label_period_candles", 0)
        values, horizons = known_labels(numeric_labels(frame, labels), labels, told, pair)
        features = feature_values(frame, pair, names).astype(np.float32)
        inputs = CandleInputs.of(frame, self.timeframe_seconds)
        valid = inputs.valid & np.isfinite(features).all(axis=1)
        ends = window_ends(inputs.numbers, valid, width)
        ends = ends[np.isfinite(values[ends]).any(axis=1)]
        if len(ends) == 0:
            raise OperationalException("no window of it has all features and a label.")
        scale = self.parameters.label_scale_feature
        space = LabelSpace.fit(frame.iloc[ends], values[ends], labels, horizons, scale)
        scales = PairScales.fit(inputs, features[ends], ends, space)
        learned = space.learned(values, frame).astype(np.float32)
        return PairHistory(pair, *scales.read(inputs, features), learned, ends, scales)

    def _load(self, pair: str, timeframe: str) -> pd.DataFrame:
        key = (pair, timeframe)
        if key not in self._candles:
            self._candles[key] = candles_on_disk(self.config, pair, timeframe)
        return self._candles[key]

    def forget(self) -> None:
        """Give the candles' memory back; a later network reads them anew, with newer ones."""
        self._candles.clear()

    @property
    def _timeframes(self) -> list[str]:
        own = self.config["timeframe"]
        more = self.config["freqai"]["feature_parameters"].get("include_timeframes", [])
        return list(dict.fromkeys([own, *more]))

    def _say(self, line: str, level: int = logging.INFO) -> None:
        if line not in self._said:
            self._said.add(line)
            logger.log(level, line)


def candles_on_disk(
    config: Config, pair: str, timeframe: str, timerange: TimeRange | None = None
) -> pd.DataFrame:
    """Load a pair's candles from the data folder; their dates can join the exchange's.

    freqtrade's files and its exchange give UTC as different time zone objects.
    """
    candles = load_pair_history(
        pair,
        timeframe,
        config["datadir"],
        timerange=timerange,
        data_format=config.get("dataformat_ohlcv"),
        candle_type=config.get("candle_type_def", CandleType.SPOT),
    )
    candles["date"] = pd.to_datetime(candles["date"], utc=True)
    return candles


def read_features(names: list[str], pair: str, correlated: list[str]) -> tuple[list[str], bool]:
    """Choose what the network reads of a strategy's features.

    Those of correlated pairs are left out: a pair that is one of them does not have them.

    :param names: of the features, as FreqAI names them.
    :param correlated: `include_corr_pairlist`.
    :return: (names without the pair's own, whether they are read at each candle of a window).
    """
    others = [f"_{other.replace(':', '')}_" for other in correlated]
    own = [name for name in own_names(names, pair) if not any(other in name for other in others)]
    if len(own) > MOST_FEATURES:
        return [], False
    return own, len(own) <= MOST_WINDOW_FEATURES
