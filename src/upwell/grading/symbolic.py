"""Symbolic comparison, for workers only: math-verify, and SymPy's algebra on LaTeX. Nothing is evaluated.

Loading this module's functions turns `parse_expr` off in the process, and `sympify` for text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from upwell.grading.published.hendrycks import with_braces

_NOT_READ = re.compile(r"\\(?:text|mbox|begin|boxed|approx|over(?![a-z])|mathbf|%)|per ?cent|pct")
_DROPPED = re.compile(r"\\left(?![a-z])|\\right(?![a-z])|%")
_BASE = re.compile(r"(?<=\d)_(?:\d|\{(?:\d*|\\text\{\w*\})\})")
_FRACTION = re.compile(r"\\[td]?frac\s*")
_MIXED = re.compile(r"(?<=\d)\s*\\frac")


def _refuse(*_: object, **__: object) -> None:
    raise ValueError("text is not evaluated here")


def _number(_: object, text: str) -> object:
    import sympy

    digits = text.replace(",", "")
    return sympy.Integer(int(digits)) if digits.isdigit() else sympy.Float(digits)


def harden() -> None:
    """Shut every door by which SymPy and latex2sympy give text to Python.

    SymPy turns every string into an object with `parse_expr`, which runs Python; latex2sympy does so for digits.
    """
    import sympy.parsing.sympy_parser
    import sympy.physics.units
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    sympy.parsing.sympy_parser.parse_expr = _refuse
    sympy.parsing.sympy_parser.eval_expr = _refuse
    _Latex2Sympy.parse_number = _number


def math_verify_comparison() -> Callable[[str, str], bool]:
    """The comparison of math-verify: LaTeX only, its own timeouts (which need signals) off."""
    import math_verify

    harden()
    configuration = [math_verify.LatexExtractionConfig(boxed_match_priority=-1)]

    def parsed(text: str) -> list[object]:
        return list(math_verify.parse(f"${text}$", configuration, "no_fallback", parsing_timeout=None))

    def compare(gold: str, answer: str) -> bool:
        return bool(math_verify.verify(parsed(gold), parsed(answer), timeout_seconds=None))

    return compare


class SympyAlgebra:
    """`Algebra` by SymPy. Formulas are read by latex2sympy, as they stand: no units or words are taken off."""

    def __init__(self) -> None:
        harden()

    def equal(self, first: str, second: str) -> bool:
        """Whether the difference of two formulas simplifies to zero; False where one cannot be read."""
        import sympy

        a, b = self._read(first), self._read(second)
        if a is None or b is None:
            return False
        try:
            return bool(a == b or sympy.simplify(a - b) == 0)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001  SymPy raises anything on what has no difference
            return False

    def value(self, formula: str) -> float | None:
        """The real number that a formula denotes, or None."""
        import sympy

        found = self._read(formula)
        try:
            return None if found is None else float(sympy.N(found))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001  as above
            return None

    def _read(self, formula: str) -> Any:
        """The formula as SymPy's own LaTeX reader takes it: no matrices, boxes or words; a number's base is dropped."""
        from latex2sympy2_extended import latex2sympy
        from latex2sympy2_extended.latex2sympy2 import ConversionConfig

        spelled = _BASE.sub("", _DROPPED.sub("", formula))
        if not spelled.strip() or _NOT_READ.search(spelled):
            return None
        spelled = _FRACTION.sub(r"\\frac", spelled).replace("} {", "}{")
        spelled = _MIXED.sub(r"\\cdot\\frac", with_braces(spelled))
        plain = ConversionConfig(interpret_as_mixed_fractions=False)
        try:
            return latex2sympy(spelled, is_real=True, normalization_config=None, conversion_config=plain)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # noqa: BLE001  its grammar raises anything on what it cannot read
            return None
