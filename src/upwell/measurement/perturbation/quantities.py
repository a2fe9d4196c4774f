"""What a number in a word problem may stand for: a figure of the question, a word, a conversion of units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from upwell.measurement.perturbation.arithmetic import NUMBER, as_number

_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS: dict[str, tuple[str, ...]] = {
    **{word: (str(number),) for number, word in enumerate(_UNITS)},
    **{word: (str(10 * number),) for number, word in enumerate(_TENS, 2)},
    "hundred": ("100",), "thousand": ("1000",), "million": ("1000000",), "dozen": ("12",), "dozens": ("12",),
    "half": ("2", "1/2"), "halves": ("2", "1/2"), "halved": ("2", "1/2"), "twice": ("2",), "double": ("2",),
    "doubled": ("2",), "doubles": ("2",), "both": ("2",), "pair": ("2",), "pairs": ("2",), "couple": ("2",),
    "each": ("1",), "once": ("1",), "triple": ("3",), "triples": ("3",), "tripled": ("3",), "thrice": ("3",),
    "quadruple": ("4",), "third": ("3", "1/3", "2/3"), "thirds": ("3", "1/3", "2/3"),
    "quarter": ("4", "1/4", "3/4", "25"), "quarters": ("4", "1/4", "3/4", "25"),
    "fourth": ("4", "1/4", "3/4"), "fourths": ("4", "1/4", "3/4"), "fifth": ("5", "1/5"), "fifths": ("5", "1/5"),
    "sixth": ("6", "1/6"), "seventh": ("7", "1/7"), "eighth": ("8", "1/8"), "ninth": ("9", "1/9"),
    "tenth": ("10", "1/10"),
}  # fmt: skip
_CONVERSIONS = {
    "7": "week", "12": "year|month|foot|feet|inch", "24": "day|hour", "60": "hour|minute|second", "365": "year",
    "52": "week|year", "30": "month|day", "100": "%|percent|dollar|cent|\\$|meter|century", "3600": "hour|second",
    "1000": "kilo|km|kg|gram|liter|litre|meter|ml", "16": "pound|ounce", "3": "yard|feet|foot", "36": "yard|inch",
    "4": "week|month|quart|gallon|season", "5": "nickel|weekday", "10": "dime|decade", "25": "quarter",
    "2": "weekend|pint|half|twice", "1440": "day", "8": "ounce|cup", "5280": "mile",
}  # fmt: skip
"""Factors between units, each with words of a question that can call for it."""
FAMOUS = frozenset(map(Fraction, ["1", "2", *_CONVERSIONS, "50", "0"]))
"""Values that a solution may bring in by itself: a figure of such a value is never changed."""
_BOUND = re.compile(
    r"\s*(?:[-–/:%°]|percent|(?:more |other |full )?(?:day|hour|minute|second|week|month|year|decade)s?\b|"
    r"[ap]\.?m\b|o'clock|st\b|nd\b|rd\b|th\b|[A-Za-z]\w*(?<=\d))",
    re.IGNORECASE,
)
"""What follows a figure that is no free amount: a share, a part of a fraction or a date, a length of time."""
_HELD = re.compile(
    r"(?:[-–/:#]|\b(?:size|grade|age|chapter|page|number|no\.|room|level|day|year|in|at))\s*$", re.I
)
"""What stands before one."""


@dataclass(frozen=True)
class Figure:
    """A number in digits in a question."""

    start: int
    end: int
    text: str
    value: Fraction
    free: bool
    """Whether it is an amount that could as well be another."""


def figures(question: str) -> list[Figure]:
    """The numbers of a question, in order."""
    return list(_figures(question))


def _figures(question: str) -> Iterator[Figure]:
    for match in NUMBER.finditer(question):
        value = as_number(match[0])
        if value is None:
            continue
        before, after = question[: match.start()], question[match.end() :]
        attached = bool(re.search(r"\w$", before)) or bool(re.match(r"\w", after))
        held = _HELD.search(before) or _BOUND.match(after) or (1900 <= value <= 2100 and "," not in match[0])
        free = not (attached or held) and value not in FAMOUS and value > 1
        yield Figure(match.start(), match.end(), match[0], value, free)


def spelled_out(question: str) -> set[Fraction]:
    """Values of the words of a question: `three`, `twenty-five`, `half`."""
    found: set[Fraction] = set()
    previous: str | None = None
    for word in re.findall(r"[a-z]+", question.lower()):
        found.update(map(Fraction, _WORDS.get(word, ())))
        if previous in _TENS and word in _UNITS[1:10]:
            found.add(Fraction(10 * (_TENS.index(previous) + 2) + _UNITS.index(word)))
        previous = word
    return found


def constants(question: str) -> set[Fraction]:
    """Values that a solution may use without a figure of that value: of words, shares, fractions, and units."""
    text = question.lower()
    found = {Fraction(0), Fraction(1)} | spelled_out(question)
    found.update(Fraction(value) for value, words in _CONVERSIONS.items() if re.search(words, text))
    for figure in figures(question):
        if re.match(r"\s*(?:%|percent|cents?\b|¢)", question[figure.end :]):
            share = figure.value / 100
            found.update((share, 1 - share, 1 + share, figure.value, 100 - figure.value, 100 + figure.value))
    for top, bottom in re.findall(r"(\d+)\s*/\s*(\d+)", text):
        if int(bottom):
            part = Fraction(int(top), int(bottom))
            found.update((part, 1 - part, 1 + part, Fraction(int(bottom) - int(top))))
    return found
