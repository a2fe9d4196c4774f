"""The verbs that draw and grade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from upwell.cli.flags import Flags
from upwell.measurement.settings import GradeSettings, MeasureSettings, SampleSettings

_AS_EVER = GradeSettings()


def measure(settings: Annotated[MeasureSettings, Flags]) -> int:
    """Sample, grade and report pass@k against PassRatio, in one run."""
    from upwell.cli.terminal import Terminal
    from upwell.measurement import stages

    if settings.plan is not None:
        from upwell.cli.tables import plan_table
        from upwell.measurement.plan import planned

        for one in planned(settings, settings.plan):
            plan_table(one)
        return 0
    if settings.dry_run:
        return _estimated(settings)
    with Terminal() as terminal:
        return _shown(stages.measure(settings, watch=terminal))


def sample(settings: Annotated[SampleSettings, Flags]) -> int:
    """Draw responses to problems."""
    from upwell.cli.terminal import Terminal
    from upwell.measurement import stages
    from upwell.runs import Run

    if settings.dry_run:
        return _estimated(settings)
    with Terminal() as terminal:
        path = stages.sample(settings, watch=terminal)
    run = Run.read(path)
    _print(f"{run.count('responses'):,} responses in {path / 'responses.jsonl'}")
    return 1 if (run.summary or {}).get("counts", {}).get("failed") else 0


def grade(path: str, /, settings: Annotated[GradeSettings, Flags] = _AS_EVER) -> int:
    """Grade the responses of a run anew, or those in another program's output file.

    Parameters
    ----------
    path
        Run directory with responses; or a JSONL, JSON, CSV, TSV or Parquet file of lm-evaluation-harness, inspect,
        NeMo-Skills, DART-Math, Qwen2.5-Math, an OpenAI batch, or any other with --field.
    """
    from upwell.cli.terminal import Terminal
    from upwell.measurement.grading import grade as graded

    with Terminal() as terminal:
        return _shown(graded(path, settings, watch=terminal))


def compare(
    first: str, second: str, /, *, k: tuple[int, ...] = (), flips: int = 10, json: bool = False
) -> int:
    """Paired differences between two graded runs on the problems they share, and the problems that flipped.

    Parameters
    ----------
    first
        Run directory, graded.
    second
        Run directory, graded; differences are of this one minus the first.
    k
        Compare pass@k and maj@k for this k; by default the most that both runs have. Repeatable.
    flips
        Flipped problems shown, the surest first.
    json
        Print one JSON object instead of tables.
    """
    from upwell.cli.tables import comparison_table
    from upwell.cli.terminal import Terminal
    from upwell.measurement.comparison import compare as compared

    with Terminal() as terminal:
        found = compared(first, second, ks=k, watch=terminal)
    if json:
        import msgspec

        _print(msgspec.json.encode(found).decode())
    else:
        comparison_table(found, flips)
    return 0


def _estimated(settings: SampleSettings) -> int:
    from upwell.cli.tables import estimate_table
    from upwell.cli.terminal import Terminal
    from upwell.measurement import stages

    with Terminal() as terminal:
        found = stages.dry_run(settings, watch=terminal)
    estimate_table(found)
    return 0


def _shown(path: Path) -> int:
    from upwell.cli.tables import agreement_table, judge_table, metrics_table, score_lines
    from upwell.report.text import visible
    from upwell.runs import Run

    run = Run.read(path)
    summary = run.summary
    if summary is None:
        return 1
    metrics_table(run.manifest, summary)
    if "agreement" in summary:
        agreement_table(summary["agreement"])
    if "score" in summary:
        score_lines(summary["score"])
    if "judge" in summary:
        judge_table(summary["judge"])
    _print(f"run: {visible(str(path))}")
    return 1 if summary["counts"].get("failed") else 0


def _print(line: Any) -> None:
    import sys

    sys.stdout.write(f"{line}\n")
