"""Exact arithmetic on pairs of integers, bounded before it is done.

A ratio is not reduced: that is cheaper than `fractions.Fraction` by far, and equality is decided by multiplying
crosswise.
"""

from __future__ import annotations

import math
import re

Ratio = tuple[int, int]
"""Numerator and denominator; the denominator is positive."""

_MAX_DIGITS = 200
_MAX_BITS = 20_000
_ROOT_BITS = 256
"""Bits behind the point of a root that is irrational."""
DIGITS = frozenset("0123456789.")
"""What a written number begins with."""
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})++(?:\.\d++)?|\d{1,2}(?:,\d\d)++,\d{3}(?:\.\d++)?")


class Unreadable(ValueError):
    """The side holds something that has no known value."""


def written(token: str) -> tuple[int, int, int]:
    """Numerator, denominator and decimals of a written number such as `1,250.50` or `.5`."""
    if len(token) > _MAX_DIGITS:
        raise Unreadable("too many digits")
    if token.isdecimal():
        if token[0] == "0" and len(token) > 1:
            raise Unreadable("a code or a time of day")
        return int(token), 1, 0
    if "," in token:
        if not _GROUPED.fullmatch(token):
            raise Unreadable("a comma that groups no thousands")
        token = token.replace(",", "")
    whole, _, fraction = token.partition(".")
    if not (whole + fraction).isdecimal():
        raise Unreadable("two points, or one alone")
    return int(whole + fraction), 10 ** len(fraction), len(fraction)


def bounded(numerator: int, denominator: int) -> Ratio:
    if numerator.bit_length() > _MAX_BITS or denominator.bit_length() > _MAX_BITS:
        raise Unreadable("too large")
    return numerator, denominator


def times(left: Ratio, right: Ratio) -> Ratio:
    return bounded(left[0] * right[0], left[1] * right[1])


def inverse(value: Ratio) -> Ratio:
    if value[0] == 0:
        raise Unreadable("division by zero")
    return (value[1], value[0]) if value[0] > 0 else (-value[1], -value[0])


def power(base: Ratio, exponent: int) -> Ratio:
    if exponent < 0:
        base, exponent = inverse(base), -exponent
    if max(base[0].bit_length(), base[1].bit_length()) * exponent > _MAX_BITS:
        raise Unreadable("a power out of range")
    return base[0] ** exponent, base[1] ** exponent


def root(radicand: Ratio, index: int) -> tuple[Ratio, bool]:
    """A root of a number that is not negative, and whether it was cut behind `_ROOT_BITS` bits."""
    n, d = radicand
    if not 2 <= index <= 12 or n < 0:
        raise Unreadable("a root out of range")
    above, below = _integer_root(n, index), _integer_root(d, index)
    if above**index == n and below**index == d:
        return (above, below), False
    return (_integer_root((n << index * _ROOT_BITS) // d, index), 1 << _ROOT_BITS), True


def factorial(value: Ratio) -> Ratio:
    whole = value[0] // value[1]
    if value[0] % value[1] or not 0 <= whole <= 500:
        raise Unreadable("a factorial out of range")
    return math.factorial(whole), 1


def binomial(above: Ratio, below: Ratio) -> Ratio:
    n, k = above[0] // above[1], below[0] // below[1]
    if above[0] % above[1] or below[0] % below[1] or not 0 <= k <= n <= 1_000:
        raise Unreadable("a binomial out of range")
    return math.comb(n, k), 1


def _integer_root(number: int, index: int) -> int:
    """The largest integer whose power does not exceed `number`."""
    if index == 2 or number < 2:
        return math.isqrt(number)
    guess = 1 << -(-number.bit_length() // index)
    while True:
        closer = ((index - 1) * guess + number // guess ** (index - 1)) // index
        if closer >= guess:
            return guess
        guess = closer
