"""Sets of real numbers made of intervals: joined, intersected, and written in one form."""

from __future__ import annotations

from functools import cmp_to_key
from itertools import pairwise
from typing import NamedTuple

from upwell.grading.answers import Answer
from upwell.grading.evaluate import Evaluator, has_name
from upwell.grading.lexer import Unreadable
from upwell.grading.values import Value, as_float, context, snapped

INFINITE = ("oo", "-oo")
REALS = Answer("tuple", "()", None, (Answer("text", "-oo"), Answer("text", "oo")))


class _End(NamedTuple):
    """One end of an interval."""

    value: Value
    closed: bool
    answer: Answer


class _Interval(NamedTuple):
    low: _End
    high: _End


def is_interval(answer: Answer) -> bool:
    """Whether an answer can be nothing but an interval: a square bracket on one side only, or an infinite end."""
    if answer.kind != "tuple" or len(answer.items) != 2:
        return False
    return answer.text in ("[)", "(]") or any(item.text in INFINITE for item in answer.items)


def joined(parts: list[Answer]) -> list[Answer]:
    """The union of intervals as disjoint intervals and points in rising order.

    Raises:
        Unreadable: Ends have no order, or a part is no interval.
    """
    found: list[_Interval] = []
    for part in sorted(map(_interval, parts), key=lambda interval: _LOW(interval.low)):
        if found and not _apart(found[-1], part):
            last = found.pop()
            part = _Interval(last.low, max(last.high, part.high, key=_HIGH))
        found.append(part)
    return [_answer(interval) for interval in found]


def common(parts: list[Answer]) -> Answer | None:
    """The intersection of intervals, or None where it is empty. Raises `Unreadable` as `joined` does."""
    intervals = [_interval(part) for part in parts]
    low = max((interval.low for interval in intervals), key=_LOW)
    high = min((interval.high for interval in intervals), key=_HIGH)
    order = _compare(low.value, high.value)
    if order > 0 or (order == 0 and not (low.closed and high.closed)):
        return None
    return _answer(_Interval(low, high))


def _interval(part: Answer) -> _Interval:
    if part.kind != "tuple" or len(part.items) != 2 or len(part.text) != 2:
        raise Unreadable("no interval")
    low, high = part.items
    interval = _Interval(
        _End(_value(low), part.text[0] == "[", low), _End(_value(high), part.text[1] == "]", high)
    )
    if _compare(interval.low.value, interval.high.value) > 0:
        raise Unreadable("an interval from high to low")
    return interval


def _value(end: Answer) -> Value:
    if end.text in INFINITE:
        return context().mpf("inf" if end.text == "oo" else "-inf")
    if end.node is None or has_name(end.node):
        raise Unreadable("an end without a value")
    value = snapped(Evaluator()(end.node))
    if context().im(as_float(value)) != 0:
        raise Unreadable("an end that is not real")
    return value


def point(answer: Answer) -> Answer:
    """One number as an interval from itself to itself."""
    return Answer("tuple", "[]", None, (answer, answer))


def _answer(interval: _Interval) -> Answer:
    low, high = interval
    if _compare(low.value, high.value) == 0:
        return Answer("set", "", None, (low.answer,))
    brackets = "(["[low.closed] + ")]"[high.closed]
    return Answer("tuple", brackets, None, (low.answer, high.answer))


def _compare(left: Value, right: Value) -> int:
    a, b = as_float(left), as_float(right)
    return int(a > b) - int(a < b)


def _by_low(left: _End, right: _End) -> int:
    """As lower ends: [0 comes before (0."""
    return _compare(left.value, right.value) or right.closed - left.closed


def _by_high(left: _End, right: _End) -> int:
    """As upper ends: 1) comes before 1]."""
    return _compare(left.value, right.value) or left.closed - right.closed


_LOW, _HIGH = cmp_to_key(_by_low), cmp_to_key(_by_high)


def _apart(left: _Interval, right: _Interval) -> bool:
    order = _compare(left.high.value, right.low.value)
    return order < 0 or (order == 0 and not (left.high.closed or right.low.closed))


def punctured(holes: list[Answer]) -> Answer:
    """All real numbers but some, as a union of open intervals. Raises `Unreadable` where they have no order."""
    if len(holes) > 1:
        ordered = sorted((_End(_value(hole), False, hole) for hole in holes), key=_LOW)
        holes = [end.answer for end in ordered]
    bounds = [Answer("text", "-oo"), *holes, Answer("text", "oo")]
    return Answer("union", "", None, tuple(Answer("tuple", "()", None, pair) for pair in pairwise(bounds)))
