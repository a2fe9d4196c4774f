"""A ladder of trainings: the measured runs in it, and the figure of what each rung does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.errors import UsageError
from upwell.report.drawing import Figure, Row, nice_top, share_axis, styled
from upwell.report.palette import light
from upwell.report.text import count, counted, percent
from upwell.runs import Run

_BASE = "base"
_COLOURS = {"greedy": "green", "PassRatio": "vermillion", "pass": "blue"}


@dataclass(frozen=True)
class Ladder:
    """A finished run of `upwell train --ladder`."""

    name: str
    rows: tuple[Mapping[str, Any], ...]
    """As its summary has them: the base, then each rung and seed."""
    measured: tuple[tuple[str, Path], ...]
    """Name and folder of the measured run of each."""


def read_ladder(path: Path) -> Ladder | None:
    """The ladder that a folder holds; None where it is another run.

    Raises:
        UsageError: its rungs were not measured, or it is not finished.
    """
    if not (path / "rungs").is_dir() and not (path / "measured").is_dir():
        return None
    run = Run.read(path)
    if run.manifest.get("verb") != "train":
        return None
    if run.summary is None:
        raise UsageError(f"the ladder `{path}` is not finished", "run the command that made it again")
    rows = run.summary["ladder"]
    folders = {way: path / "measured" for way in ("sampled", "greedy")}
    way = next((way for way, folder in folders.items() if (folder / _BASE / way).is_dir()), None)
    if way is None:
        raise UsageError(
            f"the rungs of `{path}` were not measured", "upwell train ... --ladder --problems NAME"
        )
    several = len({row["seed"] for row in rows if row["examples"]}) > 1
    measured = tuple((_said(row, several), path / "measured" / _folder(row) / way) for row in rows)
    return Ladder(path.name, tuple(rows), measured)


def rungs(ladder: Ladder) -> Figure:
    """Greedy, PassRatio and pass@k of base and rungs, each with its interval."""
    points = [
        {
            "rung": _rung(row), "examples": row["examples"], "seed": row["seed"], "metric": title,
            **{key: metric[key] for key in ("value", "low", "high", "low_fixed", "high_fixed", "problems", "samples")},
        }
        for row in ladder.rows
        for label, metric in row["metrics"].items()
        if (title := _title(label)) is not None and metric["value"] is not None
    ]  # fmt: skip
    rows: list[Row] = [dict(point) for point in points]
    first = points[0]
    return Figure(
        name=f"ladder-{ladder.name}",
        title="What each rung of the ladder does",
        caption=(
            "Share of right responses against the examples that the model was trained on, with 95\u202f% intervals for "
            "problems like these. greedy: one response a problem at temperature 0; PassRatio: the share of all sampled "
            "responses that are right; pass@k: at least one of k is right. Rungs are nested: each holds the examples "
            f"of those before it. Measured on {counted(first['problems'], 'problem')}, the same for all: compare "
            "rungs pair by pair before telling them apart."
        ),
        alt="Points with intervals. " + " ".join(_spoken(row) for row in ladder.rows),
        rows=rows,
        draw=lambda width, wide: _draw(points, width),
    )


def _draw(points: Sequence[Mapping[str, Any]], width: int) -> Any:
    import altair as alt

    order = list(dict.fromkeys(point["rung"] for point in points))
    metrics = list(dict.fromkeys(point["metric"] for point in points))
    colours = [light(_COLOURS["pass" if metric.startswith("pass@") else metric]) for metric in metrics]
    top = nice_top(point["high"] for point in points)
    values = [{**point, "seed": str(point["seed"])} for point in points]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(
            "rung:N",
            sort=order,
            title="training examples",
            axis=alt.Axis(labelAngle=0, labelPadding=12, domain=False, ticks=False),
        ),
        xOffset=alt.XOffset("metric:N", sort=metrics),
        color=alt.Color(
            "metric:N",
            sort=metrics,
            scale=alt.Scale(domain=metrics, range=colours),
            legend=alt.Legend(title=None, orient="top", symbolType="circle"),
        ),
    )
    bars = base.mark_rule(strokeWidth=2, opacity=0.55).encode(y=share_axis(alt.Y, "low:Q", top), y2="high:Q")
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(y=share_axis(alt.Y, "value:Q", top))
    return styled((bars + dots).properties(width=width - 70, height=300))


def _title(label: str) -> str | None:
    if label.startswith("pass@"):
        return label
    return {"greedy_pass_ratio": "greedy", "pass_ratio": "PassRatio"}.get(label)


def _folder(row: Mapping[str, Any]) -> str:
    return f"{row['examples']}-s{row['seed']}" if row["examples"] else _BASE


def _rung(row: Mapping[str, Any]) -> str:
    return count(row["examples"]) if row["examples"] else _BASE


def _said(row: Mapping[str, Any], several: bool) -> str:
    if not row["examples"]:
        return _BASE
    return counted(row["examples"], "example") + (f", seed {row['seed']}" if several else "")


def _spoken(row: Mapping[str, Any]) -> str:
    said = ", ".join(
        f"{title} {percent(metric['value'])}"
        for label, metric in row["metrics"].items()
        if (title := _title(label)) is not None
    )
    return f"{_said(row, False)}: {said}."
