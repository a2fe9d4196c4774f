"""How many right solutions a question is to have, and when it is not worth drawing for any more.

DART-Math (arXiv 2407.13690, section 2.2): Uniform wants k_u right ones of every question, Prop2Diff a number in
proportion to the question's fail rate, k_p of the hardest and at least one of each; n_max draws at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betaln, gammaln

from upwell.synthesis.settings import SynthesisSettings

NO_END = 1 << 40
"""A target that is never met: all draws are made."""


@dataclass(frozen=True)
class Policy:
    """What is wanted of every question."""

    name: str
    """`vanilla`, `uniform` or `prop2diff`."""
    k: int
    """Right solutions wanted: of each question, or of the hardest. `NO_END` for vanilla."""
    most: int
    """Draws per question at most."""
    probes: int
    """First draws from which something has to be known before more is drawn; 0 where nothing has."""
    over_max: bool = False
    """Whether fail rates are divided by the highest one."""
    give_up: float = 0.0
    """Chance below which a question is given up."""

    @classmethod
    def of(cls, settings: SynthesisSettings) -> Policy:
        """The policy of the settings."""
        hard = settings.policy == "prop2diff"
        probes = settings.probes if hard or settings.majority else 0
        if settings.policy == "vanilla":
            return cls("vanilla", NO_END, settings.trials, probes)
        return cls(
            settings.policy,
            settings.k_hardest if hard else settings.k_uniform,
            settings.max_trials,
            probes,
            hard and settings.scale == "fail-over-max",
            settings.give_up,
        )

    @property
    def by_difficulty(self) -> bool:
        """Whether a target waits for the question's fail rate."""
        return self.name == "prop2diff"

    def target(self, wrong: int, drawn: int, hardest: tuple[int, int] = (1, 1)) -> int:
        """Right solutions wanted of a question with `wrong` wrong ones of `drawn`; rounded up, at least one.

        Args:
            wrong: Wrong responses.
            drawn: Responses, at least one.
            hardest: The same two counts of the question with the highest fail rate, where rates are over that.
        """
        if not self.by_difficulty:
            return self.k
        # In whole numbers: 192 * 0.1 is not 19.2 in binary, and what is rounded up must not depend on that.
        return max(1, -(-self.k * wrong * hardest[1] // (drawn * max(hardest[0], 1))))

    def horizon(self, right: int, target: int) -> int:
        """Draws after which a question with so many right ones is given up; `most` if it never is."""
        if not self.give_up or right >= target:
            return self.most
        return _horizon(right, target if right else 1, self.most, self.give_up)


def chance_to_reach(drawn: int, right: int, goal: int, most: int) -> float:
    """The chance that `goal` right ones are there after `most` draws, when `right` of the first `drawn` are.

    Beta-binomial, under Jeffreys' prior Beta(1/2, 1/2) on the question's own chance of a right response: it looks at
    no other question, so that who is given up depends neither on the order of replies nor on which questions are
    asked together.
    """
    need, left = goal - right, most - drawn
    if need <= 0 or need > left:
        return float(need <= 0)
    a, b = right + 0.5, drawn - right + 0.5
    few = np.arange(need)
    ways = gammaln(left + 1) - gammaln(few + 1) - gammaln(left - few + 1)
    short = np.exp(ways + betaln(a + few, b + left - few) - betaln(a, b)).sum()
    return max(0.0, 1.0 - float(short))


@lru_cache(maxsize=1 << 16)
def _horizon(right: int, goal: int, most: int, give_up: float) -> int:
    """The fewest draws with `right` right ones among them after which the chance is below `give_up`."""
    low, high = right, most  # each further wrong one lowers the chance
    while low < high:
        middle = (low + high) // 2
        if chance_to_reach(middle, right, goal, most) < give_up:
            high = middle
        else:
            low = middle + 1
    return low
