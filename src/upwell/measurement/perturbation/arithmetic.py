"""Worked solutions whose arithmetic is written down (`<<48/2=24>>`, GSM8K's calculator notes), recomputed exactly.

Nothing is evaluated as code: an expression is parsed, and its tree is walked with fractions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

NOTE = re.compile(r"<<([^<>=]{1,120})=([^<>=]{1,40})>>")
"""A calculator note: an expression and its value."""
NUMBER = re.compile(r"(?<![\d.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+")
"""A number in prose."""
_PLAIN = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+")
_ALLOWED = re.compile(r"[\d\s.,+\-*/()]+")

Meaning = Callable[[Fraction], Fraction]
"""What a number of an expression now stands for."""


class Unprovable(Exception):
    """The arithmetic does not prove what is asked of it; the message says why, in a few words."""


@dataclass(frozen=True)
class Step:
    """One note."""

    tree: ast.expr
    source: str
    value: Fraction
    """As written down, and as the expression comes out."""

    def numbers(self) -> Iterator[Fraction]:
        """The numbers in the expression."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant):
                yield _constant(node, self.source)

    def recomputed(self, meaning: Meaning) -> Fraction:
        """The value with other numbers in it.

        Raises:
            Unprovable: It divides by zero.
        """
        return _walk(self.tree, self.source, meaning)


def steps(solution: str) -> list[Step]:
    """The notes of a solution, in order, each of them checked.

    Raises:
        Unprovable: There is none, or one is no arithmetic or does not come out exactly as it says.
    """
    found = []
    for match in NOTE.finditer(solution):
        source, value = match[1].replace(",", "").strip(), as_number(match[2].strip())
        if value is None or not _ALLOWED.fullmatch(source):
            raise Unprovable("a note that is no plain arithmetic")
        try:
            tree = ast.parse(source, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise Unprovable("a note that is no plain arithmetic") from None
        step = Step(tree, source, value)
        if step.recomputed(lambda number: number) != value:
            raise Unprovable("a note that does not come out exactly")
        found.append(step)
    if not found:
        raise Unprovable("no calculator notes")
    return found


def as_number(text: str) -> Fraction | None:
    """A plain number such as `1,200` or `.5`, exactly; None where the text is none."""
    return Fraction(text.replace(",", "")) if _PLAIN.fullmatch(text) else None


def decimals(value: Fraction) -> int:
    """Decimal places that a value needs.

    Raises:
        Unprovable: More than six, or no number of them is enough.
    """
    for places in range(7):
        if (value * 10**places).denominator == 1:
            return places
    raise Unprovable("a value without a short decimal form")


def written(value: Fraction, like: str) -> str:
    """A number written as another one is: with commas in thousands where it has them, and as many decimals at least.

    Raises:
        Unprovable: It has no finite decimal form.
    """
    places = max(len(like.partition(".")[2]), decimals(value))
    whole, rest = divmod(abs(value) * 10**places, 10**places)
    text = f"{int(whole):,}" if "," in like else str(int(whole))
    if places:
        text += "." + str(int(rest)).zfill(places)
    if like.startswith(".") and text.startswith("0."):
        text = text[1:]
    return "-" * (value < 0) + text


def _walk(node: ast.expr, source: str, meaning: Meaning) -> Fraction:
    if isinstance(node, ast.Constant):
        return meaning(_constant(node, source))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _walk(node.operand, source, meaning)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = (_walk(side, source, meaning) for side in (node.left, node.right))
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div) and right:
            return left / right
    raise Unprovable("a note that is no plain arithmetic")


def _constant(node: ast.Constant, source: str) -> Fraction:
    text = ast.get_source_segment(source, node) or ""
    value = as_number(text.rstrip("."))
    if value is None:
        raise Unprovable("a note that is no plain arithmetic")
    return value
