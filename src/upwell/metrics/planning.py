"""How many problems and samples reach a wanted interval width, before they are spent.

The width that a run will have follows from the spread of difficulty: its pass@k has the variance between
problems plus the noise of sampling, and the same interval functions that report a run turn these into a
width. The spread comes from a pilot, from a stated beta distribution, or is the worst of several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, gammaln, xlog1py, xlogy

from upwell.errors import UsageError
from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import miss_table
from upwell.metrics.intervals import fixed_interval, population_interval
from upwell.metrics.outcomes import Floats

MOST_SAMPLES = 1024
MOST_PROBLEMS = 100_000
FEWEST_PROBLEMS = 10
"""Below this a population interval says hardly anything."""
SHAPES: dict[str, tuple[float, float]] = {
    "typical": (0.5, 0.5),
    "all or nothing": (0.1, 0.1),
    "coin flips": (50.0, 50.0),
    "hard": (0.3, 1.5),
    "easy": (1.5, 0.3),
}
"""Beta distributions of difficulty, of which the widest interval counts where nothing is known."""
LEVELS = (np.arange(9) + 0.5) / 9
"""Quantiles of a run's result over which its width is averaged."""

Kind = Literal["population", "fixed"]


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One size of run and how sure it would be."""

    problems: int
    samples: int
    """Responses per problem."""
    responses: int
    population: float
    """Expected width of the 95 % interval for problems like these."""
    fixed: float
    """Expected width of the 95 % interval for exactly these problems."""
    typical: float
    """Width of the wanted kind if difficulty is as typical; the same as the wanted one where there is a pilot."""
    reached: bool
    """Whether the wanted width is."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What a wanted width costs."""

    width: float
    metric: str
    k: int
    kind: str
    """Of the interval that `width` is about: `population` (problems like these) or `fixed` (exactly these)."""
    recommended: PlanRow | None
    """The run with the fewest responses that reaches the width; None where none does."""
    rows: tuple[PlanRow, ...]
    """By samples: with the fewest problems that reach the width, or with all there are."""
    best: float
    """The smallest width within reach."""
    statement: str
    """The recommendation, or why the width is out of reach, in words."""
    basis: str
    """What the expected widths rest on."""


def plan_samples(
    width: float,
    *,
    metric: str = "pass@k",
    k: int = 1,
    kind: Kind = "population",
    pilot_n: npt.ArrayLike | None = None,
    pilot_c: npt.ArrayLike | None = None,
    difficulty: tuple[float, float] | None = None,
    problems_available: int | None = None,
) -> Planned:
    """Find the cheapest run whose 95 % interval is expected to be `width` wide.

    Args:
        width: From end to end, above 0 and below 1: 0.04 is four points.
        metric: `pass@k`, or `pass_ratio`, which is pass@1.
        k: Of pass@k; the run draws at least so many.
        kind: Which of the two intervals is to be so narrow.
        pilot_n: Responses per problem of a run at hand.
        pilot_c: Right ones among them.
        difficulty: a and b of a beta distribution of the problems' chances, in place of a pilot.
        problems_available: How many there are. An interval for exactly these problems needs all of them.

    Raises:
        UsageError: a width, k, metric or pilot that cannot be.
    """
    if metric == "pass_ratio":
        k = 1
    _check(width, metric, k, problems_available)
    shapes, basis = _shapes(pilot_n, pilot_c, difficulty)
    runs = _Runs(shapes, k, kind)
    most = MOST_PROBLEMS if problems_available is None else problems_available
    fewest = most if kind == "fixed" and problems_available is not None else min(FEWEST_PROBLEMS, most)
    sizes = [k, *(2**i for i in range(int(np.log2(MOST_SAMPLES)) + 1) if 2**i > k)]
    enough = _first(lambda samples: runs.width(most, samples) <= width, k, sizes[-1])
    rows = []
    for samples in sorted({*sizes, *(() if enough is None else (enough,))}):

        def reaches(problems: int, samples: int = samples) -> bool:
            return runs.width(problems, samples) <= width

        rows.append(runs.row(_first(reaches, fewest, most) or most, samples, width))
    reached = [row for row in rows if row.reached]
    recommended = min(reached, key=lambda row: (row.responses, row.problems)) if reached else None
    best = min(runs.width(most, samples) for samples in sizes)
    return Planned(
        width=width,
        metric=metric,
        k=k,
        kind=kind,
        recommended=recommended,
        rows=tuple(rows),
        best=best,
        statement=_statement(runs, recommended, best, width, most, sizes[-1]),
        basis=basis,
    )


def pass_noise(chances: Floats, weights: Floats, samples: int, k: int) -> float:
    """Sampling variance of a problem's pass@k from `samples` draws, averaged over the problems' chances."""
    p, x = chances[:, None], np.arange(samples + 1)
    choose = gammaln(samples + 1) - gammaln(x + 1) - gammaln(samples - x + 1)
    counts = np.exp(choose + xlogy(x, p) + xlog1py(samples - x, -p))
    missed = miss_table(samples, k)
    variance = np.maximum(counts @ missed**2 - (counts @ missed) ** 2, 0.0)
    return float(variance @ weights / weights.sum())


class _Runs:
    """Expected widths of runs of any size, the widest of all shapes of difficulty."""

    def __init__(self, shapes: list[tuple[Floats, Floats]], k: int, kind: Kind) -> None:
        self.k, self.kind, self.noises = k, kind, dict[tuple[int, int], float]()
        self.shapes, self.between = shapes, list[tuple[float, float]]()
        for chances, weights in shapes:
            truth = 1 - (1 - chances) ** k
            mean = float(truth @ weights)
            self.between.append((mean, float((truth - mean) ** 2 @ weights)))

    def width(self, problems: int, samples: int) -> float:
        return max(self._widths(i, problems, samples)[self.kind] for i in range(len(self.shapes)))

    def row(self, problems: int, samples: int, wanted: float) -> PlanRow:
        widths = [self._widths(i, problems, samples) for i in range(len(self.shapes))]
        return PlanRow(
            problems=problems,
            samples=samples,
            responses=problems * samples,
            population=max(one["population"] for one in widths),
            fixed=max(one["fixed"] for one in widths),
            typical=widths[0][self.kind],
            reached=max(one[self.kind] for one in widths) <= wanted,
        )

    def _widths(self, shape: int, problems: int, samples: int) -> dict[str, float]:
        mean, between = self.between[shape]
        noise = self.noises.get((shape, samples))
        if noise is None:
            noise = self.noises[shape, samples] = pass_noise(*self.shapes[shape], samples, self.k)
        room = max(mean * (1 - mean), 1e-12)
        total = between + noise
        # A result off the mean has a spread to match: the share of the largest possible stays the same.
        seen = _results(mean, total / problems)
        low, high = population_interval(seen, total * seen * (1 - seen) / room, problems)
        here = _results(mean, noise / problems)
        low_fixed, high_fixed = fixed_interval(
            here, noise, mean, problems, unit=self.k / samples, fitted=problems
        )
        return {
            "population": float(np.mean(high - low)),
            "fixed": float(np.mean(high_fixed - low_fixed)),
        }


def _results(mean: float, variance: float) -> Floats:
    """Quantiles of a mean in [0, 1] that has this mean and variance."""
    mean = min(max(mean, 1e-9), 1 - 1e-9)
    trials = mean * (1 - mean) / max(variance, 1e-15) - 1
    if trials <= 0:
        return np.full(len(LEVELS), mean)
    return np.asarray(betaincinv(mean * trials, (1 - mean) * trials, LEVELS))


def _first(good: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number from `low` to `high` that is good, more being better; None where none is."""
    if not good(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle + 1, high)
    return low


def _shapes(
    pilot_n: npt.ArrayLike | None, pilot_c: npt.ArrayLike | None, difficulty: tuple[float, float] | None
) -> tuple[list[tuple[Floats, Floats]], str]:
    if pilot_n is not None and pilot_c is not None:
        n, c = np.broadcast_arrays(np.asarray(pilot_n, np.int64), np.asarray(pilot_c, np.int64))
        n, c = np.atleast_1d(n), np.atleast_1d(c)
        if not len(n) or np.any((n < 1) | (c < 0) | (c > n)):
            raise UsageError(
                "a pilot needs problems with one response or more, and c from 0 to n right ones",
                "give n and c per problem, or no pilot",
            )
        fitted = Difficulty.fit(n, c)
        basis = (
            f"a pilot of {len(n):,} problems with {int(n.sum()):,} responses, {c.sum() / n.sum():.1%} right"
        )
        return [(fitted.chances, fitted.weights / fitted.weights.sum())], basis
    if pilot_n is not None or pilot_c is not None:
        raise UsageError("a pilot needs both n and c", "give `pilot_n` and `pilot_c`")
    if difficulty is not None:
        a, b = difficulty
        if not (a > 0 and b > 0):
            raise UsageError(f"beta({a:g}, {b:g}) is no distribution", "give a and b above 0")
        return [_beta(a, b)], f"difficulty spread as beta({a:g}, {b:g})"
    told = ", ".join(f"{name} beta({a:g}, {b:g})" for name, (a, b) in SHAPES.items())
    return [_beta(a, b) for a, b in SHAPES.values()], f"no pilot: the widest of {told}"


def _beta(a: float, b: float) -> tuple[Floats, Floats]:
    """Equally likely chances that stand for a beta distribution."""
    level = (np.arange(200) + 0.5) / 200
    return np.asarray(betaincinv(a, b, level)), np.full(200, 1 / 200)


def _statement(runs: _Runs, row: PlanRow | None, best: float, width: float, most: int, samples: int) -> str:
    what = "problems like these" if runs.kind == "population" else "exactly these problems"
    if row is not None:
        return (
            f"{row.problems:,} problems x {row.samples:,} samples ({row.responses:,} responses): the interval for "
            f"{what} is expected to be {100 * runs.width(row.problems, row.samples):.1f} points wide"
        )
    out = f"{100 * width:.3g} points are out of reach: {most:,} problems give {100 * best:.1f} at best"
    if runs.kind == "fixed":
        return f"{out}, with {samples:,} samples each"
    needed = _first(lambda problems: runs.width(problems, samples) <= width, most, MOST_PROBLEMS)
    more = f"about {needed:,}" if needed else f"more than {MOST_PROBLEMS:,}"
    return (
        f"{out}, however many samples are drawn: what is missing is problems, {more} of them; "
        "the interval for exactly these problems does narrow with samples"
    )


def _check(width: float, metric: str, k: int, problems: int | None) -> None:
    if metric not in ("pass@k", "pass_ratio"):
        raise UsageError(
            f"a plan for `{metric}` needs to know which answers are given, not only how many are right",
            "plan for pass@k or pass_ratio; maj@k comes out about as wide as pass_ratio",
        )
    if not 0 < width < 1:
        raise UsageError(f"a width must be between 0 and 1, got {width:g}", "0.04 is four points")
    if not 1 <= k <= MOST_SAMPLES:
        raise UsageError(f"a plan needs a k from 1 to {MOST_SAMPLES:,}, got {k}", "choose a smaller k")
    if problems is not None and problems < 1:
        raise UsageError(f"{problems} problems cannot be measured", "give the number of problems there are")
