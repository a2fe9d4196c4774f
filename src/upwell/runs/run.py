"""A run directory: opened by one writer, read by anybody."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

import msgspec

from upwell.errors import UsageError
from upwell.records import Record
from upwell.runs.manifest import encode_document, new_manifest, read_manifest, resumed_manifest
from upwell.runs.provenance import digest_file
from upwell.runs.storage import WriterLock, storage_error, sync_folder, write_atomically
from upwell.runs.table import Table

T = TypeVar("T")

MANIFEST, SUMMARY = "manifest.json", "summary.json"
REPEATING = frozenset({"failures", "rejects", "waste"})
"""Tables in which a key may occur more than once: a draw can fail in several sessions."""

_NONE: Mapping[str, Any] = MappingProxyType({})
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_LEFT_BY_KILL = frozenset({".lock", f".{MANIFEST}.tmp"})
"""What a folder may hold before its manifest is there."""


class Run:
    """A run directory.

    One writer (`open`), any number of readers (`read`), in any number of processes. A row that `append`
    returned for is seen by every reader and survives kill -9; it survives a power loss once synced, which
    happens every five seconds while rows come, in `finish` and in `close`.

    Opening an existing run changes nothing on disk. The first `append` (or `finish`) does, in this order:
    it removes `summary.json`, for the run is no longer finished, records the session and raised amounts in
    the manifest, and adds its rows. A kill in between leaves an unfinished run that is complete for the
    same command. One thread at a time.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: WriterLock | None) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._tables: dict[str, Table] = {}
        self._manifest_owed = False
        self._finished = (path / SUMMARY).exists()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        verb: str,
        settings: Mapping[str, Any],
        fingerprint: Mapping[str, Any],
        amounts: Mapping[str, int | None] = _NONE,
        inputs: Sequence[Mapping[str, Any]] = (),
        identity: Mapping[str, Any] = _NONE,
        command: Sequence[str] | None = None,
    ) -> Self:
        """Create a run, or resume the one that is there; lock it against other writers until `close`.

        Args:
            path: The run directory; created with its parents. It may not hold anything but a run.
            verb: The verb that makes the run; another one cannot resume it.
            settings: All settings, for the record.
            fingerprint: What decides what a row means; must be equal on resume. Nested dicts are compared,
                and named in the refusal, entry by entry.
            amounts: How much is wanted, such as samples per problem; None is "all". May be raised on resume.
            inputs: What is read, each with at least `name` and `digest` (see `reference`).
            identity: Further manifest entries, such as model, engine, prompt and grader.
            command: The command line, `sys.argv` by default; scrubbed of secrets.

        Raises:
            UsageError: The path is something else, another process writes the run, or it was made with
                another verb or fingerprint or larger amounts.
            StorageError: The directory cannot be written.
        """
        run = Path(path)
        new = new_manifest(
            verb=verb,
            settings=settings,
            fingerprint=fingerprint,
            amounts=amounts,
            inputs=inputs,
            identity=identity,
            command=command,
        )
        _make_folder(run)
        lock = WriterLock(run)
        try:
            if (run / MANIFEST).exists():
                opened = cls(run, resumed_manifest(run, read_manifest(run / MANIFEST), new), lock)
                opened._manifest_owed = True
            else:
                write_atomically(run / MANIFEST, encode_document(new))
                opened = cls(run, new, lock)
        except BaseException:
            lock.close()
            raise
        return opened

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Look at a run without locking it; it may be being written. A torn last line is not seen.

        Raises:
            UsageError: There is no run at the path.
        """
        run = Path(path)
        return cls(run, read_manifest(run / MANIFEST), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sync every table and let the next writer in. A second call does nothing.

        Raises:
            StorageError: Rows could not be synced.
        """
        try:
            for table in self._tables.values():
                table.close()
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def exists(self, table: str) -> bool:
        """Whether the table has been begun."""
        return self._table(table).path.exists()

    def count(self, table: str) -> int:
        """How many whole rows the table has; 0 if there is no such table."""
        return self._table(table).count()

    def keys(self, table: str) -> set[str]:
        """The keys of the table; empty if there is no such table. Every line is checked to be JSON.

        In a run open for writing this first cuts off a torn last line, so its row is owed again.

        Raises:
            UsageError: A line is not a row, or, except in `REPEATING` tables, a key occurs twice: that
                happens only by editing, and would count a response twice.
        """
        file = self._table(table)
        self.mend(table)
        keys, rows = file.keys()
        if rows != len(keys) and table not in REPEATING:
            key, number = file.first_repeated()
            raise UsageError(
                f"`{file.path}:{number}` repeats the key `{key}` of an earlier line",
                f"delete the line: `sed -i {number}d {shlex.quote(str(file.path))}`",
            )
        return keys

    def mend(self, table: str) -> None:
        """In a run open for writing, cut off a torn last line, so that its row is owed again. `keys` does it too."""
        file = self._table(table)
        if self._lock is not None and file.torn():
            self.unfinish()
            file.cut_torn()

    def rows(self, table: str, kind: type[T]) -> Iterator[T]:
        """The whole rows that the table has now, in the order written; none if there is no such table.

        Raises:
            UsageError: A line is not a row of this kind; or the last line of a finished run is torn, so
                that a row its summary counts is gone.
        """
        file = self._table(table)
        summary = self.path / SUMMARY
        # Asked again afterwards: a writer that begins to add removes the summary before its first row.
        if summary.exists() and file.torn() and summary.exists():
            raise UsageError(
                f"the last line of `{file.path}` is cut short, though the run was finished",
                "run the command that made it again: the row is then made anew",
            )
        return file.rows(kind)

    def append(self, table: str, rows: Iterable[Record]) -> None:
        """Add rows: all of them, or, with an error, none. See the class for what is safe from what.

        Keys are not checked against those that are there: make only what `keys` does not have.

        Raises:
            StorageError: They could not be written.
            UpwellError: A number is not finite or a key not valid Unicode; nothing was written.
        """
        self._must_be_open()
        batch = rows if isinstance(rows, list | tuple) else list(rows)
        if not batch:
            return
        if self._finished or self._manifest_owed:
            self._begin_session()
        self._table(table).append(batch)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as finished: sync every table, then put `summary.json` in place at once.

        Raises:
            StorageError: It could not be written; the run is then not finished.
            ValueError: A number in the summary is not finite.
        """
        self._must_be_open()
        document = encode_document(summary)
        if self._manifest_owed:
            self._begin_session()
        for table in self._tables.values():
            table.sync()
        write_atomically(self.path / SUMMARY, document)
        self._finished = True

    @property
    def summary(self) -> dict[str, Any] | None:
        """What `finish` was given, or None while rows are owed.

        Raises:
            UsageError: `summary.json` is damaged.
        """
        path = self.path / SUMMARY
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"cannot read `{path}`: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(
                f"`{path}` is damaged: {error}", "delete it and run the command that made it again"
            ) from None

    def unfinish(self) -> None:
        """Remove `summary.json`, because rows are owed. `append` does this by itself.

        Raises:
            StorageError: It could not be removed.
        """
        self._must_be_open()
        path = self.path / SUMMARY
        try:
            path.unlink(missing_ok=True)
            sync_folder(self.path)
        except OSError as error:
            raise storage_error(path, error) from None
        self._finished = False

    def reference(self, table: str) -> dict[str, Any]:
        """This run's table as an entry of another run's `inputs`: name, table, rows and SHA-256."""
        file = self._table(table)
        return {
            "name": str(self.path),
            "table": table,
            "rows": file.count(),
            "digest": digest_file(file.path),
        }

    def _begin_session(self) -> None:
        if self._finished:
            self.unfinish()
        if self._manifest_owed:
            write_atomically(self.path / MANIFEST, encode_document(self.manifest))
            self._manifest_owed = False

    def _must_be_open(self) -> None:
        if self._lock is None:
            raise RuntimeError(f"the run {self.path} is not open for writing")

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            if not is_table(name):
                raise ValueError(f"not a table name: {name!r}")
            self._tables[name] = Table(self.path / f"{name}.jsonl")
        return self._tables[name]


def is_table(name: str) -> bool:
    """Whether a table may be called so."""
    return _TABLE_NAME.fullmatch(name) is not None


def _make_folder(run: Path) -> None:
    """See that the path is a run or a folder for a new one.

    Raises:
        UsageError: It is something else.
        StorageError: It cannot be made or read.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        if (run / MANIFEST).exists():
            return
        foreign = sorted({entry.name for entry in os.scandir(run)} - _LEFT_BY_KILL)
    except FileExistsError:
        raise UsageError(f"`{run}` is a file, not a run directory", "choose another --out") from None
    except OSError as error:
        raise storage_error(run, error) from None
    if foreign:
        raise UsageError(
            f"`{run}` is not a run directory: it has no {MANIFEST} but holds `{foreign[0]}`"
            + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""),
            "choose another --out, or an empty folder",
        )
