"""The curves against k: pass@k with its band, maj@k, PassRatio and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from upwell.metrics.metric import Metric
from upwell.report.drawing import Figure, Row, measured, nice_top, numbers, share_axis, styled, titled
from upwell.report.palette import RUNS, light, run_colour
from upwell.report.reading import RunView
from upwell.report.text import brief, interval, percent

_LABEL_GAP = 15
"""Pixels between the labels at the ends of the lines."""
_MOST_BANDS = 3
"""With more runs than this, their bands would hide one another: they stay in the table and the read-out."""
_LONG_NAME = 20
"""With longer names than this, panels lie under one another to leave room for the labels."""


@dataclass(frozen=True)
class _Line:
    """One line of the figure."""

    label: str
    """Written at its end; empty for none."""
    said: str
    """What the line is called where the reader points at it."""
    colour: str
    dash: list[int]
    points: list[Metric]
    band: bool = False
    panel: str = ""


def curves(runs: Sequence[RunView]) -> Figure:
    """The figure of the curves of one run, or of several laid over one another."""
    lines = _lines_of_one(runs[0]) if len(runs) == 1 else _lines_of_several(runs)
    rows: list[Row] = [
        {"run": run.name, "metric": metric.name, **numbers(metric)} for run in runs for metric in _shown(run)
    ]
    return Figure(
        name="pass-at-k",
        title="Solved once is not solved every time" if _gap(runs) else "Problems solved within k tries",
        caption=f"{_explained(len(runs))} {measured(runs)}",
        alt="Line chart of the share of problems solved against the number of tries k. "
        + " ".join(_spoken(run) for run in runs),
        rows=rows,
        draw=lambda width, wide: _draw(lines, width, wide),
        kind="curve",
    )


def _gap(runs: Sequence[RunView]) -> bool:
    """Whether this is one run that solves clearly more problems in many tries than in one."""
    solved, ratio = runs[0].share("pass@k", runs[0].most_tries), runs[0].share("pass_ratio")
    return len(runs) == 1 and solved is not None and ratio is not None and solved - ratio >= 0.05


def _explained(runs: int) -> str:
    shaded = ", shaded with its 95\u202f% interval for problems like these" if runs <= _MOST_BANDS else ""
    said = (
        "Share of problems solved against the number of tries k (logarithmic axis). pass@k: at least one "
        f"of k tries is right{shaded}; maj@k: the most frequent answer of k tries is right; "
    )
    if runs == 1:
        return said + (
            "PassRatio: the share of all tries that are right; chance: pass@k if every problem were answered "
            "with the answers given to the other problems."
        )
    return said + (
        "dotted, chance: pass@k if every problem were answered with the answers given to the other problems. "
        "Each pass@k curve begins at the PassRatio of its run."
    )


def _spoken(run: RunView) -> str:
    last = run.most_tries
    return (
        f"{brief(run.name)}: pass@k goes from {percent(run.share('pass_ratio'))} for one try "
        f"to {percent(run.share('pass@k', last))} for {last}."
    )


def _shown(run: RunView) -> list[Metric]:
    ratio = run.metric("pass_ratio")
    names = ("pass@k", "maj@k", "chance_pass@k", "adjusted_pass@k")
    return [m for name in names for m in run.curve(name)] + ([ratio] if ratio is not None else [])


def _lines_of_one(run: RunView) -> list[_Line]:
    k = run.most_tries
    lines = [
        _Line(f"pass@{k}", "pass@k", "blue", [], run.curve("pass@k"), band=True),
        _Line(f"maj@{k}", "maj@k", "green", [7, 3], run.curve("maj@k")),
        _Line("PassRatio", "PassRatio", "vermillion", [], _level(run)),
        _Line("chance", "chance", "grey", [2, 3], run.curve("chance_pass@k")),
    ]
    return [line for line in lines if line.points]


def _level(run: RunView) -> list[Metric]:
    """PassRatio, which does not depend on k, as a level line over the k of the run."""
    ratio = run.metric("pass_ratio")
    if ratio is None or ratio.value is None:
        return []
    ks = [metric.k for metric in run.curve("pass@k")] or [1]
    return [msgspec.structs.replace(ratio, k=k) for k in ks]


def _lines_of_several(runs: Sequence[RunView]) -> list[_Line]:
    lines: list[_Line] = []
    banded = len(runs) <= _MOST_BANDS
    for number, run in enumerate(runs):
        name, colour = brief(run.name), run_colour(number)
        dash = [] if number < len(RUNS) else [7, 3]
        lines.append(_Line(name, f"{name}, pass@k", colour, dash, run.curve("pass@k"), banded, "pass@k"))
        chance = run.curve("chance_pass@k")
        lines.append(_Line("", f"{name}, chance", colour, [2, 3], chance, False, "pass@k"))
        lines.append(_Line(name, f"{name}, maj@k", colour, dash, run.curve("maj@k"), False, "maj@k"))
    return [line for line in lines if line.points]


def _draw(lines: list[_Line], width: int, wide: bool) -> Any:
    import altair as alt

    panels = list(dict.fromkeys(line.panel for line in lines))
    beside = wide and len(panels) > 1 and max(len(line.label) for line in lines) <= _LONG_NAME
    inner = max(120, (width // 2 if beside else width) - 160)
    highest = (m.high if line.band and m.high is not None else m.value for line in lines for m in line.points)
    top = nice_top(highest)
    height = 300 if wide else 250
    drawn = [
        _panel([line for line in lines if line.panel == name], inner, height, top, name) for name in panels
    ]
    if len(drawn) == 1:
        return styled(drawn[0])
    return styled(alt.hconcat(*drawn, spacing=24) if beside else alt.vconcat(*drawn))


def _panel(lines: list[_Line], width: int, height: int, top: float, title: str) -> Any:
    import altair as alt

    ks = sorted({m.k for line in lines for m in line.points if m.k})
    x = alt.X(
        "k:Q",
        title="tries k",
        scale=alt.Scale(type="log", base=2, domain=[ks[0], max(ks[-1], ks[0] + 1)], nice=False),
        axis=alt.Axis(values=_ticks(ks, width), format=",d", grid=False, labelFlush=False),
    )
    layers: list[Any] = []
    for line in lines:
        if line.band and len(line.points) > 1:
            area = alt.Chart(_data(line)).mark_area(color=light(line.colour), opacity=0.15, aria=False)
            layers.append(area.encode(x=x, y=share_axis(alt.Y, "low:Q", top), y2="high:Q"))
    for line in lines:
        base = alt.Chart(_data(line)).encode(x=x, y=share_axis(alt.Y, "value:Q", top))
        stroke = {"strokeDash": line.dash} if line.dash else {}
        layers.append(base.mark_line(color=light(line.colour), strokeWidth=2, aria=False, **stroke))
        dot = base.mark_point(color=light(line.colour), filled=True, size=26, opacity=1)
        layers.append(dot.encode(description=alt.Description("said:N")))
    room = 320 if width > 300 else 150
    layers += _end_labels([line for line in lines if line.label], x, ks[-1], room, (height, top))
    return titled(alt.layer(*layers).properties(width=width, height=height), title)


def _end_labels(lines: list[_Line], x: Any, last: int, room: int, scale: tuple[int, float]) -> list[Any]:
    """The name of each line at the right, with its last value where all end at the same k, moved apart.

    `scale` is the height of the panel in pixels and the share that it stands for.
    """
    import altair as alt

    height, top = scale
    ends = sorted((line.points[-1].value or 0.0, number) for number, line in enumerate(lines))
    places = spread([value for value, _ in ends], _LABEL_GAP * top / height, top)
    labels = []
    for place, (value, number) in zip(places, ends, strict=True):
        line = lines[number]
        label = line.label if line.panel else f"{line.label}  {percent(value)}"
        values = [{"k": last, "value": place, "label": label}]
        mark = alt.Chart(alt.Data(values=values)).mark_text(
            align="left",
            dx=9,
            fontSize=12.5,
            limit=room,
            color=light(f"{line.colour}-text"),
            aria=False,
        )
        labels.append(mark.encode(x=x, y=share_axis(alt.Y, "value:Q", top), text="label:N"))
    return labels


def spread(values: Sequence[float], gap: float, top: float) -> list[float]:
    """Ascending values moved as little as this simple rule can, to lie `gap` apart and within `top`."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + gap) if places else value)
    ceiling = top
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


def _data(line: _Line) -> Any:
    import altair as alt

    values = [
        {
            "k": m.k,
            "value": m.value,
            "low": m.value if m.low is None else m.low,
            "high": m.value if m.high is None else m.high,
            "said": f"k = {m.k}\n{line.said}\t{percent(m.value)}\t{interval(m.low, m.high)}",
        }
        for m in line.points
    ]
    return alt.Data(values=values)


def _ticks(ks: Sequence[int], width: int) -> list[int]:
    """The k to write under the axis: as many of those measured as have room, the last always."""
    last = ks[-1]
    ticks = [k for k in ks[:-1] if last / k >= 1.6]
    while len(ticks) > max(2, width // 60):
        ticks = ticks[::2]
    return [*ticks, last]
