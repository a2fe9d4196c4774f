"""What vLLM's log says, to somebody who wants to know how far it is or why it ended."""

from __future__ import annotations

import re
from pathlib import Path

from upwell.runs.secrets import scrub_text

_READ_BYTES = 1 << 17
"""From the end: a failure is told three times over, by the worker, its engine core and the server."""
_LONGEST_LINE = 500
_SHOWN_LINES = 20
# "(EngineCore pid=123) ERROR 11-25 20:11:22 [core.py:1330] " or "INFO:     "; what stands behind it decides.
_PREFIX = re.compile(r"(?:\(\w[\w-]* pid=\d+\) ?)?(?:([A-Z]+) \d\d-\d\d [\d:]+ \[[^\]]*\] ?|(INFO): +)?")
_FRAME = re.compile(r'\s*File "|\s{4}|Traceback \(most recent|(?:The above|During handling of the above) exc')
_NOISE = re.compile(r".*Warning: |\s*warnings\.warn\(| *- leaked |.*nanobind")
_CAUSE = re.compile(r"(?:[\w.]+\.)?\w*(?:Error|Exception)\b|ERROR\b|.*\berror: ")


class Log:
    """A log that vLLM appends to, read from where it ended when this was made: earlier starts are not seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = path.stat().st_size if path.exists() else 0

    def last(self) -> str:
        """The last line that says something, short; not a line of code that a warning shows."""
        told = [text for _, text in self._lines() if not text[0].isspace() and not _NOISE.match(text)]
        return next(reversed(told), "nothing told yet")[:160]

    def trouble(self) -> list[str]:
        """From the first error on what is not mere information, without the frames of tracebacks and repetitions: a
        cause stands some hundred lines above the end. Without an error, just the end.
        """
        lines = [
            (level, text) for level, text in self._lines() if not (_FRAME.match(text) or _NOISE.match(text))
        ]
        weighty = [(level, text) for level, text in lines if level != "INFO"]
        errors = (n for n, (level, text) in enumerate(weighty) if level == "ERROR" or _CAUSE.match(text))
        first = next(errors, None)
        shown = lines if first is None else weighty[first:]
        return list(dict.fromkeys(text for _, text in shown))[-_SHOWN_LINES:]

    def _lines(self) -> list[tuple[str, str]]:
        """Level, where told, and text of the lines that have any."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._begin, self.path.stat().st_size - _READ_BYTES))
                text = file.read(_READ_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        found = []
        for line in scrub_text(text).splitlines():
            prefix = _PREFIX.match(line)
            assert prefix is not None  # all of it is optional
            rest = line[prefix.end() :].rstrip()[:_LONGEST_LINE]
            if any(character.isalnum() for character in rest):
                found.append((prefix[1] or prefix[2] or "", rest))
        return found
