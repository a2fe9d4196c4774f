"""Where the points of scaling come from: ladders, files of one's own numbers, published curves."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from upwell.analysis.bootstrap import NORMAL
from upwell.analysis.correlation import correlation
from upwell.analysis.fitting import Measured
from upwell.analysis.forms import Floats
from upwell.analysis.published import PAPER, published
from upwell.analysis.settings import AnalyzeSettings
from upwell.errors import UsageError
from upwell.measurement.watch import Watch
from upwell.runs import Run

_X = {"examples": "examples", "tokens": "completion_tokens", "usd": "training_seconds"}
_APART = (
    "points are taken to err independently: where all were measured on the same problems, intervals are for these "
    "problems, and what they err by together is not in them"
)
_FILE = "x,value,low,high with shares from 0 to 1, or x,value,problems"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A measurement at an amount of data."""

    x: float
    value: float
    """A share, from 0 to 1."""
    error: float
    problems: int | None = None
    samples: int | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one source."""

    name: str
    unit: str
    metric: str
    points: list[Point]
    """Rising in x."""
    base: Point | None = None
    """Without any data, which no form has a place for."""
    correlation: Floats | None = None
    """`(n, n)`, of the points' errors; None where nobody knows it, and they are taken as having nothing in common."""
    notes: list[str] = field(default_factory=list)

    @property
    def measured(self) -> Measured:
        """The points as arrays."""
        x, y, error = (
            np.array([getattr(point, name) for point in self.points]) for name in ("x", "value", "error")
        )
        if self.correlation is None:
            return Measured.apart(x, y, error)
        return Measured(x, y, np.outer(error, error) * self.correlation)


def read_series(source: str, settings: AnalyzeSettings, watch: Watch) -> Series:
    """The points of a source.

    Args:
        source: run of `upwell train --ladder ... --problems`, a CSV file, or `paper:NAME`.
        settings: `x`, `metric` and `usd_per_hour`.
        watch: told of the progress.

    Raises:
        UsageError: there is no such source, or it does not hold what is asked of it.
    """
    if source.startswith(PAPER):
        return _paper(source, settings)
    if source.endswith(".csv"):
        return _file(source, settings)
    return _ladder(source, settings, watch)


def _paper(source: str, settings: AnalyzeSettings) -> Series:
    curve = published(source)
    if settings.x != "examples" or settings.metric is not None:
        flag = "--metric" if settings.metric is not None else "--x"
        raise UsageError(
            f"{flag} does nothing for `{source}`: it has {curve.metric} against {curve.unit}",
            f"leave {flag} out",
        )
    points = [
        Point(x=x, value=percent / 100, error=curve.error(percent / 100), problems=curve.problems)
        for x, percent in curve.points
    ]
    how = "read off a figure, with 0.2 points of error for that" if curve.read else "as printed"
    return Series(
        name=source, unit=curve.unit, metric=curve.metric, points=points,
        notes=[
            f"{source}: {curve.what}; {curve.source}, {how}; errors are binomial over {curve.problems:,} problems; "
            f"{_APART}"
        ],
    )  # fmt: skip


def _ladder(source: str, settings: AnalyzeSettings, watch: Watch) -> Series:
    run = Run.read(source)
    rows = (run.summary or {}).get("ladder")
    if rows is None:
        state = "is no ladder" if run.summary is not None else "is not finished"
        raise UsageError(
            f"`{source}` {state}: scaling needs one that was measured, numbers of your own, or a published curve",
            "upwell train RUN --ladder --problems NAME --out LADDER; a FILE.csv; or paper:dart/mistral-prop2diff",
        )
    held = list(dict.fromkeys(name for row in rows for name in row.get("metrics", {})))
    label = _label(settings.metric, held, source)
    if settings.x == "usd" and settings.usd_per_hour is None:
        raise UsageError("--x usd needs the price of an hour of the machine", "--usd-per-hour 2.5")
    scale = (settings.usd_per_hour or 0) / 3600 if settings.x == "usd" else 1.0
    points, base = [], None
    rows = sorted(rows, key=lambda row: float(row.get(_X[settings.x]) or 0))  # as the points will be
    for row in rows:
        metric = row["metrics"][label]
        error = (metric["high"] - metric["low"]) / (2 * NORMAL)
        point = Point(
            x=float(row.get(_X[settings.x]) or 0) * scale, value=metric["value"], error=error,
            problems=metric["problems"], samples=metric["samples"],
        )  # fmt: skip
        if row["rung"]:
            points.append(point)
        else:
            base = point
    alike = correlation(Path(source), [row for row in rows if row["rung"]], label, watch)
    return Series(
        name=Path(source).name, unit=_unit(settings.x), metric=settings.metric or _word(label),
        points=_sorted(points, source), base=base, correlation=alike, notes=[_errors(Path(source).name, alike)],
    )  # fmt: skip


def _errors(name: str, alike: Floats | None) -> str:
    """What the errors of a ladder's points are."""
    if alike is None:
        return (
            f"{name}: errors are those for problems like these; the measured runs are not there, so {_APART}"
        )
    count = len(alike)
    mean = float((alike.sum() - count) / (count * (count - 1))) if count > 1 else 0.0
    return (
        f"{name}: errors are those for problems like these. Rungs were measured on the same problems, so their errors "
        f"have a mean correlation of {mean:.2f}, by which they move together and differ by less"
    )


def _unit(x: str) -> str:
    return {"examples": "examples", "tokens": "tokens of completions", "usd": "dollars of training"}[x]


def _label(metric: str | None, held: list[str], source: str) -> str:
    """What a ladder calls the metric that is asked for."""
    named = {_word(label): label for label in held}
    wanted = "accuracy" if metric == "error" else metric
    if wanted is None:
        wanted = next((name for name in ("accuracy", "pass_ratio") if name in named), None)
    if wanted not in named:
        raise UsageError(
            f"`{source}` was not measured for {wanted or 'anything'}; it has {', '.join(named) or 'no measurements'}",
            f"--metric {next(iter(named))}"
            if named
            else "train it again with --problems NAME: what is trained is kept",
        )
    return named[wanted]


def _word(label: str) -> str:
    return "accuracy" if label == "greedy_pass_ratio" else label


def _file(source: str, settings: AnalyzeSettings) -> Series:
    try:
        with Path(source).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read `{source}`: {error}", f"a CSV file with columns {_FILE}") from None
    points = [_row(row, number, source) for number, row in enumerate(rows, 2)]
    return Series(
        name=Path(source).name, unit=_unit(settings.x), metric=settings.metric or "accuracy",
        points=_sorted(points, source), notes=[f"{Path(source).name}: {_APART}"],
    )  # fmt: skip


def _row(row: dict[str, Any], line: int, source: str) -> Point:
    def number(name: str, low: float, high: float) -> float:
        text = row.get(name)
        try:
            value = float(text)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            raise UsageError(
                f"`{source}`, line {line}: {name} is {text!r}, and has to be from {low:g} to {high:g}",
                f"a CSV file with columns {_FILE}",
            )
        return value

    x, value = number("x", 1e-9, math.inf), number("value", 0, 1)
    if row.get("low") not in (None, ""):
        error = (number("high", value, 1) - number("low", 0, value)) / (2 * NORMAL)
        problems = None
    else:
        problems = int(number("problems", 1, math.inf))
        # A share of exactly 0 or 1 is as uncertain as one with half a success more.
        share = (value * problems + 0.5) / (problems + 1)
        error = math.sqrt(share * (1 - share) / problems)
    if error <= 0:
        raise UsageError(
            f"`{source}`, line {line}: an interval without width says that nothing is uncertain",
            f"a CSV file with columns {_FILE}",
        )
    return Point(x=x, value=value, error=error, problems=problems)


def _sorted(points: list[Point], source: str) -> list[Point]:
    if not points:
        raise UsageError(
            f"`{source}` holds no points", f"a ladder that was measured, or a CSV file with {_FILE}"
        )
    wrong = next((point for point in points if point.x <= 0), None)
    if wrong is not None:
        raise UsageError(f"`{source}` has a rung whose amount of data is not known", "--x examples")
    return sorted(points, key=lambda point: point.x)
