"""Whether two answers are equal: an exact equivalence for votes, a lenient directed test against a gold one.

`canonical` maps an answer to a string that equal answers share, so that being equal is an equivalence.
`accepts` asks whether a gold answer admits an answer: equal, or equal under the rules of docs/grading.md
(rounding, percent, units, order, labels). Both look at an answer only through `reading.read`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from upwell.grading import evaluate, gate
from upwell.grading.answers import Answer, key, listing
from upwell.grading.formulas import Node, difference, number, reciprocal, times
from upwell.grading.leaves import plain_number
from upwell.grading.lexer import TooLarge, Unreadable
from upwell.grading.notation import spelled
from upwell.grading.reading import read
from upwell.grading.units import LETTER_UNITS
from upwell.grading.values import Value, as_float, context

MAX_CHARS = 20_000
_GOLD_DIGITS = 3
"""Significant digits from which a gold decimal may be the rounding of a more precise answer."""
_ANSWER_DIGITS = 4
"""Significant digits from which a decimal may be the rounding (or truncation) of an exact gold value."""

_SHORT = 40
_LOOSE_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_NOISE = 10
"""Decimals from which a difference in the last ones is taken for floating-point noise."""


class Decision(NamedTuple):
    """The outcome of comparing an answer with a gold answer."""

    correct: bool | None
    """None: the cheap tiers cannot tell and a worker has to."""
    tier: str
    """literal, numeric, structured, algebraic, symbolic, text or none."""


def canonical(answer: str) -> str:
    """A string that equal answers share, such as `1/2` for 0.5 and \\frac12. Never raises, never slow."""
    quick = plain_number(answer) if len(answer) <= _SHORT else None
    if quick is not None and quick.kind == "number" and quick.node is not None:
        return str(quick.node.value)
    if len(answer) > MAX_CHARS:
        return "'" + answer.strip()[:MAX_CHARS]
    found = read(answer)
    try:
        return key(found)
    except (Unreadable, RecursionError):
        return "'" + literal(answer)


def kind(answer: str) -> str:
    """The type of an answer: integer, decimal, fraction, percent, list, tuple, interval, text, ..."""
    found = read(answer) if len(answer) <= MAX_CHARS else Answer("text")
    if found.kind == "number" and found.node is not None and isinstance(found.node.value, Fraction):
        if found.node.value.denominator == 1:
            return "integer"
        return "decimal" if found.text else "fraction"
    if found.kind == "formula":
        return "expression"
    if found.kind == "tuple" and _is_interval(found):
        return "interval"
    return {"union": "interval", "record": "list", "relation": "inequality"}.get(found.kind, found.kind)


def literal(answer: str) -> str:
    """An answer's spelling without white space (but between digits): what the identical-text tier compares."""
    return _LOOSE_SPACE.sub("", spelled(answer[:MAX_CHARS]))


def accepts(gold: str, answer: str, tolerance: float | None = None, identical: bool = True) -> Decision:
    """Whether `answer` is right where `gold` is the reference.

    Args:
        gold: The reference answer.
        answer: What was extracted from the response.
        tolerance: Absolute tolerance published by the benchmark, if any.
        identical: Whether the same text is accepted as such (off in self-checks of gold answers).
    """
    if identical and answer.strip() == gold.strip():
        return Decision(True, "literal")
    quick = _whole_numbers(gold, answer) if tolerance is None else None
    if quick is not None:
        return Decision(quick, "numeric")
    if len(answer) > MAX_CHARS or len(gold) > MAX_CHARS:
        return Decision(False, "text")
    if identical and literal(answer) == literal(gold):
        return Decision(True, "literal")
    reference, found = read(gold), read(answer)
    tier = _tier(reference, found)
    for candidate in (reference, *_other_readings(gold)):
        if any(_matches(candidate, reading, tolerance) for reading in (found, *_rounded(answer))):
            return Decision(True, tier)
    if identical and "unreadable" == reference.kind == found.kind and reference.text == found.text:
        return Decision(True, "literal")
    sizes = {_size(reference), _size(found)}
    if "unknown" not in sizes and sizes != {"huge"}:
        return Decision(False, tier)
    return Decision(None, "symbolic") if gate.admits(gold) and gate.admits(answer) else Decision(False, tier)


def _whole_numbers(gold: str, answer: str) -> bool | None:
    """Whether two plain whole numbers are equal; None where they are not both such."""
    if len(gold) > _SHORT or len(answer) > _SHORT:
        return None
    first, second = plain_number(gold), plain_number(answer)
    if first is None or second is None or first.kind != second.kind or first.text or second.text:
        return None
    assert first.node is not None
    assert second.node is not None
    if first.node.value == second.node.value:
        return True
    return None if "," in gold else False  # a gold answer such as 70,110 may also be a list


def _tier(gold: Answer, answer: Answer) -> str:
    kinds = {gold.kind, answer.kind}
    if kinds <= {"number", "percent"}:
        return "numeric"
    if kinds & {"text", "choice", "unreadable"}:
        return "text"
    if kinds <= {"number", "percent", "formula"}:
        return "algebraic"
    return "structured"


def _size(answer: Answer) -> str:
    """`known` where the cheap tiers know the value and can tell it from others; `huge`; `unknown`."""
    if _has_stand_in(answer):
        return "unknown"
    try:
        key(answer)
    except TooLarge:
        return "huge"
    except (Unreadable, RecursionError):
        return "unknown"
    return "known"


def _has_stand_in(answer: Answer) -> bool:
    own = answer.node is not None and evaluate.has_stand_in(answer.node)
    return own or any(_has_stand_in(item) for item in answer.items)


def is_undecided(answer: str) -> bool:
    """Whether the cheap tiers cannot tell this answer from all others, so that SymPy may know better."""
    return len(answer) <= MAX_CHARS and _size(read(answer)) != "known"


def _other_readings(gold: str) -> list[Answer]:
    """Further readings of an ambiguous gold answer: `70,110` is 70110 and also the list 70, 110."""
    pieces = gold.strip().strip("$").split(",")
    if len(pieces) > 1 and all(piece.strip().isdigit() for piece in pieces):
        return [listing([read(piece) for piece in pieces])]
    return []


def _rounded(answer: str) -> list[Answer]:
    """Further reading of an answer that gives an exact value and its rounding: the rounding."""
    exact, sign, decimal = spelled(answer).rpartition("\\approx")
    return [read(decimal)] if sign and exact.strip() else []


# -- the directed test


def _matches(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    for rule in (
        _same_key,
        _same_value,
        _same_items,
        _same_label,
        _same_base,
        _same_ratio,
        _same_choice,
        _same_side,
    ):
        try:
            if rule(gold, answer, tolerance):
                return True
        except (Unreadable, RecursionError):
            continue
    return False


def _same_key(gold: Answer, answer: Answer, _: float | None) -> bool:
    return key(gold) == key(answer)


def _same_value(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    if gold.node is None or answer.node is None or "equation" in (gold.kind, answer.kind):
        return False
    a, b = gold.node, answer.node
    if gold.kind == "percent" or answer.kind == "percent":
        return _same_percentage(gold, answer)
    if answer.kind == "formula" and gold.kind == "number":
        a, b = a, _without_unit(b)
    if evaluate.has_name(a) or evaluate.has_name(b):
        return evaluate.names(a) == evaluate.names(b) and evaluate.agree(a, b)
    return _close(gold, answer._replace(node=b), tolerance)


def _without_unit(node: Node) -> Node:
    """`48 g` is 48 where a number is expected."""
    if (
        node.op == "*"
        and len(node.args) == 2
        and node.args[0].op == "num"
        and node.args[1].value in LETTER_UNITS
    ):
        return node.args[0]
    return node


def _same_percentage(gold: Answer, answer: Answer) -> bool:
    """A gold percentage admits the bare number and the share; a gold share admits the percentage."""
    assert gold.node is not None
    assert answer.node is not None
    a, b = evaluate.Evaluator()(gold.node), evaluate.Evaluator()(answer.node)
    if gold.kind == "percent":
        return evaluate.shown(a) in (evaluate.shown(b), evaluate.shown(_percent(b)))
    whole = isinstance(a, Fraction) and a.denominator == 1 and abs(a) != 1
    return (
        evaluate.shown(a) == evaluate.shown(b) if whole else evaluate.shown(_percent(a)) == evaluate.shown(b)
    )


def _percent(value: Value) -> Value:
    return value * 100


def _close(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """Values of constants: equal, within the benchmark's tolerance, or one the rounding of the other."""
    assert gold.node is not None
    assert answer.node is not None
    a, b = evaluate.Evaluator()(gold.node), evaluate.Evaluator()(answer.node)
    if evaluate.shown(a) == evaluate.shown(b):
        return True
    mp = context()
    error = abs(as_float(a) - as_float(b))
    if tolerance is not None and error <= mp.mpf(tolerance) * (1 + mp.mpf(10) ** -12):
        return True
    if _decimals(answer.text) >= _NOISE and error <= abs(as_float(a)) * mp.mpf(10) ** -_NOISE:
        return True
    if isinstance(a, Fraction) and a.denominator == 1:
        return False
    if gold.text:
        finer = not answer.text or _decimals(answer.text) > _decimals(gold.text)
        rounded = _decimals(gold.text) >= 2 and _significant(gold.text) >= _GOLD_DIGITS
        return finer and rounded and bool(error <= mp.mpf(10) ** -_decimals(gold.text) / 2)
    precise = _decimals(answer.text) > 0 and _significant(answer.text) >= _ANSWER_DIGITS
    return precise and bool(error <= mp.mpf(10) ** -_decimals(answer.text))


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _significant(text: str) -> int:
    return len(text.replace(".", "").lstrip("-+0"))


def _same_items(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """Lists in any order, tuples in order, records by name or order, matrices and unions part by part."""
    if gold.kind in ("number", "formula", "text", "choice", "equation", "base", "time"):
        return False
    if gold.kind == "matrix" and answer.kind == "tuple":
        return _vector(gold) is not None and _in_order(_vector(gold) or (), answer.items, tolerance)
    if gold.kind == "tuple" and answer.kind == "matrix":
        return _vector(answer) is not None and _in_order(gold.items, _vector(answer) or (), tolerance)
    if gold.kind == "record" and answer.kind == "record" and set(gold.names) == set(answer.names):
        order = [answer.names.index(name) for name in gold.names]
        return _in_order(gold.items, [answer.items[at] for at in order], tolerance)
    if "record" in (gold.kind, answer.kind):
        alike = len({name.partition("_")[0] for name in gold.names + answer.names}) == 1
        return _in_order(gold.items, answer.items, tolerance) or (
            alike
            and "tuple" not in (gold.kind, answer.kind)
            and _any_order(gold.items, answer.items, tolerance)
        )
    if {gold.kind, answer.kind} <= {"list", "set", "union"}:
        return _any_order(gold.items, answer.items, tolerance)
    if gold.kind in ("list", "set") and answer.kind == "tuple" and answer.text == "()":
        return _in_order(gold.items, answer.items, tolerance)
    if gold.kind in ("list", "set") and answer.kind == "tuple" and answer.text == "[]":
        return _any_order(gold.items, answer.items, tolerance)  # as Python prints its solutions
    if gold.kind == answer.kind == "tuple" and (gold.text == answer.text or len(gold.items) != 2):
        return _in_order(gold.items, answer.items, tolerance)
    if gold.kind == "tuple" and gold.text == "()" and answer.kind == "list":
        return _in_order(gold.items, answer.items, tolerance)
    if gold.kind == answer.kind and gold.text == answer.text:
        return _in_order(gold.items, answer.items, tolerance)
    return False


def _vector(matrix: Answer) -> tuple[Answer, ...] | None:
    rows = matrix.items
    if len(rows) == 1:
        return rows[0].items
    return tuple(row.items[0] for row in rows) if all(len(row.items) == 1 for row in rows) else None


def _in_order(gold: Sequence[Answer], answer: Sequence[Answer], tolerance: float | None) -> bool:
    return (
        bool(gold)
        and len(gold) == len(answer)
        and all(_matches(a, b, tolerance) for a, b in zip(gold, answer, strict=True))
    )


def _any_order(gold: Sequence[Answer], answer: Sequence[Answer], tolerance: float | None) -> bool:
    if len(gold) != len(answer):
        return False
    left = list(answer)
    hard = []
    keys = [key(item) for item in left]
    for item in gold:
        name = key(item)
        if name in keys:
            at = keys.index(name)
            del keys[at], left[at]
        else:
            hard.append(item)
    if len(hard) > 12:
        return False
    for item in hard:
        at = next((i for i, other in enumerate(left) if _matches(item, other, tolerance)), -1)
        if at < 0:
            return False
        del left[at]
    return True


def _same_label(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """`y = 2x + 1` and the bare `2x + 1`."""
    for equation, other in ((gold, answer), (answer, gold)):
        if (
            equation.kind == "equation"
            and other.kind == "formula"
            and other.node is not None
            and equation.names
        ):
            assert equation.node is not None
            gap = difference(Node("name", (), equation.names[0]), other.node)
            return key(equation) == key(Answer("equation", "", gap))
    return False


def _same_base(gold: Answer, answer: Answer, _: float | None) -> bool:
    """A number in the gold answer's base may leave the base out."""
    if gold.kind != "base" or answer.kind != "number" or answer.node is None:
        return False
    return gold.text.rpartition("_")[0] == evaluate.fingerprint(answer.node)


def _same_choice(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """`(C) 24` where 24 is the gold answer."""
    return answer.kind == "choice" and gold.kind != "choice" and _in_order((gold,), answer.items, tolerance)


def _same_side(gold: Answer, answer: Answer, tolerance: float | None) -> bool:
    """`x + y = 2` where 2 is the gold answer: the question asked for the left side."""
    if gold.kind != "number" or answer.kind != "equation" or gold.node == number(Fraction(0)):
        return False
    return _in_order((gold,), answer.items, tolerance)


def _same_ratio(gold: Answer, answer: Answer, _: float | None) -> bool:
    """`11:21`, which reads as a time of day, where a ratio is meant; and a ratio as a fraction."""
    if gold.kind == "time" and answer.kind == "ratio":
        gold, answer = answer, gold
    if gold.kind != "ratio" or len(gold.items) != 2:
        return False
    first, second = (item.node for item in gold.items)
    if answer.kind == "time":
        hours, minutes, seconds = map(int, answer.text.split(":"))
        return seconds == 0 and (first, second) == (number(Fraction(hours)), number(Fraction(minutes)))
    if first is None or second is None or answer.node is None:
        return False
    return evaluate.fingerprint(times(first, reciprocal(second))) == evaluate.fingerprint(answer.node)


def _is_interval(answer: Answer) -> bool:
    return len(answer.items) == 2 and (
        answer.text != "()" or any(item.text in ("oo", "-oo") for item in answer.items)
    )
