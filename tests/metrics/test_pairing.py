"""Paired differences: level under no difference, power at the detectable one, flips, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from upwell.errors import UsageError
from upwell.metrics import compare, pass_at_k
from upwell.metrics.pairing import detectable, flipped


def runs(rng: np.random.Generator, problems: int, lift: float) -> tuple[np.ndarray, np.ndarray]:
    chance = rng.beta(1, 1, problems) * (1 - lift)
    first, second = rng.binomial(8, chance), rng.binomial(8, chance + lift)
    return pass_at_k(8, first, 1), pass_at_k(8, second, 1)


def test_five_percent_of_equal_models_differ() -> None:
    rng = np.random.default_rng(0)
    rejected = np.mean([compare(*runs(rng, 100, 0.0)).p_value < 0.05 for _ in range(800)])
    assert 0.02 <= rejected <= 0.075


def test_interval_and_p_value_agree_and_the_detectable_difference_is_detected() -> None:
    rng = np.random.default_rng(1)
    detectable = float(np.mean([compare(*runs(rng, 100, 0.05)).detectable for _ in range(20)]))
    found = [compare(*runs(rng, 100, detectable)) for _ in range(400)]
    assert all((d.p_value < 0.05) == (d.low > 0 or d.high < 0) for d in found)
    assert 0.7 <= np.mean([d.p_value < 0.05 for d in found]) <= 0.9
    assert 0.92 <= np.mean([d.low <= detectable <= d.high for d in found]) <= 0.98


def test_few_agreeing_problems_prove_nothing() -> None:
    few = compare(np.zeros(2), np.ones(2))
    assert few.p_value > 0.05 and few.better == 2 and few.worse == 0
    same = compare(np.full(5, 0.5), np.full(5, 0.5))
    assert same.value == 0 and same.low < 0 < same.high and same.p_value == 1


def test_different_problems_are_refused() -> None:
    with pytest.raises(UsageError, match="got 3 and 2"):
        compare(np.zeros(3), np.zeros(2))


def test_small_changes_of_many_problems_show() -> None:
    """Shares of 64 draws over 30 problems: the interval must not be made for values that are 0 or 1."""
    rng, held, widths = np.random.default_rng(5), 0, []
    for _ in range(400):
        p = rng.beta(1, 1, 30)
        found = compare(rng.binomial(64, p) / 64, rng.binomial(64, p) / 64)
        held += found.low <= 0 <= found.high
        widths.append(found.high - found.low)
    assert held / 400 >= 0.93
    assert np.mean(widths) < 0.1


def test_detectable_at_another_size() -> None:
    rng = np.random.default_rng(6)
    p, n = rng.beta(1, 1, 400), np.full(400, 16)
    first, second = (n, rng.binomial(16, p)), (n, rng.binomial(16, np.clip(p + 0.02, 0, 1)))
    now = detectable(first, second)
    assert now == pytest.approx(compare(first[1] / 16, second[1] / 16).detectable)
    assert detectable(first, second, problems=1600) == pytest.approx(now / 2, rel=0.02)
    # These models differ by sampling noise alone, which four times the samples halve.
    assert detectable(first, second, samples=64) == pytest.approx(now / 2, rel=0.25)
    assert detectable(first, second, samples=64, problems=1600) < detectable(first, second, samples=64)
    with pytest.raises(UsageError, match="the plan 4"):
        detectable(first, second, k=8, samples=4)


def test_flips_are_fishers_test() -> None:
    rng = np.random.default_rng(0)
    n_a, n_b = rng.integers(1, 30, 60), rng.integers(1, 30, 60)
    c_a, c_b = rng.integers(0, n_a + 1), rng.integers(0, n_b + 1)
    found = flipped(n_a, c_a, n_b, c_b)
    exact = [fisher_exact([[x, a - x], [y, b - y]])[1] for a, x, b, y in zip(n_a, c_a, n_b, c_b, strict=True)]
    assert found.p_values == pytest.approx(exact, rel=1e-9)


def test_few_of_the_sure_flips_are_false_and_chance_is_counted() -> None:
    rng, false, found, gained, expected = np.random.default_rng(1), [], [], 0.0, 0.0
    n = np.full(300, 64)
    for _ in range(30):
        p = rng.beta(0.5, 0.7, 300)
        changed = rng.random(300) < 0.1
        other = np.where(changed, rng.beta(0.5, 0.7, 300), p)
        sure = np.array(flipped(n, rng.binomial(64, p), n, rng.binomial(64, other)).sure)
        false.append((sure & ~changed).sum() / max(sure.sum(), 1))
        found.append((sure & changed).sum() / changed.sum())
        same = flipped(n, rng.binomial(64, p), n, rng.binomial(64, p))
        gained, expected = gained + same.gained, expected + same.gained_by_chance
    assert np.mean(false) <= 0.05 and np.mean(found) > 0.5
    assert gained == pytest.approx(expected, rel=0.25) and gained > 100


def test_a_problem_solved_at_last_is_a_sure_flip() -> None:
    n = np.full(3, 64)
    found = flipped(n, np.array([0, 0, 30]), n, np.array([40, 1, 31]))
    assert found.sure == (True, False, False)
    assert (found.gained, found.lost) == (2, 0)
    assert found.p_values[1] == 1.0
    # One right response of 128 is A's or B's with equal chance.
    assert found.gained_by_chance == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(UsageError, match="got 3 and 2"):
        flipped(n, np.zeros(3, int), np.full(2, 64), np.zeros(2, int))
