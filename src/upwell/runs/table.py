"""One append-only JSONL table: whole rows in, whole rows out, whatever happens in between.

A row is whole when its line ends with a newline and is JSON. Whatever follows the last whole row is a
torn line, left by a kill or a power loss: readers stop before it, the next writer cuts it off, and its
row is owed again. Anything wrong before that was not left by us and is an error by path and line.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from upwell.errors import UpwellError, UsageError
from upwell.records import Record
from upwell.runs.storage import OpenFile, storage_error, sync_folder

T = TypeVar("T")

CHUNK = 1 << 20
"""Bytes read at a time."""
SYNC_SECONDS = 5.0
"""Most seconds between a row being appended and being asked onto the disk, while rows keep coming."""
_SHOWN = 80
"""Characters of a bad line that a message shows."""

_encoder = msgspec.json.Encoder()
_BAD_LINE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Keyed(msgspec.Struct, gc=False):
    """A row of which only the key matters; decoding it still checks that the whole line is JSON."""

    key: str


_keyed_decoder = msgspec.json.Decoder(_Keyed)


class Table:
    """The rows of one file. Reading needs no lock; `append` and `cut_torn` are for the run's one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: OpenFile | None = None
        self._synced = 0.0
        self._unsynced = False

    def keys(self) -> tuple[set[str], int]:
        """All keys, and how many rows there are (more than keys where a key occurs twice).

        Raises:
            UsageError: A line is not a row.
        """
        keys: set[str] = set()
        count = 0
        for rows in self._batches(_keyed_decoder, "a row"):
            keys.update([row.key for row in rows])
            count += len(rows)
        return keys, count

    def first_repeated(self) -> tuple[str, int]:
        """The first key that occurred on an earlier line, and its line number (from 1)."""
        seen: set[str] = set()
        number = 0
        for rows in self._batches(_keyed_decoder, "a row"):
            for row in rows:
                number += 1
                if row.key in seen:
                    return row.key, number
                seen.add(row.key)
        raise LookupError(f"no key of {self.path} occurs twice")

    def rows(self, kind: type[T]) -> Iterator[T]:
        """The whole rows there are now, in file order, decoded a chunk at a time.

        Raises:
            UsageError: A line is not a row of this kind.
        """
        for rows in self._batches(msgspec.json.Decoder(kind), f"a {kind.__name__}"):
            yield from rows

    def count(self) -> int:
        """How many whole rows there are, without looking into them."""
        return sum(chunk.count(b"\n") for chunk in self._chunks())

    def torn(self) -> int:
        """Bytes after the last whole row."""
        try:
            file = OpenFile(self.path, os.O_RDONLY)
            try:
                return os.fstat(file.fd).st_size - _whole_end(file.fd)
            finally:
                file.close()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise UsageError(f"cannot read `{self.path}`: {error.strerror}") from None

    def cut_torn(self) -> None:
        """Cut off what follows the last whole row, so that the next row begins on a line of its own.

        Raises:
            StorageError: The file cannot be written.
        """
        if self._writer is not None or not self.path.exists():
            return
        try:
            file = OpenFile(self.path, os.O_RDWR)
            try:
                end = _whole_end(file.fd)
                if end < os.fstat(file.fd).st_size:
                    os.ftruncate(file.fd, end)
                    os.fsync(file.fd)
            finally:
                file.close()
        except OSError as error:
            raise storage_error(self.path, error) from None

    def append(self, rows: Sequence[Record]) -> None:
        """Write the rows with one `write`: on return they are safe from the death of this process.

        They are safe from a power loss after `sync`, which happens by itself every `SYNC_SECONDS`.

        Raises:
            StorageError: They could not be written; then none of them is in the file.
            UpwellError: A number is not finite, or a key is not valid Unicode; nothing was written.
        """
        data = encode_rows(rows)
        if not data:
            return
        try:
            file = self._open_writer()
            before = os.fstat(file.fd).st_size
            written = 0
            try:
                while written < len(data):  # a nearly full disk takes a part first, and fails on the rest
                    written += os.write(file.fd, data[written:] if written else data)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fd, before)
                self._drop_writer()  # the next append looks at the end of the file again
                raise
            self._unsynced = True
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise storage_error(self.path, error) from None

    def sync(self) -> None:
        """Make every row so far safe from a power loss.

        Raises:
            StorageError: The disk refused, as full network disks do only now.
        """
        if self._writer is None or not self._unsynced:
            return
        try:
            os.fsync(self._writer.fd)
        except OSError as error:
            raise storage_error(self.path, error) from None
        self._unsynced = False
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            self._drop_writer()

    def _open_writer(self) -> OpenFile:
        if self._writer is None:
            self.cut_torn()
            new = not self.path.exists()
            self._writer = OpenFile(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            self._synced = time.monotonic()
            if new:
                sync_folder(self.path.parent)
        return self._writer

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _batches(self, decoder: msgspec.json.Decoder[T], kind: str) -> Iterator[list[T]]:
        before = 0
        for chunk in self._chunks():
            try:
                if not chunk.isascii():
                    chunk.decode()  # a decoder that skips a field does not look whether it is UTF-8
                rows: list[T] | None = decoder.decode_lines(chunk)
            except _BAD_LINE:
                rows = None
            if rows is None or len(rows) != chunk.count(b"\n"):
                raise _bad_line(self.path, before, chunk, decoder, kind)
            before += len(rows)
            yield rows

    def _chunks(self) -> Iterator[bytes]:
        """The whole rows that the file holds now, as runs of whole lines."""
        try:
            file = OpenFile(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"cannot read `{self.path}`: {error.strerror}") from None
        try:
            end, offset, size = _whole_end(file.fd), 0, CHUNK
            while offset < end:
                chunk = os.pread(file.fd, min(size, end - offset), offset)
                whole = chunk.rfind(b"\n") + 1
                if not chunk or (not whole and len(chunk) < min(size, end - offset)):
                    return  # the file became shorter: its writer took back rows that a full disk cut
                if not whole:
                    size *= 2  # one line longer than a chunk
                    continue
                yield chunk[:whole]
                offset, size = offset + whole, CHUNK
        except OSError as error:
            raise UsageError(f"cannot read `{self.path}`: {error.strerror}") from None
        finally:
            file.close()


def encode_rows(rows: Sequence[Record]) -> bytes:
    """The rows as lines of JSON. Lone surrogates in text, which models do write, become U+FFFD."""
    for row in rows:
        for name in _float_fields(type(row)):
            value = getattr(row, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UpwellError(
                    f"row `{row.key}` cannot be written: {name} is {value}",  # type: ignore[attr-defined]
                    "JSON holds finite numbers only; the model is broken or its dtype overflows",
                )
    try:
        return _encoder.encode_lines(rows)
    except UnicodeEncodeError:
        return _encoder.encode_lines([_mended(row) for row in rows])


def mend_text(text: str) -> str:
    """The text with split surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mended(row: Record) -> Record:
    changes: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if isinstance(value, str):
            mended: Any = mend_text(value)
        elif isinstance(value, tuple):
            mended = tuple(mend_text(part) if isinstance(part, str) else part for part in value)
        else:
            continue
        if mended != value:
            changes[name] = mended
    if "key" in changes:
        # A key that changes on its way to the disk would be owed again for ever.
        raise UpwellError(
            f"row key {row.key!a} is not valid Unicode",  # type: ignore[attr-defined]
            "give that problem another id",
        )
    return msgspec.structs.replace(row, **changes) if changes else row


@functools.cache
def _float_fields(kind: type[Record]) -> tuple[str, ...]:
    """The fields of a record that may hold a float."""
    if kind.__struct_encode_fields__[:1] != ("key",):
        raise TypeError(f"{kind.__name__} cannot be a table row: its first field is not `key`")
    return tuple(
        field.name
        for field in msgspec.structs.fields(kind)
        if field.type is float or float in get_args(field.type)
    )


def _whole_end(fd: int) -> int:
    """The offset just after the last whole row."""
    end = _after_newline(fd, os.fstat(fd).st_size)
    if end == 0:
        return 0
    start = _after_newline(fd, end - 1)
    try:
        msgspec.json.decode(os.pread(fd, end - start, start))
    except RecursionError:
        return end  # deep, but not torn: reading it will say what is wrong
    except (msgspec.DecodeError, UnicodeDecodeError):
        return start
    return end


def _after_newline(fd: int, end: int) -> int:
    """The offset just after the last newline before `end`, or 0."""
    while end > 0:
        start = max(0, end - (1 << 16))
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _bad_line(
    path: Path, before: int, chunk: bytes, decoder: msgspec.json.Decoder[Any], kind: str
) -> UsageError:
    for number, line in enumerate(chunk.split(b"\n")[:-1], before + 1):
        try:
            line.decode()
            decoder.decode(line)
        except _BAD_LINE as error:
            shown = line[:_SHOWN].decode("utf-8", "replace")
            value = repr(shown)[1:-1] + ("..." if len(line) > _SHOWN else "")
            reason = str(error) if line.strip() else "the line is empty"
            return UsageError(
                f"`{path}:{number}` is not {kind}: {reason}: `{value}`",
                f"delete the line (`sed -i {number}d {shlex.quote(str(path))}`)"
                " and run the command that made the run again: the row is then made anew",
            )
    last = before + chunk.count(b"\n")
    return UsageError(f"`{path}`: lines {before + 1} to {last} are not one row each")
