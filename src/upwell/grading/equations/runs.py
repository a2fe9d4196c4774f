"""Where a text may hold arithmetic: runs of numbers, signs and the words of units, in linear time.

A run is the longest stretch that could belong to one chain of equations: `3 apples * $2/apple = $6`. Words belong
to it only where they stand behind a number and an arithmetic sign follows. Marks that mean nothing here are
blanked, never removed, so that positions in a run are positions in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_RUN = 2_000
"""Characters of the longest run that is looked at; longer ones are no arithmetic that a person would write."""
_CONTEXT = 40
"""Characters on each side of a run that can change what its first and last numbers mean."""

_SPACE = r"[ \t\xa0\u2009\u202f]"
_SIGNS = r"\-+*/^×·÷−–⋅∙"
_BINARY_WORDS = rf"times|plus|minus|multiplied{_SPACE}by|divided{_SPACE}by"
_OPERAND = r"(?:\.?[0-9]|[($])"
_FOLLOWS = (
    rf"(?={_SPACE}*+(?:[{_SIGNS}]{_SPACE}*+[-−$£€¥(\[{{0-9.\\~½⅓¼¾⅔]|[=≈)]|[xX]{_SPACE}?[0-9.($]"
    rf"|\\(?:times|cdot|div|approx|\)|\])|(?:{_BINARY_WORDS}|equals){_SPACE}{_OPERAND}))"
)
_NO_OPERATOR = rf"(?!(?:[xX]|of|{_BINARY_WORDS}|equals){_SPACE}?{_OPERAND})"
_WORD = r"(?:[A-Za-z][A-Za-z'’]*+|(?<=[0-9})])-[A-Za-z]++)(?:-[A-Za-z]++)*+(?:\^\{?[0-9]\}?|[²³]|\.)?+"
COMMENT = r"\((?:(?:[A-Za-z]{3,20}|an?|of|in|to|by|at|on)(?:['’]s?)?[ ,-]{0,2}){1,8}+\)"
"""Words in brackets behind a number, such as 24 (eggs in all)."""
_UNIT = rf"(?:(?:{_SPACE}(?:/{_SPACE}?)?+|/{_SPACE}?)?+{_NO_OPERATOR}{_WORD}|{_SPACE}?{COMMENT}){{1,8}}+{_FOLLOWS}"
_NAMED = (
    r"(?:(?:times|cdot|div|[dtc]?frac|sqrt|left|right|approx|boxed|displaystyle|[dt]?binom|[bB]igg?[lr]?"
    r"|mathbf|textbf)(?![A-Za-z])|(?:text|mathrm|mbox|textit)\s?\{[^{}\n]{0,60}\}|[,;:!()\[\]$%{} *])"
)
"""What may follow a backslash."""
_OPERATOR = (
    rf"(?<=[\w\s)%}}\]]){_SPACE}*+(?:[xX]|{_BINARY_WORDS}|of(?:{_SPACE}(?:the|his|her|their|its|my))?){_SPACE}*+"
    r"(?=\.?[0-9]|[($£€\\])"
)
_EQUALS = rf"(?<=[\s)])equals{_SPACE}+(?={_OPERAND})"
_ABOUT = rf"(?<=[=≈\s])(?:about|approximately|approx\.?|around|roughly|almost|nearly){_SPACE}+(?=[0-9$.\\])"
_NEW_LINE = r"(?:\\\\(?:\[[^\]\n]{0,9}\])?+\s*+|\s++)(?=&?+[ \t]*+(?:=(?![=>])|≈|\\approx))|(?<==)\s++"
_POINT = r"(?:,\\!|[.,]|\{,\})"
_RUN = re.compile(
    rf"[0-9.\\½⅓¼¾⅔√=≈~()\[\]{{}}$£€¥{_SIGNS}]"  # a plain set of characters in front lets the engine skip prose fast
    rf"(?:(?<![.\\0-9)\]}}])|(?<=[0-9)\]}}])(?:{_UNIT})?+|(?<=\.)(?=[0-9])|(?<=\\){_NAMED})"
    rf"(?:[(\[{{$£€¥≈&!√~²³{_SIGNS}]| (?=[0-9$(=+*/-])|(?<![=<>!:])=(?![=>])"  # the commonest first
    rf"|(?:[0-9]++(?:{_POINT}[0-9]++)*+|{_POINT}[0-9]++|[)\]}}%¢½⅓¼¾⅔])(?:{_UNIT})?+"
    rf"|{_NEW_LINE}|{_OPERATOR}|{_EQUALS}|{_ABOUT}|\\{_NAMED}|{_SPACE})*+"
)
_NOTE = re.compile(r"<<([^<>\n]{0,300})>>")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]{1,20}\*?\}(?:\{[^{}\n]{0,20}\})?")
_BOLD = re.compile(r"(?<![\d)] )(?<![\d)])\*\*|\*\*(?! ?[\d(.-])|__")


class Run(NamedTuple):
    """A stretch of arithmetic with at least one sign of equality."""

    start: int
    """Position of its first character in the text."""
    text: str
    before: str
    """What stands in front of it, at most `_CONTEXT` characters."""
    after: str
    """What stands behind it."""
    is_note: bool = False
    """Whether it is a calculator note, which is an equation whatever stands around it."""


def runs(text: str) -> Iterator[Run]:
    """The calculator notes and then the arithmetic of the rest of the text, each in order of position."""
    if "<<" in text:
        for note in _NOTE.finditer(text):
            if "=" in note[1]:
                yield Run(note.start(1), note[1], "", "", True)
        text = _NOTE.sub(_blank, text)
    if "**" in text or "__" in text:
        text = _BOLD.sub(_blank, text)
    if "\\" in text and ("\\begin" in text or "\\end" in text):
        text = _ENVIRONMENT.sub(_blank, text)
    others = [sign for sign in ("≈", "\\approx", "equals") if sign in text]
    windows = [(0, len(text))] if others else _windows(text)
    for begin, stop in windows:
        for match in _RUN.finditer(text, begin, stop):
            run = match[0]
            if ("=" in run or (others and any(sign in run for sign in others))) and len(run) <= MAX_RUN:
                start, end = match.span()
                yield Run(start, run, text[max(0, start - _CONTEXT) : start], text[end : end + _CONTEXT])


def _windows(text: str) -> list[tuple[int, int]]:
    """The lines with an equals sign, joined where a chain goes on in the next: prose is not worth a search."""
    windows: list[tuple[int, int]] = []
    start = above = 0
    awaiting = False
    for line in text.split("\n"):
        end = start + len(line)
        if awaiting or "=" in line:
            content = line.strip(" \t&")
            if awaiting or content[0] == "=":
                above = windows.pop()[0] if windows and windows[-1][1] >= above else above
                windows.append((above, end))
            else:
                windows.append((start, end))
            awaiting = content[-1] == "=" if content else awaiting
        if line and not line.isspace():
            above = start
        start = end + 1
    return windows


def _blank(match: re.Match[str]) -> str:
    return " " * (match.end() - match.start())
