"""What a bot's log says: trainings, passes over the pairs, warnings, errors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from freqai_lstm.freqtrade_run import log_records


# The first is LSTMRegressor's line, the others are FreqAI's and freqtrade's.
_TRAINED = re.compile(r"^(\S+/\S+): .*\btrained\b.* windows\b.*?([\d.]+) s\b")
_TRAINING_FAILED = re.compile(r"^Training (\S+) raised exception")
_PASS = re.compile(r"^Total time spent inferencing pairlist ([\d.]+) seconds")
_NO_MODEL = "No model ready"


@dataclass
class LogSummary:
    """A bot's log, record by record.

    `trained` holds (pair, seconds) of each training; `passes` (time, seconds) of each time FreqAI
    has gone through all pairs, the time being its end; `first_prediction` the end of the first pass
    that found a model for every pair; `no_model` and `warnings` messages; `errors` whole records.
    """

    trained: list[tuple[str, float]] = field(default_factory=list)
    failed_trainings: list[str] = field(default_factory=list)
    passes: list[tuple[float, float]] = field(default_factory=list)
    first_prediction: float | None = None
    no_model: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, output: str) -> LogSummary:
        """Read what a bot wrote."""
        summary = cls()
        for record in log_records(output):
            summary.add(record)
        return summary

    def add(self, record: str) -> None:
        """Take in a record: `time - logger - level - message`, with a traceback perhaps."""
        # freqtrade breaks long lines at the terminal's width.
        time, _, level, message = [*" ".join(record.split()).split(" - ", 3), "", "", ""][:4]
        if trained := _TRAINED.search(message):
            self.trained.append((trained[1], float(trained[2])))
        if failed := _TRAINING_FAILED.search(message):
            self.failed_trainings.append(failed[1])
        if _NO_MODEL in message:
            self.no_model.append(message)
        if passed := _PASS.search(message):
            moment = datetime.fromisoformat(time).timestamp()
            self.passes.append((moment, float(passed[1])))
            if self.first_prediction is None and len(self.no_model) == self._no_model_before:
                self.first_prediction = moment
            self._no_model_before = len(self.no_model)
        # The traceback of a thread that died follows whatever record came before it.
        if "Traceback (most recent call last)" in record or level in ("ERROR", "CRITICAL"):
            self.errors.append(record)
        elif level == "WARNING":
            self.warnings.append(message)

    _no_model_before = 0  # warnings up to the last pass
