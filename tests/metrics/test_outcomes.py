"""The table: draws in any order, faults named, memory in bounds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from upwell.errors import UsageError
from upwell.metrics import Outcomes, Row, Slot


def test_rows_are_sorted_by_problem_and_draw() -> None:
    rows = [
        Row(problem="b", index=1, correct=None, vote="7", tokens=3, truncated=True),
        Row(problem="a", index=0, correct=True, vote="1", tokens=1),
        Row(problem="b", index=0, correct=False, tokens=2),
    ]
    outcomes = Outcomes.collect([Slot(key="a"), Slot(key="none"), Slot(key="b")], rows)
    assert [slot.key for slot in outcomes.slots] == ["a", "b"] and outcomes.unanswered == 1
    assert outcomes.n.tolist() == [1, 2] and outcomes.c.tolist() == [1, 0]
    assert outcomes.correct.tolist() == [1, 0, -1] and outcomes.tokens.tolist() == [1, 2, 3]
    assert outcomes.truncated.tolist() == [False, False, True]
    assert outcomes.classes.counts.tolist() == [1, 1] and outcomes.scores is None


@pytest.mark.parametrize(
    ("slots", "rows", "message"),
    [
        ("aa", [], "same key"),
        ("a", [("b", 0, None)], "problem `b`"),
        ("a", [("a", 3, None), ("a", 3, None)], "`a#3` is there twice"),
        ("a", [("a", 0, 1.0), ("a", 1, None)], "`a#1` has no score"),
        ("a", [("a", 0, None), ("a", 1, 1.0)], "`a#1` has a score"),
    ],
)
def test_faults_are_named(slots: str, rows: list[tuple[str, int, float | None]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Outcomes.collect(
            [Slot(key=key) for key in slots],
            [Row(problem=p, index=i, correct=True, score=score) for p, i, score in rows],
        )


def test_a_response_takes_a_few_dozen_bytes() -> None:
    problems, draws = 500, 200

    def rows() -> Iterator[Row]:
        for i in range(problems):
            for j in range(draws):
                yield Row(problem=str(i), index=j, correct=j % 3 == 0, vote=f"answer {i} {j}", tokens=j)

    tracemalloc.start()
    outcomes = Outcomes.collect([Slot(key=str(i)) for i in range(problems)], rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(outcomes.votes) == problems * draws
    assert peak < 100 * problems * draws


def test_take_keeps_the_rows_of_the_chosen() -> None:
    outcomes = Outcomes.from_counts([3, 1, 2], [2, 0, 1])
    chosen = outcomes.take(np.array([2, 0]))
    assert chosen.n.tolist() == [2, 3] and chosen.c.tolist() == [1, 2]
