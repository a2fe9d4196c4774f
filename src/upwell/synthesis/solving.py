"""The second half of every method: a question is solved, once or several times, and the answer believed or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

from upwell.grading import canonical, extract
from upwell.records import Response
from upwell.synthesis.asking import Made, Seed, TurnedDown
from upwell.synthesis.parsing import check_not_given, same_answer, solution_of

SOLVE = """\
You are an experienced mathematics teacher who writes model solutions.

Your two tasks for the problem below:
1. Write a detailed solution.
2. State the final answer.

Keep to these rules:
- Work step by step, one step a line, and show every calculation.
- {form}

Problem:
{question}

Reply with exactly these two labelled sections and nothing else:
SOLUTION: <the solution, step by step>
FINAL ANSWER: <the final answer alone>
"""
NUMERIC = "The final answer is a single number: no unit, no words, no formula."
ANY = "The final answer is a single value or expression in simplest form, in LaTeX where it is not a plain number."
RESOLVE = "{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
"""How a model is asked that is to be measured: nothing of the teacher's own solution is in it."""


def solve(
    question: str, seed: Seed, *, known: str | None = None
) -> Generator[list[str], list[Response], Made]:
    """Have the question solved as often as wished, and settle on an answer.

    Args:
        question: what is to be solved.
        seed: what it was made from, with the wishes.
        known: the right answer, where it is known.

    Raises:
        TurnedDown: no reply holds a solution, they do not agree, or the answer is not the known one.
    """
    wish = seed.wish
    numeric = wish.like == "gsm8k"
    prompt = SOLVE.format(form=NUMERIC if numeric else ANY, question=question)
    replies = yield [prompt] * wish.solutions
    solution, answer, agreement = _settled(replies, numeric=numeric, consensus=wish.consensus)
    if known is not None and not same_answer(known, answer):
        raise TurnedDown("solution", "other answer", f"{answer[:80]}, where {known[:80]} is right")
    check_not_given(question, answer)
    if wish.resolve:
        [again] = yield [RESOLVE.format(question=question)]
        _check_again(again, answer)
    return Made(question=question, answer=answer, solution=solution, agreement=agreement)


def _settled(
    replies: list[Response], *, numeric: bool, consensus: float | None
) -> tuple[str, str, float | None]:
    """A solution with its answer, and the share of the solutions that give this answer."""
    read: list[tuple[str, str]] = []
    refused: list[TurnedDown] = []
    for reply in replies:
        try:
            read.append(solution_of(reply, numeric=numeric))
        except TurnedDown as reason:
            refused.append(reason)
    if not read:
        raise refused[0]
    if consensus is None:
        solution, answer = read[0]
        agree = sum(canonical(other) == canonical(answer) for _, other in read)
        return solution, answer, agree / len(replies) if len(replies) > 1 else None
    votes = Counter(canonical(answer) for _, answer in read)
    (most, count), *others = votes.most_common()
    tie = bool(others) and others[0][1] == count
    # Out of all that were asked for: a reply that cannot be read agrees with nobody.
    if tie or count <= consensus * len(replies):
        told = ", ".join(f"{answer[:40]}" for _, answer in read)
        raise TurnedDown("consensus", "no consensus", f"{count} of {len(replies)} agree: {told}")
    solution, answer = next((text, answer) for text, answer in read if canonical(answer) == most)
    return solution, answer, count / len(replies)


def _check_again(reply: Response, answer: str) -> None:
    if reply.finish == "length":
        raise TurnedDown("resolve", "cut off", reply.text[-200:])
    found = extract(reply.text)
    if found is None:
        raise TurnedDown("resolve", "no answer", reply.text[-200:])
    if not same_answer(answer, found):
        raise TurnedDown("resolve", "re-solve differs", f"{found[:80]}, not {answer[:80]}")
