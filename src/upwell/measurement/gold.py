"""The gold self-check: a benchmark's reference answers fed back to the grader as responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from upwell.grading import RuleGrader
from upwell.measurement.watch import Watch
from upwell.problems import ProblemSet, self_check_texts
from upwell.records import Problem, Response, Verdict


@dataclass(frozen=True)
class Miss:
    """A gold answer that did not come back correct."""

    problem: Problem
    text: str
    verdict: Verdict
    literal: bool
    """Accepted when spelled the same, and only then: the grader cannot read it."""


@dataclass
class GoldCheck:
    """What came back."""

    problems: int = 0
    correct: int = 0
    """Problems of which every form came back correct with the identical-text tier switched off."""
    tiers: Counter[str] = field(default_factory=Counter)
    """Which rule accepted the correct ones: responses per tier."""
    misses: list[Miss] = field(default_factory=list)


def check_golds(problem_set: ProblemSet, watch: Watch) -> GoldCheck:
    """Grade every gold answer as a response, with the identical-text tier switched off.

    With that tier the check would pass by comparing a string with itself. A gold that only that tier
    accepts is a miss marked `literal`: right answers in another spelling would be lost on it.
    """
    found = GoldCheck(problems=len(problem_set))
    pairs = [(problem, text) for problem in problem_set for text in self_check_texts(problem)]
    failed: dict[str, list[tuple[Problem, str, Verdict]]] = {}
    watch.begin(f"checking the golds of {problem_set.name}", len(pairs))
    with RuleGrader(identical=False) as strict, RuleGrader() as lenient:
        for (problem, text), verdict in zip(pairs, strict.grade(_responses(pairs)), strict=True):
            watch.advance()
            if verdict.correct:
                found.tiers[verdict.tier] += 1
            else:
                failed.setdefault(problem.key, []).append((problem, text, verdict))
        watch.end()
        found.correct = found.problems - len(failed)
        for misses in failed.values():
            problem, text, verdict = misses[0]
            again = next(iter(lenient.grade(_responses([(problem, text)]))))
            found.misses.append(Miss(problem, text, verdict, literal=bool(again.correct)))
    return found


def _responses(pairs: list[tuple[Problem, str]]) -> Iterator[tuple[Problem, Response]]:
    for number, (problem, text) in enumerate(pairs):
        yield (
            problem,
            Response(
                key=f"{problem.key}#{number}", problem=problem.key, index=number, text=text, finish="stop",
                tokens=0, seed=0,
            ),
        )  # fmt: skip
