"""Which row of which run a curated row was: a curation renames what would otherwise be taken for another row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from upwell.curation.inputs import content_of, open_input
from upwell.curation.selection import uncopied
from upwell.records import Draft
from upwell.runs import Run
from upwell.runs.run import MANIFEST

_NAMESAKE = re.compile(r"~([0-9a-f]{16})\Z")


def origin_of(run: Run, key: str) -> tuple[Path, str] | None:
    """The run, of those that a curation read, that made the row of a key, and the row's key there.

    Rows of several runs can have one key (two teachers that wrote from the same seed), so the content decides.

    Args:
        run: A curated run.
        key: Of one of its examples or rejects.

    Returns:
        None where the row is from a file or a problem set, or its run is not to be found.
    """
    own = uncopied(key)
    named = _NAMESAKE.search(own)
    for path in read_runs(run):
        if not (path / MANIFEST).exists():
            continue
        for row in open_input(str(path), {}, None, whole=False).rows():
            if not isinstance(row, Draft):
                continue
            if row.key == own or (
                named is not None
                and row.key == own[: named.start()]
                and f"{content_of(row):016x}" == named[1]
            ):
                return path, row.key
    return None


def read_runs(run: Run) -> Iterator[Path]:
    """The runs that a run was made from, each once."""
    found = dict.fromkeys(
        str(entry.get("name", "")) for entry in run.manifest.get("inputs", []) if "table" in entry
    )
    yield from map(Path, found)
