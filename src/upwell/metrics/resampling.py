"""Sampling noise of maj@k and best_of@k, by drawing whole sets of responses again from smoothed problems.

A problem's chance of a right response comes from its posterior (`Difficulty`). Its wrong answers and
silences keep their observed proportions, perturbed as a Dirichlet posterior would have them, with room
for one answer never seen; scores are normal around the problem's own means. Two sets of n responses
drawn from the same smoothed problem give two values, and half their squared difference is an unbiased
estimate of the noise. It is averaged over problems of similar value, so that a slice with few problems
borrows from the rest.
"""

from __future__ import annotations

import numpy as np

from upwell.metrics.difficulty import Difficulty
from upwell.metrics.estimators import best_of_at_k
from upwell.metrics.majority import maj_at_k
from upwell.metrics.outcomes import Bools, Classes, Floats, Ints, Outcomes

PAIRS = 1_200
"""Pairs of redrawn problems; the noise is then known to about 10 %, the interval's width to 5 %."""
RESPONSES = 400_000
"""Responses per half of all pairs beyond which there are fewer pairs, though never below an eighth."""
UNSEEN = 1.0
"""Weight, in responses, of an answer that no response has given yet."""
BINS = 12
"""Groups of problems of similar value among which the noise is averaged."""


class Redraw:
    """The same redrawn responses, for every k."""

    def __init__(self, outcomes: Outcomes, difficulty: Difficulty, seed: int) -> None:
        self.outcomes, self.seed = outcomes, seed
        rng = np.random.default_rng([seed, 1])
        count = len(outcomes.slots)
        pairs = int(np.clip(RESPONSES / outcomes.n.mean(), PAIRS / 8, PAIRS))
        self.chosen: Ints = np.concatenate([rng.permutation(count) for _ in range(-(-pairs // count))])[
            :pairs
        ]
        self._n = np.tile(outcomes.n[self.chosen], 2)
        self._chance = difficulty.draw(self.chosen, rng)
        self._rng = rng
        self._classes: Classes | None = None
        self._scored: tuple[Ints, Bools, Floats] | None = None

    def majority(self, k: int, values: Floats) -> tuple[Floats, Floats]:
        """Noise and smoothed value of each problem's maj@k, given its value."""
        if self._classes is None:
            self._classes = self._redraw_classes()
        return self._spread(maj_at_k(self._n, self._classes, k, seed=self.seed).values, values, k)

    def best_of(self, k: int, values: Floats) -> tuple[Floats, Floats]:
        """Noise and smoothed value of each problem's best_of@k, given its value."""
        if self._scored is None:
            self._scored = self._redraw_scored()
        return self._spread(best_of_at_k(*self._scored, k), values, k)

    def _spread(self, drawn: Floats, values: Floats, k: int) -> tuple[Floats, Floats]:
        half = len(self.chosen)
        first, second = drawn[:half], drawn[half:]
        # Exact 0 and 1 are groups of their own; what lies between is cut into groups of equal size.
        inside = values[(values > 0) & (values < 1)]
        cuts = np.unique(np.quantile(inside, np.linspace(0, 1, BINS + 1)[1:-1])) if len(inside) else inside
        group = np.searchsorted(np.r_[np.nextafter(0, 1), cuts, 1.0], values, side="right")
        sizes = len(cuts) + 3
        mine = group[self.chosen]
        tried = np.bincount(mine, minlength=sizes)
        squares, means = (first - second) ** 2 / 2, (first + second) / 2
        # One more pair, apart by what one response can change, keeps the noise above 0 where no pair differed.
        pseudo = (k / float(self.outcomes.n.mean())) ** 2 / 2
        overall = (squares.sum() + pseudo) / (half + 1)
        noise = (np.bincount(mine, squares, sizes) + overall) / (tried + 1)
        expected = (np.bincount(mine, means, sizes) + 0.5) / (tried + 1)
        expected[tried == 0] = means.mean()
        return noise[group], expected[group]

    def _redraw_classes(self) -> Classes:
        rng, starts, counts, right = self._rng, [0], list[Ints](), list[Floats]()
        both = np.concatenate([self.chosen, self.chosen])
        classes, n = self.outcomes.classes, self.outcomes.n
        shares: list[Floats] = []
        for j, i in enumerate(both):
            span = slice(int(classes.starts[i]), int(classes.starts[i + 1]))
            wrong = classes.counts[span][classes.right[span] < 0.5]
            if j < len(self.chosen):
                silent = n[i] - classes.counts[span].sum()
                weights = np.asarray(rng.standard_gamma(np.r_[wrong, silent, UNSEEN]))
                shares.append(weights / weights.sum())
            share, chance = shares[j % len(self.chosen)], self._chance[j % len(self.chosen)]
            good = rng.binomial(n[i], chance)
            bad = rng.multinomial(n[i] - good, share)
            seen = np.r_[good, bad[:-2], np.ones(bad[-1], np.int64)]
            kept = seen > 0
            order = np.argsort(-seen[kept], kind="stable")
            counts.append(seen[kept][order])
            right.append((np.arange(len(seen)) == 0).astype(np.float64)[kept][order])
            starts.append(starts[-1] + int(kept.sum()))
        sizes = np.concatenate(counts)
        return Classes(np.array(starts), sizes, np.concatenate(right), np.arange(len(sizes)))

    def _redraw_scored(self) -> tuple[Ints, Bools, Floats]:
        """Right and wrong responses with normal scores: a redrawn maximum must not be one of those seen."""
        rng, outcomes, pairs = self._rng, self.outcomes, len(self.chosen)
        centre, error, spread = _score_moments(outcomes)
        middle = (centre + error * rng.standard_normal(centre.shape))[:, self.chosen]
        starts = np.concatenate([[0], np.cumsum(self._n)])
        pair = np.repeat(np.tile(np.arange(pairs), 2), self._n)
        good = rng.random(len(pair)) < self._chance[pair]
        noise = spread[self.chosen][pair] * rng.standard_normal(len(pair))
        return starts, good, middle[good.astype(np.int64), pair] + noise


def _score_moments(outcomes: Outcomes) -> tuple[Floats, Floats, Floats]:
    """Per problem: mean score of wrong and right responses, the errors of these means, and the spread around them.

    A side without responses is placed by the mean distance of the sides in the problems that have both.
    """
    assert outcomes.scores is not None
    problems = len(outcomes.slots)
    side = 2 * outcomes.owner + (outcomes.correct == 1)
    count = np.bincount(side, minlength=2 * problems).astype(np.float64)
    mean = np.bincount(side, outcomes.scores, 2 * problems) / np.maximum(count, 1)
    around = np.bincount(outcomes.owner, (outcomes.scores - mean[side]) ** 2, problems)
    count, mean = count.reshape(-1, 2).T, mean.reshape(-1, 2).T
    freedom = np.maximum(outcomes.n - (count > 0).sum(axis=0), 0)
    pooled = around.sum() / max(freedom.sum(), 1)
    spread = np.sqrt((around + pooled) / (freedom + 1))
    both = np.all(count > 0, axis=0)
    apart = float((mean[1] - mean[0])[both].mean()) if both.any() else 0.0
    mean[0] = np.where(count[0] > 0, mean[0], mean[1] - apart)
    mean[1] = np.where(count[1] > 0, mean[1], mean[0] + apart)
    return mean, spread / np.sqrt(np.maximum(count, 1)), spread
