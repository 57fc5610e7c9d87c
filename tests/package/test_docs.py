"""What the pages say is what the code has: parameters, commands, links, example configurations."""

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import ROOT
from freqtrade.commands import Arguments
from freqtrade.configuration.config_validation import validate_config_schema
from freqtrade.configuration.load_config import load_from_files
from freqtrade.enums import RunMode
from pydantic import ValidationError

from freqai_lstm.cli import COMMANDS
from freqai_lstm.model.parameters import LSTMParameters
from tools.picture import PANELS, picture


PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
EXAMPLE, SPOT, RISK = (ROOT / f"config.{name}.json" for name in ("example", "spot", "risk"))
# Shown, but not run by anything here; the pages say so where it matters.
NOT_OURS = ("pip", "cp", "docker", "export", "tensorboard", "ssh", "pre-commit")


def commands(page: Path) -> Iterator[list[str]]:
    """The commands in the page's sh blocks, as words; lines that end in a backslash go on."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words[:-1] if words[-1] == "&" else words


def documented(start: str) -> list[Any]:
    """Every documented command that begins with a word, as a test parameter."""
    return [
        pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")
        for page in PAGES
        for words in commands(page)
        if Path(words[0]).name == start
    ]


def test_every_command_is_of_a_known_kind() -> None:
    """A command nobody checks cannot slip into a page."""
    known = {"freqtrade", "freqai-lstm", "make", "python", *NOT_OURS}
    found = {Path(words[0]).name for page in PAGES for words in commands(page)}
    assert {"freqtrade", "freqai-lstm", "make", "python"} <= found
    assert found - known == set()


@pytest.mark.parametrize("words", documented("freqtrade"))
def test_freqtrade_commands_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """freqtrade knows each documented command with all its options."""
    monkeypatch.chdir(ROOT)  # it looks for config.json and user_data where it is called
    try:
        Arguments(words[1:]).get_parsed_arg()
    except SystemExit as refused:
        pytest.fail(f"freqtrade refuses {' '.join(words)}: exit {refused.code}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    """Each make target that a page names, in a block or in backticks, is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^ *|`)make (?:[A-Z]+=\S+ )*([a-z-]+)", text, re.MULTILINE))
    assert all(f"\n{target}:" in makefile for target in named), named


@pytest.mark.parametrize("words", documented("freqai-lstm"))
def test_our_commands_parse(words: list[str]) -> None:
    """Each documented `freqai-lstm` command takes the options shown."""
    if words[1].startswith("-"):
        assert words[1:] in (["--help"], ["--version"])
        return
    single = typer.Typer()
    single.command()(getattr(import_module(COMMANDS[words[1]][0]), words[1]))
    with typer.main.get_command(single).make_context(words[1], words[2:]) as context:
        assert not context.args


@pytest.mark.parametrize("words", documented("python"))
def test_python_commands_exist(words: list[str]) -> None:
    """`python -m` is shown for pytest, benchmarks, tools and venv only, with files that exist."""
    assert words[1] == "-m", words
    if words[2] == "pytest":
        named = [word for word in words[3:] if word.startswith("tests/")]
        assert named
        assert all((ROOT / name).exists() for name in named), named
    else:
        assert words[2].partition(".")[0] in ("benchmarks", "tools", "venv"), words
        assert find_spec(words[2])


def accepts(name: str) -> Callable[[object], bool]:
    """Whether the model's parameter of that name takes a value."""

    def check(value: object) -> bool:
        try:
            LSTMParameters.model_validate({name: value})
        except ValidationError:
            return False
        return True

    return check


def accepted(shown: str, accepts: Callable[[object], bool]) -> bool:
    """Whether a range, as the table writes it, is what the code accepts, at both ends."""
    if shown == "pairs, or `all`":
        return accepts(["ETH/USDT"]) and accepts("all") and not accepts("ETH/USDT")
    if shown == "a feature, or `''`":
        return accepts("%-feature") and accepts("") and not accepts(1)
    if names := re.findall(r"`(\w+)`", shown):
        return all(map(accepts, names)) and not accepts("no such name")
    low, high = ([*map(float, re.findall(r"\d+", shown)), float("inf")])[:2]
    whole = accepts(2) and not accepts(2.5)
    step = 1 if whole else 1e-9 * max(low, 1)
    number = int if whole else float
    if re.fullmatch(r"\d+ up", shown):
        return accepts(int(low)) and not accepts(int(low) - 1) and accepts(10**9)
    low_open, high_open = shown.startswith(("above", "between")), "below" in shown
    high_open |= shown.startswith("between")
    at_low = accepts(number(low)) is not low_open
    at_high = accepts(number(high)) is not high_open
    return at_low and at_high and not accepts(number(low) - 1) and not accepts(number(high + step))


def parameter_rows(page: Path) -> dict[str, tuple[str, str, str]]:
    """A page's table of parameters: name → (type, default, allowed values), in order."""
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| `?([^|`]+?)`? \| ([^|]+?) \|", text, re.MULTILINE)
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (kind, default, shown) for name, kind, default, shown in rows}


def test_parameter_table() -> None:
    """The table has each parameter in order, with the code's kind and default and allowed range."""
    rows, fields = parameter_rows(ROOT / "docs/model.md"), LSTMParameters.model_fields
    assert list(rows) == list(fields)
    kinds = {int: "integer", float: "number", list: "list"}
    for name, (kind, default, shown) in rows.items():
        expected = fields[name].get_default(call_default_factory=True)
        assert default == str(expected), name
        assert kind == kinds.get(type(expected), "name"), name
        assert accepted(shown, accepts(name)), f"{name}: {shown}"


def test_short_parameter_table() -> None:
    """The README's choice of parameters says of each what the full table says, in its order."""
    short, full = parameter_rows(ROOT / "README.md"), parameter_rows(ROOT / "docs/model.md")
    assert short
    assert list(short.items()) == [(name, row) for name, row in full.items() if name in short]


@pytest.mark.parametrize("shown", ["1 to 17", "2 to 16", "0 up", "0 to below 16", "`adam`"])
def test_a_wrong_range_is_noticed(shown: str) -> None:
    """The comparison of ranges fails where the page is wrong (num_lstm_layers is 1 to 16)."""
    assert accepted("1 to 16", accepts("num_lstm_layers"))
    assert not accepted(shown, accepts("num_lstm_layers"))


def test_readme_is_short() -> None:
    """README and the page of the model stay short."""
    for page, most in ((ROOT / "README.md", 120), (ROOT / "docs/model.md", 160)):
        assert len(page.read_text(encoding="utf-8").splitlines()) <= most, page.name


def imports_of_the_package(file: Path) -> set[str]:
    """The rooms of `freqai_lstm` that a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("freqai_lstm.")}
    return found - {"__version__"}


def test_rooms_import_what_the_tour_says() -> None:
    """Each room imports exactly the rooms that CONTRIBUTING's table names, and no circle closes."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `((?:freqai_lstm|user_data)/[^`]+)` \| .+ \| (.+) \|$", text, re.MULTILINE
    )
    listed: dict[str, set[str]] = {}
    for name, imports in rows:
        path = ROOT / name
        room = path.stem
        files = path.rglob("*.py") if path.is_dir() else [path]
        found = set().union(*map(imports_of_the_package, files)) - {room}
        listed[room] = set(re.findall(r"`(\w+)`", imports))
        assert found == listed[room], name
    package = ROOT / "freqai_lstm"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    rooms |= {path.stem for path in package.glob("[a-z]*.py")}
    assert rooms <= set(listed)
    assert list(TopologicalSorter(listed).static_order())  # raises CycleError


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files that a page links to, or names in backticks, are in the repository."""
    text = page.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = re.findall(
        r"`((?:\.\./)?(?:benchmarks|docs|tests|freqai_lstm|user_data/(?:freqaimodels|strategies))/[\w./-]+\.\w+)`",
        text,
    )
    for name in [*linked, *named]:
        # README names files from the root, pages in docs from where they are.
        assert (page.parent / name).exists() or (ROOT / name).exists(), name


@pytest.mark.parametrize(
    "files", [[EXAMPLE], [EXAMPLE, SPOT], [EXAMPLE, RISK]], ids=["futures", "spot", "risk"]
)
@pytest.mark.parametrize("runmode", [RunMode.DRY_RUN, RunMode.BACKTEST])
def test_configurations_are_valid(files: list[Path], runmode: RunMode) -> None:
    """The example configurations, as written and combined, are what freqtrade's schema wants."""
    config = load_from_files([str(file) for file in files])
    # freqtrade adds these from the command line and the strategy.
    added = {"strategy": "ScoreStrategy", "stoploss": -0.06, "minimal_roi": {"0": 0.12}}
    given = config | added | {"runmode": runmode}
    validate_config_schema(given)
    assert given["dry_run"] is True
    spot = SPOT in files
    assert given["trading_mode"] == ("spot" if spot else "futures")
    pairs = given["exchange"]["pair_whitelist"]
    corr = given["freqai"]["feature_parameters"]["include_corr_pairlist"]
    assert all((":" not in pair) is spot for pair in [*pairs, *corr])
    assert set(corr) <= set(pairs)


@pytest.mark.parametrize("file", [EXAMPLE, SPOT, RISK], ids=lambda file: file.name)
def test_configurations_hold_no_secret_and_open_no_port(file: Path) -> None:
    """No key, secret, password or token, no api_server that is on or bound beyond loopback."""
    config = load_from_files([str(file)])
    assert not re.search(
        r'"(key|secret|password|token|jwt\w*|chat_id)"\s*:\s*"[^"]', json.dumps(config)
    )
    assert config.get("api_server", {}).get("enabled", False) is False
    assert config.get("api_server", {}).get("listen_ip_address", "127.0.0.1") == "127.0.0.1"
    assert config.get("telegram", {}).get("enabled", False) is False


def test_picture_of_the_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tools.picture` draws a page with all five panels that needs no network."""
    page = tmp_path / "score.html"
    picture(start=datetime(2024, 3, 11), days=2, output=page)
    text = page.read_text(encoding="utf-8")
    for panel in PANELS:
        assert panel in text or json.dumps(panel)[1:-1] in text, panel
    assert '<script src="http' not in text
    assert "2024-03-11 to 2024-03-13" in capsys.readouterr().out


def test_picture_without_candles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty data folder gives an error that says what to do, and no picture."""
    with pytest.raises(typer.Exit) as ended:
        picture(datadir=tmp_path, output=tmp_path / "score.html")
    assert ended.value.exit_code == 1
    assert "download-data" in capsys.readouterr().err
    assert not (tmp_path / "score.html").exists()
