"""The rows of docs/symptoms.md, and which of them a log shows.

The page is the table: what stands there in quotation marks is looked for in the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from freqai_lstm.freqtrade_run import log_records
from freqai_lstm.plugins import SYMPTOMS_PAGE


_QUOTE = re.compile(r'"([^"`]{4,})"')
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
# Nothing is wrong where the page says so, or that one has to wait.
_HARMLESS = re.compile(r"^(nothing\b|wait\b|only where|it is the time)|does not|returns by itself")
_ALARM = re.compile(r"(\S+/\S+): alarm \w+ -> \w+ at")
_TRAINED = re.compile(r"(\S+/\S+): .*\btrained\b.* windows\b")


def _slow(records: Sequence[str], number: int, candle_seconds: int) -> bool:
    found = re.search(r"pairlist ([\d.]+) seconds", records[number])
    return found is not None and float(found[1]) > candle_seconds / 4


def _all_missing(records: Sequence[str], number: int, candle_seconds: int) -> bool:
    found = re.search(r"(\d+) of (\d+) candles miss", records[number])
    return found is not None and found[1] == found[2]


def _no_label(records: Sequence[str], number: int, candle_seconds: int) -> bool:
    return "the network serves 0 of" in records[number]


def _all_constant(records: Sequence[str], number: int, candle_seconds: int) -> bool:
    """The line that ends the training says how many labels there are."""
    listed = re.search(r"nothing predicts (.+) better than", records[number])
    after = (re.search(r"network serves \d+ of (\d+) labels", of) for of in records[number:])
    count = next((int(of[1]) for of in after if of), None)
    return listed is not None and count == len(listed[1].split(", "))


def _not_over(records: Sequence[str], number: int, candle_seconds: int) -> bool:
    """Whether the pair of a record is not trained later on."""
    pair = re.search(r"[^\s:]+/[^\s,]+?(?=[:,]? |$)", records[number].split(" - ", 3)[-1])
    trained = (_TRAINED.search(record) for record in records[number:])
    return pair is not None and not any(of[1] == pair[0] for of in trained if of)


def _alarm_stands(records: Sequence[str], number: int, candle_seconds: int) -> bool:
    """Whether no later line says that the alarm of the pair has changed."""
    changes = [_ALARM.search(record) for record in records[number:]]
    pairs = [change[1] for change in changes if change]
    return pairs.count(pairs[0]) == 1 if pairs else False


# Lines of healthy logs too, by cause: when they mean something.
_CONDITIONS = {
    "features take long": _slow,
    "a feature is always missing": _all_missing,
    "nothing can be known of the label": _all_constant,
    "no model yet (live)": _not_over,
    "the first training is not done (live)": _not_over,
    "a bot has just started": _not_over,
    "the network does not help": _no_label,
    "the alarm stands": _alarm_stands,
    "a source of features has died: not yet 0, but predictions go without news": _alarm_stands,
}


@dataclass(frozen=True)
class Symptom:
    """One row of the page: its section, cause and remedy, and log texts, with … for anything."""

    section: str
    cause: str
    remedy: str
    says: tuple[str, ...]

    @property
    def harmless(self) -> bool:
        """Whether the page says that nothing is wrong."""
        return bool(_HARMLESS.search(self.remedy))

    def found_in(self, record: str) -> bool:
        """Whether a log record on one line has one of the texts."""
        return any(_pattern(text).search(record) for text in self.says)


@dataclass(frozen=True)
class Finding:
    """A symptom with what shows it; `wrong` where something has to be changed."""

    symptom: Symptom
    evidence: str
    wrong: bool = True


@cache
def symptoms() -> tuple[Symptom, ...]:
    """All rows of the page, in its order."""
    found: list[Symptom] = []
    section, names = "", list[str]()
    for line in SYMPTOMS_PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section, names = line[3:], []
        elif line.startswith("| ") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in line.strip("|\n ").split(" | ")]
            if not names:
                names = cells
                continue
            row = dict(zip(names, (_LINK.sub(r"\1", cell) for cell in cells), strict=True))
            shows = row.get("how it shows", row.get("message", row["cause"]))
            says = tuple(_QUOTE.findall(shows))
            found.append(Symptom(section, row["cause"], row["what to do"], says))
    return tuple(found)


def symptom(section: str, cause: str) -> Symptom:
    """The row with this cause, or one that begins so.

    :raises KeyError: the page has no such row.
    """
    for row in symptoms():
        if row.section == section and row.cause.startswith(cause):
            return row
    raise KeyError(f"{SYMPTOMS_PAGE.name}, {section}: {cause}")


def read_log(path: Path, candle_seconds: int) -> list[Finding]:
    """The symptoms that a log shows, each once with its last record."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return read_records([" ".join(record.split()) for record in log_records(text)], candle_seconds)


def read_records(records: Sequence[str], candle_seconds: int) -> list[Finding]:
    """The symptoms that log records show; those that are over are left out."""
    findings = []
    for row in symptoms():
        shown = [number for number, record in enumerate(records) if row.found_in(record)]
        if condition := _CONDITIONS.get(row.cause):
            shown = [number for number in shown if condition(records, number, candle_seconds)]
        if shown:
            message = records[shown[-1]].split(" - ", 3)[-1]
            findings.append(Finding(row, message[:300], wrong=not row.harmless))
    return findings


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".+?".join(re.escape(part.strip()) for part in text.split("…")))
