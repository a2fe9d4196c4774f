"""The guess baseline: how often an answer given to another problem would have been right here.

Exact, not one shuffle: for problem i, q_i is the share of all responses to the *other* problems of
its benchmark and answer kind whose answer is accepted for i, found by joining canonical keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upwell.metrics.outcomes import NO_VOTE, Floats, Ints, Outcomes


@dataclass(frozen=True, eq=False)
class Chance:
    """Per problem, the share of foreign responses that would be right, with what its error is made of."""

    q: Floats
    """In [0, 1]; NaN where there is nothing to join: no other problem of the kind, or no canonical gold."""
    pairs: npt.NDArray[np.int64]
    """`(joins, 2)`: problem i accepts the answers of cell j, a cell being one answer within one group."""
    cell: Ints
    """Per response, its cell."""
    foreign: Ints
    """Per problem, how many responses `q` is a share of."""

    @classmethod
    def of(cls, outcomes: Outcomes) -> Chance:
        """Join every problem's accepted answers with the responses to the others.

        Accepted for a problem are its gold's canonical key and the key of every response of its own
        that was judged right, so that what the grader tolerates counts here too.
        """
        group = _groups(outcomes)[outcomes.owner]
        table, cell = np.unique(np.stack([group, outcomes.votes]), axis=1, return_inverse=True)
        cell = cell.reshape(-1)
        size = np.bincount(cell, minlength=table.shape[1])
        pairs = _accepted(outcomes, table, cell)
        mine = np.bincount(group, minlength=1)
        n = outcomes.n
        foreign = mine[_groups(outcomes)] - n if len(n) else n
        own_cells, own_counts = np.unique(outcomes.owner * table.shape[1] + cell, return_counts=True)
        key = pairs[:, 0] * table.shape[1] + pairs[:, 1]
        at = np.minimum(np.searchsorted(own_cells, key), max(len(own_cells) - 1, 0))
        own = np.where(own_cells[at] == key, own_counts[at], 0) if len(key) else key
        hits = np.bincount(pairs[:, 0], size[pairs[:, 1]] - own, len(n))
        known = (foreign > 0) & (_has_gold(outcomes) | (outcomes.c > 0))
        q = np.where(known, hits / np.maximum(foreign, 1), np.nan)
        return cls(q, pairs, cell, foreign)


def _groups(outcomes: Outcomes) -> Ints:
    names: dict[tuple[str, str], int] = {}
    return np.array([names.setdefault((s.source, s.kind), len(names)) for s in outcomes.slots], np.int64)


def _has_gold(outcomes: Outcomes) -> npt.NDArray[np.bool_]:
    return np.array([slot.gold is not None for slot in outcomes.slots], np.bool_)


def _accepted(outcomes: Outcomes, table: Ints, cell: Ints) -> Ints:
    """Unique (problem, cell) pairs of which the problem accepts the answer."""
    right = np.flatnonzero((outcomes.correct == 1) & (outcomes.votes != NO_VOTE))
    judged = np.stack([outcomes.owner[right], cell[right]], axis=1)
    lookup = {(int(g), int(v)): i for i, (g, v) in enumerate(table.T)}
    groups = _groups(outcomes)
    golds = [
        (i, lookup[key])
        for i, slot in enumerate(outcomes.slots)
        if slot.gold is not None and (key := (int(groups[i]), hash(slot.gold))) in lookup
    ]
    both = np.concatenate([judged, np.array(golds, np.int64).reshape(-1, 2)])
    return np.unique(both, axis=0) if len(both) else both


def chance_pass_at_k(q: Floats, k: int) -> Floats:
    """Chance that at least one of k answers taken from other problems is right: 1 - (1 - q)^k, per problem."""
    return np.asarray(-np.expm1(k * np.log1p(-np.minimum(q, 1.0), where=q < 1, out=np.full_like(q, -np.inf))))


def adjusted_pass_at_k(passed: float, chance: float) -> float | None:
    """What is left of pass@k beyond chance: (passed - chance) / (1 - chance), floored at 0.

    1 is perfect and 0 no better than guessing. None where chance is 1 and nothing can be said.
    """
    return None if chance >= 1 else max((passed - chance) / (1 - chance), 0.0)
