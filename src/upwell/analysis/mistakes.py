"""What kind of mistake a wrong response is: the first class of `CLASSES` whose rule it meets (docs/analysis.md)."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from itertools import islice

from upwell.analysis.stepping import equations
from upwell.grading import check_equations
from upwell.grading.guesses import numbers

CLASSES = ("repetition", "truncation", "format", "arithmetic", "quantity", "missing", "other")
"""In the order in which they are tried."""
SAYS = {
    "repetition": "go round in circles",
    "truncation": "are cut off",
    "format": "give no answer that can be found",
    "arithmetic": "write down a wrong equation",
    "quantity": "compute with a number from nowhere",
    "missing": "have fewer steps than the gold solution",
    "other": "go wrong in a way that no rule sees",
}
_CYCLE = 240
"""Characters of the end that have to be one unit, repeated four times or more."""
_SEED = 20
_LONG = 15
"""Characters from which a line or sentence that comes back counts."""
_OFTEN = 4
_PIECE = re.compile(r"\n|(?<=[.!?])\s+")
_NOTE = re.compile(r"<<[^<>]*>>")
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_FIGURE = re.compile(rf"(?<![\w.])(?:{_NUMBER})(?![\d])")
_TEX = re.compile(r"\\(?:times|cdot)(?![A-Za-z])|\\div(?![A-Za-z])|\\(?=[$%])|\{,\}|\\[,!;]")
_RESULT = re.compile(r"(?:=|≈)\s*[-−$(]*\s*$")
"""In front of a number that a calculation gives."""
_BEHIND_SIGN = re.compile(r"[+*/×÷·−]\s*[$(]*\s*$|\s[-x]\s*[$(]*\s*$|\d\s?[-x]\s?[$(]*$")
_BEFORE_SIGN = re.compile(r"\s?%?\)?\s?(?:[*/×÷·−+]|[-x](?=[\s$(]*[\d.]))\s*[$(]*[\d.]")
"""Around a number that a calculation uses."""
_COEFFICIENT = re.compile(r"\s?[*·]?\s?[a-zA-Z](?![A-Za-z])|\s?[*·]?\s?\\?[({]")
"""Behind a number that multiplies an unknown."""
_AROUND = 12
_FREE = frozenset((0.0, 1.0, 2.0, 100.0, 0.5))
"""Numbers that any solution may bring in by itself."""
_UNITS = {
    "week": (7, 52), "weekend": (2,), "year": (12, 52, 365), "month": (12, 4, 30), "day": (24, 7, 365, 30, 5),
    "hour": (60, 24), "minute": (60,), "second": (60, 3600), "feet": (12, 3), "foot": (12, 3), "inch": (12,),
    "yard": (3, 36), "mile": (5280,), "pound": (16,), "ounce": (16, 8), "gallon": (4, 16), "quart": (4,), "pint": (2,),
    "cup": (8, 16), "decade": (10,), "centur": (100,), "kilo": (1000,), "km": (1000,), "kg": (1000,), "gram": (1000,),
    "meter": (1000,), "liter": (1000,), "ml": (1000,), "dime": (10, 0.1), "nickel": (5, 0.05), "quarter": (25, 4, 0.25),
    "penn": (100, 0.01), "cent": (100, 0.01), "dollar": (100,), "season": (4,), "dozen": (12,), "triangle": (3, 180),
    "square": (4,), "circle": (360,), "average": (3,), "weekday": (5,), "alphabet": (26,), "letter": (26,),
    "noon": (12,), "midnight": (12,), "january": (31,), "february": (28,), "march": (31,), "april": (30,),
    "may": (31,), "june": (30,), "july": (31,), "august": (31,), "september": (30,), "october": (31,),
    "november": (30,), "december": (31,),
}  # fmt: skip
"""Factors that a question calls for by a word."""
_PLACES = 6
MOST_CHARS = 20_000
"""Characters of a response that are looked at."""
_MOST_NUMBERS = 300
"""Numbers of a response whose origin is looked for."""


def mistake(text: str, finish: str | None, answer: str | None, question: str, gold_steps: int) -> str:
    """The class of a wrong response.

    Args:
        text: The response.
        finish: How it ended, `length` where it was cut off.
        answer: What the grader took for its answer.
        question: Of the problem; may be empty.
        gold_steps: Lines and sentences with an equation of the gold solution; 0 where there is none.
    """
    text = text[:MOST_CHARS]
    if repeats(text):
        return "repetition"
    if finish == "length":
        return "truncation"
    if answer is None:
        return "format"
    if check_equations(text).wrong:
        return "arithmetic"
    if question and foreign(text, question) is not None:
        return "quantity"
    if equations(text) < gold_steps:
        return "missing"
    return "other"


def repeats(text: str) -> bool:
    """Whether the end is one unit over and over, or a line or sentence occurs four times or more."""
    end = text.rstrip()[-_CYCLE:]
    if len(end) == _CYCLE:
        place = end.rfind(end[-_SEED:], 0, _CYCLE - 1)
        if place >= 0:
            period = _CYCLE - _SEED - place
            if period * _OFTEN <= _CYCLE and end[period:] == end[:-period]:
                return True
    pieces = [piece for piece in map(str.strip, _PIECE.split(text)) if len(piece) >= _LONG]
    return len(pieces) >= _OFTEN and Counter(pieces).most_common(1)[0][1] >= _OFTEN


def foreign(text: str, question: str) -> float | None:
    """The first number that a calculation uses and that comes from nowhere.

    It is not in the question, not written before, not one operation away from two such numbers, and no factor that
    anybody or the question's words bring in.
    """
    known, free = {*_given(question), 1.0}, _called_for(question)
    plain = _NOTE.sub("", _TEX.sub(_written, text)) if "<<" in text or "\\" in text else text
    for found in islice(_FIGURE.finditer(plain), _MOST_NUMBERS):
        value = round(float(found[0].replace(",", "")), _PLACES)
        if value in known:
            continue
        before = plain[max(found.start() - _AROUND, 0) : found.start()]
        if value in free or _RESULT.search(before) or _COEFFICIENT.match(plain, found.end()):
            known.add(value)
        elif _BEHIND_SIGN.search(before) or _BEFORE_SIGN.match(plain, found.end()):
            if not _near(value, known):
                return value
            known.add(value)
    return None


def _written(command: re.Match[str]) -> str:
    return {"\\times": "*", "\\cdot": "*", "\\div": "/"}.get(command[0], "")


def _near(value: float, known: set[float]) -> bool:
    """Whether the number is known with a percent sign taken off or put on, or a result of one operation on two numbers
    that are known."""
    if round(value / 100, _PLACES) in known or round(value * 100, _PLACES) in known:
        return True
    for one in known:
        if round(value - one, _PLACES) in known or round(value + one, _PLACES) in known:
            return True
        if one and (round(value / one, _PLACES) in known or round(value * one, _PLACES) in known):
            return True
    return False


@lru_cache(maxsize=4096)
def _given(question: str) -> frozenset[float]:
    """The numbers of a question, in figures and words, and the shares that are left of its percentages."""
    found = set()
    for readings in numbers(question):
        for value in readings:
            found.update(_floats(value))
    for readings in numbers(question):
        if len(readings) > 1:
            share = readings[1]
            for value in (1 - share, 1 + share, 100 - readings[0], 100 + readings[0]):
                found.update(_floats(value))
    found.update(round(float(figure.replace(",", "")), _PLACES) for figure in _FIGURE.findall(question))
    return frozenset(found)


@lru_cache(maxsize=4096)
def _called_for(question: str) -> frozenset[float]:
    text = question.lower()
    return _FREE.union(*(map(float, factors) for word, factors in _UNITS.items() if word in text))


def _floats(value: Fraction) -> list[float]:
    """The number, and what a fraction is made of."""
    try:
        parts = (
            [value]
            if value.denominator == 1
            else [value, Fraction(value.numerator), Fraction(value.denominator)]
        )
        return [round(abs(float(part)), _PLACES) for part in parts]
    except OverflowError:
        return []
