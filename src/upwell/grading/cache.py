"""Verdicts remembered across runs: an SQLite file, of which nothing that can go wrong stops a run."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from upwell.runs.caches import cache_dir

MAX_ROWS = 1_000_000
"""Verdicts kept (about 100 MB); beyond, the oldest go."""

_BATCH = 500
_BATCH_SECONDS = 5.0
_BUSY_SECONDS = 5.0
"""How long one process waits for another's write."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, correct INTEGER, tier TEXT NOT NULL,
    trouble TEXT, seconds REAL, memory_mb INTEGER
)
"""
_LOG = logging.getLogger("upwell.grading")


class Entry(NamedTuple):
    """A remembered decision; of one that failed, under which limits."""

    correct: bool | None
    tier: str
    trouble: str | None = None
    seconds: float = 0.0
    memory_mb: int = 0

    def holds_under(self, seconds: float, memory_mb: int) -> bool:
        """Whether trying again under these limits could not help."""
        return self.trouble is None or (seconds <= self.seconds and memory_mb <= self.memory_mb)


def cache_file() -> Path:
    """Where verdicts are remembered unless told otherwise."""
    return cache_dir() / "verdicts-1.sqlite"


class VerdictCache:
    """Decisions by digest, in memory until a batch is written; shared between processes and over runs.

    Keys are digests of everything that a decision depends on (grader version, comparison, gold, answer,
    tolerance, and the versions of SymPy and math-verify), so no answer can be read off the file. Every write is
    one SQLite transaction in WAL mode: a process killed in its midst leaves the file whole. A file that cannot
    be read or written is given up with one warning; the run goes on without it.

    Args:
        path: The file; made when it is first needed.
        identity: What decides, such as `upwell-rules/2/xwin-flex`.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._salt: bytes | None = None
        self._connection: sqlite3.Connection | None = None
        self._given_up = False
        self._unwritten: dict[bytes, Entry] = {}
        self._last_write = time.monotonic()

    def key(self, *parts: object) -> bytes:
        """The digest under which a decision on `parts` is kept."""
        if self._salt is None:
            from importlib import metadata

            versions = [metadata.version(package) for package in ("sympy", "math-verify")]
            self._salt = repr((self._identity, versions)).encode()
        text = repr(parts).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(self._salt + text, digest_size=16).digest()

    def get(self, key: bytes) -> Entry | None:
        """The decision under a key, if it is known."""
        if key in self._unwritten:
            return self._unwritten[key]
        connection = self._open()
        if connection is None:
            return None
        try:
            row = connection.execute(
                "SELECT correct, tier, trouble, seconds, memory_mb FROM verdicts WHERE key = ?", (key,)
            ).fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        if row is None:
            return None
        correct, *rest = row
        return Entry(None if correct is None else bool(correct), *rest)

    def put(self, key: bytes, entry: Entry) -> None:
        """Remember a decision; it reaches the file with the next batch."""
        if self._given_up:
            return
        self._unwritten[key] = entry
        if len(self._unwritten) >= _BATCH or time.monotonic() - self._last_write > _BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits. While another process writes for too long, it waits on."""
        connection = self._open() if self._unwritten else None
        self._last_write = time.monotonic()
        if connection is None:
            return
        rows = [(key, *entry) for key, entry in self._unwritten.items()]
        try:
            with connection:
                connection.executemany(
                    "INSERT INTO verdicts (key, correct, tier, trouble, seconds, memory_mb) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (key) DO UPDATE SET correct = excluded.correct, tier = excluded.tier,"
                    " trouble = excluded.trouble, seconds = excluded.seconds, memory_mb = excluded.memory_mb"
                    " WHERE verdicts.trouble IS NOT NULL OR excluded.trouble IS NULL",
                    rows,
                )
                connection.execute(
                    "DELETE FROM verdicts WHERE number <= (SELECT max(number) FROM verdicts) - ?", (MAX_ROWS,)
                )
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                if len(self._unwritten) > 100 * _BATCH:
                    self._unwritten.clear()  # they will be decided again
                return
            self._give_up(error)
            return
        self._unwritten.clear()

    def close(self) -> None:
        """Write what waits and let go of the file; used again, it is opened again."""
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is None and not self._given_up:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, check_same_thread=False)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute(_SCHEMA)
                self._connection.commit()
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
        return self._connection

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        self._unwritten.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        _LOG.warning(
            "the verdict cache %s cannot be used (%s); graded without it. If it stays so: rm %s*",
            self._path,
            error,
            self._path,
        )
