"""DART-Math's grader: its order of extraction, and equality from dates to SymPy.

By design of the original a percentage equals its share (`0.5` and `50`, at 1e-3), a word is true or false if it
contains `yes`, `true`, `no` or `false` (so `noon` equals `false`), and brackets around a pair do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from math import isclose

from upwell.grading.cases import MAX_CHARS, Algebra, Case, Decision
from upwell.grading.published import dart_spelling as spelling
from upwell.grading.published.dart_spelling import normalised, truth
from upwell.records import Problem

_SEARCHED = 200_000
_MARKERS = ("herefore", "####", "# Answer")
_BEFORE = ("is the ans", "is our ans")
_BEHIND = ("answer is", "answer:", "answer :")
_FORMULA = re.compile(r"(?:\$|\\\(|\\\[)([^$]+)(?:\$|\\\(|\\\[)")
_NUMBER = re.compile(r"-?\d*\.?\d+")
_BRACES = re.compile(r"\\.|[{}]", re.S)
_DATES = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
    "%Y/%m/%d %H:%M", "%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p",
)  # fmt: skip
_RELATIVE, _ABSOLUTE, _PERCENT = 1e-9, 1e-8, 1e-3


# -- extraction


def extract(text: str) -> str | None:
    """What stands explicitly behind its markers, else the last formula, else the last number; normalised."""
    tail = text[-_SEARCHED:]
    found = _explicit(tail)
    if found is None:
        formulas = _FORMULA.findall(tail)
        numbers = formulas or _NUMBER.findall(tail.replace(",", ""))
        found = numbers[-1] if numbers else ""
    return normalised(found) if len(found) <= MAX_CHARS else found


def _explicit(text: str) -> str | None:
    text = spelling.without_tail(text)
    for marker in _MARKERS:
        if marker in text:
            text = text.rpartition(marker)[2].strip()
    if "oxed{" in text:
        return _boxed(text)
    for phrase in _BEFORE:
        if phrase in text:
            before = text.rpartition(phrase)[0].rpartition(phrase)[2].strip()
            return _unwrapped(re.split(r"[,.!]", before)[-1].strip())
    for phrase in _BEHIND:
        if phrase in text:
            return _unwrapped(text.rpartition(phrase)[2].strip())
    if "statement" in text:
        said = truth(text.rpartition("is ")[2].strip())
        return None if said is None else str(said)
    return None


def _boxed(text: str) -> str:
    text = text.rpartition("oxed")[2]
    if not text.startswith("{"):
        return text.partition("$")[0].strip()
    depth = 0
    for match in _BRACES.finditer(text):
        depth += (match[0] == "{") - (match[0] == "}")
        if depth == 0:
            return text[1 : match.start()]
    return text[1:]


def _unwrapped(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text.startswith("$") and text.endswith("$") else text


# -- equality


def mode(problem: Problem) -> str:
    """`set` where the question asks to find something, so that parts are compared in any order."""
    question = problem.question
    return "set" if "ind the" in question or ("all" in question and "separate" in question) else ""


def compare(case: Case, algebra: Algebra) -> Decision:
    """DART-Math's verdict on an answer."""
    if len(case.answer) > MAX_CHARS:
        return Decision(False, "dart-literal")
    if case.tolerance is not None:  # its OlympiadBench judge honours the benchmark's own tolerance
        first, second = _float(normalised(case.gold)), _float(normalised(case.answer))
        if first is not None and second is not None and abs(first - second) <= case.tolerance * 1.01:
            return Decision(True, "dart-number")
    return _equal(case.gold, case.answer, case.mode == "set", algebra)


def _equal(gold: str, answer: str, as_sets: bool, algebra: Algebra) -> Decision:
    when = _date(gold)
    if when is not None and when == _date(answer):
        return Decision(True, "dart-date")
    gold, answer = normalised(gold), normalised(answer)
    if not answer or not answer.isascii():
        return Decision(False, "dart-literal")
    if gold.lower() == answer.lower():
        return Decision(True, "dart-literal")
    if as_sets:
        return Decision(_same_parts(spelling.parts(gold), spelling.parts(answer), algebra), "dart-set")
    first, second = _float(gold), _float(answer)
    if first is not None and second is not None and "_" not in gold + answer:
        return Decision(_same_number(first, second), "dart-number")
    return Decision(_same_object(gold, answer, algebra), "dart-symbolic")


def _same_parts(gold: list[str], answer: list[str], algebra: Algebra) -> bool:
    if len(gold) != len(answer):
        return False
    left = list(gold)
    for part in answer:
        at = next((i for i, other in enumerate(left) if _equal(part, other, False, algebra).correct), -1)
        if at < 0:
            return False
        del left[at]
    return True


def _date(text: str) -> datetime | None:
    if len(text) > 24 or not any(mark in text for mark in ":/-"):
        return None
    for form in _DATES:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _same_number(gold: float, answer: float) -> bool:
    """Close to 1e-9, or one a percentage of the other to 1e-3."""
    if isclose(gold, answer, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
        return True
    return any(
        _may_be_percent(second)
        and _may_be_percent(value)
        and isclose(value, second, rel_tol=_PERCENT, abs_tol=_ABSOLUTE)
        for first, second in ((gold, answer), (answer, gold))
        for value in (first / 100, first * 100)
    )


def _may_be_percent(value: float) -> bool:
    return 0 < value < 1 or 1 < value < 100


def _same_object(gold: str, answer: str, algebra: Algebra) -> bool:
    """Equal as intervals, as matrices (to which pairs count) or as formulas."""
    same: Callable[[str, str], bool] = lambda a, b: _same_formula(a, b, algebra)  # noqa: E731
    spans = spelling.intervals(gold), spelling.intervals(answer)
    if spans[0] is not None and spans[1] is not None and len(spans[0]) == len(spans[1]):
        pairs = zip(sorted(spans[0]), sorted(spans[1]), strict=True)
        if all(
            a.brackets == b.brackets and same(a.left, b.left) and same(a.right, b.right) for a, b in pairs
        ):
            return True
    first, second = spelling.matrix(gold), spelling.matrix(answer)
    if first is not None and second is not None:
        flat = [[entry for row in rows for entry in row] for rows in (first, second)]
        if [len(row) for row in first] == [len(row) for row in second] and all(
            same(a, b) for a, b in zip(*flat, strict=True)
        ):
            return True
    gold, answer = spelling.ungrouped(gold), spelling.ungrouped(answer)
    return "," not in gold + answer and same(gold, answer)


def _same_formula(gold: str, answer: str, algebra: Algebra) -> bool:
    if gold == answer:
        return True
    first, second = (None if "_" in side else _float(side) for side in (gold, answer))
    if first is not None and second is not None:
        return _same_number(first, second)
    if algebra.equal(gold, answer):
        return True
    first = algebra.value(gold) if first is None else first
    second = algebra.value(answer) if second is None else second
    return first is not None and second is not None and _same_number(first, second)
