"""`doctor`: each symptom by a real log line, file or setting, and the page that it reads."""

import json
import pickle
import re
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from conftest import ROOT
from freqtrade.enums import CandleType
from saved import PAIRS, User, market

from freqai_lstm.doctor import checks
from freqai_lstm.doctor.command import doctor
from freqai_lstm.doctor.symptoms import SYMPTOMS_PAGE, read_records, symptom, symptoms
from freqai_lstm.model.alarm import State, announcement
from freqai_lstm.plugins import EXAMPLE_CONFIG


SOURCES = "\n".join(
    " ".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8")).split())
    for folder in ("freqai_lstm", "user_data")
    for path in sorted((ROOT / folder).rglob("*.py"))
)


def test_page_is_the_table() -> None:
    """Every row with a quotation is read, and checks name rows that are there."""
    page = SYMPTOMS_PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    tables = page.count("| --- |") and len(re.findall(r"^\| ---", page, re.MULTILINE))
    assert len(symptoms()) == len(rows) - tables
    code = Path(checks.__file__).read_text(encoding="utf-8")
    names = {"NEVER": checks.NEVER, "EQUAL": checks.EQUAL, "TRADES": checks.TRADES}
    names |= {"STOPS": checks.STOPS, "TOGETHER": checks.TOGETHER}
    named = re.findall(r"symptom\((?:(\w+)|\"([^\"]+)\"), \"([^\"]+)\"\)", code)
    assert len(named) > 10
    for constant, section, cause in named:
        assert symptom(names.get(constant, section), cause)
    with pytest.raises(KeyError):
        symptom(checks.TRADES, "the moon")


@pytest.mark.parametrize(
    "text", sorted({text for row in symptoms() for text in row.says if text != "; write"})
)
def test_what_is_quoted_is_said_by_the_code(text: str, freqtrade_sources: str) -> None:
    """Each quotation is in a message of this package, or of freqtrade."""
    for part in re.split(r"…", text):
        words = part.strip()
        assert words in SOURCES or words in freqtrade_sources, words


@pytest.fixture(scope="module")
def freqtrade_sources() -> str:
    """freqtrade's code and the libraries' messages that the page quotes, on one line."""
    import freqtrade

    root = Path(freqtrade.__file__).parent
    files = [*root.rglob("*.py"), Path(pd.__file__).parent / "core" / "reshape" / "merge.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return " ".join(re.sub(r'"\s*\n\s*f?"', "", text).split())


def at(text: str, level: str = "WARNING") -> str:
    """A record of freqtrade's log."""
    return f"2026-11-01 12:00:00,000 - freqai_lstm.model - {level} - {text}"


def alarm(state: State, pair: str = "BTC/USDT:USDT", still: Sequence[str] = ()) -> str:
    """What a bot logs of a change of its alarm."""
    return at(announcement(pair, 1_700_000_000, state, "good", still))


CONSTANT = "BTC/USDT:USDT: nothing predicts {} better than a constant; the constant is predicted."
TRAINED = at("BTC/USDT:USDT: trained on 900 windows in 1.0 s; the network serves 1 of 2 labels.")


@pytest.mark.parametrize(
    ("records", "cause"),
    [
        ([at("No model ready for ETH/USDT:USDT, returning null values"), TRAINED], "no model yet"),
        (
            [at("BTC/USDT:USDT: 24 of 24 candles miss features (such as")],
            "a feature is always",
        ),
        (
            [
                at(CONSTANT.format("&-a, &-b")),
                TRAINED,
            ],
            "nothing can be known",
        ),
        ([at("Total time spent inferencing pairlist 900.2 seconds", "INFO")], "features take long"),
        ([at("BTC/USDT:USDT: none of 240 candles could be predicted.")], "outlier steps"),
        ([at("Training BTC/USDT:USDT raised exception ValueError", "ERROR")], "its training fails"),
        ([at("Model expired for BTC/USDT:USDT, returning null values")], "the model has expired"),
        ([alarm("stop"), alarm("good", "ETH/USDT:USDT")], "the alarm stands"),
        ([alarm("good"), alarm("warn", still=["%-x"])], "a source of features"),
    ],
)
def test_log_lines(records: list[str], cause: str) -> None:
    """Each of them names its row."""
    assert any(of.symptom.cause.startswith(cause) for of in read_records(records, 3600))


@pytest.mark.parametrize(
    "records",
    [
        [at("No model ready for BTC/USDT:USDT, returning null values"), TRAINED],
        [alarm("stop"), alarm("good")],
        [at("BTC/USDT:USDT: 99 of 498 candles miss features (such as %-x; no trades, no price?)")],
        [
            at(CONSTANT.format("&-a")),
            TRAINED,
        ],
        [at("Total time spent inferencing pairlist 0.02 seconds", "INFO")],
    ],
)
def test_healthy_logs(records: list[str]) -> None:
    """What every bot says at its start, or of one label, is nothing wrong."""
    assert [of for of in read_records(records, 3600) if of.wrong] == []


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user with candles of 60 days."""
    return User(tmp_path_factory.mktemp("doctor"), market(tmp_path_factory))


@pytest.fixture
def ask(user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command with changes of the configuration; exit code and what it printed."""

    def run(
        root: dict[str, Any] | None = None,
        log: Path | None = None,
        datadir: Path | None = None,
        **freqai: Any,
    ) -> tuple[int, str]:
        third = tmp_path / "third.json"
        third.write_text(json.dumps({**(root or {}), "freqai": freqai}))
        with pytest.raises(typer.Exit) as ended:
            doctor(
                config=[EXAMPLE_CONFIG, user.folder / "second.json", third],
                userdir=user.userdir,
                datadir=datadir or user.datadir,
                log=log,
            )
        out = capsys.readouterr()
        return ended.value.exit_code, out.out + out.err

    return run


def test_nothing_is_wrong(ask: Callable[..., Any]) -> None:
    """The example configuration with enough candles gives 0; short history is worth knowing."""
    code, text = ask()
    assert code == 0, text
    assert text.startswith("Nothing is wrong.")
    assert "To know: fewer days than `history_days`" in text
    assert "download-data --prepend --days 1115" in text


def test_patterns_in_the_whitelist(ask: Callable[..., Any]) -> None:
    """A pattern stands for the pairs that lie on disk, and is no pair without candles."""
    code, text = ask({"exchange": {"pair_whitelist": [".*/USDT:USDT"]}})
    assert code == 0, text
    assert "there are no candles" not in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"live_retrain_hours": 0}, "`live_retrain_hours` is 0"),
        ({"expiration_hours": 12}, "models expire before"),
        ({"model_training_parameters": {"unitz": 3}}, "has no parameter 'unitz'"),
        ({"conv_width": 1}, "must be a whole number from 2 up"),
        ({"root": {"max_open_trades": 0}}, "freqtrade may open none"),
        ({"root": {"initial_state": "stopped"}}, "freqtrade may open none"),
        ({"train_period_days": 400}, "--days 430"),
        ({"feature_parameters": {"include_timeframes": ["1h", "1d"]}}, "there are no candles"),
    ],
)
def test_settings(ask: Callable[..., Any], changes: dict[str, Any], says: str) -> None:
    """Each wrong setting gives exit code 1 and the line to change, or the command."""
    code, text = ask(**changes)
    assert code == 1, text
    assert text.startswith("Cause")
    assert says in text


def test_holes_and_a_clock_that_is_off(ask: Callable[..., Any], user: User, tmp_path: Path) -> None:
    """Missing candles are counted, with the command; candles of the future name the clock."""
    import shutil

    shutil.copytree(user.datadir, tmp_path / "data")
    file = tmp_path / "data" / "futures" / "BTC_USDT_USDT-1h-futures.feather"
    frame = pd.read_feather(file)
    frame.drop(index=frame.index[-200:-150]).reset_index(drop=True).to_feather(file)
    code, text = ask(datadir=tmp_path / "data")
    assert code == 1
    assert "lacks 50 of" in text
    ahead = pd.Timestamp.now("UTC").floor("h") + timedelta(hours=5) - frame["date"].iloc[-1]
    frame.assign(date=frame["date"] + ahead).to_feather(file)
    code, text = ask(datadir=tmp_path / "data")
    assert code == 1
    assert "the clock is off" in text
    assert CandleType.FUTURES.value in file.name


def test_a_bots_files(ask: Callable[..., Any], user: User) -> None:
    """Expired and damaged models; pairs that are never predicted, constant, or left behind."""
    folder = user.userdir / "models" / "ill"
    folder.mkdir(parents=True)
    dates = pd.date_range("2024-04-25", periods=100, freq="h", tz="UTC")
    row = {"&-a": 1.0, "&-a_lower": 0.0, "&-a_upper": 2.0, "do_predict": 1, "date_pred": dates}
    constant = pd.DataFrame(row)
    never = constant.assign(do_predict=0, date_pred=dates - timedelta(days=1))
    history = pickle.dumps(dict(zip(PAIRS, (constant, never), strict=True)))
    (folder / "historic_predictions.pkl").write_bytes(history)
    trained = {"trained_timestamp": int(time.time()) - 90 * 3600}
    (folder / "pair_dictionary.json").write_text(json.dumps({PAIRS[0]: trained}))
    (folder / "cb_btc_1_model.npz.damaged").touch()
    code, text = ask(identifier="ill")
    assert code == 1
    for cause in (
        "no candle of a pair is predicted",
        "nothing can be known of the label",
        "the exchange gives no new candles",
        "the model has expired",
        "To know: the model could not be saved, or a file is damaged",
    ):
        assert cause in text, cause


def test_plugin_files(ask: Callable[..., Any], user: User, tmp_path: Path) -> None:
    """A missing plugin file, and one of another release, are named with the command."""
    file = user.userdir / "freqaimodels" / "LSTMRegressor.py"
    shipped = file.read_text(encoding="utf-8")
    try:
        file.write_text(re.sub(r"^RELEASE = .*$", 'RELEASE = "0.1"', shipped, flags=re.MULTILINE))
        code, text = ask()
        assert code == 1
        assert "belongs to freqai-lstm 0.1" in text
        file.unlink()
        code, text = ask()
        assert code == 1
        assert "a plugin file is missing" in text
    finally:
        file.write_text(shipped, encoding="utf-8")


def test_no_log(ask: Callable[..., Any], tmp_path: Path) -> None:
    """A log that is not there is an error, not a clean bill."""
    code, text = ask(log=tmp_path / "none.log")
    assert code == 1
    assert "there is none" in text
