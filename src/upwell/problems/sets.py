"""A problem set: rows checked, keyed and counted; whatever was left out is listed by row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from upwell.errors import UsageError
from upwell.problems.cards import Card
from upwell.problems.formats import MissingField, Parsed, Reader, Row
from upwell.records import Problem, problem_id


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong with a file or with one row of it."""

    file: str
    row: int
    """Line of a JSONL file, else record counted from 1; 0 for the file as a whole."""
    kind: str
    """`changed file`, `missing field`, `empty question`, `empty answer`, `duplicate question`,
    `duplicate id`, `row count`."""
    detail: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.row}" if self.row else self.file
        return f"{where}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class ProblemSet:
    """Problems of one set and split, with where they came from."""

    name: str
    split: str
    problems: tuple[Problem, ...]
    source: Card
    digest: str
    """SHA-256 over these problems, all fields, in order."""
    files: tuple[dict[str, str], ...] = ()
    """What was read: `{"name", "digest"}` for the manifest."""
    notes: tuple[str, ...] = ()
    """What a reader of any number from this set should know: rows left out, changed files, caveats."""
    faults: tuple[Fault, ...] = field(default=(), repr=False)
    """Every fault found, by row; faulty rows are not among the problems."""
    total: int = 0
    """Usable problems in the whole set, before any limit."""

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)


def validate(problem_set: ProblemSet) -> list[Fault]:
    """Everything wrong with the files and rows of a set, files first, then by row."""
    return sorted(problem_set.faults, key=lambda fault: (fault.row > 0, fault.file, fault.row))


class Gathering:
    """Collects the problems of one set from one or more files.

    A faulty row is listed and left out. Of rows with the same question or the same id the first is
    kept: two problems with one key would share their responses, and a question asked twice would
    count as two independent ones.
    """

    def __init__(self, source: str, split: str, *, graded: bool = True) -> None:
        self.problems: list[Problem] = []
        self.faults: list[Fault] = []
        self._source = source
        self._split = split
        self._graded = graded
        self._first: dict[str, tuple[int, str]] = {}

    def add(self, rows: Iterable[tuple[int, Row]], read: Reader, file: str) -> None:
        """Reads rows in a layout; `file` names them in faults."""
        for number, row in rows:
            try:
                parsed = read(row)
            except MissingField as error:
                self._fault(file, number, "missing field", str(error))
                continue
            self._add(parsed, number, file)

    def _add(self, parsed: Parsed, number: int, file: str) -> None:
        if not parsed.question.strip():
            self._fault(file, number, "empty question", "the row asks nothing")
            return
        if self._graded and not parsed.answer.strip():
            self._fault(file, number, "empty answer", "no reference answer to grade against")
            return
        by_question = problem_id(self._source, self._split, parsed.question)
        key = parsed.id or by_question
        for kind, name in (("duplicate question", by_question), ("duplicate id", key)):
            if name in self._first:
                row, answer = self._first[name]
                other = "" if answer == parsed.answer else f", there with the answer `{_short(answer)}`"
                self._fault(file, number, kind, f"first seen in row {row}{other}")
                return
        self._first[by_question] = self._first[key] = (number, parsed.answer)
        self.problems.append(
            Problem(
                key=key,
                question=parsed.question,
                answer=parsed.answer,
                solution=parsed.solution,
                source=self._source,
                split=self._split,
                level=parsed.level,
                subject=parsed.subject,
                tolerance=parsed.tolerance,
            )
        )

    def _fault(self, file: str, row: int, kind: str, detail: str) -> None:
        self.faults.append(Fault(file=file, row=row, kind=kind, detail=detail))

    def drop_faults(self, kind: str) -> None:
        """Forgets faults of a kind that is no fault of this set."""
        self.faults = [fault for fault in self.faults if fault.kind != kind]

    def left_out(self) -> list[str]:
        """One note per kind of fault that cost rows, with their count and row numbers."""
        by_kind: dict[str, list[int]] = {}
        for fault in self.faults:
            if fault.row:
                by_kind.setdefault(fault.kind, []).append(fault.row)
        return [f"{len(rows)} left out, {kind}: row {_listed(rows)}" for kind, rows in by_kind.items()]


def finish(
    gathering: Gathering,
    card: Card,
    split: str,
    *,
    files: Iterable[dict[str, str]],
    notes: Iterable[str],
    limit: int | None,
) -> ProblemSet:
    """The set out of what was gathered, cut to `limit` problems.

    Raises:
        UsageError: No usable problem is left.
    """
    if not gathering.problems:
        first = gathering.faults[0] if gathering.faults else "no rows"
        raise UsageError(f"problem set `{card.name}` has no usable problem; the first fault: {first}")
    chosen = subset(gathering.problems, limit)
    told = [*notes, *gathering.left_out()]
    if limit is not None and len(chosen) < len(gathering.problems):
        told.append(
            f"limit: {len(chosen):,} of {len(gathering.problems):,} problems, drawn by the hash of their keys"
        )
    return ProblemSet(
        name=card.name,
        split=split,
        problems=tuple(chosen),
        source=card,
        digest=digest(chosen),
        files=tuple(files),
        notes=tuple(told),
        faults=tuple(gathering.faults),
        total=len(gathering.problems),
    )


def subset(problems: list[Problem], limit: int | None) -> list[Problem]:
    """A random but fixed choice of `limit` problems: the first in the order of their keys' hashes.

    Files are often sorted by level or subject, so the first rows would be a biased sample. The order
    depends on nothing but the keys: every run with the same limit has the same problems, whatever its
    seed, and the problems of a smaller limit are the first ones of a larger.
    """
    if limit is None:
        return list(problems)
    return sorted(problems, key=lambda problem: hashlib.sha256(problem.key.encode()).digest())[:limit]


def check_limit(limit: int | None) -> None:
    """Refuses a limit that leaves no problem."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}, but at least 1 problem is needed", "--limit 100")


def digest(problems: Iterable[Problem]) -> str:
    """SHA-256 over problems, every field, in order."""
    hashed = hashlib.sha256()
    encoder = msgspec.json.Encoder()
    for problem in problems:
        hashed.update(encoder.encode(problem) + b"\n")
    return hashed.hexdigest()


def self_check_texts(problem: Problem) -> list[str]:
    r"""Responses that a grader must mark correct: the reference answer fed back to it.

    The worked solution where it marks its answer (`####`, `\boxed`), else the bare answer in the two
    forms that models are asked for.
    """
    solution = problem.solution
    if solution and any(mark in solution for mark in ("####", "\\boxed", "\\fbox")):
        return [solution]
    return [f"The answer is: {problem.answer}", f"\\boxed{{{problem.answer}}}"]


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _listed(rows: list[int], most: int = 8) -> str:
    shown = ", ".join(map(str, rows[:most]))
    return shown + (f" and {len(rows) - most} more" if len(rows) > most else "")
