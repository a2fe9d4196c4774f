"""Replies read strictly: what does not hold what was asked for is turned down with its reason."""

from __future__ import annotations

import re

from upwell.grading import accepts, extract, kind
from upwell.grading.equations import equations
from upwell.records import Response
from upwell.synthesis.asking import TurnedDown

_BEFORE = r"[ \t]{0,8}[#>*_`]{0,6}[ \t]{0,8}(?:\d{1,2}[.)][ \t]{0,4})?[*_`]{0,4}"
_AFTER = r"[*_`]{0,4}[ \t]{0,4}:[*_`]{0,4}"
_QUESTION_MARK = re.compile(r"\?(?=\s|$|[\"')\]*])")
_PARTS = re.compile(r"(?:^|\s)\(?(?:a|i|1)[).]\s.{0,2000}?\s\(?(?:b|ii|2)[).]\s", re.S)
_SEVERAL = re.compile(
    r"\b(?:how (?:many|much|long|far|old|often)|what (?:is|are|was|were|percentage|fraction))\b[^?.!]{0,300}?"
    r"(?:,\s*|\s)and\s+(?:how (?:many|much|long|far|old|often)|what (?:is|are|was|were|percentage|fraction))\b",
    re.I,
)
_GIVEN_AWAY = re.compile(
    r"\b(?:final answer|the answer is|the answer would be|(?:full |detailed )?solution\s*:|answer\s*:)|####|\\boxed",
    re.I,
)
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[-−]?\s?(?:[$€£]\s?)?[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s?/\s?\d+)?")
_VALUE = re.compile(r"(?<![\w.])-?\$?\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+)?")
_SIMILAR = 0.9
"""Share of the words, counted with their number, that two questions have in common from which one is a copy."""
_LONGEST_QUESTION = 4_000
NUMBERS = ("integer", "decimal", "fraction", "percent", "number")


def sections(reply: Response, names: tuple[str, ...], step: str) -> list[str]:
    """The text under each heading, in the order of `names`; headings may be in bold, numbered or marked with #.

    Raises:
        TurnedDown: the reply was cut off, or a section is missing, empty, repeated or out of order.
    """
    if reply.finish == "length":
        raise TurnedDown(step, "cut off", reply.text[-200:])
    heading = re.compile(rf"^{_BEFORE}({'|'.join(map(re.escape, names))}){_AFTER}", re.M | re.I)
    found = list(heading.finditer(reply.text))
    named = [match[1].upper() for match in found]
    for name in names:
        if name not in named:
            raise TurnedDown(step, "missing section", name)
        if named.count(name) > 1:
            raise TurnedDown(step, "repeated section", name)
    if named != list(names):
        raise TurnedDown(step, "missing section", f"{names[0]} before {names[-1]}")
    ends = [match.start() for match in found[1:]] + [len(reply.text)]
    texts = [
        reply.text[match.end() : end].strip().strip("*").strip()
        for match, end in zip(found, ends, strict=True)
    ]
    for name, text in zip(names, texts, strict=True):
        if not text:
            raise TurnedDown(step, "missing section", name)
    return texts


def check_question(question: str, *, numeric: bool) -> None:
    """Refuse a question that asks for several things or holds its solution.

    Raises:
        TurnedDown: with the reason.
    """
    if len(question) > _LONGEST_QUESTION:
        raise TurnedDown("question", "no question", f"{len(question):,} characters")
    if len(_words(question)) < 2:
        raise TurnedDown("question", "no question", question[:200])
    if given := _GIVEN_AWAY.search(question):
        raise TurnedDown("question", "answer in the question", given[0])
    asked = len(_QUESTION_MARK.findall(question))
    if asked > 1 or _PARTS.search(question) or (numeric and _SEVERAL.search(question)):
        raise TurnedDown("question", "several answers", question[-200:])


def check_new(question: str, seed: str, *, reworded: bool = False) -> None:
    """Refuse a question that is its seed again.

    Args:
        question: the new one.
        seed: what it was made from.
        reworded: whether only wording or numbers are to change, so that most words may be the same.

    Raises:
        TurnedDown: with the reason.
    """
    new, old = _words(question), _words(seed)
    if new == old:
        raise TurnedDown("question", "copy of its seed", question[:200])
    if not reworded:
        counts: dict[str, int] = {}
        for word in old:
            counts[word] = counts.get(word, 0) + 1
        shared = 0
        for word in new:
            if counts.get(word, 0):
                counts[word] -= 1
                shared += 1
        if shared >= _SIMILAR * max(len(new), len(old)):
            raise TurnedDown("question", "copy of its seed", question[:200])


def solution_of(reply: Response, *, numeric: bool) -> tuple[str, str]:
    """The solution and the final answer of a reply with these two sections.

    Raises:
        TurnedDown: there is none, or it is no number where one was asked for, or it is not what the solution says.
    """
    solution, final = sections(reply, ("SOLUTION", "FINAL ANSWER"), "solution")
    answer = _final(final, numeric=numeric)
    last = _last_value(solution, numeric=numeric)
    if last is not None and accepts(answer, last).correct is False and accepts(last, answer).correct is False:
        raise TurnedDown(
            "solution", "contradicts itself", f"solution {last[:80]}, final answer {answer[:80]}"
        )
    return solution, answer


def check_not_given(question: str, answer: str) -> None:
    """Refuse a question that works its own answer out, as in "so she has 3 + 4 = 7 apples; how many has she?".

    Raises:
        TurnedDown: with the reason.
    """
    for equation in equations(question):
        right = equation.text.rpartition("=")[2].strip(" .$")
        if equation.holds and accepts(answer, right).correct:
            raise TurnedDown("question", "answer in the question", equation.text)


def same_answer(one: str, other: str) -> bool:
    """Whether the rules hold two answers for equal; what only a symbolic engine could tell is not."""
    return bool(accepts(one, other).correct)


def is_number(answer: str) -> bool:
    """Whether an answer is one number."""
    return kind(answer) in NUMBERS


def _final(text: str, *, numeric: bool) -> str:
    text = text.strip()
    boxed = extract(text, "boxed")
    answer = (boxed or text).strip().strip("$").strip().rstrip(".").strip()
    if boxed is None and answer.startswith("\\(") and answer.endswith("\\)"):
        answer = answer[2:-2].strip()
    if not answer:
        raise TurnedDown("solution", "missing section", "FINAL ANSWER")
    if not numeric:
        if "\n" in answer or len(answer) > 300:
            raise TurnedDown("solution", "no answer", answer[:200])
        return answer
    if _NUMBER.fullmatch(answer.rstrip("% ")) and is_number(answer):
        return answer
    if len(_VALUE.findall(answer)) > 1 or kind(answer) in ("list", "set", "tuple", "record"):
        raise TurnedDown("solution", "several answers", answer[:200])
    raise TurnedDown("solution", "not a number", answer[:200])


def _last_value(solution: str, *, numeric: bool) -> str | None:
    """What the solution itself ends on, where that can be told."""
    if numeric:
        for line in reversed(solution.splitlines()):
            if values := _VALUE.findall(line):
                marked = extract(line, "auto")
                return (
                    marked if marked is not None and is_number(marked) else values[-1].strip("$").rstrip(",")
                )
        return None
    lines = [line for line in solution.splitlines() if line.strip()]
    said = extract(lines[-1], "boxed") if lines else None
    return said or (extract(lines[-1], "auto") if lines and "answer" in lines[-1].lower() else None)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
