"""The plugin files that users copy: where they are, and how freqtrade loads them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the files inside the package; in a checkout they lie beside it.
SHIPPED = next(
    folder for folder in (_PACKAGE / "shipped", _PACKAGE.parent) if (folder / "user_data").is_dir()
)
EXAMPLE_CONFIG = SHIPPED / "config.example.json"
MODEL_FILE = SHIPPED / "user_data" / "freqaimodels" / "LSTMRegressor.py"
STRATEGY_FILE = SHIPPED / "user_data" / "strategies" / "ScoreStrategy.py"
SYMPTOMS_PAGE = SHIPPED / "docs" / "symptoms.md"
RISK_FILE = STRATEGY_FILE.with_name("RiskStrategy.py")


def load_plugin(path: Path) -> ModuleType:
    """Execute a plugin file as freqtrade's resolver does: the module is not in `sys.modules`.

    :raises ImportError: the file is no Python module, or what it imports is missing.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
