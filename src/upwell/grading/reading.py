"""From the text of an answer to what it is."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from upwell.grading import prose
from upwell.grading.answers import Answer
from upwell.grading.formulas import number
from upwell.grading.leaves import plain_number
from upwell.grading.lexer import Unreadable, tokens
from upwell.grading.notation import spelled
from upwell.grading.structure import structure
from upwell.grading.units import NUMERALS, SCALES

_TIME = re.compile(r"(\d{1,2})[:.](\d{2})(?::(\d{2}))?\s*(?:([aApP])\.?\s?[mM]\.?)?")
_BASE = re.compile(
    r"(-?[0-9A-F]+(?:\.[0-9A-F]+)?)\s*(?:_\s?\{?\s?(\w+)\s?\}?|\(?\s*base[- ]*(\w+)\s*\)?)", re.I
)
_FLAT = re.compile(r"\\text\s?\{([^{}]*)\}")
_CHOICE = re.compile(r"(?:option|choice|answer)?\s?[(\[{]?([A-J])[)\]}]?[.:]?", re.I)
_LABELLED = re.compile(r"(?:\(([A-J])\)\s*[.:]?\s*|([A-J])[).:]\s+)(\S.*)", re.S)
_SPACED_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?: -?\d+(?:\.\d+)?)+")
_MINUS = re.compile(r"\b(?:[Mm]inus|[Nn]egative)\s(?=\d|\\frac)")
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline|\\bar|\\dot)\s?\{?(\d+)\}?")
_FORMAL = re.compile(r"\\(?!text|font|quad)[A-Za-z]|[\^_=<>]")
_REALS = Answer("tuple", "()", None, (Answer("text", "-oo"), Answer("text", "oo")))
_NAMED = {
    "\\emptyset": Answer("set"),
    "\\varnothing": Answer("set"),
    "empty set": Answer("set"),
    "\\mathbb{r}": _REALS,
    "all real numbers": _REALS,
    "all reals": _REALS,
    "no solution": Answer("set"),
    "no solutions": Answer("set"),
    "no real solution": Answer("set"),
    "no real solutions": Answer("set"),
    "there is no solution": Answer("set"),
    "there are no solutions": Answer("set"),
    "infinity": Answer("text", "oo"),
    "true": Answer("text", "yes"),
    "false": Answer("text", "no"),
    "does not exist": Answer("text", "undefined"),
    "dne": Answer("text", "undefined"),
}
_UNWRAPPED = re.compile(r"\\(?:text|font|boxed|fbox|framebox|operatorname)\s?\{")


def read(text: str) -> Answer:
    """The answer that `text` is. Never raises; what is no mathematics is a text."""
    return _read(text) if len(text) <= 2_000 else _read.__wrapped__(text)


@lru_cache(maxsize=8192)
def _read(text: str) -> Answer:
    quick = plain_number(text)
    if quick is not None:
        return quick
    answer = _unwrapped(_MINUS.sub("-", spelled(text)))
    special = plain_number(answer) or _special(answer)
    if special is not None:
        return special
    for candidate in (answer, *prose.candidates(answer)):
        found = _formal(candidate)
        if found is not None:
            return found
    return Answer("unreadable" if _FORMAL.search(answer) else "text", prose.folded(answer))


def _formal(text: str) -> Answer | None:
    """The answer if it is mathematics from end to end."""
    try:
        return plain_number(text) or structure(tokens(_repeating(text)))
    except (Unreadable, RecursionError):
        return None


def _unwrapped(text: str) -> str:
    for _ in range(50):
        match = _UNWRAPPED.match(text) or re.match(r"\{", text)
        if match is None or not text.endswith("}") or not _closes_at_end(text, match.end() - 1):
            break
        text = text[match.end() : -1].strip().strip(".,;:").strip()
    return text


def _closes_at_end(text: str, start: int) -> bool:
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "\\":
            continue
        depth += {"{": 1, "}": -1}.get(text[position], 0) if text[position - 1] != "\\" else 0
        if depth == 0:
            return position == len(text) - 1
    return False


def _repeating(text: str) -> str:
    """Repeating decimals as fractions: 0.\\overline{3} is 1/3."""

    def fraction(match: re.Match[str]) -> str:
        whole, lead, period = match[1] or "0", match[2], match[3]
        value = Fraction(
            int(whole + lead + period) - int(whole + lead), (10 ** len(period) - 1) * 10 ** len(lead)
        )
        return f"({value.numerator}/{value.denominator})"

    return _REPEATING.sub(fraction, text) if "." in text and len(text) < 500 else text


def _special(text: str) -> Answer | None:
    """Times, base-n numbers, choice letters, number words."""
    if len(text) > 80:
        return None
    text = _FLAT.sub(r" \1 ", text).strip() if "\\text" in text else text
    named = _NAMED.get(text.lower())
    if named is not None:
        return named
    match = _CHOICE.fullmatch(text)
    if match and (match[1].isupper() or len(text) > 1):
        return Answer("choice", match[1].upper())
    match = _LABELLED.fullmatch(text)
    if match:
        return Answer("choice", match[1] or match[2], None, (read(match[3]),))
    if _SPACED_NUMBERS.fullmatch(text):
        return Answer("list", "", None, tuple(read(piece) for piece in text.split()))
    match = _TIME.fullmatch(text)
    if match and (":" in text or match[4]):
        return _clock(match)
    match = _BASE.fullmatch(text)
    if match:
        name = (match[2] or match[3]).lower()
        base = NUMERALS.get(name, int(name) if name.isdigit() and len(name) < 3 else 0)
        digits = match[1].upper()
        if len(name) == 1 and name.isalpha() and digits.isdigit():
            return Answer("base", f"{digits}_{name}")
        if 2 <= base <= 36 and all(int(d, 36) < base for d in digits.strip("-") if d != "."):
            return Answer("base", f"{digits}_{base}")
    value = _worded(text.lower().replace("-", " ").split())
    return None if value is None else Answer("number", "", number(Fraction(value)))


def _worded(words: list[str]) -> int | None:
    """The value of English number words, such as two hundred and five."""
    total = group = 0
    for word in words:
        if word in NUMERALS:
            group += NUMERALS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in SCALES:
            total, group = total + max(group, 1) * SCALES[word], 0
        elif word != "and":
            return None
    return total + group if words and words[0] in NUMERALS else None


def _clock(match: re.Match[str]) -> Answer | None:
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
    if hours > 24 or minutes > 59 or seconds > 59:
        return None
    if match[4]:
        hours = hours % 12 + (12 if match[4] in "pP" else 0)
    return Answer("time", f"{hours}:{minutes:02}:{seconds:02}")
