"""What counts say of pass@k when nothing is assumed of how difficulty is spread.

Every distribution of chances gives the counts a likelihood, and pass@k a value. The bounds are the lowest
and the highest pass@k among all distributions whose log likelihood is within 1.92 of the best: profile
likelihood, the 95 % limit for one number. A pseudo-problem that is solved within k draws, or not, with a
weight, pulls the likeliest distribution along this profile; bisection finds the weight.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls
from scipy.special import expit
from scipy.stats import chi2

from upwell.metrics.families import Seen
from upwell.metrics.intervals import LEVEL
from upwell.metrics.outcomes import Floats

CHANCES: Floats = np.concatenate(
    [[0.0], expit(np.linspace(-12, -7, 21)[:-1]), expit(np.linspace(-7, 5, 97)), [0.999, 1.0]]
)
"""Chances of a right response that a distribution may put weight on."""
SLACK = float(chi2.ppf(LEVEL, 1)) / 2
FLOOR = 1e-12
"""Share of the pseudo-problem that is solved, or not, whatever the distribution: keeps logarithms finite."""


def free_bounds(seen: Seen, k: int) -> tuple[float, float, float]:
    """Lowest, likeliest and highest pass@k over all distributions of difficulty that the data allow."""
    kept = np.flatnonzero(seen.weight > 0)
    chance, weight = seen.given(CHANCES)[:, kept], seen.weight[kept]
    miss = (1 - CHANCES) ** k
    likeliest = _likeliest(chance, weight)
    best = float(weight @ np.log(likeliest @ chance))
    ends = []
    for pull, far in ((miss, 0.0), (1 - miss, 1.0)):
        both = np.column_stack([chance, np.maximum(pull, FLOOR)])
        low, high = -4.0, float(np.log(weight.sum())) + 7
        end: Floats | None = None
        for _ in range(14):
            middle = (low + high) / 2
            pulled = _likeliest(both, np.append(weight, np.exp(middle)))
            if best - float(weight @ np.log(np.maximum(pulled @ chance, 1e-300))) < SLACK:
                low = middle
            else:
                high, end = middle, pulled
        # Where no weight costs enough, the data allow everything on this side.
        ends.append(far if end is None else 1 - float(end @ miss))
    value = 1 - float(likeliest @ miss)
    return min(ends[0], value), value, max(ends[1], value)


def _likeliest(chance: Floats, weight: Floats) -> Floats:
    """The distribution over `CHANCES` that makes outcomes of these chances and weights likeliest.

    Constrained Newton steps (Wang 2007, J. R. Statist. Soc. B 69): a non-negative least squares problem over
    the chances in use and those where the likelihood rises fastest.
    """
    total = float(weight.sum())
    found = np.full(len(chance), 1 / len(chance))
    for _ in range(100):
        mixed = found @ chance
        ratio = chance / mixed
        gain = ratio @ weight
        if gain.max() < total * (1 + 1e-9) + 1e-4:
            break
        left, right = np.r_[-np.inf, gain[:-1]], np.r_[gain[1:], -np.inf]
        used = np.flatnonzero((found > FLOOR) | ((gain >= left) & (gain >= right) & (gain > total)))
        root = np.sqrt(weight)
        together = 1e3 * np.sqrt(total)
        solved, _ = nnls(
            np.vstack([(ratio[used] * root).T, np.full(len(used), together)]), np.append(2 * root, together)
        )
        step = -found
        step[used] += solved / solved.sum()
        rise, start, length = float(gain @ step), float(weight @ np.log(mixed)), 1.0
        while (
            length > 1e-9
            and weight @ np.log(np.maximum((found + length * step) @ chance, 1e-300))
            < start + 0.1 * length * rise
        ):
            length /= 2
        found = np.maximum(found + length * step, 0.0)
        found /= found.sum()
    return found
