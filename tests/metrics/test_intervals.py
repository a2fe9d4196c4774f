"""Do the 95 % intervals hold 95 %? Seeded simulations with known truth; the wrong methods fail the same test.

`bench/intervals.py` has the full table; here are cells that a wrong method cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import betaln

from upwell.metrics import Outcomes, Row, Slot, pass_at_k, pass_hat_k, summarise
from upwell.metrics.difficulty import Difficulty
from upwell.metrics.intervals import fixed_interval, population_interval
from upwell.metrics.outcomes import Floats

Interval = Callable[[Floats], tuple[Floats, Floats]]


def ours(values: Floats) -> tuple[Floats, Floats]:
    return population_interval(values.mean(axis=1), values.var(axis=1, ddof=1), values.shape[1])


def wald(values: Floats) -> tuple[Floats, Floats]:
    half = 1.96 * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return values.mean(axis=1) - half, values.mean(axis=1) + half


def covered(a: float, b: float, problems: int, samples: int, k: int, interval: Interval) -> float:
    """Share of 1,500 simulated runs whose interval holds the population's pass@k."""
    rng = np.random.default_rng(7)
    right = rng.binomial(samples, rng.beta(a, b, (1500, problems)))
    truth = 1 - np.exp(betaln(a, b + k) - betaln(a, b))
    low, high = interval(np.asarray(pass_at_k(samples, right, k)))
    return float(np.mean((low <= truth) & (truth <= high)))


# 1,500 runs give a standard error of 0.6 points, so 92.5 to 97.5 is 93 to 97 with room for one of them.
@pytest.mark.parametrize(
    ("a", "b", "problems", "samples", "k"),
    [
        (1, 1, 30, 8, 1),
        (0.3, 1, 30, 64, 64),
        (0.5, 3, 300, 64, 16),
        (5, 2, 1319, 64, 4),
        (0.1, 0.1, 100, 256, 128),
    ],
)
def test_population_interval_covers(a: float, b: float, problems: int, samples: int, k: int) -> None:
    assert 0.925 <= covered(a, b, problems, samples, k, ours) <= 0.975


@pytest.mark.parametrize(("a", "b", "problems", "k"), [(3, 0.5, 100, 32), (1, 1, 30, 64), (5, 2, 300, 64)])
def test_population_interval_covers_at_the_ceiling(a: float, b: float, problems: int, k: int) -> None:
    assert covered(a, b, problems, 64, k, ours) >= 0.925
    assert covered(a, b, problems, 64, k, wald) < 0.8


def test_resampling_draws_again_would_bias_pass_at_k() -> None:
    """Why no response is drawn again with replacement: pass@k of the redrawn counts is points too low."""
    rng = np.random.default_rng(0)
    right = rng.binomial(16, rng.beta(0.3, 1, 20_000))
    again = rng.binomial(16, right / 16)
    assert pass_at_k(16, again, 16).mean() < pass_at_k(16, right, 16).mean() - 0.05


@pytest.mark.parametrize(
    ("a", "b", "problems", "samples", "k", "every"),
    [
        (1, 1, 50, 16, 1, False),
        (0.5, 3, 100, 16, 16, False),
        (0.3, 1, 100, 32, 8, False),
        (3, 0.5, 100, 16, 16, True),
    ],
)
def test_fixed_interval_covers(a: float, b: float, problems: int, samples: int, k: int, every: bool) -> None:
    rng = np.random.default_rng(3)
    runs, held, plugged = 250, 0, 0
    for _ in range(runs):
        chance = rng.beta(a, b, problems)
        right = rng.binomial(samples, chance)
        values = pass_hat_k(samples, right, k) if every else pass_at_k(samples, right, k)
        truth = float(np.mean(chance**k if every else 1 - (1 - chance) ** k))
        noise, smooth = Difficulty.fit(np.full(problems, samples), right).noise(k, every=every)
        low, high = fixed_interval(
            values.mean(), noise.mean(), smooth.mean(), problems, unit=k / samples, fitted=problems
        )
        held += bool(low <= truth <= high)
        half = 1.96 * np.sqrt(np.sum(values * (1 - values))) / problems
        plugged += bool(abs(values.mean() - truth) <= half)
    # Standard error 1.4 points.
    assert 0.905 <= held / runs <= 0.985
    if k == samples:
        assert plugged / runs < 0.5  # what the problem's own 0 or 1 says of its noise: nothing


def test_fixed_interval_of_maj_at_k_covers() -> None:
    rng = np.random.default_rng(5)
    problems, samples, k, runs, held = 60, 16, 16, 50, 0
    slots = [Slot(key=str(i)) for i in range(problems)]
    for _ in range(runs):
        chance = rng.beta(1, 1, problems)
        shares = np.c_[chance, np.outer(1 - chance, [0.6, 0.3, 0.1])]
        rows = [
            Row(problem=str(i), index=j, correct=bool(vote == 0), vote=str(vote))
            for i in range(problems)
            for j, vote in enumerate(rng.choice(4, samples, p=shares[i]))
        ]
        votes = rng.multinomial(k, np.repeat(shares, 400, axis=0))
        top = votes == votes.max(axis=1, keepdims=True)
        truth = float(np.mean(top[:, 0] / top.sum(axis=1)))
        metrics = summarise(Outcomes.collect(slots, rows), ks=[k], slices=False)
        (one,) = [m for m in metrics if m.name == "maj@k"]
        held += bool(one.low_fixed <= truth <= one.high_fixed)  # type: ignore[operator]
    assert held / runs >= 0.86  # standard error 3.1 points


@pytest.mark.parametrize("count", [1, 2, 30, 5000])
def test_limits_hold_the_mean_and_never_meet(count: int) -> None:
    means = np.linspace(0, 1, 41)
    for variance in (0.0, 1e-30, 1e-6, 0.05, 0.25):
        low, high = population_interval(means, np.minimum(variance, means * (1 - means)), count)
        assert np.all((low >= 0) & (low <= means) & (means <= high) & (high <= 1))
        ends = [0, -1]
        assert np.all((high - low)[ends] > 0.5 / count)


def test_interval_is_symmetric_in_right_and_wrong() -> None:
    low, high = population_interval(0.03, 0.01, 80)
    other_low, other_high = population_interval(0.97, 0.01, 80)
    assert (1 - high, 1 - low) == pytest.approx((other_low, other_high))
