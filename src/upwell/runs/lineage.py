"""Where a row comes from: from key to key, through the tables of a run and the runs that it read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.errors import UsageError
from upwell.runs.run import Run, is_table

_NAMED = ("parents", "problem", "response", "replies", "lineage")
"""Fields that name other rows."""
_NOT_ROWS = frozenset({"laps"})
_MOST = 400
"""Rows that one ancestry lists; solutions that were voted on can have many."""


@dataclass(frozen=True)
class Ancestor:
    """One row on the way back from a row to its seeds."""

    depth: int
    """0 for the row itself, 1 for those that it names, and so on."""
    run: Path
    table: str
    row: dict[str, Any]


def ancestry(run: str | os.PathLike[str], key: str) -> Iterator[Ancestor]:
    """The row of a key with all that it was made from, nearest first; a key can have a row in several tables.

    Rows are looked for in the run and then in the runs that its manifest names as inputs, theirs included.

    Raises:
        UsageError: there is no run, or no such row in it.
    """
    runs = _with_inputs(Path(run))
    seen, wanted, depth, found = {key}, [key], 0, 0
    while wanted and found < _MOST:
        named: dict[str, None] = {}
        told: list[tuple[str, dict[str, Any]]] = []
        # All of them: a run keeps copies of its seeds, which do not say how these were made.
        for path in runs:
            for table, row in _rows(path, set(wanted)):
                if (
                    table,
                    row,
                ) not in told:  # the same row may be in several runs; other content is another row
                    told.append((table, row))
                    yield Ancestor(depth, path, table, row)
                    named.update(dict.fromkeys(name for name in _names(row) if name not in seen))
        found += len(told)
        if depth == 0 and not found:
            raise UsageError(f"no row `{key}` in `{run}`", f"the keys of its rows: head -c 300 {run}/*.jsonl")
        seen.update(named)
        wanted, depth = list(named), depth + 1


def _with_inputs(path: Path) -> list[Path]:
    """The run and, breadth first, the runs that it was made from, where they are still there."""
    found, at = [path], 0
    Run.read(path)
    while at < len(found):
        for entry in Run.read(found[at]).manifest.get("inputs", []):
            other = Path(str(entry.get("name", "")))
            if "table" in entry and other not in found and (other / "manifest.json").exists():
                found.append(other)
        at += 1
    return found


def _rows(path: Path, keys: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a run that have one of the keys, by table."""
    if not keys:
        return
    run = Run.read(path)
    names = (file.stem for file in path.glob("*.jsonl"))
    for table in sorted(name for name in names if is_table(name) and name not in _NOT_ROWS):
        for row in run.rows(table, dict):
            if row.get("key") in keys:
                yield table, row


def _names(row: dict[str, Any]) -> Iterator[str]:
    for field in _NAMED:
        value = row.get(field)
        yield from [value] if isinstance(value, str) and value else value if isinstance(value, list) else ()
