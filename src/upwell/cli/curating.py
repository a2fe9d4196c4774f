"""The verbs that choose training rows and hand them on."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from upwell.curation.settings import CurateSettings, ExportSettings

Flags = Parameter(name="*")


def curate(*inputs: str, settings: Annotated[CurateSettings, Flags]) -> int:
    """Choose rows by steps, each by its flag, and write them as training examples.

    Parameters
    ----------
    inputs
        Runs of synthesize, graded runs (their correct responses), data files (JSONL, JSON, CSV, TSV, Parquet), sets
        with their split (gsm8k/train), or procedural:TASK.
    """
    from upwell.cli.terminal import Terminal
    from upwell.curation.curate import curate as curated
    from upwell.runs import Run

    with Terminal() as terminal:
        path = curated(inputs, settings, watch=terminal)
    summary = Run.read(path).summary
    if summary is None:
        return 1
    steps_table(summary)
    _print(f"run: {path}")
    return 0 if summary["counts"]["examples"] and not summary["counts"]["failed"] else 1


def export(run: str, /, settings: Annotated[ExportSettings, Flags]) -> int:
    """Write the examples of a run as chat or prompt-completion JSONL, Parquet or a hub data set; any table as Parquet.

    Parameters
    ----------
    run
        Run directory, finished.
    """
    from upwell.cli.terminal import Terminal
    from upwell.curation.export import export as exported

    with Terminal() as terminal:
        _print(exported(run, settings, watch=terminal))
    return 0


def steps_table(summary: dict[str, Any]) -> None:
    """One line a step: rows in and out, and why the others went."""
    for step in summary["steps"]:
        why = ", ".join(f"{reason} {count:,}" for reason, count in step["rejected"].items())
        _print(f"{step['step']:<18} {step['in']:>10,} -> {step['out']:>10,}" + (f"   {why}" if why else ""))
    for rung in (summary["ladder"] or {"rungs": []})["rungs"]:
        _print(f"rung {rung['rung']:<13} {rung['rows']:>10,} rows {rung['tokens']:>13,} tokens")
    _print(f"{summary['counts']['examples']:,} examples, {summary['counts']['rejected']:,} rejected")


def _print(line: Any) -> None:
    from upwell.report.text import visible

    sys.stdout.write(visible(line) + "\n")
