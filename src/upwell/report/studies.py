"""Analyses on the page: what a run of `upwell analyze` concluded, and a figure of its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.errors import UsageError
from upwell.report.drawing import Figure, Row, nice_top, share_axis, styled, titled
from upwell.report.palette import light, run_colour
from upwell.report.text import THIN, brief, counted, interval, percent, visible
from upwell.runs import Run

SHARES = frozenset({"value", "low", "high", "residual", "power", "reached", "spread", "beta", "flat"})
"""Columns of points and fits that are shares, where nothing else is said of them."""
_TITLES = {
    "scaling": "What more data buys", "steps": "Accuracy against the length of the solution",
    "errors": "What is wrong in wrong responses", "leakage": "Has the model seen the benchmark?",
    "selection": "What of pass@k a selector reaches", "compute": "What accuracy costs",
}  # fmt: skip
_INTERVALS = f"95{THIN}% intervals"
_MOST = 12
"""Runs or sources that one figure tells apart."""


@dataclass(frozen=True)
class Study:
    """A finished run of `upwell analyze`."""

    name: str
    kind: str
    title: str
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]
    points: tuple[Row, ...]
    fits: tuple[Row, ...]
    manifest: Mapping[str, Any]


def read_study(path: Path, name: str) -> Study | None:
    """The analysis that a folder holds; None where it is another run.

    Raises:
        UsageError: it is not finished, or its summary is not one of an analysis.
    """
    run = Run.read(path)
    if run.manifest.get("verb") != "analyze":
        return None
    told = run.summary
    if told is None:
        raise UsageError(f"the analysis `{path}` is not finished", "run the command that made it again")
    try:
        kind = str(told["kind"])
        return Study(
            name=name, kind=kind, title=_TITLES.get(kind, kind), conclusions=tuple(map(str, told["conclusions"])),
            notes=tuple(map(str, told["notes"])), points=tuple(map(dict, told["points"])),
            fits=tuple(map(dict, told["fits"])), manifest=run.manifest,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"`{path / 'summary.json'}` is damaged: {error!r}",
            "delete it and run the command that made it again",
        ) from None


def figure_of(study: Study) -> Figure | None:
    """The picture of an analysis; None where nothing can be drawn."""
    drawn = _DRAWN.get(study.kind)
    rows = [row for row in study.points if _number(row.get("value")) is not None]
    if drawn is None or not rows:
        return None
    return drawn(study, rows)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _named(study: Study) -> str:
    return f"{study.kind}-{study.name}"


def _measured(rows: Sequence[Row]) -> str:
    problems = {row.get("problems") for row in rows if _number(row.get("problems")) is not None}
    samples = {row.get("samples") for row in rows if _number(row.get("samples")) is not None}
    if not problems:
        return ""

    def span(values: set[Any], noun: str) -> str:
        least, most = int(min(values)), int(max(values))
        return counted(most, noun) if least == most else f"{least:,} to {counted(most, noun)}"

    return f" Each rests on {span(problems, 'problem')}" + (
        f" and {span(samples, 'response')}." if samples else "."
    )


def _spoken(study: Study) -> str:
    """What the picture shows, for those who cannot see it."""
    return visible(" ".join(study.conclusions[:6]))


def _groups(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(str(row[column]) for row in rows))[:_MOST]


def _values(rows: Sequence[Row], group: str, groups: Sequence[str], **more: str) -> list[dict[str, Any]]:
    """The rows as the drawing wants them: limits that are there, names that are short."""
    return [
        {
            "x": row.get(more["x"]), "value": row["value"], "group": brief(row[group], 40),
            "low": row["value"] if row.get("low") is None else row["low"],
            "high": row["value"] if row.get("high") is None else row["high"],
            "said": f"{brief(row[group], 40)}\n{more['x']} {row.get(more['x'])}\n{_said(row)}",
        }
        for row in rows
        if str(row[group]) in groups
    ]  # fmt: skip


def _said(row: Row) -> str:
    return f"{percent(_number(row['value']))} ({interval(_number(row.get('low')), _number(row.get('high')))})"


def _colour(groups: Sequence[str], width: int, *, legend: bool = True) -> Any:
    import altair as alt

    names = [brief(group, 40) for group in groups]
    # A row that is wider than the figure would make the figure smaller.
    row = sum(30 + 6.5 * len(name) for name in names)
    shown = alt.Legend(
        title=None, orient="top", symbolType="circle", symbolOpacity=1, labelFontSize=12, labelLimit=300,
        columns=0 if row <= width else max(1, int(len(names) * width / row)),
    )  # fmt: skip
    return alt.Color(
        "group:N", sort=names, legend=shown if legend and len(names) > 1 else None,
        scale=alt.Scale(domain=names, range=[light(run_colour(i)) for i in range(len(names))]),
    )  # fmt: skip


def _log_axis(title: str, at: list[float] | None = None) -> Any:
    """A logarithmic axis; its labels stand at these values where they are given."""
    import altair as alt

    where: dict[str, Any] = {"tickCount": 5} if at is None else {"values": at}
    return alt.X(
        "x:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(format="~s", domain=False, ticks=False, labelPadding=8, grid=False, **where),
    )  # fmt: skip


# -- scaling -----------------------------------------------------------------------------------------------------------


def _scaling(study: Study, rows: list[Row]) -> Figure:
    measured = [row for row in rows if row.get("what") == "measured"]
    groups, units = _groups(measured, "source"), {brief(row["unit"]) for row in measured}
    metrics = sorted({brief(row["metric"]).replace("pass_ratio", "PassRatio") for row in measured})
    forms = {str(row["source"]): str(row["form"]) for row in rows if row.get("form")}
    lines = "; ".join(f"{brief(source)}: {form}" for source, form in forms.items() if source in groups)
    return Figure(
        name=_named(study),
        title=_TITLES["scaling"],
        caption=(
            f"{', '.join(metrics)} against {' or '.join(sorted(units))}, on a logarithmic axis. Dots are measured, "
            f"with {_INTERVALS} for problems like these; lines are the form that fits best, with its band, dashed "
            f"where nothing was measured. {lines}." + _measured(measured)
        ),
        alt="Curves. " + _spoken(study),
        rows=[row for row in rows if str(row["source"]) in groups],
        draw=lambda width, _: _draw_scaling(rows, groups, width, " or ".join(sorted(units))),
        shares=SHARES | {"residual_left_out", "standard_error"},
    )


def _draw_scaling(rows: list[Row], groups: list[str], width: int, unit: str) -> Any:
    import altair as alt

    def of(*kinds: str) -> list[dict[str, Any]]:
        return _values([row for row in rows if row.get("what") in kinds], "source", groups, x="x")

    top = nice_top(row["high"] for row in of("measured", "fitted", "predicted"))
    colour, x = _colour(groups, width), _log_axis(unit)
    y = share_axis(alt.Y, "value:Q", top)
    low = share_axis(alt.Y, "low:Q", top)
    band = alt.Chart(alt.Data(values=of("fitted", "predicted"))).encode(x=x, y=low, y2="high:Q", color=colour)
    line = alt.Chart(alt.Data(values=of("fitted"))).encode(x=x, y=y, color=colour)
    beyond = alt.Chart(alt.Data(values=of("predicted"))).encode(x=x, y=y, color=colour)
    dots = alt.Chart(alt.Data(values=of("measured"))).encode(x=x, color=colour)
    layers = [
        band.mark_area(opacity=0.16, aria=False),
        line.mark_line(strokeWidth=2, aria=False),
        beyond.mark_line(strokeWidth=2, strokeDash=[5, 4], aria=False),
        dots.mark_rule(strokeWidth=2, opacity=0.55, aria=False).encode(y=low, y2="high:Q"),
        dots.mark_point(filled=True, size=60, opacity=1).encode(y=y, description=alt.Description("said:N")),
    ]
    return styled(alt.layer(*layers).properties(width=width - 70, height=320))


# -- steps -------------------------------------------------------------------------------------------------------------


def _steps(study: Study, rows: list[Row]) -> Figure:
    measured = [row for row in rows if row.get("what") == "accuracy"]
    groups = _groups(measured, "run")
    return Figure(
        name=_named(study),
        title=_TITLES["steps"],
        caption=(
            f"Share of right responses by the number of steps of the gold solution, with {_INTERVALS} for problems "
            "like these. Lines are p^s, the likeliest step accuracy p to the power of the steps."
            + _measured(measured)
        ),
        alt="Accuracy by number of steps. " + _spoken(study),
        rows=measured,
        draw=lambda width, _: _draw_steps(measured, groups, width),
        shares=SHARES | {"residual_low", "residual_high", "free"},
    )


def _draw_steps(rows: list[Row], groups: list[str], width: int) -> Any:
    import altair as alt

    values = _values(rows, "run", groups, x="steps")
    curve = [
        {"x": row["steps"], "value": row["power"], "group": brief(row["run"], 40)}
        for row in rows
        if row.get("power") is not None and str(row["run"]) in groups
    ]
    top = nice_top(
        _number(point["value"]) for point in [{"value": value["high"]} for value in values] + curve
    )
    names = [brief(group, 40) for group in groups]
    x = alt.X(
        "x:O", title="steps of the gold solution",
        axis=alt.Axis(labelAngle=0, domain=False, ticks=False, labelPadding=8),
    )  # fmt: skip
    apart = alt.XOffset("group:N", sort=names)
    base = alt.Chart(alt.Data(values=values)).encode(x=x, xOffset=apart, color=_colour(groups, width))
    low, y = share_axis(alt.Y, "low:Q", top), share_axis(alt.Y, "value:Q", top)
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.55, aria=False).encode(y=low, y2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(y=y, description=alt.Description("said:N")),
    ]
    if curve:
        line = alt.Chart(alt.Data(values=curve)).mark_line(strokeWidth=1.5, opacity=0.8, aria=False)
        layers.insert(0, line.encode(x=x, xOffset=apart, y=y, color=_colour(groups, width)))
    return styled(alt.layer(*layers).properties(width=width - 70, height=300))


# -- errors and leakage: intervals beside names ------------------------------------------------------------------------


def _errors(study: Study, rows: list[Row]) -> Figure:
    wrong = [row for row in rows if row.get("of") == "wrong responses"] or rows
    groups = _groups(wrong, "run")
    return Figure(
        name=_named(study),
        title=_TITLES["errors"],
        caption=(
            f"Share of wrong responses by the first rule that they meet, with {_INTERVALS}. `missing` also strikes "
            "right responses: see the data, which has their shares beside." + _measured(wrong)
        ),
        alt="Shares of error classes. " + _spoken(study),
        rows=rows,
        draw=lambda width, _: _draw_intervals(wrong, "class", "run", groups, width, share=True),
    )


_BEYOND = {"loss gap": "gap beyond", "loss below the other's": "loss below", "D1": "", "D2": ""}
"""What of the evidence is in nats a token, and how the figure calls it."""


def _leakage(study: Study, rows: list[Row]) -> Figure:
    kept = [row for row in rows if str(row["measure"]).startswith("loss")]
    lines: list[Row] = [{**row, "what": f"{row['part']}, {row['measure']}"} for row in kept]
    apart: list[Row] = [
        {**row, "what": f"{row['part']}, {_BEYOND.get(str(row['measure']), '')}"}
        for row in study.fits
        if str(row["measure"]) in _BEYOND and row.get("value") is not None
    ]
    for row in apart:
        if row["measure"] in ("D1", "D2"):
            row["what"] = str(row["measure"])
    both = [*lines, *apart]
    groups = _groups(both, "set")
    return Figure(
        name=_named(study),
        title=_TITLES["leakage"],
        caption=(
            f"Nats per token, with {_INTERVALS}. A loss gap is what other numbers cost; what one set's gap has beyond "
            "another's, or its loss below another split's, is the evidence: right of 0, with all of its interval, it "
            "was seen." + _measured(kept)
        ),
        alt="Losses with intervals. " + _spoken(study),
        rows=[*rows, *study.fits],
        draw=lambda width, _: _draw_intervals(both, "what", "set", groups, width, share=False),
        shares=frozenset(),
    )


def _draw_intervals(
    rows: list[Row], name: str, group: str, groups: list[str], width: int, *, share: bool
) -> Any:
    import altair as alt

    values = _values(rows, group, groups, x=name)
    if not share:
        values = [
            {**value, "said": f"{value['group']}\n{value['x']}\n{value['value']:+.3f} nats a token"}
            for value in values
        ]
    order = list(dict.fromkeys(value["x"] for value in values))
    names = [brief(one, 40) for one in groups]
    y = alt.Y(
        "x:N", sort=order, title=None,
        axis=alt.Axis(domain=False, ticks=False, labelPadding=10, labelLimit=220, grid=False),
    )  # fmt: skip
    base = alt.Chart(alt.Data(values=values)).encode(
        y=y, yOffset=alt.YOffset("group:N", sort=names), color=_colour(groups, width)
    )
    if share:
        top = nice_top(value["high"] for value in values)
        low, at = share_axis(alt.X, "low:Q", top), share_axis(alt.X, "value:Q", top)
    else:
        axis = alt.Axis(format="~g", tickCount=6, domain=False, ticks=False, labelPadding=8)
        low, at = (alt.X(f"{field}:Q", title="nats a token", axis=axis) for field in ("low", "value"))
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.55, aria=False).encode(x=low, x2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=at, description=alt.Description("said:N")),
    ]
    if not share:
        zero = alt.Chart(alt.Data(values=[{"value": 0}])).mark_rule(
            strokeWidth=1, color=light("ink"), aria=False
        )
        layers.insert(0, zero.encode(x="value:Q"))
    height = max(120, 20 * len(order) * max(1, len(groups)))
    return styled(
        alt.layer(*layers).properties(width=max(width - 150, 0.62 * width), height=min(height, 700))
    )


# -- selection and compute: curves by selector -------------------------------------------------------------------------


def _selection(study: Study, rows: list[Row]) -> Figure:
    return _curves(
        study, rows, "k", "responses to choose among",
        f"Share of problems of which the response that a selector takes of k is right, with {_INTERVALS} for "
        "problems like these. oracle knows the answer and is pass@k; random is PassRatio.",
    )  # fmt: skip


def _compute(study: Study, rows: list[Row]) -> Figure:
    by = "flops" if all(_number(row.get("flops")) is not None for row in rows) else "tokens"
    named = {"flops": "FLOPs per question", "tokens": "tokens per question"}[by]
    return _curves(
        study, rows, by, named,
        f"Share of problems solved against {named}, for one response, then two, and so on, with {_INTERVALS} for "
        "problems like these. pass@k takes somebody who knows which response is right.",
    )  # fmt: skip


def _curves(study: Study, rows: list[Row], x: str, named: str, caption: str) -> Figure:
    panels = _groups(rows, "run")
    panel, group = ("run", "selector") if x == "k" else ("selector", "run")
    return Figure(
        name=_named(study),
        title=_TITLES[study.kind],
        caption=caption + _measured(rows),
        alt="Curves. " + _spoken(study),
        rows=[row for row in rows if str(row["run"]) in panels],
        draw=lambda width, _: _draw_curves(rows, panel, group, x, named, width),
        shares=SHARES | {"reached_low", "reached_high"},
    )


def _draw_curves(rows: list[Row], panel: str, group: str, x: str, named: str, width: int) -> Any:
    import altair as alt

    groups, panels = _groups(rows, group), _groups(rows, panel)
    top = nice_top(_number(row.get("high")) for row in rows)
    known = {number for row in rows if x == "k" and (number := _number(row.get(x))) is not None}
    ks = sorted(known) or None
    drawn = []
    for number, name in enumerate(panels):
        values = _values([row for row in rows if str(row[panel]) == name], group, groups, x=x)
        title = named if number == len(panels) - 1 else ""
        base = alt.Chart(alt.Data(values=values)).encode(
            x=_log_axis(title, ks), color=_colour(groups, width, legend=number == 0)
        )
        y, low = share_axis(alt.Y, "value:Q", top), share_axis(alt.Y, "low:Q", top)
        layers = [
            base.mark_area(opacity=0.12, aria=False).encode(y=low, y2="high:Q"),
            base.mark_line(strokeWidth=2, aria=False).encode(y=y),
            base.mark_point(filled=True, size=36, opacity=1).encode(
                y=y, description=alt.Description("said:N")
            ),
        ]
        own = alt.layer(*layers).properties(width=width - 70, height=260 if len(panels) == 1 else 180)
        drawn.append(titled(own, brief(name) if len(panels) > 1 else ""))
    return styled(drawn[0] if len(drawn) == 1 else alt.vconcat(*drawn, spacing=16))


_DRAWN: dict[str, Callable[[Study, list[Row]], Figure]] = {
    "scaling": _scaling, "steps": _steps, "errors": _errors, "leakage": _leakage, "selection": _selection,
    "compute": _compute,
}  # fmt: skip
