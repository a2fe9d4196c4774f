"""The figures of a report, in reading order."""

from __future__ import annotations

from collections.abc import Sequence

from upwell.report.curves import curves
from upwell.report.drawing import Figure
from upwell.report.histogram import pass_rates
from upwell.report.reading import RunView
from upwell.report.slices import slice_kinds, slices


def figures(runs: Sequence[RunView]) -> list[Figure]:
    """The figures that these runs have data for; one try per problem has no curve and no pass rates."""
    repeated = any(run.most_tries > 1 for run in runs)
    first = [curves(runs), pass_rates(runs)] if repeated else []
    return [*first, *(slices(runs, kind) for kind in slice_kinds(runs))]
