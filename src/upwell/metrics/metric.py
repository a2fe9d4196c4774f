"""One measured number with its intervals: a line of `summary.json`."""

from __future__ import annotations

import msgspec


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A number, what it is over, and how sure it is.

    All values and bounds are shares in [0, 1], except those of `mean_tokens`, which are tokens.
    """

    name: str
    """Such as `pass@k`, `pass_ratio`, `maj@k`; (name, k, slice) is unique in a summary."""
    k: int | None = None
    """Responses per problem that the metric looks at; None where that has no meaning."""
    value: float | None
    """The estimate; None where it cannot be computed (then `note` says why)."""
    low: float | None = None
    high: float | None = None
    """95 % interval for the model on problems like these: problems are the sample."""
    low_fixed: float | None = None
    high_fixed: float | None = None
    """95 % interval for exactly these problems: only the sampling of responses is random. It is the
    value itself where no response goes into it (`guess_pass@k`)."""
    problems: int
    """Problems that the value is a mean over."""
    samples: int
    """Responses to those problems, all of which went into the estimate unless `note` says otherwise."""
    slice: str | None = None
    """`level=3`, `subject=Algebra`, or None for the whole."""
    note: str | None = None
    """What a reader must know: problems left out, Monte Carlo error, why there is no value."""
