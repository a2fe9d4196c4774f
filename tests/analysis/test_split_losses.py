"""Losses of two splits set beside each other: false alarms, and what is seen of a part that was learnt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from upwell.analysis.splits import lower, of_one_making

MEAN, TENTH = "loss below the other's", "among the other's easiest tenth"


def drawn(rng: np.random.Generator, count: int, seen: float = 0.0) -> npt.NDArray[np.float64]:
    """Losses and tokens of problems, of which a share costs less than half as much."""
    tokens = rng.integers(40, 250, count).astype(float)
    rates = np.exp(rng.normal(-0.3, 0.35, count))
    rates[rng.random(count) < seen] *= 0.45
    return np.stack([rates * tokens, tokens])


def chance(draws: npt.NDArray[np.float64]) -> float:
    return float(np.mean(draws <= 0))


@pytest.mark.parametrize(("ours", "theirs"), [(16, 16), (100, 40)])
def test_splits_that_are_alike_differ_by_chance(ours: int, theirs: int) -> None:
    rng = np.random.default_rng(3)
    missed, flagged = {MEAN: 0, TENTH: 0}, {MEAN: 0, TENTH: 0}
    for trial in range(150):
        for name, (_, draws) in lower(drawn(rng, ours), drawn(rng, theirs), 400, trial).items():
            low, high = np.percentile(draws, [2.5, 97.5])
            missed[name] += not low <= 0 <= high
            flagged[name] += chance(draws) <= 0.025 / 6
    assert max(missed.values()) <= 0.1 * 150
    assert max(flagged.values()) <= 0.03 * 150


def test_a_quarter_that_was_seen_shows_in_the_easiest_tenth() -> None:
    rng = np.random.default_rng(4)
    found = [lower(drawn(rng, 100, seen=0.25), drawn(rng, 100), 400, trial) for trial in range(40)]
    assert sum(chance(one[TENTH][1]) <= 0.025 / 6 for one in found) >= 30
    assert sum(chance(one[MEAN][1]) <= 0.025 / 6 for one in found) < 30
    # And the other way round nothing is seen.
    back = [lower(drawn(rng, 100), drawn(rng, 100, seen=0.25), 400, trial) for trial in range(40)]
    assert not any(chance(one[TENTH][1]) <= 0.025 / 6 for one in back)


def test_the_values_are_those_of_the_definition() -> None:
    other = np.array([[10.0, 20, 30, 40, 50, 60, 70, 80, 90, 100], [10.0] * 10])
    suspected = np.array([[5.0, 9, 11, 95], [10.0] * 4])
    told = lower(suspected, other, 50, 0)
    assert told[MEAN][0] == pytest.approx(5.5 - 3.0)
    assert told[TENTH][0] == pytest.approx(0.5 - 0.1)  # two of four below the lowest, 1.0


def test_only_splits_of_one_benchmark_are_of_one_making() -> None:
    assert of_one_making("gsm8k/test", "gsm8k/train")
    assert not of_one_making("gsm8k/test", "svamp/test")
    assert not of_one_making("mine", "mine")
