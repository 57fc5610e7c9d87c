"""What a chart is marked with: each training, each failure and each alarm once, where it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import PAIR
from freqtrade.ft_types.plot_annotation_type import AnnotationTypeTA
from livebot import FIRST, SECOND, LiveBot, candles, full_disk

from freqai_lstm.model.quality import AGE, ALARM, COLUMNS, FAILED, MODEL_AGE, R2, chart_areas


DATES = pd.date_range("2024-01-01", periods=100, freq="h", tz="UTC")


def served(model: list[int], network: list[int]) -> pd.DataFrame:
    """A frame whose models and networks begin to serve at these rows, with an age of an hour."""
    rows = np.arange(100)
    ages = {
        name: 1.0 + rows - np.array(starts)[np.searchsorted(starts, rows, side="right") - 1]
        for name, starts in ((MODEL_AGE, model), (AGE, network))
    }
    return pd.DataFrame({"date": DATES, **ages, ALARM: 0.0, FAILED: 0.0})


def marked(frame: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Label, first row and the row after the last of each area, which freqtrade takes."""
    found = chart_areas(frame)
    for area in found:
        AnnotationTypeTA.validate_python(area, extra="forbid")
    ends = [*DATES, DATES[-1] + pd.Timedelta(hours=1)]
    return [(a["label"], ends.index(a["start"]), ends.index(a["end"])) for a in found]


def test_trainings() -> None:
    """Each new model and network is marked where it begins to serve; both at once as a network."""
    frame = served([0, 40, 80], [0, 80])
    assert marked(frame) == [("network", 0, 1), ("model", 40, 41), ("network", 80, 81)]


def test_a_model_that_served_before_the_chart_begins_is_not_new() -> None:
    """A chart of later candles, or one with candles without any model, marks no other training."""
    frame = served([0, 40], [0])
    frame.loc[50:59, [MODEL_AGE, AGE]] = np.nan
    assert marked(frame.tail(90)) == [("model", 40, 41)]
    frame.loc[:9, [MODEL_AGE, AGE]] = np.nan
    assert marked(frame) == [("network", 10, 11), ("model", 40, 41)]


def test_failures_and_alarms_are_areas() -> None:
    """They last as long as the columns say, to the end of the chart too."""
    frame = served([-1], [-1])
    frame.loc[10:19, ALARM], frame.loc[20:29, ALARM] = 1, 2
    frame.loc[90:, FAILED] = 3
    assert marked(frame) == [
        ("alarm: warn", 10, 20),
        ("alarm: stop", 20, 30),
        ("training failed", 90, 100),
    ]


def test_other_models_have_nothing_to_mark() -> None:
    """A frame without the columns, or without candles, has no areas."""
    assert chart_areas(served([0], [0]).drop(columns=ALARM)) == []
    assert chart_areas(served([0], [0]).head(0)) == []


@pytest.fixture
def bot(lstm: object, freqai_config: Callable[..., dict]) -> LiveBot:
    """A bot without a model."""
    return LiveBot(lstm, freqai_config())  # type: ignore[arg-type]


def of_bot(live: LiveBot, rows: int) -> list[str]:
    """Labels of the areas after one more candle."""
    shown = live.new_candle(rows)
    return [area["label"] for area in live.freqai.plot_annotations(shown)]


def test_a_bots_trainings_and_failures(bot: LiveBot) -> None:
    """A new model is marked, a failed training until one succeeds; the filled-in past is not."""
    bot.train(FIRST)  # on the 600 candles that there are
    assert of_bot(bot, 601) == ["model"]
    bot.dd.historic_data[PAIR] = {"1h": candles(602)}
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        bot.train(SECOND)
    assert of_bot(bot, 602) == ["model", "training failed"]
    assert of_bot(bot, 603) == ["model", "training failed"]
    bot.train(SECOND)
    assert of_bot(bot, 604) == ["model", "training failed", "model"]
    areas = bot.freqai.plot_annotations(bot.new_candle(605))
    assert [(a["end"] - a["start"]).total_seconds() / 3600 for a in areas] == [1, 2, 1]


def test_a_history_without_the_columns_goes_on(bot: LiveBot) -> None:
    """A bot whose saved history is of an earlier release adds the columns to it."""
    bot.train(FIRST)
    bot.new_candle(601)
    history = bot.dd.historic_predictions
    history[PAIR] = history[PAIR].drop(columns=[*COLUMNS])
    shown: Any = bot.new_candle(602)
    assert shown[R2].notna().sum() == 1
    assert shown[MODEL_AGE].iloc[-1] > 0
