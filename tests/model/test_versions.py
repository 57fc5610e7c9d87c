"""The warning outside of the tested versions."""

from types import ModuleType

import freqtrade
import pytest


def test_installed_versions_are_tested_ones(lstm: ModuleType) -> None:
    """The versions the tests run with are within the ranges that the plugin calls tested."""
    tf, keras = lstm.load_tensorflow()
    found = {"freqtrade": freqtrade.__version__, "keras": keras.__version__}
    assert lstm.untested_versions(found | {"tensorflow": tf.__version__}) == []


@pytest.mark.parametrize(
    ("name", "version", "age"),
    [
        ("freqtrade", "2025.5", "older"),
        ("freqtrade", "2026.10-dev-0a1b2c", "newer"),
        ("tensorflow", "2.17.1", "older"),
        ("keras", "4.0.0", "newer"),
        ("python", "3.14.0rc1", "newer"),
    ],
)
def test_other_versions_are_named(lstm: ModuleType, name: str, version: str, age: str) -> None:
    """A version outside of its range gives one line with the version, the range and what to do."""
    (line,) = lstm.untested_versions({name: version})
    assert line.startswith(f"{name} {version} is {age} than what LSTMRegressor was tested with")
    assert "docs/versions.md" in line


@pytest.mark.parametrize(
    ("name", "version"), [("freqtrade", "2025.6"), ("keras", "3.5.0"), ("tensorflow", "2.21.4")]
)
def test_ends_of_the_ranges_are_tested(lstm: ModuleType, name: str, version: str) -> None:
    """The oldest and the newest release are within, whatever their patch number."""
    assert lstm.untested_versions({name: version}) == []
