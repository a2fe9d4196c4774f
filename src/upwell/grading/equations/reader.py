"""One side of an equation by recursive descent, over tokens: brackets, powers, roots, fractions, per cent, units.

Nothing is evaluated as code, and nesting and sizes are bounded. What is outside the grammar is `Unreadable`.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from upwell.grading.equations.conversions import unit
from upwell.grading.equations.ratios import (
    DIGITS,
    Ratio,
    Unreadable,
    binomial,
    bounded,
    factorial,
    inverse,
    power,
    root,
    times,
    written,
)
from upwell.grading.units import LETTER_UNITS, UNITS

SHARES, POINTS, CHANGES, SCALES = 0, 1, 2, 4
"""Readings, to be added: per cent as a share (always tried first), as a plain number, `a - 20%` as a share of a;
words as the scales and units that they name."""
_MAX_DEPTH = 30


class Side(NamedTuple):
    """What one side of an equation says."""

    value: Ratio
    step: Ratio | None = None
    """One unit in the last place of a lone decimal; None for whole numbers and for calculations."""
    operations: int = 0
    percent: bool = False
    words: tuple[str, ...] = ()
    doubtful: bool = False
    """Whether a letter may be a variable: then a difference proves nothing."""
    rounded: bool = False
    """Whether a root was cut, so that equality holds to many digits only."""
    about: bool = False
    """Whether the side itself says that it is approximate."""


_GLUED_ARTICLE = re.compile(r"[\d})][aAI](?![A-Za-z])")
_SPELLING = {
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "\\times": "*", "\\cdot": "*", "\\*": "*",
    "÷": "/", "//": "/", "\\div": "/", "−": "-", "–": "-", "minus": "-", "plus": "+", "**": "^",
    "{": "(", "}": ")", "\\{": "(", "\\}": ")", "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac",
    "\\dbinom": "\\binom", "\\tbinom": "\\binom", "√": "\\sqrt", "\\%": "%", "²": "^2", "³": "^3",
}  # fmt: skip
_IGNORED = frozenset((
    "$", "£", "€", "¥", "&", "\\$", "\\,", "\\;", "\\:", "\\!", "\\ ", "\\(", "\\)", "\\[", "\\]", "\\left", "\\right",
    "\\boxed", "\\displaystyle", "\\mathbf", "\\textbf", "\\big", "\\Big", "\\bigg", "\\Bigg", "\\bigl", "\\bigr",
    "\\Bigl", "\\Bigr", "\\\\",
))  # fmt: skip
_VULGAR = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4)}
_APPROXIMATELY = frozenset(("~", "about", "approximately", "approx", "around", "roughly", "almost", "nearly"))
_OPERATOR_WORDS = frozenset(("x", "X", "times", "of", "multiplied", "divided"))
_FILLERS = frozenset(("by", "the", "his", "her", "their", "its", "my"))
"""Words between an operator and its operand."""
_NO_NAME = "\u200b"
"""Stands for an empty `\\text{}`."""
_SHORT = "an at by do go he if in is it my no on or so to up us we as of am be"
_SHORT_WORDS = frozenset(_SHORT.split())
_VARIABLE_WORDS = "pi sin cos tan log ln lg exp sqrt mod gcd lcm abs than twice half squared cubed"
_VARIABLES = frozenset(_VARIABLE_WORDS.split())
"""Words that change a value in a way that this grammar does not know."""
_MEANINGFUL = _VARIABLES | frozenset(("times", "plus", "minus", "percent", "multiplied", "divided", "per"))


def is_plain_word(token: str) -> bool:
    """Whether a word names what is counted and can be nothing else."""
    return token.isalpha() and token not in _MEANINGFUL and (len(token) > 2 or token in _SHORT_WORDS)


class Reader:
    """One side by recursive descent: brackets, powers, roots, fractions, mixed numbers, per cent and units."""

    def __init__(self, text: str, tokens: list[str], reading: int) -> None:
        self.text = text
        self.tokens = [
            _SPELLING.get(token, token)
            for token in tokens
            if token not in _IGNORED and (token[0] != "(" or token == "(")
        ]
        self.reading = reading
        self.at = 0
        self.depth = 0
        self.operations = 0
        self.numbers: list[tuple[int, int]] = []
        """Digits and decimals of each number read."""
        self.words: list[str] = []
        self.percent = self.doubtful = self.rounded = self.about = False

    def side(self) -> Side:
        while self._peek() in _APPROXIMATELY:
            self.at, self.about = self.at + 1, True
        value = self._sum()
        if self.at < len(self.tokens):
            raise Unreadable(f"unexpected {self.tokens[self.at]}")
        step = None
        if self.operations == 0 and len(self.numbers) == 1:
            digits, decimals = self.numbers[0]
            if digits and (decimals or self.percent):
                step = (abs(value[0]), value[1] * digits)
        words = tuple(self.words)
        return Side(
            value, step, self.operations, self.percent, words, self.doubtful, self.rounded, self.about
        )

    def _token(self, at: int) -> str:
        return self.tokens[at] if at < len(self.tokens) else ""

    def _peek(self) -> str:
        return self._token(self.at)

    def _take(self, token: str) -> None:
        if self._peek() != token:
            raise Unreadable(f"expected {token}")
        self.at += 1

    # -- grammar

    def _sum(self) -> Ratio:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unreadable("nested too deeply")
        total, _ = self._product()
        while self._peek() in ("+", "-"):
            sign = 1 if self._peek() == "+" else -1
            self.at, self.operations = self.at + 1, self.operations + 1
            term, is_percent = self._product()
            if is_percent and self.reading & CHANGES:
                term = times(total, term)
            total = bounded(total[0] * term[1] + sign * term[0] * total[1], total[1] * term[1])
        self.depth -= 1
        return total

    def _product(self) -> tuple[Ratio, bool]:
        """A product, and whether it is a lone percentage."""
        start = self.at
        product = self._signed()
        is_percent = self._token(self.at - 1) == "%" and self.at == start + 2
        while True:
            operator = self._operator()
            if not operator:
                return product, is_percent
            is_percent = False
            self.operations += 1
            factor = self._signed()
            product = times(product, factor if operator == "*" else inverse(factor))

    def _operator(self) -> str:
        """Takes `*` or `/` in any of their spellings; `*` also where a bracket or a root follows a factor."""
        token = self._peek()
        if token in ("*", "/"):
            self.at += 1
            return token
        if self._is_operator_word(self.at):
            if token == "of" and not (
                self._token(self.at - 1) in ("%", ")") or self._token(self.at - 2) == "/"
            ):
                raise Unreadable("of behind a number that is no share")
            self.at += 1 + (self.tokens[self.at + 1] in _FILLERS)
            return "/" if token == "divided" else "*"
        return "*" if token in ("(", "[", "\\sqrt", "\\frac", "\\binom") else ""

    def _is_operator_word(self, at: int) -> bool:
        """Whether the word at `at` stands between two operands: `3 x 4`, `20% of the 50`, `12 divided by 4`."""
        if self._token(at) not in _OPERATOR_WORDS:
            return False
        return self._is_operand(at + 1) or (self._token(at + 1) in _FILLERS and self._is_operand(at + 2))

    def _is_operand(self, at: int) -> bool:
        token = self._token(at)
        return token[:1] in DIGITS or token in ("(", "\\frac", "\\sqrt") or token in _VULGAR

    def _signed(self) -> Ratio:
        negative = False
        while self._peek() in ("-", "+"):
            negative ^= self._peek() == "-"
            self.at += 1
        n, d = self._postfixed(self._atom())
        return (-n, d) if negative else (n, d)

    def _atom(self) -> Ratio:
        token = self._peek()
        self.at += 1
        if token[:1] in DIGITS:
            return self._mixed(token)
        if token in ("(", "["):
            value = self._sum()
            self._take(")" if token == "(" else "]")
            return value
        if token in _VULGAR:
            self.operations += 1
            return _VULGAR[token]
        if token == "\\frac":
            self.operations += 1
            above = self._argument()
            return times(above, inverse(self._argument()))
        if token == "\\sqrt":
            self.operations += 1
            return self._root()
        if token == "\\binom":
            self.operations += 1
            return binomial(self._argument(), self._argument())
        raise Unreadable(f"no operand {token}")

    def _mixed(self, token: str) -> Ratio:
        """A number, with the proper fraction that may follow: `2 1/2`, `2\\frac{1}{2}`, `2½`."""
        n, d, decimals = written(token)
        self.numbers.append((n, decimals))
        following = self._peek()
        if d > 1 or self.tokens[self.at - 2 : self.at - 1] == ["/"]:
            return n, d
        above, below = "", ""
        if following in _VULGAR:
            above, below = map(str, _VULGAR[following])
            length = 1
        elif following == "\\frac":
            rest = self.tokens[self.at + 1 : self.at + 7]
            if len(rest) == 6 and rest[0] + rest[2] + rest[3] + rest[5] == "()()":
                above, below, length = rest[1], rest[4], 7
            elif rest and len(rest[0]) == 2:
                above, below, length = rest[0][0], rest[0][1], 2
        elif following.isdecimal() and self.tokens[self.at + 1 : self.at + 2] == ["/"]:
            above, below, length = (
                following,
                self.tokens[self.at + 2] if self.at + 2 < len(self.tokens) else "",
                3,
            )
        if not (
            above.isdecimal() and below.isdecimal() and len(above + below) < 9 and int(above) < int(below)
        ):
            return n, d
        self.at += length
        self.operations += 1
        return n * int(below) + int(above), int(below)

    def _argument(self) -> Ratio:
        """What a command works on: a group, or one digit."""
        token = self._peek()
        if token == "(":
            self.at += 1
            value = self._sum()
            self._take(")")
            return value
        if token.isdecimal() and token.isascii():
            self.tokens[self.at] = token[1:]
            if len(token) == 1:
                self.at += 1
            return int(token[0]), 1
        raise Unreadable("no argument")

    def _root(self) -> Ratio:
        index = 2
        if self._peek() == "[":
            if (
                self.tokens[self.at + 2 : self.at + 4] != ["]", "("]
                or not self.tokens[self.at + 1].isdecimal()
            ):
                raise Unreadable("an index that is no number")
            index = int(self.tokens[self.at + 1][:3])
            self.at += 3
        if self._peek() == "(":
            self.at += 1
            radicand = self._sum()
            self._take(")")
        else:
            radicand = self._atom()
        return self._rooted(radicand, index)

    def _rooted(self, radicand: Ratio, index: int) -> Ratio:
        value, cut = root(radicand, index)
        self.rounded |= cut
        return value

    def _postfixed(self, value: Ratio) -> Ratio:
        while True:
            token = self._peek()
            if token in ("^", "^2", "^3"):
                self.at, self.operations = self.at + 1, self.operations + 1
                value = self._power(value, self._exponent() if token == "^" else (int(token[1]), 1))
            elif token in ("%", "percent"):
                self.at, self.percent = self.at + 1, True
                value = value if self.reading & POINTS else (value[0], value[1] * 100)
            elif token == "!":
                self.at, self.operations = self.at + 1, self.operations + 1
                value = factorial(value)
                if self._peek() == "!":
                    raise Unreadable("a double factorial")
            else:
                name, divides = self._unit()
                if not name:
                    return value
                value = self._scaled(value, name, divides)

    def _exponent(self) -> Ratio:
        if self._peek() == "(":
            return self._argument()
        negative = self._peek() == "-"
        self.at += negative
        token = self._peek()
        if token[:1] not in DIGITS:
            raise Unreadable("no exponent")
        self.at += 1
        n, d, _ = written(token)
        if self._peek() == "^":
            raise Unreadable("a tower of powers")
        return (-n, d) if negative else (n, d)

    def _power(self, base: Ratio, exponent: Ratio) -> Ratio:
        common = math.gcd(*exponent)
        if exponent[1] != common:
            base = self._rooted(base, exponent[1] // common)
        return power(base, exponent[0] // common)

    # -- words

    def _unit(self) -> tuple[str, bool]:
        """Takes the next word of a unit, and whether it stands behind `/` or per; empty where none follows."""
        token, divides = self._peek(), False
        ahead = self.at
        if token in ("/", "per"):
            divides, ahead = True, ahead + 1
            token = self._token(ahead)
        if token.startswith(("\\text", "\\math", "\\mbox")) and token.endswith("}"):
            name = token[token.index("{") + 1 : -1].strip()
            if any(character in "0123456789=+*^_\\()[]" for character in name):
                raise Unreadable("a formula in text")
        elif token[:1].isalpha() and not self._is_operator_word(ahead):
            name = token
        else:
            return "", False
        self.at = ahead + 1
        if self._peek() in ("^", "^2", "^3"):
            self.at += 2 if self._peek() == "^" else 1
            name += "^"
        if self._peek() == ".":
            self.at += 1
        return name or _NO_NAME, divides

    def _scaled(self, value: Ratio, name: str, divides: bool) -> Ratio:
        for word in name.replace("/", " ").split():
            if word in "aAI" and _GLUED_ARTICLE.search(self.text):
                raise Unreadable("a variable")
            if "-" in word and min(map(len, word.split("-"))) < 2:
                raise Unreadable("a difference of variables")
            known = unit(word)
            lower = word.lower()
            if lower in _VARIABLES or (len(word) == 1 and word not in LETTER_UNITS and word not in "aAI"):
                raise Unreadable("a variable")
            if known is None and len(word) <= 2 and lower not in UNITS and lower not in _SHORT_WORDS:
                self.doubtful = True
            self.doubtful |= len(word) == 1 and word in LETTER_UNITS
            self.words.append(lower)
            if known is not None and self.reading & SCALES:
                factor = (known.factor.numerator, known.factor.denominator)
                value = times(value, inverse(factor) if divides else factor)
        return value
