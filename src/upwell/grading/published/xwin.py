"""Xwin-Math's toolkit: `simple_answer_check` for word problems, `latex_answer_check` (aggressive) for MATH.

Its defects are part of its published numbers, so they are here too: the shortest tail wins; the numeric tolerance
behind SymPy is never reached; `1e3`, `3 1/2` and `1/0` are wrong answers; `12-5` is 12 and -5.
"""

from __future__ import annotations

import re
from math import isclose

from upwell.grading.cases import MAX_CHARS, Algebra, Case, Decision
from upwell.records import Problem

_MARKERS = ("####", "The answer is: ", "The answer is")
_SEARCHED = 200_000
"""How much of the end of a response is searched for boxes and numbers."""
_TOLERANCE = 1e-3

_BOX_OR_BRACE = re.compile(r"\\(?:boxed|mbox)\s*(?=\{)|[{}]")
_NUMBER = re.compile(
    r"\$(?P<formula>[^$]*)\$|[-\d]\d*e[-\d]\d*|[-\d]\d*/\d+|(?:[-\d]\d*)?\.\d+"
    r"|(?P<grouped>[+-]?\d{1,3}(?:,\d{3}(?!\d)){1,12}+(?!,))|[-\d]\d*"
)
_HUGE = re.compile(r"\d{100}")


# -- extraction


def extract_strict(text: str) -> str | None:
    """Behind the last of each marker, the shortest remainder."""
    tails = [text[at + len(marker) :] for marker in _MARKERS if (at := text.rfind(marker)) >= 0]
    return min(tails, key=len) if tails else None


def extract_flex(text: str) -> str | None:
    """`extract_strict`, else the last box, else the last number or `$...$`."""
    found = extract_strict(text)
    if found is not None:
        return found
    tail = text[-_SEARCHED:]
    box = _last_box(tail)
    if box is not None:
        return box
    numbers = _numbers(tail)
    return numbers[-1] if numbers else None


def _last_box(text: str) -> str | None:
    """The content of the last complete `\\boxed{}` or `\\mbox{}`; of nested ones, the outer."""
    if "box" not in text:
        return None
    last: str | None = None
    opened: list[int] = []
    boxed = -1
    for match in _BOX_OR_BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.end() if match.start() == boxed else -1)
        elif match[0] == "}":
            begin = opened.pop() if opened else -1
            last = text[begin : match.start()] if begin >= 0 else last
        else:
            boxed = match.end()
    return last


def _numbers(text: str) -> list[str]:
    """Formulas between dollar signs and plain numbers, in order; a lone minus sign counts, as it does there."""
    found = []
    for match in _NUMBER.finditer(text):
        formula, grouped = match["formula"], match["grouped"]
        found.append(formula if formula is not None else grouped.replace(",", "") if grouped else match[0])
    return found


# -- which check


def mode(problem: Problem) -> str:
    """`latex` for MATH, `simple` for the word-problem sets (their default), one lenient policy for two of them.

    A problem whose set is not known is a word problem if its gold answer is a plain number.
    """
    name = problem.source.lower().replace("-", "").replace("_", "")
    if name.startswith(("kushman", "dolphin")):
        return "simple-include"
    if name.startswith(("gsm", "svamp", "asdiv", "mawps", "numglue", "hungarian")):
        return "simple"
    if name:
        return "latex"
    return "simple" if _PLAIN.fullmatch(problem.answer.strip()) else "latex"


_PLAIN = re.compile(r"-?[$€£]?\d[\d,]{0,40}(?:\.\d{1,40})?%?")


def compare(case: Case, algebra: Algebra) -> Decision:
    """Xwin-Math's verdict on an answer."""
    if len(case.answer) > MAX_CHARS or _HUGE.search(case.answer):
        return Decision(False, "xwin-text")
    if case.mode == "latex":
        return _latex(case.gold, case.answer, algebra)
    return _simple(case.gold, case.answer, case.mode == "simple-include")


# -- simple_answer_check


def _simple(gold: str, answer: str, include: bool) -> Decision:
    answer = answer.rstrip(".").rstrip(" ").rstrip("\n").rstrip(".").rstrip(" ").rstrip("\n").replace("$", "")
    try:
        wanted, given = _simple_numbers(gold), _simple_numbers(answer)
        if not wanted and not given:
            return Decision(_folded(answer) == _folded(gold), "xwin-text")
        if not wanted or not given or (not include and len(wanted) != len(given)):
            return Decision(False, "xwin-numbers")
        left = list(given)
        for number in wanted:
            at = next((i for i, other in enumerate(left) if _near(other, number)), -1)
            if at < 0:
                return Decision(False, "xwin-numbers")
            del left[at]
    except (ValueError, ArithmeticError):
        return Decision(False, "xwin-numbers")
    return Decision(include or not left, "xwin-numbers")


def _folded(text: str) -> str:
    return text.replace("\n", "").replace(" ", "").lower()


def _near(first: float, second: float) -> bool:
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    return isclose(first, second, rel_tol=_TOLERANCE)


_PART = r"\d+(?:.\d+)?"
_KINDS = tuple(
    re.compile(pattern)
    for pattern in (
        r"-?\d(?:.\d+)?[eE][+-]?\d+",  # scientific
        rf"-?{_PART}\s*[/:]\s*{_PART}",  # fractions and ratios
        r"-?\d{1,3}(?:,\d{3})+(?:.\d+)?",  # with separators
        r"-?\d+\s*[./:]\s*\d+",  # decimals
        r"-?\d+",
    )
)
"""Kinds of numbers in the order in which they are cut out of an answer. The bare dots (any character) are theirs."""
_SUM = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[-+*/]\d+(?:\.\d+)?)*")
_TERM = re.compile(r"([+-]?)([^+-]+)")
_LEADING_ZERO = re.compile(r"(?<![\d.])0+[1-9]\d*(?!\d*\.)")


def _simple_numbers(text: str) -> list[float]:
    """All numbers of a text. Raises ValueError where one of them is none after all, such as `1e3` or `3 1/2`."""
    found: list[float] = []
    for kind in _KINDS:
        found.extend(_cast(item) for item in kind.findall(text))
        text = kind.sub("", text)
    return found


def _cast(item: str) -> float:
    item = item.replace(",", "").replace(":", "/")
    if "/" in item:
        return _quotient(item)
    if "." not in item:
        return int(item)
    value = float(item)
    return int(value) if abs(int(value) - value) < 1e-10 else value


def _quotient(item: str) -> float:
    """What Python makes of `3/4`, `1.5 / 2` or `5-3/4`. Raises ValueError for `3 1/2`, `05/2` and the like."""
    item = "/".join(part.strip() for part in item.split("/"))
    if not _SUM.fullmatch(item) or _LEADING_ZERO.search(item):
        raise ValueError(item)
    total = 0.0
    for sign, term in _TERM.findall(item):
        first, *factors = re.split(r"([*/])", term)
        value = float(first)
        for operator, factor in zip(factors[::2], factors[1::2], strict=True):
            value = value * float(factor) if operator == "*" else value / float(factor)
        total += -value if sign == "-" else value
    return total


# -- latex_answer_check


def _latex(gold: str, answer: str, algebra: Algebra) -> Decision:
    plain_gold, plain_answer = _plain(gold), _plain(answer)
    if _literally(_trimmed(_unboxed(plain_answer)), _trimmed(_unboxed(plain_gold))):
        return Decision(True, "xwin-literal")
    wrapped = gold if gold.startswith("$") and gold.endswith("$") else f"${gold}$"
    wanted, given = _numbers(wrapped), _numbers(answer)
    if (
        len(wanted) == len(given) == 1
        and not _is_structured(answer.replace(given[0], ""))
        and not _is_structured(gold.replace(wanted[0], ""))
        and _same_number(_bare(given[0]), _bare(wanted[0]), algebra)
    ):
        return Decision(True, "xwin-number")
    same = _same_number(_trimmed(plain_answer), _trimmed(plain_gold), algebra)
    return Decision(bool(same), "xwin-symbolic")


def _plain(text: str) -> str:
    for mark in ("\\$", "$", "\\%", "%", "^\\circ", "^{\\circ}"):
        text = text.replace(mark, "")
    return text.replace("π", "\\pi").replace("{,}", "").replace("°", "").lower()


def _trimmed(text: str) -> str:
    return text.strip(" \n").rstrip(".").strip(" \n").rstrip(".")


def _literally(answer: str, gold: str) -> bool:
    """The same characters, commas and spaces apart; without digits, brackets around them apart too."""
    first, second = (text.replace(",", "").replace(" ", "").replace("\xa0", "") for text in (answer, gold))
    if first == second:
        return True
    if any(c.isdigit() for c in answer + gold):
        return False
    return first.strip("[]()") == second.strip("[]()")


def _is_structured(text: str) -> bool:
    return any(mark in text for mark in "()[]\\<>,xyz")


def _bare(number: str) -> str:
    return _trimmed(_unboxed(_TEXT.sub("", number)))


_TEXT = re.compile(r"\\(?:text|mbox)\s*\{[^{}]*\}(?:\s*\^\s*\d)?")
_BOX_BRACE = re.compile(r"[{}]")


def _unboxed(text: str) -> str:
    """The text with `\\box...`, `\\mbox...` and `\\text...` taken off their braces, the content kept."""
    for command in ("\\box", "\\mbox", "\\text"):
        while (begin := text.find(command)) >= 0:
            opened = text.find("{", begin)
            closed = _partner(text, opened) if opened >= 0 else -1
            if closed < 0:
                break
            text = text[:begin] + text[opened + 1 : closed] + text[closed + 1 :]
    return text


def _partner(text: str, opened: int) -> int:
    depth = 0
    for brace in _BOX_BRACE.finditer(text, opened):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return -1


def _same_number(answer: str, gold: str, algebra: Algebra) -> bool | None:
    """Numbers: whole ones equal, others to 1e-3. Formulas: their difference simplifies to 0, no tolerance."""
    if "," in answer or "," in gold:
        return None
    answer, gold = _right_side(answer), _right_side(gold)
    whole = _whole(answer), _whole(gold)
    if None not in whole:
        return whole[0] == whole[1]
    first, second = _float(answer), _float(gold)
    if first is not None and second is not None:
        return isclose(first, second, rel_tol=_TOLERANCE)
    return algebra.equal(answer, gold) or None


def _right_side(text: str) -> str:
    """What an equation ends in; of `... = 0` the left side."""
    if text.count("=") == 1:
        left, _, right = text.partition("=")
        text = left if _trimmed(right) == "0" and len(_trimmed(left)) >= 2 else right
    return _trimmed(text)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole(text: str) -> int | None:
    try:
        value = float(text)
        return int(value) if isclose(int(value), value, rel_tol=1e-9) else None
    except (ValueError, OverflowError):
        return None
