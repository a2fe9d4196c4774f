"""What a method asks of a teacher, what it makes of the answers, and how it turns a reply down."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from upwell.records import Problem, Response


class TurnedDown(Exception):
    """The draft is not to be had from these replies.

    Args:
        step: where in the making: `question`, `solution`, `consensus` or `resolve`.
        reason: what is wrong, one of `REASONS`.
        detail: what it was, for a reader.
    """

    def __init__(self, step: str, reason: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        super().__init__(reason)
        self.step, self.reason, self.detail = step, reason, detail


REASONS = {
    "cut off": "the reply reached the token limit",
    "missing section": "a labelled section is not there, or is empty",
    "repeated section": "a labelled section is there twice, so which one counts cannot be told",
    "no question": "what stands where the question should is none: no words, or pages of them",
    "several answers": "the question asks for more than one thing, or the final answer is more than one",
    "answer in the question": "the question says its own answer, or holds a solution",
    "not a number": "the final answer is no number, where one was asked for",
    "no answer": "the solution names no final answer",
    "copy of its seed": "the question is its seed again, word for word or nearly so",
    "contradicts itself": "the final answer differs from what the last line of the solution says",
    "other answer": "the answer differs from the one that is known to be right",
    "no consensus": "too few of the solutions agree on an answer",
    "re-solve differs": "asked again, without the teacher's own solution, another answer comes out",
    "seed does not fit": "the seed lacks what the method needs: an answer, a number to change or to hide",
}
"""Why a reply is turned down."""


@dataclass(frozen=True)
class Made:
    """A draft in the making: what the replies were read as."""

    question: str
    answer: str
    solution: str
    level: str | None = None
    subject: str | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class Wish:
    """How drafts are wanted; the same for all of a run."""

    like: str = "gsm8k"
    """`gsm8k`: word problems whose answer is a number; `math`: competition problems with any answer."""
    verification: bool = True
    solutions: int = 1
    consensus: float | None = None
    """Share of the solutions that have to agree, and more; None: the first solution is taken."""
    resolve: bool = False


@dataclass(frozen=True)
class Seed:
    """What one draft starts from."""

    problem: Problem
    chance: int
    """A number from 0 to 2**63, fixed for this draft: what a method draws by lot, it draws by this."""
    wish: Wish

    def with_question(self, question: str) -> Seed:
        """The same, with another question."""
        return replace(self, problem=Problem(key=self.problem.key, question=question, answer=""))


Asked = Generator[list[str], list[Response], Made]
"""One draft being made. It yields prompts to be asked at once, is sent their replies in order, and returns the draft or
raises `TurnedDown`. It has no other input, so that it can be run again over replies that are on disk."""
