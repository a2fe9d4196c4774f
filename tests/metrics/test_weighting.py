"""weighted_maj@k against every k-subset, and its Monte Carlo twin against the exact vote of equal weights."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.errors import UsageError
from upwell.metrics import Outcomes, Row, Slot, maj_at_k, summarise, weighted_maj_at_k, weighting

Draw = tuple[str | None, bool, float]


def table(problems: list[list[Draw]]) -> Outcomes:
    rows = (
        Row(problem=str(i), index=j, correct=right, vote=vote, score=score)
        for i, draws in enumerate(problems)
        for j, (vote, right, score) in enumerate(draws)
    )
    return Outcomes.collect((Slot(key=str(i)) for i in range(len(problems))), rows)


def every_subset(draws: list[Draw], k: int) -> float:
    right = {vote: good for vote, good, _ in draws}
    total, count = 0.0, 0
    for chosen in itertools.combinations(draws, k):
        count += 1
        sums: dict[str, float] = defaultdict(float)
        for vote, _, weight in chosen:
            if vote is not None:
                sums[vote] += weight
        winners = [vote for vote in sums if sums[vote] == max(sums.values())]
        total += sum(right[vote] for vote in winners) / max(len(winners), 1)
    return total / count


@st.composite
def problem(draw: st.DrawFn) -> list[Draw]:
    right = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    # Weights of eighths are added without rounding, so that ties are ties.
    one = st.tuples(st.sampled_from([None, 0, 1, 2, 3]), st.integers(0, 8))
    draws = draw(st.lists(one, min_size=1, max_size=8))
    return [(None, False, w / 8) if v is None else (str(v), right[v], w / 8) for v, w in draws]


@settings(deadline=None, max_examples=120)
@given(st.lists(problem(), min_size=1, max_size=4))
def test_every_subset(problems: list[list[Draw]]) -> None:
    outcomes = table(problems)
    ks = range(1, int(outcomes.n.min()) + 1)
    got = weighted_maj_at_k(outcomes, ks)
    for k in ks:
        assert got[k].error == 0
        assert got[k].values == pytest.approx([every_subset(draws, k) for draws in problems], abs=1e-9)


def large(seed: int, problems: int, n: int, weigh: bool) -> Outcomes:
    rng = np.random.default_rng(seed)
    out: list[list[Draw]] = []
    for _ in range(problems):
        votes = rng.choice(12, size=n, p=rng.dirichlet(np.full(12, 0.4)))
        weights = rng.random(n) if weigh else np.ones(n)
        out.append(
            [
                (None, False, w) if v == 11 else (str(v), bool(v == 0), w)
                for v, w in zip(votes, weights, strict=True)
            ]
        )
    return table(out)


def test_equal_weights_are_a_plain_vote() -> None:
    outcomes = large(1, 40, 60, weigh=False)
    got = weighted_maj_at_k(outcomes, [1, 2, 7, 30, 60])
    for k, one in got.items():
        exact = maj_at_k(outcomes.n, outcomes.classes, k).values
        assert np.all(np.abs(one.values - exact) <= 5 * one.errors + 1e-9)
        assert (one.error == 0) == (k in (1, 2, 60))


def test_drawn_subsets_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = large(2, 30, 9, weigh=True)
    exact = weighted_maj_at_k(outcomes, [3, 5])
    monkeypatch.setattr(weighting, "ORDERS", (50, 50))
    drawn = weighted_maj_at_k(outcomes, [3, 5])
    for k in (3, 5):
        assert exact[k].error == 0 < drawn[k].error
        off = (drawn[k].values - exact[k].values)[drawn[k].errors > 0] / drawn[k].errors[drawn[k].errors > 0]
        assert np.abs(off).max() < 5 and 0.3 < np.sqrt(np.mean(off**2)) < 1.5


def test_problems_of_different_n_are_done_together() -> None:
    rng = np.random.default_rng(3)
    problems: list[list[Draw]] = [
        [(str(v), bool(v == 0), float(w)) for v, w in zip(rng.integers(0, 3, n), rng.random(n), strict=True)]
        for n in (6, 9, 7, 6)
    ]
    got = weighted_maj_at_k(table(problems), [4])[4]
    assert got.values == pytest.approx([every_subset(draws, 4) for draws in problems], abs=1e-9)


def test_negative_scores_are_logarithms_of_weights() -> None:
    draws = [("a", True, 3.0), ("b", False, 2.0), ("b", False, 2.0), ("a", True, 0.25), ("c", False, 1.0)]
    plain = weighted_maj_at_k(table([draws]), range(1, 6))
    # A thousand lower, every exp would be 0; only ratios count.
    logs = [(vote, right, float(np.log(w)) - 1000) for vote, right, w in draws]
    logged = weighted_maj_at_k(table([logs]), range(1, 6))
    for k in range(1, 6):
        assert logged[k].values == pytest.approx(plain[k].values)


def test_weights_decide_against_the_majority_and_silence_never_wins() -> None:
    outcomes = table([[("a", True, 5.0), ("b", False, 2.0), ("b", False, 2.0), (None, False, 99.0)]])
    found = {(m.name, m.k): m for m in summarise(outcomes, ks=[4])}
    assert found["weighted_maj@k", 4].value == 1 and found["maj@k", 4].value == 0
    assert found["best_of@k", 4].value == 0 and found["pass@k", 4].value == 1


def test_the_monte_carlo_error_is_noted() -> None:
    (m,) = [m for m in summarise(large(5, 5, 40, weigh=True), ks=[10]) if m.name == "weighted_maj@k"]
    assert "Monte Carlo, standard error" in (m.note or "")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_named(score: float) -> None:
    with pytest.raises(UsageError, match="`0#1` has the score"):
        table([[("a", True, 1.0), ("a", True, score)]])


def test_k_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest n, 1"):
        weighted_maj_at_k(table([[("a", True, 1.0)]]), [2])


def test_scores_without_answers_have_no_vote() -> None:
    outcomes = table([[(None, True, 1.0), (None, False, 0.5)]])
    found = {(m.name, m.k): m for m in summarise(outcomes, ks=[1, 2, 3])}
    assert found["best_of@k", 2].value == 1
    nothing = found["weighted_maj@k", 2]
    assert nothing.value is None and "only verdicts" in (nothing.note or "")
    assert "not computable" in (found["weighted_maj@k", 3].note or "")


def test_only_a_k_beyond_reach() -> None:
    metrics = summarise(table([[("a", True, 1.0)]]), ks=[5])
    assert all(m.value is None for m in metrics if m.k == 5)
