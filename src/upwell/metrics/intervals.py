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
FIXED_RARE = 1.3
"""The same, and for both limits, where the problems are given, in units of the most that one response can
count for. Half a hit expected of 1,319 is covered by 88 % if the other limit is left alone."""
EQUAL = 1e-12
"""Variance, as a share of mean (1 - mean), below which values count as equal."""


def _share_interval(
    mean: npt.ArrayLike, inner: npt.ArrayLike, outer: npt.ArrayLike, count: int
) -> tuple[Floats, Floats]:
    """Interval for a share estimated as `mean` by averaging `count` values. Arguments broadcast.

    Args:
        mean: The estimate, in [0, 1].
        inner: count * variance of the estimate / (mean (1 - mean)), for the limit on the side of the middle.
        outer: The same for the limit next to the nearer end.
        count: Values averaged.

    Returns:
        Lower and upper limits, with lower <= mean <= upper.
    """
    m = np.asarray(mean, np.float64)
    small = np.minimum(m, 1 - m)
    far = _limit(small, np.asarray(inner, np.float64), count, upper=True)
    near = _limit(small, np.asarray(outer, np.float64), count, upper=False)
    low = np.where(m < 0.5, near, 1 - far)
    high = np.where(m < 0.5, far, 1 - near)
    return np.minimum(low, m), np.maximum(high, m)


def _drawn_up(scale: Floats, mean: Floats, count: int, *, rare: float, unit: float) -> Floats:
    """`scale`, trusted less and less, and `unit` instead of it, where fewer than `rare` hits were seen."""
    hits = count * np.minimum(mean, 1 - mean)
    return np.asarray(scale + np.maximum(unit - scale, 0) * np.exp(-hits / (rare * unit)))


def _limit(mean: Floats, scale: Floats, count: int, *, upper: bool) -> Floats:
    trials = count / np.maximum(scale, 1e-12)
    hits = mean * trials
    half = 0.5 * -np.expm1(-np.minimum(hits, trials - hits) / HITS)
    if upper:
        return np.asarray(betaincinv(hits + 1 - half, np.maximum(trials - hits, 0) + half, 0.5 + LEVEL / 2))
    a = np.maximum(hits + half, 1e-300)
    return np.asarray(np.where(hits > 0, betaincinv(a, trials - hits + 1 - half, 0.5 - LEVEL / 2), 0.0))


def population_interval(mean: npt.ArrayLike, variance: npt.ArrayLike, count: int) -> tuple[Floats, Floats]:
    """Interval for the mean over a population of problems, of which `count` were seen. Arguments broadcast.

    The spread between problems already holds the noise of sampling responses, so nothing is resampled.

    Args:
        mean: Of the problems' values, each in [0, 1].
        variance: Between the problems' values (the unbiased one; anything where count is 1).
        count: Problems.
    """
    m = np.asarray(mean, np.float64)
    room, variance = m * (1 - m), np.asarray(variance, np.float64)
    spread_out = (count > 1) & (variance > EQUAL * room) & (room > 0)
    scale = np.divide(variance, room, out=np.ones_like(room + variance), where=spread_out)
    # A variance that is itself estimated calls for Student's t, but that of 0-1 values follows from the mean.
    widen = 1 + (_t_factor(count) - 1) * np.maximum(1 - scale, 0)
    inner = _drawn_up(scale, m, count, rare=POPULATION_RARE, unit=1.0)
    return _share_interval(m, inner * widen, scale * widen, count)


def fixed_interval(
    mean: npt.ArrayLike,
    noise: npt.ArrayLike,
    smooth: npt.ArrayLike,
    count: int,
    *,
    unit: float,
    fitted: int,
) -> tuple[Floats, Floats]:
    """Interval for the mean over exactly these problems, of which only the responses are random.

    Args:
        mean: Of the problems' values, each in [0, 1].
        noise: Mean over problems of the variance that drawing its responses again gives a problem's value.
        smooth: `mean` as a model has it, strictly inside (0, 1): it sets the scale near the ends.
        count: Problems.
        unit: k / n, the most that one response can count for in a problem's value.
        fitted: Problems that the noise was learned from.
    """
    m = np.asarray(mean, np.float64)
    smooth, noise = np.clip(np.asarray(smooth, np.float64), 0.0, 1.0), np.asarray(noise, np.float64)
    room = smooth * (1 - smooth)
    known = (noise > EQUAL * room) & (room > 0)
    scale = np.minimum(np.divide(noise, room, out=np.full_like(room + noise, unit), where=known), 1.0)
    # With k = 1 the noise shows in the problem's own draws; with k = n it is known from the model alone, and
    # that from no more problems than are neither all right nor all wrong.
    widen = 1 + (_t_factor(np.minimum(fitted, 5 + 4 * fitted * room)) - 1) * unit
    # The noise is a model's: where few hits were seen, neither limit may rest on it alone.
    scale = widen * _drawn_up(scale, m, count, rare=FIXED_RARE, unit=unit)
    return _share_interval(m, scale, scale, count)


def mean_interval(mean: float, variance: float, dof: float) -> tuple[float, float]:
    """Student's interval for a mean of anything, from the variance of that mean."""
    half = float(t.ppf(0.5 + LEVEL / 2, dof)) * float(np.sqrt(max(variance, 0.0)))
    return mean - half, mean + half


def _t_factor(count: npt.ArrayLike) -> Floats:
    """Factor on a variance that is estimated from `count` values, so that Student's t is done justice."""
    dof = np.asarray(count, np.float64) - 1
    quantile = t.ppf(0.5 + LEVEL / 2, np.maximum(dof, 1.0))
    return np.where(dof < 1, 1.0, (quantile / norm.ppf(0.5 + LEVEL / 2)) ** 2)
