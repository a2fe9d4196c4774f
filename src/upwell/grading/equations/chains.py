"""The equations of one run: a chain cut at its signs of equality, each pair of neighbours judged.

A pair is wrong only if every sensible reading of it is. Where its text may mean something else (a variable, a label,
a unit that converts by an unknown factor), it is right if it holds and skipped if not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from upwell.grading.equations.comparison import equal, is_near
from upwell.grading.equations.conversions import unit
from upwell.grading.equations.edges import Part, balanced, closed, opened, opens_a_sentence
from upwell.grading.equations.reader import CHANGES, POINTS, SCALES, Side
from upwell.grading.equations.runs import Run
from upwell.grading.equations.sides import side


class Pair(NamedTuple):
    """Two neighbours of a chain that were judged."""

    holds: bool
    start: int
    """Positions in the run."""
    end: int
    left: Side
    right: Side


_WHOLE = r" ?\$?(0|[1-9]\d{0,14}) ?"
_SHORT = re.compile(rf"{_WHOLE}([-+*x×/÷]){_WHOLE}={_WHOLE} *")
"""The commonest equations, read without taking them apart."""
_OPENS_PLAINLY = frozenset("0123456789.$(")
_SIGN = re.compile(r"=|≈|\\approx(?![A-Za-z])|\bequals\b")
_SHARE = re.compile(r"\s*\d+\s?/\s?\d+(\s+[A-Za-z][A-Za-z' ]*)?\s*$")
"""A share of something: `1/2 a cup = 4 ounces`, `2/3 equals 16`."""
_EXPONENT, _ONE_DIGIT = re.compile(r"\^(\d)(?=\d+\^)"), r"^\1 \\cdot "
"""In TeX `2^43^4` is 2^4 3^4."""
_THOUGHT_WORDS = """because so since as which and or then therefore thus but if when is are was were gives makes means
equals has have will costs he she they we it this that"""
_CONJUNCTIONS = frozenset(_THOUGHT_WORDS.split())
"""Words that begin a new thought, so that a number before them may not belong to the calculation."""


def pairs(run: Run) -> Iterator[Pair]:
    """The pairs of neighbours that hold a calculation or convert units, with their verdicts."""
    if run.text.count("=") == 1 and run.text.lstrip()[0] == "=":
        return
    parts, signs = _split(run)
    calculates = run.is_note
    for index in range(len(parts) - 1):
        left, right = parts[index], parts[index + 1]
        if left is None or right is None or left.is_cut:
            continue
        first, second = _readable(left), _readable(right)
        if first is None or second is None:
            continue
        calculates |= bool(first.operations or first.percent)
        doubtful = left.doubtful or right.doubtful or first.doubtful or second.doubtful
        if not first.operations and not run.is_note:
            doubtful |= index == 0 and not opens_a_sentence(run.before)
        computes = bool(calculates or second.operations or second.percent)
        if not computes:
            holds = _converts(left, right)
        elif equal(first, second, about := signs[index] in ("≈", "\\approx")):
            holds = True
        else:
            holds = _otherwise(left, right, about)
        doubtful |= computes and _is_loose(first, second, run.is_note)
        share = _SHARE.match(left.texts[0])
        doubtful |= share is not None and (share[1] is not None or signs[index] == "equals")
        if holds or (holds is False and not doubtful):
            yield Pair(holds, left.start, right.end, first, second)


def _readable(part: Part) -> Side | None:
    """The likeliest reading of a side that is arithmetic."""
    return next((found for text in part.texts if (found := side(text)) is not None), None)


def _is_loose(first: Side, second: Side, is_note: bool) -> bool:
    """Whether the left side may be a quantity or a thought that the right side does not compute."""
    if not first.operations and not is_note:
        return bool(first.words or second.words) or (second.percent and not first.percent)
    return not _CONJUNCTIONS.isdisjoint(first.words)


def plain(run: Run) -> int:
    """How many pairs the run has, if all hold as they stand with nothing around that could matter; else 0.

    Nearly every run is of this kind. It says what `pairs` would say, for a fifth of the time.
    """
    text, before, after = run.text, run.before, run.after
    if text[-1] in " \n":
        if after[:1] == "\\":
            return 0
    elif (
        after
        and after[0] != "\n"
        and (after[0] not in ".,;:!?" or after[1:2] == "\\" or after[1:2].isdigit())
    ):
        return 0
    if before and before[-1] not in " \n:" and text[0] != "=":
        return 0
    return _held(text)


@lru_cache(maxsize=16_384)
def _held(text: str) -> int:
    """The number of pairs of a chain of which every one holds, else 0."""
    short = _SHORT.fullmatch(text)
    if short and _is_true(int(short[1]), short[2], int(short[3]), int(short[4])):
        return 1
    texts = [] if "equals" in text else text.split("=")
    if not texts:
        return 0
    if not texts[0] or texts[0].isspace():
        del texts[0]
    elif text[0] not in _OPENS_PLAINLY:
        return 0
    left_side = side(texts[0]) if texts else None
    if left_side is None or not left_side.operations:
        return 0
    for text in texts[1:]:
        right_side = side(text)
        if right_side is None or not equal(left_side, right_side, False):
            return 0
        left_side = right_side
    return len(texts) - 1


def _is_true(left: int, sign: str, right: int, result: int) -> bool:
    if sign == "+":
        return left + right == result
    if sign == "-":
        return left - right == result
    if sign in "/÷":
        return right != 0 and left == right * result
    return left * right == result


def _split(run: Run) -> tuple[list[Part | None], list[str]]:
    """The sides of a chain, None for those that are cut off, and the signs between them."""
    found: list[Part | None] = []
    signs: list[str] = []
    start = 0
    for sign in _SIGN.finditer(run.text):
        signs.append(sign[0])
        found.append(_part(run, start, sign.start()))
        start = sign.end()
    found.append(_part(run, start, len(run.text)))
    return found, signs


def _part(run: Run, start: int, end: int) -> Part | None:
    text = run.text[start:end]
    if not text or text.isspace():
        return None
    part: Part | None = Part((text,), start, end)
    if start == 0:
        part = opened(text, run.before, end)
    if part is not None and end == len(run.text):
        part = closed(part, run.after)
    part = None if part is None else balanced(part)
    if part is not None and _EXPONENT.search(part.texts[0]):
        part = part._replace(texts=(*part.texts, _EXPONENT.sub(_ONE_DIGIT, part.texts[0])))
    return part


def _otherwise(left: Part, right: Part, about: bool) -> bool:
    """Whether another reading of the two sides makes them equal."""
    for a in left.texts:
        for b in right.texts:
            if _reads(a, b, right.unit, about):
                return True
    return False


_NUMBERS = re.compile(r"\d[\d.,]*")
_TIGHT_FRACTION = re.compile(r"/\s+(\d+/\d+)")
_BROKEN_OFF = re.compile(
    r"(?<=[\d%)])\s+\(|(?<=[\d%)}\]$])\s*(?:of|times|x|divided by|multiplied by|plus|minus)\s"
)
_MIXED, _FACTORS = re.compile(r"(\d)\s*(?=\\[dt]?frac)"), r"\1 \\cdot "
_SHARE_OF = re.compile(r".*\bof\s(?:(?:the|his|her|their|its|my)\s)?", re.S)


def _reads(left: str, right: str, behind: str, about: bool) -> bool:
    """Whether per cent, units, a tight fraction or what was joined by mistake explains a difference."""
    first, second = side(left), side(right)
    candidates = []
    if "%" in left or "%" in right or "percent" in left:
        points = side(right, POINTS)
        candidates += [(first, points), (side(left, CHANGES), second)]
        if "100%" in left or len(_NUMBERS.findall(left)) == left.count("%"):
            candidates.append((side(left, POINTS), points))
    scaled, rescaled = side(left, SCALES), side(right + behind, SCALES)
    if scaled and rescaled and (_dimensions(scaled, left) or not _dimensions(rescaled, right)):
        candidates.append((scaled, rescaled))
    if cut := _BROKEN_OFF.search(right):
        candidates.append((first, side(right[: cut.start()])))
    if share := _SHARE_OF.match(left):
        candidates.append((side(left[share.end() :]), second))
    if _MIXED.search(left) or _MIXED.search(right):
        candidates += [(side(_MIXED.sub(_FACTORS, left)), second), (first, side(_MIXED.sub(_FACTORS, right)))]
    if _TIGHT_FRACTION.search(left) or _TIGHT_FRACTION.search(right):
        candidates.append(
            (side(_TIGHT_FRACTION.sub(r"/(\1)", left)), side(_TIGHT_FRACTION.sub(r"/(\1)", right)))
        )
    return any(a is not None and b is not None and equal(a, b, about) for a, b in candidates)


def _dimensions(side_: Side, text: str) -> set[str]:
    """What the units of a side measure."""
    known = {found.dimension for word in side_.words if (found := unit(word)) is not None}
    return (known | {"money"} if "$" in text else known) - {""}


def _converts(left: Part, right: Part) -> bool | None:
    """Whether one quantity is another in a second unit, such as 5 km = 5000 m; None where that is unknown."""
    first, second = side(left.texts[0], SCALES), side(right.texts[0] + right.unit, SCALES)
    if first is None or second is None or len(first.words) != 1 or len(second.words) != 1:
        return None
    one, other = unit(first.words[0]), unit(second.words[0])
    if one is None or other is None or one.dimension != other.dimension or not one.dimension:
        return None
    if one.system == other.system:
        return equal(first, second, False)
    return True if is_near(first.value, second.value) else None
