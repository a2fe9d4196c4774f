"""What stands around a chain of equations and changes its first and last numbers: variables, labels, rounding.

Each side becomes a `Part`: None where it is cut off (`x + 3 = 5`, `f(2) = 5`, `= 3n`), doubtful where it may mean
something else (`Step 1 = 2 * 3`), else as it stands, less bullets and brackets that enclose the whole chain.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from upwell.grading.units import LETTER_UNITS, UNITS


class Part(NamedTuple):
    """One side of a chain as it is to be read."""

    texts: tuple[str, ...]
    """Its readings, likeliest first."""
    start: int
    """Positions in the run."""
    end: int
    doubtful: bool = False
    """Whether a difference proves nothing."""
    unit: str = ""
    """The words behind the last side."""
    is_cut: bool = False
    """Whether a bracket that opened further left closes here: what follows is no longer about this side."""


_BRACKET = re.compile(r"(?<!\\)[()\[\]]|[{}]")

# -- in front

_ALIGNED = re.compile(r"(?:\s|&|\\q?quad)+$")
_BULLET = re.compile(r"\s*[-*+−–•]\s")
_OPERATOR = re.compile(r"\s*(?:[*/^×·÷⋅∙+]|\\(?:times|cdot|div)(?![A-Za-z]))")
_UNFINISHED = re.compile(r"(?:[-+*/×÷^]|\\(?:times|cdot|div|pm))\s*$")
_BROKEN_SUM = re.compile(r"(?:[+*/×÷]|\s-)(?:\s*[A-Za-z][A-Za-z'’]*+){1,4}+$")
_FACTOR = re.compile(
    r"(?<![A-Za-z])(?:[A-Z]{1,3}|(?!(?:is|so|of|to|as|be|by|at|in|or|it|we|he)\s*$)[a-z]{1,2})\s*$"
)
"""A length or a product such as AB, in front of a root or a bracket."""
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}), $")
_LABEL = re.compile(r"\d{1,3}\s*[)\]]\s")
_LAST_WORDS = re.compile(r"(?:([A-Za-z%]+)\s+)?(?<![A-Za-z'’])([A-Za-z]+)$")
_ORDER_WORDS = "than times twice half double triple minus plus sum product difference percent"
_FUNCTION_WORDS = "sin cos tan log ln mod gcd lcm max min"
_LABEL_WORDS = """step steps day days week weeks month months year years chapter chapters page pages part parts case
option question problem example round level grade room number"""
_LABELS = frozenset(_LABEL_WORDS.split())
_DOUBT_BEFORE = _LABELS | frozenset(f"{_ORDER_WORDS} {_FUNCTION_WORDS}".split())
_SHARE_WORDS = "half third thirds fourth fourths quarter quarters fifth fifths tenth tenths rest percent"
_SHARES = frozenset(_SHARE_WORDS.split())
_ODD_SIGNS = frozenset('|\\@#&%~∘⊕⊗◦☆"')
"""Signs in front of a number that may be operations of the problem's own."""


def opened(text: str, before: str, end: int) -> Part | None:
    """The first side of a chain, seen with what stands in front of it."""
    edge = before.rstrip(" \t")
    glued = edge != "" and len(edge) == len(before) and not text[0].isspace()
    row = _ALIGNED.sub("", edge)
    if edge[-1:] in ("", "\n") and not row.endswith("\\\\") and (bullet := _BULLET.match(text)):
        return Part((text[bullet.end() :], text), bullet.end(), end)
    start = len(text) - len(text.lstrip())
    if _hangs_on(text[start:], edge, row, glued):
        return None
    doubtful = _is_doubtful(text[start:], edge, glued) or _UNFINISHED.search(row) is not None
    cut = _closed_outside(text)
    if cut:
        if not text[cut : cut + 1].isspace():
            return None
        doubtful = doubtful or _LABEL.fullmatch(text[start : cut + 1]) is None
        start = cut
    texts: tuple[str, ...] = (text[start:],)
    if (thousands := _THOUSANDS.search(before)) and text[start : start + 3].isdigit():
        texts += (thousands[1] + text[start:],)  # 14, 400 / 80
    return Part(texts, start, end, doubtful)


def opens_a_sentence(before: str) -> bool:
    """Whether a lone number behind this may be the left side of a calculation rather than a label."""
    return before.rstrip(" \t")[-1:] in ("", "\n", ".", ":", ";", "(", "*")


def _hangs_on(text: str, edge: str, row: str, glued: bool) -> bool:
    """Whether the side continues a term in front of it: a variable, a function, the row above."""
    if text[0] in "+-−" and row.endswith("\\\\"):
        return True
    if _OPERATOR.match(text) and not (text[0] == "+" and not edge):
        return True
    return glued and (edge[-1].isalnum() or edge[-1] in "_^\\|'’")


def _is_doubtful(text: str, edge: str, glued: bool) -> bool:
    """Whether what stands in front may change the first number."""
    last, previous = edge[-1:], edge[-2:-1]
    if not last:
        return False
    if text[0] in "-−–" and (last.isalnum() or last in ")]}|'’*"):
        return True
    if last in _ODD_SIGNS or (last == "," and glued) or (last == "." and previous in (" ", "")):
        return True
    return last.isalpha() and (
        _is_doubtful_word(edge) or (text[0] in "\\([" and _FACTOR.search(edge) is not None)
    )


def _is_doubtful_word(edge: str) -> bool:
    """Whether the last word changes the number behind it: `than`, `half of`, `Step`, `2 and`, a letter."""
    if _BROKEN_SUM.search(edge):
        return True
    match = _LAST_WORDS.search(edge)
    if match is None:
        return False
    word, previous = match[2].lower(), (match[1] or "").lower()
    counted = edge[: match.start()].rstrip()[-1:].isdigit()
    if word == "of":
        return previous in _SHARES or previous.endswith("%") or counted  # 8 packs of 5
    if word == "and":
        return counted and not previous
    return (
        word in _DOUBT_BEFORE
        or (len(word) == 1 and word not in "ai")
        or edge[: match.start(2)].endswith("\\")
    )


def _closed_outside(text: str) -> int:
    """The position behind the last bracket that closes what opened in front of the side, or 0."""
    depth = cut = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "([{" else -1
        if depth < 0:
            depth, cut = 0, bracket.end()
    return cut


# -- behind

_NEXT_WORD = re.compile(r"\s?(?:/ ?|per )?([A-Za-z]+|\\[A-Za-z]+)")
UNITS_BEHIND = re.compile(
    r"[ \t]?(?:(?:/ ?|per )?(?:[A-Za-z]{2,20}|[mghsL](?![A-Za-z]))|¢)(?:(?: ?/ ?| per )[A-Za-z]{2,20})?"
)
_HARMLESS = re.compile(
    r"\\(?:end|text|textbf|textit|Rightarrow|implies|quad|qquad|hspace|vspace|newline|therefore|item|par|neq?|[lg]eq?"
    r"|ldots|dots|tag|checkmark|square|blacksquare|to|rightarrow|Longrightarrow|iff|longrightarrow|color)(?![A-Za-z])"
)
"""Commands that end a formula; any other continues it."""
_DOUBT_BEHIND = frozenset(("r", "R", "remainder", "mod", "pmod", "bmod", "rem", "squared", "cubed"))
_DOTS_PERCENT = re.compile(r"(?:\.{2,}|…|\s?\\[lc]?dots)\s?%")
_AND_FRACTION = re.compile(r"\s*and\s*a?\(?\$?(\d+\s?/\s?\d+)")
_ROUNDED = re.compile(r"[^\n]{0,20}\b(?:nearest|round(?:ed|ing)\b|rounds? (?:up|down|off|to)\b|approximat)")
_UNREAD = re.compile(r"(?:\s?[A-Za-z]++){1,6}+\s(?:[+*/×·÷]\s*[A-Za-z(\\]|-\s*[A-Za-z](?![A-Za-z]))")
"""An operation that goes on with words: 8 bags / Y."""
_CONTINUED = re.compile(r"\s*(?:\\\\\s*&?|\s&)\s*(?:\\q?quad\s*)*(?:[-+*/]|\\(?:times|cdot|div|pm))")
_BROKEN_OFF = re.compile(r"\s[-−–]\s*$|\s\(\s*$|\s?/\s?$|(?<=\d)-$")
"""What a dash, a bracket, `/hour` or `-foot` leaves of its own at the end of the side."""


def closed(part: Part, after: str) -> Part | None:
    """The last side of a chain, seen with what stands behind it."""
    text = part.texts[0]
    glued = after != "" and not text[-1].isspace() and not after[0].isspace()
    word = _NEXT_WORD.match(after)
    name = word[1] if word else ""
    if _goes_on(after, name, glued):
        return None
    edge = after.lstrip(" \t")
    doubtful = (
        part.doubtful
        or (len(name) == 1 and name not in "aAI" and (glued or name not in LETTER_UNITS))
        or name in _DOUBT_BEHIND
        or edge[:1] in ("|", "≡")
        or _ROUNDED.match(after) is not None
        or _UNREAD.match(after) is not None
    )
    end = part.start + len(text.rstrip())
    texts = part.texts
    if len(name) > 1 and edge[:1].isalpha() and (cut := _BROKEN_OFF.search(text)):
        end = part.start + cut.start()
        texts = tuple(each[: len(each) - len(text) + cut.start()] for each in texts)
    if name == "percent" or _DOTS_PERCENT.match(after):
        texts = tuple(each + "%" for each in texts)
    if fraction := _AND_FRACTION.match(after):
        texts, doubtful = (*texts, f"{text.rstrip()} {fraction[1]}"), True
    behind = UNITS_BEHIND.match(after)
    return Part(texts, part.start, end, doubtful, behind[0] if behind else "")


def _goes_on(after: str, name: str, glued: bool) -> bool:
    """Whether the number goes on behind the side: digits, a power, a variable, a command, the next row."""
    edge = after.lstrip(" \t")
    if after.startswith((".\\overline", ".\\bar", ".\\dot")) or _CONTINUED.match(after):
        return True
    if edge.startswith("\\") and edge[1:2].isalpha() and not _HARMLESS.match(edge):
        return True
    if not glued:
        return False
    if after[0].isdigit() or after[0] in "_^" or (after[0] in ".,:" and after[1:2].isdigit()):
        return True
    if len(name) == 1:
        return name not in LETTER_UNITS
    return len(name) == 2 and name.lower() not in UNITS


def balanced(part: Part) -> Part | None:
    """The side without the brackets that enclose the whole chain; None where a bracket cuts through it."""
    text = part.texts[0]
    if not _BRACKET.search(text):
        return part
    opening: list[int] = []
    closing: list[int] = []
    for bracket in _BRACKET.finditer(text):
        if bracket[0] in "([{":
            opening.append(bracket.start())
        elif opening:
            opening.pop()
        else:
            closing.append(bracket.start())
    if not opening and not closing:
        return part
    if closing and text[closing[0] :].strip(" \t)]}.!$*"):
        return None
    if opening and not text[opening[-1] + 1 :].strip():
        return None  # what the bracket holds is no number
    texts = []
    if opening and text[: opening[-1]].strip(" $*([{\\"):
        texts.append(" " * (opening[-1] + 1) + text[opening[-1] + 1 :])  # 600 / (3 + 1 = 4)
    for position in (*opening, *closing):
        text = f"{text[:position]} {text[position + 1 :]}"
    return part._replace(texts=(*texts, text), is_cut=bool(closing))
