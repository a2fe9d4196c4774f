"""A brand-new question from a given one, verified and repaired in the same call, then solved: Xwin-Math's method.

Xwin-Math (arXiv 2403.04706), section 3.1 and appendix B. The prompts are our own words for the principles named there;
those for competition problems are ours altogether, for the paper prints none.
"""

from __future__ import annotations

from upwell.synthesis.asking import Asked, Seed
from upwell.synthesis.parsing import check_new, check_question, sections
from upwell.synthesis.solving import solve

_ROLE = "You are a professional mathematics teacher who writes high-quality {kind}."
_KINDS = {"gsm8k": "word problems for school", "math": "problems for mathematics competitions"}

_PRINCIPLES = {
    "gsm8k": """\
- It asks for one thing only, is reasonable, builds on the given question, and has one number as its answer (a whole
  number or a decimal). Never ask for several amounts: "How many apples and how many pears are left?" is not allowed.
- It agrees with everyday sense: amounts are positive, people and things that cannot be divided come in whole numbers.
- It can be answered without having seen the given question: restate whatever you borrow from it.
- It does not contain its solution or its answer.""",
    "math": """\
- It asks for one thing only, builds on the given problem, and has one answer: a value or a closed expression. Never ask
  for several things, never for a proof.{target}
- It is well posed: there is exactly one answer, nothing needed is missing, and no condition contradicts another.
- It can be answered without having seen the given problem: restate whatever you borrow from it.
- It does not contain its solution or its answer.""",
}

VERIFIED = """\
{role}

Given question:
{question}

Your three tasks:
1. Write a new question that is similar to the given one but not the same.
2. Check the new question: solve it step by step, and see whether it keeps to the principles below.
3. Repair the new question according to your check.

Principles for the new question:
{principles}
- If it keeps to all of these already, leave it as it is.

Reply with exactly these three labelled sections and nothing else:
CREATED QUESTION: <the new question>
VERIFICATION AND MODIFICATION: <your solution, your check, and what has to change>
FINAL CREATED QUESTION: <the question after repair>
"""

CREATED = """\
{role}

Given question:
{question}

Your task: write a new question that is similar to the given one but not the same. Only write it, do not solve it.

Principles for the new question:
{principles}

Reply with exactly this labelled section and nothing else:
CREATED QUESTION: <the new question>
"""


def xwin(seed: Seed) -> Asked:
    """One new question with its solution."""
    problem, wish = seed.problem, seed.wish
    numeric = wish.like == "gsm8k"
    form = VERIFIED if wish.verification else CREATED
    prompt = form.format(
        role=_ROLE.format(kind=_KINDS[wish.like]),
        question=problem.question,
        principles=_PRINCIPLES[wish.like].format(target=target(seed)),
    )
    [reply] = yield [prompt]
    if wish.verification:
        names = ("CREATED QUESTION", "VERIFICATION AND MODIFICATION", "FINAL CREATED QUESTION")
        question = sections(reply, names, "question")[-1]
    else:
        [question] = sections(reply, ("CREATED QUESTION",), "question")
    check_question(question, numeric=numeric)
    check_new(question, problem.question)
    return (yield from solve(question, seed))


def target(seed: Seed) -> str:
    """What level and subject are asked for, in words; empty where the seed names none."""
    problem = seed.problem
    asked = [f"its subject is {problem.subject}"] if problem.subject else []
    asked += [f"its difficulty is {problem.level} (1 is easiest, 5 is hardest)"] if problem.level else []
    told = " and ".join(asked)
    return f"\n- {told[0].upper()}{told[1:]}." if told else ""
