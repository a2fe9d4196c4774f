"""What every analysis gives: points, fits, and conclusions in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from upwell.runs import Run

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

    sources: list[str] | None = None
    """Digests of what it reads, in the order of the sources; None where these are runs, as elsewhere."""
    identity: dict[str, Any]
    """What the manifest says of the model."""
    finish: Callable[[Run], Found | None]
    """Computes what is owed, into tables of the run; None where something is owed still, for calls failed."""
