"""What can be searched: parameters of the model and of FreqAI, in groups, with their ranges.

The configured value is always inside a range: a range that would leave it out is widened, so the
configured values are one of the trials. `fragment` turns values back into configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from optuna.trial import Trial
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from freqai_lstm.model.parameters import LSTMParameters, nearest


class TuneFailed(RuntimeError):
    """The search cannot go on; the message says what was expected, what was got, what to do."""


Value = int | float | str
V = TypeVar("V")


class Range(BaseModel, Generic[V]):
    """What is tried: `low` to `high`, both included, or `choices`; also as a file of ranges has it.

    `log` is a logarithmic scale. Optuna's choices are scalars, so a list is text: "10 20".
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    low: V | None = None
    high: V | None = None
    step: V | None = None
    log: bool = False
    choices: Annotated[list[V], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Range[V]:
        low: Any = self.low
        high: Any = self.high
        step: Any = self.step
        numbers = isinstance(low, int | float) and isinstance(high, int | float)
        if numbers == bool(self.choices):
            raise ValueError("expected {low, high} (and step or log) or {choices}")
        if numbers and (low > high or (self.log and (step is not None or low <= 0)) or step == 0):
            raise ValueError("expected low up to high, log from above 0 and without step")
        return self

    def holding(self, value: Any) -> Range[Any]:
        """Return the range, widened where it leaves `value` out, without a step that misses it."""
        if self.choices:
            choices = [_scalar(choice) for choice in self.choices]
            return Range(choices=choices if value in choices else [*choices, value])
        low, high, step = min(self.low, value), max(self.high, value), self.step  # type: ignore
        if step and any(round((x - low) / step, 9) % 1 for x in (value, high)):
            step = None
        return Range(low=low, high=high, step=step, log=self.log)

    def suggest(self, trial: Trial, name: str) -> Value:
        """Return a value, chosen by the study's sampler."""
        low: Any = self.low
        high: Any = self.high
        step: Any = self.step
        if self.choices:
            return trial.suggest_categorical(name, self.choices)  # type: ignore
        if isinstance(low, int):
            return trial.suggest_int(name, low, high, step=step or 1, log=self.log)
        return trial.suggest_float(name, low, high, step=step, log=self.log)


@dataclass(frozen=True)
class Parameter:
    """One parameter that can be searched.

    `block` is where it stands below `freqai`, "" for `freqai` itself. `allowed` is the type of one
    value. `default` is what freqtrade or LSTMRegressor takes where the configuration is silent;
    None where freqtrade demands the key.
    """

    name: str
    group: str
    block: str
    range: Range[Any]
    allowed: Any
    default: Value | None = None

    def configured(self, freqai: Mapping[str, Any]) -> Value:
        """Return the value of a configuration's `freqai` block.

        :raises TuneFailed: freqtrade wants the key and it is missing.
        """
        value = (freqai.get(self.block, {}) if self.block else freqai).get(self.name, self.default)
        if value is None:
            key = ".".join(part for part in ("freqai", self.block, self.name) if part)
            raise TuneFailed(f"Expected {key} in the configuration, got none. Add it.")
        return _scalar(value)


def _training(name: str, group: str, **tried: Any) -> Parameter:
    field = LSTMParameters.model_fields[name]
    allowed = Annotated[(field.annotation, *field.metadata)]  # type: ignore
    block = "model_training_parameters"
    return Parameter(name, group, block, Range(**tried), allowed, field.default)


def _other(name: str, group: str, block: str, least: int, **tried: Any) -> Parameter:
    return Parameter(name, group, block, Range(**tried), Annotated[int, Field(ge=least)])


FEATURES = "feature_parameters"
PERIODS: Range[Any] = Range(choices=["10 20", "14", "7 14 28", "10 20 50"])
OUTLIERS: Range[Any] = Range(choices=[0, 0.9, 1.2, 1.6, 2.0])
PARAMETERS = {
    p.name: p
    for p in (
        _training("num_lstm_layers", "network", low=1, high=3),
        _training("units", "network", low=8, high=128, log=True),
        _other("conv_width", "network", "", 2, low=6, high=48, step=6),
        _training("dropout_rate", "learning", low=0.0, high=0.6),
        _training("learning_rate", "learning", low=1e-4, high=1e-2, log=True),
        _training("batch_size", "learning", choices=[32, 64, 128, 256]),
        _other("train_period_days", "days", "", 1, low=30, high=180, step=30),
        Parameter("indicator_periods_candles", "periods", FEATURES, PERIODS, list[int]),
        Parameter("DI_threshold", "outliers", FEATURES, OUTLIERS, Annotated[float, Field(ge=0)], 0),
        _other("label_period_candles", "horizon", FEATURES, 0, low=1, high=12),
    )
}
GROUPS = tuple(dict.fromkeys(p.group for p in PARAMETERS.values()))
# Not outliers: candles without a prediction do not trade. Not horizon: scores of different
# horizons are scores of different questions.
DEFAULT_GROUPS = ("network", "learning", "days", "periods")

_FILE: Any = {p.name: (Range.__class_getitem__(p.allowed), None) for p in PARAMETERS.values()}
_Ranges = create_model("_Ranges", __config__=ConfigDict(extra="forbid"), **_FILE)
Space = dict[str, Range[Any]]


def choose_space(
    wanted: Iterable[str], freqai: Mapping[str, Any], ranges: Path | None = None
) -> Space:
    """Choose the searched parameters, each with a range that holds the configured value.

    :param wanted: names of groups or of single parameters.
    :param freqai: the `freqai` block of the configuration.
    :param ranges: JSON file, parameter → `Range`, in place of the range here; a parameter named
        there is searched.
    :return: parameter → range, in the order of `PARAMETERS`.
    :raises TuneFailed: an unknown name, a range that cannot be, a key missing in `freqai`.
    """
    changed = _read_ranges(ranges) if ranges else {}
    names = set(changed)
    for name in wanted:
        if name not in (*GROUPS, *PARAMETERS):
            raise TuneFailed(
                f"Expected a group ({', '.join(GROUPS)}) or a parameter ({', '.join(PARAMETERS)}) "
                f"as --space, got {name!r}.{nearest(name, [*GROUPS, *PARAMETERS])}"
            )
        names |= {p.name for p in PARAMETERS.values() if name in (p.group, p.name)}
    return {
        name: changed.get(name, known.range).holding(known.configured(freqai))
        for name, known in PARAMETERS.items()
        if name in names
    }


def fragment(values: Mapping[str, Value], identifier: str) -> dict[str, Any]:
    """Return a configuration for freqtrade's next `-c` that sets these values and an identifier."""
    freqai: dict[str, Any] = {"identifier": identifier}
    for name, value in values.items():
        block = PARAMETERS[name].block
        target = freqai.setdefault(block, {}) if block else freqai
        target[name] = [int(part) for part in value.split()] if isinstance(value, str) else value
    return {"freqai": freqai}


def _scalar(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _read_ranges(path: Path) -> Space:
    try:
        found = _Ranges.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TuneFailed(f"Expected a JSON file at --ranges {path}, got: {error}.") from error
    except ValidationError as error:
        raise TuneFailed(
            f"Expected parameter → range in {path}, such as "
            '{"units": {"low": 16, "high": 64}}, got:' + "".join(map(_explain, error.errors()))
        ) from error
    return {name: getattr(found, name) for name in found.model_fields_set}


def _explain(error: Any) -> str:
    where = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        known = list(PARAMETERS) if len(where) == 1 else list(Range.model_fields)
        found = f"unknown name.{nearest(where[-1], known)} Known: {', '.join(known)}"
    else:
        found = f"{error['msg']}, got {error['input']!r}"
    return f"\n  {'.'.join(where) or 'the file'}: {found}"
