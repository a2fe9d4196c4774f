"""The benchmarks that training rows must not contain, and the check of many rows against them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from upwell.curation.contamination.judging import Item, Judge, Match
from upwell.curation.contamination.settings import Settings
from upwell.curation.contamination.streaming import chunked, in_order
from upwell.curation.text import read
from upwell.problems import ProblemSet
from upwell.records import Problem

Vectors = npt.NDArray[np.floating[Any]]
Embed = Callable[[Sequence[str]], Vectors]
"""Texts to vectors, a row each."""


class Reference:
    """Benchmark questions and solutions, made ready once."""

    def __init__(self, problems: Sequence[Problem], settings: Settings, embed: Embed | None = None) -> None:
        self.settings = settings
        self._judge = Judge(problems, settings)
        self._bits = self._judge.bits
        self._problems = {problem.key: problem for problem in problems}
        self._embed = embed
        self._vectors = None if embed is None else _unit(embed([problem.question for problem in problems]))

    @classmethod
    def of(
        cls,
        benchmarks: Iterable[ProblemSet | Problem],
        settings: Settings | None = None,
        embed: Embed | None = None,
    ) -> Reference:
        """The benchmarks as a reference: about 2 s for 18,000 problems.

        Args:
            benchmarks: Problem sets, single problems, or both. A question without a word in it is left out.
            settings: Bounds; the defaults are the measured ones.
            embed: Makes the vectors of the `embedding` method, which is off without it. It is called in this process
                only, with a few hundred questions at a time and once with all benchmark questions.
        """
        parts = ((part,) if isinstance(part, Problem) else part.problems for part in benchmarks)
        problems = [problem for part in parts for problem in part if read(problem.question).words]
        return cls(problems, settings or Settings(), embed)

    def __len__(self) -> int:
        """Benchmark problems."""
        return len(self._problems)

    def text(self, match: Match) -> str:
        """The benchmark text that a match is near to; empty where there is none."""
        problem = self._problems.get(match.against)
        if problem is None:
            return ""
        return problem.question if match.against_field == "question" else problem.solution or ""

    def information(self, key: str) -> float:
        """What the form of a benchmark question says, in bits: see `Settings.bits`.

        Raises:
            KeyError: No such problem.
        """
        return self._bits[key]

    def check(self, items: Iterable[Item], *, workers: int = 1) -> Iterator[Match]:
        """The contaminated rows among `items`, in their order, each with the benchmark text it is charged with.

        Args:
            items: Rows; read lazily, a few thousand ahead.
            workers: Processes; with 1 the work is done in this one.

        Raises:
            UpwellError: A worker died.
        """
        return self._stream(items, workers, False)

    def nearest(self, items: Iterable[Item], *, workers: int = 1) -> Iterator[Match]:
        """For every row, in order, the nearest benchmark text with all its scores, however far it is.

        It calls the same rows contaminated as `check`, and takes several times as long.
        """
        return self._stream(items, workers, True)

    def _stream(self, items: Iterable[Item], workers: int, thorough: bool) -> Iterator[Match]:
        tasks = ((rows, self._neighbours(rows), thorough) for rows in chunked(items))
        for matches in in_order(_matches, self._judge, tasks, workers):
            yield from matches

    def _neighbours(self, rows: Sequence[Item]) -> list[tuple[int, float]]:
        """By vectors, the nearest benchmark question of each row and its cosine; nothing where that is off."""
        if self._embed is None or self._vectors is None:
            return []
        cosines = _unit(self._embed([question for _, question, _ in rows])) @ self._vectors.T
        best = cosines.argmax(axis=1)
        return [(int(number), float(row[number])) for number, row in zip(best, cosines, strict=True)]


def _matches(judge: Judge, task: tuple[list[Item], list[tuple[int, float]], bool]) -> list[Match]:
    rows, neighbours, thorough = task
    matches = judge.matches(rows, neighbours, thorough)
    return matches if thorough else [match for match in matches if match.method is not None]


def _unit(vectors: Vectors) -> Vectors:
    """Vectors of length 1; those without a direction stay 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))
