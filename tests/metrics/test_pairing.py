"""Paired differences: level under no difference, power at the detectable one, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from upwell.errors import UsageError
from upwell.metrics import compare, pass_at_k


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
