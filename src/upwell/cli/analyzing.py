"""The verb that analyses finished runs, and what it prints."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from upwell.analysis.settings import AnalyzeSettings
from upwell.cli.flags import Flags

_MOST = 40
"""Rows of fits that are printed; `fits.csv` has them all."""


def analyze(kind: str, /, *sources: str, settings: Annotated[AnalyzeSettings, Flags]) -> int:
    """Say what finished runs say together: points, fits with intervals, and conclusions in words.

    Parameters
    ----------
    kind
        scaling, steps, errors, leakage, selection or compute.
    sources
        Run directories: measured, graded, or a ladder (`upwell train --ladder ... --problems`). For scaling also
        FILE.csv and paper:NAME; for leakage problem sets (gsm8k/test gsm8k/train), or test=RUN reference=RUN train=RUN.
    """
    from upwell.analysis.stage import analyze as analyzed
    from upwell.cli.terminal import Terminal
    from upwell.report.text import visible
    from upwell.runs import Run

    with Terminal() as terminal:
        path = analyzed(kind, sources, settings, watch=terminal)
    summary = Run.read(path).summary
    if summary is None:
        return 1
    analysis_tables(summary)
    sys.stdout.write(f"run: {visible(str(path))}\n")
    return 0


def analysis_tables(summary: dict[str, Any]) -> None:
    """The fits as a table, then the conclusions, then the notes."""
    from rich.markup import escape
    from rich.table import Table

    from upwell.cli.tables import console
    from upwell.report.text import visible

    out, fits = console(), summary["fits"]
    if fits:
        columns = [
            name
            for name in dict.fromkeys(name for row in fits for name in row)
            if any(row.get(name) not in (None, "") for row in fits)
        ]
        if len({row.get(columns[0]) for row in fits}) == 1:
            del columns[0]  # the one source, which the conclusions name
        table = Table(title=escape(f"{summary['kind']}: fits"), title_justify="left")
        for name in columns:
            number = all(not isinstance(row.get(name), str) for row in fits)
            table.add_column(escape(visible(name)), justify="right" if number else "left", overflow="fold")
        for row in fits[:_MOST]:
            table.add_row(*(escape(visible(_cell(row.get(name)))) for name in columns))
        out.print(table)
        if len(fits) > _MOST:
            out.print(f"{len(fits) - _MOST:,} more rows are in fits.csv", markup=False)
    for line in summary["conclusions"]:
        out.print(visible(line), markup=False)
    for note in summary["notes"]:
        out.print(visible(f"note: {note}"), markup=False)


def _cell(value: Any) -> str:
    """A value as a table shows it: four figures of a number."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
