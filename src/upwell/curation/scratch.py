"""Side tables of a curation that is under way: rows on disk, and a few bytes a row in memory."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import numpy as np
import numpy.typing as npt

from upwell.records import Draft
from upwell.runs.storage import storage_error

Digests = npt.NDArray[np.uint64]

_BUFFER = 1 << 20
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Draft).decode


def digest64(*parts: object) -> int:
    """64 bits of a hash over the parts: the identity of a text, or a draw that only the seed and a key decide."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def share(*parts: object) -> float:
    """A number in [0, 1) that only the parts decide."""
    return (digest64(*parts) >> 11) / 2**53


class Spool:
    """Drafts in a file: filled once, then read in order any number of times, or one by one.

    Eight bytes a row in memory, whatever the rows are. Nothing here survives the command, so nothing is synced.
    Use as a context manager: the file goes with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = array("Q", [0])
        self._file: BinaryIO
        try:
            self._file = path.open("w+b", buffering=_BUFFER)
        except OSError as error:
            raise storage_error(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Draft]:
        with self._path.open("rb", buffering=_BUFFER) as file:
            for start, end in pairwise(self._ends):
                yield _decode(file.read(end - start))

    def fill(self, drafts: Iterable[Draft]) -> Self:
        """Take these drafts.

        Raises:
            StorageError: The disk does not hold them.
        """
        for draft in drafts:
            self.add(draft)
        self.flush()
        return self

    def add(self, draft: Draft) -> None:
        """Take one more; readable after `flush`."""
        line = _encode(draft)
        try:
            self._file.write(line)
        except OSError as error:
            raise storage_error(self._path, error) from None
        self._ends.append(self._ends[-1] + len(line))

    def flush(self) -> None:
        """See that all that was taken can be read."""
        try:
            self._file.flush()
        except OSError as error:
            raise storage_error(self._path, error) from None

    def taken(self, order: Iterable[int]) -> Iterator[Draft]:
        """The drafts at these positions, in this order."""
        ends, fd = self._ends, self._file.fileno()
        for position in order:
            start = ends[position]
            yield _decode(os.pread(fd, ends[position + 1] - start, start))

    def column(self, value: Callable[[Draft], int]) -> Digests:
        """One number of each draft, in order."""
        return np.fromiter(map(value, self), np.uint64, len(self))

    def discard(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Index:
    """A number for each of many keys, found by the key's digest: 16 bytes a key, however long the keys are.

    Two of ten million keys share a digest with a chance of 3 in a million.
    """

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        keys, values = array("Q"), array("q")
        for key, value in pairs:
            keys.append(digest64(key))
            values.append(value)
        digests = np.frombuffer(keys, np.uint64) if keys else np.zeros(0, np.uint64)
        order = np.argsort(digests, kind="stable")
        self._keys = digests[order]
        self._values = np.frombuffer(values, np.int64)[order] if keys else np.zeros(0, np.int64)

    def get(self, key: str) -> int | None:
        """The number of a key, the first where it was given several; None where it was given none."""
        digest = np.uint64(digest64(key))
        at = int(np.searchsorted(self._keys, digest))
        found = at < len(self._keys) and self._keys[at] == digest
        return int(self._values[at]) if found else None


def repeated(digests: Digests) -> set[int]:
    """Those that occur more than once."""
    ordered = np.sort(digests)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def ranks(groups: Digests, draws: Digests) -> npt.NDArray[np.int64]:
    """The place of each row in its group, from 0, in the order of the draws."""
    order = np.lexsort((draws, groups))
    ordered = groups[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, int)
    sizes = np.diff(np.r_[begins, len(ordered)])
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(begins, sizes)
    return places


def remove_folder(folder: Path) -> None:
    """Remove a scratch folder and what a killed command left in it."""
    if folder.is_dir():
        for entry in os.scandir(folder):
            os.unlink(entry.path)
        folder.rmdir()
