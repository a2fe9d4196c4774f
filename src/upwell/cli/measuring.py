"""The verbs that draw and grade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from upwell.measurement.settings import GradeSettings, MeasureSettings, SampleSettings

Flags = Parameter(name="*")
_AS_EVER = GradeSettings()


def measure(settings: Annotated[MeasureSettings, Flags]) -> int:
    """Sample, grade and report pass@k against PassRatio, in one run."""
    from upwell.cli.terminal import Terminal
    from upwell.measurement import stages

    with Terminal() as terminal:
        return _shown(stages.measure(settings, watch=terminal))


def sample(settings: Annotated[SampleSettings, Flags]) -> int:
    """Draw responses to problems."""
    from upwell.cli.terminal import Terminal
    from upwell.measurement import stages
    from upwell.runs import Run

    with Terminal() as terminal:
        path = stages.sample(settings, watch=terminal)
    run = Run.read(path)
    _print(f"{run.count('responses'):,} responses in {path / 'responses.jsonl'}")
    return 1 if (run.summary or {}).get("counts", {}).get("failed") else 0


def grade(run: str, /, settings: Annotated[GradeSettings, Flags] = _AS_EVER) -> int:
    """Grade the responses of a run anew, into a run directory of their own.

    Parameters
    ----------
    run
        Run directory with responses.
    """
    from upwell.cli.terminal import Terminal
    from upwell.measurement import stages

    with Terminal() as terminal:
        return _shown(stages.grade(run, settings, watch=terminal))


def _shown(path: Path) -> int:
    from upwell.cli.tables import metrics_table
    from upwell.runs import Run

    run = Run.read(path)
    summary = run.summary
    if summary is None:
        return 1
    metrics_table(run.manifest, summary)
    _print(f"run: {path}")
    return 1 if summary["counts"].get("failed") else 0


def _print(line: Any) -> None:
    import sys

    sys.stdout.write(f"{line}\n")
