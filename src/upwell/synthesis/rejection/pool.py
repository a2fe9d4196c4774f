"""An earlier run whose responses to the same questions are used before any new ones are drawn."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from upwell.errors import UsageError
from upwell.records import Problem, Response, Verdict
from upwell.runs import Run
from upwell.synthesis.rejection.ledger import ANSWERED, ASKED, CUT, RIGHT, WRONG, Ledger

_BATCH = 256
"""Rows written at once."""
_SAME = ("model", "prompt", "temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "grader")
"""What has to be as in this run. The seed need not: a draw's own is hashed from it and the draw's number."""


class Place(msgspec.Struct, frozen=True):
    """Where a response stands, and what it took."""

    key: str
    problem: str
    index: int
    finish: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    usd: float | None = None


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


Row = TypeVar("Row", bound=_Keyed)


class Pool:
    """The responses and verdicts of an earlier run, on some of the questions asked now.

    Args:
        path: The run.
        fingerprint: Of the run that is to use it.
        problems: Its questions.

    Raises:
        UsageError: It is no run, or other questions were asked, or they were asked or graded otherwise.
    """

    def __init__(self, path: str, fingerprint: Mapping[str, Any], problems: Sequence[Problem]) -> None:
        self._run = Run.read(path)
        self._numbers = {problem.key: number for number, problem in enumerate(problems)}
        self.inputs = [self._run.reference(table) for table in ("responses", "verdicts")]
        theirs = self._run.manifest["fingerprint"]
        ours = msgspec.json.decode(msgspec.json.encode(fingerprint))
        for name in _SAME:
            if theirs.get(name) != ours.get(name):
                raise UsageError(
                    f"--pool `{path}` cannot be used: its {name} is {_shown(theirs.get(name))}, "
                    f"here it is {_shown(ours.get(name))}",
                    "repeat the pool's settings, or leave --pool out",
                )
        self.answers = self._check_questions(path, problems)

    def _check_questions(self, path: str, problems: Sequence[Problem]) -> dict[int, str]:
        """The pool's answers to our questions, by number: voted on, where ours have none."""
        answers: dict[int, str] = {}
        for theirs in self._run.rows("problems", Problem):
            number = self._numbers.get(theirs.key)
            if number is None:
                continue
            ours = problems[number]
            if theirs.question != ours.question or (ours.answer and theirs.answer != ours.answer):
                raise UsageError(
                    f"--pool `{path}` cannot be used: its problem `{theirs.key}` has another question or answer",
                    "give the pool of these very questions, or leave --pool out",
                )
            answers[number] = theirs.answer
        if not answers:
            raise UsageError(
                f"--pool `{path}` cannot be used: it holds none of these questions",
                f"head -1 {shlex.quote(str(self._run.path / 'problems.jsonl'))}  # shows what it holds",
            )
        return answers

    def mark(self, ledger: Ledger) -> None:
        """Tell the ledger which draws are the pool's: all up to its highest, those that it lacks included."""
        for place in self._run.rows("responses", Place):
            number = self._numbers.get(place.problem)
            if number is not None and place.index >= ledger.given[number]:
                ledger.given[number] = place.index + 1

    def copy(self, run: Run, ledger: Ledger) -> None:
        """Copy what is not there yet, responses first, and tell the ledger of it."""
        for many in _batches(
            row
            for row in self._run.rows("responses", Response)
            if self._code(ledger, row.problem, row.index) == ASKED
        ):
            run.append("responses", many)
            for row in many:
                code = CUT if row.finish == "length" else ANSWERED
                ledger.restore(self._numbers[row.problem], row.index, code)
        for judged in _batches(
            row
            for row in self._run.rows("verdicts", Verdict)
            if self._code(ledger, *place_of(row.key)) in (ANSWERED, CUT)
        ):
            run.append("verdicts", judged)
            for verdict in judged:
                problem, index = place_of(verdict.key)
                ledger.restore(self._numbers[problem], index, RIGHT if verdict.correct else WRONG)

    def _code(self, ledger: Ledger, problem: str, index: int) -> int | None:
        """What the ledger has of a draw of the pool; None where its question is not asked here."""
        number = self._numbers.get(problem)
        if number is None:
            return None
        row = ledger.draws[number]
        return row[index] if index < len(row) else ASKED


def place_of(key: str) -> tuple[str, int]:
    """A response's key as (problem key, number of the draw)."""
    problem, _, index = key.rpartition("#")
    return problem, int(index)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _shown(value: Any) -> str:
    return "not recorded" if value is None else f"`{value}`"
