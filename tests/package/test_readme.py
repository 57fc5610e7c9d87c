"""What the README says of parameters and commands is what the code has."""

import re
from dataclasses import fields
from types import ModuleType

from conftest import ROOT


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_parameter_table_is_complete(lstm: ModuleType) -> None:
    """Each parameter has its row, with its default, in the order of the code."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| `?([^|`]+?)`? \|", README, re.MULTILINE)
    defaults = {field.name: field.default for field in fields(lstm.LSTMParameters)}
    assert [name for name, _ in rows] == list(defaults)
    for name, shown in rows:
        assert str(defaults[name]) == shown, name


def test_readme_is_short() -> None:
    """The README stays under 250 lines."""
    assert len(README.splitlines()) < 250


def test_make_targets_exist() -> None:
    """Every make target that the README names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"lists"}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert f"\n{target}:" in makefile, target
