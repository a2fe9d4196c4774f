"""What came back of a batch: a file of lines in any order, some of which may be torn, strange or there twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

_LONGEST_LINE = 64 << 20
"""Bytes. A response of 100,000 tokens with the log-probabilities of each has a sixth of that."""


class Response(msgspec.Struct):
    """What a call would have got: status and body."""

    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class Line(msgspec.Struct):
    """One line. Without a response the request was never served: it expired, or the batch was cancelled."""

    response: Response | None = None


class _Named(msgspec.Struct):
    custom_id: str


_named = msgspec.json.Decoder(_Named)
_line = msgspec.json.Decoder(Line)


class Output:
    """Where in a part's files the line of each request is; the lines themselves stay on disk.

    Args:
        paths: the files, of which some may not be there. Of two lines for one request the first counts.
        asked: custom ids that the part asked for.
    """

    def __init__(self, paths: Iterable[Path], asked: Collection[str]) -> None:
        self._at: dict[str, tuple[Path, int]] = {}
        self.unreadable = 0
        self.unknown = 0
        """Lines for requests that the part did not ask."""
        self.repeated = 0
        for path in paths:
            if not path.exists():
                continue
            with path.open("rb") as file:
                for offset, line in _lines(file):
                    self._note(path, offset, line, asked)

    def _note(self, path: Path, offset: int, line: bytes | None, asked: Collection[str]) -> None:
        try:
            custom_id = _named.decode(line).custom_id if line is not None else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            custom_id = None
        if custom_id is None:
            self.unreadable += 1
        elif custom_id not in asked:
            self.unknown += 1
        elif custom_id in self._at:
            self.repeated += 1
        else:
            self._at[custom_id] = (path, offset)

    def line(self, custom_id: str) -> Line | None:
        """The line of a request; None where there is none of use."""
        if custom_id not in self._at:
            return None
        path, offset = self._at[custom_id]
        with path.open("rb") as file:
            file.seek(offset)
            try:
                return _line.decode(file.readline(_LONGEST_LINE))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None

    @property
    def oddities(self) -> dict[str, int]:
        """How many lines were of no use, by what is the matter with them; without those that are none."""
        counts = {
            "cannot be read": self.unreadable,
            "answer nothing that was asked": self.unknown,
            "answer a row a second time": self.repeated,
        }
        return {what: count for what, count in counts.items() if count}


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Offset and content of every line that is not blank; None for the content of one that is too long."""
    offset = 0
    while line := file.readline(_LONGEST_LINE):
        size, whole = len(line), line.endswith(b"\n")
        long = not whole and size == _LONGEST_LINE
        while long and (more := file.readline(_LONGEST_LINE)):
            size += len(more)
            if more.endswith(b"\n"):
                break
        if long or line.strip():
            yield offset, None if long else line
        offset += size
