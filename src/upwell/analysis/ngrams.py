"""Problems that share a run of words with what a model was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from upwell.analysis.texts import load_set
from upwell.records import Example, Problem
from upwell.runs import Run

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Its words and numbers, in lower case."""
    return _WORD.findall(text.lower())


def grams(text: str, length: int) -> Iterator[int]:
    """Hashes of its runs of `length` words; of a shorter text, of the whole."""
    found = words(text)
    for at in range(max(len(found) - length + 1, 1 if found else 0)):
        yield hash(tuple(found[at : at + length]))


def trained_on(source: str) -> list[str]:
    """The texts of a run of `curate` (prompt and completion), or of a problem set or file (question and solution).

    Raises:
        UsageError: there is nothing of the kind.
    """
    if Path(source).is_dir():
        rows = Run.read(source).rows("examples", Example)
        return [f"{row.prompt}\n{row.completion}" for row in rows]
    return [f"{one.question}\n{one.solution or ''}" for one in load_set(source).problems]


def shared(several: Iterable[Problem], seen: set[int], length: int) -> list[bool]:
    """For each problem, whether its question has a run of words among those seen."""
    return [any(gram in seen for gram in grams(problem.question, length)) for problem in several]
