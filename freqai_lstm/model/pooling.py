"""One network for all pairs: which of them serves whom, and until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.windows import Floats


HOUR = 3600


@dataclass
class LearnedNetwork:
    """Hold a network after its training, before it belongs to a pair.

    `names` are its features; of a pooled network without the pair's own name in them.
    """

    network: CompiledNetwork
    weights: Floats  # (members, numbers)
    names: list[str]
    report: dict[str, Any]

    @classmethod
    def untrained(cls, network: CompiledNetwork, names: list[str]) -> LearnedNetwork:
        """Hold a network as it begins, for labels that the ridge regression explains whole."""
        with network.lock:
            network.reset(network.parameters.seed)
            weights = network.weights()[None]  # (1, numbers)
        return cls(
            network, weights, names, {"epochs": 0, "best_epoch": 0, "loss": None, "curves": []}
        )


@dataclass
class PooledNetworks:
    """Keep the pooled networks of a process and find the one that serves a pair's training.

    A backtest goes through all windows of one pair, then through those of the next: each window's
    network is kept. Live, one network serves every pair once; a pair whose turn comes again begins
    the next round.
    """

    _windows: dict[int, LearnedNetwork] = field(default_factory=dict)  # by end of training
    _served: set[str] = field(default_factory=set)

    def of_window(self, stop: int) -> LearnedNetwork | None:
        """Return the network whose training window ends at `stop`, seconds since 1970."""
        return self._windows.get(stop)

    def of_round(self, pair: str, stop: int, retrain_hours: float) -> LearnedNetwork | None:
        """Return the network of the present round; None when the pair begins a new one.

        :param stop: end of the pair's training window, seconds since 1970.
        :param retrain_hours: `live_retrain_hours`; a network that old serves no further pair.
        """
        last = max(self._windows, default=None)
        if last is None or pair in self._served:
            return None
        if stop < last or stop - last >= max(retrain_hours, 1) * HOUR:
            return None
        self._served.add(pair)
        return self._windows[last]

    def keep_window(self, stop: int, learned: LearnedNetwork) -> None:
        """Keep a backtest window's network for the pairs to come."""
        self._windows[stop] = learned

    def begin_round(self, pair: str, stop: int, learned: LearnedNetwork) -> None:
        """Replace the network of the last round; `pair` is the first that it serves."""
        self._windows, self._served = {stop: learned}, {pair}
