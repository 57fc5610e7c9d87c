"""Kinds of faults of the tools: labels made of features, several files, odd names, secrets.

A new report is one more case of a test here.
"""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
from evaluate.saved import User, market
from pandas import DataFrame
from typer.testing import CliRunner

from freqai_lstm.cli import app
from freqai_lstm.evaluate.setup import load_config, load_setup
from freqai_lstm.tune.score import read_forecasts
from freqai_lstm.tune.space import TuneFailed
from freqai_lstm.tune.study import open_storage
from freqai_lstm.tune.trial import check_labels
from freqai_lstm.tune.workers import STORAGE, run_workers, without_option


# ------------------------------------------------- labels made of what feature_engineering adds


# Each label is the range of the next candle over the range of this one, made in another way.
LABELS = {
    "of a feature": 'dataframe["&-{name}"] = dataframe["%-range"].shift(-1) / dataframe["%-range"]',
    "of a column beside": 'dataframe["&-{name}"] = dataframe["size"].shift(-1) / dataframe["size"]',
    "by attribute": 'dataframe["&-{name}"] = dataframe.size_now.shift(-1) / dataframe.size_now',
    "of an expanded feature": (
        'dataframe["&-{name}"] = dataframe["size"].shift(-1) / dataframe["size"]'
        " + 0 * dataframe[f\"%-mean-period_10_{{metadata['pair']}}_1h\"].fillna(0)"
    ),
}
STRATEGY = """
from freqtrade.strategy import IStrategy


class Derived(IStrategy):
    timeframe = "1h"
    minimal_roi = {{"0": 1}}
    stoploss = -0.5
    startup_candle_count = 20

    def feature_engineering_expand_all(self, dataframe, period, metadata, **kwargs):
        dataframe["%-mean-period"] = dataframe["close"].pct_change(period)
        return dataframe

    def feature_engineering_standard(self, dataframe, metadata, **kwargs):
        dataframe["%-range"] = dataframe["high"] / dataframe["low"] - 1
        dataframe["size"] = dataframe["size_now"] = dataframe["%-range"]
        return dataframe

    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        {label}
        return dataframe

    def populate_indicators(self, dataframe, metadata):
        return self.freqai.start(dataframe, metadata, self)

    def populate_entry_trend(self, dataframe, metadata):
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
"""


def labels_of(name: str) -> Callable[[ModuleType, DataFrame], DataFrame]:
    """The label of `STRATEGY`, from candles."""

    def make(module: ModuleType, candles: DataFrame) -> DataFrame:
        size = candles["high"] / candles["low"] - 1
        return DataFrame({f"&-{name}": size.shift(-1) / size})

    return make


@pytest.fixture
def derived(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., User]:
    """Make a user with saved predictions of a strategy with one label, of a kind and a name."""

    def make(kind: str, name: str = "range") -> User:
        user = User(tmp_path, market(tmp_path_factory))
        user.configure(label_period_candles=1, indicator_periods_candles=[10])
        text = STRATEGY.format(label=LABELS[kind].format(name=name))
        (user.userdir / "strategies" / "Derived.py").write_text(text)
        user.save(make=labels_of(name))
        return user

    return make


@pytest.mark.parametrize("kind", list(LABELS))
def test_labels_made_of_features(derived: Callable[..., User], kind: str) -> None:
    """`evaluate` makes the features first, as FreqAI does; perfect predictions score 1."""
    user = derived(kind)
    assert user.evaluate(strategy="Derived", baselines=kind == "of a feature") == 0
    found = user.report()["targets"]["&-range"]
    assert found["mean"]["model"]["r2"]["value"] == pytest.approx(1)
    assert found["look_ahead"] == 1


def test_tune_scores_labels_made_of_features(derived: Callable[..., User]) -> None:
    """`tune` checks and scores such a label too."""
    user = derived("of a feature")
    arguments = user.arguments | {"strategy": "Derived", "timerange": "20240411-20240430"}
    setup = load_setup(load_config(arguments))
    check_labels(setup, ("&-range",))
    with pytest.raises(TuneFailed, match="Expected --label one of &-range"):
        check_labels(setup, ("&-other",))
    rows = read_forecasts(setup)
    assert len(rows) > 400
    np.testing.assert_allclose(rows["forecast"], rows["realised"])
    assert not (user.userdir / "models" / "known" / "run_params.json").exists()


# --------------------------------------------------------------------------- several files


def test_init_reads_further_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`init --config` follows `add_config_files`, from file to file, as freqtrade does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "config.json").write_text('{"add_config_files": ["more/ai.json"]}')
    (tmp_path / "more" / "ai.json").write_text(
        '{"add_config_files": ["deep.json"], "freqai": {"enabled": true, "keras": true}}'
    )
    deep = {"conv_width": 4, "model_training_parameters": {"unit": 3}}
    (tmp_path / "more" / "deep.json").write_text(json.dumps({"freqai": deep}))
    result = CliRunner().invoke(app, ["init", "--config", "config.json"], env={"COLUMNS": "200"})
    assert "has no freqai block" not in result.output
    assert 'freqai.model_save_type: missing; write "keras"' in result.output
    assert "Did you mean 'units'?" in result.output
    assert "freqai.keras" not in result.output


# ------------------------------------------------------------------------- names with brackets


def test_brackets_in_paths(tmp_path: Path) -> None:
    """`init` shows the path as it is: rich would take [x] for a style."""
    folder = tmp_path / "bots [red] [x]"
    result = CliRunner().invoke(app, ["init", "--userdir", str(folder)], env={"COLUMNS": "400"})
    assert result.exit_code == 0
    assert result.output.count("bots [red] [x]/") == 3


def test_brackets_in_names(derived: Callable[..., User], capsys: pytest.CaptureFixture) -> None:
    """`evaluate` shows labels, identifiers and files as they are."""
    user = derived("of a feature", "[x] range")
    user.save(make=labels_of("[x] range"), identifier="other [b]")
    output = user.folder / "out [c]"
    assert user.evaluate(strategy="Derived", against=["other [b]"], output=output) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in ("&-[x] range", "Against other [b]", "out [c]/evaluation.json"):
        assert name in shown


# ------------------------------------------------------------------------------------- secrets


URL = "postgresql+psycopg://tuner:s3cret@127.0.0.1:1/optuna"


@pytest.mark.parametrize("given", [["--storage", URL], [f"--storage={URL}"]])
def test_workers_show_no_password(given: list[str]) -> None:
    """Every user of a machine sees the options of a process: workers get the URL otherwise."""
    arguments = ["tune", "-c", "none.json", *given, "--timerange", "20240101-20240102"]
    lines, variables = set(), set()

    def run() -> None:
        with pytest.raises(TuneFailed):
            run_workers(arguments, 1, None, URL)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        for child in psutil.Process().children():
            try:
                lines.add(" ".join(child.cmdline()))
                variables.add(child.environ().get(STORAGE))
            except psutil.Error:
                continue
        thread.join(0.01)
    workers = [line for line in lines if "--worker" in line]
    assert workers
    assert not [line for line in workers if "s3cret" in line]
    assert all(line.endswith("--timerange 20240101-20240102 --worker") for line in workers)
    assert URL in variables


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["a", "--storage", "x", "b"], ["a", "b"]),
        (["--storage=x", "--study", "--storage"], ["--study"]),
        (["--storages", "x"], ["--storages", "x"]),
    ],
)
def test_option_is_left_out(arguments: list[str], kept: list[str]) -> None:
    """In both ways of writing it, and nothing else with it."""
    assert without_option(arguments, "--storage") == kept


@pytest.mark.parametrize(
    "url", [URL, URL.replace(":1/", ":port/"), "postgresql+psycopg://u:s3cret@@h/x", "u:s3cret@h"]
)
def test_errors_show_no_password(url: str, tmp_path: Path) -> None:
    """Nor does the message about a database that cannot be used, whatever is wrong with it."""
    with pytest.raises(TuneFailed, match="Expected as --storage") as error:
        open_storage(url, tmp_path / "x", 60)
    assert "s3cret" not in str(error.value)


# ----------------------------------------------------------------- labels that say nothing


@pytest.mark.parametrize("label", ["0.0", "1.0", "float('nan')", "first only", "rare"])
def test_labels_that_say_nothing(derived: Callable[..., User], label: str) -> None:
    """A label that never moves, or is known nowhere in the range, leaves the others alone."""
    user = derived("of a feature")
    path = user.userdir / "strategies" / "Derived.py"
    code = {
        "first only": 'dataframe["&-range"].where(dataframe.index < 100)',
        "rare": 'dataframe["&-range"].where(dataframe.index % 400 == 0)',
    }.get(label, label)
    added = f'dataframe["&-odd"] = {code}\n        return dataframe\n\n    def populate_indicators'
    path.write_text(
        path.read_text().replace("return dataframe\n\n    def populate_indicators", added)
    )

    def both(module: ModuleType, candles: DataFrame) -> DataFrame:
        labels = labels_of("range")(module, candles)
        same = {"first only": labels["&-range"], "rare": labels["&-range"]}
        odd = same[label] if label in same else {"1.0": 1.0}.get(label, 0.0)
        return labels.assign(**{"&-odd": odd})

    user.save(make=both, change=lambda rows: rows.fillna({"&-odd": 0.0}))
    assert user.evaluate(strategy="Derived", baselines=label in ("0.0", "rare")) == 0
    report = user.report()
    assert report["targets"]["&-range"]["mean"]["model"]["r2"]["value"] == pytest.approx(1)
    left_out = [note for note in report["notes"] if "no predicted candle has such a label" in note]
    assert bool(left_out) == (label in ("float('nan')", "first only"))
    assert ("&-odd" in report["targets"]) != bool(left_out)
    if label == "rare":
        assert report["targets"]["&-odd"]["predictors"] == ["model", "flat", "persistence"]


def test_one_label_alone_that_says_nothing(
    derived: Callable[..., User], capsys: pytest.CaptureFixture
) -> None:
    """A constant has a page too; a label that is never known ends with an error."""
    user = derived("of a feature")
    path = user.userdir / "strategies" / "Derived.py"
    code = path.read_text()
    for label, ended, said in (
        ("0.0", 0, ""),
        ("float('nan')", 1, "labels that are always missing"),
    ):
        made = f'dataframe["&-range"] = {label}'
        path.write_text(code.replace(LABELS["of a feature"].format(name="range"), made))
        user.save(make=lambda _, candles: DataFrame({"&-range": candles["close"] * 0}))
        assert user.evaluate(strategy="Derived") == ended
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("reach", [6, 12])
def test_pivots_look_ahead(derived: Callable[..., User], reach: int) -> None:
    """A label that is 1 on a few candles and 0 elsewhere is no label of the same candle."""
    user = derived("of a feature")
    user.configure(label_period_candles=12)
    path = user.userdir / "strategies" / "Derived.py"
    made = f'(dataframe["high"] == dataframe["high"].rolling({2 * reach + 1}, center=True).max())'
    old, new = LABELS["of a feature"].format(name="range"), f'dataframe["&-range"] = {made} * 1.0'
    path.write_text(path.read_text().replace(old, new))
    user.save(
        make=lambda _, candles: DataFrame({"&-range": candles["close"].pct_change().fillna(0)})
    )
    assert user.evaluate(strategy="Derived") == 0
    assert user.report()["targets"]["&-range"]["look_ahead"] == 12
