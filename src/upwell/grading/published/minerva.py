"""Minerva's grading of MATH (Lewkowycz et al. 2022, appendix): normalise both answers, then ask SymPy."""

from __future__ import annotations

import re

from upwell.grading.cases import MAX_CHARS, Algebra, Case, Decision

_BEGIN, _END = "Final Answer: The final answer is", ". I hope it is correct."
_REPLACED = (
    ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text"),
    (",\\text{and}", ","), ("\\text{and}", ","), ("\\text{m}", "\\text{}"),
)  # fmt: skip
_REMOVED = (
    "square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units", "\\ldots", "sue",
    "points", "feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges",
    "students", "childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2",
    "\\text{}^3", "\\text{\n}", "\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"',
    "\\dots",
)  # fmt: skip
_WRAPPED = re.compile(r"\\(?:text|textbf|overline)\{([^}\n]*)\}")
_BOXED = re.compile(r"\\boxed\{(.*)\}")
_FRAC = re.compile(r"(frac)([^{])(.)")
_SQRT = re.compile(r"(sqrt)([^{])")


def extract(text: str) -> str | None:
    """The form that Minerva's prompt asks for, first occurrence."""
    begin = text.find(_BEGIN)
    end = text.find(_END, begin)
    return text[begin + len(_BEGIN) : end].strip() if 0 <= begin < end else None


def compare(case: Case, algebra: Algebra) -> Decision:
    """Whether the normalised strings are the same, or their difference simplifies to zero."""
    if len(case.answer) > MAX_CHARS:
        return Decision(False, "minerva-literal")
    gold, answer = normalised(case.gold), normalised(case.answer)
    if gold == answer:
        return Decision(True, "minerva-literal")
    if not answer or (gold.isdecimal() and answer.isdecimal()):
        return Decision(gold.lstrip("0") == answer.lstrip("0") != "", "minerva-symbolic")
    return Decision(algebra.equal(gold, answer), "minerva-symbolic")


def normalised(answer: str) -> str:
    """The spelling that is compared: words, units, dollar signs, text and boxes taken off."""
    answer = answer.rpartition("=")[2]
    for old, new in _REPLACED:
        answer = answer.replace(old, new)
    for old in _REMOVED:
        answer = answer.replace(old, "")
    parts = answer.split("$", 2)
    if len(parts) == 3:
        answer = f"${parts[1]}$"
    answer = _WRAPPED.sub(r"\1", answer)
    if "\\boxed{" in answer:
        answer = _BOXED.sub(r"\1", answer)
    answer = _FRAC.sub(r"frac{\2}{\3}", answer)
    answer = _SQRT.sub(r"sqrt{\2}", answer)
    answer = answer.replace("$", "")
    return answer.replace(",", "") if answer.replace(",", "").isdigit() else answer
