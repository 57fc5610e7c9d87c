"""What can be searched: parameters of the model and of FreqAI, in groups, with their ranges.

The configured value is always inside a range: a range that would leave it out is widened, so the
defaults are one of the trials. `fragment` turns values back into configuration.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from optuna.trial import Trial


class TuneFailed(RuntimeError):
    """The search cannot go on; the message says what was expected, what was got, what to do."""


Value = int | float | str


@dataclass(frozen=True)
class Parameter:
    """One searched parameter: where it stands in the `freqai` block, and what is tried.

    Either `low` and `high` (with `step`, or `log` for a logarithmic scale) or `choices`. A list
    such as indicator_periods_candles is one string here, "10 20": Optuna's choices are scalars.
    `default` is what freqtrade or LSTMRegressor takes where the configuration is silent; None where
    freqtrade demands the key. `least` and `most` are what the model accepts.
    """

    name: str
    group: str
    block: str  # below freqai; "" is freqai itself
    default: Value | None = None
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    whole: bool = False
    listed: bool = False  # whole numbers in a list
    choices: tuple[Value, ...] = ()
    least: float = 0
    most: float = float("inf")

    @property
    def key(self) -> str:
        """The dotted name in a configuration."""
        return ".".join(part for part in ("freqai", self.block, self.name) if part)

    def suggest(self, trial: Trial) -> Value:
        """A value of the range, chosen by the study's sampler."""
        if self.choices:
            return cast(Value, trial.suggest_categorical(self.name, list(self.choices)))
        if self.whole:
            low, high = int(self.low), int(self.high)
            return trial.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def configured(self, freqai: Mapping[str, Any]) -> Value:
        """The value the configuration stands for.

        :raises TuneFailed: freqtrade wants the key and it is missing.
        """
        block = freqai.get(self.block, {}) if self.block else freqai
        value = block.get(self.name, self.default)
        if value is None:
            raise TuneFailed(f"Expected {self.key} in the configuration, got none. Add it.")
        return " ".join(map(str, value)) if isinstance(value, list) else value

    def reaching(self, value: Value) -> Parameter:
        """The same range, widened where it leaves `value` out."""
        if self.choices:
            return self if value in self.choices else replace(self, choices=(*self.choices, value))
        low, high, number = min(self.low, float(value)), max(self.high, float(value)), float(value)
        off_step = self.step is not None and (number - low) % self.step > 1e-9
        off_step |= self.step is not None and (high - low) % self.step > 1e-9
        return replace(self, low=low, high=high, step=None if off_step else self.step)

    def describe(self) -> str:
        """The range in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        scale = ", log" if self.log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{scale}"


TRAINING, FEATURES = "model_training_parameters", "feature_parameters"
PARAMETERS = {
    p.name: p
    for p in (
        Parameter("num_lstm_layers", "network", TRAINING, 2, 1, 3, whole=True, least=1, most=16),
        Parameter(
            "units", "network", TRAINING, 32, 8, 128, log=True, whole=True, least=1, most=4096
        ),
        Parameter("conv_width", "network", "", None, 6, 48, step=6, whole=True, least=2),
        Parameter("dropout_rate", "learning", TRAINING, 0.3, 0, 0.6, most=0.99),
        Parameter("input_dropout_rate", "learning", TRAINING, 0.4, 0, 0.6, most=0.99),
        Parameter("learning_rate", "learning", TRAINING, 1e-3, 1e-4, 1e-2, log=True, most=1),
        Parameter("batch_size", "learning", TRAINING, 128, whole=True, choices=(32, 64, 128, 256)),
        Parameter("train_period_days", "days", "", None, 30, 180, step=30, whole=True, least=1),
        Parameter(
            "indicator_periods_candles",
            "periods",
            FEATURES,
            listed=True,
            choices=("10 20", "14", "7 14 28", "10 20 50"),
        ),
        Parameter("DI_threshold", "outliers", FEATURES, 0, choices=(0, 0.9, 1.2, 1.6, 2.0)),
        Parameter("label_period_candles", "horizon", FEATURES, None, 1, 12, whole=True),
    )
}
GROUPS = tuple(dict.fromkeys(p.group for p in PARAMETERS.values()))
# Not outliers: candles without a prediction do not trade. Not horizon: scores of different
# horizons are scores of different questions.
DEFAULT_GROUPS = ("network", "learning", "days", "periods")


def choose_space(
    wanted: Iterable[str], freqai: Mapping[str, Any], ranges: Path | None = None
) -> list[Parameter]:
    """The searched parameters, each with a range that holds the configured value.

    :param wanted: names of groups or of single parameters.
    :param freqai: the `freqai` block of the configuration.
    :param ranges: JSON file: parameter → {"low", "high", "step", "log"} or {"choices"}, in place
        of the range here; a parameter named there is searched.
    :raises TuneFailed: an unknown name, a range that cannot be, a key missing in `freqai`.
    """
    changed = _read_ranges(ranges) if ranges else {}
    names = set(changed)
    for name in wanted:
        if name not in GROUPS and name not in PARAMETERS:
            near = difflib.get_close_matches(name, [*GROUPS, *PARAMETERS], n=1)
            raise TuneFailed(
                f"Expected groups ({', '.join(GROUPS)}) or parameters ({', '.join(PARAMETERS)}) "
                f"after --space, got {name!r}."
                + (f" Did you mean {near[0]!r}?" if near else " Leave it out or correct it.")
            )
        names |= {p.name for p in PARAMETERS.values() if name in (p.group, p.name)}
    chosen = [changed.get(name, known) for name, known in PARAMETERS.items() if name in names]
    return [parameter.reaching(parameter.configured(freqai)) for parameter in chosen]


def suggest(trial: Trial, space: Iterable[Parameter]) -> dict[str, Value]:
    """Values of one trial."""
    return {parameter.name: parameter.suggest(trial) for parameter in space}


def defaults(space: Iterable[Parameter], freqai: Mapping[str, Any]) -> dict[str, Value]:
    """The values that the configuration has."""
    return {parameter.name: parameter.configured(freqai) for parameter in space}


def fragment(values: Mapping[str, Value], identifier: str) -> dict[str, Any]:
    """A configuration for freqtrade's next `-c` that sets these values and an identifier."""
    freqai: dict[str, Any] = {"identifier": identifier}
    for name, value in values.items():
        parameter = PARAMETERS[name]
        block = freqai.setdefault(parameter.block, {}) if parameter.block else freqai
        block[name] = [int(part) for part in value.split()] if isinstance(value, str) else value
    return {"freqai": freqai}


def _read_ranges(path: Path) -> dict[str, Parameter]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuneFailed(
            f"Expected a JSON file of ranges at {path}, got: {error}. Correct it or leave out "
            "--ranges."
        ) from error
    if not isinstance(given, dict):
        raise TuneFailed(
            f"Expected {{parameter: range}} in {path}, got {type(given).__name__}. Write for "
            'example {"units": {"low": 16, "high": 64}}.'
        )
    return {name: _range(path, name, wanted) for name, wanted in given.items()}


def _range(path: Path, name: str, wanted: Any) -> Parameter:
    if name not in PARAMETERS:
        raise TuneFailed(
            f"Expected one of {', '.join(PARAMETERS)} in {path}, got {name!r}. Correct the name."
        )
    known = PARAMETERS[name]
    bounds = isinstance(wanted, dict) and {"low", "high"} <= set(wanted) <= {
        "low",
        "high",
        "step",
        "log",
    }
    chosen = isinstance(wanted, dict) and set(wanted) == {"choices"} and bool(wanted["choices"])
    if not (bounds or chosen):
        raise TuneFailed(
            f'Expected {{"low": …, "high": …}} (with "step" or "log") or {{"choices": […]}} for '
            f"{name} in {path}, got {wanted!r}. Correct it."
        )
    if chosen:
        values = [" ".join(map(str, v)) if isinstance(v, list) else v for v in wanted["choices"]]
        found = replace(known, choices=tuple(values))
    elif known.listed:
        raise TuneFailed(f"Expected choices for {name} in {path}, got a range. Write choices.")
    else:
        step, log = wanted.get("step"), bool(wanted.get("log", False))
        found = replace(
            known, low=wanted["low"], high=wanted["high"], step=step, log=log, choices=()
        )
    _check_range(path, found)
    return found


def _check_range(path: Path, found: Parameter) -> None:
    if found.listed:
        if not all(isinstance(v, str) and v.replace(" ", "").isdecimal() for v in found.choices):
            raise TuneFailed(
                f"Expected lists of whole numbers as choices for {found.name} in {path}, got "
                f"{found.describe()}. Write for example [[10, 20], [14]]."
            )
        return
    numbers = found.choices or (found.low, found.high)
    sound = all(
        isinstance(v, int if found.whole else int | float)
        and not isinstance(v, bool | str)
        and found.least <= v <= found.most
        for v in numbers
    ) and (bool(found.choices) or found.low <= found.high)
    sound = sound and not (found.log and (found.step or found.low <= 0)) and (found.step or 1) > 0
    if not sound:
        kind = "whole numbers" if found.whole else "numbers"
        raise TuneFailed(
            f"Expected {kind} from {found.least:g} to {found.most:g} for {found.name} in {path}, "
            "low up to high, step above 0 and not with log, log only above 0; got "
            f"{numbers}. Correct it."
        )
