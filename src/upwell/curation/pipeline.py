"""The steps of a curation in their order, and what each took and gave."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from upwell.curation import cleaning, selection, steps
from upwell.curation.inputs import Input, gathered
from upwell.curation.scratch import Spool
from upwell.curation.settings import CurateSettings
from upwell.curation.steps import OfAll, Step, Tally, passing, tallied
from upwell.grading import RuleGrader, cache_file
from upwell.measurement.watch import Watch
from upwell.problems import ProblemSet
from upwell.records import Draft, Record, Reject
from upwell.runs import Run

T = TypeVar("T")
_BATCH = 1024
"""Rows written at once."""


class Place(NamedTuple):
    """Where a curation keeps what need not last, and what is closed when it ends."""

    folder: Path
    closing: contextlib.ExitStack

    def spool(self, name: str) -> Spool:
        return self.closing.enter_context(Spool(self.folder / f"{name.replace(' ', '-')}.jsonl"))


class Pipeline:
    """The steps of one curation, in their order; what they turn down is written as rejects."""

    def __init__(
        self,
        run: Run,
        settings: CurateSettings,
        watch: Watch,
        place: Place,
        sets: list[ProblemSet],
    ) -> None:
        self._run, self._settings, self._watch, self._place, self._sets = run, settings, watch, place, sets
        self._rejects: list[Record] = []
        self.tallies: list[Tally] = []
        self.told: dict[str, Any] = {}
        """What steps have to say beside their tallies, for the summary."""

    def survivors(self, sources: Sequence[Input], also: Sequence[tuple[str, Step]]) -> Spool:
        """The rows that pass every step."""
        watch = self._watch
        watch.begin("reading", sum(source.size for source in sources))
        raw = self._place.spool("raw")
        read = self._tallied(steps.READ, gathered(sources, raw, self._watched))
        for name, step in [*self._of_one_row(), *also]:
            read = self._tallied(name, step(read))
        rows = self._place.spool(steps.READ).fill(read)
        raw.discard()
        watch.end()
        for name, of_all in self._of_all_rows():
            watch.begin(f"{name}: looking at", len(rows))
            given = self._begun(name, len(rows), of_all(rows))
            kept = self._place.spool(name).fill(self._tallied(name, self._watched(given), len(rows)))
            rows.discard()
            rows = kept
            watch.end()
        self._flush()
        return rows

    def _of_one_row(self) -> Iterator[tuple[str, Step]]:
        """The steps asked for that need no other row than the one they look at."""
        settings = self._settings
        yield "solution", passing("solution", steps.unsolved)
        if settings.min_words is not None or settings.max_words is not None:
            yield "length", passing("length", steps.length_fault(settings.min_words, settings.max_words))
        if (letters := settings.letters()) is not None:
            yield "script", passing("script", steps.foreign(*letters))
        required = settings.required()
        if "answer" in required:
            yield "answer", passing("answer", steps.unanswered(settings.style))
        for name, fault in steps.FAULTS.items():
            if name in required:
                yield name, passing(name, fault)
        if "agrees" in required:
            grader = self._place.closing.enter_context(RuleGrader(settings.style, cache=cache_file()))
            yield "agrees", steps.agreeing(grader, "agrees")

    def _of_all_rows(self) -> Iterator[tuple[str, OfAll]]:
        """The steps asked for that look at all rows before they decide on one."""
        settings, told = self._settings, self.told
        if settings.exact:
            yield cleaning.EXACT, cleaning.exact_duplicates()
        if settings.near is not None:
            folder = self._place.folder
            near = (settings.near, settings.near_on, settings.workers, folder, self._watch)
            yield cleaning.NEAR, cleaning.near_duplicates(*near)
        if self._sets:
            audit = self._run.path if settings.audit else None
            compared = (self._sets, settings.bounds(), settings.workers, told, audit, self._watch)
            yield cleaning.STEP, cleaning.decontamination(*compared)
        if settings.per_problem is not None:
            yield "per problem", selection.per_problem(settings.per_problem, settings.seed)
        for by, most in settings.balances():
            yield f"balance {by}", selection.balanced(by, most, settings.seed, told)
        if weights := settings.weights():
            yield "mix", selection.mixed(weights, settings.seed, told)
        if (power := settings.power()) is not None:
            yield "resample", selection.resampled(power, settings.resample_rows, settings.seed, told)

    def _tallied(
        self, name: str, rows: Iterable[Draft | Reject], taken: int | None = None
    ) -> Iterator[Draft]:
        """What of the rows a step lets through; the rest is written as rejects."""
        tally = Tally(name, taken)
        self.tallies.append(tally)
        return tallied(rows, tally, self._reject)

    def _reject(self, reject: Reject) -> None:
        self._rejects.append(reject)
        if len(self._rejects) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._run.append("rejects", self._rejects)
        self._rejects = []

    def _begun(self, name: str, total: int, rows: Iterator[T]) -> Iterator[T]:
        """Begins to count with the first row: how long a step looks before it is no part of the rate."""
        first = next(rows, None)
        self._watch.end()
        self._watch.begin(name, total)
        if first is not None:
            yield first
            yield from rows

    def _watched(self, rows: Iterable[T]) -> Iterator[T]:
        owed = 0
        for row in rows:
            yield row
            owed += 1
            if owed == _BATCH:
                self._watch.advance(owed)
                owed = 0
        self._watch.advance(owed)
