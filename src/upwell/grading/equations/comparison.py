"""Whether two values are equal, up to rounding where one of them is written as a decimal."""

from __future__ import annotations

from upwell.grading.equations.ratios import Ratio
from upwell.grading.equations.reader import Side

_PRINTED_FLOAT = 10**10
"""A decimal of ten places and more was printed by a computer, and its last digits are noise."""
_ROOT_NOISE = 200
"""Bits to which values with irrational roots must agree."""


def equal(left: Side, right: Side, about: bool) -> bool:
    """Whether the values of two sides are equal, up to rounding at the last digit of one that is a lone decimal.

    `about` says that the sign between them was one of approximation.
    """
    (a, b), (c, d) = left.value, right.value
    difference = abs(a * d - c * b)
    if not difference:
        return True
    if (left.rounded or right.rounded) and difference << _ROOT_NOISE < abs(a * d):
        return True
    if right.step and _rounds(left.value, right.value, right.step):
        return True
    if left.step and _rounds(right.value, left.value, left.step):
        return True
    step = right.step or left.step
    if step and step[1] >= _PRINTED_FLOAT and difference * _PRINTED_FLOAT < abs(a * d):
        return True
    return (about or left.about or right.about) and is_near(left.value, right.value)


def _rounds(exact: Ratio, written: Ratio, step: Ratio) -> bool:
    """Whether `written` is `exact` rounded or cut off at its last place."""
    if written[0] == 0 or (exact[0] < 0) != (written[0] < 0):
        return False
    unit = exact[1] * written[1] * step[0]
    excess = (abs(exact[0]) * written[1] - abs(written[0]) * exact[1]) * step[1]
    return -unit <= 2 * excess and excess < unit


def is_near(exact: Ratio, written: Ratio) -> bool:
    """Within one per cent, or less than one unit of the last digit of a whole number that is not 0."""
    (a, b), (c, d) = exact, written
    difference = abs(a * d - c * b)
    if difference * 100 <= abs(a * d):
        return True
    if c % d:
        return False
    whole, unit = abs(c // d), 1
    while whole and whole % 10 == 0:
        whole, unit = whole // 10, unit * 10
    return bool(whole) and difference < unit * b * d
