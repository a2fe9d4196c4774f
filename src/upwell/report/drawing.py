"""What all figures of a report share: what a figure is, its axes, its look.

One chart definition serves the page (SVG, at two widths, recoloured for light and dark), the PNG beside it
and, through its rows, the CSV and the table under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from upwell.metrics.metric import Metric
from upwell.report.palette import light
from upwell.report.reading import RunView
from upwell.report.text import brief, counted

if TYPE_CHECKING:
    import altair

Row = dict[str, str | int | float | None]
WIDE, NARROW = 876, 380
"""Widths in pixels at which a figure is drawn: for a desk, and for a phone."""
FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"


@dataclass(frozen=True)
class Figure:
    """One figure: what it shows in words, its data, and how to draw it."""

    name: str
    """File name stem, such as `pass-at-k`."""
    title: str
    caption: str
    """What was measured, on how many problems and samples."""
    alt: str
    """The figure in words, for those who cannot see it."""
    rows: list[Row]
    draw: Callable[[int, bool], altair.Chart]
    """From (about how many pixels wide, whether there is room to lay panels side by side)."""
    kind: str = "marks"
    """`curve`: the reader points at a k; `marks`: at a single mark."""
    shares: frozenset[str] | None = None
    """Columns that tables show in per cent; None: all numbers that are not whole."""


def share_axis(channel: Any, name: str, top: float, ticks: int = 5) -> Any:
    """An axis of shares from 0 to `top`, written in per cent. `channel` is altair's `X` or `Y`."""
    import altair as alt

    axis = alt.Axis(
        labelExpr="format(datum.value * 100, '~f') + '\u202f%'",
        tickCount=ticks,
        domain=False,
        ticks=False,
        labelPadding=8,
    )
    return channel(name, title=None, scale=alt.Scale(domain=[0, top], nice=False, zero=True), axis=axis)


def nice_top(values: Iterable[float | None]) -> float:
    """Where an axis of shares ends: at the whole, or earlier where nothing comes near it."""
    highest = max((value for value in values if value is not None), default=1.0)
    return next((top for top in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if highest <= top * 0.97), 1.0)


def titled(panel: Any, title: str) -> Any:
    """The panel with its own small title, if there is one."""
    import altair as alt

    return panel.properties(title=alt.TitleParams(title, anchor="start", fontSize=13)) if title else panel


def styled(chart: Any) -> Any:
    """The finished chart in the look of the report."""
    ink, muted, rule = light("ink"), light("muted"), light("rule")
    return (
        chart.configure(font=FONT, background="transparent", padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=muted,
            labelFontSize=12,
            titleColor=muted,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=10,
            gridColor=rule,
            domainColor=rule,
            tickColor=rule,
        )
        .configure_title(color=ink, fontWeight=600)
        .configure_legend(labelColor=ink)
    )


def numbers(metric: Metric) -> Row:
    """The columns that every table of metrics has."""
    return {
        "k": metric.k,
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
        "low_fixed": metric.low_fixed,
        "high_fixed": metric.high_fixed,
        "problems": metric.problems,
        "samples": metric.samples,
    }


def measured(runs: Sequence[RunView]) -> str:
    """On what a figure rests, as a sentence."""
    if len(runs) == 1:
        run = runs[0]
        return (
            f"Measured on {counted(len(run.problems), 'problem')} of {brief(run.problem_set)}, "
            f"{run.samples_written} each."
        )
    sizes = [f"{counted(len(run.problems), 'problem')} × {run.samples_written}" for run in runs]
    if len(set(sizes)) == 1:
        return f"Measured on {sizes[0]} in each run."
    return (
        f"Measured on {'; '.join(f'{brief(r.name)}: {size}' for r, size in zip(runs, sizes, strict=True))}."
    )
