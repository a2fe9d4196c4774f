"""What a comparison is given and what it decides: the two words that all styles share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from upwell.grading.equality import Decision

__all__ = ["MAX_CHARS", "Algebra", "Case", "Decision", "Unasked", "Undecided"]

MAX_CHARS = 5_000
"""Longest answer that the comparisons of other projects look at; a longer one is wrong there."""


class Case(NamedTuple):
    """What a verdict depends on, once the answer is found."""

    gold: str
    answer: str
    tolerance: float | None = None
    mode: str = ""
    """What a style reads off the problem, such as which of its checks applies."""


class Undecided(Exception):
    """Only a worker can tell."""


class Algebra(Protocol):
    """Computer algebra on LaTeX, as published graders ask for it."""

    def equal(self, first: str, second: str) -> bool:
        """Whether the difference of two formulas simplifies to zero; False where one cannot be read."""

    def value(self, formula: str) -> float | None:
        """The real number that a formula denotes, or None."""


class Unasked:
    """The algebra of the main process, which has none: every question is one for a worker."""

    def equal(self, first: str, second: str) -> bool:
        raise Undecided

    def value(self, formula: str) -> float | None:
        raise Undecided
