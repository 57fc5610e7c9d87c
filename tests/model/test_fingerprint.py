"""What counts as a change of what the models were trained with, and what does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT, load_plugin
from freqtrade.exceptions import OperationalException


STRATEGY = ROOT / "user_data/strategies/ScoreStrategy.py"
MODEL = ROOT / "user_data/freqaimodels/LSTMRegressor.py"


def digests(strategy: Path, model: Path) -> dict[str, str]:
    """The digests of the two plugin files, as a run with them would write them."""
    model_module, strategy_module = load_plugin(model), load_plugin(strategy)
    return model_module.training_code(
        object.__new__(strategy_module.ScoreStrategy), object.__new__(model_module.LSTMRegressor)
    )


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., set[str]]:
    """Replace a text in a copy of a plugin file; returns the names whose digests changed."""

    def edit(plugin: Path, old: str, new: str) -> set[str]:
        copies = {path: tmp_path / path.name for path in (STRATEGY, MODEL)}
        for path, copy in copies.items():
            shutil.copy(path, copy)
        text = plugin.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {plugin.name}"
        copies[plugin].write_text(text.replace(old, new))
        before, after = digests(STRATEGY, MODEL), digests(copies[STRATEGY], copies[MODEL])
        assert before.keys() == after.keys()
        return {
            name.split(".")[-1].split(": ")[-1] for name in before if before[name] != after[name]
        }

    return edit


def test_every_listed_piece_of_code_is_found(lstm: ModuleType) -> None:
    """No digest is that of nothing: each name in the list exists."""
    nothing = lstm._digest([None])
    found = digests(STRATEGY, MODEL)
    assert len(found) == len(lstm.STRATEGY_METHODS) + len(lstm.MODEL_CODE)
    assert nothing not in found.values()


STATE_AND_LABELS = {"feature_engineering_standard", "set_freqai_targets"}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("MOMENTUM_BOOST = 1.5", "MOMENTUM_BOOST = 1.6", STATE_AND_LABELS),
        ('"atr": ta.ATR(candles, timeperiod=14)', '"atr": ta.ATR(candles)', STATE_AND_LABELS),
        ("dates.dt.dayofweek / 7", "dates.dt.dayofweek / 8", {"feature_engineering_standard"}),
        ("shift(-horizon)", "shift(-horizon - 1)", {"set_freqai_targets"}),
    ],
)
def test_changed_features_and_labels_are_noticed(
    edited: Callable[..., set[str]], old: str, new: str, changed: set[str]
) -> None:
    """A change in a formula shows in every FreqAI method that uses it, however deep."""
    assert edited(STRATEGY, old, new) == changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stoploss = -0.06", "stoploss = -0.2"),
        ('    "ma": 0.10,', '    "ma": 0.90,'),
        ('"""The nine labels: the terms', '"""Nine labels: the terms'),
        (
            "    labels = score_terms(candles)",
            "    # why not\n    labels =  score_terms( candles )",
        ),
        ("return t_hat > threshold, t_hat < -threshold", "return t_hat >= threshold, t_hat < -1"),
    ],
)
def test_signals_weights_and_comments_do_not_count(
    edited: Callable[..., set[str]], old: str, new: str
) -> None:
    """Risk settings, default weights, signals, docstrings and layout may change at will."""
    assert edited(STRATEGY, old, new) == set()


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('("const", ds.VarianceThreshold(threshold=0))', '("const", 1)', "define_data_pipeline"),
        ('name="norm_state"', 'name="norm_states"', "build_network"),
        ("np.flatnonzero(complete) + conv_width", "np.flatnonzero(complete)", "window_ends"),
    ],
)
def test_changed_windows_and_network_are_noticed(
    edited: Callable[..., set[str]], old: str, new: str, changed: str
) -> None:
    """A change in windows, scaling or network is named."""
    assert edited(MODEL, old, new) == {changed}


def test_settings_hold_what_training_depends_on_and_nothing_else(
    lstm: ModuleType, freqai_config: Callable[..., dict[str, Any]]
) -> None:
    """Parameters count with their defaults; devices, plots, retrain times and pairs do not."""

    def settings(config: dict[str, Any]) -> dict[str, Any]:
        given = config["freqai"]["model_training_parameters"]
        return lstm.training_settings(config, lstm.LSTMParameters.from_config(given))

    base = settings(freqai_config())
    default = lstm.LSTMParameters().lr_patience
    assert settings(freqai_config(training={"lr_patience": default})) == base
    assert settings(freqai_config(training={"device": "cpu"})) == base
    assert settings(freqai_config(features={"plot_feature_importances": 5})) == base
    assert settings(freqai_config(live_retrain_hours=7, expiration_hours=9)) == base
    for changed in (
        freqai_config(training={"seed": 99}),
        freqai_config(features={"label_period_candles": 1}),
        freqai_config(features={"indicator_periods_candles": [10, 30]}),
        freqai_config(features={"include_timeframes": ["1h", "4h"]}),
        freqai_config(split={"test_size": 0.3}),
        freqai_config(conv_width=7),
        freqai_config(train_period_days=21),
        freqai_config() | {"timeframe": "5m"},
    ):
        differing = {k for k, v in settings(changed).items() if base.get(k, "none") != v}
        assert len(differing) == 1


def test_mismatch_names_what_changed_and_what_to_do(lstm: ModuleType, tmp_path: Path) -> None:
    """The error lists every changed setting and piece of code; the file stays as it was."""
    lstm.check_fingerprint(tmp_path, {"a": 1, "b": [1, 2]}, {"S.f": "x"})
    written = (tmp_path / "fingerprint.json").read_text()
    lstm.check_fingerprint(tmp_path, {"a": 1, "b": [1, 2]}, {"S.f": "x"})
    with pytest.raises(OperationalException) as error:
        lstm.check_fingerprint(tmp_path, {"a": 2, "c": 3}, {"S.f": "y"})
    assert str(error.value) == (
        f"The models and predictions in {tmp_path} were made with something else. Changed:\n"
        "  - a: 1 -> 2\n"
        "  - b: [1, 2] -> 'not set'\n"
        "  - c: 'not set' -> 3\n"
        "  - the code of S.f, or what it uses\n"
        "Choose a new freqai.identifier to train anew, or take the change back. "
        "(freqai.allow_changed_fingerprint: true uses the old models all the same.)"
    )
    assert (tmp_path / "fingerprint.json").read_text() == written


def test_switch_turns_the_error_into_a_warning(
    lstm: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the switch the run goes on, with a warning that lists the changes each time."""
    lstm.check_fingerprint(tmp_path, {"a": 1}, {})
    for _ in range(2):
        caplog.clear()
        lstm.check_fingerprint(tmp_path, {"a": 2}, {}, allow_changes=True)
        assert "a: 1 -> 2" in caplog.text


def test_models_without_a_fingerprint_are_pointed_out(
    lstm: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Models of unknown origin give a warning, and are checked from then on."""
    (tmp_path / "sub-train-BTC_1709251200").mkdir()
    lstm.check_fingerprint(tmp_path, {"a": 1}, {})
    assert "holds models but no fingerprint.json" in caplog.text
    assert json.loads((tmp_path / "fingerprint.json").read_text())["settings"] == {"a": 1}


def test_unreadable_fingerprint_is_an_error_that_says_what_to_do(
    lstm: ModuleType, tmp_path: Path
) -> None:
    """A damaged file neither passes for a match nor is silently replaced."""
    (tmp_path / "fingerprint.json").write_text("{")
    with pytest.raises(OperationalException, match=r"Choose a new freqai\.identifier, or delete"):
        lstm.check_fingerprint(tmp_path, {}, {})
