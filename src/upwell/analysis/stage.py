"""The stage that analyses: finished runs in, points, fits and conclusions out."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upwell.analysis.found import Found, Pending, Row
from upwell.analysis.published import PAPER
from upwell.analysis.settings import AMOUNTS, ONLY_SPEED, AnalyzeSettings, check_kind, check_used
from upwell.errors import UsageError
from upwell.measurement.watch import Silent, Watch
from upwell.runs import Run
from upwell.runs.provenance import digest_file
from upwell.runs.storage import write_atomically

Study = Callable[[Sequence[str], AnalyzeSettings, Watch], Found | Pending]
"""An analysis: from runs (or published curves, `paper:...`) to what it found, or what has to be computed for that. Each
kind is a module of its own here, with a function of the module's name."""


def analyze(
    kind: str, sources: Sequence[str], settings: AnalyzeSettings, *, watch: Watch | None = None
) -> Path:
    """Analyse finished runs into a run with `points.csv`, `fits.csv` and a summary that says what follows.

    The run is a function of its inputs, settings and seed; what a kill left is made anew by the same call. Where calls
    to a model failed, it is left unfinished, and the same call asks for them again.

    Args:
        kind: one of `KINDS`.
        sources: run directories, or published curves by name where the kind knows some.
        settings: how.
        watch: told of the progress.

    Raises:
        UsageError: there is no such kind, or a source is not what it needs; no run is left then.
    """
    check_kind(kind)
    check_used(kind, settings)
    watch = watch or Silent()
    if not sources:
        raise UsageError(
            f"nothing to analyse: upwell analyze {kind} needs a run",
            f"upwell analyze {kind} RUN... --out RUN",
        )
    study: Study = getattr(importlib.import_module(f"upwell.analysis.{kind}"), kind)
    begun = study(sources, settings, watch)
    pending = begun if isinstance(begun, Pending) else None
    digests = (pending and pending.sources) or [_digest(source) for source in sources]
    identity = pending.identity if pending else {}
    fixed = {
        name: value for name, value in asdict(settings).items() if name not in ("out", *ONLY_SPEED, *AMOUNTS)
    }
    with Run.open(
        settings.out,
        verb="analyze",
        settings={"kind": kind, "sources": list(sources), **asdict(settings)},
        fingerprint={"kind": kind, "sources": digests, **fixed, **identity},
        inputs=[{"name": source, "digest": digest} for source, digest in zip(sources, digests, strict=True)],
        amounts={name: getattr(settings, name) for name in AMOUNTS} if settings.judge else {},
        identity=identity,
    ) as run:
        found = begun.finish(run) if isinstance(begun, Pending) else begun
        if found is None:
            return Path(settings.out)
        for name, rows in (("points", found.points), ("fits", found.fits)):
            write_atomically(run.path / f"{name}.csv", table(rows))
        run.finish({"kind": kind, **asdict(found)})
    return Path(settings.out)


def table(rows: Sequence[Row]) -> bytes:
    """Rows as CSV, a column for every name that occurs; a text that a spreadsheet would run is quoted."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _digest(source: str) -> str:
    if source.startswith(PAPER):
        return source
    path = Path(source)
    return digest_file(path / "summary.json" if path.is_dir() else path)
