r"""A text as words, its numbers and names marked: what duplicates and contamination are judged on.

Layout, case, accents, punctuation and the noise of LaTeX say nothing about which problem a text is, so they go:
`\dfrac{1}{2}` and `1/2`, `$x \cdot y$` and `x * y`, `twenty-five` and `25` read the same. What is left is one list of
words. Masking replaces some of them and moves none, so that all views of a text can be laid side by side.

Everything here takes time linear in the length of the text, whatever is in it, and no text is read for ever.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache

NUMBER, NAME, PERSON = "#", "@", "~"
"""What a number, a name and a pronoun of a person become; none of them can be a word."""

LONGEST = 1_000_000
"""Characters of a text that are read, about 200,000 words and a second; what stands behind them is not seen."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as words in three views; position i is the same place in each."""

    words: list[str]
    """Lower-case words, numbers and operators."""
    masked: list[str]
    """The same with every number as `NUMBER`."""
    skeleton: list[str]
    """The same with names as `NAME` and he, she, his, her and their like as `PERSON` too."""

    def __len__(self) -> int:
        return len(self.words)

    def cut(self, words: int) -> Reading:
        """The first so many words."""
        return Reading(self.words[:words], self.masked[:words], self.skeleton[:words])


def plain(text: str) -> str:
    """The words of a text with single spaces between them: equal for texts that differ in layout only."""
    return " ".join(read(text).words)


def read(text: str) -> Reading:
    r"""A text as words.

    A number is digits with separators and decimals, a fraction of two numbers (`3/4`, `2 1/2`, `\frac34`) or number
    words (`two hundred`, `half`, `twice`), with its percent sign or currency. A name is a capitalised word that is
    not one of those that open sentences. Names of one letter are variables and stay. Nothing is read behind the first
    `LONGEST` characters.
    """
    reading = Reading([], [], [])
    words, masked, skeleton = reading.words, reading.masked, reading.skeleton
    count: int | None = None  # value of the number words just before
    for word, mask, shape, value in map(_kind, _TOKEN.findall(fold(text[:LONGEST])[:LONGEST])):
        if mask == NUMBER:
            if value and count and (joined := _joined(count, value)):
                count, words[-1] = joined, str(joined)
                continue
            if count and word in _PARTS:
                count, words[-1] = None, f"{count}/{_PARTS[word]}"  # two thirds
                continue
            count = value
            word = str(value) if value else f"1/{_PARTS[word]}" if word in _PARTS else word
        elif not word:
            continue
        elif mask in _UNITS and masked and masked[-1] == NUMBER:
            words[-1] += _UNITS[mask]
            continue
        else:
            count = None
        words.append(word)
        masked.append(mask)
        skeleton.append(shape)
    return reading


def fold(text: str) -> str:
    """The text in compatibility form without accents, invisible characters, contractions and the code of figures."""
    if not text.isascii():
        # In pieces: ordering a run of marks takes time quadratic in its length, 20 s for 100,000 of them.
        pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
        text = _marks().sub("", "".join(unicodedata.normalize("NFKD", piece) for piece in pieces))
        text = _SIGN.sub(lambda match: _SIGNS[match[0]], text)
    if "[asy]" in text:
        text = _figures_named(text)
    if "\\" in text or "{,}" in text:
        text = text.replace("{,}", ",").replace("\\!", "")
    if "'" in text:
        text = text.replace("n't", " not").replace("N'T", " not")
        text = _SHORT.sub(lambda match: _LONG[match[1].lower()], text)
    return text


def _figures_named(text: str) -> str:
    """With the source of each Asymptote drawing replaced by one word, the same for drawings that differ in numbers
    only: it is long and says little, but may be all that tells two questions apart."""
    kept, at = [], 0
    while (begin := text.find("[asy]", at)) >= 0 and (end := text.find("[/asy]", begin)) >= 0:
        form = _UNSAID.sub("", text[begin:end]).lower().encode(errors="replace")
        letters = f"{zlib.crc32(form):08x}".translate(_LETTERS)
        kept += [text[at:begin], f" figure{letters} "]
        at = end + 6
    return "".join([*kept, text[at:]])


def _joined(count: int, value: int) -> int | None:
    """Two number words as one number, or None where they are two."""
    if value in (12, 100, 1000, 1_000_000) and count < value:
        return count * value
    scale = 100 if count % 1000 else 1000
    if value < 10 and count % 100 >= 20 and count % 10 == 0:
        return count + value
    return count + value if count >= 100 and count % scale == 0 and value < scale else None


@lru_cache(maxsize=1 << 16)
def _kind(token: str) -> tuple[str, str, str, int | None]:
    """Of a token: its word (empty for noise), the word with numbers masked, its skeleton, and the value of a number
    word."""
    first, word = token[0], sys.intern(token.lower())
    if first == "\\" and "frac" not in token:
        word = "" if token[1:] in _LAYOUT else _COMMANDS.get(token[1:], word[1:])
        return word, word, word, None
    if first.isdigit() or first == "." or (first == "\\" and token[-1] in "}0123456789"):
        number = _SPACE.sub("", word).replace(",", "")
        number = _FRACTION.sub(lambda match: f" {match[1] or match[2]}/{match[3] or match[4]}", number)
        return number.strip().replace("\\", ""), NUMBER, NUMBER, None
    if first == "\\":
        return "frac", "frac", "frac", None
    if word in _COUNTS:
        return word, NUMBER, NUMBER, _COUNTS[word]
    if word in _PARTS:
        return word, NUMBER, NUMBER, None
    if word in _PERSONS:
        return word, word, PERSON, None
    name = len(token) > 1 and first.isupper() and token[1:].islower() and word not in _OPENERS
    return word, word, NAME if name else word, None


@cache
def _marks() -> re.Pattern[str]:
    """Combining marks and characters that do not show (soft hyphens, joiners, direction marks)."""
    found = [
        char
        for char in map(chr, range(0x80, 0x10000))
        if unicodedata.combining(char) or unicodedata.category(char) == "Cf"
    ]
    return re.compile(f"[{''.join(found)}]+")


_PIECE = 64
_DIGITS = r"(?:\d{1,40}(?:,\d{3}(?!\d)){0,10}(?:\.\d{1,40})?|\.\d{1,40})"
_OVER = r"\\[dt]?frac\s?(?:\{\s?\d{1,20}\s?\}|\d)\s?(?:\{\s?\d{1,20}\s?\}|\d)"
_TOKEN = re.compile(
    rf"""{_OVER}
    | {_DIGITS} (?: \s?/\s?{_DIGITS} | \s\d{{1,9}}/\d{{1,9}} | \s?{_OVER} )? (?:\s?\\?% | (?:st|nd|rd|th)(?![^\W\d_]))?
    | \\[A-Za-z]{{1,40}} | [^\W\d_]{{1,40}}
    | -(?![^\W\d_]) | [+*/^_=<>|%] | (?<=\d)!""",
    re.VERBOSE,
)
"""Tokens of bounded length, so that none can fill the cache. A hyphen in front of a letter joins words."""
_UNSAID = re.compile(r"[\s\d.$]+")
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_SPACE = re.compile(r"\s+|\\(?=%)")
_FRACTION = re.compile(r"\\[dt]?frac(?:\{(\d+)\}|(\d))(?:\{(\d+)\}|(\d))")
_SHORT = re.compile(r"'([sSmMdD]|[rR][eE]|[lL]{2}|[vV][eE])(?![^\W\d_])")
_LONG = {"s": "", "re": " are", "ll": " will", "ve": " have", "m": " am", "d": " would"}
_SIGNS = {
    "\u2019": "'", "\u2212": "-", "\u2010": "-", "\u2013": "-", "\u00d7": "*", "\u22c5": "*", "\u00b7": "*",
    "\u2217": "*", "\u00f7": "/", "\u2044": "/", "\u2264": "<", "\u2265": ">", "\u03c0": " pi ",
    "\u221a": " sqrt ", "\u00b0": " circ ",
}  # fmt: skip
_SIGN = re.compile(f"[{''.join(_SIGNS)}]")
_LAYOUTS = """text textbf textit textrm mathrm mathbf mathit mathsf mbox hbox left right big Big bigg Bigg
displaystyle textstyle quad qquad begin end hspace vspace hfill noindent par limits nolimits operatorname boldsymbol
bm rm bf it mathcal mathbb phantom label tag item"""
_LAYOUT = frozenset(_LAYOUTS.split())
_COMMANDS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "cdot": "*", "times": "*", "ast": "*", "div": "/", "le": "<",
    "leq": "<", "leqslant": "<", "lt": "<", "ge": ">", "geq": ">", "geqslant": ">", "gt": ">", "ne": "neq",
    "dbinom": "binom", "tbinom": "binom", "choose": "binom", "ldots": "dots", "cdots": "dots", "dotsc": "dots",
    "mid": "|", "lvert": "|", "rvert": "|", "vert": "|", "to": "rightarrow", "varphi": "phi", "degree": "circ",
}  # fmt: skip
_UNITS = {"percent": "%", "%": "%", "dollar": "", "dollars": "", "cent": "", "cents": ""}
"""Words that belong to the number in front of them, and what they add to it."""
_TEENS = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen"""
_COUNTS = {
    word: value
    for value, word in enumerate(_TEENS.split(), 1)
} | {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
    "dozen": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000, "twice": 2, "double": 2, "thrice": 3,
    "triple": 3,
}  # fmt: skip
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
          "fifth": 5, "fifths": 5}  # fmt: skip
_PERSONS = frozenset(("he", "she", "his", "her", "hers", "him", "himself", "herself"))
_OPENING = """a about according add after all also although among an and another answer any are as assume assuming at
because before both but by calculate can circle compute consider convert count currently define describe determine did
divide do does draw during each either equation estimate evaluate every everyone exactly expand explain express
factor few find first five for four from function given gives had half has have having he her here his how
however i if in initially instead into is it its just last later let line list lines many meanwhile more most
multiply my next no not note notice now of on once one only or other our out over part people per point points
prove question rationalize round second select several she show simplify since six sketch so solve some
sometimes square state students suppose subtract sum that the their them then there therefore these they third
this those three through throughout to today together triangle two under unless until up use using verify was we
were what when where whereas which while who whose why will with within without would write yesterday yet you
your"""
_OPENERS = frozenset(_OPENING.split())
"""Capitalised without being a name, as words that open a sentence or a task are."""
