"""Arithmetic on exact rationals and 60-digit floats, bounded so that nothing can explode.

A value is a `Fraction` as long as it is rational and small; else an mpmath number.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

from upwell.grading.lexer import TooLarge, Unreadable

DIGITS = 60
_MAX_BITS = 20_000
"""Exact powers and factorials beyond this size are evaluated in floating point."""
_MAX_DENOMINATOR = 10**12
"""Largest denominator of a rational that is recognised in a float."""
_FAR = 10**14
"""A next partial quotient below this shows that a continued fraction has not reached a rational."""
_MAX_LOG = 1e12
"""Bits of the largest floating-point magnitude; towers above it are unreadable."""
Value = Any
"""A `Fraction` or an mpmath number."""
_CONTEXT: Any = None


def context() -> Any:
    """The mpmath context of this module, at `DIGITS` digits (imported on first use)."""
    global _CONTEXT  # one context per process; mpmath's own global one stays as the user left it
    if _CONTEXT is None:
        import mpmath

        _CONTEXT = mpmath.MPContext()
        _CONTEXT.dps = DIGITS
    return _CONTEXT


@cache
def power_of_ten(exponent: int) -> Value:
    """10 ** exponent in floating point."""
    return context().mpf(10) ** exponent


def as_float(value: Value) -> Value:
    if isinstance(value, Fraction):
        above = context().mpf(value.numerator)
        return above if value.denominator == 1 else above / value.denominator
    return value


def snapped(value: Value) -> Value:
    """A float within a relative 1e-40 of a rational of small denominator is that rational."""
    if isinstance(value, Fraction):
        return value
    mp = context()
    if mp.im(value) == 0:
        exact = near_rational(mp.re(value))
        return value if exact is None else exact
    return value


def near_rational(value: Value) -> Fraction | None:
    """The rational of small denominator within a relative 1e-40 of a real, if there is one (continued fractions)."""
    mp = context()
    if not mp.isfinite(value) or abs(value) > 1e15:
        return None
    if value == 0:
        return Fraction(0)
    negative, mantissa, exponent, _ = value._mpf_
    above, below = (int(mantissa), 1 << -exponent) if exponent < 0 else (int(mantissa) << exponent, 1)
    rest, divisor = above, below
    last_p, p, last_q, q = 0, 1, 1, 0
    while divisor:
        digit, remainder = divmod(rest, divisor)
        last_p, p, last_q, q = p, digit * p + last_p, q, digit * q + last_q
        if q > _MAX_DENOMINATOR:
            return None
        if remainder * _FAR < divisor and p and abs(above * q - p * below) * 10**40 < p * below:
            return Fraction(-p if negative else p, q)
        rest, divisor = divisor, remainder
    return None


def total(terms: list[Value]) -> Value:
    if all(isinstance(term, Fraction) for term in terms):
        return sum(terms, Fraction(0))
    floats = [as_float(term) for term in terms]
    sizes = [abs(term) for term in floats if term != 0]
    if sizes and max(sizes) > min(sizes) * power_of_ten(25):
        if max(sizes) > power_of_ten(25):
            raise TooLarge("a large sum")
        raise Unreadable("terms of too different sizes")  # the small ones would not show in the digits kept
    total = sum(floats[1:], floats[0])
    if abs(total) <= max(abs(term) for term in floats) * power_of_ten(-45):
        return Fraction(0)  # what cancellation leaves
    return total


def times(left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        if left.numerator.bit_length() + right.numerator.bit_length() > 4 * _MAX_BITS:
            return as_float(left) * as_float(right)
        return left * right
    if any(isinstance(factor, Fraction) and factor == 0 for factor in (left, right)):
        return Fraction(0)
    return as_float(left) * as_float(right)


def quotient(left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left / right
    return as_float(left) / as_float(right)


def exact_power(base: Fraction, exponent: int) -> Fraction | None:
    if base == 0 and exponent < 0:
        raise Unreadable("division by zero")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) == 1 or base == 0 or size * abs(exponent) <= _MAX_BITS:
        return base**exponent if base != -1 else Fraction(-1 if exponent % 2 else 1)
    return None


def exact_root(base: Fraction, exponent: Fraction) -> Fraction | None:
    """base ** exponent where that is rational and small, such as 9 ** (1/2)."""
    index = exponent.denominator
    if index > 64 or max(base.numerator.bit_length(), base.denominator.bit_length()) > 2_000:
        return None
    roots = [_integer_root(part, index) for part in (base.numerator, base.denominator)]
    if roots[0] is None or roots[1] is None:
        return None
    return exact_power(Fraction(roots[0], roots[1]), exponent.numerator)


def _integer_root(number: int, index: int) -> int | None:
    low, high = 0, 1 << (number.bit_length() // index + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**index <= number else (low, middle - 1)
    return low if low**index == number else None


def power(base: Value, exponent: Value) -> Value:
    mp = context()
    base, exponent = as_float(base), mp.mpf(exponent) if isinstance(exponent, int) else as_float(exponent)
    if base == 0:
        if mp.re(exponent) <= 0:
            raise Unreadable("a power of zero")
        return Fraction(0)
    if abs(exponent * mp.log(base)) > _MAX_LOG:
        raise TooLarge("a tower of powers")
    return mp.power(base, exponent)


def constant(name: str) -> Value:
    mp = context()
    if name == "pi":
        return +mp.pi
    if name == "e":
        return +mp.e
    if name == "i":
        return mp.mpc(0, 1)
    raise Unreadable(f"{name} is not a number")


def _whole(value: Value) -> int:
    value = snapped(value)
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    raise Unreadable("not a whole number")


def _factorial(value: Value) -> Value:
    mp = context()
    value = snapped(value)
    if isinstance(value, Fraction) and value.denominator == 1:
        if value < 0:
            raise Unreadable("factorial of a negative number")
        if value <= 3_000:
            return Fraction(int(mp.fac(int(value)))) if value < 20 else _exact_factorial(int(value))
    if abs(as_float(value)) > 1e10:
        raise TooLarge("a huge factorial")
    return mp.gamma(as_float(value) + 1)


def _exact_factorial(value: int) -> Fraction:

    return Fraction(math.factorial(value))


def _binomial(above: Value, below: Value) -> Value:

    mp = context()
    above, below = snapped(above), snapped(below)
    if isinstance(above, Fraction) and isinstance(below, Fraction) and 0 <= below <= above <= 3_000:
        return Fraction(math.comb(_whole(above), _whole(below)))
    if max(abs(as_float(above)), abs(as_float(below))) > 1e10:
        raise TooLarge("a huge binomial")
    return mp.binomial(as_float(above), as_float(below))


def _logarithm(value: Value, base: Value | None = None) -> Value:
    mp = context()
    if snapped(value) == 0 or (base is not None and snapped(base) in (0, 1)):
        raise Unreadable("logarithm of zero")
    result = mp.log(as_float(value))
    return snapped(result if base is None else result / mp.log(as_float(base)))


def _exponential(value: Value) -> Value:
    mp = context()
    if abs(as_float(value)) > _MAX_LOG:
        raise TooLarge("a tower of powers")
    return mp.exp(as_float(value))


def _magnitude(value: Value) -> Value:
    return abs(value)


def _rounded(up: bool, value: Value) -> Value:
    mp = context()
    value = snapped(value)
    if not isinstance(value, Fraction):
        if mp.im(value) != 0 or abs(value) > 1e50:
            raise Unreadable("cannot round")
        return Fraction(int(mp.ceil(value) if up else mp.floor(value)))
    return Fraction(
        -((-value.numerator) // value.denominator) if up else value.numerator // value.denominator
    )


TRIGONOMETRIC = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))


def trigonometric(name: str, angle: Value) -> Value:
    mp = context()
    angle = as_float(angle)
    if abs(angle) > 1e12:
        raise Unreadable("a huge angle")
    value = getattr(mp, name)(angle)
    if abs(value) < power_of_ten(-45):
        return Fraction(0)
    if abs(value) > power_of_ten(45):
        raise Unreadable("a pole")
    return value


def _named(name: str) -> Any:
    def call(value: Value) -> Value:
        return snapped(getattr(context(), name)(as_float(value)))

    return call


def _integer_pair(name: str) -> Any:

    def call(*values: Value) -> Value:
        return Fraction(getattr(math, name)(*(_whole(value) for value in values)))

    return call


def _extreme(largest: bool) -> Any:
    def call(*values: Value) -> Value:
        pairs = [(as_float(value), value) for value in values]
        return (max if largest else min)(pairs, key=lambda pair: pair[0])[1]

    return call


FUNCTIONS: dict[str, Any] = {
    "log": _logarithm, "lg": lambda v: _logarithm(v, Fraction(10)), "ln": _logarithm,
    "exp": _exponential, "abs": _magnitude, "factorial": _factorial, "binomial": _binomial,
    "floor": lambda v: _rounded(False, v), "ceil": lambda v: _rounded(True, v),
    "asin": _named("asin"), "acos": _named("acos"), "atan": _named("atan"), "sinh": _named("sinh"),
    "cosh": _named("cosh"), "tanh": _named("tanh"), "cbrt": _named("cbrt"), "gcd": _integer_pair("gcd"),
    "lcm": _integer_pair("lcm"), "max": _extreme(True), "min": _extreme(False),
}  # fmt: skip
