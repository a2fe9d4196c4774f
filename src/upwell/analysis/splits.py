"""Two splits of one benchmark: problems of one making, so that their losses may be compared as they are."""

from __future__ import annotations

import numpy as np

from upwell.analysis.bootstrap import Floats, widened

TENTH = 0.1
"""The easiest share of the other split that a problem of the suspected one is looked for in."""


def of_one_making(name: str, other: str) -> bool:
    """Whether two sets are splits of one benchmark, as `gsm8k/test` and `gsm8k/train` are."""
    benchmark, slash, _ = name.partition("/")
    return bool(slash) and benchmark == other.partition("/")[0]


def lower(suspected: Floats, other: Floats, times: int, seed: int) -> dict[str, tuple[float, Floats]]:
    """By how much the suspected split's texts are better known than the other's.

    Args:
        suspected: `(2, problems)`: losses in nats, and tokens.
        other: The same of the other split.
        times: Bootstrap resamples, each split's problems drawn again by themselves.
        seed: Of these.

    Returns:
        `loss below the other's`: nats a token, 0 where neither is known better. `among the other's easiest tenth`: the
        share of the suspected problems whose loss a token is below the other's lowest tenth, less that tenth: a part of
        a split that was seen shows there long before it shows in the mean.
    """
    rng = np.random.default_rng([seed, 13])
    rates = suspected[0] / suspected[1]
    order = np.argsort(other[0] / other[1])
    sorted_rates = (other[0] / other[1])[order]
    n, m = suspected.shape[1], other.shape[1]
    ours = rng.multinomial(n, np.full(n, 1 / n), size=times)
    theirs = rng.multinomial(m, np.full(m, 1 / m), size=times)
    means = _mean(theirs, other) - _mean(ours, suspected)
    mean = float(other[0].sum() / other[1].sum() - suspected[0].sum() / suspected[1].sum())
    # The loss below which a tenth of the other's problems lie, in each resample.
    last = (np.cumsum(theirs[:, order], axis=1) >= TENTH * m).argmax(axis=1)
    tails = (ours * (rates[None] < sorted_rates[last][:, None])).sum(axis=1) / n - TENTH
    bound = sorted_rates[int(np.ceil(TENTH * m)) - 1]
    tail = float(np.mean(rates < bound) - TENTH)
    few = min(n, m)
    return {
        "loss below the other's": (mean, widened(mean, means, few)),
        "among the other's easiest tenth": (tail, widened(tail, tails, few)),
    }


def _mean(drawn: np.ndarray[tuple[int, int], np.dtype[np.int64]], sums: Floats) -> Floats:
    weights = drawn.astype(np.float64)
    return np.asarray((weights @ sums[0]) / (weights @ sums[1]))
