"""The histogram of pass rates per problem: the picture of instability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from upwell.report.drawing import Figure, Row, measured, styled, titled
from upwell.report.palette import light
from upwell.report.reading import RunView
from upwell.report.text import brief, count

_FEW_TRIES = 11
"""With no more tries than this, every number of right tries has a bar of its own."""


def pass_rates(runs: Sequence[RunView]) -> Figure:
    """How many problems are solved never, in what share of tries, always."""
    rows = [row for run in runs for row in _bars(run)]
    parts = []
    for run in runs:
        never, sometimes, always = run.kinds
        name = f"{brief(run.name)}: " if len(runs) > 1 else ""
        said = f"{count(never)} never right, {count(sometimes)} sometimes, {count(always)} always"
        parts.append(name + said)
    return Figure(
        name="pass-rates",
        title="Never, sometimes, always",
        caption=(
            "Problems by the share of their tries that are right. Between never and always lies what the "
            f"model can do but does not do reliably. {'; '.join(parts)}. {measured(runs)}"
        ),
        alt=f"Histogram of the share of right tries per problem. {'; '.join(parts)}.",
        rows=rows,
        draw=lambda width, _: _draw(rows, [run.name for run in runs], width),
    )


def _bars(run: RunView) -> list[Row]:
    tries = {view.tally.graded for view in run.problems}
    exact = len(tries) == 1 and 1 <= max(tries) <= _FEW_TRIES
    steps = max(tries) if exact else 10
    if exact:
        between = [f"{i} of {steps}" for i in range(1, steps)]
    else:
        between = [f"{10 * i}–{10 * (i + 1)}\u202f%" for i in range(10)]
    labels = ["never", *between, "always"]
    counts = [0] * len(labels)
    for view in run.problems:
        tally = view.tally
        if tally.kind == "never":
            counts[0] += 1
        elif tally.kind == "always":
            counts[-1] += 1
        else:  # the bar (i - 1, i] of `steps`, in whole numbers so that no share falls between two bars
            counts[-(-steps * tally.correct // tally.graded)] += 1
    return [
        {"run": run.name, "right tries": label, "problems": n, "of": len(run.problems)}
        for label, n in zip(labels, counts, strict=True)
    ]


def _draw(rows: list[Row], names: list[str], width: int) -> Any:
    import altair as alt

    highest = max(int(row["problems"] or 0) for row in rows)
    height = 230 if len(names) == 1 else 130
    panels = []
    for name in names:
        own = [row for row in rows if row["run"] == name]
        panels.append(_panel(own, width - 60, height, highest, brief(name) if len(names) > 1 else ""))
    return styled(panels[0] if len(panels) == 1 else alt.vconcat(*panels, spacing=14))


def _panel(rows: list[Row], width: int, height: int, highest: int, title: str) -> Any:
    import altair as alt

    colours = ["grey", *["blue"] * (len(rows) - 2), "green"]
    values = [
        {
            "bin": row["right tries"],
            "problems": row["problems"],
            "colour": light(colour),
            "shown": count(int(row["problems"] or 0)) if row["problems"] else "",
            "said": f"right tries: {row['right tries']}\n{row['problems']} of {row['of']} problems",
        }
        for row, colour in zip(rows, colours, strict=True)
    ]
    crowded = width / len(rows) < 46
    x = alt.X(
        "bin:N",
        sort=[value["bin"] for value in values],
        title=None if title else "share of a problem's tries that are right",
        axis=alt.Axis(labelAngle=-90 if crowded else 0, labelOverlap=False, ticks=False, labelPadding=6),
        scale=alt.Scale(paddingInner=0.18, paddingOuter=0.05),
    )
    ticks = {"values": list(range(highest + 1))} if highest <= 4 else {"tickCount": 4}
    y = alt.Y(
        "problems:Q",
        title="problems",
        scale=alt.Scale(domain=[0, highest * 1.08], nice=False),
        axis=alt.Axis(**ticks, format=",d", domain=False, ticks=False, labelPadding=8),
    )
    base = alt.Chart(alt.Data(values=values)).encode(x=x, y=y)
    colour = alt.Color("colour:N", scale=None)
    bars = base.mark_bar().encode(color=colour, description=alt.Description("said:N"))
    labels = base.mark_text(dy=-7, fontSize=12, color=light("ink"), aria=False).encode(text="shown:N")
    return titled(alt.layer(bars, labels).properties(width=width, height=height), title)
