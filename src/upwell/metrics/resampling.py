"""Sampling noise of votes, by drawing subsets of responses from smoothed problems.

A problem's chance of a right response comes from its posterior (`Difficulty`). Its wrong answers and
silences keep their observed proportions, perturbed as a Dirichlet posterior would have them, with room
for answers never seen. Two subsets of k fresh draws from the same smoothed problem are won or lost; they
differ with a chance of 2 f (1 - f), f being the problem's true value. What n draws leave of f (1 - f), the
noise of the mean over all their k-subsets, is a matter of how the subsets overlap: `left_by_overlap`. It is
averaged over problems of similar value, so that a slice with few problems borrows from the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from upwell.metrics.difficulty import Difficulty
from upwell.metrics.outcomes import Classes, Floats, Ints, Outcomes
from upwell.metrics.weighting import SILENT, Ballots, as_weights

PAIRS = 1_200
"""Pairs of redrawn subsets; the noise is then known to about 10 %, the interval's width to 5 %."""
DRAWS = 1_000_000
"""Scored draws per half of all pairs beyond which there are fewer pairs."""
UNSEEN, SINGLE = 1.0, 0.5
"""Weight, in responses, of wrong answers that no response has given yet, and how much each answer that one
response gave adds to it (after Good and Turing: what was seen once tells of what was not seen)."""
ANSWERS = 256
"""Wrong answers of a problem, the most frequent first, beyond which the rest counts as silence: none could win."""
BINS = 12
"""Groups of problems of similar value among which the noise is averaged."""


class Redraw:
    """The same smoothed problems, for every k."""

    def __init__(self, n: Ints, classes: Classes, difficulty: Difficulty, seed: int) -> None:
        self.n = n
        rng = self._rng = np.random.default_rng([seed, 1])
        wanted = _closeness(n, classes)
        # Half of the pairs go to all problems alike, half to close contests; taken at even steps.
        rate = 0.5 / len(n) + 0.5 * wanted / wanted.sum()
        order = rng.permutation(len(n))
        steps = (np.arange(PAIRS) + rng.random()) / PAIRS
        self.chosen: Ints = order[np.minimum(np.searchsorted(np.cumsum(rate[order]), steps), len(n) - 1)]
        self._stands_for: Floats = 1 / (rate[self.chosen] * len(n))
        """Weight of each pair: 1 on average."""
        chance = difficulty.draw(self.chosen, rng)
        share = rng.standard_gamma(_wrong_counts(n, classes, self.chosen))
        self._shares: Floats = np.column_stack([chance, share * ((1 - chance) / share.sum(axis=1))[:, None]])
        """`(pairs, answers + 1)`: the right answer, the wrong ones, those not seen yet, silence."""

    def majority(self, k: int, values: Floats) -> tuple[Floats, Floats]:
        """Noise and smoothed value of each problem's maj@k, given its value."""
        votes = self._rng.multinomial(k, np.concatenate([self._shares, self._shares]))[:, :-1]
        # Answers not seen yet are all different: they have one vote each.
        new = votes[:, -1].copy()
        votes[:, -1] = np.minimum(new, 1)
        top = votes.max(axis=1)
        tied = np.count_nonzero(votes == top[:, None], axis=1) + np.where(top == 1, np.maximum(new - 1, 0), 0)
        won = ((votes[:, 0] == top) & (top > 0)) / tied
        # Two draws that disagree tie, so that maj@2 is linear in the draws, like maj@1.
        return self._spread(won, values, k, evenly_contested if k > 2 else linear)

    def weighted(
        self, ks: Sequence[int], values: Sequence[Floats], outcomes: Outcomes
    ) -> list[tuple[Floats, Floats]]:
        """Noise and smoothed value of each problem's weighted_maj@k, given its values, for rising k.

        Scores are normal around the means of the problem's right and wrong responses; answers not seen yet
        count as one.
        """
        rng, taken = self._rng, np.arange(0, PAIRS, -(-PAIRS * ks[-1] // DRAWS))
        shares, pairs = np.tile(self._shares[taken], (2, 1)), 2 * len(taken)
        chosen = np.tile(self.chosen[taken], 2)
        centre, error, spread = score_moments(outcomes)
        middle = np.tile((centre + error * rng.standard_normal(centre.shape))[:, chosen[: len(taken)]], 2)
        # The limits between answers, one problem after the other, make one rising sequence.
        row = np.arange(pairs)[:, None]
        limits = np.minimum(np.cumsum(shares, axis=1)[:, :-1], 1.0) + row
        levels = rng.random((pairs, ks[-1])) + row
        answer = np.searchsorted(limits.ravel(), levels, side="right") - row * limits.shape[1] + 1
        answer[answer == shares.shape[1]] = SILENT
        score = np.where(answer == 1, middle[1][:, None], middle[0][:, None])
        score += spread[chosen][:, None] * rng.standard_normal(levels.shape)
        right = np.zeros(shares.shape)
        right[:, 1] = 1.0
        weight = np.where(answer == SILENT, 0.0, as_weights(score, outcomes))
        ballots = Ballots(np.arange(pairs), answer.astype(np.int32), weight, right)
        won = ballots.won(np.arange(ks[-1])[None, None], ks)
        return [
            self._spread(won[k][:, 0], value, k, same_winner, taken)
            for k, value in zip(ks, values, strict=True)
        ]

    def _spread(
        self,
        won: Floats,
        values: Floats,
        k: int,
        kept: Callable[[Floats], Floats],
        taken: Ints | slice = slice(None),
    ) -> tuple[Floats, Floats]:
        first, second = np.split(won, 2)
        # Exact 0 and 1 are groups of their own; what lies between is cut into groups of equal size.
        inside = values[(values > 0) & (values < 1)]
        cuts = np.unique(np.quantile(inside, np.linspace(0, 1, BINS + 1)[1:-1])) if len(inside) else inside
        group = np.searchsorted(np.r_[np.nextafter(0, 1), cuts, 1.0], values, side="right")
        sizes = len(cuts) + 3
        mine, weight = group[self.chosen[taken]], self._stands_for[taken]
        tried = np.bincount(mine, weight, sizes)
        # With k = n the value is the share of the one subset there is; else ties are averaged out.
        whole = self.n.max() == k
        differ = (first - second) ** 2 / 2 if whole else (first + second) / 2 - first * second
        # Part of one more pair that differs keeps the noise above 0 where none does.
        overall = (weight @ differ + k / float(self.n.mean()) / 2) / (weight.sum() + 1)
        each = (np.bincount(mine, weight * differ, sizes) + overall) / (tried + 1)
        means = weight * (first + second) / 2
        middle = (means.sum() + 0.5) / (weight.sum() + 1)
        expected = (np.bincount(mine, means, sizes) + middle) / (tried + 1)
        left = np.zeros(len(self.n))
        for n in np.unique(self.n):
            left[self.n == n] = left_by_overlap(int(n), k, kept)
        return each[group] * left, expected[group]


def left_by_overlap(n: int, k: int, kept: Callable[[Floats], Floats]) -> float:
    """Variance of a mean over all k-subsets of n draws, as a share of that of one subset.

    Two random k-subsets share j draws with the chances of a hypergeometric distribution; `kept` is how
    much of the variance of one result two results have in common if they share a part j / k of their draws.
    """
    return float(overlap(n, k) @ kept(np.arange(k + 1) / k))


@lru_cache(maxsize=512)
def overlap(n: int, k: int) -> Floats:
    """`(k + 1,)`: the chance that two random k-subsets of n draws share j of them, for j from 0 to k."""
    j = np.arange(k + 1)
    possible = j >= 2 * k - n
    rest = np.where(possible, n - 2 * k + j, 0)
    log = 2 * gammaln(k + 1) - gammaln(j + 1) - 2 * gammaln(k - j + 1) - gammaln(rest + 1)
    log += 2 * gammaln(n - k + 1) - gammaln(n + 1)
    return np.asarray(np.where(possible, np.exp(log), 0.0))


def linear(x: Floats) -> Floats:
    """The most that any function of the draws can have in common."""
    return x


def evenly_contested(x: Floats) -> Floats:
    """Votes: each problem's contest is a threshold on a normal sum, and the thresholds lie anywhere.

    The covariance of two threshold events at z is P2(z, z; x) - P(z)^2; integrated over z it is
    (1 - sqrt(1 - x)) / sqrt(pi).
    """
    return np.asarray(1 - np.sqrt(1 - x))


def same_winner(x: Floats) -> Floats:
    """The heaviest draw decides: two subsets have it in common with the chance x / (2 - x)."""
    return np.asarray(x / (2 - x))


def _closeness(n: Ints, classes: Classes) -> Floats:
    """Between 0 and 1: how open it is, by each problem's draws, whether the right answer or a wrong one leads."""
    owner, right = np.repeat(np.arange(len(n)), np.diff(classes.starts)), classes.right >= 0.5
    most = np.zeros((2, len(n)))
    for side, chosen in enumerate((right, ~right)):
        np.maximum.at(most[side], owner[chosen], classes.counts[chosen])
    apart = (most[0] - most[1]) ** 2 / (most[0] + most[1] + 1)
    return np.asarray(np.exp(-np.minimum(apart, 200) / 8))


def _wrong_counts(n: Ints, classes: Classes, chosen: Ints) -> Floats:
    """`(chosen, wrong answers + 2)`: how often each wrong answer was given, the weight
    of those not seen, and how often none was given."""
    owner = np.repeat(np.arange(len(n)), np.diff(classes.starts))
    wrong = classes.right < 0.5
    per_problem = np.bincount(owner[wrong], minlength=len(n))
    place = np.cumsum(wrong) - 1 - np.repeat(np.cumsum(per_problem) - per_problem, np.diff(classes.starts))
    width = min(int(per_problem.max(initial=0)), ANSWERS)
    table = np.zeros((len(n), width + 2))
    kept = wrong & (place < width)
    table[owner[kept], place[kept]] = classes.counts[kept]
    table[:, -1] = n - table.sum(axis=1) - np.bincount(owner[~wrong], classes.counts[~wrong], len(n))
    table[:, -2] = UNSEEN + SINGLE * np.count_nonzero(table[:, :-2] == 1, axis=1)
    return table[chosen]


def score_moments(outcomes: Outcomes) -> tuple[Floats, Floats, Floats]:
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
