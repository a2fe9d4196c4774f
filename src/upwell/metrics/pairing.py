"""Two models on the same problems: the difference, whether it is one, what could have been seen, what flipped."""

from __future__ import annotations

import msgspec
import numpy as np
from scipy.special import gammaln
from scipy.stats import norm, t

from upwell.errors import UsageError
from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import pass_at_k
from upwell.metrics.intervals import EQUAL, LEVEL, POPULATION_RARE
from upwell.metrics.outcomes import Bools, Floats, Ints
from upwell.metrics.planning import pass_noise

POWER = 0.8
"""Chance of being seen at the 5 % level that `Difference.detectable` asks for."""
FALSE_DISCOVERIES = 0.05
"""Share of false ones among the problems that `flipped` is sure of."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of B minus the mean of A over shared problems."""

    value: float
    """In [-1, 1] for shares; above 0 where B is better."""
    low: float
    high: float
    """95 % interval for the difference on problems like these."""
    p_value: float
    """Two-sided: how often a difference at least this far from 0 would show if there were none."""
    detectable: float
    """Smallest true difference that this many problems and draws would show at the 5 % level in 80 % of runs."""
    problems: int
    better: int
    worse: int
    """Problems on which B's value is above, or below, A's."""


class Flips(msgspec.Struct, frozen=True, kw_only=True):
    """Which problems changed from one model to another, and how many would by chance alone."""

    p_values: tuple[float, ...]
    """Per problem, Fisher's exact test, two-sided: how likely so uneven a split were if both models had one chance."""
    sure: tuple[bool, ...]
    """Per problem, whether it is told from chance: of those that are, one in twenty is expected to be false."""
    gained: int
    """Problems that A never solved and B did."""
    lost: int
    """Problems that A solved and B never did."""
    gained_by_chance: float
    lost_by_chance: float
    """How many of each kind would be expected if both models had the same chance on every problem."""


def compare(first: Floats, second: Floats) -> Difference:
    """Compare two models by their values on the same problems, in the same order, such as pass@k of each.

    Pairing takes out what problems have in common; the spread of the paired differences holds the
    sampling noise of both models, so each may have its own number of draws. The test is Student's on
    the differences; where hardly anything moved, half a problem gained and half a problem lost are
    added, so that problems which all agree prove nothing.

    Raises:
        UsageError: the two do not have the same problems, or fewer than two of them.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    _shared(len(a), len(b))
    change, count = b - a, len(a)
    value, error = float(change.mean()), _error(change)
    quantile = float(t.ppf(0.5 + LEVEL / 2, count - 1))
    moved = np.abs(change) > EQUAL
    return Difference(
        value=value,
        low=max(value - quantile * error, -1.0),
        high=min(value + quantile * error, 1.0),
        p_value=float(2 * t.sf(abs(value) / error, count - 1)),
        detectable=min(_visible(error, count), 1.0),
        problems=count,
        better=int(np.count_nonzero(moved & (change > 0))),
        worse=int(np.count_nonzero(moved & (change < 0))),
    )


def detectable(
    first: tuple[Ints, Ints],
    second: tuple[Ints, Ints],
    *,
    k: int = 1,
    problems: int | None = None,
    samples: int | None = None,
) -> float:
    """Smallest true difference in pass@k that a run of another size would show, judged by two runs at hand.

    The spread of the paired differences is what the problems differ by plus the sampling noise; more
    problems shrink both, more samples only the second.

    Args:
        first: n and c per problem of model A.
        second: n and c of model B on the same problems.
        k: Of pass@k; 1 is pass_ratio.
        problems: How many there would be; by default as many as there are.
        samples: Responses per problem that both models would draw, at least k; by default as many as now.

    Returns:
        The difference that would be significant at the 5 % level in 80 % of such runs, at most 1.

    Raises:
        UsageError: not the same problems, fewer than two, or fewer samples than k.
    """
    _shared(len(first[0]), len(second[0]))
    count = len(first[0]) if problems is None else problems
    least = min(int(first[0].min()), int(second[0].min()))
    if k < 1 or k > (least if samples is None else min(samples, least)) or count < 2:
        raise UsageError(
            f"pass@{k} of {count} problems cannot be compared: the runs have {least} responses per problem"
            + ("" if samples is None else f", the plan {samples}"),
            "choose a k of at most the responses, and two problems or more",
        )
    change = pass_at_k(*second, k) - pass_at_k(*first, k)
    spread = _error(change) ** 2 * len(change)
    if samples is not None:
        models = [Difficulty.fit(n, c) for n, c in (first, second)]
        now = sum(float(model.noise(k)[0].mean()) for model in models)
        # Never below what sampling alone gives: the spread between problems cannot be negative.
        spread = max(spread - now, 0.0) + sum(
            pass_noise(model.chances, model.weights, samples, k) for model in models
        )
    return min(_visible(float(np.sqrt(spread / count)), count), 1.0)


def flipped(n_a: Ints, c_a: Ints, n_b: Ints, c_b: Ints) -> Flips:
    """Tell the problems on which two models truly differ from those on which sampling made them differ.

    Each problem gets Fisher's exact test on its two counts. Many problems could not be told from chance
    however they split (one right response in all); leaving these out of the count (Tarone 1990), the rest
    are held to a false discovery rate of 5 % (Benjamini and Hochberg 1995, as Gilbert 2005 joins the two).

    Args:
        n_a: Responses of model A, per problem.
        c_a: Right ones among them.
        n_b: Responses of model B to the same problems.
        c_b: Right ones among them.

    Raises:
        UsageError: not the same problems.
    """
    n_a, c_a, n_b, c_b = (np.asarray(x, np.int64) for x in (n_a, c_a, n_b, c_b))
    if not n_a.shape == c_a.shape == n_b.shape == c_b.shape:
        raise UsageError(
            f"flips need the same problems in both runs, got {len(n_a)} and {len(n_b)}",
            "measure both models on the same problem set",
        )
    p_values, smallest = np.ones(len(n_a)), np.ones(len(n_a))
    none_a, none_b = np.zeros(len(n_a)), np.zeros(len(n_a))
    margins, which = np.unique(np.stack([n_a, n_b, c_a + c_b]), axis=1, return_inverse=True)
    which = which.reshape(-1)
    for i, (a, b, right) in enumerate(margins.T):
        here = which == i
        start, chance = _splits(int(a), int(b), int(right))
        each = _two_sided(chance)
        p_values[here] = each[c_a[here] - start]
        smallest[here] = each.min()
        if right:
            none_a[here] = chance[0] if start == 0 else 0.0
            none_b[here] = chance[-1] if start + len(chance) - 1 == right else 0.0
    return Flips(
        p_values=tuple(p_values.tolist()),
        sure=tuple(_discoveries(p_values, smallest).tolist()),
        gained=int(np.count_nonzero((c_a == 0) & (c_b > 0))),
        lost=int(np.count_nonzero((c_a > 0) & (c_b == 0))),
        gained_by_chance=float(none_a.sum()),
        lost_by_chance=float(none_b.sum()),
    )


def _shared(first: int, second: int) -> None:
    if first != second or first < 2:
        raise UsageError(
            f"a paired comparison needs the same problems in both runs, two or more; got {first} and {second}",
            "measure both models on the same problem set",
        )


def _error(change: Floats) -> float:
    """Standard error of the mean change."""
    count = len(change)
    around = float(np.sum((change - change.mean()) ** 2))
    # The two halves of a problem have a squared size of 1 together and leave the mean where it is. What counts
    # is how many problems moved, each in units of the one that moved most: small changes of many prove a lot.
    largest = float(np.abs(change).max())
    moved = around / largest**2 if largest > EQUAL else 0.0
    return float(np.sqrt((around + np.exp(-moved / POPULATION_RARE)) / (count - 1) / count))


def _visible(error: float, count: int) -> float:
    return (float(t.ppf(0.5 + LEVEL / 2, count - 1)) + float(norm.ppf(POWER))) * error


def _splits(a: int, b: int, right: int) -> tuple[int, Floats]:
    """The fewest of `right` right responses that can be A's, and the chance of that many and each more."""
    start, end = max(0, right - b), min(right, a)
    x = np.arange(start, end + 1)
    log = -(gammaln(x + 1) + gammaln(a - x + 1) + gammaln(right - x + 1) + gammaln(b - right + x + 1))
    chance = np.exp(log - log.max())
    return start, chance / chance.sum()


def _two_sided(chance: Floats) -> Floats:
    """For each split, the chance of one at most as likely."""
    order = np.argsort(chance, kind="stable")
    below = np.cumsum(chance[order])
    # Splits as likely as this one, up to rounding, count in full.
    last = np.searchsorted(chance[order], chance * (1 + 1e-9), side="right") - 1
    return np.minimum(below[last], 1.0)


def _discoveries(p_values: Floats, smallest: Floats) -> Bools:
    """Benjamini and Hochberg's discoveries among the hypotheses that could be one."""
    found = np.zeros(len(p_values), np.bool_)
    lowest = np.sort(smallest)
    tests = np.arange(1, len(lowest) + 1)
    could = np.searchsorted(lowest, FALSE_DISCOVERIES / tests, side="right")
    enough = np.flatnonzero(could <= tests)
    if not len(enough):
        return found
    testable = np.flatnonzero(smallest <= FALSE_DISCOVERIES / tests[enough[0]])
    ranked = testable[np.argsort(p_values[testable], kind="stable")]
    limit = FALSE_DISCOVERIES * np.arange(1, len(ranked) + 1) / max(len(ranked), 1)
    passed = np.flatnonzero(p_values[ranked] <= limit)
    if len(passed):
        found[ranked[: passed[-1] + 1]] = True
    return found
