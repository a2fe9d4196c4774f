"""How the chances of a right response are spread over problems, and what that says of each problem.

How much pass@k of one problem would differ had its responses been drawn again cannot be read off its
own draws when k is near n (at k = n the value is 0 or 1, whatever n). It can from all problems
together: a beta-binomial distribution of chances is fitted to all counts, loosened towards the data
by a few EM steps (Laird and Louis 1991, "smoothing by roughening"), and each problem gets the
posterior of its own chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betainc, gammaln, xlog1py, xlogy

from upwell.metrics.estimators import miss_table
from upwell.metrics.outcomes import Floats, Ints

PROBLEMS_PER_STEP = 50
"""Problems that earn one EM step: with few the family is trusted, with many the data. With 25, intervals
under a true beta distribution and 30 problems cover a point less."""


def fit_beta_binomial(n: Ints, c: Ints, weight: Floats) -> tuple[float, float]:
    """The a and b of Beta(a, b) that make counts `c` out of `n` likeliest, each counted `weight` times.

    A weak prior (half a problem at either end; log(a + b) normal with standard deviation 3) keeps
    both finite when all responses are right or all wrong.
    """
    loss = _Loss.of(n, c, weight)
    share = (weight @ (c / n) + 0.5) / (weight.sum() + 1)
    x = np.array([np.log(share / (1 - share)), 0.0])
    value, slope, bend = loss.at(x)
    damping = 1e-3
    for _ in range(100):
        # Newton's step, or a shorter one down the slope where the surface is not bowl-shaped.
        lowest = 0.5 * (bend[0, 0] + bend[1, 1]) - np.hypot(0.5 * (bend[0, 0] - bend[1, 1]), bend[0, 1])
        (p, q), (_, r) = bend + (damping + max(-1.1 * lowest, 0.0)) * np.eye(2)
        step = np.array([q * slope[1] - r * slope[0], q * slope[0] - p * slope[1]]) / (p * r - q * q)
        step = np.clip(x + np.clip(step, -2, 2), _LOWEST, _HIGHEST) - x
        if np.abs(step).max() < 1e-4:
            break
        tried = loss.at(x + step)
        if tried[0] < value:
            x, damping = x + step, damping / 8
            value, slope, bend = tried
        else:
            damping = max(damping * 16, 1e-3)
    mean, size = _expit(float(x[0])), float(np.exp(x[1]))
    return mean * size, (1 - mean) * size


_LOWEST, _HIGHEST = np.array([-14.0, -7.0]), np.array([14.0, 10.0])
"""Of the logit of a / (a + b), and of log(a + b)."""


@dataclass(frozen=True, eq=False)
class _Loss:
    """Minus the log posterior of a beta-binomial, by logit mean and log size, with two derivatives.

    B(a + c, b + n - c) / B(a, b) is a product of c factors a + i, n - c factors b + i and n divisors
    a + b + i, so that the counts enter only by how many problems have more than i.
    """

    over: tuple[Floats, Floats, Floats]
    """Weight of the problems with c > i, n - c > i and n > i."""

    @classmethod
    def of(cls, n: Ints, c: Ints, weight: Floats) -> _Loss:
        length = int(n.max()) + 1

        def over(x: Ints) -> Floats:
            return np.asarray(np.cumsum(np.bincount(x, weight, length)[::-1])[::-1][1:], np.float64)

        return cls((over(c), over(n - c), over(n)))

    def at(self, x: Floats) -> tuple[float, Floats, Floats]:
        mean, size = _expit(float(x[0])), float(np.exp(x[1]))
        a, b, move = mean * size, (1 - mean) * size, mean * (1 - mean) * size
        steps = np.arange(len(self.over[0]))
        sums = []
        for over, start in zip(self.over, (a, b, size), strict=True):
            inverse = 1 / (start + steps)
            sums.append((-over @ np.log(inverse), over @ inverse, -over @ (inverse * inverse)))
        (log_a, by_a, bend_a), (log_b, by_b, bend_b), (log_s, by_s, bend_s) = sums
        # The chain rule, from (a, b, a + b) to the logit of the mean and the log of the size.
        slope = np.array([move * (by_a - by_b), a * by_a + b * by_b - size * by_s])
        cross = move * (a * bend_a - b * bend_b) + move * (by_a - by_b)
        twist = move * (1 - 2 * mean) * (by_a - by_b)
        scale = a * a * bend_a + b * b * bend_b - size * size * bend_s + slope[1]
        bend = np.array([[move * move * (bend_a + bend_b) + twist, cross], [cross, scale]])
        prior = 0.5 * np.log(mean * (1 - mean)) - x[1] ** 2 / 18
        slope = slope + np.array([0.5 - mean, -x[1] / 9])
        bend = bend - np.diag([mean * (1 - mean), 1 / 9])
        return -(log_a + log_b - log_s + prior), -slope, -bend


def _expit(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


@dataclass(frozen=True, eq=False)
class Difficulty:
    """Chances of a right response on a grid, their weights over all problems, and the problems' posteriors."""

    n: Ints
    c: Ints
    a: float
    b: float
    """Of the fitted beta-binomial, before loosening."""
    chances: Floats
    weights: Floats
    """Of the loosened distribution; they add to 1."""
    pairs: Ints
    """`(2, distinct)`: the distinct (n, c)."""
    which: Ints
    """Per problem, its column of `pairs`."""
    posterior: Floats
    """`(grid, distinct)`: each column adds to 1."""

    @classmethod
    def fit(cls, n: Ints, c: Ints) -> Difficulty:
        """Fit to `c` right responses out of `n` per problem; at least one problem, every n at least 1."""
        width = int(n.max()) + 1
        codes, which, count = np.unique(n * width + c, return_inverse=True, return_counts=True)
        pairs = np.stack(np.divmod(codes, width))
        weight = count.astype(np.float64)
        a, b = fit_beta_binomial(pairs[0], pairs[1], weight)
        edges, chances = _grid(int(n.max()))
        weights = np.maximum(np.diff(betainc(a, b, edges)), 1e-300)
        weights /= weights.sum()
        likelihood = np.empty((len(chances), pairs.shape[1]))
        for size in np.unique(pairs[0]):
            at = pairs[0] == size
            likelihood[:, at] = _binomials(int(n.max()), int(size))[:, pairs[1, at]]
        for _ in range(len(n) // PROBLEMS_PER_STEP):
            weights *= likelihood @ (weight / (weights @ likelihood)) / weight.sum()
        joint = weights[:, None] * likelihood
        return cls(n, c, a, b, chances, weights, pairs, which.reshape(-1), joint / joint.sum(axis=0))

    def noise(self, k: int, *, every: bool = False) -> tuple[Floats, Floats]:
        """Sampling variance of each problem's pass@k (or, with `every`, pass^k), and its smoothed value.

        The variance, over drawing all n responses again, is averaged over the posterior of the
        problem's chance.
        """
        noise, expected = np.zeros(len(self.n)), np.zeros(len(self.n))
        truth = self.chances**k if every else 1 - (1 - self.chances) ** k
        largest = int(self.n.max())
        for size in np.unique(self.n):
            at = self.pairs[0] == size
            chosen = self.n == size
            column = np.cumsum(at)[self.which[chosen]] - 1
            noise[chosen] = (_variance(largest, int(size), k, every) @ self.posterior[:, at])[column]
            expected[chosen] = (truth @ self.posterior[:, at])[column]
        return noise, expected

    def draw(self, problems: Ints, rng: np.random.Generator) -> Floats:
        """One chance from the posterior of each of `problems`."""
        # All columns, one after the other, make one rising sequence.
        columns, rows = self.posterior.shape[1], self.posterior.shape[0]
        cumulative = np.cumsum(self.posterior, axis=0)
        rising = (cumulative / cumulative[-1] + np.arange(columns)).T.ravel()
        which = self.which[problems]
        at = np.searchsorted(rising, which + rng.random(len(problems))) - which * rows
        return np.asarray(self.chances[np.clip(at, 0, rows - 1)])


@lru_cache(maxsize=8)
def _grid(n: int) -> tuple[Floats, Floats]:
    """Edges and middles of a grid over [0, 1] for up to n draws: steps of about half a standard error of a
    share of n draws, and finer towards the ends."""
    steps = max(96, int(np.ceil(1.2 * np.pi * np.sqrt(n))))
    even = np.sin(np.linspace(0, np.pi / 2, steps + 1)) ** 2
    tail = np.geomspace(1e-7, even[1], 13)[:-1]
    edges = np.unique(np.concatenate([[0.0], tail, even[1:-1], 1 - tail[::-1], [1.0]]))
    return edges, (edges[1:] + edges[:-1]) / 2


@lru_cache(maxsize=4)
def _binomials(largest: int, n: int) -> Floats:
    """`(grid, n + 1)`: the distribution of the count of right responses at each chance."""
    chances, x = _grid(largest)[1][:, None], np.arange(n + 1)
    choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    return np.asarray(np.exp(choose + xlogy(x, chances) + xlog1py(n - x, -chances)))


@lru_cache(maxsize=256)
def _variance(largest: int, n: int, k: int, every: bool) -> Floats:
    """At each chance of the grid, the variance of pass@k (or, with `every`, pass^k) of n draws."""
    chances, table = _grid(largest)[1], miss_table(n, k)
    table = table[::-1] if every else table
    truth = chances**k if every else (1 - chances) ** k
    return np.maximum(_binomials(largest, n) @ (table * table) - truth * truth, 0.0)
