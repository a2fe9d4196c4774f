"""Constants that are close enough: equal, noise, within a published tolerance, or one the other's rounding."""

from __future__ import annotations

from fractions import Fraction

from upwell.grading.answers import Answer
from upwell.grading.evaluate import constant, shown
from upwell.grading.values import Value, as_float

_SHARP = 4
"""Significant digits to which a decimal must be right where the gold value is exact."""
_FEWEST = 3
"""Fewest significant digits of such a decimal, trailing zeros not counted."""
_NOISE = 10
"""Decimals from which a difference in the last ones is taken for floating-point noise."""


def close(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """Constants that are equal, within the benchmark's tolerance, or one the rounding of the other."""
    assert gold.node is not None
    assert answer.node is not None
    a, b = constant(gold.node), constant(answer.node)
    exact = isinstance(a, Fraction) and isinstance(b, Fraction)
    if (a == b) if exact else (shown(a) == shown(b)):
        return True
    error = abs(a - b) if exact else abs(as_float(a) - as_float(b))
    if tolerance is not None and error <= _bound(Fraction(tolerance) * (1 + Fraction(1, 10**12)), error):
        return True
    noisy = max(_decimals(answer.text), _decimals(gold.text)) >= _NOISE
    if noisy and error * 10**_NOISE <= (abs(a) if exact else abs(as_float(a))):
        return True
    if isinstance(a, Fraction) and a.denominator == 1:
        return False
    if gold.text:
        unit = Fraction(1, 10 ** _decimals(gold.text))
        near = bool(error <= _bound(unit / 2, error))
        return near and _is_rounding(gold.text, irrational=not isinstance(b, Fraction))
    digits = _significant(answer.text)
    if not answer.text or digits < _FEWEST:
        return False
    unit = Fraction(1, 10 ** (_decimals(answer.text) + max(0, _SHARP - digits)))
    return bool(error <= _bound(unit, error))


def _bound(bound: Fraction, error: Value) -> Value:
    """A bound in the arithmetic of the error that is compared with it."""
    return bound if isinstance(error, Fraction) else as_float(bound)


def _is_rounding(gold: str, irrational: bool) -> bool:
    """Whether a gold decimal may be the rounding of an answer."""
    return _decimals(gold) >= 2 and _significant(gold) >= (2 if irrational else 3)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _significant(text: str) -> int:
    return len(text.replace(".", "").lstrip("-+0"))
