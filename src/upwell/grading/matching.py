"""The directed rules: what a gold answer admits besides answers of the same name.

The gold answer comes as it was written, the answer in normal form: no rule can see how it was spelled.
Every rule is stated, with examples, in docs/grading.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from upwell.grading import evaluate
from upwell.grading.amounts import in_units
from upwell.grading.answers import Answer
from upwell.grading.formulas import Node, difference, number, reciprocal, times
from upwell.grading.lexer import Unreadable
from upwell.grading.moments import time_of
from upwell.grading.normal import normal, numeric
from upwell.grading.rounding import close
from upwell.grading.units import LETTER_UNITS

_MAX_UNPAIRED = 12
"""Items of a list that may differ from all gold items in name and still be paired by leniency."""

_ONE = number(Fraction(1))

_VALUES = ("number", "percent", "formula")
_PARTS = ("list", "set", "tuple", "record", "union", "matrix", "relation")
Rule = Callable[[Answer, Answer, float | None], bool]


def admits(gold: Answer, answer: Answer, tolerance: float | None = None) -> bool:
    """Whether a gold answer, as read, admits an answer in normal form.

    Args:
        gold: The reference.
        answer: A normal form.
        tolerance: Absolute tolerance published by the benchmark, if any.
    """
    return _holds(_same, gold, answer, tolerance) or by_leniency(gold, answer, tolerance)


def by_leniency(gold: Answer, answer: Answer, tolerance: float | None = None) -> bool:
    """Whether a gold answer admits an answer that is not of the same name."""
    return any(_holds(rule, gold, answer, tolerance) for rule in _rules(gold, answer))


def _holds(rule: Rule, gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    try:
        return rule(gold, answer, tolerance)
    except (Unreadable, RecursionError):
        return False


def _rules(gold: Answer, answer: Answer) -> Sequence[Rule]:
    if gold.kind in _VALUES and answer.kind in _VALUES:
        return (_value,)
    if gold.kind in _PARTS and answer.kind in _PARTS:
        return (_parts,)
    if gold.kind == "choice" and answer.kind not in ("choice", "formula", "text"):
        return (_content,)
    return _BY_KINDS.get((gold.kind, answer.kind)) or _BY_KINDS.get(("", answer.kind), ())


def _same(gold: Answer, answer: Answer, _: float | None) -> bool:
    return normal(gold).name == normal(answer).name


# -- values


def _value(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    assert gold.node is not None
    assert answer.node is not None
    if "percent" in (gold.kind, answer.kind):
        return _percentage(gold, answer, tolerance)
    if evaluate.has_name(gold.node) or evaluate.has_name(answer.node):
        return evaluate.agree(gold.node, answer.node) or _in_letter_unit(gold.node, answer.node)
    return close(gold, answer, tolerance)


def _in_letter_unit(gold: Node, answer: Node) -> bool:
    """`48 g` where 48 is the gold answer; but `1 g` is the letter g, and no number."""
    letters = evaluate.names(answer)
    if evaluate.has_name(gold) or len(letters) != 1 or not letters <= LETTER_UNITS or gold == _ONE:
        return False
    (letter,) = letters
    return evaluate.agree(times(gold, Node("name", (), letter)), answer)


def _percentage(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """A gold percentage admits the bare number and the share; a gold share admits the percentage."""
    if gold.kind == "percent":
        bare = gold._replace(kind="formula")
        return close(bare, answer, tolerance) or (
            answer.kind != "percent" and close(bare, _scaled(answer, 100), tolerance)
        )
    value = _rational(gold)
    if value is not None and value.denominator == 1 and abs(value) != 1:
        return value == _rational(answer)
    return close(gold, _scaled(answer, Fraction(1, 100)), tolerance)


def _scaled(answer: Answer, factor: Fraction | int) -> Answer:
    value = _rational(answer)
    if value is not None:
        return numeric("number", value * factor)
    assert answer.node is not None
    return Answer("formula", "", times(number(Fraction(factor)), answer.node))


def _rational(answer: Answer) -> Fraction | None:
    is_number = answer.node is not None and answer.node.op == "num"
    return answer.node.value if is_number and isinstance(answer.node.value, Fraction) else None  # type: ignore[union-attr]


# -- structures


def _parts(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """Parts in order where both sides state an order, by brackets or names; else in any order."""
    kinds = (gold.kind, answer.kind)
    if gold.kind == "set" or gold.kind == "list" or answer.kind == "list":
        loose = _is_loose(answer) and (_is_loose(gold) and not _is_closed(gold))
        return loose and _any_order(gold.items, answer.items, tolerance)
    if "matrix" in kinds and "tuple" in kinds:
        matrix, other = (gold, answer) if gold.kind == "matrix" else (answer, gold)
        vector = _vector(matrix)
        if vector is None:
            return False
        pair = (vector, other.items) if gold is matrix else (other.items, vector)
        return _in_order(*pair, tolerance)
    if kinds == ("record", "record") and set(gold.names) == set(answer.names):
        own = [answer.names.index(name) for name in gold.names]
        return _in_order(gold.items, [answer.items[at] for at in own], tolerance)
    if "record" in kinds:
        return "tuple" in kinds and _in_order(gold.items, answer.items, tolerance)
    if kinds == ("union", "union"):
        return _any_order(gold.items, answer.items, tolerance)
    alike = gold.text == answer.text or (kinds == ("tuple", "tuple") and len(gold.items) != 2)
    return gold.kind == answer.kind and alike and _in_order(gold.items, answer.items, tolerance)


def _is_loose(answer: Answer) -> bool:
    """Whether an answer can be read as its parts in no order: not so half-open intervals and matrices."""
    return answer.kind in ("list", "set", "union", "record") or (
        answer.kind == "tuple" and answer.text in ("()", "[]")
    )


def _is_closed(answer: Answer) -> bool:
    """Whether an answer is a closed interval, or a pair in square brackets."""
    return answer.kind == "tuple" and answer.text == "[]" and len(answer.items) == 2


def _vector(matrix: Answer) -> tuple[Answer, ...] | None:
    """The entries of a matrix of one row or one column."""
    rows = matrix.items
    if len(rows) == 1:
        return rows[0].items
    return tuple(row.items[0] for row in rows) if all(len(row.items) == 1 for row in rows) else None


def _in_order(gold: Sequence[Answer], answer: Sequence[Answer], tolerance: float | None) -> bool:
    return (
        bool(gold)
        and len(gold) == len(answer)
        and all(admits(a, b, tolerance) for a, b in zip(gold, answer, strict=True))
    )


def _any_order(gold: Sequence[Answer], answer: Sequence[Answer], tolerance: float | None) -> bool:
    """Whether each gold item can be given an answer of its own."""
    if len(gold) != len(answer):
        return False
    left = {at: normal(item).name for at, item in enumerate(answer)}
    hard = []
    for item in gold:
        name = normal(item).name
        at = next((at for at, other in left.items() if other == name), None)
        if at is None:
            hard.append(item)
        else:
            del left[at]
    if len(hard) > _MAX_UNPAIRED:
        return False
    choices = [[at for at in left if admits(item, answer[at], tolerance)] for item in hard]
    return _pairs_up(choices)


def _pairs_up(choices: list[list[int]]) -> bool:
    """Whether every row can have one of its choices to itself (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(row: int, seen: set[int]) -> bool:
        for choice in choices[row]:
            if choice not in seen:
                seen.add(choice)
                if choice not in taken or place(taken[choice], seen):
                    taken[choice] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(choices)))


# -- other kinds


def _isolated(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`y = 2x + 1` where 2x + 1 is the gold answer."""
    assert gold.node is not None
    assert answer.node is not None
    name = normal(answer).name
    unknowns = sorted(evaluate.names(answer.node) - evaluate.names(gold.node))
    return any(normal(_equation(unknown, gold.node)).name == name for unknown in unknowns[:4])


def _right_side(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`2x + 1` where `y = 2x + 1` is the gold answer."""
    assert answer.node is not None
    return bool(gold.names) and normal(_equation(gold.names[0], answer.node)).name == normal(gold).name


def _equation(name: str, side: Node) -> Answer:
    return Answer("equation", "", difference(Node("name", (), name), side))


def _asked_side(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`x + y = 2` where 2 is the gold answer: the question asked for the left side."""
    assert answer.node is not None
    value = _rational(gold)
    return bool(value) and value == _constant_side(answer.node)


def _constant_side(node: Node) -> Fraction | None:
    """The constant c of an equation f = c, f a sum of products of unknowns in lowest terms, such as 2x + 3y.

    None where f has terms of both signs: then f = c and -f = -c are one equation, and c has no sign.
    """
    unknowns = sorted(evaluate.names(node))
    if not 2 <= len(unknowns) <= 6:
        return None
    origin = _rational_at(node, dict.fromkeys(unknowns, Fraction(0)))
    corners = [{name: Fraction(name == own) for name in unknowns} for own in unknowns]
    corners += [dict.fromkeys(unknowns, Fraction(1)), dict.fromkeys(unknowns, Fraction(2))]
    rises = [_rational_at(node, corner) - origin for corner in corners]
    if min(rises) < 0 < max(rises) or not any(rises):
        return None
    divisor = Fraction(0)
    for rise in rises:
        divisor = _common_divisor(divisor, rise)
    return -origin / divisor if max(rises) > 0 else origin / divisor


def _rational_at(node: Node, point: dict[str, Fraction]) -> Fraction:
    value = evaluate.Evaluator(values=point)(node)
    if not isinstance(value, Fraction):
        raise Unreadable("no polynomial")
    return value


def _common_divisor(a: Fraction, b: Fraction) -> Fraction:
    while b:
        a, b = b, a % b
    return abs(a)


def _base_left_out(gold: Answer, answer: Answer, _: float | None) -> bool:
    return gold.text.rpartition("_")[0] == normal(answer).name


def _labelled(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """`(C) 24` where 24 is the gold answer."""
    return _in_order((gold,), answer.items, tolerance)


def _content(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """`24` where `(C) 24` is the gold answer."""
    return _in_order(gold.items, (answer,), tolerance)


def _letter(gold: Answer, answer: Answer, _: float | None) -> bool:
    """The same choice, whatever stands behind the letter."""
    if answer.kind == "choice":
        return gold.text == answer.text
    if answer.kind == "text":
        return _sentence(gold._replace(text=gold.text.lower()), answer, _)
    return normal(Answer("formula", "", Node("name", (), gold.text.lower()))).name == normal(answer).name


def _sentence(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`the function is even` where the gold answer is the word even."""
    return answer.text.endswith((f" is {gold.text}", f" are {gold.text}"))


def _ratio(gold: Answer, answer: Answer, _: float | None) -> bool:
    """Two-part ratios as quotients; `11:21`, which reads as a time of day, where a ratio is meant."""
    value = _rational(gold)
    if value is not None and value.denominator == 1:
        return False
    first, second = _quotient(gold), _quotient(answer)
    return evaluate.fingerprint(first) == evaluate.fingerprint(second)


def _quotient(answer: Answer) -> Node:
    if answer.kind == "time":
        hours, minutes, seconds = time_of(answer)
        if seconds or not minutes:
            raise Unreadable("no ratio")
        return number(Fraction(hours, minutes))
    if answer.kind == "ratio" and len(answer.items) == 2:
        above, below = (item.node for item in answer.items)
        if above is not None and below is not None:
            return times(above, reciprocal(below))
    if answer.node is None:
        raise Unreadable("no ratio")
    return answer.node


def _hour(gold: Answer, answer: Answer, _: float | None) -> bool:
    """A full hour and its bare number: `8 pm` and 8."""
    moment, other = (gold, answer) if gold.kind == "time" else (answer, gold)
    hours, minutes, seconds = time_of(moment)
    return not (minutes or seconds) and _rational(other) in (hours, hours % 12 or 12)


def _day(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`July 4` where 4 is the gold answer."""
    day = answer.text.rpartition("-")[2]
    return answer.text.count("-") > 1 and _rational(gold) == int(day)


def _date(gold: Answer, answer: Answer, _: float | None) -> bool:
    """A gold date without a year admits it in any year."""
    return gold.text.startswith("--") and answer.text.endswith(gold.text[1:])


def _amount(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`2 hours 30 minutes` and the bare 2.5 or 150."""
    several, single = (gold, answer) if gold.kind == "amount" else (answer, gold)
    return _rational(single) in in_units(several)


_BY_KINDS: dict[tuple[str, str], tuple[Rule, ...]] = {
    ("formula", "equation"): (_isolated,),
    ("equation", "formula"): (_right_side,),
    ("number", "equation"): (_asked_side, _isolated),
    ("base", "number"): (_base_left_out,),
    ("choice", "choice"): (_letter,),
    ("choice", "formula"): (_letter,),
    ("choice", "text"): (_letter,),
    ("text", "text"): (_sentence,),
    ("", "choice"): (_labelled,),
    ("ratio", "number"): (_ratio,),
    ("ratio", "formula"): (_ratio,),
    ("ratio", "time"): (_ratio,),
    ("time", "ratio"): (_ratio,),
    ("number", "ratio"): (_ratio,),
    ("formula", "ratio"): (_ratio,),
    ("time", "number"): (_hour,),
    ("number", "time"): (_hour,),
    ("number", "date"): (_day,),
    ("date", "date"): (_date,),
    ("amount", "number"): (_amount,),
    ("number", "amount"): (_amount,),
}
