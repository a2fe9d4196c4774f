"""Curates until it is killed at a named point, as a power cut would: `killed_curation.py POINT IN OUT`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

from upwell.curation.curate import curate
from upwell.curation.scratch import Spool
from upwell.curation.settings import CurateSettings
from upwell.runs import Run

SETTINGS: dict[str, Any] = {"ladder": "allx2^-3..0", "require": ("sound",), "per_problem": 2, "seed": 3}


def main(point: str, source: str, out: str) -> None:
    """Kill this process at the point: `reading`, `selecting`, `writing`, `torn` or `finishing`."""
    append, fill, finish = Run.append, Spool.fill, Run.finish

    def killing_fill(spool: Spool, drafts: Iterable[Any]) -> Spool:
        if point in spool._path.name:
            drafts = _until_killed(drafts)
        return fill(spool, drafts)

    def killing_append(run: Run, table: str, rows: Iterable[Any]) -> None:
        append(run, table, rows)
        if table == "examples" and point in ("writing", "torn"):
            if point == "torn":
                with (run.path / "examples.jsonl").open("ab") as file:
                    file.write(b'{"key":"half a ro')
            _die()

    def killing_finish(run: Run, summary: Any) -> None:
        if point == "finishing":
            _die()
        finish(run, summary)

    Spool.fill, Run.append, Run.finish = killing_fill, killing_append, killing_finish  # type: ignore[method-assign]
    curate([source], CurateSettings(out=out, **SETTINGS))


def _until_killed(drafts: Iterable[Any]) -> Any:
    for number, draft in enumerate(drafts):
        if number == 1500:
            _die()
        yield draft


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
