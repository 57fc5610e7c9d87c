"""Tell on a terminal, or into a pipe, what a rehearsal does while it does it."""

from __future__ import annotations

import re

from rich.console import Console

from freqai_lstm.freqtrade_run import log_records
from freqai_lstm.log import LogSummary
from freqai_lstm.rehearse.bot import Bot


class Narrator:
    """Reads a bot's log while it is written and tells the news, each kind of warning once.

    :param console: where to.
    :param minutes: how long the rehearsal's bot runs, all its lives together.
    :param every: minutes between two lines that say how far it is.
    """

    def __init__(self, console: Console, minutes: float, every: int = 1) -> None:
        self._console, self._minutes, self._every = console, minutes, every
        self._bot: Bot | None = None
        self._log, self._records = LogSummary(), 0
        self._began, self._minute = 0.0, 0
        self._warned: set[str] = set()

    def tell(self, text: str, style: str = "") -> None:
        """Print a line with the time of day."""
        self._console.log(text, style=style, markup=False, highlight=False)

    def follow(self, bot: Bot) -> None:
        """Tell what is new since the last call; the bot may be another life of it."""
        if bot is not self._bot:
            self._bot, self._log, self._records = bot, LogSummary(), 0
            self._began = self._began or bot.started
        log = self._log
        trained, warnings, errors = len(log.trained), len(log.warnings), len(log.errors)
        predicted = log.first_prediction
        records = log_records(bot.output())
        # The last record may still be growing.
        for record in records[self._records : None if bot.ended else -1]:
            log.add(record)
            self._records += 1
        for pair, seconds in log.trained[trained:]:
            self.tell(f"Trained {pair} in {seconds} s")
        for message in log.warnings[warnings:]:
            kind = re.sub(r"\S+/\S+|[\d.]+", "#", message)
            if kind not in self._warned:
                self._warned.add(kind)
                self.tell(f"Warning: {message}", "yellow")
        for record in log.errors[errors:]:
            self.tell(f"Error: {record}", "red")
        if log.first_prediction and not predicted:
            seconds = log.first_prediction - bot.started
            self.tell(f"First prediction of every pair {seconds:.0f} s after the start", "green")
        minute = int((bot.now() - self._began) / 60)
        if minute >= self._minute + self._every:
            self._minute = minute
            figures = f"{len(log.trained)} trainings, {len(log.passes)} passes over the pairs"
            self.tell(f"Minute {minute} of {self._minutes:g}: {figures} since the start")
