"""A teacher that is sometimes good and sometimes bad, in the ways that real ones are; also as the `upwell` command.

What it says follows from the request's seed. `BAD_QUESTIONS` and `BAD_SOLUTIONS` say for each fault the reason with
which a reply has to be turned down.

As a command (`python scripted_teacher.py synthesize ...`): SCRIPT_PAUSE, seconds per reply at most; SCRIPT_LOG, a file
that gets a line for every call; SCRIPT_FAIL, a share of calls that fail.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

from upwell.engines.base import Reply, Request
from upwell.engines.scripted import ScriptedEngine

NAMES = ("Ann", "Bo", "Chidi", "Dora", "Emre", "Fay")
THINGS = ("apples", "stamps", "marbles", "books")
QUESTION = re.compile(r"(\w+) has (\d+|x) (\w+) and buys (\d+|x) bags of (\d+|x) more")
TOTAL = re.compile(r"(?:answer to the above question is|has then) (\d+)")


def question(draw: random.Random) -> str:
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    a, b, c = draw.randrange(10, 99), draw.randrange(2, 9), draw.randrange(2, 30)
    return f"{name} has {a} {thing} and buys {b} bags of {c} more. How many {thing} does {name} have then?"


def _sections(asked: str, created: str, final: str, check: str = "It has one answer.") -> str:
    if "FINAL CREATED QUESTION" in asked:
        return f"CREATED QUESTION: {created}\nVERIFICATION AND MODIFICATION: {check}\nFINAL CREATED QUESTION: {final}"
    heading = next(
        h for h in ("CREATED QUESTION", "NEW QUESTION", "REPHRASED QUESTION", "STATEMENT") if h in asked
    )
    return f"{heading}: {final}"


def good_question(asked: str, draw: random.Random) -> str:
    said = question(draw)
    if "STATEMENT" in asked or "REPHRASED" in asked:
        seed, (name, _, thing, _, _) = _seed_of(asked), QUESTION.findall(asked)[-1]
        story = seed.partition(" How many")[0]
        total = asked.partition("Its answer: ")[2].partition("\n")[0]
        said = (
            f"{story} {name} has then {total} {thing}."
            if total
            else f"{story} What is the number of {thing} now?"
        )
    text = _sections(asked, question(draw), said)
    return draw.choice([text, re.sub(r"(?m)^([A-Z ]+):", r"**\1:**", text), "Here you are.\n" + text])


def _seed_of(asked: str) -> str:
    return asked.partition("Given question:\n")[2].partition("\n")[0]


BAD_QUESTIONS: dict[str, Any] = {
    "missing section": lambda asked, draw: f"CREATED: {question(draw)}",
    "repeated section": lambda asked, draw: (
        good_question(asked, draw) + "\nFINAL CREATED QUESTION: Another one?"
    ),
    "several answers": lambda asked, draw: _sections(
        asked, question(draw), question(draw).replace("?", ", and how many bags did they buy?")
    ),
    "answer in the question": lambda asked, draw: _sections(
        asked, question(draw), f"{question(draw)} The answer is {draw.randrange(99)}."
    ),
    "copy of its seed": lambda asked, draw: _sections(asked, question(draw), _seed_of(asked)),
    "no question": lambda asked, draw: _sections(asked, question(draw), "..."),
    "cut off": lambda asked, draw: Reply(
        key="", text=f"CREATED QUESTION: {question(draw)[:30]}", finish="length", tokens=400
    ),
}


def solved(asked: str) -> tuple[str, int]:
    """The solution and answer of the last question in a prompt; whatever else is asked has the answer 7."""
    found = QUESTION.findall(asked)
    if not found:
        return "1 + 6 = 7.", 7
    a, b, c = (found[-1][at] for at in (1, 3, 4))
    if "x" not in (a, b, c):
        a, b, c = int(a), int(b), int(c)
        total = a + b * c
        return (
            f"{b} bags of {c} are {b} * {c} = {b * c}.\nTogether with {a} that is {a} + {b * c} = {total}.",
            total,
        )
    total = int(TOTAL.findall(asked)[-1])
    x = total - int(b) * int(c) if a == "x" else (total - int(a)) // int(b if c == "x" else c)
    return f"Working backwards from {total}:\nx = {x}", x


def good_solution(asked: str, draw: random.Random) -> str:
    text, answer = solved(asked)
    final = draw.choice([f"{answer}", f"{answer}.", f"**{answer}**", f"${answer}$", f"\\boxed{{{answer}}}"])
    return f"SOLUTION: {text}\nFINAL ANSWER: {final}"


BAD_SOLUTIONS: dict[str, Any] = {
    "missing section": lambda asked, draw: solved(asked)[0],
    "several answers": lambda asked, draw: (
        f"SOLUTION: {solved(asked)[0]}\nFINAL ANSWER: {solved(asked)[1]} and 7"
    ),
    "not a number": lambda asked, draw: f"SOLUTION: {solved(asked)[0]}\nFINAL ANSWER: a great many",
    "contradicts itself": lambda asked, draw: (
        f"SOLUTION: {solved(asked)[0]}\nFINAL ANSWER: {solved(asked)[1] + 1}"
    ),
    "cut off": lambda asked, draw: Reply(key="", text="SOLUTION: well, 1 + 1", finish="length", tokens=400),
}


def _can(fault: str, asked: str) -> bool:
    """Whether a fault can be told from a good reply to such a prompt."""
    if "STATEMENT" in asked:
        return fault in ("missing section", "cut off")
    return fault != "repeated section" or "FINAL CREATED" in asked


def seeds(count: int) -> list[dict[str, str]]:
    """Seed questions with right answers, as rows of a file."""
    draw = random.Random(7)
    asked = [question(draw) for _ in range(count)]
    return [
        {
            "id": f"s{at}",
            "question": text,
            "answer": str(solved(text)[1]),
            "level": "2",
            "subject": "shopping",
        }
        for at, text in enumerate(asked)
    ]


class Teacher:
    """Answers requests; `bad` is the share of replies with a fault, and `faults` says which fault each call had."""

    def __init__(self, bad: float = 0.3, identity: str = "scripted-teacher") -> None:
        self.bad = bad
        self.faults: dict[str, str] = {}
        self.calls: list[str] = []
        self.engine = ScriptedEngine(self.say, identity=identity)

    def say(self, request: Request) -> str | Reply:
        self.calls.append(request.key)
        draw = random.Random(request.seed)
        asked = request.prompt
        solving = "SOLUTION:" in asked
        bad, good = (BAD_SOLUTIONS, good_solution) if solving else (BAD_QUESTIONS, good_question)
        if "final answer within" in asked:
            return f"It is \\boxed{{{solved(asked)[1] + (draw.random() < self.bad)}}}."
        names = [name for name in bad if _can(name, asked)]
        if draw.random() >= self.bad:
            return self._counted(good(asked, draw), request)
        fault = draw.choice(names)
        self.faults[request.key] = fault
        return self._counted(bad[fault](asked, draw), request)

    def _counted(self, said: str | Reply, request: Request) -> Reply:
        prompt = len(request.prompt.split())
        if isinstance(said, Reply):
            return Reply(
                key=request.key, text=said.text, finish=said.finish, tokens=said.tokens, prompt_tokens=prompt
            )
        return Reply(key=request.key, text=said, tokens=len(said.split()), prompt_tokens=prompt)


def main() -> None:
    from upwell.cli import main as upwell
    from upwell.synthesis import stages

    teacher = Teacher(bad=0.3)
    pause, fail = float(os.environ.get("SCRIPT_PAUSE", "0")), float(os.environ.get("SCRIPT_FAIL", "0"))
    log = Path(os.environ["SCRIPT_LOG"]) if "SCRIPT_LOG" in os.environ else None
    at_once = teacher.say

    def slowly(request: Request) -> str | Reply:
        time.sleep(random.random() * pause)
        if random.random() < fail:
            raise ConnectionError("the server hung up")
        if log is not None:
            with log.open("a") as file:
                file.write(request.key + "\n")
        return at_once(request)

    made = stages.synthesize
    stages.synthesize = lambda settings, watch=None: made(  # type: ignore[assignment]
        settings, engine=ScriptedEngine(slowly, identity="scripted-teacher"), watch=watch
    )
    sys.argv[0] = "upwell"
    upwell()


if __name__ == "__main__":
    main()
