"""Whether two answers are equal: an exact equivalence for votes, a lenient directed test against a gold one.

`same` asks whether two answers are equal, and `canonical` maps each to a string that exactly the equal ones
share. `accepts` asks whether a gold answer admits an answer: equal, or equal under the rules of
docs/grading.md (rounding, percent, units, order, labels). It sees the answer in its normal form only, so
that it cannot tell equal answers apart.
"""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from upwell.grading import evaluate, gate
from upwell.grading.answers import Answer, listing
from upwell.grading.leaves import plain_number
from upwell.grading.lexer import TooLarge, Unreadable
from upwell.grading.matching import admits, by_leniency
from upwell.grading.normal import normal
from upwell.grading.notation import spelled
from upwell.grading.reading import read

MAX_CHARS = 20_000
_REMEMBERED = 2_000
"""Longest answer whose normal form is kept in memory."""
_SHORT = 40
_MATHEMATICAL = frozenset(
    ("number", "percent", "formula", "list", "record", "tuple", "union", "matrix", "equation", "relation")
)
"""Kinds of known answers that a symbolic worker can be asked about."""
_LOOSE_SPACE = re.compile(r"(?<!\d) | (?!\d)")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:, ?\d{3})+")
_LETTERS = re.compile(r"(?:\\(?:text|mathrm|textbf|mathbf)\s?\{\s?)?([A-Za-z]{2,4})(?:\s?\})?")
_DIGIT_LIST = re.compile(r"\d+(?:,\d+)+")


class Decision(NamedTuple):
    """The outcome of comparing an answer with a gold answer."""

    correct: bool | None
    """None: the cheap tiers cannot tell and a worker has to."""
    tier: str
    """literal, numeric, structured, algebraic, symbolic, text or none."""


class _Known(NamedTuple):
    """What the rules know of an answer."""

    answer: Answer
    """In normal form; as it was read where it has none."""
    canonical: str
    size: str
    """`known` where its value can be told from all others, `huge`, `unknown`."""
    has_form: bool
    """Whether it has a normal form."""


def same(a: str, b: str) -> bool:
    """Whether two answers are equal: exact, without tolerance, an equivalence. Never raises, never slow.

    Answers whose value the rules cannot tell are the same only if they are spelled alike.
    """
    return a == b or canonical(a) == canonical(b)


def canonical(answer: str) -> str:
    """A string that equal answers share, such as `1/2` for 0.5 and \\frac12. Never raises, never slow."""
    quick = plain_number(answer) if len(answer) <= _SHORT else None
    if quick is not None and quick.kind == "number" and quick.node is not None:
        return str(quick.node.value)
    return _known(answer).canonical


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
    reference, found = _known(gold), _known(answer)
    tier = _tier(reference.answer, found.answer)
    if reference.canonical == found.canonical and (identical or found.has_form):
        return Decision(True, "literal" if identical and literal(answer) == literal(gold) else tier)
    if len(answer) > MAX_CHARS or len(gold) > MAX_CHARS:
        return Decision(False, "text")
    first, *others = _readings(gold)
    if found.has_form and (
        by_leniency(first, found.answer, tolerance)
        or any(admits(reading, found.answer, tolerance) for reading in others)
    ):
        return Decision(True, tier)
    sizes = {reference.size, found.size}
    if "unknown" not in sizes and sizes != {"huge"}:
        return Decision(False, tier)
    asked = found.answer.kind in _MATHEMATICAL if found.size == "known" else gate.admits(answer)
    return Decision(None, "symbolic") if asked and gate.admits(gold) else Decision(False, tier)


def is_undecided(answer: str) -> bool:
    """Whether the cheap tiers cannot tell this answer from all others, so that SymPy may know better."""
    return len(answer) <= MAX_CHARS and _known(answer).size != "known"


def _known(text: str) -> _Known:
    return _remembered(text) if len(text) <= _REMEMBERED else _remembered.__wrapped__(text)


@lru_cache(maxsize=16_384)
def _remembered(text: str) -> _Known:
    if len(text) > MAX_CHARS:
        digest = hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=16)
        return _Known(Answer("text"), f"?{digest.hexdigest()}", "known", False)
    found = read(text)
    try:
        form, name = normal(found)
    except (Unreadable, RecursionError) as error:
        size = "huge" if isinstance(error, TooLarge) else "unknown"
        return _Known(found, "?" + literal(text), size, False)
    return _Known(form, name, "unknown" if _has_stand_in(form) else "known", True)


def _has_stand_in(answer: Answer) -> bool:
    own = answer.node is not None and evaluate.has_stand_in(answer.node)
    return own or any(_has_stand_in(item) for item in answer.items)


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


@lru_cache(maxsize=4_096)
def _readings(gold: str) -> tuple[Answer, ...]:
    """What a gold answer may mean, as read.

    `70,110` is 70110, and also the list 70, 110; `II` is a word, and also a product.
    """
    found = [read(gold)]
    bare = gold.strip().strip("$").strip()
    if _DIGIT_LIST.fullmatch(bare):
        found.append(listing([read(piece) for piece in bare.split(",")]))
    elif _GROUPED.fullmatch(bare):
        found.append(read(bare.replace(" ", "")))
    elif word := _LETTERS.fullmatch(bare):
        found += [Answer("text", word[1].casefold()), read(word[1])]
    return tuple(found)


def _tier(gold: Answer, answer: Answer) -> str:
    kinds = {gold.kind, answer.kind}
    if kinds <= {"number", "percent"}:
        return "numeric"
    if kinds & {"text", "choice", "unreadable"}:
        return "text"
    if kinds <= {"number", "percent", "formula"}:
        return "algebraic"
    return "structured"


def _is_interval(answer: Answer) -> bool:
    return len(answer.items) == 2 and (
        answer.text != "()" or any(item.text in ("oo", "-oo") for item in answer.items)
    )
