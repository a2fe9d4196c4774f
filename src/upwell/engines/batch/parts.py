"""Batch files and how far each is, kept in a folder so that no kill makes anything happen twice.

    batches/
      run               a random name: two runs in one account do not take each other's files for theirs
      000001.json       how far part 1 is, replaced whole at every step
      000001.jsonl      what it asks, as uploaded
      000001-output.jsonl, 000001-errors.jsonl    what came back

A part goes written -> uploaded -> submitted -> collected -> settled. Every state is on disk before the next step is
taken, so after a kill only the last step is in doubt, and the provider is asked whether it happened.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from upwell.errors import UsageError
from upwell.runs.storage import storage_error, write_atomically

State = Literal["written", "uploaded", "submitted", "collected", "settled"]


class Part(msgspec.Struct, kw_only=True):
    """One batch file."""

    number: int
    name: str
    """What the provider knows it by."""
    url: str
    """The path that its requests are for, such as `/v1/chat/completions`."""
    rows: int
    state: State = "written"
    file_id: str | None = None
    batch_id: str | None = None


class _Row(msgspec.Struct):
    custom_id: str


_row = msgspec.json.Decoder(_Row)


class Parts:
    """The parts of one run, in their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker = folder / "run"
            if not marker.exists():
                write_atomically(marker, secrets.token_hex(8).encode())
            self._run = marker.read_text().strip()
        except OSError as error:
            raise storage_error(folder, error) from None
        self._last = max((int(path.stem) for path in folder.glob("[0-9]*.json")), default=0)

    def unsettled(self) -> list[Part]:
        """Parts that are not done with, the oldest first.

        Raises:
            UsageError: a journal is damaged.
        """
        found = []
        for path in sorted(self.folder.glob("[0-9]*.json")):
            try:
                part = msgspec.json.decode(path.read_bytes(), type=Part)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"`{path}` is damaged: {error}", "move it away: what it asked is then asked anew"
                ) from None
            if part.state != "settled":
                found.append(part)
        return found

    def new(self, url: str, lines: list[bytes]) -> Part:
        """Write a part down: what it asks, then that it is there."""
        self._last += 1
        part = Part(number=self._last, name=f"upwell-{self._run}-{self._last:06d}", url=url, rows=len(lines))
        write_atomically(self.input(part), b"".join(lines))
        self.save(part)
        return part

    def save(self, part: Part) -> None:
        write_atomically(self.folder / f"{part.number:06d}.json", msgspec.json.encode(part))

    def settle(self, part: Part) -> None:
        """Nobody waits for anything in it any more."""
        part.state = "settled"
        self.save(part)

    def input(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}.jsonl"

    def output(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}-output.jsonl"

    def errors(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}-errors.jsonl"

    def asked(self, part: Part) -> Iterator[str]:
        """The custom ids of a part."""
        with self.input(part).open("rb") as file:
            for line in file:
                yield _row.decode(line).custom_id
