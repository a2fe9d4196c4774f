"""pass@k beyond the draws: closed forms, what is refused and why, what the interval must hold, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln

from upwell.errors import UsageError
from upwell.metrics import pass_at_k
from upwell.metrics.bounds import free_bounds
from upwell.metrics.extrapolation import extrapolate, extrapolate_curve
from upwell.metrics.families import BETA, LOGIT_NORMAL, fit
from upwell.metrics.mixture import Mixture, seen_counts


def counts(seed: int, chance: np.ndarray, draws: int = 64) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(chance), draws), np.random.default_rng(seed).binomial(draws, chance)


def spread(seed: int, problems: int, a: float = 0.3, b: float = 1.0) -> np.ndarray:
    return np.random.default_rng([seed, 1]).beta(a, b, problems)


def test_beta_family_matches_the_beta_binomial() -> None:
    at = np.array([[-1.2, 0.4]])
    mean, size = 1 / (1 + math.exp(1.2)), math.exp(0.4)
    a, b = mean * size, (1 - mean) * size
    miss = BETA.means(at, np.array([0]), np.array([1024]), np.zeros(1))[0, 0]
    assert miss == pytest.approx(math.exp(betaln(a, b + 1024) - betaln(a, b)), rel=1e-12)
    # The same product, factor by factor.
    assert miss == pytest.approx(math.prod((b + i) / (a + b + i) for i in range(1024)), rel=1e-9)


def test_logit_normal_family_matches_integration() -> None:
    for mean, deviation in ((-2.0, 2.0), (0.5, 1.0), (-5.0, 3.0)):
        x = np.random.default_rng(0).normal(mean, deviation, 2_000_000)
        sampled = np.exp(-1024 * np.logaddexp(0, x)).mean()
        ours = LOGIT_NORMAL.means(
            np.array([[mean, math.log(deviation)]]), np.array([0]), np.array([1024]), np.zeros(1)
        )
        assert ours[0, 0] == pytest.approx(sampled, abs=1e-3)


def test_a_fit_finds_what_made_the_counts() -> None:
    chance = spread(0, 4000) * (np.random.default_rng(5).random(4000) >= 0.2)
    n, c = counts(0, chance)
    found = fit(BETA, seen_counts(n, c), never=True)
    (logit_mean, log_size), never = found.best
    mean, size = 1 / (1 + math.exp(-logit_mean)), math.exp(log_size)
    assert mean * size == pytest.approx(0.3, abs=0.06)
    assert never == pytest.approx(0.2, abs=0.06)


def test_what_held_out_problems_say_chooses_the_family() -> None:
    n, c = counts(1, spread(1, 1319, 1, 2) * (np.random.default_rng(1).random(1319) >= 0.2))
    found = extrapolate(n, c, 1024)
    assert found.family == "beta + never"
    scores = {one.name: one.score for one in found.families}
    assert max(scores, key=lambda name: scores[name]) == "beta + never"
    assert sum(one.weight for one in found.families) == pytest.approx(1)
    assert found.value is not None and found.low <= 0.8 <= found.high


@pytest.mark.parametrize("seed", range(4))
def test_interval_holds_the_value_and_rises_with_k(seed: int) -> None:
    n, c = counts(seed, spread(seed, 1319, 0.5, 1))
    found = [extrapolate(n, c, k) for k in (65, 128, 512, 1024, 4096)]
    drawn = float(pass_at_k(n, c, 64).mean())
    for one in found:
        assert one.value is not None and one.refused is None
        assert drawn <= one.value <= 1
        assert 0 <= one.low <= one.value <= one.high <= 1
        assert one.low_fixed is not None and one.high_fixed is not None
        assert one.low_fixed <= one.value <= one.high_fixed
    for ends in ([one.value for one in found], [one.low for one in found], [one.high for one in found]):
        assert ends == sorted(ends)


def test_the_same_seed_gives_the_same_interval() -> None:
    n, c = counts(3, spread(3, 200))
    assert extrapolate(n, c, 256, seed=4) == extrapolate(n, c, 256, seed=4)
    first, second = extrapolate(n, c, 256), extrapolate(n, c, 256, seed=1)
    assert abs(first.low - second.low) < 0.05 * (first.high - first.low)


def test_the_order_of_problems_does_not_matter() -> None:
    n, c = counts(3, spread(3, 200))
    again = np.random.default_rng(0).permutation(200)
    assert extrapolate(n, c, 256) == extrapolate(n[again], c[again], 256)


def test_coverage_where_the_family_is_right() -> None:
    # beta(0.5, 0.5) at k = 1024: 1 - B(0.5, 1024.5) / B(0.5, 0.5).
    truth = 1 - math.exp(betaln(0.5, 1024.5) - betaln(0.5, 0.5))
    found = [extrapolate(*counts(i, spread(i, 300, 0.5, 0.5)), 1024) for i in range(60)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert held >= 0.87  # 95 % of 60, less three standard errors
    assert np.median([one.high - one.low for one in found]) < 0.1
    assert np.mean([one.value is not None for one in found]) > 0.9


def test_where_no_family_fits_none_is_assumed() -> None:
    held = []
    for seed in range(12):
        chance = np.random.default_rng([seed, 1]).choice([0.01, 0.2, 0.9], 1319, p=[0.4, 0.3, 0.3])
        found = extrapolate(*counts(seed, chance), 1024)
        assert found.family == "no family"
        assert all(one.p_value < 0.05 for one in found.families)
        held.append(found.low <= 1 - 0.4 * 0.99**1024 <= found.high)
    assert sum(held) >= 10


def test_free_bounds_hold_every_family() -> None:
    n, c = counts(2, spread(2, 300))
    seen = seen_counts(n, c)
    low, value, high = free_bounds(seen, 1024)
    mixture = Mixture(seen)
    inner = mixture.quantiles(1024, (0.1, 0.9))
    assert 0 <= low < inner[0] and inner[1] < high <= 1 and low <= value <= high
    assert mixture.fits


def test_too_wide_is_refused_with_the_numbers() -> None:
    n, c = counts(0, spread(0, 100))
    found = extrapolate(n, c, 1024)
    assert found.value is None and found.refused is not None
    assert "64 draws of 100 problems" in found.refused and "points, more than 10" in found.refused
    assert found.low < 0.888 < found.high
    wider = extrapolate(n, c, 1024, widest=0.5)
    assert wider.value is not None and (wider.low, wider.high) == (found.low, found.high)


@pytest.mark.parametrize(
    ("n", "c", "k", "why"),
    [
        (np.full(100, 64), np.full(100, 9), 64, "needs no extrapolation"),
        (np.full(100, 64), np.zeros(100), 1024, "none of 6,400 responses is right"),
        (np.full(100, 64), np.full(100, 64), 1024, "all of 6,400 responses are right"),
        (np.array([64]), np.array([3]), 1024, "too few problems to extrapolate from: 1,"),
        (np.full(100, 1), np.arange(100) % 2, 16, "too few responses per problem to extrapolate from: 1,"),
        (np.full(100, 8), np.arange(100) % 8, 1024, "128 times beyond"),
    ],
)
def test_refusals(n: np.ndarray, c: np.ndarray, k: int, why: str) -> None:
    found = extrapolate(n, c, k)
    assert found.value is None and found.refused is not None and why in found.refused
    assert 0 <= found.low <= found.high <= 1
    assert found.problems == len(n) and found.samples == n.sum()


def test_unequal_draws() -> None:
    rng = np.random.default_rng(8)
    n = rng.integers(20, 120, 1000)
    c = rng.binomial(n, rng.beta(0.5, 0.5, 1000))
    found = extrapolate(n, c, 1024)
    truth = 1 - math.exp(betaln(0.5, 1024.5) - betaln(0.5, 0.5))
    assert found.low <= truth <= found.high < 1 and found.high - found.low < 0.05
    assert found.samples == n.sum()


@pytest.mark.parametrize(
    ("n", "c", "k"), [([], [], 9), ([4], [5], 9), ([0], [0], 9), ([4], [1], 0), ([4], [-1], 9)]
)
def test_counts_that_cannot_be(n: list[int], c: list[int], k: int) -> None:
    with pytest.raises(UsageError):
        extrapolate(np.array(n, np.int64), np.array(c, np.int64), k)


def test_a_curve_of_a_known_distribution() -> None:
    a, b, problems = 0.4, 1.0, 500
    ks = (1, 2, 4, 8, 16, 32, 64)
    curve = [1 - math.exp(betaln(a, b + k) - betaln(a, b)) for k in ks]
    found = extrapolate_curve(ks, curve, problems, 256)
    truth = 1 - math.exp(betaln(a, b + 256) - betaln(a, b))
    assert found.family == "beta" and found.value == pytest.approx(truth, abs=0.01)
    assert found.low < truth < found.high
    # Ten times the problems make it surer.
    more = extrapolate_curve(ks, curve, 5000, 256)
    assert more.high - more.low < 0.6 * (found.high - found.low)


@pytest.mark.parametrize(
    ("points", "published"),
    [
        ((0.204, 0.436, 0.782), 0.982),
        ((0.424, 0.676, 0.866), 0.982),
        ((0.516, 0.700, 0.850), 0.980),
        ((0.492, 0.712, 0.854), 0.980),
    ],
)
def test_published_curves(points: tuple[float, ...], published: float) -> None:
    """DeepSeekMath-7B on MATH500: pass@256 from pass@1, @4 and @16 (arXiv 2407.13690, figure 2)."""
    found = extrapolate_curve((1, 4, 16), points, 500, 256)
    assert found.value is not None and found.low <= published <= found.high


@pytest.mark.parametrize(
    ("ks", "values", "k"),
    [
        ((1, 4), (0.2, 0.3), 16),
        ((1, 4, 2), (0.2, 0.3, 0.4), 16),
        ((1, 2, 4), (0.2, 0.3, 0.1), 16),
        ((1, 2, 4), (20, 30, 40), 16),
        ((1, 2, 4), (0.2, 0.3, 0.4), 4),
    ],
)
def test_curves_that_cannot_be(ks: tuple[int, ...], values: tuple[float, ...], k: int) -> None:
    with pytest.raises(UsageError):
        extrapolate_curve(ks, values, 100, k)
