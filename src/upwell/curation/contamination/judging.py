"""What benchmark text a row is nearest to, and whether it is too near."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from upwell.curation.contamination.entries import Entry, Field, Views, Vocabulary, entries
from upwell.curation.contamination.index import Index
from upwell.curation.contamination.scoring import Comparison, Scores
from upwell.curation.contamination.settings import METHODS, Settings
from upwell.curation.text import Reading, read
from upwell.records import Problem

Item = tuple[str, str, str]
"""Key, question and solution of a row; either text may be empty."""

CANDIDATES = 8
"""Benchmark texts that one text of a row is compared with."""
FAINT = 0.02
"""What stands for `Settings.nominate` where the nearest pair is asked for however far it is."""
_TEMPLATE = 0.5
"""Share of `Settings.nominate` that is enough for `template`."""
_SHOWN = 60
"""Words of a shared piece that a match carries."""


@dataclass(frozen=True, slots=True)
class Match:
    """A row and the benchmark text nearest to it."""

    key: str
    """Of the row."""
    method: str | None = None
    """The surest method that calls the row contaminated; None where none does."""
    against: str = ""
    """Key of the benchmark problem; empty where the row shares next to nothing with any."""
    field: Field = "question"
    """Which text of the row it is."""
    against_field: Field = "question"
    """Which text of the benchmark problem it is near to."""
    scores: Scores = dataclasses.field(default_factory=dict)
    """By method, 0 to 1; methods that do not apply are missing."""
    counting: tuple[str, ...] = ()
    """The methods whose score counts, the benchmark text saying enough for them (`Settings.bits`)."""
    span: str = ""
    """The longest piece that both share, as normalised words."""

    @property
    def score(self) -> float:
        """The score of `method`; where there is none, the best of all."""
        if self.method is not None:
            return self.scores[self.method]
        return max(self.scores.values(), default=0.0)

    def removed_at(self, method: str, bound: float) -> bool:
        """Whether `method` alone, with this bound, calls the row contaminated."""
        return method in self.counting and self.scores.get(method, 0.0) >= bound

    def rank(self, settings: Settings) -> tuple[int, float]:
        """Sorts contaminated before clean, surer methods first, then by how near a score comes to its bound."""
        if self.method is not None:
            return -METHODS.index(self.method), self.score
        ratios = [score / max(settings.bound(method), 1e-9) for method, score in self.scores.items()]
        return -len(METHODS), max(ratios, default=0.0)


class Judge:
    """Benchmark texts made ready, and the comparison of rows with them. Plain data: workers get a copy."""

    def __init__(self, problems: Sequence[Problem], settings: Settings) -> None:
        questions = [(each, read(each.question)) for each in problems]
        solutions = [(each, read(each.solution)) for each in problems if each.solution]
        self._settings = settings
        self._vocabulary = Vocabulary([reading for _, reading in questions])
        for _, reading in solutions:
            self._vocabulary.add(reading.words)
        self._shelves = {
            "question": _Shelf("question", questions, self._vocabulary, settings),
            "solution": _Shelf("solution", solutions, self._vocabulary, settings),
        }

    @property
    def bits(self) -> dict[str, float]:
        """Information of the form of each question, by key."""
        return {entry.key: entry.bits for entry in self._shelves["question"].entries}

    def matches(
        self, rows: Sequence[Item], neighbours: Sequence[tuple[int, float]] = (), thorough: bool = False
    ) -> list[Match]:
        """The nearest benchmark text of each row.

        Args:
            rows: A few hundred.
            neighbours: Per row the number of the nearest benchmark question by vectors, and its cosine.
            thorough: Score what is far as well; without, most rows have no match at all.
        """
        questions = [read(question) for _, question, _ in rows]
        solutions = [read(solution) for _, _, solution in rows]
        found: list[list[Match]] = [[] for _ in rows]
        ways: tuple[tuple[Field, Field, list[Reading]], ...] = (
            ("question", "question", questions),
            ("solution", "solution", solutions),
            ("solution", "question", solutions),
        )
        for side, against, texts in ways:
            for row, match in self._compared(rows, side, against, texts, neighbours, thorough):
                found[row].append(match)
        return [
            max(matches, key=lambda match: match.rank(self._settings)) if matches else Match(key)
            for (key, _, _), matches in zip(rows, found, strict=True)
        ]

    def _compared(
        self,
        rows: Sequence[Item],
        side: Field,
        against: Field,
        readings: Sequence[Reading],
        neighbours: Sequence[tuple[int, float]],
        thorough: bool,
    ) -> Iterator[tuple[int, Match]]:
        """The comparisons of one text of each row with the benchmark texts that it might be."""
        shelf = self._shelves[against]
        texts = [Views.of(reading, self._vocabulary) for reading in readings]
        by_form, enough = side == "question", self._settings.nominate
        least = _TEMPLATE * enough if by_form else enough
        nominated = shelf.index.nominate(
            [views.skeleton for views in texts], FAINT if thorough else least, CANDIDATES
        )
        for row, views in enumerate(texts):
            numbers = nominated[row]
            for same, view in ((shelf.words, views.words), (shelf.skeletons, views.skeleton)):
                if (number := same.get(view.tobytes())) is not None:
                    numbers[number] = 1.0
            near, cosine = neighbours[row] if neighbours and side == "question" else (-1, 0.0)
            if near >= 0 and (thorough or cosine >= self._settings.embedding):
                numbers.setdefault(near, 0.0)
            for number, share in numbers.items():
                close = share >= enough or (share >= least and shelf.templates[number]) or number == near
                if not (thorough or close):
                    continue
                comparison = Comparison(views, shelf.entries[number], self._vocabulary, self._settings)
                # What is only shown decides nothing: the same rows go whether or not somebody looks.
                deciding = comparison.scores(by_form, share) if close else {}
                if number == near:
                    deciding["embedding"] = cosine
                method = self._method(comparison, deciding)
                if method is not None or thorough:
                    scores = deciding | comparison.all_scores(by_form) if thorough else deciding
                    yield row, _match(rows[row][0], side, comparison, scores, method, readings[row])

    def _method(self, comparison: Comparison, scores: Scores) -> str | None:
        """The surest method that calls the row contaminated."""
        reached = (method for method in METHODS if scores.get(method, -1.0) >= self._settings.bound(method))
        return next((method for method in reached if method in comparison.counting), None)


class _Shelf:
    """The questions or the solutions of the benchmarks."""

    def __init__(
        self,
        side: Field,
        texts: Sequence[tuple[Problem, Reading]],
        vocabulary: Vocabulary,
        settings: Settings,
    ) -> None:
        self.entries: list[Entry] = entries(side, texts, vocabulary)
        self.index = Index(self.entries, vocabulary)
        self.templates = [Comparison.can_be_template(entry, settings) for entry in self.entries]
        # What is the same throughout is compared even if nothing in it is rare enough for the index.
        self.words: dict[bytes, int] = {}
        self.skeletons: dict[bytes, int] = {}
        for number, entry in enumerate(self.entries):
            self.words.setdefault(entry.views.words.tobytes(), number)
            self.skeletons.setdefault(entry.views.skeleton.tobytes(), number)


def _match(
    key: str, side: Field, comparison: Comparison, scores: Scores, method: str | None, reading: Reading
) -> Match:
    words = reading.words[comparison.span][:_SHOWN]
    entry = comparison.entry
    return Match(key, method, entry.key, side, entry.field, scores, comparison.counting, " ".join(words))
