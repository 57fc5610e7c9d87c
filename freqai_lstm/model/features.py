"""Names of features: the same feature has another name on every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def own_names(features: Sequence[str], pair: str) -> list[str]:
    """Take a pair's own name out of the names that FreqAI gives its features.

    FreqAI writes `%-rsi-period_10_BTC/USDTUSDT_1h`: the same feature has another name on every
    pair. Features of correlated pairs keep theirs.
    """
    return [name.replace(f"_{pair.replace(':', '')}_", "__") for name in features]


def common_names(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names that all pairs have, in the order of the first pair.

    A pair that is itself correlated with the others has fewer features than they.
    """
    first, *others = names.values() or [[]]
    return [name for name in first if all(name in other for other in others)]


def columns_of(names: list[str], features: list[str]) -> NDArray[np.intp]:
    """Return where each name is among `features`, shape (names,); -1 where it is not."""
    where = {name: number for number, name in enumerate(features)}
    return np.asarray([where.get(name, -1) for name in names], dtype=np.intp)
