"""The benchmark side: texts as numbered words with weights, and how much each has to say."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from upwell.curation.text import NAME, NUMBER, PERSON, Reading
from upwell.records import Problem

Field = Literal["question", "solution"]
Ids = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LONGEST = 2000
"""Words of a benchmark text that are compared; the rest of a longer one is not looked at."""
_BACKOFF = 10
"""Occurrences of a word after which what follows it is believed as much as plain frequencies."""
_PROSE = 0.25
"""Share of numbers, operators and variables up to which a text is prose."""


class Vocabulary:
    """The words of the benchmarks, numbered, with their weights."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        """
        Args:
            readings: The benchmark questions; they also say how common each word is.
        """
        self._present = np.zeros(0, np.bool_)
        self.ids: dict[str, int] = {word: number for number, word in enumerate((NUMBER, NAME, PERSON), 1)}
        seen: Counter[str] = Counter()
        for reading in readings:
            seen.update({*reading.words, *reading.masked, *reading.skeleton})
        self.add(seen)
        # A word of every question still weighs one bit.
        self._weights = np.full(len(self.ids) + 1, math.log2((len(readings) + 1) / 0.5) + 1)
        self._symbols = np.zeros(len(self.ids) + 1, np.bool_)
        for word, count in seen.items():
            self._weights[self.ids[word]] = math.log2((len(readings) + 1) / (count + 0.5)) + 1
            self._symbols[self.ids[word]] = word != "a" and (len(word) == 1 or not word.isalpha())
        for mask in (NUMBER, NAME, PERSON):
            self._weights[self.ids[mask]] = 1.0

    def add(self, words: Iterable[str]) -> None:
        """Number further words; their weight is the heaviest."""
        for word in words:
            self.ids.setdefault(word, len(self.ids) + 1)
        if len(self._present) <= len(self.ids):
            self._present = np.zeros(2 * len(self.ids) + 2, np.bool_)

    def view(self, words: Sequence[str]) -> Ids:
        """Words as numbers; those that no benchmark has as numbers below 0, the same word as the same."""
        get = self.ids.get
        return np.array([get(word) or _strange(word) for word in words], np.int32)

    def weigh(self, view: Ids) -> Floats:
        """The weight of each word, in bits; words that no benchmark question has weigh most."""
        return self._weights[self._known(view)]

    def is_symbol(self, view: Ids) -> npt.NDArray[np.bool_]:
        """Which words are numbers, operators or variables."""
        return self._symbols[self._known(view)]

    def among(self, view: Ids, other: Ids) -> npt.NDArray[np.bool_]:
        """Which words are also anywhere in another text."""
        other = np.maximum(other, 0)
        self._present[other] = True
        found = self._present[view]
        self._present[other] = False
        return found

    def _known(self, view: Ids) -> Ids:
        return np.where((view > 0) & (view < len(self._weights)), view, 0)


@lru_cache(maxsize=1 << 16)
def _strange(word: str) -> int:
    return -1 - (zlib.crc32(word.encode(errors="replace")) >> 1)


@dataclass(slots=True)
class Views:
    """A text as numbers."""

    words: Ids
    masked: Ids
    skeleton: Ids

    @classmethod
    def of(cls, reading: Reading, vocabulary: Vocabulary) -> Views:
        views = (reading.words, reading.masked, reading.skeleton)
        return cls(*(vocabulary.view(view) for view in views))

    def __len__(self) -> int:
        return len(self.words)


class Bag:
    """What a text says in no order: its numbers, its words without names, and pieces of its formulas."""

    def __init__(self, views: Views, vocabulary: Vocabulary) -> None:
        self._views, self._vocabulary = views, vocabulary
        numbers = views.words[views.masked == vocabulary.ids[NUMBER]]
        self._numbers = Counter(numbers.tolist())
        self._weights: dict[int, float] = {}

    def overlap(self, other: Bag, least: float = 0.0) -> float:
        """Plain Dice overlap of the numbers times the weighted one of the rest; 0 where it is less than `least`."""
        every = self._numbers.total() + other._numbers.total()
        same = (self._numbers & other._numbers).total()
        numbers = 2 * same / every if every else 1.0
        if numbers < least:
            return 0.0
        ours, theirs = self.weights, other.weights
        shared = sum(weight for what, weight in theirs.items() if what in ours)
        both = sum(ours.values()) + sum(theirs.values())
        return numbers * 2 * shared / both if both else 0.0

    @property
    def weights(self) -> dict[int, float]:
        """The words and pieces with their weights."""
        if not self._weights:
            views, vocabulary = self._views, self._vocabulary
            words = views.words.astype(np.int64)
            weights, symbols = vocabulary.weigh(views.words), vocabulary.is_symbol(views.words)
            hidden = np.isin(views.skeleton, [vocabulary.ids[mask] for mask in (NUMBER, NAME, PERSON)])
            prose = ~symbols & ~hidden
            # Three words in a row, two of them symbols: a rewording leaves formulas as they are.
            size = np.int64(len(vocabulary.ids) + 1)
            piece = symbols[:-2].astype(np.int8) + symbols[1:-1] + symbols[2:] >= 2
            pieces = (words[:-2] * size + words[1:-1]) * size + words[2:] + size
            heft = weights[:-2] + weights[1:-1] + weights[2:]
            self._weights = dict(zip(words[prose].tolist(), weights[prose].tolist(), strict=True))
            self._weights.update(zip(pieces[piece].tolist(), heft[piece].tolist(), strict=True))
        return self._weights


class Weights(NamedTuple):
    """The weights of a text's words in each view."""

    words: Floats
    masked: Floats
    skeleton: Floats


@dataclass
class Entry:
    """A question or solution of a benchmark, ready to be compared with."""

    key: str
    field: Field
    views: Views
    weights: Weights
    bits: float
    """Information of the form, see `Settings.bits`."""
    bits_with_numbers: float
    """The same, and that of its numbers."""
    is_prose: bool
    """Whether it is words with numbers rather than formulas."""
    bag: Bag | None = None
    """Made at the first comparison."""


def entries(side: Field, texts: Sequence[tuple[Problem, Reading]], vocabulary: Vocabulary) -> list[Entry]:
    """Benchmark texts ready to be compared with."""
    views = [Views.of(reading.cut(LONGEST), vocabulary) for _, reading in texts]
    bits = information([problem.source for problem, _ in texts], [each.skeleton for each in views])
    number = vocabulary.ids[NUMBER]
    made = []
    for (problem, _), view, form in zip(texts, views, bits.tolist(), strict=True):
        numbers = float(vocabulary.weigh(view.words[view.masked == number]).sum())
        symbols = int(vocabulary.is_symbol(view.words).sum())
        weights = Weights(*map(vocabulary.weigh, (view.words, view.masked, view.skeleton)))
        is_prose = symbols <= _PROSE * len(view)
        made.append(Entry(problem.key, side, view, weights, form, form + numbers, is_prose))
    return made


def information(sources: Sequence[str], forms: Sequence[Ids]) -> Floats:
    """How surprising the form of each text is to who has read all the others, in bits, under a model of word pairs.

    The plain sum of word weights will not do: in `Given that $x + y = 7$, evaluate $x^2 - y^2$` each word is common
    and their order is the message; in `What is the greatest common divisor of 6 and 8?` rare words follow each other
    as they always do.

    Args:
        sources: The benchmark of each text. A form counts as often as the one benchmark has it that has it most often:
            copies of a set under other names do not show that its problems are common.
        forms: Skeletons as numbers above 0.
    """
    times: Counter[bytes] = Counter()
    for (_, form), count in Counter(
        (source, form.tobytes()) for source, form in zip(sources, forms, strict=True)
    ).items():
        times[form] = max(times[form], count)
    number = {form: at for at, form in enumerate(times)}
    distinct = [np.frombuffer(form, np.int32) for form in times]
    if not distinct:
        return np.zeros(0)
    owner = np.repeat(np.arange(len(distinct)), [len(form) for form in distinct])
    word = np.concatenate(distinct).astype(np.int64)
    first = np.r_[True, owner[1:] != owner[:-1]]
    before = np.where(first, 0, np.r_[0, word[:-1]])
    weight = np.array(list(times.values()), np.float64)[owner]
    size = int(word.max()) + 1
    pairs, own_pairs = _counts(owner, before * size + word, weight)
    words, own_words = _counts(owner, word, weight)
    befores, own_befores = _counts(owner, before, weight)
    seen = befores - own_befores
    trust = seen / (seen + _BACKOFF)
    alone = (words - own_words + 0.5) / (weight.sum() + size)
    together = np.divide(pairs - own_pairs, seen, out=np.zeros(len(seen)), where=seen > 0)
    surprise = -np.log2(np.maximum(trust * together + (1 - trust) * alone, 0.1 * alone))
    bits = np.bincount(owner, surprise, len(distinct))
    return np.array([bits[number[form.tobytes()]] for form in forms])


def _counts(owner: Longs, what: Longs, weight: Floats) -> tuple[Floats, Floats]:
    """For each place how often all texts together, and how often its own text once, have what is there."""
    _, place = np.unique(what, return_inverse=True)
    _, own = np.unique(owner * (int(place.max()) + 1) + place, return_inverse=True)
    every, once = np.bincount(place, weight), np.bincount(own)
    return np.asarray(every[place], np.float64), np.asarray(once[own], np.float64)
