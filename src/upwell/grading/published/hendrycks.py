"""The MATH paper's string match (Hendrycks et al. 2021): equal after a fixed list of rewritings."""

from __future__ import annotations

import re

from upwell.grading.cases import MAX_CHARS, Algebra, Case, Decision

_REWRITTEN = (
    ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""),
    ("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
)  # fmt: skip
_POINT = ((" .", " 0."), ("{.", "{0."))
_SQRT = re.compile(r"\\sqrt(?!\{)(.)", re.S)
_SLASH = re.compile(r"(-?\d+)/(-?\d+)")
_BRACES = re.compile(r"[{}]")


def extract(text: str) -> str | None:
    """What stands in exactly the last `\\boxed{}` (`\\boxed 5`: to the next dollar sign); None if it never closes.

    A `\\fbox` is found by the script too, but lost again when the command is taken off.
    """
    if "\\boxed " in text:
        return text.rpartition("\\boxed ")[2].partition("$")[0]
    at = text.rfind("\\boxed")
    if at < 0 or not text.startswith("{", at + 6):
        return None
    opened = at + 6
    depth = 0
    for brace in _BRACES.finditer(text, opened, opened + 4 * MAX_CHARS):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[opened + 1 : brace.start()]
    return None


def compare(case: Case, algebra: Algebra) -> Decision:
    """Whether both are the same string after `stripped`."""
    return Decision(stripped(case.answer) == stripped(case.gold), "hendrycks")


def stripped(answer: str) -> str:
    """The answer in the spelling that the script compares."""
    if len(answer) > MAX_CHARS:
        return answer
    for old, new in _REWRITTEN:
        answer = answer.replace(old, new)
    if answer.count("\\text{ ") == 1:
        answer = answer.partition("\\text{ ")[0]
    answer = answer.replace("\\%", "").replace("%", "")
    for old, new in _POINT:
        answer = answer.replace(old, new)
    if not answer:
        return answer
    if answer.startswith("."):
        answer = "0" + answer
    sides = answer.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        answer = sides[1]
    answer = _SQRT.sub(r"\\sqrt{\1}", answer).replace(" ", "")
    answer = with_braces(answer)
    if answer == "0.5":
        answer = "\\frac{1}{2}"
    slash = _SLASH.fullmatch(answer)
    if slash and all(str(int(part)) == part for part in slash.groups()):
        answer = f"\\frac{{{slash[1]}}}{{{slash[2]}}}"
    return answer


def with_braces(answer: str) -> str:
    """`\\frac12` as `\\frac{1}{2}`; all of it as it was where a fraction lacks its parts."""
    first, *rest = answer.split("\\frac")
    pieces = [first]
    for piece in rest:
        if piece.startswith("{"):
            pieces.append(piece)
        elif len(piece) < 2:
            return answer
        elif piece[1] == "{":
            pieces.append(f"{{{piece[0]}}}{piece[1:]}")
        else:
            pieces.append(f"{{{piece[0]}}}{{{piece[1]}}}{piece[2:]}")
    return "\\frac".join(pieces)
