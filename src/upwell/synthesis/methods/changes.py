"""A given question changed in one respect, then solved: the methods that Xwin-Math compares its own with.

Xwin-Math (arXiv 2403.04706), figure 6; the prompts are our own, for the paper prints none.
"""

from __future__ import annotations

import re

from upwell.synthesis.asking import Asked, Seed, TurnedDown
from upwell.synthesis.parsing import check_new, check_question, sections
from upwell.synthesis.solving import solve

CHANGE = """\
You are a professional mathematics teacher who writes exercises.

Given question:
{question}

Your task: {task}

The changed question
- asks for one thing only{form};
- makes sense: amounts are possible, and nothing contradicts anything else;
- can be answered without having seen the given question;
- does not contain its solution or its answer.

Reply with exactly this labelled section and nothing else:
NEW QUESTION: <the changed question>
"""
_ONE_NUMBER = " and has one number as its answer"

TASKS = {
    "add-constraint": "add one more constraint or condition to the given question, so that another step is needed to "
    "solve it. Leave the rest of it as it is.",
    "change-numbers": "replace the numbers in the given question by other ones, so that the answer changes too. Leave "
    "the story and the wording as they are.",
    "change-background": "move the given question to another story: other people, things and places. Leave all numbers "
    "and how they are related as they are.",
    "change-numbers-and-background": "move the given question to another story, with other people, things and places, "
    "and replace its numbers by other ones. Leave how the amounts are related as it is.",
}
_DIGITS = re.compile(r"\d+(?:\.\d+)?")


def change(seed: Seed, name: str) -> Asked:
    """One question, changed as the method's name says, with its solution."""
    numeric = seed.wish.like == "gsm8k"
    prompt = CHANGE.format(
        question=seed.problem.question, task=TASKS[name], form=_ONE_NUMBER if numeric else ""
    )
    [reply] = yield [prompt]
    [question] = sections(reply, ("NEW QUESTION",), "question")
    check_question(question, numeric=numeric)
    check_new(question, seed.problem.question, reworded=True)
    if name == "change-numbers" and _DIGITS.findall(question) == _DIGITS.findall(seed.problem.question):
        raise TurnedDown("question", "copy of its seed", "it has the seed's numbers")
    return (yield from solve(question, seed))
