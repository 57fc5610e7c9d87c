"""The benchmark of the article's 63 %: each reading counts what it says."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from benchmarks.article.__main__ import readings, trades
from benchmarks.article.accuracy import READINGS, STRATEGY, measure
from benchmarks.article.trained import END, OURS, PLAIN, START, TRAIN_DAYS
from benchmarks.exam import Exam, Outcome
from benchmarks.places import PAIRS
from freqai_lstm.freqtrade_run import FreqtradeRun
from freqai_lstm.market import generate_market


PAIR = PAIRS[0]
DAYS = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    """Ten weeks of a generated market after two months to train on."""
    datadir = tmp_path_factory.mktemp("article")
    generate_market(datadir, [PAIR], start=datetime(2024, 3, 1, tzinfo=UTC), end=DAYS[1])
    return Exam("small", *DAYS, pairs=(PAIR,), datadir=datadir)


def perfect(exam: Exam, horizon: int) -> Outcome:
    """Predictions equal to the labels, and four trades, three of them won."""
    candles = pd.read_feather(exam.datadir / "futures" / "BTC_USDT_USDT-1h-futures.feather")
    labels = STRATEGY.targets(candles, horizon)
    saved = labels.assign(date=candles["date"], do_predict=1)
    saved[STRATEGY.STD_COLUMNS] = labels.std().to_numpy()
    opened = pd.date_range(exam.start, periods=4, freq="14D")
    made = pd.DataFrame({"open_date": opened, "profit_ratio": [0.01, 0.01, 0.01, -0.06]})
    inside = saved[(saved["date"] >= exam.start) & saved[STRATEGY.LABELS[0]].notna()]
    run = FreqtradeRun((), 0, "")
    return Outcome(run, {"profit_total": -0.03}, made, {PAIR: inside.reset_index(drop=True)})


@pytest.mark.parametrize("horizon", [0, 1])
def test_perfect_predictions_are_always_right_where_asked(exam: Exam, horizon: int) -> None:
    """The sign where T ≠ 0; without a threshold nothing is ever called 0; entries are right."""
    found = measure(exam, perfect(exam, horizon), horizon)["readings"]
    assert found["nonzero"]["model"]["value"] == 1
    assert found["entries"]["model"]["value"] == 1
    assert found["sign"]["model"]["value"] == 1  # T itself is 0 where it has to be
    zero = found["classes"]["majority"]["value"]
    assert zero == pytest.approx(1 - found["nonzero"]["candles"] / found["sign"]["candles"])
    assert zero < found["classes"]["model"]["value"] < 1  # T below the threshold counts as 0
    assert found["nonzero"]["persistence"]["value"] > 0.5
    assert 0.4 < found["close"]["majority"]["value"] < 0.6


def test_persistence_knows_no_later_candle(exam: Exam) -> None:
    """For T of the same candle it is the candle before: it cannot be right throughout."""
    found = measure(exam, perfect(exam, 0), 0)["readings"]
    assert found["classes"]["persistence"]["value"] < 1


def test_share_of_wins_that_breaks_even(exam: Exam) -> None:
    """Wins of 1 % and losses of 6 % cancel out at six wins in seven; the report says so."""
    figures = measure(exam, perfect(exam, 1), 1)
    assert figures["trades"]["breakeven"] == pytest.approx(6 / 7)
    assert figures["trades"]["won"]["value"] == 0.75
    both = {OURS: figures, PLAIN: figures}
    assert [row["reading"] for row in readings(both)] == list(READINGS.values())
    assert trades(both)[0]["won needed to break even"] == "0.86"


def test_the_days_are_the_articles() -> None:
    """360 days: start-up candles of the longest timeframe, training, prediction."""
    startup = int(np.ceil(200 * 4 / 24))
    assert startup + TRAIN_DAYS + (END - START).days == 360
