"""Labels as users have them: horizons, prices, wild values, and a feature that says how large."""

import json
import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from freqtrade.exceptions import OperationalException
from pandas import DataFrame

from freqai_lstm.model.labels import (
    WIDEST,
    LabelSpace,
    TextLabels,
    known_labels,
    numeric_labels,
    warn_of,
)
from freqai_lstm.model.parameters import LABEL_SCALE


ROWS = 1000


def frame_of(**columns: Any) -> DataFrame:
    """Candles with a close that wanders, and further columns."""
    steps = np.random.default_rng(1).normal(0, 0.01, ROWS)
    return DataFrame({"close": 100 * np.exp(np.cumsum(steps)), **columns})


def fitted(values: np.ndarray, frame: DataFrame | None = None, ahead: int = 6) -> LabelSpace:
    """The space of one label."""
    frame = frame_of() if frame is None else frame
    return LabelSpace.fit(frame, values[:, None], ["&-a"], [ahead], LABEL_SCALE)


def test_horizons_are_read_off_the_end() -> None:
    """After how many candles each label is known, whatever is missing before; 0 without any."""
    values = np.ones((50, 4))
    values[-12:, 1] = values[-3:, 2] = np.nan
    values[::7, 2] = np.nan
    values[:, 3] = np.nan
    found, horizons = known_labels(values, list("abcd"), 0, "BTC/USDT")
    assert horizons == [0, 12, 3, 0]
    np.testing.assert_array_equal(found, values)


def test_a_value_that_stood_as_long_before_is_not_filled_in() -> None:
    """A return of 0 may stand for some candles at the end, as it has stood before."""
    values = np.random.default_rng(1).normal(size=(ROWS, 1))
    values[-5:] = 0
    found, horizons = known_labels(values, ["&-a"], 12, "DOGE/USDT")
    assert horizons == [5]
    assert np.isnan(found[-5:]).all()
    values[300:306] = 0
    found, horizons = known_labels(values, ["&-a"], 12, "DOGE/USDT")
    assert horizons == [12]
    np.testing.assert_array_equal(found, values)


def test_only_numbers_are_labels() -> None:
    """Text is refused by name; truth values are numbers, infinities are missing."""
    frame = DataFrame({"&-a": [1.0, np.inf], "&-b": [True, False], "&-word": ["up", "down"]})
    values = numeric_labels(frame, ["&-a", "&-b"])
    np.testing.assert_array_equal(values, [[1, 1], [np.nan, 0]])
    with pytest.raises(TextLabels, match="&-word"):
        numeric_labels(frame, [*map(str, frame)])


@pytest.mark.parametrize("factor", [1, 1.002])
def test_a_label_that_follows_the_close(factor: float) -> None:
    """A later price is learned as its difference to the close, and comes back at any price."""
    frame = frame_of()
    later = frame["close"].shift(-12).to_numpy() * factor
    space = fitted(later, frame)
    assert space.follows_close == [True]
    learned = space.learned(later[:, None], frame)
    assert np.nanstd(learned) < 1
    tenfold = frame * 10
    back = space.labels(learned, tenfold)
    np.testing.assert_allclose(back[:-12, 0], 10 * later[:-12], rtol=1e-6)


@pytest.mark.parametrize("kind", ["return", "volume", "constant", "scaled", "score"])
def test_other_labels_do_not_follow_the_close(kind: str) -> None:
    """Returns, other quantities, a hundredfold price and a constant are learned as they are."""
    frame, rng = frame_of(), np.random.default_rng(2)
    values = {
        "return": frame["close"].pct_change().to_numpy(),
        "volume": rng.lognormal(size=ROWS) * 100,
        "constant": np.full(ROWS, 100.0),
        "scaled": frame["close"].to_numpy() * 100,
        "score": rng.normal(100, 1, ROWS),
    }[kind]
    assert fitted(values, frame).follows_close == [False]


@pytest.mark.parametrize("size", [300, 3000])
@pytest.mark.parametrize("share", [0.001, 0.01])
def test_wild_labels_do_not_rule_the_others(size: float, share: float) -> None:
    """Centre and range are those without them; what is learned is limited, what is known is not."""
    rng = np.random.default_rng(3)
    plain = rng.normal(5, 2, ROWS)
    wild = np.where(rng.random(ROWS) < share, size * 2, plain)
    wild[7] = -size * 2
    before, after = fitted(plain), fitted(wild)
    assert after.centres[0] == pytest.approx(before.centres[0], abs=0.05 * before.ranges[0] + 0.2)
    assert after.ranges[0] == pytest.approx(before.ranges[0], rel=0.1)
    assert np.abs(after.learned(wild[:, None], frame_of())).max() == WIDEST
    whole = after.learned(wild[:, None], frame_of(), limited=False)
    np.testing.assert_allclose(after.labels(whole, frame_of())[:, 0], wild, atol=1e-9)


@pytest.mark.parametrize("zeros", [0.5, 0.9, 0.99])
def test_labels_that_are_mostly_zero(zeros: float) -> None:
    """The range is that of the rest, so a score on few candles is not called wild."""
    rng = np.random.default_rng(4)
    values = np.where(rng.random(ROWS) < zeros, 0, rng.normal(0, 3, ROWS))
    space = fitted(values)
    assert space.ranges[0] == pytest.approx(2 * 1.64 * 3, rel=0.5)
    assert np.abs(space.learned(values[:, None], frame_of(), limited=False)).max() < WIDEST


def test_labels_without_values_or_moves() -> None:
    """A constant and a label that is always missing are learned as 0, and come back."""
    for values in (np.full(ROWS, 3.0), np.full(ROWS, np.nan)):
        space = fitted(values)
        assert np.nan_to_num(space.learned(values[:, None], frame_of())).tolist() == [[0.0]] * ROWS
        assert np.isfinite([*space.centres, *space.ranges]).all()


def test_labels_ahead_are_relative_to_their_size() -> None:
    """Those that lie ahead are divided by |%-label_scale|, bounded by what was seen; others not."""
    rng = np.random.default_rng(5)
    size = 10 ** rng.uniform(-1, 2, ROWS)
    frame = frame_of(**{LABEL_SCALE: size * np.where(np.arange(ROWS) % 2, -1, 1)})
    values = np.column_stack([size, size]) * rng.normal(size=(ROWS, 1))
    space = LabelSpace.fit(frame, values, ["&-ahead", "&-now"], [3, 0], LABEL_SCALE)
    assert (space.scale_lowest, space.scale_highest) == pytest.approx(
        tuple(np.quantile(size, (0.01, 0.8)))
    )
    calm = size < 1
    ahead, now = np.abs(space.learned(values, frame))[calm].mean(axis=0)
    assert ahead > 10 * now
    back = space.labels(space.learned(values, frame, limited=False), frame)
    np.testing.assert_allclose(back, values, atol=1e-9)
    far = frame.assign(**{LABEL_SCALE: 1e9})
    step = np.diff([space.labels(np.full((ROWS, 2), v), far)[0, 0] for v in (0.0, 1.0)])
    assert step == pytest.approx(space.scale_highest * space.ranges[0])


@pytest.mark.parametrize(
    ("frame", "name", "ahead"),
    [
        (frame_of(), LABEL_SCALE, 3),
        (frame_of(**{LABEL_SCALE: 2.0}), "", 3),
        (frame_of(**{LABEL_SCALE: 2.0}), LABEL_SCALE, 0),
    ],
)
def test_labels_that_are_learned_as_they_are(frame: DataFrame, name: str, ahead: int) -> None:
    """Without the default feature, with '', and for labels of the same candle."""
    space = LabelSpace.fit(frame, np.ones((ROWS, 1)), ["&-a"], [ahead], name)
    assert space.scale_feature == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [("%-lable_scale", f"Did you mean '{LABEL_SCALE}'"), (LABEL_SCALE, "zero on at least 80 %")],
)
def test_scale_feature_that_cannot_be_used(name: str, said: str) -> None:
    """A feature that is missing, or mostly zero, is refused with the parameter's name."""
    frame = frame_of(**{LABEL_SCALE: (np.arange(ROWS) % 10 == 0).astype(float)})
    with pytest.raises(OperationalException, match=said) as caught:
        LabelSpace.fit(frame, np.ones((ROWS, 1)), ["&-a"], [3], name)
    assert "label_scale_feature" in str(caught.value)


def test_what_a_user_should_know(caplog: pytest.LogCaptureFixture) -> None:
    """A horizon that the setting does not tell, a price, and wild values: a line each, by name."""
    caplog.set_level(logging.WARNING)
    space = LabelSpace(["&-a", "&-b"], [12, 0], [False, True], [0, 0], [1, 1])
    warn_of(space, 3, np.array([0.02, 0.0]), "BTC/USDT")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    for line, parts in zip(
        said,
        [("&-a is known after 12 candles", "says 3"), ("&-a", "2.00%"), ("&-b", "follows")],
        strict=True,
    ):
        assert all(part in line for part in ("BTC/USDT", *parts))
    caplog.clear()
    warn_of(LabelSpace(["&-a"], [12], [False], [0], [1]), 12, np.zeros(1), "BTC/USDT")
    assert not caplog.records


def test_the_fields_survive_json() -> None:
    """What is saved makes the same space again."""
    frame = frame_of(**{LABEL_SCALE: 2.0})
    space = fitted(frame["close"].shift(-3).to_numpy(), frame)
    assert LabelSpace(**json.loads(json.dumps(asdict(space)))) == space
