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
        self._window = slice(0, len(views))
        self.span = slice(0, 0)
        """The words of the row that are the longest piece shared, once scored."""
        self.counting = tuple(
            method
            for method in METHODS
            if method == "exact"
            or (entry.bits_with_numbers if method in _LITERAL else entry.bits) >= settings.bits
        )
        """The methods whose score counts, the benchmark text saying enough for them."""

    def scores(self, by_form: bool, thorough: bool) -> Scores:
        """All scores; without `by_form` only those where numbers stay, as solutions are full of the same forms.

        Without `thorough`, what cannot count or cannot reach its bound is left out: a few microseconds for most pairs,
        where all scores of two questions take half a millisecond.
        """
        ours, theirs, settings = self._views, self.entry.views, self._settings
        scores = {"exact": float(np.array_equal(ours.words, theirs.words))}
        literal = thorough or (
            "span" in self.counting
            and self._shared(ours.words, theirs.words) >= min(settings.span, settings.ngram)
        )
        form = by_form and (
            thorough
            or (
                "masked" in self.counting
                and self._shared(ours.skeleton, theirs.skeleton) >= min(settings.masked, settings.renamed)
            )
        )
        if self._is_part and self.entry.bits < 2 * settings.bits:
            form = False  # many a longer text has a short form somewhere in it
        if self._is_part and (literal or form):
            width = int(len(theirs) * _MARGIN) + _LITTLE
            weights = self._vocabulary.weigh(ours.skeleton)
            self._window = _densest(ours.skeleton, theirs.skeleton, weights, width)
        if literal:
            self._literal(scores)
        if form:
            self._form(scores)
        if by_form and not self._is_part and (thorough or "reworded" in self.counting):
            scores["reworded"] = self._reworded(0.0 if thorough else settings.reworded)
        return scores

    def _shared(self, ours: Ids, theirs: Ids) -> float:
        """Share of theirs that is anywhere in ours: no alignment can find more."""
        weights = self._vocabulary.weigh(theirs)
        return float(weights[self._vocabulary.among(theirs, ours)].sum() / weights.sum())

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

    def _form(self, scores: Scores) -> None:
        skeleton, masked = self._views.skeleton[self._window], self._views.masked[self._window]
        scores["masked"] = self._agreement(masked, self.entry.views.masked)
        scores["renamed"] = self._agreement(skeleton, self.entry.views.skeleton)

    def _reworded(self, least: float) -> float:
        if self.entry.bag is None:
            self.entry.bag = Bag(self.entry.views, self._vocabulary)
        return Bag(self._views, self._vocabulary).overlap(self.entry.bag, least)

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
