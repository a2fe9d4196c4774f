"""Formulas as trees, and the few ways to combine them."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Node(NamedTuple):
    """A formula. `op` is num, name, const, +, *, ^, fn, deg or pm; leaves carry `value`."""

    op: str
    args: tuple[Node, ...] = ()
    value: Fraction | str = ""


def number(value: Fraction) -> Node:
    return Node("num", (), value)


def reciprocal(node: Node) -> Node:
    if node.op == "num" and isinstance(node.value, Fraction) and node.value:
        return number(1 / node.value)
    return Node("^", (node, number(Fraction(-1))))


def negated(node: Node) -> Node:
    if node.op == "num" and isinstance(node.value, Fraction):
        return number(-node.value)
    return times(number(Fraction(-1)), node)


def times(left: Node, right: Node) -> Node:
    return Node("*", (left, right))


def difference(left: Node, right: Node) -> Node:
    """left - right."""
    return Node("+", (left, negated(right)))
