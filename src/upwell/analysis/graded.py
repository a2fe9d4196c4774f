"""The graded runs that an analysis reads: given one by one, or the measured runs of a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from upwell.errors import UsageError
from upwell.runs import Run

_WAYS = ("sampled", "greedy")
"""How a ladder measures a model, the way with more to say first."""


class Text(msgspec.Struct, frozen=True, gc=False):
    """What is read of a response."""

    key: str
    problem: str
    index: int
    text: str
    finish: Literal["stop", "length"] | None = None
    bare: bool = False


class Asked(msgspec.Struct, frozen=True):
    """What is read of a problem."""

    key: str
    question: str = ""
    solution: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The training behind a measured run of a ladder."""

    ladder: str
    examples: int
    """0 for the base."""
    seed: int | None
    trained_tokens: int
    """That the model was trained on, all epochs together."""
    model: Path | None
    """Its checkpoint; None for the base."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One graded run."""

    name: str
    """As tables call it."""
    run: Run
    rung: Rung | None = None

    def problems(self) -> list[Asked]:
        """The problems, sorted by key, so that runs over the same problems have them in the same order."""
        return sorted(self.run.rows("problems", Asked), key=lambda problem: problem.key)


def graded(paths: Sequence[str], kind: str) -> list[Source]:
    """The graded runs behind `paths`; a ladder stands for its measured runs, base first.

    Raises:
        UsageError: a path is no finished run with verdicts and no ladder that was measured, or two are one run.
    """
    found: list[Source] = []
    for path in paths:
        run = Run.read(path)
        if run.summary is None:
            raise UsageError(
                f"the run `{path}` is not finished: {kind} would be over part of it",
                "run the command that made it again: it goes on where it stopped",
            )
        if run.manifest["verb"] == "train":
            found += _measured(path, run.summary, kind)
        else:
            found.append(Source(name=Path(path).name or path, run=_with_verdicts(path, run, kind)))
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        found = [
            Source(name=_told_apart(source), run=source.run, rung=source.rung)
            if names.count(source.name) > 1
            else source
            for source in found
        ]
        names = [source.name for source in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the run `{twice}` is given twice", f"upwell analyze {kind} {twice} --out RUN")
    return found


def _told_apart(source: Source) -> str:
    """A longer name of a run whose folder is called like another's."""
    path = source.run.path
    return f"{path.parent.name}/{path.name}" if source.rung is None else f"{source.rung.ladder}/{source.name}"


def _with_verdicts(path: str, run: Run, kind: str) -> Run:
    if run.manifest["verb"] not in ("measure", "grade"):
        inner = "; give its runs one by one" if run.manifest["verb"] == "evaluate" else ""
        raise UsageError(
            f"`{path}` is a run of `{run.manifest['verb']}`: {kind} needs graded responses{inner}",
            f"upwell analyze {kind} RUN... --out RUN, with runs of measure or grade",
        )
    if not run.count("verdicts"):
        raise UsageError(f"the run `{path}` holds no verdicts", f"upwell grade {path}")
    return run


def measured_as(row: dict[str, Any]) -> str:
    """The folder that a row of a ladder's table was measured in."""
    return "base" if not row["rung"] else f"{row['examples']}-s{row['seed']}"


def _measured(path: str, summary: dict[str, Any], kind: str) -> list[Source]:
    rows = summary.get("ladder")
    if rows is None:
        raise UsageError(
            f"`{path}` is a run of `train` without a ladder: {kind} needs graded responses",
            f"upwell measure --model {path} --problems NAME --out RUN",
        )
    found = []
    for row in rows:
        name = measured_as(row)
        folder = Path(path) / "measured" / name
        way = next((way for way in _WAYS if (folder / way / "summary.json").exists()), None)
        if way is None:
            raise UsageError(
                f"the ladder `{path}` has no measured run of `{name}`: {kind} needs graded responses",
                "train it again with --problems NAME --samples 16: what is trained is kept",
            )
        run = _with_verdicts(str(folder / way), Run.read(folder / way), kind)
        rung = Rung(
            ladder=Path(path).name, examples=row["examples"], seed=row["seed"],
            trained_tokens=row.get("trained_tokens", 0),
            model=Path(path) / "rungs" / name / "model" if row["rung"] else None,
        )  # fmt: skip
        found.append(Source(name=name, run=run, rung=rung))
    return found
