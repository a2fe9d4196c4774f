"""How near is too near: one bound per method, and how much a text has to say before its form counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

from upwell.errors import UsageError

METHODS = ("exact", "span", "ngram", "masked", "renamed", "template", "reworded", "embedding")
"""From the surest to the most debatable; a row is charged with the first that finds it."""

NEEDED = {
    "exact": 0.0, "span": 2.0, "ngram": 2.0, "masked": 1.0, "renamed": 1.0, "template": 6.0, "reworded": 2.0,
    "embedding": 2.0, "part": 4.0,
}  # fmt: skip
"""Information that each method needs, in `Settings.bits`: the less has to be the same, the more. Numbers count as
information for those that look at them. `part` is a form inside a longer row: many have a short one somewhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    """When a row counts as contaminated. Every score is in 0..1, and a bound above 1 turns its method off."""

    exact: float = 1.0
    """The same words, numbers and operators throughout (1 or 0)."""
    span: float = 0.75
    """Share of the benchmark text, by weight, that stands in the row in one piece, numbers and all."""
    ngram: float = 0.75
    """Share of the benchmark text, by weight, that stands in the row in pieces of at least `n` words."""
    masked: float = 0.95
    """Share, by weight, in which both texts agree in order when numbers are masked."""
    renamed: float = 0.92
    """Share, by weight, in which both texts agree in order when numbers, names and he/she are masked."""
    template: float = 0.85
    """Share of the words in which both texts agree in order when numbers, names and he/she are masked, and words that
    are replaced alike throughout (`cookies` by `muffins`) count as the same. Only of benchmark texts that are prose."""
    reworded: float = 0.6
    """Weighted overlap of the words and numbers of both texts in any order."""
    embedding: float = 0.9
    """Cosine of the vectors; computed only where a function that makes vectors is given."""
    n: int = 13
    """Words of an n-gram, from 8; of texts shorter than two such n-grams half the words, though at least 5."""
    bits: float = 20.0
    """Information that a benchmark text must have for its form to count (`masked`, `renamed`), in bits: how surprising
    it is to who knows all the other benchmark questions. Evaluating `$\\log_2 8$` has 13, a greatest common divisor
    28, a word problem 100 and more. `NEEDED` tells how many times as much the other methods need."""
    nominate: float = 0.6
    """Share of the rarer words and pairs of words of a benchmark text, by weight, that a row has to have for the two
    to be compared at all; for `template`, where words are replaced, half of that."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, what = (8, "at least 8") if field.name == "n" else (0, "at least 0")
            if not value >= low:
                raise UsageError(f"decontamination: {field.name} is {value}, but has to be {what}")

    def bits_for(self, method: str) -> float:
        """Information that a benchmark text must have for a method to count; for the part of a row, `part`."""
        return NEEDED[method] * self.bits

    def bound(self, method: str) -> float:
        """The least score with which a method removes a row."""
        return float(getattr(self, method))
