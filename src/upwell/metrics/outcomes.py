"""The table that every metric is computed from: problems by draws, ragged, a few dozen bytes a response."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from upwell.errors import UsageError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NO_VOTE = -1
"""Vote of a response without an answer. Python's `hash` never returns it."""

SOUND, UNSOUND, NO_EQUATION, UNCHECKED = 1, 0, -1, -2
"""What `Outcomes.sound` holds per response."""
_SOUNDNESS = {"yes": SOUND, "no": UNSOUND, "none": NO_EQUATION, None: UNCHECKED}


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A problem as the metrics see it."""

    key: str
    gold: str | None = None
    """Canonical key of the reference answer, of the same make as `Row.vote`; None where it has none."""
    kind: str = ""
    """Type of the answer, such as `integer`: chance is measured among problems of one kind."""
    source: str = ""
    """Benchmark; chance is measured within one."""
    level: str | None = None
    subject: str | None = None
    guess: float | None = None
    """Chance, in [0, 1], that one guess by random operations on the question's numbers is right; None where
    it was not computed."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A graded response as the metrics see it."""

    problem: str
    """Key of its `Slot`."""
    index: int
    """Number of the draw, from 0."""
    correct: bool | None
    """None where the grader could not tell: counted as wrong, and counted."""
    vote: str | None = None
    """Canonical key of its answer, equal answers having equal keys; None where there is no answer."""
    truncated: bool = False
    """Cut off at the token limit."""
    tokens: int | None = None
    """Tokens generated; None where not known."""
    score: float | None = None
    """What a verifier thinks of it, higher being better; given for all rows or for none."""
    sound: Literal["yes", "no", "none"] | None = None
    """Whether the arithmetic written in it holds: `yes` where there is at least one equation to check and all
    check out, `no` where one is wrong, `none` where there is no equation to check; None where it was not
    looked at. Looked at for all right responses or for none; wrong ones need not be."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Equal answers to one problem, counted: one entry per distinct answer, grouped by problem.

    Within a problem the order is by size and then by rightness, so it does not depend on the order
    of the draws.
    """

    starts: Ints
    """`(problems + 1,)`: the classes of problem i are `starts[i]:starts[i + 1]`."""
    counts: Ints
    """Responses that gave this answer."""
    right: Floats
    """Share of them judged right: 0 or 1, unless the grader could not tell for some."""
    votes: Ints
    """The answer, by its name in `Outcomes.votes`."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Graded responses, sorted by problem and then by draw."""

    slots: tuple[Slot, ...]
    """The problems that have at least one response, in the order given."""
    starts: Ints
    """`(problems + 1,)`: the responses of problem i are `starts[i]:starts[i + 1]`."""
    correct: npt.NDArray[np.int8]
    """Per response: 1 right, 0 wrong, -1 where the grader could not tell."""
    votes: Ints
    """Per response: a 64-bit name of its answer, or `NO_VOTE`."""
    truncated: Bools
    tokens: npt.NDArray[np.int32]
    """Per response; -1 where not known."""
    scores: Floats | None = None
    sound: npt.NDArray[np.int8] | None = None
    """Per response `SOUND`, `UNSOUND`, `NO_EQUATION` or `UNCHECKED`; None where none was looked at."""
    unanswered: int = 0
    """Problems given that have no response at all; they are in no metric."""
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def collect(cls, problems: Iterable[Slot], rows: Iterable[Row]) -> Outcomes:
        """Build the table in one pass over `rows`, in any order, keeping about 30 bytes of each.

        Answers are kept as 64-bit hashes: with a million distinct ones the chance that any two are
        confused is below one in ten million.

        Raises:
            UsageError: two problems with one key, a chance of guessing outside [0, 1], a row of an unknown
                problem, the same draw twice, scores on some rows only or not finite, or soundness on some
                right responses only.
        """
        slots = tuple(problems)
        for slot in slots:
            if slot.guess is not None and not 0 <= slot.guess <= 1:
                raise UsageError(
                    f"problem `{slot.key}` has a chance of guessing of {slot.guess}",
                    "give `guess` as a probability from 0 to 1, or leave it out",
                )
        number = {slot.key: i for i, slot in enumerate(slots)}
        if len(number) < len(slots):
            raise UsageError("two problems have the same key", "give every problem its own `id`")
        columns = _Columns()
        for row in rows:
            where = number.get(row.problem)
            if where is None:
                raise UsageError(
                    f"a response belongs to problem `{row.problem}`, which is not among the problems",
                    "measure with the problem set that the responses were sampled from",
                )
            columns.add(where, row)
        return columns.table(slots)

    @classmethod
    def from_counts(cls, n: npt.ArrayLike, c: npt.ArrayLike) -> Outcomes:
        """A table with `c[i]` right responses out of `n[i]` and no answers: enough for pass@k and the like."""
        n, c = np.broadcast_arrays(np.asarray(n, np.int64), np.asarray(c, np.int64))
        starts = np.concatenate([[0], np.cumsum(n)])
        draw = np.arange(starts[-1]) - np.repeat(starts[:-1], n)
        correct = (draw < np.repeat(c, n)).astype(np.int8)
        slots = tuple(Slot(key=str(i)) for i in range(len(n)))
        blank = np.zeros(len(correct), np.int64)
        return cls(slots, starts, correct, blank + NO_VOTE, blank.astype(np.bool_), blank.astype(np.int32))

    @property
    def n(self) -> Ints:
        """Responses per problem."""
        return np.diff(self.starts)

    @cached_property
    def c(self) -> Ints:
        """Right responses per problem; a verdict that could not be reached is not right."""
        return self.per_problem(self.correct == 1)

    @cached_property
    def owner(self) -> Ints:
        """Per response, the number of its problem."""
        return np.repeat(np.arange(len(self.slots)), self.n)

    def per_problem(self, column: npt.NDArray[np.generic]) -> Ints:
        """Sum a column of whole numbers or truth values over the responses of each problem."""
        if not len(self.slots):
            return np.zeros(0, np.int64)
        return np.add.reduceat(column.astype(np.int64), self.starts[:-1])

    @cached_property
    def by_vote(self) -> Ints:
        """The responses that have an answer, by problem, then by answer, then by draw."""
        voting = np.flatnonzero(self.votes != NO_VOTE)
        return voting[np.lexsort((self.votes[voting], self.owner[voting]))]

    @cached_property
    def classes(self) -> Classes:
        """The distinct answers of each problem."""
        rows = self.by_vote
        owner, vote, right = self.owner[rows], self.votes[rows], self.correct[rows] == 1
        first = np.flatnonzero(np.r_[True, (owner[1:] != owner[:-1]) | (vote[1:] != vote[:-1])][: len(owner)])
        counts = np.diff(np.r_[first, len(owner)])
        share = np.add.reduceat(right.astype(np.float64), first) / counts if len(first) else np.zeros(0)
        owner, vote = owner[first], vote[first]
        order = np.lexsort((-share, -counts, owner))
        starts = np.searchsorted(owner, np.arange(len(self.slots) + 1))
        return Classes(starts, counts[order], share[order], vote[order])

    def take(self, chosen: Ints) -> Outcomes:
        """The table of some problems only, by number."""
        n = self.n[chosen]
        starts = np.concatenate([[0], np.cumsum(n)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[:-1][chosen] - starts[:-1], n)
        return Outcomes(
            slots=tuple(self.slots[i] for i in chosen),
            starts=starts,
            correct=self.correct[rows],
            votes=self.votes[rows],
            truncated=self.truncated[rows],
            tokens=self.tokens[rows],
            scores=None if self.scores is None else self.scores[rows],
            sound=None if self.sound is None else self.sound[rows],
        )


def vote_name(answer: str) -> int:
    """A 64-bit name of an answer. Not `hash`, which differs between processes: sums over answers are in the order of
    their names, and would differ in the last digit."""
    return int.from_bytes(
        hashlib.blake2b(answer.encode(errors="replace"), digest_size=8).digest(), "big", signed=True
    )


class _Columns:
    """Growing columns of the table, before it is sorted."""

    def __init__(self) -> None:
        self.owner, self.draw, self.tokens = array("i"), array("i"), array("i")
        self.correct, self.truncated, self.sound = array("b"), array("b"), array("b")
        self.votes, self.scores = array("q"), array("d")

    def add(self, owner: int, row: Row) -> None:
        self.owner.append(owner)
        self.draw.append(row.index)
        self.tokens.append(-1 if row.tokens is None else row.tokens)
        self.correct.append(-1 if row.correct is None else row.correct)
        self.truncated.append(row.truncated)
        self.votes.append(NO_VOTE if row.vote is None else vote_name(row.vote))
        self.sound.append(_SOUNDNESS[row.sound])
        if row.score is not None:
            if not isfinite(row.score):
                raise UsageError(
                    f"response `{row.problem}#{row.index}` has the score {row.score}",
                    "give every response a finite score",
                )
            self.scores.append(row.score)
        if self.scores and len(self.scores) != len(self.owner):
            raise UsageError(
                f"response `{row.problem}#{row.index}` "
                + (
                    "has no score though others have"
                    if row.score is None
                    else "has a score, others have none"
                ),
                "score all responses, or none",
            )

    def table(self, slots: tuple[Slot, ...]) -> Outcomes:
        owner, draw = np.frombuffer(self.owner, np.int32), np.frombuffer(self.draw, np.int32)
        order = np.lexsort((draw, owner))
        owner, draw = owner[order], draw[order]
        twice = np.flatnonzero((owner[1:] == owner[:-1]) & (draw[1:] == draw[:-1]))
        if len(twice):
            where = int(twice[0])
            raise UsageError(
                f"response `{slots[owner[where]].key}#{draw[where]}` is there twice",
                "keep one line per key; the second may come from another run",
            )
        correct, sound = (
            np.frombuffer(self.correct, np.int8)[order],
            np.frombuffer(self.sound, np.int8)[order],
        )
        checked = bool(np.any(sound != UNCHECKED))
        missed = np.flatnonzero((correct == 1) & (sound == UNCHECKED))
        if checked and len(missed):
            where = int(missed[0])
            raise UsageError(
                f"response `{slots[owner[where]].key}#{draw[where]}` is right and its arithmetic was not "
                "checked, though that of others was",
                "check the arithmetic of all right responses, or of none",
            )
        n = np.bincount(owner, minlength=len(slots))
        kept = np.flatnonzero(n)
        return Outcomes(
            slots=tuple(slots[i] for i in kept),
            starts=np.concatenate([[0], np.cumsum(n[kept])]),
            correct=correct,
            votes=np.frombuffer(self.votes, np.int64)[order],
            truncated=np.frombuffer(self.truncated, np.bool_)[order],
            tokens=np.frombuffer(self.tokens, np.int32)[order],
            scores=np.frombuffer(self.scores, np.float64)[order] if self.scores else None,
            sound=sound if checked else None,
            unanswered=len(slots) - len(kept),
        )
