"""Which shared network serves a training window: from memory, from disk, or trained now."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.constants import Config
from freqtrade.exceptions import OperationalException
from freqtrade.strategy.interface import IStrategy

from freqai_lstm.model.devices import memory_errors, require_tensorflow
from freqai_lstm.model.forward import Forward, weights_of
from freqai_lstm.model.history import FEWEST_WINDOWS, History, read_features
from freqai_lstm.model.parameters import LSTMParameters
from freqai_lstm.model.record import ALLOW_CHANGES, SAMPLE_CANDLES, changes, record, refuse
from freqai_lstm.model.shared_network import SharedNetwork
from freqai_lstm.model.storage import (
    NETWORKS,
    Damaged,
    network_path,
    read_network,
    set_aside,
    write_network,
)
from freqai_lstm.model.training import joined, scalars_writer, train_network


logger = logging.getLogger(__name__)

MOST_WINDOWS = 160_000  # learned from; with more, only every second or third is


@dataclass
class SharedNetworks:
    """Keep the shared networks of a process, by the border of what they learned from.

    :param folder: that of the identifier; networks lie in its folder `networks`.
    :param settings: that a training depends on, see `record.settings_of`.
    """

    config: Config
    parameters: LSTMParameters
    timeframe_seconds: int
    folder: Path
    settings: dict[str, Any]
    history: History = field(init=False)
    _known: dict[int, SharedNetwork | None] = field(default_factory=dict)
    _failed: set[int] = field(default_factory=set)  # borders whose training was tried in vain

    def __post_init__(self) -> None:
        self.history = History(self.config, self.parameters, self.timeframe_seconds)

    def border(self, start: int, stop: int, pairs: list[str]) -> int | None:
        """Return the border of the network that serves a training window, see `History.border`."""
        return self.history.border(start, stop, pairs)

    def ready(self, border: int, pairs: list[str]) -> bool:
        """Whether the network is in memory or on disk, or known not to be possible; both are."""
        return all(
            one in self._known or network_path(self.folder, one).is_file()
            for one in self.borders(border, pairs)
        )

    def get(
        self, border: int, strategy: IStrategy, pairs: list[str], features: list[str], pair: str
    ) -> SharedNetwork | None:
        """Return the network of a border with the one before it, and train what there is not.

        :param pairs: the whitelist.
        :param features: that FreqAI found in the frame of `pair`.
        :return: None where the history is too short, or the training failed; it is tried once.
        :raises ChangedSettings: a saved network was made with something else.
        :raises NoTensorFlow: one has to be trained, and TensorFlow is not installed.
        """
        tried = border in self._known
        # The earlier one first: the newer goes on from it where `continual_learning` asks for that.
        found = [
            self.alone(one, strategy, pairs, features, pair) for one in self.borders(border, pairs)
        ]
        self.history.forget()
        if tried and border in self._failed:
            logger.warning(
                f"{pair}: predicts with its regression, since the shared network could not be "
                "trained. A restart tries again."
            )
        earlier, network = found[0], found[-1]
        if network is None or earlier is None or earlier is network:
            return network
        try:
            return network.with_earlier(earlier)
        except ValueError as error:  # of an earlier run, when the strategy had other features
            logger.warning(f"{pair}: predicts with the newest shared network alone, since {error}.")
            return network

    def borders(self, border: int, pairs: list[str]) -> list[int]:
        """Return the borders of the networks that serve after one, the oldest first."""
        before = self.history.border_before(border, pairs)
        return [border] if before is None else [before, border]

    def alone(
        self, border: int, strategy: IStrategy, pairs: list[str], features: list[str], pair: str
    ) -> SharedNetwork | None:
        """Return the network of a border without the one before it; as `get` does."""
        if border not in self._known:
            # Where a saved one does not fit, this raises each time.
            network = self._read(border, strategy, pairs)
            if network is None:
                require_tensorflow()
                self._known[border] = None
                self._failed.add(border)  # unless it comes back from the training
                network = self._train(border, strategy, pairs, features, pair)
            self._known[border] = network
        return self._known[border]

    def _read(self, border: int, strategy: IStrategy, pairs: list[str]) -> SharedNetwork | None:
        path = network_path(self.folder, border)
        if not path.is_file():
            return None
        try:
            network, then = read_network(path)
        except Damaged as damage:
            set_aside(path, damage)
            return None
        try:
            frame = self.history.newest(strategy, border, then["pair"], SAMPLE_CANDLES)
            found = changes(then, self.settings, frame)
        except OperationalException as error:
            found = [f"{then['pair']}: {error}"]
        allow = self.config["freqai"].get(ALLOW_CHANGES, False)
        refuse(f"The shared network {path}", found, allow_changes=allow)
        others = sorted(set(self.history.teachers(pairs)) - set(network.teachers))
        if others:
            logger.info(
                f"The shared network of {path.name} did not learn from {', '.join(others)}; it "
                "serves them too. For one that does, choose a new freqai.identifier."
            )
        return network

    def _train(
        self, border: int, strategy: IStrategy, pairs: list[str], features: list[str], pair: str
    ) -> SharedNetwork | None:
        freqai, width = self.config["freqai"], self.config["freqai"]["conv_width"]
        correlated = freqai["feature_parameters"].get("include_corr_pairlist", [])
        names, in_windows = read_features(features, pair, correlated)
        histories = self.history.of_pairs(strategy, border, pairs, names)
        windows = sum(len(history.ends) for history in histories)
        if windows < FEWEST_WINDOWS:
            self._failed.discard(border)
            logger.info(
                f"No shared network: {windows} windows of history, and at least {FEWEST_WINDOWS} "
                "are needed. The pairs predict with their regressions. Download earlier candles "
                "(freqtrade download-data --prepend) for an LSTM."
            )
            return None
        logger.info(
            f"Training the shared network on {windows} windows of {len(histories)} pairs before "
            f"{pd.Timestamp(border, unit='s'):%Y-%m-%d}, reading {len(names)} features"
            + (" at each candle." if in_windows and names else ".")
        )
        scales = {history.pair: history.scales for history in histories}
        first = histories[0].pair
        test_size = freqai.get("data_split_parameters", {}).get("test_size", 0.1) or 0.0
        stride = -(-windows // MOST_WINDOWS)
        data = joined(histories, in_windows, test_size, self.timeframe_seconds, stride)
        earlier = {old: network for old, network in self._known.items() if network and old < border}
        goes_on = earlier and freqai.get("continual_learning", False)
        start_from = earlier[max(earlier)].forwards[0].weights if goes_on else None
        board = scalars_writer(
            self.folder / NETWORKS / str(border), active=freqai.get("activate_tensorboard", True)
        )
        try:
            with board as on_epoch, memory_errors():
                model, report = train_network(
                    data, self.parameters, width, start_from=start_from, on_epoch=on_epoch
                )
        except (OperationalException, MemoryError) as error:
            why = f"no memory ({error})." if isinstance(error, MemoryError) else str(error)
            logger.error(f"The shared network is not there: {why} Pairs predict without it.")
            return None
        self._failed.discard(border)
        network = SharedNetwork(
            borders=(border,),
            forwards=(Forward(weights_of(model)),),
            conv_width=width,
            features=names,
            in_windows=in_windows,
            scales=scales,
            report=report,
        )
        r2 = report["validation_r2"]
        told = "" if r2 is None else f", R² {r2:.3f} on the validation windows that selected it"
        logger.info(
            f"Shared network: {report['epochs']} epochs of {report['windows']} windows in "
            f"{report['seconds']:.0f} s; best epoch {report['best_epoch']}{told}."
        )
        frame = self.history.newest(strategy, border, first, SAMPLE_CANDLES)
        columns = [str(name) for name in frame if "%" in str(name) or str(name).startswith("&")]
        note = record(self.settings, frame, columns) | {"pair": first}
        try:
            write_network(network_path(self.folder, border), network, model, note)
        except OSError as error:
            logger.error(
                f"The shared network could not be saved ({error}). It serves until the process "
                "ends, and is trained again after that."
            )
        return network
