"""Which seed each new question starts from, and which of them are settled: dealt alike in every session of a run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from upwell.records import Problem
from upwell.synthesis.seeds import lot


class Deal:
    """An endless sequence of slots, each a seed and the number of this use of it: `<seed key>/<method>-<number>`.

    Every seed has its turn before one has its second, in an order drawn by lot; with weights, a seed is dealt as often
    as its weight says. Which slots are settled takes a bit for each.

    Args:
        seeds: what is dealt.
        method: the method's name.
        seed: what the lot is drawn with.
        weights: of seeds by key; those without one are left out. None: all the same.
    """

    def __init__(
        self, seeds: Sequence[Problem], method: str, seed: int, weights: Mapping[str, float] | None = None
    ) -> None:
        chosen = [one for one in seeds if weights is None or one.key in weights]
        self.seeds = sorted(chosen, key=lambda one: lot(seed, one.key))
        self._tag = f"/{method}-"
        self._seed = seed
        self._weights = None if weights is None else list(accumulate(weights[one.key] for one in self.seeds))
        self._at = {one.key: number for number, one in enumerate(self.seeds)}
        self._settled = [0] * len(self.seeds)

    def slots(self) -> Iterator[tuple[str, Problem]]:
        """Key and seed of one slot after the other, settled ones left out."""
        used = [0] * len(self.seeds)
        for number in self._order():
            key = f"{self.seeds[number].key}{self._tag}{used[number]}"
            if not self._settled[number] >> used[number] & 1:
                yield key, self.seeds[number]
            used[number] += 1

    def settle(self, key: str) -> bool:
        """Note that a slot has come to its end. False where the key is none of these slots."""
        found = self._found(key)
        if found is None:
            return False
        number, use = found
        self._settled[number] |= 1 << use
        return True

    def is_settled(self, key: str) -> bool:
        """Whether it has."""
        found = self._found(key)
        return found is not None and bool(self._settled[found[0]] >> found[1] & 1)

    def seed_of(self, key: str) -> Problem | None:
        """What a slot starts from; None where the key is none of these slots."""
        found = self._found(key)
        return None if found is None else self.seeds[found[0]]

    def _found(self, key: str) -> tuple[int, int] | None:
        parent, _, use = key.rpartition(self._tag)
        number = self._at.get(parent)
        return None if number is None or not use.isdecimal() else (number, int(use))

    def _order(self) -> Iterator[int]:
        turn = 0
        while True:
            if self._weights is None:
                yield turn % len(self.seeds)
            else:
                share = lot(self._seed, f"turn {turn}") / 2.0**63
                yield min(bisect_right(self._weights, share * self._weights[-1]), len(self.seeds) - 1)
            turn += 1
