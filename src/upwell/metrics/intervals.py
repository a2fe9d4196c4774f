"""95 % intervals for a mean of shares in [0, 1] that hold their level near 0 and 1 and never have zero width.

The mean of N values in [0, 1] with variance s^2 carries as much as N / scale yes-or-no trials, where
scale = s^2 / (mean (1 - mean)) is 1 for values that are 0 or 1 and smaller otherwise (the effective
sample size of Korn and Graubard 1998). The interval is the one of a binomial share from that many
trials: between Clopper and Pearson's, for few hits, and Jeffreys', for many. `bench/intervals.py`
measures what it covers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv
from scipy.stats import norm, t

from upwell.metrics.outcomes import Floats

LEVEL = 0.95
HITS = 2.0
"""Hits over which the interval goes from Clopper-Pearson's to Jeffreys'. Jeffreys' alone covers 88 % at
3 hits expected of 1,000, Clopper-Pearson's alone 98 % at 5; with 2, both stay within 93 and 98 %."""
POPULATION_RARE = 1.5
"""Expected hits below which the limit towards the middle trusts the observed scale less and less: what has
not been seen yet may be a whole problem, however small the values seen so far."""
FIXED_RARE = 1.0
"""The same where the problems are given."""
EQUAL = 1e-12
"""Variance, as a share of mean (1 - mean), below which values count as equal."""


def share_interval(
    mean: npt.ArrayLike, scale: npt.ArrayLike, count: int, *, rare: float, widen: npt.ArrayLike = 1.0
) -> tuple[Floats, Floats]:
    """Interval for a share estimated as `mean` by averaging `count` values. Arguments broadcast.

    Args:
        mean: The estimate, in [0, 1].
        scale: count * variance of the estimate / (mean (1 - mean)), above 0.
        count: Values averaged.
        rare: Hits below which `scale` is drawn towards 1 for the limit on the side of the middle.
        widen: Factor on the variance, for an uncertain `scale`.

    Returns:
        Lower and upper limits, with lower <= mean <= upper.
    """
    m, phi = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
    small = np.minimum(m, 1 - m)
    # The limit on the side of the middle, seen from the nearer end; the other one is next to that end.
    inner_scale = phi + np.maximum(1 - phi, 0) * np.exp(-count * small / rare)
    inner = _limit(small, inner_scale * widen, count, upper=True)
    outer = _limit(small, phi * widen, count, upper=False)
    low = np.where(m < 0.5, outer, 1 - inner)
    high = np.where(m < 0.5, inner, 1 - outer)
    return np.minimum(low, m), np.maximum(high, m)


def _limit(mean: Floats, scale: Floats, count: int, *, upper: bool) -> Floats:
    trials = count / np.maximum(scale, 1e-12)
    hits = mean * trials
    half = 0.5 * -np.expm1(-np.minimum(hits, trials - hits) / HITS)
    if upper:
        return np.asarray(betaincinv(hits + 1 - half, np.maximum(trials - hits, 0) + half, 0.5 + LEVEL / 2))
    a = np.maximum(hits + half, 1e-300)
    return np.asarray(np.where(hits > 0, betaincinv(a, trials - hits + 1 - half, 0.5 - LEVEL / 2), 0.0))


def population_interval(values: Floats, spread: Floats | None = None) -> tuple[float, float]:
    """Interval for the mean over a population of problems of which `values`, one per problem, are a sample.

    The spread between problems already holds the noise of sampling responses, so nothing is resampled.

    Args:
        values: In [0, 1], at least one.
        spread: What to take the variance from, if not `values` (the linearised values of a ratio).
    """
    count, mean = len(values), float(np.mean(values))
    room = mean * (1 - mean)
    variance = float(np.var(values if spread is None else spread, ddof=1)) if count > 1 else 0.0
    scale = variance / room if variance > EQUAL * room > 0 else 1.0
    # A variance that is itself estimated calls for Student's t, but that of 0-1 values follows from the mean.
    widen = 1 + (_t_factor(count) - 1) * max(1 - scale, 0) if count > 1 else 1.0
    low, high = share_interval(mean, scale, count, rare=POPULATION_RARE, widen=widen)
    return float(low), float(high)


def fixed_interval(values: Floats, noise: Floats, expected: Floats, reliance: float) -> tuple[float, float]:
    """Interval for the mean over exactly these problems, of which only the responses are random.

    Args:
        values: Per problem, in [0, 1].
        noise: Per problem, the variance of its value under drawing its responses again.
        expected: Per problem, a smoothed value, strictly inside (0, 1): it sets the scale near the ends.
        reliance: How much of `noise` rests on the fitted model rather than on the problem's own draws:
            k / n, from 0 to 1.
    """
    count, smooth = len(values), float(np.mean(expected))
    room = smooth * (1 - smooth)
    variance = float(np.mean(noise))
    scale = variance / room if variance > EQUAL * room > 0 else EQUAL
    widen = 1 + (_t_factor(count) - 1) * reliance if count > 1 else 1.0
    low, high = share_interval(float(np.mean(values)), scale, count, rare=FIXED_RARE, widen=widen)
    return float(low), float(high)


def mean_interval(mean: float, variance: float, dof: float) -> tuple[float, float]:
    """Student's interval for a mean of anything, from the variance of that mean."""
    half = float(t.ppf(0.5 + LEVEL / 2, dof)) * float(np.sqrt(max(variance, 0.0)))
    return mean - half, mean + half


def _t_factor(count: int) -> float:
    return float((t.ppf(0.5 + LEVEL / 2, count - 1) / norm.ppf(0.5 + LEVEL / 2)) ** 2)
