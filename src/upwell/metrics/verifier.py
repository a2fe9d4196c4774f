"""How well a verifier's scores tell right responses from wrong ones, and what noise that leaves best_of@k.

best_of@k depends on scores through their order within a problem alone. Any order of right and wrong
draws is described by the binormal model of signal detection: scores of wrong responses are N(0, 1), those
of right ones N(d, 1), so that a right one beats a wrong one with the chance P(d / sqrt(2)), the AUC. It
differs from problem to problem; each problem's is drawn towards the others' by as much as it is uncertain
(DerSimonian and Laird 1986). Given d and the chance p of a right response, both best_of@k and the
covariance of two overlapping k-subsets are integrals over one score, tabulated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import Ranking
from upwell.metrics.outcomes import Bools, Floats
from upwell.metrics.resampling import overlap

CHANCES = np.sin(np.linspace(0, np.pi / 2, 31)) ** 2
"""Chances of a right response at which the tables are made."""
APART = np.array([-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0])
"""Values of d at which the tables are made."""
AUC = (0.003, 0.997)
"""Limits of the mean AUC: d is between -4 and 4 at them."""
EDGES = 241
"""Score limits of the integrals."""
SHARED = np.array([0.0, 0.125, 0.25, 0.5, 0.75, 0.9, 1.0])
"""Shares of their draws that two subsets have in common at which the covariance is tabulated."""


@dataclass(frozen=True, eq=False)
class Verifier:
    """The distance d of each problem's right scores from its wrong ones."""

    difficulty: Difficulty
    nodes: Floats
    """`(problems, len(APART))`: weights by which tables over `APART` are averaged for a problem."""

    @classmethod
    def fit(cls, difficulty: Difficulty, ranking: Ranking, right: Bools) -> Verifier:
        """From ranked responses and whether each is right; `difficulty` fitted to the same ones."""
        return cls.of(difficulty, preferences(ranking, right))

    @classmethod
    def of(cls, difficulty: Difficulty, auc: Floats) -> Verifier:
        """From what `preferences` gives."""
        c, wrong = difficulty.c, difficulty.n - difficulty.c
        known = (c > 0) & (wrong > 0)
        auc, c, wrong = np.where(known, auc, 0.5), np.maximum(c, 1), np.maximum(wrong, 1)
        weight = np.where(known, c * wrong / (c + wrong), 0.0)
        mean = float(np.clip((weight @ auc + 0.05) / (weight.sum() + 0.1), *AUC))
        # What drawing the responses again does to each AUC (Hanley and McNeil 1982), and what it does not.
        ahead, behind = mean / (2 - mean) - mean**2, 2 * mean**2 / (1 + mean) - mean**2
        noise = (mean * (1 - mean) + (c - 1) * ahead + (wrong - 1) * behind) / (c * wrong)
        trust = np.where(known, 1 / noise, 0.0)
        total = max(float(trust.sum()), 1e-12)
        excess = float(trust @ (auc - mean) ** 2) - max(int(np.count_nonzero(known)) - 1, 0)
        between = max(excess / max(total - float(trust @ trust) / total, 1e-12), 1e-9)
        error = 1 / (1 / between + trust)
        middle = mean + error * trust * (auc - mean)
        # From the AUC to d, to first order around the mean.
        centre = np.sqrt(2) * float(ndtri(mean))
        slope = np.sqrt(2) * np.sqrt(2 * np.pi) * np.exp(centre**2 / 4)
        nodes = np.zeros((len(auc), len(APART)))
        # Three points have a normal distribution's first five moments.
        for step, share in ((-np.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (np.sqrt(3.0), 1 / 6)):
            nodes += share * _hats(APART, centre + slope * (middle - mean + step * np.sqrt(error)))
        return cls(difficulty, nodes)

    def noise(self, k: int) -> tuple[Floats, Floats]:
        """Sampling variance of each problem's best_of@k, over drawing all n responses again, and its smoothed value."""
        value, common = _tables(k)
        chances = _hats(CHANCES, self.difficulty.chances)
        posterior = self.difficulty.posterior.T @ chances
        noise, expected = np.zeros(len(self.nodes)), np.zeros(len(self.nodes))
        which, n = self.difficulty.which, self.difficulty.n
        expected = np.einsum("pd,pd->p", (posterior @ value)[which], self.nodes)
        for size in np.unique(n):
            chosen = n == size
            table = np.tensordot(_shares(int(size), k), common, 1)
            noise[chosen] = np.einsum("pd,pd->p", (posterior @ table)[which[chosen]], self.nodes[chosen])
        return noise, expected


def preferences(ranking: Ranking, right: Bools) -> Floats:
    """Per problem, the chance that a right response of it has a higher score than a wrong one (the AUC).

    Equal scores count one half; NaN where all responses are right, or all wrong.
    """
    n = ranking.n
    good = np.add.reduceat(right[ranking.order].astype(np.float64), ranking.first)
    below = n[ranking.owner] - ranking.above - (ranking.size - 1) / 2
    count = np.bincount(ranking.owner, good, len(n))
    wins = np.bincount(ranking.owner, good * below, len(n)) - count * (count + 1) / 2
    pairs = count * (n - count)
    return np.asarray(np.divide(wins, pairs, out=np.full(len(n), np.nan), where=pairs > 0))


def _hats(nodes: Floats, at: Floats) -> Floats:
    """`(len(at), len(nodes))`: the weights of linear interpolation between `nodes`; constant beyond them."""
    at = np.clip(at, nodes[0], nodes[-1])
    left = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share = (at - nodes[left]) / (nodes[left + 1] - nodes[left])
    out = np.zeros((len(at), len(nodes)))
    rows = np.arange(len(at))
    out[rows, left] = 1 - share
    out[rows, left + 1] = share
    return out


@lru_cache(maxsize=512)
def _shares(n: int, k: int) -> Floats:
    """How often two random k-subsets of n draws share so much, by `SHARED`."""
    return overlap(n, k) @ _hats(SHARED, np.arange(k + 1) / k)


@lru_cache(maxsize=64)
def _tables(k: int) -> tuple[Floats, Floats]:
    """best_of@k, `(CHANCES, APART)`, and the covariance of two subsets, `(SHARED, CHANCES, APART)`.

    Let m draws be added to a subset whose best has score t. They take over, and rightly so, with the chance
    A(t) = the integral of the right share of the density of their maximum above t; else, with the chance
    F(t)^m, the old best stays. Two subsets that share j draws are two such additions of k - j.
    """
    value = np.empty((len(CHANCES), len(APART)))
    common = np.zeros((len(SHARED), len(CHANCES), len(APART)))
    p = CHANCES[:, None]
    for column, d in enumerate(APART):
        x = np.linspace(min(d, 0.0) - 6.0, max(d, 0.0) + 6.0, EDGES)
        high, low = np.diff(ndtr(x - d)), np.diff(ndtr(x))
        upper = p * ndtr(x - d) + (1 - p) * ndtr(x)
        share = p * high / np.maximum(p * high + (1 - p) * low, 1e-300)
        best = np.sum(share * np.diff(upper**k), axis=1)
        value[:, column] = best
        middle = (upper[:, 1:] + upper[:, :-1]) / 2
        for row, x_shared in enumerate(SHARED[1:], 1):
            shared, added = x_shared * k, (1 - x_shared) * k
            gain = share * np.diff(upper**added)
            takes = np.cumsum(gain[:, ::-1], axis=1)[:, ::-1] - gain / 2
            stays = middle**added
            both = share * (takes + stays) ** 2 + (1 - share) * takes**2
            common[row, :, column] = np.sum(both * np.diff(upper**shared), axis=1) - best**2
    return value, np.maximum(common, 0.0)
