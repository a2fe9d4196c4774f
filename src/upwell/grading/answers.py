"""What an answer can be, and the string that answers of equal value share."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from upwell.grading.evaluate import Evaluator, fingerprint, shown
from upwell.grading.formulas import Node
from upwell.grading.lexer import Unreadable
from upwell.grading.values import quotient

_EQUATION_POINTS = ("positive", "positive-2", "positive-3", "mixed")


class Answer(NamedTuple):
    """An answer as read.

    `kind` is number, percent, formula, list, record, set, tuple, union, matrix, equation, relation, ratio,
    base, time, choice, text (words) or unreadable (a formula outside the grammar); the other fields
    depend on it.
    """

    kind: str
    text: str = ""
    """The words of a text, the letter of a choice, the digits of a base-n number, a decimal as it was
    written, the brackets of a tuple, the sign of a relation."""
    node: Node | None = None
    """The formula (number, percent, formula), or left side minus right side (equation)."""
    items: tuple[Answer, ...] = ()
    """The parts of a structure; what stands behind the letter of a choice; the constant side of an equation."""
    names: tuple[str, ...] = ()
    """Names assigned by a record; the isolated name of an equation."""


def listing(items: list[Answer], assigned: list[str | None] | None = None) -> Answer:
    """Answers side by side: a record where each is assigned to its own name, else an unordered list."""
    if assigned and all(assigned) and len(set(assigned)) == len(items):
        return Answer("record", "", None, tuple(items), tuple(str(name) for name in assigned))
    flat: list[Answer] = []
    for item in items:
        flat.extend(item.items if item.kind == "list" else [item])
    return Answer("list", "", None, tuple(flat))


def punctured(holes: list[Answer]) -> Answer:
    """All real numbers but some, as a union of open intervals. Raises `Unreadable` where they have no order."""
    values = [(Evaluator()(hole.node), hole) if hole.node is not None else None for hole in holes]
    known = [value for value in values if value is not None and isinstance(value[0], Fraction)]
    if len(known) < len(holes):
        if len(holes) > 1:
            raise Unreadable("numbers without an order")
        ends = holes
    else:
        ends = [hole for _, hole in sorted(known, key=lambda pair: pair[0])]
    bounds = [Answer("text", "-oo"), *ends, Answer("text", "oo")]
    rays = [Answer("tuple", "()", None, pair) for pair in pairwise(bounds)]
    return Answer("union", "", None, tuple(rays))


def key(answer: Answer) -> str:
    """A string that answers of equal value share. Raises `Unreadable` where a formula has no value."""
    if answer.node is not None:
        if answer.kind == "equation":
            return "eq:" + _proportional(answer.node)
        return fingerprint(answer.node) + "%" * (answer.kind == "percent")
    if answer.kind in ("list", "set"):
        keys = sorted(map(key, answer.items))
        keys = sorted(set(keys)) if answer.kind == "set" else keys
        return keys[0] if len(set(keys)) == 1 else "{" + ", ".join(keys) + "}"
    if answer.kind == "record":
        pairs = sorted(zip(answer.names, map(key, answer.items), strict=True))
        return "{" + ", ".join(f"{name}={value}" for name, value in pairs) + "}"
    if answer.kind == "tuple":
        brackets = answer.text if len(answer.items) == 2 else "()"
        return brackets[0] + ", ".join(map(key, answer.items)) + brackets[1]
    if answer.kind == "union":
        return " u ".join(sorted(map(key, answer.items)))
    if answer.kind == "matrix":
        return "[" + "; ".join(map(key, answer.items)) + "]"
    if answer.kind == "relation":
        return f"{answer.text}:" + " ".join(map(key, answer.items))
    if answer.kind == "ratio":
        return _ratio(answer)
    if answer.kind == "unreadable":
        raise Unreadable(answer.text)
    is_word = answer.kind == "text" and answer.text not in ("oo", "-oo")
    return f"'{answer.text}'" if is_word else answer.text


def _ratio(answer: Answer) -> str:
    values = [Evaluator()(item.node) for item in answer.items if item.node is not None]
    if len(values) < len(answer.items) or not values[-1] or not all(isinstance(v, Fraction) for v in values):
        return ":".join(map(key, answer.items))
    return ":".join(shown(value / values[-1]) for value in values)


def _proportional(node: Node) -> str:
    """A fingerprint of a formula up to a constant factor, for equations `node = 0`."""
    unit, *others = [Evaluator(point)(node) for point in _EQUATION_POINTS]
    if unit == 0:
        raise Unreadable("an equation that always holds")
    return ";".join(shown(quotient(value, unit)) for value in others)
