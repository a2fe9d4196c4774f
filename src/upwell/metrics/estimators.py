"""Per-problem estimators of pass@k, pass^k and best_of@k: unbiased, exact, stable for 10,000 draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from upwell.metrics.outcomes import Bools, Floats, Ints


@lru_cache(maxsize=128)
def miss_table(n: int, k: int) -> Floats:
    """For c = 0..n, the chance C(n - c, k) / C(n, k) that k of n draws hold none of c marked ones.

    It is the running product of 1 - k / (n - i); every factor is in [0, 1] and the factor that ends
    the support is an exact zero, so the relative error is at most about n rounding errors.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and n = {n}, got {k}")
    factors = np.clip(1.0 - k / (n - np.arange(n)), 0.0, 1.0)
    table = np.concatenate([[1.0], np.cumprod(factors)])
    table.setflags(write=False)
    return table


def _miss(n: npt.ArrayLike, c: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    n_, c_, k_ = np.broadcast_arrays(
        np.asarray(n, np.int64), np.asarray(c, np.int64), np.asarray(k, np.int64)
    )
    if np.any((c_ < 0) | (c_ > n_)):
        raise ValueError("the count c must be between 0 and n")
    if n_.size and n_.min() == n_.max() and k_.min() == k_.max():
        return np.asarray(miss_table(int(n_.flat[0]), int(k_.flat[0]))[c_])
    out = np.empty(n_.shape, np.float64)
    pairs, which = np.unique(np.stack([n_.ravel(), k_.ravel()]), axis=1, return_inverse=True)
    flat, counts = out.reshape(-1), c_.ravel()
    for i, (n_one, k_one) in enumerate(pairs.T):
        chosen = which.reshape(-1) == i
        flat[chosen] = miss_table(int(n_one), int(k_one))[counts[chosen]]
    return out


def pass_at_k(n: npt.ArrayLike, c: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Chance that k of the n draws, taken without replacement, hold at least one of the c right ones.

    1 - C(n - c, k) / C(n, k), the unbiased estimate of 1 - (1 - p)^k (Chen et al. 2021, eq. 1); at
    k = n it is min(c, 1), the Pass@N of Xwin-Math. Arguments broadcast; 1 <= k <= n, 0 <= c <= n.
    """
    # At k = 1 the same division as PassRatio's, so that the two agree to the last bit.
    return np.where(np.asarray(k) == 1, np.true_divide(c, n), 1.0 - _miss(n, c, k))


def pass_hat_k(n: npt.ArrayLike, c: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Chance that k of the n draws, taken without replacement, are all among the c right ones.

    C(c, k) / C(n, k), the unbiased estimate of p^k (pass^k of Yao et al. 2024, tau-bench).
    """
    n, c = np.asarray(n, np.int64), np.asarray(c, np.int64)
    return np.where(np.asarray(k) == 1, np.true_divide(c, n), _miss(n, n - c, k))


def best_of_at_k(starts: Ints, right: Bools | Floats, scores: Floats, k: int) -> Floats:
    """Chance that the highest-scored of k of a problem's n draws is right, over all k-subsets.

    Equal scores share the choice equally. Exact: the subset's best lies at or below rank r in the
    order of scores with chance C(n - r, k) / C(n, k), and a block of equal scores takes the
    difference between its two ends.

    Args:
        starts: `(problems + 1,)`: the draws of problem i are `starts[i]:starts[i + 1]`.
        right: Per draw, whether it is right, or how right.
        scores: Per draw, higher being better.
        k: Subset size, at most the fewest draws of a problem.
    """
    return Ranking.of(starts, scores).best_of(right, k)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The draws of each problem from the best score down, in blocks of equal scores."""

    n: Ints
    """Draws per problem."""
    order: Ints
    """The draws, problem by problem, best first."""
    first: Ints
    """Where each block begins in `order`."""
    size: Ints
    """Draws in it."""
    owner: Ints
    """The problem that it belongs to."""
    above: Ints
    """Draws of that problem with higher scores."""

    @classmethod
    def of(cls, starts: Ints, scores: Floats) -> Ranking:
        """Arguments as of `best_of_at_k`."""
        n = np.diff(starts)
        owner = np.repeat(np.arange(len(n)), n)
        order = np.lexsort((-scores, owner))
        score = scores[order]
        first = np.flatnonzero(
            np.r_[True, (owner[1:] != owner[:-1]) | (score[1:] != score[:-1])][: len(owner)]
        )
        whose = owner[first]
        return cls(n, order, first, np.diff(np.r_[first, len(owner)]), whose, first - starts[whose])

    def best_of(self, right: Bools | Floats, k: int) -> Floats:
        """`best_of_at_k` for these scores."""
        if not len(self.first):
            return np.zeros(len(self.n))
        n, above = self.n[self.owner], self.above
        good = np.add.reduceat(right[self.order].astype(np.float64), self.first) / self.size
        best_here = _miss(n, above, k) - _miss(n, above + self.size, k)
        return np.clip(np.bincount(self.owner, best_here * good, len(self.n)), 0.0, 1.0)
