"""weighted_maj@k: a vote in which every draw counts for what a verifier thinks of it.

The winner of k draws is the answer whose draws have the largest sum of weights. There is no closed form for
the expectation over k-subsets, as there is with equal weights: it is exact for k = 1, 2 and n, where the
right answer has no rival, and where there are no more subsets than would be drawn; else subsets are drawn.
One random order of a problem's draws serves every k, its first k draws being a random k-subset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from upwell.metrics.estimators import best_of_at_k, pass_at_k
from upwell.metrics.majority import Majority
from upwell.metrics.outcomes import Bools, Floats, Ints, Outcomes

DRAWS = 40_000_000
"""Draws that all random orders of one call hold together, about 2 s."""
ORDERS = (16, 4_000)
"""Fewest and most random orders per problem."""
CHUNK = 400_000
"""Draws held at once."""
SILENT = 0
"""Number of the answer of a draw that has none."""
TIE = 1e-9
"""Relative distance below which two sums of weights are equal: they are added in a random order."""


def as_weights(scores: Floats, outcomes: Outcomes) -> Floats:
    """Weights of draws from `scores`, whose last axis is the draws of one problem.

    A weight is the score; or, where any score of the whole table is below 0, exp(score), which turns
    log-probabilities into probabilities and differences of logits into ratios. Only ratios within a
    problem matter, so its highest score is subtracted first and nothing underflows.
    """
    assert outcomes.scores is not None
    if not len(outcomes.scores) or outcomes.scores.min() >= 0:
        return np.maximum(scores, 0.0)
    return np.asarray(np.exp(scores - scores.max(axis=-1, keepdims=True)))


def weighted_maj_at_k(outcomes: Outcomes, ks: Sequence[int], *, seed: int = 0) -> dict[int, Majority]:
    """Chance, per problem, that the answer with the largest sum of weights among k of its draws is right.

    Over all k-subsets, draws taken without replacement. Answers that tie win in equal shares; draws
    without an answer do not vote, and a subset where nobody votes is wrong. An answer whose weights are
    all 0 can win only against its like.

    Args:
        outcomes: With scores; see `as_weights` for how they become weights.
        ks: Subset sizes, from 1 to the smallest n.
        seed: Of the random subsets.
    """
    n = outcomes.n
    if outcomes.scores is None:
        raise ValueError("a weighted vote needs a score for every response")
    if len(n) and not all(1 <= k <= int(n.min()) for k in ks):
        raise ValueError(f"every k must be between 1 and the smallest n, {int(n.min())}; got {list(ks)}")
    values = {k: np.zeros(len(n)) for k in ks}
    errors = {k: np.zeros(len(n)) for k in ks}
    rng = np.random.default_rng([seed, 3])
    rivals = np.diff(outcomes.classes.starts) > 1
    hopeful = np.bincount(_class_owner(outcomes), outcomes.classes.right, len(n)) > 0
    contested = int(n[rivals & hopeful].sum())
    orders = int(np.clip(DRAWS // max(contested, 1), *ORDERS))
    for ballots in _ballots(outcomes, hopeful):
        for k, (value, error) in ballots.estimate(sorted(set(ks)), orders, rng).items():
            values[k][ballots.problems], errors[k][ballots.problems] = value, error
    return {k: Majority(np.clip(values[k], 0.0, 1.0), errors[k]) for k in ks}


def _class_owner(outcomes: Outcomes) -> Ints:
    return np.repeat(np.arange(len(outcomes.slots)), np.diff(outcomes.classes.starts))


def _ballots(outcomes: Outcomes, wanted: Bools) -> Iterator[Ballots]:
    """The wanted problems in parts: those of equal n together, similar numbers of answers side by side."""
    classes, starts, n = outcomes.classes, outcomes.starts, outcomes.n
    # Answers are numbered from 1 within their problem, in the order of the classes.
    owner = _class_owner(outcomes)
    named = np.lexsort((classes.votes, owner))
    answer = np.full(len(outcomes.votes), SILENT, np.int32)
    answer[outcomes.by_vote] = np.repeat(named - classes.starts[owner[named]] + 1, classes.counts[named])
    answers = np.diff(classes.starts)
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.lexsort((answers[chosen], answers[chosen] > 1, n[chosen]))]
    for group in np.split(chosen, np.flatnonzero(np.diff(n[chosen]) | np.diff(answers[chosen] > 1)) + 1):
        step = max(CHUNK // (16 * int(n[group[0]])), 1) if len(group) else 1
        for part in np.split(group, range(step, len(group), step)) if len(group) else ():
            rows = starts[part][:, None] + np.arange(int(n[part[0]]))
            right = np.zeros((len(part), int(answers[part].max()) + 1))
            for i, problem in enumerate(part):
                span = slice(int(classes.starts[problem]), int(classes.starts[problem + 1]))
                right[i, 1 : 1 + span.stop - span.start] = classes.right[span]
            assert outcomes.scores is not None
            weight = as_weights(outcomes.scores[rows], outcomes)
            yield Ballots(part, answer[rows], np.where(answer[rows] == SILENT, 0.0, weight), right)


@dataclass(frozen=True, eq=False)
class Ballots:
    """Who votes for what, and how heavily, in problems with n draws each."""

    problems: Ints
    answer: npt.NDArray[np.int32]
    """`(problems, n)`; `SILENT` where a draw does not vote."""
    weight: Floats
    """`(problems, n)`; 0 where a draw does not vote."""
    right: Floats
    """`(problems, answers + 1)`: share of an answer's draws judged right; 0 for silence."""

    def estimate(
        self, ks: Sequence[int], orders: int, rng: np.random.Generator
    ) -> dict[int, tuple[Floats, Floats]]:
        """Values and standard errors, per problem, for each k."""
        problems, n = self.answer.shape
        out, drawn = {}, list[int]()
        for k in ks:
            if self.right.shape[1] == 2:
                # A lone answer wins if anybody votes.
                voters = np.count_nonzero(self.answer != SILENT, axis=1)
                out[k] = self.right[:, 1] * pass_at_k(n, voters, k), np.zeros(problems)
            elif k <= 2:
                # Of two draws the heavier one wins, whether or not they agree.
                right = np.take_along_axis(self.right, self.answer.astype(np.int64), axis=1)
                standing = np.where(self.answer == SILENT, -1.0, self.weight)
                starts = np.arange(problems + 1) * n
                out[k] = best_of_at_k(starts, right.ravel(), standing.ravel(), k), np.zeros(problems)
            elif comb(n, k) <= orders:
                subsets = np.array(list(combinations(range(n), k)))
                out[k] = self._mean([k], [subsets[None]])[k][0], np.zeros(problems)
            else:
                drawn.append(k)
        if drawn:
            step = max(CHUNK // (n * problems), 1)
            sizes = [min(step, orders - begin) for begin in range(0, orders, step)]
            blocks = (_shuffles((problems, size, n), rng)[:, :, : drawn[-1]] for size in sizes)
            for k, (share, square) in self._mean(drawn, blocks).items():
                # Two subsets are added, one won and one lost, so that unanimity does not pass for certainty.
                variance = (orders * np.maximum(square - share**2, 0.0) + 0.5) / (orders + 2)
                out[k] = share, np.sqrt(variance / (orders + 2))
        return out

    def _mean(self, ks: Sequence[int], blocks: Iterable[Ints]) -> dict[int, tuple[Floats, Floats]]:
        """Mean rightness of the winners, and mean square, over all orders of all blocks."""
        total = {k: np.zeros(len(self.problems)) for k in ks}
        square = {k: np.zeros(len(self.problems)) for k in ks}
        count = 0
        for block in blocks:
            step = max(CHUNK // (len(self.problems) * max(block.shape[2], self.right.shape[1])), 1)
            for begin in range(0, block.shape[1], step):
                order = block[:, begin : begin + step]
                count += order.shape[1]
                for k, won in self.won(order, ks).items():
                    total[k] += won.sum(axis=1)
                    square[k] += (won * won).sum(axis=1)
        return {k: (total[k] / count, square[k] / count) for k in ks}

    def won(self, order: Ints, ks: Sequence[int]) -> dict[int, Floats]:
        """Rightness of the winner among the first k of each order, for rising k.

        Args:
            order: `(problems or 1, orders, draws)`: draws by number.
            ks: Rising, the last at most the draws in an order.

        Returns:
            `(problems, orders)` for each k.
        """
        problems, n = self.answer.shape
        orders, width = order.shape[1], self.right.shape[1]
        at = order + (np.arange(problems) * n)[:, None, None]
        cell = self.answer.ravel()[at] + (np.arange(problems * orders) * width).reshape(problems, orders, 1)
        weight = self.weight.ravel()[at]
        size = problems * orders * width
        sums, seen, done, out = np.zeros(size), np.zeros(size, np.bool_), 0, {}
        for k in ks:
            flat = cell[:, :, done:k].ravel()
            sums += np.bincount(flat, weight[:, :, done:k].ravel(), size)
            seen[flat] = True
            done = k
            # What nobody named, silence among it, cannot win, not even with a weight of 0.
            standing = np.where(seen, sums, -1.0).reshape(problems, orders, width)
            standing[:, :, SILENT] = -1.0
            best = standing.max(axis=2, keepdims=True)
            first = (standing >= best * (1 - TIE)) & (best >= 0)
            won = np.einsum("pow,pw->po", first, self.right)
            out[k] = won / np.maximum(np.count_nonzero(first, axis=2), 1)
        return out


def _shuffles(shape: tuple[int, int, int], rng: np.random.Generator) -> Ints:
    """Random orders of `range(shape[2])`: random numbers that carry the place in their low bits, sorted."""
    n = shape[2]
    kind, bits = (np.uint32, 32) if n <= 256 else (np.uint64, 64)
    places = (n - 1).bit_length()
    keys = rng.integers(0, 2 ** (bits - places), size=shape, dtype=kind)
    keys <<= kind(places)
    keys |= np.arange(n).astype(kind)
    keys.sort(axis=2)
    return (keys & kind((1 << places) - 1)).astype(np.int64)
