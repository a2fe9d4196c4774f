"""Single values: a number or a formula, with its percent sign, currency and units taken off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from upwell.grading.answers import Answer
from upwell.grading.evaluate import Evaluator
from upwell.grading.formulas import Node, number, times
from upwell.grading.lexer import MAX_DIGITS, Token
from upwell.grading.parser import Parser
from upwell.grading.runs import is_and
from upwell.grading.units import HEDGES, LETTER_UNITS, SCALES, UNITS

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s?[$€£¥]?\s?(?P<minus>-?)(?P<whole>\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d*)"
    r"(?P<part>\.\d*)?\s?(?P<percent>%?)"
)
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
_CURRENCY = frozenset("$€£¥#")
_TRAILING = _CURRENCY | frozenset("%.'\"¢")
_UNIT_MARKS = frozenset("/^{}()-.'*\"%$") | {"\\circ"}


def plain_number(text: str) -> Answer | None:
    """The answer if it is a plain number: digits with separators, a sign, a currency sign, a percent sign."""
    if len(text) > MAX_DIGITS:
        return None
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not (match["whole"] or (match["part"] or "").strip(".")):
        return None
    whole, part = match["whole"].replace(" ", ""), (match["part"] or "").rstrip(".")
    if whole.startswith("0,") and whole.count(",") == 1 and not part:
        digits = whole.replace(",", ".")  # no number groups its digits behind a zero: a decimal comma
    else:
        digits = (whole.replace(",", "") or "0") + part
    value = Fraction(digits)
    if (match["sign"] == "-") != (match["minus"] == "-"):
        value = -value
    return Answer("percent" if match["percent"] else "number", digits if "." in digits else "", number(value))


def leaf(run: Sequence[Token]) -> Answer:
    """The single value in a run of tokens. Raises `Unreadable` where it is none."""
    texts = [token.text for token in run]
    if texts in (["\\infty"], ["+", "\\infty"], ["-", "\\infty"]):
        return Answer("text", "-oo" if texts[0] == "-" else "oo")
    measured = _measured(run)
    node = formula(measured.run)
    if measured.scale != 1:
        node = times(number(Fraction(measured.scale)), node)
    if _holds(node, "pm"):
        return Answer("list", "", None, tuple(Answer("formula", "", _branch(node, sign)) for sign in (1, -1)))
    if _holds(node, "name") or _holds(node, "const"):
        return Answer("percent" if measured.percent else "formula", "", node)
    value = Evaluator()(node)
    if not isinstance(value, Fraction):
        return Answer("percent" if measured.percent else "formula", "", node)
    written = "".join(token.text for token in measured.run)
    decimal = written if measured.scale == 1 and _DECIMAL.fullmatch(written) else ""
    return Answer("percent" if measured.percent else "number", decimal, number(value))


def formula(run: Sequence[Token]) -> Node:
    """The formula that a run of tokens spells, to its end."""
    return Parser(run).formula()


def _holds(node: Node, op: str) -> bool:
    return node.op == op or any(_holds(argument, op) for argument in node.args)


def _branch(node: Node, sign: int) -> Node:
    """The formula with one sign for all its plus-minus signs."""
    arguments = tuple(_branch(argument, sign) for argument in node.args)
    if node.op == "pm":
        return Node("+", (arguments[0], times(number(Fraction(sign)), arguments[1])))
    return node._replace(args=arguments)


# -- units


class _Measured(NamedTuple):
    """A run without its units, whether it was a percentage, and the factor of words such as million."""

    run: Sequence[Token]
    percent: bool
    scale: int


def _measured(run: Sequence[Token]) -> _Measured:
    percent, scale = False, 1
    while len(run) > 1 and (run[0].text in _CURRENCY or run[0].text.lower() in HEDGES):
        run = run[1:]
    at = _unit_start(run)
    for word in (word for token in run[at:] for word in token.text.lower().split()):
        percent |= word.startswith(("percent", "pct"))
        scale *= SCALES.get(word, 1)
    run = run[:at]
    if len(run) > 2 and run[-1].text in ("C", "F", "K") and run[-2].text == "\\circ":
        run = run[:-1]
    while len(run) > 1 and run[-1].text in _TRAILING:
        percent |= run[-1].text == "%"
        run = run[:-1]
    return _Measured(run, percent, scale)


def _unit_start(run: Sequence[Token]) -> int:
    """Where the unit words at the end of a run begin; the run's length if it ends in none."""
    start = next((at for at in range(1, len(run)) if _begins_unit(run, at)), len(run))
    for at in range(start, len(run)):
        token, before = run[at], run[at - 1]
        exponent = token.kind == "num" and before.text in ("^", "{", "-")
        if not (exponent or token.kind in ("word", "text", "name") or token.text in _UNIT_MARKS):
            return len(run)
    return start


def _begins_unit(run: Sequence[Token], at: int) -> bool:
    """Known units may follow any formula; behind a plain number, any words are what is counted."""
    token = run[at]
    if token.kind == "name" and token.spaced and token.text in LETTER_UNITS:
        if at == 1 and len(run) == 2 and run[0].text == "1":
            return True  # no product is written `1 m`
        return _is_rate(run[at : at + 3]) and _is_count(run[:at])
    if token.kind not in ("word", "text") or is_and(token):
        return False
    words = token.text.lower().replace("/", " ").replace(".", " ").split()
    known = any(word in UNITS or word in SCALES or word.startswith("percent") for word in words)
    counted = _is_count(run[:at])
    spelled_out = token.spaced or len(token.text) > 3  # `12ab` is a product, `12 ab` an amount
    return token.kind == "text" or known or (counted and spelled_out)


def _is_count(run: Sequence[Token]) -> bool:
    """Whether a run is a number in digits."""
    return all(t.kind == "num" or t.text in "+-./,$%" for t in run) and any(t.kind == "num" for t in run)


def _is_rate(run: Sequence[Token]) -> bool:
    """`m/s`, `m/s^2`: one unit per another, both of one letter, or the second a unit word."""
    if len(run) < 3 or run[1].text != "/":
        return False
    return run[2].text in LETTER_UNITS or run[2].text.lower() in UNITS
