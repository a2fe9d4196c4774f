"""The guess baseline against counting by hand, and what happens where there is nothing to count."""

from __future__ import annotations

import numpy as np
import pytest

from upwell.metrics import Outcomes, Row, Slot, adjusted_pass_at_k, chance_pass_at_k, summarise
from upwell.metrics.chance import Chance


def random_table(seed: int) -> tuple[Outcomes, list[Slot], list[Row]]:
    rng = np.random.default_rng(seed)
    slots, rows = [], []
    for i in range(int(rng.integers(1, 7))):
        gold, kind = [None, "1", "2", "3"][rng.integers(4)], "ab"[rng.integers(2)]
        slots.append(Slot(key=str(i), gold=gold, kind=kind))
        for j in range(int(rng.integers(1, 6))):
            vote = [None, "1", "2", "3", "4"][rng.integers(5)]
            # "4" is what the grader tolerates for even problems, though it is not the gold's key.
            right = vote is not None and (vote == gold or (vote == "4" and i % 2 == 0))
            rows.append(Row(problem=str(i), index=j, correct=right, vote=vote))
    return Outcomes.collect(slots, rows), slots, rows


@pytest.mark.parametrize("seed", range(60))
def test_joining_equals_comparing_all_pairs(seed: int) -> None:
    outcomes, slots, rows = random_table(seed)
    q = Chance.of(outcomes).q
    kinds = {slot.key: slot.kind for slot in slots}
    voted = any(row.vote is not None for row in rows)
    for i, slot in enumerate(slots):
        accepted = {slot.gold} - {None} | {
            row.vote for row in rows if row.problem == slot.key and row.correct
        }
        foreign = [row.vote for row in rows if row.problem != slot.key and kinds[row.problem] == slot.kind]
        if foreign and accepted and voted:
            assert q[i] == pytest.approx(np.mean([vote in accepted for vote in foreign]))
        else:
            assert np.isnan(q[i])


def test_chance_rises_with_k_to_one() -> None:
    assert chance_pass_at_k(np.array([0.0, 0.1, 1.0]), 2) == pytest.approx([0.0, 0.19, 1.0])


def test_adjusted() -> None:
    assert adjusted_pass_at_k(0.6, 0.2) == pytest.approx(0.5)
    assert adjusted_pass_at_k(0.1, 0.2) == 0
    assert adjusted_pass_at_k(1.0, 1.0) is None


def test_a_kind_with_one_problem_is_left_out_and_said() -> None:
    slots = [
        Slot(key="a", gold="1", kind="x"),
        Slot(key="b", gold="1", kind="x"),
        Slot(key="c", gold="1", kind="y"),
    ]
    rows = [Row(problem=p, index=0, correct=p == "a", vote="1" if p == "a" else "2") for p in "abc"]
    metrics = {m.name: m for m in summarise(Outcomes.collect(slots, rows))}
    assert metrics["chance_pass@k"].value == pytest.approx(
        0.5
    )  # b would be right with a's answer, not a with b's
    assert metrics["chance_pass@k"].problems == 2
    assert "left out" in (metrics["chance_pass@k"].note or "")


def test_adjusted_is_null_where_chance_is_one() -> None:
    slots = [Slot(key=p, gold="1") for p in "ab"]
    rows = [Row(problem=p, index=0, correct=True, vote="1") for p in "ab"]
    metrics = {m.name: m for m in summarise(Outcomes.collect(slots, rows))}
    assert metrics["chance_pass@k"].value == 1
    assert metrics["adjusted_pass@k"].value is None and metrics["adjusted_pass@k"].note


def test_verdicts_without_answers_have_no_chance_and_no_majority() -> None:
    metrics = [m for m in summarise(Outcomes.from_counts([4, 4], [1, 3])) if m.k == 4]
    values = {m.name: m.value for m in metrics}
    assert values["pass@k"] == 1
    assert values["maj@k"] is values["maj@k_first"] is values["chance_pass@k"] is None
    assert all(m.note for m in metrics if m.value is None)
