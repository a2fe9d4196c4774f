"""How near a text of a row is to one benchmark text, by every method: the second score, which decides."""

from __future__ import annotations

import numpy as np

from upwell.curation.contamination.entries import Bag, Entry, Floats, Ids, Views, Vocabulary
from upwell.curation.contamination.settings import METHODS, Settings

Scores = dict[str, float]

_SLACK, _SPARE = 1.25, 8
"""A text of up to this many times the words of the benchmark text, and so many more, is compared as a whole."""
_MARGIN, _LITTLE = 1.05, 2
"""Of a longer text the nearest part of this many times as many words, and so many more."""
_HOPELESS = 0.7
"""Share of the benchmark's words in order under which the weighted alignment is not worked out."""
_LEAST_N = 5
"""Words of an n-gram in the shortest texts."""
_LITERAL = ("span", "ngram", "reworded", "embedding")
"""Methods for which the numbers of a text count as what it says; for the others its form alone."""


class Comparison:
    """A text of a row beside one benchmark text."""

    def __init__(self, views: Views, entry: Entry, vocabulary: Vocabulary, settings: Settings) -> None:
        self.entry = entry
        self._views, self._vocabulary, self._settings = views, vocabulary, settings
        self._is_part = len(views) > int(len(entry.views) * _SLACK) + _SPARE
        width = int(len(entry.views) * _MARGIN) + _LITTLE
        self._window = slice(0, len(views))
        if self._is_part:
            weights = vocabulary.weigh(views.skeleton)
            self._window = _densest(views.skeleton, entry.views.skeleton, weights, width)
        self.span = slice(0, 0)
        """The words of the row that are the longest piece shared, once scored."""

    @property
    def counting(self) -> tuple[str, ...]:
        """The methods whose score counts, the benchmark text saying enough for them."""
        least = self._settings.bits
        return tuple(
            method
            for method in METHODS
            if method == "exact"
            or (self.entry.bits_with_numbers if method in _LITERAL else self.entry.bits) >= least
        )

    def scores(self, by_form: bool, thorough: bool) -> Scores:
        """All scores; without `by_form` only those where numbers stay, as solutions are full of the same forms.

        Without `thorough`, what cannot count or is far from any bound is left out.
        """
        exact = np.array_equal(self._views.words, self.entry.views.words)
        scores = {"exact": float(exact)}
        if len(self.counting) > 1 or thorough:
            self._literal(scores)
            if by_form:
                self._by_form(scores, thorough)
        return scores

    def _literal(self, scores: Scores) -> None:
        ours, theirs = self._views.words[self._window], self.entry.views.words
        lengths, ends = _runs(theirs, ours)
        weights = self._vocabulary.weigh(theirs)
        total = self._total(ours, weights)
        longest = int(np.argmax(lengths))
        size = int(lengths[longest])
        stop = self._window.start + int(ends[longest]) + 1
        self.span = slice(stop - size, stop)
        scores["span"] = float(weights[longest - size + 1 : longest + 1].sum()) / total
        n = min(self._settings.n, max(len(theirs) // 2, _LEAST_N))
        edges = np.zeros(len(theirs) + 1, np.int64)
        for last in np.flatnonzero(lengths >= n):
            edges[last - lengths[last] + 1] += 1
            edges[last + 1] -= 1
        scores["ngram"] = float(weights[np.cumsum(edges[:-1]) > 0].sum()) / total

    def _by_form(self, scores: Scores, thorough: bool) -> None:
        if not self._is_part:
            scores["reworded"] = Bag(self._views, self._vocabulary).overlap(self.entry.bag)
        elif self.entry.bits < 2 * self._settings.bits:
            return  # many a longer text has a short form somewhere in it
        skeleton = self._views.skeleton[self._window]
        if thorough or self.entry.common(skeleton) >= _HOPELESS * len(self.entry.views):
            masked = self._views.masked[self._window]
            scores["masked"] = self._agreement(masked, self.entry.views.masked)
            scores["renamed"] = self._agreement(skeleton, self.entry.views.skeleton)

    def _agreement(self, ours: Ids, theirs: Ids) -> float:
        """Share of the text that both have in the same order."""
        weights = self._vocabulary.weigh(theirs)
        return _heaviest(theirs, ours, weights) / self._total(ours, weights)

    def _total(self, ours: Ids, weights: Floats) -> float:
        """What a score is a share of: the weight of the heavier text; of a part, that of the benchmark's."""
        return max(float(weights.sum()), 0.0 if self._is_part else float(self._vocabulary.weigh(ours).sum()))


def _densest(ours: Ids, theirs: Ids, weights: Floats, width: int) -> slice:
    """Where in a long text the word pairs of another are densest: `width` words of it."""
    size = np.int64(max(int(ours.max()), int(theirs.max())) + 1)
    pairs = ours[:-1] * size + ours[1:]
    hits = np.isin(pairs, theirs[:-1] * size + theirs[1:]) * (weights[:-1] + weights[1:])
    sums = np.r_[0.0, np.cumsum(hits)]
    begin = int(np.argmax(sums[width - 1 :] - sums[: len(sums) - width + 1]))
    return slice(begin, begin + width)


def _runs(theirs: Ids, ours: Ids) -> tuple[Ids, Ids]:
    """Per word of theirs the length of the longest common piece that ends there, and where in ours it ends."""
    lengths, ends = np.zeros(len(theirs), np.int32), np.zeros(len(theirs), np.int32)
    row = np.zeros(len(ours) + 1, np.int32)
    for at, word in enumerate(theirs.tolist()):
        row[1:] = (row[:-1] + 1) * (ours == word)
        ends[at] = row[1:].argmax()
        lengths[at] = row[1 + ends[at]]
    return lengths, ends


def _heaviest(theirs: Ids, ours: Ids, weights: Floats) -> float:
    """Weight of the heaviest common subsequence."""
    row = np.zeros(len(ours) + 1)
    for word, weight in zip(theirs.tolist(), weights.tolist(), strict=True):
        np.maximum(row[1:], row[:-1] + weight * (ours == word), out=row[1:])
        np.maximum.accumulate(row, out=row)
    return float(row[-1])
