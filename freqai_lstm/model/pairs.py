"""Training frames of the other pairs, made as FreqAI makes that of the pair it trains."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from freqtrade.configuration import TimeRange
from freqtrade.constants import Config
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_drawer import FreqaiDataDrawer
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.strategy.interface import IStrategy
from pandas import DataFrame

from freqai_lstm.model.calendar import calendar_names
from freqai_lstm.model.features import columns_of, common_names, own_names
from freqai_lstm.model.part import Part
from freqai_lstm.model.preparation import Preparation


logger = logging.getLogger(__name__)


@dataclass
class PairFrames:
    """Make training frames of any pair in the whitelist.

    In a backtest features are made once for the whole range and kept: pairs × rows × columns × 4
    bytes. Labels are made for each window from its candles alone, as FreqAI does, because a label
    must not see what came later.
    """

    config: Config
    strategy: IStrategy
    _features: dict[str, DataFrame] = field(default_factory=dict)

    def pairs(self) -> list[str]:
        """Return the whitelist."""
        return self.strategy.dp.current_whitelist()

    def parts(
        self,
        preparation: Preparation,
        window: TimeRange,
        drawer: FreqaiDataDrawer | None,
        loaded: TimeRange | None,
    ) -> tuple[list[Part], list[str]]:
        """Prepare every pair for the training of one network.

        :param window: the training window.
        :param drawer: FreqAI's in a live training, which holds the newest candles; else None.
        :param loaded: the window with the start-up candles before it, in a live training.
        :return: (parts that read the same features, column by column; names of these). Pairs with
            too little to learn from, and those of which the ridge regression explains all, are
            left out.
        """
        parts, shared, common = [], [], {}
        seconds = preparation.timeframe_seconds
        added = calendar_names(seconds) if preparation.parameters.calendar else []
        for pair in self.pairs():
            try:
                if drawer is None or loaded is None:
                    frame, dk = self.of_window(pair, window)
                else:
                    frame, dk = self.newest(pair, drawer, window, loaded)
                part, features = preparation.part(frame, dk)
            except OperationalException as error:
                logger.warning(f"{pair} takes no part in the network of all pairs: {error}")
                continue
            except Exception:
                # The strategy's code can raise anything, and one pair must not stop all others.
                logger.exception(f"{pair} takes no part in the network of all pairs.")
                continue
            if not part.exact:
                parts.append(part)
                shared.append(own_names(features, pair))
                # With those that the pipeline drops, constant as they are: zeros for this pair.
                common[pair] = own_names([*dk.training_features_list, *added], pair)
        names = common_names(common)
        columns = [columns_of(names, own) for own in shared]
        return [replace(p, columns=c) for p, c in zip(parts, columns, strict=True)], names

    def of_window(self, pair: str, window: TimeRange) -> tuple[DataFrame, FreqaiDataKitchen]:
        """Return the frame of a backtest's training window, and a kitchen that knows its columns.

        :param window: the training window.
        """
        dk = FreqaiDataKitchen(self.config, False, pair)
        if pair not in self._features:
            candles = self.strategy.dp.get_pair_dataframe(pair, self.config["timeframe"])
            self._refuse_empty(candles)
            frame = dk.use_strategy_to_populate_indicators(
                self.strategy, prediction_dataframe=candles, pair=pair
            )
            features = [name for name in frame if "%" in name]
            self._features[pair] = frame.astype(dict.fromkeys(features, "float32"))
        known = self._features[pair]
        known = known.loc[known["date"] < window.stopdt]
        frame = self.strategy.set_freqai_targets(known.copy(), metadata={"pair": pair})
        frame = dk.remove_special_chars_from_feature_names(dk.slice_dataframe(window, frame))
        return self._found(frame, dk)

    def newest(
        self, pair: str, drawer: FreqaiDataDrawer, window: TimeRange, loaded: TimeRange
    ) -> tuple[DataFrame, FreqaiDataKitchen]:
        """Return the frame of a live training, see `of_window`.

        :param drawer: FreqAI's, which holds the newest candles of every pair.
        :param window: the training window.
        :param loaded: the same with the start-up candles before it.
        """
        dk = FreqaiDataKitchen(self.config, True, pair)
        timeframe = self.config["timeframe"]
        self._refuse_empty(drawer.historic_data.get(pair, {}).get(timeframe, DataFrame()))
        correlated, base = drawer.get_base_and_corr_dataframes(loaded, pair, dk)
        frame = dk.use_strategy_to_populate_indicators(
            self.strategy, corr_dataframes=correlated, base_dataframes=base, pair=pair
        )
        return self._found(dk.slice_dataframe(window, frame), dk)

    @staticmethod
    def _refuse_empty(candles: DataFrame) -> None:
        if candles.empty:
            raise OperationalException("there are no candles of it.")

    @staticmethod
    def _found(frame: DataFrame, dk: FreqaiDataKitchen) -> tuple[DataFrame, FreqaiDataKitchen]:
        dk.find_features(frame)
        dk.find_labels(frame)
        return frame, dk
