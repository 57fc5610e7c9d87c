"""docs/own-strategy.md, docs/symptoms.md and the recipe in docs/live.md: what they say is so."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import freqtrade
import pandas as pd
import pytest
from conftest import PAIR, ROOT, make_config
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.templates import FreqaiExampleStrategy
from test_docs import commands
from typer.testing import CliRunner, Result

from freqai_lstm.cli import app
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeRun, run_freqtrade
from freqai_lstm.market import generate_market
from freqai_lstm.plugins import EXAMPLE_CONFIG


DOCS = ROOT / "docs"
OWN, LIVE = DOCS / "own-strategy.md", DOCS / "live.md"
# A user's configuration: freqtrade's example for FreqAI, at 1h.
LIGHTGBM: dict[str, Any] = {
    "trading_mode": "futures",
    "margin_mode": "isolated",
    "timeframe": "1h",
    "stake_currency": "USDT",
    "stake_amount": 100,
    "max_open_trades": 1,
    "dry_run": True,
    "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
    "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
    "exchange": {"name": "binance", "pair_whitelist": [PAIR]},
    "pairlists": [{"method": "StaticPairList"}],
    "freqai": {
        "enabled": True,
        "purge_old_models": 2,
        "train_period_days": 25,
        "backtest_period_days": 10,
        "identifier": "unique-id",
        "feature_parameters": {
            "include_timeframes": ["1h"],
            "include_corr_pairlist": [],
            "label_period_candles": 24,
            "include_shifted_candles": 2,
            "DI_threshold": 0.9,
            "weight_factor": 0.9,
            "indicator_periods_candles": [10, 20],
            "use_SVM_to_remove_outliers": True,
        },
        "data_split_parameters": {"test_size": 0.33, "random_state": 1},
        "model_training_parameters": {},
    },
}
# Read after the pages' own files, to be quick.
QUICK = {
    "train_period_days": 25,
    "activate_tensorboard": False,
    "feature_parameters": {"include_timeframes": ["1h"], "include_corr_pairlist": []},
    "model_training_parameters": {"units": 4, "num_lstm_layers": 1, "epochs": 1},
}


def blocks(page: Path, language: str) -> list[str]:
    """The page's code blocks in a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@dataclass
class User:
    """A folder with a strategy and a configuration, and an exchange for its commands."""

    folder: Path

    def freqtrade(self, words: list[str]) -> FreqtradeRun:
        """Run a documented freqtrade command."""
        options = ["-c", "quick.json", "--cache", "none"]
        return run_freqtrade([*words[1:], *options], cwd=self.folder, timeout=600)

    def ours(self, words: list[str]) -> Result:
        """Run a documented freqai-lstm command."""
        return CliRunner().invoke(app, words[1:], env={"COLUMNS": "200"})

    def predictions(self, identifier: str) -> pd.DataFrame:
        """What FreqAI saved of the windows that were predicted."""
        saved = self.folder / "user_data/models" / identifier / "backtesting_predictions"
        return pd.concat(map(pd.read_feather, sorted(saved.glob("*.feather"))))


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """Two months of candles; configurations and strategies are up to the test."""
    monkeypatch.chdir(tmp_path)
    datadir = tmp_path / "user_data/data/binance"
    start, end = datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    generate_market(datadir, [PAIR], start=start, end=end)
    with LoopbackExchange(datadir) as exchange:
        quick = exchange.config() | {"freqai": QUICK}
        quick["exchange"]["pair_whitelist"] = [PAIR]
        (tmp_path / "quick.json").write_text(json.dumps(quick))
        yield User(tmp_path)


@pytest.mark.slow
def test_from_lightgbm_to_the_lstm_as_the_page_says(user: User) -> None:
    """The page's commands, its second file and its methods work on freqtrade's example strategy."""
    own = inspect.getsource(FreqaiExampleStrategy).replace("FreqaiExampleStrategy", "MyStrategy")
    # The recipe for several pairs is tested in tests/strategy/test_ranks.py.
    own_pair = [block for block in blocks(OWN, "python") if "confirm_trade_entry" not in block]
    methods = textwrap.indent("\n".join(own_pair), "    ")
    (user.folder / "user_data/strategies").mkdir()
    (user.folder / "user_data/strategies/MyStrategy.py").write_text(f"{own}\n{methods}")
    lightgbm = json.dumps(LIGHTGBM)
    parameters = '"model_training_parameters": {"n_estimators": 800}'
    (user.folder / "config.json").write_text(
        lightgbm.replace('"model_training_parameters": {}', parameters)
    )
    advise, backtest, evaluate = commands(OWN)

    told = user.ours(advise)
    assert told.exit_code == 0
    for key in ("keras", "model_save_type", "conv_width", "n_estimators"):
        assert key in told.output

    (user.folder / "config.json").write_text(lightgbm)
    (second,) = blocks(OWN, "json")
    (user.folder / "lstm.json").write_text(second)
    run = user.freqtrade(backtest)
    assert run.output.count("Starting training") == 2
    made = user.predictions(json.loads(second)["freqai"]["identifier"])
    assert (made["do_predict"] == 1).all()
    for column in re.findall(r"`(&-s_close\w*)`", OWN.read_text(encoding="utf-8")):
        assert column in made, column

    answer = user.ours([*evaluate, "-c", "quick.json"])
    assert answer.exit_code == 0, answer.output
    assert (user.folder / "build/evaluation/evaluation.html").is_file()


@pytest.mark.slow
def test_a_backtest_s_models_serve_and_nothing_is_trained_again(user: User) -> None:
    """The recipe's first backtest trains once; the longer one predicts with the same model."""
    assert user.ours(["freqai-lstm", "init"]).exit_code == 0
    (user.folder / "config.json").write_bytes(EXAMPLE_CONFIG.read_bytes())
    (serve,) = (block for block in blocks(LIVE, "json") if "live_retrain_hours" in block)
    (user.folder / "serve.json").write_text(serve)
    first, longer, _ = (words for words in commands(LIVE) if "serve.json" in words)
    assert user.freqtrade(first).output.count("Starting training") == 1
    again = user.freqtrade(longer).output
    assert "Starting training" not in again
    assert "Found model at" in again
    (identifier,) = (path.name for path in (user.folder / "user_data/models").iterdir())
    made = user.predictions(identifier)
    assert len(made) == 20 * 24
    assert (made["do_predict"] == 1).all()


def test_live_only_a_pair_without_a_model_is_trained(tmp_path: Path) -> None:
    """With the recipe's keys FreqAI finds no model too old, and asks for one where there is none.

    A dry-run of models from a backtest is in tests/rehearse/test_rehearsal.py.
    """
    (serve,) = (block for block in blocks(LIVE, "json") if "live_retrain_hours" in block)
    kitchen = FreqaiDataKitchen(make_config(tmp_path, **json.loads(serve)["freqai"]), True, PAIR)
    years_ago = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    assert kitchen.check_if_new_training_required(years_ago)[0] is False
    assert kitchen.check_if_model_expired(years_ago) is False
    assert kitchen.check_if_new_training_required(0)[0] is True
    kitchen.freqai_config["live_retrain_hours"] = 0
    assert kitchen.check_if_new_training_required(int(datetime.now(UTC).timestamp()) - 1)[0] is True


def messages() -> str:
    """All texts in the code of this project and of the parts of freqtrade that speak of FreqAI."""
    package = Path(inspect.getfile(freqtrade)).parent
    files = [*ROOT.glob("freqai_lstm/**/*.py"), *ROOT.glob("user_data/**/*.py")]
    for part in ("freqai", "data", "optimize/backtesting.py", "configuration"):
        files += [package / part] if part.endswith(".py") else (package / part).rglob("*.py")
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(value, "value", "…") for value in node.values)
                found.append("".join(part if isinstance(part, str) else "…" for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_messages_that_the_page_quotes_exist() -> None:
    """Each text in quotation marks is in the code; an ellipsis stands for what varies."""
    text = re.sub(r"^```.*?^```", "", OWN.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    quoted = re.findall(r'"([^"]+)"', re.sub(r"`[^`]*`", "", text))
    assert len(quoted) > 8
    known = messages()
    pieces = [piece.strip() for one in quoted for piece in one.split("…")]
    assert [piece for piece in pieces if piece not in known] == []
