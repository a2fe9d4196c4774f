"""Normal forms: of all answers of equal value one, and the string that names it.

The rules of equality see an answer only in its normal form, so that they cannot depend on its spelling.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from upwell.grading.answers import Answer
from upwell.grading.evaluate import Evaluator, fingerprint, has_name, shown
from upwell.grading.formulas import Node, number
from upwell.grading.intervals import common, is_interval, joined, point
from upwell.grading.lexer import Unreadable
from upwell.grading.values import quotient

_EQUATION_POINTS = ("positive", "positive-2", "positive-3", "mixed")
_RATIONAL = re.compile(r"-?\d+(?:/\d+)?")
_MAX_DECIMALS = 1_000
_SUFFIXES = {"percent": "%"}
_NATURAL = re.compile(r"\d+|\D+")


class Normal(NamedTuple):
    """A normal form and its name, which equal answers share and others do not."""

    answer: Answer
    name: str


@lru_cache(maxsize=16_384)
def normal(answer: Answer) -> Normal:
    """The normal form of an answer. Raises `Unreadable` where a formula in it has no value."""
    if answer.kind == "equation" and answer.node is not None:
        return Normal(Answer("equation", "", answer.node), "eq:" + _proportional(answer.node))
    if answer.kind == "amount" and answer.node is not None:
        return Normal(answer, f"{answer.node.value} {answer.text}")
    if answer.node is not None:
        return _single(answer)
    if answer.kind == "unreadable":
        raise Unreadable(answer.text)
    if not answer.items:
        return Normal(answer, "{}" if answer.kind in ("set", "list") else _leaf_name(answer))
    rule = _RULES.get(answer.kind)
    parts = [normal(item) for item in answer.items]
    return _row(answer, parts) if rule is None else rule(answer, parts)


def numeric(kind: str, value: Fraction) -> Answer:
    """A rational number or percentage in normal form, with its shortest decimal spelling if it has one."""
    return Answer(kind, shortest_decimal(value), number(value))


def shortest_decimal(value: Fraction) -> str:
    """A rational that is no whole number as a decimal without trailing zeros; empty where it never ends."""
    rest = value.denominator
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    fives = 0
    while rest % 5 == 0 and fives <= _MAX_DECIMALS:
        rest //= 5
        fives += 1
    decimals = max(twos, fives)
    if rest != 1 or not 0 < decimals <= _MAX_DECIMALS or value.numerator.bit_length() > 10_000:
        return ""
    digits = str(abs(value.numerator) * 10**decimals // value.denominator).zfill(decimals + 1)
    return f"{'-' * (value < 0)}{digits[:-decimals]}.{digits[-decimals:]}"


def _single(answer: Answer) -> Normal:
    assert answer.node is not None
    name = fingerprint(answer.node)
    suffix = _SUFFIXES.get(answer.kind, "")
    if answer.node.op == "num" and isinstance(answer.node.value, Fraction):
        value = answer.node.value
    elif _RATIONAL.fullmatch(name):
        value = Fraction(name)
    else:
        return Normal(answer._replace(text=""), name + suffix)
    return Normal(numeric("percent" if suffix else "number", value), name + suffix)


def _leaf_name(answer: Answer) -> str:
    is_word = answer.kind == "text" and answer.text not in ("oo", "-oo")
    return f"'{answer.text}'" if is_word else answer.text


def _unordered(answer: Answer, parts: list[Normal]) -> Normal:
    """A list or set: in the order of the names; a set, and a list of one value, without repetitions."""
    if answer.kind == "list" and any(is_interval(part.answer) for part in parts):
        region = _region([part.answer for part in parts])
        if region is not None:
            return region
    parts = sorted(parts, key=lambda part: part.name)
    if answer.kind == "set" or parts[0].name == parts[-1].name:
        parts = [part for at, part in enumerate(parts) if at == 0 or part.name != parts[at - 1].name]
    if len(parts) == 1:
        return parts[0]
    return Normal(
        Answer("list", "", None, tuple(part.answer for part in parts)),
        "{" + ", ".join(part.name for part in parts) + "}",
    )


def _region(parts: list[Answer]) -> Normal | None:
    """Intervals side by side: what two rays have in common, if that is an interval, else their union."""
    if not all(part.kind == "tuple" and len(part.items) == 2 for part in parts):
        return None
    try:
        shared = common(parts) if len(parts) == 2 and all(_is_ray(part) for part in parts) else None
    except Unreadable:
        return None
    return normal(shared if shared is not None else Answer("union", "", None, tuple(parts)))


def _is_ray(part: Answer) -> bool:
    return any(item.text in ("oo", "-oo") for item in part.items)


def _union(_: Answer, parts: list[Normal]) -> Normal:
    """Disjoint intervals and points, as far as their ends have an order."""
    pieces: list[Answer] = []
    for part in parts:
        if part.answer.kind in ("number", "formula"):
            pieces.append(point(part.answer))
        elif part.answer.kind in ("list", "set"):
            pieces.extend(map(point, part.answer.items))
        else:
            pieces.append(part.answer)
    try:
        merged = [normal(piece) for piece in joined(pieces)]
    except Unreadable:
        merged = parts
    merged = sorted(merged, key=lambda part: part.name)
    if len(merged) == 1:
        return merged[0]
    return Normal(
        Answer("union", "", None, tuple(part.answer for part in merged)),
        " u ".join(part.name for part in merged),
    )


def _record(answer: Answer, parts: list[Normal]) -> Normal:
    """Named values in the order of their names."""
    pairs = sorted(zip(answer.names, parts, strict=True), key=lambda pair: natural(pair[0]))
    return Normal(
        Answer("record", "", None, tuple(part.answer for _, part in pairs), tuple(name for name, _ in pairs)),
        "{" + ", ".join(f"{name}={part.name}" for name, part in pairs) + "}",
    )


def natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which x_2 stands before x_10."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in _NATURAL.findall(name)]


def _tuple(answer: Answer, parts: list[Normal]) -> Normal:
    brackets = answer.text if len(parts) == 2 else "()"
    return Normal(
        Answer("tuple", brackets, None, tuple(part.answer for part in parts)),
        brackets[0] + ", ".join(part.name for part in parts) + brackets[1],
    )


def _matrix(answer: Answer, parts: list[Normal]) -> Normal:
    row = _row(answer, parts)
    return row._replace(name="[" + "; ".join(part.name for part in parts) + "]")


def _row(answer: Answer, parts: list[Normal]) -> Normal:
    """Parts in their order behind the text of the whole: inequalities, labelled choices."""
    items = tuple(part.answer for part in parts)
    return Normal(answer._replace(items=items), f"{answer.text}:" + " ".join(part.name for part in parts))


def _ratio(answer: Answer, parts: list[Normal]) -> Normal:
    """A ratio of numbers is scaled so that its last part is one."""
    values = [part.answer.node.value for part in parts if part.answer.kind == "number" and part.answer.node]
    last = values[-1] if len(values) == len(parts) else None
    if isinstance(last, Fraction) and last:
        parts = [normal(numeric("number", v / last)) for v in values if isinstance(v, Fraction)]
    return Normal(
        answer._replace(items=tuple(part.answer for part in parts)), ":".join(part.name for part in parts)
    )


_RULES = {
    "list": _unordered, "set": _unordered, "union": _union, "record": _record, "tuple": _tuple,
    "matrix": _matrix, "ratio": _ratio,
}  # fmt: skip


def _proportional(node: Node) -> str:
    """A fingerprint of a formula up to a constant factor, for equations `node = 0`."""
    if not has_name(node):
        raise Unreadable("an equation without unknowns")
    unit, *others = [Evaluator(point)(node) for point in _EQUATION_POINTS]
    if unit == 0:
        raise Unreadable("an equation that always holds")
    return ";".join(shown(quotient(value, unit)) for value in others)
