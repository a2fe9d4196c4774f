"""Steps: drafts in, drafts and rejects out. Those here look at one row at a time."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from upwell.curation.scratch import Spool
from upwell.grading import RuleGrader, extract, soundness
from upwell.problems.answers import last_boxed
from upwell.records import Draft, Problem, Reject, Response

READ = "read"
"""The step under which rows are rejected that do not become drafts."""


class Step(Protocol):
    """Drafts in, drafts and rejects out: each draft comes out once, as it was, changed, or as a reject."""

    def __call__(self, drafts: Iterator[Draft], /) -> Iterator[Draft | Reject]: ...


OfAll = Callable[[Spool], Iterator[Draft | Reject]]
"""A step that is given all rows on disk, so that it can look at each before it decides on the first."""


@dataclass
class Tally:
    """What a step took and gave."""

    step: str
    taken: int | None = None
    """None where every row that was taken was given or rejected once."""
    given: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Rejects by reason."""

    def plain(self) -> dict[str, object]:
        """As a summary has it."""
        taken = self.given + sum(self.rejected.values()) if self.taken is None else self.taken
        return {
            "step": self.step,
            "in": taken,
            "out": self.given,
            "rejected": dict(self.rejected.most_common()),
        }


def rejected(draft: Draft, step: str, reason: str) -> Reject:
    """A reject with the whole row as its text. What follows a colon in the reason is of this row alone."""
    text = f"{draft.question}\n\n{draft.solution}".strip()
    return Reject(key=draft.key, step=step, reason=reason, rejected=text)


def tallied(
    rows: Iterable[Draft | Reject], tally: Tally, reject: Callable[[Reject], None]
) -> Iterator[Draft]:
    """The drafts among what a step gave; its rejects go to `reject`."""
    for row in rows:
        if isinstance(row, Reject):
            tally.rejected[row.reason.partition(": ")[0]] += 1
            reject(row)
        else:
            tally.given += 1
            yield row


def passing(name: str, fault: Callable[[Draft], str | None]) -> Step:
    """The step that turns down rows in which `fault` finds one."""

    def step(drafts: Iterator[Draft], /) -> Iterator[Draft | Reject]:
        for draft in drafts:
            reason = fault(draft)
            yield draft if reason is None else rejected(draft, name, reason)

    return step


def length_fault(least: int | None, most: int | None) -> Callable[[Draft], str | None]:
    """Whether the solution has fewer or more words (what white space separates) than this."""

    def fault(draft: Draft) -> str | None:
        words = len(draft.solution.split())
        if least is not None and words < least:
            return f"too short: {words} words"
        return f"too long: {words} words" if most is not None and words > most else None

    return fault


def unsolved(draft: Draft) -> str | None:
    """Whether there is nothing to learn from."""
    if not draft.question.strip():
        return "no question"
    return None if draft.solution.strip() or draft.answer.strip() else "no solution"


def unanswered(style: str) -> Callable[[Draft], str | None]:
    """Whether the solution gives no final answer that this style of grading finds."""
    return lambda draft: None if extract(draft.solution, style) is not None else "no final answer"


_ENDS = re.compile(r"[.!?)\]}$|*`\"'>’”。！？\d%]\s*\Z")
_ANSWER_LINE = re.compile(r"(?:####|\\boxed|[Aa]nswer)[^\n]*\s*\Z")
_ENVIRONMENT = re.compile(r"\\(begin|end)\{")


def unended(draft: Draft) -> str | None:
    """Whether the solution looks cut off: it ends within a sentence, a formula or an environment.

    A last line that gives the answer is an end whatever its last character is. A text that was cut just behind a
    full stop cannot be told from a whole one.
    """
    text = draft.solution.rstrip()
    opened = Counter(_ENVIRONMENT.findall(text))
    if opened["begin"] > opened["end"]:
        return "cut off: an environment is open"
    if "\\boxed" in text and last_boxed(text) is None:
        return "cut off: a box is open"
    if _ENDS.search(text[-20:]) or _ANSWER_LINE.search(text[-300:]):
        return None
    return "cut off: no end of a sentence"


def unsound(draft: Draft) -> str | None:
    """Whether an equation that the solution writes down is wrong (docs/soundness.md)."""
    return "wrong arithmetic" if soundness(draft.solution) == "no" else None


LOOP_WORDS = 8
LOOP_SHARE = 0.3


def looping(draft: Draft) -> str | None:
    """Whether more than `LOOP_SHARE` of the solution's runs of `LOOP_WORDS` words stood in it before."""
    words = draft.solution.split()
    runs = len(words) - LOOP_WORDS + 1
    if runs < LOOP_WORDS:
        return None
    different = len({tuple(words[at : at + LOOP_WORDS]) for at in range(runs)})
    again = 1 - different / runs
    return f"repeats itself: {again:.0%} of its runs of {LOOP_WORDS} words" if again > LOOP_SHARE else None


FAULTS: dict[str, Callable[[Draft], str | None]] = {"ends": unended, "sound": unsound, "loopless": looping}
"""What `--require` can ask for beside `answer` and `agrees`, and what finds where it is not so."""
REQUIREMENTS = ("answer", "agrees", *FAULTS)

SCRIPTS = (
    "latin", "greek", "cyrillic", "arabic", "hebrew", "devanagari", "bengali", "tamil", "thai", "hangul", "cjk",
    "hiragana", "katakana",
)  # fmt: skip
SCRIPT_SHARE = 0.9


def foreign(script: str, least: float) -> Callable[[Draft], str | None]:
    """Whether fewer than this share of the letters of question and solution are of a script."""
    name = script.upper() + " "

    @functools.lru_cache(1 << 16)
    def own(letter: str) -> bool:
        return unicodedata.name(letter, "").startswith(name)

    def fault(draft: Draft) -> str | None:
        text = draft.question + draft.solution
        if script == "latin" and text.isascii():
            return None
        letters = [letter for letter in text if letter.isalpha()]
        found = sum(map(own, letters))
        if not letters or found >= least * len(letters):
            return None
        return f"other script: {found / len(letters):.0%} of its letters are {script}"

    return fault


def agreeing(grader: RuleGrader, name: str) -> Step:
    """The step that turns down rows whose solution ends with another answer than the row's."""

    def step(drafts: Iterator[Draft], /) -> Iterator[Draft | Reject]:
        waiting: deque[Draft] = deque()

        def pairs() -> Iterator[tuple[Problem, Response]]:
            for draft in drafts:
                waiting.append(draft)
                problem = Problem(
                    key=draft.key, question="", answer=draft.answer, source=draft.source, split=draft.split
                )
                yield (
                    problem,
                    Response(key=draft.key, problem=draft.key, index=0, text=draft.solution, finish="stop"),
                )

        for verdict in grader.grade(pairs()):
            draft = waiting.popleft()
            if verdict.correct:
                yield draft
            elif verdict.trouble is not None:
                yield rejected(draft, name, f"could not tell: {verdict.trouble}")
            elif verdict.answer is None:
                yield rejected(draft, name, "no final answer")
            else:
                yield rejected(
                    draft, name, f"other answer: {verdict.answer[:80]} where the row says {draft.answer[:80]}"
                )

    return step
