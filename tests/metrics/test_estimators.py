"""pass@k, pass^k and best_of@k against every k-subset, and their stability at 10,000 draws."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.metrics import best_of_at_k, pass_at_k, pass_hat_k


def subsets(n: int, k: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(n), k))


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_counts_every_subset(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            draws = subsets(n, k)
            assert pass_at_k(n, c, k) == pytest.approx(sum(min(s) < c for s in draws) / len(draws), abs=1e-14)
            assert pass_hat_k(n, c, k) == pytest.approx(
                sum(max(s) < c for s in draws) / len(draws), abs=1e-14
            )


@given(st.integers(1, 10_000), st.data())
def test_pass_at_k_is_exact_to_ten_thousand_draws(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - Fraction(comb(n - c, k), comb(n, k))
    assert float(pass_at_k(n, c, k)) == pytest.approx(float(exact), rel=1e-11, abs=1e-300)


@given(st.integers(1, 400), st.data())
def test_pass_at_k_rises_and_pass_hat_k_falls_with_k(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    ks = np.arange(1, n + 1)
    up, down = pass_at_k(n, c, ks), pass_hat_k(n, c, ks)
    assert np.all(np.diff(up) >= -1e-12) and np.all(np.diff(down) <= 1e-12)
    assert np.all((up >= 0) & (up <= 1) & (down >= 0) & (down <= 1))
    assert up[0] == down[0] == c / n
    assert up[-1] == min(c, 1) and down[-1] == (c == n)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="must be between"):
        pass_at_k(n, c, k)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0, 2.0])), min_size=1, max_size=8),
    st.data(),
)
def test_best_of_k_counts_every_subset_and_shares_ties(
    draws: list[tuple[bool, float]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(draws)))
    right = np.array([good for good, _ in draws])
    scores = np.array([score for _, score in draws])
    total = 0.0
    for chosen in subsets(len(draws), k):
        best = scores[list(chosen)] == scores[list(chosen)].max()
        total += right[list(chosen)][best].mean()
    got = best_of_at_k(np.array([0, len(draws)]), right, scores, k)
    assert got[0] == pytest.approx(total / comb(len(draws), k), abs=1e-12)
