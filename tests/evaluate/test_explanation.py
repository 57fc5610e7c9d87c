"""Importance: planted features are found, noise is at zero; attention says where it looks."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import PAIR, make_frame, make_kitchen
from small import drawn_network

from freqai_lstm.evaluate.explanation import (
    CALENDAR,
    CANDLES,
    attention_by_lag,
    explain,
    feature_groups,
    importance,
)
from freqai_lstm.model.windows import CandleInputs, window_ends


def test_feature_groups() -> None:
    """Periods, shifts, timeframes and pairs of one name are one group."""
    names = [
        "%-rsi-period_10_BTC/USDTUSDT_1h",
        "%-rsi-period_20_shift-1_ETH/USDTUSDT_4h",
        "%-bb_width-period_10_BTC/USDT_1h",
        "%-hour",
        "%-close_ratio_gen_ETH/USDTUSDT_1h",
    ]
    assert feature_groups(names) == {
        "rsi": [0, 1],
        "bb_width": [2],
        "hour": [3],
        "close_ratio_gen": [4],
    }


def test_planted_features_are_found_and_noise_is_not(regressor: Callable[..., Any]) -> None:
    """`&-a` is made of x0 and x1, `&-b` of x2: they matter, x3 and the calendar are at zero."""
    frame, rng = make_frame(1400), np.random.default_rng(2)
    # The price knows nothing of the features, and no line is exact.
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 1400)))
    frame = frame.assign(**dict.fromkeys(("open", "high", "low", "close"), close))
    x, noise = frame[[f"%-x{i}" for i in range(4)]].to_numpy().T, rng.normal(0, 0.5, (2, 1400))
    frame["&-a"], frame["&-b"] = x[0] - x[1] + noise[0], 3 * x[2] + noise[1]
    freqai = regressor(conv_width=6)
    dk = make_kitchen(freqai.config, frame)
    model = freqai.train(frame.iloc[:900], PAIR, dk)
    unseen = frame.iloc[900:].reset_index(drop=True)
    values = unseen[model.features]
    scaled = dk.feature_pipeline.transform(values, outlier_check=True)[0].to_numpy()
    inputs = CandleInputs.of(unseen, 3600)
    ends = window_ends(inputs.numbers, inputs.valid, 6)
    actual = model.space.learned(unseen[["&-a", "&-b"]].to_numpy()[ends], unseen.iloc[ends])
    found = importance(model, PAIR, unseen, inputs, scaled, ends, actual)
    keys = zip(found["label"], found["group"], strict=True)
    table = dict(zip(keys, zip(found["value"], found["error"], strict=True), strict=True))
    for label, planted in (("&-a", {"x0", "x1"}), ("&-b", {"x2"})):
        for group in ("x0", "x1", "x2", "x3", CALENDAR, CANDLES):
            value, error = table[label, group]
            if group in planted:
                assert value > max(0.3, 5 * error), (label, group)
            else:
                assert abs(value) < 3 * error + 1e-3, (label, group)
                assert abs(value) < 0.02, (label, group)


def test_a_damaged_model_is_said(tmp_path: Path) -> None:
    """Its window is left out, and a note names the file."""
    window: Any = SimpleNamespace(pair=PAIR, folder="sub-train", name="cb_btc_1")
    (tmp_path / "sub-train").mkdir()
    (tmp_path / "sub-train" / "cb_btc_1_model.npz").write_bytes(b"half a file")
    setup: Any = SimpleNamespace(folder=tmp_path)
    found: Any = SimpleNamespace(windows=[window])
    features: Any = None
    notes: list[str] = []
    assert explain(setup, found, features, notes) is None
    (note,) = notes
    assert "cb_btc_1_model.npz" in note
    assert "damaged" in note


def test_attention_is_a_share_of_each_lag(regressor: Callable[..., Any]) -> None:
    """It sums to 1 over the window, and equals the network's own weights, newest candle first."""
    frame = make_frame(400)
    freqai = regressor(conv_width=6)
    model = freqai.train(frame, PAIR, make_kitchen(freqai.config, frame))
    inputs = CandleInputs.of(frame, 3600)
    ends = window_ends(inputs.numbers, inputs.valid, 6)
    assert attention_by_lag(model, PAIR, frame, inputs, ends) is None
    model.network = drawn_network(frame, model.space, 6)
    model.scales = model.network.scales[PAIR]
    found = attention_by_lag(model, PAIR, frame, inputs, ends)
    assert found is not None
    assert found.shape == (6,)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert (found > 0).all()
    assert not np.allclose(found, found[::-1])
