"""maj@k against every k-subset, with ties, silent draws and several right answers; and its Monte Carlo twin."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.metrics import Outcomes, Row, Slot, maj_at_k, maj_at_k_first, pass_at_k

Problem = list[tuple[str | None, bool]]


def table(problems: list[Problem]) -> Outcomes:
    rows = (
        Row(problem=str(i), index=j, correct=right, vote=vote)
        for i, draws in enumerate(problems)
        for j, (vote, right) in enumerate(draws)
    )
    return Outcomes.collect((Slot(key=str(i)) for i in range(len(problems))), rows)


def every_subset(draws: Problem, k: int) -> float:
    right = dict(draws)
    total, count = 0.0, 0
    for chosen in itertools.combinations(draws, k):
        count += 1
        votes = Counter(vote for vote, _ in chosen if vote is not None)
        if votes:
            winners = [vote for vote, times in votes.items() if times == max(votes.values())]
            total += sum(right[vote] for vote in winners) / len(winners)
    return total / count


@st.composite
def problem(draw: st.DrawFn) -> Problem:
    right = draw(st.lists(st.booleans(), min_size=5, max_size=5))
    votes = draw(st.lists(st.sampled_from([None, 0, 1, 2, 3, 4]), min_size=1, max_size=9))
    return [(None, False) if vote is None else (str(vote), right[vote]) for vote in votes]


@settings(deadline=None, max_examples=150)
@given(st.lists(problem(), min_size=1, max_size=3))
def test_every_subset(problems: list[Problem]) -> None:
    outcomes = table(problems)
    for k in range(1, int(outcomes.n.min()) + 1):
        got = maj_at_k(outcomes.n, outcomes.classes, k)
        assert got.error == 0
        assert got.values == pytest.approx([every_subset(draws, k) for draws in problems], abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(problem(), st.randoms())
def test_order_of_draws_does_not_matter(draws: Problem, random: object) -> None:
    shuffled = list(draws)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = table([draws]), table([shuffled])
    for k in range(1, len(draws) + 1):
        assert maj_at_k(one.n, one.classes, k).values == maj_at_k(two.n, two.classes, k).values


def large(seed: int, n: int, problems: int) -> Outcomes:
    rng = np.random.default_rng(seed)
    out: list[Problem] = []
    for _ in range(problems):
        shares = rng.dirichlet(np.full(30, 0.3))
        votes = rng.choice(30, size=n, p=shares)
        out.append([(None, False) if vote == 29 else (str(vote), bool(vote == 0)) for vote in votes])
    return table(out)


def test_exact_and_simulated_agree() -> None:
    outcomes = large(1, 200, 20)
    for k in (3, 20, 100):
        exact = maj_at_k(outcomes.n, outcomes.classes, k)
        simulated = maj_at_k(outcomes.n, outcomes.classes, k, exact_work=0)
        assert exact.error == 0 < simulated.error
        wide = 5 * simulated.errors + 1e-9
        assert np.all(np.abs(exact.values - simulated.values) < wide)


def test_stable_for_ten_thousand_draws() -> None:
    outcomes = large(2, 10_000, 2)
    exact = maj_at_k(outcomes.n, outcomes.classes, 5_000)
    simulated = maj_at_k(outcomes.n, outcomes.classes, 5_000, exact_work=0)
    assert np.all(np.abs(exact.values - simulated.values) < 5 * simulated.errors + 1e-9)


def test_two_answers_follow_the_hypergeometric() -> None:
    """Seven right, five wrong, k = 5: right wins with three or more; no silent draws, no ties."""
    outcomes = table([[("a", True)] * 7 + [("b", False)] * 5])
    assert maj_at_k(outcomes.n, outcomes.classes, 5).values[0] == pytest.approx((35 * 10 + 35 * 5 + 21) / 792)


def test_nobody_votes_is_wrong_and_only_the_right_vote_is_pass_at_k() -> None:
    silent = table([[(None, False)] * 4])
    assert maj_at_k(silent.n, silent.classes, 3).values[0] == 0
    lone = table([[("a", True)] * 2 + [(None, False)] * 6])
    assert maj_at_k(lone.n, lone.classes, 3).values[0] == pytest.approx(float(pass_at_k(8, 2, 3)))


def test_first_draws_break_ties_by_the_first_seen() -> None:
    draws: Problem = [("b", False), ("a", True), ("a", True), ("b", False), (None, False), ("a", True)]
    outcomes = table([draws, [(None, False)] * 6])
    assert [maj_at_k_first(outcomes, k)[0] for k in range(1, 7)] == [0, 0, 1, 0, 0, 1]
    assert not any(maj_at_k_first(outcomes, k)[1] for k in range(1, 7))


def test_problems_with_different_n_are_done_together() -> None:
    rng = np.random.default_rng(3)
    problems: list[Problem] = [
        [(str(vote), bool(vote == 0)) for vote in rng.integers(0, 4, size)] for size in (6, 7, 8, 9, 12)
    ]
    outcomes = table(problems)
    got = maj_at_k(outcomes.n, outcomes.classes, 4).values
    assert got == pytest.approx([every_subset(draws, 4) for draws in problems], abs=1e-9)


def test_k_out_of_range_is_refused() -> None:
    outcomes = table([[("a", True)] * 3])
    with pytest.raises(ValueError, match="smallest n, 3"):
        maj_at_k(outcomes.n, outcomes.classes, 4)
