"""The value of one side of an equation, remembered: responses to one problem repeat their arithmetic.

Numbers joined by signs alone, which is nearly every side, are read here; the rest by `Reader`, whose grammar this is
a part of.
"""

from __future__ import annotations

import re
from functools import lru_cache

from upwell.grading.equations.ratios import DIGITS, Unreadable, written
from upwell.grading.equations.reader import SHARES, Reader, Side, is_plain_word
from upwell.grading.equations.runs import COMMENT

_MAX_TOKENS = 400
_NUMBER = r"\d++(?:[.,]\d++)*+|\.\d++"
_TOKEN = re.compile(
    rf"{_NUMBER}|{COMMENT}|\\(?:text|mathrm|mbox|textit)\s?\{{[^{{}}]*+\}}|\\[A-Za-z]++|\\.|[A-Za-z][A-Za-z'’]*+(?:-[A-Za-z]++)*+"
    r"|\*\*|//|\S"
)
_NEXT_FORMULA = re.compile(r"\\[\])]\s*(?:\\[\[(]\s*)?[\d\\]|[^\s$]\s*\$\$?\s+\$\$?\s*\S")
"""A formula that closes with another right behind it: no side."""


@lru_cache(maxsize=16_384)
def side(text: str, reading: int = SHARES) -> Side | None:
    """What a side says in a reading, or None where it is not plain arithmetic. Never raises."""
    if "$" in text or "\\" in text or "{,}" in text:
        if _NEXT_FORMULA.search(text):
            return None
        text = text.replace("{,}", ",").replace(",\\!", ",").replace("\\$", "").replace("$", "")
    tokens = _TOKEN.findall(text)
    if not tokens or len(tokens) > _MAX_TOKENS:
        return None
    try:
        return (None if reading else _flat(tokens)) or Reader(text, tokens, reading).side()
    except (Unreadable, ZeroDivisionError):
        return None


def _flat(tokens: list[str]) -> Side | None:
    """The side if it is numbers joined by + - * / alone, without brackets, else None."""
    total_n, total_d, product_n, product_d = 0, 1, 0, 1
    sign, operator, operations, decimals, awaiting = 1, "+", 0, 0, True
    words: tuple[str, ...] = ()
    for token in tokens:
        if awaiting:
            if token[0] in DIGITS:
                n, d, decimals = written(token)
                awaiting = False
                if operator == "*":
                    product_n, product_d = product_n * n, product_d * d
                elif operator == "/":
                    product_n, product_d = product_n * d, product_d * n
                else:
                    product_n, product_d = sign * n, d
            elif operator == "/" and is_plain_word(token):
                words, operations, awaiting = (*words, token), operations - 1, False
            else:
                return None
        elif token in "*×x·÷/":
            operator, operations, awaiting = "/" if token in "÷/" else "*", operations + 1, True
        elif token in "+-−–":
            total_n, total_d = total_n * product_d + product_n * total_d, total_d * product_d
            sign, operator, operations, awaiting = 1 if token == "+" else -1, "+", operations + 1, True
        elif is_plain_word(token):
            words += (token,)
        elif len(token) == 1 or token[0] != "(":
            return None
    denominator = total_d * product_d
    if awaiting or not denominator:
        return None
    if not operations:
        return Side((product_n, product_d), (1, product_d) if decimals else None, 0, False, words)
    return Side((total_n * product_d + product_n * total_d, denominator), None, operations, False, words)
