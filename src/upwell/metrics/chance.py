"""The guess baseline: how often an answer given to another problem would have been right here.

Exact, not one shuffle: for problem i, q_i is the share of all responses to the *other* problems of
its benchmark and answer kind whose answer is accepted for i, found by joining canonical keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upwell.metrics.outcomes import Bools, Floats, Ints, Outcomes, vote_name


@dataclass(frozen=True, eq=False)
class Chance:
    """Per problem, the share of foreign responses that would be right, with what its error is made of.

    A cell is one answer within one group, a group being the problems of one benchmark and answer kind.
    """

    q: Floats
    """In [0, 1]; NaN where there is nothing to join: no other problem of the kind, or no canonical gold."""
    n: Ints
    """Per problem, its own responses."""
    foreign: Ints
    """Per problem, how many responses `q` is a share of."""
    target: Ints
    accepted: Ints
    """Joins: problem `target[j]` accepts the answers of cell `accepted[j]`."""
    giver: Ints
    given: Ints
    times: Ints
    """Problem `giver[j]` has `times[j]` responses in cell `given[j]`."""
    own: Ints
    """Per entry of `given`, the number of the join by which its giver accepts it itself, or -1."""
    group: Ints
    """Per problem, its benchmark and answer kind, by number."""

    @classmethod
    def of(cls, outcomes: Outcomes) -> Chance:
        """Join every problem's accepted answers with the responses to the others.

        Accepted for a problem are its gold's canonical key and the key of every response of its own
        that was judged right, so that what the grader tolerates counts here too.
        """
        groups, n, classes = _groups(outcomes), outcomes.n, outcomes.classes
        giver = np.repeat(np.arange(len(n)), np.diff(classes.starts))
        answers, answer = np.unique(classes.votes, return_inverse=True)
        kinds = max(len(answers), 1)
        cells, given = np.unique(groups[giver] * kinds + answer, return_inverse=True)
        wanted = _golds(outcomes)
        where, known_cell = _find(wanted[:, 1], answers), np.full(len(wanted), -1)
        met = where >= 0
        known_cell[met] = _find(groups[wanted[met, 0]] * kinds + where[met], cells)
        met = known_cell >= 0
        width, right = max(len(cells), 1), classes.right > 0
        golds = wanted[met, 0] * width + known_cell[met]
        joins = np.unique(np.concatenate([giver[right] * width + given[right], golds]))
        target, accepted = np.divmod(joins, width)
        own = _find(giver * width + given, joins)
        hits = np.bincount(target, np.bincount(given, classes.counts, len(cells))[accepted], len(n))
        hits -= np.bincount(target[own[own >= 0]], classes.counts[own >= 0], len(n))
        foreign = np.bincount(groups, n)[groups].astype(np.int64) - n if len(n) else n
        joinable = np.bincount(target, minlength=len(n)) > 0
        joinable[wanted[:, 0]] = True
        known = (foreign > 0) & joinable & (len(giver) > 0)
        q = np.where(known, hits / np.maximum(foreign, 1), np.nan)
        return cls(q, n, foreign, target, accepted, giver, given, classes.counts, own, groups)

    def noise(self, k: int, chosen: Bools) -> float:
        """Variance of the mean of `chance_pass_at_k(q, k)` over `chosen` problems, times their number.

        To first order, and over drawing all responses to the same problems again: every response counts
        for as many of the chosen problems as would take its answer.
        """
        count, slope, worth = int(np.count_nonzero(chosen)), self._slope(k, chosen), self._worth(k, chosen)
        total = np.bincount(self.giver, self.times * worth, len(self.n))
        square = np.bincount(self.giver, self.times * worth**2, len(self.n)) - total**2 / self.n
        # Half a response more per problem that is right by chance keeps the variance above 0 where none was.
        unseen = 0.5 * float(np.mean(slope[chosen] ** 2))
        return float(np.sum(square * self.n / np.maximum(self.n - 1, 1)) / count) + unseen

    def influence(self, k: int, chosen: Bools) -> Floats:
        """What each problem adds to the sum of `chance_pass_at_k(q, k) - mean` over `chosen`, to first order.

        A problem takes part twice: its reference is met by other problems' answers, and its answers meet
        other problems' references. The second part sums over all problems, chosen or not.
        """
        value = np.where(chosen, chance_pass_at_k(np.nan_to_num(self.q), k), 0.0)
        own = np.where(chosen, value - value.sum() / np.count_nonzero(chosen), 0.0)
        given = np.bincount(self.giver, self.times * self._worth(k, chosen), len(self.n))
        due = self._slope(k, chosen) * np.nan_to_num(self.q)
        expected = self.n * (np.bincount(self.group, due)[self.group] - due)
        return np.asarray(own + given - expected)

    def _slope(self, k: int, chosen: Bools) -> Floats:
        """By how much one more foreign response that is right raises each chosen problem's value."""
        slope = k * (1 - np.nan_to_num(self.q)) ** (k - 1) / np.maximum(self.foreign, 1)
        return np.where(chosen, slope, 0.0)

    def _worth(self, k: int, chosen: Bools) -> Floats:
        """By how much one response raises the sum over the chosen problems, per entry of `giver`."""
        slope = self._slope(k, chosen)
        cells = int(self.given.max(initial=0)) + 1
        worth = np.bincount(self.accepted, slope[self.target], cells).astype(np.float64)[self.given]
        return np.asarray(worth - np.where(self.own >= 0, slope[self.giver], 0.0))

    def smooth(self) -> Floats:
        """`q` with half a hit and half a miss added, so that it is strictly inside (0, 1)."""
        return (self.q * self.foreign + 0.5) / (self.foreign + 1)


def _groups(outcomes: Outcomes) -> Ints:
    names: dict[tuple[str, str], int] = {}
    return np.array([names.setdefault((s.source, s.kind), len(names)) for s in outcomes.slots], np.int64)


def _golds(outcomes: Outcomes) -> Ints:
    """`(problems with a gold, 2)`: the problem and the name of its gold among the votes."""
    named = [(i, vote_name(slot.gold)) for i, slot in enumerate(outcomes.slots) if slot.gold is not None]
    return np.array(named, np.int64).reshape(-1, 2)


def _find(wanted: Ints, ordered: Ints) -> Ints:
    """Where each of `wanted` stands in `ordered`, or -1."""
    if not len(ordered):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[at] == wanted, at, -1)


def chance_pass_at_k(q: Floats, k: int) -> Floats:
    """Chance that at least one of k answers taken from other problems is right: 1 - (1 - q)^k."""
    return np.asarray(1.0 - (1.0 - q) ** k)


def adjusted_pass_at_k(passed: float, chance: float) -> float | None:
    """What is left of pass@k beyond chance: (passed - chance) / (1 - chance), floored at 0.

    1 is perfect and 0 no better than guessing. None where chance is 1 and nothing can be said.
    """
    return None if chance >= 1 else max((passed - chance) / (1 - chance), 0.0)
