"""The verb that shows what a run holds, and where a row of it comes from."""

from __future__ import annotations

import json as json_
import shlex
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from upwell.runs import Run
    from upwell.runs.lineage import Ancestor

_LONG = 400
"""Characters of a text that are shown, unless all are asked for."""


def show(run: str, /, *, row: str | None = None, full: bool = False, json: bool = False) -> int:
    """Show what a run holds: its tables, its yield, or one row with all that it was made from.

    Parameters
    ----------
    run
        Run directory.
    row
        Key of a row: it is shown with its parents, its replies and their prices, back to the seed.
    full
        Show texts whole, not only their beginnings.
    json
        Print one JSON object a line instead of text.
    """
    from upwell.report.text import visible
    from upwell.runs import Run

    if row is not None:
        return _ancestry(run, row, full=full, json=json)
    found = Run.read(run)
    if json:
        _print(json_.dumps({"manifest": found.manifest, "summary": found.summary}, ensure_ascii=False))
        return 0
    _tables(found)
    if found.manifest.get("verb") == "synthesize":
        from upwell.cli.synthesizing import drafts_table

        drafts_table(found)
    elif found.manifest.get("verb") == "curate" and found.summary is not None:
        from upwell.cli.curating import steps_table

        steps_table(found.summary)
        for note in found.summary["notes"]:
            _print(visible(f"note: {note}"))
    elif found.manifest.get("verb") == "train" and found.summary is not None:
        from upwell.cli.training import show_trained

        show_trained(found.path, found.summary)
    elif found.manifest.get("verb") == "analyze" and found.summary is not None:
        from upwell.cli.analyzing import analysis_tables

        analysis_tables(found.summary)
    elif found.summary is not None and found.summary.get("metrics"):
        from upwell.cli.tables import metrics_table

        metrics_table(found.manifest, found.summary)
    return 0


def _tables(run: Run) -> None:
    from upwell.report.text import visible

    manifest = run.manifest
    state = "finished" if run.summary is not None else "not finished: run the command again to go on"
    _print(visible(f"{run.path}: {manifest.get('verb')}, {state}"))
    _print(visible(f"command: {shlex.join(manifest.get('command') or [])}"))
    for entry in manifest.get("inputs", []):
        rows = f", {entry['rows']:,} rows of {entry['table']}" if "table" in entry else ""
        _print(visible(f"read: {entry['name']}{rows}, digest {str(entry.get('digest'))[:12]}"))
    for file in sorted(run.path.glob("*.jsonl")):
        try:
            rows = f"{run.count(file.stem):>12,} rows"
        except ValueError:  # no table of any run is called so: somebody put it there
            rows = f"{'':>12} not a table of the run"
        _print(visible(f"  {file.stem:12} {rows}"))


def _ancestry(run: str, key: str, *, full: bool, json: bool) -> int:
    from upwell.report.text import visible

    for found in _way_back(run, key):
        if json:
            told = {"depth": found.depth, "run": str(found.run), "table": found.table, "row": found.row}
            _print(json_.dumps(told, ensure_ascii=False))
        else:
            _print("\n".join(_told(found, full=full)))
    for reader, gone in _absent(run):
        line = (
            f"note: the run `{gone}`, which `{reader}` was made from, is not there, so its rows are not shown"
        )
        sys.stderr.write(visible(line) + "\n")
    return 0


def _way_back(run: str, key: str) -> Iterator[Ancestor]:
    """A row and what it was made from. Of a curated row first the row that it was, in the run where it was made: other
    runs can have rows with the same keys."""
    from dataclasses import replace

    from upwell.curation.origins import origin_of
    from upwell.runs import Run
    from upwell.runs.lineage import ancestry

    found = Run.read(run)
    if found.manifest.get("verb") == "curate":
        same = takewhile(lambda one: one.depth == 0, ancestry(run, key))
        own = [one for one in same if one.run == found.path]
        origin = origin_of(found, key) if own else None
        if origin is not None:
            yield from own
            for one in ancestry(*origin):
                yield replace(one, depth=one.depth + 1)
            return
    yield from ancestry(run, key)


def _absent(run: str) -> Iterator[tuple[Path, Path]]:
    """Runs that a run, or one that it was made from, says it was made from, and that are not where they were."""
    from upwell.curation.origins import read_runs
    from upwell.runs import Run
    from upwell.runs.run import MANIFEST

    looked, at = [Path(run)], 0
    while at < len(looked):
        for path in read_runs(Run.read(looked[at])):
            if not (path / MANIFEST).exists():
                yield looked[at], path
            elif path not in looked:
                looked.append(path)
        at += 1


def _told(found: Ancestor, *, full: bool) -> list[str]:
    from upwell.report.text import visible

    margin = "  " * found.depth
    lines = [f"{margin}{found.row['key']}", f"{margin}  ({found.table} of {found.run})"]
    for name, value in found.row.items():
        if name != "key" and value not in (None, "", [], ()):
            lines += _field(name, value, margin + "  ", full=full)
    return [visible(line) for line in lines]


def _field(name: str, value: Any, margin: str, *, full: bool) -> list[str]:
    text = value if isinstance(value, str) else json_.dumps(value, ensure_ascii=False)
    if not full and len(text) > _LONG:
        text = f"{text[:_LONG]} [{len(text) - _LONG:,} characters more: --full]"
    first, *rest = text.split("\n")
    return [f"{margin}{name}: {first}", *(f"{margin}  {line}" for line in rest)]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
