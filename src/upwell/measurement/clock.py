"""How long a run's parts take, recorded while they do."""

from __future__ import annotations

import time

from upwell.records import Lap
from upwell.runs import Run

_LAP_SECONDS = 20.0
"""Time spent is recorded this often, so that a killed session's is not lost."""


class Clock:
    """Records in the run's `laps` how long a part has taken, every `_LAP_SECONDS`."""

    def __init__(self, run: Run, part: str) -> None:
        self._run, self._part = run, part
        self._session = f"{part}/{time.time_ns():x}"
        self._number = 0
        self._since = time.monotonic()

    def tick(self) -> None:
        if time.monotonic() - self._since >= _LAP_SECONDS:
            self.stop()

    def stop(self) -> None:
        now = time.monotonic()
        lap = Lap(key=f"{self._session}/{self._number}", part=self._part, seconds=round(now - self._since, 3))
        self._run.append("laps", [lap])
        self._number += 1
        self._since = now
