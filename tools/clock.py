"""The clock of a bot that is set forward while the bot waits for its next candle.

    python -m tools.clock FILE trade --dry-run …

runs freqtrade's command, unmodified, in a process whose wall clock is `FILE` seconds ahead. It
follows the file within hundredths of a second. time-machine makes Python's functions answer with
that time. Durations, sleeps and timeouts keep the machine's pace.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path


class Clock:
    """Tell and set the time of the bots that run by a file.

    :param file: holds how many seconds the clock is ahead of the machine's.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._ahead = file, 0.0
        self.module = ("tools.clock", str(file))
        self.set_forward(0.0)

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._ahead

    def set_forward(self, seconds: float) -> None:
        """Let it be so much later."""
        self._ahead += seconds
        new = self._file.with_name(f"~{self._file.name}")
        new.write_text(str(self._ahead), encoding="utf-8")
        os.replace(new, self._file)


def main() -> None:
    """Run freqtrade by the clock of the file that the first argument names."""
    import time_machine
    from freqtrade.main import main as freqtrade

    file = Path(sys.argv.pop(1))
    ahead = float(file.read_text(encoding="utf-8"))
    travel = time_machine.travel(time.time() + ahead, tick=True).start()

    def follow() -> None:
        known = ahead
        while True:
            time.sleep(0.02)
            now = float(file.read_text(encoding="utf-8"))
            travel.shift(now - known)
            known = now

    threading.Thread(target=follow, daemon=True).start()
    freqtrade()


if __name__ == "__main__":
    main()
