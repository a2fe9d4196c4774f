"""Cutting runs of tokens at signs that stand outside all brackets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from upwell.grading.lexer import Token

OPENING = frozenset(("(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil"))
CLOSING = frozenset((")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"))


def split(run: Sequence[Token], at: Callable[[Token], bool]) -> list[Sequence[Token]]:
    """The pieces of a run between the tokens, outside all brackets, for which `at` holds."""
    pieces, depth, begin = [], 0, 0
    for position, token in enumerate(run):
        if token.kind == "env":
            depth += -1 if token.text.startswith("/") else 1
        elif token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            depth -= 1
        elif depth == 0 and at(token):
            pieces.append(run[begin:position])
            begin = position + 1
    pieces.append(run[begin:])
    return pieces


def top_level(run: Sequence[Token]) -> Iterator[Token]:
    """The tokens outside all brackets, the brackets themselves included."""
    depth = 0
    for token in run:
        depth -= token.text in CLOSING
        if depth == 0:
            yield token
        depth += token.text in OPENING


def partner(run: Sequence[Token], start: int) -> int:
    """The index of the bracket that closes the one at `start`, or -1."""
    depth = 0
    for position in range(start, len(run)):
        if run[position].text in OPENING:
            depth += 1
        elif run[position].text in CLOSING:
            depth -= 1
            if depth == 0:
                return position
    return -1


def is_op(*texts: str) -> Callable[[Token], bool]:
    """A test for signs and commands of these spellings."""
    return lambda token: token.kind in ("op", "cmd") and token.text in texts


def is_and(token: Token) -> bool:
    """Whether a token is a word that only separates."""
    return token.kind in ("word", "text") and token.text.strip(" ,").lower() in ("and", "or", "", "&")
