"""Batch files and how far each is, kept in a folder so that no kill makes anything happen twice.

    batches/
      000001.json       how far part 1 is, replaced whole at every step
      000001.jsonl      what it asks, as uploaded
      000001-output.jsonl, 000001-errors.jsonl    what came back

A part goes written -> uploaded -> submitted -> collected -> settled. Every state is on disk before the next step is
taken, so after a kill only the last step is in doubt, and the provider is asked whether it happened.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Literal

import msgspec

from upwell.errors import UsageError
from upwell.runs.storage import WriterLock, storage_error, write_atomically

State = Literal["written", "uploaded", "submitted", "collected", "settled"]


class Part(msgspec.Struct, kw_only=True):
    """One batch file."""

    number: int
    name: str
    """What the provider knows it by: random, so that no other part, run or user has the same."""
    model: str
    """A judge and a verifier of one run keep their parts in one folder."""
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
    """The parts of one run that are for one model.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self._model = model
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from None

    def lock(self) -> WriterLock:
        """The right to hand parts in, until it is closed.

        Raises:
            UsageError: somebody else has it.
        """
        return WriterLock(self.folder)

    def unsettled(self) -> list[Part]:
        """Parts that are not done with, the oldest first.

        Raises:
            UsageError: a journal is damaged.
        """
        found = []
        for path in self._journals():
            try:
                part = msgspec.json.decode(path.read_bytes(), type=Part)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                raise self._damaged(path, error) from None
            if part.state != "settled" and part.model == self._model:
                found.append(part)
        return found

    def new(self, url: str, lines: list[bytes]) -> Part:
        """Write a part down: what it asks, then that it is there."""
        number = max((int(path.stem) for path in self._journals()), default=0) + 1
        part = Part(number=number, name=new_name(), model=self._model, url=url, rows=len(lines))
        write_atomically(self.input(part), b"".join(lines))
        self.save(part)
        return part

    def save(self, part: Part) -> None:
        """Put down how far it is. Only then may the next step be taken."""
        write_atomically(self.journal(part), msgspec.json.encode(part))

    def settle(self, part: Part) -> None:
        """Nobody waits for anything in it any more. Its output stays for whoever wants to look."""
        part.state = "settled"
        self.save(part)

    def age(self, part: Part) -> float:
        """Seconds since it was last put down how far it is."""
        return max(0.0, time.time() - self.journal(part).stat().st_mtime)

    def journal(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}.json"

    def input(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}.jsonl"

    def output(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}-output.jsonl"

    def errors(self, part: Part) -> Path:
        return self.folder / f"{part.number:06d}-errors.jsonl"

    def asked(self, part: Part) -> Iterator[str]:
        """The custom ids of a part.

        Raises:
            UsageError: the file of what it asks is damaged or gone.
        """
        path = self.input(part)
        try:
            with path.open("rb") as file:
                for line in file:
                    yield _row.decode(line).custom_id
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(path, error) from None

    def _journals(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.json") if path.stem.isdigit())

    def _damaged(self, path: Path, error: Exception) -> UsageError:
        what = error.strerror if isinstance(error, OSError) else error
        return UsageError(
            f"`{path}` is damaged: {what}",
            f"to have what it asked asked anew, and paid anew: rm {quote(f'{self.folder / path.stem}.json')}",
        )


def new_name() -> str:
    """A name for the provider that nothing else has."""
    return f"upwell-{secrets.token_hex(12)}"
