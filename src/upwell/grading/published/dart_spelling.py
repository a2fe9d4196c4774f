"""How DART-Math's grader rewrites an answer before it compares, and how it takes one apart."""

from __future__ import annotations

import re
from typing import NamedTuple

from upwell.grading.published.hendrycks import with_braces

_STRIPPED = ":./,#?$\"'ки"
_TRAILING = _STRIPPED + "([{\\"
_PRECEDING = _STRIPPED + "!)]}"
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_REMOVED = (
    "\n", "\t", "approximately", "'", '"', "\\$", "$", "￥", "£", "€", "{,}", "\\!", "\\,", "\\:", "\\;",
    "\\quad", "\\qquad", "\\space", "\\thinspace", "\\medspace", "\\thickspace", "~,", "\\ ", "\\\\%", "\\%",
    "%", "\\left", "\\right", "^{\\circ}", "^\\circ",
)  # fmt: skip
_REPLACED = (
    ("∪", "\\cup"), ("π", "\\pi"), ("∞", "\\infty"), ("∈", "\\in"), ("∩", "\\cap"), ("−", "-"),
    ("\\item", ","), ("and", ","), (";", ","), ("infinity", "\\infty"), ("+\\infty", "\\infty"),
    ("tfrac", "frac"), ("dfrac", "frac"), ("\\approx", "="), ("\\times", "*"), ("\\cdot", "*"),
    ("{.", "{0."), (" .", " 0."), (":", "/"),
)  # fmt: skip
_FONTS = re.compile(
    r"\\(?:textbf|textit|textsl|texttt|textsc|textsf|textrm|textsuperscript|textsubscript|text|mathrm|mathbf|mathit"
    r"|mathsf|mathtt|mathbb|mathcal|mathscr|mathfrak|mbox|bm|emph|underline|overline)(?:\{([^{}]*)\}|(?![a-z]))"
)
_ENVIRONMENTS = re.compile(r"\\(?:begin|end)\{(?:align\*?|center|flushleft|flushright|itemize|enumerate)\}")
_FUNCTIONS = "sinh|cosh|tanh|coth|sech|csch|sin|cos|tan|cot|sec|csc|log|ln|exp"
_BARE_FUNCTION = re.compile(rf"(?<![\\a-z])({_FUNCTIONS}|pi\b)")
_BARE_SQRT = re.compile(r"\\?sqrt(?:[({\[](\w+)[)}\]]|(\d+))")
_SLASH = re.compile(r"(?<![\w.])(\d{1,50})/(\d{1,50})")
_ZEROS = re.compile(r"(\d)\.0+(?!\d)")
_DEGREES = re.compile(r"(\d{1,30})\^?\\?circ$")
_UNIT = re.compile(
    r"(?<=[\d.}])(?:hour|minute|min|second|sec|day|week|month|year|kilometer|meter|mile|kg|mg|ton|nm|pm|um|cm|mm|dm"
    r"|km|inch|feet|piece|bit|hz|Hz|m/s|km/s|billion|eV|a\.?m\.?|(?<!\\)p\.?m\.?|g|t|m|V|C|s)e?s?$"
)
_LABEL = re.compile(
    r"(?:[a-z]|[A-Z]{2}|\\?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|lambda|mu|pi|rho|sigma|tau|phi|omega))"
    r"\^?\{?-?(?:'|\\prime|\d){0,20}\}?(?:\(-?(?:[\d.]{1,20}|[a-z])?\))?"
)
_PLUS_MINUS = re.compile(r"([\w.\\{}+*^-]+?)\\(?:pm|mp)([\w.\\{}+*^-]+)")
_OR = re.compile(r"[^a-z]or(?:x|[^a-z])")
_MATRIX = re.compile(r"\\begin\{[a-z]?(?:matrix|array)\}(?!\{)(.*?)\\end\{[a-z]?(?:matrix|array)\}", re.S)
_ROW = re.compile(r"\\+(?!frac|sqrt)")
_GROUPED = re.compile(r"-?\d{1,3}(?:,\d{3}){1,20}(?:\.\d{0,20})?")
_PAIRS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}


class Interval(NamedTuple):
    """One interval; `brackets` says which ends belong to it."""

    left: str
    right: str
    brackets: str


def truth(text: str) -> bool | None:
    """Whether a text says yes or no, by a mere part of it, as the original does."""
    folded = text.lower().replace("noindent", "")
    if "yes" in folded or "true" in folded:
        return True
    return False if "no" in folded or "false" in folded else None


def without_tail(text: str) -> str:
    return text.strip().rstrip(_TRAILING + " \n\t\r\f\v")


def normalised(answer: str) -> str:
    """The spelling in which answers are compared: a truth value, a weekday, or mathematics."""
    answer = without_tail(answer.replace("\n", "").strip().lstrip(_PRECEDING + " \t"))
    said = truth(answer)
    if said is not None:
        return str(said)
    if " " not in answer:
        for day in _WEEKDAYS:
            if answer.lower().startswith(day[:3].lower()):
                return day
    return _mathematics(answer)


def parts(answer: str) -> list[str]:
    """The distinct parts of an answer taken as a set."""
    return sorted({part.strip() for part in unbracketed(answer).replace("or", ",").split(",")})


def ungrouped(answer: str) -> str:
    """A number without the commas between its thousands; anything else as it is."""
    return answer.replace(",", "") if _GROUPED.fullmatch(answer) else answer


def intervals(answer: str) -> list[Interval] | None:
    """The intervals that an answer is a union of, or None."""
    found = []
    for piece in answer.replace(" ", "").split("\\cup"):
        ends = piece[1:-1].split(",")
        if len(ends) != 2 or piece[0] not in "([" or piece[-1] not in ")]":
            return None
        found.append(Interval(ends[0], ends[1], piece[0] + piece[-1]))
    return found


def matrix(answer: str) -> list[list[str]] | None:
    """The rows of a matrix; a tuple is one row, and so is a column."""
    answer = answer.replace(" ", "")
    found = _MATRIX.search(answer)
    if found:
        rows = [row.split("&") for row in _ROW.split(found[1]) if row]
    elif "," in answer:
        rows = [parts(answer) if _is_set(answer) else unbracketed(answer).split(",")]
    else:
        return None
    return [[row[0] for row in rows]] if all(len(row) == 1 for row in rows) else rows


def unbracketed(answer: str) -> str:
    """The answer without the brackets that enclose all of it."""
    for _ in range(20):
        opening = next((mark for mark in _PAIRS if answer.startswith(mark)), None)
        if opening is None:
            break
        closing = _PAIRS[opening]
        if not answer.endswith(closing) or not _enclosed(answer, opening, closing):
            break
        answer = answer[len(opening) : -len(closing)]
    return answer


def _enclosed(text: str, opening: str, closing: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    depth = 0
    for match in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", text):
        depth += 1 if match[0] == opening else -1
        if depth == 0:
            return match.end() == len(text)
    return False


def _is_set(answer: str) -> bool:
    return (
        _OR.search(answer) is not None
        or (answer.startswith("{") and answer.endswith("}"))
        or (answer.startswith("\\{") and answer.endswith("\\}"))
    )


def _mathematics(answer: str) -> str:
    for old in _REMOVED:
        answer = answer.replace(old, "")
    for old, new in _REPLACED:
        answer = answer.replace(old, new)
    if "\\infty" not in answer:
        answer = answer.replace("inf", "\\infty")
    answer = answer.replace(" ", "")
    answer = _FONTS.sub(lambda match: match[1] or "", answer)
    answer = _ENVIRONMENTS.sub("", answer).replace("rad", "")
    answer = _DEGREES.sub(r"\1", answer)
    answer = _BARE_FUNCTION.sub(r"\\\1", answer)
    if "\\begin" not in answer:
        answer = answer.replace("\\\\", "")
    if "j" in answer and "i" not in answer:
        answer = answer.replace("j", "i")
    answer = _UNIT.sub("", _ZEROS.sub(r"\1", answer))
    if not answer:
        return answer
    if answer.startswith("."):
        answer = "0" + answer
    pieces = parts(answer) if _is_set(answer) else [answer]
    answer = ",".join(map(_single, pieces))
    answer = unbracketed(answer) if "," not in answer else answer
    if answer in _WORDS:
        return str(_WORDS.index(answer))
    return without_tail(answer.lstrip(_PRECEDING))


def _single(piece: str) -> str:
    """One part: braces around fractions, labels off, plus-minus spelled out."""
    piece = _BARE_SQRT.sub(lambda match: f"\\sqrt{{{match[1] or match[2]}}}", piece)
    piece = with_braces(f"\\{piece}" if piece.startswith("frac") else piece)
    piece = _SLASH.sub(r"\\frac{\1}{\2}", piece)
    piece = re.sub(r"^[a-z]\\in", "", piece)
    if "," not in piece:
        piece = unbracketed(piece)
    if "\\begin" not in piece:
        sides = piece.split("=")
        if len(sides) > 2:
            piece = sides[-1]
        elif len(sides) == 2 and (_LABEL.fullmatch(sides[0]) or not re.search("[a-zA-Z]", sides[0])):
            piece = sides[1]
    if "\\pm" in piece or "\\mp" in piece:
        piece = _PLUS_MINUS.sub(r"\1-\2,\1+\2", unbracketed(piece))
    return re.sub(r"^0+([1-9])", r"\1", piece)
