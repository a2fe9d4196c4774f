"""PassRatio and pass@k by level and by subject."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upwell.metrics.metric import Metric
from upwell.report.drawing import Figure, measured, numbers, share_axis, styled, titled
from upwell.report.palette import light, run_colour
from upwell.report.reading import RunView, common_tries
from upwell.report.text import brief, count, counted, interval, percent

_MOST = 24
"""Slices that one figure draws at most, the largest; the table under it has them all."""


@dataclass(frozen=True)
class _Dot:
    """One value of one slice of one run."""

    run: str
    part: str
    metric: Metric

    @property
    def title(self) -> str:
        return "PassRatio" if self.metric.name == "pass_ratio" else f"pass@{self.metric.k}"


def slice_kinds(runs: Sequence[RunView]) -> list[str]:
    """The kinds of slice that have at least two values, such as `level` and `subject`."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for metric in run.metrics:
            if metric.slice and "=" in metric.slice:
                found.setdefault(metric.slice.partition("=")[0], set()).add(metric.slice)
    return [kind for kind, values in found.items() if len(values) > 1]


def slices(runs: Sequence[RunView], kind: str) -> Figure:
    """The figure of one kind of slice: a dot per value with its interval."""
    k = common_tries(runs)
    dots = _dots(runs, kind, k)
    sizes: dict[str, int] = {}
    for dot in dots:
        sizes[dot.part] = max(sizes.get(dot.part, 0), dot.metric.problems)
    shown = f"PassRatio and pass@{k}" if k > 1 else "PassRatio"
    largest = set(sorted(sizes, key=lambda part: -sizes[part])[:_MOST])
    labels = {part: _label(kind, part, sizes[part]) for part in sizes if part in largest}
    left_out = f" The {_MOST} largest of {len(sizes)} are drawn." if len(sizes) > len(labels) else ""
    return Figure(
        name=f"by-{kind}",
        title=f"By {brief(kind)}",
        caption=(
            f"{shown} by {brief(kind)}, with 95\u202f% intervals for problems like these; "
            f"the number of problems of each in brackets.{left_out} {measured(runs)}"
        ),
        alt=f"Dot plot of {shown} for {counted(len(labels), brief(kind))}; "
        "the table below holds the numbers.",
        rows=[{"run": d.run, kind: d.part, "metric": d.metric.name, **numbers(d.metric)} for d in dots],
        draw=lambda width, wide: _draw([d for d in dots if d.part in labels], labels, width, wide),
    )


def _dots(runs: Sequence[RunView], kind: str, k: int) -> list[_Dot]:
    dots = []
    parts = {m.slice for run in runs for m in run.metrics if m.slice and m.slice.partition("=")[0] == kind}
    for part in sorted(parts, key=_natural):
        for run in runs:
            solved = run.metric("pass@k", k, part) if k > 1 else None
            for metric in (run.metric("pass_ratio", None, part), solved):
                if metric is not None and metric.value is not None:
                    dots.append(_Dot(run.name, part.partition("=")[2], metric))
    return dots


def _label(kind: str, part: str, size: int) -> str:
    name = f"{brief(kind).capitalize()} {part}" if part.isdecimal() else brief(part)
    return f"{name} ({count(size)})"


def _draw(dots: list[_Dot], labels: dict[str, str], width: int, wide: bool) -> Any:
    import altair as alt

    runs = list(dict.fromkeys(dot.run for dot in dots))
    titles = list(dict.fromkeys(dot.title for dot in dots))
    several = len(runs) > 1
    if several:
        colours = {brief(run): light(run_colour(i)) for i, run in enumerate(runs)}
    else:
        colours = dict(zip(titles, (light("vermillion"), light("blue")), strict=False))
    order = list(labels.values())
    values = [{**_value(dot, labels[dot.part], several), "title": dot.title} for dot in dots]
    gutter = 200 if wide else 130
    if not several:
        return styled(_panel(values, order, colours, width - gutter, gutter, ""))
    inner = (width - gutter) // 2 - 12 if wide else width - gutter
    panels = []
    for number, title in enumerate(titles):
        own = [value for value in values if value["title"] == title]
        named = not wide or number == 0
        panels.append(_panel(own, order, colours, inner, gutter if named else 0, title))
    return styled(alt.hconcat(*panels, spacing=28) if wide else alt.vconcat(*panels))


def _value(dot: _Dot, label: str, several: bool) -> dict[str, Any]:
    m = dot.metric
    said = f"{brief(dot.run)}, {dot.title}" if several else dot.title
    return {
        "part": label,
        "series": brief(dot.run) if several else dot.title,
        "value": m.value,
        "low": m.value if m.low is None else m.low,
        "high": m.value if m.high is None else m.high,
        "said": f"{label}\n{said}\t{percent(m.value)}\t{interval(m.low, m.high)}",
    }


def _panel(
    values: list[dict[str, Any]],
    order: list[str],
    colours: dict[str, str],
    width: int,
    gutter: int,
    title: str,
) -> Any:
    """One panel; a gutter of 0 leaves the names of the slices out, as beside a panel that has them."""
    import altair as alt

    y = alt.Y(
        "part:N",
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(
            ticks=False, domain=False, labelLimit=max(gutter - 12, 1), labelPadding=10, labels=gutter > 0
        ),
    )
    offset = alt.YOffset("series:N", scale=alt.Scale(domain=list(colours), paddingOuter=0.9))
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=list(colours), range=list(colours.values())),
        legend=alt.Legend(
            orient="top", title=None, symbolType="circle", symbolOpacity=1, labelFontSize=12.5,
            labelLimit=220, columnPadding=18, columns=1 if width < 300 and len(colours) > 2 else 4,
        ),
    )  # fmt: skip
    base = alt.Chart(alt.Data(values=values)).encode(y=y, yOffset=offset, color=colour)
    rules = base.mark_rule(strokeWidth=1.5, opacity=0.45, aria=False)
    points = base.mark_point(filled=True, size=58, opacity=1)
    ticks = 5 if width > 240 else 2
    layers = (
        rules.encode(x=share_axis(alt.X, "low:Q", 1.0, ticks), x2="high:Q"),
        points.encode(x=share_axis(alt.X, "value:Q", 1.0, ticks), description=alt.Description("said:N")),
    )
    step = max(26, 14 + 9 * len(colours))
    return titled(alt.layer(*layers).properties(width=width, height=step * len(order)), title)


def _natural(part: str) -> tuple[str, int, str]:
    """For sorting: `level=10` after `level=9`."""
    digits = re.search(r"[0-9]{1,12}$", part)
    return (part[: digits.start()], int(digits.group()), part) if digits else (part, -1, part)
