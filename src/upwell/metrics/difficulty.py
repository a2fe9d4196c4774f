"""How the chances of a right response are spread over problems, and what that says of each problem.

How much pass@k of one problem would differ had its responses been drawn again cannot be read off its
own draws when k is near n (at k = n the value is 0 or 1, whatever n). It can from all problems
together: a beta-binomial distribution of chances is fitted to all counts, loosened towards the data
by a few EM steps (Laird and Louis 1991, "smoothing by roughening"), and each problem gets the
posterior of its own chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaln, expit, gammaln, logit, xlog1py, xlogy

from upwell.metrics.estimators import miss_table
from upwell.metrics.outcomes import Floats, Ints

PROBLEMS_PER_STEP = 100
"""Problems that earn one EM step: with few the family is trusted, with many the data."""


def fit_beta_binomial(n: Ints, c: Ints, weight: Floats) -> tuple[float, float]:
    """The a and b of Beta(a, b) that make counts `c` out of `n` likeliest, each counted `weight` times.

    A weak prior (half a problem at either end; log(a + b) normal with standard deviation 3) keeps
    both finite when all responses are right or all wrong.
    """

    def loss(x: Floats) -> float:
        mean, size = float(expit(x[0])), float(np.exp(x[1]))
        a, b = mean * size, (1 - mean) * size
        likelihood = weight @ (betaln(a + c, b + n - c) - betaln(a, b))
        return float(-likelihood - 0.5 * np.log(mean * (1 - mean)) + x[1] ** 2 / 18)

    start = np.array([logit((weight @ (c / n) + 0.5) / (weight.sum() + 1)), 0.0])
    # Nelder and Mead need no linear algebra: its threads would cost more than the search.
    found = minimize(
        loss,
        start,
        method="Nelder-Mead",
        bounds=[(-14.0, 14.0), (-7.0, 10.0)],
        options={"xatol": 1e-3, "fatol": 1e-4},
    )
    mean, size = float(expit(found.x[0])), float(np.exp(found.x[1]))
    return mean * size, (1 - mean) * size


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
    _kept: dict[int, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, n: Ints, c: Ints) -> Difficulty:
        """Fit to `c` right responses out of `n` per problem; at least one problem, every n at least 1."""
        pairs, which, count = np.unique(np.stack([n, c]), axis=1, return_inverse=True, return_counts=True)
        weight = count.astype(np.float64)
        a, b = fit_beta_binomial(pairs[0], pairs[1], weight)
        edges = _edges(int(n.max()))
        mass = np.diff(betainc(a, b, edges))
        first = np.diff(betainc(a + 1, b, edges)) * a / (a + b)
        middle = (edges[1:] + edges[:-1]) / 2
        chances = np.clip(np.divide(first, mass, out=middle, where=mass > 1e-300), edges[:-1], edges[1:])
        weights = np.maximum(mass, 1e-300) / mass.sum()
        likelihood = np.exp(
            xlogy(pairs[1], chances[:, None])
            + xlog1py(pairs[0] - pairs[1], -chances[:, None])
            + (gammaln(pairs[0] + 1) - gammaln(pairs[1] + 1) - gammaln(pairs[0] - pairs[1] + 1))
        )
        for _ in range(len(n) // PROBLEMS_PER_STEP):
            joint = weights[:, None] * likelihood
            weights = (joint / joint.sum(axis=0)) @ weight / weight.sum()
        joint = weights[:, None] * likelihood
        return cls(n, c, a, b, chances, weights, pairs, which.reshape(-1), joint / joint.sum(axis=0))

    def noise(self, k: int, *, every: bool = False) -> tuple[Floats, Floats]:
        """Sampling variance of each problem's pass@k (or, with `every`, pass^k), and its smoothed value.

        The variance, over drawing all n responses again, is averaged over the posterior of the
        problem's chance.
        """
        noise, expected = np.zeros(len(self.n)), np.zeros(len(self.n))
        truth = self.chances**k if every else (1 - self.chances) ** k
        for size in np.unique(self.n):
            at = self.pairs[0] == size
            table = miss_table(int(size), k)
            table = table[::-1] if every else table
            second = self._binomials(int(size)) @ (table * table)
            variance = np.maximum(second - truth * truth, 0.0)
            chosen = self.n == size
            column = np.cumsum(at)[self.which[chosen]] - 1
            noise[chosen] = (variance @ self.posterior[:, at])[column]
            expected[chosen] = ((truth if every else 1 - truth) @ self.posterior[:, at])[column]
        return noise, expected

    def _binomials(self, n: int) -> Floats:
        """`(grid, n + 1)`: the distribution of the count of right responses at each chance; the last n is kept."""
        if n in self._kept:
            return self._kept[n]
        x = np.arange(n + 1)
        choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        self._kept.clear()
        self._kept[n] = np.exp(
            choose + xlogy(x, self.chances[:, None]) + xlog1py(n - x, -self.chances[:, None])
        )
        return self._kept[n]

    def draw(self, problems: Ints, rng: np.random.Generator) -> Floats:
        """One chance from the posterior of each of `problems`."""
        cumulative = np.cumsum(self.posterior, axis=0)
        levels = rng.random(len(problems))
        out = np.empty(len(problems))
        columns = self.which[problems]
        for column in np.unique(columns):
            chosen = columns == column
            at = np.searchsorted(cumulative[:, column], levels[chosen] * cumulative[-1, column])
            out[chosen] = self.chances[np.minimum(at, len(self.chances) - 1)]
        return out


def _edges(n: int) -> Floats:
    """Grid over [0, 1]: steps of about half a standard error of a share of n draws, and finer towards the ends."""
    steps = max(96, int(np.ceil(1.2 * np.pi * np.sqrt(n))))
    even = np.sin(np.linspace(0, np.pi / 2, steps + 1)) ** 2
    tail = np.geomspace(1e-7, even[1], 13)[:-1]
    return np.unique(np.concatenate([[0.0], tail, even[1:-1], 1 - tail[::-1], [1.0]]))
