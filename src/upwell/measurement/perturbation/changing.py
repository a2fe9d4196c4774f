"""Benchmarks with other numbers in them, where the solution's own arithmetic proves the new answer.

A problem is changed only if its worked solution writes its arithmetic down (`<<48/2=24>>`), that arithmetic gives the
published answer exactly, and every number in it can be traced: to a figure of the question, to an earlier result, or to
a word or a conversion of units that the question calls for. Some figures are then drawn anew and everything is
computed again. What is kept has to hold under every reading of every number, see `_Draw`; what cannot be proven is left
out and counted by reason.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from upwell.grading import accepts, extract, soundness
from upwell.measurement.perturbation.arithmetic import (
    NOTE,
    NUMBER,
    Step,
    Unprovable,
    as_number,
    decimals,
    steps,
    written,
)
from upwell.measurement.perturbation.quantities import Figure, constants, figures, spelled_out
from upwell.records import Problem

_TRIES = 200
"""Draws per problem and set of changed figures before it is given up."""
_LOW, _HIGH = 0.6, 1.6
"""How far a figure may move, as factors: wide enough to change the answer, near enough to stay sensible."""
_MARK = "~numbers-"


@dataclass(frozen=True)
class Perturbed:
    """Problems with other numbers, and why the others have none."""

    problems: tuple[Problem, ...]
    left_out: dict[str, int]
    """How many problems could not be changed, by reason."""


def perturbed(
    originals: Iterable[Problem],
    seed: int,
    limit: int | None = None,
    *,
    made: Callable[[], None] = lambda: None,
) -> Perturbed:
    """New versions of the problems whose answers can be proven.

    Args:
        originals: With worked solutions; tried in this order.
        seed: Of the new figures; a problem's depend on it and on the problem alone.
        limit: End with this many new ones.
        made: Called for each problem: with a limit for each new one, else for each that was tried.
    """
    found: list[Problem] = []
    reasons: Counter[str] = Counter()
    for problem in originals:
        if limit is not None and len(found) == limit:
            break
        try:
            found.append(changed(problem, seed))
        except Unprovable as error:
            reasons[str(error)] += 1
            if limit is not None:
                continue
        made()
    return Perturbed(tuple(found), dict(reasons.most_common()))


def parent_of(key: str) -> str:
    """The key of the problem that a changed one was made from."""
    return key.rpartition(_MARK)[0]


def changed(problem: Problem, seed: int) -> Problem:
    """The problem with other figures, its worked solution and answer recomputed.

    Raises:
        Unprovable: Its solution does not prove what another answer would be.
    """
    reading = _Reading.of(problem)
    draw = random.Random(f"{seed}\x1f{problem.key}")
    free = reading.free
    # All at once if that can be, else fewer: each by itself at last.
    wanted = [free, *([one] for one in free)] if len(free) > 1 else [free]
    for several in wanted:
        for _ in range(_TRIES if several is free else _TRIES // 4):
            moved = {figure.start: _moved(figure, draw) for figure in several}
            if any(moved[figure.start] == figure.value for figure in several):
                continue
            try:
                return _rewritten(problem, reading, moved, seed)
            except Unprovable:
                continue
    raise Unprovable("no other figures that keep it sensible")


@dataclass(frozen=True)
class _Reading:
    """A problem whose arithmetic is understood."""

    steps: list[Step]
    figures: list[Figure]
    constants: set[Fraction]
    free: list[Figure]
    """Figures that may change."""
    worded: set[Fraction]
    """Values that the solution spells out, which nothing replaces."""

    @classmethod
    def of(cls, problem: Problem) -> _Reading:
        solution = problem.solution or ""
        chain, gold = steps(solution), as_number(problem.answer.strip())
        if gold is None or chain[-1].value != gold:
            raise Unprovable("the last note is not the answer")
        asked, known = figures(problem.question), constants(problem.question)
        values = {figure.value for figure in asked} | known
        for step in chain:
            if any(number not in values for number in step.numbers()):
                raise Unprovable("a number of the solution that comes from nowhere")
            values.add(step.value)
        for text in NUMBER.findall(NOTE.sub("", solution)):
            if as_number(text) not in values:
                raise Unprovable("a number of the solution that comes from nowhere")
        used = {number for step in chain for number in step.numbers()}
        words = spelled_out(problem.question)
        free = [
            f
            for f in asked
            if f.free and f.value in used and f.value not in known and _alone(f, asked, words)
        ]
        if not free:
            raise Unprovable("no figure that can change by itself")
        return cls(chain, asked, known, free, spelled_out(solution))


def _alone(figure: Figure, asked: Sequence[Figure], words: set[Fraction]) -> bool:
    """Whether a figure can change by itself: its value stands there once, and it follows from no two others."""
    others = [other.value for other in asked if other is not figure]
    rest = [*others, *(value for value in words if value > 1)]
    follows = (
        figure.value in (a + b, a - b, a * b, a / b if b else None)
        for a, b in itertools.permutations(rest, 2)
    )
    return figure.value not in others and not any(follows)


def _moved(figure: Figure, draw: random.Random) -> Fraction:
    """Another value of the same kind: as many decimals, and round where it was round."""
    decimals = len(figure.text.partition(".")[2])
    unit = Fraction(1, 10**decimals)
    if decimals and (figure.value / (5 * unit)).denominator == 1:
        unit *= 5
    while figure.value >= 100 * unit and (figure.value / (10 * unit)).denominator == 1:
        unit *= 10
    count = figure.value / unit
    low, high = int(count * Fraction(_LOW)), int(count * Fraction(_HIGH)) + 1
    return draw.randint(max(low, 1), max(high, low + 2)) * unit


def _rewritten(problem: Problem, reading: _Reading, moved: dict[int, Fraction], seed: int) -> Problem:
    """The problem with the moved figures.

    Raises:
        Unprovable: They do not give a sensible problem, or a number can be read in two ways that now differ.
    """
    draw = _Draw(reading, moved)
    question = problem.question
    for figure in reversed(reading.figures):
        if figure.start in moved:
            now = written(moved[figure.start], figure.text)
            question = question[: figure.start] + now + question[figure.end :]
    given, solution, last = problem.solution or "", [], 0
    for number, match in enumerate(NOTE.finditer(given)):
        solution.append(draw.prose(given[last : match.start()]))
        value = written(draw.results[number], match[2].strip())
        solution.append(f"<<{draw.prose(match[1], before=number)}={value}>>")
        last = match.end()
    solution.append(draw.prose(given[last:]))
    text, answer = "".join(solution), written(draw.results[-1], problem.answer.strip())
    if accepts(problem.answer, answer).correct:
        raise Unprovable("the answer stays what it was")
    if soundness(text) != "yes" or not accepts(answer, extract(text) or "").correct:
        raise Unprovable("the rewritten solution does not check out")
    return Problem(
        key=f"{problem.key}{_MARK}{seed}",
        question=question,
        answer=answer,
        solution=text,
        level=problem.level,
        subject=problem.subject,
        parents=(problem.key,),
    )


class _Draw:
    """The chain of a problem computed again with some figures moved.

    A number may be read as a figure, a result or a constant of its value; all readings have to agree in what it
    becomes. What was whole stays whole and what was positive positive, and of any two amounts the larger stays the
    larger: a step that depends on a comparison goes the way it went.
    """

    def __init__(self, reading: _Reading, moved: dict[int, Fraction]) -> None:
        self._meanings: dict[Fraction, set[Fraction]] = {value: {value} for value in reading.constants}
        for figure in reading.figures:
            self._mean(figure.value, moved.get(figure.start, figure.value))
        self.results: list[Fraction] = []
        self._until: list[dict[Fraction, set[Fraction]]] = []
        for step in reading.steps:
            self._until.append({value: set(readings) for value, readings in self._meanings.items()})
            value = step.recomputed(self.meaning)
            _check_kind(step.value, value)
            self.results.append(value)
            self._mean(step.value, value)
        self._check_order()
        if any(self._meanings.get(value, {value}) != {value} for value in reading.worded):
            raise Unprovable("a changed number that the solution spells out")

    def meaning(self, value: Fraction) -> Fraction:
        """What a number of this value becomes.

        Raises:
            Unprovable: Its readings differ, or it has none.
        """
        readings = self._meanings.get(value, set())
        if len(readings) != 1:
            raise Unprovable("a number that can be read in two ways")
        return next(iter(readings))

    def prose(self, text: str, before: int | None = None) -> str:
        """A piece of the solution with its numbers replaced; of a note only what came before it counts."""
        meanings = self._meanings
        if before is not None:
            self._meanings = self._until[before]
        try:
            return NUMBER.sub(lambda match: self._number(match[0]), text)
        finally:
            self._meanings = meanings

    def _number(self, text: str) -> str:
        value = as_number(text)
        assert value is not None
        now = self.meaning(value)
        return text if now == value else written(now, text)

    def _mean(self, value: Fraction, now: Fraction) -> None:
        self._meanings.setdefault(value, set()).add(now)

    def _check_order(self) -> None:
        pairs = sorted((was, now) for was, readings in self._meanings.items() for now in readings)
        for (was, now), (next_was, next_now) in itertools.pairwise(pairs):
            if was < next_was and now >= next_now:
                raise Unprovable("amounts that change places")


def _check_kind(was: Fraction, now: Fraction) -> None:
    if (was > 0) != (now > 0) or (was == 0) != (now == 0):
        raise Unprovable("an amount that changes its sign")
    if was.denominator == 1 and now.denominator != 1:
        raise Unprovable("an amount that is not whole any more")
    if decimals(now) > decimals(was):
        raise Unprovable("an amount with more decimals")
