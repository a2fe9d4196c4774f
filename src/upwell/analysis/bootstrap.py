"""Uncertainty over problems: they are drawn again with replacement, each with all of its responses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from upwell.metrics.intervals import LEVEL, population_interval

Floats = npt.NDArray[np.float64]
_HELD = 4_000_000
"""Counts held at once."""
NORMAL = 1.959963984540054
"""Standard errors from the middle of a 95 % interval to its end."""
TAILS = (50 - 50 * LEVEL, 50 + 50 * LEVEL)
"""Percentiles of a 95 % interval."""


def resampled_sums(values: Floats, times: int, seed: int) -> Floats:
    """Sums of each row of `values`, `(rows, problems)`, over problems drawn again: `(times, rows)`.

    The same number of problems and the same seed draw the same problems, so that runs over the same problems, in the
    same order, are compared pair by pair.
    """
    count = values.shape[1]
    rng = np.random.default_rng([seed, 11])
    out = np.empty((times, values.shape[0]))
    step = max(_HELD // max(count, 1), 1)
    for begin in range(0, times, step):
        size = min(step, times - begin)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=size)
        out[begin : begin + size] = drawn @ values.T
    return out


def widened(value: float, draws: Floats, problems: int) -> Floats:
    """Resampled values, as far apart as so few problems make them: a bootstrap knows of no degrees of freedom.

    Around the estimate they are stretched by sqrt(n / (n - 1)) times Student's 97.5 % quantile over the normal one
    (1.15 with 15 problems, 1.03 with 50).
    """
    if problems < 2:
        return np.full_like(draws, np.nan)
    stretch = (
        math.sqrt(problems / (problems - 1)) * float(student.ppf(0.5 + LEVEL / 2, problems - 1)) / NORMAL
    )
    return value + (draws - value) * stretch


def percentiles(draws: npt.ArrayLike) -> tuple[float | None, float | None]:
    """The 95 % interval of resampled values; None where under half of the resamples have one."""
    values = np.asarray(draws, np.float64)
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values) or not len(known):
        return None, None
    # Values may be infinite, between which nothing is interpolated.
    low, high = np.percentile(known, TAILS, method="inverted_cdf")
    return float(low), float(high)


def ratio_interval(hits: npt.ArrayLike, out_of: npt.ArrayLike) -> tuple[float, float, float]:
    """A share of all responses, with a 95 % interval that takes the responses to one problem as one cluster.

    Args:
        hits: Per problem, responses that count.
        out_of: Per problem, responses in all; at least one in one of the problems.

    Returns:
        The share and its limits, never of zero width.
    """
    counts, sizes = np.asarray(hits, np.float64), np.asarray(out_of, np.float64)
    counts, sizes = counts[sizes > 0], sizes[sizes > 0]
    share = float(counts.sum() / sizes.sum())
    # To first order the ratio of two sums is a mean of these, one per problem.
    each = share + (counts - share * sizes) / sizes.mean()
    variance = float(each.var(ddof=1)) if len(each) > 1 else 0.0
    low, high = population_interval(share, variance, len(each))
    return share, float(low), float(high)


def mean_with_interval(values: npt.ArrayLike) -> tuple[float, float, float]:
    """The mean of values in [0, 1], one per problem, with its 95 % interval for problems like these."""
    each = np.asarray(values, np.float64)
    mean = min(max(float(each.mean()), 0.0), 1.0)
    variance = float(each.var(ddof=1)) if len(each) > 1 else 0.0
    low, high = population_interval(mean, variance, len(each))
    return mean, float(low), float(high)


def percent(value: float | None) -> str:
    """A share in words."""
    return "not known" if value is None else f"{100 * value:.1f} %"


def between(low: float | None, high: float | None) -> str:
    """The interval of a share in words, to go behind it."""
    if low is None or high is None:
        return "(no interval)"
    return f"({100 * low:.1f} to {100 * high:.1f} %)"
