"""All families of difficulty together, each weighted by how well it predicts problems held out.

The weight comes from the log probability of the counts with the parameters integrated out: it equals the
score of predicting held-out problems from the rest, summed over held-out sets of every size (Fong and
Holmes 2020, Biometrika 107). Families that the data cannot tell apart share the weight, so the mixture's
interval carries that too.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.special import betaln, gammaln
from scipy.stats import binom, chi2

from upwell.metrics.families import BETA, LOGIT_NORMAL, Posterior, Seen, Shape, fit
from upwell.metrics.intervals import LEVEL
from upwell.metrics.outcomes import Floats, Ints

FAMILIES: tuple[tuple[Shape, bool], ...] = (
    (BETA, False),
    (BETA, True),
    (LOGIT_NORMAL, False),
    (LOGIT_NORMAL, True),
)
UNFIT = 0.05
"""Level at which a family is found not to describe the data."""
EXPECTED = 4.0
"""Problems expected in each bin of the test of fit."""
FEW = (1, 2, 4)
"""Problems with 1 to this many right responses are counted apart: what becomes of more draws hangs on them."""
ENDS = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
POINTS = 8192
"""Points of the mixture where the share of hard problems is uncertain too."""


class FamilyFit(msgspec.Struct, frozen=True, kw_only=True):
    """What one family of difficulty says."""

    name: str
    """`beta` or `logit-normal`; `+ never` with a share of problems that are never solved."""
    value: float
    low: float
    high: float
    """pass@k and its 95 % interval, if this family is true."""
    score: float
    """Log probability of the data, held-out problems predicted from others; differences are what matters."""
    weight: float
    """Of this family among all, from the score; the weights add to 1."""
    p_value: float
    """Of the test whether it describes the data; below 0.05 it does not."""


@dataclass(frozen=True)
class Easy:
    """The problems left out where only hard ones are looked at."""

    n: Ints
    c: Ints

    def miss(self, k: int) -> Floats:
        """Chance that k draws are all wrong, each problem judged by its own draws (Jeffreys' prior)."""
        a, b = self.c + 0.5, self.n - self.c + 0.5
        return np.asarray(np.exp(betaln(a, b + k) - betaln(a, b)))


def seen_counts(n: Ints, c: Ints, *, part: int | None = None) -> Seen:
    """Counts as outcomes: all that can occur; with `part`, only up to n // part right responses."""
    ones, zeros, group = [], [], []
    sizes = np.unique(n)
    for size in sizes:
        x = np.arange((int(size) if part is None else int(size) // part) + 1)
        ones.append(x)
        zeros.append(size - x)
        group.append(np.full(len(x), size))
    starts = np.cumsum([0, *(len(x) for x in ones[:-1])])
    right, wrong = np.concatenate(ones), np.concatenate(zeros)
    where = starts[np.searchsorted(sizes, n)] + c
    return Seen(
        coefficient=gammaln(right + wrong + 1) - gammaln(right + 1) - gammaln(wrong + 1),
        ones=right,
        zeros=wrong,
        weight=np.bincount(where, minlength=len(right)).astype(np.float64),
        group=np.concatenate(group),
        whole=part is None,
    )


class Mixture:
    """The families fitted to the same data.

    Args:
        seen: The data, with all outcomes that could have occurred.
        easy: Problems that `seen` leaves out.
        seed: Of the points at which the posteriors are looked at.
    """

    def __init__(self, seen: Seen, *, easy: Easy | None = None, seed: int = 0) -> None:
        self.seen, self.easy, self.seed = seen, easy, seed
        occurred = seen.observed() if seen.whole else seen
        self.members = [fit(shape, occurred, never=never, seed=seed) for shape, never in FAMILIES]
        score = np.array([member.score for member in self.members])
        self.weights: Floats = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
        self.p_values = [self._fit_test(member) for member in self.members]

    @property
    def fits(self) -> bool:
        """Whether any family describes the data."""
        return max(self.p_values) >= UNFIT

    @property
    def chosen(self) -> str:
        """The family with most weight."""
        return self.members[int(np.argmax(self.weights))].name

    def quantiles(self, k: int, levels: tuple[float, ...]) -> list[float]:
        """Of pass@k for problems like these, over all families."""
        weights = zip(self.weights, self.members, strict=True)
        together = np.concatenate([share * member.weight.ravel() for share, member in weights])
        return self._quantiles(
            np.concatenate([self._misses(m, k) for m in self.members]), together, k, levels
        )

    def interval_here(self, k: int) -> tuple[float, float]:
        """95 % interval of pass@k for the very problems seen, over all families."""
        counts = [member.miss_here(self.seen, k) for member in self.members]
        mean = np.concatenate([mean.ravel() for mean, _ in counts])
        variance = np.concatenate([variance.ravel() for _, variance in counts])
        problems = self.seen.problems
        if self.easy is not None:
            each = self.easy.miss(k)
            mean = mean + each.sum()
            variance = variance + np.sum(self.easy.miss(2 * k) - each**2)
            problems += len(each)
        rng = np.random.default_rng([self.seed, 4])
        level = (np.arange(POINTS) + 0.5) / POINTS
        reached = np.cumsum(self._together())
        chosen = np.minimum(np.searchsorted(reached / reached[-1], level), len(reached) - 1)
        share = np.clip(mean[chosen] / problems, 1e-12, 1 - 1e-12)
        spread = np.maximum(variance[chosen] / problems**2, 1e-24)
        # Between nobody and everybody, with this mean and variance.
        trials = np.maximum(share * (1 - share) / spread - 1, 1e-6)
        miss = rng.beta(share * trials, (1 - share) * trials)
        low, high = np.quantile(1 - miss, ENDS)
        return float(low), float(high)

    def families(self, k: int) -> tuple[FamilyFit, ...]:
        """Each family by itself."""
        out = []
        for member, weight, p_value in zip(self.members, self.weights, self.p_values, strict=True):
            value, low, high = self._quantiles(
                self._misses(member, k), member.weight.ravel(), k, (0.5, *ENDS)
            )
            out.append(
                FamilyFit(
                    name=member.name, value=value, low=low, high=high, score=member.score,
                    weight=float(weight), p_value=p_value,
                )
            )  # fmt: skip
        return tuple(out)

    def _together(self) -> Floats:
        weights = zip(self.weights, self.members, strict=True)
        return np.concatenate([share * member.weight.ravel() for share, member in weights])

    def _misses(self, member: Posterior, k: int) -> Floats:
        return member.miss(self.seen, k).ravel()

    def _quantiles(self, miss: Floats, weight: Floats, k: int, levels: tuple[float, ...]) -> list[float]:
        order = np.argsort(-miss, kind="stable")
        miss, weight = miss[order], weight[order]
        reached = np.cumsum(weight) - weight / 2
        if self.easy is not None:
            rng = np.random.default_rng([self.seed, 2])
            level = (np.arange(POINTS) + 0.5) / POINTS
            hard, easy = self.seen.problems, len(self.easy.n)
            share = rng.beta(hard + 0.5, easy + 0.5, POINTS)
            miss = np.interp(level, reached, miss) * share + float(self.easy.miss(k).mean()) * (1 - share)
            miss, reached = -np.sort(-miss), level
        return [float(1 - np.interp(level, reached, miss)) for level in levels]

    def _fit_test(self, member: Posterior) -> float:
        """p-value of Pearson's test and of a look at the problems with few right responses, together."""
        seen = self.seen
        at, never = member.best
        chance = seen.under(member.shape, at[None])
        chance = np.maximum(chance, 0) / np.maximum(seen.per_group(chance)[:, seen.which], 1e-300)
        chance = (1 - never) * chance[0] + never * seen.never
        expected = chance * seen.per_group(seen.weight[None])[0][seen.which]
        order = np.arange(len(seen.ones)) if seen.steps else seen.ones
        wanted = np.asarray(np.bincount(order, expected), np.float64)
        got = np.asarray(np.bincount(order, seen.weight), np.float64)
        pearson = _pearson(wanted, got, member.parameters)
        if seen.steps:
            return pearson
        total, few = round(seen.problems), [1.0]
        for most in FEW:
            if most < len(got) - 1:
                mean, count = float(wanted[1 : most + 1].sum() / total), int(got[1 : most + 1].sum())
                few += [2 * float(binom.cdf(count, total, mean)), 2 * float(binom.sf(count - 1, total, mean))]
        return min(1.0, 2 * min(pearson, *few))


def _pearson(expected: Floats, seen: Floats, parameters: int) -> float:
    """p-value of the chi-square test, neighbouring counts drawn together until enough are expected."""
    bins: list[list[float]] = []
    wanted = got = 0.0
    for e, o in zip(expected, seen, strict=True):
        wanted, got = wanted + e, got + o
        if wanted >= EXPECTED:
            bins.append([wanted, got])
            wanted = got = 0.0
    if not bins:
        return 1.0
    bins[-1][0] += wanted
    bins[-1][1] += got
    freedom = len(bins) - 1 - parameters
    if freedom < 1:
        return 1.0
    e, o = np.array(bins).T
    return float(chi2.sf(np.sum((o - e) ** 2 / e), freedom))
