"""Whether the arithmetic that a response writes down is right: every equation between numbers, checked exactly.

What counts as an equation, what is right and what is skipped is docs/soundness.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from upwell.grading.equations.chains import Pair, pairs, plain
from upwell.grading.equations.reader import Side
from upwell.grading.equations.runs import Run, runs

__all__ = ["MAX_WRONG", "Equation", "Equations", "check_equations", "equations", "soundness"]

MAX_WRONG = 100
"""Wrong equations that `check_equations` lists; it counts all."""


class Equation(NamedTuple):
    """A checkable equation of a response."""

    start: int
    """Position of its first character in the response."""
    end: int
    text: str
    left: float
    """Values of its sides, for display; infinite where a float cannot hold them."""
    right: float
    holds: bool


class Equations(NamedTuple):
    """The checkable equations of a response; a chain of n equals signs is up to n equations."""

    found: int
    right: int
    wrong: int
    examples: tuple[Equation, ...] = ()
    """The first `MAX_WRONG` wrong ones."""


_NONE = Equations(0, 0, 0)


def check_equations(text: str) -> Equations:
    """Check every arithmetic equation of a response. Never raises; linear in the length of the text."""
    if not _may_hold_equations(text):
        return _NONE
    right = wrong = 0
    examples: list[Equation] = []
    for run in runs(text):
        if held := plain(run):
            right += held
            continue
        for pair in pairs(run):
            if pair.holds:
                right += 1
            else:
                wrong += 1
                if len(examples) < MAX_WRONG:
                    examples.append(_equation(run, pair))
    return Equations(right + wrong, right, wrong, tuple(examples))


def soundness(text: str) -> Literal["yes", "no", "none"]:
    """`no` if an equation of the response is wrong, `yes` if it has some and all are right, else `none`."""
    checked = check_equations(text)
    return "no" if checked.wrong else "yes" if checked.right else "none"


def equations(text: str) -> Iterator[Equation]:
    """Every checkable equation of a response with its verdict: calculator notes first, then the rest, in order."""
    if _may_hold_equations(text):
        for run in runs(text):
            for pair in pairs(run):
                yield _equation(run, pair)


def _may_hold_equations(text: str) -> bool:
    return "=" in text or "≈" in text or "\\approx" in text or "equals" in text


def _equation(run: Run, pair: Pair) -> Equation:
    start, end = run.start + pair.start, run.start + pair.end
    text = run.text[pair.start : pair.end]
    return Equation(start, end, text, _float(pair.left), _float(pair.right), pair.holds)


def _float(side: Side) -> float:
    try:
        return side.value[0] / side.value[1]
    except OverflowError:
        return float("inf") if side.value[0] > 0 else float("-inf")
