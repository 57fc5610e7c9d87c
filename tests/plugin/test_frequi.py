"""End to end: what FreqUI is given by `freqtrade webserver`, and how it looks."""

import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from frequi import chart, webserver
from pandas import DataFrame
from workshop import Workshop, open_workshop

from freqai_lstm.plugins import EXAMPLE_CONFIG


pytestmark = pytest.mark.slow

PAIR = "BTC/USDT:USDT"
TIMERANGE = "20240517-20240601"  # three windows of five days
# The first window has too few candles with features to be trained; the features of the last one
# stay as they are from its sixth hour on.
MARKED = """
import numpy as np
import pandas as pd
from ScoreStrategy import ScoreStrategy


class Marked(ScoreStrategy):
    def feature_engineering_standard(self, dataframe, metadata, **kwargs):
        dataframe = super().feature_engineering_standard(dataframe, metadata, **kwargs)
        features = np.flatnonzero(dataframe.columns.str.startswith("%"))
        dates = dataframe["date"]
        broken = dates >= pd.Timestamp("2024-05-27 06:00", tz="UTC")
        missing = dates.between(
            pd.Timestamp("2024-02-01", tz="UTC"), pd.Timestamp("2024-05-16 12:00", tz="UTC")
        )
        values = dataframe.iloc[:, features].mask(broken).ffill().mask(missing)
        dataframe.iloc[:, features] = values.to_numpy()
        return dataframe
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """`/plot_config` and `/pair_history` after a backtest with a failed training and an alarm.

    The server trains the first window again, which fails again, and reads the others from disk.
    """
    folder, start = tmp_path_factory.mktemp("frequi"), datetime(2023, 10, 1, tzinfo=UTC)
    with open_workshop(folder, start) as workshop:
        (workshop.userdir / "strategies" / "Marked.py").write_text(MARKED)
        run_backtest(workshop)
        files = [EXAMPLE_CONFIG, folder / "endpoints.json", folder / "second.json"]
        arguments = [part for file in files for part in ("-c", str(file))]
        arguments += ["--userdir", str(workshop.userdir), "--datadir", str(workshop.datadir)]
        asked = {"pair": PAIR, "timeframe": "1h", "timerange": TIMERANGE, "strategy": "Marked"}
        with webserver(folder, arguments) as ask:
            query = urllib.parse.urlencode(asked | {"freqaimodel": "LSTMRegressor"})
            yield ask("plot_config?strategy=Marked"), ask(f"pair_history?{query}")


def run_backtest(workshop: Workshop) -> None:
    """Leave models and predictions for the server."""
    run = workshop.run(
        "-s",
        "Marked",
        "--timerange",
        TIMERANGE,
        check=False,
        root={"exchange": {"pair_whitelist": [PAIR]}},
        identifier="frequi",
        backtest_period_days=5,
        watch={"warn": 0.5, "stop": 1},
        feature_parameters={"label_period_candles": 1},
        model_training_parameters={"units": 16, "epochs": 3},
    )
    assert "1 trainings failed" in run.errors[-1]


@pytest.fixture(scope="module")
def frame(answers: tuple[Any, Any]) -> DataFrame:
    """The candles as FreqUI gets them."""
    history = answers[1]
    found = DataFrame(history["data"], columns=history["columns"])
    return found.assign(date=pd.to_datetime(found["date"], utc=True))


def test_bands_have_both_ends(answers: tuple[Any, Any], frame: DataFrame) -> None:
    """Each band of the plot configuration has values at both ends; the prediction lies between."""
    plot = answers[0]
    panels = (plot["main_plot"], *plot["subplots"].values())
    bands = [
        (name, look["fill_to"]) for p in panels for name, look in p.items() if "fill_to" in look
    ]
    assert ("asinh_T_hat_upper", "asinh_T_hat_lower") in bands
    for upper, lower in bands:
        ends = frame[[lower, upper]].dropna().astype(float)
        assert len(ends) > 100
        assert (ends[lower] <= ends[upper]).all()
    inside = frame.dropna(subset=["asinh_T_hat_upper", "asinh_T_hat"])
    between = inside["asinh_T_hat"].between(
        inside["asinh_T_hat_lower"], inside["asinh_T_hat_upper"]
    )
    assert between.mean() > 0.9


def test_areas_are_where_it_happened(answers: tuple[Any, Any]) -> None:
    """The failed window, the first candle of the network and of a model, then the alarm."""
    areas = answers[1]["annotations"]
    times = [(a["label"], pd.Timestamp(a["start"]), pd.Timestamp(a["end"])) for a in areas]
    day, hour = pd.Timestamp("2024-05-17", tz="UTC"), pd.Timedelta(hours=1)
    windows = [day + pd.Timedelta(days=5 * number) for number in range(3)]
    assert [time for time in times if "alarm" not in time[0]] == [
        ("training failed", windows[0], windows[1]),
        ("network", windows[1], windows[1] + hour),
        ("model", windows[2], windows[2] + hour),
    ]
    stops = [start for label, start, _ in times if label == "alarm: stop"]
    assert stops
    assert min(stops) >= pd.Timestamp("2024-05-27 06:00", tz="UTC")


def test_the_panel_of_quality_has_values(answers: tuple[Any, Any], frame: DataFrame) -> None:
    """R² and coverage are there where a model served, and missing where none did."""
    served = frame["date"] >= pd.Timestamp("2024-05-22", tz="UTC")
    for name in answers[0]["subplots"]["Model"]:
        assert frame.loc[~served, name].isna().all()
        values = frame.loc[served, name].dropna().astype(float)
        assert len(values) > 0.9 * served.sum()
        assert values.between(-1, 1).all()


def test_the_page_draws_all_of_it(answers: tuple[Any, Any], frame: DataFrame) -> None:
    """Every line of the plot configuration and every area is in the page, which opens offline."""
    figure = chart(*answers)
    drawn = {trace.name for trace in figure.data}
    for panel in (answers[0]["main_plot"], *answers[0]["subplots"].values()):
        assert {*panel} <= drawn
    assert len(figure.layout.shapes) == len(answers[1]["annotations"])
    assert "<script src" not in figure.to_html(include_plotlyjs=True)
