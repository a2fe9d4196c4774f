"""pass@k beyond the k drawn: an estimate, a 95 % interval that carries what is not known, or a refusal.

Families of difficulty (`families`) are fitted to the counts and weighted by how well they predict problems
held out. Where the hard problems alone say something else, they are heard; where no family describes the
counts, bounds that assume none (`bounds`) take their place. `docs/extrapolation.md` explains,
`bench/extrapolation.py` measures how often the interval holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from upwell.errors import UsageError
from upwell.metrics.bounds import free_bounds
from upwell.metrics.estimators import pass_at_k
from upwell.metrics.families import Seen
from upwell.metrics.intervals import population_interval
from upwell.metrics.mixture import ENDS, Easy, FamilyFit, Mixture, seen_counts
from upwell.metrics.outcomes import Ints

WIDEST = 0.10
"""Width of the interval beyond which there is no estimate."""
FEWEST_PROBLEMS = 30
FEWEST_DRAWS = 8
FARTHEST = 64
"""Times the draws of a problem beyond which nothing is extrapolated."""
HARD = 4
"""A problem is hard if at most one draw in this many is right."""
MATTERS = 0.05
"""Weight above which a family is worth a word."""
REFERENCE = 16
"""Times the draws at which the whole and the hard problems are compared, whatever k is asked for."""
MOST_SIZES = 32
"""Different n beyond which draws are left out, so that only so many remain."""
NO_FAMILY = "no family"


class Extrapolation(msgspec.Struct, frozen=True, kw_only=True):
    """pass@k for a k beyond the responses drawn."""

    k: int
    value: float | None
    """The estimate; None where the data cannot say, and `refused` says why."""
    low: float
    high: float
    """95 % interval for problems like these; given with a refusal too, for what is known."""
    low_fixed: float | None = None
    high_fixed: float | None = None
    """95 % interval for exactly these problems, drawn k times anew; None for a published curve."""
    family: str
    """The family that predicts held-out problems best, or `no family` where none describes the counts."""
    families: tuple[FamilyFit, ...] = ()
    refused: str | None = None
    problems: int
    samples: int
    """Responses to these problems; 0 for a published curve."""


def extrapolate(
    n: npt.ArrayLike, c: npt.ArrayLike, k: int, *, widest: float = WIDEST, seed: int = 0
) -> Extrapolation:
    """Estimate pass@k from `c` right responses out of `n` per problem, for k above n.

    Args:
        n: Responses per problem; they may differ.
        c: Right responses per problem.
        k: Draws to extrapolate to.
        widest: Width of the 95 % interval above which the estimate is refused.
        seed: Of the points at which the posterior is looked at; changes the ends by a few percent of the width.

    Raises:
        UsageError: no problems, counts that cannot be, or a k below 1.
    """
    n, c = _counts(n, c, k)
    least, problems, samples = int(n.min()), len(n), int(n.sum())
    values = pass_at_k(n, c, min(k, least))
    mean = float(min(values.mean(), 1.0))
    spread = float(values.var(ddof=1)) if problems > 1 else np.nan
    low, high = map(float, population_interval(mean, spread, problems))
    reason = _impossible(n, c, k)
    if reason:
        # What is drawn bounds pass@k from below; from above only where k is drawn as well.
        high = high if k <= least else 1.0
        return Extrapolation(
            k=k, value=None, low=low, high=high, family="none", refused=reason, problems=problems, samples=samples
        )  # fmt: skip
    found = _from_counts(*_fewer_sizes(n, c, seed), k, seed)
    return _judged(found, k, widest, f"{_draws(n)} of {problems:,} problems", mean, problems, samples)


def extrapolate_curve(
    ks: Sequence[int],
    values: Sequence[float],
    problems: int,
    k: int,
    *,
    widest: float = WIDEST,
    seed: int = 0,
) -> Extrapolation:
    """Estimate pass@k from a published curve: pass@k at some smaller k, and nothing else.

    Every point is taken to be as sure as if each problem had been drawn k times once; a curve averaged over
    more draws is surer than that, so the interval is rather too wide.

    Args:
        ks: Increasing; at least three.
        values: pass@k at `ks`, in [0, 1], not falling.
        problems: That the curve is a mean over.
        k: Above the last of `ks`.
        widest: Width of the 95 % interval above which the estimate is refused.
        seed: As for `extrapolate`.

    Raises:
        UsageError: a curve that cannot be, or a k that it already reaches.
    """
    at, curve = _curve(ks, values, problems, k)
    seen = Seen(
        coefficient=np.zeros(len(at) + 1),
        ones=np.zeros(len(at) + 1, np.int64),
        zeros=np.r_[0, at],
        weight=problems * np.diff(np.r_[0.0, curve, 1.0]),
        group=np.zeros(len(at) + 1, np.int64),
        whole=True,
        steps=True,
    )
    mean, about = (
        float(curve[-1]),
        f"pass@{at[-1]:,} and {len(at) - 1} earlier points of {problems:,} problems",
    )
    reason = None
    if problems < FEWEST_PROBLEMS:
        reason = f"too few problems to extrapolate from: {problems}, of {FEWEST_PROBLEMS} that it takes"
    elif k > FARTHEST * at[-1]:
        reason = f"pass@{k:,} is more than {FARTHEST} times beyond the {at[-1]:,} of the curve"
    elif not 0 < mean < 1:
        reason = f"pass@{at[-1]:,} is {mean:.0%}, which leaves the rest of the curve open"
    if reason:
        low, _ = map(float, population_interval(mean, mean * (1 - mean), problems))
        return Extrapolation(
            k=k, value=None, low=low, high=1.0, family="none", refused=reason, problems=problems, samples=0
        )
    mixture = Mixture(seen, seed=seed)
    found = _mixed(mixture, k) if mixture.fits else _free(mixture, seen, k)
    return _judged(found, k, widest, about, mean, problems, 0)


class _Found(msgspec.Struct, frozen=True):
    value: float
    low: float
    high: float
    fixed: tuple[float, float] | None
    family: str
    families: tuple[FamilyFit, ...]


def _from_counts(n: Ints, c: Ints, k: int, seed: int) -> _Found:
    seen = seen_counts(n, c)
    whole = Mixture(seen, seed=seed)
    if not whole.fits:
        return _free(whole, seen, k)
    hard = c <= n // HARD
    some = int(np.count_nonzero(hard))
    if n.min() >= HARD * FEWEST_DRAWS and FEWEST_PROBLEMS <= some < len(n) and c[hard].any():
        part = Mixture(seen_counts(n[hard], c[hard], part=HARD), easy=Easy(n[~hard], c[~hard]), seed=seed)
        far = REFERENCE * int(n.max())
        low, high = whole.quantiles(far, ENDS)
        if not low <= part.quantiles(far, (0.5,))[0] <= high:
            return _mixed(part, k, " (hard problems)") if part.fits else _free(whole, seen, k)
    return _mixed(whole, k)


def _mixed(mixture: Mixture, k: int, of: str = "") -> _Found:
    value, low, high = mixture.quantiles(k, (0.5, *ENDS))
    fixed = None if mixture.seen.steps else mixture.interval_here(k)
    return _Found(value, low, high, fixed, mixture.chosen + of, mixture.families(k))


def _free(mixture: Mixture, seen: Seen, k: int) -> _Found:
    low, value, high = free_bounds(seen, k)
    # These problems are one of the distributions of chances that the counts allow.
    return _Found(value, low, high, None if seen.steps else (low, high), NO_FAMILY, mixture.families(k))


def _judged(
    found: _Found, k: int, widest: float, about: str, seen: float, problems: int, samples: int
) -> Extrapolation:
    """What was found, or a refusal where it says too little."""
    value = min(max(found.value, seen), 1.0)
    low, high = min(found.low, value), max(found.high, value)
    fixed = found.fixed and (min(found.fixed[0], value), max(found.fixed[1], value))
    width, refused = high - low, None
    if width > widest:
        refused = (
            f"pass@{k:,} from {about} lies between {low:.1%} and {high:.1%}: {100 * width:.1f} points, "
            f"more than {100 * widest:g}; {_why(found, problems * (width / widest) ** 2, widest)}"
        )
    return Extrapolation(
        k=k, value=None if refused else value, low=low, high=high,
        low_fixed=fixed and fixed[0], high_fixed=fixed and fixed[1], family=found.family, families=found.families,
        refused=refused, problems=problems, samples=samples,
    )  # fmt: skip


def _why(found: _Found, needed: float, widest: float) -> str:
    if found.family == NO_FAMILY:
        return "no family of difficulty describes the data, and without one this is all that they say"
    near = [one for one in found.families if one.weight > MATTERS]
    if max(one.high - one.low for one in near) <= widest:
        told = ", ".join(f"{one.name} {one.value:.1%}" for one in near)
        return f"the data do not tell the families apart ({told}); more draws of each problem would"
    rounded = float(f"{needed:.1e}")
    return f"it would take about {rounded:,.0f} problems like these, or more draws of each"


def _impossible(n: Ints, c: Ints, k: int) -> str | None:
    """Why nothing can be extrapolated, with the numbers, or None."""
    least, most, problems = int(n.min()), int(n.max()), len(n)
    if k <= least:
        return f"pass@{k:,} needs no extrapolation: every problem has {least:,} responses; it stands under pass@k"
    if problems < FEWEST_PROBLEMS:
        return f"too few problems to extrapolate from: {problems}, of {FEWEST_PROBLEMS} that it takes"
    if most < FEWEST_DRAWS:
        return f"too few responses per problem to extrapolate from: {most}, of {FEWEST_DRAWS} that it takes"
    if k > FARTHEST * most:
        return f"pass@{k:,} is {k / most:.0f} times beyond the {most:,} responses drawn; at most {FARTHEST} times"
    if not c.any():
        return f"none of {int(n.sum()):,} responses is right: nothing says how rare right ones are"
    if np.array_equal(c, n):
        return f"all of {int(n.sum()):,} responses are right: nothing says how rare wrong ones are"
    return None


def _counts(n: npt.ArrayLike, c: npt.ArrayLike, k: int) -> tuple[Ints, Ints]:
    n, c = np.broadcast_arrays(np.asarray(n, np.int64), np.asarray(c, np.int64))
    n, c = np.atleast_1d(n), np.atleast_1d(c)
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}", "extrapolate to a k above the responses drawn")
    if n.ndim != 1 or not len(n):
        raise UsageError("there are no problems to extrapolate from", "give one n and one c per problem")
    bad = np.flatnonzero((n < 1) | (c < 0) | (c > n))
    if len(bad):
        i = int(bad[0])
        raise UsageError(
            f"problem {i} has {c[i]} right of {n[i]} responses", "c must be between 0 and n, n at least 1"
        )
    return n, c


def _fewer_sizes(n: Ints, c: Ints, seed: int) -> tuple[Ints, Ints]:
    """The same problems with at most `MOST_SIZES` different n: the draws above are left out, at random."""
    sizes = np.unique(n)
    if len(sizes) <= MOST_SIZES:
        return n, c
    kept = sizes[np.linspace(0, len(sizes) - 1, MOST_SIZES).astype(np.int64)]
    fewer = kept[np.searchsorted(kept, n, side="right") - 1]
    return fewer, np.random.default_rng([seed, 3]).hypergeometric(c, n - c, fewer)


def _curve(
    ks: Sequence[int], values: Sequence[float], problems: int, k: int
) -> tuple[Ints, npt.NDArray[np.float64]]:
    at, curve = np.asarray(ks, np.int64), np.asarray(values, np.float64)
    if len(at) < 3 or at.shape != curve.shape:
        raise UsageError(
            f"a curve needs three points or more, got k = {list(ks)} and {len(curve)} values",
            "give pass@k at three or more k",
        )
    if at[0] < 1 or np.any(np.diff(at) <= 0) or k <= at[-1]:
        raise UsageError(
            f"k must rise from 1 or more and stay below the k asked for, got {list(ks)} and {k}",
            f"sort the points; ask for a k above {int(at.max())}",
        )
    if not np.all((curve >= 0) & (curve <= 1)) or np.any(np.diff(curve) < 0):
        raise UsageError(
            f"pass@k must lie in [0, 1] and not fall with k, got {list(values)}", "give shares, not percent"
        )
    if problems < 1:
        raise UsageError(
            f"a curve over {problems} problems", "give the number of problems that it is a mean over"
        )
    return at, curve


def _draws(n: Ints) -> str:
    least, most = int(n.min()), int(n.max())
    return f"{least:,} draws" if least == most else f"{least:,} to {most:,} draws"
