"""Accuracy against the number of steps: what may be behind it, each as a likelihood of every problem's counts.

    power     every step of every problem is right with one chance p: p^s, and nothing else sets problems apart
    spread    problems of s steps scatter around p^s (beta-binomial): the same curve, honest about problems
    beta      each problem has a step accuracy of its own, beta-distributed: E[p^s]
    flat      problems scatter around one mean, whatever s
    free      problems of s steps scatter around a mean of their own for every s

With one response per problem no scatter can be seen, and the size that measures it is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaln, expit, gammaln, logit, xlog1py, xlogy

from upwell.analysis.bootstrap import Floats

MODELS = ("power", "spread", "beta", "flat", "free")
_LEAST = 1e-9
_SIZES = (-6.0, 9.0)
"""Bounds of log(a + b)."""
_LOGITS = (-14.0, 14.0)


@dataclass(frozen=True, eq=False)
class Counts:
    """Problems with as many steps, responses and right responses, counted."""

    steps: Floats
    n: Floats
    c: Floats
    weight: Floats
    """Problems."""

    @classmethod
    def of(cls, steps: Floats, n: Floats, c: Floats) -> Counts:
        """Of one value per problem each."""
        rows, weight = np.unique(np.stack([steps, n, c]), axis=1, return_counts=True)
        return cls(rows[0], rows[1], rows[2], weight.astype(np.float64))

    @cached_property
    def kinds(self) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """The distinct numbers of steps, and which of them each row has."""
        kinds, which = np.unique(self.steps, return_inverse=True)
        return kinds, which.reshape(-1)

    @cached_property
    def _ways(self) -> Floats:
        return np.asarray(gammaln(self.n + 1) - gammaln(self.c + 1) - gammaln(self.n - self.c + 1))

    @cached_property
    def _given(self) -> Floats:
        """The chance of each row's count at each step accuracy of the grid."""
        right = _GRID[None, :] ** self.steps[:, None]
        c, miss = self.c[:, None], (self.n - self.c)[:, None]
        return np.asarray(np.exp(self._ways[:, None] + xlogy(c, right) + xlog1py(miss, -right)))

    def binomial(self, chance: Floats) -> Floats:
        """Log likelihood of each row if its problems have this chance."""
        return np.asarray(self._ways + xlogy(self.c, chance) + xlog1py(self.n - self.c, -chance))

    def scattered(self, mean: Floats, size: float) -> Floats:
        """The same if their chances are beta-distributed around it with a + b = size."""
        mean = np.clip(mean, _LEAST, 1 - _LEAST)
        a, b = mean * size, (1 - mean) * size
        return np.asarray(self._ways + betaln(self.c + a, self.n - self.c + b) - betaln(a, b))

    def heterogeneous(self, mean: float, size: float) -> Floats:
        """The same if their step accuracies are beta-distributed."""
        return np.asarray(np.log(np.maximum(self._given @ _beta(mean, size), 1e-300)))


def _edges() -> Floats:
    even = np.sin(np.linspace(0, np.pi / 2, 201)) ** 2
    tail = np.geomspace(1e-9, 1 - even[-2], 25)[:-1]
    return np.unique(np.concatenate([even[:-1], 1 - tail[::-1], [1.0]]))


_EDGES = _edges()
_GRID: Floats = (_EDGES[1:] + _EDGES[:-1]) / 2


def _beta(mean: float, size: float) -> Floats:
    """Weights of a beta distribution on the grid of step accuracies."""
    weights = np.maximum(np.diff(betainc(mean * size, (1 - mean) * size, _EDGES)), 0.0)
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class Model:
    """A description fitted to the counts."""

    name: str
    parameters: int
    log_likelihood: float
    curve: Floats
    """Accuracy at each number of steps of `Counts.kinds`."""
    mean: float | None = None
    """Of the step accuracy, where the description has one."""
    low: float | None = None
    high: float | None = None
    size: float | None = None
    """a + b of the beta distribution that scatters; None where nothing does."""

    @property
    def aic(self) -> float:
        """Akaike's criterion: lower is better."""
        return 2 * self.parameters - 2 * self.log_likelihood


def fitted(counts: Counts) -> list[Model]:
    """Every description of `MODELS`, at its likeliest."""
    kinds, which = counts.kinds
    alone = float(counts.n.max()) == 1
    share = float(np.clip(np.average(counts.c / counts.n, weights=counts.weight), 0.01, 0.99))
    step = float(logit(np.clip(share ** (1 / np.average(counts.steps, weights=counts.weight)), 0.02, 0.999)))
    each = np.array(
        [
            logit(
                np.clip(
                    np.average((counts.c / counts.n)[which == i], weights=counts.weight[which == i]),
                    0.02,
                    0.98,
                )
            )
            for i in range(len(kinds))
        ]
    )

    def around(mean: Callable[[Floats], Floats], logits: int) -> Callable[[Floats], Floats]:
        if alone:
            return lambda x: counts.binomial(np.clip(mean(x), _LEAST, 1 - _LEAST))
        return lambda x: counts.scattered(mean(x), float(np.exp(x[logits])))

    size = [] if alone else [1.0]
    wanted = {
        "power": (lambda x: counts.binomial(expit(x[0]) ** counts.steps), [step]),
        "spread": (around(lambda x: expit(x[0]) ** counts.steps, 1), [step, *size]),
        "beta": (lambda x: counts.heterogeneous(float(expit(x[0])), float(np.exp(x[1]))), [step, 2.0]),
        "flat": (
            around(lambda x: np.full(len(counts.n), float(expit(x[0]))), 1),
            [float(logit(share)), *size],
        ),
        "free": (around(lambda x: expit(x[: len(kinds)])[which], len(kinds)), [*each, *size]),
    }
    if alone:
        del wanted["spread"]  # without scatter it is `power`
    return [_fit(name, counts, *wanted[name]) for name in MODELS if name in wanted]


def _fit(name: str, counts: Counts, rows: Callable[[Floats], Floats], start: list[float]) -> Model:
    kinds = counts.kinds[0]
    logits = len(kinds) if name == "free" else 1
    bounds = [_LOGITS] * logits + [_SIZES] * (len(start) - logits)

    def loss(x: Floats) -> float:
        return -float(counts.weight @ rows(x))

    best = minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds).x
    size = float(np.exp(best[logits])) if len(best) > logits else None
    mean, curve = float(expit(best[0])), expit(best[:logits])
    if name in ("power", "spread"):
        curve = mean**kinds
    elif name == "beta":
        assert size is not None
        curve = expected(mean, size, kinds)
    elif name == "flat":
        curve = np.full(len(kinds), mean)
    is_step = name in ("power", "spread", "beta")
    low, high = _interval(counts, rows, best) if is_step else (None, None)
    return Model(
        name=name, parameters=len(best), log_likelihood=float(counts.weight @ rows(best)), curve=np.asarray(curve),
        mean=mean if is_step else None, low=low, high=high, size=size,
    )  # fmt: skip


def expected(mean: float, size: float, steps: Floats) -> Floats:
    """E[p^s] of a beta distribution: B(a + s, b) / B(a, b)."""
    a, b = mean * size, (1 - mean) * size
    return np.asarray(np.exp(betaln(a + steps, b) - betaln(a, b)))


def _interval(
    counts: Counts, rows: Callable[[Floats], Floats], best: Floats
) -> tuple[float | None, float | None]:
    """95 % interval of the mean step accuracy, robust to a likelihood that is not the true one (White's sandwich):
    problems are the sample."""
    width, count = 1e-3, len(best)
    moves = width * np.eye(count)
    slopes = np.stack([(rows(best + move) - rows(best - move)) / (2 * width) for move in moves], axis=1)
    bend = np.empty((count, count))
    for i, one in enumerate(moves):
        for j, other in enumerate(moves):
            up = rows(best + one + other) + rows(best - one - other)
            bend[i, j] = -counts.weight @ (up - rows(best + one - other) - rows(best - one + other))
    bend /= 4 * width * width
    problems = float(counts.weight.sum())
    try:
        inverse = np.linalg.inv(bend)
    except np.linalg.LinAlgError:
        return None, None
    spread = inverse @ ((slopes * counts.weight[:, None]).T @ slopes) @ inverse
    variance = float(spread[0, 0]) * problems / max(problems - count, 1)
    if not np.isfinite(variance) or variance < 0:
        return None, None
    half = 1.96 * float(np.sqrt(variance))
    return float(expit(best[0] - half)), float(expit(best[0] + half))


def step_accuracy(steps: Floats, right: Floats, tried: Floats) -> Floats:
    """The p that makes `right` of `tried` problems at each number of steps likeliest under p^s, by bisection.

    `right` and `tried` are `(..., kinds)`; shares of a problem count as parts of one. NaN where nothing was tried, 0 or
    1 where all is wrong or right.
    """
    low, high = np.zeros(right.shape[:-1]), np.ones(right.shape[:-1])
    wrong = tried - right
    for _ in range(50):
        middle = (low + high) / 2
        chance = np.clip(middle[..., None] ** steps, 1e-300, 1 - 1e-16)
        rising = np.sum(steps * (right - wrong * chance / (1 - chance)), axis=-1) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.where(np.sum(tried, axis=-1) > 0, (low + high) / 2, np.nan)


def accuracy(step: float, steps: Floats, problems: Floats) -> tuple[float, float]:
    """What a step accuracy comes to under p^s: the mean over problems, and the mean over numbers of steps.

    Args:
        step: The step accuracy.
        steps: Numbers of steps.
        problems: How many problems have each.
    """
    each = step**steps
    return float(np.average(each, weights=problems)), float(each.mean())
