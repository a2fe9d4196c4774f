"""What the 95 % intervals really cover: simulated models whose true rates are known.

    python bench/intervals.py [--trials 2000] [--seed 0] [--only pass|votes|scores] [--quick]

Each problem's chance of a right response is drawn from a known distribution, responses are drawn, both
intervals of every metric are computed exactly as `summarise` does, and one line per cell says how often
each held the truth: the mean over the whole population of problems, and the mean over exactly the
problems drawn. A cell is *inner* where at least five problems are expected on each side of it (bar:
93 to 97 %), else *outer* (bar: at least 93 %). With 2,000 trials a coverage is known to +-0.5 points.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import norm

from upwell.metrics import Outcomes, best_of_at_k, maj_at_k, pass_at_k, pass_hat_k
from upwell.metrics.difficulty import Difficulty
from upwell.metrics.intervals import fixed_interval, population_interval
from upwell.metrics.outcomes import Classes, Floats, Ints
from upwell.metrics.resampling import Redraw

BETA = [(1, 1), (0.5, 0.5), (0.1, 0.1), (2, 2), (0.3, 1), (1, 0.3), (0.5, 3), (3, 0.5), (5, 2), (0.1, 1)]
WRONG = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
"""How the wrong answers of a problem share its wrong responses; the last of them is silence."""
APART = 1.0
"""Standard deviations by which right responses score higher than wrong ones, in the verifier simulation."""


@dataclass(frozen=True)
class Line:
    """Coverage and mean width of both intervals in one cell."""

    shape: str
    problems: int
    samples: int
    metric: str
    k: int
    rare: float
    """Problems expected on the rarer side."""
    population: float
    population_width: float
    fixed: float
    fixed_width: float
    trials: int


def shapes() -> Iterator[tuple[str, Callable[[np.random.Generator, tuple[int, int]], Floats], bool]]:
    for a, b in BETA:
        yield f"beta({a},{b})", lambda rng, size, a=a, b=b: rng.beta(a, b, size), True
    yield "logit-normal(-2,2)", lambda rng, size: 1 / (1 + np.exp(2 - 2 * rng.standard_normal(size))), False
    yield "three points", lambda rng, size: rng.choice([0.01, 0.2, 0.9], size, p=[0.4, 0.3, 0.3]), False


@lru_cache(maxsize=4)
def population(shape: str) -> Floats:
    """A million problems and more, to take true means over."""
    (draw,) = [draw for name, draw, _ in shapes() if name == shape]
    return draw(np.random.default_rng(123), (1, 2_000_000))


MEANS: dict[tuple[str, str, int], float] = {}


def population_mean(shape: str, metric: str, k: int, truth: Callable[[Floats], Floats]) -> float:
    if (shape, metric, k) not in MEANS:
        MEANS[shape, metric, k] = float(truth(population(shape)).mean())
    return MEANS[shape, metric, k]


def judge(
    cell: tuple[str, int, int], metric: str, k: int, values: Floats, noise: Floats, smooth: Floats,
    truth: Floats, whole: float,
) -> Line:  # fmt: skip
    """One line from `(trials, problems)` values and per-trial mean noise and smoothed value."""
    shape, problems, samples = cell
    mean = values.mean(axis=1)
    low, high = population_interval(mean, values.var(axis=1, ddof=1), problems)
    covered = (low <= whole) & (whole <= high)
    some = slice(0, len(noise))
    low_fixed, high_fixed = fixed_interval(
        mean[some], noise, smooth, problems, unit=k / samples, fitted=problems
    )
    covered_fixed = (low_fixed <= truth[some]) & (truth[some] <= high_fixed)
    rare = problems * min(whole, 1 - whole)
    return Line(
        shape, problems, samples, metric, k, rare, float(covered.mean()), float((high - low).mean()),
        float(covered_fixed.mean()), float((high_fixed - low_fixed).mean()), len(mean),
    )  # fmt: skip


def pass_lines(
    cell: tuple[str, int, int], draw: Callable[..., Floats], rng: np.random.Generator, trials: int
) -> Iterator[Line]:
    _, problems, samples = cell
    chance = draw(rng, (trials, problems))
    right = rng.binomial(samples, chance)
    fits = [Difficulty.fit(np.full(problems, samples), c) for c in right]
    ks = sorted({1, 4, samples // 4, samples // 2, samples})
    for metric, k in [("pass@k", k) for k in ks] + [("pass^k", 4), ("pass^k", samples)]:
        every = metric == "pass^k"
        values = (pass_hat_k if every else pass_at_k)(samples, right, k)
        noise, smooth = np.array([[x.mean() for x in fit.noise(k, every=every)] for fit in fits]).T

        def truth(p: Floats, k: int = k, every: bool = every) -> Floats:
            return p**k if every else 1 - (1 - p) ** k

        yield judge(
            cell,
            metric,
            k,
            values,
            noise,
            smooth,
            truth(chance).mean(axis=1),
            population_mean(cell[0], metric, k, truth),
        )


def classes_of(counts: Ints) -> Classes:
    """Classes of problems with `counts[i]` = responses per answer, the first one right, silence left out."""
    kept = counts > 0
    owner, which = np.nonzero(kept)
    size = counts[kept]
    order = np.lexsort((-size, owner))
    starts = np.searchsorted(owner, np.arange(len(counts) + 1))
    return Classes(starts, size[order], (which == 0).astype(float)[order], np.arange(len(size)))


def curve(at: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """A function of the chance of a right response, tabulated once."""
    grid = np.sin(np.linspace(0, np.pi / 2, 201)) ** 2
    table = at(grid)
    return lambda p: np.interp(p, grid, table)


@lru_cache
def plurality(k: int) -> Callable[[Floats], Floats]:
    """maj@k of a problem by its chance of a right response: k draws out of so many that they are independent."""
    many = 20_000

    def at(grid: Floats) -> Floats:
        shares = np.hstack([grid[:, None], (1 - grid[:, None]) * WRONG])
        counts = np.rint(shares * many).astype(int)[:, :-1]
        return maj_at_k(np.full(len(grid), many), classes_of(counts), k).values

    return curve(at)


def vote_lines(
    cell: tuple[str, int, int], draw: Callable[..., Floats], rng: np.random.Generator, trials: int
) -> Iterator[Line]:
    _, problems, samples = cell
    chance = draw(rng, (trials, problems))
    flat = chance.reshape(-1, 1)
    counts = rng.multinomial(samples, np.hstack([flat, (1 - flat) * WRONG]))[:, :-1]
    tables = []
    for one in counts[: max(trials // 8, 1) * problems].reshape(-1, problems, counts.shape[1]):
        votes = np.concatenate(
            [np.repeat(np.r_[np.arange(len(row)), -1], np.r_[row, samples - row.sum()]) for row in one]
        )
        base = Outcomes.from_counts(np.full(problems, samples), one[:, 0])
        tables.append(
            Outcomes(
                base.slots, base.starts, (votes == 0).astype(np.int8), votes, base.truncated, base.tokens
            )
        )
    redraws = [Redraw(table, Difficulty.fit(table.n, table.c), i) for i, table in enumerate(tables)]
    for k in sorted({4, samples // 2, samples}):
        values = maj_at_k(np.full(len(counts), samples), classes_of(counts), k).values.reshape(
            trials, problems
        )
        spread = [
            [x.mean() for x in redraw.majority(k, row)] for redraw, row in zip(redraws, values, strict=False)
        ]
        truth = plurality(k)
        noise, smooth = np.array(spread).T
        yield judge(
            cell,
            "maj@k",
            k,
            values,
            noise,
            smooth,
            truth(chance).mean(axis=1),
            population_mean(cell[0], "maj@k", k, truth),
        )


def score_lines(
    cell: tuple[str, int, int], draw: Callable[..., Floats], rng: np.random.Generator, trials: int
) -> Iterator[Line]:
    _, problems, samples = cell
    chance = draw(rng, (trials, problems))
    good = rng.random((trials, problems, samples)) < chance[:, :, None]
    scores = rng.standard_normal(good.shape) + APART * good
    starts = np.arange(trials * problems + 1) * samples
    redraws = []
    for i in range(max(trials // 8, 1)):
        base = Outcomes.from_counts(np.full(problems, samples), good[i].sum(axis=1))
        table = Outcomes(
            base.slots,
            base.starts,
            good[i].ravel().astype(np.int8),
            base.votes,
            base.truncated,
            base.tokens,
            scores[i].ravel(),
        )
        redraws.append(Redraw(table, Difficulty.fit(table.n, table.c), i))
    x = np.linspace(-9, 9 + APART, 4001)
    for k in sorted({4, samples // 2, samples}):
        values = best_of_at_k(starts, good.ravel(), scores.ravel(), k).reshape(trials, problems)
        spread = [
            [v.mean() for v in redraw.best_of(k, row)] for redraw, row in zip(redraws, values, strict=False)
        ]

        def best(grid: Floats, k: int = k) -> Floats:
            below = grid[:, None] * norm.cdf(x - APART) + (1 - grid[:, None]) * norm.cdf(x)
            return np.trapezoid(k * grid[:, None] * norm.pdf(x - APART) * below ** (k - 1), x, axis=1)

        truth = curve(best)
        noise, smooth = np.array(spread).T
        yield judge(
            cell,
            "best_of@k",
            k,
            values,
            noise,
            smooth,
            truth(chance).mean(axis=1),
            population_mean(cell[0], "best_of@k", k, truth),
        )


def bars(lines: list[Line], known: set[str]) -> None:
    for which in ("population", "fixed"):
        for family, member in (("beta", True), ("other", False)):
            mine = [line for line in lines if (line.shape in known) == member]
            inner = [getattr(line, which) for line in mine if line.rare >= 5]
            outer = [getattr(line, which) for line in mine if line.rare < 5]
            for name, seen, top in (("inner", inner, 0.97), ("outer", outer, 1.0)):
                if seen:
                    met = sum(0.93 <= c <= top for c in seen)
                    print(
                        f"{which:10} {family:5} {name}: {met} of {len(seen)} cells within 93..{top * 100:.0f} %, "
                        f"min {min(seen):.3f}, mean {np.mean(seen):.3f}, max {max(seen):.3f}"
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--trials", type=int, default=200, help="simulated runs per cell (2000 for the record)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["pass", "votes", "scores"])
    parser.add_argument("--quick", action="store_true", help="few cells")
    args = parser.parse_args()
    kinds = {
        "pass": (pass_lines, [30, 100, 300, 1319], [8, 64, 256]),
        "votes": (vote_lines, [30, 300], [8, 64]),
        "scores": (score_lines, [30, 300], [8, 64]),
    }
    lines: list[Line] = []
    known = {name for name, _, beta in shapes() if beta}
    print(
        f"{'shape':20}{'probl':>6}{'smpl':>5} {'metric':10}{'k':>4}{'rare':>8}"
        f"{'popul':>8}{'width':>8}{'fixed':>8}{'width':>8}"
    )
    for kind, (simulate, many, few) in kinds.items():
        if args.only not in (None, kind):
            continue
        cells = list(
            itertools.product(
                list(shapes())[:: 4 if args.quick else 1],
                many[:2] if args.quick else many,
                few[:2] if args.quick else few,
            )
        )
        begun = time.monotonic()
        for done, ((name, draw, _), problems, samples) in enumerate(cells, 1):
            rng = np.random.default_rng([args.seed, done])
            for line in simulate((name, problems, samples), draw, rng, args.trials):
                lines.append(line)
                print(
                    f"{line.shape:20}{line.problems:6}{line.samples:5} {line.metric:10}{line.k:4}{line.rare:8.1f}"
                    f"{line.population:8.3f}{line.population_width:8.4f}{line.fixed:8.3f}{line.fixed_width:8.4f}"
                )
            spent = time.monotonic() - begun
            print(
                f"{kind}: {done}/{len(cells)} cells, {spent:.0f} s, {spent / done * (len(cells) - done):.0f} s to go",
                file=sys.stderr,
            )
    bars(lines, known)


if __name__ == "__main__":
    main()
