"""Distributions of difficulty and what the data leave of them: the families behind extrapolation.

A problem's chance p of a right response comes from a distribution over [0, 1]. Everything that is seen
(counts, or points of a published curve) and everything that is asked (pass@k) is a mean of p^x (1 - p)^y
over it, so a family is a function that gives these means. Two shapes are fitted, each alone and with a
share of problems that are never solved: beta, whose tail of hard problems thins out like a power of p,
and logit-normal, whose tail thins out faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, logit, ndtr, xlog1py, xlogy
from scipy.stats import chi2, norm, qmc

from upwell.metrics.outcomes import Bools, Floats, Ints

DRAWS = 256
"""Points of the posterior per family. Another set of them moves the ends of an interval by 1 to 2 % of its width."""
ENOUGH = 1 / 3
"""Effective share of the points at which importance sampling is content."""
ROUNDS = 5
"""Proposals tried."""
SHARES = 24
"""Shares of never-solved problems tried at each point."""
FREEDOM = 5.0
"""Degrees of freedom of the proposal."""


NODES: Floats = np.concatenate(
    [np.linspace(-30, -16, 8)[:-1], np.linspace(-16, -8, 25)[:-1], np.linspace(-8, 8, 113)]
)
"""Values of logit(p) that stand for the logit-normal shape."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen, as a multinomial: how often each outcome occurred, and its chance given p.

    An outcome has the chance coefficient * p^ones (1 - p)^zeros, less, for points of a curve, that of
    the next one.
    """

    coefficient: Floats
    """Logarithm of the number of orders in which the outcome can come."""
    ones: Ints
    zeros: Ints
    weight: Floats
    """Problems with the outcome."""
    group: Ints
    """Outcomes of one group exclude each other and are compared among themselves (one group per n)."""
    whole: bool
    """Whether the outcomes of a group are all that could have occurred; else they are given that one did."""
    steps: bool = False
    """Outcomes are the fall from one point of a curve to the next."""

    @property
    def never(self) -> Floats:
        """Chance of each outcome where p is 0."""
        return np.where(self.falls & self.steps, 0.0, (self.ones == 0).astype(np.float64))

    @property
    def falls(self) -> Bools:
        """Outcomes that are the fall from one point of a curve to the next: all but the last."""
        return np.arange(len(self.ones)) < len(self.ones) - 1

    @property
    def problems(self) -> float:
        """Problems that the data are about."""
        return float(self.weight.sum())

    def given(self, chance: Floats) -> Floats:
        """`(len(chance), outcomes)`: chance of each outcome given the chance of a right response."""
        p = chance[:, None]
        return self._steps(np.exp(self.coefficient + xlogy(self.ones, p) + xlog1py(self.zeros, -p)))

    def under(self, shape: Shape, at: Floats) -> Floats:
        """`(points, outcomes)`: chance of each outcome under points of a shape."""
        return self._steps(shape.means(at, self.ones, self.zeros, self.coefficient))

    def observed(self) -> Seen:
        """The outcomes that occurred. Not for points of a curve, which are told by their neighbours."""
        kept = np.flatnonzero(self.weight > 0) if not self.steps else np.arange(len(self.weight))
        return Seen(
            self.coefficient[kept], self.ones[kept], self.zeros[kept], self.weight[kept], self.group[kept],
            self.whole, self.steps,
        )  # fmt: skip

    @cached_property
    def which(self) -> Ints:
        """Per outcome, the number of its group."""
        return np.unique(self.group, return_inverse=True)[1]

    def per_group(self, chance: Floats) -> Floats:
        """`(points, groups)`: sums over the outcomes of each group; the outcomes of a group stand together."""
        return np.asarray(np.add.reduceat(chance, np.unique(self.group, return_index=True)[1], axis=1))

    @property
    def share_of_group(self) -> Floats:
        """Of the problems, by group."""
        return np.asarray(self.per_group(self.weight[None])[0] / self.problems)

    def _steps(self, means: Floats) -> Floats:
        if not self.steps:
            return means
        return np.asarray(np.concatenate([means[:, :-1] - means[:, 1:], means[:, -1:]], axis=1))


class Shape(Protocol):
    """A distribution of p with two parameters, each point a row of `at`."""

    name: str
    limit: tuple[float, float]

    def means(self, at: Floats, ones: Ints, zeros: Ints, coefficient: Floats) -> Floats:
        """`(points, len(ones))`: means of exp(coefficient) p^ones (1 - p)^zeros."""

    def prior(self, at: Floats) -> Floats:
        """Log density of the parameters."""

    def start(self, mean: float) -> Floats:
        """A point to look for the best from, given the mean of p."""


class BetaShape:
    """Beta(a, b), by the logit of its mean and log(a + b)."""

    name = "beta"
    limit = (12.0, 8.0)

    def means(self, at: Floats, ones: Ints, zeros: Ints, coefficient: Floats) -> Floats:
        a, b = (x[:, None] for x in beta_of(at))
        out: Floats = np.exp(coefficient + betaln(a + ones, b + zeros) - betaln(a, b))
        return out

    def prior(self, at: Floats) -> Floats:
        """Jeffreys' for the mean; a + b within a factor of 7 of 1.6, one standard deviation."""
        mean = np.clip(expit(at[:, 0]), 1e-12, 1 - 1e-12)
        return np.asarray(0.5 * np.log(mean * (1 - mean)) - np.log(np.pi) + _normal(at[:, 1], 0.5, 2.0))

    def start(self, mean: float) -> Floats:
        return np.array([logit(mean), 0.3])


def beta_of(at: Floats) -> tuple[Floats, Floats]:
    """The a and b of points of `BetaShape`."""
    mean, size = expit(at[:, 0]), np.exp(at[:, 1])
    return mean * size, (1 - mean) * size


class LogitNormalShape:
    """logit(p) is normal: by its mean and the logarithm of its standard deviation."""

    name = "logit-normal"
    limit = (12.0, 4.0)
    grid = np.concatenate(
        [np.linspace(-30, -16, 8)[:-1], np.linspace(-16, -8, 25)[:-1], np.linspace(-8, 8, 113)]
    )
    edges = np.concatenate([[-np.inf], (grid[1:] + grid[:-1]) / 2, [np.inf]])

    def means(self, at: Floats, ones: Ints, zeros: Ints, coefficient: Floats) -> Floats:
        mass = np.diff(ndtr((self.edges - at[:, :1]) / np.exp(at[:, 1:])), axis=1)
        return np.asarray(mass @ _at_nodes(ones.tobytes(), zeros.tobytes(), coefficient.tobytes()))

    def prior(self, at: Floats) -> Floats:
        """Mean 0, give or take 3; standard deviation within a factor of e of 1.6."""
        return _normal(at[:, 0], 0.0, 3.0) + _normal(at[:, 1], 0.5, 1.0)

    def start(self, mean: float) -> Floats:
        return np.array([logit(mean), 0.3])


@lru_cache(maxsize=32)
def _at_nodes(ones: bytes, zeros: bytes, coefficient: bytes) -> Floats:
    """`(nodes, columns)`: exp(coefficient) p^ones (1 - p)^zeros, each given as the bytes of its array."""
    chance = expit(NODES)[:, None]
    x, y, scale = np.frombuffer(ones, np.int64), np.frombuffer(zeros, np.int64), np.frombuffer(coefficient)
    return np.asarray(np.exp(scale + xlogy(x, chance) + xlog1py(y, -chance)))


def _normal(x: Floats, mean: float, deviation: float) -> Floats:
    """Log density."""
    return np.asarray(-(((x - mean) / deviation) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi)))


BETA, LOGIT_NORMAL = BetaShape(), LogitNormalShape()


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the data leave of one family: points with weights."""

    name: str
    shape: Shape
    at: Floats
    """`(points, 2)` parameters."""
    never: Floats
    """`(points, shares)`: share of problems never solved, among those that the data are about."""
    weight: Floats
    """`(points, shares)`: adds to 1."""
    score: float
    """Log probability of the data with the parameters integrated out."""
    best: tuple[Floats, float]
    """The likeliest parameters and share of problems never solved."""

    @property
    def parameters(self) -> int:
        return 3 if self.never.shape[1] > 1 else 2

    def miss(self, seen: Seen, k: int) -> Floats:
        """`(points, shares)`: chance that k draws of a problem that `seen` is about are all wrong."""
        if seen.whole:
            lost = self.shape.means(self.at, np.zeros(1, np.int64), np.array([k]), np.zeros(1))[:, 0]
        else:
            each = self.shape.means(self.at, seen.ones, seen.zeros + k, seen.coefficient)
            lost = (seen.per_group(each) / self._reach(seen)) @ seen.share_of_group
        return np.asarray((1 - self.never) * lost[:, None] + self.never)

    def miss_here(self, seen: Seen, k: int) -> tuple[Floats, Floats]:
        """`(points, shares)`: of how many of the very problems seen k draws are all wrong, and its variance.

        Each problem's chance is what its own count leaves of the family; the draws are new ones.
        """
        kept = np.flatnonzero(seen.weight > 0)
        ones, zeros, weight = seen.ones[kept], seen.zeros[kept], seen.weight[kept]
        scale = seen.coefficient[kept]
        reach = 1.0 if seen.whole else self._reach(seen)[:, seen.which[kept]]
        none, once, twice = (
            np.maximum(self.shape.means(self.at, ones, zeros + more, scale) / reach, 1e-300)
            for more in (0, k, 2 * k)
        )
        above = ones > 0
        first, second = (once / none)[:, above], (twice / none)[:, above]
        mean = np.repeat((first @ weight[above])[:, None], self.never.shape[1], axis=1)
        variance = np.repeat(((second - first**2) @ weight[above])[:, None], self.never.shape[1], axis=1)
        for i in np.flatnonzero(~above):
            some, one, two = (
                (1 - self.never) * part[:, i, None] + self.never for part in (none, once, twice)
            )
            mean += weight[i] * one / some
            variance += weight[i] * (two / some - (one / some) ** 2)
        return mean, np.maximum(variance, 0.0)

    def _reach(self, seen: Seen) -> Floats:
        """`(points, groups)`: share of each group that the shape puts where `seen` looks."""
        return np.maximum(seen.per_group(seen.under(self.shape, self.at)), 1e-300)


def fit(shape: Shape, seen: Seen, *, never: bool, seed: int = 0) -> Posterior:
    """The posterior of a shape, alone or with a share of problems never solved.

    Importance sampling from a Student distribution around the mode, moved and reshaped until it serves.
    """
    problem = _Fit(shape, seen, never)
    centre, spread = problem.mode()
    limit = np.array(shape.limit)
    steps = _steps(seed)
    proposal = -(FREEDOM + 2) / 2 * np.log1p(np.sum(steps**2, axis=1) / FREEDOM)
    for _ in range(ROUNDS):
        at = centre + steps @ spread.T
        inside = np.all(np.abs(at) <= limit, axis=1)
        at = np.clip(at, -limit, limit)
        log_likelihood, share, width = problem.shares(at)
        density = log_likelihood + shape.prior(at)[:, None]
        density[~inside] = -np.inf
        joint = density + np.log(width) - proposal[:, None]
        top = float(joint.max())
        weight = np.exp(joint - top)
        # The Student density is 1 / (2 pi det(spread)) at its centre.
        area = abs(float(np.linalg.det(spread))) * 2 * np.pi
        score = top + float(np.log(weight.mean(axis=0).sum() * area))
        weight /= weight.sum()
        per_point = weight.sum(axis=1)
        if 1 / np.sum(per_point**2) > ENOUGH * len(at):
            break
        centre = per_point @ at
        around = (at - centre) * np.sqrt(per_point)[:, None]
        spread = np.linalg.cholesky(around.T @ around + 1e-5 * np.eye(2)) * 1.3
    i, j = np.unravel_index(int(np.argmax(density)), density.shape)
    name = shape.name + (" + never" if never else "")
    return Posterior(name, shape, at, share, weight, score, (at[i], float(share[i, j])))


class _Fit:
    def __init__(self, shape: Shape, seen: Seen, never: bool) -> None:
        self.shape, self.seen, self.with_never = shape, seen, never
        self.at_zero = np.flatnonzero(seen.never > 0)
        self.above = np.flatnonzero(seen.never == 0)

    def outcomes(self, at: Floats) -> Floats:
        """`(points, outcomes)`: the chance of each outcome in its group."""
        chance = np.maximum(self.seen.under(self.shape, at), 1e-300)
        return chance if self.seen.whole else chance / self.seen.per_group(chance)[:, self.seen.which]

    def shares(self, at: Floats) -> tuple[Floats, Floats, Floats]:
        """`(points, shares)`: log likelihood, the shares, and the prior weight of each."""
        chance = self.outcomes(at)
        weight = self.seen.weight
        if not self.with_never:
            return (np.log(chance) @ weight)[:, None], np.zeros((len(at), 1)), np.ones((len(at), 1))
        zero, hits = chance[:, self.at_zero], weight[self.at_zero]
        others = float(weight[self.above].sum())
        share, width = _share_grid(zero, hits, others)
        mixed = np.log(zero[:, None] + share[:, :, None] * (1 - zero[:, None])) @ hits
        rest = np.log(chance[:, self.above]) @ weight[self.above]
        return mixed + rest[:, None] + others * np.log1p(-share), share, width

    def log_density(self, at: Floats) -> Floats:
        log_likelihood, _, width = self.shares(at)
        log_likelihood = log_likelihood + np.log(width)
        top = log_likelihood.max(axis=1)
        total = np.exp(log_likelihood - top[:, None]).sum(axis=1)
        return np.asarray(top + np.log(total) + self.shape.prior(at))

    def mode(self) -> tuple[Floats, Floats]:
        """The likeliest point, and a matrix that turns unit steps into steps of one standard error and a bit."""
        limit = np.array(self.shape.limit)

        def loss(x: Floats) -> float:
            return 1e12 if np.any(np.abs(x) > limit) else -float(self.log_density(x[None])[0])

        seen = self.seen
        if seen.steps:
            mean = seen.weight[0] / seen.weight.sum()
        else:
            mean = (seen.weight @ (seen.ones / (seen.ones + seen.zeros)) + 0.5) / (seen.weight.sum() + 1)
        found = minimize(
            loss,
            self.shape.start(float(np.clip(mean, 1e-3, 1 - 1e-3))),
            method="Nelder-Mead",
            options={"xatol": 2e-2, "fatol": 1e-2, "maxiter": 200},
        )
        centre: Floats = found.x
        step = 0.1
        corners = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)], np.float64)
        value = -self.log_density(np.clip(centre + step * corners, -limit, limit)).reshape(3, 3)
        cross = (value[2, 2] - value[2, 0] - value[0, 2] + value[0, 0]) / 4
        bend = np.array(
            [
                [value[2, 1] - 2 * value[1, 1] + value[0, 1], cross],
                [cross, value[1, 2] - 2 * value[1, 1] + value[1, 0]],
            ]
        )
        curvature, axes = np.linalg.eigh(bend / step**2)
        return centre, axes / np.sqrt(np.maximum(curvature, 0.1)) * 1.3


def _share_grid(zero: Floats, hits: Floats, others: float) -> tuple[Floats, Floats]:
    """Per point, shares of never-solved problems around the likeliest one, and the width that each stands for.

    The log likelihood is concave in the share, so bisection finds the likeliest.
    """
    low, high = np.zeros(len(zero)), np.full(len(zero), 1 - 1e-9)

    def slope(share: Floats) -> Floats:
        return np.asarray(((1 - zero) / (zero + share[:, None] * (1 - zero))) @ hits - others / (1 - share))

    if len(hits) == 1:
        seen = hits[0] / (hits[0] + others)
        best = np.clip((seen - zero[:, 0]) / (1 - zero[:, 0]), 0, 1 - 1e-9)
    else:
        for _ in range(30):
            middle = (low + high) / 2
            rising = slope(middle) > 0
            low, high = np.where(rising, middle, low), np.where(rising, high, middle)
        best = (low + high) / 2
    best = np.where(best < 1e-6, 0.0, best)
    odds = (1 - zero) / (zero + best[:, None] * (1 - zero))
    error = 1 / np.sqrt(odds**2 @ hits + others / (1 - best) ** 2)
    start, end = np.maximum(best - 5.5 * error, 0.0), np.minimum(best + 5.5 * error, 1.0)
    # From 0 the steps grow, for the likelihood may fall steeply there.
    level = (np.arange(SHARES) + 0.5) / SHARES
    bent = (start == 0)[:, None]
    reach = (end - start)[:, None]
    share = start[:, None] + reach * np.where(bent, level**2, level)
    width = reach * np.where(bent, 2 * level, 1.0) / SHARES
    return np.clip(share, 0.0, 1 - 1e-9), np.maximum(width, 1e-300)


@lru_cache(maxsize=4)
def _steps(seed: int) -> Floats:
    uniform = qmc.Sobol(3, seed=seed).random(DRAWS)
    uniform = np.clip(uniform, 1e-9, 1 - 1e-9)
    radius = np.sqrt(chi2.ppf(uniform[:, 2], FREEDOM) / FREEDOM)
    return np.asarray(norm.ppf(uniform[:, :2]) / radius[:, None])
