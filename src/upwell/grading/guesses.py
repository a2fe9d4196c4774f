"""What a guess is worth: the chance that random arithmetic on the numbers of a question gives its answer.

A guess draws one or two operations, with equal chance, from + - * /, on distinct numbers of the question: `a ? b`,
then with equal chance `(a ? b) ? c` or `c ? (a ? b)`, operations and ordered numbers uniform. A percentage is drawn
as 20 or as 0.2 with equal chance. A guess that divides by zero is wrong. With two numbers there is one operation;
with one number the guess is that number.
"""

from __future__ import annotations

import re
import zlib
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from upwell.grading.evaluate import fingerprint
from upwell.grading.lexer import Unreadable
from upwell.grading.reading import read
from upwell.grading.units import NUMERALS, SCALES

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Bools = np.ndarray[Any, np.dtype[np.bool_]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

MAX_EXACT = 20
"""Readings of numbers (a percentage has two) up to which all guesses are enumerated."""
SAMPLES = 8_192
"""With more readings, ordered numbers are drawn this often, with a seed that the question fixes, and all operations
enumerated on each draw; the standard error is below sqrt(q (1 - q) / 8192), at most 0.0056."""
_PRIME = (1 << 31) - 1
_MAX_NUMBERS = 200
_MAX_CHARS = 20_000

_ONES = "|".join(sorted(NUMERALS, key=len, reverse=True))
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4, "fifth": 5,
    "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8, "ninth": 9,
    "ninths": 9, "tenth": 10, "tenths": 10,
}  # fmt: skip
_FACTORS: dict[str, int | Fraction] = {
    "dozen": 12, "dozens": 12, "twice": 2, "double": 2, "doubled": 2, "doubles": 2, "thrice": 3, "triple": 3,
    "tripled": 3, "triples": 3, "quadruple": 4, "half": Fraction(1, 2), "halved": Fraction(1, 2),
    "quarter": Fraction(1, 4), "pair": 2, "couple": 2,
}  # fmt: skip
_WRITTEN = re.compile(
    rf"""\\[dt]?frac\s?\{{(?P<above>\d{{1,40}})\}}\s?\{{(?P<below>\d{{1,40}})\}}
    |(?P<sign>(?<![\w.)\]}}])-)?(?<![A-Za-z_\d])(?P<whole>\d{{1,3}}(?:(?:,|\{{,\}}|,\\!)\d{{3}})+(?!\d)|\d{{1,40}})(?P<point>\.\d{{1,40}})?
        (?:(?P<mixed>\s\d{{1,4}}/\d{{1,4}}|\s?\\[dt]?frac\s?\{{\d{{1,4}}\}}\s?\{{\d{{1,4}}\}})|/(?P<under>\d{{1,40}})(?![\d/]))?
        (?:\s?(?P<scale>hundred|thousand|million|billion|trillion)\b)?
        (?P<percent>\s?\\?%|\s?percent\b|\s?per\scent\b)?
    |(?P<bare>(?<!\d)\.\d{{1,40}})(?P<bare_percent>\s?\\?%|\s?percent\b)?
    |\b(?P<ones>(?:{_ONES}|a|an))[\s-](?P<part>{"|".join(sorted(_PARTS, key=len, reverse=True))})\b
    |\b(?P<words>(?:{_ONES})(?:[\s-](?:and\s)?(?:{_ONES}|hundred|thousand|million)){{0,8}})\b
        (?P<word_percent>\s?percent\b)?
    |\b(?P<factor>{"|".join(_FACTORS)})\b""",
    re.VERBOSE | re.IGNORECASE,
)


def guess_rate(question: str, gold: str) -> float | None:
    """The probability in [0, 1] that one guess equals the gold value exactly; None if the gold is no number.

    Exact for up to `MAX_EXACT` readings of numbers, else estimated from `SAMPLES` seeded draws. Never raises.
    """
    targets = _targets(gold)
    if targets is None:
        return None
    found = numbers(question)
    if len(found) < 2:
        only = found[0] if found else ()
        return sum(value in targets for value in only) / max(len(only), 1)
    sizes = tuple(map(len, found))
    if sum(sizes) <= MAX_EXACT:
        draws = _all_draws(sizes)
    else:
        draws = _some_draws(sizes, zlib.crc32(question.encode("utf-8", "replace")))
    values = [value for readings in found for value in readings]
    return sum((_rate(values, draws, target) for target in targets), 0.0)


def numbers(question: str) -> list[tuple[Fraction, ...]]:
    """The distinct numbers of a question, in order, each with its readings: two for a percentage, else one."""
    found: dict[tuple[Fraction, ...], None] = {}
    for match in _WRITTEN.finditer(question[:_MAX_CHARS]):
        value = _value(match)
        if value is not None:
            is_percent = match["percent"] or match["bare_percent"] or match["word_percent"]
            found[(value, value / 100) if is_percent else (value,)] = None
        if len(found) == _MAX_NUMBERS:
            break
    return list(found)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["below"]:
        return Fraction(int(match["above"]), int(match["below"])) if int(match["below"]) else None
    if match["bare"]:
        return Fraction(match["bare"])
    if match["part"]:
        count = NUMERALS.get(match["ones"].lower(), 1)
        return Fraction(count, _PARTS[match["part"].lower()])
    if match["words"]:
        return _worded(match["words"])
    if match["factor"]:
        return Fraction(_FACTORS[match["factor"].lower()])
    value = Fraction(re.sub(r"\D", "", match["whole"]) + (match["point"] or ""))
    if match["mixed"]:
        above, below = map(int, re.findall(r"\d+", match["mixed"]))
        value += Fraction(above, below) if below else 0
    elif match["under"]:
        if not int(match["under"]):
            return None
        value /= int(match["under"])
    value *= SCALES.get((match["scale"] or "").lower(), 1)
    return -value if match["sign"] else value


def _worded(text: str) -> Fraction:
    """The value of English number words, such as `two hundred and five` or `twenty-five`."""
    total = group = 0
    for word in re.split(r"[\s-]+", text.lower()):
        if word == "hundred":
            group = max(group, 1) * 100
        elif word in SCALES:
            total, group = total + max(group, 1) * SCALES[word], 0
        else:
            group += NUMERALS.get(word, 0)
    return Fraction(total + group)


def _targets(gold: str) -> frozenset[Fraction] | None:
    """The values that count as the gold answer: two for a percentage, else one; empty for irrational ones."""
    answer = read(gold)
    if answer.kind not in ("number", "percent", "formula") or answer.node is None:
        return None
    try:
        shown = fingerprint(answer.node)
    except (Unreadable, RecursionError):
        return None
    if shown.startswith("@"):
        return None
    try:
        value = Fraction(shown)
    except ValueError:
        return frozenset()
    return frozenset((value, value / 100)) if answer.kind == "percent" else frozenset((value,))


class _Draws(NamedTuple):
    """Operands of guesses, as rows of indices, and their relative chances."""

    pairs: Ints
    triples: Ints
    """Empty where there are only two numbers."""
    of_pairs: Floats
    of_triples: Floats


@lru_cache(maxsize=256)
def _all_draws(sizes: tuple[int, ...]) -> _Draws:
    """All ordered pairs and triples of readings of distinct numbers."""
    import numpy as np

    owner = np.repeat(np.arange(len(sizes)), sizes)
    weight = 1 / np.repeat(np.asarray(sizes, dtype=np.float64), sizes)
    every = np.arange(len(owner))
    pairs = np.stack(np.meshgrid(every, every, indexing="ij")).reshape(2, -1)
    pairs = pairs[:, owner[pairs[0]] != owner[pairs[1]]]
    triples = np.stack(np.meshgrid(every, every, every, indexing="ij")).reshape(3, -1)
    a, b, c = owner[triples]
    triples = triples[:, (a != b) & (b != c) & (a != c)]
    return _Draws(pairs, triples, weight[pairs].prod(axis=0), weight[triples].prod(axis=0))


def _some_draws(sizes: tuple[int, ...], seed: int) -> _Draws:
    """`SAMPLES` ordered triples of readings of distinct numbers (two readings make more than ten numbers here)."""
    import numpy as np

    draw = np.random.default_rng(seed)
    counts = np.asarray(sizes)
    starts = np.cumsum(counts) - counts
    first = draw.integers(0, len(sizes), SAMPLES)
    second = (first + draw.integers(1, len(sizes), SAMPLES)) % len(sizes)
    third = draw.integers(0, len(sizes) - 2, SAMPLES)
    third += third >= np.minimum(first, second)
    third += third >= np.maximum(first, second)
    chosen = np.stack([first, second, third])
    triples = starts[chosen] + (draw.random(chosen.shape) * counts[chosen]).astype(np.int64)
    ones = np.ones(SAMPLES)
    return _Draws(triples[:2], triples, ones, ones)


def _rate(values: list[Fraction], draws: _Draws, target: Fraction) -> float:
    """The probability of one target, exact: residues modulo a prime find the candidates, `Fraction` decides."""
    import numpy as np

    n = np.array([value.numerator % _PRIME for value in values])
    d = np.array([value.denominator % _PRIME for value in values])
    a, b = draws.pairs
    hits = np.zeros(len(a))
    for operation, (_, near) in enumerate(_matches((n[a], d[a]), (n[b], d[b]), target)[:4]):
        for at in np.flatnonzero(near):
            hits[at] += _operated(operation, values[a[at]], values[b[at]]) == target
    rate = float(hits @ draws.of_pairs) / (4 * float(draws.of_pairs.sum()))
    if not draws.triples.size:
        return rate
    a, b, c = draws.triples
    hits = np.zeros(len(a))
    for inner, result in enumerate(_results((n[a], d[a]), (n[b], d[b]))):
        for outer, (times, near) in enumerate(_matches(result, (n[c], d[c]), target)):
            for at in np.flatnonzero(near):
                first = _operated(inner, values[a[at]], values[b[at]])
                if first is not None:
                    hits[at] += times * (_operated(outer, first, values[c[at]]) == target)
    return (rate + float(hits @ draws.of_triples) / (32 * float(draws.of_triples.sum()))) / 2


def _results(left: tuple[Ints, Ints], right: tuple[Ints, Ints]) -> list[tuple[Ints, Ints]]:
    """Residues of numerator and denominator of a + b, a - b, a * b, a / b."""
    (n, d), (m, e) = left, right
    first, second, both = n * e % _PRIME, m * d % _PRIME, d * e % _PRIME
    return [(first + second, both), (first - second, both), (n * m % _PRIME, both), (first, second)]


def _matches(left: tuple[Ints, Ints], right: tuple[Ints, Ints], target: Fraction) -> list[tuple[int, Bools]]:
    """Where a + b, a - b, a * b, a / b, b - a, b / a may equal the target, and in how many of eight orders they are.

    The eight are `a ? b` and `b ? a`; sums and products count in both.
    """
    t, u = target.numerator % _PRIME, target.denominator % _PRIME
    (n, d), (m, e) = [(top % _PRIME, bottom % _PRIME) for top, bottom in (left, right)]
    first, second = n * e % _PRIME, m * d % _PRIME
    wanted = d * e % _PRIME * t % _PRIME
    one, other = first * u % _PRIME, second * u % _PRIME
    return [
        (2, (one + other - wanted) % _PRIME == 0),
        (1, (one - other - wanted) % _PRIME == 0),
        (2, n * m % _PRIME * u % _PRIME == wanted),
        (1, one == second * t % _PRIME),
        (1, (other - one - wanted) % _PRIME == 0),
        (1, other == first * t % _PRIME),
    ]


def _operated(operation: int, left: Fraction, right: Fraction) -> Fraction | None:
    """The result in the order of `_matches`; None for a division by zero."""
    if operation > 3:
        operation, left, right = {4: 1, 5: 3}[operation], right, left
    if operation == 0:
        return left + right
    if operation == 1:
        return left - right
    if operation == 2:
        return left * right
    return left / right if right else None
