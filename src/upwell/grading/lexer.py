"""The tokens of a spelled answer: numbers, names, words, functions, commands, texts, environments, signs.

Sizes are bounded and every regular expression is linear.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_CHARS = 20_000
MAX_TOKENS = 8_000
MAX_DIGITS = 4_000
"""Python refuses to convert decimal strings of more than 4,300 digits; longer ones are compared as text."""


class Unreadable(ValueError):
    """The text is not a formula of this grammar."""


class TooLarge(Unreadable):
    """The formula has a value, but one beyond all bounds."""


class Token(NamedTuple):
    """`kind` is num, name, word, fn, cmd, text, env or op."""

    kind: str
    text: str
    spaced: bool = False
    """Whether white space stands before it."""


_FUNCTION_NAMES = """sin cos tan cot sec csc asin acos atan sinh cosh tanh log ln exp sqrt lg cbrt abs gcd
lcm max min floor ceil det arcsin arccos arctan"""
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_GREEK_NAMES = """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi
rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"""
_GREEK = frozenset(_GREEK_NAMES.split())
_WORD_NAMES = {"pi": "\\pi", "infinity": "\\infty", "inf": "\\infty", "infty": "\\infty", "oo": "\\infty",
               "theta": "\\theta", "alpha": "\\alpha", "beta": "\\beta", "lambda": "\\lambda"}  # fmt: skip
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<num>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,6}(?![\dA-Za-z.]))?|\.\d+(?:[eE][+-]?\d{1,6}(?![\dA-Za-z.]))?)"
    r"|(?P<cmd>\\[A-Za-z]+|\\.)"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<op>\.\.\.|<=|>=|!=|==|=>|->|:=|[^\s])"
)
_STYLED = re.compile(r"\s?\{( ?[A-Za-z]+(?:[ /.][A-Za-z]+|\^-?\d)* ?)\}")
_GROUPED = re.compile(r"(?P<num>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?)")
"""Digits grouped by commas; inside brackets commas separate instead."""
_OPS = {"<=": "\\le", ">=": "\\ge", "!=": "\\ne", "==": "=", "=>": "\\Rightarrow", "->": "\\to", ":=": "="}


def tokens(text: str) -> list[Token]:
    """The tokens of a spelled answer. Raises `Unreadable` for what is too long or never closes."""
    if len(text) > MAX_CHARS:
        raise Unreadable("too long")
    found: list[Token] = []
    position, depth, spaced = 0, 0, False
    while position < len(text):
        match = (_GROUPED.match(text, position) if depth == 0 else None) or _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"cannot read {text[position]!r}")
        kind, piece = str(match.lastgroup), match[0]
        position = match.end()
        if kind == "space":
            spaced = True
            continue
        if kind == "cmd" and piece in ("\\text", "\\begin", "\\end", "\\operatorname"):
            end = _group_end(text, position)
            kind = {"\\begin": "env", "\\end": "env", "\\text": "text"}.get(piece, "word")
            content = text[position + 1 : end].strip()
            found.append(Token(kind, f"/{content}" if piece == "\\end" else content, spaced))
            position = end + 1
        elif piece == "\\font" and (styled := _STYLED.match(text, position)):
            found.append(_styled(styled[1], spaced))
            position = styled.end()
        elif kind == "cmd":
            depth += {"\\{": 1, "\\}": -1}.get(piece, 0)
            found.append(_command(piece, spaced))
        elif kind == "word" and len(piece) == 2 and found and found[-1].text == "\\frac":
            found.extend(Token("name", letter) for letter in piece)
        elif kind == "word":
            found.extend(_words(piece, spaced))
        elif kind == "num" and len(piece) > 1 and found and found[-1].text == "\\frac":
            found.extend(Token("num", digit) for digit in piece)
        else:
            depth += (piece in "([") - (piece in ")]")
            found.append(
                Token(kind, _OPS.get(piece, piece.replace(",", "") if kind == "num" else piece), spaced)
            )
        spaced = False
        if len(found) > MAX_TOKENS:
            raise Unreadable("too many tokens")
    return found


def is_name(word: str) -> bool:
    """Whether a word names a constant, a variable or a function, such as pi, theta, sin."""
    return word.lower() in _WORD_NAMES or word in FUNCTIONS


def _styled(content: str, spaced: bool) -> Token:
    """What `\\mathrm{...}` sets upright: a unit or another word, a function or a single letter."""
    word = content.strip()
    if word in FUNCTIONS and word != "sqrt":
        return _command(f"\\{word}", spaced)
    return Token("name" if len(content) == 1 else "text", word, spaced)


def _group_end(text: str, start: int) -> int:
    """The position of the brace that closes the group which opens at `start`."""
    depth = 0
    if start >= len(text) or text[start] != "{":
        raise Unreadable("no group")
    for position in range(start, len(text)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    raise Unreadable("a group never closes")


def _command(piece: str, spaced: bool) -> Token:
    name = piece[1:]
    if name in FUNCTIONS and name != "sqrt":
        return Token("fn", {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(name, name), spaced)
    if name in _GREEK:
        return Token("name", piece.replace("\\var", "\\"), spaced)
    if name in ("imath", "jmath"):
        return Token("name", name[0], spaced)
    return Token("cmd", piece, spaced)


def _words(piece: str, spaced: bool) -> list[Token]:
    """A run of letters: a function name, a Greek name, one letter, letters before a known name, or a word."""
    lower = piece.lower() if piece.lower() in ("sqrt", "pi", "sin", "cos", "tan", "log", "ln") else piece
    if lower in FUNCTIONS:
        if lower == "sqrt":
            return [Token("cmd", "\\sqrt", spaced)]
        return [Token("fn", {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(lower, lower), spaced)]
    if lower in _WORD_NAMES:
        name = _WORD_NAMES[lower]
        return [Token("name" if name[1:] in _GREEK else "cmd", name, spaced)]
    if len(piece) == 1:
        return [Token("name", piece, spaced)]
    for ending in ("sqrt", "pi"):
        head = piece[: -len(ending)]
        if piece.endswith(ending) and len(head) <= 2:
            return [*_words(head, spaced), *_words(ending, False)]
    if piece[:3] in ("sin", "cos", "tan", "log") and len(piece) == 4:
        return [Token("fn", piece[:3], spaced), Token("name", piece[3], False)]
    return [Token("word", piece, spaced)]
