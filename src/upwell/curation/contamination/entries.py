"""The benchmark side: texts as numbered words with weights, and how much each has to say."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from upwell.curation.text import NAME, NUMBER, PERSON, Reading
from upwell.records import Problem

Field = Literal["question", "solution"]
Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

LONGEST = 2000
"""Words of a benchmark text that are compared; the rest of a longer one is not looked at."""
_BACKOFF = 10
"""Occurrences of a word after which what follows it is believed as much as plain frequencies."""
UNKNOWN = 0
"""The number of every word that no benchmark has. It equals no word of a benchmark."""


class Vocabulary:
    """The words of the benchmarks, numbered, with their weights."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        """
        Args:
            readings: The benchmark questions; they also say how common each word is.
        """
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

    def view(self, words: Sequence[str]) -> Ids:
        """Words as numbers."""
        get = self.ids.get
        return np.fromiter((get(word, UNKNOWN) for word in words), np.int32, len(words))

    def weigh(self, view: Ids) -> Floats:
        """The weight of each word, in bits; words that no benchmark question has weigh most."""
        return self._weights[self._known(view)]

    def is_symbol(self, view: Ids) -> npt.NDArray[np.bool_]:
        """Which words are numbers, operators or variables."""
        return self._symbols[self._known(view)]

    def _known(self, view: Ids) -> Ids:
        return np.where(view < len(self._weights), view, UNKNOWN)


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
    """What a text says in no order: its words without names, pieces of its formulas, and its numbers."""

    def __init__(self, views: Views, vocabulary: Vocabulary) -> None:
        number, name, person = (vocabulary.ids[mask] for mask in (NUMBER, NAME, PERSON))
        weights, symbols = vocabulary.weigh(views.words), vocabulary.is_symbol(views.words)
        prose = ~symbols & ~np.isin(views.skeleton, (number, name, person))
        # Unknown words are told apart by their places: they are like nothing, each for itself.
        words = np.where(views.words > UNKNOWN, views.words.astype(np.int64), -1 - np.arange(len(views)))
        self.weights: dict[int, float] = dict(
            zip(words[prose].tolist(), weights[prose].tolist(), strict=True)
        )
        # Three words in a row, two of them symbols: a rewording leaves formulas as they are.
        size = np.int64(len(vocabulary.ids) + 1)
        piece = symbols[:-2].astype(np.int8) + symbols[1:-1] + symbols[2:] >= 2
        names = ((views.words[:-2] * size + views.words[1:-1]) * size + views.words[2:] + size)[piece]
        heft = (weights[:-2] + weights[1:-1] + weights[2:])[piece]
        self.weights.update(zip(names.tolist(), heft.tolist(), strict=True))
        self.total = sum(self.weights.values())
        self.numbers = Counter(views.words[views.masked == number].tolist())

    def overlap(self, other: Bag) -> float:
        """Weighted Dice overlap of the words and pieces, times the plain one of the numbers."""
        shared = sum(weight for word, weight in self.weights.items() if word in other.weights)
        both = self.total + other.total
        numbers = self.numbers.total() + other.numbers.total()
        same = sum(count for word, count in (self.numbers & other.numbers).items() if word > UNKNOWN)
        return (2 * shared / both if both else 0.0) * (2 * same / numbers if numbers else 1.0)


@dataclass(slots=True)
class Entry:
    """A question or solution of a benchmark, ready to be compared with."""

    key: str
    field: Field
    views: Views
    bits: float
    """Information of the form, see `Settings.bits`."""
    bits_with_numbers: float
    """The same, and that of its numbers."""
    bag: Bag
    places: dict[int, int] = dataclasses.field(default_factory=dict)
    """Per word of the skeleton the bits of its positions, made at the first comparison."""

    def common(self, skeleton: Ids) -> int:
        """Words that both skeletons have in the same order: Hyyrö's bit-parallel longest common subsequence, one
        addition of big integers per word of the other text."""
        if not self.places:
            for at, word in enumerate(self.views.skeleton.tolist()):
                self.places[word] = self.places.get(word, 0) | 1 << at
        size = len(self.views)
        full = free = (1 << size) - 1
        for word in skeleton.tolist():
            if place := self.places.get(word):
                used = free & place
                free = ((free + used) | (free - used)) & full
        return size - free.bit_count()


def entries(side: Field, texts: Sequence[tuple[Problem, Reading]], vocabulary: Vocabulary) -> list[Entry]:
    """Benchmark texts ready to be compared with."""
    cut = [(problem, reading.cut(LONGEST)) for problem, reading in texts]
    surprise = Surprise((problem.source, tuple(reading.skeleton)) for problem, reading in cut)
    number = vocabulary.ids[NUMBER]
    made = []
    for problem, reading in cut:
        views = Views.of(reading, vocabulary)
        bits = surprise.bits(tuple(reading.skeleton))
        numbers = float(vocabulary.weigh(views.words[views.masked == number]).sum())
        made.append(Entry(problem.key, side, views, bits, bits + numbers, Bag(views, vocabulary)))
    return made


class Surprise:
    """A model of word pairs that says how unexpected a form is to who has read all the others.

    The plain sum of word weights will not do: in `Given that $x + y = 7$, evaluate $x^2 - y^2$` each word is common
    and the order is the message, in `What is the greatest common divisor of 6 and 8?` rare words follow each other
    as everywhere.
    """

    def __init__(self, forms: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """
        Args:
            forms: Benchmark and skeleton of each text. A form counts as often as the one benchmark has it that has it
                most often: the copies of a set under other names are not evidence that its problems are common.
        """
        most: Counter[tuple[str, ...]] = Counter()
        for (_, form), count in Counter(forms).items():
            most[form] = max(most[form], count)
        self._words: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        for form, count in most.items():
            for word in ("", *form):
                self._words[word] += count
            for pair in _pairs(form):
                self._pairs[pair] += count
        self._total = self._words.total() + len(self._words)

    def bits(self, form: tuple[str, ...]) -> float:
        """Information of a form that is one of those given, itself left out, in bits."""
        own, own_pairs = Counter(("", *form)), Counter(_pairs(form))
        bits = 0.0
        for before, word in _pairs(form):
            seen = self._words[before] - own[before]
            trust = seen / (seen + _BACKOFF)
            pair = (self._pairs[before, word] - own_pairs[before, word]) / seen if seen else 0.0
            alone = (self._words[word] - own[word] + 0.5) / self._total
            bits -= math.log2(max(trust * pair + (1 - trust) * alone, 0.1 * alone))
        return bits


def _pairs(form: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return zip(("", *form), form, strict=False)
