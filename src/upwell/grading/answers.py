"""What an answer can be."""

from __future__ import annotations

from typing import NamedTuple

from upwell.grading.formulas import Node


class Answer(NamedTuple):
    """An answer as read.

    `kind` is number, percent, formula, list, record, set, tuple, union, matrix, equation, relation, ratio,
    base, time, date, amount, choice, text (words) or unreadable (a formula outside the grammar); the other
    fields depend on it.
    """

    kind: str
    text: str = ""
    """The words of a text, the letter of a choice, the digits of a base-n number, a decimal as it was
    written, the brackets of a tuple, the sign of a relation, the unit of an amount."""
    node: Node | None = None
    """The formula (number, percent, formula, amount), or left side minus right side (equation)."""
    items: tuple[Answer, ...] = ()
    """The parts of a structure; what stands behind the letter of a choice."""
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
