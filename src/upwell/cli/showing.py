"""The verb that shows what a run holds, and where a row of it comes from."""

from __future__ import annotations

import json as json_
import shlex
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        _print(visible(f"  {file.stem:12} {run.count(file.stem):>12,} rows"))


def _ancestry(run: str, key: str, *, full: bool, json: bool) -> int:
    from upwell.runs.lineage import ancestry

    for found in ancestry(run, key):
        if json:
            told = {"depth": found.depth, "run": str(found.run), "table": found.table, "row": found.row}
            _print(json_.dumps(told, ensure_ascii=False))
        else:
            _print("\n".join(_told(found, full=full)))
    return 0


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
