"""Reference answers as benchmarks print them, turned into the plain text that a grader reads."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_LONGEST_PLAIN_EXPONENT = 400
"""Numbers with more digits than this before or after the point stay in scientific notation."""

_DOLLARS = re.compile(r"(?<!\\)\$")
_MATH_SPAN = re.compile(r"(?<!\\)\$((?:\\.|[^$\\])*)\$", re.DOTALL)
_NUMBER_WITH_UNIT = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)\s*\(([^()]*)\)")
_WHOLE_FLOAT = re.compile(r"-?\d+\.0+")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")


def text_of(value: object) -> str | None:
    """A cell of a data file as text, or None where it holds nothing.

    Whole floats lose their point (145.0 -> `145`); no digit of a number is ever rounded; a list
    is written `[1, 2]`.

    Raises:
        TypeError: The cell holds a mapping or something else that is neither text nor number.
    """
    if value is None:
        return None
    if isinstance(value, str):
        # JSON can smuggle in half a surrogate pair, which no UTF-8 file could take.
        return value.encode("utf-8", "replace").decode().strip()
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return _plain(Decimal(value))
    if isinstance(value, float):
        return _plain(Decimal(repr(value))) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _plain(value) if value.is_finite() else None
    if isinstance(value, list | tuple):
        return "[" + ", ".join(text_of(part) or "" for part in value) + "]"
    raise TypeError(f"a {type(value).__name__} where text or a number belongs")


def _plain(number: Decimal) -> str:
    if number.is_zero():
        return "0"
    if abs(number.adjusted()) > _LONGEST_PLAIN_EXPONENT:
        return str(number)
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole_number(text: str) -> str:
    """`18.0` -> `18`: how a typeless file (CSV) writes a whole number of a float column."""
    return text.partition(".")[0] if _WHOLE_FLOAT.fullmatch(text) else text


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` or `\fbox{...}` (`\boxed 7` too); None without one."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    while start < len(text) and text[start].isspace():
        start += 1
    if start == len(text):
        return None
    if text[start] != "{":
        return re.split(r"[\s$]", text[start:], maxsplit=1)[0].rstrip(".,") or None
    depth = 0
    at = start
    while at < len(text):
        if text[at] == "\\":
            at += 1  # an escaped brace is a character of the answer, not a group
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : at].strip()
        at += 1
    return None


def after_hashes(text: str) -> str | None:
    """What follows the last `####` of a GSM8K solution, without thousands separators; None without one."""
    _, mark, tail = text.rpartition("####")
    if not mark:
        return None
    answer = tail.strip()
    return answer.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", answer) else answer


def without_dollars(text: str) -> str:
    r"""`$x$` -> `x` and `$1$, $2$` -> `1, 2`; prose around formulas keeps its dollar signs.

    An odd number of dollar signs is broken markup and loses them all.
    """
    text = text.strip()
    if text.startswith("$$") and text.endswith("$$"):
        text = text[1:-1]
    spans = _MATH_SPAN.findall(text)
    outside = _MATH_SPAN.sub("", text)
    if spans and not outside.strip(" ,;.\n"):
        parts = [span.strip() for span in spans]
        return ", ".join(part for part in parts if part)
    if len(_DOLLARS.findall(text)) % 2:
        return _DOLLARS.sub("", text).strip()
    return text


def without_unit(text: str) -> str:
    """`9 (apples)` -> `9`: ASDiv prints the unit in brackets after the number."""
    match = _NUMBER_WITH_UNIT.fullmatch(text)
    return match[1] if match else text
