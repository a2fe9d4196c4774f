"""What the report takes from a finished run: facts, metrics, a tally per problem, responses to show.

Tables are streamed; what is kept is one tally per problem and the responses that fit the embedding cap.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from upwell.errors import UsageError
from upwell.metrics.metric import Metric
from upwell.records import Problem, Response, Verdict
from upwell.report.text import brief, count, counted
from upwell.runs import Run

LONGEST_TEXT = 20_000
"""Characters of one text that the page shows at most; the run keeps the whole."""
_ROW_OVERHEAD = 100
"""Bytes of a response row that the page does not hold (its keys, its seed), about."""


@dataclass(slots=True)
class Tally:
    """How the responses to one problem were graded."""

    correct: int = 0
    incorrect: int = 0
    undecided: int = 0

    @property
    def graded(self) -> int:
        return self.correct + self.incorrect + self.undecided

    @property
    def kind(self) -> str:
        """`never`, `sometimes` or `always` correct."""
        if self.correct == 0:
            return "never"
        return "always" if self.correct == self.graded else "sometimes"


@dataclass(frozen=True, slots=True)
class Shown:
    """A response that the page holds, with its verdict (None: not graded)."""

    response: Response
    verdict: Verdict | None


@dataclass(slots=True)
class ProblemView:
    """A problem of the run, how often it was solved, and the responses to show."""

    problem: Problem
    tally: Tally = field(default_factory=Tally)
    shown: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class RunView:
    """Everything that the page says about one run."""

    name: str
    manifest: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    problems: tuple[ProblemView, ...]
    shown_per_problem: int | None
    """How many responses per problem the page holds at most; None where it holds them all."""
    longest_text: int
    """Characters of a response at which the page cuts it."""

    @cached_property
    def _by_key(self) -> dict[tuple[str, int | None, str | None], Metric]:
        return {(m.name, m.k, m.slice): m for m in self.metrics}

    def metric(self, name: str, k: int | None = None, part: str | None = None) -> Metric | None:
        """The metric of that name, k and slice, or None where the run has none."""
        return self._by_key.get((name, k, part))

    def share(self, name: str, k: int | None = None) -> float | None:
        """The value of a metric over all problems, or None where the run has none."""
        metric = self.metric(name, k)
        return None if metric is None else metric.value

    def curve(self, name: str) -> list[Metric]:
        """A metric over all problems against k, in order of k, where it has a value."""
        found = [m for m in self.metrics if m.name == name and m.slice is None and m.k is not None]
        return sorted((m for m in found if m.value is not None), key=lambda m: m.k or 0)

    @property
    def most_tries(self) -> int:
        """The largest k of the pass@k curve: the number of samples per problem."""
        return max((m.k or 0 for m in self.curve("pass@k")), default=1)

    def setting(self, name: str) -> Any:
        """A setting as the manifest holds it, or None."""
        settings = self.manifest.get("settings")
        return settings.get(name) if isinstance(settings, Mapping) else None

    @cached_property
    def kinds(self) -> tuple[int, int, int]:
        """How many problems were solved never, sometimes, always."""
        found = [view.tally.kind for view in self.problems]
        return found.count("never"), found.count("sometimes"), found.count("always")

    @property
    def samples_written(self) -> str:
        """`64 samples`, or `60 to 64 samples` where problems differ."""
        graded = [view.tally.graded for view in self.problems]
        few, many = min(graded), max(graded)
        return counted(many, "sample") if few == many else f"{count(few)} to {counted(many, 'sample')}"

    @property
    def label(self) -> str:
        """The name as headings and tables show it."""
        return brief(self.name)

    @property
    def model(self) -> str:
        """What wrote the responses: the model as the run identified it."""
        entry = self.manifest.get("model")
        name = entry.get("name") if isinstance(entry, Mapping) else entry
        return str(name or self.setting("model") or "not recorded")

    @property
    def problem_set(self) -> str:
        """The problem set as it was asked for, or else where the problems say that they come from."""
        sources = sorted({view.problem.source for view in self.problems} - {""})
        return str(self.setting("problems") or ", ".join(sources) or "not recorded")

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the problems, for telling whether two runs saw the same ones."""
        return frozenset(view.problem.key for view in self.problems)

    @property
    def elapsed(self) -> float | None:
        """Seconds that the run took, all its stages together."""
        total = self.seconds.get("total")
        return total if total is not None else (sum(self.seconds.values()) if self.seconds else None)


def read_run(path: Path, name: str, cap: int) -> RunView:
    """Read a finished run, keeping at most about `cap` bytes of responses.

    Raises:
        UsageError: the folder is no run, the run is not finished, or it holds nothing graded.
    """
    run = Run.read(path)
    summary = _summary(run)
    views = {p.key: ProblemView(p) for p in run.rows("problems", Problem)}
    if not views:
        raise UsageError(f"`{path}` has no problems, so there is nothing to report")
    if not any(m.name == "pass_ratio" and m.value is not None for m in summary.metrics):
        raise UsageError(f"`{path}` has no graded responses", f"upwell grade {shlex.quote(str(path))}")
    limit, longest = _limits(path / "responses.jsonl", run.count("responses"), len(views), cap)
    _fill(run, views, limit)
    return RunView(
        name=name,
        manifest=run.manifest,
        metrics=summary.metrics,
        notes=summary.notes,
        seconds={k: float(v) for k, v in summary.seconds.items() if isinstance(v, int | float)},
        problems=tuple(views.values()),
        shown_per_problem=limit,
        longest_text=longest,
    )


class _Summary(msgspec.Struct):
    """What the report reads of `summary.json`."""

    metrics: tuple[Metric, ...]
    notes: tuple[str, ...] = ()
    seconds: dict[str, Any] = {}


def _summary(run: Run) -> _Summary:
    given = run.summary
    if given is None:
        raise UsageError(
            f"`{run.path}` is not finished: it has no summary.json",
            f"finish it first: {written_command(run.manifest) or 'run the command that made it again'}",
        )
    try:
        return msgspec.convert(given, _Summary)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"`{run.path / 'summary.json'}` is damaged: {error}",
            f"upwell grade {shlex.quote(str(run.path))} writes it anew",
        ) from None


def written_command(manifest: Mapping[str, Any]) -> str:
    """The command line of a run, to be pasted into a shell; empty where it is not known."""
    command = manifest.get("command")
    return shlex.join(str(part) for part in command) if isinstance(command, list | tuple) else ""


def _limits(table: Path, rows: int, problems: int, cap: int) -> tuple[int | None, int]:
    """(responses per problem or None for all, characters per text) that keep the page near `cap` bytes."""
    texts = max(0, table.stat().st_size - rows * _ROW_OVERHEAD) if rows else 0
    if texts <= cap:
        return None, LONGEST_TEXT
    fitting = math.floor(cap * rows / texts / problems)
    if fitting >= 1:
        return fitting, LONGEST_TEXT
    return 1, max(200, min(LONGEST_TEXT, cap // problems))


def _fill(run: Run, views: dict[str, ProblemView], limit: int | None) -> None:
    """Count the verdicts of each problem and gather the responses to show."""
    kept: dict[str, _Choice] = {key: _Choice(limit) for key in views}
    for verdict in run.rows("verdicts", Verdict):
        problem, index = _split(verdict.key)
        if problem not in views:
            continue
        tally = views[problem].tally
        if verdict.correct is None:
            tally.undecided += 1
        elif verdict.correct:
            tally.correct += 1
        else:
            tally.incorrect += 1
        kept[problem].offer(index, verdict)
    chosen = {verdict.key: verdict for choice in kept.values() for verdict in choice.chosen()}
    del kept
    for response in run.rows("responses", Response):
        if response.problem in views and (limit is None or response.key in chosen):
            views[response.problem].shown.append(Shown(response, chosen.get(response.key)))
    for view in views.values():
        view.shown.sort(key=lambda shown: shown.response.index)


class _Choice:
    """The verdicts of one problem whose responses are shown: the earliest draws, of both outcomes alike."""

    __slots__ = ("correct", "limit", "other")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.correct: list[tuple[int, Verdict]] = []
        self.other: list[tuple[int, Verdict]] = []

    def offer(self, index: int, verdict: Verdict) -> None:
        """Consider one verdict; at most twice `limit` per outcome are held."""
        side = self.correct if verdict.correct else self.other
        side.append((index, verdict))
        if self.limit is not None and len(side) > 2 * self.limit:
            side.sort(key=lambda entry: entry[0])
            del side[self.limit :]

    def chosen(self) -> list[Verdict]:
        """All verdicts, or half of `limit` from each outcome, one making up for what the other lacks."""
        for side in (self.correct, self.other):
            side.sort(key=lambda entry: entry[0])
        if self.limit is None:
            picked = self.correct + self.other
        else:
            half = max(-(-self.limit // 2), self.limit - len(self.other))
            correct = self.correct[:half]
            picked = correct + self.other[: self.limit - len(correct)]
        return [verdict for _, verdict in picked]


def _split(key: str) -> tuple[str, int]:
    """A response key as (problem key, index of the draw)."""
    problem, _, index = key.rpartition("#")
    return problem, int(index) if index.isascii() and index.isdigit() else 0


def common_tries(runs: Sequence[RunView]) -> int:
    """The largest k for which every run has pass@k."""
    shared = set.intersection(*({m.k or 1 for m in run.curve("pass@k")} or {1} for run in runs))
    return max(shared, default=1)
