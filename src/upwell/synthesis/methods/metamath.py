"""A given question rephrased, answered again, or turned round so that one of its numbers is asked for.

MetaMath (arXiv 2309.12284): rephrasing, answer augmentation, self-verification and FOBAR, as in Xwin-Math's comparison.
The prompts are our own. All four know the right answer, so that a solution which misses it is turned down.
"""

from __future__ import annotations

import re

from upwell.synthesis.asking import Asked, Seed, TurnedDown
from upwell.synthesis.parsing import check_new, check_question, sections
from upwell.synthesis.solving import solve

REPHRASE = """\
You are a mathematics teacher who writes exercises.

Given question:
{question}

Your task: say the given question in other words. Keep every number and every condition, so that its answer stays the
same, and do not answer it.

Reply with exactly this labelled section and nothing else:
REPHRASED QUESTION: <the question in other words>
"""
STATEMENT = """\
You are a mathematics teacher who writes exercises.

Given question:
{question}
Its answer: {answer}

Your task: rewrite the question together with its answer as a statement that asks nothing. Keep every number, every
condition and the letter x as they are.

Reply with exactly this labelled section and nothing else:
STATEMENT: <the statement>
"""
_UNKNOWN = "What is the value of unknown variable x?"
_IF_KNOWN = (
    "If we know the answer to the above question is {answer}, what is the value of unknown variable x?"
)
_HIDEABLE = re.compile(r"(?<![\w.,/^{\\-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w/^}]|[.,]\d)")


def rephrase(seed: Seed) -> Asked:
    """The seed in other words, its answer checked against the seed's."""
    known = _known(seed)
    [reply] = yield [REPHRASE.format(question=seed.problem.question)]
    [question] = sections(reply, ("REPHRASED QUESTION",), "question")
    check_question(question, numeric=seed.wish.like == "gsm8k")
    check_new(question, seed.problem.question, reworded=True)
    return (yield from solve(question, seed, known=known))


def answer_augmentation(seed: Seed) -> Asked:
    """Another solution of the seed itself."""
    return (yield from solve(seed.problem.question, seed, known=_known(seed)))


def fobar(seed: Seed) -> Asked:
    """The seed with a number hidden and its answer given; the number is asked for."""
    known = _known(seed)
    question, hidden = _with_x(seed)
    asked = f"{question}\n{_IF_KNOWN.format(answer=known)}"
    return (yield from solve(asked, seed, known=hidden))


def self_verification(seed: Seed) -> Asked:
    """The seed and its answer as a statement with a number hidden, which is asked for."""
    known = _known(seed)
    question, hidden = _with_x(seed)
    [reply] = yield [STATEMENT.format(question=question, answer=known)]
    [statement] = sections(reply, ("STATEMENT",), "question")
    if not re.search(r"\bx\b", statement):
        raise TurnedDown("question", "seed does not fit", "the statement has lost its x")
    asked = f"{statement} {_UNKNOWN}"
    check_question(asked, numeric=seed.wish.like == "gsm8k")
    return (yield from solve(asked, seed, known=hidden))


def _known(seed: Seed) -> str:
    if not seed.problem.answer.strip():
        raise TurnedDown("question", "seed does not fit", "it has no answer")
    return seed.problem.answer


def _with_x(seed: Seed) -> tuple[str, str]:
    """The seed's question with one of its numbers, chosen by lot, replaced by x; and that number."""
    question = seed.problem.question
    numbers = list(_HIDEABLE.finditer(question))
    if not numbers or re.search(r"\bx\b", question):
        raise TurnedDown("question", "seed does not fit", "it has no number to hide, or an x of its own")
    chosen = numbers[seed.chance % len(numbers)]
    return f"{question[: chosen.start()]}x{question[chosen.end() :]}", chosen[0].replace(",", "")
