"""maj@k: the chance that the plurality answer of k random draws is right, exactly where that is feasible.

Take one problem with n draws, answer classes of sizes c_i and c_0 draws without an answer. Over all
k-subsets, class j wins with m votes, tied with t others, in a share 1 / (t + 1) of

    C(c_j, m) * [z^(k-m)]  (1 + z)^c_0  *  prod over i != j of (sum_{x<m} C(c_i, x) z^x  +  u C(c_i, m) z^m)

subsets, t being the power of u; and 1 / (t + 1) is the integral of u^t from 0 to 1, so ties cost one
Gauss-Legendre sum. Scaling z turns every factor into a truncated binomial distribution with p about
k / n, so that the coefficient is a probability of moderate size: it is read off by a short discrete
Fourier transform, with an absolute error of about 1e-10 whatever n is.

Only contested terms are computed: a class that reaches m votes with a chance below `NEGLIGIBLE` counts
as unable to, and its factor joins the untruncated rest. Classes of equal size are one level, raised to
a power. Problems that would cost too much all the same are simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from upwell.metrics.outcomes import Classes, Floats, Ints, Outcomes

NEGLIGIBLE = 1e-12
"""Chance below which an event is left out of the exact sum."""
EXACT_WORK = 500_000_000
"""Complex multiplications that one call spends on exact values, about 5 s; the dearest problems beyond it
are simulated."""
SUBSETS = 200_000
"""Random subsets that one call spends on simulated problems, shared among them: at least 256 each."""
CHUNK = 500_000
"""Complex numbers held at once."""

Complexes = npt.NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Majority:
    """maj@k per problem, and how it was got."""

    values: Floats
    errors: Floats
    """Monte Carlo standard error per problem; 0 where the value is exact."""

    @property
    def simulated(self) -> int:
        """Problems that were not done exactly."""
        return int(np.count_nonzero(self.errors))

    @property
    def error(self) -> float:
        """Standard error that Monte Carlo adds to the mean over problems."""
        return float(np.sqrt(np.sum(self.errors**2)) / max(len(self.errors), 1))


def maj_at_k(n: Ints, classes: Classes, k: int, *, seed: int = 0, exact_work: int = EXACT_WORK) -> Majority:
    """Chance, per problem, that the most frequent answer among k of its n draws is right.

    Over all k-subsets, draws taken without replacement; tied answers win in equal shares; draws
    without an answer do not vote, and a subset where nobody votes is wrong.

    Args:
        n: Draws per problem, those without an answer included.
        classes: The distinct answers of each problem, with counts and rightness.
        k: Subset size, from 1 to the smallest n.
        seed: Of the Monte Carlo part.
        exact_work: Complex multiplications that may be spent; beyond it the dearest problems are simulated.
    """
    if len(n) and not 1 <= k <= int(n.min()):
        raise ValueError(f"k must be between 1 and the smallest n, {int(n.min())}; got {k}")
    values, errors = np.zeros(len(n)), np.zeros(len(n))
    levels = _Levels.of(n, classes)
    if k == 1:
        np.add.at(values, levels.owner, levels.size * levels.right / n[levels.owner])
        return Majority(values, errors)
    top = levels.starts[:-1][np.diff(levels.starts) > 0]
    whole = np.zeros(len(n), np.bool_)
    whole[levels.owner[top]] = n[levels.owner[top]] == k
    decided = top[whole[levels.owner[top]]]
    values[levels.owner[decided]] = levels.right[decided] / levels.mult[decided]
    rng = np.random.default_rng([seed, k])
    for near in _buckets(n, k, ~whole & levels.hopeful(len(n))):
        batch = _Batch(levels, n, near, k)
        dear = batch.too_dear(exact_work)
        values += batch.solve(dear)
        subsets = int(np.clip(SUBSETS // max(len(dear), 1), 256, 20_000))
        for i in dear:
            span = slice(int(classes.starts[i]), int(classes.starts[i + 1]))
            values[i], errors[i] = _simulate(
                classes.counts[span], classes.right[span], int(n[i]), k, subsets, rng
            )
    return Majority(np.clip(values, 0.0, 1.0), errors)


def maj_at_k_first(outcomes: Outcomes, k: int) -> Floats:
    """Whether the most frequent answer of each problem's first k draws is right; ties go to the first seen.

    The number that most published scripts report. It uses k draws of each problem and no more, so it
    is noisier than `maj_at_k`. A problem where none of the first k draws has an answer is wrong.
    """
    rows = outcomes.by_vote
    place = rows - outcomes.starts[outcomes.owner[rows]]
    rows, at = rows[place < k], place[place < k]
    owner, vote = outcomes.owner[rows], outcomes.votes[rows]
    first = np.flatnonzero(np.r_[True, (owner[1:] != owner[:-1]) | (vote[1:] != vote[:-1])][: len(owner)])
    values = np.zeros(len(outcomes.slots))
    if len(first):
        counts = np.diff(np.r_[first, len(owner)])
        right = np.maximum.reduceat((outcomes.correct[rows] == 1).astype(np.int8), first)
        best = np.lexsort((at[first], -counts, owner[first]))
        problem = owner[first][best]
        winner = np.r_[True, problem[1:] != problem[:-1]]
        values[problem[winner]] = right[best][winner]
    return values


def _simulate(
    counts: Ints, right: Floats, n: int, k: int, subsets: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Mean and standard error over random k-subsets of one problem."""
    everyone = np.r_[counts, n - counts.sum()]
    votes = rng.multivariate_hypergeometric(everyone, k, size=subsets, method="marginals")[:, :-1]
    top = votes.max(axis=1, keepdims=True)
    winners = (votes == top) & (top > 0)
    won = (winners @ right) / np.maximum(winners.sum(axis=1), 1)
    # Two subsets are added, one won and one lost, so that unanimity does not pass for certainty.
    share, tried = won.mean(), subsets + 2
    variance = (np.sum((won - share) ** 2) + 0.5) / tried
    return float(share), float(np.sqrt(variance / tried))


@dataclass(frozen=True, eq=False)
class _Levels:
    """Classes of one size of one problem, counted; per problem in falling order of size."""

    owner: Ints
    size: Ints
    mult: Ints
    right: Floats
    """Rightness summed over the classes of the level."""
    starts: Ints

    @classmethod
    def of(cls, n: Ints, classes: Classes) -> _Levels:
        owner = np.repeat(np.arange(len(n)), np.diff(classes.starts))
        counts = classes.counts
        first = np.flatnonzero(
            np.r_[True, (owner[1:] != owner[:-1]) | (counts[1:] != counts[:-1])][: len(owner)]
        )
        mult = np.diff(np.r_[first, len(owner)])
        right = np.add.reduceat(classes.right, first) if len(first) else np.zeros(0)
        starts = np.searchsorted(owner[first], np.arange(len(n) + 1))
        return cls(owner[first], counts[first], mult, right, starts)

    def hopeful(self, problems: int) -> npt.NDArray[np.bool_]:
        """Which problems have a right answer at all."""
        return np.asarray(np.bincount(self.owner, self.right, problems) > 0)


def _buckets(n: Ints, k: int, wanted: npt.NDArray[np.bool_]) -> list[Ints]:
    """Problems whose n are so near that one tilt p = k / n serves them all within two standard deviations."""
    order = np.flatnonzero(wanted)
    order = order[np.argsort(n[order], kind="stable")]
    out: list[Ints] = []
    while len(order):
        limit = n[order[0]] * (1 + 2 / np.sqrt(k))
        cut = int(np.searchsorted(n[order], limit, side="right"))
        out.append(order[:cut])
        order = order[cut:]
    return out


class _Batch:
    """The contested terms (level j wins with m votes) of problems with nearly the same n."""

    def __init__(self, levels: _Levels, n: Ints, problems: Ints, k: int) -> None:
        self.levels, self.n, self.k = levels, n, k
        largest = int(n[problems].max())
        self.p = min(k / float(np.median(n[problems])), 1 - 1 / (2 * largest))
        self._factorials = gammaln(np.arange(largest + 2) + 1.0)
        self.whole = self._binomial(n, np.full(len(n), k), valid=np.isin(np.arange(len(n)), problems))
        self.points = self._circle_points(problems)
        ours = np.zeros(len(n), np.bool_)
        ours[problems] = True
        self.jobs(np.flatnonzero(ours[levels.owner] & (levels.right > 0)))

    def _binomial(self, c: Ints, x: Ints, valid: npt.NDArray[np.bool_] | None = None) -> Floats:
        """Chance of x under Binomial(c, p); 0 outside 0..c and where not valid."""
        inside = (x >= 0) & (x <= c)
        if valid is not None:
            inside &= valid
        c, x = np.where(inside, c, 0), np.where(inside, x, 0)
        log = self._factorials[c] - self._factorials[x] - self._factorials[c - x]
        return np.where(inside, np.exp(log + x * np.log(self.p) + (c - x) * np.log1p(-self.p)), 0.0)

    def _circle_points(self, problems: Ints) -> int:
        """Points on the circle such that what wraps around onto k is negligible beside the chance of k."""
        low, high = int(self.n[problems].min()), int(self.n[problems].max())
        x = np.arange(high + 1)
        heavy = np.maximum(
            self._binomial(np.full(high + 1, low), x), self._binomial(np.full(high + 1, high), x)
        )
        floor = min(self.whole[problems].min(), 1.0) * NEGLIGIBLE
        reach = np.abs(x - self.k)[heavy > floor / high]
        return int(reach.max()) + 1 if len(reach) else high + 1

    def jobs(self, rows: Ints) -> None:
        """Lay out one term per (winning level, m) that has a chance worth counting."""
        levels = self.levels
        sizes = np.unique(levels.size[np.isin(levels.owner, levels.owner[rows])])
        low, high, surely, self.reaching = self._windows(sizes)
        biggest = levels.size[levels.starts[:-1][levels.owner[rows]]]
        at = np.searchsorted(sizes, levels.size[rows])
        first = np.maximum(np.maximum(low[at], surely[np.searchsorted(sizes, biggest)]), 1)
        count = np.maximum(np.minimum(high[at], self.k) - first + 1, 0)
        row = np.repeat(rows, count)
        m = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        owner, size = levels.owner[row], levels.size[row]
        chance = self._binomial(size, m)
        possible = chance * self._binomial(self.n[owner] - size, self.k - m) > NEGLIGIBLE * self.whole[owner]
        self.row, self.m, self.owner = row[possible], m[possible], owner[possible]
        self.chance = chance[possible] / self.whole[self.owner]
        self._rivals()

    def _windows(self, sizes: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Per class size, the first and last m that matter and the m it all but surely reaches; and per m
        the smallest size that can reach it."""
        low, high, surely = (
            np.zeros(len(sizes), np.int64),
            np.zeros(len(sizes), np.int64),
            np.zeros(len(sizes), np.int64),
        )
        reaching = np.full(self.k + 2, np.iinfo(np.int32).max, np.int64)
        for i in range(len(sizes) - 1, -1, -1):
            c = int(sizes[i])
            # Ten standard deviations and 60 more hold all but 1e-18 of any binomial.
            reach = int(10 * np.sqrt(c * self.p * (1 - self.p))) + 60
            x = np.arange(max(int(c * self.p) - reach, 0), min(int(c * self.p) + reach, c) + 1)
            row = self._binomial(np.full(len(x), c), x)
            seen = np.flatnonzero(row > NEGLIGIBLE / self.n.max())
            low[i], high[i] = (x[seen[0]], x[seen[-1]]) if len(seen) else (0, -1)
            surely[i] = x[min(int(np.searchsorted(np.cumsum(row), NEGLIGIBLE)), len(x) - 1)]
            tail = np.cumsum(row[::-1])[::-1]
            most = int(x[max(int(np.count_nonzero(tail > NEGLIGIBLE)) - 1, 0)])
            reaching[: min(most, self.k) + 1] = c
        return low, high, surely, reaching

    def _rivals(self) -> None:
        """How many levels can tie with or beat each term, and the draws that remain outside them."""
        levels, step = self.levels, int(self.levels.size.max(initial=0)) + 1
        place = levels.owner * step + (step - 1 - levels.size)
        limit = np.minimum(self.reaching[self.m], step)
        end = np.searchsorted(place, self.owner * step + (step - 1 - limit), side="right")
        self.begin = levels.starts[:-1][self.owner]
        self.active = np.maximum(end - self.begin, 0)
        total = np.r_[0, np.cumsum(levels.size * levels.mult)]
        members = np.r_[0, np.cumsum(levels.mult)]
        stop = self.begin + self.active
        own = (self.row < stop).astype(np.int64)
        size = levels.size[self.row]
        self.rest = self.n[self.owner] - size - (total[stop] - total[self.begin] - own * size)
        ties = np.minimum(members[stop] - members[self.begin] - own, self.k // np.maximum(self.m, 1) - 1)
        self.nodes = np.maximum(ties, 0) // 2 + 1
        # A winner that is the only class of its size is no rival of its own: its level is stepped over.
        self.alone = (own == 1) & (levels.mult[self.row] == 1)
        self.active = self.active - self.alone
        self.cost = np.where(self.active > 0, (self.active + 1) * self.nodes * (self.points // 2 + 1), 0)

    def too_dear(self, work: int) -> Ints:
        """The problems to be simulated, so that the rest stays within the work allowed."""
        cost = np.bincount(self.owner, self.cost.astype(np.float64), len(self.n))
        order = np.argsort(cost, kind="stable")
        return order[np.cumsum(cost[order]) > work]

    def solve(self, skipped: Ints) -> Floats:
        """Sum the terms of all problems but the skipped ones."""
        out = np.zeros(len(self.n))
        keep = ~np.isin(self.owner, skipped)
        weight = self.chance * self.levels.right[self.row]
        alone = np.flatnonzero(keep & (self.active == 0))
        lone = weight[alone] * self._binomial(self.rest[alone], self.k - self.m[alone])
        np.add.at(out, self.owner[alone], lone)
        todo = np.flatnonzero(keep & (self.active > 0))
        todo = todo[np.lexsort((self.nodes[todo], self.active[todo], self.m[todo]))]
        walk = _Circle(self, np.unique(self.levels.size[np.isin(self.levels.owner, self.owner[todo])]))
        key = np.stack([self.m[todo], self.active[todo], self.nodes[todo]])
        cuts = np.flatnonzero(np.any(key[:, 1:] != key[:, :-1], axis=0)) + 1
        for group in np.split(todo, cuts):
            chunk = max(CHUNK // (len(walk.circle) * int(self.nodes[group[0]])), 1) if len(group) else 1
            for begin in range(0, len(group), chunk):
                jobs = group[begin : begin + chunk]
                np.add.at(out, self.owner[jobs], weight[jobs] * walk.coefficients(self, jobs))
        return out


@lru_cache(maxsize=256)
def _quadrature(nodes: int) -> tuple[Floats, Floats]:
    """Points and weights on [0, 1], exact for polynomials of degree 2 * nodes - 1."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return (points + 1) / 2, weights / 2


class _Circle:
    """Truncated binomial generating functions on the unit circle, for one m at a time, m rising."""

    def __init__(self, batch: _Batch, sizes: Ints) -> None:
        points = batch.points
        half = points // 2 + 1
        self.circle: Complexes = np.exp(2j * np.pi * np.arange(half) / points)
        # The lower half of the circle mirrors the upper: its points count twice, the real ones once.
        self.weights = np.where((2 * np.arange(half)) % points == 0, 1.0, 2.0) / points
        self.sizes, self.p = sizes, batch.p
        self.m = 0
        self.below: Complexes = np.zeros((len(sizes), half), np.complex128)
        """Per size c, the sum over x < m of P(Binomial(c, p) = x) z^x."""
        self.equal = self._term(batch, 0)

    def _term(self, batch: _Batch, m: int) -> Complexes:
        chance = batch._binomial(self.sizes, np.full(len(self.sizes), m))
        return np.asarray(chance[:, None] * self.circle**m)

    def advance(self, batch: _Batch, m: int) -> None:
        while self.m < m:
            self.below += self.equal
            self.m += 1
            self.equal = self._term(batch, self.m)

    def coefficients(self, batch: _Batch, jobs: Ints) -> Floats:
        """The coefficient of z^(k-m) for terms that share m, the number of rival levels and of nodes."""
        first = jobs[0]
        m, active, nodes = int(batch.m[first]), int(batch.active[first]), int(batch.nodes[first])
        self.advance(batch, m)
        u, share = _quadrature(nodes)
        factors = self.below[:, None, :] + u[:, None] * self.equal[:, None, :]
        product = np.ones((len(jobs), nodes, len(self.circle)), np.complex128)
        for i in range(active):
            level = batch.begin[jobs] + i
            level += batch.alone[jobs] & (level >= batch.row[jobs])
            power = batch.levels.mult[level] - (level == batch.row[jobs])
            factor = factors[np.searchsorted(self.sizes, batch.levels.size[level])]
            many = np.flatnonzero(power > 1)
            if len(many):
                factor[many] **= power[many, None, None]
            product *= factor
        rest, which = np.unique(batch.rest[jobs], return_inverse=True)
        tail = (1 - self.p + self.p * self.circle) ** rest[:, None]
        tail *= self.circle ** (m - batch.k) * self.weights
        summed = product[:, 0] if nodes == 1 else np.einsum("jul,u->jl", product, share)
        return np.asarray(np.sum(summed * tail[which.reshape(-1)], axis=1).real)
