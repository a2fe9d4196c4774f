"""Equations, inequalities, ratios: what is only a label, what has a value, what is a relation to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from upwell.grading.answers import Answer
from upwell.grading.evaluate import Evaluator, fingerprint, has_name, names
from upwell.grading.formulas import Node, difference, number
from upwell.grading.intervals import punctured
from upwell.grading.leaves import formula, leaf
from upwell.grading.lexer import Token, Unreadable
from upwell.grading.runs import CLOSING, OPENING, is_op, partner, split, top_level

Reader = Callable[[Sequence[Token]], Answer]
"""Reads the answer in a run of tokens, whatever its structure."""

_EQUALITIES = frozenset(("=", "\\approx", "\\equiv", "\\sim", "\\simeq"))
_ORDERS = frozenset(("<", ">", "\\le", "\\ge"))
INEQUALITIES = _ORDERS | {"\\ne"}
RELATIONS = _EQUALITIES | INEQUALITIES
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_OPERATORS = frozenset(("+", "-", "*", "/", "^", "!"))


def related(run: Sequence[Token], inner: Reader) -> Answer | None:
    """The answer in a run with a relation or a colon at its top level, or None where there is none."""
    marks = [token.text for token in top_level(run) if token.kind in ("op", "cmd")]
    relations = [mark for mark in marks if mark in RELATIONS]
    if not relations:
        return _ratio(run) if ":" in marks else None
    restated = split(run, is_op(":"))
    if len(restated) == 2 and INEQUALITIES.issuperset(relations) and restated[1]:
        return inner(restated[1])  # x < 7 : (-oo, 7)
    pieces = split(run, lambda token: token.kind in ("op", "cmd") and token.text in RELATIONS)
    if not all(pieces):
        raise Unreadable("a relation without a side")
    if _EQUALITIES.issuperset(relations):
        return _equated(pieces, inner, relations[-1] == "\\approx")
    if relations == ["\\ne"]:
        return _except(pieces)
    if _ORDERS.issuperset(relations):
        return _ordered(pieces, relations)
    raise Unreadable("a mixed chain of relations")


def assigned_name(run: Sequence[Token]) -> str | None:
    """The name that `x = ...` assigns to, if the run is of that form."""
    pieces = split(run, is_op("="))
    if len(pieces) == 1 or not is_label(pieces[0]):
        return None
    return "".join(token.text for token in pieces[0] if token.text not in "{}")


def is_label(run: Sequence[Token]) -> bool:
    """Whether the left side of `=` only names what is on the right: `x`, `f(x)`, `AB`, `(x, y)`, a text.

    `2x`, `x + y` and `xy` are no labels: with them an equation says more than its right side.
    """
    depth, named = 0, False
    if [token.text for token in run[1:6]] == ["^", "{", "-", "1", "}"] and len(run) > 6:
        run = [run[0], *run[6:]]  # the inverse of a function
    for token in run:
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if token.kind in ("word", "text", "name"):
            named = True
        computed = depth == 0 and (token.text in _OPERATORS or (token.kind == "num" and not named))
        if computed or (token.kind == "fn" and token.text not in ("det", "max", "min")):
            return False
    if len(run) > 1 and run[0].kind == "name" and run[0].text.islower() and run[0].text != "m":
        return run[1].text in ("_", "'", ",", ":") or _is_application(run)
    return named


def _is_application(run: Sequence[Token]) -> bool:
    """Whether the run is one name and brackets from there to its end: `f(x)`, `f^{-1}(x)` being none."""
    return run[1].text == "(" and partner(run, 1) == len(run) - 1


def _is_name(run: Sequence[Token]) -> bool:
    """Whether the run is one variable, subscripts and primes included."""
    if not run or run[0].kind != "name":
        return False
    return len(run) == 1 or (
        run[1].text in ("_", "'")
        and all(token.kind in ("name", "num") or token.text in ("_", "{", "}", "'") for token in run[1:])
    )


def _is_quantity(run: Sequence[Token]) -> bool:
    """Whether the run is what an inequality may bound: one variable or one function's value."""
    return _is_name(run) or (len(run) > 2 and run[0].kind == "name" and _is_application(run))


def _ratio(run: Sequence[Token]) -> Answer:
    return Answer("ratio", "", None, tuple(leaf(piece) for piece in split(run, is_op(":")) if piece))


def _except(pieces: list[Sequence[Token]]) -> Answer:
    """`x \\ne 2` as all numbers but 2."""
    sides = tuple(leaf(piece) for piece in pieces)
    if is_label(pieces[0]) and not _has_names(sides[1]):
        return punctured([sides[1]])
    return Answer("relation", "\\ne", None, sides)


# -- equations


def _equated(pieces: list[Sequence[Token]], inner: Reader, rounded: bool) -> Answer:
    """`x = 5` and `2 + 3 = 5` are 5; `y = x + 1` and `2x + y = 3` are equations."""
    left, right = pieces[0], pieces[-1]
    if rounded:  # what stands before the sign of approximation is exact
        right = pieces[-2]
        if len(pieces) == 2:
            return inner(pieces[1] if is_label(left) else left)
    if len(pieces) > 2:
        return inner(right)
    if not is_label(left) and _is_name(right):
        left, right = right, left
    if not is_label(left):
        value = _restated(left, right, inner)
        if value is not None:
            return value
        first, second = formula(left), formula(right)
        if not has_name(first) and not has_name(second):
            return leaf(right)
        return Answer("equation", "", difference(first, second))
    value = inner(right)
    if _is_name(left) and value.kind == "formula" and value.node is not None and has_name(value.node):
        name = formula(left)
        if str(name.value) not in names(value.node):
            return Answer("equation", "", difference(name, value.node), (), (str(name.value),))
    return value


def _restated(left: Sequence[Token], right: Sequence[Token], inner: Reader) -> Answer | None:
    """What stands on the right if it is no single value, or the same formula as on the left."""
    value = inner(right)
    if value.node is None:
        return value
    if (
        value.kind == "formula"
        and has_name(value.node)
        and fingerprint(value.node) == fingerprint(formula(left))
    ):
        return value
    return None


# -- inequalities


def _ordered(pieces: list[Sequence[Token]], relations: list[str]) -> Answer:
    """Inequalities between one variable and constants as intervals, others as their sides in rising order."""
    if len({relation in ("<", "\\le") for relation in relations}) > 1:
        raise Unreadable("inequalities of both directions")
    if len(pieces) == 2:
        half = _half_line(pieces, relations[0])
        if half is not None:
            return half
    if relations[0] in (">", "\\ge"):
        pieces, relations = pieces[::-1], [_FLIPPED[relation] for relation in reversed(relations)]
    sides = tuple(leaf(piece) for piece in pieces)
    if len(pieces) == 3 and _is_quantity(pieces[1]) and not _has_names(sides[0]) and not _has_names(sides[2]):
        brackets = "(["[relations[0] == "\\le"] + ")]"[relations[1] == "\\le"]
        return Answer("tuple", brackets, None, (sides[0], sides[2]))
    return Answer("relation", " ".join(relations), None, sides)


def _has_names(answer: Answer) -> bool:
    return answer.node is not None and has_name(answer.node)


def _half_line(pieces: list[Sequence[Token]], relation: str) -> Answer | None:
    """`x < c`, or `a x + b < c` with one variable, as an interval."""
    sides = [leaf(piece) for piece in pieces]
    for at in (0, 1):
        end = sides[1 - at]
        if _is_quantity(pieces[at]) and end.node is not None and not _has_names(end):
            return _ray(end, relation if at == 0 else _FLIPPED[relation])
    if sides[0].node is None or sides[1].node is None:
        return None
    variables = names(sides[0].node) | names(sides[1].node)
    if len(variables) != 1:
        return None
    (name,) = variables
    distance = _distance(sides, name, relation)
    if distance is not None:
        return distance
    line = _line(difference(sides[0].node, sides[1].node), name)
    if line is None:
        return None
    start, slope = line
    return _ray(Answer("number", "", number(-start / slope)), relation if slope > 0 else _FLIPPED[relation])


def _distance(sides: list[Answer], name: str, relation: str) -> Answer | None:
    """`|a x + b| < c` as an interval, `|a x + b| > c` as two rays."""
    if sides[1].node is not None and sides[1].node.value == "abs":
        sides, relation = sides[::-1], _FLIPPED[relation]
    node, bound = sides[0].node, sides[1].node
    if node is None or node.value != "abs" or bound is None or has_name(bound):
        return None
    line, reach = _line(node.args[0], name), Evaluator()(bound)
    if line is None or not isinstance(reach, Fraction) or reach <= 0:
        return None
    start, slope = line
    low, high = sorted(((-start - reach) / slope, (-start + reach) / slope))
    ends = [Answer("number", "", number(end)) for end in (low, high)]
    if relation in ("<", "\\le"):
        return Answer("tuple", "[]" if relation == "\\le" else "()", None, (ends[0], ends[1]))
    return Answer("union", "", None, (_ray(ends[0], _FLIPPED[relation]), _ray(ends[1], relation)))


def _line(node: Node, name: str) -> tuple[Fraction, Fraction] | None:
    """Constant and slope of a formula that is linear in its only variable, with rational coefficients."""
    values = [Evaluator(values={name: Fraction(x)})(node) for x in (0, 1, 2, -5)]
    if not all(isinstance(value, Fraction) for value in values):
        return None
    start, slope = values[0], values[1] - values[0]
    if slope == 0 or values[2] != start + 2 * slope or values[3] != start - 5 * slope:
        return None
    return start, slope


def _ray(end: Answer, relation: str) -> Answer:
    closed = relation in ("\\le", "\\ge")
    if relation in ("<", "\\le"):
        return Answer("tuple", "(" + ")]"[closed], None, (Answer("text", "-oo"), end))
    return Answer("tuple", "(["[closed] + ")", None, (end, Answer("text", "oo")))
