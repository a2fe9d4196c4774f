"""Two models on the same problems: the difference, whether it is one, and what could have been seen."""

from __future__ import annotations

import msgspec
import numpy as np
from scipy.stats import norm, t

from upwell.errors import UsageError
from upwell.metrics.intervals import EQUAL, LEVEL, POPULATION_RARE
from upwell.metrics.outcomes import Floats

POWER = 0.8
"""Chance of being seen at the 5 % level that `Difference.detectable` asks for."""


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
    if a.shape != b.shape or len(a) < 2:
        raise UsageError(
            f"a paired comparison needs the same problems in both runs, two or more; got {len(a)} and {len(b)}",
            "measure both models on the same problem set",
        )
    change, count = b - a, len(a)
    value = float(change.mean())
    # The two halves have a squared size of 1 together and leave the mean where it is.
    around = float(np.sum((change - value) ** 2))
    error = float(np.sqrt((around + np.exp(-around / POPULATION_RARE)) / (count - 1) / count))
    quantile = float(t.ppf(0.5 + LEVEL / 2, count - 1))
    moved = np.abs(change) > EQUAL
    return Difference(
        value=value,
        low=max(value - quantile * error, -1.0),
        high=min(value + quantile * error, 1.0),
        p_value=float(2 * t.sf(abs(value) / error, count - 1)),
        detectable=(quantile + float(norm.ppf(POWER))) * error,
        problems=count,
        better=int(np.count_nonzero(moved & (change > 0))),
        worse=int(np.count_nonzero(moved & (change < 0))),
    )
