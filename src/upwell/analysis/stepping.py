"""What counts as a step of a solution: the rules, each stated in docs/analysis.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from upwell.errors import UsageError

RULES = ("auto", "lines", "notes", "equations")
_NOTE = re.compile(r"<<[^<>]*>>")
_ANSWER = re.compile(r"\n?####.*", re.DOTALL)
"""GSM8K's last line, which only repeats the answer."""
_BREAK = re.compile(r"\n|(?<=[.!?;])\s+(?=[A-Z\\$])")
"""Between two lines, or two sentences of a line."""
_SIGN = re.compile(r"=|≈|\\approx(?![A-Za-z])|\bequals\b")


def spans(text: str) -> list[tuple[int, int]]:
    """Where the lines and sentences of a text stand that hold an equation."""
    found, begin = [], 0
    for cut in _BREAK.finditer(text):
        if _SIGN.search(text, begin, cut.start()):
            found.append((begin, cut.start()))
        begin = cut.end()
    if _SIGN.search(text, begin):
        found.append((begin, len(text)))
    return found


def equations(solution: str) -> int:
    """Lines and sentences with an equation."""
    return len(spans(_ANSWER.sub("", solution)))


def lines(solution: str) -> int:
    """Lines that are not empty, without the one that repeats the answer behind `####`."""
    return sum(not line.isspace() for line in _ANSWER.sub("", solution).splitlines() if line)


def notes(solution: str) -> int:
    """Calculator notes such as `<<48/2=24>>`."""
    return len(_NOTE.findall(solution))


_COUNTED: dict[str, Callable[[str], int]] = {"lines": lines, "notes": notes, "equations": equations}


def rule_for(wanted: str, solutions: Sequence[str]) -> tuple[str, Callable[[str], int]]:
    """The rule that counts the steps of all these solutions, by name, and itself.

    `auto` is `lines` where the solutions have calculator notes, since their authors then wrote one step a line, else
    `equations`.

    Raises:
        UsageError: there is no such rule, or no solution has what it counts.
    """
    rule = wanted
    if wanted == "auto":
        rule = "lines" if any(_NOTE.search(solution) for solution in solutions) else "equations"
    if not any(map(_COUNTED[rule], solutions)):
        raise UsageError(
            f"none of the {len(solutions):,} gold solutions has a step by the rule `{rule}`",
            "--steps-by lines",
        )
    return rule, _COUNTED[rule]
