"""The questions that are solved."""

from __future__ import annotations

from upwell import problems
from upwell.errors import UsageError
from upwell.measurement.settings import ProblemSettings
from upwell.problems import ProblemSet
from upwell.synthesis.settings import SeedSettings


def questions(settings: SeedSettings, *, graded: bool) -> ProblemSet:
    """The questions of the settings; `graded`: those without reference answers are refused.

    Raises:
        UsageError: They are not to be had, or `split` is set for a kind of set that has no splits.
    """
    fields = ProblemSettings(problems=settings.seeds, field=settings.field).fields()
    found = problems.load(
        settings.seeds, split=settings.split, limit=settings.limit, fields=fields, graded=graded
    )
    if settings.split not in (found.split, SeedSettings.split):
        raise UsageError(
            f"--split {settings.split} does nothing: `{settings.seeds}` has no splits", "leave --split out"
        )
    return found
