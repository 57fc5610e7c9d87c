"""What a model was trained with, so that no other settings reuse it unnoticed.

FreqAI finds models and predictions by `identifier` alone and would reuse them whatever else
changed. The first training writes `fingerprint.json` beside them, later runs compare.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import logging
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from freqtrade.constants import Config
from freqtrade.exceptions import OperationalException

from freqai_lstm.model.parameters import KEY, LSTMParameters
from freqai_lstm.model.storage import replacing


logger = logging.getLogger(__name__)

# Raise it with every change of windows, scaling, network or training that changes predictions.
MODEL_REVISION = 5
FILE = "fingerprint.json"
ALLOW_CHANGES = "allow_changed_fingerprint"

# What of the `freqai` block changes features, labels, windows or weights, with the values that
# freqtrade assumes when a key is missing.
_SETTINGS = {
    "conv_width": 1,
    "train_period_days": 0,
    "continual_learning": False,
    "data_split_parameters": {},
    "feature_parameters": {},
}
# Settings in there that change nothing a model learns.
_NEUTRAL = ("plot_feature_importances", "shuffle", "shuffle_after_split")
_NEUTRAL_PARAMETERS = ("device", "gpu_memory_limit_mb")
_PLAIN = str | int | float | bool
_STRATEGY_METHODS = (
    "feature_engineering_expand_all",
    "feature_engineering_expand_basic",
    "feature_engineering_standard",
    "set_freqai_targets",
)


def fingerprint(config: Config, parameters: LSTMParameters, strategy: Any) -> dict[str, Any]:
    """List all that a training depends on, as a flat dict from dotted key to a JSON value.

    Of the strategy the part counts which its four FreqAI methods use, not formatting or comments:
    its signals, thresholds and risk settings may change at will.
    """
    now: dict[str, Any] = {
        "model revision": MODEL_REVISION,
        "timeframe": config.get("timeframe"),
        "trading_mode": str(config.get("trading_mode", "spot")),
        "exchange.name": config.get("exchange", {}).get("name"),
    }
    for key, default in _SETTINGS.items():
        value = config["freqai"].get(key, default)
        parts = value.items() if isinstance(value, dict) else [("", value)]
        now |= {f"freqai.{key}.{n}".rstrip("."): v for n, v in parts if n not in _NEUTRAL}
    chosen = parameters.model_dump(exclude=set(_NEUTRAL_PARAMETERS))
    now |= {f"{KEY}.{name}": value for name, value in chosen.items()}
    for name in _STRATEGY_METHODS:
        method = getattr(type(strategy), name)
        text = "\n".join(sorted(_sources(method, type(strategy))))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        now[f"code of {type(strategy).__name__}.{name}, or what it uses"] = digest
    return json.loads(json.dumps(now, default=str))


def check(folder: Path, now: dict[str, Any], *, allow_changes: bool = False) -> bool:
    """Compare with what the models and predictions in a folder were made with.

    :param allow_changes: go on after a mismatch, with a warning (`freqai.allow_changed_…`).
    :return: whether the folder holds any; without, the next training writes the fingerprint.
    :raises OperationalException: names every setting and method that changed.
    """
    kept = (
        "sub-train-*/*_model.*",
        "backtesting_predictions/*.feather",
        "historic_predictions.pkl",
    )
    if not any(True for pattern in kept for _ in folder.glob(pattern)):
        return False
    path = folder / FILE
    if not path.is_file():
        logger.warning(
            f"{folder} holds models but no {FILE}: whether they fit the present settings cannot be "
            "checked. The next training writes it."
        )
        return False
    try:
        then = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as damage:
        raise OperationalException(
            f"{path} cannot be read ({type(damage).__name__}: {damage}), so it is unknown what "
            "the models beside it were trained with. Choose a new freqai.identifier, or delete "
            "this file to accept the models as they are."
        ) from damage
    changes = [
        f"{key}: {then.get(key, 'not set')!r} -> {now.get(key, 'not set')!r}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if not changes:
        return True
    listed = "".join(f"\n  - {change}" for change in changes)
    if not allow_changes:
        raise OperationalException(
            f"The models and predictions in {folder} were made with something else. Changed:"
            f"{listed}\nChoose a new freqai.identifier to train anew, or take the change back. "
            f"(freqai.{ALLOW_CHANGES}: true uses the old models all the same.)"
        )
    logger.warning(
        f"The models in {folder} were trained with something else, and freqai.{ALLOW_CHANGES} is "
        f"true: they are used all the same. Changed:{listed}"
    )
    return True


def write(folder: Path, now: dict[str, Any]) -> None:
    """Write the fingerprint; called once, after a first successful training."""
    with replacing(folder / FILE) as temporary:
        temporary.write_text(json.dumps(now, indent=2), encoding="utf-8")


def _sources(method: Callable, owner: type) -> set[str]:
    """The code of a method and of all it uses of its class and its file."""
    wanted: list[Any] = [inspect.unwrap(method)]
    seen, found = set(), set()
    while wanted:
        function = wanted.pop()
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        found.add(_content(inspect.getsource(function)))
        for name in _names(function.__code__):
            used = function.__globals__.get(name, _own(owner, name))
            used = inspect.unwrap(used) if callable(used) else used
            if isinstance(used, FunctionType):
                if used.__module__ == function.__module__:
                    wanted.append(used)
            elif isinstance(used, _PLAIN | tuple | list | dict):
                found.add(f"{name}={used!r}")
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _own(owner: type, name: str) -> Any:
    """An attribute of the user's own strategy classes, not of freqtrade's."""
    for base in owner.__mro__:
        if base.__module__.startswith("freqtrade."):
            return None
        if name in vars(base):
            return vars(base)[name]
    return None


def _content(source: str) -> str:
    """Syntax of a function without docstrings: formatting, comments and Python's version not."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return _syntax(tree)


def _syntax(node: Any) -> str:
    """Write out a syntax tree; fields that are empty are left out, since Python adds new ones."""
    if isinstance(node, list):
        return f"[{','.join(map(_syntax, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{k}={_syntax(v)}" for k, v in ast.iter_fields(node) if v not in (None, [])]
    return f"{type(node).__name__}({','.join(fields)})"
