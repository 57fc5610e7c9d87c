"""Features that stand still: a dead one is found, one that usually stands is not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from livebot import SECOND, LiveBot, Momentum
from pandas import DataFrame

from freqai_lstm.model.alarm import longest_stands, runs, standing_names


def features(rows: int) -> DataFrame:
    """One that always moves, a regime of 50 candles, a constant, one with missing values."""
    rng = np.random.default_rng(1)
    made = {"%-moves": rng.normal(size=rows), "%-regime": (np.arange(rows) // 50) % 2 * 1.0}
    return DataFrame(made | {"%-constant": 1.0, "%-missing": np.nan})


def test_runs() -> None:
    """They count equal neighbours; a missing value ends a run and begins none."""
    values = np.array([[1.0, np.nan], [1, np.nan], [2, 5], [2, 5], [2, np.nan]])
    assert runs(values).T.tolist() == [[1, 2, 1, 2, 3], [1, 1, 1, 2, 1]]


def test_what_is_usual_is_measured_by_feature() -> None:
    """The run at the end, which may be that of a dead feature, does not count."""
    trained = features(500)
    trained.loc[400:, "%-moves"] = 3.0
    found = longest_stands(trained)
    assert found == {"%-moves": 1, "%-regime": 50, "%-missing": 1}


def test_a_dead_feature_is_named() -> None:
    """After six equal candles, or twice the longest stand of the training; no other is."""
    trained, now = features(500), features(400)
    now.loc[100:, "%-moves"] = now["%-moves"][100]
    now.loc[201:, "%-regime"] = now["%-regime"][200]
    found = standing_names(now, longest_stands(trained), 400)
    firsts = {name: next(i for i, of in enumerate(found) if name in of) for name in found[-1]}
    assert firsts == {"%-moves": 100 + 6, "%-regime": 200 + 2 * 50}


def test_rounding_is_no_move() -> None:
    """A mean of equal values, which differs in its last digits, stands still."""
    noise = 0.1 * (1 + np.random.default_rng(1).normal(0, 1e-15, 20))
    assert standing_names(DataFrame({"%-a": noise}), {"%-a": 1}, 1) == [["%-a"]]


class Dead(Momentum):
    """Its return of 10 candles comes from a source that has died."""

    since = pd.Timestamp("2100-01-01", tz="UTC")

    def feature_engineering_expand_all(
        self, dataframe: DataFrame, period: int, metadata: dict, **kwargs: Any
    ) -> DataFrame:
        frame = super().feature_engineering_expand_all(dataframe, period, metadata, **kwargs)
        late = frame["date"] >= self.since
        return frame.assign(**{"%-return-period": frame["%-return-period"].mask(late).ffill()})


@pytest.mark.parametrize("watched", [True, False])
def test_a_bot_warns_and_names_it(
    lstm: object, freqai_config: Callable[..., dict], watched: bool
) -> None:
    """The alarm says once that a feature stands still, where it is switched on, and trades on."""
    limits = {"watch": {"warn": 1e6, "stop": 1e6}} if watched else {}
    live = LiveBot(lstm, freqai_config(**limits), strategy=Dead)  # type: ignore[arg-type]
    sent: list[str] = []
    live.freqai.data_provider = type(
        "Provider", (), {"send_msg": lambda self, text, **how: sent.append(text)}
    )()
    live.train(SECOND)
    start = pd.Timestamp("2024-02-01", tz="UTC")
    live.strategy.since = start + pd.Timedelta(hours=605)
    for rows in range(601, 620):
        shown = live.new_candle(rows)
    warned = shown["lstm_alarm"] == 1
    assert (shown["do_predict"].tail(15) == 1).all()
    assert len(sent) == watched
    if watched:
        # The first of the equal candles is number 604, counted from 0.
        assert (shown.loc[warned.idxmax(), "date"] - start) == pd.Timedelta(hours=604 + 6)
        assert f"{PAIR}: alarm good -> warn" in sent[0]
        assert "%-return" in sent[0]
