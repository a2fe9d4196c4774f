"""The value of a formula: an exact rational, or a fingerprint of its value at fixed points to 30 digits.

Constants that are not rational and formulas with variables are evaluated at 60 digits, the variables standing
at fixed points that depend on their names only. Two formulas with the same fingerprint are equal for all
practical purposes (a false match needs a coincidence of 30 digits at every point), whatever their form, and
equality of fingerprints is an equivalence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from upwell.grading import values
from upwell.grading.formulas import Node
from upwell.grading.lexer import Unreadable
from upwell.grading.values import Value, as_float, context, near_rational, snapped, times, total

_SHOWN = 30
POINTS = ("positive", "positive-2", "mixed", "mixed-2")


class Evaluator:
    """Evaluates trees at one point."""

    def __init__(self, point: str = "positive", values: Mapping[str, Value] | None = None) -> None:
        self.point = point
        self.values = dict(values or {})
        self.branched = False
        """Whether a root or logarithm of a variable was met: then only positive points count."""

    def __call__(self, node: Node) -> Value:
        """The value of `node`. Raises `Unreadable` where it has none or is out of bounds."""
        mp = context()
        try:
            value = self._value(node)
        except Unreadable:
            raise
        except (ZeroDivisionError, OverflowError, ValueError, mp.NoConvergence, RecursionError) as error:
            raise Unreadable(f"no value: {error}") from None
        if not isinstance(value, Fraction) and not mp.isfinite(value):
            raise Unreadable("not finite")
        return value

    def _value(self, node: Node) -> Value:
        if node.op == "num":
            return node.value
        if node.op == "name":
            return self._variable(str(node.value))
        if node.op == "const":
            return values.constant(str(node.value))
        if node.op == "+":
            return total([self._value(term) for term in node.args])
        if node.op == "*":
            product: Value = Fraction(1)
            for factor in node.args:
                product = times(product, self._value(factor))
            return product
        if node.op == "^":
            return self._power(node)
        if node.op == "deg":
            return self._value(node.args[0])
        if node.op == "fn":
            return self._function(node)
        raise Unreadable(f"{node.op} has no single value")

    def _variable(self, name: str) -> Value:
        return self.values[name] if name in self.values else _coordinate(self.point, name)

    def _power(self, node: Node) -> Value:
        base, exponent = self._value(node.args[0]), self._value(node.args[1])
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            if isinstance(base, Fraction):
                exact = values.exact_power(base, exponent.numerator)
                if exact is not None:
                    return exact
            if abs(exponent.numerator) < 1 << 60:
                return values.power(base, exponent.numerator)
        if has_name(node.args[0]):
            self.branched = True
        if isinstance(base, Fraction) and isinstance(exponent, Fraction) and base > 0:
            exact = values.exact_root(base, exponent)
            if exact is not None:
                return exact
        if (
            isinstance(base, Fraction)
            and base < 0
            and isinstance(exponent, Fraction)
            and exponent.denominator % 2
        ):
            root = values.power(-base, exponent)
            return -root if exponent.numerator % 2 else root
        return values.power(base, exponent)

    def _function(self, node: Node) -> Value:
        name = str(node.value)
        if name in values.TRIGONOMETRIC:
            return snapped(values.trigonometric(name, self._angle(node.args[0])))
        arguments = [self._value(argument) for argument in node.args]
        if name in ("log", "ln") and has_name(node.args[0]):
            self.branched = True
        if name.startswith("\\"):
            return self._unknown(name, arguments[0])
        function = values.FUNCTIONS.get(name)
        if function is None:
            raise Unreadable(f"no function {name}")
        return function(*arguments)

    def _unknown(self, operator: str, operand: Value) -> Value:
        """A stand-in for the value of a sum, integral or limit: the same for the same operand and limits."""
        digest = hashlib.blake2b(f"{operator}:{shown(operand)}".encode(), digest_size=16).digest()
        return as_float(Fraction(int.from_bytes(digest, "big"), 1 << 120))

    def _angle(self, node: Node) -> Value:
        """An argument of a values.trigonometric function in radians, degree signs counting."""
        if node.op == "deg":
            return times(self._angle(node.args[0]), context().pi / 180)
        if node.op in ("+", "*"):
            parts = [self._angle(part) for part in node.args]
            if node.op == "+":
                return total(parts)
            product: Value = Fraction(1)
            for part in parts:
                product = times(product, part)
            return product
        return self._value(node)


@lru_cache(maxsize=4_096)
def _coordinate(point: str, name: str) -> Value:
    """The value of a variable at one of the fixed points."""
    digest = hashlib.blake2b(f"{point}:{name}".encode(), digest_size=16).digest()
    share = Fraction(int.from_bytes(digest[:12], "big"), 1 << 96)
    value = Fraction(3, 10) + share * Fraction(27, 10)
    if point.startswith("mixed") and digest[15] & 1 | (point == "mixed"):
        value = -value
    return as_float(value)


def has_name(node: Node) -> bool:
    """Whether a variable occurs in the tree."""
    return node.op == "name" or any(has_name(argument) for argument in node.args)


def has_stand_in(node: Node) -> bool:
    """Whether the tree has a sum, product, integral or limit: then unequal fingerprints prove nothing."""
    if node.op == "fn" and isinstance(node.value, str) and node.value.startswith("\\"):
        return True
    return any(has_stand_in(argument) for argument in node.args)


def names(node: Node) -> frozenset[str]:
    """The variables of the tree."""
    if node.op == "name":
        return frozenset((str(node.value),))
    return frozenset().union(*(names(argument) for argument in node.args)) if node.args else frozenset()


def shown(value: Value) -> str:
    """A value as a string that equal values share: `3`, `-1/2`, `~1.4142...`, `~0.5+0.866...i`."""
    value = snapped(value)
    if isinstance(value, Fraction):
        return _rational(value)
    mp = context()
    real, imaginary = mp.re(value), mp.im(value)
    scale = max(abs(real), abs(imaginary))
    parts = []
    for part in (real, imaginary):
        small = abs(part) <= scale * values.power_of_ten(-40)
        exact = Fraction(0) if small else near_rational(part)
        parts.append(_rational(exact) if exact is not None else "~" + mp.nstr(part, _SHOWN))
    return parts[0] if parts[1] == "0" else f"{parts[0]},{parts[1]}i"


def _rational(value: Fraction) -> str:
    if value.numerator.bit_length() > 10_000 or value.denominator.bit_length() > 10_000:
        return (
            f"{value.numerator:x}h/{value.denominator:x}h"  # decimal conversion of huge integers is refused
        )
    return str(value)


@lru_cache(maxsize=16_384)
def fingerprint(node: Node) -> str:
    """A string that formulas of the same value share, exact for rationals. Raises `Unreadable`."""
    if node.op == "num" and isinstance(node.value, Fraction):
        return _rational(node.value)
    if not has_name(node):
        return shown(constant(node))
    pieces = []
    branched = False
    for point in POINTS:
        evaluator = Evaluator(point)
        if point.startswith("mixed") and branched:
            break
        pieces.append(shown(evaluator(node)))
        branched |= evaluator.branched
    if len(set(pieces)) == 1 and "~" not in pieces[0]:
        return pieces[0]
    return "@" + ";".join(pieces)


def constant(node: Node) -> Value:
    """The value of a formula without variables. Raises `Unreadable`."""
    return node.value if node.op == "num" else _constant(node)


@lru_cache(maxsize=16_384)
def _constant(node: Node) -> Value:
    return snapped(Evaluator()(node))


def agree(left: Node, right: Node) -> bool:
    """Whether two formulas have the same value at all points that count for both."""
    first, second = (fingerprint(node).split(";") for node in (left, right))
    return all(a == b for a, b in zip(first, second, strict=False))
