"""Amounts in several units of one dimension: 2 hours 30 minutes, 5 ft 6 in, 3 dollars and 20 cents."""

from __future__ import annotations

import re
from fractions import Fraction

from upwell.grading.answers import Answer
from upwell.grading.formulas import number

MAX_CHARS = 80
_DIMENSIONS: dict[str, dict[str, int]] = {
    "seconds": {
        "weeks week wks wk": 604_800, "days day d": 86_400, "hours hour hrs hr h": 3_600,
        "minutes minute mins min m": 60, "seconds second secs sec s": 1,
    },
    "months": {"years year yrs yr y": 12, "months month mos mo": 1},
    "inches": {"miles mile mi": 63_360, "yards yard yds yd": 36, "feet foot ft '": 12, "inches inch in \"": 1},
    "ounces": {"pounds pound lbs lb": 16, "ounces ounce oz": 1},
    "cents": {"dollars dollar": 100, "cents cent": 1},
    "millimetres": {
        "kilometers kilometres kilometer kilometre km": 10**6, "meters metres meter metre m": 1_000,
        "centimeters centimetres centimeter centimetre cm": 10, "millimeters millimetres mm": 1,
    },
    "grams": {"kilograms kilogram kg": 1_000, "grams gram g": 1},
}  # fmt: skip
_FACTORS: dict[str, list[tuple[str, int]]] = {}
for _dimension, _units in _DIMENSIONS.items():
    for _names, _factor in _units.items():
        for _unit in _names.split():
            _FACTORS.setdefault(_unit, []).append((_dimension, _factor))
_PART = re.compile(r"(\d+(?:\.\d+)?)\s?([A-Za-z]+|['\"])\.?(?:\s*(?:,\s*(?:and\s)?|and\s|\s)\s*|(?=\d)|$)")
_DEGREES = r"(-?)(\d+)\s?\^\s?(?:\\circ|\{\s?\\circ\s?\})"
_ARC = re.compile(
    rf"{_DEGREES}\s?(\d+)\s?(?:\^\s?\{{\s?'\s?\}}|')(?:\s?(\d+)\s?(?:\^\s?\{{\s?'\s?'\s?\}}|''|\"))?"
)


def amount(text: str) -> Answer | None:
    """The amount that `text` names in two or more units of falling size, or None.

    Degrees with minutes of arc are the number of degrees.
    """
    if len(text) > MAX_CHARS or not text[:2].strip("-")[:1].isdigit():
        return None
    if arc := _ARC.fullmatch(text):
        degrees = int(arc[2]) + Fraction(int(arc[3]), 60) + Fraction(int(arc[4] or 0), 3_600)
        return Answer("number", "", number(-degrees if arc[1] else degrees))
    parts, at = [], 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2].lower() not in _FACTORS:
            return None
        parts.append((Fraction(part[1]), part[2].lower()))
        at = part.end()
    if len(parts) < 2:
        return None
    for dimension in _DIMENSIONS:
        factors = [dict(_FACTORS[unit]).get(dimension, 0) for _, unit in parts]
        if 0 not in factors and sorted(set(factors), reverse=True) == factors:
            total = sum(
                (value * factor for (value, _), factor in zip(parts, factors, strict=True)), Fraction(0)
            )
            return Answer("amount", dimension, number(total))
    return None


def in_units(answer: Answer) -> list[Fraction]:
    """An answer of kind amount, in each of the units of its dimension."""
    assert answer.node is not None
    total = answer.node.value
    assert isinstance(total, Fraction)
    return [total / factor for factor in _DIMENSIONS[answer.text].values()]
