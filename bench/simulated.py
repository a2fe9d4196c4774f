"""Simulated models whose true rates are known, and what both intervals of every metric cover on them.

Each problem's chance of a right response is drawn from a known distribution, responses are drawn, and the
intervals come from the code that `summarise` uses. For votes and scores, values are computed once for a
large pool of problems, and a trial is a draw of problems from it; the small mean error over the pool is
shared out among the truths that are neither 0 nor 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.special import ndtr

from upwell.metrics import Outcomes, maj_at_k, pass_at_k, pass_hat_k, summarise, weighted_maj_at_k
from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import Ranking
from upwell.metrics.intervals import fixed_interval, population_interval
from upwell.metrics.outcomes import Classes, Floats, Ints, Slot
from upwell.metrics.resampling import Redraw
from upwell.metrics.verifier import Verifier, preferences

BETA = [(1, 1), (0.5, 0.5), (0.1, 0.1), (2, 2), (0.3, 1), (1, 0.3), (0.5, 3), (3, 0.5), (5, 2), (0.1, 1)]
WRONG = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
"""How the wrong answers of a problem share its wrong responses; the last of them is silence."""
APART = (1.0, 0.7)
"""Mean and spread, over problems, of the standard deviations by which right responses score higher than wrong."""
POOL = 20_000


@dataclass(frozen=True)
class Cell:
    shape: str
    problems: int
    samples: int
    draw: Callable[[np.random.Generator, int], Floats]
    beta: bool = True


@dataclass(frozen=True)
class Line:
    """Coverage and mean width of both intervals of one metric in one cell."""

    cell: Cell
    metric: str
    k: int
    rare: float
    """Problems expected on the rarer side."""
    covered: tuple[float, float]
    """By the interval for the population of problems, and by the one for exactly these."""
    width: tuple[float, float]
    trials: int

    @property
    def inner(self) -> bool:
        return self.rare >= 5

    def misses(self, which: int, errors: float = 0.0) -> bool:
        """Whether the coverage lies outside its bar by more than so many standard errors."""
        seen = self.covered[which]
        low = seen < 0.93 - errors * np.sqrt(0.93 * 0.07 / self.trials)
        return bool(low or (self.inner and seen > 0.97 + errors * np.sqrt(0.97 * 0.03 / self.trials)))

    def __str__(self) -> str:
        return (
            f"{self.cell.shape:18}{self.cell.problems:6}{self.cell.samples:5} {self.metric:15}{self.k:4}"
            f"{self.rare:8.1f}{self.covered[0]:8.3f}{self.width[0]:8.4f}{self.covered[1]:8.3f}{self.width[1]:8.4f}"
        )


def shapes() -> Iterator[tuple[str, Callable[[np.random.Generator, int], Floats], bool]]:
    for a, b in BETA:
        yield f"beta({a},{b})", lambda rng, size, a=a, b=b: rng.beta(a, b, size), True
    yield "logit-normal(-2,2)", lambda rng, size: 1 / (1 + np.exp(2 - 2 * rng.standard_normal(size))), False
    yield "three points", lambda rng, size: rng.choice([0.01, 0.2, 0.9], size, p=[0.4, 0.3, 0.3]), False


@lru_cache(maxsize=1)
def crowd(draw: Callable[[np.random.Generator, int], Floats]) -> Floats:
    """Two million problems, to take true means over."""
    return draw(np.random.default_rng(123), 2_000_000)


@lru_cache(maxsize=256)
def population_mean(draw: Callable[[np.random.Generator, int], Floats], k: int, every: bool) -> float:
    p = crowd(draw)
    return float(np.mean(p**k if every else 1 - (1 - p) ** k))


def judge(
    cell: Cell, metric: str, k: int, values: Floats, spread: list[tuple[float, float]], truth: Floats, whole: float
) -> Line:  # fmt: skip
    """One line from `(trials, problems)` values, the trials' mean noise and smoothed value, and the truths."""
    mean, count = values.mean(axis=1), cell.problems
    noise, smooth = np.array(spread).T
    limits = (
        (*population_interval(mean, values.var(axis=1, ddof=1), count), whole),
        (*fixed_interval(mean, noise, smooth, count, unit=k / cell.samples, fitted=count), truth),
    )
    covered = [float(np.mean((low <= true) & (true <= high))) for low, high, true in limits]
    width = [float(np.mean(high - low)) for low, high, _ in limits]
    rare = count * min(whole, 1 - whole)
    return Line(cell, metric, k, rare, (covered[0], covered[1]), (width[0], width[1]), len(mean))


def pass_lines(cell: Cell, rng: np.random.Generator, trials: int) -> Iterator[Line]:
    problems, samples = cell.problems, cell.samples
    chance = cell.draw(rng, trials * problems).reshape(trials, problems)
    right = rng.binomial(samples, chance)
    n = np.full(problems, samples)
    wanted = [(k, False) for k in sorted({1, 4, samples // 4, samples // 2, samples})]
    wanted += [(4, True), (samples, True)]
    spread: dict[tuple[int, bool], list[tuple[float, float]]] = {one: [] for one in wanted}
    for counts in right:
        difficulty = Difficulty.fit(n, counts)
        for k, every in wanted:
            noise, smooth = difficulty.noise(k, every=every)
            spread[k, every].append((noise.mean(), smooth.mean()))
    for k, every in wanted:
        values = (pass_hat_k if every else pass_at_k)(samples, right, k)
        truth = np.mean(chance**k if every else 1 - (1 - chance) ** k, axis=1)
        name = "pass^k" if every else "pass_ratio" if k == 1 else "pass@k"
        yield judge(cell, name, k, values, spread[k, every], truth, population_mean(cell.draw, k, every))


def pooled(
    cell: Cell, metric: str, ks: list[int], values: list[Floats], truths: list[Floats], trials: int,
    rng: np.random.Generator, noises: Callable[[Ints, int], list[tuple[Floats, Floats]]],
) -> Iterator[Line]:  # fmt: skip
    """Lines from trials that draw their problems, with values and truths, from a pool."""
    chosen = rng.integers(0, len(values[0]), (trials, cell.problems))
    spread = [
        [(noise.mean(), smooth.mean()) for noise, smooth in noises(one, i)] for i, one in enumerate(chosen)
    ]
    for at, k in enumerate(ks):
        whole, open_ = float(values[at].mean()), truths[at] * (1 - truths[at])
        true = truths[at] + (whole - truths[at].mean()) * open_ / open_.mean()
        truth = true[chosen].mean(axis=1)
        yield judge(cell, metric, k, values[at][chosen], [one[at] for one in spread], truth, whole)


def classes_of(counts: Ints) -> Classes:
    """Classes of problems with `counts[i]` = responses per answer, the first one right, silence left out."""
    kept = counts > 0
    owner, which = np.nonzero(kept)
    size = counts[kept]
    order = np.lexsort((-size, owner))
    starts = np.searchsorted(owner, np.arange(len(counts) + 1))
    return Classes(starts, size[order], (which == 0).astype(float)[order], np.arange(len(size)))


@lru_cache(maxsize=16)
def plurality(k: int) -> tuple[Floats, Floats]:
    """maj@k by the chance of a right response: k draws out of so many that they are independent."""
    grid, many = np.sin(np.linspace(0, np.pi / 2, 201)) ** 2, 20_000
    shares = np.hstack([grid[:, None], (1 - grid[:, None]) * WRONG])
    counts = np.rint(shares * many).astype(int)[:, :-1]
    return grid, maj_at_k(np.full(len(grid), many), classes_of(counts), k).values


@lru_cache(maxsize=1)
def vote_pool(
    draw: Callable[[np.random.Generator, int], Floats], samples: int
) -> tuple[Ints, list[Floats], list[Floats]]:
    rng = np.random.default_rng([samples, 1])
    chance = draw(rng, POOL)
    counts = rng.multinomial(samples, np.hstack([chance[:, None], (1 - chance[:, None]) * WRONG]))[:, :-1]
    ks = selector_ks(samples)
    values = [maj_at_k(np.full(POOL, samples), classes_of(counts), k).values for k in ks]
    return counts, values, [np.interp(chance, *plurality(k)) for k in ks]


def selector_ks(samples: int) -> list[int]:
    return [4, samples // 2 if samples > 8 else 6, samples]


def vote_lines(cell: Cell, rng: np.random.Generator, trials: int) -> Iterator[Line]:
    counts, values, truths = vote_pool(cell.draw, cell.samples)
    ks, n = selector_ks(cell.samples), np.full(cell.problems, cell.samples)

    def noises(chosen: Ints, seed: int) -> list[tuple[Floats, Floats]]:
        mine = counts[chosen]
        redraw = Redraw(n, classes_of(mine), Difficulty.fit(n, mine[:, 0]), seed)
        return [redraw.majority(k, value[chosen]) for k, value in zip(ks, values, strict=True)]

    yield from pooled(cell, "maj@k", ks, values, truths, trials, rng, noises)


@lru_cache(maxsize=1)
def score_pool(
    draw: Callable[[np.random.Generator, int], Floats], samples: int
) -> tuple[Ints, Floats, list[Floats], list[Floats]]:
    rng = np.random.default_rng([samples, 2])
    chance, apart = draw(rng, POOL), APART[0] + APART[1] * rng.standard_normal(POOL)
    good = rng.random((POOL, samples)) < chance[:, None]
    scores = (rng.standard_normal(good.shape) + apart[:, None] * good).ravel()
    starts = np.arange(POOL + 1) * samples
    ranking = Ranking.of(starts, scores)
    values = [ranking.best_of(good.ravel(), k) for k in selector_ks(samples)]
    grid, gaps = np.sin(np.linspace(0, np.pi / 2, 101)) ** 2, np.linspace(-4, 6, 81)
    truths = []
    for k in selector_ks(samples):
        table = np.column_stack([top_is_right(grid[:, None], gap, k) for gap in gaps])
        truths.append(
            RegularGridInterpolator((grid, gaps), table)(np.column_stack([chance, apart.clip(-4, 6)]))
        )
    return good.sum(axis=1), preferences(ranking, good.ravel()), values, truths


def top_is_right(p: Floats, apart: float, k: int) -> Floats:
    """The chance that the highest-scored of k fresh draws is right."""
    x = np.linspace(-8, 14, 2_001)
    high, low = np.diff(ndtr(x - apart)), np.diff(ndtr(x))
    upper = p * ndtr(x - apart) + (1 - p) * ndtr(x)
    return np.sum(p * high / np.maximum(p * high + (1 - p) * low, 1e-300) * np.diff(upper**k), axis=1)


def score_lines(cell: Cell, rng: np.random.Generator, trials: int) -> Iterator[Line]:
    right, auc, values, truths = score_pool(cell.draw, cell.samples)
    ks, n = selector_ks(cell.samples), np.full(cell.problems, cell.samples)

    def noises(chosen: Ints, _: int) -> list[tuple[Floats, Floats]]:
        verifier = Verifier.of(Difficulty.fit(n, right[chosen]), auc[chosen])
        return [verifier.noise(k) for k in ks]

    yield from pooled(cell, "best_of@k", ks, values, truths, trials, rng, noises)


@lru_cache(maxsize=1)
def weighted_pool(
    draw: Callable[[np.random.Generator, int], Floats], samples: int, ks: tuple[int, ...]
) -> tuple[Outcomes, list[Floats], list[Floats]]:
    """Answers with scores; the truth of a problem is a vote among many sets of fresh draws."""
    rng, size = np.random.default_rng([samples, 3]), 2_000
    chance, apart = draw(rng, size), APART[0] + APART[1] * rng.standard_normal(size)

    def drawn(each: int) -> tuple[Ints, Floats]:
        shares = np.cumsum(np.hstack([chance[:, None], (1 - chance[:, None]) * WRONG]), axis=1)
        answer = (rng.random((size, each))[:, :, None] >= shares[:, None, :-1]).sum(axis=2)
        return answer, rng.standard_normal(answer.shape) - 5 + apart[:, None] * (answer == 0)

    def table(answer: Ints, scores: Floats) -> Outcomes:
        each, votes = answer.shape[1], np.where(answer == len(WRONG), -1, answer).ravel()
        base = Outcomes.from_counts(np.full(size, each), np.zeros(size, int))
        return Outcomes(
            base.slots,
            base.starts,
            (votes == 0).astype(np.int8),
            votes,
            base.truncated,
            base.tokens,
            scores.ravel(),
        )

    mine = table(*drawn(samples))
    got = weighted_maj_at_k(mine, ks)
    truths = [
        np.mean([weighted_maj_at_k(table(*drawn(k)), [k])[k].values for _ in range(1_500)], axis=0)
        for k in ks
    ]
    return mine, [got[k].values for k in ks], truths


def weighted_lines(cell: Cell, rng: np.random.Generator, trials: int) -> Iterator[Line]:
    ks = (4, cell.samples)
    pool, values, truths = weighted_pool(cell.draw, cell.samples, ks)

    def noises(chosen: Ints, seed: int) -> list[tuple[Floats, Floats]]:
        mine = pool.take(chosen)
        redraw = Redraw(mine.n, mine.classes, Difficulty.fit(mine.n, mine.c), seed)
        return redraw.weighted(ks, [value[chosen] for value in values], mine)

    yield from pooled(cell, "weighted_maj@k", list(ks), values, truths, trials, rng, noises)


def chance_lines(cell: Cell, rng: np.random.Generator, trials: int) -> Iterator[Line]:
    """References and wrong answers are small numbers, so that answers to other problems are often right."""
    problems, samples = cell.problems, cell.samples
    common = np.arange(1, 41) ** -0.8
    common /= common.sum()
    wrong = np.tile(common, (len(common), 1))
    np.fill_diagonal(wrong, 0.0)
    wrong /= wrong.sum(axis=1, keepdims=True)
    names = np.array([hash(str(a)) for a in range(len(common))])
    easy = float(crowd(cell.draw).mean())
    given = easy * common + (1 - easy) * (common @ wrong)
    ks = [1, samples]
    whole = {("pass@k", k): population_mean(cell.draw, k, False) for k in ks}
    for k in ks:
        guessed = float(common @ (1 - (1 - given) ** k))
        whole["chance_pass@k", k] = guessed
        whole["adjusted_pass@k", k] = (whole["pass@k", k] - guessed) / (1 - guessed)
    seen: dict[tuple[str, int], list[tuple[float, float, float, float]]] = defaultdict(list)
    for _ in range(trials):
        gold, chance = rng.choice(len(common), problems, p=common), cell.draw(rng, problems)
        shares = (1 - chance)[:, None] * wrong[gold]
        shares[np.arange(problems), gold] = chance
        edges = np.cumsum(shares, axis=1)[:, None, :-1]
        answers = (rng.random((problems, samples))[:, :, None] >= edges).sum(axis=2)
        base = Outcomes.from_counts(np.full(problems, samples), np.zeros(problems, int))
        slots = tuple(Slot(key=str(i), gold=str(g)) for i, g in enumerate(gold))
        correct = (answers == gold[:, None]).astype(np.int8).ravel()
        table = Outcomes(slots, base.starts, correct, names[answers].ravel(), base.truncated, base.tokens)
        # The chance that a response to problem j is the reference of problem i.
        q = (shares[:, gold].sum(axis=0) - chance) / (problems - 1)
        true = {}
        for k in ks:
            true["pass@k", k] = float(np.mean(1 - (1 - chance) ** k))
            true["chance_pass@k", k] = guessed = float(np.mean(1 - (1 - q) ** k))
            true["adjusted_pass@k", k] = (true["pass@k", k] - guessed) / (1 - guessed)
        for m in summarise(table, ks=ks, slices=False):
            if m.k is not None and (m.name, m.k) in whole:
                limits = np.array([[m.low, m.low_fixed], [m.high, m.high_fixed]], float)
                held = (limits[0] <= (aims := (whole[m.name, m.k], true[m.name, m.k]))) & (aims <= limits[1])
                seen[m.name, m.k].append((*held.astype(float), *(limits[1] - limits[0])))
    for (name, k), rows in seen.items():
        mean = np.mean(rows, axis=0)
        rare = problems * min(whole[name, k], 1 - whole[name, k])
        yield Line(cell, name, k, rare, (mean[0], mean[1]), (mean[2], mean[3]), len(rows))
