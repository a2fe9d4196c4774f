"""How near a text of a row is to one benchmark text, by every method: the second score, which decides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from upwell.curation.contamination.alignment import agreeing, common, densest, heaviest, runs
from upwell.curation.contamination.entries import Bag, Entry, Floats, Ids, Views, Vocabulary
from upwell.curation.contamination.settings import METHODS, Settings

Scores = dict[str, float]

_SLACK, _SPARE = 1.25, 8
"""A row of up to this many times the words of the benchmark text, and so many more, is compared as a whole."""
_MARGIN, _LITTLE = 1.05, 2
"""A part of a row has this many times the words of the benchmark text, and so many more."""
_HOPEFUL = 0.6
"""Share of what `template` asks for that has to be there before anything counts as replaced."""
_NEAR = 0.75
"""Share of the words in order under which `masked` and `renamed` are not worked out."""
_LEAST_N = 5
"""Words of an n-gram in the shortest texts."""
_LITERAL = ("span", "ngram", "reworded", "embedding")
"""Methods for which the numbers of a text count as what it says; for the others its form alone."""


class Comparison:
    """A text of a row beside one benchmark text."""

    def __init__(self, views: Views, entry: Entry, vocabulary: Vocabulary, settings: Settings) -> None:
        self.entry = entry
        self._views, self._vocabulary, self._settings = views, vocabulary, settings
        self._same_length = len(views) <= int(len(entry.views) * _SLACK) + _SPARE
        self.span = slice(0, 0)
        """The words of the row that are the longest piece shared, once scored."""

    @cached_property
    def counting(self) -> tuple[str, ...]:
        """The methods whose score counts, the benchmark text saying enough for them."""
        return tuple(method for method in METHODS if self._counts(method))

    def _counts(self, method: str) -> bool:
        bits = self.entry.bits_with_numbers if method in _LITERAL else self.entry.bits
        return bits >= self._settings.bits_for(method)

    def scores(self, by_form: bool, nominated: float) -> Scores:
        """The scores of what counts and can reach its bound: a few microseconds for most pairs, where all scores of
        two questions take half a millisecond.

        Args:
            by_form: Whether scores with masked numbers are wanted; solutions are full of the same forms.
            nominated: Share by which the index nominated the pair.
        """
        ours, theirs, settings = self._views, self.entry.views, self._settings
        scores = {"exact": float(np.array_equal(ours.words, theirs.words))}
        if nominated >= settings.nominate:
            if self._counts("span"):
                least = min(settings.span, settings.ngram)
                if self._shared(ours.words, theirs.words, self.entry.weights.words) >= least:
                    self._literal(scores)
            if by_form and self._counts("masked") and self._is_near():
                self._forms(scores)
            if by_form and self._counts("reworded") and self._same_length:
                scores["reworded"] = self._reworded(settings.reworded)
        if by_form and self.can_be_template(self.entry, settings):
            scores["template"] = self._template(settings.template)
        return scores

    @staticmethod
    def can_be_template(entry: Entry, settings: Settings) -> bool:
        """Whether `template` counts for a benchmark text."""
        return entry.is_prose and entry.bits >= settings.bits_for("template")

    def _is_near(self) -> bool:
        """Whether enough words are in the same order for the weighted alignments to be worked out."""
        theirs = self.entry.views.skeleton
        windows = [window for window, _ in self._ways(self.entry.bits)]
        return any(common(theirs, self._views.skeleton[window]) >= _NEAR * len(theirs) for window in windows)

    def all_scores(self, by_form: bool) -> Scores:
        """All scores, whether they count or not."""
        scores = {"exact": float(np.array_equal(self._views.words, self.entry.views.words))}
        self._literal(scores)
        if by_form:
            self._forms(scores)
            scores["template"] = self._template(0.0) if self.entry.is_prose else 0.0
            scores["reworded"] = self._reworded(0.0) if self._same_length else 0.0
        return scores

    def _shared(self, ours: Ids, theirs: Ids, weights: Floats) -> float:
        """Share of theirs that is anywhere in ours: no alignment can find more."""
        return float(weights[self._vocabulary.among(theirs, ours)].sum() / weights.sum())

    def _forms(self, scores: Scores) -> None:
        ours, theirs, weights = self._views, self.entry.views, self.entry.weights
        scores["masked"] = self._agreement(ours.masked, theirs.masked, weights.masked)
        scores["renamed"] = self._agreement(ours.skeleton, theirs.skeleton, weights.skeleton)

    @property
    def _width(self) -> int:
        return int(len(self.entry.views) * _MARGIN) + _LITTLE

    @cached_property
    def _part(self) -> slice:
        """Where in the row the word pairs of the benchmark text are densest."""
        ours = self._views.skeleton
        return densest(ours, self.entry.views.skeleton, self._vocabulary.weigh(ours), self._width)

    def _ways(self, bits: float) -> Iterator[tuple[slice, bool]]:
        """Whole row beside whole text, and, for a text that says enough, the part of the row that is nearest to it.

        The former is a share of the heavier text, the latter (True) of the benchmark's: many a longer text has a
        short one somewhere in it.
        """
        if self._same_length:
            yield slice(0, len(self._views)), False
        if len(self._views) > self._width and bits >= self._settings.bits_for("part"):
            yield self._part, True

    def _total(self, ours: Ids, weights: Floats, is_part: bool) -> float:
        theirs = float(weights.sum())
        return theirs if is_part else max(theirs, float(self._vocabulary.weigh(ours).sum()))

    def _literal(self, scores: Scores) -> None:
        theirs, weights = self.entry.views.words, self.entry.weights.words
        n = min(self._settings.n, max(len(theirs) // 2, _LEAST_N))
        scores.update(span=0.0, ngram=0.0)
        # A literal copy in a much longer row is no coincidence, be it short.
        bits = self.entry.bits_with_numbers if self._same_length else math.inf
        for window, is_part in self._ways(bits):
            ours = self._views.words[window]
            lengths, ends = runs(theirs, ours)
            total = self._total(ours, weights, is_part)
            last = int(np.argmax(lengths))
            size = int(lengths[last])
            if size > self.span.stop - self.span.start:
                stop = window.start + int(ends[last]) + 1
                self.span = slice(stop - size, stop)
            edges = np.zeros(len(theirs) + 1, np.int64)
            for at in np.flatnonzero(lengths >= n):
                edges[at - lengths[at] + 1] += 1
                edges[at + 1] -= 1
            piece = float(weights[last - size + 1 : last + 1].sum()) / total
            pieces = float(weights[np.cumsum(edges[:-1]) > 0].sum()) / total
            scores["span"], scores["ngram"] = max(scores["span"], piece), max(scores["ngram"], pieces)

    def _agreement(self, ours: Ids, theirs: Ids, weights: Floats) -> float:
        """Share of the text that both have in the same order."""
        return max(
            (
                heaviest(theirs, ours[window], weights) / self._total(ours[window], weights, is_part)
                for window, is_part in self._ways(self.entry.bits)
            ),
            default=0.0,
        )

    def _template(self, least: float) -> float:
        """Share of the text that is as in the other, word by word, or replaced alike throughout."""
        theirs, best = self.entry.views.skeleton, 0.0
        for window, is_part in self._ways(self.entry.bits):
            ours = self._views.skeleton[window]
            total = len(theirs) if is_part else max(len(theirs), len(ours))
            if common(theirs, ours) >= _HOPEFUL * least * total:
                best = max(best, agreeing(theirs, ours) / total)
        return best

    def _reworded(self, least: float) -> float:
        if self.entry.bag is None:
            self.entry.bag = Bag(self.entry.views, self._vocabulary)
        return Bag(self._views, self._vocabulary).overlap(self.entry.bag, least)
