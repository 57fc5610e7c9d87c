"""What counts as a change of what the models were trained with, and what does not."""

import inspect
import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import load_plugin
from freqtrade.exceptions import OperationalException
from livebot import Momentum

from freqai_lstm.model import fingerprint
from freqai_lstm.model.parameters import read_parameters
from freqai_lstm.plugins import STRATEGY_FILE


Make = Callable[..., dict[str, Any]]
STATE_AND_LABELS = {"feature_engineering_standard", "set_freqai_targets"}


def digests(config: dict[str, Any], file: Path) -> dict[str, str]:
    """The digests of a strategy's FreqAI methods, by the name of the method."""
    module = load_plugin(file)
    strategy = object.__new__(module.ScoreStrategy)
    found = fingerprint.fingerprint(config, read_parameters({}), strategy)
    return {
        key.split(",")[0].split(".")[-1]: value
        for key, value in found.items()
        if key.startswith("code of ")
    }


@pytest.fixture
def edited(tmp_path: Path, freqai_config: Make) -> Callable[[str, str], set[str]]:
    """Replace a text in a copy of the strategy; returns the methods whose digests changed."""

    def edit(old: str, new: str) -> set[str]:
        text, copy = STRATEGY_FILE.read_text(), tmp_path / STRATEGY_FILE.name
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        copy.write_text(text.replace(old, new))
        before, after = digests(freqai_config(), STRATEGY_FILE), digests(freqai_config(), copy)
        assert len(before) == 4
        assert before.keys() == after.keys()
        return {name for name in before if before[name] != after[name]}

    return edit


# --- the strategy's code ---


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("MOMENTUM_BOOST = 1.5", "MOMENTUM_BOOST = 1.6", STATE_AND_LABELS),
        ('"atr": ta.ATR(candles, timeperiod=14)', '"atr": ta.ATR(candles)', STATE_AND_LABELS),
        ("dates.dt.dayofweek / 7", "dates.dt.dayofweek / 8", {"feature_engineering_standard"}),
        ("shift(-horizon)", "shift(-horizon - 1)", {"set_freqai_targets"}),
        ("(close < lower)", "(close <= lower)", STATE_AND_LABELS),
    ],
)
def test_changed_features_and_labels_are_noticed(
    edited: Callable[[str, str], set[str]], old: str, new: str, changed: set[str]
) -> None:
    """A change in a formula shows in every FreqAI method that uses it, however deep."""
    assert edited(old, new) == changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stoploss = -0.06", "stoploss = -0.2"),
        ('    "ma": 0.10,', '    "ma": 0.90,'),
        ('"""(x - mean) / standard deviation', '"""The z-score: (x - mean) / standard deviation'),
        (
            "    mean, std = rolling_moments(values, window)\n    return ratio(values - mean, std)",
            "    # why not\n    (mean, std) = rolling_moments( values, window )\n\n"
            "    return ratio(\n        values - mean,\n        std,\n    )",
        ),
        ("return t_hat > threshold, t_hat < -threshold", "return t_hat >= threshold, t_hat < -1"),
    ],
)
def test_signals_weights_and_comments_do_not_count(
    edited: Callable[[str, str], set[str]], old: str, new: str
) -> None:
    """Risk settings, default weights, signals, docstrings and layout may change at will."""
    assert edited(old, new) == set()


FUNCTION = '''
def feature(self, frame, period: int, *, name="x", **kwargs):
    """What it is."""
    def inner(values): return [v ** 2 for v in values if v > 0.5 and not v == 1]
    try:
        with open(f"{name}-{period!r}") as file: frame["%-a"] = -frame["close"].shift(period)
    except (ValueError, OSError) as error:
        raise KeyError("no") from error
    return inner(frame) if (n := len(frame)) else lambda: n
'''


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_digest_survives_a_newer_python(version: str) -> None:
    """The content of a function that is hashed is the same in Python 3.11, 3.12 and 3.13."""
    program = "import ast, sys, textwrap\nfrom typing import Any\n"
    program += inspect.getsource(fingerprint._content) + "\n"
    program += inspect.getsource(fingerprint._syntax) + "\n"
    program += "sys.stdout.write(_content(sys.stdin.read()))\n"
    found = find_python(version)
    if not found:
        pytest.skip(f"Python {version} is not on this machine")
    for source in (FUNCTION, inspect.getsource(Momentum.feature_engineering_standard)):
        ran = subprocess.run(
            [found, "-c", program], input=source, capture_output=True, text=True, check=True
        )
        assert ran.stdout == fingerprint._content(source)
    # What is hashed tells functions apart.
    for old, new in (("0.5", "0.6"), ("shift(period)", "shift(-period)"), ("-frame[", "+frame[")):
        assert fingerprint._content(FUNCTION.replace(old, new)) != fingerprint._content(FUNCTION)


def find_python(version: str) -> str | None:
    """An interpreter of a version that really runs: on the path, or one of pyenv's."""
    pyenv = Path.home() / ".pyenv" / "versions"
    installed = [str(path) for path in sorted(pyenv.glob(f"{version}*/bin/python3"))]
    for candidate in filter(None, [shutil.which(f"python{version}"), *installed]):
        ran = subprocess.run([candidate, "-c", "0"], capture_output=True, check=False)
        if ran.returncode == 0:
            return candidate
    return None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a < b", "a > b"),
        ("a + b", "a - b"),
        ("a and b", "a or b"),
        ("f(a, b)", "f(b, a)"),
        ("f(a)(b)", "f(a, b)"),
        ("(a + b) * c", "a + b * c"),
        ("a - (b - c)", "a - b - c"),
        ("x['a']", "x['b']"),
        ("f(a=1)", "f(b=1)"),
        ("None", "True"),
        ("1", "True"),
        ("1", "1.0"),
        ("b'a'", "b'b'"),
        ("a if b else c", "b if a else c"),
        ("[a, [b]]", "[a, b]"),
        ("f(a, *b)", "f(a, b)"),
        ("x[1:]", "x[:1]"),
        ("1j", "2j"),
        ("f(a(b), c(x))", "f(a(b, c), x())"),
    ],
)
def test_different_formulas_have_different_contents(one: str, other: str) -> None:
    """No two formulas that compute different things are taken for the same."""
    functions = [f"def f(a, b, c, x):\n    return {formula}\n" for formula in (one, other)]
    assert fingerprint._content(functions[0]) != fingerprint._content(functions[1])


def test_branches_are_told_apart() -> None:
    """What stands under `else` is not taken for what stands under `if`."""
    one = "def f(a):\n    if a:\n        b = 1\n        c = 2\n"
    other = "def f(a):\n    if a:\n        b = 1\n    else:\n        c = 2\n"
    assert fingerprint._content(one) != fingerprint._content(other)


# --- settings ---


def test_settings_hold_what_training_depends_on_and_nothing_else(freqai_config: Make) -> None:
    """Parameters count with their defaults; devices, plots, retrain times and pairs do not."""
    strategy = object.__new__(Momentum)

    def settings(config: dict[str, Any]) -> dict[str, Any]:
        given = config["freqai"]["model_training_parameters"]
        return fingerprint.fingerprint(config, read_parameters(given), strategy)

    base = settings(freqai_config())
    assert (
        settings(freqai_config(training={"lr_patience": read_parameters({}).lr_patience})) == base
    )
    assert settings(freqai_config(training={"device": "cpu"})) == base
    assert settings(freqai_config(features={"plot_feature_importances": 5})) == base
    assert settings(freqai_config(live_retrain_hours=7, expiration_hours=9)) == base
    pairs = freqai_config()
    pairs["exchange"]["pair_whitelist"] = ["ETH/USDT:USDT"]
    assert settings(pairs) == base
    for changed in (
        freqai_config(training={"seed": 99}),
        freqai_config(features={"label_period_candles": 1}),
        freqai_config(features={"indicator_periods_candles": [10, 30]}),
        freqai_config(features={"include_timeframes": ["1h", "4h"]}),
        freqai_config(split={"test_size": 0.3}),
        freqai_config(conv_width=7),
        freqai_config(train_period_days=21),
        freqai_config(continual_learning=True),
        freqai_config() | {"timeframe": "5m"},
        freqai_config() | {"trading_mode": "futures"},
    ):
        differing = {k for k, v in settings(changed).items() if base.get(k, "none") != v}
        assert len(differing) == 1
    assert json.loads(json.dumps(base)) == base, "it comes back from its file unchanged"


# --- the file ---


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a model."""
    model = tmp_path / "sub-train-BTC_1709251200" / "cb_btc_1709251200_model.keras"
    model.parent.mkdir()
    model.touch()
    return tmp_path


def test_equal_settings_pass_in_silence(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was written compares equal, and is kept."""
    fingerprint.write(models, {"a": 1, "b": [1, 2]})
    assert fingerprint.check(models, {"a": 1, "b": [1, 2]})
    assert caplog.records == []
    assert not list(models.glob("~*"))


def test_mismatch_names_what_changed_and_what_to_do(models: Path) -> None:
    """The error lists every changed setting and piece of code; the file stays as it was."""
    fingerprint.write(models, {"a": 1, "b": [1, 2], "code of S.f": "x", "same": 5})
    written = (models / "fingerprint.json").read_text()
    with pytest.raises(OperationalException) as error:
        fingerprint.check(models, {"a": 2, "c": 3, "code of S.f": "y", "same": 5})
    message = str(error.value)
    listed = [line.strip() for line in message.splitlines() if line.startswith("  - ")]
    assert listed[:3] == ["- a: 1 -> 2", "- b: [1, 2] -> 'not set'", "- c: 'not set' -> 3"]
    assert len(listed) == 4
    assert "code of S.f" in listed[3]
    for part in (str(models), "freqai.identifier", "freqai.allow_changed_fingerprint"):
        assert part in message
    assert (models / "fingerprint.json").read_text() == written


def test_switch_turns_the_error_into_a_warning(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the switch the run goes on, with a warning that lists the changes each time."""
    fingerprint.write(models, {"a": 1})
    for _ in range(2):
        caplog.clear()
        assert fingerprint.check(models, {"a": 2}, allow_changes=True)
        assert "a: 1 -> 2" in caplog.text


@pytest.mark.parametrize(
    "kept",
    [
        "sub-train-BTC_1/cb_btc_1_model.keras",
        "sub-train-BTC_1/cb_btc_1_model.joblib",
        "backtesting_predictions/cb_btc_1_prediction.feather",
        "historic_predictions.pkl",
    ],
)
def test_compared_where_anything_is_kept(tmp_path: Path, kept: str) -> None:
    """A model, a saved prediction or a history of predictions must fit the settings."""
    fingerprint.write(tmp_path, {"a": 1})
    assert not fingerprint.check(tmp_path, {"a": 2}), "there is nothing that could be reused"
    (tmp_path / kept).parent.mkdir(exist_ok=True)
    (tmp_path / kept).touch()
    with pytest.raises(OperationalException, match="a: 1 -> 2"):
        fingerprint.check(tmp_path, {"a": 2})


def test_folder_without_a_model_is_not_compared(tmp_path: Path) -> None:
    """A sub-train folder that a failed training left behind holds nothing to be reused."""
    (tmp_path / "sub-train-BTC_1").mkdir()
    (tmp_path / "sub-train-BTC_1" / "cb_btc_1_metadata.json").touch()
    fingerprint.write(tmp_path, {"a": 1})
    assert not fingerprint.check(tmp_path, {"a": 2})


def test_models_without_a_fingerprint_are_pointed_out(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Models of unknown origin give a warning that names the folder and the file."""
    assert not fingerprint.check(models, {"a": 1})
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert str(models) in warning
    assert "fingerprint.json" in warning


@pytest.mark.parametrize("content", ["{", "", "7", "[1]", '{"a": 1', "null"])
def test_unreadable_fingerprint_is_an_error_that_says_what_to_do(
    models: Path, content: str
) -> None:
    """A damaged file neither passes for a match nor is silently replaced."""
    (models / "fingerprint.json").write_text(content)
    with pytest.raises(OperationalException, match=r"freqai\.identifier, or delete"):
        fingerprint.check(models, {})
    assert (models / "fingerprint.json").read_text() == content


# --- when it is written ---


def test_written_after_the_first_successful_training(
    lstm: ModuleType,
    regressor: Callable[..., Any],
    learnable: Callable[..., Any],
    kitchen: Callable[..., Any],
) -> None:
    """A training that fails writes none; the first that succeeds writes what it was given."""
    freqai = regressor()
    freqai._fingerprint = {"a": 1}
    file = freqai.full_path / "fingerprint.json"
    for rows in (15, 260):
        assert not file.exists()
        frame = learnable(rows)
        dk = kitchen(freqai.config, frame)
        if rows == 15:
            with pytest.raises(OperationalException, match="training"):
                freqai.train(frame, dk.pair, dk)
        else:
            freqai.train(frame, dk.pair, dk)
    assert json.loads(file.read_text()) == {"a": 1}
    file.unlink()
    freqai.train(frame, dk.pair, dk)
    assert not file.exists(), "written once"
