"""From the text of an answer to what it is."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

from upwell.grading import prose
from upwell.grading.amounts import amount
from upwell.grading.answers import Answer
from upwell.grading.formulas import number
from upwell.grading.intervals import REALS, punctured
from upwell.grading.leaves import plain_number
from upwell.grading.lexer import Unreadable, is_name, tokens
from upwell.grading.moments import moment
from upwell.grading.notation import spelled
from upwell.grading.structure import structure
from upwell.grading.units import NUMERALS, SCALES

_BASE = re.compile(
    r"\(?(-?[0-9A-F]+(?:\.[0-9A-F]+)?)\)?\s*"
    r"(?:_\s?\{?\s?\(?(?:base )?(\w+)\)?\s?\}?|\(?\s*(?:in )?base[- ]*(\w+)\s*\)?)",
    re.I,
)
_FLAT = re.compile(r"\\text\s?\{([^{}]*)\}")
_CHOICE = re.compile(r"(?:option|choice|answer)?\s?[(\[{]?([A-J])[)\]}]?[.:]?", re.I)
_LABELLED = re.compile(r"(?:\(([A-J])\)\s*[.:]?\s*|([A-J])[).:]\s+)(\S.*)", re.S)
_CHOICES = re.compile(r"\(?[A-J]\)?(?:(?:\s*,\s*(?:and\s|or\s)?|\s+(?:and|or|&)\s+)\(?[A-J]\)?)+")
_SPACED_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?: -?\d+(?:\.\d+)?)+")
_MINUS = re.compile(
    r"(?:\b(?:[Mm]inus|[Nn]egative)\s|\\text\s?\{\s?(?:[Mm]inus|[Nn]egative)\s?\}\s?)(?=\d|\\frac)"
)
_ALL_BUT = re.compile(
    r"all (?:real )?(?:numbers|reals|real numbers) (?:\\w )?(?:except|but)(?: for)? (\S.*)", re.I
)
_REMAINDER = re.compile(r"(\d+)\s?(?:r|rem|remainder)\.?\s?(\d+)", re.I)
_TIMES_TEN = re.compile(r"(?<=\d)\s?[xX]\s?(?=10\s?\^)")
_COMMA = re.compile(r"(-?)[€£]?\s?(\d{1,3}(?:\.\d{3})+|\d+),(\d+)(\s?(?:€|euros?\b))?", re.I)
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline|\\bar|\\dot)\s?\{?(\d+)\}?")
_BARE_BRACE = re.compile(r"(?<!\\)[{}]")
_FORMAL = re.compile(r"\\(?!text|font|quad)[A-Za-z]|[\^_=<>]")
_NO_SOLUTION = re.compile(
    r"(?:there (?:is|are|exists?) )?no (?:real |integer |such |valid )?(?:solutions?|roots?)(?: exists?)?|none exists?",
    re.I,
)
_WORD = re.compile(r"\\(?:text|font)\s?\{\s?([A-Za-z]{2,})\s?\}")
_UNION_LETTER = re.compile(r"(?<=[\])}])\s?U\s?(?=[\[({]|\\\{)")
_ELIDED = re.compile(r"(?:(-?\d*\.\d{0,20}?)(\d{1,12}?)\2{2,12}|(-?\d*\.\d{1,60}))\.\.\.")
"""A decimal that is cut off: periodic if its last digits stand there three times."""
_EXTREMUM = re.compile(r"\\(min|max)\s(?:\\text\s?\{)?\s?at\s\}?")
_CHOSEN = re.compile(
    r"(?:\{\})?_?\{?(\d{1,4})\}?\s?C\s?_?\s?\{?(\d{1,4})\}?|C\s?\(\s?(\d{1,4})\s?,\s?(\d{1,4})\s?\)"
)
_OPERATED = re.compile(r"(\d{1,4}) (factorial|squared|cubed)", re.I)
_TO = re.compile(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)", re.I)
_NAMED = {
    "\\emptyset": Answer("set"),
    "\\varnothing": Answer("set"),
    "empty set": Answer("set"),
    "\\mathbb{r}": REALS,
    "\\mathbb r": REALS,
    "\\r": REALS,
    "all real numbers": REALS,
    "all reals": REALS,
    "infinity": Answer("text", "oo"),
    "true": Answer("text", "yes"),
    "false": Answer("text", "no"),
    "does not exist": Answer("text", "undefined"),
    "dne": Answer("text", "undefined"),
}
_HALF = Fraction(1, 2)
_SHARES = ["third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"]
_PARTS = {"half": _HALF, "halves": _HALF, "quarter": Fraction(1, 4), "quarters": Fraction(1, 4)}
_PARTS |= {f"{name}{plural}": Fraction(1, n) for n, name in enumerate(_SHARES, 3) for plural in ("", "s")}
_UNWRAPPED = re.compile(r"(?:\\(?:text|font|boxed|fbox|framebox|operatorname)\s?)?\{")


def read(text: str) -> Answer:
    """The answer that `text` is. Never raises; what is no mathematics is a text."""
    return _read(text) if len(text) <= 2_000 else _read.__wrapped__(text)


@lru_cache(maxsize=8192)
def _read(text: str) -> Answer:
    quick = plain_number(text)
    if quick is not None:
        return quick
    answer = _spelling(text)
    word = _WORD.fullmatch(answer)
    answer = _unwrapped(answer)
    special = plain_number(answer) or _special(answer)
    if special is not None:
        return special
    if word and not is_name(word[1]):
        return Answer("text", word[1].casefold())
    found = _formal(answer)
    if found is not None:
        return found
    for candidate in prose.candidates(answer):
        found = plain_number(candidate) or _special(candidate) or _formal(candidate)
        if found is not None:
            return found
    return Answer("unreadable" if _FORMAL.search(answer) else "text", prose.folded(answer))


def _spelling(text: str) -> str:
    """The answer in the spelling of `notation`, with signs for the words and letters that stand for them."""
    answer = spelled(text)
    if "inus" in answer or "egative" in answer:
        answer = _MINUS.sub("-", answer)
    if "U" in answer:
        answer = _UNION_LETTER.sub("\\\\cup ", answer)
    if "..." in answer and (elided := _ELIDED.fullmatch(answer)):
        answer = f"{elided[1]}\\overline{{{elided[2]}}}" if elided[2] else elided[3]
    if " at " in answer:
        answer = _EXTREMUM.sub(r"\\text{\1}=", answer)
    return _TIMES_TEN.sub("*", answer) if "10" in answer else answer


def _formal(text: str) -> Answer | None:
    """The answer if it is mathematics from end to end."""
    try:
        return structure(tokens(_repeating(text)))
    except (Unreadable, RecursionError):
        return None


def _unwrapped(text: str) -> str:
    if not text.endswith("}"):
        return text
    closing = _partners(text)
    start, end = 0, len(text)
    for _ in range(50):
        match = _UNWRAPPED.match(text, start, end)
        if match is None or closing.get(match.end() - 1) != end - 1:
            break
        inner = text[match.end() : end - 1]
        kept = inner.strip().strip(".,;:").strip()
        start = match.end() + inner.find(kept)
        end = start + len(kept)
    return text[start:end]


def _partners(text: str) -> dict[int, int]:
    """Where each brace that is closed is closed: once for all layers, for an answer can be nothing but braces."""
    opened: list[int] = []
    closing = {}
    for brace in _BARE_BRACE.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif opened:
            closing[opened.pop()] = brace.start()
    return closing


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
    """Choice letters, times, dates, amounts in several units, base-n numbers, number words, named answers."""
    if len(text) > 80:
        return None
    text = " ".join(_FLAT.sub(r" \1 ", text).split()) if "\\text" in text else text
    named = _NAMED.get(text.lower())
    if named is not None:
        return named
    if _NO_SOLUTION.fullmatch(text):
        return Answer("set")
    return (
        _choice(text)
        or moment(text)
        or amount(text)
        or _numerals(text)
        or _worded(text.lower().replace("-", " ").split())
        or _set_in_words(text)
    )


def _choice(text: str) -> Answer | None:
    match = _CHOICE.fullmatch(text)
    if match and (match[1].isupper() or len(text) > 1):
        return Answer("choice", match[1].upper())
    if _CHOICES.fullmatch(text):
        return Answer("list", "", None, tuple(Answer("choice", c) for c in text if c in "ABCDEFGHIJ"))
    match = _LABELLED.fullmatch(text)
    return Answer("choice", match[1] or match[2], None, (read(match[3]),)) if match else None


def _numerals(text: str) -> Answer | None:
    """Several numbers, base-n numbers, decimal commas, quotients with a remainder."""
    if not any(c.isdigit() for c in text):
        return None
    if _SPACED_NUMBERS.fullmatch(text):
        return Answer("list", "", None, tuple(read(piece) for piece in text.split()))
    match = _BASE.fullmatch(text)
    if match:
        return _in_base(match[1].upper(), (match[2] or match[3]).lower())
    if match := _CHOSEN.fullmatch(text):
        above, below = int(match[1] or match[3]), int(match[2] or match[4])
        return Answer("number", "", number(Fraction(math.comb(above, below))))
    if match := _OPERATED.fullmatch(text):
        base, power = int(match[1]), {"squared": 2, "cubed": 3}.get(match[2].lower())
        if power or base <= 1_000:
            return Answer("number", "", number(Fraction(base**power if power else math.factorial(base))))
    if match := _TO.fullmatch(text):
        return Answer("ratio", "", None, (read(match[1]), read(match[2])))
    match = _REMAINDER.fullmatch(text)
    if match:
        return Answer("text", f"{int(match[1])} remainder {int(match[2])}")
    return _decimal_comma(text)


def _in_base(digits: str, name: str) -> Answer | None:
    base = NUMERALS.get(name, int(name) if name.isdigit() and len(name) < 3 else 0)
    digits = ("-" if digits.startswith("-") else "") + (digits.lstrip("-0") or "0")
    if len(name) == 1 and name.isalpha() and digits.isdigit():
        return Answer("base", f"{digits}_{name}")
    if 2 <= base <= 36 and all(int(d, 36) < base for d in digits.strip("-") if d != "."):
        return Answer("base", f"{digits}_{base}")
    return None


def _decimal_comma(text: str) -> Answer | None:
    """A number whose comma can be nothing but a decimal one: neither a separator nor that of a list.

    So where points group the digits before it (1.234,56), where what follows is no number by itself (3,05) or
    what stands before is none (-0,5), and for two digits of euros or pounds.
    """
    match = _COMMA.fullmatch(text)
    if match is None:
        return None
    sign, whole, part = match[1], match[2], match[3]
    grouped = len(part) == 3 and whole[0] != "0"
    money = len(part) == 2 and ("€" in text or "£" in text or bool(match[4]))
    alone = (part[0] == "0" and len(part) > 1 and not grouped) or (whole == "0" and (sign or len(part) > 2))
    if not ("." in whole or money or alone):
        return None
    digits = f"{sign}{whole.replace('.', '')}.{part}"
    return Answer("number", digits, number(Fraction(digits)))


def _set_in_words(text: str) -> Answer | None:
    """`all real numbers except 2`, and `]0, 1[` for the open interval."""
    match = _ALL_BUT.fullmatch(text)
    if match:
        holes = read(match[1])
        return punctured(list(holes.items) if holes.kind in ("list", "set") else [holes])
    if text and text[0] in "][" and text[-1] in "][" and (text[0] == "]" or text[-1] == "["):
        return read(f"{'(' if text[0] == ']' else '['}{text[1:-1]}{')' if text[-1] == '[' else ']'}")
    return None


def _worded(words: list[str]) -> Answer | None:
    """English number words: two hundred and five, two thirds, one and a half."""
    share = _PARTS.get(words[-1]) if words else None
    if share is None:
        value = _counted(words)
        return None if value is None else Answer("number", "", number(Fraction(value)))
    *words, _ = words
    whole = 0
    if "and" in words:
        at = len(words) - 1 - words[::-1].index("and")
        counted = _counted(words[:at])
        if counted is None:
            return None
        whole, words = counted, words[at + 1 :]
    count = 1 if words in ([], ["a"], ["an"]) else _counted(words)
    if count is None or (not words and share != _HALF):
        return None
    return Answer("number", "", number(whole + count * share))


def _counted(words: list[str]) -> int | None:
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
