"""Talk on stderr: progress with rate and ETA, a bar in a terminal and plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from upwell.report.text import visible

_LINE_SECONDS = 15.0
"""A log gets a line this often."""
_RATE_ROWS = 32
"""No rate and no ETA before this many rows: responses that start together end late and together."""


class Terminal:
    """A `Watch` that shows what it is told. Use as a context manager, so that the bar is taken away."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._what = ""
        self._total = self._done = self._start = self._tokens = 0
        self._begun = self._told = self._usd = 0.0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        line = visible(line)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start a part: a bar, or its first line."""
        self._stop()
        self._what, self._total, self._done, self._start, self._tokens = what, total, done, done, 0
        self._usd = 0.0
        self._begun = self._told = time.monotonic()
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[rate]}"),
                TextColumn("ETA {task.fields[left]}"),
                console=Console(stderr=True),
                transient=True,
                refresh_per_second=4,
            )
            self._bar.start()
            self._task = self._bar.add_task(what, total=total, completed=done, rate="", left="?")
        elif total > done:
            self.say(f"{what}: {done:,} of {total:,} there already" if done else f"{what}: {total:,}")

    def advance(self, rows: int = 1, *, tokens: int | None = 0, usd: float = 0.0) -> None:
        """Count finished rows; show them a few times a second, or a line now and then."""
        self._done += rows
        self._tokens += tokens or 0
        self._usd += usd
        now = time.monotonic()
        if now - self._told < (0.25 if self._live else _LINE_SECONDS):
            return
        self._told = now
        rate, left = self._pace(now)
        if self._live:
            self._bar.update(self._task, completed=self._done, rate=rate, left=left)
        else:
            self.say(f"{self._what}: {self._done:,}/{self._total:,}, {rate}ETA {left}")

    def end(self) -> None:
        """Close the part with one line that says how it went."""
        now = time.monotonic()
        self._stop()
        if now - self._begun >= 2:
            new = self._done - self._start
            self.say(f"{self._what}: {new:,} in {_clock(now - self._begun)}, {self._rate(now)}")

    def _pace(self, now: float) -> tuple[str, str]:
        """Rate and ETA, as far as they can be told."""
        new = self._done - self._start
        if new < min(_RATE_ROWS, self._total - self._start):
            return "", "?"
        return f"{self._rate(now)}, ", _clock((self._total - self._done) * (now - self._begun) / max(1, new))

    def _rate(self, now: float) -> str:
        seconds = max(now - self._begun, 1e-9)
        rows = f"{(self._done - self._start) / seconds:,.1f}/s"
        if self._tokens:
            rows += f", {self._tokens / seconds:,.0f} tokens/s"
        return rows + (f", ${self._usd:,.4g}" if self._usd else "")

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
