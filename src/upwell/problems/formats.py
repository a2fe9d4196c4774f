"""How the published files lay out a problem: one reader per layout, the file taken as it is.

A reader turns one row into a `Parsed` problem. Its docstring is the description of the format that
the cards and the documentation show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from upwell.problems.answers import after_hashes, last_boxed, text_of, without_dollars, without_unit

Row = Mapping[str, Any]


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a row says, before it is checked and gets its key."""

    question: str
    answer: str
    """Empty where the row has none; such a row is reported and left out."""
    solution: str | None = None
    level: str | None = None
    subject: str | None = None
    tolerance: float | None = None
    id: str | None = None
    """The row's own name, used as the key; None for a key made from the question."""


class MissingField(Exception):
    """A row lacks a field that its layout promises."""


Reader = Callable[[Row], Parsed]


def take(row: Row, name: str) -> str:
    """A field that must be there, as text; empty where it holds nothing.

    Raises:
        MissingField: The row has no such field, or one that is no text.
    """
    if name not in row:
        raise MissingField(f"no field `{name}`")
    try:
        return text_of(row[name]) or ""
    except TypeError as error:
        raise MissingField(f"field `{name}` holds {error}") from None


def maybe(row: Row, name: str) -> str | None:
    """A field that may be missing, as text."""
    try:
        return take(row, name) or None
    except MissingField:
        return None


def gsm8k(row: Row) -> Parsed:
    """`question`; `answer` is the worked solution and ends in `#### GOLD`."""
    solution = take(row, "answer")
    return Parsed(question=take(row, "question"), answer=after_hashes(solution) or "", solution=solution)


def math(row: Row) -> Parsed:
    r"""`problem`, `solution` (the gold is its last `\boxed{}`), `level` (`Level 3`), `type`."""
    solution = take(row, "solution")
    level = maybe(row, "level")
    return Parsed(
        question=take(row, "problem"),
        answer=last_boxed(solution) or "",
        solution=solution,
        level=level.removeprefix("Level ") if level else None,
        subject=maybe(row, "type"),
    )


def math_500(row: Row) -> Parsed:
    """`problem`, `answer` (the gold), `solution`, `level` (3), `subject`."""
    return Parsed(
        question=take(row, "problem"),
        answer=take(row, "answer"),
        solution=maybe(row, "solution"),
        level=maybe(row, "level"),
        subject=maybe(row, "subject"),
    )


def svamp(row: Row) -> Parsed:
    """`Body` and `Question` (joined with a space), `Answer` (145.0), `Type`."""
    return Parsed(
        question=f"{take(row, 'Body')} {take(row, 'Question')}",
        answer=take(row, "Answer"),
        subject=maybe(row, "Type"),
    )


def asdiv(row: Row) -> Parsed:
    """`body` and `question` (joined with a space), `answer` (`9 (apples)`: the gold is `9`),
    `solution_type`."""
    return Parsed(
        question=f"{take(row, 'body')} {take(row, 'question')}",
        answer=without_unit(take(row, "answer")),
        subject=maybe(row, "solution_type"),
    )


def mawps(row: Row) -> Parsed:
    """`input`, `target` (43.0), in the union also `type` (the subset)."""
    answer = take(row, "target")
    return Parsed(
        question=take(row, "input"),
        answer=answer,
        subject=maybe(row, "type"),
        tolerance=PAL_TOLERANCE if "." in answer else None,
    )


def gsm_hard(row: Row) -> Parsed:
    """`input`, `target` (a float), `code` (the program that computed it; not used)."""
    answer = take(row, "target")
    return Parsed(
        question=take(row, "input"), answer=answer, tolerance=PAL_TOLERANCE if "." in answer else None
    )


PAL_TOLERANCE = 1e-3
"""Absolute distance within which an answer counts in PAL's own evaluation of GSM-Hard and the MAWPS
subsets (github.com/reasoning-machines/pal, scripts/gsm_eval.py). Whole golds must be met exactly here."""


def numglue(row: Row) -> Parsed:
    """`type` (`Type_1` .. `Type_8`), `question`, `answer`; types 5 and 6 also `passage` and an answer
    object, type 3 `Option1` and `Option2`, type 7 `statement1`, `statement2` and `options`."""
    kind = take(row, "type")
    answer = row.get("answer")
    if kind in ("Type_5", "Type_6") and isinstance(answer, Mapping):
        spans = answer.get("spans")
        number = answer.get("number")
        gold = number if number not in (None, "") else spans[0] if isinstance(spans, list) and spans else ""
        return Parsed(
            question=f"{take(row, 'passage')}\n{take(row, 'question')}",
            answer=text_of(gold) or "",
            subject=kind,
        )
    if kind == "Type_7":
        question = "\n".join(take(row, part) for part in ("statement1", "statement2", "options"))
    elif kind == "Type_3":
        question = f"{take(row, 'question')}\n{take(row, 'Option1')} or {take(row, 'Option2')}?"
        chosen = take(row, "answer").replace(" ", "")
        return Parsed(question=question, answer=maybe(row, chosen) or chosen, subject=kind)
    else:
        question = take(row, "question")
    return Parsed(question=question, answer=take(row, "answer"), subject=kind)


def kushman(row: Row) -> Parsed:
    """`sQuestion`, `lSolutions` (a list of numbers; several are joined with `, `)."""
    question = take(row, "sQuestion")
    if not isinstance(row.get("lSolutions"), list):
        raise MissingField("no list `lSolutions`")
    return Parsed(question=question, answer=", ".join(text_of(part) or "" for part in row["lSolutions"]))


def college_math(row: Row) -> Parsed:
    """`question`, `answer` (mostly `$...$`), `data_topic` (`college_math.algebra`), `license` per row."""
    topic = maybe(row, "data_topic")
    return Parsed(
        question=take(row, "question"),
        answer=without_dollars(take(row, "answer")),
        subject=topic.removeprefix("college_math.") if topic else None,
    )


def question_answer(row: Row) -> Parsed:
    """`question`, `answer`."""
    return Parsed(question=take(row, "question"), answer=take(row, "answer"))


def olympiadbench(row: Row) -> Parsed:
    """`question`, `final_answer` (a list of one string), `solution` (a list: the first is kept),
    `error` (absolute tolerance, mostly null), `subfield`; `unit` is not part of the gold."""
    golds = row.get("final_answer")
    if not isinstance(golds, list):
        raise MissingField("no list `final_answer`")
    solutions = row.get("solution")
    error = maybe(row, "error")
    return Parsed(
        question=take(row, "question"),
        answer=", ".join(without_dollars(str(gold)) for gold in golds),
        solution=str(solutions[0]) if isinstance(solutions, list) and solutions else None,
        subject=maybe(row, "subfield"),
        tolerance=_number(error),
    )


def theoremqa(row: Row) -> Parsed:
    """`Question`, `Answer` (integer, float, bool, list or option such as `(c)`), `Answer_type`, `field`,
    `Picture` (a file name where the question shows one)."""
    answer = take(row, "Answer")
    value = _number(answer) if maybe(row, "Answer_type") == "float" else None
    return Parsed(
        question=take(row, "Question"),
        answer=answer,
        subject=maybe(row, "field"),
        tolerance=abs(value) * THEOREMQA_RELATIVE or None if value is not None else None,
    )


THEOREMQA_RELATIVE = 0.04
"""TheoremQA's own evaluation accepts a float within 4 % of the reference
(github.com/wenhuchen/TheoremQA, `within_eps`)."""


def aime(row: Row) -> Parsed:
    """`problem`, `answer` (three digits, `073`: the gold is `73`), `solution`."""
    answer = take(row, "answer")
    return Parsed(
        question=take(row, "problem"),
        answer=str(int(answer)) if answer.isascii() and answer.isdigit() else answer,
        solution=maybe(row, "solution"),
    )


def amc(row: Row) -> Parsed:
    """`question`, `answer` (27.0)."""
    return question_answer(row)


def hungarian(row: Row) -> Parsed:
    """One CSV per examined model: `prompt` (the question in that model's wrapping), `answer` (what
    the model wrote), `Points` (what a human gave it). There is no reference answer."""
    prompt = take(row, "prompt").removeprefix("User: ").removesuffix("Assistant:")
    return Parsed(question=prompt.strip().removeprefix("Answer the following question:").strip(), answer="")


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
