"""What every analysis gives: points, fits, and conclusions in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upwell.analysis.published import PAPER
from upwell.runs import Run
from upwell.runs.provenance import digest_file

Cell = str | int | float | bool | None
Row = dict[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The outcome of one analysis, ready to be written."""

    points: list[Row]
    """What was measured, a row a point; each with the number of problems and samples that it rests on."""
    fits: list[Row] = field(default_factory=list)
    """What was estimated from the points, with intervals (`low`, `high`)."""
    conclusions: list[str]
    """Each a sentence with its uncertainty, or one that says why there is none."""
    notes: list[str] = field(default_factory=list)
    """What was left out, assumed, or could not be done."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """An analysis that has to compute what no run holds: in its own run, which a kill leaves half done."""

    sources: list[str]
    """Digests of what it reads, in the order of the sources."""
    identity: dict[str, Any]
    """What the manifest says of the model."""
    finish: Callable[[Run], Found | None]
    """Computes what is owed, into tables of the run; None where something is owed still, for calls failed."""


def digest_of(source: str) -> str:
    """What tells a source from the same one changed: a published curve by its name, a run by its summary."""
    if source.startswith(PAPER):
        return source
    path = Path(source)
    return digest_file(path / "summary.json" if path.is_dir() else path)
