"""Formulas as trees: a recursive-descent parser for LaTeX and plain notation, over tokens.

Nothing is evaluated here and no text ever reaches Python's or SymPy's parsers. Nesting is bounded; whatever
is outside the grammar raises `Unreadable`, and the caller falls back to comparing text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from upwell.grading.formulas import Node, negated, number, reciprocal
from upwell.grading.lexer import MAX_DIGITS, Token, Unreadable

MAX_DEPTH = 40


_SHORT_WORDS = """yes no odd even on or and is the of in to at it if not all one two six ten day hr hrs min
sec cm mm km kg lb mph oz ft pm am pct sq yd mi cents cent per for men cup true so an as be by we none both
any out"""
NOT_NAMES = frozenset(_SHORT_WORDS.split())
"""Short words that are not products of letters."""


class Parser:
    """One formula from a run of tokens that holds no relation, comma or union at its top level."""

    def __init__(self, run: Sequence[Token]) -> None:
        self.run = run
        self.at = 0
        self.depth = 0
        self.in_bars = False

    def formula(self) -> Node:
        node = self._sum()
        if self.at < len(self.run):
            raise Unreadable(f"unexpected {self.run[self.at].text!r}")
        return node

    # -- reading tokens

    def _peek(self) -> Token | None:
        return self.run[self.at] if self.at < len(self.run) else None

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.kind in ("op", "cmd") and token.text in texts

    def _take(self, text: str) -> None:
        if not self._is(text):
            raise Unreadable(f"expected {text!r}")
        self.at += 1

    # -- grammar

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        terms: list[Node] = []
        if self._is("\\pm", "\\mp"):
            terms.append(number(Fraction(0)))
        else:
            terms.append(self._signed(self._product))
        while True:
            if self._is("+", "-"):
                terms.append(self._signed(self._product))
            elif self._is("\\pm", "\\mp"):
                self.at += 1
                left = terms[0] if len(terms) == 1 else Node("+", tuple(terms))
                terms = [Node("pm", (left, self._product()))]
            else:
                break
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("+", tuple(terms))

    def _signed(self, operand: Callable[[], Node]) -> Node:
        """An operand behind any number of signs."""
        negative = False
        while self._is("+", "-"):
            negative ^= self._is("-")
            self.at += 1
        node = operand()
        return negated(node) if negative else node

    def _product(self) -> Node:
        factors = [self._power()]
        while True:
            if self._is("*"):
                self.at += 1
                factors.append(self._signed(self._power))
            elif self._is("/"):
                self.at += 1
                factors.append(reciprocal(self._signed(self._power)))
            elif self._starts_factor():
                factors.append(self._power())
            else:
                return factors[0] if len(factors) == 1 else Node("*", tuple(factors))

    def _starts_factor(self) -> bool:
        token = self._peek()
        if token is None:
            return False
        if token.kind in ("name", "fn", "word"):
            return True
        if token.kind == "num":
            before = self.run[self.at - 1]
            return not (before.kind == "num" or (token.spaced and before.kind == "op" and before.text == "!"))
        if token.kind == "op":
            return token.text in "({[" or (token.text == "|" and not self.in_bars)
        return token.kind == "cmd" and token.text in _ATOM_COMMANDS

    def _power(self) -> Node:
        token = self._peek()
        is_function = token is not None and token.kind == "fn"
        return self._postfix(self._function() if is_function else self._atom())

    def _postfix(self, base: Node) -> Node:
        while True:
            if self._is("!"):
                self.at += 1
                base = Node("fn", (base,), "factorial")
            elif self._is("%"):
                self.at += 1
                base = Node("*", (base, number(Fraction(1, 100))))
            elif self._is("^"):
                self.at += 1
                if self._is("\\circ"):
                    self.at += 1
                    base = Node("deg", (base,))
                    continue
                exponent = self._exponent()
                base = Node("deg", (base,)) if exponent.op == "deg" else Node("^", (base, exponent))
            else:
                return base

    def _exponent(self) -> Node:
        """What stands after `^`: a group, or one signed atom, which may itself be raised (right to left)."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        if self._is("{") and self._next_is(1, "\\circ") and self._next_is(2, "}"):
            self.at += 3
            self.depth -= 1
            return Node("deg", (number(Fraction(0)),))
        exponent = self._signed(self._script)
        self.depth -= 1
        return exponent

    def _script(self) -> Node:
        token = self._peek()
        if token is not None and token.kind == "num":
            self.at += 1
            script = number(_decimal(token.text))
        elif token is not None and token.kind == "fn":
            script = self._function()
        else:
            script = self._atom()
        while self._is("!"):
            self.at += 1
            script = Node("fn", (script,), "factorial")
        if self._is("^"):
            self.at += 1
            script = Node("^", (script, self._exponent()))
        return script

    def _next_is(self, offset: int, text: str) -> bool:
        at = self.at + offset
        return at < len(self.run) and self.run[at].text == text

    def _group(self) -> Node:
        self._take("{")
        node = self._sum()
        self._take("}")
        return node

    def _argument(self) -> Node:
        """A LaTeX argument: a group, or one digit or letter (so that `\\frac12` is a half)."""
        token = self._peek()
        if token is None:
            raise Unreadable("an argument is missing")
        if token.kind == "num":
            self.at += 1
            return number(_decimal(token.text))
        return self._group() if self._is("{") else self._atom()

    def _atom(self) -> Node:
        token = self._peek()
        if token is None:
            raise Unreadable("something is missing")
        if token.kind == "num":
            self.at += 1
            return self._mixed(token)
        if token.kind == "name":
            self.at += 1
            return self._name(token.text)
        if token.kind == "word":
            return self._letters(token)
        if token.kind == "op" and token.text == "..." and self.at and self.run[self.at - 1].text in "+-":
            self.at += 1
            return Node("name", (), "...")  # the rest of a series, which is what it is
        if token.kind == "op":
            return self._bracketed(token.text)
        if token.kind == "cmd" and token.text in _ATOM_COMMANDS:
            self.at += 1
            handler: str = _ATOM_COMMANDS[token.text]
            node = getattr(self, handler)(token.text)
            assert isinstance(node, Node)
            return node
        raise Unreadable(f"unexpected {token.text!r}")

    def _mixed(self, token: Token) -> Node:
        """A number, or a mixed number such as `3\\frac{1}{2}` or `3 1/2`."""
        whole = _decimal(token.text)
        if not token.text.isdigit():
            return number(whole)
        if self._is("\\frac"):
            self.at += 1
            part = self._fraction("\\frac")
            if part.op == "num" and isinstance(part.value, Fraction) and 0 < part.value < 1:
                return number(whole + part.value)
            return Node("*", (number(whole), part))
        ahead = self.run[self.at : self.at + 3]
        if [t.kind for t in ahead] == ["num", "op", "num"] and ahead[0].spaced and ahead[1].text == "/":
            above, below = _decimal(ahead[0].text), _decimal(ahead[2].text)
            if 0 < above < below and ahead[0].text.isdigit() and ahead[2].text.isdigit():
                self.at += 3
                return number(whole + above / below)
        return number(whole)

    def _name(self, text: str) -> Node:
        """A name with its subscript and primes, the current token being the first behind the name."""
        if self._is("_"):
            text += self._subscript()
        while self._is("'"):
            self.at += 1
            text += "'"
        return Node("const" if text in ("e", "i") else "name", (), text)

    def _subscript(self) -> str:
        self.at += 1
        token = self._peek()
        if token is None:
            raise Unreadable("a subscript is missing")
        if not self._is("{"):
            self.at += 1
            return f"_{token.text}"
        depth = 0
        pieces: list[str] = []
        while self.at < len(self.run):
            text = self.run[self.at].text
            self.at += 1
            depth += {"{": 1, "}": -1}.get(text, 0)
            if depth == 0:
                return "_" + "".join(pieces[1:])
            pieces.append(text)
        raise Unreadable("a subscript never closes")

    def _letters(self, token: Token) -> Node:
        """Letters written together: a product such as `ab` or `AB`, never an English word."""
        if len(token.text) > 4 or token.text.lower() in NOT_NAMES:
            raise Unreadable(f"a word: {token.text!r}")
        if len(token.text) == 4 and not token.text.isupper():
            raise Unreadable(f"a word: {token.text!r}")
        self.at += 1
        factors = [Node("const" if letter in "ei" else "name", (), letter) for letter in token.text[:-1]]
        factors.append(self._postfix(self._name(token.text[-1])))
        return Node("*", tuple(factors))

    def _bracketed(self, opening: str) -> Node:
        closing = {"(": ")", "[": "]", "{": "}", "|": "|"}.get(opening)
        if closing is None:
            raise Unreadable(f"unexpected {opening!r}")
        self.at += 1
        around, self.in_bars = self.in_bars, opening == "|"
        node = self._sum()
        self._take(closing)
        self.in_bars = around
        return Node("fn", (node,), "abs") if opening == "|" else node

    def _function(self) -> Node:
        """`sin x`, `\\sin^2 x`, `\\log_2 x`, `f(x)`-like application of a known function."""
        token = self._peek()
        assert token is not None
        self.at += 1
        name, base, power = token.text, None, None
        for _ in range(2):
            if self._is("_") and base is None:
                self.at += 1
                base = self._argument()
            elif self._is("^") and power is None:
                self.at += 1
                power = self._exponent()
        if power is not None and power == number(Fraction(-1)) and name in ("sin", "cos", "tan"):
            name, power = f"a{name}", None
        arguments = self._arguments()
        if base is not None:
            if name != "log":
                raise Unreadable(f"{name} has no base")
            arguments = (*arguments, base)
        node = Node("fn", arguments, name)
        return node if power is None else Node("^", (node, power))

    def _arguments(self) -> tuple[Node, ...]:
        if self._is("(", "["):
            closing = ")" if self._is("(") else "]"
            self.at += 1
            arguments = [self._sum()]
            while self._is(","):
                self.at += 1
                arguments.append(self._sum())
            self._take(closing)
            return tuple(arguments)
        if self._is("{"):
            return (self._group(),)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        factors = [self._power()]
        while self._starts_factor() and not self._is("(", "[") and self.run[self.at].kind != "fn":
            factors.append(self._power())
        self.depth -= 1
        return (factors[0] if len(factors) == 1 else Node("*", tuple(factors)),)

    # -- commands; the table below names them

    def _fraction(self, _: str) -> Node:
        above = self._argument()
        below = reciprocal(self._argument())
        if isinstance(above.value, Fraction) and isinstance(below.value, Fraction):
            return number(above.value * below.value)
        return Node("*", (above, below))

    def _root(self, _: str) -> Node:
        index = number(Fraction(2))
        if self._is("["):
            self.at += 1
            index = self._sum()
            self._take("]")
        radicand = self._group() if self._is("{") else self._one_atom()
        return Node("^", (radicand, reciprocal(index)))

    def _one_atom(self) -> Node:
        """The radicand of a bare `\\sqrt`: a bracket, a name or a number, its power left outside."""
        token = self._peek()
        if token is not None and token.kind == "num":
            self.at += 1
            return number(_decimal(token.text))
        if token is not None and token.kind == "word":
            raise Unreadable("root of a word")
        return self._atom()

    def _binomial(self, _: str) -> Node:
        above = self._argument()
        return Node("fn", (above, self._argument()), "binomial")

    def _constant(self, text: str) -> Node:
        return Node("const", (), text[1:])

    def _floor(self, text: str) -> Node:
        name = text[2:]
        node = self._sum()
        self._take(f"\\r{name}")
        return Node("fn", (node,), name)

    def _big_operator(self, text: str) -> Node:
        """A sum, product, integral or limit: its limits as they are spelled, and what it works on."""
        limits = ""
        while self._is("_", "^"):
            sign = self.run[self.at].text
            limits += sign + self._subscript()
        return Node("fn", (self._product(),), f"{text}{limits}")

    def _styled(self, _: str) -> Node:
        return self._argument()


_ATOM_COMMANDS = {
    "\\frac": "_fraction",
    "\\sqrt": "_root",
    "\\binom": "_binomial",
    "\\pi": "_constant",
    "\\sum": "_big_operator",
    "\\prod": "_big_operator",
    "\\int": "_big_operator",
    "\\lim": "_big_operator",
    "\\lfloor": "_floor",
    "\\lceil": "_floor",
    "\\font": "_styled",
    "\\overline": "_styled",
    "\\bar": "_styled",
    "\\hat": "_styled",
    "\\vec": "_styled",
    "\\overrightarrow": "_styled",
    "\\angle": "_styled",
    "\\triangle": "_styled",
}


def _decimal(text: str) -> Fraction:
    if len(text) > MAX_DIGITS:
        raise Unreadable("a number of too many digits")
    exponent = re.search(r"[eE]([+-]?\d+)", text)
    if exponent and abs(int(exponent[1])) > MAX_DIGITS:
        raise Unreadable("an exponent out of range")
    return Fraction(text)
